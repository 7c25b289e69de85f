"""Random valid logs with everything that an event can say, from a seed; and a log of every kind of event."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from uuid import UUID

from eventstore.commits import Append, Committed, pack
from eventstore.content import (
    DataPart,
    ImagePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from eventstore.context import WriteModel, evolve
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkReceived,
    ContextCreated,
    ContextDeleted,
    ContextUpdated,
    CustomRecorded,
    Event,
    ForkedFrom,
    MessageAppended,
    MessageRedacted,
    StateChanged,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)
from eventstore.store import EventStore

START = 1_700_000_000_000_000
TEXTS = ("", "Hello", "¿Qué? 日本語 🎉", '"quoted"\n\t\\', "x" * 300)
JSON: tuple[Any, ...] = (
    *(None, True, 1, 1.0, -0.5, 1e300, (1 << 63) - 1, "text"),
    *([], [1, [2.5]], {}, {"a": {"b": None}}),
)


class Story:
    """One context, and what may happen in it next."""

    def __init__(self, rng: random.Random, source: Story | None = None) -> None:
        self.rng = rng
        self.id = UUID(int=rng.getrandbits(128))
        self.model = WriteModel(self.id)
        self.source = source
        self.messages: list[UUID] = []

    def commit(self) -> Append:
        """The next commit; it is taken as appended."""
        events: list[Event] = []
        for _ in range(self.rng.choice((1, 1, 2, 5, 9))):
            if self.model.deleted:
                break
            event = self._created() if self.model.version == 0 else self._event()
            events.append(event)
            for record in pack([event]):
                evolve(self.model, record)
            if isinstance(event, (MessageAppended, StreamStarted)):
                self.messages.append(event.message_id)
        return Append(
            self.id,
            tuple(events),
            commit_id=self.rng.choice((None, self._id())),
            metadata=self.rng.choice((None, {}, {"actor": "ann", "n": self.rng.choice(JSON)})),
            epoch=1 << 50,
        )

    def _id(self) -> UUID:
        return UUID(int=self.rng.getrandbits(128))

    def _created(self) -> ContextCreated:
        forked_from = None
        if self.source is not None:
            self.messages = list(self.source.messages)
            forked_from = ForkedFrom(self.source.id, self.source.model.version)
        title = self.rng.choice((None, *TEXTS))
        return ContextCreated(title, config={"model": "m-1"}, attributes={"n": 1}, forked_from=forked_from)

    def _event(self) -> Event:
        rng, streams = self.rng, self.model.streams
        if streams and rng.random() < 0.6:
            message_id = rng.choice(list(streams))
            match rng.randrange(8):
                case 0:
                    return self._end(message_id)
                case 1:
                    return StreamResumed(message_id, streams[message_id].epoch + rng.randrange(1, 3))
                case _:
                    kind, part = rng.choice((("text", None), ("reasoning", "0"), ("tool_call", "1")))
                    raw = rng.choice((None, None, rng.randbytes(9)))
                    sequence = streams[message_id].sequence + 1
                    at = START + rng.randrange(-5, 9)
                    return ChunkReceived(message_id, sequence, rng.choice(TEXTS), kind, at, part, raw)  # pyright: ignore[reportArgumentType] -- one of its kinds
        return self._quiet()

    def _end(self, message_id: UUID) -> StreamFinalized:
        outcome = self.rng.choice(("completed", "aborted", "failed", "interrupted"))
        parts = self.rng.choice((None, (), self._parts()))
        usage, error = {"tokens": self.rng.choice(JSON)}, {"code": "none"}
        return StreamFinalized(message_id, outcome, "stop", usage, error, parts, START)

    def _parts(self) -> tuple[Part, ...]:
        every: tuple[Part, ...] = (
            TextPart(self.rng.choice(TEXTS)),
            ReasoningPart("Hm.", self.rng.choice((None, "proof"))),
            ImagePart(url="https://example.org/cat.png"),
            ToolCallPart("call-1", "look_up", '{"name":"cat"}'),
            ToolResultPart("call-1", self.rng.choice(JSON), self.rng.random() < 0.5),
            DataPart(self.rng.choice(JSON)),
        )
        return tuple(self.rng.sample(every, self.rng.randrange(4)))

    def _quiet(self) -> Event:
        rng, branches = self.rng, list(self.model.branches)
        branch = rng.choice(branches)
        parent = rng.choice((None, *self.messages))
        own = self.messages[len(self.source.messages) if self.source else 0 :]
        match rng.randrange(40):
            case 0 | 1 | 2 | 3 if len(self.model.streams) < 4:
                return StreamStarted(self._id(), "assistant", branch, parent, "m-1", {"r": 1}, START)
            case 4 | 5 | 6:
                return BranchMoved(rng.choice((branch, "b1", "b2")), parent)
            case 7 | 8:
                return BranchSwitched(branch)
            case 9 | 10 if branch != self.model.active_branch:
                return BranchDeleted(branch)
            case 11 | 12 | 13:
                return ContextUpdated({"title": rng.choice((None, "u")), "config": {"k": rng.choice(JSON)}})
            case 14 | 15:
                return StateChanged("busy", rng.choice(JSON))
            case 16 | 17:
                return CustomRecorded("tick", rng.choice(JSON))
            case 18 if own:
                return MessageRedacted(rng.choice(own), "private")
            case 19 if rng.random() < 0.2:
                return ContextDeleted("asked to")
            case _:
                fields = (branch, parent, "note", {"n": rng.choice(JSON)}, rng.choice((None, START)))
                return MessageAppended(self._id(), rng.choice(("user", "tool")), self._parts(), *fields)


def random_appends(rng: random.Random, commits: int) -> list[Append]:
    """The commits of some contexts by turns; some fork from others."""
    stories: list[Story] = []
    appends: list[Append] = []
    while len(appends) < commits:
        living = [story for story in stories if not story.model.deleted]
        if not living or rng.random() < 0.08:
            source = rng.choice([None, *(story for story in stories if story.model.version)])
            if source is not None and any(one.source is source for one in stories):
                source = None  # what is redacted later is found among a story's own, so one fork is enough
            living = [Story(rng, source)]
            stories += living
        appends.append(rng.choice(living).commit())
    return appends


async def write(path: Path, appends: list[Append]) -> None:
    """A store of these commits, each in its turn."""
    async with await EventStore.open(path, free_bytes_low=0) as store:
        outcomes = await store.append_many(appends)
        wrong = [outcome for outcome in outcomes if not isinstance(outcome, Committed)]
        assert not wrong, wrong[:3]
