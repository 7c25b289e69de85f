"""Requests of every ugly kind: what is wrong with them is said in one shape, and where."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest
from expecting import invalid, problem
from serving import Served

from eventstore.events import ContextCreated

JSON = {"content-type": "application/json"}


async def test_a_query_parameter_that_a_route_does_not_know_is_refused(served: Served) -> None:
    context_id = await served.context()
    refused = await served.client.get("/api/contexts?limt=3&workspace=a")
    assert invalid(refused) == {
        "query.limt": "unknown; this route takes cursor, include_deleted, limit, workspace"
    }
    for method, path in (
        ("POST", "/api/contexts"),
        ("POST", "/api/commits"),
        ("PUT", f"/api/contexts/{context_id}/state"),
        ("GET", f"/api/contexts/{context_id}/branches/main"),
        ("GET", "/api/log/head"),
        ("GET", "/api/stats"),
        ("GET", "/healthz"),
    ):
        refused = await served.client.request(method, path, params={"x": ""}, json={})
        assert invalid(refused) == {"query.x": "unknown; this route takes none"}, path


async def test_all_unknown_parameters_are_named_and_one_given_twice_is_no_choice(served: Served) -> None:
    refused = await served.client.get("/api/contexts?limit=1&limit=2&a=1&b=1")
    assert list(invalid(refused)) == ["query.limit", "query.a", "query.b"]
    assert invalid(refused)["query.limit"] == "given more than once"


async def test_what_is_wrong_with_a_parameter_names_it_as_requests_do(served: Served) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}"
    for query, where in (
        ("messages?limit=0", "limit"),
        ("messages?limit=1001", "limit"),
        ("messages?limit=ten", "limit"),
        ("messages?role=robot", "role"),
        ("messages?include=everything", "include"),
        ("messages?last=0", "last"),
        ("messages?at_version=-1", "at_version"),
        ("messages?at_message=m1", "at_message"),
        ("messages?all_branches=maybe", "all_branches"),
        (f"messages?type={'x' * 101}", "type"),
        ("events?format=xml", "format"),
        ("events?live=perhaps", "live"),
        ("history?limit=0", "limit"),
        ("diff", "from"),
    ):
        assert list(invalid(await served.client.get(f"{path}/{query}"))) == [f"query.{where}"], query


async def test_a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has(served: Served) -> None:
    context_id = await served.context()
    for path, allowed in (
        (f"/api/contexts/{context_id}", {"GET", "PATCH", "DELETE", "OPTIONS"}),
        (f"/api/contexts/{context_id}/branches/main", {"GET", "PUT", "DELETE", "OPTIONS"}),
        ("/api/contexts", {"GET", "POST", "OPTIONS"}),
        ("/api/commits", {"POST", "OPTIONS"}),
        ("/api/messages/batch", {"GET", "OPTIONS"}),
        ("/healthz", {"GET", "OPTIONS"}),
    ):
        wrong = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE"} - allowed
        for method in sorted(wrong):
            refused = await served.client.request(method, path)
            assert _methods(refused) == allowed, (method, path)
            if method == "HEAD":
                assert (refused.status_code, refused.content) == (405, b"")
            else:
                problem(refused, 405, "method_not_allowed")
        options = await served.client.options(path)
        assert (options.status_code, options.content, _methods(options)) == (204, b"", allowed)


def _methods(response: httpx.Response) -> set[str]:
    return set(response.headers["allow"].split(", "))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/nothing",
        "/api/contexts/tides",
        "/api/messages/1",
        "/api/contexts/%00",
        "//api/contexts",
    ],
)
async def test_what_is_not_there_is_a_problem_like_any_other(served: Served, path: str) -> None:
    assert "UUIDs" in problem(await served.client.get(path), 404, "route_not_found")["detail"]


async def test_a_slash_at_the_end_and_the_case_of_an_id_make_no_difference(served: Served) -> None:
    context_id = await served.context(title="Tides")
    for written in (f"{context_id}/", str(context_id).upper()):
        assert (await served.json("GET", f"/api/contexts/{written}"))["title"] == "Tides"
    assert (await served.json("POST", "/api/contexts/", {}))["version"] == 1
    body = {"context_id": str(uuid4()), "events": [{"type": "context.created"}]}
    assert (await served.json("POST", "/api/commits/", body))["version"] == 1


ROLES: Final = "it is one of assistant, developer, system, tool, user"


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        (b"", "body", "there is none"),
        (b"null", "body", "Expected `object`, got `null`"),
        (b"[]", "body", "Expected `object`, got `array`"),
        (b'{"text":"x"}', "body.role", "Object missing required field `role`"),
        (b'{"role":"robot","text":"x"}', "body.role", "Invalid enum value 'robot'; " + ROLES),
        (b'{"role":"user","text":"x","txt":1}', "body.txt", "Object contains unknown field `txt`"),
        (b'{"role":"user","text":"x","branch":""}', "body.branch", "Expected `str` of length >= 1"),
        (b'{"role":"user","text":"x","parent_id":"1"}', "body.parent_id", "Invalid UUID"),
        (
            b'{"role":"user","parts":[{"type":"text","text":"x"},{"type":"text","text":"y","z":1}]}',
            "body.parts[1].z",
            "Object contains unknown field `z`",
        ),
        (
            b'{"role":"user","text":"x","occurred_at":"2026-01-31T12:00:00"}',
            "body.occurred_at",
            "Expected `datetime` with a timezone component",
        ),
    ],
)
async def test_what_is_wrong_with_a_body_is_said_with_its_place(
    served: Served, body: bytes, path: str, message: str
) -> None:
    context_id = await served.context()
    refused = await served.client.post(f"/api/contexts/{context_id}/messages", content=body, headers=JSON)
    assert invalid(refused) == {path: message}
    assert (await served.json("GET", f"/api/contexts/{context_id}"))["version"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"}" * 100,
        b"[" * 100,
        b"{]",
        b'{"title":"\xff"}',
        b'{"title":"\\ud800"}',
        b'{"config":{"x":NaN}}',
        b'{"config":{"x":1e400}}',
        b'{"title":"a"}{"title":"b"}',
        b"\x00",
    ],
)
async def test_what_is_no_json_is_refused_and_nothing_is_written(served: Served, body: bytes) -> None:
    refused = await served.client.post("/api/contexts", content=body, headers=JSON)
    told = problem(refused, 400, "invalid_request")
    assert "the body cannot be read" in told["detail"]
    (error,) = told["errors"]
    assert error["path"] == "body"
    assert error["message"] in told["detail"]
    assert (await served.json("GET", "/api/log/head"))["position"] == 0


async def test_a_message_has_text_or_parts_not_both_and_not_neither(served: Served) -> None:
    path = f"/api/contexts/{await served.context()}/messages"
    for content in ({}, {"text": "x", "parts": [{"type": "text", "text": "y"}]}):
        refused = await served.client.post(path, json={"role": "user", **content})
        assert "not both" in problem(refused, 422, "invalid_argument")["detail"]


async def test_what_is_wrong_with_a_commit_has_its_place_too(served: Served) -> None:
    event: dict[str, Any] = {
        "type": "message.appended",
        "message_id": str(uuid4()),
        "role": "robot",
        "parts": [],
    }
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"events": [event]}, "body.events[0].role"),
        ({"events": [], "x": 1}, "body.x"),
    ]
    for more, path in wrong:
        refused = await served.client.post("/api/commits", json={"context_id": str(uuid4()), **more})
        assert list(invalid(refused)) == [path]


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809"])
async def test_integers_beyond_64_bits_are_refused(served: Served, number: str) -> None:
    body = f'{{"config":{{"seed":{number}}}}}'.encode()
    refused = await served.client.post("/api/contexts", content=body, headers=JSON)
    problem(refused, 422, "invalid_event")


async def test_the_largest_integers_and_every_float_come_back_as_they_are(served: Served) -> None:
    config = {"a": 2**64 - 1, "b": -(2**63), "c": 0.1, "d": 1e308, "e": -0.0, "f": 5e-324}
    context_id = await served.context(config=config)
    assert (await served.json("GET", f"/api/contexts/{context_id}"))["config"] == config


@pytest.mark.parametrize("depth", [73, 100, 5_000])
async def test_what_nests_too_deeply_is_refused(served: Served, depth: int) -> None:
    body = b'{"config":' + b'{"x":' * depth + b"1" + b"}" * depth + b"}"
    refused = await served.client.post("/api/contexts", content=body, headers=JSON)
    assert problem(refused, 422, "nested_too_deeply")["limit"] == 72


async def test_what_the_log_takes_in_depth_comes_back(served: Served) -> None:
    config: dict[str, Any] = {"end": "][}{"}
    for _ in range(60):
        config = {"x": config}
    context_id = await served.context(config=config)
    assert (await served.json("GET", f"/api/contexts/{context_id}"))["config"] == config


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
async def test_a_body_of_another_type_is_refused(served: Served, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    for path in ("/api/contexts", "/api/commits"):
        refused = await served.client.post(path, content=b"{}", headers=headers)
        assert "application/json" in problem(refused, 415, "unsupported_media_type")["takes"]
    packed = {"content-type": "application/msgpack"}
    refused = await served.client.post("/api/contexts", content=b"\x80", headers=packed)
    problem(refused, 415, "unsupported_media_type")


async def test_a_type_with_a_charset_and_in_capitals_is_json_all_the_same(served: Served) -> None:
    headers = {"content-type": "Application/JSON; charset=UTF-8"}
    made = await served.client.post("/api/contexts", content=b'{"title":"T"}', headers=headers)
    assert made.status_code == 201


@pytest.mark.parametrize(
    "title", ["", " ", "潮汐 🌊", "e\u0301", "\u0000\u001f\u2028", "مد\u202e", "x" * 200_000]
)
async def test_any_text_comes_back_as_it_was_sent(served: Served, title: str) -> None:
    context_id = await served.context(title=title)
    read = await served.json("GET", f"/api/contexts/{context_id}")
    listed = await served.json("GET", "/api/contexts")
    assert read["title"] == listed["items"][0]["title"] == title


async def test_metadata_beyond_its_limit_is_refused(served: Served) -> None:
    refused = await served.client.post("/api/contexts", json={"title": "x" * 300_000})
    problem(refused, 413, "context_metadata_too_large")


async def test_an_answer_must_know_of_the_position_that_it_is_asked_for(served: Served) -> None:
    context_id = await served.context()
    message_id = await served.stream(context_id)
    paths = [
        "/api/contexts",
        f"/api/contexts/{context_id}",
        f"/api/contexts/{context_id}/messages",
        f"/api/contexts/{context_id}/branches",
        f"/api/contexts/{context_id}/branches/main",
        f"/api/contexts/{context_id}/history",
        f"/api/contexts/{context_id}/diff?from=v1",
        f"/api/contexts/{context_id}/events",
        f"/api/messages/{message_id}",
        f"/api/messages/batch?ids={message_id}",
        f"/api/messages/{message_id}/chunks",
        f"/api/messages/{message_id}/timeline",
        "/api/events",
        "/api/log/head",
        "/api/projections",
        "/api/stats",
    ]
    head = (await served.json("GET", "/api/log/head"))["position"]
    for path in paths:
        read = await served.client.get(path, headers={"turnlog-at-least": str(head)})
        assert (read.status_code, read.headers["turnlog-position"]) == (200, str(head)), path
        ahead = await served.client.get(path, headers={"turnlog-at-least": str(head + 1)})
        assert problem(ahead, 404, "position_not_found")["position"] == head + 1, path
        wrong = await served.client.get(path, headers={"turnlog-at-least": "latest"})
        assert problem(wrong, 400, "invalid_header")["header"] == "Turnlog-At-Least", path


async def test_what_one_client_wrote_another_reads(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    context_id = await served.context()
    runner, waited = served.service.log.runner, list[int]()
    wait_for = runner.wait_for

    async def wait(position: int, *more: Any) -> None:
        waited.append(position)
        await wait_for(position, *more)

    monkeypatch.setattr(runner, "wait_for", wait)
    async with httpx.AsyncClient(base_url=served.address) as other:
        for number in range(5):
            written = await served.client.put(
                f"/api/contexts/{context_id}/state", json={"state": f"state {number}"}
            )
            position = written.headers["turnlog-position"]
            await served.context()  # what comes after it need not be waited for
            waited.clear()
            read = await other.get(f"/api/contexts/{context_id}", headers={"turnlog-at-least": position})
            assert read.json()["state"] == f"state {number}"
            assert read.headers["turnlog-position"] == position
            assert set(waited) == {int(position)}


async def test_unknown_ids_are_not_found_by_their_own_names(served: Served) -> None:
    unknown = UUID(int=7)
    for path in (
        "",
        "/messages",
        "/branches",
        "/branches/main",
        "/history",
        "/diff?from=v1",
        "/events",
        "/sse",
    ):
        refused = await served.client.get(f"/api/contexts/{unknown}{path}")
        assert problem(refused, 404, "context_not_found")["context_id"] == str(unknown), path
    for path in ("", "/chunks", "/stream", "/replay", "/timeline"):
        refused = await served.client.get(f"/api/messages/{unknown}{path}")
        assert problem(refused, 404, "message_not_found")["message_id"] == str(unknown), path
    for method, path, body in (
        ("PATCH", "", {"title": "T"}),
        ("DELETE", "", None),
        ("PUT", "/state", {"state": "s"}),
        ("POST", "/messages", {"role": "user", "text": "x"}),
        ("POST", "/streams", {}),
        ("POST", "/fork", {}),
        ("PUT", "/branches/b", {"active": True}),
        ("DELETE", "/branches/b", None),
    ):
        refused = await served.client.request(method, f"/api/contexts/{unknown}{path}", json=body)
        problem(refused, 404, "context_not_found")
    for path in ("chunks", "finalize", "stop", "resume", "redact"):
        body: dict[str, Any] | None = None if path == "stop" else {}
        refused = await served.client.post(f"/api/messages/{unknown}/{path}", json=body)
        problem(refused, 404, "message_not_found")


async def test_an_answer_does_not_claim_to_know_of_what_came_while_it_was_made(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await served.context()
    log = served.service.log
    answer = log.queries.contexts

    async def contexts(*given: Any, **more: Any) -> Any:
        found = await answer(*given, **more)
        await log.store.append(uuid4(), [ContextCreated()])
        return found

    monkeypatch.setattr(log.queries, "contexts", contexts)
    for asked, known in ({}, "3"), ({"turnlog-at-least": "2"}, "2"):
        read = await served.client.get("/api/contexts", headers=asked)
        assert read.headers["turnlog-position"] == known
