"""The clients of OpenAI and Anthropic read what was recorded over HTTP as if the provider sent it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import anthropic
import openai
import pytest
from anthropic.types import Message
from event_source import source
from openai.types.chat import ChatCompletion
from provider_clients import (
    ANTHROPIC,
    OPENAI,
    InsteadOfTheProvider,
    anthropic_client,
    completion,
    message,
    openai_client,
    recorded,
    sent,
)
from serving import Served, serving
from wires import RECORDINGS, final, understood

from eventstore.content import Part, ReasoningPart, TextPart, ToolCallPart
from turnlog.shapes import plain

CUT: Final = "anthropic/incomplete_partial_json_response.txt"
"""Its tool call was cut by the limit; OpenAI's client raises for that, as it does at OpenAI."""

COUNTS: Final = {
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
}
"""What Anthropic's usage says at the end, where this comes from; the rest it says at the start."""

OF_OPENAI: Final = [name for name in RECORDINGS if name.startswith("openai_chat")]
OF_ANTHROPIC: Final = [name for name in RECORDINGS if name.startswith("anthropic")]


async def slices(body: bytes, size: int = 97) -> AsyncGenerator[bytes, None]:
    """A body cut anywhere."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def ingested(served: Served, name: str, context_id: UUID | None = None) -> str:
    """Record what a provider sent, through the service; the path of its message."""
    context_id = context_id or await served.context()
    response = await served.client.post(
        f"/api/contexts/{context_id}/ingest",
        params={"dialect": name.partition("/")[0], "tee": "true", "keep_raw": "true"},
        content=slices(sent(name)),
    )
    assert response.status_code == 200, response.text
    assert response.content == sent(name), "the echo is what was sent, byte for byte"
    return f"/api/messages/{response.headers['turnlog-message-id']}"


def parts_of(name: str) -> tuple[Part, ...]:
    """The content of a recording."""
    pieces, ended, _ = understood(name.partition("/")[0], RECORDINGS[name])
    return final(pieces, ended)


def facts_of_completion(said: ChatCompletion) -> dict[str, Any]:
    """What matters of an answer; ids and times are the log's own, and what is nothing may be empty."""
    (choice,) = said.choices
    reasoning = (choice.message.model_extra or {}).get("reasoning_content")
    return {
        "model": said.model,
        "role": choice.message.role,
        "content": choice.message.content or None,
        "refusal": choice.message.refusal,
        "reasoning": reasoning or None,
        "tool_calls": [call.model_dump() for call in choice.message.tool_calls or []],
        "finish_reason": choice.finish_reason,
        "usage": said.usage and said.usage.model_dump(),
    }


def facts_of_message(said: Message) -> dict[str, Any]:
    """The same of Anthropic's."""
    return {
        "model": said.model,
        "role": said.role,
        "content": [block.model_dump(exclude={"caller"}) for block in said.content],
        "stop_reason": said.stop_reason,
        "stop_sequence": said.stop_sequence,
        "usage": said.usage.model_dump(include=COUNTS),
    }


@pytest.mark.parametrize("name", RECORDINGS)
async def test_a_recording_is_ingested_and_its_bytes_come_back(served: Served, name: str) -> None:
    path = await ingested(served, name)
    stored = await served.json("GET", path)
    _, ended, _ = understood(name.partition("/")[0], RECORDINGS[name])
    assert stored["parts"] == [plain(part) for part in parts_of(name)]
    assert (stored["outcome"], stored["complete"]) == (ended.outcome, True)
    timeline = await served.json("GET", f"{path}/timeline")
    assert timeline["usage"] == ended.usage
    for asked in ("stream?dialect=raw", "stream?dialect=raw&mode=snapshot", "replay?dialect=raw"):
        assert (await served.client.get(f"{path}/{asked}")).content == sent(name), asked
    texts = [part.text for part in parts_of(name) if isinstance(part, TextPart)]
    assert stored["text"] == "".join(texts)


