"""Signals: what happened in some contexts, small, and where; the client pulls the content it wants.

| signal            | says                                             |
|---|---|
| `created`         | a context                                        |
| `message`         | a message or a stream was added, and where       |
| `content_delta`   | a stream has chunks up to a sequence, no text    |
| `completed`       | a stream ended, and how                          |
| `state`           | the application's state changed                  |
| `branch`          | a branch was moved, switched to or deleted       |
| `updated`         | title, config, attributes or tags changed        |
| `redacted`        | a message's text was withdrawn                   |
| `deleted`         | the context                                      |
| `custom`          | something of the application's own               |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_never

from eventstore.commits import Commit
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
    MessageAppended,
    MessageRedacted,
    Record,
    StateChanged,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)


def signals(commit: Commit) -> Iterator[tuple[str, dict[str, Any]]]:
    """The signals of a commit: name and facts. Of the chunks of one stream only how far they go."""
    for version, record in commit.versioned():
        signal = _signal(record)
        if signal is not None:
            name, facts = signal
            last = version + len(record.deltas) - 1 if isinstance(record, ChunkRun) else version
            yield name, {"context_id": commit.context_id, "version": last, **facts}


def _signal(record: Record) -> tuple[str, dict[str, Any]] | None:
    match record:
        case ContextCreated():
            return "created", {"workspace": record.workspace}
        case MessageAppended() | StreamStarted():
            streamed = isinstance(record, StreamStarted)
            facts = {"message_id": record.message_id, "parent_id": record.parent_id, "role": record.role}
            return "message", facts | {"branch": record.branch, "streamed": streamed}
        case ChunkRun():
            return "content_delta", {"message_id": record.message_id, "sequence": record.last_sequence}
        case StreamFinalized():
            return "completed", {"message_id": record.message_id, "outcome": record.outcome}
        case StateChanged():
            return "state", {"state": record.state}
        case BranchMoved():
            return "branch", {"branch": record.branch, "change": "moved", "head": record.head}
        case BranchSwitched():
            return "branch", {"branch": record.branch, "change": "switched"}
        case BranchDeleted():
            return "branch", {"branch": record.branch, "change": "deleted"}
        case ContextUpdated():
            return "updated", {"fields": sorted(record.changes)}
        case MessageRedacted():
            return "redacted", {"message_id": record.message_id}
        case ContextDeleted():
            return "deleted", {}
        case CustomRecorded():
            return "custom", {"name": record.name}
        case StreamResumed() | ChunkReceived():
            return None
        case _:
            assert_never(record)
