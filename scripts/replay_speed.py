"""How fast a log is exported, replayed into another store, and migrated.

Run by hand: python scripts/replay_speed.py.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from synthetic import ANSWER_CHUNKS, fill

from eventstore.commits import Append, Committed
from eventstore.store import EventStore
from turnlog.exporters.folder import Folder
from turnlog.exporters.ndjson import export
from turnlog.importers.source.files import Source
from turnlog.migrating import migrate
from turnlog.replaying.ndjson import Placed, TurnlogNdjson

GROUP = 16
"""Chunks that a recorder's commit has while it streams."""
BATCH = 2_000
"""Commits appended at once."""


async def append(path: Path, appends: Iterator[Append]) -> None:
    """Write them to a store."""
    async with await EventStore.open(path) as store:
        batch: list[Append] = []
        for item in appends:
            batch.append(item)
            if len(batch) == BATCH:
                check(await store.append_many(batch))
                batch.clear()
        check(await store.append_many(batch))


def check(outcomes: Sequence[Committed | Exception]) -> None:
    """Every append was written."""
    wrong = [outcome for outcome in outcomes if not isinstance(outcome, Committed)]
    assert not wrong, wrong[0]


async def measure(contexts: int, root: Path) -> None:
    """Print a line for each way."""
    async with await EventStore.open(root / "old") as store:
        await fill(store, contexts * ANSWER_CHUNKS, GROUP, 1)
    start = time.perf_counter()
    async with await EventStore.open(root / "old", read_only=True) as store:
        with Folder(root / "out", force=False) as folder:
            events = export(store, None, folder, lambda done: None).events
    size = (root / "out" / "turnlog.ndjson").stat().st_size
    say("export", events, time.perf_counter() - start, f"{size / 1e6:.0f} MB")
    start = time.perf_counter()
    items = TurnlogNdjson().commits(Source(root / "out"))
    await append(root / "again", (item.append for item in items if isinstance(item, Placed)))
    say("replay of the lines", events, time.perf_counter() - start, "")
    phases: dict[str, float] = {}

    def progress(doing: str, done: int, total: int) -> None:
        phases.setdefault(doing, time.perf_counter())

    start = time.perf_counter()
    await migrate(root / "old", root / "new", progress=progress)
    end = time.perf_counter()
    times = [*phases.values(), end]
    spent = ", ".join(f"{name} {b - a:.1f} s" for name, (a, b) in zip(phases, pairwise(times), strict=True))
    say("migrate-store, verified", events, end - start, spent)


def say(what: str, events: int, seconds: float, more: str) -> None:
    """One figure."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{what}: {events:,} events in {seconds:.1f} s, {events / seconds:,.0f}/s, {memory:.0f} MiB; {more}"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contexts", type=int, default=2_000)
    parser.add_argument(
        "--directory", type=Path, help="where the stores are made; the usual place unless given"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as root:
        asyncio.run(measure(arguments.contexts, Path(root)))


if __name__ == "__main__":
    main()
