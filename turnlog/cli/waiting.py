"""Progress of long work on stderr: a bar on a terminal, nothing elsewhere, and nothing for what is quick."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from turnlog.cli.output import Output
from turnlog.facade import Turnlog

if TYPE_CHECKING:
    from rich.progress import Progress

QUIET_SECONDS: Final = 0.3
"""Work that takes less shows nothing: a bar that flashes tells nobody anything."""

REFRESH_SECONDS: Final = 0.1


class Tell(Protocol):
    """Says how much is done, and what else there is to say."""

    def __call__(self, done: int, description: str | None = None, /) -> None:
        """How much is done; ``description`` replaces what was said of it."""
        ...


@contextmanager
def progress(output: Output, description: str, total: int | None) -> Generator[Tell, None, None]:
    """Show how far the work in the block is, as it tells; ``total`` is None where nobody knows."""
    if not output.errors.is_terminal:
        yield lambda done, description=None: None
        return
    display = _display(output, total)
    task = display.add_task(description, total=total)
    began, started = display.get_time(), False

    def tell(done: int, description: str | None = None) -> None:
        nonlocal started
        display.update(task, completed=done, description=description)
        if not started and display.get_time() - began >= QUIET_SECONDS:
            display.start()
            started = True

    try:
        yield tell
    finally:
        if started:
            display.stop()


def _display(output: Output, total: int | None) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns: list[ProgressColumn] = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=24, complete_style="green", finished_style="green"),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    ]
    if total is None:
        columns = [SpinnerColumn(), TextColumn("{task.description} {task.completed:,.0f}")]
    return Progress(
        *columns, console=output.errors, transient=True, refresh_per_second=round(1 / REFRESH_SECONDS)
    )


@asynccontextmanager
async def polled(
    output: Output, description: str, total: int, done: Callable[[], int]
) -> AsyncGenerator[None]:
    """Show how far the work in the block is, by asking."""
    with progress(output, description, total) as tell:
        # A task, and not a task group, which would wrap what the block raises.
        looking = asyncio.create_task(_poll(tell, done))
        try:
            yield
        finally:
            looking.cancel()


async def _poll(tell: Tell, done: Callable[[], int]) -> None:
    while True:
        tell(done())
        await anyio.sleep(REFRESH_SECONDS)


async def wait_for_views(log: Turnlog, output: Output) -> None:
    """Wait until the views have applied the whole log."""
    head = log.store.head().position

    def applied() -> int:
        lagging = [p for p in log.runner.status().projections if p.state in ("live", "building")]
        return min((head - p.lag_positions for p in lagging), default=head)

    async with polled(output, "bringing the views up to date", head, applied):
        await log.runner.wait_for(head)
