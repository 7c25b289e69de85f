"""Contexts in memory, guarded by the write model: given these events, when, then. No LMDB, no event loop."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import pytest
from samples import C

from eventstore import rules
from eventstore.commits import pack
from eventstore.context import WriteModel, evolve
from eventstore.errors import Refused
from eventstore.events import ChunkRun, ContextCreated, ForkedFrom, MessageAppended, Record, StreamStarted
from eventstore.rules import StoredChunk


class World:
    """What a log knows, in dicts: the oracle behind ``rules.check``."""

    def __init__(self) -> None:
        self.models: dict[UUID, WriteModel] = {}
        self.recorded: dict[UUID, list[Record]] = {}
        self.places: dict[UUID, tuple[UUID, int, bool]] = {}
        self.deltas: dict[UUID, list[StoredChunk]] = {}

    def message(self, message_id: UUID) -> tuple[UUID, int, bool] | None:
        """See ``rules.Known``."""
        return self.places.get(message_id)

    def version_of(self, context_id: UUID) -> int:
        """See ``rules.Known``."""
        return self.models[context_id].version if context_id in self.models else 0

    def forked_from(self, context_id: UUID) -> ForkedFrom | None:
        """See ``rules.Known``."""
        created = self.recorded[context_id][0]
        return created.forked_from if isinstance(created, ContextCreated) else None

    def chunks(self, message_id: UUID, started_version: int, first: int, last: int) -> list[StoredChunk]:
        """See ``rules.Known``."""
        assert self.places[message_id][1] == started_version
        return self.deltas.get(message_id, [])[first - 1 : last]

    def append(self, *events: Record, to: UUID = C, epoch: int = 1) -> tuple[Record, ...]:
        """Record a commit event by event; returns what was recorded. A refusal changes nothing."""
        model = self.models.get(to, WriteModel(to)).copy()
        places, recorded = dict(self.places), list[Record]()
        before, self.places = self.places, places
        try:
            for record in pack(events):
                kept = rules.check(model, record, self, epoch)
                if kept is None:
                    continue
                evolve(model, kept)
                recorded.append(kept)
                if isinstance(kept, (MessageAppended, StreamStarted)):
                    places[kept.message_id] = (to, model.version, isinstance(kept, StreamStarted))
        except BaseException:
            self.places = before
            raise
        for kept in recorded:
            if isinstance(kept, ChunkRun):
                stored = self.deltas.setdefault(kept.message_id, [])
                stored += [(chunk.kind, chunk.part, chunk.delta, chunk.raw) for chunk in kept.chunks()]
        if recorded:
            self.models[to] = model
            self.recorded.setdefault(to, []).extend(recorded)
        return tuple(recorded)

    def refusal(self, *events: Record, to: UUID = C, epoch: int = 1) -> tuple[str, dict[str, object]]:
        """The code and the fields with which the events are refused, having changed nothing."""
        before = self.models[to].copy() if to in self.models else None
        with pytest.raises(Refused) as refused:
            self.append(*events, to=to, epoch=epoch)
        assert self.models.get(to) == before
        fields = dict(refused.value.fields)
        assert fields.pop("context_id") == to
        return refused.value.code, fields


def given(*events: Record, to: UUID = C) -> World:
    """A world in which this happened to the context, each event in a commit of its own."""
    world = World()
    for event in events:
        world.append(event, to=to)
    return world


def every_chunk(records: Iterable[Record]) -> list[tuple[int, str]]:
    """Sequence and delta of each chunk in runs."""
    return [
        (chunk.sequence, chunk.delta)
        for record in records
        if isinstance(record, ChunkRun)
        for chunk in record.chunks()
    ]
