"""Stores of AIT42 made for tests: both schemas of its databases, and sessions at random."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st
from storing import read_with

from eventstore.content import TextPart
from turnlog.importers.ait42.importer import Ait42
from turnlog.importers.conversation import Conversation, Problem

HASH: Final = "0123456789abcdef"

_TABLES: Final = """
CREATE TABLE workspaces (hash TEXT PRIMARY KEY, path TEXT NOT NULL {path},
    last_accessed TEXT NOT NULL DEFAULT (datetime('now')));
CREATE TABLE sessions (id TEXT PRIMARY KEY CHECK (id <> ''),
    workspace_hash TEXT NOT NULL REFERENCES workspaces(hash) ON DELETE CASCADE,
    session_type TEXT NOT NULL CHECK (session_type IN ({types})), task TEXT NOT NULL CHECK (task <> ''),
    status TEXT NOT NULL CHECK (status IN ('running','completed','failed','paused')),
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, completed_at TEXT, model TEXT,
    timeout_seconds INTEGER {timeout}, preserve_worktrees INTEGER, winner_id INTEGER, runtime_mix TEXT,
    total_duration INTEGER, total_files_changed INTEGER, total_lines_added INTEGER,
    total_lines_deleted INTEGER {counts});
CREATE TABLE instances (id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
    instance_id INTEGER NOT NULL CHECK (instance_id >= 0), worktree_path TEXT NOT NULL,
    branch TEXT NOT NULL, agent_name TEXT NOT NULL, status TEXT NOT NULL CHECK (status IN ({statuses})),
    tmux_session_id TEXT NOT NULL, output TEXT, start_time TEXT, end_time TEXT, files_changed INTEGER,
    lines_added INTEGER, lines_deleted INTEGER, runtime TEXT {runtime}, model TEXT, runtime_label TEXT,
    UNIQUE (session_id, instance_id));
CREATE TABLE chat_messages (id TEXT PRIMARY KEY CHECK (id <> ''),
    session_id TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('user','assistant','system')), content TEXT NOT NULL {content},
    timestamp TEXT NOT NULL, instance_id INTEGER {instance});
CREATE INDEX idx_instances_session ON instances(session_id);
CREATE INDEX idx_messages_session ON chat_messages(session_id);
"""

SCHEMA_A: Final = (
    _TABLES.format(
        path="UNIQUE",
        types="'competition','ensemble','debate'",
        timeout="",
        counts="",
        statuses="'idle','running','completed','failed','paused','archived'",
        runtime="",
        content="CHECK (content <> '')",
        instance="",
    )
    + """
CREATE TABLE migration_metadata (id INTEGER PRIMARY KEY CHECK (id = 1), schema_version INTEGER DEFAULT 1,
    migrated_at TEXT, json_backup_path TEXT, migration_status TEXT DEFAULT 'pending', last_updated_at TEXT);
INSERT INTO migration_metadata (id, schema_version, migration_status) VALUES (1, 1, 'pending');
"""
)

SCHEMA_B: Final = (
    _TABLES.format(
        path="",
        types="'competition','ensemble','debate','integration'",
        timeout="CHECK (timeout_seconds > 0)",
        counts=", instance_count INTEGER NOT NULL DEFAULT 0, message_count INTEGER NOT NULL DEFAULT 0",
        statuses="'running','completed','failed','timeout'",
        runtime="CHECK (runtime IN ('claude','gemini','codex'))",
        content="CHECK (LENGTH(content) <= 10000)",
        instance="REFERENCES instances(id) ON DELETE SET NULL",
    )
    + "".join(
        f"""
CREATE TRIGGER {table}_{when} AFTER {when} ON {table} BEGIN
    UPDATE sessions SET {count} = {count} {sign} 1 WHERE id = {row}.session_id; END;
