"""Each of three mistakes is made on purpose, and seen by the checks that the other tests rely on."""

from __future__ import annotations

from pathlib import Path

import pytest
from children import explore, run_workload, shimmed
from judge import Sent

STATES = 80


@pytest.mark.parametrize(
    ("mutant", "expected"),
    [
        ("unsynced", {"an acknowledged commit is lost"}),
        ("acknowledged_first", {"an acknowledged commit is lost"}),
        ("checkpoint_apart", {"a view differs from the fold of its checkpoint"}),
    ],
)
def test_the_power_cut_explorer_catches_the_mutant(
    disk: Path, shim: Path, seed: int, mutant: str, expected: set[str]
) -> None:
    record = disk / "record"
    options = ("--mutant", mutant)
    run_workload(disk / "data", Sent(seed, 6), 20, *options, env=shimmed(shim, record))
    report = explore(record, "store", STATES, seed)
    assert expected <= report.findings.keys(), report
    assert report.sound < STATES
