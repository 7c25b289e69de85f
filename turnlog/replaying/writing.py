"""Replaying the lines of a source into a store, some commits at a time, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final
from uuid import UUID

import msgspec

from eventstore.commits import Committed
from eventstore.errors import Refused, TurnlogError
from eventstore.store import EventStore
from turnlog.importers.conversation import Problem
from turnlog.importers.source.files import Source
from turnlog.replaying.ndjson import Item, Placed, TurnlogNdjson, Unwritten
from turnlog.replaying.transforming import Transform

BATCH: Final = 100
"""Commits that are written at once, unless more stand together: they share a sync, and memory holds them."""


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

    def told(item: Problem | Unwritten) -> None:
        if isinstance(item, Problem):
            done.problems += not item.warning
            hear(item)
        else:
            done.commits += 1
            done.failed += item.left_out
            done.dropped += not item.left_out

    for batch in _batches(_groups(TurnlogNdjson().commits(source, transform), told)):
        done.commits += sum(map(len, batch))
        progress(done.commits)
        if store is None:
            continue
        for (path, place, append, _), outcome in await _written(store, batch):
            if isinstance(outcome, Committed):
                done.written += outcome.written
                done.unchanged += not outcome.written
                continue
            if not isinstance(outcome, Refused):
                raise outcome
            done.failed += 1
            if append.context_id not in refused:
                refused.add(append.context_id)
                hear(Problem(path, outcome.code, outcome.message, place, append.context_id))
    return done


async def _written(
    store: EventStore, batch: list[list[Placed]]
) -> list[tuple[Placed, Committed | TurnlogError]]:
    placed = [each for group in batch for each in group]
    appends = [each.append for each in placed]
    if len(batch) == len(appends):
        return list(zip(placed, await store.append_many(appends), strict=True))
    try:
        return list(zip(placed, await store.append_together(appends), strict=True))
    except Refused as refused:
        return [(each, refused) for each in placed]


def _batches(groups: Iterator[list[Placed]]) -> Iterator[list[list[Placed]]]:
    """Some groups of one each, or one of several."""
    batch: list[list[Placed]] = []
    for group in groups:
        if batch and (len(group) > 1 or len(batch) >= BATCH):
            yield batch
            batch = []
        batch.append(group)
        if len(group) > 1:
            yield batch
            batch = []
    if batch:
        yield batch


def _groups(items: Iterable[Item], told: Callable[[Problem | Unwritten], None]) -> Iterator[list[Placed]]:
    """What is to be written together: each by itself, mostly."""
    group: list[Placed] = []
    for item in items:
        if not isinstance(item, Placed):
            told(item)
            continue
        if group and not item.together:
            yield group
            group = []
        group.append(item)
    if group:
        yield group
