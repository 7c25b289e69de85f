"""Reading a stream over HTTP: its chunks and numbers, what comes of it live, and its replay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from event_source import data, heard, listening
from expecting import invalid, problem, told
from httpx_sse import ServerSentEvent
from serving import Served

FIRST_AT = 1_769_860_800_000_000


async def _recorded(served: Served, times_ms: Sequence[float], *, end: bool = True) -> str:
    """The path of a stream whose chunks 1, 2, 3 ... came at these times."""
    message_id = await served.stream(await served.context(), model="m")
    chunks = [
        {"sequence": n, "delta": f"{n} ", "at": FIRST_AT + round(at * 1_000)}
        for n, at in enumerate(times_ms, 1)
    ]
    await served.json("POST", f"/api/messages/{message_id}/chunks", chunks)
    if end:
        await served.finalize(message_id, finish_reason="stop", usage={"n": 1})
    return f"/api/messages/{message_id}"


def _sequences(events: list[ServerSentEvent]) -> list[int]:
    """Of the chunks among the events."""
    return [data(event)["sequence"] for event in events if data(event)["type"] == "stream.chunk_received"]


def _id(path: str) -> UUID:
    return UUID(path.rpartition("/")[2])


async def test_chunks_are_paged_and_has_more_is_true(served: Served) -> None:
    path = await _recorded(served, [0, 1, 2, 3, 4, 5])
    for limit in (1, 2, 3, 5, 6, 7):
        found: list[int] = []
        more, pages = True, 0
        while more:
            after = found[-1] if found else 0
            read = await served.client.get(f"{path}/chunks?after={after}&limit={limit}")
            page = read.json()
            found += [chunk["sequence"] for chunk in page["chunks"]]
            more, pages = page["has_more"], pages + 1
            assert (page["outcome"] is None) == more, "the outcome comes with the last of them"
            assert "turnlog-position" in read.headers
        assert (found, pages) == ([1, 2, 3, 4, 5, 6], -(-6 // limit))
    past = await served.json("GET", f"{path}/chunks?after=99")
    assert past == {"chunks": [], "has_more": False, "outcome": "completed"}
    page = await served.service.log.queries.chunks(_id(path), after=2, limit=2)
    assert await served.json("GET", f"{path}/chunks?after=2&limit=2") == told(page)


async def test_of_an_open_stream_there_is_more_to_come_though_not_yet(served: Served) -> None:
    path = await _recorded(served, [0, 1], end=False)
    for after, count in ((0, 2), (1, 1), (2, 0)):
        page = await served.json("GET", f"{path}/chunks?after={after}")
        assert (len(page["chunks"]), page["has_more"], page["outcome"]) == (count, False, None)
    for query, where in (
        ("after=-1", "after"),
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("raw=x", "raw"),
    ):
        assert list(invalid(await served.client.get(f"{path}/chunks?{query}"))) == [f"query.{where}"]


async def test_a_timeline_tells_a_stream_in_numbers(served: Served) -> None:
    path = await _recorded(served, [0, 100, 250])
    read = await served.json("GET", f"{path}/timeline")
    assert read == told(await served.service.log.queries.timeline(_id(path)))
    assert (read["chunks"], read["characters"], read["duration_us"]) == (3, 6, 250_000)
    assert (read["outcome"], read["finish_reason"], read["usage"]) == ("completed", "stop", {"n": 1})


async def test_what_was_not_streamed_has_no_chunks_to_read(served: Served) -> None:
    context_id = await served.context()
    body = {"role": "user", "text": "x"}
    message_id = (await served.json("POST", f"/api/contexts/{context_id}/messages", body))["message_id"]
    for path in ("chunks", "timeline", "stream", "replay"):
        problem(await served.client.get(f"/api/messages/{message_id}/{path}"), 409, "stream_not_open")


async def test_a_stream_is_read_to_its_explicit_end(served: Served) -> None:
    path = await _recorded(served, [0, 1, 2])
    events = await heard(served.client, f"{path}/stream")
    assert [data(event)["type"] for event in events] == [
        "stream.started",
        *["stream.chunk_received"] * 3,
        "stream.finalized",
    ]
    assert [event.id for event in events] == ["0", "1", "2", "3", "3"]
    end = data(events[-1])
    assert (end["outcome"], end["finish_reason"], end["usage"]) == ("completed", "stop", {"n": 1})
    response = await served.client.get(f"{path}/stream")
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store, no-transform"
    assert response.headers["x-accel-buffering"] == "no"


async def test_a_reader_goes_on_exactly_after_what_it_has(served: Served) -> None:
    path = await _recorded(served, [0, 1, 2, 3])
    for after in range(1, 5):
        by_header = await heard(served.client, f"{path}/stream", str(after))
        by_query = await heard(served.client, f"{path}/stream?after={after}")
        assert _sequences(by_header) == _sequences(by_query) == list(range(after + 1, 5))
        assert data(by_header[0])["type"] != "stream.started"
        assert data(by_header[-1])["type"] == "stream.finalized"
    both = await heard(served.client, f"{path}/stream?after=1", "3")
    assert _sequences(both) == [4], "a browser that comes back sends its first query again"
    assert _sequences(await heard(served.client, f"{path}/stream?after=0")) == [1, 2, 3, 4]
    assert _sequences(await heard(served.client, f"{path}/stream?after=now")) == []
    assert _sequences(await heard(served.client, f"{path}/stream?after=99")) == [], "past the end it ends"
    for wrong in ("-1", "x", "1.0", "9" * 19):
        refused = await served.client.get(f"{path}/stream", params={"after": wrong})
        assert problem(refused, 422, "invalid_argument")["argument"] == "after"


async def test_the_last_id_decides_though_only_what_is_new_was_asked_for(served: Served) -> None:
    path = await _recorded(served, [0, 1, 2])
    for header, left in (("0", [1, 2, 3]), ("2", [3]), ("now", [])):
        for query in ("", "?after=now", "?after=1"):
            events = await heard(served.client, f"{path}/stream{query}", header)
            assert _sequences(events) == left, (header, query)


async def test_what_comes_is_delivered_as_it_comes(served: Served) -> None:
    path = await _recorded(served, [0, 1], end=False)
    async with (
        listening(served.client, f"{path}/stream") as all_of_it,
        listening(served.client, f"{path}/stream?after=now") as new,
        listening(served.client, f"{path}/stream?after=9") as ahead,
    ):
        assert [data(await anext(all_of_it))["type"] for _ in range(3)] == [
            "stream.started",
            *["stream.chunk_received"] * 2,
        ]
        assert data(await anext(new))["type"] == "stream.started"
        await served.chunks(_id(path), "three", after=2)
        for reader in (all_of_it, new):
            event = await anext(reader)
            assert (data(event)["delta"], event.id) == ("three", "3")
        await served.chunks(_id(path), *(f"{n}" for n in range(4, 11)), after=3)
        assert data(await anext(ahead))["sequence"] == 10, "past the head it waits"
        await served.json("POST", f"{path}/stop")
        for reader in (all_of_it, new, ahead):
            rest = [data(event) async for event in reader]
            assert (rest[-1]["type"], rest[-1]["outcome"]) == ("stream.finalized", "aborted")


async def test_a_reader_that_leaves_stops_nothing(served: Served) -> None:
    path = await _recorded(served, [0], end=False)
    for _ in range(3):
        async with listening(served.client, f"{path}/stream") as events:
            await anext(events)
    await served.chunks(_id(path), "two", after=1)
    read = await served.json("GET", path)
    assert (read["text"], read["complete"]) == ("1 two", False)


async def test_a_snapshot_is_what_is_there_in_one_event_and_then_what_comes(served: Served) -> None:
    path = await _recorded(served, [0, 1, 2], end=False)
    await served.json("POST", f"{path}/chunks", {"sequence": 4, "delta": "hm", "kind": "reasoning"})
    async with listening(served.client, f"{path}/stream?mode=snapshot") as events:
        assert data(await anext(events))["type"] == "stream.started"
        event = await anext(events)
        snapshot = data(event)
        assert (snapshot["type"], snapshot["replay"], snapshot["sequence"]) == ("stream.snapshot", True, 4)
        assert event.id == "4"
        assert snapshot["pieces"] == [
            {"kind": "text", "part": None, "delta": "1 2 3 "},
            {"kind": "reasoning", "part": None, "delta": "hm"},
        ]
        await served.chunks(_id(path), "five", after=4)
        event = await anext(events)
        assert (data(event)["sequence"], data(event)["delta"]) == (5, "five")
    resumed = f"{path}/stream?mode=snapshot&after=2"
    async with listening(served.client, resumed) as events:
        pieces = data(await anext(events))["pieces"]
        assert [piece["delta"] for piece in pieces] == ["3 five", "hm"]
    assert list(invalid(await served.client.get(f"{path}/stream?mode=all"))) == ["query.mode"]


async def test_both_modes_fold_to_the_same(served: Served) -> None:
    path = await _recorded(served, [0, 1, 2, 3])
    text = (await served.json("GET", path))["text"]
    plain = await heard(served.client, f"{path}/stream")
    assert "".join(data(event).get("delta", "") for event in plain) == text
    snapshot = await heard(served.client, f"{path}/stream?mode=snapshot")
    pieces = [piece for event in snapshot for piece in data(event).get("pieces", ())]
    assert "".join(piece["delta"] for piece in pieces) == text


@pytest.mark.parametrize("dialect", ["turnlog", "openai_chat", "anthropic", "ai_sdk", "text"])
async def test_every_dialect_tells_it_all_and_resumes_anywhere(served: Served, dialect: str) -> None:
    path = await _recorded(served, [0, 1, 2, 3, 4])
    for route in ("stream", "replay"):
        url = f"{path}/{route}?dialect={dialect}" + ("&speed=0" if route == "replay" else "")
        whole = await heard(served.client, url)
        assert [f"{n} " in "".join(event.data for event in whole) for n in range(1, 6)] == [True] * 5
        for after in (1, 3):
            rest = await heard(served.client, url, str(after))
            end = len(whole) - (route == "replay")  # whose last event tells totals of what it delivered
            tail = [event.data for event in whole[len(whole) - len(rest) : end]]
            assert [event.data for event in rest][: len(tail)] == tail
            assert f"{after} " not in "".join(event.data for event in rest if "delta" in event.data)


async def test_dialects_of_no_use_are_refused_before_anything_is_sent(served: Served) -> None:
    path = await _recorded(served, [0])
    for route in ("stream", "replay"):
        problem(await served.client.get(f"{path}/{route}?dialect=morse"), 422, "unknown_dialect")
        problem(await served.client.get(f"{path}/{route}?dialect=raw"), 409, "raw_not_kept")
    assert (await served.json("GET", "/api/stats"))["connections"] == 0


async def test_a_withdrawn_stream_is_gone(served: Served) -> None:
    path = await _recorded(served, [0, 1])
    await served.json("POST", f"{path}/redact", {})
    for route in ("chunks", "stream", "replay"):
        problem(await served.client.get(f"{path}/{route}"), 410, "message_redacted")


async def test_a_withdrawal_reaches_whoever_reads(served: Served) -> None:
    path = await _recorded(served, [0], end=False)
    async with listening(served.client, f"{path}/stream") as events:
        assert [data(await anext(events))["type"] for _ in range(2)][1] == "stream.chunk_received"
        await served.json("POST", f"{path}/redact", {})
        event = await anext(events)
        assert (event.event, data(event)["problem"]["code"]) == ("error", "message_redacted")


async def test_a_replay_at_once_is_all_of_it_in_order_with_totals(served: Served) -> None:
    path = await _recorded(served, [0, 5_000, 3_600_000])
    events = await heard(served.client, f"{path}/replay?speed=0")
    assert _sequences(events) == [1, 2, 3]
    end = data(events[-1])
    assert (end["type"], end["outcome"]) == ("stream.finalized", "completed")
    assert end["totals"] == {"chunks": 3, "characters": 6, "text_bytes": 6, "recorded_us": 3_600_000_000}


@pytest.mark.parametrize(
    ("query", "expected", "recorded_ms"),
    [
        ("from=2", [2, 3, 4, 5], 300),
        ("to=2", [1, 2], 100),
        ("from=2&to=4", [2, 3, 4], 200),
        ("from_ms=100&to_ms=300", [2, 3, 4], 200),
        ("from_ms=100.5", [3, 4, 5], 200),
        ("to_ms=99.9", [1], 0),
        ("from=4&to=2", [], 0),
        ("from=99", [], 0),
        ("from=2&to_ms=200", [2, 3], 100),
    ],
)
async def test_a_part_of_a_replay_is_chosen_by_sequence_or_time(
    served: Served, query: str, expected: list[int], recorded_ms: int
) -> None:
    path = await _recorded(served, [0, 100, 200, 300, 400])
    events = await heard(served.client, f"{path}/replay?speed=0&{query}")
    assert _sequences(events) == expected
    totals = data(events[-1])["totals"]
    assert (totals["chunks"], totals["recorded_us"]) == (len(expected), recorded_ms * 1_000)


async def _arrivals(served: Served, path: str) -> list[float]:
    """When the chunks of a replay came, in seconds after the first."""
    async with listening(served.client, path) as events:
        found = [
            time.perf_counter() async for event in events if data(event)["type"] == "stream.chunk_received"
        ]
    return [at - found[0] for at in found]


@pytest.mark.alone
async def test_a_replay_keeps_the_recorded_intervals_divided_by_its_speed(served: Served) -> None:
    times = [0, 30, 90, 100, 250, 400]
    path = await _recorded(served, times)
    for speed in (0.5, 1, 2):
        arrivals = await _arrivals(served, f"{path}/replay?speed={speed}")
        for at, arrived in zip(times, arrivals, strict=True):
            due = at / speed / 1_000
            # Early only by what the first one took longer on its way, late only if the machine is busy.
            assert due - 0.02 < arrived < due + 0.5, (speed, at)


@pytest.mark.alone
async def test_long_pauses_are_cut(served: Served) -> None:
    path = await _recorded(served, [0, 3_600_000, 3_600_010, 90_000_000])
    arrivals = await _arrivals(served, f"{path}/replay?max_gap_ms=50")
    assert 0.03 < arrivals[1] < 1
    assert 0.09 < arrivals[3] < 2
    fast = await _arrivals(served, f"{path}/replay?max_gap_ms=0")
    assert fast[-1] < 1


async def test_a_replay_writes_nothing_and_of_an_open_stream_ends_with_what_there_is(served: Served) -> None:
    path = await _recorded(served, [0, 1], end=False)
    before = await served.json("GET", "/api/log/head")
    events = await heard(served.client, f"{path}/replay?speed=0")
    assert _sequences(events) == [1, 2]
    assert (data(events[-1])["type"], data(events[-1])["totals"]["chunks"]) == ("stream.caught_up", 2)
    assert await served.json("GET", "/api/log/head") == before


@pytest.mark.parametrize("query", ["speed=-1", "from=0", "to=0", "from_ms=-1", "to_ms=x", "max_gap_ms=-1"])
async def test_a_pace_of_no_use_is_refused(served: Served, query: str) -> None:
    path = await _recorded(served, [0])
    refused = await served.client.get(f"{path}/replay?{query}")
    assert list(invalid(refused)) == [f"query.{query.partition('=')[0]}"]


@pytest.mark.parametrize("query", ["speed=nan", "speed=inf", "from_ms=nan", "max_gap_ms=inf"])
async def test_a_pace_that_is_no_number_is_refused(served: Served, query: str) -> None:
    path = await _recorded(served, [0])
    refused = await served.client.get(f"{path}/replay?{query}")
    assert refused.status_code in (400, 422)
    assert refused.json()["code"] in ("invalid_argument", "invalid_request")


async def test_many_readers_of_one_stream_all_hear_it_all(served: Served) -> None:
    path = await _recorded(served, [0], end=False)

    async def read() -> list[int]:
        return _sequences(await heard(served.client, f"{path}/stream"))

    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(read()) for _ in range(20)]
        for n in range(2, 30):
            await served.chunks(_id(path), f"{n}", after=n - 1)
        await served.finalize(_id(path))
    assert {tuple(reader.result()) for reader in readers} == {tuple(range(1, 30))}


async def test_every_delta_survives_its_framing(served: Served) -> None:
    deltas = ["\n", "\r\n", "data: x\n\n", "\u2028", "🌊", "e\u0301", '"\\', "\u0000", ""]
    message_id = await served.stream(await served.context())
    await served.chunks(message_id, *deltas)
    await served.finalize(message_id)
    events = await heard(served.client, f"/api/messages/{message_id}/stream")
    chunks: list[Any] = [data(event) for event in events[1:-1]]
    assert [chunk["delta"] for chunk in chunks] == deltas
