"""A store with its views, opened as a program would, and two projections that mistakes show in."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import anyio.lowlevel

from eventstore.commits import Commit
from eventstore.errors import Unavailable
from eventstore.events import ALL_BITS
from eventstore.store import EventStore
from projections import bookkeeping, following, runner
from projections.contexts import Contexts
from projections.messages import Messages
from projections.projection import Past, Projection, Rows
from projections.runner import Runner
from projections.timelines import Timelines
from projections.views import Views


class Counts:
    """Events by context: a fold for which applying a commit twice is not harmless."""

    name = "counts"
    version = 1
    tables = ("counts",)
    kinds = ALL_BITS

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Count."""
        key = commit.context_id.bytes
        before = int.from_bytes(rows.get("counts", key) or b"", "big")
        rows.put("counts", key, (before + commit.event_count).to_bytes(8, "big"))


PROJECTIONS: Final[tuple[Projection, ...]] = (Contexts(), Messages(), Timelines(), Counts())


PATIENCE_SECONDS: Final = 1.0
"""How long views that cannot be stored may take to be stored after all: they are tried all the time."""


class Opened(NamedTuple):
    """All that is open."""

    store: EventStore
    views: Views
    runner: Runner


@asynccontextmanager
async def opened(
    directory: Path, projections: tuple[Projection, ...] = PROJECTIONS
) -> AsyncGenerator[Opened]:
    """Open the store, open and follow the views; close all at the end of the block."""
    async with await EventStore.open(directory, free_bytes_low=0) as store:
        views = Views(store.path / "views", projections, store.log)
        try:
            async with Runner(store, views) as runner:
                yield Opened(store, views, runner)
        finally:
            views.close()


def retry_at_once() -> None:
    """Let the views' runner try again at once when it cannot store them: nothing here waits for seconds."""
    runner.RETRY_SECONDS = 0.01  # pyright: ignore[reportConstantRedefinition] -- a constant to everybody else


def short_steps() -> None:
    """Let a step of the views' runner end after a few commits, wherever, and stage and move few rows."""
    following.PAGE_COMMITS = 5  # pyright: ignore[reportConstantRedefinition] -- a constant to everybody else
    following.STEP_SECONDS = 0.0  # pyright: ignore[reportConstantRedefinition] -- a constant to everybody else
    following.STAGED_BYTES = 2_000  # pyright: ignore[reportConstantRedefinition] -- a constant to everybody else
    bookkeeping.ROWS_MOVED = 20  # pyright: ignore[reportConstantRedefinition] -- a constant to everybody else


async def caught_up(all_open: Opened) -> None:
    """Wait until the views have applied the whole log; raises what they say after some patience."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            await all_open.runner.wait_for(all_open.store.head().position)
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await anyio.lowlevel.checkpoint()
        else:
            return
