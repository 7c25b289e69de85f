"""Replaying commits into another log, as they are or through a transform: event -> event, None or a list.

What a transform drops leaves no hole. Versions that forks name are counted anew; a dropped message takes
along all that is about it, and what came after it comes after its parent; without its first event, the whole
context is dropped. Memory grows with what is dropped or added, not with the log.
"""

from __future__ import annotations

import importlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias, cast
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from eventstore.commits import Append
from eventstore.content import Json
from eventstore.errors import Refused
from eventstore.events import (
    BITS,
    NUMBER_MAX,
    BranchMoved,
    ChunkReceived,
    ChunkRun,
    ContextCreated,
    Event,
    ForkedFrom,
    MessageAppended,
    MessageRedacted,
    Record,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)

Transform: TypeAlias = Callable[[Event], Event | Iterable[Event] | None]
"""What becomes of an event: another or itself, several, or none. Chunks come one by one."""

EPOCH: Final = NUMBER_MAX
"""Of the producer that replays: a stored chunk was accepted once, whichever producer it was from."""


def load_transform(reference: str) -> Transform:
    """The function at ``module:function``. Raises ``Refused`` with code ``invalid_transform``."""
    module, colon, name = reference.partition(":")
    if not (module and colon and name):
        raise Refused("invalid_transform", f"{reference!r}: a transform is named module:function")
    try:
        found: Any = importlib.import_module(module)
        for attribute in name.split("."):
            found = getattr(found, attribute)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise Refused("invalid_transform", f"{reference} cannot be imported: {why}") from error
    if not callable(found):
        raise Refused("invalid_transform", f"{reference} is no function")
    return cast("Transform", found)


class Rewritten(NamedTuple):
    """An append that writes a commit again. ``together``: only together with the one before it."""

    append: Append
    together: bool


class Replay:
    """The appends that write commits again. Give it all commits of a context, in their order."""

    def __init__(self, transform: Transform | None = None) -> None:
        self._transform = transform
        self._versions: dict[UUID, list[tuple[int, int]]] = {}
        self._dropped_messages: dict[UUID, UUID | None] = {}
        self._dropped_contexts: set[UUID] = set()
        self._together_in: UUID | None = None

    def append(
        self,
        context_id: UUID,
        first_version: int,
        records: tuple[Record, ...],
        commit_id: UUID | None,
        metadata: dict[str, Json] | None,
        request_digest: bytes | None,
        *,
        together: bool,
    ) -> Rewritten | None:
        """The append that writes a commit again; None when nothing is left of it.

        ``request_digest`` goes with it, transformed or not: whoever repeats the request is told the same. It
        expects the very version that the context has by then. What was ``together`` with the commit before
        stays so with what is left of those. Raises ``Refused`` with code ``invalid_transform`` when the
        transform fails.
        """
        expected = first_version - 1
        if not together:
            self._together_in = None
        if self._transform is not None:
            if context_id in self._dropped_contexts:
                return None
            expected = self._version(context_id, expected)
            records = tuple(self._events(context_id, first_version, records, self._transform))
            if not records:
                return None
        append = Append(
            context_id, records, expected, commit_id, metadata, EPOCH, request_digest=request_digest
        )
        joined, self._together_in = self._together_in == context_id, context_id
        return Rewritten(append, joined)

    def _events(
        self, context_id: UUID, version: int, records: tuple[Record, ...], transform: Transform
    ) -> Iterator[Event]:
        now = self._version(context_id, version - 1)
        for version, event in enumerate(_rows(records), version):  # noqa: B020 -- it goes on from the first
            made = self._made(event, transform)
            if isinstance(event, ContextCreated) and not made:
                self._dropped_contexts.add(context_id)
                return
            now += len(made)
            if len(made) != 1:
                self._versions.setdefault(context_id, []).append((version, now))
            yield from made

    def _made(self, event: Event, transform: Transform) -> list[Event]:
        if (
            isinstance(event, (ChunkReceived, StreamResumed, StreamFinalized, MessageRedacted))
            and event.message_id in self._dropped_messages
        ):
            return []
        made = _called(transform, event)
        is_gone = not any(isinstance(each, (MessageAppended, StreamStarted)) for each in made)
        if is_gone and isinstance(event, (MessageAppended, StreamStarted)):
            self._dropped_messages[event.message_id] = self._kept(event.parent_id)
        return [self._placed(each) for each in made]

    def _placed(self, event: Event) -> Event:
        """The event with what it names as it is in the new log."""
        match event:
            case MessageAppended() | StreamStarted():
                return replace(event, parent_id=self._kept(event.parent_id))
            case BranchMoved():  # the log fills in the head that there was
                return replace(event, head=self._kept(event.head), previous=UNSET)
            case ContextCreated(forked_from=ForkedFrom() as source):
                version = max(self._version(source.context_id, source.version), 1)
                return replace(event, forked_from=replace(source, version=version))
            case _:
                return event

    def _kept(self, message_id: Any) -> Any:
        """A message, or, where it was dropped, what it came after."""
        return self._dropped_messages.get(message_id, message_id)

    def _version(self, context_id: UUID, version: int) -> int:
        """How many events of the new context stand for the first ``version`` of the old."""
        steps = self._versions.get(context_id)
        if not steps:
            return version
        index = bisect_right(steps, version, key=lambda step: step[0])
        return version if index == 0 else steps[index - 1][1] + version - steps[index - 1][0]


def _rows(records: tuple[Record, ...]) -> Iterator[Event]:
    for record in records:
        if isinstance(record, ChunkRun):
            yield from record.chunks()
        else:
            yield record


def _called(transform: Transform, event: Event) -> list[Event]:
    try:
        made: Any = transform(event)
        events: list[Any] = [] if made is None else [made] if type(made) in BITS else list(made)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise Refused("invalid_transform", f"the transform failed: {why}") from error
    for each in events:
        if type(each) not in BITS or type(each) is ChunkRun:
            raise Refused("invalid_transform", f"the transform gave a {type(each).__name__}, not an event")
    return events
