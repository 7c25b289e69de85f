"""Reading the log: pages, bounds, contexts, moments, and damage that is named."""

from __future__ import annotations

import random
from pathlib import Path
from uuid import UUID

import pytest
from damage import flip_commit, overwrite
from msgspec.structs import replace
from samples import START, C, D, M, S, TickingClock, ident, message

from eventstore import keys
from eventstore.commits import Append, Commit, Committed
from eventstore.errors import Damaged, NotFound, Refused
from eventstore.events import (
    ALL_BITS,
    BITS,
    MILESTONES,
    ContextCreated,
    CustomRecorded,
    Event,
    ForkedFrom,
    MessageAppended,
    StreamStarted,
)
from eventstore.store import EventStore
from eventstore.stored import EMPTY

CONTEXTS = [ident(n) for n in range(0x10, 0x15)]
CUSTOM = BITS[CustomRecorded]


async def fill(store: EventStore, commits: int, seed: int = 1) -> list[Committed]:
    """Commits of one to four events to five contexts whose ids stand beside each other, in random order."""
    rng = random.Random(seed)
    appends = [Append(context, (ContextCreated(),)) for context in CONTEXTS]
    for n in range(commits - len(CONTEXTS)):
        events: list[Event] = [CustomRecorded("c", n) for _ in range(rng.randint(1, 4))]
        if n % 3 == 0:
            events = [message(ident(0x1000 + n))]
        appends.append(Append(rng.choice(CONTEXTS), tuple(events)))
    outcomes = await store.append_many(appends)
    return [outcome for outcome in outcomes if isinstance(outcome, Committed)]


def page(
    store: EventStore,
    after: int,
    *,
    count: int = 1_000,
    size: int = 1 << 30,
    kinds: int = ALL_BITS,
    to: int | None = None,
) -> tuple[list[int], int]:
    """Positions of a page of commits, and the position reached."""
    with store.log.reading() as txn:
        commits, reached = store.log.commits(txn, after, count_max=count, bytes_max=size, kinds=kinds, to=to)
    return [commit.position for commit in commits], reached


def versions(store: EventStore, context: UUID, *bounds: int) -> list[tuple[int, int]]:
    """First and last version of each of the context's commits within bounds."""
    with store.log.reading() as txn:
        return [(c.first_version, c.last_version) for c in store.log.context_commits(txn, context, *bounds)]


# -- The whole log ------------------------------------------------------------------------------------------


async def test_an_empty_log_has_nothing_and_a_head_before_the_first_position(store: EventStore) -> None:
    assert store.head() == EMPTY
    assert page(store, 0) == ([], 0)
    with store.log.reading() as txn:
        assert store.log.version_of(txn, C) == 0
        assert store.log.place_at(txn, C, 1) == (0, 0)
        assert store.log.position_at_time(txn, 1 << 53) == 0
        assert store.log.message_place(txn, M) is None


async def test_a_commit_is_read_by_its_position(store: EventStore) -> None:
    await fill(store, 10)
    with store.log.reading() as txn:
        for position in range(1, 11):
            assert store.log.commit_at(txn, position).position == position
        for position in (-1, 0, 11, 1 << 60):
            with pytest.raises(NotFound) as missing:
                store.log.commit_at(txn, position)
            assert (missing.value.code, missing.value.fields) == (
                "position_not_found",
                {"position": position},
            )


async def test_a_page_ends_after_so_many_commits_or_bytes_or_at_a_position(store: EventStore) -> None:
    await fill(store, 20)
    assert page(store, 0) == (list(range(1, 21)), 20)
    assert page(store, 3, count=4) == ([4, 5, 6, 7], 7)
    assert page(store, 3, size=1) == ([4], 4)
    assert page(store, 3, size=300) == ([4, 5], 5)
    assert page(store, 3, to=5) == ([4, 5], 5)
    assert page(store, 3, to=3) == ([], 3)
    assert page(store, 3, to=1) == ([], 3)
    assert page(store, 18, to=99) == ([19, 20], 20)
    assert page(store, 20) == ([], 20)
    assert page(store, 99) == ([], 99)


