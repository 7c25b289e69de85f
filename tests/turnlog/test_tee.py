"""The tee: every provider event passes unchanged, after it is logged, in few commits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from gated import Left, commits_of, opened
from providers import FINISHED, Provider, chunk, collect, provided, started
from wires import RECORDINGS

from eventstore.content import TextPart, ToolCallPart
from turnlog import feeder
from turnlog.stream import recorder_of
from turnlog.tee import tee


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("keep_raw", [False, True])
async def test_recordings_pass_byte_for_byte_and_are_recorded(
    data_dir: Path, name: str, keep_raw: bool
) -> None:
    data = RECORDINGS[name]
    slices = [data[at : at + 1_000] for at in range(0, len(data), 1_000)]
    async with opened(data_dir) as (store, context_id):
        dialect = name.partition("/")[0]
        passing = tee(store, context_id, provided(slices), dialect=dialect, keep_raw=keep_raw)
        assert b"".join([event async for event in passing]) == data
        left = Left(store, context_id, passing.message_id)
        assert left.outcome == "completed"
        assert left.ends == [passing.finalized]
        assert left.content
        assert left.started[0].model is not None
        assert recorder_of(passing.message_id) is None
        if keep_raw:
            assert b"".join(item.raw or b"" for item in left.chunks) == data


async def test_what_is_recorded_is_what_was_said(data_dir: Path) -> None:
    data = RECORDINGS["anthropic/tool_use_response.txt"].decode()
    async with opened(data_dir) as (store, context_id):
        passing = tee(
            store, context_id, provided(data), dialect="anthropic", metadata={"k": 1}, clock=lambda: 3
        )
        assert "".join([event async for event in passing]) == data
        left = Left(store, context_id, passing.message_id)
        assert left.content == (
            TextPart("I'll check the current weather in Paris for you."),
            ToolCallPart("toolu_01NRLabsLyVHZPKxbKvkfSMn", "get_weather", '{"location": "Paris"}'),
        )
        start, end = left.started[0], left.ends[0]
        assert (start.model, start.occurred_at) == ("claude-sonnet-4-20250514", 3)
        assert start.metadata == {
            "k": 1,
            "provider": {"id": "msg_019Q1hrJbZG26Fb9BQhrkHEr", "model": "claude-sonnet-4-20250514"},
        }
        assert (end.finish_reason, end.usage, end.parts) == (
            "tool_use",
            {
                "input_tokens": 377,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 65,
                "service_tier": "standard",
            },
            None,
        )


async def test_objects_pass_as_the_very_same(data_dir: Path) -> None:
    class Model:
        def __init__(self, event: dict[str, Any]) -> None:
            self.event = event

        def model_dump(self, mode: str) -> dict[str, Any]:
            return self.event

    events = [Model(chunk("Hel")), Model(chunk("lo")), Model(FINISHED)]
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, provided(events))
        passed = [event async for event in passing]
        assert all(one is other for one, other in zip(passed, events, strict=True))
        assert Left(store, context_id, passing.message_id).text == "Hello"


async def test_an_event_passes_only_after_it_is_logged(data_dir: Path) -> None:
    data = RECORDINGS["anthropic/basic_response.txt"]
    async with opened(data_dir) as (store, context_id):
        passing = tee(
            store, context_id, provided([data[:700], data[700:]]), dialect="anthropic", keep_raw=True
        )
        passed = b""
        async for event in passing:
            passed += event
            logged = Left(store, context_id, passing.message_id).chunks
            assert b"".join(item.raw or b"" for item in logged).startswith(passed)


async def test_nothing_passes_while_a_commit_is_held_up_then_all_of_it_in_one(data_dir: Path) -> None:
    passed: list[object] = []
    async with opened(data_dir) as (store, context_id), anyio.create_task_group() as group:
        provider = Provider()
        passing = started(store, context_id, provider, model="asked")
        store.shut()
        group.start_soon(collect, passing, passed)
        await anyio.wait_all_tasks_blocked()
        store.lift()
        await anyio.wait_all_tasks_blocked()
        store.shut()
        provider.say("a")
        await anyio.wait_all_tasks_blocked()
        provider.say(*"bcdefg")
        await anyio.wait_all_tasks_blocked()
        assert passed == []
        store.lift()
        provider.send(FINISHED)
        provider.end()
        await passing.recorder.flush(0)
    assert passed == [*map(chunk, "abcdefg"), FINISHED]


async def test_events_that_arrive_during_a_sync_share_a_commit(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        passing = started(store, context_id, provider, model="asked")
        provider.say("a")
        assert await anext(passing) == chunk("a")
        store.shut()
        provider.say("b")
        await store.arrived.wait()
        provider.say("c", "d", "e")
        await anyio.wait_all_tasks_blocked()
        store.lift()
        assert [await anext(passing) for _ in "bcde"] == [*map(chunk, "bcde")]
        provider.end()
        assert [event async for event in passing] == []
        counts = [commit.event_count for commit in commits_of(store, context_id)]
        assert counts == [1, 1, 1, 3, 1]


async def test_a_model_that_was_named_shows_before_the_provider_says_anything(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id), anyio.create_task_group() as group:
        provider = Provider()
        passing = started(store, context_id, provider, model="asked", metadata={"k": 1})
        group.start_soon(anext, passing)
        while recorder_of(passing.message_id) is None:
            await anyio.lowlevel.checkpoint()
        left = Left(store, context_id, passing.message_id)
        assert [(start.model, start.metadata) for start in left.started] == [("asked", {"k": 1})]
        provider.say("a")
        provider.end()
        await passing.recorder.flush()
        while not passing.recorder.durable:
            await anyio.lowlevel.checkpoint()
        metadata = [commit.metadata for commit in commits_of(store, context_id)]
        assert metadata[:2] == [None, {"provider": {"id": "c-1", "model": "m"}}]
        await anyio.wait_all_tasks_blocked()
        await passing.aclose()


async def test_a_retry_upstream_is_recorded_as_the_last_attempt(data_dir: Path) -> None:
    def message(name: str, *texts: str) -> list[dict[str, Any]]:
        begin = {"type": "message_start", "message": {"id": name, "model": "m"}}
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        deltas = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
            for text in texts
        ]
        return [begin, block, *deltas]

    events = [*message("1", "Hello, I"), *message("2", "Hi", "!"), {"type": "message_stop"}]
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, provided(events), dialect="anthropic")
        assert [event async for event in passing] == events
        left = Left(store, context_id, passing.message_id)
        assert left.content == (TextPart("Hi!"),)
        assert left.text == "Hello, IHi!"


async def test_a_slow_consumer_delays_neither_the_recording_nor_its_end(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.say(*"abc")
        provider.send(FINISHED)
        provider.end()
        passing = started(store, context_id, provider)
        first = await anext(passing)
        while passing.finalized is None:
            await anyio.lowlevel.checkpoint()
        assert Left(store, context_id, passing.message_id).outcome == "completed"
        assert [first, *[event async for event in passing]] == [*map(chunk, "abc"), FINISHED]


async def test_a_consumer_that_stops_reading_bounds_what_is_held_for_it(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder, "PASSING_EVENTS_MAX", 4)
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.say(*"0123456789")
        provider.end()
        passing = started(store, context_id, provider)
        passed = [await anext(passing)]
        await anyio.wait_all_tasks_blocked()
        assert passing.recorder.sequence <= 6
        passed += [event async for event in passing]
        assert passed == [*map(chunk, "0123456789")]
        assert Left(store, context_id, passing.message_id).text == "0123456789"


async def test_chunks_carry_the_time_at_which_their_bytes_arrived(data_dir: Path) -> None:
    times = iter(range(10, 1_000, 10))
    lines = [json.dumps(chunk(text)).encode() + b"\n" for text in "abc"]
    async with opened(data_dir) as (store, context_id):
        passing = started(
            store, context_id, provided([lines[0], lines[1] + lines[2]]), clock=lambda: next(times)
        )
        _ = [event async for event in passing]
        first, second, third = (item.at for item in Left(store, context_id, passing.message_id).chunks)
        assert first < second == third
