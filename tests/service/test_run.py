"""``scripts/run``: the service over the demo's conversations, what it says, and its end."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import termios
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
ESCAPE: Final = re.compile(r"\x1b\[[0-9;]*m")
SECONDS: Final = 60.0
"""No step takes so long: a hang fails the test."""


class Running:
    """The script, with its output."""

    def __init__(self, process: subprocess.Popen[bytes], output: int) -> None:
        self._process = process
        self._output = output
        self.told: str = ""

    def until(self, pattern: str) -> re.Match[str]:
        """Read what it says until a pattern is in it."""
        while (found := re.search(pattern, self.told)) is None:
            data = os.read(self._output, 65_536)
            assert data, self.told
            self.told += ESCAPE.sub("", data.decode()).replace("\r\n", "\n")
        return found

    def interrupt(self) -> int:
        """What Ctrl-C does; the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(SECONDS)


@contextmanager
def running(data: Path, *arguments: str, terminal: bool = False) -> Generator[Running]:
    """The script on a free port. Its standard output is a pipe, or both outputs are a terminal."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        termios.tcsetwinsize(theirs, (50, 120))
    ours_only = {name: value for name, value in os.environ.items() if not name.startswith("TURNLOG_")}
    process = subprocess.Popen(
        [ROOT / "scripts" / "run", *("--port", "0"), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs if terminal else subprocess.DEVNULL,
        env={**ours_only, "TURNLOG_DATA": str(data), "TERM": "xterm-256color"},
    )
    os.close(theirs)
    watchdog = threading.Timer(SECONDS, process.kill)
    watchdog.start()
    try:
        yield Running(process, ours)
    finally:
        watchdog.cancel()
        watchdog.join()
        process.kill()
        process.wait(SECONDS)
        os.close(ours)


def titles(address: str) -> list[str]:
    """Of all contexts."""
    page = httpx.get(f"{address}/api/contexts", timeout=SECONDS).json()
    return sorted(item["title"] for item in page["items"])


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl to try what it says with")
def test_it_records_the_demo_once_and_serves_it_and_what_it_says_to_try_works(data_dir: Path) -> None:
    with running(data_dir, "--json") as first:
        found = first.until(r'(?s)(\{.*\})\n(\{"address".*\})\n')
        demo, serving = (msgspec.json.decode(line, type=dict[str, Any]) for line in found.groups())
        assert (serving["data"], serving["keys_required"]) == (str(data_dir), False)
        recorded = titles(serving["address"])
        assert len(recorded) == len(demo["context_ids"]) == 4
        assert first.interrupt() == 0

    with running(data_dir, terminal=True) as again:
        address = again.until(r"on (http://127\.0\.0\.1:\d+); Ctrl-C stops it\.")[1]
        again.until(r"A context of my own.*\n")
        assert titles(address) == recorded, "a store that holds something is left alone"
        examples = re.findall(r"^ +(curl .*)$", again.told, re.MULTILINE)
        assert len(examples) == 3
        assert f"whoever is on this machine may do everything on {address}" in again.told
        answers = [tried(each.replace("/replay'", "/replay?speed=0'")) for each in examples]
        assert [item["title"] in recorded for item in msgspec.json.decode(answers[0])["items"]] == [True] * 3
        assert '"totals":' in answers[1]
        assert titles(address) == sorted([*recorded, "A context of my own"])
        assert again.interrupt() == 0
        assert re.search(r"stopped +position=\d+", again.until(r"stopped.*")[0])


def tried(command: str) -> str:
    """What a line that somebody copied into a shell answers."""
    done = subprocess.run(
        ["sh", "-c", f"{command} --silent --show-error --fail"],
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()
