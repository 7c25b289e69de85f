"""The service as a process: it says where it listens, answers, and ends as it is told."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest
from serving import Served, process


async def test_it_answers_and_ends(data_dir: Path) -> None:
    async with process(data_dir) as served:
        async with httpx.AsyncClient(base_url=served.address) as client:
            made = await client.post("/api/contexts", json={"title": "Tides"})
            assert made.status_code == 201
            read = await client.get(made.headers["location"])
        assert (read.json()["title"], read.headers["etag"]) == ("Tides", '"1"')
        assert await served.end() == 0
        assert [line["event"] for line in served.lines] == ["serving", "request", "request", "stopped"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_what_was_acknowledged_is_there_after_a_restart(data_dir: Path, how: signal.Signals) -> None:
    async with process(data_dir) as served, httpx.AsyncClient() as client:
        made = (await client.post(f"{served.address}/api/contexts", json={})).json()
        assert await served.end(how) == 0
        await served.start()
        read = await client.get(f"{served.address}/api/contexts/{made['context_id']}")
        assert read.json()["version"] == 1


async def test_a_service_in_this_process(served: Served) -> None:
    context_id = await served.context(title="Tides")
    message_id = await served.stream(context_id)
    await served.chunks(message_id, "High ", "at noon.")
    await served.finalize(message_id)
    read = await served.json("GET", f"/api/messages/{message_id}")
    assert (read["text"], read["complete"]) == ("High at noon.", True)
