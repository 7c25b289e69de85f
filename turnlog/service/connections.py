"""Open event streams: counted, kept alive by heartbeats, and ended when they must be.

A connection ends from outside when the service stops, when its key is revoked, and when its reader takes
nothing for too long. Its task is then cancelled, says where to go on from, and closes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

import structlog

from eventstore.errors import Unavailable
from turnlog.service.access import Principal

Ending: TypeAlias = Literal["shutdown", "revoked", "slow", "disconnected"]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

TEND_SECONDS: Final = 0.5
"""Between two looks at all connections: a revoked key's streams end within this."""

_logger: Final = structlog.get_logger("turnlog.service")


class Connection:
    """One response that goes on. ``at`` is the last id that was sent: where its reader goes on from."""

    __slots__ = ("at", "ending", "heartbeat", "last_sent", "principal", "send", "sending_since", "task")

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.at = 0
        self.ending: Ending | None = None
        self.heartbeat: bytes = b""
        self.last_sent = 0.0
        self.sending_since: float | None = None
        self.send: Send | None = None
        self.task: asyncio.Task[Any] | None = None

    async def transmit(self, data: bytes) -> None:
        """Send some of the body. Waits while the reader takes nothing; it is cut off when that lasts."""
        assert self.send is not None
        now = asyncio.get_running_loop().time()
        self.last_sent, self.sending_since = now, now
        try:
            await self.send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            self.sending_since = None

    def end(self, why: Ending) -> None:
        """End it from outside, once."""
        if self.ending is None and self.task is not None:
            self.ending = why
            self.task.cancel()


class Connections:
    """All of them. ``tend`` runs as long as the service does."""

    def __init__(
        self, *, most: int, most_of_a_key: int, heartbeat_seconds: float, slow_reader_seconds: float
    ) -> None:
        self._open: set[Connection] = set()
        self._of_key: Counter[str | None] = Counter()
        self._most = most
        self._most_of_a_key = most_of_a_key
        self._heartbeat_seconds = heartbeat_seconds
        self._slow_reader_seconds = slow_reader_seconds
        self._beating: set[asyncio.Task[None]] = set()
        self.stopping = False

    def __len__(self) -> int:
        return len(self._open)

    def open(self, principal: Principal) -> Connection:
        """Make room for one more. Raises ``Unavailable`` (``too_many_connections``, ``shutting_down``)."""
        self.check_running()
        key = principal.key_id
        if len(self._open) >= self._most:
            raise Unavailable("too_many_connections", f"{self._most} streams are open", limit=self._most)
        if key is not None and self._of_key[key] >= self._most_of_a_key:
            limit = self._most_of_a_key
            raise Unavailable("too_many_connections", f"the key has {limit} streams open", limit=limit)
        connection = Connection(principal)
        self._open.add(connection)
        self._of_key[key] += 1
        return connection

    def check_running(self) -> None:
        """Raise ``Unavailable`` (``shutting_down``) once it stops."""
        if self.stopping:
            raise Unavailable("shutting_down", "the service is stopping")

    def close(self, connection: Connection) -> None:
        """Forget one that has ended."""
        if connection in self._open:
            self._open.discard(connection)
            key = connection.principal.key_id
            self._of_key[key] -= 1
            if not self._of_key[key]:
                del self._of_key[key]

    def stop(self) -> None:
        """Take no more, and end all that are open."""
        self.stopping = True
        for connection in list(self._open):
            connection.end("shutdown")

    async def tend(self, is_live: Callable[[str], bool]) -> None:
        """Look at all connections now and then; ``is_live`` tells whether a key still opens doors."""
        while True:
            await asyncio.sleep(TEND_SECONDS)
            now = asyncio.get_running_loop().time()
            for connection in list(self._open):
                self._tend_one(connection, now, is_live)

    def _tend_one(self, connection: Connection, now: float, is_live: Callable[[str], bool]) -> None:
        key, since = connection.principal.key_id, connection.sending_since
        if key is not None and not is_live(key):
            connection.end("revoked")
        elif since is not None:
            if now - since >= self._slow_reader_seconds:
                _logger.warning("slow_reader_cut_off", key_id=key, at=connection.at)
                connection.end("slow")
        elif connection.heartbeat and now - connection.last_sent >= self._heartbeat_seconds:
            beat = asyncio.ensure_future(connection.transmit(connection.heartbeat))
            self._beating.add(beat)
            beat.add_done_callback(self._beating.discard)

    def statistics(self) -> Mapping[str, int]:
        """How many are open, and of how many keys."""
        return {"open": len(self._open), "keys": len(self._of_key)}
