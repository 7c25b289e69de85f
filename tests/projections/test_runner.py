"""The runner's thread: read-your-writes, rebuilding while reading, and what is said when something fails."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio
import pytest
from witness import CONTEXT, Journal, code_of, damage, fill, opened, oracle, rows_of, running

from eventstore.commits import Commit
from eventstore.errors import Damaged, NotFound, Unavailable
from eventstore.store import EventStore
from projections import bookkeeping, following, runner
from projections.projection import Past, Rows
from projections.runner import Runner

NEVER = 3600.0
"""A linger that no test waits for."""


class Gate(Journal):
    """A journal whose fold waits at one position until it is let through."""

    def __init__(self, position: int) -> None:
        super().__init__("gate")
        self.entered = threading.Event()
        self.open = threading.Event()
        self._position = position

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Wait there."""
        if commit.position == self._position:
            self.entered.set()
            assert self.open.wait(30)
        super().apply(commit, rows, past)


# Read your writes.


async def test_who_waits_for_a_position_reads_what_was_written_there(data_dir: Path) -> None:
    journal = Journal()
    async with running(data_dir, journal, linger=NEVER) as (store, views, runner):
        for _ in range(20):
            await fill(store, 1)
            await runner.wait_for(store.acknowledged)
            assert rows_of(views, journal) == oracle(store, Journal())


async def test_waiting_for_what_is_applied_does_not_give_way(data_dir: Path) -> None:
    async with running(data_dir, Journal()) as (store, _, runner):
        await fill(store, 3)
        await runner.wait_for(3)
        for wait in (runner.wait_for(3), runner.wait_for(0, "journal"), runner.wait_for(2, ("journal",))):
            with pytest.raises(StopIteration):
                wait.send(None)


async def test_many_wait_at_once_and_a_cancelled_one_leaves_no_trace(data_dir: Path) -> None:
    gate = Gate(2)
    async with running(data_dir, gate) as (store, _, runner):
        await runner.wait_for(0)
        await fill(store, 5)
        done: list[int] = []

        async def wait(position: int) -> None:
            await runner.wait_for(position, "gate")
            done.append(position)

        async with anyio.create_task_group() as tasks:
            for position in range(1, 6):
                tasks.start_soon(wait, position)
            await anyio.to_thread.run_sync(gate.entered.wait)
            with anyio.move_on_after(0) as cancelled:
                await runner.wait_for(5)
            assert cancelled.cancelled_caught
            gate.open.set()
        assert sorted(done) == [1, 2, 3, 4, 5]


async def test_a_position_that_the_log_does_not_have_is_not_waited_for(data_dir: Path) -> None:
    async with running(data_dir, Journal()) as (store, _, runner):
        await fill(store, 3)
        with pytest.raises(NotFound) as missing:
            await runner.wait_for(4)
        with pytest.raises(NotFound) as unknown:
            await runner.wait_for(1, "nobody")
    assert code_of(missing) == "position_not_found"
    assert code_of(unknown) == "unknown_projection"


