"""A ``streaming_response`` of copilot_chat: its chunks at their times, and whether its copies agree."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, chain, pairwise, starmap
from operator import attrgetter, gt, sub
from typing import Annotated, Any, Final, TypeAlias, cast

import msgspec
from msgspec import UNSET, UnsetType

from eventstore.events import NUMBER_MAX
from turnlog.importers.conversation import Chunk, Streamed
from turnlog.importers.copilot_chat.notes import is_exact, list_of, object_of, rest_of, text_of
from turnlog.importers.source.notes import Where
from turnlog.importers.source.pieces import Left, opened
from turnlog.importers.source.rows import Rows
from turnlog.importers.source.times import read_moment, read_moments

_MODELLED: Final = ("content", "chunks", "started_at", "completed_at", "model", "usage", "finish_reason")
_AT: Final = attrgetter("at")
_CHUNK: Final = frozenset(("sequence", "delta", "timestamp", "accumulated_chars", "interval_ms"))


_Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]


class Row(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A chunk as the program writes it."""

    sequence: _Whole
    delta: str
    timestamp: str
    accumulated_chars: _Whole
    interval_ms: _Whole | UnsetType = UNSET


ROWS: Final = msgspec.json.Decoder(list[Row])
"""Of an array of chunks."""


def read_stream(
    data: dict[str, Any], where: Where, created_at: int | None
) -> tuple[Streamed, dict[str, Any]]:
    """The stream, and what of its payload cannot be made again from it.

    ``created_at``: the message's own time, for a stream that says none; without it too, times are 0.
    """
    kept = rest_of(data, *_MODELLED, "total_duration_ms")
    started_at = _time(data, "started_at", where, kept)
    completed_at = _time(data, "completed_at", where, kept)
    chunks = _chunks(data, where, started_at if started_at is not None else created_at, kept)
    if started_at is None:
        started_at = chunks[0].at if chunks else created_at
    if started_at is None:
        started_at = completed_at if completed_at is not None else 0
    if data.get("started_at") is None:
        where.warn("time_missing", "a stream without its start")
    duration = data.get("total_duration_ms")
    if duration is not None and (
        completed_at is None or duration != completed_at // 1_000 - started_at // 1_000
    ):
        kept["total_duration_ms"] = duration
    usage = object_of(data.get("usage"))
    model, finish_reason = text_of(data.get("model")), text_of(data.get("finish_reason"))
    for name, value in (("model", model), ("finish_reason", finish_reason), ("usage", usage)):
        if value is None and data.get(name) is not None:
            kept[name] = data[name]
            where.inside(f".{name}").warn("unexpected_value", f"the {name} of a stream is of another type")
    backwards = _backwards(started_at, chunks, completed_at)
    if backwards:
        where.warn("times_backwards", f"times: {backwards} of a stream are before the one ahead of them")
    outcome = "completed" if data.get("completed_at") is not None else None
    return Streamed(started_at, chunks, model, completed_at, outcome, finish_reason, usage), kept


def _backwards(started_at: int, chunks: tuple[Chunk, ...], completed_at: int | None) -> int:
    """How many of a stream's times are before the one ahead of them."""
    ends = () if completed_at is None else (completed_at,)
    return sum(starmap(gt, pairwise(chain((started_at,), map(_AT, chunks), ends))))


def _time(data: dict[str, Any], name: str, where: Where, kept: dict[str, Any]) -> int | None:
    found = data.get(name)
    at = read_moment(found)
    if found is not None and at is None:
        where.inside(f".{name}").warn("time_unreadable", "it is no RFC 3339 time of this age")
    if found is not None and (at is None or not is_exact(found)):
        kept[name] = found
    return at


