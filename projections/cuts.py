"""How far each open stream was at a version between two rows of a context's history: a cut.

Every event but a chunk has its row, so from one row to the next there are only chunks. With one open stream
the arithmetic is all: each version since the row is one more of its chunks. With more, the last chunk of all
streams but one is looked up in the log, backwards, and what remains belongs to that one.

With two, the newest chunk is enough. With three or more, some may have paused long ago. For those contexts
the projection stores a cut at every milestone, and no walk goes further back than to the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias
from uuid import UUID

from eventstore.commits import Commit
from eventstore.events import ChunkRun
from projections.layout import HistoryRow, cut_rows

Commits: TypeAlias = Callable[[int, int], Iterable[Commit]]
"""Reads the commits of a context that hold these versions, both inclusive, in order."""


class Cut(NamedTuple):
    """The number of chunks of each open stream at a version."""

    version: int
    progress: dict[UUID, int]


def cut_of_row(version: int, row: HistoryRow) -> Cut:
    """The cut at a row of history."""
    return Cut(version, {message_id: stream.progress for message_id, stream in row.streams.items()})


def stored_cut(version: int, row: HistoryRow, stored: bytes) -> Cut:
    """The cut in a row of ``context_cuts``; ``row`` is the row of history before it."""
    return Cut(version, dict(zip(row.streams, cut_rows.decode(stored).progress, strict=True)))


def progress_at(cut: Cut, version: int, commits: Commits) -> dict[UUID, int]:
    """The number of chunks of each stream at ``version``, with nothing but chunks since ``cut``.

    The log is read only while two or more streams may still have unfound chunks.
    """
    progress = dict(cut.progress)
    unfound = set(progress)
    remaining = version - cut.version
    walk = _newest_first(commits, cut.version, version)
    while remaining and len(unfound) > 1:
        for message_id, sequence in _last_chunks(next(walk), cut.version, version):
            if message_id in unfound:
                unfound.remove(message_id)
                remaining -= sequence - progress[message_id]
                progress[message_id] = sequence
    if remaining:
        (last,) = unfound
        progress[last] += remaining
    return progress


def _newest_first(commits: Commits, above: int, up_to: int) -> Iterator[Commit]:
    """The commits of a range of versions, read in stretches that double: many lookups cost more than one."""
    versions = 1
    while up_to > above:
        stretch = list(commits(max(above, up_to - versions) + 1, up_to))
        yield from reversed(stretch)
        up_to = stretch[0].first_version - 1
        versions *= 2


def _last_chunks(commit: Commit, above: int, up_to: int) -> list[tuple[UUID, int]]:
    """Each run's stream and its last sequence in a range of versions, newest first."""
    found: list[tuple[UUID, int]] = []
    for first, record in commit.versioned():
        if type(record) is ChunkRun:
            last = first + len(record.deltas) - 1
            if first <= up_to and last > above:
                found.append((record.message_id, record.last_sequence - max(0, last - up_to)))
    found.reverse()
    return found