async def test_a_filter_skips_commits_but_still_advances(store: EventStore) -> None:
    await fill(store, 20)
    created = BITS[ContextCreated]
    assert page(store, 0, kinds=created) == ([1, 2, 3, 4, 5], 20)
    assert page(store, 5, kinds=created) == ([], 20)
    assert page(store, 5, kinds=created, count=3) == ([], 8)
    messages, customs = (page(store, 5, kinds=kinds)[0] for kinds in (BITS[MessageAppended], CUSTOM))
    assert sorted(messages + customs) == list(range(6, 21))
    assert page(store, 0, kinds=0) == ([], 20)


async def test_commits_that_hold_a_milestone_come_too_but_bare(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventstore.log.MILESTONE_VERSIONS", 5)
    await fill(store, 200)
    messages, whole = BITS[MessageAppended], 1 << 30
    with store.log.reading() as txn:
        there, _ = store.log.commits(txn, 0, count_max=200, bytes_max=whole)
        asked = store.log.commits(txn, 0, count_max=200, bytes_max=whole, kinds=messages | MILESTONES)
        assert store.log.commits(txn, 0, count_max=200, bytes_max=whole, kinds=0) == ([], 200)
    bare = {
        commit.position: replace(commit, commit_id=None, metadata=None, records=())
        for commit in there
        if any(version % 5 == 0 for version in range(commit.first_version, commit.last_version + 1))
    }
    wanted = [commit if commit.kinds & messages else bare.get(commit.position) for commit in there]
    assert asked == ([commit for commit in wanted if commit is not None], 200)
    assert 0 < len(bare) < 200


@pytest.mark.parametrize("after", [-1, keys.U64_MAX, 1 << 70])
async def test_a_position_out_of_range_is_refused(store: EventStore, after: int) -> None:
    with pytest.raises(Refused, match="after"):
        page(store, after)


async def test_pages_put_together_are_the_log(store: EventStore) -> None:
    await fill(store, 40)
    for count in (1, 3, 40):
        after, seen = 0, list[int]()
        while True:
            positions, reached = page(store, after, count=count)
            if reached == after:
                break
            seen += positions
            after = reached
        assert seen == list(range(1, 41))


# -- One context --------------------------------------------------------------------------------------------


async def test_the_commits_of_a_context_are_those_that_hold_the_versions(store: EventStore) -> None:
    await store.append(C, [ContextCreated()])
    await store.append(D, [ContextCreated()])
    await store.append(C, [CustomRecorded("c")] * 3)
    await store.append(C, [CustomRecorded("c")] * 2)
    whole = [(1, 1), (2, 4), (5, 6)]
    assert versions(store, C) == versions(store, C, 0) == versions(store, C, -5) == whole
    assert versions(store, C, 1, 1) == [(1, 1)]
    assert versions(store, C, 2) == versions(store, C, 3) == versions(store, C, 4, 5) == whole[1:]
    assert versions(store, C, 3, 3) == [(2, 4)]
    assert versions(store, C, 6) == versions(store, C, 5, 99) == [(5, 6)]
    assert versions(store, C, 7) == versions(store, C, keys.U64_MAX) == versions(store, C, 1 << 70) == []
    assert versions(store, C, 3, 2) == versions(store, C, 1, 0) == versions(store, C, 1, -1) == []
    assert versions(store, C, 1, 1 << 70) == whole
    assert versions(store, ident(0xCC)) == versions(store, ident(0)) == []


async def test_a_page_of_a_context_is_bounded_and_says_whether_there_may_be_more(store: EventStore) -> None:
    await store.append(C, [ContextCreated()])
    for _ in range(4):
        await store.append(C, [CustomRecorded("c")] * 2)

    def context_page(first: int, count: int, size: int) -> tuple[list[int], bool]:
        with store.log.reading() as txn:
            commits, more = store.log.context_page(txn, C, first, count_max=count, bytes_max=size)
        return [commit.first_version for commit in commits], more

    assert context_page(1, 99, 1 << 30) == ([1, 2, 4, 6, 8], False)
    assert context_page(3, 2, 1 << 30) == ([2, 4], True)
    assert context_page(1, 5, 1 << 30) == ([1, 2, 4, 6, 8], False)  # full, and the end
    assert context_page(3, 99, 1) == ([2], True)
    assert context_page(10, 1, 1) == ([], False)


async def test_a_page_is_bounded_by_what_its_commits_unpack_to(store: EventStore) -> None:
    await store.append(C, [ContextCreated()])
    for number in range(4):
        await store.append(C, [CustomRecorded("c", {"text": "x" * 1_000_000})])
        await store.append(C, [CustomRecorded("c", {"number": number})])
    assert page(store, 0, size=1_500_000) == ([1, 2, 3], 3)
    assert page(store, 1, size=1_500_000) == ([2, 3], 3)
    assert page(store, 0, size=2_500_000) == ([1, 2, 3, 4, 5], 5)
    assert page(store, 0, size=50_000) == ([1], 1)
    assert page(store, 1, size=50_000) == ([2], 2), "what is larger comes alone"
    assert page(store, 2, size=50_000) == ([3], 3)
    created = BITS[ContextCreated]
    assert page(store, 0, size=50_000, kinds=created) == ([1], 9), "what is not wanted is not unpacked"
    for size, expected in (50_000, [2]), (1_500_000, [2, 3]), (2_500_000, [2, 3, 4, 5]):
        with store.log.reading() as txn:
            commits, more = store.log.context_page(txn, C, 2, count_max=99, bytes_max=size)
        assert ([commit.first_version for commit in commits], more) == (expected, True)
    for commits in (store.read(), store.read_context(C)):
        assert [commit.position for commit in commits] == list(range(1, 10))


async def test_a_version_is_found_in_the_commit_that_holds_it(store: EventStore) -> None:
    await store.append(C, [ContextCreated()])
    await store.append(C, [CustomRecorded("c")] * 3)
    with store.log.reading() as txn:
        assert [store.log.commit_of(txn, C, version).position for version in (1, 2, 3, 4)] == [1, 2, 2, 2]
        assert store.log.version_of(txn, C) == 4
        for version in (-1, 0, 5):
            with pytest.raises(NotFound) as missing:
                store.log.commit_of(txn, C, version)
            assert (missing.value.code, missing.value.fields["version"]) == ("version_not_found", version)
        with pytest.raises(NotFound) as unknown:
            store.log.commit_of(txn, D, 1)
        assert (unknown.value.code, unknown.value.fields) == ("context_not_found", {"context_id": D})


async def test_contexts_whose_ids_stand_beside_each_other_are_not_mixed_up(store: EventStore) -> None:
    await fill(store, 60)
    every = list(store.read())
    for context in CONTEXTS:
        own = [commit for commit in every if commit.context_id == context]
        assert versions(store, context) == [(commit.first_version, commit.last_version) for commit in own]
        assert store.version_of(context) == own[-1].last_version


async def test_a_version_at_a_position_is_what_the_log_had_then(store: EventStore) -> None:
    await fill(store, 60)
    every = list(store.read())
    with store.log.reading() as txn:
        for context in (*CONTEXTS, C):
            for position in range(-1, 63):
                then = sum(c.event_count for c in every if c.context_id == context and c.position <= position)
                assert store.log.place_at(txn, context, position)[0] == then


async def test_a_position_at_a_time_is_the_last_one_recorded_by_then(
    store: EventStore, clock: TickingClock
) -> None:
    for now in (START, START, START + 5, START - 7, START + 9):  # a clock that is set back stands still
        clock.now = now
        created = store.head().position > 0
        await store.append(C, [CustomRecorded("c") if created else ContextCreated()])
    every: list[Commit] = list(store.read())
    assert [commit.recorded_at for commit in every] == sorted(commit.recorded_at for commit in every)
    with store.log.reading() as txn:
        for at in range(START - 2, START + 12):
            then = [commit.position for commit in every if commit.recorded_at <= at]
            assert store.log.position_at_time(txn, at) == max(then, default=0)


async def test_a_messages_place_says_where_and_how_it_was_added(store: EventStore) -> None:
    await store.append(C, [ContextCreated(), message(M), StreamStarted(S)])
    await store.append(D, [ContextCreated(forked_from=ForkedFrom(C, 2))])
    with store.log.reading() as txn:
        assert store.log.message_place(txn, M) == (C, 2, False)
        assert store.log.message_place(txn, S) == (C, 3, True)
        assert store.log.forked_from(txn, C) is None
        assert store.log.forked_from(txn, D) == ForkedFrom(C, 2)


# -- Damage -------------------------------------------------------------------------------------------------


async def test_damage_stops_a_read_and_names_the_position(store: EventStore) -> None:
    await fill(store, 20)
    flip_commit(store.log, 7, 100)
    sound = store.read()
    assert [next(sound).position for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(Damaged) as damaged:
        next(sound)
    assert (damaged.value.code, damaged.value.fields) == ("commit_damaged", {"position": 7})
    assert page(store, 0, to=6)[0] == [1, 2, 3, 4, 5, 6]
    assert page(store, 7)[0] == list(range(8, 21)), "what is behind the damage can be asked for"


async def test_damage_is_found_in_commits_that_a_filter_skips(store: EventStore) -> None:
    await fill(store, 20)
    flip_commit(store.log, 7, 100)
    assert page(store, 0, kinds=BITS[ContextCreated])[1] == 6
    with pytest.raises(Damaged, match="position 7"):
        page(store, 6, kinds=BITS[ContextCreated])


@pytest.mark.parametrize("position", [1, 7, 20])
async def test_a_missing_commit_is_damage_wherever_it_is_met(store: EventStore, position: int) -> None:
    await fill(store, 20)
    overwrite(store.log, keys.COMMITS, keys.pack_u64(position), None)
    for after, to in ((0, None), (position - 1, None), (0, position), (position - 1, position)):
        with pytest.raises(Damaged, match=f"position {position} ") as damaged:
            page(store, page(store, after, to=to)[1], to=to)
        assert damaged.value.fields == {"position": position}
    with pytest.raises(Damaged, match=f"position {position} "), store.log.reading() as txn:
        store.log.commit_at(txn, position)
    assert page(store, 0, to=position - 1)[1] == position - 1


async def test_a_damaged_commit_stops_the_reading_of_its_context_only(store: EventStore) -> None:
    await fill(store, 40)
    every = list(store.read())
    flip_commit(store.log, 20, 50)
    for context in CONTEXTS:
        if context == every[19].context_id:
            with pytest.raises(Damaged, match="position 20"):
                versions(store, context)
        else:
            assert versions(store, context)


async def test_what_is_sound_of_a_context_is_given_before_its_damage(store: EventStore) -> None:
    await store.append_many([Append(C, (ContextCreated(),)), *[Append(C, (CustomRecorded("c"),))] * 5])
    flip_commit(store.log, 4, 50)
    reading = store.read_context(C)
    assert [next(reading).position for _ in range(3)] == [1, 2, 3]
    with pytest.raises(Damaged, match="position 4"):
        next(reading)


async def test_a_time_is_not_looked_up_in_damaged_commits(store: EventStore) -> None:
    await fill(store, 5)
    flip_commit(store.log, 3, 32 + 41)
    with pytest.raises(Damaged, match="position 3"), store.log.reading() as txn:
        store.log.position_at_time(txn, START)


@pytest.mark.parametrize("value", [keys.pack_u64(3), keys.pack_u64(99), b"", b"short", bytes(9)])
async def test_an_index_that_leads_astray_is_damage(data_dir: Path, value: bytes) -> None:
    async with await EventStore.open(data_dir) as store:
        await fill(store, 10)
    async with await EventStore.open(data_dir) as store:
        await _lead_astray(store, value)


async def _lead_astray(store: EventStore, value: bytes) -> None:
    overwrite(store.log, keys.BY_CONTEXT, keys.context_version(CONTEXTS[0].bytes, 1), value)
    with pytest.raises(Damaged):
        versions(store, CONTEXTS[0])
    with pytest.raises(Damaged), store.log.reading() as txn:
        store.log.commit_of(txn, CONTEXTS[0], 1)
