"""The databases of AIT42 in both of their schemas, read without a byte written beside them.

Schema A has ``migration_metadata``; ``chat_messages.instance_id`` is the number of an instance. Schema B
counts messages in its sessions and has a full text index; there ``instance_id`` is the row of an instance.
The rows' own numbers, which no JSON has, are not kept but for that one.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

import msgspec

from eventstore.content import Json
from eventstore.errors import reason_of
from eventstore.spool import Spool
from turnlog.importers.ait42.sessions import Place, Workspace, conversation
from turnlog.importers.conversation import Conversation, Problem
from turnlog.importers.source.files import SQLITE_ENDS, Source
from turnlog.importers.source.notes import Notes
from turnlog.importers.source.shapes import head

Schema: TypeAlias = Literal["A", "B"]

_MAGIC: Final = b"SQLite format 3\0"
_JOURNALS: Final = ("-wal", "-journal")
_BESIDE: Final = ("", *SQLITE_ENDS)
_TABLES: Final = frozenset(("sessions", "instances", "chat_messages"))
_MIGRATION: Final = "migration_metadata"
"""How far AIT42 is with a migration of its own: nothing that a session has."""

_DERIVED: Final = ("sessions_fts", "sqlite_")
_RENAMED: Final = {"session_type": "type"}
_CAMEL_EXCEPTIONS: Final = ("id", "instance_count", "message_count", "workspace_path")

_ROW_BYTES: Final = 1_000
"""What a message's row takes in memory beside its texts."""

_ORPHANS: Final = """
SELECT session_id, count(*)
FROM (SELECT session_id FROM instances UNION ALL SELECT session_id FROM chat_messages) AS belonging
WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE id = belonging.session_id)
GROUP BY session_id ORDER BY session_id
"""
_EMPTY_WORKSPACES: Final = """
SELECT hash, path FROM workspaces
WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE workspace_hash = workspaces.hash) ORDER BY hash
"""


def is_database(source: Source, name: str) -> bool:
    """Whether a file is SQLite's."""
    return head(source, name, len(_MAGIC)) == _MAGIC


def database_of(name: str) -> str:
    """The database beside which a file of SQLite's lies; the file itself, if it is none of them."""
    return next((name.removesuffix(end) for end in _BESIDE[1:] if name.endswith(end)), name)


def has_sessions(source: Source, name: str) -> bool:
    """Whether a database has AIT42's tables."""
    try:
        with opened(source.path(name)) as database:
            return _tables(database) >= _TABLES
    except (sqlite3.Error, OSError):
        return False


@contextmanager
def opened(path: Path) -> Generator[sqlite3.Connection]:
    """A database, read-only.

    What was committed may still lie in a journal beside it. Reading that makes SQLite write files there, so
    then both are copied, and the copies are opened. Otherwise it is opened as a file that does not change.
    """
    journals = [one for end in _JOURNALS if _has_bytes(one := path.with_name(path.name + end))]
    if not journals:
        with closing(_connected(path, "mode=ro&immutable=1")) as database:
            yield database
        return
    with tempfile.TemporaryDirectory(prefix="turnlog-import-") as folder:
        for file in (path, *journals):
            shutil.copyfile(file, Path(folder, file.name), follow_symlinks=False)
        with closing(_connected(Path(folder, path.name), "mode=rw")) as database:
            yield database


def _has_bytes(path: Path) -> bool:
    try:
        facts = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(facts.st_mode) and facts.st_size > 0


