"""What waits for the writer: bounded in requests and bytes, first come first served.

The event loop's thread puts, the writer's thread takes. The bounds are kept on the loop's thread alone, so
they need no lock: a request counts from its put until its outcome is delivered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from queue import SimpleQueue

from eventstore.commits import Committed
from eventstore.errors import TurnlogError
from eventstore.limits import (
    INBOX_BYTES_MAX,
    INBOX_REQUESTS_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_REQUESTS_MAX,
)
from eventstore.request import Request


class Inbox:
    """The queue between the event loop and the writer."""

    def __init__(self, requests_max: int = INBOX_REQUESTS_MAX, bytes_max: int = INBOX_BYTES_MAX) -> None:
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._held: Request | None = None
        self._waiters: deque[tuple[asyncio.Future[None], int]] = deque()
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self.requests = 0
        self.bytes = 0

    def has_room(self) -> bool:
        """Whether a request may be put now; never while others wait for room."""
        return not self._waiters and self.requests < self._requests_max and self.bytes < self._bytes_max

    def put(self, request: Request) -> None:
        """Hand a request to the writer. On the loop's thread, after ``has_room`` or ``wait_for_room``."""
        self.requests += 1
        self.bytes += request.bytes
        self._queue.put(request)

    async def wait_for_room(self, request: Request) -> None:
        """Wait until ``request`` may be put: at once on return, without awaiting in between.

        Returns too when the inbox is closed. Cancelling leaves the queue as it was.
        """
        if self.has_room():
            return
        size = request.bytes
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (waiter, size)
        self._waiters.append(entry)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self._release(1, size)  # the room that was kept goes to the next
            elif entry in self._waiters:
                self._waiters.remove(entry)
            raise
        self.requests -= 1  # kept for this request, which ``put`` counts now
        self.bytes -= size

    def delivered(self, requests: list[Request]) -> None:
        """Their outcomes are known: make room. On the loop's thread."""
        self._release(len(requests), sum(request.bytes for request in requests))

    def _release(self, requests: int, size: int) -> None:
        self.requests -= requests
        self.bytes -= size
        while self._waiters and self.requests < self._requests_max and self.bytes < self._bytes_max:
            self._keep_room(*self._waiters.popleft())

    def _keep_room(self, waiter: asyncio.Future[None], size: int) -> None:
        """Wake a waiter, and count its request already: nobody takes its room before it runs."""
        if not waiter.done():
            self.requests += 1
            self.bytes += size
            waiter.set_result(None)

    def close(self) -> None:
        """Let the writer end after what was put before, and let those who wait for room find out."""
        self._queue.put(None)
        while self._waiters:
            self._keep_room(*self._waiters.popleft())

    def take(self) -> list[Request]:
        """What waits now, at least one request; empty when closed. On the writer's thread, blocking.

        A request with a rest comes alone: a transaction that takes it back takes nothing else with it.
        """
        first, self._held = self._held or self._queue.get(), None
        if first is None:
            return []
        batch, size = [first], first.bytes
        if first.rest:
            return batch
        for _ in range(min(self._queue.qsize(), TRANSACTION_REQUESTS_MAX - 1)):
            if size >= TRANSACTION_BYTES_MAX:
                break
            request = self._queue.get_nowait()
            if request is None:
                self._queue.put(None)  # closed: the next take finds it
                break
            if request.rest:
                self._held = request
                break
            batch.append(request)
            size += request.bytes
        return batch


async def settled(
    outcome: Committed | TurnlogError | asyncio.Future[Committed],
) -> Committed | TurnlogError:
    """The outcome that a future gives, or the error that it raises."""
    if not isinstance(outcome, asyncio.Future):
        return outcome
    try:
        return await outcome
    except TurnlogError as error:
        return error
