"""OpenAI's own client reads what is rendered, synchronous and not: content, ends, errors, heartbeats."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from rendered import (
    COMPLETED,
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

from eventstore.content import TextPart, ToolCallPart
from turnlog.dialects.sse_out import MEDIA_TYPE

NAME = "openai_chat"
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "?"}]}


def served(body: bytes) -> httpx2.MockTransport:
    """A service that answers everything with a stream's events."""
    return httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers={"content-type": MEDIA_TYPE}, content=body)
    )


@contextmanager
def client(body: bytes) -> Generator[openai.OpenAI]:
    with (
        httpx2.Client(transport=served(body)) as http,
        openai.OpenAI(api_key="-", base_url="http://here/v1", http_client=http, max_retries=0) as made,
    ):
        yield made


@asynccontextmanager
async def async_client(body: bytes) -> AsyncGenerator[openai.AsyncOpenAI]:
    async with (
        httpx2.AsyncClient(transport=served(body)) as http,
        openai.AsyncOpenAI(api_key="-", base_url="http://here/v1", http_client=http, max_retries=0) as made,
    ):
        yield made


def streamed(body: bytes) -> list[ChatCompletionChunk]:
    with client(body) as made, made.chat.completions.create(**ASKED, stream=True) as stream:
        return list(stream)


def accumulated(body: bytes) -> ChatCompletion:
    """What the client's own accumulation makes of it."""
    with client(body) as made, made.chat.completions.stream(**ASKED) as stream:
        return stream.get_final_completion()


@pytest.mark.parametrize("name", [name for name in RECORDINGS if "incomplete" not in name])
def test_every_recording_accumulates_to_its_content(name: str) -> None:
    chunks, finalized = recorded(name)
    completion = accumulated(response(NAME, chunks, finalized))
    (choice,) = completion.choices
    assert (completion.id, completion.model) == (str(MESSAGE), "model-1")
    texts = [part.text for part in folded(chunks) if isinstance(part, TextPart)]
    assert choice.message.content == ("".join(texts) or None)
    calls = [part for part in folded(chunks) if isinstance(part, ToolCallPart)]
    assert [
        ToolCallPart(made.id, made.function.name, made.function.arguments)
        for made in choice.message.tool_calls or []
        if made.type == "function"
    ] == calls
    assert choice.finish_reason in ("stop", "tool_calls")
    assert (completion.usage is None) == (finalized.usage is None)


def test_an_answer_that_the_limit_cut_raises_what_the_client_raises_for_it() -> None:
    body = response(NAME, *recorded("anthropic/incomplete_partial_json_response.txt"))
    assert streamed(body)[-2].choices[0].finish_reason == "length"
    with pytest.raises(openai.LengthFinishReasonError):
        accumulated(body)


def test_text_and_usage_arrive_chunk_by_chunk() -> None:
    chunks = chunks_of(("text", None, "one\n"), ("text", None, "two\u2028"), ("text", None, "😀"))
    usage = {"input_tokens": 3, "output_tokens": 4}
    said = streamed(response(NAME, chunks, ended(finish_reason="end_turn", usage=usage)))
    assert [chunk.choices[0].delta.content for chunk in said[1:4]] == ["one\n", "two\u2028", "😀"]
    assert said[0].choices[0].delta.role == "assistant"
    assert said[4].choices[0].finish_reason == "stop"
    assert said[5].usage is not None
    assert (said[5].usage.prompt_tokens, said[5].usage.total_tokens) == (3, 7)
    assert {chunk.id for chunk in said} == {str(MESSAGE)}


async def test_the_asynchronous_client_reads_the_same() -> None:
    body = response(NAME, chunks_of(("text", None, "a"), ("text", None, "b")))
    async with async_client(body) as made:
        stream = await made.chat.completions.create(**ASKED, stream=True)
        assert [chunk async for chunk in stream] == streamed(body)
        async with made.chat.completions.stream(**ASKED) as helper:
            assert await helper.get_final_completion() == accumulated(body)


