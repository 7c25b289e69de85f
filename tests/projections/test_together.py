"""Commits that became visible together stay so in the views, wherever a step ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from witness import Journal, Steps, damage, fill, ident, opened, oracle, rows_of

from eventstore.commits import Append
from eventstore.errors import Damaged
from eventstore.events import BITS, ContextCreated, CustomRecorded
from eventstore.store import EventStore
from projections import following as module

MARK = CustomRecorded("mark")
GROUP = range(4, 16)
"""The positions of the commits that stand together; four of one event come before, and four after."""


@pytest.fixture(autouse=True, params=[module.STAGED_BYTES, 100])
def small_pages(request: pytest.FixtureRequest) -> Iterator[None]:
    """So that a few commits are many pages; their rows wait in memory, or are staged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAGE_COMMITS", 4)
        patch.setattr(module, "STAGED_BYTES", request.param)
        yield


async def filled(store: EventStore) -> None:
    await fill(store, 3)
    first = Append(ident(0xD), (ContextCreated(),))
    await store.append_together([first, *[Append(ident(0xD), (MARK,))] * (len(GROUP) - 1)])
    await fill(store, 4)


def visible(steps: Steps) -> int:
    """The position that readers see now, which is never inside the group."""
    applied = steps.following.tracks[0].applied
    assert applied not in GROUP[:-1]
    assert steps.saved("journal") not in GROUP[:-1]
    return applied


@pytest.mark.parametrize("rows_bytes_max", [module.ROWS_BYTES_MAX, 100])
async def test_no_step_ends_between_them(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, rows_bytes_max: int
) -> None:
    monkeypatch.setattr(module, "ROWS_BYTES_MAX", rows_bytes_max)
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views, tick=1.0)  # every page ends a step
        steps.step()
        await filled(store)
        seen = [0]
        while steps.step():
            seen.append(visible(steps))
            assert rows_of(views, journal) == oracle(store, journal, seen[-1])
        assert len(set(seen)) > 1, "it went in several steps"
        assert visible(steps) == store.acknowledged
        assert rows_of(views, journal) == oracle(store, journal)


async def test_a_process_that_stops_between_them_begins_them_again(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views, tick=1.0)
        steps.step()
        await filled(store)
        while steps.following.tracks[0].position not in GROUP[:-1]:
            assert steps.step()
        steps.following.stopping = True
        steps.following.save()
        visible(steps)
    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views)
        steps.finish()
        assert rows_of(views, journal) == oracle(store, journal)


async def test_what_is_built_anew_does_not_take_over_between_them(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views, tick=1.0)
        steps.step()
        await filled(store)
        steps.following.rebuild("journal")
        while steps.step():
            assert all(track.applied not in GROUP[:-1] for track in steps.following.tracks)
            assert rows_of(views, journal) == oracle(store, journal, steps.saved("journal"))
        assert rows_of(views, journal) == oracle(store, journal)


async def test_a_fold_that_fails_between_them_is_told_and_the_others_go_on(data_dir: Path) -> None:
    poisoned, journal = Journal("poisoned", poison=9), Journal()
    async with opened(data_dir, [poisoned, journal]) as (store, views):
        steps = Steps(store, views, tick=1.0)
        steps.step()
        await filled(store)
        steps.finish()
        failure = steps.books.entry("poisoned").live
        assert failure is not None
        assert failure.failure is not None
        assert failure.failure.position == 9
        assert rows_of(views, journal) == oracle(store, journal)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    groups=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    kinds=st.sampled_from([BITS[ContextCreated], BITS[CustomRecorded]]),
    tick=st.sampled_from([0.0, 0.2, 1.0]),
)
async def test_whatever_stands_together_and_is_wanted(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int], kinds: int, tick: float
) -> None:
    journal = Journal(kinds=kinds)
    async with opened(tmp_path_factory.mktemp("data"), [journal]) as (store, views):
        steps = Steps(store, views, tick=tick)
        steps.step()
        ends = [0]
        for number, size in enumerate(groups):
            first = Append(ident(number), (ContextCreated(),))
            ends.append(ends[-1] + size)
            await store.append_together([first, *[Append(ident(number), (MARK,))] * (size - 1)])
        while steps.step():
            assert steps.following.tracks[0].applied in ends
            assert steps.saved("journal") in ends
        assert rows_of(views, journal) == oracle(store, journal)


async def test_damage_between_them_hides_nothing_of_what_comes_before(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views)
        await filled(store)
        damage(store, 9)
        with pytest.raises(Damaged):
            steps.finish()
        assert steps.saved("journal") == 8
        assert rows_of(views, journal) == oracle(store, journal, 8)


async def test_what_damage_stops_has_passed_all_chunks_before_it(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views)
        last = await fill(store, 9, chunks=True)
        steps.finish()
        damage(store, await fill(store, 12, chunks=True))
        with pytest.raises(Damaged):
            steps.finish()
        assert steps.saved("journal") == store.acknowledged - 1 > last
