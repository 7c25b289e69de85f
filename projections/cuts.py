"""How far each open stream was at a version between two rows of a context's history.

Every event but a chunk has its row, so from one row to the next there are only chunks. With one open stream
the arithmetic is all: each version since the row is one more of its chunks. With more, the last chunk of all
streams but one is looked up in the log, backwards, and what remains belongs to that one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from eventstore.commits import Commit
from eventstore.events import ChunkRun
from projections.layout import OpenStream


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
    progress = {message_id: stream.progress for message_id, stream in streams.items()}
    unfound = set(progress)
    remaining = version - row_version
    at = version
    while remaining and len(unfound) > 1:
        commit = commit_of(at)
        for message_id, sequence in _last_chunks(commit, row_version, at):
            if message_id in unfound:
                unfound.discard(message_id)
                remaining -= sequence - progress[message_id]
                progress[message_id] = sequence
        at = commit.first_version - 1
    if remaining:
        (last,) = unfound
        progress[last] += remaining
    return progress


def _last_chunks(commit: Commit, above: int, up_to: int) -> list[tuple[UUID, int]]:
    """Each run's stream and last sequence in a range of versions, newest first."""
    found: list[tuple[UUID, int]] = []
    for first, record in commit.versioned():
        if type(record) is ChunkRun and above < first <= up_to:
            beyond = max(0, first + len(record.deltas) - 1 - up_to)
            found.append((record.message_id, record.last_sequence - beyond))
    found.reverse()
    return found
