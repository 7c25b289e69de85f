"""A stored stream as OpenAI chat chunks: it reads back as what it was, and ends as it ended."""

from __future__ import annotations

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
from wires import RECORDINGS, content, understood

from eventstore.content import Part, fold
from eventstore.events import ChunkReceived, StreamFinalized
from turnlog.dialects import renderer
from turnlog.dialects.openai_chat_out import CHOICES_MAX, choice_of
from turnlog.dialects.rendering import Event

NAME = "openai_chat"


def deltas(events: list[Event]) -> list[dict[str, Any]]:
    """What each chunk says of its first choice."""
    return [said["choices"][0]["delta"] for said in objects(events) if said.get("choices")]


def sayable(chunks: list[ChunkReceived]) -> tuple[Part, ...]:
    """The content as this dialect can say it: one text, thought and refusal of each choice, no signatures."""
    return fold(
        (
            chunk.kind,
            chunk.part if chunk.kind in ("tool_call", "other") else str(choice_of(chunk.part)),
            chunk.delta,
        )
        for chunk in chunks
        if '"signature"' not in chunk.delta
    )


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recording_reads_back_as_what_it_was(name: str) -> None:
    chunks, finalized = recorded(name)
    pieces, end, (opened,) = understood(NAME, wire(rendered(NAME, chunks, finalized)))
    assert content(pieces) == folded(chunks)
    assert (end.outcome, end.parts) == ("completed", None)
    assert (opened.provider_id, opened.model) == (str(MESSAGE), FACTS.model)
    assert opened.metadata == {"created": 1_767_225_600}
    if name.startswith(NAME):
        assert (end.finish_reason, end.usage) == (finalized.finish_reason, finalized.usage)
        assert [(piece.kind, piece.delta) for piece in pieces] == [(c.kind, c.delta) for c in chunks]


@given(chunks=well_formed())
def test_any_stream_reads_back_as_what_it_was(chunks: list[ChunkReceived]) -> None:
    pieces, end, _ = understood(NAME, wire(rendered(NAME, chunks)))
    assert content(pieces) == sayable(chunks)
    assert (end.outcome, end.finish_reason) == ("completed", "stop")


@given(chunks=well_formed(), cut=st.integers(0, 20))
def test_a_snapshot_and_the_rest_read_back_as_all_of_it(chunks: list[ChunkReceived], cut: int) -> None:
    reader = renderer(NAME, FACTS)
    snapshot = reader.snapshot(chunks[:cut])
    events = [*reader.begin(), *snapshot, *told(reader, chunks[cut:]), *reader.end(COMPLETED)]
    assert content(understood(NAME, wire(events))[0]) == sayable(chunks)
    spoken = [str(sorted(delta)) for delta in deltas(snapshot) if not {"role", "tool_calls"} & set(delta)]
    assert len(spoken) <= 3 * 2, "one chunk for each field of each choice"


@given(chunks=any_chunks())
def test_any_stream_at_all_is_a_stream_of_the_dialect(chunks: list[ChunkReceived]) -> None:
    assert understood(NAME, wire(rendered(NAME, chunks)))[1].outcome == "completed"


def test_a_chunk_has_the_members_that_clients_expect() -> None:
    begun, said, finished = objects(rendered(NAME, chunks_of(("text", None, "hi"))))
    assert begun == {
        "id": str(MESSAGE),
        "object": "chat.completion.chunk",
        "created": 1_767_225_600,
        "model": "model-1",
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": None},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
    }
    choice = {"index": 0, "delta": {"content": "hi"}, "logprobs": None, "finish_reason": None}
    assert said == begun | {"choices": [choice]}
    assert finished == begun | {"choices": [choice | {"delta": {}, "finish_reason": "stop"}]}


def test_what_is_thought_and_what_is_refused_have_their_own_places() -> None:
    events = rendered(NAME, chunks_of(("reasoning", None, "hm"), ("refusal", None, "no")))
    assert deltas(events)[1:3] == [{"reasoning_content": "hm"}, {"refusal": "no"}]


def test_calls_keep_their_index_however_they_are_interleaved() -> None:
    chunks = chunks_of(
        call("tool:0", "a", "one"),
        call("tool:1", "b", "two"),
        ("tool_call", "tool:1", "{"),
        ("tool_call", "tool:0", "["),
    )
    said = [delta["tool_calls"] for delta in deltas(rendered(NAME, chunks))[1:-1]]
    assert said == [
        [{"index": 0, "id": "a", "type": "function", "function": {"name": "one", "arguments": ""}}],
        [{"index": 1, "id": "b", "type": "function", "function": {"name": "two", "arguments": ""}}],
        [{"index": 1, "function": {"arguments": "{"}}],
        [{"index": 0, "function": {"arguments": "["}}],
    ]


