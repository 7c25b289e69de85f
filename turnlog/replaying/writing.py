"""Replaying the lines of a source into a store, some commits at a time, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final
from uuid import UUID

import msgspec

from eventstore.commits import Append, Committed
from eventstore.errors import Refused, TurnlogError
from eventstore.store import EventStore
from turnlog.importers.conversation import Problem
from turnlog.importers.source.files import Source
from turnlog.replaying.ndjson import TurnlogNdjson
from turnlog.replaying.transforming import Rewritten, Transform

BATCH: Final = 100
"""Commits that are written at once, unless more stand together: they share a sync, and memory holds them."""


class ReplayedLines(msgspec.Struct, tag="replayed"):
    """What came of the commits: ``unchanged`` were there already, ``failed`` were refused."""

    commits: int = 0
    written: int = 0
    unchanged: int = 0
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

    for batch in _batches(_groups(TurnlogNdjson().commits(source, transform), told)):
        done.commits += sum(map(len, batch))
        progress(done.commits)
        if store is None:
            continue
        for append, outcome in await _written(store, batch):
            if isinstance(outcome, Committed):
                done.written += outcome.written
                done.unchanged += not outcome.written
                continue
            if not isinstance(outcome, Refused):
                raise outcome
            done.failed += 1
            if append.context_id not in refused:
                refused.add(append.context_id)
                hear(Problem(source.root.name, outcome.code, outcome.message, None, append.context_id))
    return done


async def _written(
    store: EventStore, batch: list[list[Append]]
) -> list[tuple[Append, Committed | TurnlogError]]:
    appends = [append for group in batch for append in group]
    if len(batch) == len(appends):
        return list(zip(appends, await store.append_many(appends), strict=True))
    try:
        return list(zip(appends, await store.append_together(appends), strict=True))
    except Refused as refused:
        return [(append, refused) for append in appends]


def _batches(groups: Iterator[list[Append]]) -> Iterator[list[list[Append]]]:
    """Some groups of one each, or one of several."""
    batch: list[list[Append]] = []
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


def _groups(items: Iterable[Rewritten | Problem], told: Callable[[Problem], None]) -> Iterator[list[Append]]:
    """What is to be written together: each by itself, mostly."""
    group: list[Append] = []
    for item in items:
        if isinstance(item, Problem):
            told(item)
            continue
        if group and not item.together:
            yield group
            group = []
        group.append(item.append)
    if group:
        yield group
