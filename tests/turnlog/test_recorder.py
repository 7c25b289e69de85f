"""Recording: what is written, in which commits, and when it is durable."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from gated import Left, commits_of, opened
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.errors import Refused
from eventstore.events import NUMBER_MAX, StreamFinalized
from eventstore.limits import EVENT_BYTES_MAX
from turnlog import gathering
from turnlog.recorder import record
from turnlog.stream import RecorderStatistics


class Slug(str):
    """A text that the log's encoding does not know."""

    __slots__ = ()


async def test_a_stream_is_started_durably_then_finalized(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id, model="m", metadata={"k": 1}, clock=lambda: 7) as stream:
            left = Left(store, context_id, stream.message_id)
            assert [(start.model, start.metadata, start.occurred_at) for start in left.started] == [
                ("m", {"k": 1}, 7)
            ]
            assert await stream.write("Hel") == 1
            assert await stream.write("lo", part="p", at=9) == 2
            assert await stream.write("{}", kind="tool_call", raw=b"raw") == 3
        left = Left(store, context_id, stream.message_id)
        assert [(c.delta, c.kind, c.part, c.raw, c.at) for c in left.chunks] == [
            ("Hel", "text", None, None, 7),
            ("lo", "text", "p", None, 9),
            ("{}", "tool_call", None, b"raw", 7),
        ]
        assert left.ends == [StreamFinalized(stream.message_id, "completed", occurred_at=7)]
        assert stream.finalized == left.ends[0]


async def test_writing_does_not_wait_and_flush_does(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id), record(store, context_id) as stream:
        store.shut()
        await stream.write("a")
        await stream.write("b")
        assert (stream.sequence, stream.durable) == (2, 0)
        with anyio.move_on_after(0) as impatient:
            await stream.flush()
        assert impatient.cancelled_caught
        assert (stream.sequence, stream.durable) == (2, 0)
        store.lift()
        await stream.flush()
        assert stream.durable == 2
        assert Left(store, context_id, stream.message_id).text == "ab"


