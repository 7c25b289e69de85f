"""Opens a store with a new version of one projection, and follows until that is built. A program.

    rebuilding.py DIRECTORY FOLDS

Prints `F POSITION` for every commit that the new version folds, and kills itself in the fold after that many;
or prints `DONE`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from itertools import count
from pathlib import Path

import opening

from eventstore.commits import Commit
from eventstore.events import ALL_BITS
from eventstore.store import EventStore
from projections.projection import Past, Projection, Rows
from projections.runner import Runner
from projections.views import Views


class NewCounts:
    """`opening.Counts` in its second version."""

    name = opening.Counts.name
    version = 2
    tables = opening.Counts.tables
    kinds = ALL_BITS

    def __init__(self, folds_max: int | None = None) -> None:
        self._folds_left = folds_max
        self._first = opening.Counts()

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Count; with a limit, tell, and die beyond it."""
        if self._folds_left is not None:
            os.write(1, f"F {commit.position}\n".encode())
            if self._folds_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._folds_left -= 1
        self._first.apply(commit, rows, past)


def projections(folds_max: int | None = None) -> tuple[Projection, ...]:
    """Those of `opening`, with the new version of one."""
    return tuple(
        NewCounts(folds_max) if projection.name == NewCounts.name else projection
        for projection in opening.PROJECTIONS
    )


async def _main(directory: Path, folds_max: int) -> None:
    opening.short_steps()
    steps = count()  # a clock on which every look is late: each page is stored before the next is folded
    async with await EventStore.open(directory, free_bytes_low=0) as store:
        views = Views(store.path / "views", projections(folds_max), store.log)
        try:
            async with Runner(store, views, monotonic=lambda: float(next(steps))) as runner:
                await runner.rebuilt(NewCounts.name)
        finally:
            views.close()
    os.write(1, b"DONE\n")


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
