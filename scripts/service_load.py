"""Load for the service: small HTTP clients on bare sockets: load that costs less than what it measures."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

HEADERS_END = b"\r\n\r\n"


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def connect(self) -> Client:
        """Open it."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request; the status and body of its answer."""
        self._writer.write(request)
        head = (await self._reader.readuntil(HEADERS_END)).lower()
        at = head.index(b"content-length: ") + 16
        length = int(head[at : head.index(b"\r", at)])
        return int(head[9:12]), await self._reader.readexactly(length)

    async def post(self, path: str, body: object) -> Any:
        """Post JSON; the decoded answer."""
        status, answer = await self.send(post(path, json.dumps(body).encode()))
        assert status < 300, answer
        return json.loads(answer)

    def close(self) -> None:
        """Close it."""
        self._writer.close()


def post(path: str, body: bytes, kind: str = "application/json") -> bytes:
    """The bytes of a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    return head.encode() + HEADERS_END + body


def get(path: str, accept: str = "*/*") -> bytes:
    """The bytes of a request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}".encode() + HEADERS_END


class Reader(asyncio.Protocol):
    """Reads server-sent events and notes how long each chunk took, whose delta says when it was sent."""

    def __init__(self, request: bytes, latencies: list[float]) -> None:
        self._request = request
        self._latencies = latencies
        self.first: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._began = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note what came."""
        if not self.first.done():
            self.first.set_result(time.perf_counter() - self._began)
        now, at = time.time(), data.find(b'"delta":"@')
        while at >= 0:
            end = data.index(b'"', at + 10)
            self._latencies.append(now - float(data[at + 10 : end]))
            at = data.find(b'"delta":"@', end)

    def connection_lost(self, exc: Exception | None) -> None:
        """Over."""
        if not self.ended.done():
            self.ended.set_result(None)


async def read(port: int, request: bytes, latencies: list[float]) -> Reader:
    """Open a connection that reads."""
    _, reader = await asyncio.get_running_loop().create_connection(
        lambda: Reader(request, latencies), "127.0.0.1", port
    )
    return reader


async def in_parallel(count: int, work: Callable[[int], Awaitable[None]]) -> float:
    """Do a piece of work so many times at once; the seconds it took."""
    start = time.perf_counter()
    await asyncio.gather(*(work(number) for number in range(count)))
    return time.perf_counter() - start


def p99_ms(seconds: list[float]) -> float:
    """The 99th percentile, in milliseconds."""
    return statistics.quantiles(seconds, n=100)[98] * 1e3
