"""A message's content, read when it is asked for: from its event, or folded from its stream's chunks."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from eventstore.content import Kind, Part, TextPart, fold
from eventstore.errors import NotFound
from eventstore.events import ChunkRun, MessageAppended
from projections.answers import MessageBody, MessageEntry
from projections.chunks import final_event
from projections.entries import Seen, entry_of, is_finalized
from projections.snapshot import Snapshot
from projections.timetravel import streams_at


class Plan(NamedTuple):
    """How to come by a body: its ``parts`` are known, or are a fold of its stream's first ``chunks``."""

    entry: MessageEntry
    complete: bool
    parts: tuple[Part, ...] | None
    chunks: int = 0

    def body(self, parts: tuple[Part, ...]) -> MessageBody:
        """The body with its parts."""
        text = "".join(part.text for part in parts if type(part) is TextPart)
        return MessageBody(self.entry, parts, text, self.complete)


def plan(snapshot: Snapshot, message: Seen) -> Plan:
    """What a message's body is made of, as it is seen. A redaction holds at every moment."""
    row, entry = message.row, entry_of(snapshot, message)
    if row.redacted_version is not None:
        return Plan(entry, not row.streamed or is_finalized(message), ())
    if not row.streamed:
        return Plan(entry, True, _appended(snapshot, message).parts)
    if not is_finalized(message):
        return Plan(entry, False, None, _chunks_at(snapshot, message))
    assert row.finalized_version is not None
    if row.has_final_parts:
        end = final_event(snapshot, row.context_id, row.finalized_version, message.id)
        return Plan(entry, True, end.parts or ())
    return Plan(entry, True, None, snapshot.timeline(message.id).sealed)


async def read(plan: Plan, stored: AsyncIterable[ChunkRun]) -> MessageBody:
    """The body that a plan makes of its stream. One that is redacted meanwhile is empty."""
    try:
        return plan.body(folded([run async for run in stored]))
    except NotFound as error:
        if error.code != "message_redacted":
            raise
        return MessageBody(replace(plan.entry, redacted=True), (), "", plan.complete)


def _appended(snapshot: Snapshot, message: Seen) -> MessageAppended:
    for record in snapshot.commit_at(message.row.position).records:
        if isinstance(record, MessageAppended) and record.message_id == message.id:
            return record
    raise AssertionError("a message is where its row says")


def _chunks_at(snapshot: Snapshot, message: Seen) -> int:
    """How many chunks an open stream had at the version that is seen."""
    context_id = message.row.context_id
    row_version, row = snapshot.history(context_id, message.version)
    return streams_at(snapshot, context_id, row_version, row, message.version)[message.id]


def folded(runs: Iterable[ChunkRun]) -> tuple[Part, ...]:
    """The content that runs of a stream add up to."""
    return fold(_pieces(runs))


def _pieces(runs: Iterable[ChunkRun]) -> Iterator[tuple[Kind, str | None, str]]:
    """Runs joined, but for notes: each of those is an object by itself."""
    for run in runs:
        for delta in run.deltas if run.kind == "other" else ("".join(run.deltas),):
            yield run.kind, run.part, delta
