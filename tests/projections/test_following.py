"""Bringing generations forward, step by step, on the test's own thread."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from witness import EVERYTHING, Journal, Looker, Steps, fill, opened, oracle, rows_of

from eventstore.commits import Commit
from eventstore.events import BITS, CHUNK_BIT, ContextCreated, CustomRecorded, MessageAppended
from projections import following as module
from projections.following import CHECKPOINT_POSITIONS, Following
from projections.memory import MemoryViews
from projections.projection import MILESTONE_VERSIONS, MILESTONES, Past, Rows


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few commits are many pages."""
    monkeypatch.setattr(module, "PAGE_COMMITS", 4)


# The fold.


async def test_rows_are_the_fold_of_the_log_at_every_step(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views, tick=1.0)  # every page ends a step
        steps.step()
        for _ in range(5):
            await fill(store, 10)
            while steps.step():
                applied = steps.following.tracks[0].applied
                assert rows_of(views, journal) == oracle(store, journal, applied)
            assert steps.following.tracks[0].applied == store.acknowledged
            assert rows_of(views, journal) == oracle(store, journal)


async def test_a_live_projection_shares_its_reads_with_the_others(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(data_dir, [Journal("a"), Journal("b"), Journal("c")]) as (store, views):
        steps = Steps(store, views)
        await fill(store, 20)
        read: list[int] = []
        commits = store.log.commits

        def counted(*args: object, **kwargs: object) -> object:
            found = commits(*args, **kwargs)  # pyright: ignore[reportArgumentType] -- passed on as they came
            read.extend(commit.position for commit in found[0])
            return found

        monkeypatch.setattr(store.log, "commits", counted)
        steps.finish()
        assert read == list(range(1, 21))
        assert [track.applied for track in steps.following.tracks] == [20, 20, 20]


async def test_a_fold_sees_only_commits_of_its_kinds(data_dir: Path) -> None:
    messages = Journal("messages", kinds=BITS[MessageAppended])
    customs = Journal("customs", kinds=BITS[CustomRecorded])
    async with opened(data_dir, [messages, customs]) as (store, views):
        steps = Steps(store, views)
        await fill(store, 12)
        steps.finish()
        assert messages.folded == [2, 5, 8, 11]
        assert customs.folded == [3, 4, 6, 7, 9, 10, 12]
        assert rows_of(views, messages) == oracle(store, messages)


async def test_a_fold_that_asks_for_milestones_sees_them_bare(data_dir: Path) -> None:
    rare = Journal("rare", kinds=BITS[ContextCreated] | MILESTONES)
    async with opened(data_dir, [rare]) as (store, views):
        steps = Steps(store, views)
        await fill(store, 2 * MILESTONE_VERSIONS + 1)
        steps.finish()
        assert rare.folded == [1, MILESTONE_VERSIONS, 2 * MILESTONE_VERSIONS]
        assert rows_of(views, rare) == oracle(store, rare)
        with views.reading() as reader:
            assert len(list(reader.scan("rare", "events", b"", EVERYTHING))) == 1


async def test_a_fold_looks_back_but_never_ahead(data_dir: Path) -> None:
    async with opened(data_dir, [Looker()]) as (store, views):
        await fill(store, 9)
        Steps(store, views).finish()
        with views.reading() as reader:
            seen = [list(value) for _, value in reader.scan("looker", "seen", b"", EVERYTHING)]
        assert seen == [list(range(1, position + 1)) for position in (3, 4, 6, 7, 9)]
        assert rows_of(views, Looker()) == MemoryViews([Looker()], store.read()).dump()["looker"]


# Checkpoints.


async def test_commits_that_concern_nobody_write_nothing(data_dir: Path) -> None:
    async with opened(data_dir, [Journal()]) as (store, views):
        await fill(store, 2, chunks=True)
        steps = Steps(store, views)
        steps.finish()
        before = steps.last_transaction()
        await fill(store, 50, chunks=True)
        assert steps.finish() == 1
        assert steps.last_transaction() == before
        assert steps.saved("journal") == 2
        (track,) = steps.following.tracks
        assert track.applied == 52
        steps.following.save()
        assert steps.saved("journal") == 52


async def test_a_checkpoint_that_lags_far_is_stored_though_no_row_changed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CHECKPOINT_POSITIONS == 10_000
    monkeypatch.setattr(module, "CHECKPOINT_POSITIONS", 30)
    async with opened(data_dir, [Journal()]) as (store, views):
        await fill(store, 2, chunks=True)
        steps = Steps(store, views)
        steps.finish()
        await fill(store, 29, chunks=True)
        steps.finish()
        assert steps.saved("journal") == 2
        await fill(store, 1, chunks=True)
        steps.finish()
        assert steps.saved("journal") == 32


async def test_a_process_that_vanishes_goes_on_from_what_it_stored(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        await fill(store, 40)
        Steps(store, views, tick=1.0).step()
    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views, tick=1.0)
        (track,) = steps.following.tracks
        assert (track.role, track.applied) == ("building", 4)
        steps.finish()
        assert journal.folded == list(range(1, 41))
        assert rows_of(views, journal) == oracle(store, journal)


# Rebuilding.


async def test_a_rebuild_is_unseen_until_it_takes_over_whole(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal, Journal("other")]) as (store, views):
        await fill(store, 40)
        steps = Steps(store, views, tick=1.0)
        steps.finish()
        steps.following.rebuild("journal")
        seen = 0
        while steps.following.track("journal", "building") is not None:
            seen += 1
            await fill(store, 1)
            steps.step()
            for track in steps.following.tracks:
                if track.role == "live":
                    assert track.applied >= store.acknowledged - 1  # every other step is the live lane's
                    expected = oracle(store, track.projection, track.applied)
                    assert rows_of(views, track.projection) == expected
        assert seen > 10
        live = steps.books.entry("journal").live
        assert live is not None
        assert (live.number, live.checkpoint) == (2, steps.following.tracks[0].applied)


