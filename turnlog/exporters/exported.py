"""What an export wrote, and what its format has no place for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

Progress: TypeAlias = Callable[[int], None]
"""Told how many contexts are done; of the whole log, how many commits."""


class Exported(msgspec.Struct):
    """The figures of an export, which grow with it. ``left_out``: how often what was not written."""

    format: str
    out: str
    files: int = 0
    contexts: int = 0
    messages: int = 0
    events: int = 0
    conversations: int = 0
    left_out: dict[str, int] = {}

    def leave_out(self, what: str) -> None:
        """Something has no place in the format."""
        self.left_out[what] = self.left_out.get(what, 0) + 1
