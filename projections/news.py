"""What the writer says of the commits it has just made, so that nobody reads those he would skip."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Final

SPANS_MAX: Final = 1_024
"""Transactions of the writer that are remembered; who is further behind reads the log."""


class News:
    """Which kinds of events the newest commits hold. ``tell`` on the writer's thread, ``skip`` on any."""

    def __init__(self) -> None:
        self._spans: deque[tuple[int, int, int]] = deque(maxlen=SPANS_MAX)

    def tell(self, after: int, position: int, kinds: int) -> None:
        """The commits after a position, up to another, hold events of these kinds and no others."""
        self._spans.append((after, position, kinds))

    def skip(self, position: int, goal: int, kinds: int) -> int:
        """The last position up to ``goal`` that is reached without meeting any of ``kinds``, as far as known.

        A span that is lost, because the writer was faster, ends the skipping.
        """
        with suppress(RuntimeError):  # the writer told of more in the middle of this: the next time is soon
            for after, reached, there in self._spans:
                if reached <= position:
                    continue
                if after > position or reached > goal or there & kinds:
                    break
                position = reached
        return position
