"""Whether the log would take what an importer made: its events, by every rule that needs no store."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec

from eventstore import metadata, validation
from eventstore.commits import Append
from eventstore.events import ContextCreated, CustomRecorded, Event, MessageAppended, StateChanged
from eventstore.limits import CONTEXT_METADATA_BYTES_MAX, EVENT_BYTES_MAX
from turnlog.importers.conversation import Conversation

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Event)


def check_storable(conversation: Conversation) -> None:
    """Raise if an event of the conversation's would be refused."""
    assert set(conversation.branches) == {"main"}
    known: set[UUID | None] = {None}
    events: list[Event] = [
        ContextCreated(
            conversation.title,
            conversation.workspace or "default",
            conversation.config,
            conversation.attributes,
        )
    ]
    about = metadata.Metadata(
        conversation.title, conversation.config, conversation.attributes, list(conversation.tags)
    )
    assert len(metadata.encode(about)) <= CONTEXT_METADATA_BYTES_MAX
    if conversation.state is not None:
        events.append(StateChanged(conversation.state))
    for one in conversation.messages:
        assert one.parent_id in known
        assert one.id not in known
        known.add(one.id)
        events.append(
            MessageAppended(
                one.id,
                one.role,
                one.parts,
                one.branch,
                one.parent_id,
                one.message_type,
                one.metadata,
                one.occurred_at,
            )
        )
    events += [CustomRecorded(kept.name, kept.data) for kept in conversation.kept]
    for event in events:
        validation.check(Append(conversation.id, (event,)))
        encoded = _encoder.encode(event)
        assert len(encoded) <= EVENT_BYTES_MAX
        assert _decoder.decode(encoded) == event
    assert conversation.branches["main"] in known