"""
        for table, count in (("instances", "instance_count"), ("chat_messages", "message_count"))
        for when, sign, row in (("INSERT", "+", "NEW"), ("DELETE", "-", "OLD"))
    )
    + """
CREATE VIRTUAL TABLE sessions_fts USING fts5(task, content=sessions, content_rowid=rowid);
CREATE TRIGGER sessions_fts_insert AFTER INSERT ON sessions BEGIN
    INSERT INTO sessions_fts(rowid, task) VALUES (NEW.rowid, NEW.task); END;
CREATE TRIGGER sessions_fts_delete AFTER DELETE ON sessions BEGIN
    INSERT INTO sessions_fts(sessions_fts, rowid, task) VALUES ('delete', OLD.rowid, OLD.task); END;
CREATE TRIGGER sessions_fts_update AFTER UPDATE OF task ON sessions BEGIN
    INSERT INTO sessions_fts(sessions_fts, rowid, task) VALUES ('delete', OLD.rowid, OLD.task);
    INSERT INTO sessions_fts(rowid, task) VALUES (NEW.rowid, NEW.task); END;
"""
)

_COLUMNS: Final = {"type": "session_type"}


def _column(name: str) -> str:
    return _COLUMNS.get(name) or "".join(
        f"_{letter.lower()}" if letter.isupper() else letter for letter in name
    )


def insert(database: sqlite3.Connection, table: str, row: dict[str, Any]) -> int:
    """Store a row, given under the names of the JSON; its number."""
    values = [json.dumps(value) if isinstance(value, list) else value for value in row.values()]
    columns = ", ".join(_column(name) for name in row)
    cursor = database.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(row))})", values)
    return cursor.lastrowid or 0


def fill(database: sqlite3.Connection, schema: str, sessions: list[dict[str, Any]], *, path: str) -> None:
    """Store sessions as the program does: an instance is named by its number (A) or its row (B)."""
    database.executescript(schema)
    insert(database, "workspaces", {"hash": HASH, "path": path, "lastAccessed": "2025-01-13 10:00:00"})
    for session in sessions:
        facts = {name: value for name, value in session.items() if name not in ("instances", "chatHistory")}
        insert(database, "sessions", {"workspaceHash": HASH} | facts)
        rows = {
            one["instanceId"]: insert(database, "instances", {"sessionId": session["id"]} | one)
            for one in session["instances"]
        }
        for message in session["chatHistory"]:
            row = {"sessionId": session["id"]} | message
            if schema == SCHEMA_B and row.get("instanceId") is not None:
                row["instanceId"] = rows[row["instanceId"]]
            insert(database, "chat_messages", row)
    database.commit()


def make_database(
    file: Path, schema: str, sessions: list[dict[str, Any]], *, path: str = "/project/app"
) -> Path:
    """A database with these sessions, closed."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA synchronous=OFF")
        fill(database, schema, sessions, path=path)
    return file


def read(root: Path) -> tuple[list[Conversation], list[Problem]]:
    """What the importer says of a folder or file."""
    return read_with(Ait42(), root)


def source_of(conversation: Conversation) -> dict[str, Any]:
    """What the source said of a session whose contents are texts, put together again."""
    attributes = conversation.attributes
    participants = [
        {name: value for name, value in participant.items() if name != "statusChanges"}
        for participant in attributes["participants"]
    ]
    chat: list[dict[str, Any]] = []
    for said in conversation.messages:
        text = "".join(part.text for part in said.parts if isinstance(part, TextPart))
        row = {"role": said.role, "content": text} | said.metadata["source"]
        chat.append(row | {key: said.metadata[key] for key in ("instanceId",) if key in said.metadata})
    facts = {"id": attributes["import"]["id"]} | attributes["session"]
    return facts | attributes["import"].get("source", {}) | {"instances": participants, "chatHistory": chat}


def codes(conversation: Conversation) -> list[tuple[str, str | None]]:
    """Code and place of each warning."""
    return [(warning.code, warning.place) for warning in conversation.warnings]