@pytest.mark.parametrize("asked", ["replay", "replay?speed=0", "stream", "stream?mode=snapshot"])
@pytest.mark.parametrize("name", OF_OPENAI)
async def test_openais_client_reads_what_openai_sent(served: Served, name: str, asked: str) -> None:
    path = await ingested(served, name)
    again = await completion(of(served, f"{path}/{asked}", "openai_chat"))
    assert facts_of_completion(again) == facts_of_completion(await completion(recorded(sent(name))))
    assert again.id == path.rpartition("/")[2]


@pytest.mark.parametrize("asked", ["replay", "replay?speed=0", "stream", "stream?mode=snapshot"])
@pytest.mark.parametrize("name", OF_ANTHROPIC)
async def test_anthropics_client_reads_what_anthropic_sent(served: Served, name: str, asked: str) -> None:
    path = await ingested(served, name)
    again = await message(of(served, f"{path}/{asked}", "anthropic"))
    assert facts_of_message(again) == facts_of_message(await message(recorded(sent(name))))
    assert again.id == path.rpartition("/")[2]


@pytest.mark.parametrize("name", [name for name in RECORDINGS if name != CUT])
async def test_each_client_reads_what_the_other_provider_sent(served: Served, name: str) -> None:
    path, parts = await ingested(served, name), parts_of(name)
    texts = "".join(part.text for part in parts if isinstance(part, TextPart))
    thoughts = "".join(part.text for part in parts if isinstance(part, ReasoningPart))
    calls = [part for part in parts if isinstance(part, ToolCallPart)]
    usage = (await served.json("GET", f"{path}/timeline"))["usage"]
    output_tokens = usage.get("output_tokens", usage.get("completion_tokens"))

    (choice,) = (said := await completion(of(served, f"{path}/replay", "openai_chat"))).choices
    assert (choice.message.content or "") == texts
    assert ((choice.message.model_extra or {}).get("reasoning_content") or "") == thoughts
    assert [call.id for call in choice.message.tool_calls or []] == [call.id for call in calls]
    assert choice.finish_reason == ("tool_calls" if calls else "stop")
    assert said.usage is not None
    assert said.usage.completion_tokens == output_tokens

    answer = await message(of(served, f"{path}/replay", "anthropic"))
    assert "".join(block.text for block in answer.content if block.type == "text") == texts
    assert "".join(block.thinking for block in answer.content if block.type == "thinking") == thoughts
    used = [block for block in answer.content if block.type == "tool_use"]
    assert [(block.id, block.name) for block in used] == [(call.id, call.name) for call in calls]
    assert answer.stop_reason == ("tool_use" if calls else "end_turn")
    assert answer.usage.output_tokens == output_tokens


