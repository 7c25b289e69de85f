"""The power-cut explorer: rebuild what a cut may leave of a recorded run, and let a judge open it. A program.

    power_cut.py RECORD JUDGE STATES SEED        JUDGE: store or raw; prints a JSON Report

Every state is judged in a forked child, which damage may kill, abort or hang without harm.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import judge
import msgspec
import raw_workload
import recording

JUDGE_SECONDS: Final = 20
"""After this a child counts as hanging."""
AFTER_FAILURE: Final = 12
"""Operations after a failure that belong to it: recovery and the next commit."""


class Report(msgspec.Struct):
    """How many states were judged, how often each finding came up, and the first state that showed it."""

    states: int = 0
    sound: int = 0
    findings: dict[str, int] = {}
    examples: dict[str, str] = {}

    def add(self, other: Report) -> None:
        """Count another explorer's states too."""
        self.states += other.states
        self.sound += other.sound
        for kind, count in other.findings.items():
            self.findings[kind] = self.findings.get(kind, 0) + count
            self.examples.setdefault(kind, other.examples[kind])


class State(NamedTuple):
    """One cut, what it leaves, and what the program had said of itself until then."""

    cut: int
    disk: recording.Disk
    said: list[recording.Operation]


_Judge = Callable[[Path, list[recording.Operation]], list[str]]


def _judge_raw(directory: Path, said: list[recording.Operation]) -> list[str]:
    return raw_workload.judge(directory, max((a.offset for a in said), default=0))


JUDGES: Final[dict[str, _Judge]] = {"raw": _judge_raw, "store": judge.judge_record}


def explore(record: Path, judge_name: str, states: int, seed: int) -> Report:
    """Judge this many states of a recorded run."""
    operations = recording.load(record)
    report = Report()
    directory = Path(tempfile.mkdtemp(prefix="cut-", dir=record.parent))
    try:
        for number in range(states):
            state = _state(operations, random.Random(f"{seed}:{number}"))
            findings = _judge_in_child(state, directory / str(number), JUDGES[judge_name])
            where = f"seed {seed}, state {number}, cut {state.cut} of {len(operations)}: "
            kinds = {finding.partition("\n")[0]: where + finding for finding in findings}
            report.add(Report(1, not findings, dict.fromkeys(kinds, 1), kinds))
    finally:
        shutil.rmtree(directory)
    return report


def _state(operations: list[recording.Operation], rng: random.Random) -> State:
    cut = _cut(operations, rng)
    said = [r for at, r in enumerate(operations) if r.tag == "B" or (r.tag == "A" and at < cut)]
    return State(cut, recording.disk_after(operations, cut, rng), said)


def _cut(operations: list[recording.Operation], rng: random.Random) -> int:
    """Anywhere; but most cuts of a run in which something failed fall just after that."""
    failed = [at for at, operation in enumerate(operations) if operation.tag in "EI"]
    if failed and rng.random() < 0.75:
        return min(rng.choice(failed) + rng.randrange(1, AFTER_FAILURE + 1), len(operations))
    return rng.randrange(1, len(operations) + 1)


def _lay_out(disk: recording.Disk, directory: Path) -> None:
    directory.mkdir()
    for file, content in disk.content.items():
        name = recording.NAMES[file]
        room = directory / (name if file in disk.named else f".{name}-unfinished")
        room.mkdir()
        (room / "data.mdb").write_bytes(content)


def _judge_in_child(state: State, directory: Path, judge: _Judge) -> list[str]:
    _lay_out(state.disk, directory)
    answers, answer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(answers)
        _run_judge(state, directory, judge, answer)
    os.close(answer)
    with os.fdopen(answers, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    shutil.rmtree(directory)
    if os.WIFSIGNALED(status):
        return [f"killed by {signal.Signals(os.WTERMSIG(status)).name}"]
    return json.loads(said) if said else [f"judge ended with status {status} and no answer"]


def _run_judge(state: State, directory: Path, judge: _Judge, answer: int) -> None:
    """In the child: never returns."""
    signal.alarm(JUDGE_SECONDS)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        findings = judge(directory, state.said)
    except BaseException as error:
        findings = [f"raised {type(error).__name__}\n{traceback.format_exc()}"]
    os.write(answer, json.dumps([finding[:2000] for finding in findings]).encode())
    os._exit(0)


if __name__ == "__main__":
    done = explore(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.buffer.write(msgspec.json.encode(done))
