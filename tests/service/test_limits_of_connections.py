"""Limits of connections: how many, how long headers are and take, how long silence lasts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final, cast

import pytest
from raw import Raw, connection, request
from serving import SECONDS, Served, serving

from turnlog.service.protocol import Gathered, OneByOne

HEADER_BYTES: Final = 1_024
ENDLESS: Final = 4 * 1024 * 1024
"""Bytes after which something that is never refused counts as such."""

CHUNKED: Final = request(
    "POST", "/api/contexts", transfer_encoding="chunked", content_type="application/json"
)

OPENINGS: Final = {
    "a header": b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-long: ",
    "a header's name": b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-",
    "a target": b"GET /",
    "a query": b"GET /api/contexts?workspace=",
    "a trailer": CHUNKED + b"2\r\n{}\r\n0\r\nx-long: ",
    "a chunk's extension": CHUNKED + b"2;",
}
"""What could go on for ever."""


@pytest.mark.parametrize("what", OPENINGS)
async def test_what_does_not_end_is_refused(what: str, data_dir: Path) -> None:
    async with serving(data_dir, limits__header_bytes_max=HEADER_BYTES) as served, connection(served) as raw:
        await raw.send(OPENINGS[what])
        assert await goes_on(raw, b"a" * 1_000) < ENDLESS
        answer = await raw.refused(431, "invalid_header")
        assert "1024" in answer.problem["detail"]


async def goes_on(raw: Raw, piece: bytes) -> int:
    """Send a piece again and again until it is not taken any more; how many bytes that took."""
    sent = 0
    while sent < ENDLESS and await raw.send(piece):
        sent += len(piece)
    return sent


async def test_many_headers_are_refused_and_as_many_as_fit_are_not(data_dir: Path) -> None:
    async with serving(data_dir, limits__header_bytes_max=HEADER_BYTES) as served:
        fits = {f"x-{n}": "a" * 50 for n in range(10)}
        assert (await served.client.get("/healthz", headers=fits)).status_code == 200
        many = {f"x-{n}": "a" * 50 for n in range(30)}
        response = await served.client.get("/healthz", headers=many)
        assert (response.status_code, response.json()["code"]) == (431, "invalid_header")
        assert (await served.client.get("/healthz", headers=fits)).status_code == 200


async def test_headers_that_take_too_long_are_refused(data_dir: Path) -> None:
    async with serving(data_dir, limits__header_seconds_max=0.1) as served, connection(served) as raw:
        await raw.send(b"GET /healthz HTTP/1.1\r\nhost: local")
        await raw.refused(408, "invalid_request")


async def test_what_is_no_http_is_refused(served: Served) -> None:
    async with connection(served) as raw:
        await raw.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        await raw.refused(400, "invalid_request")
    async with connection(served) as raw:
        await raw.send(b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await raw.refused(400, "invalid_request")


@pytest.mark.parametrize("nonsense", [b"GET /healthz HTTP/1.1\r\nx: " + b"a" * 2_000, b"\0\0\0\0\r\n\r\n"])
async def test_a_refusal_is_never_taken_for_another_answer(nonsense: bytes, data_dir: Path) -> None:
    async with serving(data_dir, limits__header_bytes_max=HEADER_BYTES) as served, connection(served) as raw:
        await raw.send(request("GET", "/api/events?live=true&format=sse"))
        assert (await raw.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await raw.send(nonsense)
        assert b"HTTP/1.1" not in await raw.rest()


async def test_one_connection_too_many_is_told_when_to_come_again(data_dir: Path) -> None:
    settings: dict[str, Any] = {"limits__connections_max": 2, "limits__retry_after_seconds": 7}
    async with serving(data_dir, **settings) as served, connection(served) as first:
        async with connection(served) as second:
            for raw in (first, second):  # by now both are taken
                await raw.send(request("GET", "/healthz"))
                assert (await raw.answer()).status == 200
            async with connection(served) as third:
                await third.send(request("GET", "/healthz"))
                answer = await third.refused(503, "too_many_connections")
                assert answer.headers["retry-after"] == "7"
        while len(served.server.server_state.connections) > 1:
            await asyncio.wait_for(first_answer(first), SECONDS)
        assert (await served.client.get("/healthz")).status_code == 200


async def first_answer(raw: Raw) -> None:
    """A request and its answer, in the course of which the service gets to hear of others."""
    await raw.send(request("GET", "/healthz"))
    assert (await raw.answer()).status == 200


@pytest.mark.parametrize(
    "said", [b"", request("GET", "/healthz"), request("GET", "/healthz") + b"\r\n", b"\r\n"]
)
async def test_a_connection_that_falls_silent_is_closed(said: bytes, data_dir: Path) -> None:
    async with serving(data_dir, limits__idle_seconds_max=1) as served, connection(served) as raw:
        await raw.send(said)
        text = await raw.rest()
        assert text.count(b"HTTP/1.1 200 OK") == said.count(b"GET")
        assert text.count(b"HTTP/1.1") == said.count(b"GET")


async def test_blank_lines_between_requests_hold_no_connection(data_dir: Path) -> None:
    async with serving(data_dir, limits__idle_seconds_max=1) as served, connection(served) as raw:
        await raw.send(request("GET", "/healthz"))
        assert (await raw.answer()).status == 200
        await raw.send(b"\r\n")
        assert await raw.rest() == b""


async def test_a_body_that_does_not_go_on_is_refused(data_dir: Path) -> None:
    async with serving(data_dir, limits__idle_seconds_max=1) as served, connection(served) as raw:
        await raw.send(
            request("POST", "/api/contexts", b"{}").replace(b"content-length: 2", b"content-length: 9")
        )
        await raw.refused(408, "invalid_request")


async def test_a_quiet_stream_is_no_silent_connection(data_dir: Path) -> None:
    settings: dict[str, Any] = {"limits__idle_seconds_max": 1, "streams__heartbeat_seconds": 0.5}
    async with serving(data_dir, **settings) as served, connection(served) as quiet:
        await quiet.send(request("GET", "/api/events?live=true&format=sse"))
        async with connection(served) as silent:
            assert await silent.rest() == b""
        async with connection(served) as silent:
            assert await silent.rest() == b""
        for _ in range(3):
            await quiet.until(b":")


@pytest.mark.parametrize("path", ["/api/contexts", "/api/commits"])
async def test_a_body_is_never_read_as_a_request(served: Served, path: str) -> None:
    asks: Any = {"connection": "upgrade", "upgrade": "h2c"}
    async with connection(served) as raw:
        await raw.send(request("GET", "/healthz", **asks))
        assert (await raw.answer()).status == 200  # there is nothing else, and nothing was lost
    async with connection(served) as raw:
        await raw.send(request("POST", path, b"", **asks).replace(b"length: 0", b"length: 40"))
        await raw.send(request("GET", "/api/log/head"))
        await raw.refused(400, "invalid_header")


async def test_so_many_requests_may_wait_on_a_connection(data_dir: Path) -> None:
    async with serving(data_dir, limits__requests_queued_max=10) as served:
        async with connection(served) as raw:
            await raw.send(request("GET", "/healthz") * 10)
            assert [(await raw.answer()).status for _ in range(10)] == [200] * 10
        async with connection(served) as raw:
            await raw.send(request("GET", "/healthz") * 100)
            assert (await raw.rest()).count(b"HTTP/1.1") <= 11


def test_nothing_is_read_while_a_request_waits() -> None:
    transport = Transport()
    waiting = ["a request"]
    flow = OneByOne(cast("asyncio.Transport", transport), waiting)
    flow.pause_reading()
    flow.resume_reading()
    assert transport.done == ["pause_reading"]
    waiting.clear()
    flow.resume_reading()
    assert transport.done == ["pause_reading", "resume_reading"]


def test_to_a_connection_that_is_gone_nothing_is_written() -> None:
    loop = asyncio.new_event_loop()
    transport = Transport(closing=True)
    gathered = Gathered(cast("asyncio.Transport", transport), loop)
    gathered.write(b"late")
    gathered.close()
    loop.close()
    assert transport.done == ["close"]


class Transport:
    """Notes what is done with it."""

    def __init__(self, *, closing: bool = False) -> None:
        self.done: list[str] = []
        self._closing = closing

    def is_closing(self) -> bool:
        return self._closing

    def __getattr__(self, name: str) -> Any:
        def noted(*_: object) -> None:
            self.done.append(name)

        return noted
