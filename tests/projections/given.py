"""Given these events: logs in memory and on disk, and random histories, for tests that go on from there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

import pytest

from eventstore import rules
from eventstore.commits import Commit, pack
from eventstore.content import Kind
from eventstore.context import WriteModel, evolve
from eventstore.errors import TurnlogError
from eventstore.events import (
    ChunkReceived,
    ChunkRun,
    ContextCreated,
    ForkedFrom,
    MessageAppended,
    Record,
    StreamStarted,
    kinds_of,
)
from eventstore.store import EventStore
from eventstore.units import Micros
from projections.answers import MessageEntry, Page
from projections.contexts import Contexts
from projections.memory import MemoryViews
from projections.messages import Messages
from projections.queries import Queries
from projections.runner import Runner
from projections.timelines import Timelines
from projections.views import Views

START: Final = 1_700_000_000_000_000
"""When the first commit of a test is recorded; each further one a millisecond later."""

BUILT_IN: Final = (Contexts(), Messages(), Timelines())


def ident(number: int) -> UUID:
    """An id that a person can read."""
    return UUID(int=number)


C: Final = ident(0xC)
"""The context that most tests are about."""


def chunk(message: int, sequence: int, delta: str = "x", kind: Kind = "text", at: int = 0) -> ChunkReceived:
    """A chunk of message number ``message``, by default 20 ms after the one before."""
    return ChunkReceived(ident(message), sequence, delta, kind, at or START + sequence * 20_000)


def chunks(message: int, first: int, last: int) -> list[ChunkReceived]:
    """The chunks of these sequences, each with a text of its own."""
    return [chunk(message, sequence, f"{message}.{sequence} ") for sequence in range(first, last + 1)]


class GivenLog:
    """Commits that the write model let pass, in the order of their appending."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.models: dict[UUID, WriteModel] = {}
        self._messages: dict[UUID, tuple[UUID, int, bool]] = {}
        self._forks: dict[UUID, ForkedFrom | None] = {}

    def append(self, context_id: UUID, *events: Record) -> Commit:
        """One commit, recorded a millisecond after the one before."""
        model = self.models.get(context_id) or WriteModel(context_id)
        first = model.version + 1
        records: list[Record] = []
        for event in pack(events):
            record = rules.check(model, event, self)
            if record is None:
                continue
            evolve(model, record)
            records.append(record)
            if isinstance(record, (MessageAppended, StreamStarted)):
                self._messages[record.message_id] = (
                    context_id,
                    model.version,
                    isinstance(record, StreamStarted),
                )
            if isinstance(record, ContextCreated):
                self._forks[context_id] = record.forked_from
        self.models[context_id] = model
        position = len(self.commits) + 1
        stored = tuple(records)
        commit = Commit(
            position,
            context_id,
            first,
            model.version - first + 1,
            kinds_of(stored),
            START + position * 1_000,
            None,
            None,
            stored,
            position.to_bytes(32, "big"),
        )
        self.commits.append(commit)
        return commit

    def each(self, context_id: UUID, events: Iterable[Record]) -> None:
        """One commit for each event."""
        for event in events:
            self.append(context_id, event)

    def views(self) -> MemoryViews:
        """The built-in projections of it all."""
        return MemoryViews(BUILT_IN, self.commits)

    # What the write model asks of the log.

    def message(self, message_id: UUID) -> tuple[UUID, int, bool] | None:
        """Where a message was added."""
        return self._messages.get(message_id)

    def version_of(self, context_id: UUID) -> int:
        """A context's version."""
        model = self.models.get(context_id)
        return model.version if model else 0

    def forked_from(self, context_id: UUID) -> ForkedFrom | None:
        """Whose history a context shares."""
        return self._forks[context_id]

    def chunks(
        self, message_id: UUID, started_version: int, first: int, last: int
    ) -> list[rules.StoredChunk]:
        """The stored chunks of a stream."""
        del started_version
        return [
            (event.kind, event.part, event.delta, event.raw)
            for commit in self.commits
            for record in commit.records
            if isinstance(record, ChunkRun) and record.message_id == message_id
            for event in record.chunks()
            if first <= event.sequence <= last
        ]


class Ticking:
    """A clock that moves a millisecond with each look."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> Micros:
        self.now += 1_000
        return Micros(self.now)


class Stack(NamedTuple):
    """Everything that answers questions, over a real log."""

    store: EventStore
    views: Views
    runner: Runner
    queries: Queries

    def commits(self, context_id: UUID = C) -> list[Commit]:
        """What the log holds of a context."""
        return list(self.store.read_context(context_id))


@asynccontextmanager
async def running(path: Path) -> AsyncGenerator[Stack]:
    """A store with its views, in an empty directory."""
    async with await EventStore.open(path, clock=Ticking()) as store:
        views = Views(store.path / "views", BUILT_IN, store.log)
        try:
            async with Runner(store, views, linger_seconds=0) as runner:
                yield Stack(store, views, runner, Queries(store, views, runner))
        finally:
            views.close()


async def code_of(question: Awaitable[object]) -> str:
    """The code of the error that a question raises."""
    with pytest.raises(TurnlogError) as caught:
        await question
    return caught.value.code


def numbers(page: Page[MessageEntry]) -> list[int]:
    """The messages of a page by their numbers."""
    return [entry.id.int for entry in page.items]
