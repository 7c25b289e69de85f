"""Moments of the past, what a context was at one, and how to fork from it."""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple, Never, NoReturn, TypeAlias
from uuid import UUID

import msgspec

from eventstore.context import MAIN
from eventstore.errors import NotFound, Refused
from eventstore.events import (
    MILESTONE_STREAMS_MIN,
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ContextCreated,
    ContextUpdated,
    Event,
    ForkedFrom,
)
from eventstore.validation import check_id, check_int
from projections.answers import ContextState
from projections.cuts import cut_of_row, progress_at
from projections.layout import HistoryRow
from projections.snapshot import Snapshot, message_not_found


class Now(msgspec.Struct, frozen=True, tag="now"):
    """The newest that is known."""


class AtVersion(msgspec.Struct, frozen=True, tag="version"):
    """Right after the context's event of this version."""

    version: int

    def __post_init__(self) -> None:
        """Refuse what is no number here, where it was written."""
        check_int(self.version, "version", "the number of an event in its context")


class AtPosition(msgspec.Struct, frozen=True, tag="position"):
    """Once the log had this commit."""

    position: int

    def __post_init__(self) -> None:
        """Refuse what is no number here, where it was written."""
        check_int(self.position, "position", "the place of a commit in the log")


class AtTime(msgspec.Struct, frozen=True, tag="time"):
    """Once all was recorded that the log recorded up to this time, in microseconds since the epoch."""

    at_us: int

    def __post_init__(self) -> None:
        """Refuse what is no number here, where it was written."""
        check_int(self.at_us, "at_us", "microseconds since the epoch")


class AtMessage(msgspec.Struct, frozen=True, tag="message"):
    """Right after the context's message was added; a stream has no chunk then."""

    message_id: UUID

    def __post_init__(self) -> None:
        """Refuse what is no id here, where it was written."""
        check_id(self.message_id, "message_id")


Moment: TypeAlias = Now | AtVersion | AtPosition | AtTime | AtMessage
"""Now, or one of the past."""

NOW: Final = Now()
"""The moment to ask for what is newest."""


class Resolved(NamedTuple):
    """A moment as a version of a context, and the position of the commit that holds it."""

    version: int
    position: int


def resolve(snapshot: Snapshot, context_id: UUID, moment: Moment) -> Resolved:  # noqa: RET503 -- the last case raises
    """Which version of a context a moment means. It costs the same however long the context is.

    Its position may be above the snapshot's: then the views are to be waited for. Raises ``NotFound``:
    ``context_not_found``, ``version_not_found``, ``position_not_found``, ``moment_before_creation`` or
    ``message_not_found``; ``Refused`` (``invalid_argument``) for what is no moment.
    """
    match moment:
        case Now():
            return _at_position(snapshot, context_id, snapshot.position)
        case AtVersion():
            return _at_version(snapshot, context_id, moment.version)
        case AtPosition():
            head = snapshot.log.head(snapshot.txn).position
            if not 0 <= moment.position <= head:
                raise NotFound(
                    "position_not_found",
                    f"the log has positions up to {head}, not {moment.position}",
                    position=moment.position,
                    head=head,
                )
            return _at_position(snapshot, context_id, moment.position)
        case AtTime():
            position = snapshot.log.position_at_time(snapshot.txn, moment.at_us)
            return _at_position(snapshot, context_id, position)
        case AtMessage():
            place = snapshot.log.message_place(snapshot.txn, moment.message_id)
            if place is None or place[0] != context_id:
                snapshot.last_at(context_id, 0)  # An unknown context is the truer error.
                raise message_not_found(moment.message_id, context_id=context_id)
            return _at_version(snapshot, context_id, place[1])
        case _:
            _refuse(moment)


def _refuse(other: Never) -> NoReturn:
    """What the types exclude, callers without a type checker give: most often a bare version."""
    raise Refused(
        "invalid_argument",
        f"a moment is NOW, AtVersion(1), AtPosition(90), AtTime(...) or AtMessage(...), not {other!r:.50}; "
        'the command line writes them as "now", "v1", "p90"',
        argument="moment",
    )


