"""Raw commits over HTTP: any events at once, in JSON or MessagePack, by the short way or the long."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from expecting import invalid, lines, problem
from serving import Served, serving

from eventstore.events import BIT_OF_TAG

SHORT, LONG = "/api/commits", "/api/commits/"
"""The hot path, and the same route inside the framework."""

PACKED: Final = {"content-type": "application/msgpack"}
JSON: Final = {"content-type": "application/json"}
SENT_ANEW: Final = {"date", "x-request-id"}
CREATED: Final[dict[str, Any]] = {"type": "context.created"}


def _commit(context_id: UUID, *events: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"context_id": str(context_id), "events": list(events), **more}


def _state(state: str) -> dict[str, Any]:
    return {"type": "context.state_changed", "state": state}


async def _answers(
    served: Served, content: bytes, headers: dict[str, str] | list[tuple[str, str]]
) -> list[tuple[int, dict[str, str], bytes]]:
    """What both ways answer to the same request."""
    found: list[tuple[int, dict[str, str], bytes]] = []
    for path in (SHORT, LONG):
        response = await served.client.post(path, content=content, headers=headers)
        told = {name: value for name, value in response.headers.items() if name not in SENT_ANEW}
        found.append((response.status_code, told, response.content))
    return found


async def test_a_commit_is_answered_with_its_place(served: Served) -> None:
    context_id = uuid4()
    made = await served.client.post(SHORT, json=_commit(context_id, CREATED, _state("a")))
    assert made.status_code == 201
    assert (made.headers["etag"], made.headers["turnlog-position"]) == ('"2"', "1")
    body = made.json()
    assert body == {
        "context_id": str(context_id),
        "position": 1,
        "version": 2,
        "recorded_at": body["recorded_at"],
        "written": True,
        "message_id": None,
    }
    await served.json("POST", SHORT, _commit(context_id, _state("b"), metadata={"actor": "me"}))
    events = (await served.json("GET", f"/api/contexts/{context_id}/events"))["items"]
    assert [event["event"].get("state") for event in events] == [None, "a", "b"]
    assert [event["metadata"] for event in events] == [None, None, {"actor": "me"}]


def _bodies() -> list[tuple[bytes, dict[str, str]]]:
    """Requests of both encodings that are answered in the same way whenever they are sent."""
    one = UUID(int=1)
    key = {"idempotency-key": "k"}
    plain: list[tuple[dict[str, Any], dict[str, str]]] = [
        (_commit(one, CREATED, _state("潮汐 🌊\u0000"), commit_id=str(UUID(int=9))), {}),
        (_commit(one, _state("by a header")), key),
        (_commit(one, _state("another")), key),
        (_commit(one, CREATED), {}),
        (_commit(one, _state("x"), expected_version=99), {}),
        (_commit(one, _state("x")), {"if-match": '"99"'}),
        (_commit(one, _state("x")), {"if-match": "99"}),
        (_commit(one, CREATED), {"if-none-match": "*"}),
        (_commit(UUID(int=2), _state("x")), {}),
        (_commit(UUID(int=2), _state("x"), expected_version="exists"), {}),
        (_commit(one), {}),
        (_commit(UUID(int=2)), {}),
        (_commit(one, _state("")), {}),
        (
            _commit(
                one, {"type": "stream.finalized", "message_id": str(UUID(int=5)), "outcome": "completed"}
            ),
            {},
        ),
        (_commit(one, {"type": "nothing"}), {}),
        (_commit(one, _state("x") | {"more": 1}), {}),
        (_commit(one, _state("x"), more=1), {}),
        (_commit(one, _state("x"), epoch=0), {}),
        (_commit(one, _state("x"), expected_version=-1), {}),
        (_commit(one, _state("x"), metadata={"x": "y" * 70_000}), {}),
        ({"context_id": "1", "events": []}, {}),
        ({}, {}),
    ]
    found: list[tuple[bytes, dict[str, str]]] = []
    for body, headers in plain:
        found.append((msgspec.json.encode(body), JSON | headers))
        found.append((msgspec.msgpack.encode(body), PACKED | headers))
    for odd in (msgspec.msgpack.Ext(1, b"x"), {None: 1}, {(1, 2): 1}):  # what JSON does not have
        custom = {"type": "custom.recorded", "name": "x", "data": odd}
        bodies = (_commit(one, custom), _commit(one, _state("x"), metadata={"x": odd}))
        found += [(msgspec.msgpack.encode(body), PACKED) for body in bodies]
    for raw in (b"", b"{", b"\xff", b"null", b"[]", b'{"context_id":"\xff"}', b"\xc1", b"[" * 200):
        found += [(raw, JSON), (raw, PACKED)]
    found += [(b"{}", {}), (b"{}", {"content-type": "text/plain"}), (b"{}", JSON | {"idempotency-key": ""})]
    return found


async def test_both_ways_give_the_same_answers_byte_for_byte(served: Served) -> None:
    await served.json(
        "POST", SHORT, _commit(UUID(int=1), CREATED, _state("潮汐 🌊\u0000"), commit_id=str(UUID(int=9)))
    )
    await served.client.post(
        SHORT, json=_commit(UUID(int=1), _state("by a header")), headers={"idempotency-key": "k"}
    )
    statuses: set[int] = set()
    for content, headers in _bodies():
        short, long = await _answers(served, content, headers)
        assert short == long, (content, headers)
        statuses.add(short[0])
    assert statuses == {201, 400, 404, 409, 412, 413, 415, 422}
    assert (await served.json("GET", "/api/log/head"))["position"] == 2


async def test_both_ways_take_the_first_of_a_header_that_is_sent_twice(served: Served) -> None:
    context_id = uuid4()
    await served.json("POST", SHORT, _commit(context_id, CREATED))
    body = msgspec.json.encode(_commit(context_id, _state("a")))
    for first, other in ((1, 7), (7, 1)):
        headers = [*JSON.items(), ("If-Match", f'"{first}"'), ("If-Match", f'"{other}"')]
        headers += [("Idempotency-Key", f"first {first}"), ("Idempotency-Key", "other")]
        short, long = await _answers(served, body, headers)
        assert short[0] == long[0] == (201 if first == 1 else 412)


async def test_both_ways_write_the_same_events_in_both_encodings(served: Served) -> None:
    written: list[Any] = []
    for path in (SHORT, LONG):
        for encode, headers in ((msgspec.json.encode, JSON), (msgspec.msgpack.encode, PACKED)):
            context_id, ids = uuid4(), [str(uuid4()), str(uuid4())]
            body = _commit(context_id, *_every_event(ids), epoch=2, metadata={"n": [1, None, 2.5]})
            answer = await served.client.post(path, content=encode(body), headers=headers)
            assert answer.status_code == 201, answer.text
            events = (await served.json("GET", f"/api/contexts/{context_id}/events"))["items"]
            assert {event["event"]["type"] for event in events} == set(BIT_OF_TAG)
            text = msgspec.json.encode([[event["event"], event["metadata"]] for event in events]).decode()
            for n, one in enumerate(ids):
                text = text.replace(one, f"id {n}")
            written.append(text)
    assert len(set(written)) == 1


def _every_event(ids: list[str]) -> list[dict[str, Any]]:
    said, streamed = ids
    chunk = {"type": "stream.chunk_received", "message_id": streamed, "kind": "text"}
    return [
        {"type": "context.created", "title": "Tides", "workspace": "sea", "config": {"a": 1}},
        {"type": "context.updated", "changes": {"tags": ["t"], "config": {"a": None}}},
        _state("busy") | {"detail": {"x": [1]}},
        {
            "type": "message.appended",
            "message_id": said,
            "branch": "main",
            "role": "user",
            "parts": [{"type": "text", "text": "潮"}, {"type": "data", "data": {"x": 1}}],
            "occurred_at": "2026-01-31T12:00:00+01:00",
        },
        {
            "type": "stream.started",
            "message_id": streamed,
            "branch": "main",
            "role": "assistant",
            "model": "m",
        },
        chunk | {"sequence": 1, "delta": "a", "at": 1_000_000},
        chunk | {"sequence": 2, "delta": "b", "at": "1970-01-01T00:00:02Z", "part": "p"},
        {"type": "stream.resumed", "message_id": streamed, "epoch": 2},
        {
            "type": "stream.finalized",
            "message_id": streamed,
            "outcome": "failed",
            "error": {"why": "test"},
            "usage": {"tokens": 2},
        },
        {"type": "branch.moved", "branch": "side", "head": said},
        {"type": "branch.switched", "branch": "side"},
        {"type": "branch.deleted", "branch": "main"},
        {"type": "custom.recorded", "name": "tick", "data": [None]},
        {"type": "message.redacted", "message_id": said, "reason": "test"},
        {"type": "context.deleted", "reason": "test"},
    ]


async def test_a_commit_that_is_refused_leaves_nothing(served: Served) -> None:
    context_id = uuid4()
    await served.json("POST", SHORT, _commit(context_id, CREATED))
    wrong = {"type": "branch.switched", "branch": "nothing"}
    problem(
        await served.client.post(SHORT, json=_commit(context_id, _state("x"), wrong)), 404, "branch_not_found"
    )
    assert (await served.json("GET", f"/api/contexts/{context_id}"))["state"] is None
    assert (await served.json("GET", "/api/log/head"))["position"] == 1


async def test_what_is_wrong_with_an_event_is_said_with_its_place(served: Served) -> None:
    context_id = uuid4()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"type": "nothing"}, "body.events[1].type"),
        ({"state": "x"}, "body.events[1].type"),
        (_state("x") | {"more": 1}, "body.events[1].more"),
        ({"type": "message.redacted", "message_id": "1"}, "body.events[1].message_id"),
        ({"type": "context.state_changed", "state": 1}, "body.events[1].state"),
    ]
    for event, path in wrong:
        refused = await served.client.post(SHORT, json=_commit(context_id, CREATED, event))
        assert list(invalid(refused)) == [path], event


async def test_a_repeat_gives_the_first_outcome_for_ever(served: Served) -> None:
    context_id, commit_id = uuid4(), str(uuid4())
    body = _commit(context_id, CREATED, commit_id=commit_id)
    first = await served.client.post(SHORT, json=body)
    for n in range(3):
        await served.json("POST", SHORT, _commit(context_id, _state(f"{n}")))
        for headers in ({}, {"if-match": '"77"'}):
            again = await served.client.post(SHORT, json=body, headers=headers)
            assert (again.status_code, again.json()) == (201, first.json() | {"written": False})
    other = _commit(context_id, CREATED | {"title": "other"}, commit_id=commit_id)
    refused = problem(await served.client.post(SHORT, json=other), 409, "commit_id_reused")
    assert (refused["position"], refused["commit_id"]) == (1, commit_id)
    header = {"idempotency-key": commit_id}  # the same id, said in a header
    again = await served.client.post(SHORT, json=_commit(context_id, CREATED), headers=header)
    assert again.json() == first.json() | {"written": False}


async def test_the_expected_version_is_in_the_body_or_in_headers(served: Served) -> None:
    context_id = uuid4()
    missing = await served.client.post(
        SHORT, json=_commit(context_id, _state("x"), expected_version="exists")
    )
    problem(missing, 404, "context_not_found")
    await served.json("POST", SHORT, _commit(context_id, CREATED, expected_version=0))
    again = await served.client.post(SHORT, json=_commit(context_id, CREATED, expected_version=0))
    refused = problem(again, 409, "wrong_expected_version")
    assert (refused["expected"], refused["actual"]) == (0, 1)
    await served.json("POST", SHORT, _commit(context_id, _state("a"), expected_version=1))
    await served.json("POST", SHORT, _commit(context_id, _state("b"), expected_version="exists"))
    await served.json("POST", SHORT, _commit(context_id, _state("c")), **{"if-match": '"3"'})
    await served.json("POST", SHORT, _commit(context_id, _state("d")), **{"if-match": "*"})
    late = await served.client.post(SHORT, json=_commit(context_id, _state("e")), headers={"if-match": '"3"'})
    problem(late, 412, "wrong_expected_version")


async def test_limits_of_a_commit_are_named(served: Served) -> None:
    context_id = uuid4()
    await served.json("POST", SHORT, _commit(context_id, CREATED))
    many = [_state("x")] * 100_000
    refused = await served.client.post(SHORT, json=_commit(context_id, *many))
    assert problem(refused, 413, "commit_too_large")["limit"] < 100_000
    large = {"type": "custom.recorded", "name": "x", "data": "y" * (9 << 20)}
    problem(await served.client.post(SHORT, json=_commit(context_id, large)), 413, "event_too_large")


async def test_a_body_beyond_the_limit_is_refused_by_both_ways(data_dir: Any) -> None:
    async with serving(data_dir, limits__body_bytes_max=1_024) as served:
        body = msgspec.json.encode(_commit(uuid4(), CREATED | {"title": "x" * 2_000}))
        for path in (SHORT, LONG, "/api/contexts"):
            problem(await served.client.post(path, content=body, headers=JSON), 413, "body_too_large")

            async def pieces() -> AsyncGenerator[bytes]:
                for at in range(0, len(body), 100):
                    yield body[at : at + 100]

            problem(await served.client.post(path, content=pieces(), headers=JSON), 413, "body_too_large")


async def test_a_body_may_come_in_pieces(served: Served) -> None:
    body = msgspec.json.encode(_commit(uuid4(), CREATED, _state("潮汐")))

    async def pieces() -> AsyncGenerator[bytes]:
        for at in range(len(body)):
            yield body[at : at + 1]

    for path in (SHORT, LONG):
        answer = await served.client.post(path, content=pieces(), headers=JSON)
        assert answer.status_code == (201 if path == SHORT else 409)
    text = (await served.client.get("/api/events?format=ndjson")).text
    assert [line["event"].get("state") for line in lines(text)] == [None, "潮汐"]


@pytest.mark.parametrize("kind", ["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"])
async def test_every_name_of_messagepack_is_taken_and_ids_may_be_bytes(served: Served, kind: str) -> None:
    context_id = uuid4()
    body = {"context_id": context_id.bytes, "events": [CREATED]}
    headers = {"content-type": kind}
    answers: list[httpx.Response] = []
    for path in (SHORT, LONG):
        body["commit_id"] = UUID(int=3).bytes
        answers.append(await served.client.post(path, content=msgspec.msgpack.encode(body), headers=headers))
    assert answers[0].json() == answers[1].json() | {"written": True}
    assert answers[0].json()["context_id"] == str(context_id)
