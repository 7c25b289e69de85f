"""Catch up, then live, from any position: one code path that holds no commits in memory.

A subscriber is only a position. It reads a page; when there is nothing further it waits for the signal
that something was committed, and reads again. The wait is armed before the read, so a commit in between
is never missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Generator, Iterable
from contextlib import aclosing, contextmanager
from typing import Final
from uuid import UUID

import anyio
import anyio.lowlevel
import lmdb

from eventstore.commits import Commit
from eventstore.events import ALL_BITS
from eventstore.limits import PAGE_BYTES, PAGE_COMMITS
from eventstore.log import Log

POLL_SECONDS: Final = 0.05
"""How often a process that does not write looks for commits of the one that does."""


class Signal:
    """Tells subscribers that something was committed: in their context, or at all.

    In the writer's process each transaction calls ``notify``. Elsewhere (``polled`` is the log) LMDB's last
    transaction id is looked at now and then.
    """

    def __init__(self, polled: Log | None) -> None:
        self._polled = polled
        self._ears: dict[UUID | None, set[Ear]] = {}
        self.closed = False

    def notify(self, contexts: Iterable[UUID]) -> None:
        """Wake who listens to any of the contexts, or to all: something may have been committed in them.

        On the event loop's thread.
        """
        if self._ears:
            for context_id in (None, *contexts):
                for ear in self._ears.get(context_id, ()):
                    ear.heard.set()

    def close(self) -> None:
        """Wake everybody for the last time."""
        self.closed = True
        for ears in self._ears.values():
            for ear in ears:
                ear.heard.set()

    @contextmanager
    def listening(self, contexts: Collection[UUID] | None) -> Generator[Ear]:
        """Hear of what is committed in some contexts, or in any."""
        ear, names = Ear(self, self._polled), (None,) if contexts is None else contexts
        for name in names:
            self._ears.setdefault(name, set()).add(ear)
        try:
            yield ear
        finally:
            for name in names:
                ears = self._ears[name]
                ears.discard(ear)
                if not ears:
                    del self._ears[name]


class Ear:
    """One subscriber's. ``arm`` before reading, then ``wait``: nothing committed in between is missed."""

    def __init__(self, signal: Signal, polled: Log | None) -> None:
        self.heard = asyncio.Event()
        self._signal = signal
        self._polled = polled
        self._seen = -1

    def arm(self) -> None:
        """From here on it hears."""
        self.heard.clear()
        if self._polled is not None:
            self._seen = _transaction_id(self._polled)

    async def wait(self) -> None:
        """Wait until something was committed since ``arm``, or until the store is closed."""
        if self._polled is None:
            if not self._signal.closed:
                await self.heard.wait()
            return
        while not self._signal.closed and _transaction_id(self._polled) == self._seen:  # noqa: ASYNC110 -- nobody signals
            await anyio.sleep(POLL_SECONDS)


def _transaction_id(log: Log) -> int:
    """Of what a reader sees now. ``env.info`` tells of a transaction before it is synced and visible."""
    with log.reading() as txn:
        return txn.id()


async def pages(
    log: Log,
    signal: Signal,
    after: int,
    *,
    contexts: Collection[UUID] | None = None,
    kinds: int = ALL_BITS,
    live: bool = True,
) -> AsyncGenerator[tuple[list[Commit], int], None]:
    """See ``EventStore.pages``."""
    contexts = None if contexts is None else frozenset(contexts)
    with signal.listening(contexts) as ear:
        while not signal.closed:
            ear.arm()
            page, reached = _page(log, after, contexts, kinds)
            if reached != after:
                after = reached
                yield page, reached
                await anyio.lowlevel.checkpoint()  # a long catch-up lets others run between its pages
            elif live:
                await ear.wait()
            else:
                return


async def one_by_one(
    pages: AsyncGenerator[tuple[list[Commit], int], None],
) -> AsyncGenerator[Commit, None]:
    """See ``EventStore.subscribe``."""
    async with aclosing(pages):
        async for page, _ in pages:
            for commit in page:
                yield commit


def _page(log: Log, after: int, contexts: frozenset[UUID] | None, kinds: int) -> tuple[list[Commit], int]:
    with log.reading() as txn:
        if contexts is None:
            return log.commits(txn, after, count_max=PAGE_COMMITS, bytes_max=PAGE_BYTES, kinds=kinds)
        read = [_context_page(log, txn, after, context_id) for context_id in contexts]
        reached = min((reached for _, reached in read), default=after)
        found = [commit for page, _ in read for commit in page if commit.position <= reached]
        found.sort(key=lambda commit: commit.position)
        return [commit for commit in found if commit.kinds & kinds], reached


def _context_page(log: Log, txn: lmdb.Transaction, after: int, context_id: UUID) -> tuple[list[Commit], int]:
    """The next commits of one context, and how far it has been looked at."""
    first = log.place_at(txn, context_id, after)[0] + 1
    page, more = log.context_page(txn, context_id, first, count_max=PAGE_COMMITS, bytes_max=PAGE_BYTES)
    return page, page[-1].position if more else max(after, log.head(txn).position)
