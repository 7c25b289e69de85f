"""What else may befall the writer: bugs, clocks, disks, damage; and everything at once, at random."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import lmdb
import pytest
from faulty import Fault, Faults
from samples import C, D, ident

from eventstore import writer
from eventstore.append import Appender
from eventstore.commits import Committed
from eventstore.errors import Damaged, OutcomeUnknown, Refused, TurnlogError, Unavailable
from eventstore.events import ContextCreated, CustomRecorded
from eventstore.request import Request
from eventstore.store import EventStore
from eventstore.writer import Writer

MARK = CustomRecorded("mark")
IO_ERROR = lmdb.Error("mdb_txn_commit: Input/output error")
SECONDS = 20


async def failure(store: EventStore) -> TurnlogError:
    """The error that an append ends with."""
    with pytest.raises(TurnlogError) as error, anyio.fail_after(SECONDS):
        await store.append(C, [MARK])
    return error.value


async def test_a_bug_fails_only_the_append_that_meets_it(
    faulty: EventStore, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Appender.append

    def buggy(self: Appender, txn: lmdb.Transaction, request: Request) -> Committed:
        outcome = append(self, txn, request)
        if request.append.metadata == {"trigger": True}:
            raise ZeroDivisionError("a bug, after it has written")
        return outcome

    monkeypatch.setattr(Appender, "append", buggy)
    with faults.held() as held:
        first = asyncio.ensure_future(faulty.append(C, [MARK]))
        await anyio.to_thread.run_sync(held.wait, SECONDS)
        metadata = [None, None, {"trigger": True}, None]
        group = [asyncio.ensure_future(faulty.append(C, [MARK], metadata=each)) for each in metadata]
        await anyio.lowlevel.checkpoint()
    with anyio.fail_after(SECONDS):
        outcomes = await asyncio.gather(first, *group, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Committed] * 3 + [Unavailable, Committed]
    assert "ZeroDivisionError" in str(outcomes[3])
    assert faulty.version_of(C) == 5


async def test_a_bug_in_the_writer_itself_leaves_nobody_waiting(
    faulty: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Writer) -> None:
        raise SystemExit("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "_check_ready", broken)
        assert (await failure(faulty)).code == "outcome_unknown"
    assert (await failure(faulty)).code == "log_read_only"
    assert faulty.statistics().failure == "the writer failed with SystemExit"
    assert [commit.position for commit in faulty.read()] == [1], "reads go on"


class Speechless:
    """A logger whose file takes nothing."""

    def error(self, event: str, **facts: object) -> None:
        """Say something."""
        raise OSError(28, "No space left on device")


async def test_a_log_line_that_cannot_be_written_leaves_nobody_waiting(
    faulty: EventStore, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_logger", Speechless())
    faults.commits.append(Fault(IO_ERROR))
    with anyio.fail_after(SECONDS), pytest.raises(OutcomeUnknown):
        await faulty.append(C, [MARK])
    assert (await failure(faulty)).code == "log_read_only"


async def test_a_clock_that_fails_fails_the_append_and_not_the_writer(data_dir: Path) -> None:
    broken = False

    def clock() -> int:
        if broken:
            raise OSError("no clock")
        return 5

    async with await EventStore.open(data_dir, clock=clock) as store:
        broken = True
        with pytest.raises(Unavailable, match="OSError") as failed:
            await store.append(C, [ContextCreated()])
        assert failed.value.code == "append_failed"
        broken = False
        assert (await store.append(C, [ContextCreated()])).position == 1


async def test_too_little_free_disk_is_refused_before_anything_is_written(data_dir: Path) -> None:
    async with await EventStore.open(data_dir, free_bytes_low=1 << 62) as store:
        with pytest.raises(Unavailable) as full:
            await store.append(C, [ContextCreated()])
        assert (full.value.code, full.value.fields["limit"]) == ("disk_full", 1 << 62)
        assert store.statistics().failure is None
        assert list(store.read()) == []


@pytest.mark.parametrize("how", ["removed", "replaced", "truncated", "unreachable"])
async def test_a_data_file_that_vanished_under_the_store_stops_it(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("eventstore.disk.CHECK_SECONDS", 0)
    async with await EventStore.open(data_dir) as store:
        await store.append(C, [ContextCreated()])
        file = data_dir / "log" / "data.mdb"
        if how == "unreachable":
            monkeypatch.setattr(os, "stat", unreachable)
        elif how == "truncated":
            os.truncate(file, file.stat().st_size - 1)
        else:
            os.rename(file, f"{file}.old")
        if how == "replaced":
            file.write_bytes(b"another")
        code = (await failure(store)).code
        monkeypatch.undo()
        assert code == ("storage_failed" if how == "unreachable" else "log_read_only")
        if how == "unreachable":
            assert (await store.append(C, [MARK])).position == 2
        else:
            assert (await failure(store)).code == "log_read_only"
            assert "removed, replaced or truncated" in str(store.statistics().failure)


def unreachable(*_: object, **__: object) -> os.stat_result:
    if threading.current_thread().name == "turnlog-writer":
        raise PermissionError("unreachable")
    raise AssertionError("only the writer looks here")


async def test_damage_met_while_appending_is_answered_and_harms_no_other_context(
    faulty: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await faulty.append(D, [ContextCreated()])

    def damaged(*_: object) -> object:
        raise Damaged("commit_damaged", "seen while folding", position=1)

    with monkeypatch.context() as patched:
        patched.setattr(Appender, "_load", damaged)
        await faulty.append(D, [MARK])
        with pytest.raises(Damaged):
            await faulty.append(ident(7), [MARK])
    with pytest.raises(Refused):
        await faulty.append(ident(7), [MARK])


async def test_whatever_fails_what_is_acknowledged_is_there_once(
    data_dir: Path, faults: Faults, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventstore.writer.RECOVERIES_FAILED_MAX", 1_000)
    rng = random.Random(seed)
    errors = (IO_ERROR, lmdb.DiskError("No space left on device"), lmdb.MapFullError("MDB_MAP_FULL"))

    def plan() -> None:
        if faults.commits or faults.opens:
            return  # else what goes wrong would gather faster than it happens
        fault = Fault(rng.choice(errors), done=rng.random() < 0.5)
        if isinstance(fault.error, lmdb.MapFullError):
            fault = fault._replace(done=False)  # LMDB finds a full map before it writes anything
        faults.commits.append(rng.choice((None, None, fault)))
        if rng.random() < 0.1:
            faults.opens.append(IO_ERROR)

    async with await EventStore.open(data_dir) as store:
        await store.append(C, [ContextCreated()])

        async def insist(number: int) -> None:
            while True:
                plan()
                try:
                    await store.append(C, [CustomRecorded("c", number)], commit_id=ident(number))
                except (Unavailable, OutcomeUnknown):
                    continue
                return

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                for number in range(1, 61):
                    tasks.start_soon(insist, number)
        faults.commits.clear()
        faults.opens.clear()
        acknowledged = store.acknowledged
    async with await EventStore.open(data_dir) as store:
        assert store.head().position == acknowledged == 61
        numbers = [
            event.data
            for c in store.read(after=1)
            for event in c.events()
            if isinstance(event, CustomRecorded)
        ]
        assert sorted(numbers) == list(range(1, 61))
