"""A projection that tests of the service hold up, or make fail; named as ``watched:PROJECTION``."""

from __future__ import annotations

import threading

from serving import SECONDS

from eventstore.commits import Commit
from eventstore.events import ALL_BITS, ContextCreated
from projections.projection import Past, Rows

POISON = "poison"
"""The title of a context that its fold does not bear."""


class Watched:
    """It stores nothing."""

    name: str = "watched"
    version: int = 1
    tables: tuple[str, ...] = ("rows",)
    kinds: int = ALL_BITS

    def __init__(self) -> None:
        self.gate: threading.Event = threading.Event()
        """While it is not set, the fold waits."""
        self.gate.set()
        self.waiting: threading.Event = threading.Event()
        """Set by a fold that comes to the gate."""

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Wait at the gate, and fail on poison."""
        self.waiting.set()
        self.gate.wait(SECONDS)
        for event in commit.events():
            if isinstance(event, ContextCreated) and event.title == POISON:
                raise ValueError("it is poison")


PROJECTION = Watched()
