"""A stored stream as Anthropic's Messages stream: it reads back as what it was, and ends as it ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendered import (
    COMPLETED,
    FACTS,
    FAILED,
    INTERRUPTED,
    MESSAGE,
    any_chunks,
    call,
    chunks_of,
    ended,
    folded,
    note,
    objects,
    recorded,
    rendered,
    told,
    well_formed,
    wire,
)
from wires import RECORDINGS, content, final, understood

from eventstore.content import Json, Part, ReasoningPart, fold
from eventstore.events import ChunkReceived, StreamFinalized
from turnlog.dialects import renderer
from turnlog.dialects.rendering import Event
from turnlog.dialects.sse import Decoder

NAME = "anthropic"


def sayable(chunks: list[ChunkReceived]) -> tuple[Part, ...]:
    """The content as this dialect can say it: a refusal is a text of its own."""
    return fold(
        ("text", f"refusal of {chunk.part}", chunk.delta)
        if chunk.kind == "refusal"
        else (chunk.kind, chunk.part, chunk.delta)
        for chunk in chunks
    )


def blocks(events: list[Event]) -> list[tuple[str, int]]:
    """Starts, deltas and stops with their index, deltas after one another as one."""
    found: list[tuple[str, int]] = []
    for said in objects(events):
        if said["type"].startswith("content_block_"):
            place = (said["type"].removeprefix("content_block_"), said["index"])
            if place[0] != "delta" or found[-1:] != [place]:
                found.append(place)
    return found


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recording_reads_back_as_what_it_was(name: str) -> None:
    chunks, finalized = recorded(name)
    pieces, end, (opened,) = understood(NAME, wire(rendered(NAME, chunks, finalized)))
    assert content(pieces) == folded(chunks)
    assert (end.outcome, end.parts) == ("completed", None)
    assert (opened.provider_id, opened.model) == (str(MESSAGE), FACTS.model)
    if name.startswith(NAME):
        assert end.finish_reason == finalized.finish_reason
        assert end.usage is not None
        assert finalized.usage is not None
        assert end.usage == {"input_tokens": 0, **finalized.usage}
        assert [(piece.kind, piece.delta) for piece in pieces] == [(c.kind, c.delta) for c in chunks]


WHOLE = [name for name in RECORDINGS if name.startswith(NAME) and "incomplete" not in name]
"""The recordings whose last block was stopped."""


@pytest.mark.parametrize("name", WHOLE)
def test_blocks_start_and_stop_where_the_providers_did(name: str) -> None:
    decoder = Decoder()
    sent = [json.loads(frame.data or "") for frame in decoder.feed(RECORDINGS[name] + b"\n\n") if frame.data]
    kept = ("ping", "content_block_delta")
    assert [
        (said["type"], said.get("index"))
        for said in objects(rendered(NAME, *recorded(name)))
        if said["type"] not in kept
    ] == [(event["type"], event.get("index")) for event in sent if event["type"] not in kept]


@given(chunks=well_formed())
def test_any_stream_reads_back_as_what_it_was(chunks: list[ChunkReceived]) -> None:
    pieces, end, _ = understood(NAME, wire(rendered(NAME, chunks)))
    assert content(pieces) == sayable(chunks)
    assert end.outcome == "completed"


@given(chunks=well_formed(), cut=st.integers(0, 20))
def test_a_snapshot_and_the_rest_read_back_as_all_of_it(chunks: list[ChunkReceived], cut: int) -> None:
    reader = renderer(NAME, FACTS)
    snapshot = reader.snapshot(chunks[:cut])
    events = [*reader.begin(), *snapshot, *told(reader, chunks[cut:]), *reader.end(COMPLETED)]
    assert content(understood(NAME, wire(events))[0]) == sayable(chunks)
    texts = [
        said["index"]
        for said in objects(snapshot)
        if said["type"] == "content_block_delta" and "signature" not in said["delta"]
    ]
    assert len(texts) == len(set(texts)), "one delta for each block"


@given(chunks=any_chunks())
def test_any_stream_at_all_starts_and_stops_each_block_once_and_in_order(chunks: list[ChunkReceived]) -> None:
    events = rendered(NAME, chunks)
    assert [event.name for event in events] == [said["type"] for said in objects(events)]
    said = blocks(events)
    starts = [index for kind, index in said if kind == "start"]
    stops = [index for kind, index in said if kind == "stop"]
    assert starts == sorted(stops) == list(range(len(starts)))
    for number, (kind, index) in enumerate(said):
        assert kind == "start" or ("start", index) in said[:number]
    assert understood(NAME, wire(events))[1].outcome == "completed"


def test_a_message_has_the_members_that_clients_expect() -> None:
    events = rendered(NAME, chunks_of(("text", None, "hi")))
    assert [event.name for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert objects(events) == [
        {
            "type": "message_start",
            "message": {
                "id": str(MESSAGE),
                "type": "message",
                "role": "assistant",
                "model": "model-1",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 0},
        },
        {"type": "message_stop"},
    ]


def test_what_is_thought_is_a_block_with_its_signature() -> None:
    chunks = chunks_of(("reasoning", "0", "hm"), note("0", type="signature", signature="s"))
    started, thought, signed = objects(rendered(NAME, chunks))[1:4]
    assert started["content_block"] == {"type": "thinking", "thinking": "", "signature": ""}
    assert thought["delta"] == {"type": "thinking_delta", "thinking": "hm"}
    assert signed["delta"] == {"type": "signature_delta", "signature": "s"}
    assert content(understood(NAME, wire(rendered(NAME, chunks)))[0]) == (ReasoningPart("hm", "s"),)


def test_a_signature_without_a_thought_is_a_block_all_the_same() -> None:
    chunks = chunks_of(note("0", type="signature", signature="s"), ("text", "1", "a"))
    pieces, end, _ = understood(NAME, wire(rendered(NAME, chunks)))
    assert final(pieces, end)[0] == ReasoningPart("", "s")


def test_a_block_whose_call_may_go_on_stays_open() -> None:
    chunks = chunks_of(
        call("a", "1", "one"),
        ("tool_call", "a", '{"x'),
        call("b", "2", "two"),
        ("tool_call", "b", "{}"),
        ("tool_call", "a", '": 1}'),
        ("text", None, "so"),
    )
    assert blocks(rendered(NAME, chunks)) == [
        ("start", 0),
        ("delta", 0),
        ("start", 1),
        ("delta", 1),
        ("stop", 1),
        ("delta", 0),
        ("stop", 0),
        ("start", 2),
        ("delta", 2),
        ("stop", 2),
    ]


def test_a_text_that_goes_on_keeps_its_index() -> None:
    chunks = chunks_of(("text", "a", "1"), ("text", "b", "2"), ("text", "a", "3"), ("text", "b", "4"))
    assert blocks(rendered(NAME, chunks)) == [
        ("start", 0),
        ("delta", 0),
        ("stop", 0),
        ("start", 1),
        ("delta", 1),
        ("stop", 1),
        ("delta", 0),
        ("delta", 1),
    ]


def test_a_call_opens_when_its_name_is_known_or_something_else_comes() -> None:
    reader = renderer(NAME, FACTS)
    first, second = chunks_of(call("t", "a", ""), call("t", "a", "one"))
    assert reader.chunk(first) == []
    (started,) = objects(reader.chunk(second))
    assert started["content_block"] == {"type": "tool_use", "id": "a", "name": "one", "input": {}}
    nameless = rendered(NAME, chunks_of(call("t", "a", ""), ("text", None, "x")))
    assert [said["content_block"]["type"] for said in objects(nameless) if "content_block" in said] == [
        "tool_use",
        "text",
    ]
    assert objects(rendered(NAME, [first], None))[-1]["type"] == "content_block_start"


def test_calls_of_which_little_is_known_open_one_after_another() -> None:
    events = rendered(NAME, chunks_of(call("t", "a", ""), call("u", "b", "")))
    started = [said["content_block"] for said in objects(events) if "content_block" in said]
    assert [(block["id"], block["name"]) for block in started] == [("a", ""), ("b", "")]


def test_what_is_said_in_a_block_that_is_not_modelled_stays_in_it() -> None:
    chunks = chunks_of(note("0", type="block", block={"type": "new"}), ("text", "0", "a"), ("text", "0", "b"))
    assert blocks(rendered(NAME, chunks)) == [("start", 0), ("delta", 0), ("stop", 0)]


def test_a_call_that_is_open_does_not_open_again() -> None:
    events = rendered(NAME, chunks_of(call("t", "a", "one"), ("tool_call", "t", "{}"), call("t", "b", "two")))
    assert blocks(events) == [("start", 0), ("delta", 0), ("stop", 0)]


def test_deltas_and_blocks_that_are_not_modelled_are_passed_on() -> None:
    citation = {"type": "citations_delta", "citation": {"cited_text": "x"}}
    result: Json = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    chunks = chunks_of(
        note("0", type="delta", delta=citation),
        ("text", "0", "a"),
        note("1", type="block", block=result),
        note("1", type="delta", delta={"type": "new_delta"}),
        note(None, type="delta", fields={"annotations": []}),
        note(None, type="attempt", attempt=2),
    )
    events = rendered(NAME, chunks)
    assert blocks(events) == [
        ("start", 0),
        ("delta", 0),
        ("stop", 0),
        ("start", 1),
        ("delta", 1),
        ("stop", 1),
    ]
    said = objects(events)
    assert said[1]["content_block"] == {"type": "text", "text": ""}
    assert said[2]["delta"] == citation
    assert said[5]["content_block"] == result
    assert final(*understood(NAME, wire(events))[:2])[0:1] == folded(chunks)


def ending(finalized: StreamFinalized | None, *chunks: ChunkReceived) -> list[dict[str, Any]]:
    reader = renderer(NAME, FACTS)
    told(reader, chunks)
    return objects(reader.end(finalized))


@pytest.mark.parametrize(
    ("finalized", "reason"),
    [
        (COMPLETED, "end_turn"),
        (ended(), "end_turn"),
        (ended(finish_reason="stop_sequence"), "stop_sequence"),
        (ended(finish_reason="length"), "max_tokens"),
        (ended(finish_reason="tool_calls"), "tool_use"),
        (ended(finish_reason="content_filter"), "refusal"),
        (ended(finish_reason="pause_turn"), "pause_turn"),
        (ended("aborted"), "aborted"),
    ],
)
def test_an_answer_that_ended_on_purpose_says_why(finalized: StreamFinalized, reason: str) -> None:
    said = ending(finalized)
    assert [event["type"] for event in said] == ["message_delta", "message_stop"]
    assert said[0]["delta"] == {"stop_reason": reason, "stop_sequence": None}


def test_calls_and_refusals_are_reasons_to_stop() -> None:
    assert ending(ended(), *chunks_of(call("t", "a", "n")))[1]["delta"]["stop_reason"] == "tool_use"
    assert ending(COMPLETED, *chunks_of(("refusal", None, "no")))[1]["delta"]["stop_reason"] == "refusal"


def test_the_stop_sequence_is_told_at_the_end() -> None:
    stop = note(None, type="stop_sequence", stop_sequence="###")
    (said, _) = ending(ended(finish_reason="stop_sequence"), *chunks_of(stop))
    assert said["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "###"}


def test_an_answer_that_is_incomplete_by_accident_ends_in_an_error() -> None:
    interrupted = {
        "type": "error",
        "error": {
            "message": "the answer was interrupted: its events ceased without an end",
            "type": "interrupted",
        },
    }
    half = chunks_of(("text", None, "half"))
    assert ending(INTERRUPTED, *half) == [interrupted]
    said = ending(ended("interrupted", finish_reason="end_turn"), *half)
    assert [event["type"] for event in said] == ["content_block_stop", "message_delta", "error"]
    assert ending(FAILED, *half) == [{"type": "error", "error": FAILED.error}]


def test_an_end_that_is_none_says_nothing() -> None:
    assert ending(None, *chunks_of(("text", None, "half"))) == []


def test_our_reader_takes_an_error_for_a_failure() -> None:
    chunks = chunks_of(("text", None, "so far"))
    pieces, end, _ = understood(NAME, wire(rendered(NAME, chunks, FAILED)))
    assert content(pieces) == folded(chunks)
    assert (end.outcome, end.error) == ("failed", FAILED.error)
    assert understood(NAME, wire(rendered(NAME, chunks, None)))[1].outcome == "interrupted"
