"""What the tests of importers share: the modules beside this file, those that run verbs, the sample files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "turnlog"))
sys.path.append(str(Path(__file__).parents[1] / "eventstore"))  # the model of the log in memory


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Where the samples lie."""
    return Path(__file__).parents[1] / "fixtures"
