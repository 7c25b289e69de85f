"""A client that reads the answer while it still sends its request; httpx sends all of it first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import h11
import msgspec
from serving import SECONDS


class Duplex:
    """One POST request. Leave its block to hang up, wherever it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self.headers: dict[str, str] = {}
        """Of the answer, once some of it was read."""
        self.status: int = 0

    def begin(self, host: str, path: str, content_type: str) -> None:
        """Send the head."""
        headers = [("host", host), ("content-type", content_type), ("transfer-encoding", "chunked")]
        self._write(h11.Request(method="POST", target=path, headers=headers))

    def send(self, *items: object) -> None:
        """Lines of JSON."""
        for item in items:
            self.raw(msgspec.json.encode(item) + b"\n")

    def raw(self, data: bytes) -> None:
        """Any bytes of the body."""
        self._write(h11.Data(data=data))

    def end(self) -> None:
        """The body is over."""
        self._write(h11.EndOfMessage())

    async def body(self) -> AsyncIterator[bytes]:
        """The answer's body as it comes, to its end."""
        async with asyncio.timeout(SECONDS):
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(await self._reader.read(65_536))
                elif isinstance(event, h11.Response):
                    self.status = event.status_code
                    self.headers = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    yield bytes(event.data)
                else:
                    return

    async def lines(self) -> AsyncIterator[Any]:
        """The lines of JSON in it, but for heartbeats."""
        rest = b""
        async for data in self.body():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line:
                    yield msgspec.json.decode(line)
        if rest:
            yield msgspec.json.decode(rest)

    def _write(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        self._writer.write(self._http.send(event) or b"")


@asynccontextmanager
async def posting(
    address: str, path: str, content_type: str = "application/x-ndjson"
) -> AsyncGenerator[Duplex]:
    """A request whose body goes on for as long as the test wants."""
    host, port = urlsplit(address).hostname, urlsplit(address).port
    reader, writer = await asyncio.open_connection(host, port)
    try:
        duplex = Duplex(reader, writer)
        duplex.begin(f"{host}:{port}", path, content_type)
        yield duplex
    finally:
        writer.close()
        await writer.wait_closed()
