"""Totals are what a plain count of the log's events gives, by workspace."""

from __future__ import annotations

import random
from collections import Counter
from uuid import UUID

from given import chunk, ident

from eventstore.commits import Commit, pack
from eventstore.events import (
    ContextCreated,
    ContextDeleted,
    CustomRecorded,
    Event,
    MessageAppended,
    StreamFinalized,
    StreamStarted,
    kinds_of,
    tag_of,
)
from projections.memory import MemoryViews
from projections.totals import TotalsProjection, totals_of

WORKSPACES = ("a", "b", "ü" * 50)


class Log:
    """Commits that nobody checked."""

    def __init__(self) -> None:
        self.views = MemoryViews([TotalsProjection()])
        self.versions: Counter[UUID] = Counter()
        self.counted: dict[str, Counter[str]] = {}
        self.workspaces: dict[UUID, str] = {}
        self.position = 0

    def commit(self, context_id: UUID, *events: Event) -> None:
        first, self.position = self.versions[context_id] + 1, self.position + 1
        self.versions[context_id] += len(events)
        records = pack(events)
        kinds = kinds_of(records)
        self.views.apply(
            Commit(self.position, context_id, first, len(events), kinds, 0, None, None, records, b"")
        )
        for event in events:
            if isinstance(event, ContextCreated):
                self.workspaces[context_id] = event.workspace
            self.counted.setdefault(self.workspaces[context_id], Counter())[tag_of(event)] += 1


def test_they_are_a_plain_count(seed: int) -> None:
    rng, log = random.Random(seed), Log()
    contexts = [ident(n) for n in range(1, 8)]
    for number, context_id in enumerate(contexts):
        log.commit(
            context_id, ContextCreated(workspace=WORKSPACES[number % 3]), StreamStarted(ident(100 + number))
        )
    sequences: Counter[UUID] = Counter()
    for _ in range(200):
        context_id = rng.choice(contexts)
        events: list[Event] = []
        for _ in range(rng.randint(1, 3)):
            if rng.random() < 0.7:
                sequences[context_id] += 1
                events.append(chunk(1, sequences[context_id]))
            else:
                events.append(CustomRecorded("c"))
        log.commit(context_id, *events)
    for number, context_id in enumerate(contexts):
        log.commit(
            context_id,
            StreamFinalized(ident(100 + number), "completed"),
            MessageAppended(ident(200 + number), "user"),
        )
    log.commit(contexts[0], ContextDeleted())
    totals = totals_of(log.views)  # pyright: ignore[reportArgumentType] -- it reads like a ViewReader
    assert {name: dict(one.events) for name, one in totals.items()} == log.counted
    assert {name: one.contexts for name, one in totals.items()} == {"a": 3, "b": 2, WORKSPACES[2]: 2}
    assert (totals["a"].messages, totals["a"].deleted) == (6, 1)


def test_chunks_of_an_open_stream_are_counted_at_the_next_event() -> None:
    log = Log()
    log.commit(ident(1), ContextCreated(), StreamStarted(ident(2)))
    for sequence in range(1, 6):
        log.commit(ident(1), chunk(2, sequence))
    view = log.views
    assert "stream.chunk_received" not in totals_of(view)["default"].events  # pyright: ignore[reportArgumentType] -- as above
    log.commit(ident(1), CustomRecorded("c"))
    assert totals_of(view)["default"].events["stream.chunk_received"] == 5  # pyright: ignore[reportArgumentType] -- as above
