"""Limits of who reads and who waits: open streams, tickets, the inbox, readers that take nothing."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
from every_route import PROVIDERS
from expecting import problem
from faulty import Faults
from raw import connection, request
from serving import SECONDS, Served, new_key, serving
from structlog.testing import capture_logs

from turnlog.service.settings import Limits

LIVE: Final = "/api/events?live=true&format=sse"
WAIT: Final = 7
"""Seconds that a client is told to wait."""


def key(directory: Path) -> dict[str, str]:
    return {"authorization": f"Bearer {new_key(directory)[1]}"}


async def test_so_many_streams_are_open_at_once(data_dir: Path) -> None:
    settings: dict[str, Any] = {"limits__subscribers_max": 1, "limits__retry_after_seconds": WAIT}
    one, other = key(data_dir), key(data_dir)
    async with serving(data_dir, **settings) as served:
        async with served.client.stream("GET", LIVE, headers=one) as response:
            assert response.status_code == 200
            problem(await served.client.get(LIVE, headers=other), 429, "too_many_connections")
            assert (await served.client.get("/api/events", headers=other)).status_code == 200
        await opens(served, other)


async def test_so_many_streams_of_one_key_are_open_and_another_gets_in(data_dir: Path) -> None:
    settings: dict[str, Any] = {"limits__streams_per_key_max": 1, "limits__retry_after_seconds": WAIT}
    one, other = key(data_dir), key(data_dir)
    async with serving(data_dir, **settings) as served:
        async with served.client.stream("GET", LIVE, headers=one) as response:
            assert response.status_code == 200
            problem(await served.client.get(LIVE, headers=one), 429, "too_many_connections")
            async with served.client.stream("GET", LIVE, headers=other) as second:
                assert second.status_code == 200
        await opens(served, one)


async def opens(served: Served, headers: dict[str, str]) -> None:
    """Wait until a stream can be opened: the one before is closed."""
    async with asyncio.timeout(SECONDS):
        while True:
            async with served.client.stream("GET", LIVE, headers=headers) as response:
                if response.status_code == 200:
                    return


async def test_so_many_tickets_of_a_key_wait_to_be_used(data_dir: Path) -> None:
    settings: dict[str, Any] = {"limits__tickets_per_key_max": 1, "limits__retry_after_seconds": WAIT}
    one, other = key(data_dir), key(data_dir)
    wanted = {"path": "/api/events"}
    async with serving(data_dir, **settings) as served:
        ticket = (await served.client.post("/api/tickets", json=wanted, headers=one)).json()["ticket"]
        problem(await served.client.post("/api/tickets", json=wanted, headers=one), 429, "too_many_tickets")
        assert (await served.client.post("/api/tickets", json=wanted, headers=other)).status_code == 201
        assert (await served.client.get(f"/api/events?ticket={ticket}")).status_code == 200
        assert (await served.client.post("/api/tickets", json=wanted, headers=one)).status_code == 201


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Commits that can be held back."""
    planned = Faults()
    monkeypatch.setattr("eventstore.shared.open_environment", planned.open_environment)
    return planned


@pytest.mark.parametrize("limit", [{"limits__inbox_requests_max": 2}, {"limits__inbox_bytes_max": 1_024}])
async def test_what_would_wait_for_too_long_is_refused_and_not_written(
    limit: dict[str, Any], data_dir: Path, faults: Faults
) -> None:
    async with serving(data_dir, limits__retry_after_seconds=WAIT, **limit) as served:
        context_id = await served.context()
        commit = {
            "context_id": str(context_id),
            "events": [{"type": "custom.recorded", "name": "n", "data": "x" * 600}],
        }
        with faults.held() as held:
            writing = [asyncio.create_task(served.client.post("/api/commits", json=commit)) for _ in range(2)]
            assert await asyncio.to_thread(held.wait, SECONDS)
            store = served.service.log.store
            while store.waiting()[0] < 2:
                assert (await served.client.get("/healthz")).status_code == 200
            problem(await served.client.post("/api/commits", json=commit), 503, "overloaded")
            path = f"/api/contexts/{context_id}/messages"
            answer = await served.client.post(path, json={"role": "user", "text": "x"})
            problem(answer, 503, "overloaded")
            assert (await served.client.get("/api/events")).status_code == 200
        assert [(await each).status_code for each in writing] == [201, 201]
        assert (await served.client.post("/api/commits", json=commit)).status_code == 201
        assert store.version_of(context_id) == 4


async def test_a_reader_that_takes_nothing_is_cut_off_and_comes_back(data_dir: Path) -> None:
    settings: dict[str, Any] = {"limits__reader_stalled_seconds_max": 0.1}
    with capture_logs() as lines:
        async with serving(data_dir, **settings) as served:
            message_id = await served.stream(await served.context())
            path = f"/api/messages/{message_id}/stream"
            async with connection(served, receive_bytes=4_096) as stalled:
                await stalled.send(request("GET", path))
                await stalled.until(b"\r\n\r\n")
                written = await write_until_cut_off(served, message_id, lines)
                came = (await stalled.rest()).decode()
            cut = next(line for line in lines if line["event"] == "slow_reader_cut_off")
            assert 0 < cut["at"] <= written
            last = int(re.findall(r"^id: (\d+)$", came, re.MULTILINE)[-1])
            assert last <= cut["at"]
            await served.finalize(message_id)
            again = await served.client.get(path, headers={"last-event-id": str(last)})
            ids = [int(found) for found in re.findall(r"^id: (\d+)$", again.text, re.MULTILINE)]
            assert ids[0] == last + 1
            assert sorted(set(ids)) == list(range(last + 1, written + 1))
            assert len(served.service.streams.connections) == 0


