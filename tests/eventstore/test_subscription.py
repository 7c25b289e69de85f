"""Subscriptions: what is there, then what comes, from any position: each commit once, in order."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import anyio
import lmdb
import pytest
from anyio.lowlevel import checkpoint
from damage import flip_commit
from processes import hear, program, say
from samples import C, D, chunks, ident, message

from eventstore import subscription
from eventstore.commits import Append, Commit
from eventstore.errors import Damaged
from eventstore.events import BITS, CHUNK_BIT, ContextCreated, CustomRecorded, MessageAppended, StreamStarted
from eventstore.log import Log
from eventstore.store import EventStore

MARK = CustomRecorded("mark")
SECONDS = 20
"""How long a test may wait for what is bound to come."""


async def take(commits: AsyncIterator[Commit], count: int) -> list[int]:
    """The positions of the next commits."""
    with anyio.fail_after(SECONDS):
        return [(await anext(commits)).position for _ in range(count)]


async def rest(commits: AsyncIterator[Commit]) -> list[int]:
    """The positions of all that comes until it ends."""
    with anyio.fail_after(SECONDS):
        return [commit.position async for commit in commits]


async def settle() -> None:
    for _ in range(20):
        await checkpoint()


async def fill(store: EventStore, commits: int) -> None:
    """One context created, then marks."""
    await store.append_many([Append(C, (ContextCreated(),)), *[Append(C, (MARK,))] * (commits - 1)])


async def test_what_is_there_comes_first_then_what_is_committed(store: EventStore) -> None:
    await fill(store, 3)
    commits = store.subscribe(after=1)
    assert await take(commits, 2) == [2, 3]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.append, C, [MARK])
        assert await take(commits, 1) == [4]
    await store.append(C, [MARK])
    assert await take(commits, 1) == [5]


async def test_a_subscription_may_begin_before_anything_is_there(store: EventStore) -> None:
    commits = store.subscribe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.append, C, [ContextCreated()])
        assert await take(commits, 1) == [1]


async def test_a_subscription_beyond_the_head_waits_until_the_log_is_there(store: EventStore) -> None:
    await fill(store, 2)
    commits = store.subscribe(after=4)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.append_many, [Append(C, (MARK,))] * 4)
        assert await take(commits, 2) == [5, 6]


async def test_without_live_it_ends_when_it_has_caught_up(store: EventStore) -> None:
    assert await rest(store.subscribe(live=False)) == []
    await fill(store, 5)
    assert await rest(store.subscribe(live=False)) == [1, 2, 3, 4, 5]
    assert await rest(store.subscribe(after=5, live=False)) == []


@pytest.mark.parametrize("page", [1, 7, 1_000])
async def test_many_writers_and_readers_at_once_leave_no_gap_and_no_double(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, seed: int, page: int
) -> None:
    monkeypatch.setattr(subscription, "PAGE_COMMITS", page)
    rng, commits = random.Random(seed), 300
    contexts = [ident(n) for n in range(1, 6)]
    await store.append_many([Append(context, (ContextCreated(),)) for context in contexts])
    everything = list(range(1, commits + len(contexts) + 1))

    async def write(context: UUID, count: int) -> None:
        for _ in range(count):
            await store.append(context, [MARK] * rng.randint(1, 3))

    async def follow(after: int, patience: int) -> None:
        seen = list[int]()
        async for commit in store.subscribe(after):
            seen.append(commit.position)
            for _ in range(patience):
                await checkpoint()  # a slow one falls behind and catches up again
            if commit.position == everything[-1]:
                break
        assert seen == everything[after:]

    async def follow_one(context: UUID) -> None:
        versions = 0
        async for commit in store.subscribe(contexts=(context,)):
            assert (commit.context_id, commit.first_version) == (context, versions + 1)
            versions = commit.last_version
            if done.is_set() and versions == store.version_of(context):
                break

    done = anyio.Event()
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as readers:
            for context in contexts:
                readers.start_soon(follow_one, context)
            async with anyio.create_task_group() as writers:
                for context in contexts:
                    writers.start_soon(write, context, commits // len(contexts) - 1)
                for patience in (0, 0, 1, 5):
                    readers.start_soon(follow, rng.randrange(5), patience)
                    await settle()
            done.set()
            for context in contexts:
                await store.append(context, [MARK])


async def test_one_context_is_followed_by_itself(store: EventStore) -> None:
    await fill(store, 3)
    await store.append(D, [ContextCreated()])
    await store.append(C, [MARK])
    commits = store.subscribe(contexts=(C,))
    assert await take(commits, 4) == [1, 2, 3, 5]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.append, D, [MARK])
        await settle()
        tasks.start_soon(store.append, C, [MARK])
        assert await take(commits, 1) == [7]
    assert await rest(store.subscribe(after=3, contexts=(C,), live=False)) == [5, 7]
    assert await rest(store.subscribe(after=7, contexts=(C,), live=False)) == []


async def test_a_context_that_does_not_exist_yet_can_be_awaited(store: EventStore) -> None:
    await fill(store, 3)
    commits = store.subscribe(contexts=(D,))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.append, C, [MARK])
        tasks.start_soon(store.append, D, [ContextCreated()])
        assert await take(commits, 1) in ([4], [5])


async def test_some_kinds_are_followed_and_the_others_still_advance(store: EventStore) -> None:
    await store.append(C, [ContextCreated(), StreamStarted(ident(1))])
    await store.append_many([Append(C, (one,)) for one in chunks(1, 20, ident(1))])
    await store.append(C, [message(ident(2), parent_id=None)])
    for context_id in (None, C):
        assert await rest(
            store.subscribe(kinds=BITS[MessageAppended], contexts=context_id and (context_id,), live=False)
        ) == [22]
        assert await rest(
            store.subscribe(kinds=CHUNK_BIT, contexts=context_id and (context_id,), live=False)
        ) == list(range(2, 22))
        assert (
            await rest(store.subscribe(kinds=1 << 13, contexts=context_id and (context_id,), live=False))
            == []
        )
    one, every = (
        store.subscribe(kinds=1 << 13, contexts=context_id and (context_id,)) for context_id in (None, C)
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.append_many, [Append(C, (event,)) for event in (message(ident(3)), MARK)])
        assert await take(one, 1) == await take(every, 1) == [24]


async def test_a_long_history_that_a_filter_skips_is_read_in_short_pages(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "PAGE_COMMITS", 10)
    await fill(store, 200)
    await store.append(C, [message()])
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    for context_id in (None, C):
        turns = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count_turns)
            kinds = BITS[MessageAppended]
            assert await rest(
                store.subscribe(kinds=kinds, contexts=context_id and (context_id,), live=False)
            ) == [201]
            tasks.cancel_scope.cancel()
        assert turns >= 20, "others run between the pages"


async def test_a_cancelled_subscription_goes_on_from_its_last_position(store: EventStore, seed: int) -> None:
    rng, seen = random.Random(seed), list[int]()
    await fill(store, 50)
    while len(seen) < 50:
        commits = store.subscribe(seen[-1] if seen else 0)
        with anyio.CancelScope() as scope:
            for _ in range(rng.randint(1, 9)):
                seen += await take(commits, 1)
                if len(seen) == 50:
                    break
            scope.cancel()
            await checkpoint()
    with anyio.move_on_after(0.01):
        await anext(store.subscribe(50))
        raise AssertionError("there is nothing to come")
    assert seen == list(range(1, 51))


async def test_closing_the_store_ends_its_subscriptions(data_dir: Path) -> None:
    store = await EventStore.open(data_dir)
    await fill(store, 3)
    ended = list[list[int]]()

    async def follow(context_id: UUID | None) -> None:
        ended.append(await rest(store.subscribe(contexts=context_id and (context_id,))))

    async with anyio.create_task_group() as tasks:
        for context_id in (None, C, D):
            tasks.start_soon(follow, context_id)
        await settle()
        assert ended == []
        await store.close()
    assert sorted(ended) == [[], [1, 2, 3], [1, 2, 3]]


async def test_damage_ends_a_subscription_with_its_position(store: EventStore) -> None:
    await fill(store, 5)
    flip_commit(store.log, 4, 99)
    for context_id in (None, C):
        with pytest.raises(Damaged, match="position 4"):
            await rest(store.subscribe(contexts=context_id and (context_id,), live=False))
    assert await rest(store.subscribe(after=4, live=False)) == [5]


WRITE = """
async with await EventStore.open(path) as store:
    await store.append(C, [ContextCreated()])
    say("ready")
    while hear():
        await store.append(C, [CustomRecorded("c")])
