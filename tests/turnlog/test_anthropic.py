"""Anthropic's Messages stream: what it says, how it ends, and what a cut leaves."""

from __future__ import annotations

import json
from functools import partial

import pytest
from wires import (
    RECORDINGS,
    STOP,
    Event,
    arguments,
    block,
    block_stop,
    delta,
    final,
    finish,
    is_prefix,
    start,
)
from wires import understood as understood_in

from eventstore.content import DataPart, Part, ReasoningPart, TextPart, ToolCallPart
from eventstore.errors import Refused
from turnlog.dialects.wire import Opened

understood = partial(understood_in, "anthropic")


CONTENTS: dict[str, tuple[Part, ...]] = {
    "anthropic-text.chunks.txt": (
        TextPart(
            "Hello! I'm doing well, thank you for asking. How are you doing today?"
            " Is there anything I can help you with?"
        ),
    ),
    "anthropic-json-tool.1.chunks.txt": (
        ToolCallPart(
            "toolu_01KFbKqPYSuAKujiL6mTfzYA",
            "json",
            '{"elements": [{"location": "San Francisco", "temperature": 58, "condition": "sunny"}]}',
        ),
    ),
    "anthropic-tool-no-args.chunks.txt": (
        TextPart("I'll update the issue list for you."),
        ToolCallPart("toolu_01QE1WLsSVp5hy5Q3GmGTmjP", "updateIssueList", ""),
    ),
    "basic_response.txt": (TextPart("Hello there!"),),
    "tool_use_response.txt": (
        TextPart("I'll check the current weather in Paris for you."),
        ToolCallPart("toolu_01NRLabsLyVHZPKxbKvkfSMn", "get_weather", '{"location": "Paris"}'),
    ),
    "incomplete_partial_json_response.txt": (
        TextPart(
            "I'll create a comprehensive tax guide for someone with multiple W2s and save it in a file called"
            " taxes.txt. Let me do that for you now."
        ),
        ToolCallPart(
            "toolu_01EKqbqmZrGRXy18eN7m9kvY",
            "make_file",
            '{"filename": "taxes.txt", "lines_of_text": [\n"# COMPREHENSIVE TAX GUIDE FOR INDIVIDUALS WITH'
            ' MULTIPLE W-2s",\n"",\n"## INTRODUCTION",\n"",\n"Filing taxes',
        ),
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_recordings_fold_to_their_content(name: str) -> None:
    pieces, ended, opened = understood(RECORDINGS[f"anthropic/{name}"])
    assert (final(pieces, ended), ended.parts) == (CONTENTS[name], None)
    assert ended.outcome == "completed"
    assert len(opened) == 1
    assert all(piece.delta for piece in pieces)


def test_every_recording_is_expected() -> None:
    assert sorted(CONTENTS) == [
        name.partition("/")[2] for name in RECORDINGS if name.startswith("anthropic/")
    ]


def test_usage_is_cumulative_and_the_stop_reason_verbatim() -> None:
    _, ended, opened = understood(RECORDINGS["anthropic/anthropic-json-tool.1.chunks.txt"])
    assert ended.finish_reason == "tool_use"
    assert ended.usage is not None
    assert (ended.usage["input_tokens"], ended.usage["output_tokens"]) == (849, 47)
    assert ended.usage["service_tier"] == "standard"
    assert opened == [Opened("claude-haiku-4-5-20251001", "msg_01K2JbSUMYhez5RHoK9ZCj9U", {})]


def test_later_usage_replaces_earlier_but_not_by_null() -> None:
    late = finish(output_tokens=9)
    late["usage"]["input_tokens"] = None
    assert understood(start(input_tokens=3, output_tokens=1), late)[1].usage == {
        "input_tokens": 3,
        "output_tokens": 9,
    }


def test_a_tool_call_without_arguments_is_a_call() -> None:
    pieces, ended, _ = understood(start(), block(0, "tool_use", id="t", name="n", input={}), STOP)
    assert final(pieces, ended) == (ToolCallPart("t", "n", ""),)
    assert ended.parts is None


def test_input_that_comes_whole_is_the_arguments_unless_deltas_bring_it() -> None:
    whole = block(0, "tool_use", id="t", name="n", input={"a": 1})
    for rest in ([block_stop(0), STOP], [STOP], []):
        pieces, ended, _ = understood(start(), whole, *rest)
        assert final(pieces, ended) == (ToolCallPart("t", "n", '{"a":1}'),)
    pieces, ended, _ = understood(start(), whole, arguments(0, '{"b":'), arguments(0, "2}"), block_stop(0))
    assert final(pieces, ended) == (ToolCallPart("t", "n", '{"b":2}'),)


def test_parallel_blocks_may_be_interleaved() -> None:
    pieces, ended, _ = understood(
        start(),
        block(0, "tool_use", id="a", name="one"),
        block(1, "tool_use", id="b", name="two"),
        arguments(1, "{"),
        arguments(0, "["),
        arguments(1, "}"),
        arguments(0, "]"),
    )
    assert final(pieces, ended) == (ToolCallPart("a", "one", "[]"), ToolCallPart("b", "two", "{}"))


def test_thinking_is_signed() -> None:
    pieces, ended, _ = understood(
        start(),
        block(0, "thinking", thinking="", signature=""),
        delta(0, "hm", "thinking_delta", "thinking"),
        delta(0, "c2ln", "signature_delta", "signature"),
        block(1),
        delta(1, "so"),
    )
    assert final(pieces, ended) == (ReasoningPart("hm", "c2ln"), TextPart("so"))
    assert ended.parts is None
    assert [piece.kind for piece in pieces] == ["reasoning", "other", "text"]


def test_a_signature_without_thoughts_needs_the_final_parts() -> None:
    pieces, ended, _ = understood(
        start(), block(0, "thinking", thinking=""), delta(0, "c2ln", "signature_delta", "signature"), STOP
    )
    assert ended.parts == (ReasoningPart("", "c2ln"),)
    assert json.loads(pieces[0].delta) == {"type": "signature", "signature": "c2ln"}


def test_blocks_and_deltas_that_no_part_models_are_data() -> None:
    redacted = block(0, "redacted_thinking", data="xyz")
    results = block(2, "web_search_tool_result", tool_use_id="s", content=[{"title": "T"}])
    citation = {"type": "citations_delta", "citation": {"cited_text": "T"}}
    pieces, ended, _ = understood(
        start(),
        redacted,
        block(1, "server_tool_use", id="s", name="web_search"),
        arguments(1, '{"q":1}'),
        results,
        block(3, text="It says "),
        delta(3, "T"),
        {"type": "content_block_delta", "index": 3, "delta": citation},
        STOP,
    )
    assert ended.parts == (
        DataPart(redacted["content_block"]),
        ToolCallPart("s", "web_search", '{"q":1}'),
        DataPart(results["content_block"]),
        TextPart("It says T"),
        DataPart({"type": "deltas", "deltas": [citation]}),
    )
    logged = [json.loads(piece.delta) for piece in pieces if piece.kind == "other"]
    assert [note["type"] for note in logged] == ["block", "tool_call", "block", "delta"]


def test_an_error_in_the_middle_keeps_the_text_and_fails() -> None:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    for event in ({"type": "error", "error": error}, {"error": error}):
        pieces, ended, _ = understood(start(), block(0), delta(0, "Hel"), event)
        assert (ended.outcome, ended.error, final(pieces, ended)) == ("failed", error, (TextPart("Hel"),))


def test_an_sse_event_name_stands_in_for_a_missing_type() -> None:
    pieces, ended, _ = understood(b'event: error\ndata: {"message": "no"}\n\n')
    assert (pieces, ended.outcome, ended.error) == ([], "failed", {"message": "no"})


def test_cut_between_the_stop_reason_and_the_stop_it_is_interrupted() -> None:
    for last in ([], [{"type": "ping"}], [b": ping\n\n"], [b"data: [DONE]\n\n"]):
        _, ended, _ = understood(start(), block(0), delta(0, "x"), finish("max_tokens"), *last)
        assert (ended.outcome, ended.finish_reason) == ("interrupted", "max_tokens")
    assert understood()[1].outcome == "interrupted"


def test_what_is_no_content_makes_no_chunk() -> None:
    pieces, _, _ = understood(
        start(),
        {"type": "ping"},
        block(0, text=""),
        delta(0, ""),
        arguments(0, ""),
        block_stop(0),
        block_stop(7),
        {"type": "text", "text": "x", "snapshot": "x"},
        {"type": "something_new", "index": 0},
        {"no": "type"},
        finish(),
        STOP,
    )
    assert pieces == []


def test_the_stop_sequence_is_kept() -> None:
    event = {"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}}
    pieces, ended, _ = understood(start(), event, STOP)
    assert json.loads(pieces[0].delta) == {"type": "stop_sequence", "stop_sequence": "END"}
    assert (ended.finish_reason, ended.parts) == ("stop_sequence", None)


def test_content_given_with_the_start_is_content() -> None:
    event = start()
    event["message"]["content"] = [{"type": "text", "text": "Hel"}]
    pieces, ended, _ = understood(event, delta(0, "lo"))
    assert final(pieces, ended) == (TextPart("Hello"),)


def test_content_without_any_start_is_content() -> None:
    pieces, ended, opened = understood(delta(0, "x"), arguments(1, "{}"))
    assert final(pieces, ended) == (TextPart("x"), ToolCallPart("", "", "{}"))
    assert opened == []


def test_halves_of_a_character_join_within_their_block() -> None:
    template = '{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":"%s"}}\n'
    events = [
        template % (0, r"a\ud83d"),
        template % (1, r"b\ud83d"),
        template % (0, r"\ude00"),
        template % (1, "c"),
    ]
    pieces, ended, _ = understood(*(event.encode() for event in events))
    assert final(pieces, ended) == (TextPart("a😀"), TextPart("b\ufffdc"))
    pieces, ended, _ = understood(events[0], json.dumps(start("z")) + "\n", events[0])
    assert [piece.delta for piece in pieces if piece.kind == "text"] == ["a", "\ufffd", "a", "\ufffd"]
    assert ended.parts == (TextPart("a\ufffd"),)


@pytest.mark.parametrize(
    "event", [{"type": "content_block_delta"}, block(-1), {**delta(0, "x"), "index": "0"}]
)
def test_a_block_without_its_number_is_refused(event: Event) -> None:
    with pytest.raises(Refused, match="index") as caught:
        understood(json.dumps(event).encode() + b"\n")
    assert (caught.value.code, caught.value.fields) == ("malformed_stream", {"line": 1})


@pytest.mark.parametrize("name", CONTENTS)
def test_a_recording_cut_at_any_byte_keeps_what_arrived_and_says_that_it_was_cut(name: str) -> None:
    data = RECORDINGS[f"anthropic/{name}"]
    outcomes: list[str] = []
    for length in range(len(data) + 1):
        pieces, ended, _ = understood(data[:length])
        assert is_prefix(final(pieces, ended), CONTENTS[name])
        assert (ended.error, ended.parts) == (None, None)
        outcomes.append(ended.outcome)
    complete = outcomes.index("completed")
    assert set(outcomes[:complete]) == {"interrupted"}
    assert set(outcomes[complete:]) == {"completed"}
    assert data[:complete].rstrip().endswith(b"}")
    assert b"message_stop" in data[:complete].splitlines()[-1]
