"""What every test stands on: the event loop, a data directory on a local disk, the seed, a thread watch."""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest

from eventstore.environment import check_file_system
from eventstore.errors import Unavailable

MEMORY_DISK: Final = Path("/dev/shm")
MEMORY_DISK_FREE_BYTES: Final = 512 * 1024 * 1024
POOL_THREADS: Final = ("AnyIO worker thread", "asyncio_", "ThreadPoolExecutor")
"""Threads of pools, which belong to an event loop or an executor and may outlive a test."""
JOIN_SECONDS: Final = 2.0
"""How long a thread that was told to stop may take to end."""

hypothesis.settings.register_profile(
    "suite", max_examples=50, deadline=None, derandomize=False, print_blob=True
)
hypothesis.settings.register_profile(
    "thorough", parent=hypothesis.settings.get_profile("suite"), max_examples=2_000
)
hypothesis.settings.load_profile("suite")


def pytest_addoption() -> None:
    """The first hook that runs: later the place of temporary directories is settled.

    In containers the usual place is often an overlay, which stores refuse; then memory serves.
    ``--basetemp`` and ``PYTEST_DEBUG_TEMPROOT`` decide over this.
    """
    if "PYTEST_DEBUG_TEMPROOT" in os.environ:
        return
    try:
        check_file_system(Path(tempfile.gettempdir()))
    except Unavailable:
        room = os.statvfs(MEMORY_DISK)
        if room.f_bavail * room.f_frsize < MEMORY_DISK_FREE_BYTES:
            raise
        os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = str(MEMORY_DISK)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the run's seed before hypothesis reads it."""
    if config.getoption("hypothesis_seed") is None:
        config.option.hypothesis_seed = str(random.SystemRandom().getrandbits(32))


def pytest_report_header(config: pytest.Config) -> str:
    """Say the seed at the start."""
    return _seed_line(config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say the seed again where a failure is read."""
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.write_line(_seed_line(config))


def _seed_line(config: pytest.Config) -> str:
    return f"seed: {config.getoption('hypothesis_seed')} (to repeat: --hypothesis-seed)"


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """The run's seed, for tests that draw random numbers themselves."""
    return int(str(pytestconfig.getoption("hypothesis_seed")))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The one event loop that Turnlog supports."""
    return "asyncio"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty directory on a file system that stores accept."""
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def no_thread_survives() -> Iterator[None]:
    """Fail a test that leaves a thread behind: a store, writer or runner that was not closed."""
    before = set(threading.enumerate())
    yield
    started = [thread for thread in threading.enumerate() if thread not in before]
    ours = [thread for thread in started if not thread.name.startswith(POOL_THREADS)]
    for thread in ours:
        thread.join(JOIN_SECONDS)
    alive = [thread.name for thread in ours if thread.is_alive()]
    assert not alive, f"threads still run after the test: {alive}"
