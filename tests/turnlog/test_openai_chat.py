"""OpenAI chat chunks: what they say, and how they end."""

from __future__ import annotations

import json
from functools import partial

import pytest
from wires import DONE, RECORDINGS, call, chunk, content, sse
from wires import understood as understood_in

from eventstore.content import ReasoningPart, RefusalPart, TextPart, ToolCallPart
from eventstore.errors import Refused
from turnlog.dialects import dialect
from turnlog.dialects.wire import Opened

understood = partial(understood_in, "openai_chat")


def test_text_with_usage() -> None:
    pieces, ended, opened = understood(RECORDINGS["openai_chat/openai-text.chunks.txt"])
    assert len(pieces) == 300
    assert {(piece.kind, piece.part, piece.raw) for piece in pieces} == {("text", None, None)}
    assert "".join(piece.delta for piece in pieces).startswith("**Holiday Name:** Harmony Day\n\n**Date:**")
    assert (ended.outcome, ended.finish_reason, ended.parts) == ("completed", "stop", None)
    assert ended.usage is not None
    assert ended.usage["completion_tokens"] == 300
    assert opened == [
        Opened(
            "gpt-4.1-nano-2025-04-14",
            "chatcmpl-D8Z5oo6uDh67AD85p73ksdT1KxhE0",
            {"created": 1770933892, "service_tier": "default", "system_fingerprint": "fp_de604bd877"},
        )
    ]


def test_azure_sends_filter_results_before_the_answer() -> None:
    pieces, ended, opened = understood(RECORDINGS["openai_chat/azure-model-router.1.chunks.txt"])
    assert content(pieces) == (TextPart("Capital of Denmark."),)
    assert (ended.outcome, ended.finish_reason) == ("completed", "stop")
    assert [(item.model, item.provider_id) for item in opened] == [
        ("gpt-5-nano-2025-08-07", "chatcmpl-CYPS1lijGoK8gd9lYzY3r9Sx50nbt")
    ]
    assert opened[0].metadata["prompt_filter_results"][0]["prompt_index"] == 0


def test_reasoning_comes_before_the_text() -> None:
    pieces, ended, _ = understood(RECORDINGS["openai_chat/deepseek-reasoning.chunks.txt"])
    reasoning, text = content(pieces)
    assert isinstance(reasoning, ReasoningPart)
    assert reasoning.text.startswith(
        'We need to count the number of the letter "r" in the word "strawberry".'
    )
    assert isinstance(text, TextPart)
    assert text.text.endswith('"r"s.')
    assert (ended.outcome, ended.finish_reason) == ("completed", "stop")


def test_a_tool_call_opens_before_its_arguments() -> None:
    pieces, ended, _ = understood(RECORDINGS["openai_chat/deepseek-tool-call.chunks.txt"])
    assert content(pieces)[1] == ToolCallPart(
        "call_00_ioIn7yN9p1ZOMNpDLwd4MgAF", "weather", '{"location": "San Francisco"}'
    )
    at = next(i for i, piece in enumerate(pieces) if piece.kind == "other")
    assert json.loads(pieces[at].delta) == {
        "type": "tool_call",
        "id": "call_00_ioIn7yN9p1ZOMNpDLwd4MgAF",
        "name": "weather",
    }
    assert {piece.part for piece in pieces[at:]} == {"tool:0"}
    assert {piece.kind for piece in pieces[at + 1 :]} == {"tool_call"}
    assert ended.finish_reason == "tool_calls"


def test_a_refusal_is_no_text() -> None:
    pieces, ended, _ = understood(
        chunk({"refusal": "I can"}), chunk({"refusal": "not."}), chunk(finish_reason="stop")
    )
    assert content(pieces) == (RefusalPart("I cannot."),)
    assert ended.outcome == "completed"


def test_reasoning_under_either_name_is_taken_once() -> None:
    pieces, _, _ = understood(
        chunk({"reasoning": "a"}),
        chunk({"reasoning": "b", "reasoning_content": "b"}),
        chunk({"reasoning_content": "c"}),
    )
    assert content(pieces) == (ReasoningPart("abc"),)


