"""What the store says about itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import anyio.to_thread
import msgspec
from faulty import Faults
from samples import START, C, D, ident, message

from eventstore.commits import Append
from eventstore.events import ContextCreated, CustomRecorded
from eventstore.store import EventStore


async def test_an_empty_store_tells_its_identity_and_that_it_can_be_written(data_dir: Path) -> None:
    async with await EventStore.open(data_dir, clock=lambda: START) as store:
        statistics = store.statistics()
        assert statistics.store_id == store.log.store_id
        assert (statistics.created_at, statistics.position, statistics.recorded_at) == (START, 0, 0)
        assert statistics.chain == "00" * 32
        assert (statistics.read_only, statistics.failure) == (False, None)
        assert (statistics.failed_commits, statistics.recoveries, statistics.group_max) == (0, 0, 0)
        assert (statistics.waiting_requests, statistics.waiting_bytes) == (0, 0)


async def test_the_numbers_follow_what_is_written(store: EventStore) -> None:
    await store.append(C, [ContextCreated(), message()], commit_id=ident(1))
    await store.append(D, [ContextCreated()])
    await store.append(C, [CustomRecorded("c", "x" * 10_000)] * 1_000)
    statistics = store.statistics()
    assert (statistics.position, statistics.chain) == (3, store.head().chain.hex())
    assert statistics.recorded_at == store.head().recorded_at
    entries = {name: size["entries"] for name, size in statistics.databases.items()}
    assert entries == {"commits": 3, "by_context": 0, "commit_ids": 1, "messages": 1, "write_models": 1}
    assert statistics.databases["messages"]["bytes"] >= 4_096
    assert statistics.file_bytes >= statistics.databases["commits"]["bytes"]
    assert statistics.readers >= 1


async def test_what_waits_for_the_writer_is_counted(store: EventStore) -> None:
    append = asyncio.ensure_future(store.append_many([Append(C, (ContextCreated(),))] * 10))
    await anyio.lowlevel.checkpoint()
    waiting = store.statistics()
    assert (waiting.waiting_requests, waiting.waiting_bytes > 100) == (10, True)
    await append
    done = store.statistics()
    assert (done.waiting_requests, done.waiting_bytes) == (0, 0)


async def test_the_largest_group_is_remembered(faulty: EventStore, faults: Faults) -> None:
    with faults.held() as held:
        first = asyncio.ensure_future(faulty.append(C, [CustomRecorded("c")]))
        await anyio.to_thread.run_sync(held.wait, 20)
        rest = asyncio.ensure_future(faulty.append_many([Append(C, (CustomRecorded("c"),))] * 7))
        await anyio.lowlevel.checkpoint()
    await first
    await rest
    assert faulty.statistics().group_max == 7


async def test_a_read_only_store_says_that_it_is(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as writer:
        await writer.append(C, [ContextCreated()])
    async with await EventStore.open(data_dir, read_only=True) as reader:
        statistics = reader.statistics()
        assert (statistics.read_only, statistics.failure, statistics.position) == (True, None, 1)


async def test_the_numbers_can_be_written_as_json(store: EventStore) -> None:
    written = msgspec.json.decode(msgspec.json.encode(store.statistics()))
    assert set(written) == set(store.statistics().__struct_fields__)
