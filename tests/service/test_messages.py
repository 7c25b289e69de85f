"""Messages over HTTP: appended, listed by branch, role, type and time, read one or many, withdrawn."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID, uuid4

import pytest
from expecting import invalid, problem, told
from serving import Served

PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "look: "},
    {"type": "reasoning", "text": "hm"},
    {"type": "image", "url": "https://example.com/a.png"},
    {"type": "tool_call", "id": "c1", "name": "tide", "arguments": '{"at":"noon"}'},
    {"type": "tool_result", "call_id": "c1", "content": "high", "is_error": False},
    {"type": "data", "data": {"any": [1, None, {"x": "y"}]}},
    {"type": "text", "text": "潮"},
]


async def _said(served: Served, path: str, text: str, **more: object) -> dict[str, Any]:
    return await served.json("POST", f"{path}/messages", {"role": "user", "text": text} | more)


async def _conversation(served: Served, count: int = 7) -> tuple[str, list[str]]:
    """The path of a context, and the ids of its messages: users and assistants by turns."""
    path = f"/api/contexts/{await served.context()}"
    ids = [
        (await _said(served, path, f"{n}", role=("user", "assistant")[n % 2]))["message_id"]
        for n in range(count)
    ]
    return path, ids


async def _listed(served: Served, path: str, **query: object) -> list[str]:
    """The ids on one page."""
    response = await served.client.get(f"{path}/messages", params=query)  # pyright: ignore[reportArgumentType] -- plain values
    assert response.is_success, response.text
    return [item["id"] for item in response.json()["items"]]


async def _pages(served: Served, path: str, place: str, **query: object) -> AsyncGenerator[list[str]]:
    """The ids on each page, by the cursors."""
    while True:
        response = await served.client.get(f"{path}/messages", params=query)  # pyright: ignore[reportArgumentType] -- plain values
        page = response.json()
        yield [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            return
        query[place] = page["next_cursor"]


async def test_a_message_is_at_the_place_that_the_answer_names(served: Served) -> None:
    path = f"/api/contexts/{await served.context()}"
    made = await served.client.post(f"{path}/messages", json={"role": "user", "text": "hello"})
    body = made.json()
    assert (made.status_code, made.headers["etag"], made.headers["turnlog-position"]) == (201, '"2"', "2")
    assert made.headers["location"] == f"/api/messages/{body['message_id']}"
    read = await served.json("GET", made.headers["location"])
    assert read == {
        "id": body["message_id"],
        "context_id": path.rpartition("/")[2],
        "version": 2,
        "position": 2,
        "parent_id": None,
        "branch": "main",
        "role": "user",
        "message_type": "message",
        "recorded_at": body["recorded_at"],
        "occurred_at": None,
        "size_bytes": 5,
        "has_tool_calls": False,
        "has_tool_result": False,
        "streamed": False,
        "outcome": None,
        "redacted": False,
        "complete": True,
        "text": "hello",
        "parts": [{"type": "text", "text": "hello"}],
    }


async def test_every_part_comes_back_as_it_was_sent(served: Served) -> None:
    path = f"/api/contexts/{await served.context()}"
    body = {"role": "assistant", "parts": PARTS, "message_type": "step", "metadata": {"a": [1]}}
    message_id = (await served.json("POST", f"{path}/messages", body))["message_id"]
    read = await served.json("GET", f"/api/messages/{message_id}")
    for sent, got in zip(PARTS, read["parts"], strict=True):
        assert sent.items() <= got.items()
    assert (read["text"], read["message_type"]) == ("look: 潮", "step")
    assert (read["has_tool_calls"], read["has_tool_result"]) == (True, True)


async def test_a_message_has_text_or_parts(served: Served) -> None:
    path = f"/api/contexts/{await served.context()}/messages"
    neither_or_both: list[dict[str, Any]] = [{}, {"text": "x", "parts": []}]
    for body in neither_or_both:
        body["role"] = "user"
        problem(await served.client.post(path, json=body), 422, "invalid_argument")
    wrong = {"role": "user", "parts": [{"type": "text", "text": "x"}, {"type": "song", "text": "x"}]}
    assert "body.parts[1].type" in invalid(await served.client.post(path, json=wrong))
    nothing: list[dict[str, Any]] = [{"text": ""}, {"parts": []}]
    for empty in nothing:
        made = await served.json("POST", path, {"role": "user"} | empty)
        assert (await served.json("GET", f"/api/messages/{made['message_id']}"))["text"] == ""


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
async def test_every_role_speaks(served: Served, role: str) -> None:
    path = f"/api/contexts/{await served.context()}"
    await _said(served, path, "x", role=role)
    assert len(await _listed(served, path, role=role)) == 1


async def test_when_it_happened_is_said_as_text_or_as_a_number(served: Served) -> None:
    path = f"/api/contexts/{await served.context()}"
    for given, expected in (
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31T14:30:00.25+02:30", "2026-01-31T12:00:00.250000Z"),
        (1_769_860_800_000_000, "2026-01-31T12:00:00.000000Z"),
        (0, "1970-01-01T00:00:00.000000Z"),
    ):
        made = await _said(served, path, "x", occurred_at=given)
        read = await served.json("GET", f"/api/messages/{made['message_id']}")
        assert read["occurred_at"] == expected


async def test_an_id_is_used_once_in_all_contexts(served: Served) -> None:
    message_id = str(uuid4())
    first, second = [f"/api/contexts/{await served.context()}" for _ in range(2)]
    await _said(served, first, "x", message_id=message_id)
    for path in (first, second):
        body = {"role": "user", "text": "y", "message_id": message_id}
        refused = problem(await served.client.post(f"{path}/messages", json=body), 409, "message_exists")
        assert refused["message_id"] == message_id


async def test_a_parent_is_of_the_same_context_and_the_head_unless_given(served: Served) -> None:
    path, ids = await _conversation(served, 2)
    _, others = await _conversation(served, 1)
    for parent in (others[0], str(UUID(int=7))):
        body = {"role": "user", "text": "x", "parent_id": parent}
        problem(await served.client.post(f"{path}/messages", json=body), 409, "parent_not_found")
    root = await _said(served, path, "root", parent_id=None)
    read = await served.json("GET", f"/api/messages/{root['message_id']}")
    assert read["parent_id"] is None
    assert await _listed(served, path) == [root["message_id"]]
    assert await _listed(served, path, all_branches=True) == [*ids, root["message_id"]]


async def test_a_message_on_a_branch_that_is_not_there_begins_it(served: Served) -> None:
    path, ids = await _conversation(served, 2)
    made = await served.client.post(
        f"{path}/messages", json={"role": "user", "text": "x", "branch": "side", "parent_id": ids[0]}
    )
    assert made.status_code == 201
    assert await _listed(served, path, branch="side") == [ids[0], made.json()["message_id"]]
    assert await _listed(served, path) == ids
    refused = await served.client.get(f"{path}/messages?branch=nothing")
    assert problem(refused, 404, "branch_not_found")["branch"] == "nothing"


async def test_lists_hold_no_content_unless_it_is_asked_for(served: Served) -> None:
    path, _ = await _conversation(served, 3)
    bare = (await served.json("GET", f"{path}/messages"))["items"]
    whole = (await served.json("GET", f"{path}/messages?include=body"))["items"]
    assert [item["text"] for item in bare] == [None] * 3
    assert [item["text"] for item in whole] == ["0", "1", "2"]
    assert [item["parts"] for item in whole] == [[{"type": "text", "text": f"{n}"}] for n in range(3)]
    content = {"text": None, "parts": None, "complete": None}
    assert [item | content for item in whole] == bare
    page = await served.service.log.queries.messages(UUID(path.rpartition("/")[2]))
    assert [{k: v for k, v in item.items() if k not in content} for item in bare] == told(page)["items"]


async def test_pages_lead_from_the_first_message_to_the_exact_end(served: Served) -> None:
    path, ids = await _conversation(served, 6)
    for all_branches in (False, True):
        for limit in (1, 2, 3, 5, 6, 7):
            query = {"limit": limit, "all_branches": all_branches}
            pages = [page async for page in _pages(served, path, "after", **query)]
            assert [one for page in pages for one in page] == ids
            assert len(pages) == -(-6 // limit), "a page that is full and the last has no cursor"
            back = [
                page async for page in _pages(served, path, "before", last=limit, all_branches=all_branches)
            ]
            assert [one for page in back[::-1] for one in page] == ids
            assert len(back) == -(-6 // limit)


async def test_places_are_versions_too_and_exclude_themselves(served: Served) -> None:
    path, ids = await _conversation(served, 6)  # versions 2 to 7
    assert await _listed(served, path, after=3) == ids[2:]
    assert await _listed(served, path, before=5) == ids[:3]
    assert await _listed(served, path, after=2, before=6) == ids[1:4]
    assert await _listed(served, path, before=5, limit=2) == ids[1:3]
    assert await _listed(served, path, last=2) == ids[4:]
    assert await _listed(served, path, after=7) == await _listed(served, path, before=2) == []
    assert await _listed(served, path, after=10**30) == []
    problem(await served.client.get(f"{path}/messages?after=!"), 422, "invalid_argument")


async def test_a_cursor_is_of_its_own_context(served: Served) -> None:
    path, _ = await _conversation(served, 3)
    elsewhere, _ = await _conversation(served, 3)
    cursor = (await served.json("GET", f"{path}/messages?limit=1"))["next_cursor"]
    refused = await served.client.get(f"{elsewhere}/messages?after={cursor}")
    assert problem(refused, 422, "invalid_argument")["argument"] == "cursor"


async def test_pages_stay_on_their_path_though_the_branch_moves(served: Served) -> None:
    path, ids = await _conversation(served, 4)
    page = await served.json("GET", f"{path}/messages?limit=2")
    await _said(served, path, "edit", parent_id=ids[0])
    rest = await served.json("GET", f"{path}/messages?limit=2&after={page['next_cursor']}")
    assert [item["id"] for item in rest["items"]] == ids[2:]


async def test_roles_and_types_are_filtered_on_every_page(served: Served) -> None:
    path, ids = await _conversation(served, 6)
    note = (await _said(served, path, "note", message_type="note"))["message_id"]
    for all_branches in (False, True):
        for role, expected in (("user", [*ids[::2], note]), ("assistant", ids[1::2]), ("tool", [])):
            query = {"role": role, "limit": 2, "all_branches": all_branches}
            pages = [page async for page in _pages(served, path, "after", **query)]
            assert [one for page in pages for one in page] == expected
        assert await _listed(served, path, type="note", all_branches=all_branches) == [note]
        assert await _listed(served, path, type="note", role="tool", all_branches=all_branches) == []
    assert await _listed(served, path, type="unheard of") == []
    refused = await served.client.get(f"{path}/messages?all_branches=true&branch=main")
    assert problem(refused, 422, "invalid_argument")["argument"] == "branch"


async def test_since_is_included_and_until_is_not(served: Served) -> None:
    path, ids = await _conversation(served, 4)
    times = [item["recorded_at"] for item in (await served.json("GET", f"{path}/messages"))["items"]]
    assert times == sorted(set(times))
    for all_branches in (False, True):
        more = {"all_branches": all_branches}
        assert await _listed(served, path, since=times[1], **more) == ids[1:]
        assert await _listed(served, path, until=times[2], **more) == ids[:2]
        assert await _listed(served, path, since=times[1], until=times[3], **more) == ids[1:3]
        assert await _listed(served, path, since=times[2], until=times[2], **more) == []
    for name in ("since", "until"):
        refused = await served.client.get(f"{path}/messages", params={name: "yesterday"})
        problem(refused, 422, "invalid_time")


async def test_lists_of_the_past_are_as_they_were(served: Served) -> None:
    path, ids = await _conversation(served, 4)
    items = (await served.json("GET", f"{path}/messages"))["items"]
    for n, item in enumerate(items, 1):
        for query in (
            {"at_version": item["version"]},
            {"at_position": item["position"]},
            {"at_time": item["recorded_at"]},
            {"at_message": item["id"]},
        ):
            assert await _listed(served, path, **query) == ids[:n]
    both = {"at_version": "2", "at_message": ids[0]}
    problem(await served.client.get(f"{path}/messages", params=both), 422, "invalid_argument")


async def test_bodies_come_a_hundred_at_a_time(served: Served) -> None:
    context_id = await served.context()
    ids = [str(uuid4()) for _ in range(101)]
    events = [
        {
            "type": "message.appended",
            "message_id": one,
            "role": "user",
            "branch": "main",
            "parts": [{"type": "text", "text": one}],
        }
        for one in ids
    ]
    await served.json("POST", "/api/commits", {"context_id": str(context_id), "events": events})
    path = f"/api/contexts/{context_id}"
    whole = (await served.json("GET", f"{path}/messages?include=body&limit=100"))["items"]
    assert [item["text"] for item in whole] == ids[:100]
    refused = await served.client.get(f"{path}/messages?include=body&limit=101")
    assert problem(refused, 422, "invalid_argument")["argument"] == "limit"
    batch = await served.json("GET", f"/api/messages/batch?ids={','.join(ids[:100])}")
    assert [item["text"] for item in batch["items"]] == ids[:100]
    refused = await served.client.get(f"/api/messages/batch?ids={','.join(ids)}")
    assert problem(refused, 422, "invalid_argument")["argument"] == "ids"


async def test_a_batch_keeps_the_order_and_names_what_is_missing(served: Served) -> None:
    _, ids = await _conversation(served, 3)
    unknown = [str(UUID(int=n)) for n in (7, 3)]
    asked = [ids[2], unknown[0], ids[0], unknown[1], ids[2]]
    batch = await served.client.get("/api/messages/batch", params={"ids": ", ".join(asked)})
    assert [item["text"] for item in batch.json()["items"]] == ["2", "0", "2"]
    assert batch.json()["not_found"] == unknown
    assert "turnlog-position" in batch.headers
    for wrong in ("", "1", f"{ids[0]},", f"{ids[0]};{ids[1]}"):
        refused = await served.client.get("/api/messages/batch", params={"ids": wrong})
        assert problem(refused, 422, "invalid_argument")["argument"] == "ids"
    assert list(invalid(await served.client.get("/api/messages/batch"))) == ["query.ids"]


async def test_a_message_of_the_past_is_what_had_arrived(served: Served) -> None:
    context_id = await served.context()
    message_id = await served.stream(context_id)
    await served.chunks(message_id, "one ", "two ")
    half = (await served.json("GET", f"/api/contexts/{context_id}"))["version"]
    await served.chunks(message_id, "three", after=2)
    await served.finalize(message_id)
    path = f"/api/messages/{message_id}"
    now = await served.json("GET", path)
    assert (now["text"], now["complete"], now["outcome"]) == ("one two three", True, "completed")
    then = await served.json("GET", f"{path}?at_version={half}")
    assert (then["text"], then["complete"], then["outcome"], then["size_bytes"]) == (
        "one two ",
        False,
        None,
        None,
    )
    problem(await served.client.get(f"{path}?at_version=1"), 404, "message_not_found")
    problem(await served.client.get(f"{path}?at_version=99"), 404, "version_not_found")


async def test_withdrawn_text_is_gone_at_every_moment(served: Served) -> None:
    path, ids = await _conversation(served, 2)
    headers = {"idempotency-key": "k"}
    done = await served.client.post(
        f"/api/messages/{ids[0]}/redact", json={"reason": "test"}, headers=headers
    )
    assert (done.status_code, done.headers["etag"]) == (200, '"4"')
    again = await served.client.post(
        f"/api/messages/{ids[0]}/redact", json={"reason": "test"}, headers=headers
    )
    assert again.json() == done.json() | {"written": False}
    for query in ("", "?at_version=2"):
        read = await served.json("GET", f"/api/messages/{ids[0]}{query}")
        assert (read["redacted"], read["text"], read["parts"]) == (True, "", [])
    listed = (await served.json("GET", f"{path}/messages?include=body"))["items"]
    assert [item["text"] for item in listed] == ["", "1"]
    refused = await served.client.post(f"/api/messages/{ids[0]}/redact", json={}, headers={"if-match": '"1"'})
    problem(refused, 412, "wrong_expected_version")
