"""What the streaming routes share: the open connections, the live feeds, and who produces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from uuid import UUID

from turnlog.facade import Turnlog
from turnlog.service.access import Access
from turnlog.service.connections import Connection, Connections
from turnlog.service.feeds import Feeds
from turnlog.service.settings import Settings


class Streams:
    """One of each for the whole service. ``producing``: the streams whose producer is connected."""

    def __init__(self, log: Turnlog, settings: Settings) -> None:
        self.log: Turnlog = log
        self.connections: Connections = Connections(settings)
        self.feeds: Feeds = Feeds(log.store, log.queries)
        self.producing: Counter[UUID] = Counter()

    def open(self, access: Access) -> Connection:
        """A place for one more response that goes on. Raises ``Unavailable``."""
        return self.connections.open(access.key)

    @contextmanager
    def produced(self, message_id: UUID) -> Generator[None]:
        """While a producer is connected its stream is not taken for dead, however long its model thinks."""
        self.producing[message_id] += 1
        try:
            yield
        finally:
            self.producing[message_id] -= 1
            if not self.producing[message_id]:
                del self.producing[message_id]
