"""When a commit fails: certain answers where the log can be recovered, honest ones where it cannot."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import anyio.to_thread
import lmdb
import pytest
from faulty import Fault, Faults
from samples import C, D, ident

from eventstore import keys
from eventstore.commits import Append, Committed
from eventstore.errors import OutcomeUnknown, TurnlogError, Unavailable
from eventstore.events import ALL_BITS, BITS, MILESTONES, ContextCreated, CustomRecorded
from eventstore.store import EventStore
from eventstore.writer import RECOVERIES_FAILED_MAX

MARK = CustomRecorded("mark")
IO_ERROR = lmdb.Error("mdb_txn_commit: Input/output error")
SECONDS = 20


async def failure(store: EventStore, **options: Any) -> TurnlogError:
    """The error that an append ends with."""
    with pytest.raises(TurnlogError) as error, anyio.fail_after(SECONDS):
        await store.append(C, [MARK], **options)
    return error.value


async def in_one_group(
    store: EventStore, faults: Faults, appends: list[Append], *planned: Fault | None
) -> list[Any]:
    """The outcomes of appends that share a transaction, whose commit and those after go as planned."""
    with faults.held() as held:
        first = asyncio.ensure_future(store.append(D, [ContextCreated()]))
        await anyio.to_thread.run_sync(held.wait, SECONDS)
        faults.commits.extend((None, *planned))
        many = asyncio.ensure_future(store.append_many(appends))
        while store.statistics().waiting_requests < 1 + len(appends):
            await anyio.lowlevel.checkpoint()
    with anyio.fail_after(SECONDS):
        await first
        return await many


def codes(outcomes: list[Any]) -> list[str]:
    return [outcome.code if isinstance(outcome, TurnlogError) else "written" for outcome in outcomes]


# -- Certain answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (IO_ERROR, "storage_failed"),
        (lmdb.DiskError("mdb_txn_commit: No space left on device"), "disk_full"),
        (lmdb.MapFullError("mdb_txn_commit: MDB_MAP_FULL"), "log_full"),
        (lmdb.PanicError("mdb_txn_commit: MDB_PANIC"), "storage_failed"),
    ],
)
async def test_a_commit_that_failed_and_did_not_happen_is_refused_for_certain(
    faulty: EventStore, faults: Faults, error: lmdb.Error, code: str
) -> None:
    faults.commits.append(Fault(error))
    failed = await failure(faulty)
    assert (type(failed), failed.code) == (Unavailable, code)
    assert (faulty.acknowledged, faulty.head().position) == (1, 1)
    again = await faulty.append(C, [MARK])
    assert (again.position, again.version) == (2, 2)
    statistics = faulty.statistics()
    recovered = 0 if isinstance(error, lmdb.MapFullError) else 1
    assert (statistics.recoveries, statistics.failed_commits) == (recovered, recovered)
    assert (statistics.read_only, statistics.failure) == (False, None)


async def test_a_commit_that_failed_but_did_happen_is_acknowledged(
    faulty: EventStore, faults: Faults
) -> None:
    faults.commits.append(Fault(IO_ERROR, done=True))
    assert (await faulty.append(C, [MARK])).position == 2
    assert (faulty.acknowledged, faulty.head().position, faulty.version_of(C)) == (2, 2, 2)
    assert (await faulty.append(C, [MARK])).version == 3


async def test_a_recovery_forces_a_transaction_of_its_own_to_the_disk(
    faulty: EventStore, faults: Faults
) -> None:
    def marks() -> int:
        with faulty.log.reading() as txn:
            return keys.unpack_u64(bytes(txn.get(keys.MARKS, b"")))

    before = marks()
    faults.commits.append(Fault(IO_ERROR))
    await failure(faulty)
    assert marks() == before + 1


async def test_what_was_remembered_of_a_failed_commit_is_forgotten(
    faulty: EventStore, faults: Faults
) -> None:
    faults.commits.append(Fault(IO_ERROR))
    await failure(faulty, commit_id=ident(1))
    assert (await faulty.append(C, [MARK], expected_version=1)).position == 2
    assert (await faulty.append(C, [MARK], commit_id=ident(1))).written


async def test_a_group_shares_the_fate_of_its_commit(faulty: EventStore, faults: Faults) -> None:
    group = [
        Append(C, (MARK,)),
        Append(C, (MARK,), expected_version=9),
        Append(ident(9), (MARK,)),
        Append(C, (MARK,)),
    ]
    outcomes = await in_one_group(faulty, faults, group, Fault(IO_ERROR))
    # The refusals too: they were judged after an append that did not happen.
    assert codes(outcomes) == ["storage_failed"] * 4
    assert faulty.version_of(C) == 1
    done = await in_one_group_again(faulty, faults, group)
    assert codes(done) == ["written", "wrong_expected_version", "context_not_found", "written"]
    assert faulty.version_of(C) == 3


async def in_one_group_again(store: EventStore, faults: Faults, group: list[Append]) -> list[Any]:
    """The same group, whose commit fails after it happened."""
    with faults.held() as held:
        first = asyncio.ensure_future(store.append(D, [MARK]))
        await anyio.to_thread.run_sync(held.wait, SECONDS)
        faults.commits.extend((None, Fault(IO_ERROR, done=True)))
        many = asyncio.ensure_future(store.append_many(group))
        await anyio.lowlevel.checkpoint()
    await first
    return await many


async def test_a_repeat_in_the_same_group_is_not_acknowledged_without_its_original(
    faulty: EventStore, faults: Faults
) -> None:
    append = Append(C, (MARK,), commit_id=ident(1))
    outcomes = await in_one_group(faulty, faults, [append, append, append], Fault(IO_ERROR))
    assert codes(outcomes) == ["storage_failed"] * 3
    assert (await faulty.append(C, [MARK], commit_id=ident(1))).written


async def test_a_repeat_of_an_older_commit_is_acknowledged_whatever_happens_to_its_group(
    faulty: EventStore, faults: Faults
) -> None:
    old = Append(C, (MARK,), commit_id=ident(1))
    await faulty.append_many([old])
    outcomes = await in_one_group(faulty, faults, [old, Append(C, (MARK,))], Fault(IO_ERROR))
    assert codes(outcomes) == ["written", "storage_failed"]


async def test_a_full_map_is_the_fault_of_one_and_the_others_pass(faulty: EventStore, faults: Faults) -> None:
    full = Fault(lmdb.MapFullError("MDB_MAP_FULL"))
    group = [Append(C, (MARK,))] * 3
    outcomes = await in_one_group(faulty, faults, group, full, None, full, None)
    assert codes(outcomes) == ["written", "log_full", "written"]
    assert [outcome.version for outcome in outcomes if isinstance(outcome, Committed)] == [2, 3]


async def test_a_failing_put_is_the_fault_of_one_and_the_others_pass(
    faulty: EventStore, faults: Faults
) -> None:
    faults.puts.extend((lmdb.MapFullError("MDB_MAP_FULL"), None))
    assert (await failure(faulty)).code == "log_full"
    assert (await faulty.append(C, [MARK])).version == 2


# -- Honest answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [True, False])
async def test_while_the_log_cannot_be_reopened_the_outcome_is_unknown(
    faulty: EventStore, faults: Faults, done: bool
) -> None:
    heard: list[tuple[int, int, int]] = []
    faulty.add_commit_listener(lambda after, position, kinds: heard.append((after, position, kinds)))
    faults.commits.append(Fault(IO_ERROR, done=done))
    faults.opens.append(IO_ERROR)
    unknown = await failure(faulty, commit_id=ident(1))
    assert (type(unknown), unknown.fields) == (OutcomeUnknown, {"position": 2})
    assert faulty.acknowledged == 1, "nothing is known to be durable beyond"
    again = await faulty.append(C, [MARK], commit_id=ident(1))
    assert (again.position, again.version, again.written) == (2, 2, not done)
    assert (faulty.acknowledged, faulty.statistics().failure) == (2, None)
    await faulty.close()
    if heard[0] == (0, 1, BITS[ContextCreated]):
        heard.pop(0)  # the first append is answered before its listeners are told
    assert heard == [(1, 2, ALL_BITS | MILESTONES if done else BITS[CustomRecorded])], (
        "of a recovered commit all is feared"
    )


@pytest.mark.parametrize("done", [True, False])
async def test_while_nothing_can_be_forced_to_the_disk_the_outcome_is_unknown(
    faulty: EventStore, faults: Faults, done: bool
) -> None:
    faults.commits.extend((Fault(IO_ERROR, done=done), Fault(IO_ERROR)))
    assert (await failure(faulty, commit_id=ident(1))).code == "outcome_unknown"
    assert faulty.acknowledged == 1, "what a reader may see is not what would survive a power cut"
    again = await faulty.append(C, [MARK], commit_id=ident(1))
    assert (again.position, again.written) == (2, not done)


async def test_a_full_disk_is_certain_even_while_recovery_fails(faulty: EventStore, faults: Faults) -> None:
    full = Fault(lmdb.DiskError("No space left on device"))
    for _ in range(RECOVERIES_FAILED_MAX + 2):
        faults.commits.extend((full, full))
        assert (await failure(faulty)).code in ("disk_full", "log_read_only")
        assert [commit.position for commit in faulty.read()] == [1], "reads go on"
        faults.commits.clear()
    assert (await faulty.append(C, [MARK])).position == 2, "once there is room again"


async def test_after_repeated_failure_the_log_stays_read_only_and_says_so(
    faulty: EventStore, faults: Faults
) -> None:
    faults.commits.extend([Fault(IO_ERROR)] * (1 + RECOVERIES_FAILED_MAX))
    assert (await failure(faulty)).code == "outcome_unknown"
    for _ in range(RECOVERIES_FAILED_MAX + 1):
        assert (await failure(faulty)).code == "log_read_only"
    assert not faults.commits, "it has stopped trying"
    statistics = faulty.statistics()
    assert statistics.read_only
    assert statistics.failure is not None
    assert "Input/output error" in statistics.failure
    assert [commit.position for commit in faulty.read()] == [1], "reads go on"


async def test_failures_that_were_recovered_from_do_not_add_up(faulty: EventStore, faults: Faults) -> None:
    for turn in range(3):
        faults.commits.extend([Fault(IO_ERROR)] * RECOVERIES_FAILED_MAX)
        codes = [(await failure(faulty)).code for _ in range(RECOVERIES_FAILED_MAX - 1)]
        assert codes == ["outcome_unknown"] + ["log_read_only"] * (RECOVERIES_FAILED_MAX - 2)
        assert (await faulty.append(C, [MARK])).version == turn + 2


async def test_a_transaction_that_cannot_begin_is_refused_and_the_next_one_recovers(
    faulty: EventStore, faults: Faults
) -> None:
    faults.write_begins.append(lmdb.PanicError("MDB_PANIC"))
    assert (await failure(faulty)).code == "storage_failed"
    assert (await faulty.append(C, [MARK])).position == 2
    assert faulty.statistics().recoveries == 1


async def test_a_log_that_can_be_neither_written_nor_read_for_a_moment_does_not_end_the_writer(
    faulty: EventStore, faults: Faults
) -> None:
    faults.puts.append(lmdb.CorruptedError("MDB_CORRUPTED"))
    faults.read_begins.append(IO_ERROR)
    assert (await failure(faulty)).code in ("directory_damaged", "storage_failed")
    assert (await faulty.append(C, [MARK])).position == 2
