"""httpx-sse reads every event stream, and goes on after any event as if it had never been cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from event_source import heard, objects, said, source, told
from httpx_sse import ServerSentEvent
from serving import Served, serving

from eventstore.content import Kind, fold

DIALECTS: Final = ("turnlog", "openai_chat", "anthropic", "ai_sdk", "text")
CALL: Final = '{"type":"tool_call","id":"call-1","name":"look"}'
PIECES: Final[tuple[tuple[Kind, str | None, str], ...]] = (
    ("reasoning", "0", "hm, "),
    ("reasoning", "0", "so"),
    ("text", "1", "one\n"),
    ("text", "1", "two\n\n\u2028"),
    ("text", "1", "data: 🌊"),
    ("other", "2", CALL),
    ("tool_call", "2", '{"x":'),
    ("tool_call", "2", "1}"),
    ("text", "3", " the"),
    ("text", "3", " end"),
)
CHUNKS: Final = [
    {
        "sequence": number,
        "kind": kind,
        "part": part,
        "delta": delta,
        "at": f"2026-11-27T12:00:00.{number:02}0Z",  # ten milliseconds apart
    }
    for number, (kind, part, delta) in enumerate(PIECES, 1)
]


async def started(served: Served, chunks: list[dict[str, Any]] = CHUNKS) -> tuple[UUID, str]:
    """A stream with some chunks, and its path."""
    message_id = await served.stream(await served.context(), model="model-1")
    path = f"/api/messages/{message_id}"
    await served.json("POST", f"{path}/chunks", chunks)
    return message_id, path


def after(found: list[ServerSentEvent], number: int, first: int = 1) -> list[tuple[str, str, str]]:
    """What a reader lacks that was cut off after so many events of a stream that begins with chunk ``first``.

    It has the chunks up to the last event's id, and perhaps a beginning of the next one, which comes again.
    """
    last_id = found[number - 1].id
    if last_id == "0":
        return told(found)
    ids = [event.id for event in found]
    had = ids.count("0") if int(last_id) < first else ids.index(last_id) + 1
    return told(found[had:])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("route", ["stream", "replay"])
async def test_a_finished_stream_goes_on_after_every_event(served: Served, route: str, dialect: str) -> None:
    message_id, path = await started(served)
    await served.finalize(message_id, finish_reason="stop", usage={"input_tokens": 1, "output_tokens": 2})
    asked = {"dialect": dialect} | ({"speed": "0"} if route == "replay" else {})
    end = -1 if route == "replay" and dialect == "turnlog" else None  # its totals are of what was delivered
    whole = await heard(served.client, f"{path}/{route}", params=asked)
    assert whole[0].retry == 1_000
    for number, event in enumerate(whole, 1):
        rest = await heard(served.client, f"{path}/{route}", event.id, asked)
        assert told(rest)[:end] == after(whole, number)[:end]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_part_of_a_replay_goes_on_after_every_event(served: Served, dialect: str) -> None:
    message_id, path = await started(served)
    await served.finalize(message_id)
    parts = (({"from": "3"}, 3), ({"from": "4", "to": "9"}, 4), ({"from_ms": "35"}, 5), ({"to": "6"}, 1))
    for part, first in parts:
        asked = {"dialect": dialect, "speed": "0", **part}
        whole = await heard(served.client, f"{path}/replay", params=asked)
        for number, event in enumerate(whole[:-1], 1):
            rest = await heard(served.client, f"{path}/replay", event.id, asked)
            assert told(rest)[:-1] == after(whole, number, first)[:-1], (part, number)


async def test_an_open_stream_goes_on_after_every_event(served: Served) -> None:
    message_id, path = await started(served, CHUNKS[:6])
    seen = asyncio.Semaphore(0)

    async def read(had: int) -> list[ServerSentEvent]:
        async with source(served.client, f"{path}/stream", str(had)) as opened:
            seen.release()  # the answer has begun, also of who has all that there is
            return [event async for event in opened.aiter_sse()]

    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(read(had)) for had in range(7)]
        for _ in readers:
            await seen.acquire()
        await served.json("POST", f"{path}/chunks", CHUNKS[6:])
        await served.finalize(message_id)
    for had, reader in enumerate(readers):
        assert [event.id for event in reader.result()] == [
            *(["0"] if had == 0 else []),
            *(str(number) for number in range(had + 1, len(PIECES) + 1)),
            str(len(PIECES)),
        ]
        assert [*PIECES[:had], *said(reader.result())] == list(PIECES)
        assert objects(reader.result())[-1]["type"] == "stream.finalized"


@pytest.mark.parametrize("had", [0, 1, 4, 6])
async def test_a_snapshot_and_what_follows_fold_to_the_same(served: Served, had: int) -> None:
    message_id, path = await started(served, CHUNKS[:6])
    came = asyncio.Event()

    async def read() -> list[ServerSentEvent]:
        found: list[ServerSentEvent] = []
        async with source(served.client, f"{path}/stream", str(had), {"mode": "snapshot"}) as opened:
            async for event in opened.aiter_sse():
                found.append(event)
                if '"replay":true' in event.data:
                    came.set()
        return found

    reading = asyncio.create_task(read())
    await came.wait()
    await served.json("POST", f"{path}/chunks", CHUNKS[6:])
    await served.finalize(message_id)
    found = await reading
    assert fold([*PIECES[:had], *said(found)]) == fold(PIECES)
    (snapshot,) = [each for each in objects(found) if each["type"] == "stream.snapshot"]
    assert (snapshot["sequence"], snapshot["replay"]) == (6 if had < 6 else 0, True)
    assert [event.id for event in found][-6:] == ["6", "7", "8", "9", "10", "10"]


async def test_only_what_is_new_is_read_after_now(served: Served) -> None:
    message_id, path = await started(served, CHUNKS[:6])
    async with source(served.client, f"{path}/stream", params={"after": "now"}) as opened:
        await served.json("POST", f"{path}/chunks", CHUNKS[6:])
        await served.finalize(message_id)
        found = [event async for event in opened.aiter_sse()]
    assert objects(found)[0]["type"] == "stream.started"
    assert said(found) == list(PIECES[6:])
    assert told(await heard(served.client, f"{path}/stream", "6"))[:-1] == told(found)[1:-1]


async def test_heartbeats_are_no_events(data_dir: Path) -> None:
    async with serving(data_dir, streams__heartbeat_seconds=0.1) as served:
        message_id, path = await started(served, CHUNKS[:6])
        reading = [asyncio.create_task(heard(served.client, f"{path}/stream", had)) for had in ("", "3", "6")]
        async with served.client.stream("GET", f"{path}/stream", headers={"last-event-id": "6"}) as quiet:
            beats = 0
            async for line in quiet.aiter_lines():
                beats += line == ": keep-alive"
                if beats == 3:
                    break
        await served.json("POST", f"{path}/chunks", CHUNKS[6:])
        await served.finalize(message_id)
        for had, found in zip((0, 3, 6), await asyncio.gather(*reading), strict=True):
            assert [*PIECES[:had], *said(found)] == list(PIECES)


@pytest.mark.parametrize("outcome", ["completed", "aborted", "failed"])
async def test_the_end_says_how_it_ended(served: Served, outcome: str) -> None:
    message_id, path = await started(served)
    error = {"type": "overloaded_error", "message": "Overloaded"} if outcome == "failed" else None
    await served.finalize(message_id, outcome=outcome, error=error)
    end = objects(await heard(served.client, f"{path}/stream"))[-1]
    assert (end["type"], end["outcome"], end["error"]) == ("stream.finalized", outcome, error)


async def test_a_stream_whose_context_is_deleted_ends_with_an_error(served: Served) -> None:
    context_id = await served.context()
    message_id = await served.stream(context_id)
    await served.chunks(message_id, "a")
    async with source(served.client, f"/api/messages/{message_id}/stream") as opened:
        reading = opened.aiter_sse()
        assert [(await anext(reading)).id, (await anext(reading)).id] == ["0", "1"]
        await served.json("DELETE", f"/api/contexts/{context_id}")
        left = [event async for event in reading]
    assert [event.event for event in left] == ["error"]
    assert objects(left)[0]["problem"]["code"] == "context_deleted"


async def test_a_service_that_stops_says_where_to_go_on(served: Served) -> None:
    _, path = await started(served)
    head = (await served.json("GET", "/api/log/head"))["position"]
    asked: list[tuple[str, dict[str, str], str]] = [
        (f"{path}/stream", {}, "10"),
        (f"{path}/stream", {"dialect": "text"}, "10"),
        ("/api/sse", {"contexts": str(await served.context())}, str(head + 1)),
        ("/api/events", {"live": "true", "format": "sse"}, str(head + 1)),
    ]
    async with AsyncExitStack() as stack:
        readings: list[AsyncGenerator[ServerSentEvent, None]] = []
        for route, params, last in asked:
            opened = await stack.enter_async_context(source(served.client, route, params=params))
            reading = opened.aiter_sse()
            while (await anext(reading)).id != last:
                pass
            readings.append(reading)
        served.server.stop()
        for reading, (_, _, last) in zip(readings, asked, strict=True):
            closing = [event async for event in reading][-1]
            assert (closing.event, closing.id) == ("closing", last)
            assert objects([closing]) == [{"type": "closing", "reason": "shutdown", "after": int(last)}]
