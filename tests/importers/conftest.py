"""What the tests of importers share: the modules beside this file, those that run verbs, the sample files."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import turnlog
from turnlog.facade import Turnlog

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "turnlog"))
sys.path.append(str(Path(__file__).parents[1] / "eventstore"))  # the model of the log in memory


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Where the samples lie."""
    return Path(__file__).parents[1] / "fixtures"


@pytest.fixture
async def log(data_dir: Path) -> AsyncIterator[Turnlog]:
    """A new log to bring things into."""
    async with turnlog.open(data_dir / "store") as opened:
        yield opened
