"""A browser's own EventSource: it comes back by itself, and a page puts together what the writer sent."""

from __future__ import annotations

import asyncio
import signal
from itertools import pairwise
from pathlib import Path
from typing import Final

import httpx
from browsing import Page, browsing, chromium, page
from serving import SECONDS, Process, new_key, process

DELTAS: Final = [
    "潮",
    "汐 ",
    "🌊\n",
    "\n",
    "e\u0301",
    "\u2028",
    "data: x\n\n",
    '"\\',
    "<b>&amp;</b>",
    " ",
] * 6
KILLS_AFTER: Final = (15, 35)
"""The service is killed when the page has seen so many chunks."""

TRIES: Final = 4
"""How often the page tries in vain before the service is there again."""

BROWSERS_OWN_RETRY_MS: Final = 3_000
"""What Chromium waits unless it is told; a service that is killed must have told it before."""

AHEAD: Final = 5
"""Chunks that the writer sends beyond what the page has seen: it goes on while the page is cut off."""


async def test_a_page_that_the_service_is_killed_under_goes_on_by_itself(
    data_dir: Path, tmp_path: Path
) -> None:
    executable = chromium()
    async with (
        page() as shown,
        process(data_dir, *_settings(shown)) as served,
        _producer(served, None) as client,
    ):
        message_id = await _started(client)
        shown.stream = f"{served.address}/api/messages/{message_id}/stream"
        async with browsing(executable, shown.origin, tmp_path / "profile"):
            await _produce(served, client, message_id, shown)


async def test_a_page_with_tickets_fetches_another_when_its_own_is_used_up(
    data_dir: Path, tmp_path: Path
) -> None:
    executable = chromium()
    keys = {role: new_key(data_dir, role)[1] for role in ("reader", "writer")}
    async with (
        page() as shown,
        process(data_dir, *_settings(shown)) as served,
        _producer(served, keys["writer"]) as client,
    ):
        message_id = await _started(client)
        path = f"/api/messages/{message_id}/stream"
        shown.stream = served.address + path
        shown.ticket = lambda: _ticket(served, keys["reader"], path)
        async with browsing(executable, shown.origin, tmp_path / "profile"):
            await _produce(served, client, message_id, shown)
        assert shown.seen.tickets == 1 + len(KILLS_AFTER)


def _settings(shown: Page) -> tuple[str, ...]:
    return "--set", f"cors_origins={shown.origin}", "--set", "streams.retry_ms=50"


def _producer(served: Process, key: str | None) -> httpx.AsyncClient:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=served.address, headers=headers, timeout=SECONDS)


async def _started(client: httpx.AsyncClient) -> str:
    context_id = (await client.post("/api/contexts", json={})).json()["context_id"]
    return (await client.post(f"/api/contexts/{context_id}/streams", json={})).json()["message_id"]


async def _ticket(served: Process, key: str, path: str) -> str:
    """What the page's backend does: it has the key, and waits for the service where the page would not."""
    async with _producer(served, key) as client:
        response = await served.answered(client, "/api/tickets", {"path": path})
    return response["ticket"]


async def _produce(served: Process, client: httpx.AsyncClient, message_id: str, shown: Page) -> None:
    """Send all of a stream, end the service under it, and compare with what the page saw."""
    async with asyncio.timeout(4 * SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(_write(served, client, message_id, shown))
        for after in KILLS_AFTER:
            before = len((await shown.until(lambda seen, n=after: len(seen.sequences) >= n)).errors)
            await served.end(signal.SIGKILL)
            seen = await shown.until(lambda seen, n=before: len(seen.errors) >= n + TRIES)
            assert min(b - a for a, b in pairwise(seen.errors[before:])) < BROWSERS_OWN_RETRY_MS
            await served.start()
    seen = await shown.until(lambda seen: seen.outcome is not None)
    assert seen.sequences == list(range(1, len(DELTAS) + 1))
    assert "".join(seen.deltas) == "".join(DELTAS)
    assert (seen.outcome, seen.opened) == ("completed", 1 + len(KILLS_AFTER))


async def _write(served: Process, client: httpx.AsyncClient, message_id: str, shown: Page) -> None:
    """Send the chunks one by one, a few more than the page has seen, each until it is acknowledged."""
    path = f"/api/messages/{message_id}"
    for sequence, delta in enumerate(DELTAS, 1):
        await shown.until(lambda seen, n=sequence: len(seen.sequences) >= n - AHEAD)
        await served.answered(client, f"{path}/chunks", {"sequence": sequence, "delta": delta})
    await served.answered(client, f"{path}/finalize", {})
