"""A context of copilot_chat, put together: branches, the order and parents of messages, their times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from eventstore.content import Json, TextPart
from turnlog.importers.conversation import Conversation, Message, Streamed, TimeSource
from turnlog.importers.copilot_message import Draft, read_message
from turnlog.importers.copilot_notes import (
    FORMAT,
    Notes,
    Where,
    list_of,
    name_of,
    object_of,
    rest_of,
    text_of,
    uuid_of,
)
from turnlog.importers.copilot_states import read_state
from turnlog.importers.reading import Unreadable, stable_id

Layout = Literal["whole", "pool", "designed", "session"]

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


class Node(msgspec.Struct, frozen=True):
    """A message as a layout found it: under which name, where, and its value.

    ``at`` and ``streamed``: what is said of it elsewhere.
    """

    key: str
    value: Json
    path: str
    place: str
    at: int | None = None
    streamed: Streamed | None = None


class Found(msgspec.Struct, frozen=True):
    """A context as a layout found it. ``nodes`` are read one at a time, and may be unreadable."""

    id: UUID
    origin: str
    layout: Layout
    document: dict[str, Any]
    branches: dict[str, dict[str, Any]]
    nodes: Iterable[Node | Unreadable]
    modified_us: Callable[[], int | None]
    notes: Notes


class Branch(msgspec.Struct, frozen=True):
    """A branch's messages that there are, in its order; ``kept``: what we do not model of it."""

    ids: list[UUID]
    kept: dict[str, Json]


def message_id_of(context_id: UUID, key: str) -> UUID:
    """A message's own id, or the one made of what it is called in its context."""
    return uuid_of(key) or stable_id(FORMAT, str(context_id), "message", key)


def assemble(found: Found) -> Conversation:
    """The conversation; what could not be read of it is in the notes."""
    files = {found.origin: None}
    drafts = _drafts(found, files)
    branches = _branches(found, drafts)
    active = _active(found, branches)
    parents = _parents(drafts, branches, found)
    homes: dict[UUID, str] = {}
    for name in reversed(branches):  # of several branches the first is a message's home
        homes.update(dict.fromkeys(branches[name].ids, name))
    order = _order(drafts, branches, parents, homes, found.notes)
    unbranched = "orphaned"
    while unbranched in branches:
        unbranched += "-"
    times = _times(order, drafts, parents, found)
    messages = tuple(
        _message(drafts.pop(key), parents[key], homes.get(key, unbranched), *times[key]) for key in order
    )
    state, detail, known = read_state(found.document.get("current_state", "idle"))
    if not known:
        found.notes.warn(found.origin, "state_unknown", "its current_state is none that we know")
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
            found.notes.warn(found.origin, "unexpected_value", f"its {name} is of another type", f"$.{name}")
    return Conversation(
        found.id,
        found.origin,
        FORMAT,
        messages,
        {name: branch.ids[-1] if branch.ids else None for name, branch in branches.items()},
        active,
        None,
        title,
        config or {},
        {
            "import": {
                "format": FORMAT,
                "origin": found.origin,
                "layout": found.layout,
                "source": source,
            }
        },
        (),
        state,
        detail,
        tuple(found.notes.warnings),
        tuple(files) if len(files) > 1 else (),
    )


def _drafts(found: Found, files: dict[str, None]) -> dict[UUID, Draft]:
    """Every message that can be read, by its id; each original is let go of as soon as it is."""
    lists = [list_of(branch.get("message_ids")) or [] for branch in found.branches.values()]
    named = {key for ids in lists for key in ids if isinstance(key, str)}
    drafts: dict[UUID, Draft] = {}
    for node in found.nodes:
        if isinstance(node, Unreadable):
            files[node.path] = None
            found.notes.lose(node)
            continue
        files[node.path] = None
        where = Where(found.notes, node.path, node.place)
        value = object_of(node.value)
        try:
            if value is None:
                raise where.unreadable("message_unreadable", "it is no object")
            own = text_of(value.get("id", value.get("message_id")))
            key = node.key if own is None or (node.key in named and own not in named) else own
            draft = read_message(value, message_id_of(found.id, key), where)
            if draft.id in drafts:
                raise where.unreadable("duplicate_message", "another message has its id")
        except Unreadable as error:
            found.notes.lose(error)
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
        drafts[draft.id] = draft
    return drafts


