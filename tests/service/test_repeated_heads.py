"""Requests whose head came before on their connection: they are not parsed, and nobody can tell."""

from __future__ import annotations

import random
from itertools import accumulate
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import anyio
import msgspec
import pytest
from raw import Raw, RawAnswer, connection, request
from serving import Served, new_key, serving
from structlog.testing import capture_logs

from eventstore.events import CustomRecorded
from eventstore.units import wall_clock_us
from turnlog.service.direct import DirectProtocol
from turnlog.service.key_file import revoke_key

PATH: Final = "/api/commits"
CREATED: Final[dict[str, Any]] = {"type": "context.created"}


def commit(context_id: UUID, *texts: str, **headers: str) -> bytes:
    """A request's bytes: records of a context, or its creation."""
    events = [{"type": "custom.recorded", "name": "x", "data": text} for text in texts] or [CREATED]
    return request("POST", PATH, msgspec.json.encode({"context_id": context_id, "events": events}), **headers)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The target of each request whose head was parsed."""
    targets: list[bytes] = []
    complete = DirectProtocol.on_headers_complete

    def noted(self: Any) -> None:
        targets.append(self.url)
        complete(self)

    monkeypatch.setattr(DirectProtocol, "on_headers_complete", noted)
    return targets


async def known(raw: Raw, **headers: str) -> None:
    """Make a head known, and write nothing."""
    await raw.send(commit(uuid4(), "of no context", **headers))
    assert (await raw.answer()).problem["code"] == "context_not_found"


async def read(served: Served) -> None:
    """A request on a connection of its own: when it is answered, the service has read what came before."""
    async with connection(served) as raw:
        await raw.send(request("GET", "/healthz"))
        assert (await raw.answer()).status == 200


def placed(answer: RawAnswer) -> tuple[int, int]:
    """The status, and the position that was written."""
    return answer.status, int(answer.headers["turnlog-position"])


async def test_a_head_that_comes_again_is_not_parsed_again(served: Served, parsed: list[bytes]) -> None:
    context_id = uuid4()
    async with connection(served) as raw:
        for position, texts in enumerate(([], ["a"], ["b" * 900], ["c", "d"]), 1):
            await raw.send(commit(context_id, *texts))
            assert placed(await raw.answer()) == (201, position)
    assert parsed == [PATH.encode()]
    *_, last = served.service.log.store.read_context(context_id)
    assert last.records == (CustomRecorded("x", "c"), CustomRecorded("x", "d"))


async def test_nor_where_clients_send_head_and_body_by_themselves(
    served: Served, parsed: list[bytes]
) -> None:
    context_id = uuid4()
    async with connection(served) as raw:
        for position, texts in enumerate(([], ["a"], ["b" * 900]), 1):
            head, end, body = commit(context_id, *texts).partition(b"\r\n\r\n")
            await raw.send(head + end)
            await read(served)
            await raw.send(body[:7])
            await read(served)
            await raw.send(body[7:])
            assert placed(await raw.answer()) == (201, position)
    assert parsed.count(PATH.encode()) == 1


@pytest.mark.parametrize("seed", range(8))
async def test_requests_are_answered_as_if_each_were_parsed(
    served: Served, parsed: list[bytes], seed: int
) -> None:
    some = random.Random(seed)
    context_id, key = uuid4(), uuid4().hex
    kinds = {
        "plain": (commit(context_id, "x" * some.randrange(300)), 201),
        "keyed": (commit(context_id, "y", idempotency_key=key), 201),
        "unread": (request("POST", PATH, b'{"context_id": 1}'), 400),
        "conflict": (commit(context_id, "z", if_match='"99"'), 412),
        "get": (request("GET", "/api/log/head"), 200),
        "empty": (request("POST", PATH, b""), 400),
    }
    names = some.choices([*kinds], [5, 1, 1, 1, 1, 1], k=40)
    asked = [(commit(context_id), 201), *(kinds[name] for name in names)]
    ends = list(accumulate(len(sent) for sent, _ in asked))
    whole = b"".join(sent for sent, _ in asked)
    statuses: list[int] = []
    async with connection(served) as raw:
        at = 0
        while at < len(whole):
            goal = some.choice([at + some.choice([5, 60, 160, 400]), next(end for end in ends if end > at)])
            await raw.send(whole[at:goal])
            at = goal
            match some.choice(["go on", "is read", "is answered", "is answered"]):
                case "is read":
                    await read(served)
                case "is answered":
                    come = sum(end <= at for end in ends)
                    statuses += [(await raw.answer()).status for _ in range(len(statuses), come)]
                case _:
                    pass
        statuses += [(await raw.answer()).status for _ in range(len(statuses), len(asked))]
    assert statuses == [status for _, status in asked]
    commits = sum(sent.startswith(b"POST") for sent, _ in asked)
    assert parsed.count(PATH.encode()) < commits, "some heads were known"
    keyed = sum(sent == kinds["keyed"][0] for sent, _ in asked)
    written = statuses.count(201) - max(0, keyed - 1)
    assert served.service.log.store.head().position == written


async def test_a_head_with_another_header_is_read_anew(served: Served, parsed: list[bytes]) -> None:
    context_id = uuid4()
    async with connection(served) as raw:
        await raw.send(commit(context_id))
        assert placed(await raw.answer()) == (201, 1)
        for expected, status in (("1", 201), ("1", 412), ("2", 201)):
            await raw.send(commit(context_id, "a", if_match=f'"{expected}"'))
            assert (await raw.answer()).status == status
    assert len(parsed) == 3, "the second of the same version is known"


async def test_what_cannot_be_read_is_refused_in_the_words_of_the_route(served: Served) -> None:
    wrong = request("POST", PATH, b'{"context_id": "nothing", "events": []}')
    told: list[dict[str, Any]] = []
    for again in (False, True):
        async with connection(served) as raw:
            if again:
                await known(raw)
            await raw.send(wrong)
            told.append((await raw.answer()).problem)
            await raw.send(commit(uuid4()))
            assert (await raw.answer()).status == 201
    assert told[0] == told[1]


async def test_a_known_head_lets_no_longer_body_in(data_dir: Path) -> None:
    async with serving(data_dir, limits__body_bytes_max=1_024) as served, connection(served) as raw:
        await known(raw)
        await raw.send(commit(uuid4(), "a" * 2_000))
        assert (await raw.answer()).problem["code"] == "body_too_large"


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n "])
async def test_a_line_that_ends_otherwise_is_no_http(served: Served, end: bytes) -> None:
    """What is known by its bytes has the end that the parser found."""
    odd = commit(uuid4()).replace(b"host: localhost\r\n", b"host: localhost" + end)
    async with connection(served) as raw:
        await raw.send(odd)
        assert (await raw.answer()).problem["code"] == "invalid_request"


async def test_the_next_waits_for_the_answer_before(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    appending, released = served.service.app.appending, anyio.Event()
    answer, first, second = appending.answer, uuid4(), uuid4()

    async def held(admitted: Any, asked: Any) -> Any:
        if asked.context_id == first:
            await released.wait()
        return await answer(admitted, asked)

    async with connection(served) as raw:
        await known(raw)
        monkeypatch.setattr(appending, "answer", held)
        for context_id in (first, second):
            await raw.send(commit(context_id))
            await read(served)
        released.set()
        for context_id in (first, second):
            assert msgspec.json.decode((await raw.answer()).body)["context_id"] == str(context_id)


@pytest.mark.parametrize("come", ["the head", "some of the body"])
async def test_a_key_that_ends_in_between_opens_nothing(data_dir: Path, come: str) -> None:
    key, text = new_key(data_dir, "writer")
    async with serving(data_dir) as served, connection(served) as raw:
        await known(raw, x_api_key=text)
        whole = commit(uuid4(), x_api_key=text)
        at = whole.index(b"{") if come == "the head" else -10
        await raw.send(whole[:at])
        await read(served)
        revoke_key(data_dir, key.id, now=wall_clock_us())
        served.service.keyring.refresh()
        await raw.send(whole[at:])
        assert (await raw.answer()).problem["code"] == "key_revoked"
        await raw.send(whole)
        assert (await raw.answer()).problem["code"] == "key_revoked"
        assert served.service.log.store.acknowledged == 0


async def test_a_body_that_does_not_go_on_is_refused_and_logged_so(data_dir: Path) -> None:
    with capture_logs() as lines:
        async with serving(data_dir, limits__idle_seconds_max=1) as served, connection(served) as raw:
            await known(raw)
            await raw.send(commit(uuid4())[:-10])
            await raw.refused(408, "invalid_request")
    assert [line["status"] for line in lines if line.get("route") == PATH] == [404, 408]


async def test_who_goes_in_the_middle_of_a_body_is_logged(served: Served) -> None:
    with capture_logs() as lines:
        async with connection(served) as raw:
            await known(raw)
            await raw.send(commit(uuid4())[:-10])
            await read(served)
        while not (told := [line["status"] for line in lines if line.get("route") == PATH])[1:]:
            await read(served)
    assert told == [404, 400]


async def test_a_body_on_its_way_is_waited_for_at_the_end_of_the_service(served: Served) -> None:
    whole = commit(uuid4())
    async with connection(served) as raw:
        await known(raw)
        await raw.send(whole[:-10])
        await read(served)
        served.server.stop()
        await raw.send(whole[-10:])
        answer = await raw.answer()
        assert (placed(answer), answer.headers["connection"]) == ((201, 1), "close")


async def test_a_connection_keeps_nothing_of_a_body(served: Served) -> None:
    async with connection(served) as raw:
        context_id = uuid4()
        for texts in ([], ["a" * 9_000]):
            await raw.send(commit(context_id, *texts))
            assert (await raw.answer()).status == 201
        connections: list[Any] = [*served.server.server_state.connections]
        kept = [(each.packet, each.cycle.body, each.lacking) for each in connections]
        assert kept == [(b"", b"", 0)]