async def test_chunks_that_come_while_a_commit_is_synced_share_the_next_one(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream:
            store.shut()
            await stream.write("a")
            await store.arrived.wait()
            for letter in "bcdefg":
                await stream.write(letter)
            store.lift()
            await stream.flush(1)
            await stream.flush()
        assert [commit.event_count for commit in commits_of(store, context_id)] == [1, 1, 6, 1]
        assert stream.statistics == RecorderStatistics(7, 7, 7, 4, 6)


async def test_flush_of_an_early_chunk_does_not_wait_for_later_ones(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id), record(store, context_id) as stream:
        await stream.write("a")
        await stream.flush()
        store.shut()
        await stream.write("b")
        await stream.flush(1)
        assert stream.durable == 1
        store.lift()


async def test_what_is_gathered_goes_with_the_end_in_one_commit(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream:
            for letter in "abc":
                await stream.write(letter)
        assert [commit.event_count for commit in commits_of(store, context_id)] == [1, 4]
        assert stream.durable == 3


async def test_an_idle_stream_holds_no_task(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id), record(store, context_id) as stream:
        tasks = asyncio.all_tasks()
        await stream.write("a")
        assert len(asyncio.all_tasks()) == len(tasks) + 1
        await stream.flush()
        await anyio.lowlevel.checkpoint()
        assert asyncio.all_tasks() == tasks


async def test_an_empty_delta_is_no_chunk_unless_it_keeps_raw_bytes(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream:
            assert await stream.write("") == 0
            assert await stream.write("", kind="other", raw=b": ping\n\n") == 1
        assert [chunk.raw for chunk in Left(store, context_id, stream.message_id).chunks] == [b": ping\n\n"]


async def test_writing_waits_while_too_much_is_gathered(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "GATHERED_CHUNKS_MAX", 3)
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream:
            store.shut()
            await stream.write("0")
            await store.arrived.wait()
            for letter in "123":
                await stream.write(letter)
            with anyio.move_on_after(0) as impatient:
                await stream.write("not taken")
            assert impatient.cancelled_caught
            assert stream.sequence == 4
            store.lift()
            assert await stream.write("4") == 5
        assert Left(store, context_id, stream.message_id).text == "01234"


async def test_bytes_gathered_are_bounded_too(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "GATHERED_BYTES_MAX", 10_000)
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream, anyio.create_task_group() as group:
            store.shut()
            await stream.write("x")
            await store.arrived.wait()
            await stream.write("y" * 10_000)

            async def write_more() -> None:
                await stream.write("z")

            group.start_soon(write_more)
            await anyio.wait_all_tasks_blocked()
            assert stream.sequence == 2
            store.lift()
        assert stream.durable == 3


async def test_a_chunk_that_no_log_takes_is_refused_at_once_and_spoils_nothing(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream:
            await stream.write("a")
            for bad in [
                {"delta": "\ud83d"},
                {"delta": Slug("x")},
                {"delta": b"x"},
                {"delta": None},
                {"kind": "poem"},
                {"kind": ["text"]},
                {"part": ""},
                {"part": "p" * 101},
                {"part": "\ud83d"},
                {"part": 7},
                {"raw": "x"},
                {"raw": bytearray(b"x")},
                {"at": 1_700_000_000_000_000_000},
                {"at": -NUMBER_MAX - 1},
                {"at": 1.5},
                {"at": True},
            ]:
                chunk: dict[str, Any] = {"delta": "x", **bad}
                with pytest.raises(Refused) as caught:
                    await stream.write(**chunk)
                assert caught.value.code == "invalid_event", bad
            with pytest.raises(Refused) as caught:
                await stream.write("x" * EVENT_BYTES_MAX)
            assert caught.value.code == "event_too_large"
            assert (stream.sequence, stream.failure) == (1, None)
            await stream.write("b")
        left = Left(store, context_id, stream.message_id)
        assert (left.text, left.outcome) == ("ab", "completed")


async def test_metadata_for_the_next_commit_is_on_that_commit_alone(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream:
            stream.annotate({"a": 1})
            stream.annotate({"b": 2})
            await stream.write("x")
            await stream.flush()
        metadata = [commit.metadata for commit in commits_of(store, context_id)]
        assert metadata == [None, {"a": 1, "b": 2}, None]


STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "flush", "checkpoint"]), st.text(min_size=1, max_size=3)), max_size=30
)


@settings(max_examples=25)
@given(steps=STEPS)
def test_the_log_holds_what_was_written_in_order_and_durable_never_lies(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    async def run() -> None:
        async with opened(tmp_path_factory.mktemp("log")) as (store, context_id):
            written: list[str] = []
            async with record(store, context_id) as stream:
                for verb, text in steps:
                    match verb:
                        case "write":
                            written.append(text)
                            assert await stream.write(text) == len(written)
                        case "flush":
                            await stream.flush()
                            assert stream.durable == len(written)
                        case _:
                            await anyio.lowlevel.checkpoint()
                    stored = Left(store, context_id, stream.message_id).chunks
                    assert stream.durable <= len(stored) <= len(written)
                    assert [chunk.delta for chunk in stored] == written[: len(stored)]
            left = Left(store, context_id, stream.message_id)
            assert [chunk.delta for chunk in left.chunks] == written
            assert left.outcome == "completed"

    anyio.run(run)


async def test_many_streams_record_beside_each_other(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        ids: list[UUID] = []

        async def produce(number: int) -> None:
            async with record(store, context_id, branch=f"b{number}", parent_id=None) as stream:
                ids.append(stream.message_id)
                for letter in f"stream {number}":
                    await stream.write(letter)
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(produce, number)
        texts = {Left(store, context_id, message_id).text for message_id in ids}
        assert texts == {f"stream {number}" for number in range(50)}
