"""Commit, append request, expected version, outcome: what goes into and comes out of the log."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from operator import sub
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec

from eventstore.content import Json
from eventstore.events import NUMBER_MAX, ChunkReceived, ChunkRun, Event, Record
from eventstore.units import At


class Expected(enum.Enum):
    """Expectations other than an exact version."""

    ANY = "any"
    EXISTS = "exists"


ANY: Final = Expected.ANY
"""Whatever the version is."""
EXISTS: Final = Expected.EXISTS
"""The context exists and is not deleted."""
NO_CONTEXT: Final = 0
"""The context does not exist yet."""

ExpectedVersion: TypeAlias = int | Expected


class Append(msgspec.Struct, frozen=True, gc=False):
    """A request: the events of one commit to one context.

    ``epoch`` is the producer's, for the chunks and ends of streams. ``with_events_between`` asks a
    version conflict to carry the events after the expected version. ``request_digest`` is for a commit that
    is written again: of the request that first made it, which repeats of ``commit_id`` are held against.
    """

    context_id: UUID
    events: tuple[Record, ...]
    expected_version: ExpectedVersion = ANY
    commit_id: UUID | None = None
    metadata: dict[str, Json] | None = None
    epoch: int = 1
    with_events_between: bool = False
    request_digest: bytes | None = None


class Committed(msgspec.Struct, frozen=True, gc=False):
    """The outcome of an append that is durable.

    ``position`` is its commit's; ``version`` the context's version right after it. ``written`` is false
    when nothing new was written: the commit id was known, or every chunk was there already.
    """

    position: int
    version: int
    recorded_at: At
    written: bool = True


class Commit(msgspec.Struct, frozen=True, gc=False):
    """One commit as read from the log. ``digest`` is its frame's SHA-256, ``stored_bytes`` what both take.

    ``records`` hold chunks packed in runs; ``events()`` gives every event as a row. ``together``: it became
    visible together with the commit before it.
    """

    position: int
    context_id: UUID
    first_version: int
    event_count: int
    kinds: int
    recorded_at: At
    commit_id: UUID | None
    metadata: dict[str, Any] | None
    records: tuple[Record, ...]
    digest: bytes
    stored_bytes: int = 0
    together: bool = False

    @property
    def last_version(self) -> int:
        """The context's version right after this commit."""
        return self.first_version + self.event_count - 1

    def events(self) -> Iterator[Event]:
        """The events in order; the first has version ``first_version``."""
        for record in self.records:
            if type(record) is ChunkRun:
                yield from record.chunks()
            else:
                yield record  # pyright: ignore[reportReturnType] -- an exact type test narrows no else-branch

    def versioned(self) -> Iterator[tuple[int, Record]]:
        """Each record with the version of its first event."""
        version = self.first_version
        for record in self.records:
            yield version, record
            version += len(record.deltas) if type(record) is ChunkRun else 1


def pack(events: Iterable[Record]) -> tuple[Record, ...]:
    """Events with consecutive chunks of one stream, part and kind packed into runs."""
    packed: list[Record] = []
    run: list[ChunkReceived] = []
    last: ChunkReceived | None = None
    for event in events:
        if type(event) is not ChunkReceived:
            if run:
                packed.append(_run(run))
                run, last = [], None
            packed.append(event)
            continue
        if last is not None and not (
            event.sequence == last.sequence + 1
            # Chunks of one producer share the id object, and comparing UUIDs takes longer than all the rest.
            and (event.message_id is last.message_id or event.message_id == last.message_id)
            and event.kind == last.kind
            and event.part == last.part
            and -NUMBER_MAX <= event.at - last.at <= NUMBER_MAX
        ):
            packed.append(_run(run))
            run = []
        run.append(event)
        last = event
    if run:
        packed.append(_run(run))
    return tuple(packed)


def _run(chunks: list[ChunkReceived]) -> ChunkRun:
    first = chunks[0]
    times = [chunk.at for chunk in chunks]
    raws = tuple([chunk.raw for chunk in chunks])
    return ChunkRun(
        first.message_id,
        first.sequence,
        first.at,
        tuple([chunk.delta for chunk in chunks]),
        (0, *map(sub, times[1:], times)),
        first.kind,
        first.part,
        raws if any(raw is not None for raw in raws) else None,
    )
