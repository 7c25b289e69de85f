"""One session of AIT42 in several stores, as its own tools leave it: in JSON, older JSON and a database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from ait42_stores import HASH, SCHEMA_A, SCHEMA_B, instance, make_database, message, read, session
from jobs import run

from turnlog.facade import Turnlog
from turnlog.importers.ait42.importer import Ait42

WORKSPACE: Final = "/w/project"


def store(home: Path, sessions: list[dict[str, Any]]) -> None:
    """The JSON of a workspace, and what its hash stands for."""
    (home / "sessions").mkdir(parents=True, exist_ok=True)
    (home / "sessions" / f"{HASH}.json").write_text(json.dumps(sessions))
    (home / "workspace_mapping.json").write_text(json.dumps({HASH: WORKSPACE}))


def with_nulls(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """The same, with optional members that are null instead of absent."""
    return dict.fromkeys(names) | found


@pytest.mark.parametrize("schema", [SCHEMA_A, SCHEMA_B], ids="AB")
async def test_json_and_database_hold_one_session(log: Turnlog, tmp_path: Path, schema: str) -> None:
    chat = [with_nulls(message(1), "instanceId"), message(2, instanceId=3)]
    one = session(instances=[with_nulls(instance(3), "output", "endTime")], chatHistory=chat)
    home = tmp_path / ".ait42"
    store(home, [with_nulls(one, "completedAt", "model", "winnerId")])
    make_database(home / "sessions.db", schema, [one], path=WORKSPACE)
    imported = await run(log, home, Ait42())
    assert (imported.summary.failed, imported.summary.problems) == (0, 0)
    assert [line.verified for line in imported.contexts] == [True, True]
    assert {line.context_id for line in imported.contexts} == {imported.contexts[0].context_id}
    state = await log.queries.context(imported.contexts[0].context_id)
    assert state.workspace == WORKSPACE


async def test_a_time_may_be_written_in_another_way(log: Turnlog, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    store(old, [session(chatHistory=[message(1, timestamp="2025-02-01T10:00:03Z")])])
    later = [message(1, timestamp="2025-02-01 10:00:03"), message(2)]
    store(new, [session(updatedAt="2031-01-01T00:00:00Z", chatHistory=later)])
    await run(log, old, Ait42())
    imported = await run(log, new, Ait42())
    (line,) = imported.contexts
    assert (line.status, line.verified, line.messages_written) == ("updated", True, 1)


async def test_another_time_is_told(log: Turnlog, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    store(old, [session(chatHistory=[message(1, timestamp="2025-02-01T10:00:03Z")])])
    later = [message(1, timestamp="2025-02-01 10:00:04"), message(2)]
    store(new, [session(updatedAt="2031-01-01T00:00:00Z", chatHistory=later)])
    await run(log, old, Ait42())
    (line,) = (await run(log, new, Ait42())).contexts
    assert {each.field for each in line.conflicts} == {"metadata", "occurred_at"}


def test_a_workspace_without_sessions_is_told(tmp_path: Path) -> None:
    store(tmp_path, [session()])
    mapping = {HASH: WORKSPACE, "f" * 16: "/w/empty"}
    (tmp_path / "workspace_mapping.json").write_text(json.dumps(mapping))
    _, problems = read(tmp_path)
    place = f"$.{'f' * 16}"
    assert [(each.code, each.place, each.warning) for each in problems] == [("skipped", place, True)]
