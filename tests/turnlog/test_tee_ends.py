"""Every way a tee can end records the true outcome and loses nothing that arrived."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from gated import Left, commits_of, opened
from providers import FINISHED, Provider, chunk, collect, provided, started
from wires import RECORDINGS, understood

from eventstore.content import DataPart
from eventstore.errors import Refused, Unavailable
from eventstore.events import ContextDeleted
from turnlog import feeder, recorder
from turnlog.stream import recorder_of
from turnlog.sweep import stop
from turnlog.tee import tee


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        ([chunk("a"), FINISHED], "completed"),
        ([chunk("a")], "interrupted"),
        ([], "interrupted"),
        ([chunk("a"), {"error": {"code": 1}}], "failed"),
        ([{"error": {"code": 1}}], "failed"),
    ],
)
@pytest.mark.parametrize("model", [None, "asked"])
async def test_the_end_is_the_one_that_the_provider_told(
    data_dir: Path, events: list[Any], outcome: str, model: str | None
) -> None:
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, provided(events), model=model)
        assert [event async for event in passing] == events
        left = Left(store, context_id, passing.message_id)
        assert (left.text, left.outcome) == ("a" if chunk("a") in events else "", outcome)
        assert left.ends[0].error == ({"code": 1} if outcome == "failed" else None)


async def test_an_exception_of_the_provider_reaches_the_consumer_after_what_came_before(
    data_dir: Path,
) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.say("a", "b")
        error = ConnectionError("reset by peer")
        provider.send(error)
        passing = started(store, context_id, provider)
        passed: list[object] = []
        with pytest.raises(ConnectionError) as caught:
            await collect(passing, passed)
        assert caught.value is error
        assert passed == [chunk("a"), chunk("b")]
        left = Left(store, context_id, passing.message_id)
        assert (left.text, left.outcome) == ("ab", "failed")
        assert left.ends[0].error == {"type": "ConnectionError", "message": "reset by peer"}


async def test_an_exception_after_the_end_was_seen_changes_no_outcome(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.send(FINISHED)
        provider.send(ConnectionError())
        passing = started(store, context_id, provider)
        with pytest.raises(ConnectionError):
            _ = [event async for event in passing]
        assert Left(store, context_id, passing.message_id).outcome == "completed"


async def test_a_malformed_event_fails_the_stream_with_what_arrived(data_dir: Path) -> None:
    data = f'{json.dumps(chunk("a"))}\n{json.dumps(chunk("b"))}\n{{"oops\n{json.dumps(chunk("c"))}\n'.encode()
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, provided([data]))
        passed: list[object] = []
        with pytest.raises(Refused) as caught:
            await collect(passing, passed)
        assert (caught.value.code, caught.value.fields["line"]) == ("malformed_stream", 3)
        assert passed == data.splitlines(keepends=True)[:2]
        left = Left(store, context_id, passing.message_id)
        assert (left.text, left.outcome) == ("ab", "failed")
        assert left.ends[0].error == {"type": "malformed_stream", "message": "line 3: not JSON"}


async def test_leaving_early_aborts_keeps_the_text_and_closes_the_provider(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.say("a", "b")
        async with aclosing(started(store, context_id, provider)) as passing:
            async for _ in passing:
                break
        assert provider.closed
        left = Left(store, context_id, passing.message_id)
        assert left.text in ("a", "ab")
        assert left.outcome == "aborted"
        await passing.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(passing)


async def test_leaving_after_the_end_was_seen_is_no_abort(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.say("a")
        provider.send(FINISHED)
        async with aclosing(started(store, context_id, provider)) as passing:
            async for event in passing:
                if event == FINISHED:
                    break
        assert Left(store, context_id, passing.message_id).outcome == "completed"


async def test_a_break_alone_aborts_as_soon_as_python_notices(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.say("a")
        message_id = uuid4()
        async for _ in started(store, context_id, provider, message_id=message_id):
            break
        gc.collect()
        while recorder_of(message_id) is not None:
            await anyio.lowlevel.checkpoint()
        assert Left(store, context_id, message_id).outcome == "aborted"
        while not provider.closed:
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("natively", [False, True])
async def test_a_cancelled_consumer_aborts(data_dir: Path, natively: bool) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.say("a")
        passing = started(store, context_id, provider)
        passed: list[object] = []
        if natively:
            task = asyncio.create_task(collect(passing, passed))
            while not passed:
                await anyio.lowlevel.checkpoint()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(collect, passing, passed)
                while not passed:
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        assert provider.closed
        left = Left(store, context_id, passing.message_id)
        assert (left.text, left.outcome) == ("a", "aborted")


async def test_a_consumer_that_never_comes_costs_nothing(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, Provider(), model="asked")
        await passing.aclose()
        assert commits_of(store, context_id) == []


async def test_a_stop_ends_the_iteration_quietly_and_closes_the_provider(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.say("a")
        passing = started(store, context_id, provider)
        passed: list[object] = []
        async for event in passing:
            passed.append(event)
            assert await stop(store, context_id, passing.message_id)
        assert passed == [chunk("a")]
        assert provider.closed
        assert passing.recorder.stopped
        left = Left(store, context_id, passing.message_id)
        assert (left.text, left.outcome) == ("a", "aborted")


async def test_a_failed_append_reaches_the_consumer_and_nothing_unlogged_passes(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.say("a")
        passing = started(store, context_id, provider)
        assert await anext(passing) == chunk("a")
        store.errors = [Unavailable("disk_full", "no space") for _ in range(5)]
        provider.say("b")
        with pytest.raises(Unavailable):
            await anext(passing)
        assert provider.closed
        store.errors.clear()
        left = Left(store, context_id, passing.message_id)
        assert (left.text, left.outcome) == ("a", None)


async def test_a_start_that_is_refused_reaches_the_consumer(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        for model in (None, "asked"):
            provider = Provider()
            provider.say("a")
            with pytest.raises(Refused) as caught:
                await anext(started(store, uuid4(), provider, model=model))
            assert caught.value.code == "context_not_found"
            assert provider.closed
        await store.append(context_id, [ContextDeleted()])
        with pytest.raises(Refused) as caught:
            await anext(started(store, context_id, provided([chunk("a")])))
        assert caught.value.code == "context_deleted"


async def test_a_taken_message_id_does_not_end_the_stream_of_another(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id), recorder.record(store, context_id) as other:
        with pytest.raises(Refused) as caught:
            await anext(started(store, context_id, provided([chunk("a")]), message_id=other.message_id))
        assert caught.value.code == "message_exists"
        assert Left(store, context_id, other.message_id).outcome is None


async def test_an_unknown_dialect_is_refused_before_anything_happens(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        with pytest.raises(Refused) as caught:
            started(store, context_id, Provider(), dialect="morse")
        assert caught.value.code == "unknown_dialect"


async def test_what_is_no_stream_is_an_error_of_the_consumer(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, ["not", "async"], model="asked")
        with pytest.raises(TypeError):
            await anext(passing)
        assert Left(store, context_id, passing.message_id).outcome == "failed"


async def test_a_provider_that_does_not_close_is_left_alone_after_a_while(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder, "CLOSE_SECONDS", 0.01)

    class Stubborn(Provider):
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    async with opened(data_dir) as (store, context_id):
        provider = Stubborn()
        provider.say("a")
        async with aclosing(started(store, context_id, provider)) as passing:
            await anext(passing)
        assert Left(store, context_id, passing.message_id).outcome == "aborted"


TOOLS = ["anthropic/tool_use_response.txt", "openai_chat/deepseek-tool-call.chunks.txt"]


@pytest.mark.parametrize("percent", range(0, 101, 10))
@pytest.mark.parametrize(
    "name", ["anthropic/tool_use_response.txt", "openai_chat/deepseek-tool-call.chunks.txt"]
)
async def test_a_cut_stream_passes_its_bytes_and_keeps_its_beginning(
    data_dir: Path, name: str, percent: int
) -> None:
    dialect, data = name.partition("/")[0], RECORDINGS[name]
    cut = data[: len(data) * percent // 100]
    async with opened(data_dir) as (store, context_id):
        passing = tee(store, context_id, provided([cut]), dialect=dialect)
        assert b"".join([event async for event in passing]) == cut
        left = Left(store, context_id, passing.message_id)
        assert left.outcome == ("completed" if percent == 100 else "interrupted")
        whole, _, _ = understood(dialect, data)
        said = [(item.kind, item.part, item.delta) for item in left.chunks]
        assert said == [(piece.kind, piece.part, piece.delta) for piece in whole][: len(said)]


DEEPEST = json.loads('{"a":' * 59 + "1" + "}" * 59)


@pytest.mark.parametrize("model", [None, "asked"])
@pytest.mark.parametrize("facts", [{"fact": DEEPEST}, {"fact": "x" * 100_000}, {"id": "c-1" * 100_000}])
async def test_what_a_provider_says_of_itself_never_spoils_the_answer(
    data_dir: Path, model: str | None, facts: dict[str, Any]
) -> None:
    said: dict[str, Any] = {"choices": [], "id": "c-1", "model": "m", **facts}
    events = [said, {**chunk("a"), "usage": {"n": DEEPEST["a"]}}, FINISHED]
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, provided(events), model=model)
        assert [event async for event in passing] == events
        left = Left(store, context_id, passing.message_id)
        assert (left.text, left.outcome) == ("a", "completed")
        metadata = left.started[0].metadata or commits_of(store, context_id)[1].metadata
        assert metadata is not None
        assert metadata["provider"].get("fact", DEEPEST) == DEEPEST
        assert metadata["provider"]["id"] == said["id"][:1024]


async def test_content_that_no_part_models_is_stored_however_deep(data_dir: Path) -> None:
    inner = DEEPEST["a"]["a"]["a"]
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "new", "x": inner}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "x": inner}}
    error = {"type": "error", "error": {"x": inner}}
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, provided([block, delta, error]), dialect="anthropic")
        _ = [event async for event in passing]
        left = Left(store, context_id, passing.message_id)
        assert left.ends[0].error == {"x": inner}
        deltas = {"type": "deltas", "deltas": [delta["delta"]]}
        assert left.content == (DataPart(block["content_block"]), DataPart(deltas))


async def test_a_provider_that_is_cancelled_by_itself_fails_the_stream(data_dir: Path) -> None:
    async def cancelled() -> AsyncGenerator[object, None]:
        yield chunk("a")
        raise asyncio.CancelledError

    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, cancelled())
        passed: list[object] = []
        with pytest.raises(RuntimeError, match="provider's stream was cancelled") as caught:
            await collect(passing, passed)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert passed == [chunk("a")]
        left = Left(store, context_id, passing.message_id)
        assert (left.text, left.outcome) == ("a", "failed")


async def test_a_tee_whose_own_task_is_cancelled_aborts_and_says_so(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.say("a")
        others = asyncio.all_tasks()
        passing = started(store, context_id, provider)
        assert await anext(passing) == chunk("a")
        for task in asyncio.all_tasks() - others:
            task.cancel()
        with pytest.raises(RuntimeError, match="provider's stream was cancelled"):
            await anext(passing)
        assert provider.closed
        assert Left(store, context_id, passing.message_id).outcome == "aborted"


async def test_an_answer_whose_content_is_too_large_for_one_event_is_completed(data_dir: Path) -> None:
    blocks = [
        {"type": "content_block_start", "index": i, "content_block": {"type": "result", "x": "x" * 2_900_000}}
        for i in range(3)
    ]
    events = [{"type": "message_start", "message": {"model": "c"}}, *blocks, {"type": "message_stop"}]
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, provided(events), dialect="anthropic")
        assert [event async for event in passing] == events
        left = Left(store, context_id, passing.message_id)
        assert (len(left.chunks), left.outcome, left.ends[0].parts) == (3, "completed", None)
