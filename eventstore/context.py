"""The write model, pure: what must be remembered of a context to judge its next event.

That is its version, its branches, its open streams and its metadata, each within bounds. Whether a message
exists is not remembered here but asked of the log (``rules.Known``), so the model stays small however long
the context is. ``evolve`` applies recorded events to it; ``rules.check`` judges what may be recorded.
"""

from __future__ import annotations

from typing import Final, assert_never
from uuid import UUID

import msgspec

from eventstore import metadata
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkReceived,
    ChunkRun,
    ContextCreated,
    ContextDeleted,
    ContextUpdated,
    CustomRecorded,
    ForkedFrom,
    MessageAppended,
    MessageRedacted,
    Record,
    StateChanged,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)

MAIN: Final = "main"
"""The branch that every context starts with, empty and active."""


class OpenStream(msgspec.Struct, array_like=True):
    """``sequence`` is the last stored chunk's, 0 before the first."""

    started_version: int
    sequence: int = 0
    epoch: int = 1


class WriteModel(msgspec.Struct, array_like=True):
    """A context as far as its next event depends on it. ``metadata`` is encoded (``metadata.encode``)."""

    context_id: UUID
    version: int = 0
    deleted: bool = False
    forked_from: ForkedFrom | None = None
    active_branch: str = MAIN
    branches: dict[str, UUID | None] = {}
    streams: dict[UUID, OpenStream] = {}
    metadata: bytes = metadata.EMPTY

    def copy(self) -> WriteModel:
        """A copy that can evolve without changing this one."""
        streams = {
            message_id: OpenStream(stream.started_version, stream.sequence, stream.epoch)
            for message_id, stream in self.streams.items()
        }
        return msgspec.structs.replace(self, branches=self.branches.copy(), streams=streams)


def evolve(model: WriteModel, event: Record) -> None:
    """Apply a recorded event, or a run of chunks, to the model in place."""
    if type(event) is ChunkRun:
        evolve_chunks(model, model.streams[event.message_id], len(event.deltas))
        return
    model.version += 1
    match event:
        case ContextCreated():
            model.branches[MAIN] = None
            model.forked_from = event.forked_from
            model.metadata = metadata_after(model, event)
        case ContextUpdated():
            model.metadata = metadata_after(model, event)
        case ContextDeleted():
            model.deleted = True
        case MessageAppended():
            model.branches[event.branch] = event.message_id
        case StreamStarted():
            model.branches[event.branch] = event.message_id
            model.streams[event.message_id] = OpenStream(model.version)
        case StreamResumed():
            model.streams[event.message_id].epoch = event.epoch
        case StreamFinalized():
            del model.streams[event.message_id]
        case BranchMoved():
            model.branches[event.branch] = event.head
        case BranchSwitched():
            model.active_branch = event.branch
        case BranchDeleted():
            del model.branches[event.branch]
        case StateChanged() | MessageRedacted() | CustomRecorded():
            pass
        case ChunkRun() | ChunkReceived():
            raise TypeError("chunks evolve as runs")
        case _:
            assert_never(event)


def evolve_chunks(model: WriteModel, stream: OpenStream, count: int) -> None:
    """Apply the next chunks of one of its open streams."""
    model.version += count
    stream.sequence += count


def metadata_after(model: WriteModel, event: ContextCreated | ContextUpdated) -> bytes:
    """The context's metadata as the event leaves it, encoded."""
    if isinstance(event, ContextCreated):
        return metadata.encode(metadata.Metadata(event.title, event.config, event.attributes))
    return metadata.encode(metadata.updated(metadata.decode(model.metadata), event.changes))