def test_content_may_be_a_list_of_thoughts_and_texts() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    image = {"type": "image_url", "image_url": "x"}
    pieces, _, _ = understood(
        chunk({"content": [thought]}), chunk({"content": [{"type": "text", "text": "so"}, image]})
    )
    assert content(pieces) == (ReasoningPart("hm"), TextPart("so"))
    assert json.loads(pieces[-1].delta) == {"type": "delta", "fields": {"content": image}}


def test_parallel_tool_calls_may_be_interleaved() -> None:
    pieces, _, _ = understood(
        call(0, "a", "one", '{"x'),
        call(1, "b", "two", ""),
        call(0, arguments='":1'),
        call(1, arguments='{"y"'),
        call(0, arguments="}"),
        call(1, arguments=":2}"),
    )
    assert content(pieces) == (ToolCallPart("a", "one", '{"x":1}'), ToolCallPart("b", "two", '{"y":2}'))


def test_a_tool_call_without_arguments_is_a_call() -> None:
    pieces, ended, _ = understood(call(0, "a", "ping"), chunk(finish_reason="tool_calls"))
    assert content(pieces) == (ToolCallPart("a", "ping", ""),)
    assert ended.parts is None


def test_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    pieces, _, _ = understood(
        call(None, "a", "one", "{}"), call(None, "b", "two", "{"), call(None, arguments="}")
    )
    assert content(pieces) == (ToolCallPart("a", "one", "{}"), ToolCallPart("b", "two", "{}"))


def test_calls_that_are_all_numbered_zero_are_told_apart_by_their_ids() -> None:
    pieces, _, _ = understood(call(0, "a", "one", "{}"), call(0, "b", "two", "{"), call(0, arguments="}"))
    assert content(pieces) == (ToolCallPart("a", "one", "{}"), ToolCallPart("b", "two", "{}"))


def test_an_id_that_only_changes_or_repeats_is_the_same_call() -> None:
    pieces, _, _ = understood(
        call(0, "a", "one", "{"),
        call(0, "z", arguments='"k"'),
        call(0, "", "", ":"),
        call(0, "a", "one", "1}"),
    )
    assert content(pieces) == (ToolCallPart("a", "one", '{"k":1}'),)


def test_a_name_that_comes_later_is_told_as_soon_as_it_is_there() -> None:
    pieces, _, _ = understood(call(0, "a"), call(0, name="one"), call(0, arguments="{}"))
    assert content(pieces) == (ToolCallPart("a", "one", "{}"),)
    assert [piece.kind for piece in pieces] == ["other", "other", "tool_call"]


def test_the_answer_keeps_its_first_id_when_ids_change() -> None:
    chunks = [
        sse({"id": name, "model": "m", "choices": [{"index": 0, "delta": {"content": name}}]})
        for name in "abc"
    ]
    pieces, _, opened = understood(*chunks)
    assert [item.provider_id for item in opened] == ["a"]
    assert content(pieces) == (TextPart("abc"),)


def test_choices_are_told_apart_by_part() -> None:
    pieces, ended, _ = understood(
        chunk({"content": "a"}),
        chunk({"content": "x"}, index=1),
        chunk({"content": "b"}),
        chunk({"content": "y"}, index=1, finish_reason="length"),
        chunk({}, finish_reason="stop"),
    )
    assert content(pieces) == (TextPart("ab"), TextPart("xy"))
    assert {piece.part for piece in pieces} == {None, "choice:1"}
    assert (ended.outcome, ended.finish_reason) == ("completed", "stop")
    assert json.loads(pieces[-1].delta) == {"type": "finish", "choice": 1, "finish_reason": "length"}


