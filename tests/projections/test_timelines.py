"""The fold of timelines: headers, sealed segments, and what is never read or written."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from typing import cast
from uuid import UUID

import pytest
from given import START, C, GivenLog, chunk, chunks, ident
from wandering import Wanderer

from eventstore.commits import Commit
from eventstore.content import Kind
from eventstore.errors import Damaged
from eventstore.events import (
    CHUNK_BIT,
    ChunkReceived,
    ChunkRun,
    ContextCreated,
    ContextDeleted,
    CustomRecorded,
    MessageRedacted,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)
from projections import layout, segments
from projections.layout import TimelineRow
from projections.memory import MemoryPast, MemoryRows, MemoryViews
from projections.segments import Segment, Span, decode, encode
from projections.timelines import Timelines


def header(views: MemoryViews, message: UUID) -> TimelineRow:
    """A stream's header."""
    return layout.timeline_rows.decode(views.get("timelines", layout.TIMELINES, message.bytes) or b"")


def sealed(views: MemoryViews, message: UUID) -> list[ChunkReceived]:
    """The chunks in a stream's segments."""
    prefix = message.bytes
    rows = views.scan("timelines", layout.SEGMENTS, prefix, prefix + b"\xff" * 9)
    found: list[ChunkReceived] = []
    for key, value in rows:
        for run in decode(value).runs(message, layout.version_in(key)):
            found.extend(run.chunks())
    return found


def logged(log: GivenLog, message: UUID) -> list[ChunkReceived]:
    """The chunks of a stream in the log, without raw bytes."""
    return [
        ChunkReceived(e.message_id, e.sequence, e.delta, e.kind, e.at, e.part)
        for commit in log.commits
        for e in commit.events()
        if isinstance(e, ChunkReceived) and e.message_id == message
    ]


def test_an_open_stream_has_a_header_and_no_segments() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1), model="m", occurred_at=9))
    log.append(C, *chunks(1, 1, 5))
    views = log.views()
    row = header(views, ident(1))
    assert (row.context_id, row.started_version, row.started_position) == (C, 2, 1)
    assert (row.model, row.role, row.occurred_at, row.outcome, row.sealed) == ("m", "assistant", 9, None, 0)
    assert sealed(views, ident(1)) == []
    assert views.get("timelines", layout.OPEN_STREAMS, ident(1).bytes)


def test_the_end_of_a_stream_seals_its_chunks_and_says_how_it_ended() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)))
    log.append(C, *chunks(1, 1, 5))
    usage, error = {"output": 5}, {"message": "no"}
    log.append(C, *chunks(1, 6, 7), StreamFinalized(ident(1), "failed", "length", usage, error))
    views = log.views()
    row = header(views, ident(1))
    assert (row.outcome, row.finish_reason, row.usage, row.error) == ("failed", "length", usage, error)
    assert (row.finalized_version, row.finalized_position, row.sealed) == (10, 3, 7)
    assert (row.first_at, row.last_at) == (START + 20_000, START + 140_000)
    assert (row.elapsed_us, row.marks[0].text_bytes) == (120_000, 7 * len("1.1 "))
    assert sealed(views, ident(1)) == logged(log, ident(1))
    assert views.get("timelines", layout.OPEN_STREAMS, ident(1).bytes) is None
    assert views.get("timelines", layout.SEALING, C.bytes) is None


def test_commits_of_chunks_alone_are_not_asked_for() -> None:
    assert not Timelines.kinds & CHUNK_BIT


def test_sequence_kind_part_time_and_text_come_back_as_they_were() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)))
    kinds: list[tuple[Kind, str | None, str, int]] = [
        ("reasoning", "r", "hm", 50),
        ("text", None, "é\U0001f600", 20),
        ("text", None, "", 20),
        ("other", "t", '{"type": "tool_call", "id": "c", "name": "f"}', 90),
        ("tool_call", "t", "{}", 91),
        ("text", None, "b", -5),
    ]
    for sequence, (kind, part, delta, at) in enumerate(kinds, 1):
        log.append(C, ChunkReceived(ident(1), sequence, delta, kind, at, part, b"raw"))
    log.append(C, StreamFinalized(ident(1), "completed"))
    views = log.views()
    assert sealed(views, ident(1)) == logged(log, ident(1))
    row = header(views, ident(1))
    assert (row.has_raw, row.has_tool_calls) == (True, True)
    assert row.elapsed_us == 71, "a clock that goes back is no time"
    assert (row.marks[0].characters, row.marks[0].text_bytes) == (7, 2 + 6 + 2 + 1)


