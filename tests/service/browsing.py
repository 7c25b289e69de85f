"""A headless Chromium on a page of ours, and the backend of that page, which tells what the page says."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest
from serving import SECONDS

ROOT: Final = Path(__file__).parent.parent.parent

FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # which root would need, and containers do not allow
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing beyond this machine
    "--remote-debugging-port=0",  # without it the browser ends with the page's loading
)

PAGE: Final = """<!doctype html>
<meta charset="utf-8">
<script>
const settings = SETTINGS;
const seen = {sequences: [], deltas: [], opened: 0, errors: [], tickets: 0, outcome: null, faults: []};

function tell() {
    fetch("/told", {method: "POST", body: JSON.stringify(seen)});
}

window.onerror = (message) => { seen.faults.push(String(message)); tell(); };
window.onunhandledrejection = (event) => { seen.faults.push(String(event.reason)); tell(); };

async function open(after) {
    const address = new URL(settings.stream);
    if (settings.tickets) {
        // The browser comes back by itself with the ticket that it has used; then it is refused and gives up.
        address.searchParams.set("ticket", await (await fetch("/ticket", {method: "POST"})).text());
        if (after) address.searchParams.set("after", after);
        seen.tickets += 1;
    }
    const source = new EventSource(address);
    let last = after;
    source.onopen = () => { seen.opened += 1; tell(); };
    source.onerror = () => {
        seen.errors.push(performance.now());
        tell();
        if (source.readyState === EventSource.CLOSED) open(last);
    };
    source.onmessage = (event) => {
        last = event.lastEventId;
        const told = JSON.parse(event.data);
        if (told.type === "stream.chunk_received") {
            seen.sequences.push(told.sequence);
            seen.deltas.push(told.delta);
        }
        if (told.type === "stream.finalized") {
            seen.outcome = told.outcome;
            source.close();
        }
        tell();
    };
}
open("");
</script>
"""


class Seen(msgspec.Struct, forbid_unknown_fields=True):
    """What the page has seen so far."""

    sequences: list[int] = []
    deltas: list[str] = []
    opened: int = 0
    errors: list[float] = []
    """When, in milliseconds."""
    tickets: int = 0
    outcome: str | None = None
    faults: list[str] = []


class Page:
    """A page, its origin, and what it told. ``ticket`` is what its backend fetches tickets with."""

    def __init__(self) -> None:
        self.seen: Seen = Seen()
        self.origin: str = ""
        self.stream: str = ""
        self.ticket: Callable[[], Awaitable[str]] | None = None
        self._told = asyncio.Condition()

    async def until(self, reached: Callable[[Seen], bool]) -> Seen:
        """Wait until the page has seen that much."""
        async with asyncio.timeout(2 * SECONDS), self._told:
            await self._told.wait_for(lambda: self.seen.faults or reached(self.seen))
        assert not self.seen.faults, self.seen.faults
        return self.seen

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request of the page, and the end of its connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next((line for line in head.splitlines() if line.startswith("content-length:")), ":0")
        body = await reader.readexactly(int(length.partition(":")[2]))
        match head.split(" ")[1]:
            case "/":
                settings = {"stream": self.stream, "tickets": self.ticket is not None}
                answer = PAGE.replace("SETTINGS", msgspec.json.encode(settings).decode())
            case "/told":
                await self._take(msgspec.json.decode(body, type=Seen))
                answer = ""
            case "/ticket":
                assert self.ticket is not None
                answer = await self.ticket()
            case _:
                answer = ""
        data = answer.encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            % len(data)
            + data
        )
        await writer.drain()
        writer.close()

    async def _take(self, seen: Seen) -> None:
        """What was told later may come earlier; the page only ever sees more."""
        async with self._told:
            if _extent(seen) >= _extent(self.seen):
                self.seen = seen
            self._told.notify_all()


def _extent(seen: Seen) -> int:
    return len(seen.sequences) + seen.opened + len(seen.errors) + len(seen.faults) + bool(seen.outcome)


def chromium() -> str:
    """The browser that ``scripts/browser`` finds, or a skip that says what to do."""
    found = subprocess.run(
        ["sh", ROOT / "scripts" / "browser", "find"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"needs a Chromium: run scripts/browser ({found.stderr.strip()})")
    return found.stdout.strip()


@asynccontextmanager
async def page() -> AsyncGenerator[Page]:
    """A page with a backend of its own on this machine."""
    served = Page()
    server = await asyncio.start_server(served.answer, "127.0.0.1", 0)
    async with server:
        served.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield served


@asynccontextmanager
async def browsing(executable: str, address: str, profile: Path) -> AsyncGenerator[None]:
    """A browser that has an address open; it and its children are ended at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *(executable, *FLAGS, f"--user-data-dir={profile}", address),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
