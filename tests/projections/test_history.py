"""A context's history in pages: an entry for each event, one for the chunks between two."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from given import START, C, Stack, chunk, chunks, ident, running
from naive import events_of, wander

from eventstore import frame
from eventstore.commits import Append, Commit
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
from projections.answers import HistoryEntry, StreamStretch
from projections.history import TAGS
from projections.timetravel import AtVersion


@pytest.fixture
async def stack(data_dir: Path) -> AsyncIterator[Stack]:
    async with running(data_dir) as stack:
        yield stack


async def test_history_has_an_entry_for_each_event_and_one_for_the_chunks_between_two(
    stack: Stack, seed: int
) -> None:
    await wander(stack, random.Random(seed), 150, streams=6)
    expected: list[tuple[str, int, int, Sequences]] = []
    for version, (_, event) in enumerate(events_of(stack.commits()), 1):
        if not isinstance(event, ChunkReceived):
            expected.append((tag_of(event), version, version, {}))
            continue
        if not expected[-1][3]:
            expected.append((tag_of(event), version, version, {}))
        tag, first, _, streams = expected[-1]
        first_sequence, _ = streams.get(event.message_id, (event.sequence, 0))
        streams[event.message_id] = first_sequence, event.sequence
        expected[-1] = tag, first, version, streams
    for limit in (1_000, 7, 1):
        found = await _history(stack, limit)
        assert [(e.type, e.version, e.last_version, _sequences(e)) for e in found] == expected
        for entry in found:
            assert entry.count == entry.last_version - entry.version + 1
            if entry.streams:
                assert entry.count == sum(stream.count for stream in entry.streams)
                assert entry.message_id == (entry.streams[0].message_id if len(entry.streams) == 1 else None)


Sequences = dict[UUID, tuple[int, int]]
"""The first and last sequence of each stream."""


def _sequences(entry: HistoryEntry) -> Sequences:
    return {stream.message_id: (stream.first_sequence, stream.last_sequence) for stream in entry.streams}


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
    assert (run.message_id, run.count, run.streams) == (ident(1), 2, [StreamStretch(ident(1), 1, 2)])
    assert (ended.message_id, ended.outcome, ended.position) == (ident(1), "failed", 2)


async def test_a_page_may_start_and_end_inside_a_stretch_where_streams_take_turns(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), StreamStarted(ident(2))])
    await stack.store.append(C, [*chunks(1, 1, 3), *chunks(2, 1, 3), *chunks(1, 4, 5)])
    said = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (1, 4), (1, 5)]
    for after in range(3, 11):
        for up_to in range(after + 1, 12):
            (entry,) = (await stack.queries.history(C, after=after, moment=AtVersion(up_to))).items
            shown = [
                (stream.message_id.int, sequence)
                for stream in entry.streams
                for sequence in range(stream.first_sequence, stream.last_sequence + 1)
            ]
            assert shown == sorted(said[after - 3 : up_to - 3])
            assert (entry.version, entry.last_version) == (after + 1, up_to)
    assert (await stack.queries.history(C, after=11)).items == []


async def test_thousands_of_turns_are_one_entry_and_cost_a_few_reads_of_the_log(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stack.store.append(C, [ContextCreated(), *(StreamStarted(ident(n)) for n in (1, 2, 3))])
    turns = [chunk(1 + turn % 3, 1 + turn // 3) for turn in range(3_000)]
    await stack.store.append_many([Append(C, (turn,)) for turn in turns])
    await stack.store.append(C, [StreamFinalized(ident(2), "completed")])
    await stack.runner.wait_for(stack.store.acknowledged)
    decoded: list[int] = []
    decode = frame.decode

    def counted(position: int, *arguments: Any, **named: Any) -> Commit:
        decoded.append(position)
        return decode(position, *arguments, **named)

    monkeypatch.setattr(frame, "decode", counted)
    stretch = (await stack.queries.history(C)).items[4]
    assert (stretch.version, stretch.last_version, stretch.count) == (5, 3_004, 3_000)
    assert stretch.streams == [StreamStretch(ident(n), 1, 1_000) for n in (1, 2, 3)]
    assert len(decoded) < 10


def test_every_event_has_a_name_in_history() -> None:
    assert len(TAGS) == len(BITS) - 1
