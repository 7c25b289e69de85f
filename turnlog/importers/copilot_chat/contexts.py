"""A context of copilot_chat, put together as a conversation, and the times of its messages."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec

from eventstore.content import Json, TextPart
from eventstore.spool import Spool, View
from turnlog.importers.conversation import Conversation, Message, TimeSource
from turnlog.importers.copilot_chat.branches import active_of, branches_of, order_of, parents_of
from turnlog.importers.copilot_chat.found import CHUNKS, Found, Node, message_id_of
from turnlog.importers.copilot_chat.messages import Draft, Said, read_message
from turnlog.importers.copilot_chat.notes import FORMAT, list_of, object_of, rest_of, text_of
from turnlog.importers.copilot_chat.states import read_state
from turnlog.importers.source.files import Unreadable
from turnlog.importers.source.keeping import TITLE_CHARACTERS_MAX, keep
from turnlog.importers.source.kept import untaken_facts
from turnlog.importers.source.notes import Where
from turnlog.importers.source.pieces import opened_at

_MODELLED: Final = (
    "id",
    "context_id",
    "config",
    "title",
    "message_pool",
    "branches",
    "active_branch_name",
    "active_branch",
    "current_state",
)


def assemble(found: Found) -> Conversation:
    """The conversation; what could not be read of it is in the notes."""
    files = dict.fromkeys((found.origin, *found.beside))
    said = Spool[Said]()
    drafts = _drafts(found, files, said)
    branches = branches_of(found, drafts)
    active = active_of(found, branches)
    parents = parents_of(drafts, branches, found)
    homes: dict[UUID, str] = {}
    for name in reversed(branches):  # of several branches the first is a message's home
        homes.update(dict.fromkeys(branches[name].ids, name))
    orphans = list(drafts) if found.layout == "session" else sorted(drafts)  # else they stand in no order
    order = order_of(drafts, branches, parents, homes, orphans)
    unbranched = "orphaned"
    while unbranched in branches:
        unbranched += "-"
    times = _times(order, drafts, parents, found)

    def message(key: UUID) -> Message:
        draft = drafts[key]
        return _message(draft, said[draft.said], parents[key], homes.get(key, unbranched), *times[key])

    state, detail, known = read_state(found.document.get("current_state", "idle"))
    if not known:
        found.notes.say("state_unknown", "its current_state is none that we know")
    source = rest_of(found.document, *_MODELLED)
    if source.get("parent_id", "") is None:
        del source["parent_id"]
    if found.document.get("id", str(found.id)) != str(found.id):
        source["id"] = found.document["id"]
    wanted = found.document.get("active_branch_name", active)
    if wanted != active:
        source["active_branch_name"] = wanted
    if kept := {name: branch.kept for name, branch in branches.items() if branch.kept}:
        source["branches"] = kept
    config = object_of(found.document.get("config"))
    title = text_of(found.document.get("title"))
    for name, value in (("config", config), ("title", title)):
        if value is None and found.document.get(name) is not None:
            source[name] = found.document[name]
            found.notes.say("unexpected_value", f"its {name} is of another type", f"$.{name}")
    if title is not None and len(title) > TITLE_CHARACTERS_MAX:
        source["title"], title = title, title[:TITLE_CHARACTERS_MAX]
    attributes: dict[str, Json] = {
        "format": FORMAT,
        "origin": found.origin,
        "layout": found.layout,
        "source": source,
    }
    return Conversation(
        id=found.id,
        origin=found.origin,
        format=FORMAT,
        messages=View(order, message),
        branches={name: branch.ids[-1] if branch.ids else None for name, branch in branches.items()},
        active_branch=active,
        title=title,
        config=config or {},
        attributes={"import": attributes},
        state=state,
        state_detail=detail,
        warnings=found.notes.said(),
        files=tuple(files) if len(files) > 1 else (),
        kept=found.kept.settled(),
    )


def _drafts(found: Found, files: dict[str, None], said: Spool[Said]) -> dict[UUID, Draft]:
    """Every message that can be read, by its id; each original is let go of as soon as it is.

    What they say goes into ``said``.
    """
    lists = [list_of(branch.get("message_ids")) or [] for branch in found.branches.values()]
    named = {key for ids in lists for key in ids if isinstance(key, str)}
    drafts: dict[UUID, Draft] = {}
    for node in found.nodes:
        if isinstance(node, Unreadable):
            files[node.path] = None
            found.notes.lose(node)
            continue
        files[node.path] = None
        where = Where(found.notes.of(node.path), node.place)
        value = object_of(node.value)
        own = None if value is None else text_of(value.get("id", value.get("message_id")))
        key = node.key if own is None or (node.key in named and own not in named) else own
        message_id = message_id_of(found.id, key)
        try:
            if value is None:
                raise where.unreadable("message_unreadable", "it is no object")
            if message_id in drafts:
                raise where.unreadable("duplicate_message", "another message has its id")
            draft = read_message(value, message_id, where)
        except Unreadable as error:
            _not_taken(found, message_id, node, error)
            continue
        if own is not None and own != node.key:
            where.warn("message_misnamed", f"it is stored as {node.key} and calls itself {own}")
        if own is not None and own != str(draft.id):
            draft.source["id"] = own
        if draft.at is None:
            draft.at = draft.ends_at = node.at
        if node.streamed is not None:
            draft.streamed = node.streamed
            draft.timeless = True
            if len(draft.parts) == 1 and isinstance(draft.parts[0], TextPart):
                draft.parts = ()
        said.append(draft.taken_out(len(said)), node.bytes)
        drafts[draft.id] = draft
    return drafts


def _not_taken(found: Found, message_id: UUID, node: Node, error: Unreadable) -> None:
    """Tell of what is no message for us, and keep it; of several with one id the first."""
    reason = f"{error.reason}; its file and the backup have it"
    if message_id not in found.untaken:
        found.untaken.add(message_id)
        keep(untaken_facts(message_id, opened_at(node.value, CHUNKS)), found.kept)
        reason = f"{error.reason}; it is kept beside the messages"
    found.notes.lose(Unreadable(error.path, error.code, reason, error.place))


def _times(
    order: list[UUID], drafts: dict[UUID, Draft], parents: dict[UUID, UUID | None], found: Found
) -> dict[UUID, tuple[int | None, TimeSource]]:
    """Its own; what a user said, that of the answer; else the parent's end, any that there is, the file's."""
    answers: dict[UUID, int] = {}
    for message_id in order:
        parent, at = parents[message_id], drafts[message_id].at
        if parent is not None and at is not None:
            answers.setdefault(parent, at)
    anywhere = next((at for at in (drafts[one].at for one in order) if at is not None), None)
    modified = found.modified_us() if anywhere is None and order else None
    last: TimeSource = "neighbour" if anywhere is not None else "file" if modified is not None else "none"
    ends: dict[UUID, int | None] = {}
    times: dict[UUID, tuple[int | None, TimeSource]] = {}
    for message_id in order:
        draft, parent = drafts[message_id], parents[message_id]
        if draft.at is not None:
            times[message_id] = draft.at, "source"
            ends[message_id] = draft.ends_at
            continue
        if draft.role == "user" and message_id in answers:
            at = answers[message_id]
        elif parent is not None:
            at = ends[parent]
        else:
            at = anywhere if anywhere is not None else modified
        times[message_id] = at, last
        ends[message_id] = at
    return times


def _message(
    draft: Draft, said: Said, parent: UUID | None, branch: str, at: int | None, time_source: TimeSource
) -> Message:
    streamed, source = said.streamed, said.source | draft.source
    if streamed is not None and draft.timeless and at is not None:
        chunks = tuple(msgspec.structs.replace(chunk, at=at) for chunk in streamed.chunks)
        streamed = msgspec.structs.replace(streamed, started_at=at, chunks=chunks)
    return Message(
        draft.id,
        parent,
        branch,
        draft.role,
        said.parts,
        draft.message_type,
        {"source": source} if source else {},
        at,
        time_source,
        streamed,
    )
