"""Measure what the README claims of the service: its process and the load share this machine's processors.

Every part has a server of its own on an empty directory. Nothing here is a test: it prints what it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import uvloop
from reporting import Result, Results, tell
from served import Served, serving
from service_load import Pacer, get, in_parallel, p99_ms, post, read, repeat
from service_replay import fast, timed
from uuid_utils.compat import uuid7
from yardsticks import empty_loop_ms

SECONDS = 10
"""Of load, where it is a rate that is measured."""

CONNECTIONS = 64
COMMITS = 50_000
PRODUCERS = 8
LINES = 250
"""Chunks that a producer sends at once."""

READERS = 500
RATE = 50
"""Chunks a second of the stream that they follow."""

IDLE = 2_000


async def commits(served: Served) -> Result:
    """Appends of one event, durable, each connection one after another."""
    times: list[float] = []

    def requests() -> Iterator[bytes]:
        head = b'{"context_id":"%b","events":[' % str(uuid7()).encode()
        yield post("/api/commits", head + b'{"type":"context.created"}]}')
        event = b'{"type":"message.appended","role":"user","message_id":"%b"}]}'
        for _ in range(COMMITS // CONNECTIONS):
            yield post("/api/commits", head + event % str(uuid7()).encode())

    prepared = [list(requests()) for _ in range(CONNECTIONS)]
    before = served.processor_seconds()

    async def work(number: int) -> None:
        await repeat(served.port, iter(prepared[number]), times)

    seconds = await in_parallel(CONNECTIONS, work)
    return {
        "value": len(times) / seconds,
        "target": 5_000,
        "better": "higher",
        "p50_ms": statistics.median(times) * 1e3,
        "p99_ms": p99_ms(times),
        "processor_us": (served.processor_seconds() - before) / len(times) * 1e6,
    }


async def ingest(served: Served) -> Result:
    """Chunks as lines of JSON, each durable when it is acknowledged; a producer waits for that."""
    done = 0
    until = time.perf_counter() + SECONDS

    async def work(_: int) -> None:
        nonlocal done
        client = await served.client()
        message = await client.stream()
        sequence = 0
        while time.perf_counter() < until:
            lines = b"".join(
                b'{"sequence":%d,"delta":"word "}\n' % n for n in range(sequence + 1, sequence + LINES + 1)
            )
            path = f"/api/messages/{message}/chunks"
            status, answer = await client.send(post(path, lines, "application/x-ndjson"))
            assert status == 200, answer
            sequence += LINES
            assert json.loads(answer.splitlines()[-1])["sequence"] == sequence, answer
            done += LINES
        client.close()

    seconds = await in_parallel(PRODUCERS, work)
    return {"value": done / seconds, "target": 60_000, "better": "higher"}


async def attach(served: Served) -> Result:
    """A reader comes to the middle of a long stream that is being written: its first chunk."""
    producer = await served.client()
    message = await producer.stream()
    path = f"/api/messages/{message}"
    for first in range(1, 5_001, 20):
        body = [{"sequence": n, "delta": "word "} for n in range(first, first + 20)]
        await producer.post(f"{path}/chunks", body)
    firsts: list[float] = []

    async def produce(number: int) -> None:
        chunk = {"sequence": 5_000 + number, "delta": "word "}
        await producer.post(f"{path}/chunks", chunk)

    pacer = Pacer(produce, RATE)
    for number in range(1_000):
        reader = await read(served.port, get(f"{path}/stream?after={2_000 + number}"))
        firsts.append(await reader.first)
        await reader.until(3_000 - number)  # what was there
        reader.transport.abort()
        await reader.ended
    await pacer.stop()
    return {
        "value": p99_ms(firsts),
        "target": 10,
        "better": "lower",
        "p50_ms": statistics.median(firsts) * 1e3,
    }


async def fan_out(served: Served) -> Result:
    """One stream and many readers: from before the chunk is sent to when each of them has it."""
    producer = await served.client()
    message = await producer.stream()
    request = get(f"/api/messages/{message}/stream")
    readers = [await read(served.port, request) for _ in range(READERS)]
    await asyncio.gather(*(reader.first for reader in readers))

    async def produce(number: int) -> None:
        await producer.post(f"/api/messages/{message}/chunks", {"sequence": number, "delta": stamp()})

    pacer = Pacer(produce, RATE)
    await asyncio.sleep(SECONDS)
    sent = await pacer.stop()
    await producer.post(f"/api/messages/{message}/finalize", {})
    await asyncio.gather(*(reader.ended for reader in readers))
    latencies = [came - sent for reader in readers for sent, came in reader.arrivals]
    assert len(latencies) == READERS * sent, "every reader got every chunk"
    return {
        "value": p99_ms(latencies),
        "target": 50,
        "better": "lower",
        "p50_ms": statistics.median(latencies) * 1e3,
        "chunks_per_second": sent / SECONDS,
    }


def stamp() -> str:
    """A delta that says when it was sent."""
    return f"@{time.time():.6f}"


async def idle(served: Served) -> Result:
    """Memory of the server for each connection that follows a stream in which nothing happens."""
    client = await served.client()
    message = await client.stream()
    before = served.memory_kib()
    request = get(f"/api/messages/{message}/stream")
    readers = [await read(served.port, request) for _ in range(IDLE)]
    await asyncio.gather(*(reader.first for reader in readers))
    used = served.memory_kib() - before
    for reader in readers:
        reader.transport.abort()
    return {"value": used / IDLE, "target": 40, "better": "lower"}


Part = Callable[[Served], Awaitable[Result]]

PARTS: dict[str, tuple[str, Part]] = {
    "commits": ("commits/s, 64 connections, durable", commits),
    "ingest": ("chunks/s as NDJSON, durable", ingest),
    "attach": ("attach in the middle: first byte, p99 ms", attach),
    "fan_out": ("50 chunks/s to 500 readers, p99 ms", fan_out),
    "idle": ("2,000 idle streams, KiB each", idle),
}


async def measure(directory: Path, only: str | None, say: Callable[[str], None]) -> Results:
    """All of it; ``say`` is told what is going on."""
    results: Results = {}
    for part, (name, work) in PARTS.items():
        if only in (None, part):
            say(name)
            async with serving(directory / part) as served:
                results[name] = await work(served)
    if only in (None, "replay"):
        say("replay as fast as can be")
        results |= await fast(directory / "fast")
        say("replay on time")
        async with serving(directory / "timed") as served:
            results |= await timed(served)
    return results


def main() -> None:
    """Run the measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=(*PARTS, "replay"), help="one part")
    parser.add_argument("--directory", type=Path, help="where to write; default: a temporary directory")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="turnlog-speed-", dir=arguments.directory))
    gc.disable()  # the load's own pauses are not to be measured
    try:
        results = uvloop.run(
            measure(directory, arguments.only, lambda what: print(f"... {what}", file=sys.stderr))
        )
    finally:
        shutil.rmtree(directory)
    yardstick = f"uvloop, a million turns of an empty loop in {empty_loop_ms():.0f} ms"
    tell(results, yardstick, as_json=arguments.json)


if __name__ == "__main__":
    main()
