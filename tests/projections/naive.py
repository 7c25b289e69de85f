"""A context folded event by event, with nothing clever in it, to compare answers about the past with."""

from __future__ import annotations

import random
from typing import Any
from uuid import UUID

import msgspec
from given import C, Stack
from wandering import Wanderer

from eventstore.commits import Commit
from eventstore.content import Part
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkReceived,
    ContextCreated,
    ContextUpdated,
    Event,
    MessageAppended,
    StateChanged,
    StreamFinalized,
    StreamStarted,
)
from eventstore.metadata import merge_patch
from projections.answers import ContextState


class Naive:
    """A context folded event by event, with nothing clever in it."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.state: tuple[str | None, Any] = (None, None)
        self.branches: dict[str, UUID | None] = {"main": None}
        self.active = "main"
        self.messages: list[UUID] = []
        self.parents: dict[UUID, UUID | None] = {}
        self.streams: dict[UUID, int] = {}
        self.chunks: dict[UUID, list[ChunkReceived]] = {}
        self.finals: dict[UUID, tuple[Part, ...]] = {}
        self.outcomes: dict[UUID, str] = {}

    def apply(self, event: Event) -> None:
        match event:
            case ContextCreated():
                self.metadata = {"title": event.title, "config": event.config}
            case ContextUpdated():
                self.metadata = merge_patch(self.metadata, event.changes)
            case StateChanged():
                self.state = event.state, event.detail
            case MessageAppended() | StreamStarted():
                assert not isinstance(event.parent_id, msgspec.UnsetType)
                self.messages.append(event.message_id)
                self.parents[event.message_id] = event.parent_id
                self.branches[event.branch] = event.message_id
                if isinstance(event, StreamStarted):
                    self.streams[event.message_id] = 0
                    self.chunks[event.message_id] = []
            case ChunkReceived():
                self.streams[event.message_id] += 1
                self.chunks[event.message_id].append(event)
            case StreamFinalized():
                del self.streams[event.message_id]
                self.outcomes[event.message_id] = event.outcome
                self.finals[event.message_id] = event.parts or ()
            case BranchMoved():
                self.branches[event.branch] = event.head
            case BranchSwitched():
                self.active = event.branch
            case BranchDeleted():
                del self.branches[event.branch]
            case _:
                pass

    def path(self, head: UUID | None) -> list[UUID]:
        path: list[UUID] = []
        while head is not None:
            path.append(head)
            head = self.parents[head]
        return path[::-1]

    def agrees(self, state: ContextState) -> None:
        assert state.title == self.metadata.get("title")
        assert state.config == self.metadata.get("config", {})
        assert (state.state, state.state_detail) == self.state
        assert (state.branches, state.active_branch) == (self.branches, self.active)
        assert state.message_count == len(self.messages)
        assert state.open_streams == self.streams

    def copy(self) -> Naive:
        """As it is now."""
        copy = Naive()
        copy.metadata, copy.state, copy.active = self.metadata, self.state, self.active
        copy.branches, copy.messages = dict(self.branches), list(self.messages)
        copy.streams, copy.outcomes = dict(self.streams), dict(self.outcomes)
        copy.chunks = {message: list(received) for message, received in self.chunks.items()}
        return copy


def events_of(commits: list[Commit]) -> list[tuple[Commit, Event]]:
    return [(commit, event) for commit in commits for event in commit.events()]


async def wander(stack: Stack, rng: random.Random, commits: int, *, streams: int = 3) -> Wanderer:
    wanderer = Wanderer(rng, C, streams)
    for _ in range(commits):
        await stack.store.append(C, wanderer.commit())
    return wanderer
