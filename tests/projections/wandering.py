"""Random histories from a seed, of events that the write model allows."""

from __future__ import annotations

import random
from uuid import UUID

from given import START, C

from eventstore.commits import pack
from eventstore.content import TextPart
from eventstore.context import WriteModel, evolve
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkReceived,
    ContextCreated,
    ContextUpdated,
    CustomRecorded,
    MessageAppended,
    Record,
    StateChanged,
    StreamFinalized,
    StreamStarted,
)


class Wanderer:
    """Appends random events that the write model allows, from a seed; at most so many streams are open."""

    def __init__(self, rng: random.Random, context_id: UUID = C, streams: int = 3) -> None:
        self.rng = rng
        self.context_id = context_id
        self.streams = streams
        self.model = WriteModel(context_id)
        self.messages: list[UUID] = []
        self.finished: list[UUID] = []

    def commit(self) -> list[Record]:
        """The events of the next commit; they are taken as appended."""
        events: list[Record] = []
        for _ in range(self.rng.choice((1, 1, 1, 2, 4))):
            event = ContextCreated("t", config={"a": 1}) if self.model.version == 0 else self._event()
            events.append(event)
            self._evolve(event)
        return events

    def _evolve(self, event: Record) -> None:
        for record in pack([event]):
            evolve(self.model, record)
        if isinstance(event, (MessageAppended, StreamStarted)):
            self.messages.append(event.message_id)
        elif isinstance(event, StreamFinalized):
            self.finished.append(event.message_id)

    def _event(self) -> Record:
        rng, streams = self.rng, self.model.streams
        number = rng.random()
        if streams and number < 0.55:
            message_id = rng.choice(list(streams))
            kind = rng.choice(("text", "text", "reasoning"))
            sequence = streams[message_id].sequence + 1
            delta = f"{message_id.int % 97}.{sequence} "
            return ChunkReceived(message_id, sequence, delta, kind, rng.randrange(START))
        if streams and number < 0.65:
            outcome = rng.choice(("completed", "failed"))
            parts = (TextPart("final"),) if rng.random() < 0.2 else None
            return StreamFinalized(rng.choice(list(streams)), outcome, parts=parts)
        return self._quiet_event()

    def _quiet_event(self) -> Record:
        rng, branches = self.rng, list(self.model.branches)
        branch = rng.choice(branches)
        message_id = UUID(int=rng.getrandbits(120) << 8 | len(self.messages))
        match rng.randrange(9):
            case 0 | 1:
                parts = (TextPart("hello " * rng.randrange(3)),)
                return MessageAppended(message_id, rng.choice(("user", "tool")), parts, branch)
            case 2 | 3 if len(self.model.streams) < self.streams:
                return StreamStarted(message_id, branch=branch)
            case 4:
                head = rng.choice([None, *self.messages])
                return BranchMoved(rng.choice([*branches, "b1", "b2"]), head)
            case 5:
                return BranchSwitched(branch)
            case 6 if branch != self.model.active_branch:
                return BranchDeleted(branch)
            case 7:
                config = {rng.choice("ab"): rng.choice((None, 1, {"x": 2}))}
                return ContextUpdated({"title": rng.choice((None, "u")), "config": config})
            case 8:
                return StateChanged(rng.choice(("idle", "busy")), rng.choice((None, {"n": 1})))
            case _:
                return CustomRecorded("tick")
