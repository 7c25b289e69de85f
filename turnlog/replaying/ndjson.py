"""Turnlog's own NDJSON (``turnlog.ndjson``), read as the appends that replay it into another store.

It is replay and not a conversation: ids, versions, metadata and every event come back as they were. A commit
with a line that cannot be read exactly is reported and left out, and so is what its context has after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias, cast
from uuid import UUID

import msgspec

from eventstore.body import request_digest
from eventstore.commits import Append, pack
from eventstore.errors import Refused, reason_of
from eventstore.events import ContextCreated, Event
from eventstore.limits import COMMIT_EVENTS_MAX
from eventstore.upcasters import UPCASTERS, Chain
from turnlog.importers.conversation import Problem
from turnlog.importers.source.files import Source, Unreadable
from turnlog.ndjson import REPLAYED, Facts, Line, marked
from turnlog.replaying import lines as line_reading
from turnlog.replaying.lines import LINE_BYTES_MAX, Bad
from turnlog.replaying.transforming import Replay, Transform


class Placed(NamedTuple):
    """An append that writes a commit again, and where the commit's first line is.

    ``together``: only together with the one before it. ``bytes``: of its lines.
    """

    path: str
    place: str
    append: Append
    together: bool
    bytes: int


class Unwritten(NamedTuple):
    """A commit that the transform drops or, if it is ``left_out``, that cannot be replayed."""

    left_out: bool


Item: TypeAlias = Placed | Unwritten | Problem


class TurnlogNdjson:
    """The format. ``upcasters`` lead events of retired tags to today's."""

    format: Final = "turnlog"

    def __init__(self, upcasters: Chain = UPCASTERS) -> None:
        self._upcasters = upcasters

    def recognises(self, source: Source) -> bool:
        """Whether a file in it begins with our first line."""
        return any(line_reading.is_ours(source, name) for name in source.files())

    def commits(self, source: Source, transform: Transform | None = None) -> Iterator[Item]:
        """Everything in it, in an order in which it can be appended: a fork after its source.

        Memory holds a commit; of several files also the version of each context. Never raises for what it
        reads; a commit whose lines cannot be read is a problem alone. Each append expects its exact version
        and has a commit id: appending it again writes nothing.
        """
        replay = Replay(transform)
        waiting: list[_File] = []
        for name in source.files():
            if line_reading.is_ours(source, name):
                waiting.append(_File(source, name, self._upcasters, replay))
            else:
                yield Problem(name, "not_turnlog", "it does not begin as an export does", "line 1")
        versions: dict[UUID, int] | None = {} if len(waiting) > 1 else None
        while waiting:
            given = sum(file.given for file in waiting)
            for file in waiting:
                yield from file.read(versions)
            if sum(file.given for file in waiting) == given:
                waiting[0].release()  # it forks from what no file has: the log will say so
            waiting = [file for file in waiting if not file.ended]


class _Commit(msgspec.Struct):
    """A commit whose lines are being read."""

    line: Line
    number: int
    events: list[Event]
    bytes: int

    @property
    def context_id(self) -> UUID:
        """What its first line says."""
        return cast("UUID", self.line.context_id)

    @property
    def facts(self) -> Facts:
        """What its first line says."""
        line = self.line
        return Facts(cast("int", line.recorded_at), line.commit_id, line.request_digest, line.metadata)


