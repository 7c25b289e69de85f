"""Planning: a conversation -> commits. All of it where the log has none of it, else what is new as events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, cast
from uuid import UUID

import msgspec

from eventstore.commits import Append
from eventstore.content import Json
from eventstore.context import MAIN
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkRun,
    ContextCreated,
    ContextUpdated,
    CustomRecorded,
    Record,
    StateChanged,
)
from eventstore.limits import COMMIT_EVENTS_MAX
from eventstore.spool import chosen
from projections.answers import ContextState
from projections.metadata import same_json
from turnlog.importers.conversation import Conversation, Kept, Message
from turnlog.importers.job.differences import MISSING, Difference, lacks
from turnlog.importers.job.growing import NONE, Grown
from turnlog.importers.job.ids import Ids
from turnlog.importers.job.recording import (
    COMMIT_BYTES,
    COMMIT_RECORDS,
    Copy,
    Figures,
    branches_of,
    copies_in,
    figures_of,
    records_of,
    sized,
    tags_of,
    with_copies,
)
from turnlog.importers.job.verifying import Compared
from turnlog.importers.source.files import stable_id

DEFAULT_WORKSPACE: Final = "default"


class Plan(msgspec.Struct, frozen=True):
    """What is to be appended, all or nothing; it takes the context from version ``before`` to ``version``.

    First ``lead``, then the facts ``kept``, then the ``brought`` messages, then ``tail``. ``figures``: of the
    messages brought. ``digest`` is that of the copy, for the ids of the commits. ``conflicts`` are
    differences that no event can bring forward: they stay, and nothing is overwritten.
    """

    context_id: UUID
    digest: str
    before: int
    version: int
    lead: Record
    kept: Sequence[Kept]
    brought: Sequence[Message]
    figures: Figures
    tail: tuple[Record, ...]
    conflicts: tuple[Difference, ...] = ()

    @property
    def appends(self) -> Iterator[Append]:
        """The commits, made one after the other as they are asked for.

        Raises ``UnicodeEncodeError`` and ``OverflowError`` for values that cannot be stored.
        """
        version = self.before
        facts = (CustomRecorded(each.name, each.data) for each in self.kept)
        brought = chain.from_iterable(map(records_of, self.brought))
        records = chain(map(sized, chain((self.lead,), facts)), brought, map(sized, self.tail))
        for index, commit in enumerate(_commits(records)):
            commit_id = stable_id("commit", str(self.context_id), self.digest, str(self.before), str(index))
            yield Append(self.context_id, commit, version, commit_id)
            version += sum(map(_events_in, commit))
        assert version == self.version, "the version that the copy notes is the one that its commits lead to"


def plan_new(
    conversation: Conversation, figures: Figures, digest: str, workspace: str | None, run: str
) -> Plan:
    """All of a conversation, for a log that has no such context; ``digest`` is that of the copy."""
    heads: dict[str, UUID | None] = {MAIN: None, **figures.heads}
    wanted = branches_of(conversation)
    tail: list[Record] = list(_moves(heads, wanted))
    if conversation.active_branch != MAIN:
        tail.append(BranchSwitched(conversation.active_branch))
    tail += [BranchDeleted(name) for name in heads if name not in wanted]
    if conversation.tags:
        tail.append(ContextUpdated({"tags": tags_of(conversation)}))
    if conversation.state is not None:
        tail.append(StateChanged(conversation.state, conversation.state_detail))
    version = 1 + len(conversation.kept) + figures.events + len(tail)
    copy = Copy(digest, run, 0, version, conversation.updated_at)
    created = ContextCreated(
        conversation.title,
        workspace or conversation.workspace or DEFAULT_WORKSPACE,
        conversation.config,
        with_copies(conversation.attributes, [copy]),
    )
    kept, brought = conversation.kept, conversation.messages
    return Plan(conversation.id, copy.digest, 0, version, created, kept, brought, figures, tuple(tail))


def plan_later(
    conversation: Conversation,
    digest: str,
    compared: Compared,
    run: str,
    grown: Grown = NONE,
) -> Plan | None:
    """What is new in a copy of a context that is there already; None when it is an older one.

    An older copy has messages that are all there and, unless the source says when it was updated, fewer; or
    the same, and says nothing else that is not known. ``compared``: with all that there is.
    """
    state, there, differences, ids = compared
    copies = copies_in(state.attributes)
    missing = {d.message_id for d in differences if d.message_id in ids and d.field == MISSING}
    conflicts = [d for d in differences if d.message_id is not None and d.message_id not in missing]
    known = copies[-1].updated_at if copies else None
    is_older = len(ids) < len(there.ids) - len(grown.behind)
    if conversation.updated_at is not None and known is not None:
        is_older = conversation.updated_at < known
    if not missing and (is_older or not _says_more(conversation, compared)):
        return None
    heads = dict(state.branches)
    unknown = {d.field for d in differences if d.message_id is None or d.message_id in missing}
    kept = chosen(conversation.kept, [n for n in range(len(conversation.kept)) if f"kept/{n}" in unknown])
    brought = chosen(
        conversation.messages, [n for n, each in enumerate(conversation.messages) if each.id in missing]
    )
    figures = figures_of(brought)
    heads |= figures.heads
    wanted = _wanted_heads(conversation, compared, ids, grown.behind)
    tail: list[Record] = list(_moves(heads, wanted))
    if conversation.active_branch != state.active_branch:
        tail.append(BranchSwitched(conversation.active_branch))
    tail += [BranchDeleted(name) for name in heads if name not in wanted]
    if conversation.state is not None and _state_differs(conversation, state):
        tail.append(StateChanged(conversation.state, conversation.state_detail))
    version = state.version + 1 + len(kept) + figures.events + len(tail)
    copy = Copy(digest, run, state.version, version, conversation.updated_at, dict(grown.ids))
    changes = _changes(conversation, state, [*copies, copy])
    conflicts += [d for d in differences if d.field == "workspace"]
    conflicts += _diverged(conversation, compared, wanted)
    return Plan(
        conversation.id,
        copy.digest,
        state.version,
        version,
        changes,
        kept,
        brought,
        figures,
        tuple(tail),
        tuple(conflicts),
    )


def _says_more(conversation: Conversation, compared: Compared) -> bool:
    """Whether a copy with the same messages says something of the context that is not known.

    Where it was found is not looked at: each copy is somewhere else.
    """
    ours = {name: value for name, value in conversation.attributes.items() if name != "import"}
    fields = {d.field.partition("/")[0] for d in compared.differences if d.message_id is None}
    fields -= {"workspace"}
    if "attributes" in fields and not lacks(ours, compared.state.attributes):
        fields.remove("attributes")
    return bool(fields)


def _wanted_heads(
    conversation: Conversation, compared: Compared, ids: Ids, behind: Collection[UUID]
) -> dict[str, UUID | None]:
    """Where branches are to be: at a copy's heads, but for a branch that went on without it."""
    heads = compared.state.branches
    return heads | {
        name: head if (at := heads.get(name)) is None or at in ids or at in behind else at
        for name, head in branches_of(conversation).items()
    }


