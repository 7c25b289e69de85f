"""Anthropic's own client reads what is rendered, synchronous and not: content, ends, errors, heartbeats."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message
from rendered import (
    FAILED,
    INTERRUPTED,
    MESSAGE,
    call,
    chunks_of,
    ended,
    folded,
    note,
    recorded,
    rendered,
    response,
    wire,
)
from wires import RECORDINGS

from eventstore.content import Part, ReasoningPart, TextPart, ToolCallPart
from turnlog.dialects.sse_out import MEDIA_TYPE

NAME = "anthropic"
ASKED: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "?"}],
}


def served(body: bytes) -> httpx2.MockTransport:
    """A service that answers everything with a stream's events."""
    return httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers={"content-type": MEDIA_TYPE}, content=body)
    )


@contextmanager
def client(body: bytes) -> Generator[anthropic.Anthropic]:
    with (
        httpx2.Client(transport=served(body)) as http,
        anthropic.Anthropic(api_key="-", base_url="http://here", http_client=http, max_retries=0) as made,
    ):
        yield made


@asynccontextmanager
async def async_client(body: bytes) -> AsyncGenerator[anthropic.AsyncAnthropic]:
    async with (
        httpx2.AsyncClient(transport=served(body)) as http,
        anthropic.AsyncAnthropic(
            api_key="-", base_url="http://here", http_client=http, max_retries=0
        ) as made,
    ):
        yield made


def accumulated(body: bytes) -> Message:
    """What the client's own accumulation makes of it."""
    with client(body) as made, made.messages.stream(**ASKED) as stream:
        return stream.get_final_message()


def content(message: Message) -> list[object]:
    """The blocks as (type, what is in it)."""
    found: list[object] = []
    for block in message.content:
        match block.type:
            case "text":
                found.append(("text", block.text))
            case "thinking":
                found.append(("thinking", block.thinking, block.signature))
            case "tool_use":
                found.append(("tool_use", block.id, block.name, block.input))
            case _:
                found.append(block.type)
    return found


def as_block(part: Part) -> tuple[object, ...]:
    """A part of a message as a block."""
    match part:
        case TextPart(text):
            return "text", text
        case ReasoningPart(text, signature):
            return "thinking", text, signature or ""
        case ToolCallPart(call_id, name, arguments):
            return "tool_use", call_id, name, json.loads(arguments or "{}")
        case _:
            raise AssertionError(part)


@pytest.mark.parametrize("name", [name for name in RECORDINGS if "incomplete" not in name])
def test_every_recording_accumulates_to_its_content(name: str) -> None:
    chunks, finalized = recorded(name)
    message = accumulated(response(NAME, chunks, finalized))
    assert (message.id, message.model, message.role) == (str(MESSAGE), "model-1", "assistant")
    assert content(message) == [as_block(part) for part in folded(chunks)]
    assert message.stop_reason in ("end_turn", "tool_use")
    assert (message.usage.output_tokens > 0) == (finalized.usage is not None)


def test_a_call_that_the_limit_cut_is_as_far_as_it_got() -> None:
    message = accumulated(response(NAME, *recorded("anthropic/incomplete_partial_json_response.txt")))
    assert message.stop_reason == "max_tokens"
    assert message.content[1].type == "tool_use"
    assert message.content[1].input["filename"] == "taxes.txt"


def test_usage_and_the_stop_reason_are_in_the_clients_words() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}
    message = accumulated(response(NAME, [], ended(finish_reason="length", usage=usage)))
    assert message.stop_reason == "max_tokens"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 4)
    assert message.usage.cache_read_input_tokens == 2


def test_what_is_thought_has_its_signature_and_unknown_blocks_arrive() -> None:
    chunks = chunks_of(
        ("reasoning", "0", "hm"),
        note("0", type="signature", signature="signed"),
        note("1", type="block", block={"type": "redacted_thinking", "data": "x"}),
        ("text", "2", "so\n\u2028"),
        note("2", type="delta", delta={"type": "citations_delta", "citation": {"type": "page_location"}}),
    )
    assert content(accumulated(response(NAME, chunks))) == [
        ("thinking", "hm", "signed"),
        "redacted_thinking",
        ("text", "so\n\u2028"),
    ]


def test_parallel_calls_and_texts_that_are_interleaved_are_told_apart() -> None:
    chunks = chunks_of(
        call("tool:0", "a", "one"),
        call("tool:1", "b", "two"),
        ("tool_call", "tool:0", '{"x":'),
        ("tool_call", "tool:1", '{"y":'),
        ("tool_call", "tool:0", "1}"),
        ("text", "left", "1"),
        ("text", "right", "2"),
        ("text", "left", "3"),
        ("tool_call", "tool:1", "2}"),
    )
    message = accumulated(response(NAME, chunks, ended(finish_reason="tool_calls")))
    assert content(message) == [
        ("tool_use", "a", "one", {"x": 1}),
        ("tool_use", "b", "two", {"y": 2}),
        ("text", "13"),
        ("text", "2"),
    ]
    assert message.stop_reason == "tool_use"


async def test_the_asynchronous_client_reads_the_same() -> None:
    body = response(NAME, chunks_of(("text", None, "a"), ("text", None, "b")))
    async with async_client(body) as made, made.messages.stream(**ASKED) as stream:
        assert [text async for text in stream.text_stream] == ["a", "b"]
        assert await stream.get_final_message() == accumulated(body)


def test_events_arrive_one_by_one_without_the_helper() -> None:
    body = response(NAME, chunks_of(("text", None, "a")))
    with client(body) as made, made.messages.create(**ASKED, stream=True) as stream:
        assert [event.type for event in stream] == [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]


def test_a_failure_raises_the_clients_own_error_after_the_text_so_far() -> None:
    body = response(NAME, chunks_of(("text", None, "half")), FAILED)
    with client(body) as made, made.messages.stream(**ASKED) as stream:
        assert next(stream.text_stream) == "half"
        with pytest.raises(anthropic.APIStatusError) as caught:
            stream.until_done()
        assert content(stream.current_message_snapshot) == [("text", "half")]
    assert str(caught.value.type) == "overloaded_error"
    assert caught.value.api_message == "Overloaded"


async def test_an_interruption_raises_too() -> None:
    body = response(NAME, chunks_of(("text", None, "half")), INTERRUPTED)
    async with async_client(body) as made, made.messages.stream(**ASKED) as stream:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await stream.until_done()
    assert str(caught.value.type) == "interrupted"


def test_a_stop_on_purpose_is_a_reason_and_no_error() -> None:
    message = accumulated(response(NAME, chunks_of(("text", None, "half")), ended("aborted")))
    assert content(message) == [("text", "half")]
    assert str(message.stop_reason) == "aborted"


def test_a_stream_that_is_still_open_has_no_reason() -> None:
    message = accumulated(response(NAME, chunks_of(("text", None, "half")), None))
    assert content(message) == [("text", "half")]
    assert message.stop_reason is None


def test_heartbeats_ids_and_the_delay_are_no_events() -> None:
    chunks = chunks_of(("text", None, "a"), ("text", None, "b"))
    assert accumulated(wire(rendered(NAME, chunks))) == accumulated(response(NAME, chunks))
