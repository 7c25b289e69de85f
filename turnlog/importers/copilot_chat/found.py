"""What a layout of copilot_chat gives: a context's document, and its messages one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from eventstore.content import Json
from eventstore.spool import Spool
from turnlog.importers.conversation import Kept, Streamed
from turnlog.importers.copilot_chat.notes import FORMAT
from turnlog.importers.source.files import Unreadable, stable_id, uuid_of
from turnlog.importers.source.notes import Notes
from turnlog.importers.source.rows import Place

CHUNKS: Final[Place] = ("message", "rich_type", "data", "chunks")
"""What of a large message is not decoded before it is read."""

Layout = Literal["whole", "pool", "designed", "session"]


class Node(msgspec.Struct, frozen=True):
    """A message as a layout found it: under which name, where, and its value.

    ``at`` and ``streamed``: what is said of it elsewhere. ``bytes``: what it takes there, roughly.
    """

    key: str
    value: Json
    path: str
    place: str
    at: int | None = None
    streamed: Streamed | None = None
    bytes: int = 0


class Found(msgspec.Struct, frozen=True):
    """A context as a layout found it. ``nodes`` are read one at a time, and may be unreadable.

    ``beside``: files that say more of it, but are no message's own. ``untaken``: filled with the messages
    that cannot be taken, each of which is in ``kept`` as it stands there.
    """

    id: UUID
    origin: str
    layout: Layout
    document: dict[str, Any]
    branches: dict[str, dict[str, Any]]
    nodes: Iterable[Node | Unreadable]
    modified_us: Callable[[], int | None]
    notes: Notes
    beside: tuple[str, ...] = ()
    untaken: set[UUID] = set()
    kept: Spool[Kept] = msgspec.field(default_factory=Spool[Kept])


def message_id_of(context_id: UUID, key: str) -> UUID:
    """A message's own id, or the one made of what it is called in its context."""
    return uuid_of(key) or stable_id(FORMAT, str(context_id), "message", key)
