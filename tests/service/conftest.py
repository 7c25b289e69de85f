"""What the tests of the service share: the modules beside this file, and a service to ask."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parent.parent / "eventstore"))  # how to damage a log
sys.path.insert(
    2, str(Path(__file__).parent.parent / "turnlog")
)  # what providers sent, and AI SDK clients read

from serving import Served, serving


@pytest.fixture
async def served(data_dir: Path) -> AsyncGenerator[Served]:
    """A service in this process, on an empty directory, without keys."""
    async with serving(data_dir) as service:
        yield service
