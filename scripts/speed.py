"""Measure what the README claims, against this machine's raw LMDB in the same run.

Everything goes through the public store and queries, in a temporary directory on the disk that is named.
Nothing here is a test: it prints what it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import lmdb
import uvloop
from reporting import Result, Results, tell
from synthetic import chunks, fill
from uuid_utils.compat import uuid7
from yardsticks import Handed, empty_loop_ms

import turnlog
from eventstore.events import ContextCreated, StateChanged, StreamStarted
from eventstore.store import EventStore
from projections.timetravel import AtVersion


def median_us(seconds: list[float]) -> float:
    """The median of many durations, in microseconds."""
    return statistics.median(seconds) * 1e6


async def sequential(store: EventStore, directory: Path) -> Result:
    """One durable append after another beside raw one-put commits, in alternating blocks."""
    raw = lmdb.open(str(directory / "raw"), map_size=1 << 40, max_dbs=1, lib_version=0)
    database, handed = raw.open_db(b"raw"), Handed(directory / "handed")
    context_id, message_id, value = uuid7(), uuid7(), os.urandom(150)
    await store.append(context_id, [ContextCreated(), StreamStarted(message_id)])
    times: dict[str, list[float]] = {"raw": [], "handed": [], "ours": []}

    def note(what: str, start: float) -> None:
        times[what].append(time.perf_counter() - start)

    for block in range(40):
        numbers = range(block * 50 + 1, block * 50 + 51)
        for number in numbers:
            start = time.perf_counter()
            with raw.begin(write=True) as txn:
                txn.put(number.to_bytes(8, "big"), value, db=database)
            note("raw", start)
        for _ in numbers:
            start = time.perf_counter()
            await handed.append(value)
            note("handed", start)
        for number in numbers:
            (chunk,) = chunks(message_id, number, 1)
            start = time.perf_counter()
            await store.append(context_id, [chunk])
            note("ours", start)
    raw.close()
    handed.close()
    medians = {what: median_us(taken) for what, taken in times.items()}
    return {
        "value": medians["ours"] / medians["raw"],
        "target": 1.2,
        "better": "lower",
        "ours_us": medians["ours"],
        "raw_us": medians["raw"],
        "same_puts_handed_to_a_thread_us": medians["handed"],
    }


async def many_tasks(log: turnlog.Turnlog) -> Result:
    """1,000 tasks, each awaiting one durable chunk after another, with the views following."""
    rounds = 200

    async def produce() -> None:
        context_id, message_id = uuid7(), uuid7()
        await log.store.append(context_id, [ContextCreated(), StreamStarted(message_id)])
        for chunk in chunks(message_id, 1, rounds):
            await log.store.append(context_id, [chunk])

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


async def large_commits(store: EventStore) -> Result:
    """Commits of 1,000 chunks each, one after another."""
    context_id, message_id = uuid7(), uuid7()
    await store.append(context_id, [ContextCreated(), StreamStarted(message_id)])
    commits = [chunks(message_id, i * 1_000 + 1, 1_000) for i in range(300)]
    start = time.perf_counter()
    for commit in commits:
        await store.append(context_id, commit)
    return {"value": 300_000 / (time.perf_counter() - start), "target": 600_000, "better": "higher"}


def read_log(store: EventStore) -> Result:
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


async def rebuild(path: Path, events: int) -> Result:
    """Delete the views, open, and wait until all three are there again."""
    shutil.rmtree(path / "views", ignore_errors=True)
    start = time.perf_counter()
    async with turnlog.open(path) as log:
        await log.runner.wait_for(log.store.acknowledged)
        elapsed = time.perf_counter() - start
    return {"value": events / elapsed, "target": 250_000, "better": "higher", "seconds": elapsed}


async def append_by_length(store: EventStore, contexts: tuple[UUID, UUID]) -> tuple[float, float]:
    """The median of appending one event to two contexts, in turn, in microseconds."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(500):
        for context_id, taken in zip(contexts, times, strict=True):
            start = time.perf_counter()
            await store.append(context_id, [StateChanged("busy")])
            taken.append(time.perf_counter() - start)
    return median_us(times[0]), median_us(times[1])


MEMORY = """
import asyncio, pathlib, sys, turnlog
async def main():
    async with turnlog.open(sys.argv[1]) as log:
        await log.runner.wait_for(log.store.acknowledged)
        print(sum(commit.event_count for commit in log.store.read()))
asyncio.run(main())
status = pathlib.Path("/proc/self/status").read_text()
print(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])
"""


def rebuild_memory(path: Path) -> float:
    """MiB of its own that a process has after rebuilding all views of a log and reading all of it."""
    shutil.rmtree(path / "views")
    command = [sys.executable, "-c", MEMORY, str(path)]
    events, kibibytes = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()  # noqa: S603 -- its own interpreter and text
    assert int(events) > 0
    return int(kibibytes) / 1024


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

    async def part(name: str, work: Awaitable[Result]) -> None:
        say(name)
        results[name] = await work

    async with turnlog.open(directory / "tasks") as log:
        await part("appends/s, 1,000 tasks, views following", many_tasks(log))
    async with turnlog.open(directory / "writes") as log:
        await part("sequential append / raw LMDB commit", sequential(log.store, directory))
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
        slow, fast = await append_by_length(log.store, (long, short))
        results["append, long / short context"] = {"value": slow / fast, "target": "", "better": "lower"}
    say("memory")
    async with turnlog.open(directory / "quarter") as log:
        await fill(log.store, events // 4, 16, 20)
        await log.runner.wait_for(log.store.acknowledged)
    small, large = rebuild_memory(directory / "quarter"), rebuild_memory(directory / "log-16")
    results["memory to rebuild and read, MiB"] = {
        "value": large,
        "target": "",
        "better": "lower",
        "quarter_of_the_log": small,
    }
    return results


def main() -> None:
    """Run the measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events of the large logs")
    parser.add_argument("--directory", type=Path, help="where to write; default: a temporary directory")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop", help="the event loop")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="turnlog-speed-", dir=arguments.directory))
    try:
        run = uvloop.run if arguments.loop == "uvloop" else asyncio.run
        results = run(
            measure(directory, arguments.events, lambda what: print(f"... {what}", file=sys.stderr))
        )
    finally:
        shutil.rmtree(directory)
    yardstick = f"{arguments.loop}, a million turns of an empty loop in {empty_loop_ms():.0f} ms"
    tell(results, yardstick, as_json=arguments.json)


if __name__ == "__main__":
    main()
