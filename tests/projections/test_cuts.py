"""Cuts: how far each open stream was at any version, and how little is read to know it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from given import C, GivenLog, Stack, chunk, ident, running
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Naive, events_of, wander

from eventstore import frame
from eventstore.commits import Append, Commit
from eventstore.events import ContextCreated, CustomRecorded, StreamFinalized, StreamStarted
from projections import layout
from projections.contexts import Contexts
from projections.cuts import Cut, cut_of_row, progress_at, stored_cut
from projections.memory import MemoryPast, MemoryViews
from projections.projection import MILESTONE_VERSIONS, milestones
from projections.timetravel import AtVersion

CLOSE = 8
"""Versions from one milestone to the next in some tests, so that short logs have many."""


class Talk:
    """A context whose streams say chunks, and each open stream's progress after every version."""

    def __init__(self, streams: int = 0) -> None:
        self.log = GivenLog()
        self.progress: dict[int, int] = {}
        self.after: list[dict[int, int]] = [{}]
        self.commit(ContextCreated())
        for number in range(1, streams + 1):
            self.start(number)

    def commit(self, *events: Any) -> None:
        """One commit; chunks are given as the numbers of their streams."""
        recorded: list[Any] = []
        for event in events:
            if isinstance(event, int):
                self.progress[event] += 1
                recorded.append(chunk(event, self.progress[event]))
            else:
                recorded.append(event)
            self.after.append(dict(self.progress))
        self.log.append(C, *recorded)

    def start(self, number: int) -> None:
        """Open a stream."""
        self.progress[number] = 0
        self.commit(StreamStarted(ident(number)))

    def end(self, number: int) -> None:
        """Close a stream."""
        del self.progress[number]
        self.commit(StreamFinalized(ident(number), "completed"))


@st.composite
def talks(draw: st.DrawFn) -> Talk:
    """Three to six streams that take turns, pause for long and end, with other events now and then."""
    talk = Talk(draw(st.integers(3, 6)))
    for _ in range(draw(st.integers(1, 8))):
        match draw(st.sampled_from(["talk", "talk", "talk", "start", "end", "event"])):
            case "start":
                talk.start(len(talk.after))
            case "end" if len(talk.progress) > 1:
                talk.end(draw(st.sampled_from(sorted(talk.progress))))
            case "event":
                talk.commit(CustomRecorded("tick"))
            case _:
                those = draw(st.lists(st.sampled_from(sorted(talk.progress)), min_size=1, max_size=3))
                growth = draw(st.sampled_from([0, 0, 0, 1, 5]))
                before = draw(st.sampled_from([[], [], [], [CustomRecorded("before")]]))
                together = draw(st.sampled_from([[], [], those]))
                for turn in range(draw(st.integers(1, 20))):
                    run = [those[turn % len(those)]] * (1 + turn * growth % (3 * CLOSE))
                    talk.commit(*before, *run, *together)
    return talk


def base(views: MemoryViews, version: int) -> Cut:
    """The newest cut at or below a version, as a reader finds it: stored, or in a row of history."""

    def newest(table: str) -> tuple[int, bytes]:
        found = views.floor("contexts", table, C.bytes, layout.versioned(C.bytes, version))
        return (0, b"") if found is None else (layout.version_in(found[0]), found[1])

    row_version, row = newest(layout.HISTORY)
    decoded = layout.history_rows.decode(row)
    cut_version, cut = newest(layout.CUTS)
    if cut_version > row_version:
        return stored_cut(cut_version, decoded, cut)
    return cut_of_row(row_version, decoded)


class CountedPast(MemoryPast):
    """How many commits were read."""

    read = 0

    def context(self, context_id: UUID, from_version: int, to_version: int) -> Iterator[Commit]:
        for commit in super().context(context_id, from_version, to_version):
            self.read += 1
            yield commit


def numbered(progress: dict[UUID, int]) -> dict[int, int]:
    """The same by the streams' numbers."""
    return {message_id.int: chunks for message_id, chunks in progress.items()}


@given(talks())
@settings(max_examples=150, deadline=None)
def test_a_cut_at_any_version_equals_a_naive_count(talk: Talk) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("projections.projection.MILESTONE_VERSIONS", CLOSE)
        views = MemoryViews([Contexts()], talk.log.commits)
    past = CountedPast(talk.log.commits)
    for version in range(1, len(talk.after)):
        past.read = 0
        cut = base(views, version)
        found = progress_at(cut, version, lambda first, last: past.context(C, first, last))
        assert numbered(found) == talk.after[version]
        assert past.read <= CLOSE, "no walk goes further back than to a milestone"


