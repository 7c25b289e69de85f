"""Copies of one context: which is the newest by what is in them, and what only the others have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

import msgspec

from eventstore.content import Json
from eventstore.spool import View
from turnlog.importers.conversation import Conversation, Kept, Message, Problem

_REASON: Final = "the newer copy says it otherwise, and is taken"


def merge(one: Conversation, other: Conversation) -> Conversation:
    """The newer of two copies, with the messages that only the older has; the older is reported as merged.

    Its files are counted as read only if nothing in them is lost: they may be deleted then.
    """
    newer, older = _by_age(one, other)
    added = _added(newer, older)
    untaken, lost = _untaken(newer, older)
    differences = [*_differences(newer, older), *lost]
    reason = f"an older copy of the context in {newer.origin}"
    merged = Problem(older.origin, "merged", reason, None, newer.id, warning=True)
    reason = "a message that the newer copy lacks"
    only_older = [_about(older, str(message.id), "only_in_older_copy", reason) for message in added]
    files = _files(newer) if differences else (*_files(newer), *_files(older))

    def message(index: int) -> Message:
        there = index - len(newer.messages)
        return newer.messages[index] if there < 0 else added[there]

    return msgspec.structs.replace(
        newer,
        messages=View(range(len(newer.messages) + len(added)), message),
        kept=(*newer.kept, *untaken),
        warnings=(*newer.warnings, *older.warnings, merged, *only_older, *differences),
        files=tuple(dict.fromkeys(files)),
    )


def _by_age(one: Conversation, other: Conversation) -> tuple[Conversation, Conversation]:
    """The newer has the other's messages and more; else that whose last message is later; else the fuller."""
    ids, others = ({message.id for message in copy.messages} for copy in (one, other))
    if ids < others:
        return other, one
    if ids > others:
        return one, other
    ages = [(_last(copy) if ids != others else 0, *_fullness(copy)) for copy in (one, other)]
    return (one, other) if ages[0] >= ages[1] else (other, one)


def _last(copy: Conversation) -> int:
    times = (message.occurred_at for message in copy.messages if message.time_source == "source")
    return max((time for time in times if time is not None), default=0)


def _fullness(copy: Conversation) -> tuple[int, int, int, int, bool, str]:
    chunks = ended = 0
    for message in copy.messages:
        if message.streamed is not None:
            chunks += len(message.streamed.chunks)
            ended += message.streamed.outcome is not None
    return (
        len(copy.messages),
        chunks,
        ended,
        len(copy.config) + (copy.title is not None) + len(copy.branches),
        copy.attributes["import"]["layout"] == "pool",
        copy.origin,
    )


def _added(newer: Conversation, older: Conversation) -> Sequence[Message]:
    """They stand where orphans stand: the newer copy has them on no branch."""
    there: set[UUID] = set()
    branches: set[str] = set()
    for message in newer.messages:
        there.add(message.id)
        branches.add(message.branch)
    home = next(iter(branches - newer.branches.keys()), "orphaned")
    while home in newer.branches:
        home += "-"
    added: list[int] = []
    for index, message in enumerate(older.messages):  # parents first, so that each finds its own
        if message.id not in there:
            there.add(message.id)
            added.append(index)

    def at_home(index: int) -> Message:
        return msgspec.structs.replace(older.messages[index], branch=home)

    return View(added, at_home)


def _untaken(newer: Conversation, older: Conversation) -> tuple[list[Kept], list[Problem]]:
    """Messages that could not be taken: those of the older copy alone, and what it says otherwise."""
    mine = _by_place(newer)
    added: list[Kept] = []
    lost: list[Problem] = []
    for place, facts in _by_place(older).items():
        if place not in mine:
            added += facts
        elif facts != mine[place]:
            lost.append(_about(older, place, "copies_differ", _REASON))
    return added, lost


def _by_place(copy: Conversation) -> dict[Json, list[Kept]]:
    found: dict[Json, list[Kept]] = {}
    for fact in copy.kept:
        found.setdefault(fact.data["place"], []).append(fact)
    return found


def _differences(newer: Conversation, older: Conversation) -> Iterator[Problem]:
    """What the older copy says otherwise, and what only it says of the context: the newer copy is taken."""
    parents: dict[UUID, UUID | None] = {}
    places: dict[UUID, int] = {}
    for index, message in enumerate(newer.messages):
        parents[message.id], places[message.id] = message.parent_id, index
    for message in older.messages:
        if message.id in places and not _covers(newer.messages[places[message.id]], message):
            yield _about(older, str(message.id), "copies_differ", _REASON)
    if not older.config.items() <= newer.config.items():
        yield _about(older, "$.config", "copies_differ", _REASON)
    if older.title is not None and older.title != newer.title:
        yield _about(older, "$.title", "copies_differ", _REASON)
    for name, head in older.branches.items():
        if name not in newer.branches or not _leads_to(head, newer.branches[name], parents):
            yield _about(older, f"$.branches.{name}", "copies_differ", _REASON)
    if older.active_branch != newer.active_branch:
        yield _about(older, "$.active_branch_name", "copies_differ", _REASON)
    state = (older.state, older.state_detail)
    if state not in ((newer.state, newer.state_detail), ("idle", None)):
        yield _about(older, "$.current_state", "copies_differ", _REASON)
    kept, also = newer.attributes["import"]["source"], older.attributes["import"]["source"]
    for name, value in also.items():
        if name not in kept or kept[name] != value:
            yield _about(older, f"$.{name}", "copies_differ", _REASON)


def _leads_to(wanted: UUID | None, head: UUID | None, parents: dict[UUID, UUID | None]) -> bool:
    """Whether a branch with that head went on from the one that is wanted."""
    while head is not None and head != wanted:
        head = parents[head]
    return head == wanted


def _covers(newer: Message, older: Message) -> bool:
    """Whether the newer message says all that the older does: a stream that was open may have gone on."""
    if (newer.role, newer.parent_id) != (older.role, older.parent_id):
        return False
    if older.time_source == "source" and newer.occurred_at != older.occurred_at:
        return False
    mine, theirs = newer.streamed, older.streamed
    if (
        mine is not None
        and theirs is not None
        and theirs.outcome is None
        and not (newer.parts or older.parts)
    ):
        return mine.chunks[: len(theirs.chunks)] == theirs.chunks
    said, also = ((one.parts, one.message_type, one.metadata, one.streamed) for one in (newer, older))
    return said == also


def _files(copy: Conversation) -> tuple[str, ...]:
    return copy.files or (copy.origin,)


def _about(copy: Conversation, place: str, code: str, reason: str) -> Problem:
    return Problem(copy.origin, code, reason, place, copy.id, warning=True)
