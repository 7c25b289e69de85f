"""Start the programs of this directory as processes, and understand what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
from judge import Acknowledged, Sent
from power_cut import Report

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
SECONDS_MAX: Final = 120
"""After this a child counts as hanging: none takes more than a few seconds."""
EXPLORERS: Final = 2
"""Explorers that share the states of one record."""


@dataclass
class Said:
    """What a workload has printed so far; see `workload.py`."""

    acknowledged: list[Acknowledged] = field(default_factory=list[Acknowledged])
    errors: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    statistics: dict[str, Any] = field(default_factory=dict[str, Any])
    not_opened: str | None = None

    @property
    def codes(self) -> set[str]:
        """The codes of all errors that clients met."""
        return {code for _, _, code in self.errors}

    def hear(self, lines: Iterable[str]) -> Said:
        """Take in whole lines; the last may be torn, by a kill, and is skipped then."""
        for line in lines:
            if not line.endswith("\n"):
                break
            kind, *words = line.split(maxsplit=1 if line.startswith("S") else -1)
            match kind:
                case "A":
                    self.acknowledged.append(Acknowledged(*map(int, words)))
                case "E":
                    self.errors.append((int(words[0]), int(words[1]), words[2]))
                case "O":
                    self.not_opened = words[0]
                case "S":
                    self.statistics = json.loads(words[0])
                case _:
                    raise ValueError(line)
        return self


def environment(**more: str) -> Mapping[str, str]:
    """The environment of every child: ours, with the project importable."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", **more}


def shimmed(shim: Path, record: Path | None = None, inject: str = "") -> Mapping[str, str]:
    """The environment of a child under `shim.c`."""
    options = {"LD_PRELOAD": str(shim), "FAULT_INJECT": inject}
    if record is not None:
        options["FAULT_RECORD"] = str(record)
    return environment(**options)


def workload_command(directory: Path, was_sent: Sent, commits: int, *options: str) -> list[str]:
    """The command line of a workload."""
    numbers = [str(was_sent.seed), str(was_sent.conversations), str(commits)]
    return [sys.executable, str(HERE / "workload.py"), str(directory), *numbers, *options]


def run(command: list[str], env: Mapping[str, str]) -> str:
    """Run a program that must end by itself and well, and return what it printed."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_and_kill(command: list[str], lines: int, env: Mapping[str, str] | None = None) -> list[str]:
    """Kill a program once it has printed this many lines; everything that it had printed by then."""
    with subprocess.Popen(
        command, env=env or environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        printed = list(islice(child.stdout, lines))
        child.kill()
        printed += child.stdout
        complaint = child.stderr.read()
    assert child.returncode in (0, -signal.SIGKILL), complaint
    return printed


def run_workload(
    directory: Path, was_sent: Sent, commits: int, *options: str, env: Mapping[str, str] | None = None
) -> Said:
    """Run a workload to its end."""
    printed = run(workload_command(directory, was_sent, commits, *options), env or environment())
    return Said().hear(printed.splitlines(keepends=True))


def intrude(directory: Path, what: str) -> dict[str, Any]:
    """What `intruding.py` is told."""
    return json.loads(run([sys.executable, str(HERE / "intruding.py"), str(directory), what], environment()))


def explore(record: Path, judge_name: str, states: int, seed: int) -> Report:
    """Judge states after power cuts in a recorded run, by several explorers at once."""

    def share(explorer: int) -> Report:
        count = (states + explorer) // EXPLORERS
        command = [sys.executable, str(HERE / "power_cut.py"), str(record), judge_name]
        printed = run([*command, str(count), str(seed + explorer)], environment())
        return msgspec.json.decode(printed, type=Report)

    with ThreadPoolExecutor(EXPLORERS) as pool:
        reports = list(pool.map(share, range(EXPLORERS)))
    whole = Report()
    for report in reports:
        whole.add(report)
    return whole
