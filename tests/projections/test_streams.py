"""Chunks in pages, timelines, and following a stream live, over a real log and real views."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from given import START, C, Stack, chunk, chunks, code_of, ident, running
from msgspec.structs import replace

from eventstore.commits import Append
from eventstore.content import TextPart
from eventstore.errors import TurnlogError
from eventstore.events import (
    ChunkReceived,
    ChunkRun,
    ContextCreated,
    ContextDeleted,
    CustomRecorded,
    MessageAppended,
    MessageRedacted,
    StreamFinalized,
    StreamStarted,
)
from projections.chunks import ChunkReader, stored_runs
from projections.snapshot import Snapshot


@pytest.fixture
async def stack(data_dir: Path) -> AsyncIterator[Stack]:
    async with running(data_dir) as stack:
        yield stack


async def test_chunks_come_in_pages_that_tell_the_end_from_having_caught_up(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 5)])
    page = await stack.queries.chunks(ident(1), limit=3)
    assert ([c.sequence for c in page.chunks], page.has_more, page.outcome) == ([1, 2, 3], True, None)
    page = await stack.queries.chunks(ident(1), after=3, limit=2)
    assert ([c.sequence for c in page.chunks], page.has_more, page.outcome) == ([4, 5], False, None)
    await stack.store.append(C, [CustomRecorded("x"), *chunks(1, 6, 6), StreamFinalized(ident(1), "aborted")])
    page = await stack.queries.chunks(ident(1), after=3, limit=3)
    assert ([c.sequence for c in page.chunks], page.has_more, page.outcome) == ([4, 5, 6], False, "aborted")
    assert page.chunks == chunks(1, 4, 6)
    page = await stack.queries.chunks(ident(1), after=99)
    assert (page.chunks, page.has_more, page.outcome) == ([], False, "aborted")


@pytest.mark.parametrize("raw", [False, True])
async def test_long_chunks_are_read_few_at_a_time(stack: Stack, raw: bool) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1))])
    for n in range(1, 6):
        event = chunk(1, n, "x" * 1_000_000)
        await stack.store.append(C, [replace(event, delta="", raw=b"x" * 1_000_000) if raw else event])
    await stack.runner.wait_for(stack.store.acknowledged)
    reader, read = ChunkReader(ident(1), raw=raw), list[int]()
    while reader.sequence < 5:
        with Snapshot(stack.views, stack.store.log, stack.store.acknowledged) as snapshot:
            read.append(sum(len(run.deltas) for run in reader.read(snapshot)))
    assert read == [1] * 5


async def test_raw_events_are_read_from_the_log(stack: Stack) -> None:
    event = ChunkReceived(ident(1), 1, "a", "text", START, None, b"data: {}")
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), event])
    for _ in range(2):
        assert (await stack.queries.chunks(ident(1), raw=True)).chunks == [event]
        assert (await stack.queries.chunks(ident(1))).chunks[0].raw is None
        if not (await stack.queries.message(ident(1))).outcome:
            await stack.store.append(C, [StreamFinalized(ident(1), "completed"), CustomRecorded("later")])
    page = await stack.queries.chunks(ident(1), after=50, raw=True)
    assert (page.chunks, page.outcome) == ([], "completed")


async def test_a_timeline_counts_an_open_stream_as_it_counts_it_when_it_is_sealed(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1), model="m", occurred_at=START)])
    await stack.store.append(
        C, [StreamStarted(ident(2)), *chunks(1, 1, 3), StreamFinalized(ident(2), "failed")]
    )
    await stack.store.append(C, [*chunks(1, 4, 4), chunk(1, 5, "{}", "tool_call")])
    before = await stack.queries.timeline(ident(1))
    await stack.store.append(C, [StreamFinalized(ident(1), "completed", usage={"n": 1})])
    after = await stack.queries.timeline(ident(1))
    assert (after.chunks, after.characters, after.text_bytes) == (5, 18, 18)
    assert (after.first_chunk_us, after.duration_us, after.chunks_per_second) == (20_000, 80_000, 50.0)
    assert (after.model, after.has_tool_calls, after.usage) == ("m", True, {"n": 1})
    ended = {"outcome", "usage", "finalized_version", "finalized_position", "finalized_at"}
    for field in set(after.__struct_fields__) - ended:
        assert getattr(before, field) == getattr(after, field), field


async def test_what_is_no_stream_says_so(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), MessageAppended(ident(1), "user")])
    for message, code in ((1, "stream_not_open"), (2, "message_not_found")):
        assert await code_of(stack.queries.timeline(ident(message))) == code
        assert await code_of(stack.queries.chunks(ident(message))) == code
        assert await code_of(anext(aiter(stack.queries.follow(ident(message))))) == code
        assert await code_of(anext(aiter(stack.queries.replay(ident(message))))) == code


async def test_a_follower_has_every_chunk_once_wherever_it_joins(stack: Stack, seed: int) -> None:
    rng = random.Random(seed)
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), StreamStarted(ident(2))])
    total, got = 300, list[tuple[int, list[int], bool]]()

    async def follower(after: int) -> None:
        sequences: list[int] = []
        async for event in stack.queries.follow(ident(1), after or None):
            if isinstance(event, ChunkReceived):
                # What is delivered is in the log.
                sequences.append(event.sequence)
                assert event.delta == f"1.{event.sequence} "
            else:
                got.append((after, sequences, event.outcome == "completed"))

    async def producer() -> None:
        sequence = 0
        while sequence < total:
            last = min(total, sequence + rng.randrange(1, 9))
            await stack.store.append(
                C, [*chunks(1, sequence + 1, last), *([chunk(2, last)] if last == 1 else [])]
            )
            sequence = last
            for _ in range(rng.randrange(4)):
                await anyio.lowlevel.checkpoint()
        await stack.store.append(C, [StreamFinalized(ident(1), "completed")])

    async with anyio.create_task_group() as group:
        group.start_soon(producer)
        for _ in range(30):
            group.start_soon(follower, rng.choice((0, 0, rng.randrange(total), total + 5)))
            for _ in range(rng.randrange(20)):
                await anyio.lowlevel.checkpoint()
    for after in (0, 17, total, total + 1):
        await follower(after)
    assert len(got) == 34
    for after, sequences, completed in got:
        assert sequences == list(range(after + 1, total + 1))
        assert completed


async def test_a_follower_who_waits_past_the_head_gets_what_comes_there(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 2)])
    events = aiter(stack.queries.follow(ident(1), 4))
    got: list[int] = []

    async def follower() -> None:
        event = await anext(events)
        assert isinstance(event, ChunkReceived)
        got.append(event.sequence)

    async with anyio.create_task_group() as group:
        group.start_soon(follower)
        for sequence in range(3, 7):
            await stack.store.append(C, chunks(1, sequence, sequence))
    assert got == [5]


async def test_a_follower_learns_of_redaction_deletion_and_closing(stack: Stack) -> None:
    codes: dict[int, str] = {}
    following = {number: anyio.Event() for number in (1, 2, 3)}
    ended = {number: anyio.Event() for number in (1, 2, 3)}

    async def follower(number: int) -> None:
        try:
            async for _ in stack.queries.follow(ident(number)):
                following[number].set()
        except TurnlogError as error:
            codes[number] = error.code
        ended[number].set()

    for number in (1, 2, 3):
        await stack.store.append(
            ident(number + 100), [ContextCreated(), StreamStarted(ident(number)), chunk(number, 1)]
        )
    async with anyio.create_task_group() as group:
        for number in (1, 2, 3):
            group.start_soon(follower, number)
            # A task that waits for a view is blocked too: only its first chunk shows that it follows.
            await following[number].wait()
        await stack.store.append(ident(101), [MessageRedacted(ident(1))])
        await stack.store.append(ident(102), [ContextDeleted()])
        await ended[1].wait()
        await ended[2].wait()
        await stack.runner.close()
        await stack.store.close()
    assert codes == {1: "message_redacted", 2: "context_deleted", 3: "log_closed"}


async def test_a_stream_of_a_deleted_context_delivers_what_there_is_and_then_says_so(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 3)])
    await stack.store.append(C, [ContextDeleted()])
    for after in (None, 2, 3, 50):
        events = aiter(stack.queries.follow(ident(1), after))
        for expected in chunks(1, (after or 0) + 1, 3):
            assert await anext(events) == expected
        assert await code_of(anext(events)) == "context_deleted"
    page = await stack.queries.chunks(ident(1), after=1)
    assert (len(page.chunks), page.outcome) == (2, None)


async def test_open_streams_are_those_that_may_still_be_ended(stack: Stack) -> None:
    for number in (1, 2, 3):
        await stack.store.append(ident(number + 100), [ContextCreated(), StreamStarted(ident(number))])
    await stack.store.append(ident(102), [StreamFinalized(ident(2), "completed")])
    await stack.store.append(ident(103), [ContextDeleted()])
    assert [pair async for pair in stack.queries.open_streams()] == [(ident(101), ident(1))]


async def test_a_place_before_the_first_chunk_is_refused(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 5)])
    for _ in range(2):
        for raw in (False, True):
            assert await code_of(stack.queries.chunks(ident(1), after=-1, raw=raw)) == "invalid_argument"
            assert (
                await code_of(anext(aiter(stack.queries.follow(ident(1), -1, raw=raw)))) == "invalid_argument"
            )
        if not (await stack.queries.message(ident(1))).outcome:
            await stack.store.append(C, [StreamFinalized(ident(1), "completed")])


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_follower_who_is_behind_gets_nothing_more_after_a_redaction(
    stack: Stack, sealed: bool
) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1))])
    for sequence in range(1, 6 + (not sealed)):
        await stack.store.append(C, chunks(1, sequence, sequence))
    if sealed:
        other = ChunkReceived(ident(1), 6, "a", "reasoning", START)
        await stack.store.append(C, [other, StreamFinalized(ident(1), "completed")])
    events = aiter(stack.queries.follow(ident(1), 4))
    assert isinstance(await anext(events), ChunkReceived)
    await stack.store.append(C, [MessageRedacted(ident(1))])
    assert await code_of(anext(events)) == "message_redacted"


async def test_a_follower_behind_the_live_commits_gets_nothing_more_after_a_redaction(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1))])
    events = aiter(stack.queries.follow(ident(1)))
    got: list[ChunkReceived | StreamFinalized] = []

    async def take() -> None:
        got.append(await anext(events))

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        appends = [Append(C, (event,)) for event in chunks(1, 1, 4)]
        await stack.store.append_many(appends)
    assert got == chunks(1, 1, 1)
    await stack.store.append(C, [MessageRedacted(ident(1))])
    assert await code_of(anext(events)) == "message_redacted"


async def test_a_redaction_after_the_last_chunk_withholds_the_end_which_may_have_the_text(
    stack: Stack,
) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 1)])
    await stack.store.append(C, [StreamFinalized(ident(1), "completed", parts=(TextPart("1.1 "),))])
    events = aiter(stack.queries.follow(ident(1)))
    assert await anext(events) == chunk(1, 1, "1.1 ")
    await stack.store.append(C, [MessageRedacted(ident(1))])
    assert await code_of(anext(events)) == "message_redacted"


async def test_another_messages_redaction_stops_no_follower(stack: Stack) -> None:
    await stack.store.append(
        C, [ContextCreated(), MessageAppended(ident(2), "user"), StreamStarted(ident(1))]
    )
    await stack.store.append(C, [*chunks(1, 1, 3), StreamFinalized(ident(1), "completed")])
    events = aiter(stack.queries.follow(ident(1)))
    await anext(events)
    await stack.store.append(C, [MessageRedacted(ident(2))])
    assert len([event async for event in events]) == 3


@pytest.mark.parametrize("finalized", [False, True])
async def test_a_body_that_is_redacted_while_it_is_read_is_empty(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, finalized: bool
) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 5)])
    if finalized:
        await stack.store.append(C, [StreamFinalized(ident(1), "completed")])
    planned = stored_runs

    async def late(*arguments: Any) -> AsyncGenerator[ChunkRun]:
        await stack.store.append(C, [MessageRedacted(ident(1))])
        await stack.runner.wait_for(stack.store.acknowledged)
        async for run in planned(*arguments):
            yield run

    monkeypatch.setattr("projections.queries.stored_runs", late)
    body = await stack.queries.body(ident(1))
    assert body == await stack.queries.body(ident(1))
    assert (body.redacted, body.parts, body.text, body.complete) == (True, (), "", finalized)
