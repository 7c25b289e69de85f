"""Contexts over HTTP: created, listed, read as of any moment, changed, deleted, forked."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from expecting import invalid, problem, told
from serving import Served

from eventstore.content import TextPart
from eventstore.events import MessageAppended
from projections.timetravel import AtPosition, AtVersion
from turnlog.service.routes import contexts


async def test_a_new_context_says_where_it_is_and_at_which_version(served: Served) -> None:
    made = await served.client.post(
        "/api/contexts",
        json={"title": "Tides", "workspace": "sea", "config": {"model": "m"}, "attributes": {"a": 1}},
    )
    body = made.json()
    assert (made.status_code, made.headers["etag"], made.headers["turnlog-position"]) == (201, '"1"', "1")
    assert made.headers["location"] == f"/api/contexts/{body['context_id']}"
    assert body == {
        "context_id": body["context_id"],
        "position": 1,
        "version": 1,
        "recorded_at": body["recorded_at"],
        "written": True,
        "message_id": None,
    }
    read = await served.client.get(made.headers["location"])
    assert (read.headers["etag"], read.headers["turnlog-position"]) == ('"1"', "1")
    state = read.json()
    assert state == {
        "id": body["context_id"],
        "version": 1,
        "position": 1,
        "workspace": "sea",
        "title": "Tides",
        "config": {"model": "m"},
        "attributes": {"a": 1},
        "tags": [],
        "state": None,
        "state_detail": None,
        "deleted": False,
        "created_at": body["recorded_at"],
        "updated_at": body["recorded_at"],
        "forked_from": None,
        "active_branch": "main",
        "branches": {"main": None},
        "message_count": 0,
        "open_streams": {},
        "branch": "main",
        "message_ids": [],
    }


async def test_an_id_of_the_clients_own_is_taken_once(served: Served) -> None:
    wanted = str(uuid4())
    assert (await served.json("POST", "/api/contexts", {"context_id": wanted}))["context_id"] == wanted
    again = await served.client.post("/api/contexts", json={"context_id": wanted})
    problem(again, 409, "context_exists")
    unless = await served.client.post(
        "/api/contexts", json={"context_id": wanted}, headers={"if-none-match": "*"}
    )
    problem(unless, 412, "wrong_expected_version")


@pytest.mark.parametrize("key", ["2f6f0f4b-8c11-4a0e-9a1f-5bd1c4a66d4c", "order 66", '"quoted"', "x" * 255])
async def test_a_context_created_again_with_the_same_key_is_the_same(served: Served, key: str) -> None:
    headers = {"idempotency-key": key}
    first = await served.client.post("/api/contexts", json={"title": "Tides"}, headers=headers)
    again = await served.client.post("/api/contexts", json={"title": "Tides"}, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json() | {"written": False})
    assert again.headers["location"] == first.headers["location"]
    other = await served.client.post("/api/contexts", json={"title": "Currents"}, headers=headers)
    assert problem(other, 409, "commit_id_reused")["position"] == 1
    assert len((await served.json("GET", "/api/contexts"))["items"]) == 1


@pytest.mark.parametrize("key", ["", '""', "x" * 256])
async def test_a_key_of_no_use_is_refused(served: Served, key: str) -> None:
    refused = await served.client.post("/api/contexts", json={}, headers={"idempotency-key": key})
    assert problem(refused, 400, "invalid_header")["header"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("header", "value"),
    [("If-Match", "1"), ("If-Match", '"one"'), ("If-Match", '"1", "2"'), ("If-None-Match", '"1"')],
)
async def test_a_condition_of_no_use_is_refused(served: Served, header: str, value: str) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}"
    refused = await served.client.patch(path, json={"title": "T"}, headers={header: value})
    assert problem(refused, 400, "invalid_header")["header"] == header
    both = await served.client.patch(
        path, json={"title": "T"}, headers={"if-match": '"1"', "if-none-match": "*"}
    )
    problem(both, 400, "invalid_header")


async def test_contexts_are_listed_by_their_last_change_and_paged_to_the_exact_end(served: Served) -> None:
    ids = [str(await served.context(title=f"{n}", workspace="ab"[n % 2])) for n in range(6)]
    await served.json("PATCH", f"/api/contexts/{ids[0]}", {"title": "first"})
    expected = [ids[0], *ids[:0:-1]]
    for limit in (1, 2, 3, 5, 6, 7):
        pages = await _pages(served, f"/api/contexts?limit={limit}")
        assert [item["id"] for page in pages for item in page] == expected
        assert len(pages) == -(-6 // limit), "a page that is full and the last has no cursor"
    only = await _pages(served, "/api/contexts?workspace=b&limit=2")
    assert [item["id"] for page in only for item in page] == [i for i in expected if ids.index(i) % 2]
    assert (await served.json("GET", "/api/contexts?workspace=none"))["items"] == []
    page = await served.service.log.queries.contexts(limit=3)
    assert await served.json("GET", "/api/contexts?limit=3") == told(page)


async def _pages(served: Served, path: str, cursor: str = "cursor") -> list[list[dict[str, Any]]]:
    pages: list[list[dict[str, Any]]] = []
    following = ""
    while True:
        page = await served.json("GET", f"{path}{following}")
        pages.append(page["items"])
        if page["next_cursor"] is None:
            return pages
        following = f"&{cursor}={page['next_cursor']}"


async def test_pages_go_on_though_contexts_change_in_between(served: Served) -> None:
    ids = [str(await served.context()) for _ in range(4)]
    page = await served.json("GET", "/api/contexts?limit=2")
    await served.context()
    await served.json("PATCH", f"/api/contexts/{ids[3]}", {"title": "changed"})
    rest = await served.json("GET", f"/api/contexts?limit=2&cursor={page['next_cursor']}")
    assert [item["id"] for item in rest["items"]] == [ids[1], ids[0]]
    problem(await served.client.get("/api/contexts?cursor=elsewhere"), 422, "invalid_argument")


async def test_deleted_contexts_are_listed_when_they_are_asked_for(served: Served) -> None:
    gone, there = await served.context(), await served.context()
    await served.json("DELETE", f"/api/contexts/{gone}")
    assert [i["id"] for i in (await served.json("GET", "/api/contexts"))["items"]] == [str(there)]
    listed = (await served.json("GET", "/api/contexts?include_deleted=true"))["items"]
    assert [(i["id"], i["deleted"]) for i in listed] == [(str(gone), True), (str(there), False)]


async def _history(served: Served) -> tuple[UUID, list[dict[str, Any]]]:
    """A context of five versions, and the answer to each change."""
    context_id = await served.context(title="one")
    path = f"/api/contexts/{context_id}"
    answers = [await served.json("PATCH", path, {"title": "two", "tags": ["a"]})]
    answers.append(await served.json("PUT", f"{path}/state", {"state": "busy", "detail": {"step": 1}}))
    answers.append(await served.json("POST", f"{path}/messages", {"role": "user", "text": "hello"}))
    answers.append(await served.json("PATCH", path, {"title": None, "config": {"x": 1}}))
    return context_id, answers


async def test_the_past_is_asked_for_by_version_position_time_or_message(served: Served) -> None:
    context_id, answers = await _history(served)
    path, queries = f"/api/contexts/{context_id}", served.service.log.queries
    for version, answer in enumerate(answers, 2):
        expected = told(await queries.context(context_id, AtVersion(version)))
        for query in (
            {"at_version": version},
            {"at_position": answer["position"]},
            {"at_time": answer["recorded_at"]},
        ):
            read = await served.client.get(path, params=query)
            state = read.json()
            del state["branch"], state["message_ids"]
            assert state == expected, query
            assert read.headers["etag"] == f'"{version}"'
    message_id = answers[2]["message_id"]
    read = await served.json("GET", f"{path}?at_message={message_id}")
    assert (read["version"], read["title"], read["message_ids"]) == (4, "two", [message_id])
    assert (await served.json("GET", f"{path}?at_version=3"))["message_ids"] == []


async def test_a_time_is_rfc_3339_with_any_offset(served: Served) -> None:
    context_id, _ = await _history(served)
    path = f"/api/contexts/{context_id}"
    for time in ("2100-01-01T00:00:00Z", "2100-01-01T05:30:00+05:30", "2100-01-01T00:00:00.5-00:00"):
        read = await served.client.get(path, params={"at_time": time})
        assert read.json()["version"] == 5
    for time in ("2100-01-01", "2100-01-01T00:00:00", "now", "1"):
        problem(await served.client.get(path, params={"at_time": time}), 422, "invalid_time")


async def test_moments_that_conflict_or_are_not_there_are_refused(served: Served) -> None:
    await served.context()
    context_id, answers = await _history(served)
    path = f"/api/contexts/{context_id}"
    message_id = answers[2]["message_id"]
    moments = {
        "at_version": "1",
        "at_position": "2",
        "at_time": "2100-01-01T00:00:00Z",
        "at_message": message_id,
    }
    for first in moments:
        for second in set(moments) - {first}:
            both = {name: moments[name] for name in (first, second)}
            problem(await served.client.get(path, params=both), 422, "invalid_argument")
    for query, code in (
        ("at_version=6", "version_not_found"),
        ("at_version=0", "version_not_found"),
        ("at_position=1", "moment_before_creation"),
        ("at_position=7", "position_not_found"),
        ("at_time=1999-12-31T23:59:59Z", "moment_before_creation"),
        (f"at_message={UUID(int=7)}", "message_not_found"),
    ):
        refused = await served.client.get(f"{path}?{query}")
        assert refused.json()["code"] == code, query
        assert refused.status_code == 404


async def test_a_branch_of_ones_own_choice_is_told_in_ids(served: Served) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}"
    one = (await served.json("POST", f"{path}/messages", {"role": "user", "text": "1"}))["message_id"]
    await served.json("PUT", f"{path}/branches/side", {})
    body = {"role": "user", "text": "2", "branch": "side"}
    two = (await served.json("POST", f"{path}/messages", body))["message_id"]
    assert (await served.json("GET", path))["message_ids"] == [one]
    side = await served.json("GET", f"{path}?branch=side")
    assert (side["branch"], side["message_ids"], side["active_branch"]) == ("side", [one, two], "main")
    refused = await served.client.get(f"{path}?branch=side&at_version=2")
    assert problem(refused, 404, "branch_not_found")["branch"] == "side"


async def test_of_a_long_branch_the_newest_thousand_ids_are_told(served: Served) -> None:
    context_id = await served.context()
    for first in (0, 600):
        events = [_message(first + n) for n in range(600)]
        await served.json("POST", "/api/commits", {"context_id": str(context_id), "events": events})
    ids = (await served.json("GET", f"/api/contexts/{context_id}"))["message_ids"]
    assert ids == [str(UUID(int=n + 1)) for n in range(200, 1_200)]


def _message(n: int) -> dict[str, Any]:
    parts = [{"type": "text", "text": f"{n}"}]
    return {
        "type": "message.appended",
        "message_id": str(UUID(int=n + 1)),
        "role": "user",
        "branch": "main",
        "parts": parts,
    }


async def test_an_unchanged_context_is_not_sent_again(served: Served) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}"
    for etag in ('"1"', 'W/"1"', '"7", "1"', "*"):
        read = await served.client.get(path, headers={"if-none-match": etag})
        assert (read.status_code, read.content, read.headers["etag"]) == (304, b"", '"1"')
        assert "turnlog-position" in read.headers
    await served.json("PATCH", path, {"title": "T"})
    read = await served.client.get(path, headers={"if-none-match": '"1"'})
    assert (read.status_code, read.headers["etag"]) == (200, '"2"')
    past = await served.client.get(f"{path}?at_version=1", headers={"if-none-match": '"1"'})
    assert past.status_code == 304


async def test_a_patch_merges_objects_replaces_the_rest_and_removes_by_null(served: Served) -> None:
    context_id = await served.context(
        title="T", config={"a": {"x": 1, "y": 2}, "b": [1]}, attributes={"k": 1}
    )
    path = f"/api/contexts/{context_id}"
    patch = {"config": {"a": {"x": None, "z": 3}, "b": [2, 3]}, "attributes": {"k": None}, "tags": ["t"]}
    headers = {"content-type": "application/merge-patch+json"}
    patched = await served.client.patch(path, json=patch, headers=headers)
    assert (patched.status_code, patched.headers["etag"]) == (200, '"2"')
    read = await served.json("GET", path)
    assert read["config"] == {"a": {"y": 2, "z": 3}, "b": [2, 3]}
    assert (read["attributes"], read["tags"], read["title"]) == ({}, ["t"], "T")
    await served.json("PATCH", path, {"title": None, "config": None, "tags": None})
    read = await served.json("GET", path)
    assert (read["title"], read["config"], read["tags"]) == (None, {}, [])
    assert "body.titel" in invalid(await served.client.patch(path, json={"titel": "T"}))
    assert "body.tags[0]" in invalid(await served.client.patch(path, json={"tags": [1]}))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"title": "new"}),
        ("PUT", "/state", {"state": "new"}),
        ("POST", "/messages", {"role": "user", "text": "new"}),
        ("POST", "/streams", {}),
        ("PUT", "/branches/new", {}),
        ("DELETE", "/branches/old", None),
        ("POST", "/fork", {}),
        ("DELETE", "", None),
    ],
)
async def test_every_write_keeps_to_the_version_that_it_expects(
    served: Served, method: str, path: str, body: object
) -> None:
    context_id = await served.context()
    base = f"/api/contexts/{context_id}"
    await served.json("PUT", f"{base}/branches/old", {})

    async def write(header: str, value: str) -> Any:
        return await served.client.request(method, base + path, json=body, headers={header: value})

    refused = problem(await write("if-match", '"1"'), 412, "wrong_expected_version")
    assert (refused["expected"], refused["actual"], refused["context_id"]) == (1, 2, str(context_id))
    problem(await write("if-none-match", "*"), 412, "wrong_expected_version")
    assert (await served.json("GET", base))["version"] == 2
    written = await write("if-match", '"2"')
    assert written.is_success, written.text
    own = path != "/fork"
    assert written.headers["etag"] == ('"3"' if own else '"2"')
    assert written.headers["turnlog-position"] == str(written.json()["position"]) == "3"
    assert (await served.json("GET", base))["version"] == (3 if own else 2)


@pytest.mark.parametrize(
    ("method", "path", "body", "other"),
    [
        ("PATCH", "", {"title": "new"}, {"title": "other"}),
        ("PUT", "/state", {"state": "new"}, {"state": "new", "detail": 1}),
        ("POST", "/messages", {"role": "user", "text": "new"}, {"role": "user", "text": "other"}),
        ("POST", "/streams", {"model": "m"}, {"model": "n"}),
        ("PUT", "/branches/new", {}, {"active": True}),
        ("PUT", "/branches/new", {"of": "old", "active": True}, {"head": None}),
        ("POST", "/fork", {}, {"title": "other"}),
        ("POST", "/fork", {"at_version": 1}, {"at_version": 2}),
    ],
)
async def test_every_write_is_done_once_whatever_happens_before_it_is_repeated(
    served: Served, method: str, path: str, body: object, other: object
) -> None:
    context_id = await served.context()
    base = f"/api/contexts/{context_id}"
    await served.json("PUT", f"{base}/branches/old", {})

    async def write(what: object) -> Any:
        return await served.client.request(method, base + path, json=what, headers={"idempotency-key": "k"})

    first = await write(body)
    assert first.is_success, first.text
    # Another active branch, with another head: what the request left out is something else now.
    await served.json("PUT", f"{base}/branches/elsewhere", {"active": True})
    await served.json("POST", f"{base}/messages", {"role": "user", "text": "in between"})
    head = (await served.json("GET", "/api/log/head"))["position"]
    again = await write(body)
    assert (again.status_code, again.headers["etag"]) == (first.status_code, first.headers["etag"])
    assert again.json() | {"written": None} == first.json() | {"written": None}
    problem(await write(other), 409, "commit_id_reused")
    assert (await served.json("GET", "/api/log/head"))["position"] == head


async def test_a_deletion_is_done_once(served: Served) -> None:
    context_id = await served.context()
    path, headers = f"/api/contexts/{context_id}", {"idempotency-key": "k"}
    first = await served.client.delete(path, params={"reason": "test"}, headers=headers)
    again = await served.client.delete(path, params={"reason": "test"}, headers=headers)
    assert again.json() == first.json() | {"written": False}
    other = await served.client.delete(path, params={"reason": "other"}, headers=headers)
    problem(other, 409, "commit_id_reused")


async def test_a_deleted_context_stays_readable_and_takes_no_more(served: Served) -> None:
    context_id = await served.context(title="Tides")
    path = f"/api/contexts/{context_id}"
    await served.json("DELETE", path)
    read = await served.json("GET", path)
    assert (read["deleted"], read["title"], read["version"]) == (True, "Tides", 2)
    assert (await served.json("GET", f"{path}?at_version=1"))["deleted"] is False
    for method, more, body in (
        ("PATCH", "", {"title": "T"}),
        ("DELETE", "", None),
        ("POST", "/messages", {"role": "user", "text": "x"}),
        ("POST", "/streams", {}),
    ):
        problem(await served.client.request(method, path + more, json=body), 410, "context_deleted")
    ingest = await served.client.post(f"{path}/ingest?dialect=openai_chat", content=b"")
    problem(ingest, 410, "context_deleted")


async def test_a_state_has_a_name_and_any_detail(served: Served) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}"
    details: list[Any] = [None, 1, "x", [1, {"a": None}], {"a": {"b": []}}, False]
    for detail in details:
        await served.json("PUT", f"{path}/state", {"state": "s", "detail": detail})
        assert (await served.json("GET", path))["state_detail"] == detail
    assert "body.state" in invalid(await served.client.put(f"{path}/state", json={"state": ""}))
    assert "body.state" in invalid(await served.client.put(f"{path}/state", json={"state": "x" * 101}))


async def test_a_fork_shares_the_history_up_to_its_moment(served: Served) -> None:
    context_id, answers = await _history(served)
    path = f"/api/contexts/{context_id}"
    made = await served.client.post(f"{path}/fork", json={"at_message": answers[2]["message_id"]})
    forked = made.json()["context_id"]
    assert (made.status_code, made.headers["location"]) == (201, f"/api/contexts/{forked}")
    read = await served.json("GET", f"/api/contexts/{forked}")
    assert (read["title"], read["tags"], read["config"]) == ("two", ["a"], {})
    assert read["forked_from"] == {"context_id": str(context_id), "version": 4}
    assert read["message_ids"] == [answers[2]["message_id"]]
    listed = await served.json("GET", f"/api/contexts/{forked}/messages?include=body")
    assert [item["text"] for item in listed["items"]] == ["hello"]
    await served.json("POST", f"/api/contexts/{forked}/messages", {"role": "user", "text": "fork"})
    assert (await served.json("GET", path))["message_count"] == 1
    titled = await served.json("POST", f"{path}/fork", {"title": "Another"})
    assert (await served.json("GET", f"/api/contexts/{titled['context_id']}"))["title"] == "Another"


async def test_a_fork_from_a_moment_that_is_not_there_is_refused(served: Served) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}/fork"
    problem(await served.client.post(path, json={"at_version": 9}), 404, "version_not_found")
    both = {"at_version": 1, "at_position": 1}
    problem(await served.client.post(path, json=both), 422, "invalid_argument")
    assert "body.at_message" in invalid(await served.client.post(path, json={"at_message": "1"}))
    assert len((await served.json("GET", "/api/contexts"))["items"]) == 1


async def test_positions_mean_the_same_as_in_the_library(served: Served) -> None:
    context_id, answers = await _history(served)
    state = await served.service.log.queries.context(context_id, AtPosition(answers[1]["position"]))
    read = await served.json("GET", f"/api/contexts/{context_id}?at_position={answers[1]['position']}")
    assert told(state).items() <= read.items()


async def test_what_comes_while_a_context_is_read_is_in_no_part_of_the_answer(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}"
    await served.json("POST", f"{path}/messages", {"role": "user", "text": "x"})
    log = served.service.log
    answer = log.queries.context

    async def context(*given: Any, **more: Any) -> Any:
        found = await answer(*given, **more)
        await log.store.append(context_id, [MessageAppended(uuid4(), "user", (TextPart("y"),))])
        return found

    monkeypatch.setattr(log.queries, "context", context)
    read = await served.client.get(path)
    monkeypatch.undo()
    assert (read.headers["etag"], len(read.json()["message_ids"])) == ('"2"', 1)
    assert len((await served.json("GET", path))["message_ids"]) == 2


async def test_many_ids_of_a_branch_come_in_their_order(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contexts, "IDS_AT_ONCE", 7)
    monkeypatch.setattr(contexts, "PATH_MESSAGES_MAX", 21)
    context_id = await served.context()
    ids = [uuid4() for _ in range(30)]
    for length in (0, 6, 7, 8, 14, 20, 21, 22, 30):
        there = served.service.log.store.version_of(context_id) - 1
        if length > there:
            events = [MessageAppended(each, "user", (TextPart("x"),)) for each in ids[there:length]]
            await served.service.log.store.append(context_id, events)
        known = {"Turnlog-At-Least": str(served.service.log.store.head().position)}
        read = await served.json("GET", f"/api/contexts/{context_id}", **known)
        assert read["message_ids"] == [str(each) for each in ids[max(0, length - 21) : length]]