async def write_until_cut_off(served: Served, message_id: UUID, lines: Any) -> int:
    """Chunks, each acknowledged, while somebody reads none of them; the last one's number."""
    written = 0
    async with asyncio.timeout(SECONDS):
        while not any(line["event"] == "slow_reader_cut_off" for line in lines):
            await served.chunks(message_id, *["x" * 10_000] * 20, after=written)
            written += 20
    return written


async def test_a_stalled_reader_slows_nobody(data_dir: Path) -> None:
    async with serving(data_dir, limits__reader_stalled_seconds_max=3_600) as served:
        message_id = await served.stream(await served.context())
        path = f"/api/messages/{message_id}/stream"
        async with connection(served, receive_bytes=4_096) as stalled, connection(served) as other:
            for reader in (stalled, other):
                await reader.send(request("GET", path))
                await reader.until(b"\r\n\r\n")
            for n in range(0, 600, 20):
                await served.chunks(message_id, *["x" * 10_000] * 20, after=n)
            await other.until(b"id: 600\n")
            assert served.service.streams.connections.statistics()["open"] == 2
            await served.finalize(message_id)
            await stalled.until(b"id: 600\n")  # it begins to read after all


async def test_an_answer_that_nobody_takes_ends_too(data_dir: Path) -> None:
    with capture_logs() as lines:
        async with serving(data_dir, limits__reader_stalled_seconds_max=0.1) as served:
            context_id = await served.context()
            for n in range(8):
                events = [{"type": "custom.recorded", "name": str(n), "data": "x" * 1_000_000}]
                await served.json("POST", "/api/commits", {"context_id": str(context_id), "events": events})
            async with connection(served, receive_bytes=4_096) as stalled:
                await stalled.send(request("GET", f"/api/contexts/{context_id}/events?format=ndjson"))
                await stalled.until(b"\r\n\r\n")
                async with asyncio.timeout(SECONDS):
                    while not any(line["event"] == "slow_reader_cut_off" for line in lines):
                        await served.client.get("/healthz")
            assert msgspec.json.encode(lines).count(b"x" * 100) == 0


async def test_who_takes_what_there_is_has_not_stalled(data_dir: Path) -> None:
    """Not even when as much waits whenever somebody looks: each time it is another answer."""
    async with (
        serving(data_dir, limits__reader_stalled_seconds_max=0.5) as served,
        connection(served) as raw,
    ):
        await raw.send(request("GET", "/healthz"))
        await raw.answer()
        protocol: Any = next(iter(served.server.server_state.connections))
        now = asyncio.get_running_loop().time()
        for number in range(5):
            protocol.transport.write(b"x" * 100)
            protocol.check(now + number)
            assert not protocol.transport.is_closing()
            await raw.until(b"x" * 100)
        protocol.transport.write(b"x" * 100)
        for number in (5, 6):
            protocol.check(now + number)
        assert protocol.transport.is_closing(), "nothing was taken between two looks"


async def test_a_provider_that_finds_no_room_leaves_nothing_behind(data_dir: Path) -> None:
    async with serving(data_dir, limits__subscribers_max=1, limits__retry_after_seconds=WAIT) as served:
        context_id = await served.context()
        path = f"/api/contexts/{context_id}/ingest?dialect=openai_chat"
        before = served.service.log.store.acknowledged
        async with served.client.stream("GET", LIVE) as response:
            assert response.status_code == 200
            problem(await served.client.post(path, content=PROVIDERS), 429, "too_many_connections")
        assert served.service.log.store.acknowledged == before
        await opens(served, {})
        wrong = [
            await served.client.post(f"{path}&branch={name}", content=PROVIDERS)
            for name in ("x" * 200, "new")
        ]
        assert [answer.is_success for answer in wrong] == [False, False]
        await opens(served, {})


def test_every_limit_is_hit_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_limits_*.py"))
    limits = [field.name for field in msgspec.structs.fields(Limits)]
    assert [name for name in limits if f"limits__{name}" not in tests] == []


async def test_what_was_sent_just_now_is_not_stalled(data_dir: Path) -> None:
    settings: dict[str, Any] = {"limits__reader_stalled_seconds_max": 0.1}
    async with serving(data_dir, **settings) as served, connection(served) as raw:
        await raw.send(request("GET", "/healthz"))
        assert (await raw.answer()).status == 200
        (protocol,) = served.server.server_state.connections
        own: Any = protocol
        now, sizes = asyncio.get_running_loop().time(), iter((0, 9, 5, 5))
        own.transport.get_write_buffer_size = lambda: next(sizes)
        for later, cut_off in ((1.0, False), (1.5, False), (2.0, False), (2.5, True)):
            own.check(now + later)
            assert own.transport.is_closing() is cut_off, later
        del own.transport.get_write_buffer_size
