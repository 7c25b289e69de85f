"""What asking by the document found: each was answered wrongly once."""

from __future__ import annotations

import msgspec
import pytest
from serving import Served


async def test_the_fast_path_says_that_it_answers_json(served: Served) -> None:
    context_id = await served.context()
    body = {"context_id": str(context_id), "events": [{"type": "custom.recorded", "name": "seen"}]}
    for content, kind in (
        (msgspec.json.encode(body), "application/json"),
        (msgspec.msgpack.encode(body), "application/msgpack"),
    ):
        response = await served.client.post("/api/commits", content=content, headers={"content-type": kind})
        assert (response.status_code, response.headers["content-type"]) == (201, "application/json")


@pytest.mark.parametrize(
    "body", [{"sequence": 0, "delta": ""}, {"sequence": 2**60, "delta": ""}, [{"sequence": 1}], "text"]
)
async def test_a_body_that_is_no_chunk_is_a_request_to_correct(served: Served, body: object) -> None:
    message_id = await served.stream(await served.context())
    response = await served.client.post(f"/api/messages/{message_id}/chunks", json=body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request"), response.text


async def test_a_header_that_means_nothing_is_refused_where_the_body_says_the_same(served: Served) -> None:
    context_id = await served.context()
    body = {
        "context_id": str(context_id),
        "events": [{"type": "custom.recorded", "name": "seen"}],
        "expected_version": "exists",
        "commit_id": "0190c4f2-7b1e-7c00-8000-000000000021",
    }
    for headers in ({"if-none-match": "AAA"}, {"idempotency-key": '"'}):
        response = await served.client.post("/api/commits", json=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_header")


async def test_a_version_beyond_all_versions_is_no_version(served: Served) -> None:
    response = await served.client.post("/api/contexts", json={}, headers={"if-match": f'"{10**17}"'})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_header")


async def test_where_to_begin_is_checked_also_where_a_browser_says_it_again(served: Served) -> None:
    context_id = await served.context()
    message_id = await served.stream(context_id)
    for path in ("/api/events", f"/api/contexts/{context_id}/sse", f"/api/messages/{message_id}/stream"):
        response = await served.client.get(path, params={"after": "x"}, headers={"last-event-id": "1"})
        assert (response.status_code, response.json()["code"]) == (422, "invalid_argument"), path


async def test_a_negative_moment_in_a_body_is_a_request_to_correct(served: Served) -> None:
    context_id = await served.context()
    response = await served.client.post(f"/api/contexts/{context_id}/fork", json={"at_position": -1})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_null_in_a_query_is_no_value(served: Served) -> None:
    context_id = await served.context()
    for query in ("at_version=null", "at_message=NULL"):
        response = await served.client.get(f"/api/contexts/{context_id}?{query}")
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request"), query
    assert (await served.client.get("/api/contexts?workspace=null")).status_code == 200


async def test_a_path_names_all_of_its_methods(served: Served) -> None:
    context_id = await served.context()
    response = await served.client.options(f"/api/contexts/{context_id}/branches/main")
    assert response.status_code == 204
    assert set(response.headers["allow"].split(", ")) == {"GET", "PUT", "DELETE", "OPTIONS"}
