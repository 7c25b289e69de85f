"""Other processes: small programs that share a data directory with the test, one line in, one line out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
ENVIRONMENT: Final = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}

PRELUDE: Final = """
import asyncio, os, sys
from pathlib import Path
from eventstore.errors import TurnlogError
from eventstore.events import *
from eventstore.store import EventStore
from samples import *
path = Path(sys.argv[1])
def say(*words):
    print(*words, flush=True)
def hear():
    return sys.stdin.readline().strip()
async def main():
"""


@contextmanager
def program(path: Path, body: str) -> Generator[subprocess.Popen[str]]:
    """Run the lines of ``body`` in an async function that knows the data directory as ``path``."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    source = f"{PRELUDE}{lines}asyncio.run(main())\n"
    process = subprocess.Popen(
        [sys.executable, "-c", source, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def hear(process: subprocess.Popen[str]) -> str:
    """Its next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str], word: str = "go") -> None:
    """Give it a line."""
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def output(path: Path, body: str) -> str:
    """All that a program says, once it has ended by itself."""
    with program(path, body) as process:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        return said.strip()
