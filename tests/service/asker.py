"""A client that is a process of its own, so that what it does for an answer is none of the service's doing.

As a program: ``asker.py HOST PORT``. Each line of standard input is a request as JSON, followed by as many
bytes of body as it says; each line of standard output is the status of an answer that was read to its end.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

READ_BYTES = 65_536

NICE = 19
"""Whoever holds the interpreter's lock in the service does not wait for a processor because of it."""


class Asked(msgspec.Struct):
    """A request; ``size`` is that of its body, of the type ``kind``."""

    method: str
    path: str
    kind: str
    size: int


class Asker:
    """The other process, from here."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None, "it was asked for"
        assert process.stdout is not None, "it was asked for"
        self._requests, self._statuses = process.stdin, process.stdout

    async def ask(self, path: str, body: bytes = b"", kind: str = "application/json") -> None:
        """GET, or POST of a body; an answer that must succeed, read to its end."""
        asked = Asked("POST" if body else "GET", path, kind, len(body))
        self._requests.write(msgspec.json.encode(asked) + b"\n" + body)
        await self._requests.drain()
        status = await self._statuses.readline()
        assert status.startswith(b"2"), (path, status)


@asynccontextmanager
async def asking(address: str) -> AsyncGenerator[Asker]:
    """A client of the service at an address."""
    place = urlsplit(address)
    process = await asyncio.create_subprocess_exec(
        sys.executable, Path(__file__), str(place.hostname), str(place.port), stdin=PIPE, stdout=PIPE
    )
    try:
        yield Asker(process)
    finally:
        process.kill()
        await process.wait()


def main(host: str, port: str) -> None:
    """Answer for answer."""
    os.nice(NICE)
    connection = HTTPConnection(host, int(port))
    for line in sys.stdin.buffer:
        asked = msgspec.json.decode(line, type=Asked)
        body = sys.stdin.buffer.read(asked.size)
        headers = {"content-type": asked.kind} if body else {}
        connection.request(asked.method, asked.path, body or None, headers)
        response = connection.getresponse()
        while response.read(READ_BYTES):
            pass
        sys.stdout.write(f"{response.status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
