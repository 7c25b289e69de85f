"""Keeping it running over HTTP: projections and their rebuilds, statistics, health, metrics."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from event_source import heard
from expecting import problem, told
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from serving import SECONDS, Served, serving
from watched import POISON, PROJECTION

from eventstore.errors import Damaged


async def _filled(served: Served) -> None:
    for workspace in ("sea", "sea", "sky"):
        context_id = await served.context(workspace=workspace)
        await served.json("POST", f"/api/contexts/{context_id}/messages", {"role": "user", "text": "hello"})
        message_id = await served.stream(context_id)
        await served.chunks(message_id, "a", "b", "c")
        await served.finalize(message_id)
        if workspace == "sky":
            await served.json("DELETE", f"/api/contexts/{context_id}")


async def _projections(served: Served) -> dict[str, dict[str, Any]]:
    read = await served.client.get("/api/projections")
    assert read.headers["turnlog-position"] == str(read.json()["head"])
    return {item["name"]: item for item in read.json()["items"]}


async def test_every_projection_tells_how_it_is(served: Served) -> None:
    await _filled(served)
    await served.service.log.runner.wait_for(served.service.log.store.acknowledged)
    items = await _projections(served)
    assert set(items) == {"contexts", "messages", "timelines", "totals"}
    for item in items.values():
        assert (item["state"], item["lag_positions"], item["failure"]) == ("live", 0, None)
        assert item["checkpoint"] == served.service.log.store.acknowledged
        assert item["version"] >= 1
    status = served.service.log.runner.status()
    assert {name: set(item) for name, item in items.items()} == {
        p.name: set(told(p)) for p in status.projections
    }


async def test_a_rebuild_goes_on_beside_the_live_view_and_changes_no_answer(served: Served) -> None:
    await _filled(served)
    before = await served.json("GET", "/api/contexts?include_deleted=true")
    for name in ("contexts", "messages", "timelines", "totals"):
        begun = await served.client.post(f"/api/projections/{name}/rebuild")
        assert (begun.status_code, begun.json()["projection"]) == (202, name)
        assert begun.headers["turnlog-position"] == str(begun.json()["head"])
        assert await served.json("GET", "/api/contexts?include_deleted=true") == before
        assert (await served.client.get("/healthz")).status_code == 200
        await served.service.log.runner.rebuilt(name)
        item = (await _projections(served))[name]
        assert (item["state"], item["failure"], item["lag_positions"]) == ("live", None, 0)
    assert await served.json("GET", "/api/contexts?include_deleted=true") == before


async def test_a_rebuild_of_what_there_is_not_is_refused(served: Served) -> None:
    refused = problem(await served.client.post("/api/projections/nothing/rebuild"), 404, "unknown_projection")
    assert "nothing" in refused["detail"]


async def test_totals_by_workspace_and_by_kind_are_those_of_the_log(served: Served) -> None:
    await _filled(served)
    head = str(served.service.log.store.acknowledged)
    stats = await served.json("GET", "/api/stats", **{"turnlog-at-least": head})
    log = served.service.log.store.log
    with log.reading() as txn:
        commits, _ = log.commits(txn, 0, count_max=1_000, bytes_max=1 << 20)
    kinds = Counter(type(event).__struct_config__.tag for commit in commits for event in commit.events())
    assert stats["events"] == dict(kinds)
    assert kinds["stream.chunk_received"] == 9
    workspaces = stats["workspaces"]
    assert {name: (one["contexts"], one["deleted"], one["messages"]) for name, one in workspaces.items()} == {
        "sea": (2, 0, 4),
        "sky": (1, 1, 2),
    }
    summed: Counter[str] = Counter()
    for one in workspaces.values():
        summed.update(one["events"])
    assert summed == kinds


async def test_statistics_tell_sizes_and_what_is_open(served: Served) -> None:
    await _filled(served)
    stats = await served.json("GET", "/api/stats")
    store = told(served.service.log.store.statistics())
    assert stats["store"]["databases"] == store["databases"]
    assert {"commits", "by_context", "messages"} <= set(store["databases"])
    assert all(set(size) == {"entries", "bytes"} for size in store["databases"].values())
    assert stats["store"]["databases"]["commits"]["entries"] == served.service.log.store.acknowledged
    assert (stats["store"]["position"], stats["store"]["chain"]) == (store["position"], store["chain"])
    assert stats["store"]["file_bytes"] > 0
    assert [item["name"] for item in stats["projections"]] == list(await _projections(served))
    assert (stats["connections"], stats["feeds"]) == (0, 0)
    message_id = await served.stream(await served.context())
    async with served.client.stream("GET", f"/api/messages/{message_id}/stream") as response:
        await anext(line async for line in response.aiter_lines() if line.startswith("data"))
        stats = await served.json("GET", "/api/stats")
        assert stats["connections"] == 1


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What the watched projection waits for; open again after the test."""
    yield PROJECTION.gate
    PROJECTION.gate.set()


