"""What a power cut may leave of a run of the real writer is opened and judged, hundreds of times."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import pytest
import recording
from children import HERE, explore, run, run_workload, shimmed
from judge import Sent

STATES: Final = int(os.environ.get("TURNLOG_POWER_CUT_STATES", "520"))
"""States of the real writer's runs without faults; the other tests take a share of it."""
RAW_STATES: Final = max(100, STATES // 5)
FAULT_STATES: Final = max(60, STATES // 6)

CLIENTS: Final = 6
COMMITS: Final = 25


def record_workload(disk: Path, shim: Path, seed: int, *options: str, commits: int = COMMITS) -> Path:
    record = disk / "record"
    said = run_workload(disk / "data", Sent(seed, CLIENTS), commits, *options, env=shimmed(shim, record))
    assert said.statistics["group_max"] > 1, "no two appends shared a sync"
    return record


def record_raw(disk: Path, shim: Path, seed: int, mode: str) -> Path:
    record = disk / "record"
    command = [sys.executable, str(HERE / "raw_workload.py"), str(disk), "150", str(seed), mode]
    run(command, shimmed(shim, record))
    return record


def test_the_explorer_finds_nothing_wrong_with_plain_lmdb(disk: Path, shim: Path, seed: int) -> None:
    report = explore(record_raw(disk, shim, seed, "safe"), "raw", RAW_STATES, seed)
    assert (report.states, report.findings) == (RAW_STATES, {}), report.examples


@pytest.mark.parametrize("mode", ["nosync", "nometasync"])
def test_the_explorer_finds_the_losses_of_plain_lmdb_without_syncs(
    disk: Path, shim: Path, seed: int, mode: str
) -> None:
    report = explore(record_raw(disk, shim, seed, mode), "raw", RAW_STATES, seed)
    assert report.findings["acknowledged entries are lost"] > RAW_STATES // 20, report.findings


@pytest.mark.parametrize("part", [0, 1])
def test_no_power_cut_loses_or_breaks_anything(disk: Path, shim: Path, seed: int, part: int) -> None:
    record = record_workload(disk, shim, seed + part)
    report = explore(record, "store", STATES // 2, seed + 10 * part)
    assert (report.states, report.findings) == (STATES // 2, {}), report.examples


@pytest.mark.parametrize("fault", ["fdatasync", "write", "meta_before", "meta_after"])
def test_no_power_cut_after_a_failed_commit_loses_or_breaks_anything(
    disk: Path, shim: Path, seed: int, fault: str
) -> None:
    inject = ("--inject", f"log:{fault}:1:1", "--inject-after", "20")
    record = record_workload(disk, shim, seed, *inject, commits=12)
    assert any(operation.tag == "I" for operation in recording.load(record)), "nothing failed"
    report = explore(record, "store", FAULT_STATES, seed)
    assert (report.states, report.findings) == (FAULT_STATES, {}), report.examples


def test_no_power_cut_after_a_reopened_run_loses_or_breaks_anything(
    disk: Path, shim: Path, seed: int
) -> None:
    for commits in (6, 12, 18):
        record = record_workload(disk, shim, seed, "--together", commits=commits)
    report = explore(record, "store", FAULT_STATES, seed)
    assert (report.states, report.findings) == (FAULT_STATES, {}), report.examples