def test_parallel_calls_that_are_interleaved_are_told_apart() -> None:
    chunks = chunks_of(
        ("text", None, "so"),
        call("tool:0", "a", "one"),
        call("tool:1", "b", "two"),
        ("tool_call", "tool:0", '{"x":'),
        ("tool_call", "tool:1", '{"y":'),
        ("tool_call", "tool:0", "1}"),
        ("tool_call", "tool:1", "2}"),
    )
    completion = accumulated(response(NAME, chunks, ended(finish_reason="tool_use")))
    made = completion.choices[0].message.tool_calls or []
    assert [(one.id, one.type == "function" and one.function.arguments) for one in made] == [
        ("a", '{"x":1}'),
        ("b", '{"y":2}'),
    ]
    assert completion.choices[0].finish_reason == "tool_calls"


def test_a_name_that_comes_later_is_the_calls() -> None:
    chunks = chunks_of(call("t", "a", ""), call("t", "a", "one"), ("tool_call", "t", "{}"))
    (made,) = accumulated(response(NAME, chunks)).choices[0].message.tool_calls or []
    assert made.type == "function"
    assert (made.id, made.function.name, made.function.arguments) == ("a", "one", "{}")


def test_choices_are_told_apart() -> None:
    chunks = chunks_of(
        ("text", "choice:2", "c"),
        ("text", None, "a"),
        note("choice:2", type="finish", choice=2, finish_reason="paused"),
    )
    choices = accumulated(response(NAME, chunks)).choices
    assert [(choice.message.content, choice.finish_reason) for choice in choices] == [
        ("a", "stop"),
        (None, "stop"),
        ("c", "paused"),
    ]


def test_what_is_thought_and_what_is_refused_arrive() -> None:
    chunks = chunks_of(("reasoning", None, "hm"), ("refusal", None, "I can"), ("refusal", None, "not"))
    message = accumulated(response(NAME, chunks)).choices[0].message
    assert message.refusal == "I cannot"
    assert (message.model_extra or {})["reasoning_content"] == "hm"
    assert message.content is None


def failing(read: Callable[[bytes], object], body: bytes) -> openai.APIError:
    with pytest.raises(openai.APIError) as caught:
        read(body)
    return caught.value


@pytest.mark.parametrize("read", [streamed, accumulated])
def test_a_failure_raises_the_clients_own_error(read: Callable[[bytes], object]) -> None:
    error = failing(read, response(NAME, chunks_of(("text", None, "half")), FAILED))
    assert (error.message, error.type, error.body) == ("Overloaded", "overloaded_error", FAILED.error)


async def test_a_failure_raises_in_the_asynchronous_client_after_the_text_so_far() -> None:
    async with async_client(response(NAME, chunks_of(("text", None, "half")), FAILED)) as made:
        stream = await made.chat.completions.create(**ASKED, stream=True)
        said = [await anext(stream), await anext(stream)]
        assert [chunk.choices[0].delta.content for chunk in said] == [None, "half"]
        with pytest.raises(openai.APIError, match="Overloaded"):
            await anext(stream)


def test_an_interruption_raises_too() -> None:
    error = failing(streamed, response(NAME, chunks_of(("text", None, "half")), INTERRUPTED))
    assert error.type == "interrupted"


def test_a_stop_on_purpose_is_a_reason_and_no_error() -> None:
    completion = accumulated(response(NAME, chunks_of(("text", None, "half")), ended("aborted")))
    assert completion.choices[0].message.content == "half"
    assert str(completion.choices[0].finish_reason) == "aborted"


def test_a_stream_that_is_still_open_has_no_reason() -> None:
    said = streamed(response(NAME, chunks_of(("text", None, "half")), None))
    assert [chunk.choices[0].finish_reason for chunk in said] == [None, None]


def test_heartbeats_ids_and_the_delay_are_no_events() -> None:
    chunks = chunks_of(("text", None, "a"), ("text", None, "b"))
    assert streamed(wire(rendered(NAME, chunks, COMPLETED))) == streamed(response(NAME, chunks))
    assert len(streamed(response(NAME, chunks))) == 4
