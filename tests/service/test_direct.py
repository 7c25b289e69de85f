"""The short way of commits, by hand: requests in pieces, on each other's heels, left early, ended early."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import pytest
from raw import Raw, RawAnswer, connection, request
from serving import SECONDS, Served
from structlog.testing import capture_logs

from turnlog.service.direct import DirectProtocol

PATH: Final = "/api/commits"
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
            await asyncio.sleep(0)  # the service reads what there is
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


async def test_a_body_that_never_comes_is_logged_as_not_answered(served: Served) -> None:
    with capture_logs() as lines:
        async with connection(served) as raw:
            await raw.send(commit(uuid4())[:-10])
            await raw_ping(served)
        async with asyncio.timeout(SECONDS):
            while not [line for line in lines if line.get("route") == PATH]:
                await raw_ping(served)
    (line,) = (line for line in lines if line.get("route") == PATH)
    assert (line["status"], line["sent_bytes"]) == (0, 0)
    assert (await served.json("GET", "/api/log/head"))["position"] == 0


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
