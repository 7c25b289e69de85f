"""Waiting for the views in a process that only reads: it looks now and then at what the writer stored."""

from __future__ import annotations

from typing import Final

import anyio

from eventstore.errors import NotFound, Unavailable
from eventstore.events import ALL_BITS
from eventstore.log import Log
from projections.following import PAGE_BYTES, PAGE_COMMITS
from projections.generations import Entry, poisoned
from projections.projection import Projection
from projections.views import Views

POLL_SECONDS: Final = 0.01
"""Between two looks: little beside what the writer's process lingers before it applies a commit."""

WAIT_SECONDS: Final = 5.0
"""How long to wait before giving up: the writer's process may not be running."""


class Poller:
    """Waits for the stored views. It remembers how far the log holds nothing for a projection."""

    def __init__(self, log: Log, views: Views) -> None:
        self._log = log
        self._views = views
        self._passed: dict[str, tuple[int, int, bool]] = {}

    async def wait(self, position: int, names: tuple[str, ...] | None) -> None:
        """Wait until the stored views of these projections have applied ``position``.

        Without names, of all but those that have failed.

        Raises ``NotFound`` (``position_not_found``) and ``Unavailable`` (``projection_poisoned``,
        ``views_behind`` when it takes longer than ``WAIT_SECONDS``).
        """
        with self._log.reading() as txn:
            if position > self._log.head(txn).position:
                raise position_not_found(position)
        projections = [self._views.projections[name] for name in names or self._views.projections]
        named = names is not None
        with anyio.move_on_after(WAIT_SECONDS):
            while not all(self._is_applied(position, p, named) for p in projections):  # noqa: ASYNC110 -- another process has no event to wait for
                await anyio.sleep(POLL_SECONDS)
            return
        raise Unavailable(
            "views_behind", f"the views have not reached position {position}", position=position
        )

    def _is_applied(self, position: int, projection: Projection, named: bool) -> bool:
        live = stored_entries(self._views).get(projection.name, Entry()).readable(projection)
        if live is None:
            return False
        if live.checkpoint >= position:
            return True
        if live.failure is not None:
            if named:
                raise poisoned(projection.name, live.failure)
            return True
        return self._nothing_between(live.checkpoint, position, projection)

    def _nothing_between(self, checkpoint: int, position: int, projection: Projection) -> bool:
        """Whether no commit up to ``position`` concerns the projection: its stored checkpoint stays then.

        Milestones do not count: most change no row, and those that do only make reading faster.
        """
        known, reached, found = self._passed.get(projection.name, (checkpoint, checkpoint, False))
        if known != checkpoint:
            reached, found = checkpoint, False
        if not found and reached < position:
            with self._log.reading() as txn:
                commits, reached = self._log.commits(
                    txn,
                    reached,
                    count_max=PAGE_COMMITS,
                    bytes_max=PAGE_BYTES,
                    kinds=projection.kinds & ALL_BITS,
                    to=position,
                )
            found = bool(commits)
        self._passed[projection.name] = checkpoint, reached, found
        return not found and reached >= position


def stored_entries(views: Views) -> dict[str, Entry]:
    """What the writer's process has stored of every projection; nothing when there are no views yet."""
    try:
        with views.reading() as reader:
            return reader.entries()
    except Unavailable as error:
        if error.code != "views_behind":
            raise
        return {}


def position_not_found(position: int) -> NotFound:
    """The error for a position beyond the head: waiting for it might never end."""
    return NotFound("position_not_found", f"the log has no position {position} yet", position=position)