def test_a_tool_call_without_arguments_is_one() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)))
    log.append(C, chunk(1, 1, '{"type": "tool_call", "id": "c", "name": "f"}', "other"))
    log.append(C, StreamFinalized(ident(1), "completed"), StreamStarted(ident(2)))
    log.append(C, chunk(2, 1, '{"type": "signature", "signature": "s"}', "other"))
    log.append(C, StreamFinalized(ident(2), "completed"))
    views = log.views()
    assert [header(views, ident(n)).has_tool_calls for n in (1, 2)] == [True, False]


class CountedPast:
    """A past that counts what is read of it."""

    def __init__(self, past: MemoryPast) -> None:
        self.past = past
        self.chunks = 0

    def context(self, context_id: UUID, from_version: int, to_version: int) -> Iterator[Commit]:
        """The commits, counted."""
        for commit in self.past.context(context_id, from_version, to_version):
            self.chunks += sum(len(r.deltas) for r in commit.records if isinstance(r, ChunkRun))
            yield commit


def test_each_chunk_is_read_once_however_many_streams_overlap() -> None:
    log = GivenLog()
    streams = range(1, 41)
    log.append(C, ContextCreated(), *(StreamStarted(ident(n)) for n in streams))
    for sequence in range(1, 26):
        for number in streams:
            log.append(C, chunk(number, sequence))
    for number in streams:
        log.append(C, StreamFinalized(ident(number), "completed"))
    timelines, rows = Timelines(), MemoryRows(Timelines.tables)
    past = CountedPast(MemoryPast(log.commits))
    for commit in log.commits:
        if commit.kinds & timelines.kinds:
            timelines.apply(commit, rows, past)
    assert past.chunks == 40 * 25


def test_overlapping_streams_are_sealed_as_if_each_were_alone(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        log, wanderer = GivenLog(), Wanderer(rng)
        for _ in range(120):
            log.append(C, *wanderer.commit())
        views = log.views()
        for message in wanderer.finished:
            assert sealed(views, message) == logged(log, message)
            row = header(views, message)
            texts = "".join(c.delta for c in logged(log, message))
            assert sum(mark.characters for mark in row.marks) == len(texts)
            assert row.sealed == len(logged(log, message))
        for message in wanderer.model.streams:
            count = header(views, message).sealed
            assert sealed(views, message) == logged(log, message)[:count]


def test_long_streams_are_cut_into_segments_that_seek_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_CHUNKS_MAX", 10)
    monkeypatch.setattr(segments, "EXTENDED_CHUNKS_MAX", 3)
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)))
    for first in range(1, 100, 4):
        log.append(C, *chunks(1, first, first + 3))
    log.append(C, StreamFinalized(ident(1), "completed"))
    views = log.views()
    row = header(views, ident(1))
    assert [mark.first_sequence for mark in row.marks] == [1, 9, 17, 25, 33, 41, 49, 57, 65, 73, 81, 89, 97]
    assert [mark.elapsed_us for mark in row.marks] == [(m.first_sequence - 1) * 20_000 for m in row.marks]
    assert row.elapsed_us == 99 * 20_000
    assert sealed(views, ident(1)) == logged(log, ident(1))


def test_much_text_is_cut_into_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_CHARACTERS_MAX", 1_000)
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)))
    for sequence in range(1, 31):
        log.append(C, chunk(1, sequence, "x" * (5_000 if sequence == 10 else 300)))
    log.append(C, StreamFinalized(ident(1), "completed"))
    views = log.views()
    assert sealed(views, ident(1)) == logged(log, ident(1))
    assert max(mark.characters for mark in header(views, ident(1)).marks) == 5_000
    assert [mark.characters for mark in header(views, ident(1)).marks][:3] == [900, 900, 900]


