"""The index by context: what is stored and what memory holds give one answer, to every reader."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import anyio
import anyio.lowlevel
import anyio.to_thread
import lmdb
import pytest
from damage import flip, flip_commit, overwrite, stored
from faulty import Fault, Faults
from samples import C, D, ident

from eventstore import keys
from eventstore.commits import Append, Committed
from eventstore.errors import Damaged, TurnlogError
from eventstore.events import ContextCreated, CustomRecorded
from eventstore.log import Log
from eventstore.store import EventStore
from eventstore.stored import Head, Item, beside_head
from eventstore.verify import verify

Entry: TypeAlias = tuple[int, int]
"""First version and position."""

CONTEXTS = [ident(n) for n in (1, 2, 3, 0xFF, 0x100)]
MARK = CustomRecorded("mark")


@pytest.fixture(params=[1, 7, 4_096])
def unindexed_max(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Entries are stored with every commit, after every seventh, or at the end."""
    monkeypatch.setattr("eventstore.append.UNINDEXED_COMMITS_MAX", request.param)
    return request.param


async def append_one_by_one(store: EventStore, commits: int, rng: random.Random) -> dict[UUID, list[Entry]]:
    """Commits of one to three events; the entries that they must have, by context."""
    entries: dict[UUID, list[Entry]] = {context: [] for context in CONTEXTS}
    for _ in range(commits):
        context = rng.choice(CONTEXTS)
        events = [MARK] * rng.randint(1, 3) if entries[context] else [ContextCreated()]
        committed = await store.append(context, events)
        entries[context].append((committed.version - len(events) + 1, committed.position))
    return entries


def entry_of(item: Item | None) -> Entry | None:
    return None if item is None else (keys.split_context_version(item[0])[1], keys.unpack_u64(item[1]))


def check_all(log: Log, txn: lmdb.Transaction, every: dict[UUID, list[Entry]], rng: random.Random) -> None:
    """Every question, against the plain lists; ``head`` hides what came after it."""
    head = log.head(txn)
    known = [(context, [e for e in entries if e[1] <= head.position]) for context, entries in every.items()]
    there = {context.bytes for context, entries in known if entries}
    assert sorted(log.index.context_keys(txn, head)) == sorted(there)
    for context, entries in known:
        ask = range(1, entries[-1][0] + 3) if entries else range(1, 3)
        for version in ask:
            floor = max((e for e in entries if e[0] <= version), default=None)
            assert entry_of(log.index.floor(txn, head, context.bytes, version)) == floor
            last = version + rng.randint(0, 6)
            first = floor[0] if floor else version
            between = [e for e in entries if first <= e[0] <= last]
            found = log.index.entries(txn, head, context.bytes, version, last)
            assert [entry_of(item) for item in found] == between
        for position in range(head.position + 2):
            as_of = max((e for e in entries if e[1] <= position), default=None)
            assert entry_of(log.index.as_of(txn, head, context.bytes, position)) == as_of


@pytest.mark.parametrize("seed", range(3))
async def test_it_answers_as_a_list_of_commits_would(data_dir: Path, unindexed_max: int, seed: int) -> None:
    rng = random.Random(seed)
    async with await EventStore.open(data_dir) as store:
        entries = await append_one_by_one(store, 60, rng)
        with store.log.reading() as txn:
            assert store.log.head(txn).indexed == 60 // unindexed_max * unindexed_max
            check_all(store.log, txn, entries, rng)
            store.log.index.forget()  # as another process begins
            check_all(store.log, txn, entries, rng)
    async with await EventStore.open(data_dir) as store:
        with store.log.reading() as txn:
            assert store.log.head(txn).indexed == 60, "closing completes it"
            check_all(store.log, txn, entries, rng)
        assert list(verify(store.log)) == []


@pytest.mark.usefixtures("unindexed_max")
async def test_a_reader_keeps_its_answers_while_entries_are_stored(data_dir: Path) -> None:
    rng = random.Random(5)
    async with await EventStore.open(data_dir) as store:
        entries = await append_one_by_one(store, 20, rng)
        with store.log.reading() as txn:
            await store.append_many([Append(C, (ContextCreated(),)), *[Append(C, (MARK,))] * 30])
            check_all(store.log, txn, entries, rng)
        with store.log.reading() as txn:
            assert store.log.version_of(txn, C) == 31


@pytest.mark.usefixtures("unindexed_max")
async def test_another_process_follows_what_the_writer_adds(data_dir: Path) -> None:
    rng = random.Random(6)
    async with await EventStore.open(data_dir) as store:
        entries = await append_one_by_one(store, 10, rng)
        reader = Log.__new__(Log)  # LMDB opens a file once in a process: that one, with a memory of its own
        reader.__dict__ = dict(store.log.__dict__)
        reader.index = type(store.log.index)(store.log)
        for _ in range(5):
            with reader.reading() as txn:
                check_all(reader, txn, entries, rng)
            for context, position_and_version in (await append_more(store, 9)).items():
                entries.setdefault(context, []).extend(position_and_version)


