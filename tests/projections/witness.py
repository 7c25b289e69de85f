"""Small projections for tests of the machinery, logs to fold, and what folds them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import anyio
import pytest

from eventstore import keys
from eventstore.commits import Append, Commit, Committed
from eventstore.content import TextPart
from eventstore.errors import TurnlogError
from eventstore.events import (
    ALL_BITS,
    BITS,
    ChunkReceived,
    ContextCreated,
    CustomRecorded,
    Event,
    MessageAppended,
    StreamStarted,
)
from eventstore.store import EventStore
from projections.bookkeeping import Bookkeeping
from projections.following import Following
from projections.memory import MemoryViews
from projections.projection import Past, Projection, Rows
from projections.runner import Runner
from projections.views import Views


def ident(number: int) -> UUID:
    """An id that a person can read."""
    return UUID(int=number)


CONTEXT: Final = ident(0xC)
STREAM: Final = ident(0x5)
EVERYTHING: Final = b"\xff" * 400
"""After every key of these projections."""


class Journal:
    """A row for each event, in ``events``; how many there are of each context, in ``counts``.

    With ``poison`` its fold raises at that position, after it has changed rows.
    """

    def __init__(
        self,
        name: str = "journal",
        version: int = 1,
        kinds: int = ALL_BITS & ~BITS[ChunkReceived],
        poison: int | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.kinds = kinds
        self.tables: tuple[str, ...] = ("events", "counts")
        self.poison = poison
        self.folded: list[int] = []

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Write a row for each event, counting over the rows that are there."""
        count = int.from_bytes(rows.get("counts", commit.context_id.bytes) or b"", "big")
        for event in commit.events():
            if BITS[type(event)] & self.kinds:
                count += 1
                key = commit.position.to_bytes(8, "big") + count.to_bytes(8, "big")
                rows.put("events", key, type(event).__name__.encode())
        rows.put("counts", commit.context_id.bytes, count.to_bytes(8, "big"))
        rows.delete("counts", b"never there")
        if commit.position == self.poison:
            raise ValueError("secret words of a chat")
        self.folded.append(commit.position)


class Looker:
    """Looks back from every commit, at all that the log gives it."""

    name = "looker"
    version = 1
    tables = ("seen",)
    kinds = BITS[CustomRecorded]

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Write down the positions of the past."""
        seen = [earlier.position for earlier in past.context(commit.context_id, 1, 1 << 60)]
        rows.put("seen", commit.position.to_bytes(8, "big"), bytes(seen))


@asynccontextmanager
async def opened(
    data_dir: Path, projections: Iterable[Projection] = ()
) -> AsyncGenerator[tuple[EventStore, Views]]:
    """A store and its views, without a runner."""
    async with await EventStore.open(data_dir) as store:
        views = Views(data_dir / "views", projections, store.log)
        try:
            yield store, views
        finally:
            views.close()


async def fill(store: EventStore, count: int, *, chunks: bool = False) -> int:
    """Append ``count`` commits of one event, in one context; the last position.

    Of three, one is a message and two are custom events; with ``chunks`` all are chunks of one stream.
    """
    version = store.version_of(CONTEXT)
    events: list[Event] = [ContextCreated()] if version == 0 else []
    if chunks:
        sequence = max(version - 1, 1)
        if version < 2:
            events.append(StreamStarted(STREAM))
        events += [ChunkReceived(STREAM, sequence + n, "x") for n in range(count - len(events))]
    else:
        events += [_event(version + n) for n in range(count - len(events))]
    outcomes = await store.append_many([Append(CONTEXT, (event,)) for event in events])
    assert all(isinstance(outcome, Committed) for outcome in outcomes), outcomes
    return store.acknowledged


def _event(number: int) -> Event:
    if number % 3:
        return CustomRecorded("n", number)
    return MessageAppended(ident(1000 + number), "user", (TextPart(f"text {number}"),))


def damage(store: EventStore, position: int) -> None:
    """Flip one bit of a stored commit, as a bad disk would."""
    key = keys.pack_u64(position)
    with store.log.env.begin(write=True) as txn:
        database = None if txn.get(key) is not None else store.log.databases[keys.COMMITS]
        stored = bytearray(txn.get(key, db=database) or b"")
        stored[-1] ^= 1
        txn.put(key, bytes(stored), db=database)


def oracle(store: EventStore, projection: Projection, to: int | None = None) -> Mapping[str, object]:
    """What the rows must be: the fold of the log in memory."""
    return MemoryViews([projection], store.read(to=to)).dump()[projection.name]


def rows_of(views: Views, projection: Projection) -> Mapping[str, object]:
    """What the rows are."""
    with views.reading() as reader:
        return {t: list(reader.scan(projection.name, t, b"", EVERYTHING)) for t in projection.tables}


@asynccontextmanager
async def running(
    data_dir: Path, *projections: Projection, linger: float = 0.0
) -> AsyncGenerator[tuple[EventStore, Views, Runner]]:
    """A store, its views, and a runner; all within a time that only a hang exceeds."""
    with anyio.fail_after(30):
        async with (
            opened(data_dir, projections) as (store, views),
            Runner(store, views, linger_seconds=linger) as started,
        ):
            yield store, views, started


def code_of(error: pytest.ExceptionInfo[TurnlogError]) -> str:
    """The stable code."""
    return error.value.code


class Steps:
    """A following whose clock a test moves: ``tick`` seconds pass at every look at it."""

    def __init__(self, store: EventStore, views: Views, tick: float = 0.0) -> None:
        self.store = store
        self.books = Bookkeeping(views, store.log)
        self.tick = tick
        self._now = 0.0
        self.following = Following(store.log, self.books, self._clock)

    def _clock(self) -> float:
        self._now += self.tick
        return self._now

    def step(self) -> bool:
        """One step towards the head."""
        return self.following.step(self.store.acknowledged)

    def finish(self) -> int:
        """All steps to the head; how many."""
        count = 1
        while self.step():
            count += 1
        return count

    def last_transaction(self) -> int:
        """The id of the last transaction that was written."""
        return self.books.views.env.info()["last_txnid"]

    def saved(self, name: str) -> int:
        """The stored checkpoint of the live generation."""
        live = self.books.entry(name).live
        assert live is not None
        return live.checkpoint