def test_memory_stays_bounded_while_many_streams_are_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.timelines.GATHERED_CHARACTERS_MAX", 700)
    log = GivenLog()
    log.append(C, ContextCreated(), *(StreamStarted(ident(n)) for n in (1, 2, 3)))
    for sequence in range(1, 40):
        for number in (1, 2, 3):
            log.append(C, chunk(number, sequence, at=START + 1))
    log.append(C, *(StreamFinalized(ident(n), "completed") for n in (1, 2, 3)))
    views = log.views()
    for number in (1, 2, 3):
        assert sealed(views, ident(number)) == logged(log, ident(number))
        assert len(header(views, ident(number)).marks) == 1


def test_a_redaction_drops_the_text_and_keeps_the_counts() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 9))
    log.append(C, StreamFinalized(ident(1), "completed"))
    log.append(C, MessageRedacted(ident(1)))
    views = log.views()
    assert sealed(views, ident(1)) == []
    assert (header(views, ident(1)).redacted, header(views, ident(1)).sealed) == (True, 9)
    assert not any(b"1.1" in value for _, value in views.dump()["timelines"][layout.SEGMENTS])


def test_what_a_stream_says_after_its_redaction_is_counted_and_never_sealed() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)), StreamStarted(ident(2)), *chunks(1, 1, 3))
    log.append(C, *chunks(2, 1, 2), StreamFinalized(ident(2), "completed"))
    log.append(C, MessageRedacted(ident(1)))
    log.append(C, *chunks(1, 4, 6))
    log.append(C, StreamFinalized(ident(1), "completed"))
    views = log.views()
    assert sealed(views, ident(1)) == []
    assert header(views, ident(1)).sealed == 6
    assert sealed(views, ident(2)) == logged(log, ident(2))


def test_a_resumed_stream_has_its_new_epoch_among_the_open_ones() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)))
    log.append(C, StreamResumed(ident(1), 4))
    stored = log.views().get("timelines", layout.OPEN_STREAMS, ident(1).bytes)
    assert layout.open_stream_rows.decode(stored or b"").epoch == 4


def test_a_deleted_context_has_no_open_streams_and_keeps_their_chunks() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 3))
    log.append(C, CustomRecorded("x"), ContextDeleted())
    views = log.views()
    assert views.get("timelines", layout.OPEN_STREAMS, ident(1).bytes) is None
    assert sealed(views, ident(1)) == logged(log, ident(1))
    assert header(views, ident(1)).outcome is None


@pytest.mark.parametrize("order", [("end", "redaction"), ("redaction", "end")])
def test_the_error_of_a_redacted_stream_is_dropped_as_it_may_quote_the_text(order: tuple[str, ...]) -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 3))
    end = StreamFinalized(ident(1), "failed", "error", {"output": 3}, {"message": "cannot say: 1.1"})
    for step in order:
        log.append(C, end if step == "end" else MessageRedacted(ident(1)))
    row = header(log.views(), ident(1))
    assert (row.error, row.outcome, row.finish_reason, row.usage) == (None, "failed", "error", {"output": 3})


def test_a_sealer_does_not_hold_the_providers_own_bytes() -> None:
    rows = MemoryRows(Timelines.tables)
    sealer = segments.Sealer(ident(1), TimelineRow(C, "assistant", None, 2, 1, START, None), rows)
    for first, raws in ((1, (b"raw", b"raw")), (3, None)):
        sealer.add(ChunkRun(ident(1), first, START, ("a", "b"), (0, 1), raws=raws))
    held = [
        run for runs in gc.get_referents(sealer) if type(runs) is list for run in cast("list[ChunkRun]", runs)
    ]
    assert [run.raws for run in held] == [None, None]
    sealer.flush()
    assert sealer.row.has_raw


def test_segments_are_compressed_where_it_pays() -> None:
    long = Segment(0, [0] * 200, [Span("text", None, 200)], ["hello "] * 200)
    assert encode(long)[0] == 1
    assert len(encode(long)) < 200
    assert decode(encode(long)) == long
    short = Segment(0, [0], [Span("text", None, 1)], ["hello"])
    assert encode(short)[0] == 0


@pytest.mark.parametrize("stored", [b"", b"\x00", b"\x01abc", b"\x00\xc0", b"\x02\x94\x00\x90\x90\x90"])
def test_a_damaged_segment_is_an_error_with_a_name(stored: bytes) -> None:
    with pytest.raises(Damaged) as caught:
        decode(stored)
    assert caught.value.code == "view_damaged"
