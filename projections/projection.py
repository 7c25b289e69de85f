"""What a projection is: a name, a version, and a pure fold from commits to row changes.

A fold sees a commit, its own rows and the log before that commit. It never sees a clock, a random number
or another view, so the same log always gives the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol
from uuid import UUID

from eventstore.commits import Commit
from eventstore.events import MILESTONE_VERSIONS, MILESTONES


def folds(kinds: int, commit: Commit) -> bool:
    """Whether a projection of these ``kinds`` folds a commit."""
    return bool(
        commit.kinds & kinds or (kinds & MILESTONES and milestones(commit.first_version, commit.last_version))
    )


def with_records(commit: Commit, past: Past) -> Commit:
    """A commit that came for its milestone, as it is in the log."""
    return next(past.context(commit.context_id, commit.first_version, commit.last_version))


def milestones(first_version: int, last_version: int) -> range:
    """The milestones from a version to another, both inclusive."""
    return range(first_version + -first_version % MILESTONE_VERSIONS, last_version + 1, MILESTONE_VERSIONS)


def milestone_before(version: int) -> int:
    """The last milestone at or below a version; 0 when there is none."""
    return version - version % MILESTONE_VERSIONS


class Rows(Protocol):
    """The rows of one projection, in tables of sorted keys, as its fold sees and changes them.

    Keys are at most 480 bytes. Changes of one commit become visible together, with the checkpoint.
    """

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value at ``key``."""
        ...

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set the value at ``key``."""
        ...

    def delete(self, table: str, key: bytes) -> None:
        """Remove ``key`` if it is there."""
        ...


class Past(Protocol):
    """The log up to and including the commit being applied."""

    def context(self, context_id: UUID, from_version: int, to_version: int) -> Iterator[Commit]:
        """The commits of a context that hold these versions, both inclusive, in order.

        The first and the last may also hold versions outside.
        """
        ...


class Projection(Protocol):
    """A fold with a name. Raise ``version`` whenever the fold or its rows change: it is rebuilt."""

    @property
    def name(self) -> str:
        """Letters, digits, ``_`` and ``-``; at most 50."""
        ...

    @property
    def version(self) -> int:
        """1, 2, 3 ..."""
        ...

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of its tables."""
        ...

    @property
    def kinds(self) -> int:
        """The bits (``events.BITS``) of the events it folds; commits with none of them are skipped.

        ``events.MILESTONES`` among them asks for one commit of a context in ``MILESTONE_VERSIONS`` versions
        besides, if several streams are open in it; where they are not, it may come or not.
        """
        ...

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Fold one commit. An exception stops this projection at this commit; the others go on."""
        ...
