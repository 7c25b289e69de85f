"""What imports kept aside of a context, to stand again where it was when the context is written out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, cast
from uuid import UUID

import msgspec

from eventstore.content import DataPart, Json, Part
from eventstore.events import (
    BITS,
    ChunkReceived,
    CustomRecorded,
    MessageAppended,
    StreamFinalized,
    StreamStarted,
)
from eventstore.store import EventStore
from projections.answers import ContextState
from turnlog.importers.source.keeping import fit_tags
from turnlog.importers.source.kept import (
    PIECE_CHARACTERS,
    TAGS_PLACE,
    Values,
    cuts_place,
    holds_stand_in,
    stands_in,
)


class Restoring:
    """The kept values of a context as of a version, and of what it shares of others.

    They are read when something first stands for one of them, or is asked for; then all of them are held.
    """

    def __init__(self, store: EventStore, context_id: UUID, version: int) -> None:
        self._store = store
        self._context_id = context_id
        self._version = version

    @cached_property
    def _values(self) -> Values:
        """Raises ``Damaged``."""
        return Values(_facts(self._store, self._context_id, self._version))

    def state(self, state: ContextState) -> ContextState:
        """A context with its metadata whole."""
        tags = state.tags
        if tags and "import" in state.attributes:
            kept = self._values.at(TAGS_PLACE)
            if isinstance(kept, list) and list(fit_tags(tuple(cast("list[str]", kept)))) == tags:
                tags = cast("list[str]", kept)
        return msgspec.structs.replace(
            state,
            config=self._value(state.config, "$.config"),
            attributes=self._value(state.attributes, "$"),
            tags=tags,
            state_detail=self._value(state.state_detail, "$.state_detail"),
        )

    def parts(self, message_id: UUID, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """The parts of a message."""
        if not any(isinstance(part, DataPart) and stands_in(part.data) for part in parts):
            return parts
        place = f"{self._values.root(message_id)}.parts"
        return tuple([self._values.part(part, f"{place}[{index}]") for index, part in enumerate(parts)])

    def begun(self, event: MessageAppended | StreamStarted) -> MessageAppended | StreamStarted:
        """The event that added a message, with its metadata whole."""
        if event.metadata is None or not holds_stand_in(event.metadata):
            return event
        place = f"{self._values.root(event.message_id)}.metadata"
        return msgspec.structs.replace(event, metadata=self._value(event.metadata, place))

    def ended(self, event: StreamFinalized) -> StreamFinalized:
        """The end of a stream, whole."""
        if not any(map(holds_stand_in, (event.usage, event.error))) and not event.parts:
            return event
        message_id = event.message_id
        place = self._values.root(message_id)
        return msgspec.structs.replace(
            event,
            usage=self._value(event.usage, f"{place}.usage"),
            error=self._value(event.error, f"{place}.error"),
            parts=None if event.parts is None else self.parts(message_id, event.parts),
        )

    def chunks(self, message_id: UUID, chunks: list[ChunkReceived]) -> list[ChunkReceived]:
        """The chunks of a stream as they came, of which one may have been too long for an event."""
        if not any(len(chunk.delta) >= PIECE_CHARACTERS for chunk in chunks):
            return chunks
        kept = self._values.at(cuts_place(self._values.root(message_id)))
        counts = cast("Sequence[int]", kept) if isinstance(kept, list) else ()
        if not all(type(count) is int and count > 0 for count in counts) or sum(counts) != len(chunks):
            return chunks
        rest = iter(chunks)
        return [_joined([next(rest) for _ in range(count)]) for count in counts]

    def untaken(self) -> Iterator[tuple[UUID, Json]]:
        """The messages that could not be taken, each as its source has it."""
        return self._values.untaken()

    def _value(self, value: Json, place: str) -> Any:
        return self._values.put_back(value, place) if holds_stand_in(value) else value


def _joined(chunks: list[ChunkReceived]) -> ChunkReceived:
    return msgspec.structs.replace(chunks[0], delta="".join([chunk.delta for chunk in chunks]))


def _facts(store: EventStore, context_id: UUID, version: int) -> Iterator[tuple[str, Json]]:
    """Every custom event of a context up to a version, after those of what it shares."""
    shared: list[tuple[UUID, int]] = [(context_id, version)]
    with store.log.reading() as txn:
        while (source := store.log.forked_from(txn, shared[-1][0])) is not None:
            shared.append((source.context_id, source.version))
    for owner, last in reversed(shared):
        for commit in store.read_context(owner, 1, last):
            if commit.kinds & BITS[CustomRecorded]:
                for at, event in commit.versioned():
                    if at <= last and isinstance(event, CustomRecorded):
                        yield event.name, event.data