def _at_version(snapshot: Snapshot, context_id: UUID, version: int) -> Resolved:
    # Version 0 is "does not exist"; the log would look up what comes before a context's first commit.
    if version < 1:
        current, _ = snapshot.last_at(context_id, snapshot.position)
        raise NotFound(
            "version_not_found",
            f"the context has versions 1 to {current}, not {version}",
            context_id=context_id,
            version=version,
            current=current,
        )
    return Resolved(version, snapshot.commit_of(context_id, version).position)


def _at_position(snapshot: Snapshot, context_id: UUID, position: int) -> Resolved:
    version, found = snapshot.last_at(context_id, position)
    if version == 0:
        raise NotFound(
            "moment_before_creation",
            "the context did not exist at that moment yet",
            context_id=context_id,
            position=position,
        )
    return Resolved(version, found)


def state_at(snapshot: Snapshot, context_id: UUID, moment: Resolved) -> ContextState:
    """What a context was."""
    context = snapshot.context(context_id)
    row_version, row = snapshot.history(context_id, moment.version)
    metadata = snapshot.metadata(context_id, row)
    return ContextState(
        context_id,
        moment.version,
        moment.position,
        context.workspace,
        metadata.title,
        metadata.config,
        metadata.attributes,
        metadata.tags,
        row.state,
        snapshot.state_detail(context_id, row),
        row.deleted,
        context.created_at,
        row.recorded_at,
        context.forked_from,
        row.active_branch,
        row.branches,
        row.message_count,
        streams_at(snapshot, context_id, row_version, row, moment.version),
    )


def streams_at(
    snapshot: Snapshot, context_id: UUID, row_version: int, row: HistoryRow, version: int
) -> dict[UUID, int]:
    """How many chunks each open stream had at a version, given the last row of history before it."""
    cut = cut_of_row(row_version, row)
    if len(row.streams) >= MILESTONE_STREAMS_MIN:
        cut = snapshot.cut_after(context_id, row_version, row, version) or cut
    return progress_at(cut, version, partial(snapshot.log.context_commits, snapshot.txn, context_id))


class Lineage:
    """The versions at which a context sees others: itself at a moment, and those whose history it shares.

    A fork sees its source as it was at the forked version, for ever, and through it the source's own.
    """

    def __init__(self, snapshot: Snapshot, context_id: UUID, version: int) -> None:
        self.context_id = context_id
        self._snapshot = snapshot
        self._versions = {context_id: version}
        self._last = context_id

    def version_of(self, context_id: UUID) -> int:
        """Up to which version a context's events are seen; 0: not at all."""
        while context_id not in self._versions:
            source = self._snapshot.context(self._last).forked_from
            if source is None:
                return 0
            self._versions[source.context_id] = source.version
            self._last = source.context_id
        return self._versions[context_id]

    def version_here(self, context_id: UUID, version: int) -> int:
        """A version of any of them as one of this context: what a fork shares is there from 1."""
        return version if context_id == self.context_id else 1


def fork_events(
    state: ContextState, *, title: str | None = None, workspace: str | None = None
) -> tuple[Event, ...]:
    """The events of a new context that shares the history of ``state`` by reference: one commit.

    It has the branches, the active branch and the metadata of that moment. Streams that were open then stay,
    in the fork, as far as they were.
    """
    created = ContextCreated(
        state.title if title is None else title,
        state.workspace if workspace is None else workspace,
        state.config,
        state.attributes,
        ForkedFrom(state.id, state.version),
    )
    events: list[Event] = [created]
    if state.tags:
        events.append(ContextUpdated({"tags": state.tags}))
    branches = dict(state.branches)
    if state.active_branch != MAIN:
        events.append(BranchMoved(state.active_branch, branches.pop(state.active_branch)))
        events.append(BranchSwitched(state.active_branch))
    if MAIN not in state.branches:
        events.append(BranchDeleted(MAIN))  # before the others: there may be as many as there can be
    moved = [(name, head) for name, head in branches.items() if name != MAIN or head is not None]
    events.extend(BranchMoved(name, head) for name, head in moved)
    return tuple(events)
