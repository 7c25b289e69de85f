"""The short way of commits, by hand: requests in pieces, on each other's heels, left early, ended early."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID, uuid4

import msgspec
import pytest
from raw import Raw, RawAnswer, connection, request
from serving import SECONDS, Served, new_key, serving
from structlog.testing import capture_logs

from eventstore.events import StateChanged
from eventstore.units import wall_clock_us
from turnlog.service.direct import Direct, DirectProtocol
from turnlog.service.key_file import revoke_key

PATH: Final = "/api/commits"
TYPES: Final = {False: "application/json", True: "application/msgpack"}
CREATED: Final[dict[str, Any]] = {"type": "context.created"}


def commit(context_id: UUID, *events: dict[str, Any], **headers: str) -> bytes:
    """A request's bytes."""
    body = {"context_id": str(context_id), "events": list(events) or [CREATED]}
    return request("POST", PATH, msgspec.json.encode(body), **headers)


def state(text: str) -> dict[str, Any]:
    """An event."""
    return {"type": "context.state_changed", "state": text}


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way each request that came to a decision went: short ones are answered by the connection."""
    taken: list[str] = []
    answer, hand_on = DirectProtocol._answer, DirectProtocol._hand_on  # pyright: ignore[reportPrivateUsage] -- only they know

    def short(self: Any, *given: Any) -> Any:
        taken.append("short")
        return answer(self, *given)

    def long(self: Any, *given: Any) -> None:
        taken.append("long")
        hand_on(self, *given)

    monkeypatch.setattr(DirectProtocol, "_answer", short)
    monkeypatch.setattr(DirectProtocol, "_hand_on", long)
    return taken


async def test_a_plain_commit_takes_the_short_way(served: Served, ways: list[str]) -> None:
    async with connection(served) as raw:
        context_id = uuid4()
        for n, events in enumerate(([CREATED], [state("a")], [state("b"), state("c")]), 1):
            await raw.send(commit(context_id, *events))
            assert placed(await raw.answer()) == (201, n)
    assert ways == ["short"] * 3


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_a_request_may_come_in_pieces(served: Served, ways: list[str], size: int) -> None:
    async with connection(served) as raw:
        whole = commit(uuid4(), CREATED, state("潮汐"))
        for start in range(0, len(whole), size):
            await raw.send(whole[start : start + size])
            if start // size % 40 == 1:
                await raw_ping(served)  # so the service has read what there is
        assert placed(await raw.answer()) == (201, 1)
    assert ways == ["short"]


async def test_a_large_body_and_one_that_cannot_be_read_take_the_long_way(
    served: Served, ways: list[str]
) -> None:
    async with connection(served) as raw:
        await raw.send(
            commit(uuid4(), CREATED, {"type": "custom.recorded", "name": "x", "data": "a" * 70_000})
        )
        assert placed(await raw.answer()) == (201, 1)
        await raw.send(commit(uuid4(), {"type": "nothing"}))
        assert (await raw.answer()).problem["code"] == "invalid_request"
        await raw.send(commit(uuid4()))
        assert placed(await raw.answer()) == (201, 2)
    assert ways == ["short", "long", "short"]


EVENTS: Final = 4_000


def long_commit(context_id: UUID, *last: dict[str, Any], packed: bool, kind: str | None = None) -> bytes:
    """More than is decoded at once."""
    events = [CREATED, *(state(f"{n:0>100}") for n in range(EVENTS)), *last]
    body: dict[str, Any] = {"context_id": str(context_id), "events": events, "metadata": {"by": "a test"}}
    encoded = msgspec.msgpack.encode(body) if packed else msgspec.json.encode(body)
    return request("POST", PATH, encoded, **{"content-type": kind or TYPES[packed]})


@pytest.mark.parametrize("packed", [False, True])
async def test_a_long_commit_is_read_in_pieces(served: Served, ways: list[str], packed: bool) -> None:
    context_id = uuid4()
    async with connection(served) as raw:
        await raw.send(long_commit(context_id, packed=packed))
        assert placed(await raw.answer()) == (201, 1)
    (commit,) = served.service.log.store.read_context(context_id)
    assert commit.records[1:] == tuple(StateChanged(f"{n:0>100}") for n in range(EVENTS))
    assert commit.metadata == {"by": "a test"}
    assert ways == ["short"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "last",
    [
        {"type": "nothing"},
        {"type": "context.state_changed", "state": 5},
        {"type": "context.state_changed", "state": "a", "more": 1},
        {"type": "custom.recorded", "name": "x", "data": msgspec.json.decode(b"[" * 90 + b"]" * 90)},
        {"type": "branch.switched", "name": "nowhere"},
    ],
)
async def test_a_long_commit_is_refused_in_the_words_of_the_route(
    served: Served, ways: list[str], last: dict[str, Any], packed: bool
) -> None:
    async with connection(served) as raw:
        context_id = uuid4()
        told: list[Any] = []
        for kind in (TYPES[packed], f"{TYPES[packed]}; charset=utf-8"):
            await raw.send(long_commit(context_id, last, packed=packed, kind=kind))
            told.append((await raw.answer()).problem)
    assert told[0] == told[1]
    assert ways == ["short"]


async def test_requests_on_each_others_heels_are_answered_in_their_order(served: Served) -> None:
    context_id, get = uuid4(), request("GET", "/api/log/head")
    async with connection(served) as raw:
        await raw.send(
            commit(context_id) + commit(context_id, state("a")) + get + commit(context_id, state("b")) + get
        )
        assert [placed(await raw.answer()) for _ in range(2)] == [(201, 1), (201, 2)]
        assert msgspec.json.decode((await raw.answer()).body)["position"] == 2
        assert placed(await raw.answer()) == (201, 3)
        assert msgspec.json.decode((await raw.answer()).body)["position"] == 3


async def test_the_connection_ends_when_it_is_asked_to(served: Served, ways: list[str]) -> None:
    async with connection(served) as raw:
        await raw.send(commit(uuid4(), connection="close"))
        answer = await raw.answer()
        assert (placed(answer), answer.headers["connection"]) == ((201, 1), "close")
        assert await raw.rest() == b""
    assert ways == ["short"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (commit(uuid4()).replace(b"HTTP/1.1", b"HTTP/1.0"), b"HTTP/1.1 201 "),
        (commit(uuid4(), expect="100-continue"), b"HTTP/1.1 100 "),
        (commit(uuid4(), origin="http://elsewhere.example"), b"HTTP/1.1 400 "),
        (commit(uuid4()).replace(b"POST", b"PUT"), b"HTTP/1.1 405 "),
        (commit(uuid4()).replace(PATH.encode(), b"/api/commits?x=1"), b"HTTP/1.1 400 "),
    ],
)
async def test_what_is_not_plain_goes_through_the_framework(
    served: Served, ways: list[str], sent: bytes, status: bytes
) -> None:
    async with connection(served) as raw:
        await raw.send(sent)
        assert (await raw.until(b"\r\n\r\n")).startswith(status)
    assert not ways


async def test_a_body_that_does_not_go_on_is_refused_and_logged_so(data_dir: Path) -> None:
    with capture_logs() as lines:
        async with serving(data_dir, limits__idle_seconds_max=1) as served, connection(served) as raw:
            await raw.send(commit(uuid4())[:-10])
            await raw.refused(408, "invalid_request")
            assert (await served.json("GET", "/api/log/head"))["position"] == 0
    assert [line["status"] for line in lines if line.get("route") == PATH] == [408]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
async def test_a_body_that_never_comes_is_told_why_at_the_end_of_the_service(
    data_dir: Path, path: str
) -> None:
    with capture_logs() as lines:
        async with serving(data_dir, shutdown_grace_seconds=0.1) as served, connection(served) as raw:
            await raw.send(commit(uuid4())[:-10].replace(PATH.encode(), path.encode()))
            await raw_ping(served)
            served.server.stop()
            await raw.refused(503, "shutting_down")
    assert len([line for line in lines if line.get("route") == PATH]) == 1


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
async def test_a_key_that_ends_before_the_body_does_writes_nothing(data_dir: Path, path: str) -> None:
    key, text = new_key(data_dir, "writer")
    async with serving(data_dir) as served, connection(served) as raw:
        whole = commit(uuid4(), x_api_key=text).replace(PATH.encode(), path.encode())
        await raw.send(whole[:-10])
        await raw_ping(served)
        revoke_key(data_dir, key.id, now=wall_clock_us())
        served.service.keyring.refresh()
        await raw.send(whole[-10:])
        answer = await raw.answer()
        assert (answer.status, answer.problem["code"]) == (401, "key_revoked")
        assert served.service.log.store.acknowledged == 0


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
async def test_what_comes_at_once_is_bounded_too(data_dir: Path, path: str) -> None:
    async with serving(data_dir, limits__inbox_requests_max=2) as served, AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(connection(served)) for _ in range(20)]
        for raw in raws:
            await ping(raw)
        for raw in raws:  # all of them before the service looks
            await raw.send(commit(uuid4()).replace(PATH.encode(), path.encode()))
        answers = [await raw.answer() for raw in raws]
    refused = [answer for answer in answers if answer.status == 503]
    assert len(refused) == 18
    assert {(a.problem["code"], a.headers["retry-after"]) for a in refused} == {("overloaded", "1")}


async def test_a_connection_keeps_nothing_of_a_body(served: Served) -> None:
    async with connection(served) as raw:
        await raw.send(
            commit(uuid4(), CREATED, {"type": "custom.recorded", "name": "x", "data": "a" * 9_000})
        )
        assert placed(await raw.answer()) == (201, 1)
        cycles: list[Any] = [cast("Any", each).cycle for each in served.server.server_state.connections]
        assert [len(cycle.body) for cycle in cycles if isinstance(cycle, Direct)] == [0]


async def test_a_defect_closes_the_connection(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(served.service.app.appending, "answer", broken)
    with capture_logs() as lines:
        async with connection(served) as raw:
            await raw.send(commit(uuid4()))
            assert await raw.rest() == b""
    assert [line["event"] for line in lines] == ["request_failed", "request"]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
async def test_trailers_are_no_headers(served: Served, path: str) -> None:
    head, _, body = commit(uuid4()).replace(PATH.encode(), path.encode()).partition(b"\r\n\r\n")
    head = head.replace(b"content-length: %d" % len(body), b"transfer-encoding: chunked")
    trailers = b'if-match: "77"\r\norigin: http://elsewhere.example\r\nexpect: 100-continue\r\n'
    async with connection(served) as raw:
        await raw.send(b"%b\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n" % (head, len(body), body, trailers))
        assert placed(await raw.answer()) == (201, 1)


async def test_a_body_on_its_way_is_waited_for_at_the_end_of_the_service(served: Served) -> None:
    whole = commit(uuid4())
    async with connection(served) as raw:
        await raw.send(whole[:-10])
        await raw_ping(served)
        served.server.stop()
        await raw.send(whole[-10:])
        answer = await raw.answer()
        assert (placed(answer), answer.headers["connection"]) == ((201, 1), "close")


async def test_who_goes_before_the_answer_has_written_all_the_same(served: Served) -> None:
    context_id = uuid4()
    async with connection(served) as raw:
        await raw.send(commit(context_id))
    async with asyncio.timeout(SECONDS):
        while (await served.json("GET", "/api/log/head"))["position"] == 0:
            pass


def placed(answer: RawAnswer) -> tuple[int, int]:
    """The status, and the position that was written."""
    return answer.status, int(answer.headers["turnlog-position"])


async def raw_ping(served: Served) -> None:
    """A request and its answer on a connection of its own: by then the service has read what came before."""
    async with connection(served) as raw:
        await ping(raw)


async def ping(raw: Raw) -> None:
    """The same, on this one."""
    await raw.send(request("GET", "/healthz"))
    assert (await raw.answer()).status == 200
