"""Replaying the lines of a source into a store, some commits at a time, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from eventstore.commits import Append, Committed
from eventstore.errors import Refused, TurnlogError
from eventstore.store import EventStore
from turnlog.importers.conversation import Problem
from turnlog.importers.source.files import Source
from turnlog.replaying.ndjson import Item, Placed, TurnlogNdjson, Unwritten
from turnlog.replaying.transforming import Transform

BATCH: Final = 100
"""Commits that are written at once: they share a sync, and memory holds them."""

BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the lines of these commits, but for the last: a commit alone may have ten times as many."""


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

    ``hear`` is told what could not be read or written; of a context that was refused, the first time. It may
    be called on another thread, while this one waits. To replay the same again, or go on after an
    interruption, writes nothing twice. Raises what an append raises but ``Refused``: the storage failed, and
    nothing after it would be written.
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

    placing = _Placing(TurnlogNdjson().commits(source, transform), told)
    while placing.more:
        for placed, outcome in await _next_written(store, placing):
            done.commits += 1
            if outcome is None:
                continue
            if isinstance(outcome, Committed):
                done.written += outcome.written
                done.unchanged += not outcome.written
                continue
            if not isinstance(outcome, Refused):
                raise outcome
            done.failed += 1
            if placed.context_id not in refused:
                refused.add(placed.context_id)
                hear(Problem(placed.path, outcome.code, outcome.message, placed.place, placed.context_id))
        progress(done.commits)
    return done


class _Place(NamedTuple):
    """What is kept of a commit until its outcome is known."""

    path: str
    place: str
    context_id: UUID


_Outcome: TypeAlias = tuple[_Place, Committed | TurnlogError | None]


async def _next_written(store: EventStore | None, placing: _Placing) -> list[_Outcome]:
    """Write the commits that are next: some that stand alone, or all that stand together."""
    places: list[_Place] = []

    def appends(taken: Iterator[Placed]) -> Iterator[Append]:
        for placed in taken:
            places.append(_Place(placed.path, placed.place, placed.append.context_id))
            yield placed.append

    alone = appends(placing.alone())
    together = appends(placing.together())
    if store is None:
        for _ in together if placing.is_joined else alone:
            pass
        return [(place, None) for place in places]
    if not placing.is_joined:
        return list(zip(places, await store.append_many(list(alone)), strict=True))
    try:
        return list(zip(places, await store.append_together(together), strict=True))
    except Refused as refused:
        for _ in together:
            pass  # what was not looked at is refused with the others
        return [(place, refused) for place in places]


class _Placing:
    """The commits to write, in their order, each read when it is taken; what is none is told on the way."""

    def __init__(self, items: Iterator[Item], told: Callable[[Problem | Unwritten], None]) -> None:
        self._items = items
        self._told = told
        self._next = self._read()
        self._after = self._read()

    @property
    def more(self) -> bool:
        """Whether there is a commit."""
        return self._next is not None

    @property
    def is_joined(self) -> bool:
        """Whether the one after the next commit is to be written together with it."""
        return self._after is not None and self._after.together

    def alone(self) -> Iterator[Placed]:
        """The commits that stand alone, up to one that does not; as many as are written at once."""
        count = size = 0
        while self._next is not None and not self.is_joined and count < BATCH and size < BATCH_BYTES:
            count += 1
            size += self._next.bytes
            yield self._take(self._next)

    def together(self) -> Iterator[Placed]:
        """The next commit, and all that are to be written together with it."""
        while self._next is not None:
            joined = self.is_joined
            yield self._take(self._next)
            if not joined:
                return

    def _take(self, placed: Placed) -> Placed:
        self._next, self._after = self._after, self._read()
        return placed

    def _read(self) -> Placed | None:
        for item in self._items:
            if isinstance(item, Placed):
                return item
            self._told(item)
        return None
