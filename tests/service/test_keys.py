"""Keys of a running service: made, revoked and expired meanwhile, and the door that the first one closes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest
from event_source import Follower
from serving import SECONDS, Served, command, new_key, serving

from eventstore.units import wall_clock_us
from turnlog.service.key_file import revoke_key
from turnlog.service.keys import Key

HOUR_US: Final = 3_600_000_000
CHECKED: Final[dict[str, Any]] = {"keys_check_seconds": 0.05}
LIVE: Final = {
    "sse": "/api/events?live=true&format=sse",
    "ndjson": "/api/events?live=true&format=ndjson",
    "signals": "/api/contexts/{context}/sse",
    "stream": "/api/messages/{stream}/stream",
    "anthropic": "/api/messages/{stream}/stream?dialect=anthropic",
    "replay": "/api/messages/{slow}/replay?speed=0.001",
}


def admitted(directory: Path, expires_at: int | None = None) -> tuple[Key, dict[str, str]]:
    """An admin's key and the header that it goes in."""
    key, text = new_key(directory, expires_at=expires_at)
    return key, {"authorization": f"Bearer {text}"}


def ending(opened: Follower) -> dict[str, Any]:
    """The last thing that it said; to a provider's client it is an error, which such a client raises."""
    told = opened.last()
    if told["type"] == "closing":
        return told
    problem = told["problem"]
    reason = problem["code"].removeprefix("key_")
    return {"type": "closing", "reason": reason, "after": problem["after"]}


async def paths(served: Served, headers: dict[str, str]) -> dict[str, str]:
    """The path of every kind of stream, each of which goes on."""
    context = (await served.json("POST", "/api/contexts", {}, **headers))["context_id"]
    made = {"context": context}
    for name in ("stream", "slow"):
        started = await served.json("POST", f"/api/contexts/{context}/streams", {}, **headers)
        made[name] = started["message_id"]
        for n in (1, 2):
            chunk = {"sequence": n, "delta": "tide ", "at": 1_000_000 * n}
            await served.json("POST", f"/api/messages/{made[name]}/chunks", chunk, **headers)
    return {name: path.format(**made) for name, path in LIVE.items()}


@asynccontextmanager
async def followed(served: Served, headers: dict[str, str]) -> AsyncGenerator[dict[str, Follower]]:
    """Every kind of stream, open; at the end of the block all must come to their end."""
    opened = {name: Follower() for name in LIVE}
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        for name, path in (await paths(served, headers)).items():
            tasks.create_task(opened[name].follow(served.client, path, headers))
        for each in opened.values():
            await each.came.wait()
        yield opened


@pytest.mark.parametrize("how", ["the file", "the command"])
async def test_a_revocation_ends_open_streams_with_a_word(how: str, data_dir: Path) -> None:
    key, headers = admitted(data_dir)
    _, others = admitted(data_dir)
    async with serving(data_dir, **CHECKED) as served:
        kept = Follower()
        keeping = asyncio.create_task(kept.follow(served.client, LIVE["sse"], others))
        async with followed(served, headers) as opened:
            if how == "the file":
                revoke_key(data_dir, key.id, wall_clock_us())
            else:
                await command(data_dir, "keys", "revoke", key.id, "--yes")
        head = served.service.log.store.acknowledged
        afters = {"stream": 2, "anthropic": 2, "replay": 1}
        for name, each in opened.items():
            expected = {"type": "closing", "reason": "revoked", "after": afters.get(name, head)}
            assert ending(each) == expected, name
        refused = await served.client.get("/api/events", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "key_revoked")
        assert not keeping.done()
        assert (await served.client.get("/api/events", headers=others)).status_code == 200
        served.server.stop()
        await keeping
        assert ending(kept)["reason"] == "shutdown"


