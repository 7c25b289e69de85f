"""A generation on its way along the log, and the rows that it changed since they were stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from eventstore.commits import Commit
from eventstore.errors import Damaged
from projections.generations import Failure, Generation, failure_of
from projections.past import LogPast
from projections.projection import Projection, folds
from projections.rows import BufferedRows


class Track:
    """A generation on its way. ``position`` is folded, ``applied`` visible to readers, ``saved`` durable."""

    def __init__(
        self, projection: Projection, generation: Generation, role: Literal["live", "building"]
    ) -> None:
        self.projection: Projection = projection
        self.number: int = generation.number
        self.role: Literal["live", "building"] = role
        self.position: int = generation.checkpoint
        self.applied: int = generation.checkpoint
        self.saved: int = generation.checkpoint
        self.failure: Failure | None = generation.failure
        self.failure_saved: bool = True
        self.events: int = 0
        self.rows: BufferedRows = BufferedRows(projection.tables, _nothing_stored)

    def fold(
        self, commits: list[Commit], reached: int, past: LogPast, give_way: Callable[[], None] | None
    ) -> None:
        """Fold the commits that lead up to the position ``reached``; before each, ``give_way`` to others.

        Whatever a fold raises stops this track just before that commit, except for damage in the log that
        it met while looking back, which is raised.
        """
        kinds, apply, rows = self.projection.kinds, self.projection.apply, self.rows
        for commit in commits:
            if not folds(kinds, commit):
                continue
            if give_way is not None:
                give_way()
            past.position, past.folded = commit.position, commit if commit.records else None
            try:
                apply(commit, rows, past)
            except Exception as error:
                rows.undo()
                self.position = commit.position - 1
                if isinstance(error, Damaged):
                    raise
                self.failure, self.failure_saved = failure_of(commit.position, error), False
                return
            finally:
                past.folded = None
            rows.keep()
            self.events += commit.event_count
        self.position = reached


def _nothing_stored(table: str, key: bytes) -> bytes | None:
    raise AssertionError(f"{table} is read outside of a step")
