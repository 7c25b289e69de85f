"""Load for the service: small HTTP clients on bare sockets: load that costs less than what it measures."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

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
        status, at = int(head[9:12]), head.find(b"content-length: ") + 16
        if at >= 16:
            return status, await self._reader.readexactly(int(head[at : head.index(b"\r", at)]))
        pieces: list[bytes] = []
        while length := int(await self._reader.readline(), 16):
            pieces.append(await self._reader.readexactly(length))
            await self._reader.readline()
        await self._reader.readline()
        return status, b"".join(pieces)

    async def post(self, path: str, body: object) -> Any:
        """Post JSON; the decoded answer."""
        status, answer = await self.send(post(path, json.dumps(body).encode()))
        assert status < 300, answer
        return json.loads(answer)

    async def stream(self) -> str:
        """Open a stream in a context of its own; its message's id."""
        context = (await self.post("/api/contexts", {}))["context_id"]
        return (await self.post(f"/api/contexts/{context}/streams", {}))["message_id"]

    def close(self) -> None:
        """Close it."""
        self._writer.close()


def post(path: str, body: bytes, kind: str = "application/json") -> bytes:
    """The bytes of a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    return head.encode() + HEADERS_END + body


def get(path: str, accept: str = "*/*") -> bytes:
    """The bytes of a request, the last on its connection."""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close"
    return head.encode() + HEADERS_END


class Reader(asyncio.Protocol):
    """Reads server-sent events: how many, and for deltas such as ``@12`` the number and when it came."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self._began = 0.0
        self.frames: int = 0
        self.arrivals: list[tuple[float, float]] = []
        self.first: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._more = asyncio.Event()

    async def until(self, frames: int) -> None:
        """Wait until so many events came."""
        while self.frames < frames:
            self._more.clear()
            await self._more.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport: asyncio.Transport = cast("asyncio.Transport", transport)
        self._began = time.perf_counter()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note what came."""
        if not self.first.done():
            self.first.set_result(time.perf_counter() - self._began)
        now = time.time()
        *frames, self._rest = (self._rest + data).split(b"\n\n")
        self.frames += len(frames)
        self._more.set()
        for frame in frames:
            at = frame.find(b'"delta":"@') + 10
            if at >= 10:
                self.arrivals.append((float(frame[at : frame.index(b'"', at)]), now))

    def connection_lost(self, exc: Exception | None) -> None:
        """Over."""
        if not self.ended.done():
            self.ended.set_result(None)


async def read(port: int, request: bytes) -> Reader:
    """Open a connection that reads."""
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(lambda: Reader(request), "127.0.0.1", port)
    return reader


class Repeater(asyncio.Protocol):
    """Sends one request after another on a connection, each when the one before is answered."""

    def __init__(self, requests: Iterator[bytes], times: list[float]) -> None:
        self._requests = requests
        self._times = times
        self._answer = b""
        self._sent = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport: asyncio.Transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """Go on when the answer is whole."""
        self._answer += data
        end = self._answer.find(HEADERS_END) + 4
        at = self._answer.find(b"content-length: ", 0, end) + 16
        if end < 4 or len(self._answer) < end + int(self._answer[at : self._answer.index(b"\r", at)]):
            return
        assert self._answer[9:10] == b"2", self._answer
        self._times.append(time.perf_counter() - self._sent)
        self._answer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Over."""
        self.ended.set_result(None)

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)


async def repeat(port: int, requests: Iterator[bytes], times: list[float]) -> None:
    """Send requests on a connection of their own, to the last; ``times`` gets how long each answer took."""
    loop = asyncio.get_running_loop()
    _, repeater = await loop.create_connection(lambda: Repeater(requests, times), "127.0.0.1", port)
    await repeater.ended


class Pacer:
    """Does a piece of work so many times a second, each on its time, until it is stopped."""

    def __init__(self, work: Callable[[int], Awaitable[None]], rate: float) -> None:
        self._work = work
        self._rate = rate
        self._stopping = False
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> int:
        """Stop it; how often the work was done."""
        self._stopping = True
        return await self._task

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        start, done = loop.time(), 0
        while not self._stopping:
            done += 1
            await self._work(done)
            await asyncio.sleep(start + done / self._rate - loop.time())
        return done


async def in_parallel(count: int, work: Callable[[int], Awaitable[None]]) -> float:
    """Do a piece of work so many times at once; the seconds it took."""
    start = time.perf_counter()
    await asyncio.gather(*(work(number) for number in range(count)))
    return time.perf_counter() - start


def p99_ms(seconds: list[float]) -> float:
    """The 99th percentile, in milliseconds."""
    return statistics.quantiles(seconds, n=100)[98] * 1e3
