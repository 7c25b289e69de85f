"""Appending several commits together: all or none, visible in one step, apart from what is beside."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import UUID

import anyio
import anyio.to_thread
import lmdb
import pytest
from faulty import Fault, Faults
from samples import C, D, M, S, chunks, ident, message

from eventstore import request, subscription
from eventstore.commits import Append
from eventstore.errors import Refused, TurnlogError, Unavailable, WrongExpectedVersion
from eventstore.events import ContextCreated, CustomRecorded, StreamFinalized, StreamStarted
from eventstore.store import EventStore
from eventstore.verify import verify

MARK = CustomRecorded("mark")


def parts(*, to: UUID = C, first: int = 0) -> list[Append]:
    """A context in four commits."""
    whole = (
        (ContextCreated(), message(M), StreamStarted(S)),
        tuple(chunks(1, 30)),
        tuple(chunks(31, 60)),
        (StreamFinalized(S, "completed"), MARK),
    )
    versions = (0, 3, 33, 63)
    return [
        Append(to, events, version + first, ident(0xF0 + number))
        for number, (events, version) in enumerate(zip(whole, versions, strict=True))
    ]


def together(store: EventStore) -> list[bool]:
    return [commit.together for commit in store.read()]


async def test_a_subscription_that_is_cut_between_them_goes_on_with_the_next(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "PAGE_COMMITS", 2)
    await store.append(D, [ContextCreated()])
    await store.append_together(parts())
    await store.append(D, [MARK])
    for contexts, expected in (None, [1, 2, 3, 4, 5, 6]), ({C}, [2, 3, 4, 5]):
        for cut in range(len(expected)):
            seen: list[int] = []
            while len(seen) < len(expected):
                after = seen[-1] if seen else 0
                async with aclosing(store.subscribe(after, contexts=contexts, live=False)) as commits:
                    async for commit in commits:
                        assert commit.together == (commit.position in (3, 4, 5))
                        seen.append(commit.position)
                        if len(seen) == cut:
                            break
            assert seen == expected


async def test_commits_get_their_positions_and_share_a_transaction(store: EventStore) -> None:
    await store.append(D, [ContextCreated()])
    heard: list[tuple[int, int]] = []
    store.add_commit_listener(lambda after, position, kinds: heard.append((after, position)))
    outcomes = await store.append_together(parts())
    assert [(each.position, each.version, each.written) for each in outcomes] == [
        (2, 3, True),
        (3, 33, True),
        (4, 63, True),
        (5, 65, True),
    ]
    assert store.acknowledged == 5
    await store.append(D, [MARK])
    assert (1, 5) in heard  # after what the first append told, if that came late
    assert not any(1 < position < 5 for _, position in heard)
    assert len({commit.recorded_at for commit in store.read(1, to=5)}) == 1
    assert together(store) == [False, False, True, True, True, False]
    with store.log.reading() as txn:
        assert [store.log.is_divided(txn, p) for p in range(7)] == [
            False,
            False,
            True,
            True,
            True,
            False,
            False,
        ]
    assert list(verify(store.log)) == []


async def test_one_alone_and_none_are_no_special_case(store: EventStore) -> None:
    assert await store.append_together([]) == []
    (outcome,) = await store.append_together([Append(C, (ContextCreated(),))])
    assert (outcome.position, outcome.version) == (1, 1)
    assert together(store) == [False]


@pytest.mark.parametrize("wrong", [1, 2, 3])
async def test_when_one_is_refused_none_is_written(store: EventStore, wrong: int) -> None:
    await store.append(D, [ContextCreated(), message(ident(9))])
    head = store.head()
    appends = parts()
    appends[wrong] = Append(C, (message(ident(9)),))
    with pytest.raises(Refused) as refused:
        await store.append_together(appends)
    assert refused.value.code == "message_exists"
    assert (store.head(), store.version_of(C)) == (head, 0)
    with store.log.reading() as txn:
        assert store.log.message_place(txn, M) is None
    assert (await store.append(D, [MARK])).position == 2
    assert len(await store.append_together(parts())) == 4, "nothing of it is remembered"
    assert list(verify(store.log)) == []


async def test_neighbours_of_what_is_refused_are_written(faulty: EventStore, faults: Faults) -> None:
    appends = parts(to=ident(0xCC))
    appends[2] = Append(ident(0xCC), (MARK,), expected_version=7)
    with faults.held() as held:
        first = asyncio.ensure_future(faulty.append(C, [MARK]))
        await anyio.to_thread.run_sync(held.wait, 20)
        others: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(faulty.append(C, [MARK])),
            asyncio.ensure_future(faulty.append_together(appends)),
            asyncio.ensure_future(faulty.append_together(parts(to=D))),
            asyncio.ensure_future(faulty.append(C, [MARK])),
        ]
        while faulty.statistics().waiting_requests < 5:
            await anyio.lowlevel.checkpoint()
    with anyio.fail_after(20):
        await first
        outcomes: list[Any] = await asyncio.gather(*others, return_exceptions=True)
    assert isinstance(outcomes[1], WrongExpectedVersion)
    assert [isinstance(each, Exception) for each in outcomes] == [False, True, False, False]
    assert faulty.version_of(ident(0xCC)) == 0
    assert (faulty.version_of(C), faulty.version_of(D), faulty.waiting()) == (4, 65, (0, 0))


async def test_a_repeat_returns_the_first_outcome(store: EventStore) -> None:
    outcomes = await store.append_together(parts())
    head = store.head()
    again = await store.append_together(parts())
    assert [(each.position, each.version, each.written) for each in again] == [
        (each.position, each.version, False) for each in outcomes
    ]
    assert store.head() == head


async def test_what_was_written_alone_before_is_found(store: EventStore) -> None:
    appends = parts()
    for append in appends[:2]:
        await store.append_many([append])
    outcomes = await store.append_together(appends)
    assert [each.written for each in outcomes] == [False, False, True, True]
    assert together(store) == [False, False, False, True], "it stands with nothing that was there"


async def test_they_are_of_one_context_and_bounded(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match="one context"):
        await store.append_together([*parts(), Append(D, (ContextCreated(),))])
    monkeypatch.setattr(request, "TOGETHER_BYTES_MAX", 200)
    with pytest.raises(Refused) as refused:
        await store.append_together(parts())
    assert refused.value.code == "commit_too_large"
    assert store.head().position == 0


async def test_a_subscriber_hears_of_them_once_they_are_all_there(store: EventStore) -> None:
    seen: list[tuple[int, int]] = []

    async def follow() -> None:
        async for commit in store.subscribe():
            seen.append((commit.position, store.version_of(C)))
            if commit.position == 4:
                return

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await store.append_together(parts())
    assert seen == [(position, 65) for position in range(1, 5)]


async def test_a_commit_that_failed_is_answered_for_all(faulty: EventStore, faults: Faults) -> None:
    faults.commits.append(Fault(lmdb.Error("mdb_txn_commit: Input/output error")))
    with pytest.raises(Unavailable) as failed:
        await faulty.append_together(parts(to=D))
    assert failed.value.code == "storage_failed"
    assert faulty.version_of(D) == 0
    faults.commits.append(Fault(lmdb.Error("mdb_txn_commit: Input/output error"), done=True))
    assert [each.position for each in await faulty.append_together(parts(to=D))] == [2, 3, 4, 5]
    faults.commits.append(Fault(lmdb.Error("mdb_txn_commit: Input/output error")))
    faults.opens.append(lmdb.Error("no"))
    with pytest.raises(TurnlogError):
        await faulty.append(C, [MARK])
    assert [each.written for each in await faulty.append_together(parts(to=D))] == [False] * 4
