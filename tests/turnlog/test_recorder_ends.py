"""Every way out of a recording ends the stream as what it was, with what arrived."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest
from gated import GatedStore, Left, commits_of, opened

from eventstore.commits import NO_CONTEXT
from eventstore.errors import OutcomeUnknown, Refused, TurnlogError, Unavailable
from eventstore.events import ContextCreated, ContextDeleted, StreamFinalized
from turnlog import recorder
from turnlog.recorder import record
from turnlog.stream import recorder_of

M = UUID("0197a000-0000-7000-8000-000000000001")


async def test_the_end_is_what_was_said_of_it(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id, clock=lambda: 5) as stream:
            stream.finalize("interrupted", finish_reason="length", usage={"n": 1}, error={"e": 2})
        assert Left(store, context_id, stream.message_id).ends == [
            StreamFinalized(stream.message_id, "interrupted", "length", {"n": 1}, {"e": 2}, None, 5)
        ]


async def test_an_exception_finalizes_as_failed_with_what_arrived_and_goes_on(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        error = ValueError("no model today" + "!" * 2_000)

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                await stream.write("Hel")
                stream.finalize(finish_reason="length")
                raise error

        with pytest.raises(ValueError, match="no model today") as caught:
            await produce()
        assert caught.value is error
        left = Left(store, context_id, M)
        assert (left.text, left.outcome) == ("Hel", "failed")
        assert left.ends[0].finish_reason == "length"
        assert left.ends[0].error is not None
        assert left.ends[0].error["type"] == "ValueError"
        assert len(left.ends[0].error["message"]) == 1_000


@pytest.mark.parametrize("natively", [False, True])
async def test_a_cancellation_finalizes_as_aborted_with_what_arrived(data_dir: Path, natively: bool) -> None:
    async with opened(data_dir) as (store, context_id):

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                await stream.write("Hel")
                await anyio.sleep_forever()

        if natively:
            task = asyncio.create_task(produce())
            await anyio.wait_all_tasks_blocked()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(produce)
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
        left = Left(store, context_id, M)
        assert (left.text, left.outcome) == ("Hel", "aborted")


async def test_a_cancellation_while_the_end_is_written_still_writes_it(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with anyio.create_task_group() as group:

            async def produce() -> None:
                async with record(store, context_id, message_id=M) as stream:
                    await stream.write("Hello")
                    store.shut()

            group.start_soon(produce)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
            store.lift()
        left = Left(store, context_id, M)
        assert (left.text, left.outcome) == ("Hello", "completed")


async def test_a_cancellation_is_held_up_for_a_bounded_time(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "FINALIZE_SECONDS", 0.01)
    async with opened(data_dir) as (store, context_id):
        async with anyio.create_task_group() as group:

            async def produce() -> None:
                async with record(store, context_id, message_id=M):
                    store.shut()
                    await anyio.sleep_forever()

            group.start_soon(produce)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert Left(store, context_id, M).outcome is None
        store.lift()
        await anyio.wait_all_tasks_blocked()


async def test_a_cancellation_while_the_start_is_written_leaves_no_open_stream(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        message_id = uuid4()

        async def produce() -> None:
            async with record(store, context_id, message_id=message_id):
                raise AssertionError("never entered")

        store.shut()
        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
            store.lift()
        assert Left(store, context_id, message_id).outcome == "aborted"


async def test_a_start_that_is_refused_is_raised_and_touches_no_other_stream(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id), record(store, context_id) as first:
        with pytest.raises(Refused) as caught:
            async with record(store, context_id, message_id=first.message_id):
                raise AssertionError("never entered")
        assert caught.value.code == "message_exists"
        assert Left(store, context_id, first.message_id).outcome is None
        with pytest.raises(Refused) as caught:
            async with record(store, uuid4()):
                raise AssertionError("never entered")
        assert caught.value.code == "context_not_found"


async def test_a_failed_append_is_raised_by_every_later_call_and_what_arrived_is_kept(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        full = Unavailable("disk_full", "no space")

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                store.errors = [full]
                await stream.write("a")
                for _ in range(2):
                    with pytest.raises(Unavailable):
                        await stream.flush()
                    with pytest.raises(Unavailable):
                        await stream.write("b")
                assert (stream.sequence, stream.durable) == (1, 0)

        with pytest.raises(Unavailable) as caught:
            await produce()
        assert caught.value is full
        left = Left(store, context_id, M)
        assert (left.text, left.outcome) == ("a", "failed")
        assert left.ends[0].error == {"type": "disk_full", "message": "no space"}


async def test_a_failed_append_surfaces_at_the_end_of_a_block_that_never_looked(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                store.errors = [Unavailable("disk_full", "no space") for _ in range(4)]
                await stream.write("a")

        with pytest.raises(Unavailable):
            await produce()
        assert Left(store, context_id, M).outcome is None
        assert recorder_of(M) is None


async def test_the_error_of_the_block_goes_on_when_recording_failed_too(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                store.errors = [Unavailable("disk_full", "no space") for _ in range(4)]
                await stream.write("a")
                raise ValueError("model")

        with pytest.raises(ValueError, match="model") as caught:
            await produce()
        assert caught.value.__notes__ == ["the recording failed too: no space"]


async def test_an_append_of_unknown_outcome_is_repeated_and_doubles_nothing(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        unknown = OutcomeUnknown("outcome_unknown", "who knows")
        store.errors_after = [unknown]
        async with record(store, context_id) as stream:
            store.errors_after = [unknown]
            await stream.write("a")
            await stream.flush()
            store.errors = [unknown]
            await stream.write("b")
            await stream.flush()
            store.errors_after = [unknown]
        left = Left(store, context_id, stream.message_id)
        assert (len(left.started), left.text, left.outcome) == (1, "ab", "completed")


async def test_an_end_that_the_log_does_not_take_is_an_error_but_keeps_the_text(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                await stream.write("a")
                stream.finalize(usage={"n": float("nan")})

        with pytest.raises(Refused) as caught:
            await produce()
        assert caught.value.code == "invalid_event"
        left = Left(store, context_id, M)
        assert (left.text, left.outcome) == ("a", "failed")


async def test_an_answer_too_large_for_one_commit_with_its_end_takes_two(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        async with record(store, context_id) as stream:
            store.errors = [Refused("commit_too_large", "both")]
            await stream.write("a")
        left = Left(store, context_id, stream.message_id)
        assert (left.text, left.outcome) == ("a", "completed")
        assert [commit.event_count for commit in commits_of(store, context_id)] == [1, 1, 1]


async def test_a_deleted_context_ends_the_recording_with_its_error(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):

        async def produce() -> None:
            async with record(store, context_id, message_id=M) as stream:
                await store.append(context_id, [ContextDeleted()])
                await stream.write("a")
                await stream.flush()

        with pytest.raises(Refused) as caught:
            await produce()
        assert caught.value.code == "context_deleted"


async def test_a_closed_store_is_an_error_of_the_recording(data_dir: Path) -> None:
    store = await GatedStore.open(data_dir)
    context_id = uuid4()
    await store.append(context_id, [ContextCreated()], expected_version=NO_CONTEXT)

    async def produce() -> None:
        async with record(store, context_id, message_id=M) as stream:
            await store.close()
            await stream.write("a")
            await stream.flush()

    with pytest.raises(TurnlogError) as caught:
        await produce()
    assert caught.value.code == "log_closed"
