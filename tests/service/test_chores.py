"""What the service does now and then, it goes on doing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from serving import SECONDS, serving
from structlog.testing import capture_logs


async def test_a_chore_that_fails_is_done_again(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, again = 0, asyncio.Event()

    def refresh() -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise ValueError("a defect")
        again.set()
        return False

    async with serving(data_dir, keys_check_seconds=0.05) as served, asyncio.timeout(SECONDS / 10):
        with capture_logs() as told:
            monkeypatch.setattr(served.service.keyring, "refresh", refresh)
            await again.wait()
    (failed,) = [line for line in told if line["event"] == "chore_failed"]
    assert (failed["log_level"], failed["error"]) == ("error", "ValueError")
