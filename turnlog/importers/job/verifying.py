"""Verifying: a conversation against what the views answer, by content, field by field and chunk by chunk."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar, TypeVarTuple, cast
from uuid import UUID

import anyio.to_thread
import msgspec

from eventstore.content import Json, Part, TextPart
from eventstore.limits import EVENTS_AT_ONCE
from eventstore.portions import portions
from projections.answers import ContextState, MessageBody
from projections.metadata import same_json
from projections.pages import BODIES_AT_ONCE, BODIES_BYTES
from projections.timetravel import NOW, AtVersion, Moment
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Conversation, Message
from turnlog.importers.job.differences import MISSING, Difference, Findings, lacks
from turnlog.importers.job.events import Events, events_of
from turnlog.importers.job.ids import Ancestry, Ids
from turnlog.importers.job.recording import (
    IMPORT,
    branches_of,
    folded,
    metadata_of,
    tags_of,
    without_copies,
)
from turnlog.importers.job.streams import compare_stream
from turnlog.importers.source.kept import in_force, owner_of
from turnlog.importers.source.times import ASSUMED_UTC, read_time

PAGE_MESSAGES: Final = 250

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Compared(NamedTuple):
    """What a comparison saw: the context, its messages, what differs, and the conversation's messages."""

    state: ContextState
    there: Ancestry
    differences: list[Difference]
    ids: Ids


class _There(NamedTuple):
    """A message that is there, with the bytes of its body. ``is_new``: it came with this copy.

    ``place``: in the conversation.
    """

    place: int
    id: UUID
    is_new: bool
    bytes: int


async def compare(
    log: Turnlog,
    conversation: Conversation,
    *,
    workspace: str | None = None,
    before: int = 0,
    version: int | None = None,
) -> Compared:
    """Compare a conversation with its context as it was at ``version``; None: as it is now.

    What was there at version ``before`` was not brought in with this conversation. Then a later copy adds and
    changes but takes nothing away: members, branches and messages beyond its own are no difference, and the
    synthesised times of messages that an earlier copy brought are those that it had.

    Raises ``NotFound`` when there is no such context, and ``Unavailable`` as queries and a ``Spool`` do.
    """
    is_past = version is not None and version != log.store.version_of(conversation.id)
    moment: Moment = AtVersion(version) if is_past and version is not None else NOW  # now costs less
    findings = Findings(conversation.id)
    state = await log.queries.context(conversation.id, moment)
    events = await _found(state.version, events_of, log, conversation.id, state.version)
    ids = await _found(len(conversation.messages), _ids, conversation)
    there = await _compare_messages(log, conversation, ids, before, moment, events, findings)
    _compare_kept(conversation, events, before > 0, findings)
    _compare_context(conversation, workspace, state, before > 0, there, findings)
    return Compared(state, there, findings.differences, ids)


def _ids(conversation: Conversation) -> Ids:
    return Ids(message.id for message in conversation.messages)


async def _found(events: int, find: Callable[[*_Ts], _T], *arguments: *_Ts) -> _T:
    """What follows from so many events; of more than a few another thread finds it."""
    return find(*arguments) if events <= EVENTS_AT_ONCE else await anyio.to_thread.run_sync(find, *arguments)


def _compare_context(
    conversation: Conversation,
    workspace: str | None,
    state: ContextState,
    is_later: bool,
    there: Ancestry,
    findings: Findings,
) -> None:
    wanted = workspace or conversation.workspace or (None if is_later else "default")
    if wanted is not None:
        findings.check(None, "workspace", wanted, state.workspace)
    members: tuple[tuple[str, Json, Json], ...] = (
        ("title", conversation.title, state.title),
        ("config", conversation.config, state.config),
        ("attributes", conversation.attributes, without_copies(state.attributes)),
        ("tags", tags_of(conversation), state.tags),
        ("state", conversation.state, state.state),
        ("state_detail", conversation.state_detail, state.state_detail),
    )
    for field, expected, found in members:
        if not is_later:
            findings.check(None, field, expected, found)
        elif expected not in (None, []) and lacks(expected, found):
            findings.add(None, field, expected, found)
    branches = branches_of(conversation)
    for name, head in branches.items():
        current = state.branches.get(name)
        if name not in state.branches or not (
            current == head or (is_later and there.is_ahead(head, current))
        ):
            findings.add(None, f"branches/{name}", head, current)
    for name in () if is_later else state.branches.keys() - branches.keys():
        findings.add(None, f"branches/{name}", "no such branch", state.branches[name])
    findings.check(None, "active_branch", conversation.active_branch, state.active_branch)