@pytest.mark.parametrize(
    "name", ["openai_chat/deepseek-tool-call.chunks.txt", "anthropic/tool_use_response.txt"]
)
async def test_both_clients_follow_what_the_provider_still_sends(data_dir: Path, name: str) -> None:
    body, go_on = sent(name), asyncio.Event()

    async def sending() -> AsyncGenerator[bytes, None]:
        yield body[: len(body) // 2]
        await go_on.wait()
        yield body[len(body) // 2 :]

    async with serving(data_dir, streams__heartbeat_seconds=0.1) as served, asyncio.TaskGroup() as tasks:
        context_id, message_id = await served.context(), uuid4()
        path = f"/api/messages/{message_id}"
        asked = {"dialect": name.partition("/")[0], "message_id": str(message_id)}
        ingest = f"/api/contexts/{context_id}/ingest"
        async with source(served.client, f"/api/contexts/{context_id}/sse") as signals:
            tasks.create_task(served.client.post(ingest, params=asked, content=sending()))
            async for signal in signals.aiter_sse():
                if signal.event == "content_delta":
                    break
        first = tasks.create_task(completion(of(served, f"{path}/stream", "openai_chat")))
        second = tasks.create_task(message(of(served, f"{path}/stream", "anthropic")))
        async with served.client.stream("GET", f"{path}/stream") as quiet:
            async for line in quiet.aiter_lines():
                if line == ": keep-alive":  # by now the clients have had one too
                    break
        assert not first.done()
        assert not second.done()
        go_on.set()
        assert await first == await completion(of(served, f"{path}/replay", "openai_chat"))
        assert await second == await message(of(served, f"{path}/replay", "anthropic"))
        stored = await served.json("GET", path)
        assert stored["parts"] == [plain(part) for part in parts_of(name)]


@pytest.mark.parametrize("asked", ["stream", "replay"])
async def test_a_failure_raises_each_clients_own_error(served: Served, asked: str) -> None:
    message_id = await served.stream(await served.context())
    await served.chunks(message_id, "half")
    error = {"type": "overloaded_error", "message": "Overloaded"}
    await served.finalize(message_id, outcome="failed", error=error)
    path = f"/api/messages/{message_id}/{asked}"
    async with openai_client(of(served, path, "openai_chat")) as made:
        stream = await made.chat.completions.create(**OPENAI, stream=True)
        said = [await anext(stream), await anext(stream)]
        assert [chunk.choices[0].delta.content for chunk in said] == [None, "half"]
        with pytest.raises(openai.APIError, match="Overloaded"):
            await anext(stream)
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        await message(of(served, path, "anthropic"))


async def test_a_message_that_is_not_there_raises_each_clients_own_error(served: Served) -> None:
    path = f"/api/messages/{uuid4()}/stream"
    async with openai_client(of(served, path, "openai_chat")) as made:
        with pytest.raises(openai.NotFoundError) as at_openai:
            await made.chat.completions.create(**OPENAI, stream=True)
    async with anthropic_client(of(served, path, "anthropic")) as made:
        with pytest.raises(anthropic.NotFoundError) as at_anthropic:
            await made.messages.create(**ANTHROPIC, stream=True)
    for caught in (at_openai, at_anthropic):
        assert '"message_not_found"' in caught.value.response.text


async def test_what_is_no_stream_of_the_dialect_is_refused(served: Served) -> None:
    context_id = await served.context()
    response = await served.client.post(
        f"/api/contexts/{context_id}/ingest?dialect=anthropic", content=slices(sent(OF_OPENAI[0])[:2_000])
    )
    assert (response.status_code, response.json()["code"]) == (422, "malformed_stream")
    assert (await served.json("GET", f"/api/contexts/{context_id}/messages"))["items"] == []
    response = await served.client.post(f"/api/contexts/{context_id}/ingest?dialect=other", content=b"")
    assert (response.status_code, response.json()["code"]) == (422, "unknown_dialect")
    assert response.json()["known"] == ["anthropic", "openai_chat"]


def of(served: Served, path: str, dialect: str) -> InsteadOfTheProvider:
    """A path of the service, in a dialect, instead of a provider."""
    joint = "&" if "?" in path else "?"
    return InsteadOfTheProvider(f"{served.address}{path}{joint}dialect={dialect}")


async def test_a_service_that_stops_raises_each_clients_own_error(data_dir: Path) -> None:
    async with serving(data_dir) as served, AsyncExitStack() as stack:
        message_id = await served.stream(await served.context())
        await served.chunks(message_id, "half")
        path = f"/api/messages/{message_id}/stream"
        one = await stack.enter_async_context(openai_client(of(served, path, "openai_chat")))
        said = await one.chat.completions.create(**OPENAI, stream=True)
        assert [(await anext(said)).choices[0].delta.content for _ in range(2)] == [None, "half"]
        other = await stack.enter_async_context(anthropic_client(of(served, path, "anthropic")))
        events = await other.messages.create(**ANTHROPIC, stream=True)
        assert [(await anext(events)).type for _ in range(2)] == ["message_start", "content_block_start"]
        served.server.stop()
        with pytest.raises(openai.APIError, match="stopping"):
            await anext(said)
        assert (await anext(events)).type == "content_block_delta"
        with pytest.raises(anthropic.APIStatusError, match="stopping"):
            await anext(events)
