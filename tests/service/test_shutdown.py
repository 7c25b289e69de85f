"""The end of the service with streams open: each is told where to go on, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Final

import httpx
from duplex import posting
from event_source import Follower
from serving import SECONDS, process

ENDS_WITHIN_SECONDS: Final = 2.0


async def test_every_stream_is_told_where_to_go_on(data_dir: Path) -> None:
    async with (
        process(data_dir) as served,
        httpx.AsyncClient(base_url=served.address, timeout=SECONDS) as client,
    ):
        context_id, message_id = await _stream(client, "one", "two")
        paths = {
            "stream": f"/api/messages/{message_id}/stream",
            "anthropic": f"/api/messages/{message_id}/stream?dialect=anthropic",
            "signals": f"/api/contexts/{context_id}/sse",
            "events": "/api/events?live=true&format=sse",
            "lines": "/api/events?live=true&format=ndjson",
        }
        opened = {name: Follower() for name in paths}
        async with asyncio.TaskGroup() as tasks:
            for name, path in paths.items():
                tasks.create_task(opened[name].follow(client, path))
            for each in opened.values():
                await each.came.wait()
            start = time.monotonic()
            assert await served.end() == 0
            assert time.monotonic() - start < ENDS_WITHIN_SECONDS
        # Anthropic's clients know no farewell: they raise this, and would take silence for an answer's end.
        told = opened.pop("anthropic").last()
        assert (told["type"], told["error"]["type"], told["problem"]["after"]) == (
            "error",
            "shutting_down",
            2,
        )
        assert {name: each.last() for name, each in opened.items()} == {
            "stream": {"type": "closing", "reason": "shutdown", "after": 2},
            "signals": {"type": "closing", "reason": "shutdown", "after": 3},
            "events": {"type": "closing", "reason": "shutdown", "after": 3},
            "lines": {"type": "closing", "reason": "shutdown", "after": 3},
        }
        retries = {name for name, each in opened.items() if each.text.startswith("retry: 1000\n")}
        assert retries == {"stream", "signals", "events"}


async def test_what_a_producer_was_told_is_durable_is(data_dir: Path) -> None:
    async with process(data_dir) as served, asyncio.timeout(SECONDS):
        async with httpx.AsyncClient(base_url=served.address, timeout=SECONDS) as client:
            _, message_id = await _stream(client)
        path = f"/api/messages/{message_id}/chunks"
        async with posting(served.address, path) as body:
            body.send(*({"sequence": sequence, "delta": "x"} for sequence in range(1, 101)))
            lines = body.lines()
            told = [await anext(lines)]
            start = time.monotonic()
            assert await served.end() == 0
            assert time.monotonic() - start < ENDS_WITHIN_SECONDS
            told += [line async for line in lines]
        assert (told[-1]["type"], told[-1]["reason"]) == ("closing", "shutdown")
        durable = max(line["sequence"] for line in told if line["type"] == "durable")
        assert durable >= 1
        await served.start()
        async with httpx.AsyncClient(base_url=served.address, timeout=SECONDS) as client:
            stored = (await client.get(f"{path}?limit=1000")).json()
        assert [chunk["sequence"] for chunk in stored["chunks"]][:durable] == list(range(1, durable + 1))


async def test_requests_that_run_are_answered(data_dir: Path) -> None:
    async with process(data_dir) as served:
        async with httpx.AsyncClient(base_url=served.address, timeout=SECONDS) as client:
            context = (await client.post("/api/contexts", json={})).json()
            path = f"/api/contexts/{context['context_id']}/messages"
            appends = [
                asyncio.create_task(client.post(path, json={"role": "user", "text": str(n)}))
                for n in range(50)
            ]
            await appends[0]
            await served.end()
            answers = await asyncio.gather(*appends, return_exceptions=True)
        written = [answer for answer in answers if isinstance(answer, httpx.Response) and answer.is_success]
        refused = [answer for answer in answers if not isinstance(answer, httpx.Response)]
        assert all(isinstance(error, httpx.TransportError) for error in refused)
        assert len(written) + len(refused) == len(appends)
        await served.start()
        async with httpx.AsyncClient(base_url=served.address, timeout=SECONDS) as client:
            stored = (await client.get(f"{path}?include=body&limit=100")).json()["items"]
        acknowledged = {answer.json()["message_id"] for answer in written}
        assert acknowledged <= {message["id"] for message in stored}


async def test_a_second_signal_hurries(data_dir: Path) -> None:
    async with process(data_dir, "--set", "shutdown_grace_seconds=600") as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"POST /api/contexts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        idle, unused = await asyncio.open_connection("127.0.0.1", served.port)
        async with httpx.AsyncClient(base_url=served.address) as client:
            await client.get("/healthz")  # by now the other request is being waited for
        served.send(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            assert await idle.read() == b""  # connections without a request are closed at once
        assert await served.end(signal.SIGTERM) == 0
        assert await reader.read() == b""
        writer.close()
        unused.close()


async def _stream(client: httpx.AsyncClient, *deltas: str) -> tuple[str, str]:
    context = (await client.post("/api/contexts", json={})).json()["context_id"]
    started = (await client.post(f"/api/contexts/{context}/streams", json={})).json()["message_id"]
    if deltas:
        chunks = [{"sequence": n, "delta": delta} for n, delta in enumerate(deltas, 1)]
        await client.post(f"/api/messages/{started}/chunks", json=chunks)
    return context, started
