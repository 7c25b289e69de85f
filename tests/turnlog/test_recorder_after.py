"""After the end, and after an end that failed: nothing is lost silently, nobody waits for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from gated import GatedStore, Left, opened

from eventstore.content import TextPart
from eventstore.errors import OutcomeUnknown, Refused, TurnlogError, Unavailable
from eventstore.limits import EVENT_BYTES_MAX
from turnlog import gathering
from turnlog.recorder import record
from turnlog.stream import REPEATS_MAX, StreamRecorder, recorder_of
from turnlog.sweep import stop

M = UUID("0197a000-0000-7000-8000-000000000001")


async def test_nothing_is_taken_after_the_end(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream:
            await stream.write("a")
        with pytest.raises(Refused) as caught:
            await stream.write("lost")
        assert caught.value.code == "stream_finalized"
        assert (stream.sequence, stream.durable, stream.failure, stream.stopped) == (1, 1, None, False)
        await stream.flush()
        with pytest.raises(Refused) as caught:
            await stream.flush(2)
        assert caught.value.code == "stream_finalized"
        left = Left(store, context_id, stream.message_id)
        assert (left.text, left.outcome) == ("a", "completed")


async def test_nothing_is_taken_while_the_end_is_written(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "GATHERED_CHUNKS_MAX", 1)
    async with opened(data_dir) as (store, context_id):
        refused: list[str] = []

        async def write(stream: StreamRecorder) -> None:
            try:
                await stream.write("late")
            except Refused as error:
                refused.append(error.code)

        async with anyio.create_task_group() as group, record(store, context_id, message_id=M) as stream:
            store.shut()
            await stream.write("a")
            await store.arrived.wait()
            await stream.write("b")
            group.start_soon(write, stream)  # waits for room
            await anyio.wait_all_tasks_blocked()
            group.start_soon(_write_then_lift, write, stream, store)
        assert refused == ["stream_finalized", "stream_finalized"]
        left = Left(store, context_id, M)
        assert (left.text, left.outcome) == ("ab", "completed")


async def _write_then_lift(write: Any, stream: StreamRecorder, store: GatedStore) -> None:
    await write(stream)
    store.lift()


@pytest.mark.parametrize(
    "errors",
    [
        [Unavailable("disk_full", "no space")],
        [Unavailable("log_closed", "closed")],
        [OutcomeUnknown("outcome_unknown", "who knows")] * (REPEATS_MAX + 1),
    ],
)
async def test_an_end_that_fails_frees_who_flushes_or_stops(data_dir: Path, errors: list[Exception]) -> None:
    async with opened(data_dir) as (store, context_id):
        waiting: list[asyncio.Task[Any]] = []

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                store.shut()
                await stream.write("a")
                waiting.append(asyncio.create_task(stream.flush()))
                waiting.append(asyncio.create_task(stop(store, context_id, M)))
                store.errors = list(errors)
                lifting = asyncio.create_task(_lift(store))
                waiting.append(lifting)
                stream.finalize(finish_reason="stop")
                stream.end().close()  # nothing is appended but with the end

        with pytest.raises(type(errors[0])) as caught:
            await produce()
        assert caught.value is errors[-1]
        with anyio.fail_after(5):
            ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert ended == [errors[-1], True, None]
        left = Left(store, context_id, M)
        assert left.outcome == "aborted"
        assert recorder_of(M) is None


async def _lift(store: GatedStore) -> None:
    store.lift()


async def test_an_end_that_is_given_up_is_an_unknown_outcome(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id, message_id=M) as stream:
            store.shut()
            await stream.write("a")
            ending = asyncio.create_task(stream.end())
            flushing = asyncio.create_task(stream.flush())
            await anyio.wait_all_tasks_blocked()
            ending.cancel()
            await asyncio.wait({ending})
            with anyio.fail_after(5), pytest.raises(OutcomeUnknown):
                await flushing
            store.lift()
            with pytest.raises(OutcomeUnknown):
                await stream.write("b")
            stream.fail(Refused("stream_finalized", "this test has seen enough"))
        assert stream.stopped


async def test_a_failure_raised_again_and_again_gathers_no_traceback(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        full = Unavailable("disk_full", "no space")

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                store.errors = [full]
                await stream.write("a")
                for _ in range(20):
                    with pytest.raises(Unavailable):
                        await stream.flush()
                    with pytest.raises(Unavailable):
                        await stream.write("b")
                    frames, traceback = 0, full.__traceback__
                    while traceback is not None:
                        frames, traceback = frames + 1, traceback.tb_next
                    assert frames < 5

        with pytest.raises(TurnlogError):
            await produce()


@pytest.mark.parametrize("size", [EVENT_BYTES_MAX, 2 * EVENT_BYTES_MAX])
async def test_final_content_that_is_too_large_is_left_to_the_chunks(data_dir: Path, size: int) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream:
            await stream.write("a")
            parts = (TextPart("x" * size),)
            stream.finalize(finish_reason="stop", usage={"n": 1}, parts=parts)
        left = Left(store, context_id, stream.message_id)
        assert (left.text, left.outcome) == ("a", "completed")
        end = left.ends[0]
        assert (end.finish_reason, end.usage, end.error, end.parts) == ("stop", {"n": 1}, None, None)
        assert stream.finalized == end


async def test_an_end_that_is_too_large_without_content_is_an_error(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                await stream.write("a")
                stream.finalize(usage={"n": "x" * EVENT_BYTES_MAX}, parts=(TextPart("y"),))

        with pytest.raises(Refused) as caught:
            await produce()
        assert caught.value.code == "event_too_large"
        left = Left(store, context_id, M)
        assert (left.text, left.outcome) == ("a", "failed")
