"""Others and a stream: it is stopped from outside, or another producer goes on with it."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from gated import Left, commits_of, opened

from eventstore.errors import NotFound, Refused
from eventstore.events import ChunkReceived, MessageAppended, StreamFinalized, StreamResumed
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
        with pytest.raises(NotFound):
            async with resume(store, context_id, uuid4()):
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
