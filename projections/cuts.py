"""How far each open stream was at a version between two rows of a context's history.

Every event but a chunk has its row, so from one row to the next there are only chunks. With one open stream
the arithmetic is all: each version since the row is one more of its chunks. With more, the last chunk of all
streams but one is looked up in the log, backwards, and what remains belongs to that one.

Where only some of the streams go on, that would be a walk over all that they said since. But their own
sequences tell whether the versions after a probe are all theirs, so the walk leaps to the others' last chunk
by bisection. With one that goes on it costs the logarithm of its chunks; with more, besides, the commits
that they leave between their own chunks. Only where one of several paused for more than ``PROBE_COMMITS``
commits, with two or more still unfound, are those commits walked over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

from eventstore.commits import Commit
from eventstore.events import ChunkRun
from projections.layout import OpenStream

WALKED_COMMITS: Final = 16
"""Commits without a stream's last chunk before a leap is tried; after one that was in vain, twice as many."""

PROBE_COMMITS: Final = 64
"""Commits that one probe of a bisection reads at most."""


def progress_at(
    streams: Mapping[UUID, OpenStream],
    row_version: int,
    version: int,
    commit_of: Callable[[int], Commit],
) -> dict[UUID, int]:
    """The number of chunks of each stream at ``version``, given those in the row of ``row_version``.

    ``commit_of`` gives the context's commit that holds a version. It is asked only while two or more
    streams may still have unfound chunks.
    """
    return _Cut(streams, row_version, version, commit_of).progress()


class _Cut:
    """The walk backwards. ``_found`` has the version of the last chunk of each stream that was found."""

    def __init__(
        self,
        streams: Mapping[UUID, OpenStream],
        row_version: int,
        version: int,
        commit_of: Callable[[int], Commit],
    ) -> None:
        self._row_version = row_version
        self._version = version
        self._commit_of = commit_of
        self._before = {message_id: stream.progress for message_id, stream in streams.items()}
        self._progress = dict(self._before)
        self._found: dict[UUID, int] = {}

    def progress(self) -> dict[UUID, int]:
        """See ``progress_at``."""
        progress, found = self._progress, self._found
        remaining = self._version - self._row_version
        at, walked, walks = self._version, 0, WALKED_COMMITS
        while remaining and len(progress) - len(found) > 1:
            commit = self._commit_of(at)
            walked += 1
            for message_id, sequence, version in _last_chunks(commit, self._row_version, at):
                if message_id not in found:
                    remaining -= sequence - progress[message_id]
                    progress[message_id] = sequence
                    found[message_id] = version
                    walked = 0
            at = commit.first_version - 1
            if remaining and walked >= walks:
                walked, walks = 0, walks * 2
                at = self._leap(at)
        if remaining:
            (last,) = progress.keys() - found.keys()
            progress[last] += remaining
        return progress

    def _leap(self, at: int) -> int:
        """A version at or below ``at`` with none but chunks of the streams that were found after it."""
        low, high = self._row_version, at
        while high - low > 1:
            probe = (low + high) // 2
            said = self._said_after(probe)
            if said is None:
                break
            if said == self._version - probe:
                high = probe
            else:
                low = probe
        return high

    def _said_after(self, probe: int) -> int | None:
        """How many chunks the found streams have after a version; None when that takes too many commits."""
        silent = {message_id for message_id, last in self._found.items() if last > probe}
        said = sum(self._progress[message_id] for message_id in silent)
        at = probe
        for _ in range(PROBE_COMMITS):
            if not silent or at <= self._row_version:
                return said - sum(self._before[message_id] for message_id in silent)
            commit = self._commit_of(at)
            for message_id, sequence, _version in _last_chunks(commit, self._row_version, at):
                if message_id in silent:
                    silent.discard(message_id)
                    said -= sequence
            at = commit.first_version - 1
        return None


def _last_chunks(commit: Commit, above: int, up_to: int) -> list[tuple[UUID, int, int]]:
    """Each run's stream, last sequence and its version, in a range of versions, newest first."""
    found: list[tuple[UUID, int, int]] = []
    for first, record in commit.versioned():
        if type(record) is ChunkRun and above < first <= up_to:
            last = first + len(record.deltas) - 1
            beyond = max(0, last - up_to)
            found.append((record.message_id, record.last_sequence - beyond, last - beyond))
    found.reverse()
    return found
