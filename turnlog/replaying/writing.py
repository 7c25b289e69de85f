"""Replaying the lines of a source into a store, some commits at a time, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final
from uuid import UUID

import msgspec

from eventstore.commits import Committed
from eventstore.errors import Refused
from eventstore.store import EventStore
from turnlog.importers.conversation import Problem
from turnlog.importers.source.files import Source
from turnlog.replaying.ndjson import Placed, TurnlogNdjson
from turnlog.replaying.transforming import Transform

BATCH: Final = 100
"""Commits that are written at once: they share a sync, and memory holds them."""


class ReplayedLines(msgspec.Struct, tag="replayed"):
    """What came of the commits.

    ``unchanged`` were there already, ``dropped`` the transform left nothing of, ``failed`` were refused or
    left out after one that could not be replayed. A commit that could not be read is among the problems.
    """

    commits: int = 0
    written: int = 0
    unchanged: int = 0
    dropped: int = 0
    failed: int = 0
    problems: int = 0

    @property
    def has_failed(self) -> bool:
        """Whether anything was not replayed as it is."""
        return bool(self.failed or self.problems)


async def replay_lines(
    store: EventStore | None,
    source: Source,
    transform: Transform | None,
    hear: Callable[[Problem], None],
    progress: Callable[[int], None],
) -> ReplayedLines:
    """Replay everything in a source; without a store only see what there is.

    ``hear`` is told what could not be read or written; of a context that was refused, the first time. To
    replay the same again, or go on after an interruption, writes nothing twice. Raises what an append raises
    but ``Refused``: the storage failed, and nothing after it would be written.
    """
    done = ReplayedLines()
    refused: set[UUID] = set()

    def told(problem: Problem) -> None:
        done.problems += not problem.warning
        hear(problem)

    for batch in _batches(source, transform, told):
        done.commits += len(batch)
        done.failed += sum(each.left_out for each in batch)
        done.dropped += sum(each.append is None and not each.left_out for each in batch)
        progress(done.commits)
        if store is None:
            continue
        placed = [(each, each.append) for each in batch if each.append is not None]
        outcomes = await store.append_many([append for _, append in placed])
        for (each, append), outcome in zip(placed, outcomes, strict=True):
            if isinstance(outcome, Committed):
                done.written += outcome.written
                done.unchanged += not outcome.written
                continue
            if not isinstance(outcome, Refused):
                raise outcome
            done.failed += 1
            if append.context_id not in refused:
                refused.add(append.context_id)
                hear(Problem(each.path, outcome.code, outcome.message, each.place, append.context_id))
    return done


def _batches(
    source: Source, transform: Transform | None, told: Callable[[Problem], None]
) -> Iterator[list[Placed]]:
    batch: list[Placed] = []
    for item in TurnlogNdjson().commits(source, transform):
        if isinstance(item, Problem):
            told(item)
            continue
        batch.append(item)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
