"""HTTP by hand: for what no client would send, and for connections that say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
from serving import SECONDS, Served

RECEIVED_BYTES = 64 * 1024
"""Taken of a socket at once."""


class RawAnswer(NamedTuple):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """What it says went wrong."""
        assert self.headers["content-type"] == "application/problem+json"
        return msgspec.json.decode(self.body)


class Raw:
    """One connection. A reset is an end like any other, after what came before it."""

    def __init__(self, own: socket.socket) -> None:
        self._socket = own
        self._received = b""

    async def send(self, data: bytes) -> bool:
        """Send some bytes; false once they are not taken any more."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except ConnectionError:
            return False
        return True

    async def until(self, end: bytes) -> bytes:
        """What comes up to an end, which comes too. Raises ``EOFError``."""
        while end not in self._received:
            if not await self._more():
                raise EOFError(self._received)
        found, _, self._received = self._received.partition(end)
        return found + end

    async def answer(self) -> RawAnswer:
        """The next whole answer that has a length."""
        first, *lines = (await self.until(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        while len(self._received) < length:
            assert await self._more(), "the body ends early"
        body, self._received = self._received[:length], self._received[length:]
        return RawAnswer(int(first.split(" ")[1]), headers, body)

    async def rest(self) -> bytes:
        """All that comes until the service closes the connection."""
        while await self._more():
            pass
        return self._received

    async def refused(self, status: int, code: str) -> RawAnswer:
        """A refusal, after which the service closes the connection."""
        answer = await self.answer()
        assert (answer.status, answer.problem["code"]) == (status, code)
        assert await self.rest() == b""
        return answer

    async def _more(self) -> bool:
        with contextlib.suppress(ConnectionError):
            data = await asyncio.get_running_loop().sock_recv(self._socket, RECEIVED_BYTES)
            self._received += data
            return bool(data)
        return False


@asynccontextmanager
async def connection(served: Served, *, receive_bytes: int | None = None) -> AsyncGenerator[Raw]:
    """A connection; all that is done with it takes no longer than a test may wait.

    ``receive_bytes``: what the system keeps for it until it is read.
    """
    host, port = served.address.removeprefix("http://").split(":")
    with socket.socket() as own:
        if receive_bytes is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        own.setblocking(False)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or a piece waits for the one before
        async with asyncio.timeout(SECONDS):
            await asyncio.get_running_loop().sock_connect(own, (host, int(port)))
            yield Raw(own)


def request(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """A request's bytes."""
    length = {} if body is None else {"content-length": str(len(body)), "content-type": "application/json"}
    named = {"host": "localhost"} | length | {name.replace("_", "-"): text for name, text in headers.items()}
    lines = "".join(f"{name}: {text}\r\n" for name, text in named.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b"")