def test_while_one_choice_is_unfinished_the_answer_is() -> None:
    _, ended, _ = understood(chunk({"content": "a"}, finish_reason="stop"), chunk({"content": "x"}, index=1))
    assert (ended.outcome, ended.finish_reason) == ("interrupted", "stop")


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "eos", "STOP"])
def test_the_finish_reason_is_kept_as_it_was_said(reason: str) -> None:
    for last in ((), (DONE,)):
        _, ended, _ = understood(chunk({"content": "a"}), chunk(finish_reason=reason), *last)
        assert (ended.outcome, ended.finish_reason) == ("completed", reason)


def test_the_end_marker_alone_completes_the_answer() -> None:
    _, ended, _ = understood(chunk({"content": "a"}), DONE)
    assert (ended.outcome, ended.finish_reason) == ("completed", None)


def test_a_stream_that_ceases_is_interrupted() -> None:
    for slices in ((), (chunk({"content": "a"}),), (b": ping\n\n",), (chunk({"role": "assistant"}),)):
        assert understood(*slices)[1].outcome == "interrupted"


@pytest.mark.parametrize(
    "event",
    [
        sse({"error": {"message": "no", "code": 500}}),
        b'event: error\ndata: {"message": "no", "code": 500}\n\n',
    ],
)
def test_an_error_in_the_middle_keeps_the_text_and_fails(event: bytes) -> None:
    pieces, ended, _ = understood(chunk({"content": "a"}), event, DONE)
    assert content(pieces) == (TextPart("a"),)
    assert (ended.outcome, ended.error) == ("failed", {"message": "no", "code": 500})


def test_an_error_that_is_no_object_is_kept_in_one() -> None:
    assert understood(sse({"error": "overloaded"}))[1].error == {"message": "overloaded"}
    choice = {"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 502}}
    ended = understood(sse({"choices": [choice]}))[1]
    assert (ended.outcome, ended.finish_reason, ended.error) == ("failed", "error", {"code": 502})


def test_what_is_no_content_makes_no_chunk() -> None:
    pieces, _, _ = understood(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": None, "refusal": None, "tool_calls": None, "reasoning_content": ""}),
        sse({"id": "c-1", "choices": [], "usage": {"total_tokens": 1}, "obfuscation": "zz"}),
        sse({"type": "something.new", "detail": 1}),
        chunk({}, logprobs={"content": []}, content_filter_results={"hate": {"filtered": False}}),
        b": ping\n\n",
    )
    assert pieces == []


def test_fields_of_a_delta_that_are_not_known_are_kept() -> None:
    fields = {"annotations": [{"type": "url_citation"}], "audio": {"id": "a"}}
    pieces, _, _ = understood(chunk({"content": "a", **fields}))
    assert content(pieces) == (TextPart("a"),)
    assert json.loads(pieces[1].delta) == {"type": "delta", "fields": fields}


def test_an_answer_that_was_not_streamed_is_taken_whole() -> None:
    calls = [{"id": "a", "function": {"name": "n", "arguments": "{}"}}]
    message = {"role": "assistant", "content": "hi", "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    pieces, ended, _ = understood(json.dumps({"id": "c", "choices": [choice]}).encode())
    assert content(pieces) == (TextPart("hi"), ToolCallPart("a", "n", "{}"))
    assert ended.outcome == "completed"


def test_a_whole_message_after_its_deltas_is_not_taken_twice() -> None:
    pieces, _, _ = understood(chunk({"content": "hi"}), chunk({}, message={"content": "hi"}))
    assert content(pieces) == (TextPart("hi"),)


def test_usage_may_come_with_every_chunk_or_in_a_providers_own_place() -> None:
    growing = [sse({"choices": [], "usage": {"total_tokens": n}}) for n in (1, 2, 3)]
    assert understood(*growing)[1].usage == {"total_tokens": 3}
    assert understood(sse({"choices": [], "x_groq": {"usage": {"total_tokens": 4}}}))[1].usage == {
        "total_tokens": 4
    }


def test_an_unknown_dialect_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match="anthropic, openai_chat") as caught:
        dialect("smoke signals")
    assert caught.value.code == "unknown_dialect"
    assert caught.value.fields["known"] == ["anthropic", "openai_chat"]
