"""The seam between what a stream holds and what still comes, under readers that come and go.

The service is ended and killed under them. What each puts together in the end is what the writer sent.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import msgspec
from httpx_sse import aconnect_sse
from serving import SECONDS, Process, process

STREAMS: Final = 3
CHUNKS: Final = 240
READERS_OF_EACH: Final = 3
ENDINGS: Final = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)
SCRIPTS: Final = ("tide ", "\n\n", "e\u0301", "潮汐", "🌊", "مد", '"\\', "data: x\n", "\u2028")


class Sent:
    """One stream as its writer knows it: what it sends, and how far it is acknowledged."""

    def __init__(self, message_id: str, rng: random.Random) -> None:
        self.message_id = message_id
        self.deltas = ["".join(rng.choice(SCRIPTS) for _ in range(rng.randint(1, 6))) for _ in range(CHUNKS)]
        self.acknowledged = 0


async def test_readers_always_put_together_what_was_sent(data_dir: Path, seed: int) -> None:
    async with process(data_dir) as served, httpx.AsyncClient(timeout=SECONDS) as client:
        streams = [await _started(served, client, seed + n) for n in range(STREAMS)]
        progress = asyncio.Condition()
        readings: list[asyncio.Task[str]] = []
        async with asyncio.timeout(4 * SECONDS), asyncio.TaskGroup() as tasks:
            for n, sent in enumerate(streams):
                tasks.create_task(_write(served, sent, progress, random.Random(f"writer {seed} {n}")))
                for reader in range(READERS_OF_EACH):
                    rng = random.Random(f"reader {seed} {n} {reader}")
                    readings.append(tasks.create_task(_read(served, sent.message_id, rng)))
            tasks.create_task(_interfere(served, streams, progress))
        expected = ["".join(sent.deltas) for sent in streams for _ in range(READERS_OF_EACH)]
        assert [reading.result() for reading in readings] == expected
        for sent in streams:
            stored = (await client.get(f"{served.address}/api/messages/{sent.message_id}")).json()
            assert (stored["text"], stored["complete"]) == ("".join(sent.deltas), True)


async def _started(served: Process, client: httpx.AsyncClient, seed: int) -> Sent:
    context = (await client.post(f"{served.address}/api/contexts", json={})).json()
    path = f"{served.address}/api/contexts/{context['context_id']}/streams"
    return Sent((await client.post(path, json={})).json()["message_id"], random.Random(seed))


async def _write(served: Process, sent: Sent, progress: asyncio.Condition, rng: random.Random) -> None:
    """Send all chunks in small pieces, each again until it is acknowledged, some even after that."""
    path = f"/api/messages/{sent.message_id}"
    async with httpx.AsyncClient(base_url=served.address, timeout=SECONDS) as client:
        while sent.acknowledged < CHUNKS:
            first = max(sent.acknowledged - rng.randint(0, 2), 0)
            last = min(sent.acknowledged + rng.randint(1, 5), CHUNKS)
            body = [{"sequence": n + 1, "delta": sent.deltas[n]} for n in range(first, last)]
            answer = await served.answered(client, f"{path}/chunks", body)
            async with progress:
                sent.acknowledged = answer["sequence"]
                progress.notify_all()
        await served.answered(client, f"{path}/finalize", {})


async def _read(served: Process, message_id: str, rng: random.Random) -> str:
    """Read to the end, coming back again and again; every chunk must be the next one."""
    deltas: list[str] = []
    async with httpx.AsyncClient(base_url=served.address, timeout=SECONDS) as client:
        while True:
            headers = {"last-event-id": str(len(deltas))} if deltas else {}
            patience = rng.randint(1, 60)
            try:
                async with aconnect_sse(
                    client, "GET", f"/api/messages/{message_id}/stream", headers=headers
                ) as source:
                    async for event in source.aiter_sse():
                        if _is_end(event.data, event.event, deltas):
                            return "".join(deltas)
                        patience -= 1
                        if patience < 0:
                            break
            except httpx.HTTPError:
                await served.running.wait()


def _is_end(data: str, name: str, deltas: list[str]) -> bool:
    told = msgspec.json.decode(data)
    if told["type"] == "stream.chunk_received":
        assert told["sequence"] == len(deltas) + 1, "a gap or a repeat"
        deltas.append(told["delta"])
    assert name in ("message", "closing"), name
    return told["type"] == "stream.finalized"


async def _interfere(served: Process, streams: list[Sent], progress: asyncio.Condition) -> None:
    """End the service as soon as some more was acknowledged, and start it again."""
    for wanted, how in zip(_steps(len(ENDINGS)), ENDINGS, strict=True):
        async with progress:
            await progress.wait_for(partial(_have, streams, wanted))
        await served.end(how)
        await served.start()


def _have(streams: list[Sent], wanted: int) -> bool:
    return sum(sent.acknowledged for sent in streams) >= wanted


def _steps(count: int) -> Iterator[int]:
    total = STREAMS * CHUNKS
    return (total * n // (count + 1) for n in range(1, count + 1))
