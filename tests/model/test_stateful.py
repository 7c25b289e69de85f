"""Everything at once, against a model of lists and dictionaries.

After every step the views equal the fold of the log, and every past state stays what it was.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from uuid_utils.compat import uuid7

from eventstore.commits import Append, Committed
from eventstore.content import TextPart
from eventstore.errors import Refused, WrongExpectedVersion
from eventstore.events import (
    BranchMoved,
    ChunkReceived,
    ContextCreated,
    ContextDeleted,
    ContextUpdated,
    Event,
    MessageAppended,
    StateChanged,
    StreamFinalized,
    StreamStarted,
)
from eventstore.verify import verify
from projections import following
from projections.answers import ContextState
from projections.bookkeeping import Change
from projections.contexts import Contexts
from projections.generations import Entry
from projections.memory import MemoryViews
from projections.messages import Messages
from projections.timelines import Timelines
from projections.timetravel import AtVersion
from turnlog.facade import Turnlog, open_turnlog

T = TypeVar("T")
Seed = strategies.integers(0, 1 << 32)
BRANCHES = ("main", "second", "third")


@dataclass
class Past:
    """What a context was after one of its events."""

    title: str | None
    state: str | None
    deleted: bool
    branches: dict[str, UUID | None]
    open_streams: dict[UUID, int]
    message_count: int


@dataclass
class Model:
    """One context: how it is now, and how it was after each event."""

    id: UUID
    title: str | None
    state: str | None = None
    deleted: bool = False
    branches: dict[str, UUID | None] = field(default_factory=lambda: {"main": None})
    texts: dict[UUID, list[str]] = field(default_factory=dict[UUID, list[str]])
    open_streams: set[UUID] = field(default_factory=set[UUID])
    pasts: list[Past] = field(default_factory=list[Past])
    last: tuple[Append, Committed] | None = None

    def remember(self, times: int = 1) -> None:
        """An event was recorded."""
        for later in reversed(range(times)):
            progress = {stream: len(self.texts[stream]) for stream in self.open_streams}
            if later and self.growing is not None:
                progress[self.growing] -= later
            self.pasts.append(
                Past(
                    self.title,
                    self.state,
                    self.deleted,
                    dict(self.branches),
                    progress,
                    len(self.texts),
                )
            )

    growing: UUID | None = None


class TurnlogMachine(RuleBasedStateMachine):
    """The rules: what users do, and what happens to them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.root = Path(tempfile.mkdtemp(prefix="turnlog-model-"))
        self.generation = 0
        self.contexts: list[Model] = []
        self.seen: dict[tuple[UUID, int], bytes] = {}
        self.joined: set[int] = set()
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(following, "PAGE_COMMITS", 2)
        self.patches.setattr(following, "STEP_SECONDS", 0.0)  # so that steps end wherever they can
        self.patches.setattr(following, "STAGED_BYTES", 2_000)  # and what stands together is staged
        self.stored: set[int] = set()
        self.patches.setattr(Change, "save", self.saving(Change.save))
        self.log: Turnlog = self.run(self._open())

    def saving(self, save: Callable[[Change, str, Entry], None]) -> Callable[[Change, str, Entry], None]:
        """Remember up to where the views are stored."""

        def remembering(change: Change, name: str, entry: Entry) -> None:
            self.stored = self.stored | {generation.checkpoint for generation in entry.generations()}
            save(change, name, entry)

        return remembering

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do asynchronous work in the machine's event loop."""
        return self.loop.run(work)

    @property
    def path(self) -> Path:
        """The data directory of the moment."""
        return self.root / str(self.generation)

    async def _open(self) -> Turnlog:
        return await open_turnlog(
            self.path, read_only=False, create=True, projections=(), allow_unsafe_file_system=True
        )

    def teardown(self) -> None:
        """End of a run."""
        self.run(self.log.close())
        self.loop.close()
        self.patches.undo()
        shutil.rmtree(self.root)

    def pick(self, seed: int) -> Model:
        """One of the contexts that take events."""
        return random.Random(seed).choice([model for model in self.contexts if not model.deleted])

    def append(self, model: Model, *events: Event) -> Committed:
        """Append with a commit id, and keep both for a repetition."""
        append = Append(model.id, events, commit_id=uuid7())
        committed = self.run(self.log.store.append(model.id, events, commit_id=append.commit_id))
        assert committed.written
        model.last = (append, committed)
        return committed

    @initialize()
    def start(self) -> None:
        self.create("first")

    @rule(title=strategies.text(max_size=8))
    def create(self, title: str) -> None:
        model = Model(uuid7(), title)
        self.append(model, ContextCreated(title))
        model.remember()
        self.contexts.append(model)

    def has_context(self) -> bool:
        """Whether a rule that needs a context may run."""
        return any(not model.deleted for model in self.contexts)

    @precondition(has_context)
    @rule(seed=Seed, text=strategies.text(max_size=20), branch=strategies.sampled_from(BRANCHES))
    def append_message(self, seed: int, text: str, branch: str) -> None:
        model = self.pick(seed)
        source = random.Random(seed)
        parents = [*model.texts, None]
        message_id = uuid7()
        if branch in model.branches and source.random() < 0.6:
            event = MessageAppended(message_id, "user", (TextPart(text),), branch)
        else:
            event = MessageAppended(message_id, "user", (TextPart(text),), branch, source.choice(parents))
        self.append(model, event)
        model.texts[message_id] = [text]
        model.branches[branch] = message_id
        model.remember()

    @precondition(has_context)
    @rule(seed=Seed, title=strategies.one_of(strategies.none(), strategies.text(max_size=8)))
    def update(self, seed: int, title: str | None) -> None:
        model = self.pick(seed)
        self.append(model, ContextUpdated({"title": title}), StateChanged("busy"))
        model.title = title
        model.remember()
        model.state = "busy"
        model.remember()

    @precondition(has_context)
    @rule(
        seed=Seed,
        new=strategies.booleans(),
        texts=strategies.lists(strategies.text(max_size=8), min_size=1, max_size=5),
        refused=strategies.booleans(),
    )
    def append_together(self, seed: int, new: bool, texts: list[str], refused: bool) -> None:
        """A context, or what follows in one, comes over in several commits, or not at all."""
        model = Model(uuid7(), texts[0]) if new else self.pick(seed)
        ids = [uuid7() for _ in texts]
        events: list[Event] = [ContextCreated(texts[0])] if new else []
        events += [
            MessageAppended(message_id, "user", (TextPart(text),))
            for message_id, text in zip(ids, texts, strict=True)
        ]
        appends = [Append(model.id, (event,), commit_id=uuid7()) for event in events]
        if refused:
            head = self.log.store.head()
            wrong = Append(model.id, (StreamFinalized(uuid7(), "completed"),))
            with pytest.raises(Refused):
                self.run(self.log.store.append_together([*appends, wrong]))
            assert self.log.store.head() == head
            assert (self.log.store.version_of(model.id) == 0) == new
            return
        outcomes = self.run(self.log.store.append_together(appends))
        again = self.run(self.log.store.append_together(appends))
        assert [each.position for each in again] == [each.position for each in outcomes]
        assert [each.written for each in (*outcomes, *again)] == [True] * len(events) + [False] * len(events)
        self.joined |= {each.position for each in outcomes[1:]}
        model.last = (appends[-1], outcomes[-1])
        if new:
            model.remember()
            self.contexts.append(model)
        for message_id, text in zip(ids, texts, strict=True):
            model.texts[message_id] = [text]
            model.branches["main"] = message_id
            model.remember()

    @precondition(has_context)
    @rule(seed=Seed, branch=strategies.sampled_from(BRANCHES))
    def move_branch(self, seed: int, branch: str) -> None:
        model = self.pick(seed)
        head = random.Random(seed).choice([*model.texts, None])
        self.append(model, BranchMoved(branch, head))
        model.branches[branch] = head
        model.remember()

    @precondition(has_context)
    @rule(seed=Seed)
    def start_stream(self, seed: int) -> None:
        model = self.pick(seed)
        message_id = uuid7()
        self.append(model, StreamStarted(message_id))
        model.texts[message_id] = []
        model.branches["main"] = message_id
        model.open_streams.add(message_id)
        model.remember()

    def streaming(self) -> list[tuple[Model, UUID]]:
        """The open streams of contexts that take events."""
        return [
            (model, stream)
            for model in self.contexts
            if not model.deleted
            for stream in sorted(model.open_streams)
        ]

    @precondition(lambda self: bool(self.streaming()))
    @rule(seed=Seed, deltas=strategies.lists(strategies.text(min_size=1, max_size=6), min_size=1, max_size=5))
    def receive_chunks(self, seed: int, deltas: list[str]) -> None:
        model, stream = random.Random(seed).choice(self.streaming())
        first = len(model.texts[stream]) + 1
        self.append(
            model, *[ChunkReceived(stream, first + i, delta, at=1_000 * i) for i, delta in enumerate(deltas)]
        )
        model.texts[stream] += deltas
        model.growing = stream
        model.remember(len(deltas))

    @precondition(lambda self: bool(self.streaming()))
    @rule(seed=Seed, more=strategies.booleans())
    def repeat_chunks(self, seed: int, more: bool) -> None:
        model, stream = random.Random(seed).choice(self.streaming())
        deltas = list(model.texts[stream])
        if more:
            deltas.append("new")
        if not deltas:
            return
        chunks = [ChunkReceived(stream, i + 1, delta, at=i) for i, delta in enumerate(deltas)]
        committed = self.run(self.log.store.append(model.id, chunks))
        assert committed.written == more
        if more:
            model.texts[stream].append("new")
            model.growing = stream
            model.remember()

    @precondition(lambda self: bool(self.streaming()))
    @rule(seed=Seed)
    def refuse_gaps_and_other_content(self, seed: int) -> None:
        model, stream = random.Random(seed).choice(self.streaming())
        count = len(model.texts[stream])
        wrong = [(ChunkReceived(stream, count + 2, "x"), "sequence_gap")]
        if count:
            wrong.append((ChunkReceived(stream, count, model.texts[stream][-1] + "!"), "chunk_conflict"))
        for chunk, code in wrong:
            with pytest.raises(Refused) as refused:
                self.run(self.log.store.append(model.id, [chunk]))
            assert refused.value.code == code

    @precondition(lambda self: bool(self.streaming()))
    @rule(seed=Seed)
    def finalize(self, seed: int) -> None:
        model, stream = random.Random(seed).choice(self.streaming())
        self.append(model, StreamFinalized(stream, "completed"))
        model.open_streams.discard(stream)
        model.remember()

    @precondition(lambda self: sum(not model.deleted for model in self.contexts) > 1)
    @rule(seed=Seed)
    def delete(self, seed: int) -> None:
        model = self.pick(seed)
        self.append(model, ContextDeleted())
        model.deleted = True
        model.remember()
        with pytest.raises(Refused, match="deleted"):
            self.run(self.log.store.append(model.id, [StateChanged("late")]))

    @precondition(has_context)
    @rule(seed=Seed, off=strategies.sampled_from((-1, 1)))
    def conflict(self, seed: int, off: int) -> None:
        model = self.pick(seed)
        version = len(model.pasts)
        with pytest.raises(WrongExpectedVersion) as conflict:
            self.run(
                self.log.store.append(
                    model.id,
                    [StateChanged("never")],
                    expected_version=version + off,
                    with_events_between=True,
                )
            )
        assert conflict.value.fields["actual"] == version
        assert len(conflict.value.fields["events_between"]) == max(0, -off)  # pyright: ignore[reportArgumentType] -- a list

    @precondition(lambda self: any(model.last for model in self.contexts))
    @rule(seed=Seed)
    def retry(self, seed: int) -> None:
        model = random.Random(seed).choice([model for model in self.contexts if model.last])
        assert model.last is not None
        append, first = model.last
        again = self.run(self.log.store.append(append.context_id, append.events, commit_id=append.commit_id))
        assert (again.position, again.version, again.written) == (first.position, first.version, False)
        with pytest.raises(Refused) as reused:
            self.run(self.log.store.append(model.id, [StateChanged("other")], commit_id=append.commit_id))
        assert reused.value.code == "commit_id_reused"

    @rule(drop_views=strategies.booleans())
    def reopen(self, drop_views: bool) -> None:
        self.run(self.log.close())
        if drop_views:
            shutil.rmtree(self.path / "views")
        self.log = self.run(self._open())

    @rule()
    def kill_and_reopen(self) -> None:
        """What a kill leaves behind is what LMDB has committed: a copy of that, opened instead."""
        before, self.generation = self.log, self.generation + 1
        for name, environment in (("views", before.views.env), ("log", before.store.log.env)):
            (self.path / name).mkdir(parents=True)
            environment.copy(str(self.path / name))
        self.run(before.close())
        self.log = self.run(self._open())

    @rule(name=strategies.sampled_from(("contexts", "messages", "timelines")))
    def rebuild(self, name: str) -> None:
        async def work() -> None:
            await self.log.runner.rebuild(name)
            await self.log.runner.rebuilt(name)

        self.run(work())

    @rule(seed=Seed)
    def read_as_of(self, seed: int) -> None:
        source = random.Random(seed)
        for _ in range(3):
            model = source.choice(self.contexts)
            self.check_past(model, source.randint(1, len(model.pasts)))

    def check_past(self, model: Model, version: int) -> None:
        """A past state is what the model remembers, and to the byte what it was when first asked."""
        state = self.run(self.log.queries.context(model.id, AtVersion(version)))
        assert_equal(state, model.pasts[version - 1])
        encoded = msgspec.json.encode(state)
        assert self.seen.setdefault((model.id, version), encoded) == encoded

    @invariant()
    def what_stands_together_is_seen_whole(self) -> None:
        """In all that was ever stored of the views, before anybody waited for them or after."""
        assert not self.joined & {checkpoint + 1 for checkpoint in self.stored}
        assert {commit.position for commit in self.log.store.read() if commit.together} == self.joined

    @invariant()
    def the_log_is_sound(self) -> None:
        assert list(verify(self.log.store.log)) == []

    @invariant()
    def views_equal_the_fold_of_the_log(self) -> None:
        self.run(self.log.runner.wait_for(self.log.store.acknowledged))
        oracle = MemoryViews([Contexts(), Messages(), Timelines()], self.log.store.read()).dump()
        with self.log.views.reading() as reader:
            for projection, tables in oracle.items():
                for table, rows in tables.items():
                    stored = list(reader.scan(projection, table, b"", b"\xff" * 480))
                    assert stored == rows, f"{projection}.{table}"

    @invariant()
    def contexts_are_what_they_should_be(self) -> None:
        for model in self.contexts:
            assert self.log.store.version_of(model.id) == len(model.pasts)
            self.check_past(model, len(model.pasts))

    @invariant()
    def bodies_are_the_text_that_was_said(self) -> None:
        for model in self.contexts[-2:]:
            for message_id, texts in list(model.texts.items())[-2:]:
                body = self.run(self.log.queries.body(message_id))
                assert body.text == "".join(texts)
                assert body.complete == (message_id not in model.open_streams)


def assert_equal(state: ContextState, past: Past) -> None:
    """The state that a query gives is the one that was."""
    assert state.title == past.title
    assert state.state == past.state
    assert state.deleted == past.deleted
    assert state.branches == past.branches
    assert state.open_streams == past.open_streams
    assert state.message_count == past.message_count


TurnlogMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestTurnlog = TurnlogMachine.TestCase
