"""A context that comes back as it was exported: what differs only by its shape there is no difference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import anyio.to_thread

from eventstore.spool import Spool
from turnlog.exporters import copilot_chat
from turnlog.exporters.exported import Exported
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Conversation
from turnlog.importers.copilot_chat.contexts import assemble
from turnlog.importers.copilot_chat.found import Node
from turnlog.importers.copilot_chat.layouts import found_of
from turnlog.importers.job.differences import MISSING
from turnlog.importers.job.verifying import Compared
from turnlog.importers.source.keeping import fitted, size_of
from turnlog.importers.source.notes import Notes

Place: TypeAlias = tuple[UUID | None, str]
"""The message and field of a difference."""

_ANYWHERE: Final = ("attributes", MISSING)
"""Fields that differ in any later copy: a reason to look only where messages are shared with others."""


async def explained(log: Turnlog, conversation: Conversation, compared: Compared) -> frozenset[Place]:
    """The differences in which a conversation says just what an export of its context says now.

    An export tells in the words of its format what they have no place for here, such as a time of each
    message. Raises what queries raise.
    """
    differs = any(d.field not in _ANYWHERE for d in compared.differences)
    if conversation.format != copilot_chat.FORMAT or not (differs or compared.state.forked_from):
        return frozenset()
    exported = await _exported(log, conversation, compared)
    return frozenset(_alike(conversation, exported, compared))


async def _exported(log: Turnlog, conversation: Conversation, compared: Compared) -> Conversation:
    """What the importer says of the context's export."""
    nodes = Spool[Node]()
    document: dict[str, Any] = {}
    figures = Exported(copilot_chat.FORMAT, "")
    async for name, value in copilot_chat.contents_of(log, compared.state, figures):
        if name == copilot_chat.DOCUMENT:
            document = cast("dict[str, Any]", value)
        else:
            size = size_of(value)
            nodes.append(Node(PurePosixPath(name).stem, value, name, "$", bytes=size), size)

    times = (message.occurred_at for message in conversation.messages if message.time_source == "file")
    modified = next(times, None)
    notes = Notes(conversation.origin)
    found = found_of(document, conversation.origin, "pool", nodes, lambda: modified, notes)
    return await anyio.to_thread.run_sync(lambda: fitted(assemble(found)))


def _alike(conversation: Conversation, exported: Conversation, compared: Compared) -> Iterator[Place]:
    said = {message.id: index for index, message in enumerate(conversation.messages)}
    same = {
        message.id
        for message in exported.messages
        if message.id in said and conversation.messages[said[message.id]] == message
    }
    for difference in compared.differences:
        name, _, inner = difference.field.partition("/")
        if name == "kept":
            is_alike = conversation.kept[int(inner)] in exported.kept if inner else False
        elif difference.message_id is not None:
            is_alike = difference.message_id in same
        elif name == "branches":
            is_alike = conversation.branches.get(inner) == exported.branches.get(inner)
        else:
            is_alike = getattr(conversation, name, None) == getattr(exported, name, ())
        if is_alike:
            yield difference.message_id, difference.field
