"""AIT42's databases: both schemas, journals, and rows that belong to nothing."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ait42_stores import (
    HASH,
    SCHEMA_A,
    SCHEMA_B,
    codes,
    fill,
    insert,
    instance,
    make_database,
    message,
    read,
    session,
    sessions,
    source_of,
)
from hypothesis import given
from hypothesis import strategies as st
from storing import check_storable

from eventstore.content import DataPart, TextPart
from turnlog.importers.ait42.databases import opened, schema_of
from turnlog.importers.ait42.importer import Ait42
from turnlog.importers.conversation import Problem
from turnlog.importers.source.files import Source, stable_id

SCHEMAS = pytest.mark.parametrize("schema", [SCHEMA_A, SCHEMA_B], ids=["A", "B"])


def told() -> list[dict[str, Any]]:
    """Sessions whose instances have other row numbers than their own, and whose messages name them."""
    return [
        session(instances=[instance(5), instance(7)], chatHistory=[message(1)]),
        session(
            id="session-2",
            model="m",
            winnerId=7,
            runtimeMix=["claude", "codex"],
            preserveWorktrees=True,
            totalDuration=9,
            updatedAt="2025-01-13 12:00:00",
            instances=[instance(2, output="done"), instance(7, startTime="2025-01-13 11:00:00")],
            chatHistory=[
                message(9, timestamp="2025-01-13T11:00:02Z", instanceId=7),
                message(3, timestamp="2025-01-13 11:00:01", instanceId=2),
                message(5, timestamp="2025-01-13T11:00:03+00:00", role="system"),
            ],
        ),
    ]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file, its bytes and when it was changed."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


@SCHEMAS
def test_a_database_says_what_the_json_says(tmp_path: Path, schema: str) -> None:
    make_database(tmp_path / "sessions.db", schema, told())
    found, problems = read(tmp_path)
    assert problems == []
    assert [one.id for one in found] == [stable_id("ait42", "session-1"), stable_id("ait42", "session-2")]
    for conversation, wanted in zip(found, told(), strict=True):
        assert not conversation.warnings
        assert conversation.workspace == "/project/app"
        said = source_of(conversation)
        assert {name: said[name] for name in wanted} == wanted
    assert found[1].attributes["workspace"] == {
        "hash": HASH,
        "path": "/project/app",
        "lastAccessed": "2025-01-13 10:00:00",
    }
    assert found[1].attributes["import"]["times_assumed_utc"] == ["updatedAt"]
    assert [said.metadata.get("time_assumed_utc") for said in found[1].messages] == [None, True, None]


@SCHEMAS
def test_the_schema_is_told_apart(tmp_path: Path, schema: str) -> None:
    with opened(make_database(tmp_path / "any.name", schema, told())) as database:
        assert schema_of(database) == ("A" if schema == SCHEMA_A else "B")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("migration_metadata (id)", "A"),
        ("sessions_fts (task)", "B"),
        ("other (id)", "A"),
        ("chat_messages (id, instance_id REFERENCES instances(id))", "B"),
    ],
)
def test_the_schema_is_told_apart_by_what_is_left_of_it(table: str, expected: str) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.row_factory = sqlite3.Row
        database.execute("CREATE TABLE sessions (id)")
        database.execute(f"CREATE TABLE {table}")
        assert schema_of(database) == expected


@SCHEMAS
@pytest.mark.parametrize("mode", ["wal", "delete", "truncate", "persist"])
def test_nothing_is_written_into_the_source(tmp_path: Path, schema: str, mode: str) -> None:
    file = tmp_path / "sessions.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA journal_mode={mode}")
        fill(database, schema, told(), path="/project")
    before = snapshot(tmp_path)
    assert len(read(tmp_path)[0]) == 2
    assert snapshot(tmp_path) == before


@SCHEMAS
def test_what_lies_in_the_write_ahead_log_is_read(tmp_path: Path, schema: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as database:
        database.execute("PRAGMA journal_mode=wal")
        database.execute("PRAGMA wal_autocheckpoint=0")
        fill(database, schema, told(), path="/project")
        for end in ("", "-wal", "-shm"):  # as a killed program leaves them
            shutil.copyfile(tmp_path / f"sessions.db{end}", source / f"sessions.db{end}")
    before = snapshot(source)
    assert Ait42().recognises(Source(source))
    assert len(read(source)[0]) == 2
    assert snapshot(source) == before
    assert all(Ait42().claims(Source(source), name) for name in before)


@pytest.mark.parametrize("ends", [("-wal", "-shm"), ("-journal",)])
def test_the_files_of_a_session_are_its_database_and_what_lies_beside_it(
    tmp_path: Path, ends: tuple[str, ...]
) -> None:
    make_database(tmp_path / "a.db", SCHEMA_A, told())
    for end in (*ends, ".old", "-copy"):
        (tmp_path / f"a.db{end}").touch()
    for source in (tmp_path, tmp_path / "a.db"):
        found, _ = read(source)
        assert [one.files for one in found] == [("a.db", *(f"a.db{end}" for end in ends))] * 2


def test_a_link_to_a_database_shows_what_lies_in_its_write_ahead_log(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link.db"
    real.mkdir()
    with closing(sqlite3.connect(tmp_path / "open.db")) as database:
        database.execute("PRAGMA journal_mode=wal")
        database.execute("PRAGMA wal_autocheckpoint=0")
        fill(database, SCHEMA_A, told(), path="/project/app")
        for end in ("", "-wal"):
            shutil.copy(tmp_path / f"open.db{end}", real / f"a.db{end}")
    link.symlink_to(real / "a.db")
    found, _ = read(link)
    assert [one.attributes["import"]["id"] for one in found] == ["session-1", "session-2"]


def test_a_transaction_cut_short_is_rolled_back_in_a_copy(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    file = make_database(tmp_path / "sessions.db", SCHEMA_A, told())
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA cache_size=1")  # pages are written before the commit
        database.execute("BEGIN")
        database.execute("UPDATE sessions SET task = hex(randomblob(20000)), status = 'failed'")
        for end in ("", "-journal"):
            shutil.copyfile(tmp_path / f"sessions.db{end}", source / f"sessions.db{end}")
        database.rollback()
    before = snapshot(source)
    assert len(before) == 2
    assert [one.title for one in read(source)[0]] == ["Add a login", "Add a login"]
    assert snapshot(source) == before


def test_any_text_and_any_type_in_a_column_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA ignore_check_constraints=ON")
        rows = [message(1, content=""), message(2, content="x" * 20_000), message(3, content=b"\xff\0")]
        strange = session(
            status="odd", winnerId="seven", runtimeMix="[broken", totalDuration=9e999, chatHistory=rows
        )
        fill(database, SCHEMA_B, [strange], path="/project")
        database.execute("UPDATE chat_messages SET role = CAST(x'ff' AS TEXT) WHERE content = ''")
        database.commit()
    (conversation,), problems = read(file)
    assert not problems
    assert conversation.state == "odd"
    assert [said.parts for said in conversation.messages] == [
        (TextPart(""),),
        (TextPart("x" * 20_000),),
        (DataPart({"base64": "/wA="}),),
    ]
    assert conversation.attributes["import"]["source"]["winnerId"] == "seven"
    assert conversation.attributes["import"]["source"]["runtimeMix"] == "[broken"
    assert conversation.attributes["session"]["totalDuration"] == "inf"
    places = [place for code, place in codes(conversation) if code == "wrong_type" and place]
    assert [place.rpartition(".")[2] for place in places if "chat" in place] == ["role", "content"] * 2
    check_storable(conversation)


@SCHEMAS
def test_what_belongs_to_nothing_is_told_and_kept(tmp_path: Path, schema: str) -> None:
    file = tmp_path / "sessions.db"
    with closing(sqlite3.connect(file)) as database:
        fill(database, schema, told(), path="/project")
        insert(database, "workspaces", {"hash": "f" * 16, "path": "/empty"})
        insert(database, "chat_messages", {"sessionId": "gone", "instanceId": 99} | message(77))
        database.execute("UPDATE sessions SET workspace_hash = 'nowhere' WHERE id = 'session-1'")
        database.execute("UPDATE chat_messages SET instance_id = 999 WHERE role = 'system'")
        database.commit()
    found, problems = read(file)
    assert found[0].workspace == "nowhere"
    assert [code for code, _ in codes(found[0])] == ["dangling_workspace"]
    assert [code for code, _ in codes(found[1])] == ["dangling_instance"]
    assert found[2].attributes["import"]["id"] == "gone"
    assert [said.parts for said in found[2].messages] == [(TextPart("text 77"),)]
    assert ("orphan_rows", "sessions[id='gone']") in codes(found[2])
    assert all(problem.warning for problem in problems)
    assert [one.reason for one in problems] == [f"no session has workspace {'f' * 16} (/empty)"]


def test_counts_that_do_not_agree_are_told(tmp_path: Path) -> None:
    file = make_database(tmp_path / "sessions.db", SCHEMA_B, told())
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE sessions SET message_count = 8 WHERE id = 'session-2'")
        database.commit()
    found, _ = read(file)
    assert [codes(conversation) for conversation in found] == [
        [],
        [("count_mismatch", "sessions[id='session-2']")],
    ]


@SCHEMAS
def test_a_damaged_database_is_told(tmp_path: Path, schema: str) -> None:
    many = [session(id=f"s{number}", task="t" * 3_000) for number in range(50)]
    file = make_database(tmp_path / "sessions.db", schema, many)
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = b"\xa5" * (len(content) - len(content) // 2)
    file.write_bytes(content)
    found, problems = read(file)
    assert len(found) < 50
    assert "database_damaged" in {problem.code for problem in problems}


def test_another_database_is_not_ours(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.executescript(
            "CREATE TABLE instances (id); CREATE TABLE chat_messages (id);"
            "CREATE VIEW sessions AS SELECT 1 AS id;"
        )
    assert not Ait42().recognises(Source(tmp_path))
    assert read(tmp_path) == ([], [])
    assert read(tmp_path / "other.db")[1] == [
        Problem("other.db", "unknown_schema", "it has no table sessions")
    ]


def test_tables_without_their_columns_are_told(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        for table in ("sessions", "instances", "chat_messages"):
            database.execute(f"CREATE TABLE {table} (name)")
        database.execute("INSERT INTO sessions VALUES (1)")
        database.commit()
    assert [problem.code for problem in read(tmp_path)[1]] == ["unknown_schema"]


@SCHEMAS
@given(data=st.data())
def test_any_session_survives_with_all_its_facts(
    data: st.DataObject, schema: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = data.draw(sessions(schema))
    file = tmp_path_factory.mktemp("any") / "sessions.db"
    make_database(file, schema, [wanted])
    (conversation,), _ = read(file)
    check_storable(conversation)
    assert not [code for code, _ in codes(conversation) if code != "unreadable_time"]
    said = source_of(conversation)
    assert {name: said[name] for name in wanted} == wanted