async def test_reads_of_an_empty_store_need_no_waiting(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        Runner(store, views)
        assert rows_of(views, journal) == {"events": [], "counts": []}


async def test_while_nobody_waits_the_runner_lets_commits_gather(data_dir: Path) -> None:
    async with running(data_dir, Journal(), linger=NEVER) as (store, views, runner):
        await fill(store, 1)
        await runner.wait_for(1)
        before = views.env.info()["last_txnid"]
        for _ in range(30):
            await fill(store, 1)
        await runner.wait_for(store.acknowledged)
        # One transaction, or a second for what the first wait had woken the thread for.
        assert views.env.info()["last_txnid"] - before in (1, 2)


async def test_commits_are_applied_though_nobody_waits(data_dir: Path) -> None:
    gate = Gate(5)
    async with running(data_dir, gate, linger=0.001) as (store, _, _runner):
        await fill(store, 5)
        assert await anyio.to_thread.run_sync(gate.entered.wait, 20)
        gate.open.set()


# First build, rebuild, new version.


async def test_a_first_build_is_waited_for_to_its_end(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        await fill(store, 50)
    gate = Gate(30)
    async with running(data_dir, gate) as (store, views, runner):
        await anyio.to_thread.run_sync(gate.entered.wait)
        (status,) = runner.status().projections
        assert (status.state, status.checkpoint, status.live_version) == ("building", None, None)
        assert status.building is not None
        with views.reading() as reader, pytest.raises(Unavailable) as building:
            reader.get("gate", "counts", CONTEXT.bytes)
        gate.open.set()
        await runner.wait_for(0)
        (status,) = runner.status().projections
        assert (status.state, status.checkpoint, status.building) == ("live", 50, None)
    assert code_of(building) == "views_behind"


async def test_a_rebuild_is_begun_durably_and_can_be_waited_for(data_dir: Path) -> None:
    journal = Journal()
    async with running(data_dir, journal) as (store, views, runner):
        await fill(store, 20)
        await runner.wait_for(20)
        journal.folded.clear()
        await runner.rebuild("journal")
        await runner.rebuilt("journal")
        assert journal.folded == list(range(1, 21))
        assert rows_of(views, journal) == oracle(store, Journal())
        with pytest.raises(NotFound):
            await runner.rebuild("nobody")
        with pytest.raises(NotFound):
            await runner.rebuilt("nobody")


async def test_reads_go_on_while_a_rebuild_is_under_way_and_its_progress_shows(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PAGE_COMMITS", 5)
    monkeypatch.setattr(following, "SLICE_SECONDS", 0.0)
    journal, gate = Journal(), Gate(15)
    gate.open.set()
    async with running(data_dir, journal, gate) as (store, views, runner):
        await fill(store, 20)
        await runner.wait_for(20)
        gate.open.clear()
        gate.entered.clear()
        await runner.rebuild("gate")
        await anyio.to_thread.run_sync(gate.entered.wait)
        status = runner.status().projections[1]
        assert status.building is not None
        assert (status.building.checkpoint, status.building.progress) == (10, 0.5)
        assert (status.state, status.checkpoint, status.building.version) == ("live", 20, 1)
        assert rows_of(views, gate) == oracle(store, Journal("gate"))
        gate.open.set()
        await runner.rebuilt("gate")
        assert runner.status().projections[1].building is None


async def test_a_new_version_shows_the_old_one_live_until_it_takes_over(data_dir: Path) -> None:
    async with running(data_dir, Journal(), Journal("gone")) as (store, _, runner):
        await fill(store, 20)
        await runner.wait_for(20)
    async with opened(data_dir, [Journal(version=2)]) as (store, views), Runner(store, views) as runner:
        await runner.rebuilt("journal")
        new, unused = runner.status().projections
        assert (new.version, new.live_version, new.state) == (2, 2, "live")
        assert (unused.name, unused.state, unused.checkpoint) == ("gone", "unused", 20)
    async with opened(data_dir, [Journal(version=3)]) as (store, views):
        (status, _) = Runner(store, views).status().projections
        assert (status.version, status.live_version, status.state) == (3, 2, "building")
        assert status.building is not None
        assert (status.building.version, status.building.checkpoint) == (3, 0)


# What fails is said.


async def test_poison_is_raised_to_those_who_name_the_projection_and_shown_in_the_status(
    data_dir: Path,
) -> None:
    bad, good = Journal("bad", poison=7), Journal("good")
    async with running(data_dir, bad, good) as (store, _, runner):
        await runner.wait_for(0)
        await fill(store, 10)
        await runner.wait_for(10, "good")
        await runner.wait_for(6, "bad")
        with pytest.raises(Unavailable) as poisoned:
            await runner.wait_for(7, ("good", "bad"))
        await runner.wait_for(10)
        status = runner.status()
        assert not status.healthy
        failed, live = status.projections
        assert (failed.state, failed.checkpoint, failed.lag_positions) == ("failed", 6, 4)
        assert failed.failure is not None
        assert failed.failure.position == 7
        assert (live.state, live.lag_positions, live.lag_seconds) == ("live", 0, 0.0)
    assert code_of(poisoned) == "projection_poisoned"
    assert poisoned.value.fields == {"projection": "bad", "position": 7}


async def test_a_rebuild_that_meets_poison_says_so_and_the_repaired_one_succeeds(data_dir: Path) -> None:
    journal = Journal(poison=3)
    async with running(data_dir, journal) as (store, views, runner):
        await fill(store, 5)
        await runner.rebuild("journal")
        with pytest.raises(Unavailable) as poisoned:
            await runner.rebuilt("journal")
        assert code_of(poisoned) == "projection_poisoned"
        journal.poison = None
        await runner.rebuild("journal")
        await runner.rebuilt("journal")
        await runner.wait_for(5, "journal")
        assert runner.status().healthy
        assert rows_of(views, journal) == oracle(store, Journal())


async def test_damage_stops_the_runner_and_is_raised_to_everyone(data_dir: Path) -> None:
    async with running(data_dir, Journal(), Journal("other"), linger=NEVER) as (store, _, runner):
        await fill(store, 4)
        await runner.wait_for(4)
        await fill(store, 4)
        damage(store, 7)
        for _ in range(2):
            with pytest.raises(Damaged) as damaged:
                await runner.wait_for(8)
            assert damaged.value.fields["position"] == 7
        await runner.wait_for(6)
        status = runner.status()
        assert status.failure is not None
        assert (status.failure.position, status.failure.code) == (7, "commit_damaged")
        assert [(p.state, p.checkpoint) for p in status.projections] == [("failed", 6)] * 2


async def test_a_full_disk_is_told_and_work_goes_on_when_there_is_room(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.001)
    journal = Journal()
    async with running(data_dir, journal) as (store, views, started):
        await started.wait_for(0)
        with monkeypatch.context() as patch:
            patch.setattr(bookkeeping.Bookkeeping, "writing", _disk_is_full)
            await fill(store, 3)
            with pytest.raises(Unavailable) as full:
                await started.wait_for(3)
            assert code_of(full) == "disk_full"
            failure = started.status().failure
            assert failure is not None
            assert failure.code == "disk_full"
        while not started.status().healthy:
            await anyio.lowlevel.checkpoint()
        await started.wait_for(3)
        assert rows_of(views, journal) == oracle(store, Journal())


def _disk_is_full(_: object) -> None:
    raise Unavailable("disk_full", "the disk is full")


async def test_after_a_commit_that_may_have_happened_the_views_are_opened_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.001)
    journal = Journal()
    async with running(data_dir, journal, linger=NEVER) as (store, views, started):
        await started.wait_for(0)
        await fill(store, 3)
        before = views.env
        with monkeypatch.context() as patch:
            patch.setattr(following.Following, "step", _disk_fails)
            with pytest.raises(Unavailable) as failed:
                await started.wait_for(3)
            assert code_of(failed) == "storage_failed"
        while not started.status().healthy:
            await anyio.lowlevel.checkpoint()
        await started.wait_for(3)
        assert views.env is not before
        assert rows_of(views, journal) == oracle(store, Journal())


def _disk_fails(*_: object) -> bool:
    raise Unavailable("storage_failed", "input/output error")


def _divide_by_zero(*_: object) -> float:
    return 1 / 0


async def test_a_fault_of_the_runner_itself_never_vanishes(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(data_dir, Journal(), linger=NEVER) as (store, _, started):
        await started.wait_for(0)
        monkeypatch.setattr(following.Following, "step", _divide_by_zero)
        await fill(store, 1)
        with pytest.raises(Unavailable, match="ZeroDivisionError") as failed:
            await started.wait_for(1)
        for wait in (started.wait_for(1), started.rebuild("journal")):
            with pytest.raises(Unavailable, match="ZeroDivisionError"):
                await wait
        assert code_of(failed) == "runner_failed"
        depths = set[int]()
        for _ in range(3):
            with pytest.raises(Unavailable) as failed:
                await started.wait_for(1)
            depths.add(len(failed.traceback))
        assert len(depths) == 1, "no wait is told through the frames of the ones before"
        assert isinstance(failed.value.__cause__, ZeroDivisionError)
        assert not started.status().healthy


# The end.


async def test_closing_stores_the_checkpoint_of_commits_that_concern_nobody(data_dir: Path) -> None:
    journal = Journal()
    async with running(data_dir, journal) as (store, _, runner):
        await fill(store, 2, chunks=True)
        await runner.wait_for(2)
        await fill(store, 98, chunks=True)
        await runner.wait_for(100)
    async with opened(data_dir, [journal]) as (store, views):
        live = bookkeeping.Bookkeeping(views, store.log).entry("journal").live
        assert live is not None
        assert live.checkpoint == 100


async def test_closing_lets_go_everybody_who_waits(data_dir: Path) -> None:
    gate = Gate(1)
    async with running(data_dir, gate) as (store, _, runner):
        await runner.wait_for(0)
        await fill(store, 9)
        await anyio.to_thread.run_sync(gate.entered.wait)
        outcomes: list[str] = []

        async def wait() -> None:
            try:
                await runner.wait_for(9)
            except Unavailable as error:
                outcomes.append(error.code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(runner.close)
            await anyio.lowlevel.checkpoint()
            gate.open.set()
        await runner.close()
        assert outcomes in ([], ["log_closed"])
        with pytest.raises(Unavailable) as closed:
            await runner.rebuild("gate")
        assert code_of(closed) == "log_closed"


async def test_a_fold_that_never_returns_does_not_hang_the_close(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CLOSE_SECONDS", 0.01)
    gate = Gate(1)
    async with opened(data_dir, [gate]) as (store, views):
        started = Runner(store, views)
        started.start()
        await fill(store, 1)
        await anyio.to_thread.run_sync(gate.entered.wait)
        with pytest.raises(Unavailable) as stuck:
            await started.close()
    gate.open.set()
    assert code_of(stuck) == "projection_stuck"
    assert stuck.value.fields == {"projection": "gate"}


async def test_a_runner_that_was_never_started_closes_and_says_so(data_dir: Path) -> None:
    async with opened(data_dir, [Journal()]) as (store, views):
        await fill(store, 1)
        never = Runner(store, views)
        with pytest.raises(Unavailable) as closed:
            await never.wait_for(1)
        await never.close()
        assert code_of(closed) == "log_closed"
