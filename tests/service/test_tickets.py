"""Tickets: how a page, which cannot send a key, opens a stream."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from every_route import ROWS, declared, place_in
from expecting import invalid
from serving import SECONDS, Served, new_key, serving

from eventstore.units import wall_clock_us
from turnlog.service.key_file import revoke_key
from turnlog.service.keys import Key

STREAMS: Final = {
    "GET /api/contexts/{context_id:uuid}/events",
    "GET /api/contexts/{context_id:uuid}/sse",
    "GET /api/events",
    "GET /api/messages/{message_id:uuid}/replay",
    "GET /api/messages/{message_id:uuid}/stream",
    "GET /api/sse",
}


def key(directory: Path, workspace: str = "ours") -> tuple[Key, str]:
    return new_key(directory, "reader", workspace)


async def ticket(served: Served, path: str, **headers: str) -> str:
    made = await served.json("POST", "/api/tickets", {"path": path.partition("?")[0]}, **headers)
    assert made["path"] == path.partition("?")[0]
    return made["ticket"]


async def test_a_ticket_is_for_streams_alone_and_opens_each_kind_once(data_dir: Path) -> None:
    async with serving(data_dir, key=key(data_dir)[1]) as served:
        place = await place_in(served, "ours")
        del served.client.headers["authorization"]
        sent = {"authorization": f"Bearer {key(data_dir)[1]}"}
        served.service.keyring.refresh()
        opened: set[str] = set()
        for route in declared(served):
            if route not in ROWS:
                continue
            path = ROWS[route].ask(place).path
            wanted = {"path": path.partition("?")[0]}
            answer = await served.client.post("/api/tickets", json=wanted, headers=sent)
            if answer.status_code == 400:
                assert answer.json()["errors"][0]["path"] == "body.path"
                continue
            mark = "&" if "?" in path else "?"
            with_ticket = f"{path}{mark}ticket={answer.json()['ticket']}"
            async with served.client.stream("GET", with_ticket) as response:
                assert response.status_code == 200, route
            again = await served.client.get(with_ticket)
            assert (again.status_code, again.json()["code"]) == (401, "ticket_invalid")
            opened.add(route)
        assert opened == STREAMS


async def test_a_ticket_has_the_rights_of_its_key(data_dir: Path) -> None:
    theirs = key(data_dir, "theirs")[1]
    async with serving(data_dir, key=key(data_dir)[1]) as served:
        place = await place_in(served, "ours")
        path = f"/api/contexts/{place.context}/events"
        own = await ticket(served, path)
        others = await ticket(served, path, authorization=f"Bearer {theirs}")
        all_of_theirs = await ticket(served, "/api/events", authorization=f"Bearer {theirs}")
        del served.client.headers["authorization"]
        assert (await served.client.get(f"{path}?ticket={own}")).status_code == 200
        assert (await served.client.get(f"{path}?ticket={others}")).status_code == 404
        page = await served.client.get(f"/api/events?ticket={all_of_theirs}")
        assert (page.status_code, page.json()["items"]) == (200, [])


async def test_a_path_that_is_no_streams_is_refused_in_words(data_dir: Path) -> None:
    async with serving(data_dir, key=key(data_dir)[1]) as served:
        for path in ("/api/contexts", "/api/events?live=true", "/api/events\n", ""):
            refused = await served.client.post("/api/tickets", json={"path": path})
            assert "not the path of a stream" in invalid(refused)["body.path"]


async def test_a_ticket_that_two_use_at_once_opens_one_stream(data_dir: Path) -> None:
    async with serving(data_dir, key=key(data_dir)[1]) as served:
        text = await ticket(served, "/api/events")
        del served.client.headers["authorization"]
        asked = [served.client.get(f"/api/events?ticket={text}") for _ in range(10)]
        assert sorted([answer.status_code for answer in await asyncio.gather(*asked)]) == [200, *[401] * 9]


async def test_a_stream_opened_by_a_ticket_ends_with_the_key(data_dir: Path) -> None:
    own, text = key(data_dir)
    settings: dict[str, Any] = {"keys_check_seconds": 0.05}
    async with serving(data_dir, key=text, **settings) as served:
        first, second = [await ticket(served, "/api/events") for _ in range(2)]
        del served.client.headers["authorization"]
        path = f"/api/events?live=true&format=sse&ticket={first}"
        async with asyncio.timeout(SECONDS), served.client.stream("GET", path) as response:
            assert response.status_code == 200
            revoke_key(data_dir, own.id, wall_clock_us())
            assert '"reason":"revoked"' in (await response.aread()).decode()
        refused = await served.client.get(f"/api/events?ticket={second}")
        assert (refused.status_code, refused.json()["code"]) == (401, "ticket_invalid")


async def test_a_ticket_is_short_lived(data_dir: Path) -> None:
    async with serving(data_dir, key=key(data_dir)[1], streams__ticket_life_seconds=5) as served:
        text = await ticket(served, "/api/events")
        del served.client.headers["authorization"]
        gate: Any = served.service.gate
        gate._clock = lambda: wall_clock_us() + 5_000_000
        refused = await served.client.get(f"/api/events?ticket={text}")
        assert (refused.status_code, refused.json()["code"]) == (401, "ticket_invalid")
