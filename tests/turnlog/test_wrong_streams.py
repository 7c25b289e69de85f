"""What is no stream of the named dialect is passed on, refused by name, and never recorded as an answer."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from gated import Left, commits_of, opened
from providers import Provider, collect, provided, started
from wires import RECORDINGS

from eventstore.errors import CODES, Refused
from turnlog.dialects import DIALECTS
from turnlog.feeder import HELD_EVENTS_MAX

OTHER = {"anthropic": "openai_chat/openai-text.chunks.txt", "openai_chat": "anthropic/basic_response.txt"}
"""A recording of another dialect."""
PAGE = b"<html>\n<body>502 Bad Gateway</body>\n</html>\n"
RESPONSE = b'{"id": "resp_1", "object": "response", "model": "m", "output": []}\n'
"""An answer of an API that is neither dialect, although it names an id and a model."""


def wrong(dialect: str) -> list[bytes]:
    """Inputs without any event of the dialect."""
    return [
        RECORDINGS[OTHER[dialect]],
        PAGE,
        RESPONSE,
        b"data: {}\n\n",
        b"data: [1]\n\n",
        b'{\n  "a": 1\n}\n',
        b"<html>502</html>",
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_input_without_any_event_of_the_dialect_is_refused_and_nothing_is_written(
    data_dir: Path, dialect: str
) -> None:
    async with opened(data_dir) as (store, context_id):
        for data in wrong(dialect):
            with pytest.raises(Refused) as caught:
                await collect(started(store, context_id, provided([data]), dialect=dialect), [])
            assert caught.value.code == "malformed_stream"
        assert commits_of(store, context_id) == []


@pytest.mark.parametrize("keep_raw", [False, True])
@pytest.mark.parametrize("model", [None, "asked"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_it_is_passed_on_byte_for_byte_before_the_refusal_that_names_the_dialect(
    data_dir: Path, dialect: str, model: str | None, keep_raw: bool
) -> None:
    data = RECORDINGS[OTHER[dialect]]
    async with opened(data_dir) as (store, context_id):
        options: dict[str, Any] = {"dialect": dialect, "model": model, "keep_raw": keep_raw}
        passed: list[Any] = []
        with pytest.raises(Refused, match=f"no event of {dialect}") as caught:
            await collect(started(store, context_id, provided([data]), **options), passed)
        assert b"".join(passed) == data
        assert caught.value.fields == {"dialect": dialect, "known": sorted(DIALECTS)}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_message_that_the_model_had_started_fails_with_the_reason(
    data_dir: Path, dialect: str
) -> None:
    async with opened(data_dir) as (store, context_id):
        for data in wrong(dialect):
            passing = started(store, context_id, provided([data]), dialect=dialect, model="asked")
            with pytest.raises(Refused) as caught:
                await collect(passing, [])
            left = Left(store, context_id, passing.message_id)
            assert (left.text, left.outcome) == ("", "failed")
            assert left.ends[0].error == {"type": "malformed_stream", "message": caught.value.message}


@pytest.mark.parametrize("count", [HELD_EVENTS_MAX - 1, HELD_EVENTS_MAX])
async def test_bytes_that_are_kept_are_kept_of_a_wrong_dialect_too_once_it_cannot_be_waited_for(
    data_dir: Path, count: int
) -> None:
    data = b"data: {}\n\n" * count
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, provided([data]), keep_raw=True)
        passed: list[Any] = []
        with pytest.raises(Refused, match="no event of openai_chat"):
            await collect(passing, passed)
        assert b"".join(passed) == data
        if count < HELD_EVENTS_MAX:
            assert commits_of(store, context_id) == []
        else:
            left = Left(store, context_id, passing.message_id)
            assert b"".join(item.raw or b"" for item in left.chunks) == data
            assert left.outcome == "failed"


async def test_library_objects_of_another_dialect_are_refused_after_they_were_passed_on(
    data_dir: Path,
) -> None:
    events = [json.loads(line) for line in RECORDINGS["openai_chat/openai-text.chunks.txt"].splitlines()]
    async with opened(data_dir) as (store, context_id):
        passed: list[object] = []
        with pytest.raises(Refused, match="no event of anthropic"):
            await collect(started(store, context_id, provided(events), dialect="anthropic"), passed)
        assert passed == events
        assert commits_of(store, context_id) == []


@pytest.mark.parametrize(
    "data",
    [b"", b": waiting\n\n: waiting\n\n", b"\n\n", b"retry: 100\n\n", b'data: {"id": "c-1", "choi', b"data: "],
)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_connection_that_dies_before_its_first_event_is_an_interrupted_answer(
    data_dir: Path, dialect: str, data: bytes
) -> None:
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, provided([data]), dialect=dialect)
        assert b"".join([event async for event in passing]) == data
        assert Left(store, context_id, passing.message_id).outcome == "interrupted"


@pytest.mark.parametrize(
    ("dialect", "event", "outcome"),
    [
        ("anthropic", {"type": "ping"}, "interrupted"),
        ("anthropic", {"error": {"x": 1}}, "failed"),
        ("openai_chat", {"choices": []}, "interrupted"),
        ("openai_chat", {"object": "chat.completion.chunk", "usage": {"n": 1}}, "interrupted"),
        ("openai_chat", {"error": {"x": 1}}, "failed"),
        ("openai_chat", "[DONE]", "completed"),
    ],
)
async def test_an_event_of_the_dialect_that_says_nothing_still_is_one(
    data_dir: Path, dialect: str, event: object, outcome: str
) -> None:
    data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, provided([data]), dialect=dialect)
        assert [passed async for passed in passing] == [data]
        assert Left(store, context_id, passing.message_id).outcome == outcome


async def test_a_consumer_that_leaves_before_any_event_of_the_dialect_aborts(data_dir: Path) -> None:
    async with opened(data_dir) as (store, context_id):
        provider = Provider()
        provider.send({"type": "message_start"})
        passing = started(store, context_id, provider)
        await anext(passing)
        await passing.aclose()
        assert Left(store, context_id, passing.message_id).outcome == "aborted"


def test_the_hint_names_every_dialect() -> None:
    assert all(name in CODES["malformed_stream"].hint for name in DIALECTS)


# -- Lines that lost their ends -----------------------------------------------------------------------------


async def lines_of(data: bytes) -> AsyncGenerator[str, None]:
    """What httpx's ``aiter_lines`` gives."""
    for line in data.decode().splitlines():
        await anyio.lowlevel.checkpoint()
        yield line


