"""Write models are kept beside the log: a shortcut to a long context, never more than that."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import lmdb
import msgspec
import pytest
from damage import flip, overwrite, stored
from samples import C, S, chunk, chunks, ident, message

from eventstore import keys
from eventstore.commits import Append, Commit
from eventstore.errors import Refused
from eventstore.events import BranchMoved, ContextCreated, ContextUpdated, CustomRecorded, StreamStarted
from eventstore.limits import CONTEXT_METADATA_BYTES_MAX, SNAPSHOT_EVENTS
from eventstore.log import Log
from eventstore.store import EventStore

LENGTH = 4_500
"""Events of the long context: four snapshots, and half of the way to the fifth."""


@pytest.fixture
async def long(data_dir: Path) -> Path:
    """A log whose one context is long and has an open stream, another branch and two messages."""
    async with await EventStore.open(data_dir) as store:
        await store.append(C, [ContextCreated(), message(ident(1)), message(ident(2)), StreamStarted(S)])
        await store.append(C, [BranchMoved("side", ident(1))])
        rest = chunks(1, LENGTH - 5)
        outcomes = await store.append_many(
            [Append(C, tuple(rest[n : n + 100])) for n in range(0, len(rest), 100)]
        )
        assert len(outcomes) == 45
        assert store.version_of(C) == LENGTH
    return data_dir


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The versions from which contexts are folded."""
    asked, read = list[int](), Log.context_commits

    def spy(
        log: Log,
        txn: lmdb.Transaction,
        context_id: UUID,
        from_version: int = 1,
        to_version: int = keys.U64_MAX,
    ) -> Iterator[Commit]:
        asked.append(from_version)
        return read(log, txn, context_id, from_version, to_version)

    monkeypatch.setattr(Log, "context_commits", spy)
    return asked


async def goes_on(path: Path) -> None:
    """The context behaves as if every event had been folded."""
    async with await EventStore.open(path) as store:
        last = LENGTH - 5
        with pytest.raises(Refused) as gap:
            await store.append(C, [chunk(last + 5)])
        assert gap.value.fields["expected"] == last + 1
        with pytest.raises(Refused, match="another head"):
            await store.append(C, [BranchMoved("side", None, previous=ident(2))])
        assert (await store.append(C, [chunk(last + 1)])).version == LENGTH + 1
        assert not (await store.append(C, chunks(1_500, 1_700))).written
        await store.append(C, [BranchMoved("side", None, previous=ident(1)), message(ident(3))])
        (moved,) = (commit for commit in store.read(after=48))
        assert [getattr(event, "parent_id", None) for event in moved.events()] == [None, S]


async def test_a_long_context_is_loaded_from_its_last_snapshot(long: Path, folded: list[int]) -> None:
    async with await EventStore.open(long) as store:
        await store.append(C, [CustomRecorded("c")])
    assert folded == [4 * SNAPSHOT_EVENTS + 6], "the commit that passed 4,000 ended with version 4,005"


async def test_a_context_loaded_from_a_snapshot_goes_on_as_it_was(long: Path) -> None:
    await goes_on(long)


async def test_a_snapshot_is_taken_each_time_so_many_events_have_passed(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        for events in (1, SNAPSHOT_EVENTS - 2, 1, 1, 3 * SNAPSHOT_EVENTS):
            version = store.version_of(C)
            first = [] if version else [ContextCreated()]
            await store.append(C, [*first, *[CustomRecorded("c")] * (events - len(first))])
            with store.log.reading() as txn:
                there = txn.get(C.bytes, db=store.log.databases[keys.WRITE_MODELS]) is not None
            assert there == (version + events >= SNAPSHOT_EVENTS)


async def test_the_bound_of_metadata_outlasts_a_snapshot(data_dir: Path) -> None:
    half = "x" * (CONTEXT_METADATA_BYTES_MAX // 2)
    async with await EventStore.open(data_dir) as store:
        await store.append(C, [ContextCreated(attributes={"half": half})])
        await store.append(C, [CustomRecorded("c")] * SNAPSHOT_EVENTS)
    async with await EventStore.open(data_dir) as store:
        with pytest.raises(Refused) as refused:
            await store.append(C, [ContextUpdated({"attributes": {"other half": half}})])
        assert refused.value.code == "context_metadata_too_large"
        await store.append(C, [ContextUpdated({"attributes": {"half": None, "other half": half}})])


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "another shape", "missing"])
async def test_a_snapshot_that_cannot_be_trusted_is_ignored(
    long: Path, damage: str, folded: list[int]
) -> None:
    async with await EventStore.open(long) as store:
        value = stored(store.log, keys.WRITE_MODELS, C.bytes)
        other = msgspec.msgpack.encode({"of": "a later release"})
        broken = {
            "flipped": flip(value, 60),
            "cut": value[:-1],
            "empty": b"",
            "another shape": sha256(other).digest() + other,
            "missing": None,
        }
        overwrite(store.log, keys.WRITE_MODELS, C.bytes, broken[damage])
    await goes_on(long)
    assert folded[0] == 1


async def test_more_contexts_than_are_kept_in_memory_are_loaded_anew(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventstore.models.WRITE_MODELS_BYTES_MAX", 6_000)
    contexts = [ident(n) for n in range(1, 11)]
    await store.append_many([Append(context, (ContextCreated(),)) for context in contexts])
    for turn in range(3):
        appends = [Append(context, (CustomRecorded("c"),), expected_version=turn + 1) for context in contexts]
        outcomes = await store.append_many(appends)
        assert {getattr(outcome, "version", outcome) for outcome in outcomes} == {turn + 2}
