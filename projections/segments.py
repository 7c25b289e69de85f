"""Sealed blocks: a stretch of one stream's chunks in columns, replayable without the log.

    offset  size  field
         0     1  0: the rest is as it is; 1: it is zstd
         1     n  msgpack of [first_at, gaps, spans, deltas]

Sequences are dense, so the key's first sequence gives them all. A span is [kind, part, count], the chunks
after one another of one kind and part; gaps are those of ``ChunkRun``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final
from uuid import UUID

import msgspec
import zstandard
from msgspec.structs import replace

from eventstore.content import Kind, ToolCallPart, fold
from eventstore.errors import Damaged
from eventstore.events import ChunkRun
from eventstore.limits import COMMIT_BYTES_MAX
from projections.layout import SEGMENTS, TIMELINES, SegmentMark, TimelineRow, timeline_rows, versioned
from projections.projection import Rows

SEGMENT_CHUNKS_MAX: Final = 16_384
"""Chunks in a segment: reading one takes about 2 ms. A run of chunks is never split."""

SEGMENT_CHARACTERS_MAX: Final = 256 * 1024
"""Characters in a segment, at most 1 MiB of UTF-8, unless one run alone has more."""

EXTENDED_CHUNKS_MAX: Final = 1_024
"""A last segment with fewer chunks is rewritten to hold those that follow. This bounds what the rewriting
costs, and that a stream has needless segments, when others in its context end while it is open."""

EXTENDED_CHARACTERS_MAX: Final = 16 * 1024
"""The same for its characters."""

COMPRESS_BYTES_MIN: Final = 512
"""Below this zstd saves less than a call costs."""

SEGMENT_BYTES_MAX: Final = 4 * COMMIT_BYTES_MAX
"""What a decompressed segment may be: a run of a whole commit, with room for its other columns."""


class Span(msgspec.Struct, array_like=True, gc=False):
    """How many chunks after one another are of one kind and part."""

    kind: Kind
    part: str | None
    count: int


class Segment(msgspec.Struct, array_like=True):
    """The columns."""

    first_at: int
    gaps: list[int]
    spans: list[Span]
    deltas: list[str]

    def extend(self, runs: list[ChunkRun], last_at: int) -> int:
        """Append the chunks of runs, ``last_at`` being when the one before arrived; when their last did."""
        deltas, gaps, spans = self.deltas, self.gaps, self.spans
        span = spans[-1] if spans else None
        for run in runs:
            count = len(run.deltas)
            gaps.append(run.first_at - last_at)
            last_at = run.first_at
            if count == 1:
                deltas.append(run.deltas[0])
            else:
                deltas.extend(run.deltas)
                gaps.extend(run.gaps[1:])
                last_at += sum(run.gaps)
            if span is not None and span.kind == run.kind and span.part == run.part:
                span.count += count
            else:
                span = Span(run.kind, run.part, count)
                spans.append(span)
        return last_at

    def pieces(self) -> Iterator[tuple[Span, list[str]]]:
        """Each span with its deltas."""
        start = 0
        for span in self.spans:
            yield span, self.deltas[start : start + span.count]
            start += span.count

    def said(self) -> str:
        """The text but for notes (kind ``other``), which only say something about a part."""
        return "".join("".join(deltas) for span, deltas in self.pieces() if span.kind != "other")

    def has_tool_calls(self) -> bool:
        """Whether any chunk is a piece of a tool call, or a note that opens one."""
        for span, deltas in self.pieces():
            if span.kind == "tool_call":
                return True
            if span.kind == "other":
                notes = fold((span.kind, span.part, delta) for delta in deltas)
                if any(type(part) is ToolCallPart for part in notes):
                    return True
        return False

    def runs(self, message_id: UUID, first_sequence: int) -> Iterator[ChunkRun]:
        """The same chunks as runs, one for each span."""
        start, at = 0, self.first_at
        for span in self.spans:
            stop = start + span.count
            gaps = self.gaps[start:stop]
            at += gaps[0]
            run_gaps = (0, *gaps[1:])
            deltas = tuple(self.deltas[start:stop])
            yield ChunkRun(message_id, first_sequence + start, at, deltas, run_gaps, span.kind, span.part)
            at += sum(run_gaps)
            start = stop


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Segment)


class _Zstd(threading.local):
    """One of each for each thread: they hold state while they work."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=3).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_zstd: Final = _Zstd()


def encode(segment: Segment) -> bytes:
    """The stored bytes of a segment."""
    body = _encoder.encode(segment)
    if len(body) >= COMPRESS_BYTES_MIN:
        compressed = _zstd.compress(body)
        if len(compressed) < len(body):
            return b"\x01" + compressed
    return b"\x00" + body


