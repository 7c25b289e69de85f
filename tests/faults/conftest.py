"""What the fault tests stand on: the recording shim, and a disk that is fast because it is memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the tests share modules with the programs that they start
MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shim.c`, built."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build tests/faults/shim.c with")
    built = tmp_path_factory.mktemp("shim") / "shim.so"
    command = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread"]
    subprocess.run([*command, "-o", built, HERE / "shim.c", "-ldl"], check=True)
    return built


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty directory, in memory where that can be: what is tested here never asks a real disk."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="turnlog-faults-", dir=MEMORY))
    try:
        yield path
    finally:
        shutil.rmtree(path)
