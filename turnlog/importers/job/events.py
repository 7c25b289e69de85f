"""What of a context only its events tell: where an import looks for what no view answers."""

from __future__ import annotations

from array import array
from typing import Final
from uuid import UUID

from eventstore.content import Json
from eventstore.events import CustomRecorded, MessageAppended, StreamFinalized, StreamStarted
from eventstore.spool import Spool
from turnlog.facade import Turnlog
from turnlog.importers.job.ids import Ids
from turnlog.importers.source.keeping import size_of

_NEVER: Final = -(1 << 63)
"""Stands for no time."""


class Events:
    """Metadata of messages, when streams ended, and what else was kept."""

    def __init__(self) -> None:
        self.kept: Spool[tuple[str, Json]] = Spool()
        self._ids = Ids()
        self._metadata = Spool[dict[str, Json] | None]()
        self._ended_at = array("q")

    def begun(self, message_id: UUID, metadata: dict[str, Json] | None) -> None:
        """The next message, whole or only begun."""
        self._ids.add(message_id)
        self._metadata.append(metadata, size_of(metadata))
        self._ended_at.append(_NEVER)

    def ended(self, message_id: UUID, at: int | None) -> None:
        """A message's stream came to its end."""
        place = self._ids.place(message_id)
        if place is not None and at is not None:
            self._ended_at[place] = at

    def metadata_of(self, message_id: UUID) -> dict[str, Json] | None:
        """The metadata of a message."""
        place = self._ids.place(message_id)
        return None if place is None else self._metadata[place]

    def ended_at(self, message_id: UUID) -> int | None:
        """When its stream ended, if that is known."""
        place = self._ids.place(message_id)
        at = _NEVER if place is None else self._ended_at[place]
        return None if at == _NEVER else at


def events_of(log: Turnlog, context_id: UUID, version: int) -> Events:
    """Read them, up to a version."""
    events = Events()
    for commit in log.store.read_context(context_id, 1, version):
        for record in commit.records:
            if isinstance(record, (MessageAppended, StreamStarted)):
                events.begun(record.message_id, record.metadata)
            elif isinstance(record, StreamFinalized):
                events.ended(record.message_id, record.occurred_at)
            elif isinstance(record, CustomRecorded):
                events.kept.append((record.name, record.data), size_of(record.data))
    return events
