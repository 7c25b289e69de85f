"""What every answer carries, what pages of other origins get, and the door of a service without keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from every_route import Place, place_in
from raw import connection, request
from serving import SECONDS, Served, command, new_key, serving

SECURITY: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
OURS, FOREIGN = "https://chat.example", "https://evil.example"


def commit(place: Place) -> dict[str, Any]:
    """What the hot path answers."""
    events = [{"type": "context.state_changed", "state": "busy"}]
    return {"context_id": str(place.context), "events": events}


async def answers(served: Served) -> dict[str, httpx.Response]:
    """Answers of every kind and origin: the framework's, the hot path's, errors of each, streams."""
    place, client = await place_in(served, "default"), served.client
    context, stream = f"/api/contexts/{place.context}", f"/api/messages/{place.streamed}/stream"
    return {
        "read": await client.get(context),
        "not modified": await client.get(context, headers={"if-none-match": '"7"'}),
        "hot": await client.post("/api/commits", json=commit(place)),
        "hot refused": await client.post("/api/commits", json=commit(place), headers={"if-match": '"1"'}),
        "hot not understood": await client.post("/api/commits", content=b"{"),
        "not found": await client.get("/api/contexts/01a21de0-4565-712f-a15f-4084d86e2d36"),
        "no route": await client.get("/nothing/here"),
        "no method": await client.put("/healthz"),
        "options": await client.options(context),
        "invalid": await client.post("/api/contexts", json={"unknown": 1}),
        "no key": await client.get("/api/contexts", headers={"authorization": ""}),
        "health": await client.get("/healthz"),
        "metrics": await client.get("/metrics"),
        "schema": await client.get("/schema/openapi.json"),
        "stream": await client.get(stream),
        "lines": await client.get("/api/events?format=ndjson"),
    }


def expose(response: httpx.Response) -> list[str]:
    return [name.strip() for name in response.headers["access-control-expose-headers"].lower().split(",")]


async def test_every_answer_has_the_headers_that_keep_browsers_careful(data_dir: Path) -> None:
    async with serving(data_dir, key=new_key(data_dir)[1], limits__header_bytes_max=2_048) as served:
        found = await answers(served)
        found["long headers"] = await served.client.get("/healthz", headers={"x-long": "x" * 5_000})
        for name, response in found.items():
            assert {header: response.headers.get(header) for header in SECURITY} == SECURITY, name
            assert "no-store" in response.headers["cache-control"], name
            assert response.headers["x-request-id"].isalnum(), name
            assert "server" not in response.headers
            assert not [header for header in response.headers if header.startswith("access-control")], name
        assert found["no key"].status_code == 401
        assert found["not modified"].status_code == 304
        assert found["hot"].status_code == 201
        assert found["long headers"].status_code == 431


async def test_what_is_no_http_gets_them_too(served: Served) -> None:
    async with connection(served) as raw:
        await raw.send(b"nonsense\r\n\r\n")
        answer = await raw.refused(400, "invalid_request")
    assert {header: answer.headers[header] for header in SECURITY} == {
        name: value.lower() for name, value in SECURITY.items()
    }
    assert "retry-after" not in answer.headers


async def test_a_request_id_is_taken_from_a_gateway_if_it_can_be_one(served: Served) -> None:
    for given, taken in (("0af7651916cd43dd", True), ("a" * 65, False), ("a b", False), ("tl_1", False)):
        response = await served.client.get("/healthz", headers={"x-request-id": given})
        assert (response.headers["x-request-id"] == given) is taken


async def test_other_origins_get_nothing_unless_they_are_configured(data_dir: Path) -> None:
    async with serving(data_dir, key=new_key(data_dir)[1]) as served:
        asked = {"origin": FOREIGN, "access-control-request-method": "POST"}
        preflight = await served.client.options("/api/contexts", headers=asked)
        assert not [name for name in preflight.headers if name.startswith("access-control")]
        read = await served.client.get("/api/contexts", headers={"origin": FOREIGN})
        assert not [name for name in read.headers if name.startswith("access-control")]


SENT: Final = (
    "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, Turnlog-At-Least, "
    "Last-Event-ID, X-Api-Key"
)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_configured_origin_may_send_what_clients_need(method: str, data_dir: Path) -> None:
    async with serving(data_dir, key=new_key(data_dir)[1], cors_origins=[OURS]) as served:
        client = httpx.AsyncClient(base_url=served.address, timeout=SECONDS)
        async with client:  # a browser sends no key with its preflight
            asked = {
                "origin": OURS,
                "access-control-request-method": method,
                "access-control-request-headers": SENT.lower(),
            }
            for path in ("/api/contexts", "/api/commits", "/api/messages/batch", "/nothing"):
                allowed = await client.options(path, headers=asked)
                assert allowed.status_code == 204, allowed.text
                assert allowed.headers["access-control-allow-origin"] == OURS
                assert method in allowed.headers["access-control-allow-methods"]
                granted = allowed.headers["access-control-allow-headers"].lower()
                assert {name.strip() for name in SENT.lower().split(",")} <= {
                    name.strip() for name in granted.split(",")
                }
                assert allowed.headers["vary"] == "Origin"
                assert "access-control-allow-credentials" not in allowed.headers
            foreign = await client.options(path, headers=asked | {"origin": FOREIGN})
            assert foreign.headers.get("access-control-allow-origin") != FOREIGN
            more = asked | {"access-control-request-headers": "x-other"}
            assert (await client.options(path, headers=more)).status_code == 400


async def test_a_configured_origin_reads_answers_of_every_kind(data_dir: Path) -> None:
    async with serving(data_dir, key=new_key(data_dir)[1], cors_origins=[OURS]) as served:
        served.client.headers["origin"] = OURS
        for name, response in (await answers(served)).items():
            assert response.headers["access-control-allow-origin"] == OURS, name
            if name != "options":
                assert {"etag", "turnlog-position", "retry-after", "location"} <= set(expose(response)), name
        served.client.headers["origin"] = FOREIGN
        for name, response in (await answers(served)).items():
            assert response.headers.get("access-control-allow-origin") is None, name


async def test_without_keys_a_name_that_points_here_reads_nothing(served: Served) -> None:
    context_id = await served.context(title="Tides")
    for path in (
        "/api/contexts",
        f"/api/contexts/{context_id}",
        "/metrics",
        "/api/events?format=sse&live=true",
    ):
        async with connection(served) as raw:
            await raw.send(request("GET", path, host="evil.example"))
            assert (await raw.answer()).problem["code"] == "invalid_header"


async def test_without_keys_a_page_of_another_site_writes_nothing(served: Served) -> None:
    place = await place_in(served, "default")
    before = served.service.log.store.acknowledged
    for path, body in (("/api/contexts", {}), ("/api/commits", commit(place))):
        refused = await served.client.post(path, json=body, headers={"origin": FOREIGN})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_header")
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
        ):
            typed = {"content-type": kind} if kind else {}
            refused = await served.client.post(path, content=b"{}", headers=typed)
            assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type"), kind
    assert served.service.log.store.acknowledged == before
    own = {"origin": served.address}
    assert (await served.client.post("/api/contexts", json={}, headers=own)).status_code == 201


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "chat.example"])
async def test_without_keys_no_other_address_is_served(host: str, data_dir: Path) -> None:
    code, out, err = await command(data_dir, "serve", "--host", host, "--port", "0", "--json")
    assert (code, out) == (2, b"")
    assert b"keys_required" in err
    assert b"turnlog keys create" in err
