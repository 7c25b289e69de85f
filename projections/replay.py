"""Timed replay: a stream's chunks once more, at the intervals at which they came. It writes nothing.

Each chunk is due at a time computed from the start, not from the chunk before, so neither rounding nor a slow
consumer nor a late timer adds up; who falls behind catches up.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from math import isfinite
from typing import Final, TypeAlias
from uuid import UUID

import anyio
import anyio.lowlevel
import msgspec

from eventstore.errors import Refused
from eventstore.events import ChunkRun
from projections.answers import ReplayChunk, ReplayDone
from projections.chunks import ChunkReader, Withdrawal, stored_runs
from projections.layout import TimelineRow
from projections.snapshot import Snapshot

YIELD_CHUNKS: Final = 512
"""Chunks delivered without a pause before other tasks have their turn."""

Seconds: TypeAlias = float
MonotonicClock: TypeAlias = Callable[[], Seconds]
Sleep: TypeAlias = Callable[[Seconds], Awaitable[None]]


class Pace(msgspec.Struct, frozen=True):
    """How to replay, and which part. Bounds are inclusive; milliseconds count from the stream's first chunk.

    ``speed`` 1 keeps the recorded intervals, s divides them by s, 0 delivers everything at once, in order.
    ``max_gap_ms`` caps a recorded pause, before the speed divides it.
    """

    speed: float = 1.0
    from_sequence: int | None = None
    to_sequence: int | None = None
    from_ms: float | None = None
    to_ms: float | None = None
    max_gap_ms: float | None = None

    def check(self) -> None:
        """Raise ``Refused`` (``invalid_argument``) for what makes no sense."""
        if not (isfinite(self.speed) and self.speed >= 0):
            raise Refused("invalid_argument", "speed is 0 or more", argument="speed")
        for name in ("from_sequence", "to_sequence", "from_ms", "to_ms", "max_gap_ms"):
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and value >= 0):
                raise Refused("invalid_argument", f"{name} is 0 or more", argument=name)


class Schedule:
    """When each chunk of a stream is due, pure. ``elapsed_us`` is the recorded time since the first chunk.

    A clock that was set back between two chunks counts as no time.
    """

    def __init__(self, pace: Pace, elapsed_us: int) -> None:
        self._first = pace.from_sequence or 0
        self._last = pace.to_sequence
        self._from_us = -1.0 if pace.from_ms is None else pace.from_ms * 1_000
        self._to_us = None if pace.to_ms is None else pace.to_ms * 1_000
        self._gap_us_max = None if pace.max_gap_ms is None else pace.max_gap_ms * 1_000
        self._elapsed_us = elapsed_us
        self._at: int | None = None
        self._due_us = 0.0
        self._began_us: int | None = None
        self.recorded_us = 0
        self.ended = False

    def of(self, run: ChunkRun) -> Iterator[tuple[ReplayChunk, float]]:
        """The chunks of the next run that are wanted, and when each is due, as in ``next``."""
        kind, part = run.kind, run.part
        for sequence, (delta, at) in enumerate(zip(run.deltas, run.times(), strict=True), run.first_sequence):
            place = self.next(sequence, at)
            if place is not None:
                yield ReplayChunk(sequence, delta, kind, part, at, place[0]), place[1]
            elif self.ended:
                return

    def next(self, sequence: int, at: int) -> tuple[int, float] | None:
        """The next chunk's offset, and when it is due after the first that is delivered, in microseconds.

        None for a chunk before the part that is wanted, and after it; then ``ended`` is set.
        """
        gap = 0 if self._at is None else max(0, at - self._at)
        self._at = at
        self._elapsed_us += gap
        if sequence < self._first or self._elapsed_us < self._from_us:
            return None
        if (self._last is not None and sequence > self._last) or (
            self._to_us is not None and self._elapsed_us > self._to_us
        ):
            self.ended = True
            return None
        if self._began_us is None:
            self._began_us = self._elapsed_us
        else:
            self._due_us += gap if self._gap_us_max is None else min(gap, self._gap_us_max)
            self.recorded_us = self._elapsed_us - self._began_us
        return self._elapsed_us, self._due_us


def entrance(row: TimelineRow, pace: Pace) -> tuple[int, int]:
    """Where to begin reading: the sequence before, and the recorded time of the first chunk that is read."""
    after = elapsed_us = 0
    if row.marks:
        index = 0
        if pace.from_sequence is not None:
            firsts = [mark.first_sequence for mark in row.marks]
            index = max(index, bisect_right(firsts, pace.from_sequence) - 1)
        if pace.from_ms is not None:
            starts = [mark.elapsed_us for mark in row.marks]
            index = max(index, bisect_left(starts, pace.from_ms * 1_000) - 1)
        after, elapsed_us = row.marks[index].first_sequence - 1, row.marks[index].elapsed_us
    return after, elapsed_us


async def replay(
    snapshot: Callable[[], Snapshot],
    message_id: UUID,
    pace: Pace,
    withdrawal: Withdrawal,
    clock: MonotonicClock = anyio.current_time,
    sleep: Sleep = anyio.sleep,
) -> AsyncGenerator[ReplayChunk | ReplayDone]:
    """Deliver the wanted chunks when they are due, then the totals. Of an open stream: those so far.

    ``clock`` and ``sleep`` count in seconds. Segments are read when they are reached. Raises ``NotFound``
    (``message_not_found``, ``stream_not_open``, ``message_redacted``, also when it is redacted meanwhile) or
    ``Refused`` (``invalid_argument``).
    """
    pace.check()
    with snapshot() as view:
        row = view.timeline(message_id)
    after, elapsed_us = entrance(row, pace)
    schedule = Schedule(pace, elapsed_us)
    reader = ChunkReader(message_id, after)
    chunks = characters = text_bytes = 0
    start: Seconds | None = None
    unyielded = 0
    async with aclosing(stored_runs(snapshot, reader)) as runs:
        async for run in runs:
            for chunk, due_us in schedule.of(run):
                unyielded += 1
                if pace.speed:
                    start = clock() if start is None else start
                    ahead = start + due_us / 1_000_000 / pace.speed - clock()
                    if ahead > 0:
                        await sleep(ahead)
                        unyielded = 0
                if unyielded >= YIELD_CHUNKS:
                    await anyio.lowlevel.checkpoint()
                    unyielded = 0
                await withdrawal.check()
                chunks += 1
                if chunk.kind != "other":
                    characters += len(chunk.delta)
                    text_bytes += len(chunk.delta.encode())
                yield chunk
            if schedule.ended:
                break
    outcome = row.outcome if reader.end is None else reader.end.outcome
    yield ReplayDone(chunks, characters, text_bytes, schedule.recorded_us, outcome)
