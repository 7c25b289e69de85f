"""What the tests of eventstore share: a store, and the modules beside this file."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from faulty import Faults
from samples import C, TickingClock
from verified import fill

from eventstore.events import ContextCreated
from eventstore.log import Log
from eventstore.store import EventStore


@pytest.fixture(scope="session")
def root() -> Path:
    """Where the project lies."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture
def clock() -> TickingClock:
    """The store's time: a millisecond passes with each look at it."""
    return TickingClock()


@pytest.fixture
async def store(data_dir: Path, clock: TickingClock) -> AsyncIterator[EventStore]:
    """An open, empty store."""
    async with await EventStore.open(data_dir, clock=clock) as opened:
        yield opened


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """The faults of every environment that is opened from here on."""
    faults = Faults()
    monkeypatch.setattr("eventstore.shared.open_environment", faults.open_environment)
    return faults


@pytest.fixture
async def faulty(faults: Faults, data_dir: Path) -> AsyncIterator[EventStore]:
    """An open store with one commit in it."""
    async with await EventStore.open(data_dir) as store:
        await store.append(C, [ContextCreated()])
        yield store


@pytest.fixture
async def sound(data_dir: Path, clock: TickingClock) -> AsyncIterator[Log]:
    """The log of a store with a bit of everything in it, its index complete as after any close."""
    async with await EventStore.open(data_dir, clock=clock) as store:
        await fill(store)
    async with await EventStore.open(data_dir, clock=clock) as store:
        yield store.log
