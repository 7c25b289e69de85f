"""Copies of one context: which is the newest by what is in them, and what only the others have."""

from __future__ import annotations

import msgspec

from turnlog.importers.conversation import Conversation, Message, Problem


def merge(one: Conversation, other: Conversation) -> Conversation:
    """The newer of two copies, with all that only the older has; the older is reported as merged."""
    newer, older = _by_age(one, other)
    mine = {message.id: message for message in newer.messages}
    added = _added(newer, older)
    warnings = [*newer.warnings, *older.warnings]
    reason = f"an older copy of the context in {newer.origin}"
    warnings.append(Problem(older.origin, "merged", reason, None, newer.id, warning=True))
    reason = "a message that the newer copy lacks"
    warnings += [_about(older, message, "only_in_older_copy", reason) for message in added]
    reason = "the newer copy of the message is taken"
    warnings += [
        _about(older, message, "copies_differ", reason)
        for message in older.messages
        if message.id in mine and _said(message) != _said(mine[message.id])
    ]
    return msgspec.structs.replace(
        newer,
        messages=(*newer.messages, *added),
        warnings=tuple(warnings),
        files=tuple(dict.fromkeys((*_files(newer), *_files(older)))),
    )


def _by_age(one: Conversation, other: Conversation) -> tuple[Conversation, Conversation]:
    """The newer has the other's messages and more; of equals, more of the rest."""
    return (one, other) if _fullness(one) >= _fullness(other) else (other, one)


def _fullness(copy: Conversation) -> tuple[int, int, int, int, int, str]:
    streams = [message.streamed for message in copy.messages if message.streamed is not None]
    return (
        len(copy.messages),
        sum(len(stream.chunks) for stream in streams),
        sum(stream.outcome is not None for stream in streams),
        len(copy.config) + (copy.title is not None) + len(copy.branches),
        copy.attributes["import"]["layout"] == "pool",
        copy.origin,
    )


def _added(newer: Conversation, older: Conversation) -> list[Message]:
    """They stand where orphans stand: the newer copy has them on no branch."""
    there = {message.id for message in newer.messages}
    homes = {message.branch for message in newer.messages} - newer.branches.keys()
    home = next(iter(homes), "orphaned")
    while home in newer.branches:
        home += "-"
    added: list[Message] = []
    for message in older.messages:  # parents first, so that each finds its own
        if message.id not in there:
            there.add(message.id)
            added.append(msgspec.structs.replace(message, branch=home))
    return added


def _files(copy: Conversation) -> tuple[str, ...]:
    return copy.files or (copy.origin,)


def _said(message: Message) -> tuple[object, ...]:
    return message.role, message.parts, message.message_type, message.streamed, message.metadata


def _about(copy: Conversation, message: Message, code: str, reason: str) -> Problem:
    return Problem(copy.origin, code, reason, str(message.id), copy.id, warning=True)