async def _compare_messages(
    log: Turnlog,
    conversation: Conversation,
    ids: Ids,
    before: int,
    moment: Moment,
    events: Events,
    findings: Findings,
) -> Ancestry:
    ancestry = Ancestry()
    came = array("I")
    cursor: str | None = None
    while True:
        page = await log.queries.messages(
            conversation.id, all_branches=True, limit=PAGE_MESSAGES, after=cursor, moment=moment
        )
        there: list[_There] = []
        for entry in page.items:
            ancestry.add(entry.id, entry.parent_id)
            is_new = entry.version > before
            place = ids.place(entry.id)
            if place is not None:
                there.append(_There(place, entry.id, is_new, entry.size_bytes or 0))
                if is_new:
                    came.append(place)
            elif is_new:
                findings.add(entry.id, MISSING, "no such message", "a message")
        for some in portions(there, lambda one: one.bytes, BODIES_BYTES, BODIES_AT_ONCE):
            wanted = [one.id for one in some]
            found = await log.queries.bodies(wanted, moment, context_id=conversation.id)
            for one, body in zip(some, found, strict=True):
                message = conversation.messages[one.place]
                await _compare_message(log, message, body, events, one.is_new, findings)
        cursor = page.next_cursor
        if cursor is None:
            break
    for message_id in ids:
        if message_id not in ancestry.ids:
            findings.missing(message_id)
    _compare_order(ids, came, findings)
    return ancestry


def _compare_kept(conversation: Conversation, events: Events, is_later: bool, findings: Findings) -> None:
    """Each fact is there: in the order of the copy that the context came with; later, as the last word."""
    there: Sequence[tuple[str, Json]] = in_force(events.kept) if is_later else events.kept
    if not is_later and len(there) != len(conversation.kept):
        findings.add(None, "kept", f"{len(conversation.kept)} facts", f"{len(there)} facts")
    for number, kept in enumerate(conversation.kept):
        candidates = there if is_later else there[number : number + 1]
        if not any(kept.name == name and same_json(kept.data, data) for name, data in candidates):
            findings.add(owner_of(kept.name, kept.data), f"kept/{number}", kept.data, list(candidates[:1]))


def _compare_order(ids: Ids, came: array[int], findings: Findings) -> None:
    """Those that came with this copy, by their places in it, stand in its order."""
    if all(before < after for before, after in pairwise(came)):
        return
    for index, (wanted, there) in enumerate(zip(sorted(came), came, strict=True)):
        if wanted != there:
            expected, found = ids.at(wanted), ids.at(there)
            findings.add(expected, "order", f"message {index} is {expected}", f"message {index} is {found}")
            return


async def _compare_message(
    log: Turnlog,
    message: Message,
    body: MessageBody,
    events: Events,
    is_new: bool,
    findings: Findings,
) -> None:
    entry, streamed, key = body.entry, message.streamed, message.id
    compares_times = is_new or message.time_source == "source"
    if entry.redacted:
        findings.add(key, "redacted", False, True)
        return
    findings.check(key, "parent_id", message.parent_id, entry.parent_id)
    findings.check(key, "role", message.role, entry.role)
    findings.check(key, "streamed", streamed is not None, entry.streamed)
    if is_new:
        findings.check(key, "branch", message.branch, entry.branch)
    metadata, stored = metadata_of(message), events.metadata_of(key)
    if not compares_times:
        metadata, stored = _without_notes(metadata), _without_notes(stored)
    if not is_new:
        metadata, stored = _by_moments(metadata), _by_moments(stored)
    findings.check(key, "metadata", metadata, stored)
    if streamed is None:
        findings.check(key, "message_type", message.message_type, entry.message_type)
        if compares_times:
            findings.check(key, "occurred_at", message.occurred_at, entry.occurred_at)
        _compare_parts(message, message.parts, body, findings)
    elif entry.streamed:
        parts = message.parts or await _found(len(streamed.chunks), folded, streamed.chunks)
        _compare_parts(message, parts, body, findings)
        if compares_times:
            findings.check(key, "started_at", streamed.started_at, entry.occurred_at)
            findings.check(key, "completed_at", streamed.completed_at, events.ended_at(key))
        await compare_stream(log, key, streamed, findings, with_times=compares_times)


def _without_notes(metadata: dict[str, Json] | None) -> dict[str, Json]:
    """Metadata without what is noted of times: those that were synthesised are an earlier copy's."""
    return {name: value for name, value in (metadata or {}).items() if name != IMPORT}


def _by_moments(metadata: dict[str, Json] | None) -> dict[str, Json]:
    """Metadata with moments for times that the source says: two copies may write one in two ways."""
    told = {name: value for name, value in (metadata or {}).items() if name != ASSUMED_UTC}
    source = told.get("source")
    if isinstance(source, dict):
        members = cast("dict[str, Json]", source).items()
        told["source"] = {name: _moment(value) for name, value in members}
    return told


def _moment(value: Json) -> Json:
    time = read_time(value) if isinstance(value, str) else None
    return value if time is None else time.at


def _compare_parts(
    message: Message, expected: tuple[Part, ...], body: MessageBody, findings: Findings
) -> None:
    if len(expected) != len(body.parts):
        findings.add(message.id, "parts", f"{len(expected)} parts", f"{len(body.parts)} parts")
    for index, (part, found) in enumerate(zip(expected, body.parts, strict=False)):
        if isinstance(part, TextPart) and isinstance(found, TextPart):
            if part.text != found.text:
                findings.add(message.id, f"parts/{index}/text", part.text, found.text)
        else:
            findings.check(
                message.id, f"parts/{index}", msgspec.to_builtins(part), msgspec.to_builtins(found)
            )
    text = "".join(part.text for part in expected if type(part) is TextPart)
    if text != body.text:
        findings.add(message.id, "text", text, body.text)
