"""Logs shaped like real streams, as large as wanted."""

from __future__ import annotations

from uuid import UUID

from uuid_utils.compat import uuid7

from eventstore.commits import Append, Committed
from eventstore.content import TextPart
from eventstore.events import (
    ChunkReceived,
    ContextCreated,
    MessageAppended,
    Record,
    StreamFinalized,
    StreamStarted,
)
from eventstore.store import EventStore

ANSWER_CHUNKS = 286
"""Chunks of an answer, the mean of recorded ones."""

CHUNK_TEXTS = ("The ", "quick", " fox", " jumps", "over")
"""4.8 bytes on average; recorded chunks have 4.7."""


def chunks(message_id: UUID, first: int, count: int) -> list[ChunkReceived]:
    """``count`` chunks, 20 ms apart."""
    return [
        ChunkReceived(
            message_id, first + i, CHUNK_TEXTS[(first + i) % 5], at=1_700_000_000_000_000 + i * 20_000
        )
        for i in range(count)
    ]


def answer(per_commit: int) -> list[list[Record]]:
    """A question and its streamed answer, as the events of each commit."""
    message_id = uuid7()
    question = MessageAppended(uuid7(), "user", (TextPart("How do the foxes get over the fence?"),))
    streamed: list[list[Record]] = [
        [*chunks(message_id, first + 1, min(per_commit, ANSWER_CHUNKS - first))]
        for first in range(0, ANSWER_CHUNKS, per_commit)
    ]
    return [
        [question, StreamStarted(message_id, model="model-1")],
        *streamed,
        [StreamFinalized(message_id, "completed", "stop", {"output_tokens": ANSWER_CHUNKS})],
    ]


async def fill(store: EventStore, events: int, per_commit: int, answers_per_context: int) -> list[UUID]:
    """Append about ``events`` events shaped like real streams; returns the contexts."""
    contexts: list[UUID] = []
    written = 0
    while written < events:
        context_id = uuid7()
        contexts.append(context_id)
        appends = [Append(context_id, (ContextCreated(title="speed"),))]
        for _ in range(answers_per_context):
            appends += [Append(context_id, tuple(commit)) for commit in answer(per_commit)]
            written += ANSWER_CHUNKS + 3
            if written >= events:
                break
        for start in range(0, len(appends), 2_000):
            for outcome in await store.append_many(appends[start : start + 2_000]):
                assert isinstance(outcome, Committed), outcome
    return contexts


async def fill_stream(store: EventStore, count: int) -> UUID:
    """A finished stream of so many chunks, 16 a commit; its message's id."""
    context_id, message_id = uuid7(), uuid7()
    commits: list[list[Record]] = [
        [ContextCreated(), StreamStarted(message_id)],
        *([*chunks(message_id, first, min(16, count - first + 1))] for first in range(1, count + 1, 16)),
        [StreamFinalized(message_id, "completed", "stop")],
    ]
    for start in range(0, len(commits), 2_000):
        appends = [Append(context_id, tuple(commit)) for commit in commits[start : start + 2_000]]
        for outcome in await store.append_many(appends):
            assert isinstance(outcome, Committed), outcome
    return message_id
