"""kill -9 in the middle of an import, then the same command again: as if nothing had been."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from commands import SECONDS_MAX, environment, spawn
from conversations import conversation, write

CONTEXTS: Final = 18
PROGRAM: Final = Path(__file__).with_name("killed_import.py")
KILLED: Final = -9


def run(directory: Path, step: str = "none", count: int = 0) -> int:
    """The import of ``directory/source``, with its data and backups beside it; its exit code."""
    done = imported(directory, step, count)
    assert done.returncode in (0, KILLED), done.stderr
    return done.returncode


def imported(directory: Path, step: str, count: int) -> subprocess.CompletedProcess[bytes]:
    """The same, and what it said."""
    paths = [str(Path(__file__).parent), environment()["PYTHONPATH"]]
    return subprocess.run(
        [
            *(sys.executable, PROGRAM, step, str(count)),
            *("import", "source", "--data", "data", "--yes", "--delete-source", "--report", "report.ndjson"),
        ],
        cwd=directory,
        env=environment() | {"PYTHONPATH": ":".join(paths)},
        capture_output=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def made(directory: Path) -> Path:
    write(directory / "source", [conversation(number, texts=4) for number in range(CONTEXTS)])
    return directory


def events(directory: Path) -> dict[str, list[Any]]:
    """Every context's events with their versions, and the commit each came with."""
    found: dict[str, list[Any]] = {}
    for line in spawn("events", "--json", "--data", directory / "data").lines:
        found.setdefault(line["context_id"], []).append((line["version"], line["commit_id"], line["event"]))
    return found


def contexts(directory: Path) -> list[tuple[str, bool, bool]]:
    """What the report says of each context, but for what only this run of the command wrote."""
    lines = [msgspec.json.decode(line) for line in (directory / "report.ndjson").read_bytes().splitlines()]
    return [
        (line["context_id"], line["verified"], line["created"]) for line in lines if line["type"] == "context"
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An import that nothing interrupted."""
    directory = made(tmp_path_factory.mktemp("whole"))
    assert run(directory) == 0
    return directory


@pytest.mark.parametrize(
    ("step", "count"),
    [
        ("copy", 5),
        ("copy", 25),
        ("read", 1),
        ("read", 10),
        ("append", 1),
        ("append", 7),
        ("verify", 2),
        ("verify", 11),
    ],
)
def test_killed_and_run_again_it_equals_one_that_was_not(
    step: str, count: int, whole: Path, tmp_path: Path
) -> None:
    directory = made(tmp_path)
    assert run(directory, step, count) == KILLED
    assert run(directory) == 0
    assert events(directory) == events(whole)
    assert contexts(directory) == contexts(whole)
    assert list((directory / "source").iterdir()) == []
    assert [path.name for path in (directory / "backups").iterdir()] == [
        path.name for path in (whole / "backups").iterdir()
    ]


@pytest.mark.parametrize(("step", "count"), [("read", 10), ("append", 7), ("verify", 2)])
def test_interrupted_it_says_how_to_go_on_and_does(
    step: str, count: int, whole: Path, tmp_path: Path
) -> None:
    directory = made(tmp_path)
    done = imported(directory, f"interrupt-{step}", count)
    assert done.returncode == 130
    assert b"interrupted: run the same again" in done.stderr
    assert run(directory) == 0
    assert events(directory) == events(whole)
    assert contexts(directory) == contexts(whole)


def test_killed_while_it_deletes_it_deletes_the_rest(whole: Path, tmp_path: Path) -> None:
    directory = made(tmp_path)
    assert run(directory, "delete", 6) == KILLED
    assert len(list((directory / "source").iterdir())) == CONTEXTS - 5
    assert run(directory) == 0
    assert list((directory / "source").iterdir()) == []
    assert events(directory) == events(whole)


def test_killed_at_any_moment_it_equals_one_that_was_not(whole: Path, tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    directory = made(tmp_path)
    for _ in range(6):
        run(directory, "timer", moments.randrange(1_000, 400_000))
    assert run(directory) == 0
    assert events(directory) == events(whole)
    assert list((directory / "source").iterdir()) == []
