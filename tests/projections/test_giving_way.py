"""A rebuild beside a live view gives way to other threads, and the longer the more they want."""

from __future__ import annotations

from pathlib import Path

import pytest
from witness import Journal, Steps, fill, opened

from projections import runner as module
from projections.following import Following
from projections.runner import TURN_SECONDS, WANTED_SECONDS, WAYS_SECONDS, Runner

SHORT, LONG = WAYS_SECONDS


async def test_only_what_lags_behind_a_live_view_gives_way(data_dir: Path) -> None:
    journal, ways = Journal(), 0

    def give_way() -> None:
        nonlocal ways
        ways += 1

    async with opened(data_dir, [journal]) as (store, views):
        steps = Steps(store, views)
        steps.following = Following(store.log, steps.books, lambda: 0.0, give_way)
        await fill(store, 20)
        steps.finish()
        assert ways == 0, "the first build has nothing beside it"
        steps.following.rebuild("journal")
        steps.finish()
        assert ways == 20, "before each commit"
        await fill(store, 5)
        steps.finish()
        assert ways == 20, "a live view follows as fast as it can"


class Clock:
    """Time that passes when a test says so, and while the runner sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.late = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + self.late


async def test_it_sleeps_for_longer_while_others_want_the_lock(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module.time, "sleep", clock.sleep)
    async with opened(data_dir, [Journal()]) as (store, views):
        runner = Runner(store, views, monotonic=clock.monotonic)
        give_way = runner._give_way  # pyright: ignore[reportPrivateUsage] -- it is the folding thread that calls it
        give_way()
        give_way()
        assert clock.slept == [SHORT], "its turn has begun"
        for late, slept in (
            (WANTED_SECONDS * 2, SHORT),
            (WANTED_SECONDS * 2, LONG),
            (0.0, LONG),
            (0.0, SHORT),
        ):
            clock.now += TURN_SECONDS
            clock.late = late
            give_way()
            assert clock.slept[-1] == slept
        await runner.close()