async def append_more(store: EventStore, commits: int) -> dict[UUID, list[Entry]]:
    """Commits of one event to a new context."""
    context = ident(0x500 + store.head().position)
    appends = [Append(context, (ContextCreated(),)), *[Append(context, (MARK,))] * (commits - 1)]
    outcomes = await store.append_many(appends)
    return {context: [(o.version, o.position) for o in outcomes if isinstance(o, Committed)]}


async def test_a_transaction_that_fails_leaves_nothing_in_memory(faulty: EventStore, faults: Faults) -> None:
    faults.commits.append(Fault(lmdb.Error("the disk failed")))
    with pytest.raises(TurnlogError):
        await faulty.append(C, [MARK])
    with faulty.log.reading() as txn:
        head = faulty.log.head(txn)
        assert faulty.log.index.recent(txn, head).through == head.position == 1
    assert (await faulty.append(C, [MARK])).version == 2
    assert [commit.position for commit in faulty.read_context(C)] == [1, 2]


# -- Damage among the commits that have no stored entry yet -------------------------------------------------


async def test_a_damaged_body_is_still_its_contexts(store: EventStore) -> None:
    await store.append_many([Append(context, (ContextCreated(),)) for context in (C, D)])
    await store.append(C, [MARK])
    flip_commit(store.log, 3, 100)
    store.log.index.forget()
    assert [commit.position for commit in store.read_context(D)] == [2]
    reading = store.read_context(C)
    assert next(reading).position == 1
    with pytest.raises(Damaged, match="position 3"):
        next(reading)


@pytest.mark.parametrize("offset", [38, 61], ids=["another context", "another version"])
async def test_when_a_commit_cannot_be_placed_no_context_is_whole(store: EventStore, offset: int) -> None:
    await store.append_many([Append(context, (ContextCreated(),)) for context in (C, D)])
    await store.append(C, [MARK])
    flip_commit(store.log, 3, offset)
    store.log.index.forget()
    for context in (C, D):
        with pytest.raises(Damaged, match="position 3"):
            next(store.read_context(context))


async def test_a_missing_entry_is_damage_not_a_shorter_context(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        await store.append_many([Append(C, (ContextCreated(),)), *[Append(C, (MARK,))] * 4])
    async with await EventStore.open(data_dir) as store:
        for version, found_at in ((3, "position 4"), (1, "position 2")):
            overwrite(store.log, keys.BY_CONTEXT, keys.context_version(C.bytes, version), None)
            with pytest.raises(Damaged, match=found_at):
                list(store.read_context(C))


# -- Beside the head ----------------------------------------------------------------------------------------


def not_filed(store: EventStore) -> list[int]:
    with store.log.reading() as txn:
        return [keys.unpack_u64(key) for key, _ in beside_head(txn)]


async def test_small_commits_stay_beside_the_head_until_its_page_is_full(store: EventStore) -> None:
    await store.append(C, [ContextCreated()])
    with store.log.env.begin() as txn:
        pages = txn.stat()
    assert (pages["depth"], pages["leaf_pages"]) == (1, 1)
    longest = 0
    for _ in range(100):
        position = (await store.append(C, [MARK])).position
        beside = not_filed(store)
        longest = max(longest, len(beside))
        assert beside == [] or beside == list(range(beside[0], position + 1))
        with store.log.env.begin() as txn:
            assert txn.stat()["depth"] == 1, "it stays one page"
    assert longest > 15
    assert [commit.position for commit in store.read()] == list(range(1, 102))


@pytest.mark.parametrize(
    ("appends", "filed"),
    [(4, False), (5, True)],
    ids=["four at once stay", "five are filed"],
)
async def test_many_at_once_are_filed_with_those_before(
    faulty: EventStore, faults: Faults, appends: int, filed: bool
) -> None:
    with faults.held() as held:
        first = asyncio.ensure_future(faulty.append(C, [MARK]))
        await anyio.to_thread.run_sync(held.wait, 20)
        rest = asyncio.ensure_future(faulty.append_many([Append(C, (MARK,))] * appends))
        await anyio.lowlevel.checkpoint()
    await first
    await rest
    every = list(range(1, appends + 3))
    assert not_filed(faulty) == ([] if filed else every)
    assert [commit.position for commit in faulty.read()] == every


async def test_a_large_commit_is_filed(store: EventStore) -> None:
    await store.append(C, [ContextCreated()])
    incompressible = random.Random(1).randbytes(2_000).hex()
    await store.append(C, [CustomRecorded("c", incompressible)])
    assert not_filed(store) == []


async def test_a_damaged_commit_beside_the_head_is_not_served(store: EventStore) -> None:
    await store.append(C, [ContextCreated()])
    whole = stored(store.log, keys.COMMITS, keys.pack_u64(1))
    overwrite(store.log, b"", keys.pack_u64(1), flip(whole, 70))
    with pytest.raises(Damaged, match="position 1"):
        next(store.read())


def test_a_head_says_how_far_the_index_goes() -> None:
    assert Head(*keys.split_head_value(keys.head_value(5, 6, bytes(32), 4))) == Head(5, 6, bytes(32), 4)
