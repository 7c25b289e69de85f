"""The branches of a copilot_chat context, and what they and the messages' parents make of its order."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from uuid import UUID

import msgspec

from eventstore.content import Json
from turnlog.importers.copilot_chat.found import Found, message_id_of
from turnlog.importers.copilot_chat.messages import Draft
from turnlog.importers.copilot_chat.notes import FORMAT, list_of, name_of, rest_of
from turnlog.importers.source.files import stable_id


class Branch(msgspec.Struct, frozen=True):
    """A branch's messages that there are, in its order; ``kept``: what we do not model of it."""

    ids: list[UUID]
    kept: dict[str, Json]


def branches_of(found: Found, drafts: dict[UUID, Draft]) -> dict[str, Branch]:
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
                found.notes.say("dangling_id", reason, f"{place}.message_ids[{index}]")
                whole = False
            elif message_id in ids:
                reason = "the branch names a message twice"
                found.notes.say("repeated_id", reason, f"{place}.message_ids[{index}]")
                whole = False
            else:
                ids[message_id] = None
        if not whole or (raw.get("message_ids") is not None and list_of(raw["message_ids"]) is None):
            kept["message_ids"] = raw["message_ids"]
        known_as = name_of(name)
        if known_as is None:
            known_as = f"branch-{stable_id(FORMAT, str(found.id), 'branch', name)}"
            kept["name"] = name
            found.notes.say("branch_renamed", f"its name is no name here: {known_as}", place)
        branches[known_as] = Branch(list(ids), kept)
    return branches


def active_of(found: Found, branches: dict[str, Branch]) -> str:
    """The active branch: one that there is, and the first where the source names none of them."""
    wanted = found.document.get("active_branch_name", found.document.get("active_branch"))
    if isinstance(wanted, str) and wanted in branches:
        return wanted
    instead = next(iter(branches), "main")
    if wanted is not None and (branches or wanted != instead):
        reason = f"there is no such branch; {instead} is taken for it"
        found.notes.say("active_branch_unknown", reason, "$.active_branch_name")
    branches.setdefault(instead, Branch([], {}))
    return instead


def parents_of(
    drafts: dict[UUID, Draft], branches: dict[str, Branch], found: Found
) -> dict[UUID, UUID | None]:
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
            found.notes.say("order_differs", reason, f"$.branches.{name}.message_ids")
    return parents


def order_of(
    drafts: dict[UUID, Draft],
    branches: dict[str, Branch],
    parents: dict[UUID, UUID | None],
    homes: dict[UUID, str],
    orphans: Iterable[UUID],
) -> list[UUID]:
    """Branch by branch, then the orphans; parents before children. A circle of parents is cut."""
    placed: dict[UUID, None] = {}
    for start in chain(*(branch.ids for branch in branches.values()), orphans):
        up: dict[UUID, None] = {}
        at: UUID | None = start
        while at is not None and at not in placed:
            up[at] = None
            parent = parents[at]
            if parent in up:
                drafts[at].source["parent_id"] = drafts[at].parent
                drafts[at].where.warn("parent_circle", "its parents lead back to it; it stands without one")
                parents[at] = parent = None
            at = parent
        placed.update(dict.fromkeys(reversed(up)))
    for message_id in placed:
        if message_id not in homes:
            drafts[message_id].where.warn("orphan_message", "it stands on no branch")
    return list(placed)
