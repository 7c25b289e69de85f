"""Branches over HTTP: listed, created, moved, switched to, deleted; then and now."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from expecting import invalid, problem
from serving import Served


async def _conversation(served: Served) -> tuple[str, list[str]]:
    """The path of a context, and the ids of its three messages."""
    path = f"/api/contexts/{await served.context()}"
    return path, [await _said(served, path, f"{n}") for n in range(3)]


async def _said(served: Served, path: str, text: str, **more: object) -> str:
    body = {"role": "user", "text": text, **more}
    return (await served.json("POST", f"{path}/messages", body))["message_id"]


async def _branches(served: Served, path: str, query: str = "") -> dict[str, Any]:
    items = (await served.json("GET", f"{path}/branches{query}"))["items"]
    assert [item["name"] for item in items] == sorted(item["name"] for item in items)
    assert sum(item["active"] for item in items) == 1
    return {item["name"]: item["head"] for item in items}


async def test_a_new_context_has_one_empty_branch(served: Served) -> None:
    path = f"/api/contexts/{await served.context()}"
    listed = await served.client.get(f"{path}/branches")
    assert listed.json() == {"items": [{"name": "main", "head": None, "active": True}]}
    assert (listed.headers["etag"], listed.headers["turnlog-position"]) == ('"1"', "1")
    one = await served.client.get(f"{path}/branches/main")
    assert one.json() == {"name": "main", "head": None, "active": True}
    assert one.headers["etag"] == '"1"'
    refused = await served.client.get(f"{path}/branches/side")
    assert problem(refused, 404, "branch_not_found")["branch"] == "side"


async def test_a_branch_points_where_it_is_told(served: Served) -> None:
    path, ids = await _conversation(served)
    moved = await served.client.put(f"{path}/branches/a", json={"head": ids[0]})
    assert (moved.status_code, moved.headers["etag"]) == (200, '"5"')
    await served.json("PUT", f"{path}/branches/b", {})
    await served.json("PUT", f"{path}/branches/c", {"at_version": 3})
    await served.json("PUT", f"{path}/branches/d", {"of": "a"})
    await served.json("PUT", f"{path}/branches/e", {"at_message": ids[0]})
    await served.json("PUT", f"{path}/branches/f", {"head": None})
    heads = {"a": ids[0], "b": ids[2], "c": ids[1], "d": ids[0], "e": ids[0], "f": None}
    assert await _branches(served, path) == {"main": ids[2]} | heads
    await served.json("PUT", f"{path}/branches/a", {"head": ids[1]})
    assert (await _branches(served, path))["a"] == ids[1]


async def test_a_branch_becomes_active_by_itself_or_with_its_move(served: Served) -> None:
    path, ids = await _conversation(served)
    await served.json("PUT", f"{path}/branches/side", {"head": ids[0]})
    for body in ({"active": True}, {}):  # a branch that is there, and nothing else to do
        await served.json("PUT", f"{path}/branches/side", body)
        read = await served.json("GET", path)
        assert (read["active_branch"], read["message_ids"]) == ("side", [ids[0]])
        await served.json("PUT", f"{path}/branches/main", {"active": True})
    before = (await served.json("GET", path))["version"]
    both = await served.json("PUT", f"{path}/branches/new", {"head": ids[1], "active": True})
    assert both["version"] == before + 2
    at = await served.json("GET", f"{path}/branches/new")
    assert at == {"name": "new", "head": ids[1], "active": True}
    assert "body.active" in invalid(await served.client.put(f"{path}/branches/main", json={"active": False}))


async def test_a_move_may_depend_on_where_the_branch_was(served: Served) -> None:
    path, ids = await _conversation(served)
    body = {"head": ids[0], "previous": ids[1]}
    refused = problem(
        await served.client.put(f"{path}/branches/main", json=body), 409, "previous_head_differs"
    )
    assert refused["branch"] == "main"
    await served.json("PUT", f"{path}/branches/main", {"head": ids[0], "previous": ids[2]})
    await served.json("PUT", f"{path}/branches/new", {"head": ids[0], "previous": None})
    refused = await served.client.put(f"{path}/branches/new", json={"head": ids[1], "previous": None})
    problem(refused, 409, "previous_head_differs")


async def test_what_a_branch_cannot_point_at_is_refused(served: Served) -> None:
    path, _ = await _conversation(served)
    elsewhere, others = await _conversation(served)
    for head in (others[0], str(UUID(int=7))):
        refused = await served.client.put(f"{path}/branches/a", json={"head": head})
        problem(refused, 409, "head_not_found")
    refused = await served.client.put(f"{path}/branches/a", json={"of": "nothing"})
    problem(refused, 404, "branch_not_found")
    refused = await served.client.put(f"{path}/branches/a", json={"at_version": 99})
    problem(refused, 404, "version_not_found")
    refused = await served.client.put(f"{path}/branches/a", json={"at_version": 1, "at_message": others[0]})
    problem(refused, 422, "invalid_argument")
    assert list(await _branches(served, path)) == list(await _branches(served, elsewhere)) == ["main"]


async def test_an_edit_is_a_sibling_on_a_branch_that_moved(served: Served) -> None:
    path, ids = await _conversation(served)
    edit = await _said(served, path, "1, better", parent_id=ids[0])
    assert await _branches(served, path) == {"main": edit}
    assert (await served.json("GET", path))["message_ids"] == [ids[0], edit]
    assert (await served.json("GET", f"{path}?at_version=4"))["message_ids"] == ids


async def test_branches_of_the_past_are_as_they_were(served: Served) -> None:
    path, ids = await _conversation(served)
    moved = await served.json("PUT", f"{path}/branches/a", {"head": ids[0]})
    await served.json("DELETE", f"{path}/branches/a")
    for query in (
        "?at_version=5",
        f"?at_position={moved['position']}",
        f"?at_time={quote(moved['recorded_at'])}",
    ):
        assert await _branches(served, path, query) == {"a": ids[0], "main": ids[2]}
    assert await _branches(served, path, "?at_version=2") == {"main": ids[0]}
    problem(await served.client.get(f"{path}/branches?at_version=99"), 404, "version_not_found")


async def test_a_branch_is_deleted_but_not_the_active_one_and_not_twice(served: Served) -> None:
    path, ids = await _conversation(served)
    await served.json("PUT", f"{path}/branches/side", {"head": ids[0]})
    problem(await served.client.delete(f"{path}/branches/main"), 409, "branch_active")
    gone = await served.client.delete(f"{path}/branches/side")
    assert (gone.status_code, gone.headers["etag"]) == (200, '"6"')
    problem(await served.client.delete(f"{path}/branches/side"), 404, "branch_not_found")
    assert (await served.json("GET", f"/api/messages/{ids[0]}"))["text"] == "0"


@pytest.mark.parametrize("name", ["潮汐", "a b", "50%", "a.b", "?", "#1", "e\u0301", "🌊" * 100, "..x", "+"])
async def test_a_branch_may_have_any_name(served: Served, name: str) -> None:
    path, ids = await _conversation(served)
    at = f"{path}/branches/{quote(name, safe='')}"
    await served.json("PUT", at, {"head": ids[0], "active": True})
    assert await served.json("GET", at) == {"name": name, "head": ids[0], "active": True}
    listed = await served.client.get(f"{path}/messages", params={"branch": name})
    assert [item["id"] for item in listed.json()["items"]] == [ids[0]]


async def test_a_name_that_is_too_long_is_refused(served: Served) -> None:
    path, _ = await _conversation(served)
    for method in ("GET", "PUT", "DELETE"):
        refused = await served.client.request(method, f"{path}/branches/{'x' * 101}", json={})
        assert list(invalid(refused)) == ["path.name"], method
