"""What the importers' tests share: the modules beside this file, and the sample files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Where the samples lie."""
    return Path(__file__).parents[1] / "fixtures"