async def test_a_slice_of_rebuilding_is_short_while_something_is_live(data_dir: Path) -> None:
    async with opened(data_dir, [journal := Journal()]) as (store, views):
        await fill(store, 400)
        steps = Steps(store, views, tick=0.003)
        assert steps.finish() == 1
        steps.following.rebuild("journal")
        steps.step()
        build = steps.following.track("journal", "building")
        assert build is not None
        assert build.applied == 4 * 7  # pages of 4 commits, 3 ms each, until 20 ms have passed
        steps.finish()
        assert rows_of(views, journal) == oracle(store, journal)


class Interrupting(Journal):
    """While it folds, a flag of the following is set, as another thread would."""

    following: Following
    flag = "hurry"

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Set it."""
        setattr(self.following, self.flag, True)
        super().apply(commit, rows, past)


async def test_a_slice_ends_at_its_page_when_somebody_waits(data_dir: Path) -> None:
    async with opened(data_dir, [journal := Interrupting()]) as (store, views):
        steps = Steps(store, views)
        journal.following = steps.following
        await fill(store, 40)
        assert steps.finish() == 1  # no slice: nobody can read a first build
        steps.following.rebuild("journal")
        steps.step()
        build = steps.following.track("journal", "building")
        assert build is not None
        assert build.applied == 4
        steps.finish()
        assert rows_of(views, journal) == oracle(store, journal)


async def test_any_step_ends_at_its_page_when_the_process_stops(data_dir: Path) -> None:
    async with opened(data_dir, [journal := Interrupting()]) as (store, views):
        steps = Steps(store, views)
        journal.following, journal.flag = steps.following, "stopping"
        await fill(store, 40)
        assert steps.step()
        assert steps.following.tracks[0].applied == 4


async def test_a_rebuild_goes_on_after_its_process_vanished(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        await fill(store, 40)
        steps = Steps(store, views, tick=1.0)
        steps.finish()
        steps.following.rebuild("journal")
        for _ in range(3):
            steps.step()
    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views, tick=1.0)
        build = steps.following.track("journal", "building")
        assert build is not None
        assert (build.number, build.applied) == (2, 12)
        journal.folded.clear()
        steps.finish()
        assert journal.folded == list(range(13, 41))
        assert rows_of(views, journal) == oracle(store, journal)


async def test_rebuilding_what_is_being_rebuilt_changes_nothing(data_dir: Path) -> None:
    async with opened(data_dir, [Journal()]) as (store, views):
        await fill(store, 40)
        steps = Steps(store, views, tick=1.0)
        steps.finish()
        steps.following.rebuild("journal")
        steps.step()
        tracks = steps.following.tracks
        steps.following.rebuild("journal")
        assert steps.following.tracks is tracks


# Poison.


async def test_poison_stops_one_projection_just_before_it_and_no_other(data_dir: Path) -> None:
    bad, good = Journal("bad", poison=7), Journal("good")
    async with opened(data_dir, [bad, good]) as (store, views):
        await fill(store, 5)
        steps = Steps(store, views)
        steps.finish()
        await fill(store, 15)
        steps.finish()
        failed, healthy = steps.following.tracks
        assert (failed.applied, healthy.applied) == (6, 20)
        assert rows_of(views, bad) == oracle(store, Journal("bad"), 6)
        assert rows_of(views, good) == oracle(store, good)
        live = steps.books.entry("bad").live
        assert live is not None
        assert live.failure == failed.failure
        assert (live.checkpoint, live.digest) == (6, next(store.read(5)).digest)


async def test_a_failure_says_where_and_never_what(data_dir: Path) -> None:
    async with opened(data_dir, [Journal(poison=1)]) as (store, views):
        await fill(store, 1)
        steps = Steps(store, views)
        steps.finish()
        (track,) = steps.following.tracks
        failure = track.failure
        assert failure is not None
        assert (failure.position, failure.error, failure.code) == (1, "ValueError", None)
        assert failure.place.startswith("witness.py:")
        assert failure.place.endswith(" apply")
        assert "secret" not in repr(steps.books.entries)


@pytest.mark.parametrize("live", [False, True])
async def test_what_failed_is_tried_again_at_the_next_opening(data_dir: Path, live: bool) -> None:
    async with opened(data_dir, [Journal(poison=7)]) as (store, views):
        steps = Steps(store, views)
        if live:
            steps.finish()
        await fill(store, 10)
        steps.finish()
        assert [track.role for track in steps.following.tracks] == ["live" if live else "building"]
    async with opened(data_dir, [Journal(poison=7)]) as (store, views):
        steps = Steps(store, views)
        steps.finish()
        (track,) = steps.following.tracks
        assert track.failure is not None
        assert track.applied == 6
    async with opened(data_dir, [repaired := Journal()]) as (store, views):
        steps = Steps(store, views)
        steps.finish()
        assert repaired.folded == [7, 8, 9, 10]
        assert rows_of(views, repaired) == oracle(store, repaired)
        entry = steps.books.entry("journal")
        assert entry.live is not None
        assert entry.live.failure is None


async def test_a_rebuild_replaces_a_generation_that_failed(data_dir: Path) -> None:
    journal = Journal(poison=7)
    async with opened(data_dir, [journal]) as (store, views):
        await fill(store, 5)
        steps = Steps(store, views)
        steps.finish()
        await fill(store, 5)
        steps.finish()
        steps.following.rebuild("journal")
        steps.finish()
        build = steps.following.track("journal", "building")
        assert build is not None
        assert build.failure is not None
        journal.poison = None
        steps.following.rebuild("journal")
        steps.finish()
        steps.step()
        assert rows_of(views, journal) == oracle(store, journal)
        assert [track.role for track in steps.following.tracks] == ["live"]


# Everything at once.


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["append", "chunks", "step", "rebuild", "vanish", "version"]), max_size=30))
async def test_views_equal_the_fold_of_the_log_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str]
) -> None:
    data_dir = tmp_path_factory.mktemp("store")
    version, pending = 1, list(actions)
    while True:
        journal = Journal(version=version)
        sparse = Journal("sparse", kinds=BITS[MessageAppended] | CHUNK_BIT)
        async with opened(data_dir, [journal, sparse]) as (store, views):
            steps = Steps(store, views, tick=0.3)
            while pending:
                match action := pending.pop(0):
                    case "append":
                        await fill(store, 7)
                    case "chunks":
                        await fill(store, 1)
                    case "step":
                        steps.step()
                    case "rebuild":
                        steps.following.rebuild("journal")
                    case _:
                        version += action == "version"
                        break
                for track in steps.following.tracks:
                    if track.role == "live":
                        rows = rows_of(views, track.projection)
                        assert rows == oracle(store, track.projection, track.applied)
            else:
                steps.finish()
                for projection in (journal, sparse):
                    assert rows_of(views, projection) == oracle(store, projection)
                return