async def test_the_service_answers_while_its_views_are_built(data_dir: Path, gate: threading.Event) -> None:
    async with serving(data_dir) as served:
        await _filled(served)
        assert (await served.client.get("/readyz")).json() == {"ready": True}
    shutil.rmtree(data_dir / "views")
    gate.clear()
    async with serving(data_dir, projections=("watched:PROJECTION",)) as served:
        assert (await served.client.get("/healthz")).json()["healthy"] is True
        behind = await served.client.get("/readyz")
        assert "contexts" in problem(behind, 503, "views_behind")["detail"]
        stats = await served.json("GET", "/api/stats")
        assert (stats["workspaces"], stats["events"], stats["store"]["position"]) == ({}, {}, 16)
        for item in (await _projections(served)).values():
            assert (item["state"], item["checkpoint"], item["building"]["progress"]) == (
                "building",
                None,
                0.0,
            )
        assert (await served.json("GET", "/api/log/head"))["position"] == 16
        gate.set()
        assert len((await served.json("GET", "/api/contexts"))["items"]) == 2
        await served.service.log.runner.wait_for(16)
        assert (await served.client.get("/readyz")).status_code == 200


async def test_a_rebuild_shows_its_progress_while_the_live_view_answers(
    data_dir: Path, gate: threading.Event
) -> None:
    async with serving(data_dir, projections=("watched:PROJECTION",)) as served:
        await _filled(served)
        await served.service.log.runner.wait_for(16)
        gate.clear()
        PROJECTION.waiting.clear()
        begun = asyncio.create_task(served.json("POST", "/api/projections/watched/rebuild"))
        await anyio.to_thread.run_sync(PROJECTION.waiting.wait, SECONDS)
        item = (await _projections(served))["watched"]
        assert (item["state"], item["checkpoint"], item["building"]["checkpoint"]) == ("live", 16, 0)
        assert len((await served.json("GET", "/api/contexts"))["items"]) == 2
        assert (await served.client.get("/healthz")).status_code == 200
        gate.set()
        assert (await begun)["projection"] == "watched"
        await served.service.log.runner.rebuilt("watched")
        assert (await _projections(served))["watched"]["building"] is None


async def test_a_poisoned_projection_turns_health_red_and_others_go_on(data_dir: Path) -> None:
    async with serving(data_dir, projections=("watched:PROJECTION",)) as served:
        health = await served.client.get("/healthz")
        good: dict[str, Any] = {"healthy": True, "position": 0, "read_only": False, "problems": []}
        assert (health.status_code, health.json()) == (200, good)
        context_id = await served.context(title=POISON)
        await served.service.log.runner.wait_for(1)
        health = await served.client.get("/healthz")
        assert (health.status_code, health.json()["healthy"], health.json()["read_only"]) == (
            503,
            False,
            False,
        )
        assert "watched" in health.json()["problems"][0]
        assert "position 1" in health.json()["problems"][0]
        item = (await _projections(served))["watched"]
        assert (item["state"], item["failure"]["position"]) == ("failed", 1)
        await served.json("PATCH", f"/api/contexts/{context_id}", {"title": "fine"})
        assert (await served.json("GET", f"/api/contexts/{context_id}"))["title"] == "fine"
        assert _value(await _metrics(served), "turnlog_projection_failed", projection="watched") == 1


