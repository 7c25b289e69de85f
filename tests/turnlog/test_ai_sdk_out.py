"""A stored stream as the AI SDK's UI message stream: its rules of sequence, its content, its ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rendered import (
    ABORTED,
    COMPLETED,
    CONTEXT,
    FACTS,
    FAILED,
    INTERRUPTED,
    MESSAGE,
    any_chunks,
    call,
    chunks_of,
    ended,
    ends,
    folded,
    note,
    objects,
    recorded,
    rendered,
    told,
    well_formed,
)
from ui_messages import UiMessage, ui_message
from wires import RECORDINGS

from eventstore.content import Part, ReasoningPart, RefusalPart, TextPart, ToolCallPart, read_note
from eventstore.events import ChunkReceived, StreamFinalized
from turnlog.dialects import renderer
from turnlog.dialects.rendering import Event

NAME = "ai_sdk"


def content(message: UiMessage) -> list[Part]:
    """The message's parts as ours; parts of one name, which came one after another, as one."""
    names = list(dict.fromkeys((part["type"], part["id"]) for part in message.parts))
    found: list[Part] = []
    for kind, name in names:
        parts = [part for part in message.parts if (part["type"], part["id"]) == (kind, name)]
        text = "".join(part["text"] for part in parts)
        if kind == "tool":
            found.append(ToolCallPart(name, parts[0]["name"], text))
        elif kind == "text":
            found.append(RefusalPart(text) if name.startswith("refusal") else TextPart(text))
        elif text:
            signatures = [part["metadata"]["anthropic"]["signature"] for part in parts if "metadata" in part]
            found.append(ReasoningPart(text, signatures[-1] if signatures else None))
    return found


def types(events: list[Event]) -> list[str]:
    return [said["type"] for said in objects(events)]


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recording_arrives_as_its_content(name: str) -> None:
    chunks, finalized = recorded(name)
    message = ui_message(rendered(NAME, chunks, finalized))
    assert content(message) == list(folded(chunks))
    assert message.done
    assert message.finish_reason in ("stop", "length", "tool-calls")
    assert ("usage" in message.metadata) == (finalized.usage is not None)


@given(chunks=well_formed())
def test_any_stream_arrives_as_its_content(chunks: list[ChunkReceived]) -> None:
    message = ui_message(rendered(NAME, chunks))
    expected = [
        part for part in folded(chunks) if not isinstance(part, ToolCallPart) or may_go_on(part.arguments)
    ]
    arrived = [
        part for part in content(message) if not isinstance(part, ToolCallPart) or may_go_on(part.arguments)
    ]
    assert arrived == expected
    assert {part["state"] for part in message.parts} <= {"done", "available", "error"}


def may_go_on(arguments: str) -> bool:
    """Whether no beginning of the arguments is a JSON object, after which nothing more is taken."""
    return "}" not in arguments


@given(chunks=well_formed(), cut=st.integers(0, 20))
def test_a_snapshot_and_the_rest_arrive_as_all_of_it(chunks: list[ChunkReceived], cut: int) -> None:
    reader = renderer(NAME, FACTS)
    snapshot = reader.snapshot(chunks[:cut])
    events = [*reader.begin(), *snapshot, *told(reader, chunks[cut:]), *reader.end(COMPLETED)]
    assert content(ui_message(events)) == content(ui_message(rendered(NAME, chunks)))
    texts = [
        said.get("id", said.get("toolCallId"))
        for said in objects(snapshot)
        if said["type"].endswith("-delta") and said.get("delta") != ""
    ]
    assert len(texts) == len(set(texts)), "one delta for each part"


@given(chunks=any_chunks(), end=ends)
def test_any_stream_at_all_keeps_the_rules(chunks: list[ChunkReceived], end: StreamFinalized | None) -> None:
    notes = [(chunk.part, read_note(chunk.delta)) for chunk in chunks if chunk.kind == "other"]
    calls = {(part, str(note.get("id"))) for part, note in notes if note.get("type") == "tool_call"}
    assume(len(calls) == len({call_id for _, call_id in calls}))
    message = ui_message(rendered(NAME, chunks, end))
    assert message.done == (end is not None)


def test_a_message_has_the_members_that_clients_expect() -> None:
    usage = {"input_tokens": 3, "output_tokens": 4}
    events = rendered(NAME, chunks_of(("text", "0", "hi")), ended(finish_reason="end_turn", usage=usage))
    assert objects(events) == [
        {
            "type": "start",
            "messageId": str(MESSAGE),
            "messageMetadata": {
                "context_id": str(CONTEXT),
                "model": "model-1",
                "provider_id": None,
                "created_at": "2026-01-01T00:00:00.250000Z",
            },
        },
        {"type": "start-step"},
        {"type": "text-start", "id": "text:0"},
        {"type": "text-delta", "id": "text:0", "delta": "hi"},
        {"type": "text-end", "id": "text:0"},
        {"type": "finish-step"},
        {
            "type": "finish",
            "finishReason": "stop",
            "messageMetadata": {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}},
        },
    ]
    assert events[-1] == Event(b"[DONE]")


def test_a_thought_ends_when_something_is_said() -> None:
    chunks = chunks_of(("reasoning", None, "hm"), ("text", None, "so"), ("reasoning", None, "and"))
    assert types(rendered(NAME, chunks, None))[2:] == [
        "reasoning-start",
        "reasoning-delta",
        "reasoning-end",
        "text-start",
        "text-delta",
        "text-end",
        "reasoning-start",
        "reasoning-delta",
    ]


