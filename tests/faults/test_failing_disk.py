"""Syncs and meta pages that fail, once or for ever, under the real store."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import recording
from children import Said, environment, run_workload, shimmed, workload_command
from judge import Sent, judge

CLIENTS: Final = 6
COMMITS: Final = 15
ALL: Final = CLIENTS * COMMITS
HONEST: Final = {"outcome_unknown", "storage_failed"}
"""How a client may learn that its commit failed: it may have happened, or it certainly has not."""


def run_with(
    disk: Path, shim: Path, seed: int, inject: str, *, after: int = 0, commits: int = COMMITS
) -> Said:
    """A run in which the disk fails, from the start or after some acknowledgements."""
    env = shimmed(shim, disk / "record", "" if after else inject)
    options = ("--inject", inject, "--inject-after", str(after)) if after else ()
    said = run_workload(disk / "data", Sent(seed, CLIENTS), commits, *options, env=env)
    assert any(operation.tag == "I" for operation in recording.load(disk / "record")), "nothing failed"
    return said


async def assert_sound(disk: Path, seed: int, said: Said) -> None:
    assert await judge(disk / "data", Sent(seed, CLIENTS), said.acknowledged) == []


@pytest.mark.parametrize(
    "inject",
    [
        "log:fdatasync:1:1",
        "log:fdatasync:1:2",
        "log:meta_before:1:1",
        "log:meta_before:1:2",
        "log:meta_after:1:1",
        "log:meta_after:1:2",
        "log:fdatasync:1:1,log:meta_before:1:1",
        "log:fdatasync:1:1,log:meta_after:1:1",
    ],
)
async def test_a_failed_commit_is_told_honestly_and_the_writer_goes_on(
    disk: Path, shim: Path, seed: int, inject: str
) -> None:
    said = run_with(disk, shim, seed, inject, after=20)
    assert said.codes <= HONEST
    assert len(said.acknowledged) == said.statistics["readable"] == ALL  # each commit once, though repeated
    assert said.statistics["recoveries"] >= 1
    assert (said.statistics["read_only"], said.statistics["failure"]) == (False, None)
    await assert_sound(disk, seed, said)


@pytest.mark.parametrize("fault", ["fdatasync", "meta_before", "meta_after", "write"])
async def test_a_disk_that_fails_for_ever_leaves_a_readable_store_that_says_so(
    disk: Path, shim: Path, seed: int, fault: str
) -> None:
    said = run_with(disk, shim, seed, f"log:{fault}:1:0", after=20)
    assert said.codes <= {*HONEST, "log_read_only"}
    assert "log_read_only" in said.codes
    assert said.statistics["read_only"] is True
    assert said.statistics["failure"]
    assert said.statistics["readable"] >= len(said.acknowledged) >= 20
    # Once the disk is repaired, the next process repeats what was not answered.
    said.acknowledged += run_workload(disk / "data", Sent(seed, CLIENTS), COMMITS).acknowledged
    await assert_sound(disk, seed, said)


@pytest.mark.parametrize("fault", ["fdatasync", "meta_before", "meta_after"])
@pytest.mark.parametrize(
    ("exists", "nth"), [(False, 1), (False, 3), (False, 6), (False, 7), (True, 1), (True, 2)]
)
async def test_a_disk_that_fails_while_the_store_is_made_or_opened_leaves_nothing_half_done(
    disk: Path, shim: Path, seed: int, exists: bool, fault: str, nth: int
) -> None:
    if exists:
        run_workload(disk / "data", Sent(seed, CLIENTS), 1)
    said = run_with(disk, shim, seed, f"log:{fault}:{nth}:1", commits=3)
    assert said.not_opened in (None, "storage_failed")
    assert said.codes <= HONEST
    said.acknowledged += run_workload(disk / "data", Sent(seed, CLIENTS), 3).acknowledged
    assert len({(a.number, a.place) for a in said.acknowledged}) == 3 * CLIENTS
    await assert_sound(disk, seed, said)


@pytest.mark.parametrize("fault", ["fdatasync", "meta_before", "meta_after", "write"])
@pytest.mark.parametrize(("times", "in_the_end"), [(1, "ok"), (0, "storage_failed")])
async def test_views_that_cannot_be_stored_never_hold_up_the_log(
    disk: Path, shim: Path, seed: int, fault: str, times: int, in_the_end: str
) -> None:
    said = run_with(disk, shim, seed, f"views:{fault}:1:{times}", after=20)
    assert said.codes <= {"storage_failed"}  # of reads that wait for the views
    assert len(said.acknowledged) == said.statistics["readable"] == ALL
    assert said.statistics["failed_commits"] == 0
    assert said.statistics["views"] == in_the_end
    await assert_sound(disk, seed, said)


def test_a_sync_that_the_kernel_fails_is_told_honestly_and_the_writer_goes_on(disk: Path, seed: int) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    if subprocess.run(
        [strace, "-f", "-e", "trace=none", "true"], capture_output=True, check=False
    ).returncode:
        pytest.skip("strace may not trace here")
    trace = disk / "trace"
    said = run_workload(disk / "data", Sent(seed, CLIENTS), 1)
    # The count is for each thread: opening syncs less often than this, the writer and the views more.
    inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=10"]
    command = workload_command(disk / "data", Sent(seed, CLIENTS), COMMITS)
    done = subprocess.run(
        [strace, "-f", "-o", trace, *inject, *command],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "INJECTED" in trace.read_text()
    said.hear(done.stdout.splitlines(keepends=True))
    assert said.codes <= HONEST
    assert len({(a.number, a.place) for a in said.acknowledged}) == said.statistics["readable"] == ALL
    assert said.statistics["recoveries"] >= 1
    asyncio.run(assert_sound(disk, seed, said))
