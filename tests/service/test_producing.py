"""Producing a stream over HTTP: started, its chunks sent in every form, ended, stopped, taken over."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from duplex import posting
from expecting import invalid, lines, problem
from serving import Served

NDJSON = {"content-type": "application/x-ndjson"}


def _chunk(sequence: int, delta: str = "x", **more: object) -> dict[str, Any]:
    return {"sequence": sequence, "delta": delta, **more}


async def _stream(served: Served) -> tuple[UUID, str]:
    """A context, and the path of its open stream."""
    context_id = await served.context()
    return context_id, f"/api/messages/{await served.stream(context_id)}"


def _failure(body: str) -> dict[str, Any]:
    """The problem that an answer is, or that its last line tells when it had begun."""
    last = lines(body)[-1]
    return last.get("problem", last)


async def _text(served: Served, path: str) -> str:
    return (await served.json("GET", path))["text"]


async def test_a_stream_says_where_it_is_read_and_what_comes_first(served: Served) -> None:
    context_id = await served.context()
    made = await served.client.post(f"/api/contexts/{context_id}/streams", json={"model": "m"})
    body = made.json()
    message_id = body["message_id"]
    assert (made.status_code, made.headers["etag"], made.headers["turnlog-position"]) == (201, '"2"', "2")
    assert made.headers["location"] == f"/api/messages/{message_id}/stream"
    assert body == {
        "context_id": str(context_id),
        "message_id": message_id,
        "epoch": 1,
        "sequence": 0,
        "position": 2,
        "version": 2,
    }
    read = await served.json("GET", f"/api/messages/{message_id}")
    assert (read["streamed"], read["complete"], read["text"], read["role"]) == (True, False, "", "assistant")
    state = await served.json("GET", f"/api/contexts/{context_id}")
    assert (state["open_streams"], state["message_ids"]) == ({message_id: 0}, [message_id])


async def test_a_stream_has_its_place_in_the_tree_like_any_message(served: Served) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}"
    said = (await served.json("POST", f"{path}/messages", {"role": "user", "text": "?"}))["message_id"]
    one = str(await served.stream(context_id))
    two = str(await served.stream(context_id, parent_id=said, branch="side"))
    assert (await served.json("GET", path))["message_ids"] == [said, one]
    assert (await served.json("GET", f"{path}?branch=side"))["message_ids"] == [said, two]
    taken = await served.client.post(f"{path}/streams", json={"message_id": one})
    problem(taken, 409, "message_exists")
    other = await served.client.post(f"{path}/streams", json={"parent_id": str(uuid4())})
    problem(other, 409, "parent_not_found")
    assert "body.role" in invalid(await served.client.post(f"{path}/streams", json={"role": "robot"}))


async def test_chunks_are_sent_as_one_as_an_array_or_as_lines(served: Served) -> None:
    _, path = await _stream(served)
    one = await served.client.post(f"{path}/chunks", json=_chunk(1, "a"))
    message_id = path.rpartition("/")[2]
    assert (one.status_code, one.json()) == (200, {"message_id": message_id, "sequence": 1})
    assert one.headers["turnlog-position"] == "3"
    many = await served.json("POST", f"{path}/chunks", [_chunk(2, "b"), _chunk(3, "潮")])
    assert many["sequence"] == 3
    body = "".join(f'{{"sequence":{n},"delta":"{n}"}}\n' for n in (4, 5))
    told = await served.client.post(f"{path}/chunks", content=body, headers=NDJSON)
    assert told.headers["content-type"] == "application/x-ndjson"
    *acknowledged, done = lines(told.text)
    assert acknowledged[-1] == {"type": "durable", "sequence": 5}
    assert done == {"type": "done", "sequence": 5, "outcome": None}
    assert await _text(served, path) == "ab潮45"


async def test_nothing_sent_is_nothing_changed(served: Served) -> None:
    _, path = await _stream(served)
    assert (await served.json("POST", f"{path}/chunks", []))["sequence"] == 0
    told = await served.client.post(f"{path}/chunks", content=b"", headers=NDJSON)
    assert lines(told.text) == [{"type": "done", "sequence": 0, "outcome": None}]
    told = await served.client.post(f"{path}/chunks", content=b"\n \n\r\n", headers=NDJSON)
    assert lines(told.text) == [{"type": "done", "sequence": 0, "outcome": None}]
    assert (await served.json("GET", "/api/log/head"))["position"] == 2


async def test_all_of_a_chunk_is_kept(served: Served) -> None:
    _, path = await _stream(served)
    sent = [
        _chunk(1, "", kind="text", at="2026-01-31T12:00:00Z"),
        _chunk(2, "hm", kind="reasoning", at=1_769_860_800_500_000),
        _chunk(3, '{"a":', kind="tool_call", part="call 1"),
        _chunk(4, "no", kind="refusal"),
        _chunk(5, "?", kind="other", part="p"),
    ]
    await served.json("POST", f"{path}/chunks", sent)
    chunks = (await served.json("GET", f"{path}/chunks"))["chunks"]
    for given, kept in zip(sent, chunks, strict=True):
        expected = {"part": None} | {name: value for name, value in given.items() if name != "at"}
        assert expected.items() <= kept.items()
    assert [chunk["at"] for chunk in chunks[:2]] == [
        "2026-01-31T12:00:00.000000Z",
        "2026-01-31T12:00:00.500000Z",
    ]


async def test_a_repeat_is_a_no_op_in_every_form(served: Served) -> None:
    _, path = await _stream(served)
    sent = [_chunk(n, f"{n}", at=n) for n in (1, 2, 3)]
    await served.json("POST", f"{path}/chunks", sent)
    head = (await served.json("GET", "/api/log/head"))["position"]
    for again in (sent, sent[0], sent[1:], sent[2]):
        await served.json("POST", f"{path}/chunks", again)
    body = b"".join(msgspec.json.encode(chunk) + b"\n" for chunk in sent)
    told = await served.client.post(f"{path}/chunks", content=body, headers=NDJSON)
    assert lines(told.text)[-1] == {"type": "done", "sequence": 3, "outcome": None}
    assert (await served.json("GET", "/api/log/head"))["position"] == head
    more = await served.json("POST", f"{path}/chunks", [sent[2], _chunk(4, "4")])
    assert (more["sequence"], await _text(served, path)) == (4, "1234")


async def test_a_gap_says_what_was_expected_and_keeps_what_came_before(served: Served) -> None:
    _, path = await _stream(served)
    refused = await served.client.post(f"{path}/chunks", json=_chunk(2))
    told = problem(refused, 409, "sequence_gap")
    assert (told["expected"], told["received"]) == (1, 2)
    refused = await served.client.post(
        f"{path}/chunks", json=[_chunk(1, "a"), _chunk(2, "b"), _chunk(4, "d")]
    )
    told = problem(refused, 409, "sequence_gap")
    assert (told["expected"], told["received"]) == (3, 4)
    assert await _text(served, path) == "ab"
    body = b'{"sequence":3,"delta":"c"}\n{"sequence":9,"delta":"z"}\n'
    told = await served.client.post(f"{path}/chunks", content=body, headers=NDJSON)
    failure = _failure(told.text)
    assert (failure["code"], failure["expected"], failure["received"]) == ("sequence_gap", 4, 9)
    assert await _text(served, path) == "abc"


async def test_other_content_for_a_sequence_is_a_conflict(served: Served) -> None:
    _, path = await _stream(served)
    await served.chunks(UUID(path.rpartition("/")[2]), "a", "b")
    for other in (_chunk(1, "z"), [_chunk(2, "z")], _chunk(1, "a", kind="reasoning")):
        refused = await served.client.post(f"{path}/chunks", json=other)
        problem(refused, 409, "chunk_conflict")
    assert await _text(served, path) == "ab"


@pytest.mark.parametrize(
    "chunk",
    [
        {"sequence": 0, "delta": "x"},
        {"sequence": -1, "delta": "x"},
        {"sequence": 1.5, "delta": "x"},
        {"sequence": "1", "delta": "x"},
        {"sequence": 1},
        {"delta": "x"},
        {"sequence": 1, "delta": None},
        {"sequence": 1, "delta": "x", "kind": "song"},
        {"sequence": 1, "delta": "x", "more": 1},
        {"sequence": 1, "delta": "x", "at": "noon"},
        {"sequence": 1, "delta": "x", "part": ""},
        {"sequence": 2**64, "delta": "x"},
        "x",
        None,
        [[]],
    ],
)
async def test_what_is_no_chunk_is_refused_with_its_place(served: Served, chunk: Any) -> None:
    _, path = await _stream(served)
    encoded = msgspec.json.encode(chunk)
    json = {"content-type": "application/json"}
    refused = await served.client.post(f"{path}/chunks", content=encoded, headers=json)
    assert all(where.startswith("body") for where in invalid(refused))
    body = msgspec.json.encode(_chunk(1, "a")) + b"\n\n" + encoded
    told = await served.client.post(f"{path}/chunks", content=body, headers=NDJSON)
    failure = _failure(told.text)
    assert (failure["code"], failure["line"]) == ("invalid_request", 3)
    assert await _text(served, path) in ("", "a")


async def test_bodies_that_are_no_json_are_refused(served: Served) -> None:
    _, path = await _stream(served)
    json = {"content-type": "application/json"}
    for content in (b"", b"{", b"\xff", b'{"sequence":1,"delta":"\xff"}'):
        refused = await served.client.post(f"{path}/chunks", content=content, headers=json)
        problem(refused, 400, "invalid_request")
    refused = await served.client.post(
        f"{path}/chunks", content=b"{}", headers={"content-type": "text/plain"}
    )
    takes = problem(refused, 415, "unsupported_media_type")["takes"]
    assert {"application/json", "application/x-ndjson"} <= set(takes)


async def test_the_type_of_lines_may_be_written_in_any_case(served: Served) -> None:
    _, path = await _stream(served)
    body, kind = msgspec.json.encode(_chunk(1, "a")), {"content-type": "Application/X-NDJSON; charset=utf-8"}
    told = await served.client.post(f"{path}/chunks", content=body, headers=kind)
    assert (told.status_code, lines(told.text)[-1]["sequence"]) == (200, 1)
    problem(
        await served.client.post(
            f"{path}/chunks", content=body, headers={"content-type": "application/x-ndjsonx"}
        ),
        415,
        "unsupported_media_type",
    )


async def test_lines_are_acknowledged_while_the_request_goes_on(served: Served) -> None:
    _, path = await _stream(served)
    async with posting(served.address, f"{path}/chunks") as body:
        body.send(_chunk(1, "a"))
        told = body.lines()
        assert await anext(told) == {"type": "durable", "sequence": 1}
        assert await _text(served, path) == "a"
        body.raw(b'{"sequence":2,"del')
        body.raw(b'ta":"\xe6\xbd')
        body.raw(b'\xae"}\r\n')
        assert await anext(told) == {"type": "durable", "sequence": 2}
        assert await _text(served, path) == "a潮"
        body.send(_chunk(3, "c"), {"finalize": {"outcome": "completed", "finish_reason": "stop"}})
        body.end()
        assert [line async for line in told][-1] == {"type": "done", "sequence": 3, "outcome": "completed"}
    read = await served.json("GET", path)
    assert (read["text"], read["outcome"]) == ("a潮c", "completed")


async def test_nothing_follows_the_last_line(served: Served) -> None:
    _, path = await _stream(served)
    body = b'{"finalize":{}}\n{"sequence":1,"delta":"x"}\n'
    told = await served.client.post(f"{path}/chunks", content=body, headers=NDJSON)
    assert _failure(told.text)["code"] == "invalid_request"
    assert (await served.json("GET", path))["complete"] is False


async def test_a_producer_that_goes_away_ends_nothing(served: Served) -> None:
    _, path = await _stream(served)
    async with posting(served.address, f"{path}/chunks") as body:
        body.send(_chunk(1, "a"))
        assert (await anext(body.lines()))["sequence"] == 1
        body.send(_chunk(2, "b"))
    read = await served.json("GET", path)
    assert (read["complete"], read["outcome"]) == (False, None)
    await served.json("POST", f"{path}/chunks", [_chunk(2, "b"), _chunk(3, "c")])
    assert await _text(served, path) == "abc"


async def test_a_stream_is_finalized_once_with_its_outcome(served: Served) -> None:
    context_id = await served.context()
    for outcome in ("completed", "aborted", "failed", "interrupted"):
        message_id = await served.stream(context_id)
        await served.chunks(message_id, "a")
        path = f"/api/messages/{message_id}"
        early = await served.client.post(f"{path}/finalize", json={}, headers={"if-match": '"1"'})
        problem(early, 412, "wrong_expected_version")
        body = {"outcome": outcome, "finish_reason": "f", "usage": {"n": 1}, "error": {"e": None}}
        done = await served.client.post(
            f"{path}/finalize", json=body, headers={"idempotency-key": "k" + outcome}
        )
        version = (await served.json("GET", f"/api/contexts/{context_id}"))["version"]
        assert (done.status_code, done.headers["etag"]) == (200, f'"{version}"')
        assert done.json()["message_id"] == str(message_id)
        timeline = await served.json("GET", f"{path}/timeline")
        assert body.items() <= timeline.items()
        again = await served.client.post(
            f"{path}/finalize", json=body, headers={"idempotency-key": "k" + outcome}
        )
        assert again.json() == done.json() | {"written": False}
        problem(await served.client.post(f"{path}/finalize", json=body), 409, "stream_finalized")
        problem(await served.client.post(f"{path}/chunks", json=_chunk(2)), 409, "stream_finalized")
        told = await served.client.post(
            f"{path}/chunks", content=b'{"sequence":2,"delta":"x"}', headers=NDJSON
        )
        assert _failure(told.text)["code"] == "stream_finalized"
    assert "body.outcome" in invalid(await served.client.post(f"{path}/finalize", json={"outcome": "fine"}))


async def test_parts_at_the_end_replace_what_the_chunks_add_up_to(served: Served) -> None:
    _, path = await _stream(served)
    await served.json("POST", f"{path}/chunks", _chunk(1, "draft"))
    parts = [{"type": "text", "text": "final"}]
    body = {"parts": parts, "occurred_at": "2026-01-31T12:00:00Z"}
    await served.json("POST", f"{path}/finalize", body)
    read = await served.json("GET", path)
    assert (read["text"], read["parts"]) == ("final", parts)


async def test_what_was_not_streamed_takes_no_chunks(served: Served) -> None:
    context_id = await served.context()
    said = {"role": "user", "text": "x"}
    message_id = (await served.json("POST", f"/api/contexts/{context_id}/messages", said))["message_id"]
    path = f"/api/messages/{message_id}"
    for response in (
        await served.client.post(f"{path}/chunks", json=_chunk(1)),
        await served.client.post(f"{path}/finalize", json={}),
        await served.client.post(f"{path}/stop"),
        await served.client.post(f"{path}/resume", json={}),
    ):
        assert response.status_code == 409
        assert response.json()["code"] in ("stream_not_found", "stream_not_open")


async def test_a_stop_keeps_what_arrived_and_may_be_repeated(served: Served) -> None:
    _, path = await _stream(served)
    await served.json("POST", f"{path}/chunks", [_chunk(1, "half a "), _chunk(2, "sent")])
    message_id = path.rpartition("/")[2]
    stopped = await served.client.post(f"{path}/stop")
    assert (stopped.status_code, stopped.json()) == (200, {"message_id": message_id, "stopped": True})
    assert stopped.headers["turnlog-position"] == "4"
    for _ in range(2):
        assert await served.json("POST", f"{path}/stop") == {"message_id": message_id, "stopped": False}
    read = await served.json("GET", path)
    assert (read["text"], read["complete"], read["outcome"]) == ("half a sent", True, "aborted")
    problem(await served.client.post(f"{path}/chunks", json=_chunk(3)), 409, "stream_finalized")
    assert (await served.json("GET", "/api/log/head"))["position"] == 4


async def test_a_stop_reaches_a_producer_that_is_sending(served: Served) -> None:
    _, path = await _stream(served)
    async with posting(served.address, f"{path}/chunks") as body:
        body.send(_chunk(1, "a"))
        told = body.lines()
        await anext(told)
        await served.json("POST", f"{path}/stop")
        body.send(_chunk(2, "b"))
        last = await anext(told)
        assert (last["type"], last["problem"]["code"]) == ("error", "stream_finalized")
        body.end()
    assert await _text(served, path) == "a"


async def test_who_takes_over_fences_off_whoever_was_before(served: Served) -> None:
    _, path = await _stream(served)
    await served.json("POST", f"{path}/chunks", [_chunk(1, "a"), _chunk(2, "b")])
    resumed = await served.client.post(f"{path}/resume", json={})
    assert (resumed.json()["epoch"], resumed.json()["sequence"]) == (2, 2)
    assert resumed.headers["turnlog-position"] == str(resumed.json()["position"]) == "4"
    assert resumed.headers["etag"] == f'"{resumed.json()["version"]}"'
    fenced = problem(await served.client.post(f"{path}/chunks", json=_chunk(3)), 409, "producer_fenced")
    assert (fenced["current"], fenced["received"]) == (2, 1)
    problem(await served.client.post(f"{path}/finalize", json={}), 409, "producer_fenced")
    await served.json("POST", f"{path}/chunks?epoch=2", _chunk(3, "c"))
    assert (await served.json("POST", f"{path}/resume", {}))["epoch"] == 3
    low = await served.client.post(f"{path}/resume", json={"epoch": 3})
    assert problem(low, 409, "epoch_not_higher")["current"] == 3
    assert (await served.json("POST", f"{path}/resume", {"epoch": 9}))["epoch"] == 9
    told = await served.client.post(
        f"{path}/chunks?epoch=9", content=b'{"sequence":4,"delta":"d"}', headers=NDJSON
    )
    assert lines(told.text)[-1]["sequence"] == 4
    await served.json("POST", f"{path}/finalize?epoch=9", {})
    assert await _text(served, path) == "abcd"
    assert "body.epoch" in invalid(await served.client.post(f"{path}/resume", json={"epoch": 0}))
    assert "query.epoch" in invalid(await served.client.post(f"{path}/chunks?epoch=0", json=_chunk(1)))


async def test_many_streams_of_a_context_go_on_at_once(served: Served) -> None:
    context_id = await served.context()
    ids = [await served.stream(context_id, parent_id=None, branch=f"b{n}") for n in range(8)]
    async with asyncio.TaskGroup() as tasks:
        for one in ids:
            tasks.create_task(_sent(served, one))
    texts = [await _text(served, f"/api/messages/{one}") for one in ids]
    assert texts == ["".join(f"{n}." for n in range(1, 21))] * 8


async def _sent(served: Served, message_id: UUID) -> None:
    for n in range(1, 21):
        await served.json("POST", f"/api/messages/{message_id}/chunks", _chunk(n, f"{n}."))
    await served.finalize(message_id)


def _event(delta: str) -> bytes:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": {"content": delta}, "finish_reason": None}
    return b"data: " + msgspec.json.encode(body | {"choices": [choice]}) + b"\n\n"


LAST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


async def test_a_providers_stream_is_recorded_as_it_arrives(served: Served) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}/ingest?dialect=openai_chat"
    async with posting(served.address, path, "text/event-stream") as body:
        body.raw(_event("high "))
        told = body.lines()
        started = await anext(told)
        message_id = body.headers["turnlog-message-id"]
        assert started == {"type": "started", "message_id": message_id}
        while (await anext(told))["sequence"] < 1:
            pass
        assert await _text(served, f"/api/messages/{message_id}") == "high "
        body.raw(_event("at noon") + LAST)
        body.end()
        done = [line async for line in told][-1]
    assert done == {
        "type": "done",
        "message_id": message_id,
        "sequence": 2,
        "outcome": "completed",
        "finish_reason": "stop",
    }
    read = await served.json("GET", f"/api/messages/{message_id}")
    assert (read["text"], read["outcome"]) == ("high at noon", "completed")


async def test_a_tee_passes_the_providers_own_bytes_through(served: Served) -> None:
    context_id, wanted = await served.context(), uuid4()
    sent = _event("a") + _event("潮") + LAST
    path = f"/api/contexts/{context_id}/ingest?dialect=openai_chat&tee=true&message_id={wanted}&keep_raw=true"
    passed = await served.client.post(path, content=sent)
    assert passed.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert passed.headers["turnlog-message-id"] == str(wanted)
    assert passed.content == sent
    raw = await served.client.get(f"/api/messages/{wanted}/stream?dialect=raw")
    assert raw.content == sent


async def test_an_ingest_of_no_use_is_refused(served: Served) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}/ingest"
    assert list(invalid(await served.client.post(path, content=b""))) == ["query.dialect"]
    unknown = await served.client.post(f"{path}?dialect=morse", content=b"")
    problem(unknown, 422, "unknown_dialect")
    head = (await served.json("GET", "/api/log/head"))["position"]
    for content in (b"data: {x\n\n", b"garbage\n", b"garbage"):
        wrong = await served.client.post(f"{path}?dialect=openai_chat", content=content)
        problem(wrong, 422, "malformed_stream")
    open_streams = (await served.json("GET", f"/api/contexts/{context_id}"))["open_streams"]
    assert (head, open_streams) == (1, {})


async def test_a_stream_that_breaks_off_is_kept_as_interrupted(served: Served) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}/ingest?dialect=openai_chat"
    told = await served.client.post(path, content=_event("half"))
    done = lines(told.text)[-1]
    assert (done["type"], done["sequence"], done["outcome"]) == ("done", 1, "interrupted")
    read = await served.json("GET", f"/api/messages/{told.headers['turnlog-message-id']}")
    assert (read["text"], read["complete"], read["outcome"]) == ("half", True, "interrupted")


async def test_a_client_that_leaves_in_the_middle_loses_nothing_that_was_acknowledged(served: Served) -> None:
    context_id, path = await _stream(served)
    async with posting(served.address, f"{path}/chunks") as body:
        body.send(*(_chunk(n, f"{n} ") for n in range(1, 51)))
        durable = 0
        async for told in body.lines():
            durable = told["sequence"]
            if durable == 50:
                break
    chunks = (await served.json("GET", f"{path}/chunks"))["chunks"]
    assert len(chunks) == durable == 50
    assert (await served.json("GET", f"/api/contexts/{context_id}"))["open_streams"] == {
        path.rpartition("/")[2]: 50
    }
