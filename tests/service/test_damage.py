"""A damaged commit: reads of it fail and say where, nothing is written any more, the rest stays readable."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import UUID

from damage import flip_commit
from expecting import problem
from serving import Served, serving


async def conversation(served: Served, *texts: str) -> UUID:
    """A context with some messages, one commit each."""
    context_id = await served.context(title=texts[0])
    for text in texts:
        await served.json("POST", f"/api/contexts/{context_id}/messages", {"role": "user", "text": text})
    return context_id


async def test_reads_of_it_fail_the_log_is_read_only_and_health_is_red(served: Served) -> None:
    before = await conversation(served, "before", "more")
    harmed = await conversation(served, "harmed", "more")
    await served.json("GET", f"/api/contexts/{harmed}")  # the views hold it all
    flip_commit(served.service.log.store.log, 5, -1)

    assert (await served.client.get("/healthz")).status_code == 200
    for path in (
        "/api/events?after=4",
        f"/api/contexts/{harmed}/events?after=4",
        f"/api/contexts/{harmed}?at_version=2",
    ):
        assert problem(await served.client.get(path), 500, "commit_damaged")["position"] == 5, path

    health = await served.client.get("/healthz")
    assert (health.status_code, health.json()["read_only"]) == (503, True)
    assert any("5" in said for said in health.json()["problems"])
    body = {"role": "user", "text": "no"}
    problem(await served.client.post(f"/api/contexts/{before}/messages", json=body), 503, "log_read_only")
    await all_is_readable(served, before, "before", "more")
    page = await served.json("GET", "/api/events?after=0&limit=4")
    assert [item["position"] for item in page["items"]] == [1, 2, 3, 4]


async def test_what_lies_before_it_goes_out_before_a_stream_fails(served: Served) -> None:
    await conversation(served, "before", "more")
    flip_commit(served.service.log.store.log, 3, -1)
    lines = (await served.client.get("/api/events?format=ndjson&after=0")).text.splitlines()
    assert len(lines) == 3
    assert '"commit_damaged"' in lines[-1]
    assert (await served.client.get("/healthz")).status_code == 503


async def test_it_is_found_when_the_views_are_built_anew(data_dir: Path) -> None:
    async with serving(data_dir) as served:
        before = await conversation(served, "before", "more")
        await conversation(served, "harmed", "more")
        after = await conversation(served, "after", "more")
        flip_commit(served.service.log.store.log, 5, -1)
    shutil.rmtree(data_dir / "views")
    async with serving(data_dir, keys_check_seconds=0.05) as served:
        await all_is_readable(served, before, "before", "more")
        for path in (f"/api/contexts/{after}", "/api/contexts"):
            assert problem(await served.client.get(path), 500, "commit_damaged")["position"] == 5
        health = await served.client.get("/healthz")
        assert health.status_code == 503
        problem(await served.client.post("/api/contexts", json={}), 503, "log_read_only")


async def all_is_readable(served: Served, context_id: UUID, *texts: str) -> None:
    """Whether a context answers as ever."""
    assert (await served.json("GET", f"/api/contexts/{context_id}"))["title"] == texts[0]
    page = await served.json("GET", f"/api/contexts/{context_id}/messages?include=body")
    assert [item["text"] for item in page["items"]] == list(texts)
