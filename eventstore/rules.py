"""Which event may follow which: every refusal of the write model, pure, one code for each reason.

A commit is checked and evolved event by event, a run of chunks at a time, on a copy of the model, so that
a refusal in its middle leaves no trace.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, assert_never
from uuid import UUID

import msgspec
from msgspec import UNSET

from eventstore.content import Kind
from eventstore.context import OpenStream, WriteModel, metadata_after
from eventstore.errors import Refused
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
from eventstore.limits import BRANCHES_MAX, CONTEXT_METADATA_BYTES_MAX, OPEN_STREAMS_MAX

StoredChunk: TypeAlias = tuple[Kind, str | None, str, bytes | None]
"""What makes a repeated chunk the same: kind, part, delta and raw bytes; not when it arrived."""


class Known(Protocol):
    """What the log knows beyond the write model, at the moment of the check."""

    def message(self, message_id: UUID) -> tuple[UUID, int, bool] | None:
        """The context and version where the message was added, and whether it was streamed."""
        ...

    def version_of(self, context_id: UUID) -> int:
        """A context's version, 0 when it does not exist."""
        ...

    def forked_from(self, context_id: UUID) -> ForkedFrom | None:
        """Whose history a context shares."""
        ...

    def chunks(self, message_id: UUID, started_version: int, first: int, last: int) -> list[StoredChunk]:
        """The stored chunks of these sequences of a stream of this context, both inclusive."""
        ...


def check(model: WriteModel, event: Record, known: Known, epoch: int = 1) -> Record | None:
    """The event as it will be recorded: a left-out parent is filled in, stored chunks are left out.

    None when it is there already. ``epoch`` is the producer's. Raises ``Refused``; nothing changes.
    """
    if type(event) is ContextCreated:
        return _check_created(model, event, known)
    if model.version == 0:
        raise _refused("context_not_found", "the context does not exist", model)
    if model.deleted:
        raise _refused("context_deleted", "the context is deleted", model)
    match event:
        case ChunkRun():
            return _check_chunks(model, event, known, epoch)
        case MessageAppended() | StreamStarted():
            return _check_message(model, event, known)
        case BranchMoved():
            return _check_moved(model, event, known)
        case StreamResumed():
            _check_resumed(model, event, known)
        case StreamFinalized():
            _check_producer(model, event.message_id, known, epoch)
        case MessageRedacted():
            _check_own_message(model, event.message_id, known)
        case BranchSwitched():
            _check_branch(model, event.branch)
        case BranchDeleted():
            _check_branch_deleted(model, event.branch)
        case ContextUpdated():
            _check_metadata(model, event)
        case StateChanged() | ContextDeleted() | CustomRecorded():
            pass
        case ChunkReceived():
            raise TypeError("chunks are checked as runs")
        case ContextCreated():
            raise AssertionError("handled above")
        case _:
            assert_never(event)
    return event


def _refused(code: str, message: str, model: WriteModel, **fields: object) -> Refused:
    return Refused(code, message, context_id=model.context_id, **fields)


def _check_created(model: WriteModel, event: ContextCreated, known: Known) -> ContextCreated:
    if model.version > 0:
        raise _refused("context_exists", "the context exists already", model)
    source = event.forked_from
    if source is not None and source.version > known.version_of(source.context_id):
        raise _refused(
            "fork_source_not_found",
            f"there is no version {source.version} of the context to fork from",
            model,
            source_id=source.context_id,
            version=source.version,
        )
    _check_metadata(model, event)
    return event


def _check_metadata(model: WriteModel, event: ContextCreated | ContextUpdated) -> None:
    """Each change is bounded as an event, but what they add up to would be stored anew at each of them."""
    size = len(metadata_after(model, event))
    if size > CONTEXT_METADATA_BYTES_MAX:
        raise _refused(
            "context_metadata_too_large",
            f"title, config, attributes and tags would take {size} bytes; the limit is "
            f"{CONTEXT_METADATA_BYTES_MAX}",
            model,
            limit=CONTEXT_METADATA_BYTES_MAX,
            actual=size,
        )


def _check_message(
    model: WriteModel, event: MessageAppended | StreamStarted, known: Known
) -> MessageAppended | StreamStarted:
    if known.message(event.message_id) is not None:
        raise _refused("message_exists", "the message id is taken", model, message_id=event.message_id)
    if event.branch not in model.branches:
        _check_room_for_branch(model, event.branch)
    if type(event) is StreamStarted and len(model.streams) >= OPEN_STREAMS_MAX:
        raise _refused(
            "too_many_open_streams", f"{OPEN_STREAMS_MAX} streams are open", model, limit=OPEN_STREAMS_MAX
        )
    if event.parent_id is UNSET:
        if event.branch not in model.branches:
            raise _refused(
                "head_is_not_parent",
                "the branch is new, so the message needs its parent named",
                model,
                branch=event.branch,
            )
        return msgspec.structs.replace(event, parent_id=model.branches[event.branch])
    if isinstance(event.parent_id, UUID) and not _visible(model, event.parent_id, known):
        raise _refused("parent_not_found", "no such parent in this context", model, parent_id=event.parent_id)
    return event