"""


class Ahead:
    """An environment whose ``info`` tells of a commit that no reader sees yet: LMDB's does at times."""

    def __init__(self, env: lmdb.Environment) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def info(self) -> Any:
        """What LMDB has begun to write, not what a reader sees."""
        return {**self._env.info(), "last_txnid": 1_000_000}


async def test_another_process_polls_and_misses_nothing(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "POLL_SECONDS", 0.001)
    with program(data_dir, WRITE) as writer:
        assert hear(writer) == "ready"
        async with await EventStore.open(data_dir, read_only=True) as reader:
            reader.log.env = cast("lmdb.Environment", Ahead(reader.log.env))
            commits, one = reader.subscribe(), reader.subscribe(contexts=(C,))
            assert await take(commits, 1) == await take(one, 1) == [1]
            for position in range(2, 10):
                say(writer)
                assert await take(commits, 1) == await take(one, 1) == [position]


async def test_closing_a_read_only_store_ends_its_polling(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "POLL_SECONDS", 0.001)
    async with await EventStore.open(data_dir) as writer:
        await writer.append(C, [ContextCreated()])
    reader = await EventStore.open(data_dir, read_only=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rest, reader.subscribe())
        await settle()
        await reader.close()


# -- Who is woken -------------------------------------------------------------------------------------------


async def test_only_commits_of_its_context_wake_a_subscriber_of_one(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append_many([Append(context, (ContextCreated(),)) for context in (C, D)])
    pages = list[frozenset[UUID] | None]()
    page = subscription._page  # pyright: ignore[reportPrivateUsage] -- what it reads is what this is about

    def counted(log: Log, after: int, contexts: frozenset[UUID] | None, kinds: int) -> Any:
        pages.append(contexts)
        return page(log, after, contexts, kinds)

    monkeypatch.setattr(subscription, "_page", counted)
    seen = list[int]()

    async def follow() -> None:
        async for commit in store.subscribe(after=2, contexts=(C,)):
            seen.append(commit.position)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await settle()
        read = len(pages)
        for _ in range(5):
            await store.append(D, [MARK])
        await settle()
        assert len(pages) == read
        await store.append(C, [MARK])
        await settle()
        assert (seen, len(pages) > read) == ([8], True)
        tasks.cancel_scope.cancel()
