"""What every question does before it is answered: wait for the views, resolve the moment, take a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from eventstore.errors import Refused
from eventstore.store import EventStore
from eventstore.validation import check_id
from projections.runner import Runner
from projections.snapshot import Snapshot
from projections.timetravel import Moment, resolve
from projections.views import Views

T = TypeVar("T")

CONTEXTS: Final = ("contexts",)
TIMELINES: Final = ("contexts", "timelines")
ALL: Final = ("contexts", "messages", "timelines")
# The projections that an answer needs: one that failed stops only the answers that need it.


class Asking:
    """A store and its views, and the runner that brings them up to date."""

    def __init__(self, store: EventStore, views: Views, runner: Runner) -> None:
        self._store = store
        self._views = views
        self._runner = runner

    def place(self, message_id: UUID) -> UUID | None:
        """The context of a message."""
        with self._store.log.reading() as txn:
            place = self._store.log.message_place(txn, message_id)
        return place[0] if place else None

    def snapshot(self, position: int) -> Snapshot:
        """What the views and the log hold, with a position as now."""
        return Snapshot(self._views, self._store.log, position)

    def snapshots(self, position: int) -> Callable[[], Snapshot]:
        """The same again and again: each for one bounded read."""
        return partial(self.snapshot, position)

    async def applied_to_stream(self, message_id: UUID, at_least: int | None = None) -> int:
        """``applied`` for what an answer about a stream needs."""
        check_id(message_id, "message_id")
        return await self.applied(at_least, TIMELINES)

    async def applied(self, at_least: int | None, names: tuple[str, ...]) -> int:
        """Wait as ``at_least`` says. Returns a position that the views have applied: what "now" means."""
        if at_least is None:
            read_only = self._store.log.read_only
            position = self._store.head().position if read_only else self._store.acknowledged
            await self._runner.wait_for(position, names)
            return position
        if at_least < 0:
            raise Refused("invalid_argument", "at_least is 0 or more", argument="at_least")
        await self._runner.wait_for(at_least, names)
        with self._views.reading() as reader:
            entries = reader.entries()
        live = [entries[name].live for name in names if name in entries]
        stored = [generation.checkpoint for generation in live if generation is not None]
        return max(at_least, min(stored, default=0))

    async def as_of(
        self,
        answer: Callable[..., T],
        names: tuple[str, ...],
        at_least: int | None,
        context_id: UUID,
        *moments: Moment,
    ) -> T:
        """Answer on one snapshot, after waiting for the moments if they are later than what is applied."""
        check_id(context_id, "context_id")
        position = await self.applied(at_least, names)
        with self.snapshot(position) as snapshot:
            resolved = [resolve(snapshot, context_id, moment) for moment in moments]
            needed = max(at.position for at in resolved)
            if needed <= position:
                return answer(snapshot, *resolved)
        await self._runner.wait_for(needed, names)
        with self.snapshot(needed) as snapshot:
            return answer(snapshot, *resolved)