def _chunks(
    data: dict[str, Any], where: Where, started_at: int | None, kept: dict[str, Any]
) -> tuple[Chunk, ...]:
    """Every chunk in the order of the file; the list itself is kept if it says more than they do."""
    found = data.get("chunks")
    regular = _as_written(found.items() if isinstance(found, (Left, Rows)) else [list_of(found) or []])
    if regular:
        return regular
    data["chunks"] = opened(found)
    rows = cast("list[dict[str, Any]] | None", list_of(data["chunks"]))
    if rows is None:
        if data.get("chunks") is not None:
            kept["chunks"] = data["chunks"]
        where.inside(".chunks").warn("chunks_missing", "a stream without a list of chunks")
        return ()
    chunks: list[Chunk] = []
    odd: dict[str, int] = {}
    exact = True
    size, before = 0, None
    times = (read_moment(row.get("timestamp")) for row in rows if type(row) is dict)
    at = started_at if started_at is not None else next((time for time in times if time is not None), 0)
    for index, row in enumerate(rows):
        delta = row.get("delta") if type(row) is dict else None
        if not isinstance(delta, str):
            odd.setdefault("chunk_malformed", index)
            continue
        time = row.get("timestamp")
        read = read_moment(time)
        if read is None:
            odd.setdefault("time_unreadable", index)
        else:
            at = read
            exact = exact and is_exact(str(time))
        chunks.append(Chunk(delta, at))
        size += len(delta) if delta.isascii() else len(delta.encode())
        if row.get("sequence") != index + 1:
            odd.setdefault("sequence_gap", index)
        if row.get("accumulated_chars", size) != size:
            odd.setdefault("length_differs", index)
        milliseconds = at // 1_000
        gap = None if before is None or milliseconds < before else milliseconds - before
        exact = exact and row.get("interval_ms") == gap and row.keys() <= _CHUNK
        before = milliseconds
    for code, index in odd.items():
        where.inside(f".chunks[{index}]").warn(code, _ODD[code])
    if odd or not exact:
        kept["chunks"] = rows
    return tuple(chunks)


def _as_written(pieces: Iterable[list[Any]]) -> tuple[Chunk, ...] | None:
    """The chunks if each row is exactly as the program writes it, else None, and ``_chunks`` finds out why.

    Nearly all are; column by column they cost a third.
    """
    chunks: list[Chunk] = []
    size = 0
    for piece in pieces:
        try:
            rows = msgspec.convert(piece, list[Row])
        except msgspec.ValidationError:
            return None
        some = _columns(rows, len(chunks), size, chunks[-1].at // 1_000 if chunks else None)
        if some is None:
            return None
        chunks += some[0]
        size = some[1]
    return tuple(chunks)


def _columns(rows: list[Row], count: int, size: int, before: int | None) -> tuple[list[Chunk], int] | None:
    """As ``_as_written``, and the bytes then; ``before`` is the last chunk's millisecond."""
    deltas = [row.delta for row in rows]
    sizes = list(accumulate(map(len, map(str.encode, deltas)), initial=size))
    times = read_moments([row.timestamp for row in rows])
    if not times:
        return None if times is None else ([], size)
    milliseconds = [time // 1_000 for time in times]
    gaps: list[int | UnsetType] = [
        gap if gap >= 0 else UNSET for gap in map(sub, milliseconds[1:], milliseconds)
    ]
    gaps.insert(0, UNSET if before is None or milliseconds[0] < before else milliseconds[0] - before)
    if (
        [row.sequence for row in rows] != list(range(count + 1, count + len(rows) + 1))
        or [row.accumulated_chars for row in rows] != sizes[1:]
        or [row.interval_ms for row in rows] != gaps
    ):
        return None
    return list(map(Chunk, deltas, times)), sizes[-1]


_ODD: Final = {
    "chunk_malformed": "a chunk without a text",
    "time_unreadable": "a chunk without a time; it has that of the one before",
    "sequence_gap": "the sequences are not 1, 2, 3 ...; the order of the file holds",
    "length_differs": "accumulated_chars is not the UTF-8 bytes so far",
}
