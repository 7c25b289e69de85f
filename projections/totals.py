"""Totals: how much there is of everything, by workspace and by kind of event.

Commits of chunks alone are skipped: how many chunks they held follows from the versions that they took, at
the context's next other event.
"""

from __future__ import annotations

from typing import Final

import msgspec

from eventstore.commits import Commit
from eventstore.events import (
    ALL_BITS,
    BIT_OF_TAG,
    BITS,
    CHUNK_BIT,
    ChunkRun,
    ContextCreated,
    ContextDeleted,
    MessageAppended,
    StreamStarted,
)
from projections.layout import Codec
from projections.projection import Past, Rows
from projections.reading import ViewReader

SEEN: Final = "totals_seen"
TOTALS: Final = "totals"
NAME: Final = "totals"

TAGS: Final = [tag for tag, _ in sorted(BIT_OF_TAG.items(), key=lambda item: item[1])]
"""The events in the order of their bits."""

CHUNK_AT: Final = CHUNK_BIT.bit_length() - 1


class SeenRow(msgspec.Struct, array_like=True):
    """A context as far as it is counted."""

    workspace: str
    version: int = 0


class TotalsRow(msgspec.Struct, array_like=True):
    """One workspace. ``events`` are counted in the order of ``TAGS``."""

    contexts: int = 0
    deleted: int = 0
    messages: int = 0
    events: list[int] = msgspec.field(default_factory=lambda: [0] * len(TAGS))


class Totals(msgspec.Struct, frozen=True):
    """How much there is. Chunks of a stream that is open may not be counted yet."""

    contexts: int
    deleted: int
    messages: int
    events: dict[str, int]


seen_rows: Final = Codec(SeenRow)
totals_rows: Final = Codec(TotalsRow)


class TotalsProjection:
    """The projection ``totals``."""

    name: str = NAME
    version: int = 1
    tables: tuple[str, ...] = (SEEN, TOTALS)
    kinds: int = ALL_BITS & ~CHUNK_BIT

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Fold one commit."""
        context_key = commit.context_id.bytes
        stored = rows.get(SEEN, context_key)
        seen = _new(commit) if stored is None else seen_rows.decode(stored)
        key = seen.workspace.encode()
        counted = rows.get(TOTALS, key)
        totals = TotalsRow() if counted is None else totals_rows.decode(counted)
        totals.events[CHUNK_AT] += commit.first_version - 1 - seen.version
        for record in commit.records:
            count = len(record.deltas) if type(record) is ChunkRun else 1
            totals.events[BITS[type(record)].bit_length() - 1] += count
            totals.contexts += isinstance(record, ContextCreated)
            totals.deleted += isinstance(record, ContextDeleted)
            totals.messages += isinstance(record, (MessageAppended, StreamStarted))
        seen.version = commit.last_version
        rows.put(SEEN, context_key, seen_rows.encode(seen))
        rows.put(TOTALS, key, totals_rows.encode(totals))


def _new(commit: Commit) -> SeenRow:
    created = commit.records[0]
    assert isinstance(created, ContextCreated), "the write model lets nothing else come first"
    return SeenRow(created.workspace)


def totals_of(view: ViewReader) -> dict[str, Totals]:
    """The totals of every workspace."""
    return {key.decode(): _totals(value) for key, value in view.scan(NAME, TOTALS, b"", b"\xff" * 5)}


def _totals(stored: bytes) -> Totals:
    row = totals_rows.decode(stored)
    events = {tag: count for tag, count in zip(TAGS, row.events, strict=True) if count}
    return Totals(row.contexts, row.deleted, row.messages, events)
