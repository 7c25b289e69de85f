"""What a fold may see of the log before the commit that it folds.

A rebuild reads the log from its start, and at the end of each answer looks back at all its chunks. It has
only just passed them: they are held for a while, so that most looks back read nothing again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, TypeAlias
from uuid import UUID

import zstandard

from eventstore import frame
from eventstore.commits import Commit
from eventstore.log import Log

HELD_BYTES_MAX: Final = 4 * 1024 * 1024
"""Stored bytes that are held at most. Then all are let go: a look back reads the log instead."""

_Held: TypeAlias = tuple[list[int], list[bytes]]
"""Positions and stored commits of one context, both ascending."""

_CONTEXT: Final = frame.CONTEXT

_NOTHING: Final[_Held] = ([], [])


class LogPast:
    """The log up to and including ``position``.

    ``folded`` is the commit there while it is folded, unless only its header was read.
    """

    def __init__(self, log: Log) -> None:
        self.position: int = 0
        self.folded: Commit | None = None
        self._log = log
        self._decompressor = zstandard.ZstdDecompressor()
        self._held: dict[bytes, _Held] = {}
        self._bytes = 0

    def hold(self, position: int, stored: bytes) -> None:
        """Hold a commit that was read and checked just now."""
        self._bytes += len(stored)
        if self._bytes > HELD_BYTES_MAX:
            self._held.clear()
            self._bytes = len(stored)
        context_key = stored[_CONTEXT]
        there = self._held.get(context_key)
        if there is None or there[0][-1] >= position:  # another lane begins further back
            self._held[context_key] = [position], [stored]
        else:
            there[0].append(position)
            there[1].append(stored)

    def context(self, context_id: UUID, from_version: int, to_version: int) -> Iterator[Commit]:
        """The commits of a context that hold these versions, in order."""
        positions, held = self._held.get(context_id.bytes, _NOTHING)
        start = max(0, bisect_right(held, from_version, key=_first_version) - 1)
        for number in range(start, len(held)):
            if from_version > to_version:
                return
            commit = self.folded
            if commit is None or commit.position != positions[number]:
                commit = frame.decode_checked(positions[number], held[number], self._decompressor)
            if commit.first_version > from_version:
                break  # one in between was not held
            if commit.position > self.position:
                return
            after = commit.first_version + commit.event_count
            if after > from_version:
                yield commit
                from_version = after
        if from_version > to_version:
            return
        with self._log.reading() as txn:
            for commit in self._log.context_commits(txn, context_id, from_version, to_version):
                if commit.position > self.position:
                    return
                yield commit


def _first_version(stored: bytes) -> int:
    return frame.versions(stored)[0]