EVENT = 'data: {"choices": []}'
COMMENTED = b": waiting\n\n: waiting\n\nid: 1\nretry: 3\ndata: {}\n\n"


@pytest.mark.parametrize("data", [*RECORDINGS.values(), COMMENTED, b"data: {}\n\ndata: [DONE]\n\n"])
async def test_lines_without_their_ends_are_refused_at_the_second_one_that_proves_it(
    data_dir: Path, data: bytes
) -> None:
    async with opened(data_dir) as (store, context_id):
        lines = lines_of(data)
        with pytest.raises(Refused, match="without their line ends") as caught:
            await anext(started(store, context_id, lines))
        assert (caught.value.code, caught.value.fields) == (
            "invalid_argument",
            {"argument": "provider_stream"},
        )
        assert commits_of(store, context_id) == []
        with pytest.raises(StopAsyncIteration):
            await anext(lines)


@pytest.mark.parametrize(
    "slices",
    [
        [EVENT, "", "\n\n"],
        [EVENT, "\n\n" + EVENT + "\n\n"],
        [": ", EVENT, "\n", EVENT + "\n\n"],
        ["event: x", "\n" + EVENT, "\n\n"],
        ["data: ", '{"choices": []', "}", "\n\n"],
        ["", EVENT],
        [EVENT + "\n", EVENT],
    ],
)
async def test_text_may_be_cut_anywhere_also_where_a_line_ends(data_dir: Path, slices: list[str]) -> None:
    async with opened(data_dir) as (store, context_id):
        passing = started(store, context_id, provided(slices))
        assert "".join([event async for event in passing]) == "".join(slices)


async def test_lines_with_their_ends_are_text_like_any_other(data_dir: Path) -> None:
    data = RECORDINGS["anthropic/basic_response.txt"].decode()
    async with opened(data_dir) as (store, context_id):
        lines = provided(data.splitlines(keepends=True))
        passing = started(store, context_id, lines, dialect="anthropic")
        assert "".join([event async for event in passing]) == data
        assert Left(store, context_id, passing.message_id).text == "Hello there!"
