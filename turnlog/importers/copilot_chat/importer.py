"""The copilot_chat importer: finds contexts of every generation in a source, and reads each as one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import msgspec

from turnlog.importers.conversation import Conversation, Problem
from turnlog.importers.copilot_chat.contexts import assemble
from turnlog.importers.copilot_chat.copies import merge
from turnlog.importers.copilot_chat.layouts import (
    MESSAGES,
    MESSAGES_ROWED,
    find_context,
    find_designed,
    has_messages,
    holds_parts,
    identity_of,
    is_index,
    kind_of,
    stem,
)
from turnlog.importers.copilot_chat.notes import FORMAT, object_of
from turnlog.importers.copilot_chat.sessions import find_session, is_agent_log
from turnlog.importers.source.files import Source, Unreadable, uuid_of
from turnlog.importers.source.keeping import fitted, settled
from turnlog.importers.source.notes import problem_of
from turnlog.importers.source.seen import Seen, mark_of
from turnlog.importers.source.shapes import shape

_HEAD_BYTES: Final = 512
_FIRST_ID: Final = re.compile(rb'\s*\{\s*"(id|context_id)"\s*:\s*"([^"\\\x80-\xff]{1,200})"')
"""The id is the first member of every context that the program wrote: it is seen without reading the file."""

_LINE_BYTES: Final = 1 << 20
"""The first line of an agent's is shorter: it seldom is more than a token."""

_LOOKED_AT: Final = 200
"""Files that are read to recognise the format: whoever knows it can insist."""


LOOKED_FOR: Final = "JSON objects with branches and a message pool, or sessions with messages"


class CopilotChat:
    """Generations 1 to 5, and the layout that was only designed."""

    format: str = FORMAT

    def recognises(self, source: Source) -> bool:
        """Whether one of the first files is a context."""
        looked_at = 0
        for name in _candidates(source):
            if looked_at == _LOOKED_AT:
                return False
            looked_at += 1
            try:
                is_array = shape(source, name, b"").opening == b"["  # no context is: it may be large
                if not is_array and _kind(name, source)[1] != "other":
                    return True
            except Unreadable:
                continue
        return False

    def claims(self, source: Source, name: str) -> bool:
        """Whether ``read`` tells of a file: of any JSON, and of the lines of an agent."""
        if name.endswith(".jsonl") and source.has(name[:-1]):
            return _is_agent_log(name, source)
        return name.endswith((".json", ".jsonl"))

    def read(self, source: Source) -> Iterator[Conversation | Problem]:
        """Every context once, also if there are copies of it: those are read together, after the others."""
        twice = _copied(source)
        copies: dict[int, list[str]] = {}
        for name in _candidates(source):
            mark = _mark(name, source) if twice else None
            if mark is not None and mark in twice:
                copies.setdefault(mark, []).append(name)
            else:
                yield from map(_fitted, _read(name, source))  # so that none is held when the next is read
        for names in copies.values():
            found: dict[UUID, Conversation] = {}
            for name in names:
                for item in _read(name, source):
                    if isinstance(item, Problem):
                        yield item
                    else:
                        before, one = found.get(item.id), _settled(item)
                        found[item.id] = one if before is None else _settled(merge(before, one))
            yield from map(fitted, found.values())


def _settled(conversation: Conversation) -> Conversation:
    return msgspec.structs.replace(conversation, messages=settled(conversation.messages))


def _fitted(item: Conversation | Problem) -> Conversation | Problem:
    return item if isinstance(item, Problem) else fitted(item)


def _candidates(source: Source) -> Iterator[str]:
    """Files that may be a context's own; those of its messages are read with it."""
    folder, parts = None, False
    for name in source.files():
        if name.endswith(".json"):
            if name.rpartition("/")[0] != folder:  # all files of one folder are messages, or none is
                folder, parts = name.rpartition("/")[0], holds_parts(name, source)
            if not parts and not is_index(name, source):
                yield name
        elif name.endswith(".jsonl") and not source.has(name[:-1]):
            yield name


def _kind(name: str, source: Source) -> tuple[dict[str, Any], str]:
    if name.endswith(".jsonl"):
        return {"id": stem(name)}, "session" if _is_agent_log(name, source) else "other"
    value = source.json(name, MESSAGES, MESSAGES_ROWED)
    document, kind = object_of(value), kind_of(value, name, source)
    if kind == "other" and document is not None and _has_lines(name, source):
        kind = "session"
    return document or {}, kind


def _has_lines(name: str, source: Source) -> bool:
    """Whether an agent's lines lie beside a session's JSON."""
    return source.has(f"{name}l") and _is_agent_log(f"{name}l", source)


def _is_agent_log(name: str, source: Source) -> bool:
    try:
        return is_agent_log(source.head(name, _LINE_BYTES))
    except Unreadable:
        return False


def _read(name: str, source: Source) -> Iterator[Conversation | Problem]:
    try:
        document, kind = _kind(name, source)
    except Unreadable as error:
        yield problem_of(error)
        if _has_lines(name, source):
            reason = f"it is read together with {name}, which cannot be read"
            yield Problem(f"{name}l", "session_unreadable", reason)
        return
    if kind == "context":
        found = find_context(document, name, source)
    elif kind == "designed":
        found = find_designed(document, name, source)
    elif kind == "session":
        found = find_session(document, name, source)
    else:
        yield _no_conversation(name, document, source)
        return
    conversation = assemble(found)
    yield from found.notes.lost()
    yield conversation


def _no_conversation(name: str, document: dict[str, Any], source: Source) -> Problem:
    """Other JSON is left where it is; what is called as a context or lies beside messages should be one."""
    if "ui_state" in document or "open_contexts" in document:
        return Problem(name, "not_a_conversation", "it is the state of a user's window", warning=True)
    reason = "it has the shape of no context of copilot_chat"
    should_be = uuid_of(stem(name)) is not None or has_messages(name, source)
    return Problem(name, "not_a_conversation", reason, warning=not should_be)


def _copied(source: Source) -> frozenset[int]:
    """The marks of contexts that are there more than once."""
    seen = Seen()
    marks = (mark for name in _candidates(source) if (mark := _mark(name, source)) is not None)
    return frozenset(mark for mark in marks if not seen.add(mark))


def _mark(name: str, source: Source) -> int | None:
    """Eight bytes for a context's id; None for what is none."""
    try:
        if name.endswith(".json"):
            first = _FIRST_ID.match(source.head(name, _HEAD_BYTES))
            if first is not None:
                return mark_of(identity_of({first[1].decode(): first[2].decode()}, name).bytes)
        document, kind = _kind(name, source)
    except Unreadable:
        return None
    return None if kind == "other" else mark_of(identity_of(document, name).bytes)
