"""Timed replay with a clock of its own: when chunks are due, which are delivered, and the totals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from given import START, C, Stack, chunk, code_of, ident, running

from eventstore.errors import Refused
from eventstore.events import (
    ChunkReceived,
    ContextCreated,
    CustomRecorded,
    MessageAppended,
    MessageRedacted,
    StreamFinalized,
    StreamStarted,
)
from projections import segments
from projections.answers import ReplayChunk, ReplayDone
from projections.replay import Pace, Schedule

GAPS_MS = (0, 40, 10, 0, 500, 3, 2_000, 7, 1, 30)
"""Between the chunks of the stream of these tests."""


class FakeTime:
    """A clock that moves only in sleeps, and by what the consumer takes; its sleeps end late."""

    def __init__(self, late: float = 0.0) -> None:
        self.now = 1_000.0
        self.late = late
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + self.late


@pytest.fixture
async def stack(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    monkeypatch.setattr(segments, "SEGMENT_CHUNKS_MAX", 3)
    monkeypatch.setattr(segments, "EXTENDED_CHUNKS_MAX", 1)
    async with running(data_dir) as stack:
        await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1))])
        at = START
        for sequence, gap in enumerate(GAPS_MS, 1):
            at += gap * 1_000
            await stack.store.append(C, [chunk(1, sequence, "é" * sequence, at=at)])
        yield stack


async def finish(stack: Stack) -> None:
    await stack.store.append(C, [StreamFinalized(ident(1), "completed")])


async def replayed(
    stack: Stack, fake: FakeTime, *, takes: float = 0.0, **pace: Any
) -> tuple[list[tuple[int, float]], ReplayDone]:
    """Each chunk's sequence with when it came, in milliseconds after the first, and the totals."""
    came: list[tuple[int, float]] = []
    start = fake.now
    async for event in stack.queries.replay(ident(1), clock=fake.clock, sleep=fake.sleep, **pace):
        if isinstance(event, ReplayDone):
            return came, event
        assert isinstance(event, ReplayChunk)
        came.append((event.sequence, round((fake.now - start) * 1_000, 6)))
        fake.now += takes
    raise AssertionError("a replay ends with its totals")


def offsets(*gaps: float) -> list[float]:
    total, found = 0.0, list[float]()
    for gap in gaps:
        total += gap
        found.append(total)
    return found


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("speed", [1.0, 2.0, 0.5])
async def test_a_replay_keeps_the_recorded_intervals(stack: Stack, speed: float, sealed: bool) -> None:
    if sealed:
        await finish(stack)
    came, done = await replayed(stack, FakeTime(), speed=speed)
    assert came == list(enumerate([offset / speed for offset in offsets(*GAPS_MS)], 1))
    assert done == ReplayDone(10, 55, 110, sum(GAPS_MS) * 1_000, "completed" if sealed else None)


async def test_late_timers_and_slow_consumers_do_not_add_up(stack: Stack) -> None:
    came, _ = await replayed(stack, FakeTime(late=0.002), takes=0.005)
    due = offsets(*GAPS_MS)
    assert came[-1][1] - due[-1] <= 30, "who was late catches up in the pauses"
    assert came[6][1] - due[6] <= 2.001, "after a long pause only its own lateness is left"


async def test_speed_zero_delivers_everything_at_once_in_order(stack: Stack) -> None:
    await finish(stack)
    fake = FakeTime()
    came, done = await replayed(stack, fake, speed=0)
    assert [sequence for sequence, _ in came] == list(range(1, 11))
    assert fake.slept == []
    assert done.recorded_us == sum(GAPS_MS) * 1_000


