"""Streams that were brought in unfinished and that a newer copy has longer: there they are new messages.

A stream that has ended takes no more chunks. So the newer one stands beside it, after the same message, and
what follows it once more; branches go on from there. What was brought in before stays, on no branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from uuid import UUID

from turnlog.facade import Turnlog
from turnlog.importers.conversation import Conversation, Streamed
from turnlog.importers.job.recording import Copy, digest_of
from turnlog.importers.job.renaming import with_messages_renamed
from turnlog.importers.job.verifying import Compared
from turnlog.importers.source.files import stable_id


class Grown(NamedTuple):
    """What has grown in a copy, and what follows it: by the ids in the copy those that they get.

    ``behind``: the messages that are there, and that they take the place of.
    """

    ids: Mapping[UUID, UUID]
    behind: frozenset[UUID]


NONE: Final = Grown({}, frozenset())


async def grown_in(
    log: Turnlog, conversation: Conversation, compared: Compared, copies: Iterable[Copy]
) -> Grown:
    """What has grown in a copy; the same stream gets the same id from every copy.

    ``compared``: with all that is there. ``copies``: those that were brought in before.
    """
    longer, others = set[UUID](), set[UUID]()
    for difference in compared.differences:
        if difference.message_id is None:
            continue
        if difference.field in ("outcome", "chunks"):
            longer.add(difference.message_id)
        elif difference.field.startswith("chunks/"):
            others.add(difference.message_id)
    longer -= others
    if not longer:
        return NONE
    earlier = [copy.grown for copy in copies]
    ids: dict[UUID, UUID] = {}
    behind = set[UUID]()
    for message in conversation.messages:
        old, parent, streamed = message.id, message.parent_id or message.id, message.streamed
        if old in longer and streamed is not None and await _goes_on(log, old, streamed):
            ids[old] = stable_id("grown", str(old), digest_of(streamed))
            variants = {grown[old] for grown in earlier if old in grown}
            behind |= {old, *[one for one in variants if await _goes_on(log, one, streamed)]} - {ids[old]}
        elif parent in ids and compared.there.parent_of(old) in behind:
            ids[old] = stable_id("grown", str(old), str(ids[parent]))
            variants = {grown[old] for grown in earlier if old in grown and grown.get(parent) in behind}
            behind |= {old, *variants}
    return Grown(ids, frozenset(behind))


async def _goes_on(log: Turnlog, message_id: UUID, streamed: Streamed) -> bool:
    """Whether a stream is at least as long as one that is there and has no end of its own."""
    there = await log.queries.timeline(message_id)
    return there.outcome == "interrupted" and len(streamed.chunks) >= there.chunks


def as_grown(conversation: Conversation, ids: Mapping[UUID, UUID]) -> Conversation:
    """A copy in which these messages have the ids that they get."""
    return with_messages_renamed(conversation, lambda old: ids.get(old, old)) if ids else conversation
