"""Coroutines that wait for what another thread does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from eventstore.errors import TurnlogError

Ready: TypeAlias = Callable[[], bool]
"""Whether a wait is over; raises the ``TurnlogError`` that ends it otherwise."""


class Waiters:
    """``wait`` on event loops, ``settle`` on the thread whose work is waited for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Future[None], Ready] = {}

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    async def wait(self, ready: Ready, wake: Callable[[], None]) -> None:
        """Wait until ``ready``, after waking the thread. Cancelling leaves no trace."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting[future] = ready
        wake()
        try:
            # The thread may have settled everybody for the last time before this one was among them.
            if not ready():
                await future
        finally:
            with self._lock:
                self._waiting.pop(future, None)

    def settle(self) -> None:
        """Let go whoever is ready."""
        with self._lock:
            waiting = list(self._waiting.items())
        for future, ready in waiting:
            try:
                if ready():
                    _hand_over(future, None)
            except TurnlogError as error:
                _hand_over(future, error)


def _hand_over(future: asyncio.Future[None], error: TurnlogError | None) -> None:
    """Settle a future from another thread than its loop's, unless it was cancelled meanwhile."""

    def settle() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(None)

    # A loop that was closed with the wait still in it has nobody left to tell.
    with suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(settle)
