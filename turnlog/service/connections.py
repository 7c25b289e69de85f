"""Open event streams: counted, kept alive by heartbeats, and ended when they must be.

A connection ends from outside when the service stops, and when its key is revoked or expires. Its task is
then cancelled, says where to go on from, and closes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias

from eventstore.errors import Unavailable
from turnlog.service.keys import Key, KeyState
from turnlog.service.settings import Settings

Ending: TypeAlias = Literal["shutdown", "revoked", "expired", "disconnected"]
Send: TypeAlias = Callable[[Any], Awaitable[None]]


class Connection:
    """One response that goes on. ``at`` is the last id that was sent: where its reader goes on from."""

    __slots__ = ("at", "ending", "heartbeat", "key_id", "last_sent", "send", "sending", "task")

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.at = 0
        self.ending: Ending | None = None
        self.heartbeat: bytes = b""
        self.last_sent = 0.0
        self.sending = False
        self.send: Send | None = None
        self.task: asyncio.Task[Any] | None = None

    async def transmit(self, data: bytes) -> None:
        """Send some of the body. Waits while the reader takes nothing."""
        assert self.send is not None
        self.last_sent, self.sending = asyncio.get_running_loop().time(), True
        try:
            await self.send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            self.sending = False

    def end(self, why: Ending) -> None:
        """End it from outside, once. One that has not begun to answer looks at ``ending`` first."""
        if self.ending is None:
            self.ending = why
            if self.task is not None:
                self.task.cancel()


class Connections:
    """All of them."""

    def __init__(self, settings: Settings) -> None:
        self._open: set[Connection] = set()
        self._of_key: Counter[str] = Counter()
        self._most = settings.limits.subscribers_max
        self._most_of_a_key = settings.limits.streams_per_key_max
        self._heartbeat_seconds = settings.streams.heartbeat_seconds
        self.retry_ms: int = settings.streams.retry_ms
        self._beating: set[asyncio.Task[None]] = set()
        self.stopping = False

    def __len__(self) -> int:
        return len(self._open)

    def open(self, key: Key) -> Connection:
        """Make room for one more. Raises ``Unavailable`` (``too_many_connections``, ``shutting_down``)."""
        self.check_running()
        if len(self._open) >= self._most:
            raise Unavailable("too_many_connections", f"{self._most} streams are open", limit=self._most)
        if self._of_key[key.id] >= self._most_of_a_key:
            limit = self._most_of_a_key
            raise Unavailable("too_many_connections", f"the key has {limit} streams open", limit=limit)
        connection = Connection(key.id)
        self._open.add(connection)
        self._of_key[key.id] += 1
        return connection

    def check_running(self) -> None:
        """Raise ``Unavailable`` (``shutting_down``) once it stops."""
        if self.stopping:
            raise Unavailable("shutting_down", "the service is stopping")

    def close(self, connection: Connection) -> None:
        """Forget one that has ended."""
        if connection in self._open:
            self._open.discard(connection)
            key = connection.key_id
            self._of_key[key] -= 1
            if not self._of_key[key]:
                del self._of_key[key]

    def stop(self) -> None:
        """Take no more, and end all that are open."""
        self.stopping = True
        for connection in list(self._open):
            connection.end("shutdown")

    def tend(self, state_of: Callable[[str], KeyState]) -> None:
        """Look at all connections, now and then; ``state_of`` tells whether a key still opens anything."""
        now = asyncio.get_running_loop().time()
        for connection in list(self._open):
            self._tend_one(connection, now, state_of(connection.key_id))

    def _tend_one(self, connection: Connection, now: float, key: KeyState) -> None:
        silent = now - connection.last_sent
        if key != "live":
            connection.end(key)
        elif connection.heartbeat and silent >= self._heartbeat_seconds and not connection.sending:
            beat = asyncio.ensure_future(connection.transmit(connection.heartbeat))
            self._beating.add(beat)
            beat.add_done_callback(self._beating.discard)

    def statistics(self) -> Mapping[str, int]:
        """How many are open, and of how many keys."""
        return {"open": len(self._open), "keys": len(self._of_key)}
