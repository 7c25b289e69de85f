"""Running the command line: inside the test, or as a process of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
import structlog

from turnlog.cli import run

ROOT: Final = Path(__file__).resolve().parents[2]
WIRE: Final = ROOT / "tests" / "fixtures" / "wire"
SECONDS_MAX: Final = 30.0
"""No process takes so long: a hang fails the test."""


class Ran(NamedTuple):
    """What a run left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as NDJSON."""
        return [msgspec.json.decode(line, type=dict[str, Any]) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        """Standard output as one JSON object."""
        (only,) = self.lines
        return only

    @property
    def error(self) -> dict[str, Any]:
        """The error that ``--json`` told."""
        return msgspec.json.decode(self.err, type=dict[str, Any])["error"]


class Terminal:
    """Runs verbs in this process, on one data directory."""

    def __init__(self, data: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self._capture = capture

    def __call__(self, *arguments: str | Path) -> Ran:
        self._capture.readouterr()
        try:
            code = run([*map(str, arguments), "--data", str(self.data)])
        finally:
            structlog.reset_defaults()  # it was told to write to this test's standard error
        captured = self._capture.readouterr()
        return Ran(code, captured.out, captured.err)

    def ok(self, *arguments: str | Path) -> Ran:
        """A run that must succeed."""
        ran = self(*arguments)
        assert ran.code == 0, ran.err
        return ran


def environment(**more: str) -> dict[str, str]:
    """What processes inherit: no colours forced, output buffered as usual, this source tree."""
    ours = ("TURNLOG_", "PYTHON", "FORCE_COLOR", "NO_COLOR", "TTY_", "COLUMNS", "LINES")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**inherited, "PYTHONPATH": str(ROOT), **more}


def spawn(*arguments: str | Path, stdin: str | bytes | None = None, **more: str) -> Ran:
    """A process to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "turnlog", *map(str, arguments)],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        env=environment(**more),
        timeout=SECONDS_MAX,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


@contextmanager
def process(
    arguments: Sequence[str | Path], *, stdin: int = subprocess.DEVNULL
) -> Generator[subprocess.Popen[bytes], None, None]:
    """A process that the test talks to; it is killed if it outlives the block or ``SECONDS_MAX``."""
    running = subprocess.Popen(
        [sys.executable, "-m", "turnlog", *map(str, arguments)],
        env=environment(),
        bufsize=0,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    watchdog = threading.Timer(SECONDS_MAX, running.kill)
    watchdog.start()
    try:
        yield running
    finally:
        watchdog.cancel()
        watchdog.join()
        running.kill()
        running.wait(SECONDS_MAX)
        for pipe in (running.stdin, running.stdout, running.stderr):
            if pipe is not None:
                pipe.close()


def on_terminal(*arguments: str | Path, columns: int = 80, **more: str) -> str:
    """What a process writes, both its outputs, to a terminal of that width."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    variables = {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "50", **more}
    with subprocess.Popen(
        [sys.executable, "-m", "turnlog", *map(str, arguments)],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as running:
        os.close(theirs)
        written = b"".join(_until_closed(ours))
        os.close(ours)
        assert running.wait(SECONDS_MAX) == 0, written
    return written.decode()


def _until_closed(terminal: int) -> Iterator[bytes]:
    try:
        while data := os.read(terminal, 65536):
            yield data
    except OSError:
        return  # how a terminal says that nobody is at its other end
