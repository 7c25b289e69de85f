"""Which ids were seen already: of a million of them, in some 20 MB."""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import Final

_SLOTS: Final = 1_024
_FULL: Final = 2 / 3
"""Of the slots; beyond it there are twice as many."""


class Seen:
    """Marks of ids, in a table of eight bytes each: a set of ids takes six times as much."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _SLOTS))
        self._marks = 0

    def add(self, mark: int) -> bool:
        """Whether a mark is new; it is seen from now on."""
        if self._marks > _FULL * len(self._slots):
            self._grow()
        if not _put(self._slots, mark):
            return False
        self._marks += 1
        return True

    def _grow(self) -> None:
        there, self._slots = self._slots, array("Q", bytes(2 * self._slots.itemsize * len(self._slots)))
        for mark in filter(None, there):
            _put(self._slots, mark)


def _put(slots: array[int], mark: int) -> bool:
    """Whether a mark found a free slot; else it is there. 0 is no mark: of a free one it says nothing."""
    at = mark % len(slots)
    while slots[at]:
        if slots[at] == mark:
            return False
        at = (at + 1) % len(slots)
    slots[at] = mark
    return True


def mark_of(own: bytes) -> int:
    """Eight bytes for an id, and not 0: a hash, because ids can be made to look alike."""
    return int.from_bytes(blake2b(own, digest_size=8).digest()) or 1