def session(**fields: Any) -> dict[str, Any]:
    """A session as small as the format allows."""
    told: dict[str, Any] = {
        "id": "session-1",
        "type": "competition",
        "task": "Add a login",
        "status": "completed",
        "createdAt": "2025-11-09T10:00:00.000Z",
        "updatedAt": "2025-11-09T11:00:00.123456789+00:00",
        "instances": [],
        "chatHistory": [],
    }
    return told | fields


def instance(number: int = 0, **fields: Any) -> dict[str, Any]:
    """An instance as small as the format allows."""
    return {
        "instanceId": number,
        "worktreePath": f"/tree/{number}",
        "branch": f"agent-{number}",
        "agentName": "coder",
        "status": "completed",
        "tmuxSessionId": f"tmux-{number}",
    } | fields


def message(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A message as small as the format allows."""
    return {
        "id": f"msg-{1762000000000 + number}",
        "role": "user",
        "content": f"text {number}",
        "timestamp": "2025-11-09T10:00:01.000Z",
    } | fields


TEXTS: Final = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
_NUMBERS: Final = st.integers(0, 1 << 40)
_TIMES: Final = st.datetimes().flatmap(
    lambda at: st.sampled_from(
        [
            at.isoformat(timespec="milliseconds") + "Z",
            at.isoformat(timespec="microseconds") + "+09:00",
            at.isoformat(" ", "seconds"),
        ]
    )
)


@st.composite
def sessions(draw: st.DrawFn, schema: str | None = None) -> dict[str, Any]:
    """A session that the format allows; with a schema, one that its columns can hold too."""
    strict = schema is not None
    texts = TEXTS.filter(bool) if strict else TEXTS
    statuses = st.sampled_from(["running", "completed", "failed"]) if strict else TEXTS
    numbers = draw(st.lists(st.integers(0, 99), max_size=4, unique=True))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "completedAt": _TIMES,
        "model": TEXTS,
        "timeoutSeconds": st.integers(1, 9_999),
        "preserveWorktrees": st.booleans(),
        "runtimeMix": st.lists(st.sampled_from(["claude", "gemini", "codex"]), min_size=1),
        "totalDuration": _NUMBERS,
        "totalFilesChanged": _NUMBERS,
        "totalLinesAdded": _NUMBERS,
        "totalLinesDeleted": _NUMBERS,
    }
    if numbers:
        optional["winnerId"] = st.sampled_from(numbers)
    kinds = st.sampled_from(["competition", "ensemble", "debate"]) if strict else TEXTS
    facts = draw(
        st.fixed_dictionaries(
            {
                "id": TEXTS.filter(bool),
                "type": kinds,
                "task": texts,
                "status": statuses,
                "createdAt": _TIMES,
                "updatedAt": _TIMES,
            },
            optional=optional,
        )
    )
    fields: dict[str, st.SearchStrategy[Any]] = {
        "output": TEXTS,
        "startTime": _TIMES,
        "endTime": _TIMES,
        "filesChanged": _NUMBERS,
        "runtime": st.sampled_from(["claude", "gemini", "codex"]),
        "runtimeLabel": TEXTS,
    }
    instances = [
        instance(number, status=draw(statuses), **draw(st.fixed_dictionaries({}, optional=fields)))
        for number in sorted(numbers)
    ]
    says: dict[str, st.SearchStrategy[Any]] = {"instanceId": st.sampled_from(numbers)} if numbers else {}
    roles = st.sampled_from(["user", "assistant", "system"])
    wanted = {"id": TEXTS.filter(bool), "role": roles, "content": texts, "timestamp": _TIMES}
    chat = draw(
        st.lists(
            st.fixed_dictionaries(wanted, optional=says), max_size=6, unique_by=lambda one: str(one["id"])
        )
    )
    return facts | {"instances": instances, "chatHistory": chat}
