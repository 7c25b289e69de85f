"""What every question does before it is answered: wait for the views, resolve the moment, take a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from eventstore.errors import Damaged, Refused
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

    def context_of(self, message_id: UUID) -> UUID | None:
        """The context that a message was added to; None when there is no such message."""
        check_id(message_id, "message_id")
        with self._store.log.reading() as txn:
            place = self._store.log.message_place(txn, message_id)
        return place[0] if place else None

    def snapshot(self, position: int) -> Snapshot:
        """What the views and the log hold, with a position as now."""
        return Snapshot(self._views, self._store.log, position)

    def snapshots(self, position: int) -> Callable[[], Snapshot]:
        """The same again and again: each for one bounded read."""
        return partial(self.snapshot, position)

    async def applied_to_message(
        self, message_id: UUID, at_least: int | None = None, names: tuple[str, ...] = TIMELINES
    ) -> int:
        """``applied`` for what an answer about one message needs."""
        check_id(message_id, "message_id")
        return await self.applied(at_least, names, lambda: self.context_of(message_id))

    async def applied(
        self,
        at_least: int | None,
        names: tuple[str, ...],
        context_of: Callable[[], UUID | None] = lambda: None,
    ) -> int:
        """Wait as ``at_least`` says. Returns a position that the views have applied: what "now" means.

        ``context_of`` gives the context that the answer is about, when it is about no other: damage further
        on in the log does not keep what came before it from being read.
        """
        if at_least is None:
            read_only = self._store.log.read_only
            position = self._store.head().position if read_only else self._store.acknowledged
            try:
                await self._runner.wait_for(position, names)
            except Damaged:
                applied, context_id = self._checkpoint(names), context_of()
                if context_id is None or self._changed_at(context_id) > applied:
                    raise
                return applied
            return position
        if at_least < 0:
            raise Refused("invalid_argument", "at_least is 0 or more", argument="at_least")
        await self._runner.wait_for(at_least, names)
        whole, log = at_least, self._store.log
        with log.reading() as txn:
            while log.is_divided(txn, whole):
                whole += 1  # it became visible together with what follows
        if whole > at_least:
            await self._runner.wait_for(whole, names)
        return max(whole, self._checkpoint(names))

    def _checkpoint(self, names: tuple[str, ...]) -> int:
        """What the views of all these projections have stored."""
        with self._views.reading() as reader:
            entries = reader.entries()
        live = [entries[name].live for name in names if name in entries]
        return min((generation.checkpoint for generation in live if generation is not None), default=0)

    def _changed_at(self, context_id: UUID) -> int:
        """The position of a context's last commit; 0 when there is no such context."""
        log = self._store.log
        with log.reading() as txn:
            version = log.version_of(txn, context_id)
            return log.commit_of(txn, context_id, version).position if version else 0

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
        position = await self.applied(at_least, names, lambda: context_id)
        with self.snapshot(position) as snapshot:
            resolved = [resolve(snapshot, context_id, moment) for moment in moments]
            needed = max(at.position for at in resolved)
            if needed <= position:
                return answer(snapshot, *resolved)
        await self._runner.wait_for(needed, names)
        with self.snapshot(needed) as snapshot:
            return answer(snapshot, *resolved)
