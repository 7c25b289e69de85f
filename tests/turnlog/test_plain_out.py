"""Our own events, the text alone, and the provider's own bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers import provided
from rendered import (
    ABORTED,
    COMPLETED,
    CONTEXT,
    FACTS,
    FAILED,
    INTERRUPTED,
    MESSAGE,
    STARTED_AT,
    any_chunks,
    chunks_of,
    ended,
    folded,
    objects,
    rendered,
    told,
    wire,
)
from wires import RECORDINGS

import turnlog
from eventstore.content import DataPart, ReasoningPart, ToolResultPart, fold
from eventstore.errors import CODES, Refused
from eventstore.events import ChunkReceived, StreamFinalized
from eventstore.units import format_time
from projections.answers import ReplayChunk, ReplayDone
from turnlog.dialects import renderer
from turnlog.dialects.rendering import Event
from turnlog.dialects.sse import Decoder
from turnlog.dialects.sse_out import frame

TOTALS = ReplayDone(3, 12, 14, 500_000, None)
RAW = [(number, f"data: {number}\n\n".encode() if number != 2 else None) for number in (1, 2, 3)]


def with_bytes(raws: list[tuple[int, bytes | None]]) -> list[ChunkReceived]:
    return [ChunkReceived(MESSAGE, number, "", "other", raw=raw) for number, raw in raws]


def test_our_own_events_are_objects_with_a_type() -> None:
    started, chunk, end = objects(rendered("turnlog", chunks_of(("text", "a", "hi\n"))))
    assert started == {
        "type": "stream.started",
        "message_id": str(MESSAGE),
        "context_id": str(CONTEXT),
        "role": "assistant",
        "model": "model-1",
        "provider_id": None,
        "created_at": "2026-01-01T00:00:00.250000Z",
    }
    assert chunk == {
        "type": "stream.chunk_received",
        "message_id": str(MESSAGE),
        "sequence": 1,
        "kind": "text",
        "part": "a",
        "at": "2026-01-01T00:00:00.500000Z",
        "delta": "hi\n",
    }
    assert end == {
        "type": "stream.finalized",
        "message_id": str(MESSAGE),
        "outcome": "completed",
        "finish_reason": "stop",
        "usage": None,
        "error": None,
        "parts": None,
        "occurred_at": None,
        "totals": None,
    }


@given(st.lists(st.integers(-(1 << 53), 1 << 53) | st.integers(0, 3_000_000)))
def test_a_chunks_time_is_written_as_every_time_is(times: list[int]) -> None:
    reader = renderer("turnlog", FACTS)
    for number, at in enumerate(times, 1):
        (said,) = objects(reader.chunk(ChunkReceived(MESSAGE, number, "x", at=at)))
        assert said["at"] == format_time(at)


@pytest.mark.parametrize("finalized", [COMPLETED, ABORTED, INTERRUPTED, FAILED])
def test_our_own_end_tells_the_outcome_whole(finalized: StreamFinalized) -> None:
    (said,) = objects(renderer("turnlog", FACTS).end(finalized))
    assert (said["outcome"], said["finish_reason"], said["error"]) == (
        finalized.outcome,
        finalized.finish_reason,
        finalized.error,
    )


def test_the_final_content_is_told_where_the_chunks_do_not_say_it() -> None:
    parts = (ReasoningPart("hm", None), ToolResultPart("c", {"a": 1}), DataPart([1]))
    finalized = ended(parts=parts, usage={"output_tokens": 3}, occurred_at=STARTED_AT)
    (said,) = objects(renderer("turnlog", FACTS).end(finalized, TOTALS))
    assert said["parts"] == [
        {"type": "reasoning", "text": "hm", "signature": None},
        {"type": "tool_result", "call_id": "c", "content": {"a": 1}, "is_error": False},
        {"type": "data", "data": [1]},
    ]
    assert said["usage"] == {"output_tokens": 3}
    assert said["occurred_at"] == "2026-01-01T00:00:00.250000Z"
    assert said["totals"] == {"chunks": 3, "characters": 12, "text_bytes": 14, "recorded_us": 500_000}


def test_the_end_of_a_replay_differs_from_the_end_of_the_stream() -> None:
    (said,) = objects(renderer("turnlog", FACTS).end(None, TOTALS))
    assert (said["type"], said["message_id"]) == ("stream.caught_up", str(MESSAGE))
    assert said["totals"]["chunks"] == 3


@given(chunks=any_chunks(), cut=st.integers(0, 20))
def test_our_snapshot_and_the_rest_fold_to_the_same(chunks: list[ChunkReceived], cut: int) -> None:
    reader = renderer("turnlog", FACTS)
    snapshot, *rest = objects(reader.snapshot(chunks[:cut]) + told(reader, chunks[cut:]))
    assert snapshot["replay"] is True
    assert snapshot["sequence"] == len(chunks[:cut])
    pieces = [*snapshot["pieces"], *rest]
    assert fold((piece["kind"], piece["part"], piece["delta"]) for piece in pieces) == folded(chunks)
    spoken = [(piece["kind"], piece["part"]) for piece in snapshot["pieces"] if piece["kind"] != "other"]
    assert len(spoken) == len(set(spoken)), "one piece for each kind and part"


def text_of(body: bytes) -> tuple[str, list[tuple[str | None, str | None]]]:
    """The text, and the events with a name."""
    decoder = Decoder()
    found = [frame for frame in [*decoder.feed(body), *decoder.close()] if frame.data is not None]
    text = "".join(frame.data or "" for frame in found if frame.event is None)
    return text, [(frame.event, frame.data) for frame in found if frame.event is not None]


@given(chunks=any_chunks(), cut=st.integers(0, 20))
def test_the_text_is_the_text_alone_without_carriage_returns(chunks: list[ChunkReceived], cut: int) -> None:
    expected = "".join(chunk.delta for chunk in chunks if chunk.kind == "text").replace("\r", "")
    assert text_of(wire(rendered("text", chunks))) == (expected, [("finalized", "completed")])
    reader = renderer("text", FACTS)
    assert text_of(wire(reader.snapshot(chunks[:cut]) + told(reader, chunks[cut:])))[0] == expected


def test_a_line_end_that_was_cut_in_two_is_one() -> None:
    chunks = chunks_of(("text", None, "a\r"), ("text", None, "\nb\r\n"), ("text", None, "\r"))
    assert text_of(wire(rendered("text", chunks)))[0] == "a\nb\n"


@pytest.mark.parametrize(
    ("finalized", "said"),
    [
        (COMPLETED, "completed"),
        (ABORTED, "aborted"),
        (INTERRUPTED, "interrupted\nthe answer was interrupted: its events ceased without an end"),
        (FAILED, "failed\nOverloaded"),
    ],
)
def test_the_end_of_the_text_has_a_name(finalized: StreamFinalized, said: str) -> None:
    assert renderer("text", FACTS).end(finalized) == [Event(said.encode(), "finalized")]
    assert renderer("text", FACTS).end(None) == []


def test_kept_bytes_are_passed_on_as_they_are() -> None:
    events = rendered("raw", with_bytes(RAW))
    assert b"".join(frame(event, 1) for event in events) == b"data: 1\n\ndata: 3\n\n"
    reader = renderer("raw", FACTS)
    assert reader.snapshot(with_bytes(RAW)) == [Event(b"data: 1\n\ndata: 3\n\n", framed=True)]


async def test_what_a_provider_sent_comes_back_byte_for_byte(data_dir: Path) -> None:
    sent = RECORDINGS["anthropic/tool_use_response.txt"]
    async with turnlog.open(data_dir) as log:
        context = await log.create_context()
        tee = await context.tee(provided([sent]), dialect="anthropic", keep_raw=True)
        async for _ in tee:
            pass
        page = await log.queries.chunks(tee.message_id, raw=True)
    reader = renderer("raw", FACTS)
    assert b"".join(event.data for event in told(reader, page.chunks)) == sent


@pytest.mark.parametrize(
    "chunk", [ChunkReceived(MESSAGE, 1, "a"), ReplayChunk(7, "a", "text", None, STARTED_AT, 0)]
)
def test_bytes_that_were_not_kept_are_refused(chunk: ChunkReceived | ReplayChunk) -> None:
    with pytest.raises(Refused) as caught:
        renderer("raw", FACTS).chunk(chunk)
    assert caught.value.code == "raw_not_kept"
    assert caught.value.fields == {"message_id": MESSAGE}
    assert "keep_raw" in CODES["raw_not_kept"].hint


def test_a_reader_of_bytes_may_resume_between_the_chunks_of_one_event() -> None:
    assert told(renderer("raw", FACTS), with_bytes(RAW[1:])) == [Event(b"data: 3\n\n", framed=True)]
