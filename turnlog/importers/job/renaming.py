"""Bringing a context over once more after it was undone: under ids of its own, for a deletion is for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast
from uuid import UUID

from msgspec.structs import replace

from eventstore.content import Json
from eventstore.events import ContextDeleted
from eventstore.spool import View
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Conversation, Kept, Message
from turnlog.importers.job.recording import IMPORT
from turnlog.importers.source.files import stable_id
from turnlog.importers.source.kept import owner_of, renamed

UNDONE: Final = "import_undone"
"""Begins the reason of a deletion by which an import was undone; the run follows."""

SOURCE_ID: Final = "source_id"
"""Under ``IMPORT`` in the attributes of a context that has another id than in its source."""


def not_undone(log: Turnlog, conversation: Conversation) -> Conversation:
    """The conversation, under the first of its ids with which no import was undone.

    Every run finds the same one. A context that was deleted for another reason is not brought back.
    """
    found, number = conversation, 0
    while _is_undone(log, found.id):
        number += 1
        found = _renamed(conversation, number)
    return found


def _is_undone(log: Turnlog, context_id: UUID) -> bool:
    version = log.store.version_of(context_id)
    for commit in log.store.read_context(context_id, version) if version else ():
        last = commit.records[-1]
        return isinstance(last, ContextDeleted) and (last.reason or "").startswith(f"{UNDONE} ")
    return False


def _renamed(conversation: Conversation, number: int) -> Conversation:
    """With other ids for the context and all its messages: a message's is taken for the whole store."""

    def new(old: UUID) -> UUID:
        return stable_id("again", str(old), str(number))

    noted = conversation.attributes.get(IMPORT)
    kept = cast("dict[str, Json]", noted) if isinstance(noted, dict) else {}
    return replace(
        with_messages_renamed(conversation, new),
        id=new(conversation.id),
        attributes=conversation.attributes | {IMPORT: kept | {SOURCE_ID: str(conversation.id)}},
    )


def with_messages_renamed(conversation: Conversation, new: Callable[[UUID], UUID]) -> Conversation:
    """A conversation whose messages have other ids, wherever it names one."""

    def maybe_new(old: UUID | None) -> UUID | None:
        return None if old is None else new(old)

    def of_new(fact: Kept) -> Kept:
        owner = owner_of(fact.name, fact.data)
        return fact if owner is None or new(owner) == owner else renamed(fact, new(owner))

    def message_of_new(message: Message) -> Message:
        return replace(message, id=new(message.id), parent_id=maybe_new(message.parent_id))

    return replace(
        conversation,
        messages=View(conversation.messages, message_of_new),
        branches={name: maybe_new(head) for name, head in conversation.branches.items()},
        kept=View(conversation.kept, of_new),
    )