class _File:
    """A file on its way. ``given`` counts what was taken of it; ``ended`` says that this was all."""

    def __init__(self, source: Source, name: str, upcasters: Chain, replay: Replay) -> None:
        self.ended = False
        self.given = 0
        self._source = source
        self._name = name
        self._upcasters = upcasters
        self._replay = replay
        self._items = self._read()
        self._held: _Commit | None = None
        self._released = False
        self._left_out: dict[UUID, int] = {}

    def read(self, versions: dict[UUID, int] | None) -> Iterator[Item]:
        """The appends and problems, up to a fork whose source is not in ``versions`` yet."""
        while (item := self._held or next(self._items, None)) is not None:
            self._held = None
            if isinstance(item, Problem):
                yield item
            elif item.context_id in self._left_out:
                self._left_out[item.context_id] += 1
                yield Unwritten(left_out=True)
            elif versions is not None and not self._released and _lacks_source(item.events[0], versions):
                self._held = item
                return
            else:
                self._released = False
                if versions is not None:
                    versions[item.context_id] = item.line.version + len(item.events) - 1
                yield from self._append(item)
            self.given += 1
        self.ended = True

    def release(self) -> None:
        """Let the fork that it stands at pass, whatever there is of its source."""
        self._released = True

    def _append(self, commit: _Commit) -> Iterator[Item]:
        context_id, first_version, records = commit.context_id, commit.line.version, pack(commit.events)
        facts = marked(context_id, first_version, commit.facts)
        if facts.metadata == commit.facts.metadata:
            taken = REPLAYED in (facts.metadata or {})
            code, why = ("metadata_taken", "another") if taken else ("metadata_full", "no room for a")
            reason = (
                f"its metadata has {why} {REPLAYED}: when it was recorded and which id it had is not kept"
            )
            yield Problem(self._name, code, reason, f"line {commit.number}", context_id)
        try:
            digest = facts.request_digest
            if digest is None and commit.line.commit_id is not None:
                digest = request_digest(records, commit.line.metadata)
            replayed = self._replay.append(
                context_id,
                first_version,
                records,
                facts.commit_id,
                facts.metadata,
                digest,
                together=commit.line.together,
            )
        except Refused as error:
            yield self._left(context_id, commit.number, error.code, error.message)
            yield Unwritten(left_out=True)
            return
        if replayed is None:
            yield Unwritten(left_out=False)
        else:
            place = f"line {commit.number}"
            yield Placed(self._name, place, replayed.append, replayed.together, commit.bytes)

    def _read(self) -> Iterator[_Commit | Problem]:
        try:
            with line_reading.opened(self._source, self._name) as file:
                yield from self._commits(line_reading.read(file, self._upcasters))
        except Unreadable as error:
            yield Problem(self._name, error.code, error.reason, error.place)
        except OSError as error:
            yield Problem(self._name, "unreadable", reason_of(error))
        for context_id, count in self._left_out.items():
            if count:
                left = "1 later commit is" if count == 1 else f"{count:,} later commits are"
                reason = f"{left} left out of context {context_id}: one before could not be replayed"
                yield Problem(self._name, "context_incomplete", reason, None, context_id)

    def _commits(self, lines: Iterator[tuple[int, Line, int] | Bad]) -> Iterator[_Commit | Problem]:
        commit: _Commit | None = None
        told: int | None = None  # the commit that was reported: its other lines need no word
        for item in lines:
            bad = item if isinstance(item, Bad) else None
            if bad is None:
                number, line, size = cast("tuple[int, Line, int]", item)
                if line.context_id is None and line.commit == told:
                    continue
                if commit is not None and line.commit != commit.line.commit:
                    yield self._torn(commit)
                    commit = None
                bad = _misplaced(commit, number, line, size)
            if bad is not None:
                context_id = bad.context_id
                if commit is not None and bad.commit in (None, commit.line.commit):
                    context_id, told, commit = commit.context_id, commit.line.commit, None
                elif bad.number is not None:
                    told = bad.commit
                yield self._left(context_id, bad.number, bad.code, bad.reason)
                continue
            number, line, size = cast("tuple[int, Line, int]", item)
            if commit is None:
                commit = _Commit(line, number, [], 0)
            commit.events.append(line.event)
            commit.bytes += size
            if len(commit.events) == commit.line.events:
                yield commit
                commit = None
        if commit is not None:
            yield self._torn(commit)

    def _torn(self, commit: _Commit) -> Problem:
        reason = f"only {len(commit.events)} of the commit's {commit.line.events} events are there"
        return self._left(commit.context_id, commit.number, "commit_torn", reason)

    def _left(self, context_id: UUID | None, number: int | None, code: str, reason: str) -> Problem:
        """The problem; what its context has from there on is left out."""
        if context_id is not None:
            self._left_out.setdefault(context_id, 0)
        return Problem(self._name, code, reason, None if number is None else f"line {number}", context_id)


def _misplaced(commit: _Commit | None, number: int, line: Line, size: int) -> Bad | None:
    """What is wrong with a line where it stands."""

    def bad(code: str, reason: str) -> Bad:
        return Bad(number, code, reason, line.commit, line.context_id)

    if commit is None:
        if line.context_id is None:
            return bad("line_out_of_place", "the first line of its commit is not before it")
        if line.recorded_at is None or line.events is None:
            return bad("line_incomplete", "a commit's first line says when, and how many events")
        if line.events > COMMIT_EVENTS_MAX:
            return bad("commit_too_large", f"a commit takes at most {COMMIT_EVENTS_MAX:,} events")
        return None
    facts = (line.context_id, line.recorded_at, line.events, line.commit_id)
    more = (line.request_digest, line.metadata, line.together or None)
    if any(fact is not None for fact in (*facts, *more)) or line.version != commit.line.version + len(
        commit.events
    ):
        return bad("line_out_of_place", "it does not go on from the line before it")
    if commit.bytes + size > LINE_BYTES_MAX:
        return bad("commit_too_large", f"a commit's lines have at most {LINE_BYTES_MAX:,} bytes")
    return None


def _lacks_source(event: Event, versions: dict[UUID, int]) -> bool:
    """Whether an event begins a fork of what has not been replayed yet."""
    if not isinstance(event, ContextCreated) or event.forked_from is None:
        return False
    return versions.get(event.forked_from.context_id, 0) < event.forked_from.version
