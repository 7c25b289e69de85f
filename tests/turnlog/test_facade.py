"""What the front door adds to the store and the queries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import anyio.lowlevel
import pytest

import turnlog
from eventstore.events import ContextCreated
from eventstore.store import EventStore
from projections.runner import Runner

COMMIT = UUID(int=7)


async def test_creating_and_appending_can_be_repeated_with_their_commit_id(data_dir: Path) -> None:
    async with turnlog.open(data_dir) as log:
        first = await log.create_context(title="once", commit_id=COMMIT)
        again = await log.create_context(title="once", commit_id=COMMIT)
        assert first.id == again.id
        asked = await first.append_message("user", "hello", commit_id=COMMIT_OF_MESSAGE)
        assert await first.append_message("user", "hello", commit_id=COMMIT_OF_MESSAGE) == asked
        assert log.store.version_of(first.id) == 2


COMMIT_OF_MESSAGE = UUID(int=8)


async def test_messages_and_answers_go_to_the_active_branch(data_dir: Path) -> None:
    async def provider() -> AsyncIterator[bytes]:
        yield b'data: {"choices": [{"index": 0, "delta": {"content": "third"}, "finish_reason": "stop"}]}\n\n'
        yield b"data: [DONE]\n\n"

    async with turnlog.open(data_dir) as log:
        context = await log.create_context()
        await context.append_message("user", "first")
        await context.branch("other")
        await context.switch("other")
        async with context.record() as stream:
            await stream.write("second")
        async for _ in await context.tee(provider(), dialect="openai_chat"):
            pass
        entries = await context.messages()
        assert [(await log.queries.body(entry.id)).text for entry in entries] == ["first", "second", "third"]


async def test_after_closing_a_reader_finds_the_views_up_to_date(data_dir: Path) -> None:
    async with turnlog.open(data_dir) as log:
        context = await log.create_context(title="seen")
        await context.append_message("user", "last")
    async with turnlog.open(data_dir, read_only=True) as reader:
        assert (await reader.context(context.id).state()).message_count == 1


async def test_a_close_that_is_cancelled_is_done_to_its_end(data_dir: Path) -> None:
    opened = turnlog.open(data_dir)
    log = await opened.__aenter__()
    await log.create_context()
    closing = asyncio.create_task(log.close())
    await anyio.lowlevel.checkpoint()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    async with turnlog.open(data_dir) as again:
        assert again.store.head().position == 1
    await opened.__aexit__(None, None, None)


async def test_a_fork_of_a_context_without_main_has_its_branches(data_dir: Path) -> None:
    async with turnlog.open(data_dir) as log:
        context = await log.create_context()
        await context.append_message("user", "first")
        for name in ("b", "a"):
            await context.branch(name)
        await context.switch("a")
        await context.delete_branch("main")
        forked = await context.fork()
        before, after = await context.state(), await forked.state()
        assert (after.branches, after.active_branch) == (before.branches, "a")


async def test_who_only_reads_waits_for_no_view_when_it_closes(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await EventStore.open(data_dir) as store:
        await store.append(UUID(int=1), [ContextCreated()])

    async def refuse(*_: object) -> None:
        raise AssertionError("nobody brings the views up to date")

    monkeypatch.setattr(Runner, "wait_for", refuse)
    async with turnlog.open(data_dir, read_only=True) as log:
        assert log.runner.status().projections[0].lag_positions == 1
