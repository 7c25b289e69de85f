"""What no client here reads: the AI SDK's dialect, by a reader after its documentation, and plain text."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any, Final

import pytest
from event_source import heard
from httpx_sse import ServerSentEvent
from provider_clients import sent
from serving import Served
from ui_messages import UiMessage, ui_message
from wires import RECORDINGS

from turnlog.dialects.rendering import Event

ROUTES: Final = ("stream", "stream?mode=snapshot", "replay", "replay?speed=0")
TEXT: Final = ("潮汐\n", "\n\n", " two \u2028", "data: x\n\n", "🌊", " ", "end\n")


async def ingested(served: Served, name: str) -> tuple[str, dict[str, Any]]:
    """Record what a provider sent; the path of its message, and the message."""
    path = f"/api/contexts/{await served.context()}/ingest?dialect={name.partition('/')[0]}&tee=true"
    response = await served.client.post(path, content=sent(name))
    message = f"/api/messages/{response.headers['turnlog-message-id']}"
    return message, await served.json("GET", message)


async def in_dialect(served: Served, path: str, dialect: str) -> list[ServerSentEvent]:
    """All events of a path in a dialect."""
    return await heard(served.client, f"{path}{'&' if '?' in path else '?'}dialect={dialect}")


async def read(served: Served, path: str) -> UiMessage:
    """What a client of the AI SDK holds at the end."""
    found = await in_dialect(served, path, "ai_sdk")
    assert {event.event for event in found} == {"message"}
    return ui_message([Event(event.data.encode()) for event in found])


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", RECORDINGS)
async def test_a_reader_of_the_ai_sdk_holds_what_was_recorded(served: Served, name: str, route: str) -> None:
    path, stored = await ingested(served, name)
    message = await read(served, f"{path}/{route}")
    assert message.id == stored["id"]
    assert message.done
    assert [held(part) for part in message.parts] == [kept(part) for part in stored["parts"]]
    called = any(part["type"] == "tool_call" for part in stored["parts"])
    cut = "incomplete" in name
    assert message.finish_reason == ("length" if cut else "tool-calls" if called else "stop")
    assert message.metadata["usage"]["outputTokens"] > 0
    assert message.metadata["context_id"] == stored["context_id"]


def held(part: dict[str, Any]) -> tuple[object, ...]:
    """A part of a client's."""
    if part["type"] != "tool":
        assert part["state"] == "done"
        return part["type"], part["text"]
    text = part["input"] if part["state"] == "error" else part["text"]
    if part["state"] == "available":
        assert part["input"] == json.loads(text or "{}")
    return "tool", part["id"], part["name"], text


def kept(part: dict[str, Any]) -> tuple[object, ...]:
    """A part of the log's."""
    if part["type"] == "tool_call":
        return "tool", part["id"], part["name"], part["arguments"]
    return part["type"], part["text"]


async def test_the_ai_sdks_header_is_on_the_answer(served: Served) -> None:
    message_id = await served.stream(await served.context())
    await served.finalize(message_id)
    for route in ROUTES:
        joint = "&" if "?" in route else "?"
        response = await served.client.get(f"/api/messages/{message_id}/{route}{joint}dialect=ai_sdk")
        assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store, no-transform"
        assert response.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize("outcome", ["failed", "aborted"])
async def test_a_reader_of_the_ai_sdk_learns_how_it_ended(served: Served, outcome: str) -> None:
    message_id = await served.stream(await served.context())
    await served.chunks(message_id, "half")
    await served.finalize(
        message_id, outcome=outcome, error={"message": "Overloaded"} if outcome == "failed" else None
    )
    message = await read(served, f"/api/messages/{message_id}/stream")
    assert message.parts[0]["text"] == "half"
    assert (message.error, message.aborted) == (
        ("Overloaded", False) if outcome == "failed" else (None, True)
    )


@pytest.mark.parametrize("route", ROUTES)
async def test_text_is_the_plain_text(served: Served, route: str) -> None:
    message_id = await served.stream(await served.context())
    chunks = [{"sequence": 1, "delta": "hm", "kind": "reasoning"}]
    chunks += [{"sequence": n, "delta": delta} for n, delta in enumerate(TEXT, 2)]
    await served.json("POST", f"/api/messages/{message_id}/chunks", chunks)
    await served.finalize(message_id)
    *found, end = await in_dialect(served, f"/api/messages/{message_id}/{route}", "text")
    assert "".join(event.data for event in found) == "".join(TEXT)
    assert (end.event, end.data) == ("finalized", "completed")
    assert {event.event for event in found} == {"message"}
    stored = await served.json("GET", f"/api/messages/{message_id}")
    assert stored["text"] == "".join(TEXT)


async def test_bytes_that_were_not_kept_are_refused(served: Served) -> None:
    message_id = await served.stream(await served.context())
    await served.chunks(message_id, "a")
    for route in ("stream", "replay"):
        response = await served.client.get(f"/api/messages/{message_id}/{route}?dialect=raw")
        assert (response.status_code, response.json()["code"]) == (409, "raw_not_kept")


async def test_a_dialect_that_is_none_is_refused(served: Served) -> None:
    message_id = await served.stream(await served.context())
    for route in ("stream", "replay"):
        response = await served.client.get(f"/api/messages/{message_id}/{route}?dialect=other")
        assert (response.status_code, response.json()["code"]) == (422, "unknown_dialect")
        assert "ai_sdk" in response.json()["known"]


@pytest.mark.parametrize("part", ["from=5", "to=5", "from=3&to=8"])
async def test_a_part_of_a_raw_replay_is_those_events(served: Served, part: str) -> None:
    name = "openai_chat/openai-text.chunks.txt"
    path = f"/api/contexts/{await served.context()}/ingest?dialect=openai_chat&tee=true&keep_raw=true"
    response = await served.client.post(path, content=sent(name))
    path = f"/api/messages/{response.headers['turnlog-message-id']}"
    stored = (await served.json("GET", f"{path}/chunks?raw=true"))["chunks"]
    bounds = dict(each.split("=") for each in part.split("&"))
    first, last = int(bounds.get("from", 1)), int(bounds.get("to", len(stored)))
    asked = await served.client.get(f"{path}/replay?dialect=raw&speed=0&{part}")
    assert asked.content == b"".join(b64decode(chunk["raw"] or "") for chunk in stored[first - 1 : last])