async def test_a_revocation_is_known_with_the_look_at_the_keys(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnlog.service.chores.TEND_SECONDS", 3_600)
    key, headers = admitted(data_dir)
    async with serving(data_dir, **CHECKED) as served:
        async with followed(served, headers) as opened:
            revoke_key(data_dir, key.id, wall_clock_us())
        assert {ending(each)["reason"] for each in opened.values()} == {"revoked"}


def pass_time(served: Served, hours: int) -> None:
    """Let the clock that tells when keys expire go on."""
    gate: Any = served.service.gate
    gate._clock = lambda: wall_clock_us() + hours * HOUR_US


async def test_a_key_that_expires_ends_its_streams(data_dir: Path) -> None:
    _, headers = admitted(data_dir, expires_at=wall_clock_us() + HOUR_US)
    async with serving(data_dir, **CHECKED) as served:
        async with followed(served, headers) as opened:
            pass_time(served, 1)
        assert {ending(each)["reason"] for each in opened.values()} == {"expired"}
        refused = await served.client.get("/api/events", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "key_expired")


@pytest.mark.parametrize("expires", [False, True])
async def test_a_producer_is_ended_too_and_what_it_was_told_is_durable_is(
    expires: bool, data_dir: Path
) -> None:
    _, others = admitted(data_dir)
    key, headers = admitted(data_dir, wall_clock_us() + HOUR_US if expires else None)
    async with serving(data_dir, **CHECKED) as served:
        context = (await served.json("POST", "/api/contexts", {}, **headers))["context_id"]
        started = await served.json("POST", f"/api/contexts/{context}/streams", {}, **headers)
        path = f"/api/messages/{started['message_id']}/chunks"
        told = asyncio.Event()

        async def lines() -> AsyncGenerator[bytes]:
            yield b'{"sequence": 1, "delta": "tide"}\n'
            await told.wait()
            if expires:
                pass_time(served, 1)
            else:
                revoke_key(data_dir, key.id, wall_clock_us())
            await asyncio.Event().wait()

        sent = {**headers, "content-type": "application/x-ndjson"}
        answer = await produced(served, path, sent, lines(), told)
        assert [line["type"] for line in answer] == ["durable", "closing"]
        assert answer[-1]["reason"] == ("expired" if expires else "revoked")
        page = await served.json("GET", path, **others)
        assert [chunk["sequence"] for chunk in page["chunks"]] == [1]


async def produced(
    served: Served, path: str, headers: dict[str, str], body: AsyncGenerator[bytes], told: asyncio.Event
) -> list[dict[str, Any]]:
    """What a producer is told while it still sends; by hand, as httpx sends all before it reads."""
    host, port = served.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    writer.write(
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n{head}\r\n".encode()
    )

    async def send() -> None:
        async for data in body:
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(SECONDS):
            text = await reader.readuntil(b'"durable"')
            told.set()
            text += await reader.readuntil(b"\r\n0\r\n\r\n")
    finally:
        sending.cancel()
        writer.close()
    return [msgspec.json.decode(line) for line in text.splitlines() if line.startswith(b"{")]


async def test_a_key_made_while_it_serves_opens_it(data_dir: Path) -> None:
    _, headers = admitted(data_dir)
    async with serving(data_dir, **CHECKED) as served:
        await served.json("POST", "/api/contexts", {"workspace": "tides"}, **headers)
        asked = ("--role", "reader", "--workspace", "tides", "--json")
        _, out, _ = await command(data_dir, "keys", "create", *asked)
        text = msgspec.json.decode(out)["key"]
        assert re.fullmatch(r"tl_[0-9a-f]{8}_[0-9a-f]{64}", text)
        for new in (
            {"authorization": f"Bearer {text}"},
            {"authorization": f"bearer  {text}"},
            {"x-api-key": text},
        ):
            await until(served, 200, "/api/contexts", new)
            page = await served.json("GET", "/api/contexts", **new)
            assert [item["workspace"] for item in page["items"]] == ["tides"]
            assert (await served.client.post("/api/contexts", json={}, headers=new)).status_code == 403


async def until(served: Served, status: int, path: str, headers: dict[str, str]) -> httpx.Response:
    """Ask until the answer has that status: what a file says is taken over soon."""
    async with asyncio.timeout(SECONDS):
        while True:
            response = await served.client.get(path, headers=headers)
            if response.status_code == status:
                return response


async def test_the_first_key_closes_the_door_also_for_who_is_inside(data_dir: Path) -> None:
    async with serving(data_dir, **CHECKED) as served:
        ticket = (await served.json("POST", "/api/tickets", {"path": "/api/events"}))["ticket"]
        async with followed(served, {}) as opened:
            key, headers = admitted(data_dir)
        assert {ending(each)["reason"] for each in opened.values()} == {"revoked"}
        refused = await served.client.get("/api/events")
        assert (refused.status_code, refused.json()["code"]) == (401, "key_missing")
        refused = await served.client.get(f"/api/events?ticket={ticket}")
        assert (refused.status_code, refused.json()["code"]) == (401, "ticket_invalid")
        await served.json("GET", "/api/events", **headers)

        revoke_key(data_dir, key.id, wall_clock_us())
        await until(served, 401, "/api/events", headers)
        refused = await served.client.get("/api/events")
        assert refused.json()["code"] == "key_missing", "without any live key nobody gets in, not everybody"


async def test_keys_that_get_lost_or_exposed_are_told_by_health_and_go_on(data_dir: Path) -> None:
    _, headers = admitted(data_dir)
    async with serving(data_dir, **CHECKED) as served:
        (data_dir / "keys.json").chmod(0o644)
        health = await until(served, 503, "/healthz", {})
        assert "keys" in health.json()["problems"][0]
        await served.json("GET", "/api/events", **headers)
        (data_dir / "keys.json").chmod(0o600)
        await until(served, 200, "/healthz", {})
        (data_dir / "keys.json").unlink()
        await until(served, 503, "/healthz", {})
        assert (await served.client.get("/api/events")).status_code == 401
        await served.json("GET", "/api/events", **headers)
