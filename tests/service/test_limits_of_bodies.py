"""Limits of what a request holds: bytes, depth, lines, events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import msgspec
import pytest
from every_route import PROVIDERS, Place, place_in
from hypothesis import given
from hypothesis import strategies as st
from raw import connection, request
from serving import SECONDS, Served, new_key, serving
from structlog.testing import capture_logs

from eventstore.errors import Refused
from turnlog.dialects.sse import FRAME_BYTES_MAX
from turnlog.service.decoding import check_depth

BYTES: Final = 4_096
DEPTH: Final = 12
EVENTS: Final = 3

LIMITS: Final[dict[str, Any]] = {
    "limits__body_bytes_max": BYTES,
    "limits__json_depth_max": DEPTH,
    "limits__commit_events_max": EVENTS,
}


class Small:
    """A service with small limits, and something to write to."""

    def __init__(self, served: Served, place: Place) -> None:
        self.served: Served = served
        self.client: httpx.AsyncClient = served.client
        self.place: Place = place

    def path(self, route: str) -> str:
        """A route's path."""
        return route.format(context=self.place.context, stream=self.place.stream)

    async def refused(self, route: str, status: int, code: str, **request: Any) -> dict[str, Any]:
        """The problem that a request meets; it wrote nothing."""
        before = self.served.service.log.store.acknowledged
        response = await self.client.post(self.path(route), **request)
        assert (response.status_code, response.json()["code"]) == (status, code), response.text
        assert self.served.service.log.store.acknowledged == before
        return response.json()


@pytest.fixture
async def small(data_dir: Path) -> AsyncGenerator[Small]:
    async with serving(data_dir, **LIMITS) as served:
        yield Small(served, await place_in(served, "default"))


ROUTES: Final[dict[str, Any]] = {
    "/api/contexts": {"title": "TEXT"},
    "/api/contexts/{context}/messages": {"role": "user", "text": "TEXT"},
    "/api/messages/{stream}/chunks": {"sequence": 2, "delta": "TEXT"},
    "/api/commits": {"context_id": "CONTEXT", "events": [{"type": "context.state_changed", "state": "TEXT"}]},
}
"""Bodies of a route that has the framework's reading, of one for endless lines, and of the hot path."""


def body_of(route: str, small: Small, size: int) -> bytes:
    """A body of that many bytes."""
    body = msgspec.json.encode(ROUTES[route]).replace(b"CONTEXT", str(small.place.context).encode())
    padding = size - len(body) + len(b"TEXT")
    if route == "/api/commits":  # a state is a name of 100 characters: blanks count as well
        return body.replace(b"TEXT", b"busy") + b" " * (padding - 4)
    return body.replace(b"TEXT", b"x" * padding)


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """A body whose length nobody knows: it is sent in chunks."""
    for at in range(0, len(body), 1_000):
        yield body[at : at + 1_000]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_may_have_so_many_bytes_and_no_more(route: str, announced: bool, small: Small) -> None:
    typed = {"content-type": "application/json"}
    for size in (BYTES + 1, 100 * BYTES):
        body = body_of(route, small, size)
        content = body if announced else in_pieces(body)
        told = await small.refused(route, 413, "body_too_large", content=content, headers=typed)
        assert told["limit"] == BYTES
    body = body_of(route, small, BYTES)
    content = body if announced else in_pieces(body)
    response = await small.client.post(small.path(route), content=content, headers=typed)
    assert response.is_success, response.text


async def test_messagepack_has_the_same_bounds(small: Small) -> None:
    typed = {"content-type": "application/msgpack"}

    def commit(value: object) -> bytes:
        event = {"type": "context.updated", "changes": {"attributes": value}}
        return msgspec.msgpack.encode({"context_id": str(small.place.context), "events": [event]})

    await small.refused(
        "/api/commits", 413, "body_too_large", content=commit({"a": "x" * BYTES}), headers=typed
    )
    await small.refused(
        "/api/commits", 422, "nested_too_deeply", content=commit({"a": nested(DEPTH)}), headers=typed
    )
    response = await small.client.post("/api/commits", content=commit({"a": "x"}), headers=typed)
    assert response.status_code == 201


