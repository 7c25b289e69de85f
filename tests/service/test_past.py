"""What happened to a context over HTTP: its history, and what differs between two moments."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import UUID

from expecting import invalid, problem, told
from serving import Served

from projections.timetravel import AtVersion


async def _eventful(served: Served) -> tuple[UUID, list[dict[str, Any]]]:
    """A context with a change of nearly every kind, and what its history says."""
    context_id = await served.context(title="one")
    path = f"/api/contexts/{context_id}"
    said = await served.json("POST", f"{path}/messages", {"role": "user", "text": "hello"})
    message_id = await served.stream(context_id)
    await served.chunks(message_id, "a", "b", "c")
    await served.json("PUT", f"{path}/state", {"state": "busy"})
    await served.chunks(message_id, "d", after=3)
    await served.finalize(message_id)
    await served.json("PATCH", path, {"title": "two", "tags": ["t"]})
    await served.json("PUT", f"{path}/branches/side", {"head": said["message_id"], "active": True})
    return context_id, (await served.json("GET", f"{path}/history"))["items"]


async def test_history_tells_each_event_and_each_stretch_of_chunks(served: Served) -> None:
    context_id, entries = await _eventful(served)
    assert [(entry["type"], entry["version"], entry["last_version"]) for entry in entries] == [
        ("context.created", 1, 1),
        ("message.appended", 2, 2),
        ("stream.started", 3, 3),
        ("stream.chunk_received", 4, 6),
        ("context.state_changed", 7, 7),
        ("stream.chunk_received", 8, 8),
        ("stream.finalized", 9, 9),
        ("context.updated", 10, 10),
        ("branch.moved", 11, 11),
        ("branch.switched", 12, 12),
    ]
    assert (entries[3]["count"], entries[3]["streams"][0]["last_sequence"]) == (3, 3)
    assert (entries[6]["outcome"], entries[4]["name"], entries[8]["branch"]) == ("completed", "busy", "side")
    page = await served.service.log.queries.history(context_id)
    assert told(page)["items"] == entries


async def test_history_goes_on_after_a_version_or_a_cursor_to_the_exact_end(served: Served) -> None:
    context_id, entries = await _eventful(served)
    path = f"/api/contexts/{context_id}/history"
    for limit in (1, 3, 5, 9, 10, 11):
        found: list[dict[str, Any]] = []
        after, pages = "0", 0
        while after is not None:
            read = await served.client.get(path, params={"after": after, "limit": limit})
            assert "turnlog-position" in read.headers
            found += read.json()["items"]
            after, pages = read.json()["next_cursor"], pages + 1
        assert (found, pages) == (entries, -(-10 // limit))
    assert (await served.json("GET", f"{path}?after=9"))["items"] == entries[7:]
    assert (await served.json("GET", f"{path}?after=12")) == {"items": [], "next_cursor": None}
    assert (await served.json("GET", f"{path}?after={10**17}"))["items"] == []
    inside = (await served.json("GET", f"{path}?after=4&limit=1"))["items"][0]
    assert (inside["version"], inside["count"]) == (5, 2)
    problem(await served.client.get(f"{path}?after=yesterday"), 422, "invalid_argument")


async def test_what_differs_is_told_between_any_two_moments_in_either_order(served: Served) -> None:
    context_id, entries = await _eventful(served)
    path, queries = f"/api/contexts/{context_id}/diff", served.service.log.queries
    for a in range(1, 13):
        for b in (1, 4, 6, 9, 12):
            expected = told(await queries.diff(context_id, AtVersion(a), AtVersion(b)))
            assert await served.json("GET", f"{path}?from=v{a}&to=v{b}") == expected, (a, b)
    whole = await served.json("GET", f"{path}?from=v1")
    assert (whole["from_version"], whole["to_version"]) == (1, 12)
    assert [change["after"] for change in whole["metadata"]] == [["t"], "two"]
    assert whole["state"]["after"] == "busy"
    assert whole["active_branch"] == ["main", "side"]
    assert len(whole["messages_added"]) == whole["message_count_change"] == 2
    back = await served.json("GET", f"{path}?from=now&to=v1")
    assert back["messages_gone"] == whole["messages_added"]
    assert entries[-1]["version"] == back["from_version"]


async def test_a_moment_is_written_in_every_way(served: Served) -> None:
    context_id, entries = await _eventful(served)
    path = f"/api/contexts/{context_id}/diff"
    expected = await served.json("GET", f"{path}?from=v2&to=v9")
    said, finalized = entries[1], entries[6]
    starts = ["v2", f"p{said['position']}", said["recorded_at"], f"m{said['message_id']}", "v4~2", "now~10"]
    ends = ["v9", f"p{finalized['position']}", finalized["recorded_at"], "v10~1", "now~3"]
    for start in starts:
        for end in ends:
            assert await served.json("GET", f"{path}?from={quote(start)}&to={quote(end)}") == expected


async def test_moments_of_no_use_are_refused(served: Served) -> None:
    context_id, _ = await _eventful(served)
    path = f"/api/contexts/{context_id}/diff"
    for text in ("", "yesterday", "v", "v-1", "12", "m123", f"m{'0' * 36}", "~1"):
        refused = await served.client.get(path, params={"from": text})
        problem(refused, 422, "invalid_argument")
        problem(await served.client.get(path, params={"from": "v1", "to": text}), 422, "invalid_argument")
    for text, code in (
        ("v99", "version_not_found"),
        ("p99", "position_not_found"),
        ("1999-01-01T00:00:00Z", "moment_before_creation"),
        ("v1~1", "moment_before_creation"),
        (f"m{UUID(int=7)}", "message_not_found"),
    ):
        problem(await served.client.get(path, params={"from": text}), 404, code)
    assert list(invalid(await served.client.get(f"{path}?from={'v' * 101}"))) == ["query.from"]


async def test_a_difference_holds_as_many_messages_as_are_asked_for(served: Served) -> None:
    context_id = await served.context()
    for n in range(3):
        await served.json("POST", f"/api/contexts/{context_id}/messages", {"role": "user", "text": f"{n}"})
    path = f"/api/contexts/{context_id}/diff?from=v1"
    for limit, truncated in ((2, True), (3, False)):
        diff = await served.json("GET", f"{path}&limit={limit}")
        assert (len(diff["messages_added"]), diff["truncated"]) == (limit, truncated)
        assert diff["message_count_change"] == 3
