"""Work that is done once and to its end, whoever asks for it and whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Once:
    """An ending: the first call starts it, every call waits for its end and sees how it went.

    A cancelled caller goes on waiting and is cancelled afterwards: half an ending would leave threads inside
    an environment that is closed, or a lock that nobody can release.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None

    async def done(self) -> None:
        """Start the work unless it was started, and wait for its end. Raises what it raised."""
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        cancelled: asyncio.CancelledError | None = None
        while not self._task.done():
            try:
                await asyncio.shield(self._task)
            except asyncio.CancelledError as error:
                cancelled = error
            except Exception:
                break  # the work's own, which is raised below
        if cancelled is not None:
            raise cancelled
        self._task.result()