async def test_long_pauses_are_capped_before_the_speed_divides_them(stack: Stack) -> None:
    came, done = await replayed(stack, FakeTime(), speed=2, max_gap_ms=100)
    assert [at for _, at in came] == [offset / 2 for offset in offsets(*(min(g, 100) for g in GAPS_MS))]
    assert done.recorded_us == sum(GAPS_MS) * 1_000, "the totals say what was recorded"


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"from_sequence": 4}, range(4, 11)),
        ({"from_sequence": 4, "to_sequence": 8}, range(4, 9)),
        ({"to_sequence": 1}, range(1, 2)),
        ({"from_sequence": 11}, range(0)),
        ({"from_ms": 50}, range(3, 11)),
        ({"from_ms": 50.1}, range(5, 11)),
        ({"from_ms": 40, "to_ms": 553}, range(2, 7)),
        ({"from_ms": 551, "to_sequence": 7}, range(6, 8)),
        ({"to_ms": 0}, range(1, 2)),
        ({"from_ms": 10_000}, range(0)),
    ],
)
async def test_a_part_is_chosen_by_sequence_or_milliseconds(
    stack: Stack, bounds: dict[str, float], expected: range, sealed: bool
) -> None:
    if sealed:
        await finish(stack)
    came, done = await replayed(stack, FakeTime(), **bounds)
    assert [sequence for sequence, _ in came] == list(expected)
    assert done.chunks == len(expected)
    if came:
        due = offsets(*GAPS_MS)
        assert [at for _, at in came] == [due[n - 1] - due[expected[0] - 1] for n in expected]
        assert done.recorded_us == (due[expected[-1] - 1] - due[expected[0] - 1]) * 1_000


async def test_offsets_are_told_from_the_first_chunk_of_the_stream(stack: Stack) -> None:
    await finish(stack)
    events = [event async for event in stack.queries.replay(ident(1), 0, from_sequence=5)]
    assert [e.offset_us // 1_000 for e in events if isinstance(e, ReplayChunk)] == offsets(*GAPS_MS)[4:]


def test_a_clock_that_was_set_back_costs_no_time() -> None:
    schedule = Schedule(Pace(), 0)
    due = [schedule.next(n, at) for n, at in enumerate((100, 150, 20, 30), 1)]
    assert due == [(0, 0.0), (50, 50.0), (50, 50.0), (60, 60.0)]


async def test_a_replay_writes_nothing(stack: Stack) -> None:
    await finish(stack)
    head = stack.store.head()
    await replayed(stack, FakeTime())
    assert stack.store.head() == head


async def test_a_note_is_delivered_and_not_counted_as_text(stack: Stack) -> None:
    note = ChunkReceived(ident(1), 11, '{"type": "signature"}', "other", START + 9_000_000)
    await stack.store.append(C, [note])
    came, done = await replayed(stack, FakeTime(), from_sequence=10)
    assert ([sequence for sequence, _ in came], done.chunks, done.characters) == ([10, 11], 2, 10)


@pytest.mark.parametrize(
    "pace",
    [
        {"speed": -1},
        {"speed": float("nan")},
        {"from_ms": -1},
        {"to_ms": -1},
        {"from_sequence": -1},
        {"to_sequence": -1},
        {"max_gap_ms": float("inf")},
    ],
)
async def test_a_pace_that_makes_no_sense_is_refused(stack: Stack, pace: dict[str, float]) -> None:
    with pytest.raises(Refused) as caught:
        await replayed(stack, FakeTime(), **pace)
    assert caught.value.code == "invalid_argument"


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("speed", [0, 1])
async def test_a_redaction_stops_a_replay_under_way(stack: Stack, speed: float, sealed: bool) -> None:
    if sealed:
        await finish(stack)
    fake = FakeTime()
    came: list[int] = []
    events = aiter(stack.queries.replay(ident(1), speed, clock=fake.clock, sleep=fake.sleep))
    for _ in range(2):
        event = await anext(events)
        assert isinstance(event, ReplayChunk)
        came.append(event.sequence)
    await stack.store.append(C, [MessageRedacted(ident(1))])
    assert await code_of(anext(events)) == "message_redacted"
    assert came == [1, 2]


async def test_other_commits_do_not_disturb_a_replay_under_way(stack: Stack) -> None:
    events = aiter(stack.queries.replay(ident(1), 0))
    await anext(events)
    for _ in range(3):
        await stack.store.append(C, [CustomRecorded("x")])
        await anext(events)
    await stack.store.append(C, [MessageAppended(ident(2), "user"), MessageRedacted(ident(2))])
    assert len([event async for event in events]) == len(GAPS_MS) - 4 + 1
