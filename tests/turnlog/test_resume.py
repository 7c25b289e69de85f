"""Others and a stream: it is stopped from outside, or another producer goes on with it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import pytest
from gated import GatedStore, Left, commits_of, opened

from eventstore import frame
from eventstore.commits import Append, Commit
from eventstore.errors import Refused
from eventstore.events import ChunkReceived, MessageAppended, StreamFinalized, StreamResumed, StreamStarted
from eventstore.log import Log
from turnlog.recorder import record, resume
from turnlog.stream import recorder_of
from turnlog.sweep import stop

M = UUID("0197a000-0000-7000-8000-000000000001")


async def test_stopping_ends_the_stream_with_its_text_and_the_block_ends_quietly(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream:
            await stream.write("Hel")
            assert await stop(store, context_id, stream.message_id, metadata={"actor": "user"})
            await stream.write("lo")
            raise AssertionError("the write before was refused, which left the block")
        assert stream.stopped
        assert stream.finalized is None
        left = Left(store, context_id, stream.message_id)
        assert (left.text, left.outcome) == ("Hel", "aborted")
        assert commits_of(store, context_id)[-1].metadata == {"actor": "user"}
        assert not await stop(store, context_id, stream.message_id)


async def test_a_producer_that_never_looks_learns_of_the_stop_at_the_end(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream:
            finalized = StreamFinalized(stream.message_id, "aborted")
            await store.append(context_id, [finalized])  # as another process would
            await stream.write("too late")
            assert not stream.stopped
        assert stream.stopped
        left = Left(store, context_id, stream.message_id)
        assert (left.text, left.ends) == ("", [finalized])


async def test_the_refusal_of_a_stop_leaves_no_trace_but_other_errors_after_it_do(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                await stop(store, context_id, stream.message_id)
                raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            await produce()
        assert Left(store, context_id, M).outcome == "aborted"


async def test_only_streams_can_be_stopped(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        message_id = uuid4()
        await store.append(context_id, [MessageAppended(message_id, "user")])
        with pytest.raises(Refused) as caught:
            await stop(store, context_id, message_id)
        assert caught.value.code == "stream_not_open"
        with pytest.raises(Refused) as caught:
            await stop(store, context_id, uuid4())
        assert caught.value.code == "stream_not_found"


async def test_another_producer_goes_on_after_the_last_durable_chunk(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as first:
                await first.write("Hel")
                await first.flush()
                async with resume(store, context_id, first.message_id) as second:
                    assert (second.epoch, second.sequence, second.durable) == (2, 1, 1)
                    assert recorder_of(first.message_id) is second
                    await second.write("lo")
                    await second.flush()
                    await first.write("fenced")
                    with pytest.raises(Refused):
                        await first.flush()
                    await second.write("!")
                assert second.statistics.chunks == 2

        with pytest.raises(Refused) as caught:
            await produce()
        assert caught.value.code == "producer_fenced"
        left = Left(store, context_id, M)
        assert (left.text, left.outcome) == ("Hello!", "completed")


async def test_resuming_counts_on_from_what_is_in_the_log(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        message_id = uuid4()
        async with record(store, context_id, message_id=message_id) as stream:
            await stream.write("a")
            await stream.write("b", kind="reasoning")
            await stream.flush()
            await store.append(context_id, [MessageAppended(uuid4(), "user", branch="main")])
            await store.append(context_id, [StreamResumed(message_id, 5)])
            async with resume(store, context_id, message_id) as second:
                assert (second.epoch, second.sequence) == (6, 2)
            stream.fail(Refused("stream_finalized", "for the test"))
        with pytest.raises(Refused) as caught:
            async with resume(store, context_id, message_id):
                raise AssertionError("never entered")
        assert caught.value.code == "stream_finalized"
        with pytest.raises(Refused) as caught:
            async with resume(store, context_id, uuid4()):
                raise AssertionError("never entered")
        assert caught.value.code == "stream_not_found"


async def left_open(store: GatedStore, context_id: UUID, chunks: int, others: int) -> None:
    """Stream M, one chunk a commit, and then what another stream got in as many commits."""
    other = uuid4()
    await store.append(context_id, [StreamStarted(other), StreamStarted(M)])
    written = [Append(context_id, (ChunkReceived(M, n, "x"),)) for n in range(1, chunks + 1)]
    written += [Append(context_id, (ChunkReceived(other, n, "y"),)) for n in range(1, others + 1)]
    await store.append_many(written)


async def test_resuming_a_long_stream_reads_only_its_end(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, decode = list[int](), frame.decode_checked

    def counted(position: int, *arguments: Any, **options: Any) -> Commit:
        read.append(position)
        return decode(position, *arguments, **options)

    async with opened(data_dir) as (store, context_id):
        await left_open(store, context_id, chunks=300, others=2)
        await store.append(context_id, [StreamResumed(M, 7)])
        monkeypatch.setattr(frame, "decode_checked", counted)
        async with resume(store, context_id, M) as stream:
            assert (stream.epoch, stream.sequence, stream.durable) == (8, 300, 300)
            newest = store.head().position
            assert read == [newest, newest - 1, newest - 2, newest - 3, newest - 4]


@pytest.mark.parametrize("chunks", [0, 1])
async def test_whatever_came_between_others_run_while_the_last_chunk_is_looked_for(
    data_dir: Path, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, resumed = 0, False
    read_at, commit_of = list[int](), Log.commit_of

    async def take_turns() -> None:
        nonlocal turns
        while not resumed:
            turns += 1
            await anyio.lowlevel.checkpoint()

    def noted(*arguments: Any) -> Commit:
        read_at.append(turns)
        return commit_of(*arguments)

    async with opened(data_dir) as (store, context_id), anyio.create_task_group() as group:
        await left_open(store, context_id, chunks, others=200)
        group.start_soon(take_turns)
        monkeypatch.setattr(Log, "commit_of", noted)
        async with resume(store, context_id, M) as stream:
            resumed = True
            assert stream.sequence == chunks
            assert len(read_at) == 202
            assert all(before < after for before, after in pairwise(read_at))
            await stream.write("next")
        assert Left(store, context_id, M).outcome == "completed"


async def test_cancelled_while_it_looks_for_the_last_chunk_it_aborts_what_it_took_over(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_of = Log.commit_of

    def cancelling(*arguments: Any) -> Commit:
        scope.cancel()
        return commit_of(*arguments)

    async with opened(data_dir) as (store, context_id):
        await left_open(store, context_id, chunks=1, others=1)
        monkeypatch.setattr(Log, "commit_of", cancelling)
        with anyio.CancelScope() as scope:
            async with resume(store, context_id, M):
                raise AssertionError("never entered")
        left = Left(store, context_id, M)
        assert (left.text, left.outcome) == ("x", "aborted")


@pytest.mark.parametrize("epoch", [0, -1])
async def test_an_epoch_is_a_positive_number(data_dir: Path, epoch: int) -> None:
    async with opened(data_dir) as (store, context_id):
        await left_open(store, context_id, chunks=1, others=0)
        with pytest.raises(Refused, match="epoch"):
            async with resume(store, context_id, M, epoch=epoch):
                raise AssertionError("never entered")


async def test_an_epoch_that_is_not_higher_is_refused(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id), record(store, context_id, epoch=3) as stream:
        await store.append(context_id, [StreamResumed(stream.message_id, 3)])
        with pytest.raises(Refused) as caught:
            async with resume(store, context_id, stream.message_id, epoch=3):
                raise AssertionError("never entered")
        assert caught.value.code == "epoch_not_higher"


async def test_a_producer_beside_another_of_its_epoch_gives_way_and_leaves_the_stream(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                await store.append(context_id, [ChunkReceived(M, 1, "theirs")])
                await stream.write("ours")

        with pytest.raises(Refused) as caught:
            await produce()
        assert caught.value.code == "chunk_conflict"
        left = Left(store, context_id, M)
        assert (left.text, left.outcome) == ("theirs", None)
