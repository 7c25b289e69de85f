"""A service to test: in this process on a real socket, or a process of its own that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import msgspec

from eventstore.units import wall_clock_us
from turnlog.service.configuration import load
from turnlog.service.key_file import create_key
from turnlog.service.keys import Key, KeyRole
from turnlog.service.running import Server, Service, address_of, listen, opened

SECONDS: Final = 30.0
"""What a test waits for an answer at most; only a hang takes as long."""


def new_key(
    directory: Path,
    role: KeyRole = "admin",
    workspace: str | None = None,
    *,
    name: str | None = None,
    expires_at: int | None = None,
) -> tuple[Key, str]:
    """A key made now, and its text."""
    directory.mkdir(exist_ok=True)
    now = wall_clock_us()
    return create_key(directory, name=name, workspace=workspace, role=role, expires_at=expires_at, now=now)


class Served:
    """A service in this process: ``client`` asks it, ``service`` is what answers."""

    def __init__(self, service: Service, server: Server, client: httpx.AsyncClient, address: str) -> None:
        self.service: Service = service
        self.server: Server = server
        self.client: httpx.AsyncClient = client
        self.address: str = address

    async def json(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """The decoded answer to a request that must succeed."""
        response = await self.client.request(method, path, json=body, headers=headers)
        assert response.is_success, response.text
        return response.json()

    async def context(self, **body: object) -> UUID:
        """A new context."""
        return UUID((await self.json("POST", "/api/contexts", body))["context_id"])

    async def stream(self, context_id: UUID, **body: object) -> UUID:
        """A new stream."""
        return UUID((await self.json("POST", f"/api/contexts/{context_id}/streams", body))["message_id"])

    async def chunks(self, message_id: UUID, *deltas: str, after: int = 0) -> None:
        """Chunks for a stream, after a sequence."""
        body = [{"sequence": after + n, "delta": delta} for n, delta in enumerate(deltas, 1)]
        await self.json("POST", f"/api/messages/{message_id}/chunks", body)

    async def finalize(self, message_id: UUID, **body: object) -> None:
        """The end of a stream."""
        await self.json("POST", f"/api/messages/{message_id}/finalize", body)


@asynccontextmanager
async def serving(data: Path, *, key: str | None = None, **settings: object) -> AsyncGenerator[Served]:
    """Serve a directory. Settings by name, with two underscores for the dot: ``limits__body_bytes_max``."""
    flags = {name.replace("__", "."): value for name, value in settings.items()}
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    loaded = load(None, {}, {"data": str(data), **flags})
    with listen("127.0.0.1", 0) as listener:
        address = address_of(listener)
        async with opened(loaded.settings) as service:
            started = asyncio.Event()

            async def tell(*_: object) -> None:
                started.set()

            server = Server(service, tell)
            running = asyncio.create_task(server.serve(sockets=[listener]))
            async with asyncio.timeout(SECONDS):
                await started.wait()
            async with httpx.AsyncClient(base_url=address, headers=headers, timeout=SECONDS) as client:
                try:
                    yield Served(service, server, client, address)
                finally:
                    server.stop()
                    await running


class Process:
    """``turnlog serve`` as a process of its own, on a directory; it can be started again on the same port."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self._data = data
        self._arguments = arguments
        self.port: int = 0
        self.running: asyncio.Event = asyncio.Event()
        """Set while it takes requests."""
        self._process: asyncio.subprocess.Process | None = None
        self.lines: list[dict[str, Any]] = []
        """What it logged."""
        self.said: bytes = b""
        """All that it wrote to standard error."""
        self._reading: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, and wait until it takes requests."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "turnlog", "serve", "--data", str(self._data), "--port", str(self.port)),
            *self._arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(),
        )
        started = asyncio.Event()
        self._reading = asyncio.create_task(self._read(started))
        async with asyncio.timeout(SECONDS):
            await started.wait()
        assert self.port, self.lines
        self.running.set()

    async def answered(self, client: httpx.AsyncClient, path: str, body: object) -> Any:
        """Send it again while nobody answers. The end may be there already, when its answer was lost."""
        while True:
            try:
                response = await client.post(path, json=body)
            except httpx.TransportError:
                await self.running.wait()
                continue
            if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                told = response.json()
                assert response.is_success or told["code"] == "stream_finalized", told
                return told

    def send(self, how: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(how)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for its end; the exit code."""
        assert self._process is not None
        assert self._reading is not None
        self.running.clear()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        async with asyncio.timeout(SECONDS):
            code = await self._process.wait()
            await self._reading
        self._process = None
        return code

    async def _read(self, started: asyncio.Event) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.said += line
            with contextlib.suppress(msgspec.DecodeError):  # the word for people that there are no keys
                told: dict[str, Any] = msgspec.json.decode(line)
                self.lines.append(told)
                if told.get("event") == "serving":
                    self.port = int(told["address"].rpartition(":")[2])
                    started.set()
        started.set()


@asynccontextmanager
async def process(data: Path, *arguments: str) -> AsyncGenerator[Process]:
    """A process that serves a directory, ended at the end of the block if it still runs."""
    served = Process(data, *arguments)
    await served.start()
    try:
        yield served
    finally:
        if served._process is not None:  # pyright: ignore[reportPrivateUsage] -- its own helper
            await served.end(signal.SIGKILL)


async def command(data: Path, *arguments: str) -> tuple[int, bytes, bytes]:
    """Another verb as a process on a directory: its exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "turnlog", *arguments, "--data", str(data)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
    )
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out, err


def _environment() -> Mapping[str, str]:
    """Without what would configure the service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TURNLOG_")}