def _check_moved(model: WriteModel, event: BranchMoved, known: Known) -> BranchMoved:
    if event.branch not in model.branches:
        _check_room_for_branch(model, event.branch)
    if event.head is not None and not _visible(model, event.head, known):
        raise _refused("head_not_found", "no such message in this context", model, head=event.head)
    current = model.branches.get(event.branch)
    if event.previous is UNSET:
        return msgspec.structs.replace(event, previous=current)
    if event.previous != current:
        raise _refused(
            "previous_head_differs",
            "the branch has another head",
            model,
            branch=event.branch,
            expected=event.previous,
            actual=current,
        )
    return event


def _check_room_for_branch(model: WriteModel, branch: str) -> None:
    if len(model.branches) >= BRANCHES_MAX:
        raise _refused(
            "too_many_branches",
            f"a context has at most {BRANCHES_MAX} branches",
            model,
            branch=branch,
            limit=BRANCHES_MAX,
        )


def _check_own_message(model: WriteModel, message_id: UUID, known: Known) -> None:
    place = known.message(message_id)
    if place is None or place[0] != model.context_id:
        raise _refused("message_not_found", "no such message in this context", model, message_id=message_id)


def _check_branch(model: WriteModel, branch: str) -> None:
    if branch not in model.branches:
        raise _refused("branch_not_found", "no such branch in this context", model, branch=branch)


def _check_branch_deleted(model: WriteModel, branch: str) -> None:
    _check_branch(model, branch)
    if branch == model.active_branch:
        raise _refused("branch_active", "the branch is active", model, branch=branch)


def _visible(model: WriteModel, message_id: UUID, known: Known) -> bool:
    """Whether the message is of this context, or of the history that it shares."""
    place = known.message(message_id)
    if place is None:
        return False
    context_id, version, _ = place
    if context_id == model.context_id:
        return True
    source = model.forked_from
    while source is not None:
        if source.context_id == context_id:
            return version <= source.version
        source = known.forked_from(source.context_id)
    return False


def _open_stream(model: WriteModel, message_id: UUID, known: Known) -> OpenStream:
    stream = model.streams.get(message_id)
    if stream is not None:
        return stream
    place = known.message(message_id)
    if place is None or place[0] != model.context_id:
        raise _refused("stream_not_found", "no such stream in this context", model, message_id=message_id)
    if place[2]:
        raise _refused("stream_finalized", "the stream is finalized", model, message_id=message_id)
    raise _refused("stream_not_open", "the message was not streamed", model, message_id=message_id)


def _check_producer(model: WriteModel, message_id: UUID, known: Known, epoch: int) -> OpenStream:
    stream = _open_stream(model, message_id, known)
    if epoch < stream.epoch:
        raise _refused(
            "producer_fenced",
            f"epoch {epoch} is below the stream's {stream.epoch}",
            model,
            message_id=message_id,
            current=stream.epoch,
            received=epoch,
        )
    return stream


def _check_resumed(model: WriteModel, event: StreamResumed, known: Known) -> None:
    stream = _open_stream(model, event.message_id, known)
    if event.epoch <= stream.epoch:
        raise _refused(
            "epoch_not_higher",
            f"epoch {event.epoch} is not above the stream's {stream.epoch}",
            model,
            message_id=event.message_id,
            current=stream.epoch,
            received=event.epoch,
        )


def _check_chunks(model: WriteModel, run: ChunkRun, known: Known, epoch: int) -> ChunkRun | None:
    stream = _check_producer(model, run.message_id, known, epoch)
    expected = stream.sequence + 1
    if run.first_sequence == expected:
        return run
    if run.first_sequence > expected:
        raise _refused(
            "sequence_gap",
            f"expected chunk {expected}, received {run.first_sequence}",
            model,
            message_id=run.message_id,
            expected=expected,
            received=run.first_sequence,
        )
    return _without_repeated(model, run, stream, known)


def _without_repeated(model: WriteModel, run: ChunkRun, stream: OpenStream, known: Known) -> ChunkRun | None:
    """The chunks of the run that are not stored yet; those that are must be the same."""
    last = min(run.last_sequence, stream.sequence)
    stored = known.chunks(run.message_id, stream.started_version, run.first_sequence, last)
    for chunk, there in zip(run.chunks(), stored, strict=False):
        if (chunk.kind, chunk.part, chunk.delta, chunk.raw) != there:
            raise _refused(
                "chunk_conflict",
                f"chunk {chunk.sequence} is stored with other content",
                model,
                message_id=run.message_id,
                sequence=chunk.sequence,
            )
    repeated = len(stored)
    if repeated <= last - run.first_sequence:
        raise _refused(
            "chunk_conflict",
            "a chunk stands twice in one append",
            model,
            message_id=run.message_id,
            sequence=run.first_sequence + repeated,
        )
    if repeated == len(run.deltas):
        return None
    columns: dict[str, Any] = {
        "first_sequence": run.first_sequence + repeated,
        "first_at": run.times()[repeated],
        "deltas": run.deltas[repeated:],
        "gaps": (0, *run.gaps[repeated + 1 :]),
        "raws": None if run.raws is None else run.raws[repeated:],
    }
    return msgspec.structs.replace(run, **columns)
