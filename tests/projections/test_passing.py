"""Readers of a stream wait for no thread while nothing but chunks comes, and for the views when more does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest
from given import C, Stack, code_of, running

from eventstore.events import (
    ChunkReceived,
    ContextCreated,
    ContextUpdated,
    MessageRedacted,
    StreamFinalized,
    StreamStarted,
)
from projections.waiting import Waiters

M = UUID(int=7)


def chunk(sequence: int) -> ChunkReceived:
    """A chunk."""
    return ChunkReceived(M, sequence, f"{sequence} ", at=sequence)


async def opened(stack: Stack) -> None:
    """An open stream that the views know."""
    await stack.store.append(C, [ContextCreated(), StreamStarted(M), chunk(1)])
    await stack.runner.wait_for(stack.store.acknowledged)


async def nobody(*_: object) -> None:
    """Stands for a wait."""
    raise AssertionError("somebody waits")


async def test_while_only_chunks_come_nobody_waits(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(data_dir) as stack:
        await opened(stack)
        loop, heard = asyncio.get_running_loop(), asyncio.Queue[int]()

        def put(position: int) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, position)

        # After the runner's own listener, which hears of a commit later than who waits for it.
        stack.store.add_commit_listener(lambda _after, position, _kinds: put(position))
        with monkeypatch.context() as patched:
            patched.setattr(Waiters, "wait", nobody)
            for sequence in range(2, 50):
                await stack.store.append(C, [chunk(sequence)])
                assert await heard.get() == stack.store.acknowledged
                assert (await stack.queries.opening(M)).outcome is None
                page = await stack.queries.chunks(M)
                assert [each.sequence for each in page.chunks] == list(range(1, sequence + 1))
                assert (await stack.queries.context(C)).version == sequence + 2


async def test_what_else_comes_is_seen_at_once(data_dir: Path) -> None:
    async with running(data_dir) as stack:
        await opened(stack)
        await stack.store.append(C, [chunk(2)])
        await stack.store.append(C, [ContextUpdated({"title": "new"})])
        await stack.store.append(C, [chunk(3)])
        assert (await stack.queries.context(C)).title == "new"
        await stack.store.append(C, [StreamFinalized(M, "completed", "stop")])
        assert (await stack.queries.opening(M)).outcome == "completed"
        await stack.store.append(C, [MessageRedacted(M)])
        assert await code_of(stack.queries.opening(M)) == "message_redacted"