def _branches(found: Found, drafts: dict[UUID, Draft]) -> dict[str, Branch]:
    """By name, ``main`` first: in the file they stand in no order."""
    branches: dict[str, Branch] = {}
    for name in sorted(found.branches, key=lambda name: (name != "main", name)):
        raw = found.branches[name]
        place = f"$.branches.{name}"
        kept = {
            key: value
            for key, value in rest_of(raw, "message_ids").items()
            if value is not None and (key, value) != ("name", name)
        }
        ids: dict[UUID, None] = {}
        whole = True
        for index, key in enumerate(list_of(raw.get("message_ids")) or ()):
            message_id = message_id_of(found.id, key) if isinstance(key, str) else None
            if message_id is None or message_id not in drafts:
                reason = "the branch names a message that is not there"
                found.notes.warn(found.origin, "dangling_id", reason, f"{place}.message_ids[{index}]")
                whole = False
            elif message_id in ids:
                reason = "the branch names a message twice"
                found.notes.warn(found.origin, "repeated_id", reason, f"{place}.message_ids[{index}]")
                whole = False
            else:
                ids[message_id] = None
        if not whole or (raw.get("message_ids") is not None and list_of(raw["message_ids"]) is None):
            kept["message_ids"] = raw["message_ids"]
        known_as = name_of(name)
        if known_as is None:
            known_as = f"branch-{stable_id(FORMAT, str(found.id), 'branch', name)}"
            kept["name"] = name
            found.notes.warn(found.origin, "branch_renamed", f"its name is no name here: {known_as}", place)
        branches[known_as] = Branch(list(ids), kept)
    return branches


def _active(found: Found, branches: dict[str, Branch]) -> str:
    wanted = found.document.get("active_branch_name", found.document.get("active_branch"))
    if isinstance(wanted, str) and wanted in branches:
        return wanted
    instead = next(iter(branches), "main")
    if wanted is not None and (branches or wanted != instead):
        reason = f"there is no such branch; {instead} is taken for it"
        found.notes.warn(found.origin, "active_branch_unknown", reason, "$.active_branch_name")
    branches.setdefault(instead, Branch([], {}))
    return instead


def _parents(drafts: dict[UUID, Draft], branches: dict[str, Branch], found: Found) -> dict[UUID, UUID | None]:
    """Each message's own parent; where that says nothing, the message before it on its first branch."""
    before: dict[UUID, UUID | None] = {}
    for branch in branches.values():
        for previous, message_id in zip([None, *branch.ids], branch.ids, strict=False):
            before.setdefault(message_id, previous)
    parents: dict[UUID, UUID | None] = {}
    for message_id, draft in drafts.items():
        said = None if draft.parent is msgspec.UNSET else draft.parent
        parent = message_id_of(found.id, said) if isinstance(said, str) else None
        if parent in drafts and parent != message_id:
            parents[message_id] = parent
            continue
        parents[message_id] = before.get(message_id)
        if draft.parent is not msgspec.UNSET and (said is not None or parents[message_id] is not None):
            draft.source["parent_id"] = said
            code = "parent_missing" if said is None else "dangling_parent"
            draft.where.warn(code, "its parent is not there; that before it on its branch is taken, if any")
    for name, branch in branches.items():
        if any(
            parents[one] != earlier for earlier, one in zip([None, *branch.ids], branch.ids, strict=False)
        ):
            branch.kept.setdefault("message_ids", [str(message_id) for message_id in branch.ids])
            reason = "the branch has another order than its messages' parents, which hold"
            found.notes.warn(found.origin, "order_differs", reason, f"$.branches.{name}.message_ids")
    return parents


def _order(
    drafts: dict[UUID, Draft],
    branches: dict[str, Branch],
    parents: dict[UUID, UUID | None],
    homes: dict[UUID, str],
    notes: Notes,
) -> list[UUID]:
    """Branch by branch, then the orphans by id; parents before children. A circle of parents is cut."""
    placed: dict[UUID, None] = {}
    for start in [*(one for branch in branches.values() for one in branch.ids), *sorted(drafts)]:
        chain: dict[UUID, None] = {}
        at: UUID | None = start
        while at is not None and at not in placed:
            chain[at] = None
            parent = parents[at]
            if parent in chain:
                drafts[at].source["parent_id"] = drafts[at].parent
                drafts[at].where.warn("parent_circle", "its parents lead back to it; it stands without one")
                parents[at] = parent = None
            at = parent
        placed.update(dict.fromkeys(reversed(chain)))
    for message_id in placed:
        if message_id not in homes:
            drafts[message_id].where.warn("orphan_message", "it stands on no branch")
    return list(placed)


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


def _message(draft: Draft, parent: UUID | None, branch: str, at: int | None, source: TimeSource) -> Message:
    streamed = draft.streamed
    if streamed is not None and draft.timeless and at is not None:
        chunks = tuple(msgspec.structs.replace(chunk, at=at) for chunk in streamed.chunks)
        streamed = msgspec.structs.replace(streamed, started_at=at, chunks=chunks)
    return Message(
        draft.id,
        parent,
        branch,
        draft.role,
        draft.parts,
        draft.message_type,
        {"source": draft.source} if draft.source else {},
        at,
        source,
        streamed,
    )
