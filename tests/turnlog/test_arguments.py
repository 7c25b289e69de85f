"""Arguments of the wrong kind are refused by name at every way in; never an error of Python's own."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args
from uuid import UUID, uuid4

import pytest
from providers import provided

import turnlog
from eventstore.content import Kind, Role
from eventstore.errors import NotFound, Refused, TurnlogError
from eventstore.events import (
    ChunkReceived,
    ChunkRun,
    MessageAppended,
    Outcome,
    StreamFinalized,
    StreamStarted,
)
from turnlog import AtMessage, Context, Turnlog
from turnlog.recorder import record, resume
from turnlog.sweep import stop
from turnlog.tee import tee

Call = Callable[[Turnlog, Context, Any], object]
KNOWN: Final = UUID(int=1)

WITH_CONTEXT: Final[dict[str, Call]] = {
    "context": lambda log, _, it: log.context(it),
    "queries.context": lambda log, _, it: log.queries.context(it),
    "queries.messages": lambda log, _, it: log.queries.messages(it),
    "queries.history": lambda log, _, it: log.queries.history(it),
    "queries.diff": lambda log, _, it: log.queries.diff(it, turnlog.NOW),
    "queries.body": lambda log, _, it: log.queries.body(KNOWN, context_id=it),
    "store.append": lambda log, _, it: log.store.append(it, [MessageAppended(KNOWN, "user")]),
    "store.version_of": lambda log, _, it: log.store.version_of(it),
    "store.read_context": lambda log, _, it: list(log.store.read_context(it)),
    "recorder.record": lambda log, _, it: record(log.store, it),
    "recorder.resume": lambda log, _, it: resume(log.store, it, KNOWN),
    "sweep.stop": lambda log, _, it: stop(log.store, it, KNOWN),
    "tee.tee": lambda log, _, it: tee(log.store, it, provided([b""]), dialect="anthropic"),
}
WITH_MESSAGE: Final[dict[str, Call]] = {
    "queries.message": lambda log, _, it: log.queries.message(it),
    "queries.exists": lambda log, _, it: log.queries.exists(it),
    "queries.context_of": lambda log, _, it: log.queries.context_of(it),
    "queries.body": lambda log, _, it: log.queries.body(it),
    "queries.body of a context": lambda log, context, it: log.queries.body(it, context_id=context.id),
    "queries.bodies": lambda log, _, it: log.queries.bodies([it]),
    "queries.timeline": lambda log, _, it: log.queries.timeline(it),
    "queries.chunks": lambda log, _, it: log.queries.chunks(it),
    "queries.follow": lambda log, _, it: log.queries.follow(it),
    "queries.replay": lambda log, _, it: log.queries.replay(it),
    "AtMessage": lambda _, context, it: context.state(AtMessage(it)),
    "resume": lambda _, context, it: context.resume(it),
    "stop": lambda _, context, it: context.stop(it),
    "redact": lambda _, context, it: context.redact(it),
}
OPTIONAL: Final[dict[str, Call]] = {
    "create_context context_id": lambda log, _, it: log.create_context(context_id=it),
    "create_context commit_id": lambda log, _, it: log.create_context(commit_id=it),
    "append_message message_id": lambda _, context, it: context.append_message("user", "x", message_id=it),
    "append_message parent_id": lambda _, context, it: context.append_message("user", "x", parent_id=it),
    "append_message commit_id": lambda _, context, it: context.append_message("user", "x", commit_id=it),
    "record message_id": lambda _, context, it: context.record(message_id=it),
    "record parent_id": lambda _, context, it: context.record(parent_id=it),
    "tee message_id": lambda _, c, it: c.tee(provided([b""]), dialect="anthropic", message_id=it),
    "tee parent_id": lambda _, c, it: c.tee(provided([b""]), dialect="anthropic", parent_id=it),
    "append commit_id": lambda _, c, it: c.append(MessageAppended(KNOWN, "user"), commit_id=it),
    "subscribe contexts": lambda log, _, it: log.store.subscribe(contexts=(it,), live=False),
}


@pytest.fixture
async def opened(data_dir: Path) -> AsyncGenerator[tuple[Turnlog, Context]]:
    """A data directory with one context."""
    async with turnlog.open(data_dir) as log:
        yield log, await log.create_context()


async def outcome_of(called: Any) -> None:
    """Wait for, enter or iterate what a call gave."""
    if inspect.isawaitable(called):
        called = await called
    if hasattr(called, "__aenter__"):
        async with called:
            pass
    elif hasattr(called, "__aiter__"):
        async for _ in called:
            pass


async def refused(opened: tuple[Turnlog, Context], call: Call, argument: str, wrong: object) -> None:
    log, context = opened
    before = log.store.head()
    with pytest.raises(TurnlogError, match=r"UUID\(text\)") as caught:
        await outcome_of(call(log, context, wrong))
    assert isinstance(caught.value, Refused)
    assert (caught.value.code, caught.value.fields) == ("invalid_argument", {"argument": argument})
    assert argument in caught.value.message
    assert log.store.head() == before


@pytest.mark.parametrize("wrong", [str(KNOWN), KNOWN.bytes, 5, None])
async def test_a_contexts_id_that_is_no_uuid_is_refused_wherever_it_is_given(
    opened: tuple[Turnlog, Context], wrong: object
) -> None:
    for name, call in WITH_CONTEXT.items():
        if name != "queries.body" or wrong is not None:
            await refused(opened, call, "context_id", wrong)


@pytest.mark.parametrize("wrong", [str(KNOWN), KNOWN.bytes, 5, None])
async def test_a_messages_id_that_is_no_uuid_is_refused_wherever_it_is_given(
    opened: tuple[Turnlog, Context], wrong: object
) -> None:
    for call in WITH_MESSAGE.values():
        await refused(opened, call, "message_id", wrong)


@pytest.mark.parametrize("wrong", [str(KNOWN), KNOWN.bytes, 5])
async def test_an_id_that_may_be_left_out_is_a_uuid_when_it_is_given(
    opened: tuple[Turnlog, Context], wrong: object
) -> None:
    for name, call in OPTIONAL.items():
        await refused(opened, call, name.split()[1], wrong)


async def test_content_that_is_neither_text_nor_parts_is_refused(opened: tuple[Turnlog, Context]) -> None:
    log, context = opened
    before, wrong = log.store.head(), 5
    with pytest.raises(Refused, match="a text or a list of parts") as caught:
        await context.append_message("user", wrong)  # pyright: ignore[reportArgumentType] -- that is the point
    assert (caught.value.code, caught.value.fields) == ("invalid_argument", {"argument": "content"})
    assert log.store.head() == before


async def test_a_moment_that_is_none_is_refused_with_how_to_write_one(
    opened: tuple[Turnlog, Context],
) -> None:
    log, context = opened
    for wrong in (1, "v1", None, context.id):
        moment: Any = wrong
        for call in (
            log.queries.diff(context.id, moment, turnlog.NOW),
            log.queries.diff(context.id, turnlog.NOW, moment),
            context.state(moment),
            context.fork(moment),
        ):
            with pytest.raises(Refused, match=r"AtVersion\(1\)") as caught:
                await call
            assert (caught.value.code, caught.value.fields) == ("invalid_argument", {"argument": "moment"})


async def test_a_role_kind_or_outcome_that_is_none_is_refused_with_those_that_are(
    opened: tuple[Turnlog, Context],
) -> None:
    log, context = opened
    wrong: Any = "robot"
    message_id = uuid4()
    await context.append(StreamStarted(message_id))
    calls: list[tuple[Any, object]] = [
        (Role, context.append_message(wrong, "x")),
        (Role, context.record(role=wrong)),
        (Role, context.append(StreamStarted(uuid4(), wrong))),
        (Role, context.tee(provided([b"data: [DONE]\n\n"]), dialect="openai_chat", role=wrong)),
        (Role, log.queries.messages(context.id, role=wrong)),
        (Kind, context.append(ChunkReceived(message_id, 1, "x", wrong))),
        (Kind, context.append(ChunkRun(message_id, 1, 0, ("x",), (0,), wrong))),
        (Outcome, context.append(StreamFinalized(message_id, wrong))),
    ]
    for names, called in calls:
        with pytest.raises(Refused) as caught:
            await outcome_of(called)
        assert caught.value.code in ("invalid_event", "invalid_argument")
        assert ", ".join(get_args(names)) in caught.value.message
        assert wrong not in caught.value.message


@pytest.mark.parametrize(
    ("moment", "argument", "units"),
    [
        (turnlog.AtVersion, "version", ""),
        (turnlog.AtPosition, "position", ""),
        (turnlog.AtTime, "at_us", "microseconds since the epoch"),
    ],
)
@pytest.mark.parametrize("wrong", ["1", 1.0, None, True, b"1", datetime(2026, 1, 31, tzinfo=UTC), KNOWN])
def test_a_moment_that_is_no_number_is_refused_where_it_is_written(
    moment: Callable[[Any], object], argument: str, units: str, wrong: object
) -> None:
    with pytest.raises(Refused) as refused:
        moment(wrong)
    assert (refused.value.code, refused.value.fields) == ("invalid_argument", {"argument": argument})
    assert refused.value.message.startswith(f"{argument} is a {type(wrong).__name__}, not an int")
    assert units in refused.value.message


@pytest.mark.parametrize("number", [-(1 << 70), -1, 1 << 63, 1 << 64, 1 << 70])
async def test_a_moment_far_away_is_refused_by_its_code(data_dir: Path, number: int) -> None:
    async with turnlog.open(data_dir) as log:
        context = await log.create_context()
        for moment in (turnlog.AtVersion(number), turnlog.AtPosition(number)):
            with pytest.raises(NotFound) as missing:
                await context.state(moment)
            assert missing.value.code.endswith("_not_found")
        if number < 0:
            with pytest.raises(NotFound, match="did not exist"):
                await context.state(turnlog.AtTime(number))
        else:
            assert (await context.state(turnlog.AtTime(number))).version == 1
