"""What the streaming routes share: the open connections and the live feeds."""

from __future__ import annotations

from turnlog.facade import Turnlog
from turnlog.service.access import Access
from turnlog.service.connections import Connection, Connections
from turnlog.service.feeds import Feeds


class Streams:
    """One of each for the whole service."""

    def __init__(self, log: Turnlog, connections: Connections) -> None:
        self.connections: Connections = connections
        self.feeds: Feeds = Feeds(log.queries)

    def open(self, access: Access) -> Connection:
        """A place for one more response that goes on. Raises ``Unavailable``."""
        return self.connections.open(access.principal)
