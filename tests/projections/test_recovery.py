"""What the views do when the log is damaged, the disk full, or a commit of theirs may have happened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from witness import EVERYTHING, Journal, Looker, Steps, damage, fill, opened, oracle, rows_of

from eventstore.errors import Damaged, Unavailable
from projections import following as module
from projections import past
from projections.bookkeeping import Change


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few commits are many pages."""
    monkeypatch.setattr(module, "PAGE_COMMITS", 4)


async def test_damage_in_the_log_stops_everything_just_before_it(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        await fill(store, 20)
        steps = Steps(store, views)
        expected = oracle(store, journal, 10)
        damage(store, 11)
        with pytest.raises(Damaged) as damaged:
            steps.finish()
        assert damaged.value.fields["position"] == 11
        (track,) = steps.following.tracks
        assert track.applied == 10
        steps.following.take_over(10)
        assert rows_of(views, journal) == expected


async def test_a_view_that_stopped_is_not_replaced_by_one_that_damage_keeps_behind_it(data_dir: Path) -> None:
    journal = Journal(poison=25)
    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views)
        for _ in range(2):
            await fill(store, 20)
            steps.finish()
        assert steps.saved("journal") == 24
        damage(store, 11)
        steps.following.rebuild("journal")
        with pytest.raises(Damaged):
            steps.finish()
        assert steps.saved("journal") == 24, "answers do not go back"


async def test_damage_that_a_fold_meets_looking_back_is_no_poison(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "HELD_BYTES_MAX", 0)
    async with opened(data_dir, [Looker()]) as (store, views):
        await fill(store, 4)
        steps = Steps(store, views)
        steps.finish()
        damage(store, 2)
        await fill(store, 4)
        with pytest.raises(Damaged) as damaged:
            steps.finish()
        assert damaged.value.fields["position"] == 2
        (track,) = steps.following.tracks
        assert track.failure is None
        assert track.applied == 4


async def test_rows_that_could_not_be_stored_are_stored_later(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        await fill(store, 5)
        steps = Steps(store, views)
        steps.finish()
        before = rows_of(views, journal)
        await fill(store, 5)
        with monkeypatch.context() as patch:
            patch.setattr(steps.books, "writing", disk_is_full)
            for _ in range(3):
                with pytest.raises(Unavailable):
                    steps.step()
                await fill(store, 1)
        (track,) = steps.following.tracks
        assert track.applied == 5
        assert rows_of(views, journal) == before
        steps.finish()
        assert journal.folded == list(range(1, 14))
        assert rows_of(views, journal) == oracle(store, journal)


def disk_is_full() -> None:
    """What a write transaction does then."""
    raise Unavailable("disk_full", "the disk is full")


@pytest.mark.parametrize("happened", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_after_a_commit_that_may_have_happened_all_goes_on_from_what_is_stored(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, happened: bool, nth: int
) -> None:
    """Of every step the n-th transaction fails, as with a disk that fails before or after the meta page."""
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views, tick=1.0)
        writing, left, failures = steps.books.writing, 0, 0

        @contextmanager
        def failing() -> Generator[Change]:
            nonlocal left
            left -= 1
            with writing() as change:
                yield change
                if left == 0 and not happened:
                    raise OSError
            if left == 0:
                raise OSError

        def once_failing(act: Callable[[], object]) -> None:
            nonlocal left, failures
            left = nth
            try:
                act()
            except OSError:
                failures += 1
                steps.following.recover()
                act()

        monkeypatch.setattr(steps.books, "writing", failing)
        await fill(store, 20)
        for _ in range(20):
            once_failing(steps.step)
        once_failing(lambda: steps.following.rebuild("journal"))
        for _ in range(20):
            once_failing(steps.step)
        assert failures > 0
        assert steps.books.entry("journal").retired == ()
        assert [track.role for track in steps.following.tracks] == ["live"]
        assert rows_of(views, journal) == oracle(store, journal)


async def test_reopening_waits_for_readers(data_dir: Path) -> None:
    async with opened(data_dir, [journal := Journal()]) as (store, views):
        await fill(store, 5)
        steps = Steps(store, views)
        steps.finish()
        before = views.env
        with views.reading() as reader:
            recovery = threading.Thread(target=steps.following.recover)
            recovery.start()
            with views.reading():
                found = {t: list(reader.scan("journal", t, b"", EVERYTHING)) for t in journal.tables}
            assert views.env is before
        recovery.join(30)
        assert views.env is not before
        assert found == rows_of(views, journal) == oracle(store, journal)
