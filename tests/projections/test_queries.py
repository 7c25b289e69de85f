"""Lists, messages, chunks and live streams, over a real log and real views."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from given import BUILT_IN, START, C, Stack, chunk, chunks, code_of, ident, running
from wandering import Wanderer

from eventstore import frame
from eventstore.commits import Append, Commit
from eventstore.content import TextPart, ToolCallPart
from eventstore.errors import Refused, Unavailable
from eventstore.events import (
    ChunkReceived,
    ContextCreated,
    ContextDeleted,
    CustomRecorded,
    MessageAppended,
    StreamFinalized,
    StreamStarted,
)
from eventstore.store import EventStore
from projections.memory import MemoryViews
from projections.queries import Queries
from projections.runner import Runner
from projections.timetravel import AtPosition, AtVersion
from projections.views import Views


@pytest.fixture
async def stack(data_dir: Path) -> AsyncIterator[Stack]:
    async with running(data_dir) as stack:
        yield stack


# Contexts.


async def test_at_least_one_of_those_that_stand_together_is_all_of_them(stack: Stack) -> None:
    stream = ident(0x5)
    await stack.store.append(C, [ContextCreated(), StreamStarted(stream)])
    await stack.queries.context(C)
    group = [Append(C, (ChunkReceived(stream, sequence, "x"),)) for sequence in (1, 2, 3)]
    outcomes = await stack.store.append_together(group)
    for outcome in outcomes:
        state = await stack.queries.context(C, at_least=outcome.position)
        assert (state.version, state.open_streams) == (5, {stream: 3})


async def test_contexts_come_newest_first_in_pages_that_miss_none(stack: Stack) -> None:
    for number in range(1, 11):
        await stack.store.append(ident(number), [ContextCreated(str(number), "ab"[number % 2])])
    await stack.store.append(ident(3), [CustomRecorded("touch")])
    found: list[int] = []
    cursor: str | None = None
    while True:
        page = await stack.queries.contexts(limit=3, cursor=cursor)
        found.extend(item.id.int for item in page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [3, 10, 9, 8, 7, 6, 5, 4, 2, 1]
    odd = await stack.queries.contexts("b")
    assert [item.id.int for item in odd.items] == [3, 9, 7, 5, 1]
    assert [item.title for item in odd.items] == ["3", "9", "7", "5", "1"]


async def test_deleted_contexts_are_listed_only_on_request_in_their_place(stack: Stack) -> None:
    for number in range(1, 6):
        await stack.store.append(ident(number), [ContextCreated()])
    for number in (4, 2):
        await stack.store.append(ident(number), [ContextDeleted()])
    listed = await stack.queries.contexts()
    assert [item.id.int for item in listed.items] == [5, 3, 1]
    first = await stack.queries.contexts(include_deleted=True, limit=3)
    assert [(item.id.int, item.deleted) for item in first.items] == [(2, True), (4, True), (5, False)]
    rest = await stack.queries.contexts(include_deleted=True, cursor=first.next_cursor)
    assert [item.id.int for item in rest.items] == [3, 1]


async def test_answers_are_plain_json(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated("t"), StreamStarted(ident(1)), chunk(1, 1)])
    state = msgspec.json.decode(msgspec.json.encode(await stack.queries.context(C)))
    assert state["id"] == str(C)
    assert state["open_streams"] == {str(ident(1)): 1}
    assert state["branches"] == {"main": str(ident(1))}
    page = msgspec.json.decode(msgspec.json.encode(await stack.queries.messages(C)))
    assert page["items"][0]["role"] == "assistant"
    assert page["next_cursor"] is None


# Messages.


async def test_an_entry_has_the_size_and_tools_of_a_finished_stream(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1))])
    await stack.store.append(C, [chunk(1, 1, "é"), chunk(1, 2, "{}", "tool_call")])
    entry = await stack.queries.message(ident(1))
    assert (entry.size_bytes, entry.has_tool_calls, entry.outcome) == (None, False, None)
    await stack.store.append(C, [StreamFinalized(ident(1), "completed")])
    entry = await stack.queries.message(ident(1))
    assert (entry.size_bytes, entry.has_tool_calls, entry.outcome) == (4, True, "completed")
    past = (await stack.queries.messages(C, moment=AtVersion(4))).items[0]
    assert (past.size_bytes, past.has_tool_calls, past.outcome) == (None, False, None)


async def test_existence_and_bodies_by_id(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), MessageAppended(ident(1), "user", (TextPart("one"),))])
    await stack.store.append(C, [StreamStarted(ident(2)), chunk(2, 1, "two")])
    assert await stack.queries.exists(ident(1))
    assert not await stack.queries.exists(ident(3))
    bodies = await stack.queries.bodies([ident(2), ident(1)])
    assert [(body.text, body.complete) for body in bodies] == [("two", False), ("one", True)]
    for question in (stack.queries.body(ident(3)), stack.queries.message(ident(3))):
        assert await code_of(question) == "message_not_found"


async def test_a_commit_with_many_messages_is_read_once_by_the_views_and_once_for_their_bodies(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [ident(number) for number in range(1, 21)]
    streams = [(StreamStarted(each), *chunks(n, 1, 3)) for n, each in enumerate(ids, 1)]
    ends = [StreamFinalized(each, "completed", parts=(TextPart("x"),)) for each in ids]
    decoded: list[int] = []
    decode = frame.decode_checked

    def counted(position: int, *rest: Any) -> Commit:
        decoded.append(position)
        return decode(position, *rest)

    monkeypatch.setattr(frame, "decode_checked", counted)
    events = [(*stream, end) for stream, end in zip(streams, ends, strict=True)]
    await stack.store.append(C, [ContextCreated(), *chain.from_iterable(events)])
    await stack.queries.context(C)
    assert decoded == [1]
    assert [body.text for body in await stack.queries.bodies(ids, context_id=C)] == ["x"] * 20
    assert decoded == [1, 1]


async def test_runs_are_the_chunks_of_a_stream_in_columns_up_to_the_last_that_is_asked_for(
    stack: Stack,
) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 3)])
    await stack.store.append(C, [chunk(1, 4, "y", "reasoning", at=7), chunk(1, 5, "z", "reasoning", at=9)])
    for is_sealed in (False, True):
        if is_sealed:
            await stack.store.append(C, [StreamFinalized(ident(1), "completed")])
        page = await stack.queries.chunks(ident(1))
        for last in (5, 4, 2):
            runs = [run async for run in stack.queries.runs(ident(1), last)]
            assert list(chain.from_iterable(run.chunks() for run in runs)) == page.chunks[:last]


async def test_the_parts_of_a_stream_are_the_fold_of_its_chunks(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1))])
    note = '{"type": "tool_call", "id": "c", "name": "f"}'
    for sequence, (kind, part, delta) in enumerate(
        [
            ("text", None, "a"),
            ("other", "t", note),
            ("tool_call", "t", "{"),
            ("text", None, "b"),
            ("tool_call", "t", "}"),
        ],
        1,
    ):
        event = ChunkReceived(ident(1), sequence, delta, kind, START, part)  # pyright: ignore[reportArgumentType] -- kinds as given
        await stack.store.append(C, [event])
    parts = (TextPart("ab"), ToolCallPart("c", "f", "{}"))
    assert (await stack.queries.body(ident(1))).parts == parts
    await stack.store.append(C, [StreamFinalized(ident(1), "completed")])
    assert (await stack.queries.body(ident(1))).parts == parts


# When.


async def test_what_was_acknowledged_is_in_every_answer(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated()])
    for number in range(1, 31):
        await stack.store.append(C, [MessageAppended(ident(number), "user")])
        assert (await stack.queries.context(C)).message_count == number
        assert (await stack.queries.messages(C, last=1)).items[0].id == ident(number)


async def test_at_least_chooses_what_to_wait_for(stack: Stack) -> None:
    committed = await stack.store.append(C, [ContextCreated()])
    assert (await stack.queries.context(C, at_least=committed.position)).version == 1
    assert (await stack.queries.context(C, at_least=0)).version == 1
    assert await code_of(stack.queries.context(C, at_least=99)) == "position_not_found"
    assert await code_of(stack.queries.context(C, at_least=-1)) == "invalid_argument"


async def test_a_moment_later_than_what_is_applied_is_waited_for(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1))])
    await stack.queries.context(C)
    # The stored checkpoint stays behind commits of chunks alone, which change no row.
    committed = await stack.store.append(C, chunks(1, 1, 3))
    waited: list[int] = []

    class Watched:
        async def wait_for(self, position: int, projection: tuple[str, ...]) -> None:
            waited.append(position)
            await stack.runner.wait_for(position, projection)

    queries = Queries(stack.store, stack.views, cast("Runner", Watched()))
    for moment in (AtVersion(5), AtPosition(committed.position)):
        state = await queries.context(C, moment, at_least=0)
        assert (state.version, waited) == (5, [0, committed.position])
        waited.clear()


async def test_a_process_that_only_reads_gets_the_same_answers(data_dir: Path) -> None:
    async with running(data_dir) as stack:
        await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 3)])
        await stack.queries.context(C)
        await stack.store.append(C, chunks(1, 4, 5))
        expected = await stack.queries.context(C)
    async with await EventStore.open(data_dir, read_only=True) as reading:
        views = Views(reading.path / "views", BUILT_IN, reading.log, read_only=True)
        async with Runner(reading, views) as runner:
            queries = Queries(reading, views, runner)
            assert await queries.context(C) == expected
            assert expected.open_streams == {ident(1): 5}
            assert (await queries.body(ident(1))).text == "1.1 1.2 1.3 1.4 1.5 "
        views.close()


async def test_limits_and_cursors_are_checked(stack: Stack) -> None:
    await stack.store.append(
        C, [ContextCreated(), MessageAppended(ident(1), "user"), StreamStarted(ident(2))]
    )
    await stack.store.append(
        ident(0xD), [ContextCreated(), MessageAppended(ident(3), "user"), MessageAppended(ident(4), "user")]
    )
    queries = stack.queries
    foreign = (await queries.messages(ident(0xD), limit=1)).next_cursor
    for question in (
        queries.contexts(limit=0),
        queries.contexts(limit=1_001),
        queries.contexts(cursor="%%%"),
        queries.contexts(cursor="AAAA"),
        queries.messages(C, limit=-1),
        queries.messages(C, last=0),
        queries.messages(C, after="zz"),
        queries.messages(C, after=foreign),
        queries.messages(C, all_branches=True, after="A" * 100),
        queries.chunks(ident(2), limit=10_001),
    ):
        with pytest.raises(Refused) as caught:
            await question
        assert caught.value.code == "invalid_argument"


async def test_a_closed_log_says_so(data_dir: Path) -> None:
    async with running(data_dir) as stack:
        await stack.store.append(C, [ContextCreated()])
    with pytest.raises(Unavailable) as caught:
        await stack.queries.context(C)
    assert caught.value.code == "log_closed"


async def test_views_equal_the_fold_of_the_log(stack: Stack, seed: int) -> None:
    wanderer = Wanderer(random.Random(seed))
    for _ in range(150):
        await stack.store.append(C, wanderer.commit())
    await stack.queries.messages(C)
    dump = MemoryViews(BUILT_IN, stack.store.read()).dump()
    with stack.views.reading() as reader:
        for projection in BUILT_IN:
            for table in projection.tables:
                stored = list(reader.scan(projection.name, table, b"\x00", b"\xff" * 480))
                assert stored == dump[projection.name][table]