@given(talks())
@settings(max_examples=100, deadline=None)
def test_a_stored_cut_equals_a_naive_count(talk: Talk) -> None:
    """Stored cuts alone: a walk that begins at a wrong one may still end right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("projections.projection.MILESTONE_VERSIONS", CLOSE)
        views = MemoryViews([Contexts()], talk.log.commits)
        rows = views.scan("contexts", layout.HISTORY, C.bytes, C.bytes + b"\xff" * 9)
        history = {layout.version_in(key): layout.history_rows.decode(row) for key, row in rows}
        stored = dict(views.scan("contexts", layout.CUTS, C.bytes, C.bytes + b"\xff" * 9))
        wanted = milestones(1, len(talk.after) - 1)
    for milestone in wanted:
        row_version = max(version for version in history if version <= milestone)
        cut = stored.pop(layout.versioned(C.bytes, milestone), None)
        if row_version == milestone or len(talk.after[milestone]) < 3:
            assert cut is None
        else:
            assert cut is not None
            assert (
                numbered(stored_cut(milestone, history[row_version], cut).progress) == talk.after[milestone]
            )
    assert not stored, "cuts stand at milestones only"


def test_a_cut_with_one_open_stream_reads_nothing() -> None:
    def never(first: int, last: int) -> list[Commit]:
        raise AssertionError(first, last)

    assert progress_at(Cut(10, {ident(1): 7}), 1_000_010, never) == {ident(1): 1_000_007}


def test_a_cut_with_two_open_streams_reads_one_commit() -> None:
    talk = Talk(2)
    for number in (2, *[1] * 5_000):
        talk.commit(number)
    past = CountedPast(talk.log.commits)
    version = len(talk.after) - 1
    found = progress_at(
        base(talk.log.views(), version), version, lambda first, last: past.context(C, first, last)
    )
    assert (numbered(found), past.read) == ({1: 5_000, 2: 1}, 1)


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_chunks_alone_store_a_cut_at_milestones_of_three_open_streams_and_nothing_else(streams: int) -> None:
    talk = Talk(streams)
    before = talk.log.views().dump()
    for turn in range(3 * MILESTONE_VERSIONS):
        talk.commit(1 + turn % streams)
    after = talk.log.views().dump()
    cuts = [layout.version_in(key) for key, _ in after["contexts"][layout.CUTS]]
    stored = [*range(MILESTONE_VERSIONS, 3 * MILESTONE_VERSIONS + 1, MILESTONE_VERSIONS)]
    assert cuts == (stored if streams == 3 else [])
    for projection, tables in after.items():
        for table, rows in tables.items():
            assert table == layout.CUTS or rows == before[projection][table]


def test_the_fold_reads_a_commit_once_however_long_ago_a_stream_paused() -> None:
    talk = Talk(4)
    for number in (3, 4, *[1, 2] * 5 * MILESTONE_VERSIONS):
        talk.commit(number)
    views = MemoryViews([Contexts()])
    views.past = past = CountedPast()
    for commit in talk.log.commits:
        before = past.read
        views.apply(commit)
        assert past.read - before <= MILESTONE_VERSIONS


@pytest.fixture
async def stack(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("projections.projection.MILESTONE_VERSIONS", CLOSE)
    monkeypatch.setattr("eventstore.log.MILESTONE_VERSIONS", CLOSE)
    monkeypatch.setattr("eventstore.append.MILESTONE_VERSIONS", CLOSE)
    async with running(data_dir) as stack:
        yield stack


async def test_the_state_at_every_version_equals_a_naive_fold_over_many_milestones(
    stack: Stack, seed: int
) -> None:
    await wander(stack, random.Random(seed), 150, streams=6)
    naive = Naive()
    for version, (_, event) in enumerate(events_of(stack.commits()), 1):
        naive.apply(event)
        naive.agrees(await stack.queries.context(C, AtVersion(version)))


async def test_the_state_among_streams_that_paused_reads_no_more_than_to_a_milestone(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(4)
    for turn in range(1_000):
        talk.commit(1 + turn % 4 if turn < 40 or 500 < turn < 510 else 1 + turn % 2)
    await stack.store.append_many([Append(C, commit.records) for commit in talk.log.commits])
    await stack.runner.wait_for(stack.store.acknowledged)
    with stack.views.reading() as reader:
        cuts = list(reader.scan("contexts", layout.CUTS, C.bytes, C.bytes + b"\xff" * 9))
    assert cuts == talk.log.views().dump()["contexts"][layout.CUTS]
    assert len(cuts) == 1_000 // CLOSE
    decoded: list[int] = []
    decode = frame.decode

    def counted(position: int, *arguments: Any, **named: Any) -> Commit:
        decoded.append(position)
        return decode(position, *arguments, **named)

    monkeypatch.setattr(frame, "decode", counted)
    for version in range(6, len(talk.after)):
        decoded.clear()
        state = await stack.queries.context(C, AtVersion(version))
        assert numbered(state.open_streams) == talk.after[version]
        assert len(decoded) < 2 * CLOSE, "the commit of the version, and at most those since a milestone"
