"""The sessions of Taskerino: collections of whole sessions (phase 3), and sessions in chunks (phase 4)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, cast

from msgspec.structs import replace

from eventstore.content import Json
from turnlog.importers.conversation import Conversation, Problem
from turnlog.importers.source.fields import type_of
from turnlog.importers.source.files import Source, Unreadable
from turnlog.importers.source.notes import Notes, problem_of
from turnlog.importers.source.shapes import head, shape
from turnlog.importers.taskerino.attachments import INDEX, STORE, Attachments
from turnlog.importers.taskerino.envelope import (
    collection,
    is_envelope,
    may_be_envelope,
    shape_inside,
    value,
)
from turnlog.importers.taskerino.folders import Folders, read_folder
from turnlog.importers.taskerino.items import FORMAT, Found
from turnlog.importers.taskerino.sessions import conversation, is_session, unfold

LOOKED_FOR: Final = (
    "JSON arrays of sessions with startTime; folders with a session's metadata.json and its chunks; "
    "each with or without the envelope version, checksum, data"
)

_SKIPPED: Final = {
    "backups": re.compile(r"\.backup[^/]*$"),
    "temporaries": re.compile(r"\.tmp[^/]*$"),
    "write-ahead logs, whose entries are not replayed": re.compile(r"(^|/)wal\.(log|checkpoint)$"),
    "attachments, which are referred to by their hash": re.compile(rf"(^|/)({STORE}/.*|{re.escape(INDEX)})$"),
    "rollback points": re.compile(r"(^|/)rollback-points(/.*|-index\.json)$"),
    "indexes": re.compile(r"(^|/)session-index(es)?(\.compressed)?\.json$"),
    "compressed twins of a collection": re.compile(r"(^|/)sessions\.compressed\.json$"),
}
"""What is no session, by what it is; backups first, for there are some of everything."""


_INDEX: Final = re.compile(r"(^|/)session-index\.json$")


class Taskerino:
    """Taskerino's database of JSON files, in each of its phases."""

    format: str = FORMAT

    def recognises(self, source: Source) -> bool:
        """Whether there is a collection of sessions or the folder of one."""
        folders = Folders(source)
        return any(
            _is_collection(source, name) or folders.of(name) is not None
            for name in source.files()
            if not _reason_to_skip(source, name)
        )

    def claims(self, source: Source, name: str) -> bool:
        """Whether a file is Taskerino's, sound or not."""
        if _reason_to_skip(source, name) or _is_collection(source, name):
            return True
        return Folders(source).of(name) is not None

    def read(self, source: Source) -> Iterator[Conversation | Problem]:
        """Every session, in the order of the files' names; last, what was passed over."""
        skipped = Counter[str]()
        folder: str | None = None
        names: list[str] = []
        folders, stores = Folders(source), _Stores(source)
        for name in source.files():
            if reason := _reason_to_skip(source, name):
                skipped[reason] += 1
                if _INDEX.search(name):
                    yield from _dangling(source, name)
                continue
            if folder is not None and (not folder or name.startswith(f"{folder}/")):
                names.append(name)
                continue
            if folder is not None:  # the files of a folder stand together
                yield from read_folder(source, folder, names, stores.beside(folder))
            folder, names = folders.of(name), [name]
            if folder is None and (source.is_file or _is_collection(source, name)):
                yield from _read_collection(source, name, stores.beside(name))
        if folder is not None:
            yield from read_folder(source, folder, names, stores.beside(folder))
        yield from stores.unread.values()
        for reason, count in sorted(skipped.items()):
            yield Problem(".", "skipped", f"{count:,} {reason}", warning=True)


def _reason_to_skip(source: Source, name: str) -> str | None:
    """Why a file is passed over; not one that is the whole source, which is what someone asked for."""
    if source.is_file:
        return None
    return next((reason for reason, pattern in _SKIPPED.items() if pattern.search(name)), None)


def _dangling(source: Source, name: str) -> Iterator[Problem]:
    """The sessions that an index names, and that have no folder: where all are one file, it says itself."""
    folder = name.rpartition("session-index.json")[0]
    if source.has(f"{folder}sessions.json"):
        return
    try:
        named = value(source, name, Notes(name))
    except Unreadable as unreadable:
        yield replace(problem_of(unreadable), warning=True)
        return
    for index, one in enumerate(cast("list[Json]", named) if isinstance(named, list) else []):
        is_id = isinstance(one, str) and one not in ("", ".", "..") and "/" not in one
        if not (is_id and source.path(f"{folder}sessions/{one}").is_dir()):
            reason = f"there is no session {str(one)[:60]}"
            yield Problem(name, "dangling_session", reason, f"$[{index}]", warning=True)


class _Stores:
    """The attachments beside files and folders; sessions lie side by side and share them."""

    def __init__(self, source: Source) -> None:
        self.unread: dict[str, Problem] = {}
        self._source = source
        self._last: tuple[str, Attachments] | None = None

    def beside(self, name: str) -> Attachments:
        folder = name.rpartition("/")[0]
        if self._last is None or self._last[0] != folder:
            self._last = folder, Attachments(self._source, folder, self.unread)
        return self._last[1]


def _is_collection(source: Source, name: str) -> bool:
    if not name.endswith(".json"):
        return False
    seen = shape(source, name, b"[")
    if seen.opening == b"{" and may_be_envelope(head(source, name)) and is_envelope(shape(source, name)):
        try:
            seen = shape_inside(source, name)
        except Unreadable:
            return name.rpartition("/")[2] == "sessions.json"
    return seen.opening == b"[" and is_session(seen.keys)


def _read_collection(source: Source, name: str, attachments: Attachments) -> Iterator[Conversation | Problem]:
    whole = Notes(name)
    try:
        for index, text in enumerate(collection(source, name, whole)):
            yield _session(text, name, f"$[{index}]", attachments)
    except Unreadable as unreadable:
        yield problem_of(unreadable)
    yield from whole.said()


def _session(text: bytes, name: str, place: str, attachments: Attachments) -> Conversation | Problem:
    notes = Notes(name)
    try:
        session: Any = notes.decode(text, place)
        if not isinstance(session, dict):
            return Problem(name, "wrong_type", f"it is {type_of(session)}, not an object", place)
        members = cast("dict[str, Json]", session)
        recorded = unfold(members, name, place, notes)
        return conversation(Found(members, name, place), recorded, attachments, notes)
    except Unreadable as unreadable:
        return problem_of(unreadable)
    except RecursionError:
        return Problem(name, "nested_too_deeply", "a value in it is nested too deeply", place)