def _diverged(
    conversation: Conversation, compared: Compared, wanted: dict[str, UUID | None]
) -> Iterator[Difference]:
    """The branches that went on otherwise here than in the copy."""
    for name, head in branches_of(conversation).items():
        if wanted[name] != head and not compared.there.is_ahead(head, wanted[name]):
            expected, found = str(head), str(wanted[name])
            yield Difference(conversation.id, None, f"branches/{name}", expected, found)


def _state_differs(conversation: Conversation, state: ContextState) -> bool:
    return conversation.state != state.state or not same_json(conversation.state_detail, state.state_detail)


def _changes(conversation: Conversation, state: ContextState, copies: list[Copy]) -> ContextUpdated:
    """A patch that adds and changes what the last of the copies says, and notes it."""
    attributes = with_copies(conversation.attributes, copies)
    changes: dict[str, Json] = {"attributes": _patch(attributes, state.attributes)}
    if conversation.title is not None and conversation.title != state.title:
        changes["title"] = conversation.title
    if config := _patch(conversation.config, state.config):
        changes["config"] = config
    if conversation.tags and tags_of(conversation) != state.tags:
        changes["tags"] = tags_of(conversation)
    return ContextUpdated(changes)


def _patch(wanted: dict[str, Json], there: dict[str, Json]) -> dict[str, Json]:
    """The members of ``wanted`` that ``there`` lacks or has otherwise; null stands for "take away"."""
    patch: dict[str, Json] = {}
    for name, value in wanted.items():
        if value is None:
            continue
        found = there.get(name)
        if isinstance(value, dict) and isinstance(found, dict):
            if inner := _patch(cast("dict[str, Json]", value), cast("dict[str, Json]", found)):
                patch[name] = inner
        elif not same_json(value, found):
            patch[name] = value
    return patch


def _moves(heads: dict[str, UUID | None], wanted: dict[str, UUID | None]) -> Iterator[BranchMoved]:
    for name, head in wanted.items():
        if name not in heads or heads[name] != head:
            yield BranchMoved(name, head)


def _events_in(record: Record) -> int:
    return len(record.deltas) if type(record) is ChunkRun else 1


def _commits(records: Iterable[tuple[Record, int]]) -> Iterator[tuple[Record, ...]]:
    """Records in commits, each as full as it may be."""
    commit: list[Record] = []
    events = size = others = 0
    for record, record_bytes in records:
        count = _events_in(record)
        is_full = others >= COMMIT_RECORDS or events + count > COMMIT_EVENTS_MAX
        if commit and (is_full or size + record_bytes > COMMIT_BYTES):
            yield tuple(commit)
            commit, events, size, others = [], 0, 0, 0
        commit.append(record)
        events += count
        size += record_bytes
        others += type(record) is not ChunkRun
    if commit:
        yield tuple(commit)
