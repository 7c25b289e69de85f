"""httpx-sse follows the log: its raw events and its signals, from any position, stored and then live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import pytest
from event_source import heard, objects, source, told
from httpx_sse import ServerSentEvent
from serving import SECONDS, Served

SECRET: Final = {"type": "text", "text": "secret"}

SIGNALS: Final = [
    "created",
    "message",
    "message",
    "content_delta",
    "content_delta",
    "completed",
    "state",
    "updated",
    "branch",
    "message",
    "state",
    "custom",
]
"""Those of ``history``; the last three are of one commit."""


async def history(served: Served) -> tuple[UUID, int]:
    """A context to which everything happens, beside another; and the position of what happened last."""
    context_id, other = await served.context(title="t"), await served.context()
    path = f"/api/contexts/{context_id}"
    await served.json("POST", f"{path}/messages", {"role": "user", "text": "secret"})
    message_id = await served.stream(context_id)
    await served.chunks(message_id, "secret 1", "secret 2")
    await served.json("POST", f"/api/contexts/{other}/messages", {"role": "user", "text": "elsewhere"})
    await served.chunks(message_id, "secret 3", after=2)
    await served.finalize(message_id)
    await served.json("PUT", f"{path}/state", {"state": "waiting"})
    await served.json("PATCH", path, {"title": "u"})
    await served.json("PUT", f"{path}/branches/side", {"of": "main"})
    three = [
        {"type": "message.appended", "message_id": str(uuid4()), "role": "user", "parts": [SECRET]},
        {"type": "context.state_changed", "state": "busy"},
        {"type": "custom.recorded", "name": "app.seen", "data": {"secret": 1}},
    ]
    committed = await served.json("POST", "/api/commits", {"context_id": str(context_id), "events": three})
    return context_id, committed["position"]


def reached(position: int) -> Callable[[ServerSentEvent], bool]:
    """Whether an event's id is a position."""
    return lambda event: event.id == str(position)


def after(found: list[ServerSentEvent], number: int) -> list[tuple[str, str, str]]:
    """What follows the commit of the last of so many events; one of which not all came comes again."""
    ids = [event.id for event in found]
    return told(found[ids.index(found[number - 1].id) + 1 :])


@pytest.mark.parametrize("route", ["/api/contexts/{}/sse", "/api/sse?contexts={}"])
async def test_signals_go_on_after_every_event(served: Served, route: str) -> None:
    context_id, head = await history(served)
    path = route.format(context_id)
    opening, *whole = await heard(served.client, path, "0", until=reached(head))
    assert (opening.event, opening.data, opening.retry) == ("open", '{"position":0}', 1_000)
    assert [event.event for event in whole] == SIGNALS
    assert {each["context_id"] for each in objects(whole)} == {str(context_id)}
    assert "secret" not in "".join(event.data for event in whole)
    for number, event in enumerate(whole[:-1], 1):
        first, *rest = await heard(served.client, path, event.id, until=reached(head))
        assert (first.event, first.id) == ("open", event.id)
        assert told(rest) == after(whole, number)


async def test_signals_begin_now_and_say_where(served: Served) -> None:
    context_id, head = await history(served)
    async with asyncio.timeout(SECONDS), source(served.client, f"/api/contexts/{context_id}/sse") as opened:
        reading = opened.aiter_sse()
        first = await anext(reading)
        assert (first.event, first.id, objects([first])) == ("open", str(head), [{"position": head}])
        await served.json("PUT", f"/api/contexts/{context_id}/state", {"state": "new"})
        assert (await anext(reading)).event == "state"


async def test_signals_of_several_contexts_come_in_the_order_of_the_log(served: Served) -> None:
    ids = [await served.context() for _ in range(3)]
    for _ in range(3):
        for context_id in ids:
            await served.json("PUT", f"/api/contexts/{context_id}/state", {"state": "s"})
    head = (await served.json("GET", "/api/log/head"))["position"]
    followed = f"/api/sse?contexts={ids[0]},{ids[2]}"
    found = await heard(served.client, followed, "3", until=reached(head))
    assert [each["context_id"] for each in objects(found)[1:]] == [str(ids[0]), str(ids[2])] * 3
    assert [int(event.id) for event in found] == [3, 4, 6, 7, 9, 10, 12]


@pytest.mark.parametrize("kinds", [None, "stream.chunk_received", "context.state_changed,custom.recorded"])
async def test_the_log_goes_on_after_every_event(served: Served, kinds: str | None) -> None:
    _, head = await history(served)
    asked = {"live": "true"} | ({"kinds": kinds} if kinds else {})
    whole = await all_events(served, "", head, asked)
    types = {each["event"]["type"] for each in whole}
    assert types == set(kinds.split(",")) if kinds else types > {"context.created", "stream.finalized"}
    for position in range(1, head):
        assert await all_events(served, str(position), head, asked) == [
            each for each in whole if each["position"] > position
        ]


async def all_events(served: Served, last_id: str, head: int, asked: dict[str, str]) -> list[dict[str, Any]]:
    """The events up to the head; a filter leaves out some, but tells of it by an event of its own."""
    asked = {"format": "sse", **asked}
    found = await heard(served.client, "/api/events", last_id, asked, lambda event: int(event.id) >= head)
    assert {event.event for event in found} <= {"event", "position"}
    return objects([event for event in found if event.event == "event"])


async def test_a_commit_that_was_cut_off_comes_again(served: Served) -> None:
    _, head = await history(served)
    whole = await heard(served.client, "/api/events?format=sse")
    *_, first, second, third = whole
    assert [event.id for event in (first, second, third)] == [str(head - 1), str(head - 1), str(head)]
    for cut in (first, second):
        rest = await heard(served.client, "/api/events?format=sse", cut.id)
        assert told(rest) == told([first, second, third])


async def test_lines_of_json_say_the_same(served: Served) -> None:
    _, head = await history(served)
    whole = objects(await heard(served.client, "/api/events?format=sse"))
    async with served.client.stream("GET", "/api/events?live=true&format=ndjson") as response:
        lines: list[Any] = []
        async for line in response.aiter_lines():
            lines.append(msgspec.json.decode(line))
            if len(lines) == len(whole):
                break
    assert lines == whole
    assert lines[-1]["position"] == head


async def test_a_quiet_log_is_followed_at_once(served: Served) -> None:
    context_id = await served.context()
    async with source(served.client, "/api/events?after=now&live=true&format=sse") as opened:
        await served.json("PUT", f"/api/contexts/{context_id}/state", {"state": "s"})
        event = await anext(opened.aiter_sse())
        assert (event.event, event.id, event.retry) == ("event", "2", 1_000)