async def _metrics(served: Served) -> dict[str, Metric]:
    read = await served.client.get("/metrics")
    assert read.headers["content-type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(read.text))
    assert len({family.name for family in families}) == len(families)
    assert all(family.documentation for family in families)
    return {family.name: family for family in families}


def _value(metrics: dict[str, Metric], name: str, **labels: str) -> float:
    samples = [sample for family in metrics.values() for sample in family.samples]
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


async def test_metrics_are_read_by_prometheus_and_count_what_happens(served: Served) -> None:
    before = await _metrics(served)
    assert _value(before, "turnlog_commits_total") == 0
    await _filled(served)
    await served.client.get("/api/nothing")
    await heard(served.client, "/api/events?format=sse")
    await served.service.log.runner.wait_for(served.service.log.store.acknowledged)
    after = await _metrics(served)
    assert _value(after, "turnlog_commits_total") == 16
    counted = "turnlog_requests_total"
    assert _value(after, counted, method="POST", route="/api/contexts", status="201") == 3
    chunks = "/api/messages/{message_id}/chunks"
    assert _value(after, counted, route=chunks, status="200") == 3
    assert _value(after, counted, route="(none)", status="404") == 1
    assert _value(after, counted, route="/metrics", status="200") == 1
    assert _value(after, "turnlog_request_seconds_count", route="/api/contexts", method="POST") == 3
    assert _value(after, "turnlog_request_seconds_count", route="/api/events") == 0, "it went on"
    assert _value(after, "turnlog_projection_lag") == 0
    store = served.service.log.store.statistics()
    assert _value(after, "turnlog_log_bytes") == store.file_bytes > 0
    for name, size in store.databases.items():
        assert _value(after, "turnlog_database_bytes", database=name) == size["bytes"]
    assert _value(after, "turnlog_connections") == _value(after, "turnlog_read_only") == 0


async def test_a_damaged_log_leaves_the_numbers_that_are_not_its_own(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def statistics() -> None:
        raise Damaged("directory_damaged", "a test")

    monkeypatch.setattr(served.service.log.store, "statistics", statistics)
    names = set(await _metrics(served))
    assert {"turnlog_connections", "turnlog_feeds", "turnlog_requests"} <= names
    assert "turnlog_log_bytes" not in names


async def test_no_metric_is_labelled_by_what_there_are_many_of(served: Served) -> None:
    await _filled(served)
    for item in (await served.json("GET", "/api/contexts"))["items"]:
        await served.json("GET", f"/api/contexts/{item['id']}")
        await served.client.get(f"/api/contexts/{item['id']}/nothing")
    labels = {
        name: {
            sample.labels.get(name)
            for family in (await _metrics(served)).values()
            for sample in family.samples
        }
        for name in ("route", "method", "status")
    }
    assert all("-" not in str(route) for route in labels["route"])
    assert labels["status"] - {None} == {"200", "201", "404"}


async def test_any_method_that_is_made_up_is_counted_as_one(served: Served) -> None:
    for n in range(5):
        refused = await served.client.request(f"MADE{n}", "/api/contexts")
        assert refused.status_code in (400, 405, 501)
    methods = {
        sample.labels.get("method")
        for family in (await _metrics(served)).values()
        for sample in family.samples
    }
    assert not any(str(method).startswith("MADE") for method in methods)


async def test_shutting_down_is_not_ready(served: Served) -> None:
    served.service.streams.connections.stop()
    problem(await served.client.get("/readyz"), 503, "shutting_down")
    assert (await served.client.get("/healthz")).status_code == 200
