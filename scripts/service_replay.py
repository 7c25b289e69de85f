"""Replay, measured: as fast as can be, and on time."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

from reporting import Results
from served import Served, serving
from service_load import get, p99_ms, read
from synthetic import fill_stream

import turnlog
from projections.answers import ReplayChunk

LONG = 100_000
"""Chunks of the stream that is replayed as fast as can be."""

TIMED_SECONDS = 60
TIMED_MS = (7, 40, 95, 13, 60, 31, 4, 88)
"""Between the chunks of the stream that is replayed on time, over and over: 42 ms on average."""


async def timed(served: Served) -> Results:
    """A recorded stream once more: when chunks come, against when they are due, at three speeds at once."""
    client = await served.client()
    message = await client.stream()
    at, sequence = 1_700_000_000_000_000, 0
    body: list[dict[str, object]] = []
    dues: list[float] = []
    while not dues or dues[-1] < 2 * TIMED_SECONDS:
        sequence += 1
        body.append({"sequence": sequence, "delta": f"@{sequence}", "at": at})
        dues.append((at - 1_700_000_000_000_000) / 1e6)
        at += TIMED_MS[sequence % len(TIMED_MS)] * 1_000
    await client.post(f"/api/messages/{message}/chunks", body)
    await client.post(f"/api/messages/{message}/finalize", {})
    found: Results = {}

    async def follow(speed: float) -> None:
        last = next(n for n, due in enumerate(dues) if due > TIMED_SECONDS * speed)
        path = f"/api/messages/{message}/replay?speed={speed}&to={last}"
        reader = await read(served.port, get(path))
        await reader.ended
        start = reader.arrivals[0][1]
        errors = [came - start - dues[int(n) - 1] / speed for n, came in reader.arrivals]
        assert len(errors) == last
        tenth = len(errors) // 10
        drift = statistics.mean(errors[-tenth:]) - statistics.mean(errors[:tenth])
        found[f"timed replay, speed {speed:g}: error, p99 ms"] = {
            "value": p99_ms([abs(error) for error in errors]),
            "target": 5,
            "better": "lower",
            "drift_over_a_minute_ms": drift * 1e3,
        }

    await asyncio.gather(*map(follow, (1.0, 2.0, 0.5)))
    return found


async def fast(directory: Path) -> Results:
    """The same as fast as can be: in this process, then over HTTP."""
    async with turnlog.open(directory) as log:
        message = await fill_stream(log.store, LONG)
        await log.runner.wait_for(log.store.acknowledged)
        start, chunks = time.perf_counter(), 0
        async for item in log.queries.replay(message, 0):
            chunks += isinstance(item, ReplayChunk)
        inside = chunks / (time.perf_counter() - start)
    assert chunks == LONG
    async with serving(directory) as served:
        reader = await read(served.port, get(f"/api/messages/{message}/replay?speed=0"))
        start = time.perf_counter()
        await reader.ended
        outside = LONG / (time.perf_counter() - start)
        assert reader.frames == LONG + 2, reader.frames
    return {
        "replay at speed 0, chunks/s in process": {"value": inside, "target": 200_000, "better": "higher"},
        "the same over HTTP": {"value": outside, "target": 50_000, "better": "higher"},
    }
