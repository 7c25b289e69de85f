"""The service to measure: a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from service_load import Client


class Served:
    """A server in a process of its own."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self._pid = pid

    async def client(self) -> Client:
        """A connection to it."""
        return await Client(self.port).connect()

    def processor_seconds(self) -> float:
        """What it has used of the processors."""
        user, system = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def memory_kib(self) -> int:
        """What it holds in memory."""
        status = Path(f"/proc/{self._pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


@asynccontextmanager
async def serving(data: Path) -> AsyncGenerator[Served]:
    """``turnlog serve`` as it comes, but for its log, which goes to a file as a service's does."""
    with (data.parent / f"{data.name}.log").open("wb") as log:
        command = (sys.executable, "-m", "turnlog", "serve", "--json", "--port", "0", "--data", str(data))
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        told = json.loads(await process.stdout.readline())
        try:
            yield Served(int(told["address"].rpartition(":")[2]), process.pid)
        finally:
            process.terminate()
            assert await process.wait() == 0
