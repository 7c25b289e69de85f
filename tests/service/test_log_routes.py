"""The log over HTTP: its events paged and followed, signals of contexts, its head."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

import msgspec
import pytest
from event_source import data, heard, listening
from expecting import invalid, lines, problem
from serving import Served

from eventstore.events import BIT_OF_TAG
from turnlog.shapes import event_lines


async def _filled(served: Served) -> list[UUID]:
    """Two contexts that take turns; the second one streams."""
    one, two = await served.context(title="one"), await served.context(title="two")
    await served.json("POST", f"/api/contexts/{one}/messages", {"role": "user", "text": "潮汐"})
    message_id = await served.stream(two)
    await served.chunks(message_id, "a", "b")
    await served.json("PUT", f"/api/contexts/{one}/state", {"state": "busy"})
    await served.chunks(message_id, "c", after=2)
    await served.finalize(message_id)
    return [one, two]


def _expected(
    served: Served, context_id: UUID | None = None, tags: Collection[str] = BIT_OF_TAG
) -> list[Any]:
    """The lines of the log as the library tells them."""
    log = served.service.log.store.log
    with log.reading() as txn:
        commits, _ = log.commits(txn, 0, count_max=1_000, bytes_max=1 << 20)
    told = [
        line for commit in commits if context_id in (None, commit.context_id) for line in event_lines(commit)
    ]
    found = msgspec.json.decode(msgspec.json.encode(told))
    return [line for line in found if line["event"]["type"] in tags]


async def test_the_events_of_the_log_are_paged_by_commits_to_the_exact_end(served: Served) -> None:
    await _filled(served)
    expected = _expected(served)
    head = expected[-1]["position"]
    assert [line["position"] for line in expected] == [1, 2, 3, 4, 5, 5, 6, 7, 8]
    for limit in (1, 3, 4, 7, 8, 9):
        found: list[Any] = []
        after, more, pages = 0, True, 0
        while more:
            read = await served.client.get(f"/api/events?after={after}&limit={limit}")
            assert read.headers["turnlog-position"] == str(head)
            page = read.json()
            found, after, more, pages = found + page["items"], page["position"], page["has_more"], pages + 1
        assert (found, after, pages) == (expected, head, -(-head // limit))
    empty: dict[str, Any] = {"items": [], "position": head, "has_more": False}
    assert await served.json("GET", f"/api/events?after={head}") == empty
    assert await served.json("GET", "/api/events?after=now") == empty


async def test_the_events_of_a_context_are_paged_alone(served: Served) -> None:
    for context_id in await _filled(served):
        expected = _expected(served, context_id)
        commits = len({line["position"] for line in expected})
        for limit in (1, 2, commits, commits + 1):
            found: list[Any] = []
            after, more, pages = 0, True, 0
            while more:
                path = f"/api/contexts/{context_id}/events?after={after}&limit={limit}"
                page = await served.json("GET", path)
                found, after, more, pages = (
                    found + page["items"],
                    page["position"],
                    page["has_more"],
                    pages + 1,
                )
            assert (found, after, pages) == (expected, 8, -(-commits // limit))


@pytest.mark.parametrize("scope", ["/api/events", "one", "two"])
async def test_a_filter_still_advances_the_position(served: Served, scope: str) -> None:
    one, two = await _filled(served)
    context_id = {"one": one, "two": two}.get(scope)
    path = scope if context_id is None else f"/api/contexts/{context_id}/events"
    for tags in (["stream.finalized"], ["context.created", "stream.chunk_received"], ["branch.deleted"]):
        expected = _expected(served, context_id, tags)
        query = f"{path}?kinds={','.join(tags)}"
        page = await served.json("GET", query)
        assert page == {"items": expected, "position": 8, "has_more": False}
        ndjson = await served.client.get(query, headers={"accept": "application/x-ndjson"})
        assert lines(ndjson.text) == expected
        *events, last = await heard(served.client, query)
        if last.event == "event":
            events.append(last)
        else:
            assert (last.event, data(last)) == ("position", {"position": 8})
        assert [data(event) for event in events] == expected
        assert last.id == "8", "whoever comes back does not read it all again"


async def test_kinds_are_known_tags(served: Served) -> None:
    for kinds in ("", "stream", "stream.finalized,", "STREAM.FINALIZED"):
        refused = await served.client.get("/api/events", params={"kinds": kinds})
        assert problem(refused, 422, "invalid_argument")["argument"] == "kinds"
    every = ", ".join(BIT_OF_TAG)
    assert (await served.client.get("/api/events", params={"kinds": every})).is_success


@pytest.mark.parametrize("after", ["-1", "1.5", "latest", "", "\u0661", "9" * 19])
async def test_a_place_in_the_log_is_a_position_or_now(served: Served, after: str) -> None:
    refused = await served.client.get("/api/events", params={"after": after})
    assert problem(refused, 422, "invalid_argument")["argument"] == "after"


async def test_lines_and_server_sent_events_are_chosen_by_header_or_query(served: Served) -> None:
    await _filled(served)
    expected = _expected(served)
    for query, accept in (("?format=ndjson", "*/*"), ("", "application/x-ndjson")):
        read = await served.client.get(f"/api/events{query}", headers={"accept": accept})
        assert read.headers["content-type"] == "application/x-ndjson"
        assert lines(read.text) == expected
    events = await heard(served.client, "/api/events")  # it accepts nothing else
    assert [data(event) for event in events] == expected
    assert {event.event for event in events} == {"event"}
    chosen = await served.client.get("/api/events?format=sse", headers={"accept": "application/json"})
    assert chosen.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert chosen.text.count("event: event\n") == len(expected)
    read = await served.client.get("/api/events?format=json", headers={"accept": "text/event-stream"})
    assert read.json()["items"] == expected
    assert list(invalid(await served.client.get("/api/events?format=xml"))) == ["query.format"]
    refused = await served.client.get("/api/events?live=true")
    assert problem(refused, 422, "invalid_argument")["argument"] == "live"


async def test_the_id_of_an_event_leads_exactly_after_its_commit(served: Served) -> None:
    await _filled(served)
    events = await heard(served.client, "/api/events?format=sse")
    # Of a commit with two events only the last one has its position: a reader cut off between them gets both.
    assert [event.id for event in events] == ["1", "2", "3", "4", "4", "5", "6", "7", "8"]
    for event in events:
        rest = await heard(served.client, "/api/events?format=sse", event.id)
        assert [data(one)["position"] for one in rest] == [
            data(one)["position"] for one in events if data(one)["position"] > int(event.id)
        ]
        asked = await heard(served.client, f"/api/events?format=sse&after={event.id}")
        assert [data(one) for one in asked] == [data(one) for one in rest]


async def test_what_is_followed_goes_on_as_it_is_committed(served: Served) -> None:
    context_id, _ = await _filled(served)
    stored = _expected(served, context_id)
    path = f"/api/contexts/{context_id}/events?format=sse&live=true"
    async with listening(served.client, path) as events:
        assert [data(await anext(events)) for _ in stored] == stored
        for state in ("a", "b"):
            await served.json("PUT", f"/api/contexts/{context_id}/state", {"state": state})
            event = await anext(event async for event in events if event.event == "event")
            assert (data(event)["event"]["state"], int(event.id)) == (state, data(event)["position"])
    new = "/api/events?format=ndjson&live=true&after=now&kinds=context.created"
    async with served.client.stream("GET", new) as response:
        made = await served.context(title="new")
        told = msgspec.json.decode(await anext(line async for line in response.aiter_lines() if line))
        assert (told["context_id"], told["event"]["title"]) == (str(made), "new")


async def test_a_filter_tells_a_follower_how_far_it_is(served: Served) -> None:
    context_id = await served.context()
    path = "/api/events?format=sse&live=true&kinds=branch.deleted"
    async with listening(served.client, path) as events:
        for position in (1, 2, 3):
            event = await anext(events)
            told = {"position": position}
            assert (event.event, event.id, data(event)) == ("position", str(position), told)
            await served.json("PUT", f"/api/contexts/{context_id}/state", {"state": "busy"})


async def test_signals_tell_what_happened_and_no_content(served: Served) -> None:
    context_id = await served.context(title="secret title")
    path = f"/api/contexts/{context_id}"
    async with listening(served.client, f"{path}/sse?after=0") as events:

        async def signal(name: str, /, **facts: object) -> int:
            event = await anext(events)
            told = data(event)
            assert "secret" not in event.data
            version = told.pop("version")
            assert (event.event, told) == (name, {"context_id": str(context_id), **facts})
            assert int(event.id) <= (await served.json("GET", "/api/log/head"))["position"]
            return version

        opened = await anext(events)
        assert (opened.event, opened.id, data(opened)) == ("open", "0", {"position": 0})
        await signal("created", workspace="default")
        said = await served.json("POST", f"{path}/messages", {"role": "user", "text": "secret"})
        facts = {"parent_id": None, "role": "user", "branch": "main", "streamed": False}
        await signal("message", message_id=said["message_id"], **facts)
        message_id = str(await served.stream(context_id))
        facts = {"parent_id": said["message_id"], "role": "assistant", "branch": "main", "streamed": True}
        await signal("message", message_id=message_id, **facts)
        await served.chunks(UUID(message_id), "secret", " and more")
        assert await signal("content_delta", message_id=message_id, sequence=2) == 5
        await served.finalize(UUID(message_id), finish_reason="stop")
        await signal("completed", message_id=message_id, outcome="completed")
        await served.json("PUT", f"{path}/state", {"state": "busy", "detail": "secret"})
        await signal("state", state="busy")
        await served.json("PUT", f"{path}/branches/side", {"head": message_id, "active": True})
        await signal("branch", branch="side", change="moved", head=message_id)
        await signal("branch", branch="side", change="switched")
        await served.json("DELETE", f"{path}/branches/main")
        await signal("branch", branch="main", change="deleted")
        await served.json("PATCH", path, {"title": "secret", "tags": ["secret"]})
        await signal("updated", fields=["tags", "title"])
        await served.json("POST", f"/api/messages/{message_id}/redact", {"reason": "secret"})
        await signal("redacted", message_id=message_id)
        custom = {"type": "custom.recorded", "name": "tick", "data": {"x": "secret"}}
        await served.json("POST", "/api/commits", {"context_id": str(context_id), "events": [custom]})
        await signal("custom", name="tick")
        await served.json("DELETE", path)
        await signal("deleted")


async def test_signals_begin_now_and_go_on_after_the_last_id(served: Served) -> None:
    one, two = await _filled(served)
    path = f"/api/contexts/{one}/sse"
    async with listening(served.client, path) as events:
        assert (await anext(events)).id == "8"
        await served.json("PUT", f"/api/contexts/{two}/state", {"state": "elsewhere"})
        await served.json("PUT", f"/api/contexts/{one}/state", {"state": "here"})
        event = await anext(events)
        assert (event.event, data(event)["state"], event.id) == ("state", "here", "10")
    async with listening(served.client, path, "3") as events:
        told = [await anext(events) for _ in range(3)]
        assert [(event.event, event.id) for event in told] == [("open", "3"), ("state", "6"), ("state", "10")]


async def test_signals_of_several_contexts_come_in_the_order_of_the_log(served: Served) -> None:
    one, two = await _filled(served)
    three = await served.context()
    path = f"/api/sse?after=0&contexts={two}, {one}"
    async with listening(served.client, path) as events:
        names = [(await anext(events)).event for _ in range(9)]
        assert names == [
            *("open", "created", "created", "message", "message"),
            *("content_delta", "state", "content_delta", "completed"),
        ]
        await served.json("PUT", f"/api/contexts/{three}/state", {"state": "not followed"})
        await served.json("PUT", f"/api/contexts/{two}/state", {"state": "followed"})
        assert data(await anext(events))["state"] == "followed"


async def test_signals_of_what_is_not_there_are_refused(served: Served) -> None:
    context_id, unknown = await served.context(), UUID(int=7)
    refused = await served.client.get(f"/api/sse?contexts={context_id},{unknown}")
    assert problem(refused, 404, "context_not_found")["context_id"] == str(unknown)
    for contexts in ("", "1", f"{context_id},", ",".join([str(context_id)] * 101)):
        refused = await served.client.get("/api/sse", params={"contexts": contexts})
        assert problem(refused, 422, "invalid_argument")["argument"] == "contexts"
    assert list(invalid(await served.client.get("/api/sse"))) == ["query.contexts"]


async def test_the_head_is_the_logs_own(served: Served) -> None:
    empty = await served.json("GET", "/api/log/head")
    assert (empty["position"], empty["chain"]) == (0, served.service.log.store.head().chain.hex())
    await _filled(served)
    read = await served.client.get("/api/log/head")
    head = served.service.log.store.head()
    assert (read.json()["position"], read.json()["chain"]) == (8, head.chain.hex())
    assert read.headers["turnlog-position"] == "8"
    assert read.json()["recorded_at"] == _expected(served)[-1]["recorded_at"]
    assert read.json()["chain"] != empty["chain"]