def decode(stored: bytes) -> Segment:
    """Back from ``encode``. Raises ``Damaged`` with code ``view_damaged``."""
    try:
        flag, body = stored[:1], stored[1:]
        if flag not in (b"\x00", b"\x01"):
            raise ValueError("no such form")
        if flag == b"\x01":
            if zstandard.frame_content_size(body) > SEGMENT_BYTES_MAX:
                raise ValueError("larger than any segment")
            body = _zstd.decompress(body)
        return _decoder.decode(body)
    except (msgspec.MsgspecError, zstandard.ZstdError, UnicodeError, ValueError) as error:
        raise Damaged("view_damaged", "a segment of a timeline cannot be read") from error


class Sealer:
    """Gathers the chunks of one stream into segments. ``row`` is its header, kept up to date by ``flush``.

    ``add`` does next to nothing: a rebuild calls it for every commit of every stream.
    """

    __slots__ = ("_characters", "_chunks", "_has_raw", "_runs", "message_id", "row", "rows")

    def __init__(self, message_id: UUID, row: TimelineRow, rows: Rows) -> None:
        self.message_id = message_id
        self.row = row
        self.rows = rows
        self._begin()

    def _begin(self) -> None:
        self._runs: list[ChunkRun] = []
        self._chunks = 0
        self._characters = 0
        self._has_raw = False

    def add(self, run: ChunkRun) -> None:
        """Take the stream's next chunks. The provider's own bytes are not kept: they may be many."""
        deltas = run.deltas
        count = len(deltas)
        characters = len(deltas[0]) if count == 1 else sum(map(len, deltas))
        chunks, characters_of_all = self._chunks + count, self._characters + characters
        if chunks > SEGMENT_CHUNKS_MAX or characters_of_all > SEGMENT_CHARACTERS_MAX:
            self.flush()
            chunks, characters_of_all = count, characters
        if run.raws is not None:
            self._has_raw = True
            run = replace(run, raws=None)
        self._runs.append(run)
        self._chunks, self._characters = chunks, characters_of_all

    def flush(self) -> None:
        """Write what was gathered, segments and header."""
        row, runs = self.row, self._runs
        if not runs:
            return
        assert runs[0].first_sequence == row.sealed + 1, "a stream's chunks are dense"
        if row.redacted:
            row.sealed += self._chunks
        else:
            self._seal(runs)
        self.rows.put(TIMELINES, self.message_id.bytes, timeline_rows.encode(row))
        self._begin()

    def _seal(self, runs: list[ChunkRun]) -> None:
        """Put the runs into a new segment, or into the last one if that is short."""
        row = self.row
        segment = self._short_segment()
        if segment is None:
            first_at = runs[0].first_at
            if not row.marks:
                row.first_at = row.last_at = first_at
            since_last = max(0, first_at - row.last_at)
            row.marks.append(SegmentMark(runs[0].first_sequence, row.elapsed_us + since_last, 0, 0))
            row.last_at = first_at
            segment = Segment(first_at, [], [], [])
        mark = row.marks[-1]
        row.last_at = segment.extend(runs, row.last_at)
        row.elapsed_us = mark.elapsed_us + elapsed(segment.gaps)
        row.sealed += self._chunks
        row.has_raw = row.has_raw or self._has_raw
        row.has_tool_calls = row.has_tool_calls or segment.has_tool_calls()
        said = segment.said()
        mark.characters, mark.text_bytes = len(said), len(said.encode())
        self.rows.put(SEGMENTS, versioned(self.message_id.bytes, mark.first_sequence), encode(segment))

    def _short_segment(self) -> Segment | None:
        """The last segment, if it is to be rewritten to hold what was gathered."""
        marks, sealed = self.row.marks, self.row.sealed
        if not marks or sealed - marks[-1].first_sequence + 1 >= EXTENDED_CHUNKS_MAX:
            return None
        stored = self.rows.get(SEGMENTS, versioned(self.message_id.bytes, marks[-1].first_sequence))
        last = decode(stored or b"")
        held = sum(map(len, last.deltas))
        is_short = held < EXTENDED_CHARACTERS_MAX
        return last if is_short and _fits(len(last.deltas) + self._chunks, held + self._characters) else None


def _fits(chunks: int, characters: int) -> bool:
    return chunks <= SEGMENT_CHUNKS_MAX and characters <= SEGMENT_CHARACTERS_MAX


def elapsed(gaps: list[int]) -> int:
    """The time that gaps add up to. A clock that was set back counts as no time."""
    return sum(gaps) if min(gaps) >= 0 else sum(gap for gap in gaps if gap > 0)
