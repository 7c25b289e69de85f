"""The history of AIT42: JSON arrays of sessions, the names of their workspaces, and its databases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, count
from pathlib import PurePosixPath
from typing import Any, Final, cast

import msgspec

from eventstore.content import Json
from turnlog.importers.ait42 import databases
from turnlog.importers.ait42.sessions import FORMAT, Place, Workspace, conversation
from turnlog.importers.conversation import Conversation, Problem
from turnlog.importers.source.arrays import elements
from turnlog.importers.source.fields import type_of
from turnlog.importers.source.files import Source, Unreadable
from turnlog.importers.source.notes import Notes, problem_of
from turnlog.importers.source.pieces import Left, decode_large
from turnlog.importers.source.seen import Seen, mark_of
from turnlog.importers.source.shapes import shape

LOOKED_FOR: Final = "JSON arrays of sessions with task, instances or chatHistory; SQLite with chat_messages"

_MAPPING: Final = "workspace_mapping.json"
_CHAT: Final = "chatHistory"
_HASH: Final = re.compile(r"[0-9a-f]{16}")
_TELLING: Final = frozenset(("task", "instances", _CHAT))
_KNOWN: Final = _TELLING | {"type", "status", "createdAt", "updatedAt", "winnerId"}


class Ait42:
    """AIT42's session history in each of its forms."""

    format: str = FORMAT

    def recognises(self, source: Source) -> bool:
        """Whether there is an array of sessions, one without any under a workspace's hash, or a database."""
        return any(_is_history(source, name) for name in source.files())

    def claims(self, source: Source, name: str) -> bool:
        """Whether a file is AIT42's, sound or not."""
        base = databases.database_of(name)
        return PurePosixPath(name).name == _MAPPING or _is_history(source, base) or _is_named_so(name)

    def read(self, source: Source) -> Iterator[Conversation | Problem]:
        """Every session of every file, in the order of the files' names, and of the sessions in each."""
        paths: dict[str, str] = {}
        for name in source.files():
            if PurePosixPath(name).name == _MAPPING:
                mapped: dict[str, str] = {}
                yield from _read_mapping(source, name, mapped)
                yield from _without_sessions(source, name, mapped)
                paths |= mapped
        alone = source.is_file
        for name in source.files():
            if databases.is_database(source, name):
                if alone or databases.has_sessions(source, name):
                    yield from databases.read(source, name)
            elif alone or _is_history(source, name) or _is_named_so(name):
                yield from _read_array(source, name, paths)


def _is_history(source: Source, name: str) -> bool:
    if databases.is_database(source, name):
        return databases.has_sessions(source, name)
    if not name.endswith(".json"):
        return False
    opening, keys = shape(source, name, b"[")
    if opening == b"[" and keys & _TELLING and len(keys & _KNOWN) > 1:
        return True
    return not keys and opening in (b"", b"[") and _is_named_so(name)


def _is_named_so(name: str) -> bool:
    """Whether a file is called as the history of a workspace is, so that one that is broken gets reported."""
    path = PurePosixPath(name)
    return path.suffix == ".json" and _HASH.fullmatch(path.stem) is not None


def _read_mapping(source: Source, name: str, paths: dict[str, str]) -> Iterator[Problem]:
    notes = Notes(name)
    try:
        mapping = notes.decode(source.bytes(name))
    except Unreadable as unreadable:
        yield problem_of(unreadable)
        return
    yield from notes.said()
    if not isinstance(mapping, dict):
        yield Problem(name, "wrong_type", f"it is {type_of(mapping)}, not an object", "$")
        return
    for key, path in cast("dict[str, Json]", mapping).items():
        if isinstance(path, str):
            paths[key] = path
        else:
            yield Problem(name, "wrong_type", f"it is {type_of(path)}, not a text", f"$.{key}")


def _without_sessions(source: Source, name: str, mapped: dict[str, str]) -> Iterator[Problem]:
    """The workspaces that a mapping names, and no file is called after."""
    left = dict(mapped)
    for other in source.files():
        left.pop(PurePosixPath(other).stem, None)
    for key, path in left.items():
        yield Problem(name, "skipped", f"no session has workspace {key} ({path})", f"$.{key}", warning=True)


def _read_array(source: Source, name: str, paths: dict[str, str]) -> Iterator[Conversation | Problem]:
    stem = PurePosixPath(name).stem
    workspace = Workspace(stem, paths.get(stem)) if _HASH.fullmatch(stem) else Workspace()
    seen = Seen()
    try:
        with source.open(name) as file:
            texts = elements(file, name)
            for index in count():
                text = next(texts, None)
                if text is None:
                    return
                found = _session(text, Place(name, f"$[{index}]", workspace))
                del text  # it may be large, and so may be what is made of it
                if isinstance(found, Conversation):
                    found = _told_if_repeated(found, f"$[{index}]", seen)
                yield found
    except Unreadable as unreadable:
        yield problem_of(unreadable)


def _session(text: bytes, place: Place) -> Conversation | Problem:
    notes = Notes(place.path)
    try:
        session = decode_large(text, (_CHAT,))
        if session is msgspec.UNSET:
            session = notes.decode(text, place.at)
        if not isinstance(session, dict):
            return Problem(place.path, "wrong_type", f"it is {type_of(session)}, not an object", place.at)
        members = cast("dict[str, Any]", session)
        chat, left = None, members.get(_CHAT)
        if isinstance(left, Left) and left.is_array:
            chat = chain.from_iterable(left.items())
            del members[_CHAT]
        elif isinstance(left, Left):
            members[_CHAT] = left.value()
        return conversation(members, place, notes, chat)
    except Unreadable as unreadable:
        return problem_of(unreadable)
    except RecursionError:
        return Problem(place.path, "nested_too_deeply", "a value in it is nested too deeply", place.at)


def _told_if_repeated(found: Conversation, at: str, seen: Seen) -> Conversation:
    if not seen.add(mark_of(found.id.bytes)):
        reason = "a session with this id stands before"
        said = Problem(found.origin, "repeated_id", reason, at, found.id)
        return msgspec.structs.replace(found, warnings=(said, *found.warnings))
    return found