def test_parallel_texts_stay_open_beside_each_other() -> None:
    chunks = chunks_of(("text", "a", "1"), ("text", "b", "2"), ("text", "a", "3"))
    message = ui_message(rendered(NAME, chunks))
    assert [(part["id"], part["text"]) for part in message.parts] == [("text:a", "13"), ("text:b", "2")]


def test_a_signature_is_passed_as_the_providers_metadata() -> None:
    chunks = chunks_of(("reasoning", "0", "hm"), note("0", type="signature", signature="signed"))
    (signed,) = [said for said in objects(rendered(NAME, chunks)) if "providerMetadata" in said]
    assert signed == {
        "type": "reasoning-delta",
        "id": "reasoning:0",
        "delta": "",
        "providerMetadata": {"anthropic": {"signature": "signed"}},
    }


def test_a_refusal_is_text_that_says_what_it_is() -> None:
    events = rendered(NAME, chunks_of(("refusal", None, "no")))
    assert objects(events)[2] == {
        "type": "text-start",
        "id": "refusal",
        "providerMetadata": {"turnlog": {"kind": "refusal"}},
    }


def inputs(events: list[Event]) -> list[dict[str, Any]]:
    return [said for said in objects(events) if said["type"].startswith("tool-input")]


def test_an_input_is_available_when_it_is_whole_and_something_else_begins() -> None:
    chunks = chunks_of(
        call("a", "1", "one"),
        ("tool_call", "a", '{"x":\n'),
        call("b", "2", "two"),
        ("tool_call", "b", "{}"),
        ("tool_call", "a", "18446744073709551616}"),
        ("text", None, "so"),
    )
    assert inputs(rendered(NAME, chunks, None)) == [
        {"type": "tool-input-start", "toolCallId": "1", "toolName": "one"},
        {"type": "tool-input-delta", "toolCallId": "1", "inputTextDelta": '{"x":\n'},
        {"type": "tool-input-start", "toolCallId": "2", "toolName": "two"},
        {"type": "tool-input-delta", "toolCallId": "2", "inputTextDelta": "{}"},
        {"type": "tool-input-available", "toolCallId": "2", "toolName": "two", "input": {}},
        {"type": "tool-input-delta", "toolCallId": "1", "inputTextDelta": "18446744073709551616}"},
        {"type": "tool-input-available", "toolCallId": "1", "toolName": "one", "input": {"x": 1 << 64}},
    ]


def test_an_input_that_is_available_does_not_go_on() -> None:
    chunks = chunks_of(
        call("a", "1", "one"), ("tool_call", "a", "{}"), ("text", None, "so"), ("tool_call", "a", " ")
    )
    assert [said["type"] for said in inputs(rendered(NAME, chunks))] == [
        "tool-input-start",
        "tool-input-delta",
        "tool-input-available",
    ]


def test_an_input_that_is_no_json_at_the_end_is_an_error_with_its_text() -> None:
    for finalized in (COMPLETED, ABORTED):
        events = rendered(NAME, chunks_of(call("a", "1", "one"), ("tool_call", "a", '{"x')), finalized)
        assert inputs(events)[-1] == {
            "type": "tool-input-error",
            "toolCallId": "1",
            "toolName": "one",
            "input": '{"x',
            "errorText": "the input is no JSON",
        }


def test_a_call_without_arguments_has_an_empty_input() -> None:
    events = rendered(NAME, chunks_of(call("a", "1", "one")))
    assert inputs(events)[-1]["input"] == {}


def test_a_call_without_an_id_has_a_name_of_its_own() -> None:
    chunks = chunks_of(("tool_call", "a", "{}"), call("b", "", "two"))
    assert {said["toolCallId"] for said in inputs(rendered(NAME, chunks))} == {"call:a", "call:b"}


@pytest.mark.parametrize(
    ("finalized", "said"),
    [
        (COMPLETED, ["text-end", "finish-step", "finish"]),
        (ABORTED, ["text-end", "abort"]),
        (INTERRUPTED, ["error"]),
        (FAILED, ["error"]),
        (None, []),
    ],
)
def test_each_end_is_said_in_its_own_way(finalized: StreamFinalized | None, said: list[str]) -> None:
    reader = renderer(NAME, FACTS)
    told(reader, chunks_of(("text", None, "half")))
    events = reader.end(finalized)
    assert types(events) == said
    assert (events[-1:] == [Event(b"[DONE]")]) == (finalized is not None)


def test_an_error_says_what_happened() -> None:
    assert ui_message(rendered(NAME, [], FAILED)).error == "Overloaded"
    interrupted = ui_message(rendered(NAME, [], INTERRUPTED))
    assert interrupted.error == "the answer was interrupted: its events ceased without an end"
    assert ui_message(rendered(NAME, [], ABORTED)).aborted


@pytest.mark.parametrize(
    ("reason", "said"),
    [("tool_use", "tool-calls"), ("max_tokens", "length"), ("refusal", "content-filter"), ("eos", "other")],
)
def test_a_reason_is_one_that_clients_accept(reason: str, said: str) -> None:
    assert ui_message(rendered(NAME, [], ended(finish_reason=reason))).finish_reason == said