async def test_a_line_may_have_so_many_bytes_and_a_body_of_lines_any_number(small: Small) -> None:
    typed = {"content-type": "application/x-ndjson"}
    lines = [msgspec.json.encode({"sequence": n, "delta": "x" * (BYTES - 100)}) + b"\n" for n in range(2, 22)]
    route, long = "/api/messages/{stream}/chunks", b'{"sequence": 22, "delta": "' + b"x" * BYTES + b'"}'
    for ended in (long, long + b"\n"):
        told = await small.refused(route, 413, "body_too_large", content=in_pieces(ended), headers=typed)
        assert (told["limit"], "line 1 " in told["detail"]) == (BYTES, True)
    response = await small.client.post(small.path(route), content=in_pieces(b"".join(lines)), headers=typed)
    assert msgspec.json.decode(response.text.splitlines()[-1])["sequence"] == 21
    response = await small.client.post(
        small.path(route), content=in_pieces(b"".join(lines) + long), headers=typed
    )
    last = msgspec.json.decode(response.text.splitlines()[-1])
    told = last if response.status_code == 413 else last["problem"]  # nothing, or something, was told before
    assert (told["code"], "line 21 " in told["detail"]) == ("body_too_large", True)


async def test_a_providers_event_may_have_so_many_bytes(small: Small) -> None:
    route = "/api/contexts/{context}/ingest?dialect=openai_chat"

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(2 + FRAME_BYTES_MAX // 65_536):
            yield b"data: " + b"x" * 65_536

    response = await small.client.post(small.path(route), content=endless())
    assert "malformed_stream" in response.text
    response = await small.client.post(small.path(route), content=in_pieces(PROVIDERS * 1))
    assert response.text.splitlines()[-1].count("completed") == 1


def nested(depth: int) -> Any:
    """A value of so many lists within each other."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize("extra", ["", "[[[]]]", '"'])
async def test_a_body_nests_so_deep_and_no_deeper(extra: str, small: Small) -> None:
    def patch(depth: int) -> dict[str, Any]:
        return {"attributes": {"a": nested(depth), "text": extra}}

    path = f"/api/contexts/{small.place.context}"
    response = await small.client.patch(path, json=patch(DEPTH - 2))
    assert response.is_success, response.text
    response = await small.client.patch(path, json=patch(DEPTH - 1))
    assert (response.status_code, response.json()["code"]) == (422, "nested_too_deeply")
    assert response.json()["limit"] == DEPTH


async def test_the_hot_path_and_lines_nest_no_deeper(small: Small) -> None:
    event = {"type": "context.updated", "changes": {"attributes": {"a": nested(DEPTH)}}}
    commit = {"context_id": str(small.place.context), "events": [event]}
    await small.refused("/api/commits", 422, "nested_too_deeply", json=commit)
    line = msgspec.json.encode({"finalize": {"usage": {"a": nested(DEPTH)}}})
    typed = {"content-type": "application/x-ndjson"}
    route = "/api/messages/{stream}/chunks"
    await small.refused(route, 422, "nested_too_deeply", content=line, headers=typed)


@pytest.mark.parametrize("route", ROUTES)
async def test_what_would_overflow_a_stack_is_refused(route: str, data_dir: Path) -> None:
    async with serving(data_dir) as served:
        small = Small(served, await place_in(served, "default"))
        for body in (b"[" * 2_000_000, b'{"a":' * 400_000, b'[{"a":' * 400_000 + b'"'):
            typed = {"content-type": "application/json"}
            await small.refused(route, 422, "nested_too_deeply", content=body, headers=typed)


async def test_a_commit_has_so_many_events_and_no_more(small: Small) -> None:
    event = {"type": "context.state_changed", "state": "busy"}
    for headers in ({}, {"origin": small.served.address}):  # the hot path, and the framework's
        commit: dict[str, Any] = {"context_id": str(small.place.context), "events": [event] * (EVENTS + 1)}
        told = await small.refused("/api/commits", 413, "commit_too_large", json=commit, headers=headers)
        assert told["limit"] == EVENTS
        commit["events"] = [event] * EVENTS
        response = await small.client.post("/api/commits", json=commit, headers=headers)
        assert response.status_code == 201
        assert response.json()["version"] == small.served.service.log.store.version_of(small.place.context)


async def test_a_commit_without_events_is_refused(small: Small) -> None:
    for context_id in (small.place.context, uuid4()):
        commit: dict[str, Any] = {"context_id": str(context_id), "events": []}
        await small.refused("/api/commits", 422, "empty_commit", json=commit)


@given(
    st.recursive(
        st.text(alphabet='[]{}"\\x') | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='[]{}"\\'), inner),
    )
)
def test_the_depth_is_that_of_the_value(value: Any) -> None:
    def depth(part: Any) -> int:
        inner: Any = msgspec.to_builtins(part)
        if isinstance(part, dict):
            inner = inner.values()
        return 1 + max(map(depth, inner), default=0) if isinstance(part, dict | list) else 0

    body = msgspec.json.encode(value)
    check_depth(body, depth(value))
    if depth(value):
        with pytest.raises(Refused, match="deeper"):
            check_depth(body, depth(value) - 1)


@pytest.mark.parametrize("unit", [b'\\"', b'"', b"\\", b'"\\', b'x\\"[', b'"["', b"[\\"])
def test_no_body_takes_long_to_look_at(unit: bytes) -> None:
    body = b"[" * 200 + b'"' + unit * 500_000
    start = time.process_time()
    with contextlib.suppress(Refused):  # or the decoder refuses it: the brackets do not match
        check_depth(body, 72)
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize("path", ["/api/commits", "/api/contexts"])
async def test_of_who_is_refused_no_body_is_awaited(path: str, data_dir: Path) -> None:
    new_key(data_dir)
    async with serving(data_dir) as served, connection(served) as raw:
        await raw.send(request("POST", path, b"").replace(b"content-length: 0", b"content-length: 9000"))
        answer = await raw.answer()
        assert (answer.status, answer.problem["code"]) == (401, "key_missing")


@pytest.mark.parametrize("path", ["/api/contexts", "/api/commits"])
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_refused_before_it_is_all_there(
    small: Small, path: str, announced: bool
) -> None:
    async with connection(small.served) as raw:
        head, _, body = request("POST", path, b"x" * (BYTES + 1)).partition(b"\r\n\r\n")
        if announced:
            await raw.send(head + b"\r\n\r\nx")
        else:
            head = head.replace(b"content-length: %d" % len(body), b"transfer-encoding: chunked")
            await raw.send(b"%b\r\n\r\n%x\r\n%b" % (head, len(body) + 1, body))  # a byte is to come
        answer = await raw.answer()
        assert (answer.status, answer.problem["code"], answer.problem["limit"]) == (
            413,
            "body_too_large",
            BYTES,
        )


@pytest.mark.parametrize("path", ["/api/contexts", "/api/commits"])
async def test_who_goes_before_the_end_of_a_body_has_made_a_bad_request(small: Small, path: str) -> None:
    with capture_logs() as lines:
        async with connection(small.served) as raw:
            await raw.send(request("POST", path, b"{}").replace(b"length: 2", b"length: 9"))
            await small.served.json("GET", "/healthz")
        async with asyncio.timeout(SECONDS):
            while not [line for line in lines if line.get("route") == path]:
                await small.served.json("GET", "/healthz")
    assert {line["status"] for line in lines if line.get("route") == path} == {400}
    assert not [line for line in lines if line["log_level"] not in ("info", "debug")]
