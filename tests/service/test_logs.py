"""What is logged: a line for each request that says who asked what, and nothing of what was said."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import msgspec
import pytest
from every_route import PROVIDERS, ROWS, Place
from serving import SECONDS, Process, Served, new_key, process
from structlog.testing import capture_logs

from eventstore.units import wall_clock_us
from turnlog.service.key_file import revoke_key

MARK: Final = "Zanzibar"
"""In every text that a request holds."""

DELETION: Final = "DELETE /api/contexts/{context_id:uuid}"

FACTS: Final = {
    "timestamp",
    "level",
    "event",
    "request_id",
    "method",
    "route",
    "status",
    "duration_ms",
    "sent_bytes",
    "key_id",
    "workspace",
    "ids",
}


class Asking:
    """Asks a process, and keeps what it answered."""

    def __init__(self, served: Process, client: httpx.AsyncClient) -> None:
        self.served: Process = served
        self.client: httpx.AsyncClient = client
        self.answers: list[httpx.Response] = []

    async def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask; of an answer that goes on, take what there is."""
        answer = await self.client.request(method, path, **more)
        self.answers.append(answer)
        return answer

    async def json(self, method: str, path: str, body: object = None) -> Any:
        """What must succeed."""
        answer = await self(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def place(self) -> Place:
        """Something to ask about, full of marked texts."""
        body = {"title": MARK, "config": {MARK: MARK}, "attributes": {"a": MARK}}
        context = (await self.json("POST", "/api/contexts", body))["context_id"]
        path = f"/api/contexts/{context}"
        said = {
            "role": "user",
            "text": MARK,
            "metadata": {"m": MARK},
            "branch": f"{MARK} branch",
            "parent_id": None,
        }
        message = (await self.json("POST", f"{path}/messages", said))["message_id"]
        made: list[str] = []
        for n in range(2):
            started = await self.json(
                "POST", f"{path}/streams", {"model": MARK, "branch": f"b{n}", "parent_id": None}
            )
            made.append(started["message_id"])
            chunks = f"/api/messages/{started['message_id']}/chunks"
            await self.json("POST", chunks, {"sequence": 1, "delta": MARK})
        ending = {"finish_reason": MARK, "usage": {"u": MARK}, "error": {"e": MARK}}
        await self.json("POST", f"/api/messages/{made[0]}/finalize", ending)
        return Place(context, message, made[0], made[1])  # pyright: ignore[reportArgumentType] -- in paths, text does

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The lines of requests."""
        return [line for line in self.served.lines if line["event"] == "request"]


@pytest.fixture
async def asking(data_dir: Path) -> AsyncGenerator[Asking]:
    _, text = new_key(data_dir, name=MARK)
    async with process(data_dir, "--log-level", "debug") as served:
        headers = {
            "authorization": f"Bearer {text}",
            "cookie": f"session={MARK}",
            "openai-organization": f"sk-{MARK}",
            "user-agent": MARK,
        }
        async with httpx.AsyncClient(base_url=served.address, headers=headers, timeout=SECONDS) as client:
            yield Asking(served, client)


async def every_route(ask: Asking, place: Place) -> None:
    """Each route once, but for streams that never end; the context is deleted at last."""
    for route, row in sorted(ROWS.items(), key=lambda item: item[0] == DELETION):
        asked = row.ask(place)
        if route.endswith("/sse"):
            continue
        typed = {} if asked.content is None else {"content-type": asked.content_type}
        body: dict[str, Any] = {"json": asked.body} if asked.content is None else {"content": asked.content}
        await ask(route.partition(" ")[0], asked.path, headers=typed, **body)


async def wrong_requests(ask: Asking, place: Place) -> None:
    """Whatever may be refused, and what would be passed on if it were logged."""
    context = f"/api/contexts/{place.context}"
    lines = {"content-type": "application/x-ndjson"}
    for path in (
        f"/nothing/{MARK}",
        f"/api/contexts/{MARK}",
        f"{context}/branches/{MARK}",
        f"/api/events?kinds={MARK}&after={MARK}",
        f"/api/contexts?cursor={MARK}&workspace={MARK}",
        f"{context}/messages?branch={MARK}&type={MARK}",
        f"{context}/diff?from={MARK}",
        f"/api/messages/batch?ids={MARK}",
        f"/api/messages/{place.streamed}/stream?dialect={MARK}",
    ):
        await ask("GET", path, headers={"last-event-id": MARK, "if-none-match": MARK})
    for path in ("/api/contexts", "/api/commits", f"{context}/messages", f"/api/projections/{MARK}/rebuild"):
        for body in (
            b'{"' + MARK.encode(),
            b'{"%s": 1}' % MARK.encode(),
            b'{"text": {"a": "%s"}}' % MARK.encode(),
        ):
            await ask("POST", path, content=body, headers={"content-type": "application/json"})
        await ask("POST", path, content=MARK.encode(), headers={"content-type": f"text/{MARK}"})
        await ask("POST", path, json={}, headers={"idempotency-key": MARK * 50, "if-match": MARK})
    await ask("DELETE", f"{context}?reason={MARK}", headers={"if-match": '"1"'})
    await ask("POST", f"/api/messages/{place.message}/redact", json={"reason": MARK})
    await ask("PUT", f"{context}/state", json={"state": MARK, "detail": {"d": MARK}})
    await ask("PATCH", context, json={"title": MARK, "tags": [MARK], "config": {"c": MARK}})
    await ask("POST", f"{context}/fork", json={"title": MARK})
    chunks = f"/api/messages/{place.stream}/chunks"
    for content in (f'{{"sequence": 9, "delta": "{MARK}"}}\n', f'{{"{MARK}": 1}}\n', MARK):
        await ask("POST", chunks, content=content.encode(), headers=lines)
    said = PROVIDERS.replace(b"Hi", MARK.encode())
    for content in (said, said[:200], b"data: {" + MARK.encode() + b"\n\n"):
        for tee in ("true", "false"):
            await ask("POST", f"{context}/ingest?dialect=openai_chat&tee={tee}&model={MARK}", content=content)
    event = {"type": "custom.recorded", "name": MARK, "data": {"d": MARK}}
    commit = {"context_id": place.context, "events": [event], "metadata": {"m": MARK}}
    await ask("POST", "/api/commits", json=commit)
    await ask("POST", "/api/commits", json=commit | {"expected_version": 1})
    await ask(
        "POST",
        "/api/commits",
        content=msgspec.msgpack.encode(commit),
        headers={"content-type": "application/msgpack"},
    )


async def test_nothing_that_was_said_and_no_secret_is_logged(asking: Asking, data_dir: Path) -> None:
    place = await asking.place()
    await wrong_requests(asking, place)
    await every_route(asking, place)
    secrets = await with_secrets(asking, data_dir, place)
    reader, writer = await asyncio.open_connection("127.0.0.1", asking.served.port)
    writer.write(f"GET /{MARK} HTTP/1.1\r\nx: {MARK}\r\n{MARK}\r\n\r\n".encode())
    assert b"400 Bad Request" in await reader.read()
    writer.close()
    assert await asking.served.end() == 0

    said = asking.served.said.decode()
    assert MARK not in said
    assert "Traceback" not in said
    assert [secret for secret in secrets if secret in said] == []
    assert "sk-" not in said
    assert len(asking.requests) == len(asking.answers)
    told = {line["request_id"] for line in asking.requests}
    assert told == {answer.headers["x-request-id"] for answer in asking.answers}
    assert {frozenset(line) for line in asking.requests} == {frozenset(FACTS)}
    assert {"connection_refused", "key_refused"} <= {line["event"] for line in asking.served.lines}
    for answer, line in zip(asking.answers, asking.requests, strict=True):
        assert line["status"] == answer.status_code
        assert line["sent_bytes"] == len(answer.content)


async def with_secrets(ask: Asking, data_dir: Path, place: Place) -> list[str]:
    """Requests with keys and tickets, good and bad; all that is secret about them."""
    secrets = [ask.client.headers["authorization"].rpartition("_")[2]]
    revoked, text = new_key(data_dir, name=MARK)
    revoke_key(data_dir, revoked.id, wall_clock_us())
    path = f"/api/messages/{place.streamed}/stream"
    for key in (text, f"tl_0badcafe_{'9' * 64}", f"sk-ant-{uuid4().hex}", "e" * 300):
        secrets.append(key.rpartition("_")[2].removeprefix("sk-ant-"))
        for headers in ({"authorization": f"Bearer {key}"}, {"authorization": "", "x-api-key": key}):
            await ask("GET", "/api/events", headers=headers)
            await ask("POST", "/api/commits", json={}, headers=headers)
    for _ in range(2):
        ticket = (await ask.json("POST", "/api/tickets", {"path": path}))["ticket"]
        secrets.append(ticket.removeprefix("tlt_"))
        for _ in range(2):
            async with httpx.AsyncClient(base_url=ask.served.address) as page:
                ask.answers.append(await page.get(f"{path}?ticket={ticket}"))
        await ask("GET", f"/api/events?ticket={ticket}&kinds={ticket}")
    return secrets


async def test_a_line_says_who_asked_what_and_how_it_went(data_dir: Path) -> None:
    (reader, read), (writer, write) = (
        new_key(data_dir, "reader", "tides", name=MARK),
        new_key(data_dir, "writer", "tides", name=MARK),
    )
    async with process(data_dir) as served, httpx.AsyncClient(base_url=served.address) as client:
        made = await client.post("/api/contexts", json={}, headers={"x-api-key": write})
        context_id = made.json()["context_id"]
        path = f"/api/contexts/{context_id}"
        await client.post(
            "/api/commits", json={"context_id": context_id, "events": []}, headers={"x-api-key": write}
        )
        await client.get(path, headers={"x-api-key": read, "x-request-id": "gateway1"})
        await client.delete(path, headers={"x-api-key": read})
        await client.get(path)
        await client.get("/nothing")
        await served.end()
    lines = [line for line in served.lines if line["event"] == "request"]
    told = [
        (line["method"], line["route"], line["status"], line["key_id"], line["workspace"]) for line in lines
    ]
    one = "/api/contexts/{context_id}"
    assert told == [
        ("POST", "/api/contexts", 201, writer.id, "tides"),
        ("POST", "/api/commits", 422, writer.id, "tides"),
        ("GET", one, 200, reader.id, "tides"),
        ("DELETE", one, 403, reader.id, "tides"),
        ("GET", one, 401, None, None),
        ("GET", "(none)", 404, None, None),
    ]
    assert lines[2]["request_id"] == "gateway1"
    assert lines[2]["ids"] == [context_id]
    assert all(line["duration_ms"] >= 0 for line in lines)


async def test_a_stream_has_one_line_at_its_end(served: Served) -> None:
    with capture_logs() as lines:
        message_id = await served.stream(await served.context())
        lines.clear()
        async with served.client.stream("GET", f"/api/messages/{message_id}/stream") as response:
            await served.chunks(message_id, "Tides")
            assert [line["route"] for line in lines if line["event"] == "request"] == [
                "/api/messages/{message_id}/chunks"
            ]
            await served.finalize(message_id)
            size = len(await response.aread())
        line = lines[-1]
        assert (line["route"], line["status"]) == ("/api/messages/{message_id}/stream", 200)
        assert (line["sent_bytes"], line["ids"]) == (size, [str(message_id)])
        assert len([line for line in lines if line["event"] == "request"]) == 3


class Boom(Exception):
    """A defect, and it says what it was about."""


@pytest.mark.parametrize("origin", [{}, {"origin": "own"}])
async def test_a_defect_is_told_as_one_and_its_message_nowhere(
    origin: dict[str, str],
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    context_id = await served.context()
    headers = dict.fromkeys(origin, served.address)

    async def append(*_: object, **__: object) -> None:
        raise Boom(MARK)

    monkeypatch.setattr(served.service.log.store, "append", append)
    commit = {"context_id": str(context_id), "events": [{"type": "custom.recorded", "name": "n"}]}
    with capture_logs() as lines, caplog.at_level(logging.WARNING):
        for path, body in (
            ("/api/commits", commit),
            (f"/api/contexts/{context_id}/messages", {"role": "user", "text": "x"}),
        ):
            answer = await served.client.post(path, json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (500, "unexpected")
            assert MARK not in answer.text
            assert answer.headers["x-content-type-options"] == "nosniff"
    failed = [line for line in lines if line["event"] == "request_failed"]
    assert [(line["error"], bool(re.search(r"test_logs\.py:\d+$", line["at"]))) for line in failed] == [
        ("Boom", True)
    ] * 2
    assert [line["status"] for line in lines if line["event"] == "request"] == [500, 500]
    assert MARK not in str(lines)
    assert not caplog.records


async def test_a_defect_inside_a_stream_ends_it_with_a_word(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    message_id = await served.stream(await served.context())
    await served.chunks(message_id, "Tides")

    async def chunks(*_: object, **__: object) -> None:
        raise Boom(MARK)

    monkeypatch.setattr(served.service.log.queries, "chunks", chunks)
    with capture_logs() as lines, caplog.at_level(logging.WARNING):
        answer = await served.client.get(f"/api/messages/{message_id}/stream")
    assert answer.status_code == 200
    assert answer.text.rstrip().rpartition("event: error\n")[2].count('"code":"unexpected"') == 1
    assert [(line["error"], line["route"]) for line in lines if line["event"] == "request_failed"] == [
        ("Boom", "/api/messages/{message_id}/stream")
    ]
    assert MARK not in answer.text + str(lines)
    assert not caplog.records


async def test_whoever_asks_before_there_is_a_key_has_no_id(data_dir: Path) -> None:
    async with process(data_dir) as served, httpx.AsyncClient(base_url=served.address) as client:
        await client.get("/api/contexts")
        await served.end()
    assert [line["key_id"] for line in served.lines if line["event"] == "request"] == [None]
