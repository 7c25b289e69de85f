"""What an importer says: conversations, and what it could not read. The shape between files and the log.

An importer reads a source and yields these; it knows nothing of the log. ``planning`` makes commits of a
conversation, ``verifying`` compares it with what the views answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, TypeAlias
from uuid import UUID

import msgspec

from eventstore.content import Json, Kind, Part, Role
from eventstore.events import Outcome
from turnlog.importers.source.files import Source

TimeSource: TypeAlias = Literal["source", "neighbour", "file", "none"]
"""Where a time is from: it was stored; it is that of the message beside; of the file; there is none."""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """A piece of a stream. ``at`` in microseconds; where a source has none, that of the piece before."""

    delta: str
    at: int
    kind: Kind = "text"
    part: str | None = None


class Streamed(msgspec.Struct, frozen=True):
    """How a message came. ``outcome`` is None for a stream that was never finished: it is interrupted."""

    started_at: int
    chunks: tuple[Chunk, ...]
    model: str | None = None
    completed_at: int | None = None
    outcome: Outcome | None = None
    finish_reason: str | None = None
    usage: dict[str, Json] | None = None
    error: dict[str, Json] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """As a pickle its chunks are columns: one by one they would take five times as long."""
        chunks = self.chunks
        columns: list[list[Any]] = [[one.delta for one in chunks], [one.at for one in chunks]]
        kinds, parts = [one.kind for one in chunks], [one.part for one in chunks]
        if kinds.count("text") + parts.count(None) < 2 * len(chunks):
            columns += [kinds, parts]
        return _streamed, (msgspec.structs.astuple(msgspec.structs.replace(self, chunks=())), columns)


def _streamed(rest: tuple[Any, ...], columns: list[list[Any]]) -> Streamed:
    return msgspec.structs.replace(Streamed(*rest), chunks=tuple(map(Chunk, *columns)))


class Message(msgspec.Struct, frozen=True):
    """One message. ``metadata`` holds, under ``source``, what we do not model, as it was.

    ``parts`` are empty for one that was streamed and whose chunks say everything. A ``branch`` that the
    conversation's ``branches`` do not name holds those that stand on no branch of the source.
    """

    id: UUID
    parent_id: UUID | None
    branch: str
    role: Role
    parts: tuple[Part, ...]
    message_type: str = "message"
    metadata: dict[str, Json] = {}
    occurred_at: int | None = None
    time_source: TimeSource = "source"
    streamed: Streamed | None = None


class Kept(msgspec.Struct, frozen=True):
    """A fact of a conversation that its attributes have no room for: recorded as a custom event."""

    name: str
    data: dict[str, Json]


class Conversation(msgspec.Struct, frozen=True):
    """One context of a source, whole.

    ``id`` is stable: the source's own, or made of what identifies it there (``stable_id``). ``origin`` is the
    path inside the source. ``messages`` have parents before children; of a long one each is made or read when
    it is asked for. ``branches`` name their heads.
    ``attributes`` hold, under ``import``, the origin, the format and what we do not model; ``kept`` is what
    is too large for them or for an event. ``files`` are all that it was read from, which may be deleted once
    it is verified: ``origin`` alone where they are empty. ``updated_at``, where the source says it: of two
    copies the later one is newer.
    """

    id: UUID
    origin: str
    format: str
    messages: Sequence[Message]
    branches: dict[str, UUID | None]
    active_branch: str = "main"
    workspace: str | None = None
    title: str | None = None
    config: dict[str, Json] = {}
    attributes: dict[str, Json] = {}
    tags: tuple[str, ...] = ()
    state: str | None = None
    state_detail: Json = None
    warnings: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()
    kept: Sequence[Kept] = ()
    updated_at: int | None = None


class Problem(msgspec.Struct, frozen=True, tag="problem"):
    """What could not be read, or not as it stands. ``place``: a JSON path or a line.

    A ``warning`` is no failure: nothing is missing for it.
    """

    path: str
    code: str
    reason: str
    place: str | None = None
    context_id: UUID | None = None
    warning: bool = False


class Importer(Protocol):
    """A format."""

    format: str

    def recognises(self, source: Source) -> bool:
        """Whether the source holds this format, by shape and not by names of folders."""
        ...

    def claims(self, source: Source, name: str) -> bool:
        """Whether a file is of this format, sound or not: reading says what is to be said of it."""
        ...

    def read(self, source: Source) -> Iterator[Conversation | Problem]:
        """Everything in it, one at a time: memory holds one conversation, or less of a long one.

        Never raises for what it reads; ``Unavailable`` (``spool_failed``) where there is no room for it.
        """
        ...