def test_what_a_calls_opening_lacked_is_told_once() -> None:
    chunks = chunks_of(call("t", "a", ""), call("t", "a", "one"), call("t", "a", "one"))
    said = [delta["tool_calls"][0] for delta in deltas(rendered(NAME, chunks))[1:-1]]
    assert said == [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "", "arguments": ""}},
        {"index": 0, "function": {"name": "one"}},
    ]


def test_arguments_without_a_call_open_one_without_a_name() -> None:
    pieces = understood(NAME, wire(rendered(NAME, chunks_of(("tool_call", "t", "{}")))))[0]
    assert content(pieces) == folded(chunks_of(("tool_call", "t", "{}")))


def test_each_choice_is_announced_in_its_turn_and_has_a_finish_reason() -> None:
    chunks = chunks_of(
        ("text", "choice:2", "c"), note("choice:1", type="finish", choice=1, finish_reason="length")
    )
    said = [said["choices"][0] for said in objects(rendered(NAME, chunks, ended(finish_reason="tool_calls")))]
    assert [(choice["index"], choice["delta"], choice["finish_reason"]) for choice in said] == [
        (0, {"role": "assistant", "content": None}, None),
        (1, {"role": "assistant", "content": None}, None),
        (2, {"role": "assistant", "content": None}, None),
        (2, {"content": "c"}, None),
        (1, {}, "length"),
        (0, {}, "tool_calls"),
        (2, {}, "stop"),
    ]


@pytest.mark.parametrize(
    ("part", "choice"),
    [
        (None, 0),
        ("choice:1", 1),
        ("choice:12/tool:3", 12),
        (f"choice:{CHOICES_MAX - 1}", CHOICES_MAX - 1),
        (f"choice:{CHOICES_MAX}", 0),
        ("choice:99999999999", 0),
        ("choice:1st", 0),
        ("tool:1", 0),
    ],
)
def test_the_part_says_the_choice(part: str | None, choice: int) -> None:
    assert choice_of(part) == choice


def test_fields_that_are_not_modelled_are_passed_on_and_other_notes_left_out() -> None:
    chunks = chunks_of(
        note(None, type="delta", fields={"annotations": [1], "content": {"type": "image_url"}}),
        note("0", type="delta", delta={"type": "citations_delta"}),
        note("0", type="signature", signature="s"),
        note(None, type="attempt", attempt=2),
        ("other", None, ""),
    )
    assert deltas(rendered(NAME, chunks))[1:-1] == [{"annotations": [1]}]


def ending(finalized: StreamFinalized | None, *chunks: ChunkReceived) -> list[object]:
    """Finish reasons, usage, error and the end marker, in their order."""
    reader = renderer(NAME, FACTS)
    told(reader, chunks)
    events = reader.end(finalized)
    found: list[object] = []
    for event in events:
        if event.data == b"[DONE]":
            found.append("[DONE]")
            continue
        (said,) = objects([event])
        found.append(said.get("error") or said.get("usage") or said["choices"][0]["finish_reason"])
    return found


def test_an_answer_that_is_complete_says_why_it_ended() -> None:
    assert ending(COMPLETED) == ["stop", "[DONE]"]
    assert ending(ended(finish_reason="max_tokens")) == ["length", "[DONE]"]
    assert ending(ended()) == ["stop", "[DONE]"]
    assert ending(ended(), *chunks_of(call("t", "a", "n"))) == ["tool_calls", "[DONE]"]


def test_usage_comes_before_the_end() -> None:
    usage = {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 2}
    assert ending(ended(usage=usage)) == [
        "stop",
        {
            "prompt_tokens": 5,
            "completion_tokens": 4,
            "total_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 2},
        },
        "[DONE]",
    ]


def test_an_answer_that_was_stopped_on_purpose_says_so() -> None:
    assert ending(ended("aborted")) == ["aborted", "[DONE]"]
    assert ending(ended("aborted", finish_reason="stop")) == ["stop", "[DONE]"]


def test_an_answer_that_is_incomplete_by_accident_ends_in_an_error_without_the_end_marker() -> None:
    interrupted = {
        "message": "the answer was interrupted: its events ceased without an end",
        "type": "interrupted",
    }
    assert ending(INTERRUPTED) == [interrupted]
    assert ending(ended("interrupted", finish_reason="end_turn")) == ["stop", interrupted]
    assert ending(FAILED) == [{"type": "overloaded_error", "message": "Overloaded", "code": 529}]
    assert ending(ended("failed")) == [{"message": "the answer failed", "type": "failed"}]


def test_an_end_that_is_none_says_nothing() -> None:
    assert ending(None) == []


def test_our_reader_takes_an_error_for_a_failure() -> None:
    chunks = chunks_of(("text", None, "so far"))
    pieces, end, _ = understood(NAME, wire(rendered(NAME, chunks, FAILED)))
    assert content(pieces) == folded(chunks)
    assert (end.outcome, end.error) == ("failed", FAILED.error)
    assert understood(NAME, wire(rendered(NAME, chunks, None)))[1].outcome == "interrupted"
