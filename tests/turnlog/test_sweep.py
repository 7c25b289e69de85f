"""Sweeping: streams whose producer died are closed, those that live are left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from gated import GatedStore, Left, commits_of, opened

from eventstore.events import (
    ChunkReceived,
    ContextCreated,
    ContextDeleted,
    ContextUpdated,
    Record,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)
from turnlog.recorder import record
from turnlog.sweep import sweep

SECOND = 1_000_000


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        """Later."""
        self.now += round(seconds * SECOND)


class Source:
    """The streams that are said to be open."""

    def __init__(self, *streams: tuple[UUID, UUID]) -> None:
        self.streams = streams

    async def open_streams(self) -> AsyncIterator[tuple[UUID, UUID]]:
        """Them."""
        for stream in self.streams:
            yield stream


async def left_open(store: GatedStore, context_id: UUID, *more: Record) -> UUID:
    """A stream whose producer died after one chunk, as another process would have left it."""
    message_id = uuid4()
    await store.append(
        context_id, [StreamStarted(message_id, parent_id=None), ChunkReceived(message_id, 1, "Hel"), *more]
    )
    return message_id


async def test_a_silent_stream_is_interrupted_with_its_text(data_dir: Path) -> None:
    clock = Clock()
    async with opened(data_dir, clock=clock) as (store, context_id):
        message_id = await left_open(store, context_id)
        source = Source((context_id, message_id))
        clock.advance(59)
        assert await sweep(store, source, clock=clock) == []
        assert Left(store, context_id, message_id).outcome is None
        clock.advance(1)
        assert await sweep(store, source, clock=clock) == [message_id]
        left = Left(store, context_id, message_id)
        assert (left.text, left.outcome) == ("Hel", "interrupted")
        assert await sweep(store, source, clock=clock) == []


async def test_the_lease_is_counted_from_the_last_chunk_not_from_other_events(data_dir: Path) -> None:
    clock = Clock()
    async with opened(data_dir, clock=clock) as (store, context_id):
        message_id = await left_open(store, context_id)
        source = Source((context_id, message_id))
        for sequence in (2, 3):
            clock.advance(8)
            await store.append(context_id, [ContextUpdated({"title": "t"})])
            await store.append(context_id, [ChunkReceived(message_id, sequence, "x")])
            await store.append(context_id, [ContextUpdated({"title": "u"})])
            assert await sweep(store, source, lease_seconds=8, clock=clock) == []
        for _ in range(8):
            clock.advance(1)
            await store.append(context_id, [ContextUpdated({"title": "v"})])
        assert await sweep(store, source, lease_seconds=8, clock=clock) == [message_id]


async def test_a_lively_stream_beside_it_keeps_no_dead_one_open(data_dir: Path) -> None:
    clock = Clock()
    async with opened(data_dir, clock=clock) as (store, context_id):
        dead, lively = await left_open(store, context_id), await left_open(store, context_id)
        clock.advance(60)
        await store.append(context_id, [ChunkReceived(lively, 2, "lo")])
        assert await sweep(store, Source((context_id, dead), (context_id, lively)), clock=clock) == [dead]


async def test_a_stream_that_this_process_records_is_thinking_not_dead(data_dir: Path) -> None:
    clock = Clock()
    async with opened(data_dir, clock=clock) as (store, context_id):
        async with record(store, context_id, clock=clock) as stream:
            clock.advance(3_600)
            source = Source((context_id, stream.message_id))
            assert await sweep(store, source, clock=clock) == []
            await stream.write("at last")
        left = Left(store, context_id, stream.message_id)
        assert (left.text, left.outcome) == ("at last", "completed")


async def test_a_producer_of_a_higher_epoch_is_swept_too(data_dir: Path) -> None:
    clock = Clock()
    async with opened(data_dir, clock=clock) as (store, context_id):
        message_id = await left_open(store, context_id)
        await store.append(context_id, [StreamResumed(message_id, 9)])
        clock.advance(60)
        assert await sweep(store, Source((context_id, message_id)), clock=clock) == [message_id]


async def test_a_resumption_counts_as_a_sign_of_life(data_dir: Path) -> None:
    clock = Clock()
    async with opened(data_dir, clock=clock) as (store, context_id):
        message_id = await left_open(store, context_id)
        clock.advance(60)
        await store.append(context_id, [StreamResumed(message_id, 2)])
        assert await sweep(store, Source((context_id, message_id)), clock=clock) == []


async def test_a_chunk_that_comes_between_the_look_and_the_end_wins(data_dir: Path) -> None:
    clock = Clock()

    class Racing(GatedStore):
        async def append(self, context_id: UUID, events: Any, **options: Any) -> Any:
            if any(isinstance(event, StreamFinalized) for event in events) and self.late:
                await super().append(context_id, [self.late.pop()])
            return await super().append(context_id, events, **options)

        late: list[Record] = []

    async with await Racing.open(data_dir, clock=clock) as store:
        assert isinstance(store, Racing)
        context_id = uuid4()
        await store.append(context_id, [ContextCreated()])
        message_id = await left_open(store, context_id)
        clock.advance(60)
        store.late = [ChunkReceived(message_id, 2, "lo")]
        assert await sweep(store, Source((context_id, message_id)), clock=clock) == []
        left = Left(store, context_id, message_id)
        assert (left.text, left.outcome) == ("Hello", None)


async def test_one_stream_that_cannot_be_closed_does_not_keep_the_others_open(data_dir: Path) -> None:
    clock = Clock()
    async with opened(data_dir, clock=clock) as (store, context_id):
        deleted, finished = uuid4(), uuid4()
        await store.append(deleted, [ContextCreated()])
        in_deleted = await left_open(store, deleted)
        await store.append(deleted, [ContextDeleted()])
        await left_open(store, context_id, StreamStarted(finished), StreamFinalized(finished, "completed"))
        message_id = await left_open(store, context_id)
        clock.advance(60)
        source = Source(
            (deleted, in_deleted),
            (context_id, finished),
            (uuid4(), uuid4()),
            (context_id, uuid4()),
            (context_id, message_id),
        )
        assert await sweep(store, source, clock=clock) == [message_id]
        assert Left(store, context_id, finished).outcome == "completed"


async def test_looking_reads_no_further_back_than_the_lease(data_dir: Path) -> None:
    clock = Clock()
    async with opened(data_dir, clock=clock) as (store, context_id):
        message_id = await left_open(store, context_id)
        for _ in range(50):
            await store.append(context_id, [ContextUpdated({"title": "t"})])
        clock.advance(120)
        for _ in range(3):
            await store.append(context_id, [ContextUpdated({"title": "u"})])
        read: list[int] = []
        commit_of = store.log.commit_of

        def counting(txn: Any, context_id: UUID, version: int) -> Any:
            read.append(version)
            return commit_of(txn, context_id, version)

        store.log.commit_of = counting
        assert await sweep(store, Source((context_id, message_id)), clock=clock) == [message_id]
        assert len(read) == 4, "three within the lease, and the one that ends the search"
        assert len(commits_of(store, context_id)) == 55
