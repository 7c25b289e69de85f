"""An ending is done once and to its end, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import anyio.lowlevel
import pytest
from samples import C

from eventstore.closing import Once
from eventstore.events import ContextCreated
from eventstore.store import EventStore


async def test_the_work_is_done_once_for_all_who_ask() -> None:
    done: list[int] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        done.append(1)

    ending = Once(work)
    await asyncio.gather(ending.done(), ending.done())
    await ending.done()
    assert done == [1]


async def test_a_cancelled_caller_is_cancelled_after_the_end() -> None:
    going, go_on, done = asyncio.Event(), asyncio.Event(), list[int]()

    async def work() -> None:
        going.set()
        await go_on.wait()
        done.append(1)

    ending = Once(work)
    caller = asyncio.create_task(ending.done())
    await going.wait()
    caller.cancel()
    await anyio.lowlevel.checkpoint()
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == [1]


async def test_what_the_work_raises_reaches_every_caller() -> None:
    async def work() -> None:
        raise ValueError("no end")

    ending = Once(work)
    for _ in range(2):
        with pytest.raises(ValueError, match="no end"):
            await ending.done()


async def test_a_store_whose_close_was_cancelled_is_closed_and_can_be_opened_again(data_dir: Path) -> None:
    store = await EventStore.open(data_dir)
    await store.append(C, [ContextCreated()])
    closing = asyncio.create_task(store.close())
    await anyio.lowlevel.checkpoint()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    async with await EventStore.open(data_dir) as again:
        assert again.version_of(C) == 1
