"""Catch up, then live, from any position: one code path that holds no commits in memory.

A subscriber is only a position. It reads a page; when there is nothing further it waits for the signal
that something was committed, and reads again. The wait is armed before the read, so a commit in between
is never missed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final
from uuid import UUID

import anyio
import anyio.lowlevel

from eventstore.commits import Commit
from eventstore.events import ALL_BITS
from eventstore.limits import PAGE_BYTES, PAGE_COMMITS
from eventstore.log import Log

POLL_SECONDS: Final = 0.05
"""How often a process that does not write looks for commits of the one that does."""


class Signal:
    """Tells subscribers that something was committed.

    In the writer's process each commit calls ``notify``. Elsewhere (``polled`` is the log) LMDB's last
    transaction id is looked at now and then.
    """

    def __init__(self, polled: Log | None) -> None:
        self._polled = polled
        self._event = anyio.Event()
        self._waiting = 0
        self.closed = False

    def notify(self) -> None:
        """Wake who waits. On the event loop's thread."""
        if self._waiting:
            self._event.set()
            self._event = anyio.Event()

    def close(self) -> None:
        """Wake who waits for the last time."""
        self.closed = True
        self._event.set()

    def state(self) -> object:
        """What to hand to ``wait``: taken before reading, so that nothing after the read is missed."""
        return self._event if self._polled is None else self._transaction_id()

    async def wait(self, state: object) -> None:
        """Wait until something was committed after ``state`` was taken, or until closed."""
        if self._polled is not None:
            while not self.closed and self._transaction_id() == state:  # noqa: ASYNC110 -- nobody signals
                await anyio.sleep(POLL_SECONDS)
            return
        assert isinstance(state, anyio.Event)
        if state is not self._event and not self.closed:
            return
        self._waiting += 1
        try:
            await state.wait()
        finally:
            self._waiting -= 1

    def _transaction_id(self) -> int:
        """Of what a reader sees now. ``env.info`` tells of a transaction before it is synced and visible."""
        assert self._polled is not None
        with self._polled.reading() as txn:
            return txn.id()


async def subscribe(
    log: Log,
    signal: Signal,
    after: int,
    *,
    context_id: UUID | None = None,
    kinds: int = ALL_BITS,
    live: bool = True,
) -> AsyncGenerator[Commit, None]:
    """See ``EventStore.subscribe``."""
    while not signal.closed:
        state = signal.state()
        page, reached = _page(log, after, context_id, kinds)
        for commit in page:
            yield commit
        if reached != after:
            after = reached
            await anyio.lowlevel.checkpoint()  # a long catch-up lets others run between its pages
        elif live:
            await signal.wait(state)
        else:
            return


def _page(log: Log, after: int, context_id: UUID | None, kinds: int) -> tuple[list[Commit], int]:
    with log.reading() as txn:
        if context_id is None:
            return log.commits(txn, after, count_max=PAGE_COMMITS, bytes_max=PAGE_BYTES, kinds=kinds)
        first = log.place_at(txn, context_id, after)[0] + 1
        page, more = log.context_page(txn, context_id, first, count_max=PAGE_COMMITS, bytes_max=PAGE_BYTES)
        reached = page[-1].position if more else max(after, log.head(txn).position)
        return [commit for commit in page if commit.kinds & kinds], reached
