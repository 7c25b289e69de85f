"""A context's history in pages: an entry for each event, one for each run of chunks."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from given import START, C, Stack, chunks, ident, running
from naive import events_of, wander

from eventstore.events import (
    BITS,
    ChunkReceived,
    ContextCreated,
    CustomRecorded,
    StateChanged,
    StreamFinalized,
    StreamStarted,
    tag_of,
)
from projections.answers import HistoryEntry
from projections.history import TAGS


@pytest.fixture
async def stack(data_dir: Path) -> AsyncIterator[Stack]:
    async with running(data_dir) as stack:
        yield stack


async def test_history_has_an_entry_for_each_event_and_one_for_a_run_of_chunks(
    stack: Stack, seed: int
) -> None:
    await wander(stack, random.Random(seed), 150)
    expected: list[tuple[str, int, int, UUID | None]] = []
    for version, (_, event) in enumerate(events_of(stack.commits()), 1):
        if isinstance(event, ChunkReceived):
            last = expected[-1]
            if last[0] == "stream.chunk_received" and last[3] == event.message_id:
                expected[-1] = (*last[:2], version, event.message_id)
            else:
                expected.append(("stream.chunk_received", version, version, event.message_id))
        else:
            expected.append((tag_of(event), version, version, None))
    for limit in (1_000, 7, 1):
        found = await _history(stack, limit)
        shapes = [
            (e.type, e.version, e.last_version, e.message_id if e.first_sequence else None) for e in found
        ]
        assert shapes == expected
        for entry in found:
            assert entry.count == entry.last_version - entry.version + 1


async def _history(stack: Stack, limit: int) -> list[HistoryEntry]:
    found: list[HistoryEntry] = []
    after: int | str | None = 0
    while after is not None:
        page = await stack.queries.history(C, after=after, limit=limit)
        found.extend(page.items)
        after = page.next_cursor
    return found


async def test_a_history_entry_says_what_it_is_about(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StateChanged("busy"), CustomRecorded("tick")])
    await stack.store.append(
        C, [StreamStarted(ident(1)), *chunks(1, 1, 2), StreamFinalized(ident(1), "failed")]
    )
    (created, state, custom, started, run, ended) = (await stack.queries.history(C)).items
    assert (created.type, created.position, created.recorded_at) == ("context.created", 1, START + 2_000)
    assert (state.name, custom.name, started.branch) == ("busy", "tick", "main")
    assert (run.message_id, run.count, run.first_sequence, run.last_sequence) == (ident(1), 2, 1, 2)
    assert (ended.message_id, ended.outcome, ended.position) == (ident(1), "failed", 2)


async def test_a_page_may_start_inside_a_run_where_streams_take_turns(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), StreamStarted(ident(2))])
    await stack.store.append(C, [*chunks(1, 1, 3), *chunks(2, 1, 3), *chunks(1, 4, 5)])
    for after in range(3, 12):
        shown = [
            (entry.message_id, sequence)
            for entry in (await stack.queries.history(C, after=after)).items
            for sequence in range(entry.first_sequence or 0, (entry.last_sequence or 0) + 1)
        ]
        whole = [(ident(n), s) for n, s in ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (1, 4), (1, 5))]
        assert shown == whole[after - 3 :]


async def test_a_run_that_starts_inside_a_page_goes_on_with_its_sequences(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 9)])
    (run,) = (await stack.queries.history(C, after=5)).items
    assert (run.version, run.last_version, run.first_sequence, run.last_sequence) == (6, 11, 4, 9)


def test_every_event_has_a_name_in_history() -> None:
    assert len(TAGS) == len(BITS) - 1
