"""Measure what the README claims, against this machine's raw LMDB in the same run.

Everything goes through the public store and queries, in a temporary directory on the disk that is named.
Nothing here is a test: it prints what it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import lmdb
from uuid_utils.compat import uuid7

import turnlog
from eventstore.commits import Append, Committed
from eventstore.content import TextPart
from eventstore.events import (
    ChunkReceived,
    ContextCreated,
    MessageAppended,
    Record,
    StreamFinalized,
    StreamStarted,
)
from eventstore.store import EventStore
from projections.timetravel import AtVersion

ANSWER_CHUNKS = 286
"""Chunks of an answer, the mean of recorded ones."""

CHUNK_TEXTS = ("The ", "quick", " fox", " jumps", "over")
"""4.8 bytes on average; recorded chunks have 4.7."""

Results = dict[str, dict[str, float | str | bool]]


def chunks(message_id: UUID, first: int, count: int) -> list[ChunkReceived]:
    """``count`` chunks, 20 ms apart."""
    return [
        ChunkReceived(
            message_id, first + i, CHUNK_TEXTS[(first + i) % 5], at=1_700_000_000_000_000 + i * 20_000
        )
        for i in range(count)
    ]


def answer(per_commit: int) -> list[list[Record]]:
    """A question and its streamed answer, as the events of each commit."""
    message_id = uuid7()
    question = MessageAppended(uuid7(), "user", (TextPart("How do the foxes get over the fence?"),))
    streamed: list[list[Record]] = [
        [*chunks(message_id, first + 1, min(per_commit, ANSWER_CHUNKS - first))]
        for first in range(0, ANSWER_CHUNKS, per_commit)
    ]
    return [
        [question, StreamStarted(message_id, model="model-1")],
        *streamed,
        [StreamFinalized(message_id, "completed", "stop", {"output_tokens": ANSWER_CHUNKS})],
    ]


async def fill(store: EventStore, events: int, per_commit: int, answers_per_context: int) -> list[UUID]:
    """Append about ``events`` events shaped like real streams; returns the contexts."""
    contexts: list[UUID] = []
    written = 0
    while written < events:
        context_id = uuid7()
        contexts.append(context_id)
        appends = [Append(context_id, (ContextCreated(title="speed"),))]
        for _ in range(answers_per_context):
            appends += [Append(context_id, tuple(commit)) for commit in answer(per_commit)]
            written += ANSWER_CHUNKS + 3
            if written >= events:
                break
        for start in range(0, len(appends), 2_000):
            for outcome in await store.append_many(appends[start : start + 2_000]):
                assert isinstance(outcome, Committed), outcome
    return contexts


def median_us(seconds: list[float]) -> float:
    """The median of many durations, in microseconds."""
    return statistics.median(seconds) * 1e6


async def sequential(store: EventStore, directory: Path) -> dict[str, float | str | bool]:
    """One durable append after another beside raw one-put commits, in alternating blocks."""
    raw = lmdb.open(str(directory / "raw"), map_size=1 << 40, max_dbs=1, lib_version=0)
    database = raw.open_db(b"raw")
    context_id, message_id = uuid7(), uuid7()
    await store.append(context_id, [ContextCreated(), StreamStarted(message_id)])
    value, raw_times, our_times, sequence = os.urandom(150), list[float](), list[float](), 0
    for _ in range(20):
        for i in range(100):
            start = time.perf_counter()
            with raw.begin(write=True) as txn:
                txn.put((len(raw_times) + i).to_bytes(8, "big"), value, db=database)
            raw_times.append(time.perf_counter() - start)
        for _ in range(100):
            sequence += 1
            (chunk,) = chunks(message_id, sequence, 1)
            start = time.perf_counter()
            await store.append(context_id, [chunk])
            our_times.append(time.perf_counter() - start)
    raw.close()
    ours, yardstick = median_us(our_times), median_us(raw_times)
    return {"value": ours / yardstick, "target": 1.2, "better": "lower", "ours_us": ours, "raw_us": yardstick}


async def many_tasks(log: turnlog.Turnlog) -> dict[str, float | str | bool]:
    """1,000 tasks, each awaiting one durable chunk after another, with the views following."""
    rounds = 200

    async def produce() -> None:
        context_id, message_id = uuid7(), uuid7()
        await log.store.append(context_id, [ContextCreated(), StreamStarted(message_id)])
        started.append(message_id)
        for chunk in chunks(message_id, 1, rounds):
            await log.store.append(context_id, [chunk])

    started: list[UUID] = []
    start = time.perf_counter()
    await asyncio.gather(*[produce() for _ in range(1_000)])
    elapsed = time.perf_counter() - start
    await log.runner.wait_for(log.store.acknowledged)
    views = time.perf_counter() - start
    return {
        "value": 1_000 * (rounds + 1) / elapsed,
        "target": 60_000,
        "better": "higher",
        "views_caught_up_after_s": views - elapsed,
    }


async def large_commits(store: EventStore) -> dict[str, float | str | bool]:
    """Commits of 1,000 chunks each, one after another."""
    context_id, message_id = uuid7(), uuid7()
    await store.append(context_id, [ContextCreated(), StreamStarted(message_id)])
    commits = [chunks(message_id, i * 1_000 + 1, 1_000) for i in range(300)]
    start = time.perf_counter()
    for commit in commits:
        await store.append(context_id, commit)
    return {"value": 300_000 / (time.perf_counter() - start), "target": 600_000, "better": "higher"}


def read_log(store: EventStore) -> dict[str, float | str | bool]:
    """Every event of the log as a row, digests checked."""
    events, commits, start = 0, 0, time.perf_counter()
    for commit in store.read():
        commits += 1
        events += sum(1 for _ in commit.events())
    elapsed = time.perf_counter() - start
    return {
        "value": events / elapsed,
        "target": 800_000,
        "better": "higher",
        "events": events,
        "commits": commits,
    }


async def rebuild(path: Path, events: int) -> dict[str, float | str | bool]:
    """Delete the views, open, and wait until all three are there again."""
    shutil.rmtree(path / "views", ignore_errors=True)
    start = time.perf_counter()
    async with turnlog.open(path) as log:
        await log.runner.wait_for(log.store.acknowledged)
        elapsed = time.perf_counter() - start
    return {"value": events / elapsed, "target": 250_000, "better": "higher", "seconds": elapsed}


async def as_of(log: turnlog.Turnlog, contexts: tuple[UUID, UUID]) -> tuple[float, float]:
    """The 99th percentiles of the state at random versions of two contexts, in turn, in microseconds."""
    source = random.Random(1)  # noqa: S311 -- which versions are asked for is no secret
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(5_000):
        for context_id, taken in zip(contexts, times, strict=True):
            version = source.randint(1, log.store.version_of(context_id))
            start = time.perf_counter()
            await log.queries.context(context_id, AtVersion(version))
            taken.append(time.perf_counter() - start)
    short, long = (statistics.quantiles(taken, n=100)[98] * 1e6 for taken in times)
    return short, long


async def measure(directory: Path, events: int, say: Callable[[str], None]) -> Results:
    """Everything, one after another."""
    results: Results = {}

    async def part(name: str, work: Awaitable[dict[str, float | str | bool]]) -> None:
        say(name)
        results[name] = await work

    async with turnlog.open(directory / "writes") as log:
        await part("sequential append / raw LMDB commit", sequential(log.store, directory))
        await part("appends/s, 1,000 tasks, views following", many_tasks(log))
        await part("events/s, commits of 1,000 chunks", large_commits(log.store))
    for per_commit in (1, 16):
        path = directory / f"log-{per_commit}"
        say(f"a log of {events:,} events, {per_commit} chunks a commit")
        async with await EventStore.open(path) as store:
            await fill(store, events, per_commit, 20)
            results[f"events/s read, {per_commit} chunks a commit"] = read_log(store)
        await part(f"events/s rebuilt, {per_commit} chunks a commit", rebuild(path, events))
    async with turnlog.open(directory / "long") as log:
        say("a context of a million events and one of a thousand")
        (long,) = await fill(log.store, events, 16, events)
        (short,) = await fill(log.store, 1_000, 16, 1_000)
        await log.runner.wait_for(log.store.acknowledged)
        p99_short, p99_long = await as_of(log, (short, long))
        results["as-of state, p99 us"] = {"value": p99_long, "target": 1_000, "better": "lower"}
        results["as-of state, long / short context"] = {
            "value": p99_long / p99_short,
            "target": 2,
            "better": "lower",
            "short_us": p99_short,
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results["peak resident memory, MiB"] = {"value": peak, "target": "", "better": ""}
    return results


def main() -> None:
    """Run the measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events of the large logs")
    parser.add_argument("--directory", type=Path, help="where to write; default: a temporary directory")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="turnlog-speed-", dir=arguments.directory))
    try:
        results = asyncio.run(
            measure(directory, arguments.events, lambda what: print(f"... {what}", file=sys.stderr))
        )
    finally:
        shutil.rmtree(directory)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    for name, result in results.items():
        details = ", ".join(
            f"{key} {value:,.0f}"
            for key, value in result.items()
            if isinstance(value, float) and key != "value"
        )
        value, target = result["value"], result["target"]
        assert isinstance(value, (int, float))
        shown = f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
        print(f"{name:45} {shown:>12}   target {target!s:>8}   {details}")


if __name__ == "__main__":
    main()
