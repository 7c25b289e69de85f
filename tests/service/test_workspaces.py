"""A key of one workspace sees nothing of another: in lists, pages, streams, ids of all kinds, or errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import msgspec
import pytest
from every_route import Place, place_in
from serving import SECONDS, Served, new_key, serving

OURS, THEIRS = "ours", "theirs"
SECRET: Final = "Low water at six"


class Two:
    """Two workspaces in one service, asked with the key of ours."""

    def __init__(self, served: Served, ours: Place, theirs: Place) -> None:
        self.served: Served = served
        self.client: httpx.AsyncClient = served.client
        self.ours: Place = ours
        self.theirs: Place = theirs

    async def get(self, path: str) -> Any:
        """An answer, in which nothing may be of theirs."""
        response = await self.client.get(path)
        assert response.is_success, response.text
        self.check(response.text)
        return response.json()

    def check(self, text: str) -> None:
        """Whether a text tells nothing of theirs."""
        assert SECRET not in text
        assert THEIRS not in text
        assert self.theirs.named(text) == text

    async def refusal(self, method: str, path: str, body: object, **headers: str) -> dict[str, Any]:
        """The problem that a request meets; it wrote nothing."""
        before = self.served.service.log.store.acknowledged
        response = await self.client.request(method, path, json=body, headers=headers)
        assert not response.is_success, response.text
        assert SECRET not in response.text
        assert self.served.service.log.store.acknowledged == before
        return response.json()


@pytest.fixture
async def two(data_dir: Path) -> AsyncGenerator[Two]:
    async with serving(data_dir, key=new_key(data_dir, "writer", OURS)[1]) as served:
        ours = await place_in(served, OURS)
        theirs = await place_in(served, THEIRS, SECRET)
        yield Two(served, ours, theirs)


async def test_lists_hold_what_is_ours(two: Two) -> None:
    listed = await two.get("/api/contexts?include_deleted=true")
    assert [item["id"] for item in listed["items"]] == [str(two.ours.context)]
    page = await two.get(f"/api/messages/batch?ids={two.ours.message},{uuid4()}")
    assert [item["id"] for item in page["items"]] == [str(two.ours.message)]


async def test_a_list_of_another_workspace_is_refused_whether_it_is_there_or_not(two: Two) -> None:
    told = [
        await two.refusal("GET", f"/api/contexts?workspace={workspace}", None)
        for workspace in (THEIRS, "nobodys")
    ]
    assert [(each["status"], each["code"]) for each in told] == [(403, "workspace_not_allowed")] * 2
    assert told[0]["detail"] == told[1]["detail"]


async def test_a_cursor_of_all_workspaces_leads_nowhere_else(data_dir: Path, two: Two) -> None:
    for _ in range(3):
        await place_in(two.served, THEIRS, SECRET)
    text = new_key(data_dir, "writer")[1]
    two.served.service.keyring.refresh()
    page = await two.client.get("/api/contexts?limit=2", headers={"authorization": f"Bearer {text}"})
    assert SECRET in page.text
    await two.get(f"/api/contexts?cursor={page.json()['next_cursor']}")


async def test_a_batch_names_theirs_as_not_found(two: Two) -> None:
    unknown = uuid4()
    response = await two.client.get(
        f"/api/messages/batch?ids={two.theirs.message},{two.ours.message},{unknown}"
    )
    assert [item["id"] for item in response.json()["items"]] == [str(two.ours.message)]
    assert response.json()["not_found"] == [str(two.theirs.message), str(unknown)]


async def test_the_events_of_the_log_are_ours_alone_in_every_format(two: Two) -> None:
    page = await two.get("/api/events")
    assert {item["context_id"] for item in page["items"]} == {str(two.ours.context)}
    for form in ("ndjson", "sse"):
        response = await two.client.get(f"/api/events?format={form}")
        assert str(two.ours.context) in response.text
        two.check(response.text)


@pytest.mark.parametrize("form", ["ndjson", "sse"])
async def test_live_events_are_ours_alone(form: str, two: Two) -> None:
    async with two.client.stream("GET", f"/api/events?format={form}&live=true&after=now") as response:
        await place_in(two.served, THEIRS, SECRET)
        last = await place_in(two.served, OURS, "the last")
        text = ""
        async for some in response.aiter_text():
            text += some
            if "the last" in text and str(last.stream) in text:
                break
    two.check(text)


async def test_signals_of_theirs_cannot_be_followed_beside_ours(two: Two) -> None:
    told = await two.refusal("GET", f"/api/sse?contexts={two.ours.context},{two.theirs.context}", None)
    assert (told["status"], told["code"]) == (404, "context_not_found")


@pytest.mark.parametrize("path", ["/api/commits", "/api/contexts"])
@pytest.mark.parametrize("condition", [{}, {"if-match": '"5"'}, {"if-match": "*"}, {"if-none-match": "*"}])
async def test_an_id_that_is_taken_elsewhere_tells_nothing_but_that(
    path: str, condition: dict[str, str], two: Two
) -> None:
    context_id = str(two.theirs.context)
    body: dict[str, object] = {"context_id": context_id}
    if path == "/api/commits":
        body["events"] = [{"type": "context.created"}]
    told = await two.refusal("POST", path, body, **condition)
    assert told["code"] == "context_exists"
    assert set(told) == {"type", "title", "status", "detail", "code", "hint", "context_id"}


async def test_ids_of_theirs_inside_of_requests_are_as_unknown_as_any(two: Two) -> None:
    context, unknown = two.ours.context, str(uuid4())
    asks: list[tuple[str, str, dict[str, Any] | None]] = [
        ("GET", f"/api/contexts/{context}?at_message=ID", None),
        ("GET", f"/api/contexts/{context}/diff?from=mID", None),
        ("POST", f"/api/contexts/{context}/messages", {"role": "user", "text": "x", "parent_id": "ID"}),
        ("POST", f"/api/contexts/{context}/streams", {"parent_id": "ID"}),
        ("PUT", f"/api/contexts/{context}/branches/new", {"head": "ID"}),
        ("PUT", f"/api/contexts/{context}/branches/new", {"at_message": "ID"}),
        ("POST", f"/api/contexts/{context}/fork", {"at_message": "ID"}),
        ("POST", "/api/commits", _commit(context, {"type": "message.redacted", "message_id": "ID"})),
        ("POST", "/api/commits", _commit(context, {"type": "stream.finalized", "message_id": "ID"})),
        (
            "POST",
            "/api/commits",
            _commit(uuid4(), {"type": "context.created", "forked_from": {"context_id": "ID", "version": 1}}),
        ),
    ]
    for method, path, body in asks:
        told: list[str] = []
        for given in (str(two.theirs.message), str(two.theirs.context), unknown):
            filled = msgspec.json.decode(msgspec.json.encode(body).replace(b"ID", given.encode()))
            answer = await two.refusal(method, path.replace("ID", given), filled)
            told.append(msgspec.json.encode(answer).decode().replace(given, "ID"))
        assert told[0] == told[1] == told[2], path


def _commit(context_id: object, event: dict[str, Any]) -> dict[str, Any]:
    return {"context_id": str(context_id), "events": [event]}


async def test_what_a_key_creates_is_in_its_workspace(two: Two) -> None:
    created = {"type": "context.created"}
    made = [
        (await two.client.post("/api/contexts", json={})).json()["context_id"],
        (await two.client.post("/api/commits", json=_commit(uuid4(), created))).json()["context_id"],
        (await two.client.post(f"/api/contexts/{two.ours.context}/fork", json={})).json()["context_id"],
    ]
    for context_id in made:
        assert (await two.get(f"/api/contexts/{context_id}"))["workspace"] == OURS
    for path, body in (
        ("/api/contexts", {"workspace": THEIRS}),
        ("/api/commits", _commit(uuid4(), created | {"workspace": THEIRS})),
    ):
        assert (await two.refusal("POST", path, body))["code"] == "workspace_not_allowed"


async def test_an_update_moves_nothing_to_another_workspace(two: Two) -> None:
    changes = {"type": "context.updated", "changes": {"workspace": THEIRS}}
    await two.client.post("/api/commits", json=_commit(two.ours.context, changes))
    assert (await two.get(f"/api/contexts/{two.ours.context}"))["workspace"] == OURS
    assert len((await two.get("/api/contexts"))["items"]) == 1


async def test_a_key_of_all_workspaces_may_choose(data_dir: Path) -> None:
    async with serving(data_dir, key=new_key(data_dir, "writer")[1]) as served:
        async with httpx.AsyncClient(base_url=served.address, timeout=SECONDS) as nobody:
            assert (await nobody.get("/api/contexts")).status_code == 401
        for workspace in (OURS, THEIRS):
            await served.context(workspace=workspace)
        for workspace in (OURS, THEIRS):
            page = await served.json("GET", f"/api/contexts?workspace={workspace}")
            assert [item["workspace"] for item in page["items"]] == [workspace]
        assert len((await served.json("GET", "/api/contexts"))["items"]) == 2