def _connected(path: Path, how: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?{how}"
    # Which thread asks for the next conversation may change; two never do at once.
    database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    database.row_factory = sqlite3.Row
    database.text_factory = _text
    for pragma in ("trusted_schema=OFF", "query_only=ON", "cell_size_check=ON"):  # it may be a trap
        database.execute(f"PRAGMA {pragma}")
    return database


def _text(stored: bytes) -> str | bytes:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def _tables(database: sqlite3.Connection) -> set[str]:
    """The names of the tables; views, whose queries are anyone's, are none."""
    return {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def schema_of(database: sqlite3.Connection) -> Schema:
    """By what ``instance_id`` refers to; where that is not declared, by what only one of the two has."""
    if any(row["table"] == "instances" for row in database.execute("PRAGMA foreign_key_list(chat_messages)")):
        return "B"
    tables = _tables(database)
    if "migration_metadata" in tables:
        return "A"
    columns = {row["name"] for row in database.execute("PRAGMA table_info(sessions)")}
    return "B" if "message_count" in columns or "sessions_fts" in tables else "A"


def read(source: Source, name: str) -> Iterator[Conversation | Problem]:
    """Every session, of the database and what SQLite put beside it; then what belongs to none."""
    files = tuple(one for end in _BESIDE if source.has(one := f"{name}{end}"))
    try:
        with opened(source.path(name)) as database:
            for said in _Reading(database, name).all():
                is_one = isinstance(said, Conversation)
                yield msgspec.structs.replace(said, files=files) if is_one else said
    except sqlite3.Error as error:
        yield Problem(name, "database_damaged", str(error))
    except OSError as error:
        yield Problem(name, "unreadable", reason_of(error))
    except IndexError as error:  # how a row says that it has no such column
        yield Problem(name, "unknown_schema", str(error))


class _Reading:
    def __init__(self, database: sqlite3.Connection, name: str) -> None:
        self.database = database
        self.name = name
        self.tables: set[str] = _tables(database)
        self.schema: Schema = schema_of(database)

    def all(self) -> Iterator[Conversation | Problem]:
        if lacking := sorted(_TABLES - self.tables):
            yield Problem(self.name, "unknown_schema", f"it has no table {', '.join(lacking)}")
            return
        for row in self.database.execute("SELECT * FROM sessions ORDER BY rowid"):
            yield self._session(row)
        for session_id, rows in self.database.execute(_ORPHANS):
            yield self._orphans(session_id, rows)
        if "workspaces" in self.tables:
            for hash_, path in self.database.execute(_EMPTY_WORKSPACES):
                yield self._skipped(f"no session has workspace {hash_} ({path})", "workspaces")
        own = self.tables - _TABLES - {"workspaces", _MIGRATION}
        if others := sorted(name for name in own if not name.startswith(_DERIVED)):
            yield self._skipped(f"tables that hold no session: {', '.join(others)}")

    def _skipped(self, reason: str, place: str | None = None) -> Problem:
        return Problem(self.name, "skipped", reason, place, warning=True)

    def _session(self, row: sqlite3.Row) -> Conversation:
        place = f"sessions[id={row['id']!r}]"
        notes = Notes(self.name)
        session = _members(row, notes, place)
        hash_ = session.pop("workspaceHash", None)
        workspace = self._workspace(hash_, notes, place)
        if isinstance(kept := session.get("preserveWorktrees"), int) and kept in (0, 1):
            session["preserveWorktrees"] = kept == 1
        if isinstance(mix := session.get("runtimeMix"), str):
            session["runtimeMix"] = _json_or_text(mix)
        return self._with_rows(session, row["id"], Place(self.name, place, workspace), notes)

    def _orphans(self, session_id: Json, rows: int) -> Conversation:
        """Rows whose session is gone: its id is all that is known of it."""
        place = f"sessions[id={session_id!r}]"
        notes = Notes(self.name)
        notes.say(
            "orphan_rows", f"{rows} instances and messages belong to a session that is not there", place
        )
        known: dict[str, Json] = {} if session_id is None else {"id": session_id}
        return self._with_rows(known, session_id, Place(self.name, place, Workspace()), notes)

    def _workspace(self, hash_: Json, notes: Notes, place: str) -> Workspace:
        if not isinstance(hash_, str):
            return Workspace()
        if "workspaces" in self.tables:
            rows = self.database.execute("SELECT * FROM workspaces WHERE hash = ?", (hash_,)).fetchall()
            for row in rows:
                known = _members(row, notes, f"workspaces[hash={hash_!r}]")
                texts = {key: value for key, value in known.items() if isinstance(value, str)}
                return Workspace(hash_, texts.get("path"), texts.get("lastAccessed"))
        notes.say("dangling_workspace", f"no workspace has the hash {hash_}", f"{place}.workspace_hash")
        return Workspace(hash_)

    def _with_rows(
        self, session: dict[str, Json], session_id: Json, place: Place, notes: Notes
    ) -> Conversation:
        """A session with its instances and its messages, in the order in which they were stored."""
        numbers: dict[Json, Json] = {}
        instances: list[Json] = []
        where = "WHERE session_id IS ?"
        query = f"SELECT * FROM instances {where} ORDER BY instance_id, rowid"  # noqa: S608 -- the text is ours
        for row in self.database.execute(query, (session_id,)):
            instance = _members(row, notes, f"{place.at}.instances[{len(instances)}]")
            instance.pop("sessionId", None)
            numbers[instance.pop("id", None)] = instance.get("instanceId")
            instances.append(instance)
        messages = Spool[Json]()
        query = f"SELECT * FROM chat_messages {where} ORDER BY rowid"  # noqa: S608 -- the text is ours
        for row in self.database.execute(query, (session_id,)):
            at = f"{place.at}.chatHistory[{len(messages)}]"
            message = _members(row, notes, at)
            message.pop("sessionId", None)
            if self.schema == "B" and "instanceId" in message:
                instance_row = message.pop("instanceId")
                if instance_row in numbers:
                    message["instanceId"] = numbers[instance_row]
                else:
                    message["instanceRow"] = instance_row
                    reason = f"its session has no instance in row {instance_row}"
                    notes.say("dangling_instance", reason, f"{at}.instance_id")
            messages.append(message, _ROW_BYTES + sum(len(v) for v in message.values() if isinstance(v, str)))
        for count, rows in (("instance_count", len(instances)), ("message_count", len(messages))):
            if isinstance(told := session.get(count), int) and told != rows:
                notes.say("count_mismatch", f"{count} is {told}, and there are {rows}", place.at)
        return conversation(session | {"instances": instances}, place, notes, messages)


def _members(row: sqlite3.Row, notes: Notes, place: str) -> dict[str, Json]:
    """A row under the names that the JSON has. What is NULL is absent there."""
    found: dict[str, Json] = {}
    for column in row.keys():  # noqa: SIM118 -- a row iterates over its values
        value = row[column]
        if value is None:
            continue
        if isinstance(value, bytes):
            notes.say("wrong_type", "it is bytes, not text", f"{place}.{column}")
            value = {"base64": base64.b64encode(value).decode()}
        found[_camel(column)] = value
    return found


def _camel(column: str) -> str:
    if column in _CAMEL_EXCEPTIONS:
        return column
    first, *others = _RENAMED.get(column, column).split("_")
    return first + "".join(word.capitalize() for word in others)


def _json_or_text(text: str) -> Json:
    """The array that a column holds as text; if it is none, the text, which is then noted."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
