"""The verifier finds what differs, and only that: every seeded difference, down to one byte of one delta."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import anyio
from conversations import START, conversation, conversations, identifier, streamed
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import to_builtins
from msgspec.structs import replace
from storing import first_plan

import turnlog
from eventstore.commits import Append, Committed
from eventstore.content import TextPart, ToolCallPart
from eventstore.events import ChunkRun, ContextUpdated
from projections.metadata import same_json
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Chunk, Conversation, Kept, Message, Streamed
from turnlog.importers.job.differences import Difference
from turnlog.importers.job.recording import branches_of, metadata_of
from turnlog.importers.job.verifying import compare


async def bring(
    log: Turnlog, copy: Conversation, change: Callable[[Append], Append] = lambda append: append
) -> int:
    plan = first_plan(copy)
    for outcome in await log.store.append_many(map(change, plan.appends)):
        assert isinstance(outcome, Committed), outcome
    return plan.version


async def differences(log: Turnlog, copy: Conversation, version: int | None = None) -> list[Difference]:
    return (await compare(log, copy, version=version)).differences


async def test_what_was_brought_over_is_as_its_source(log: Turnlog) -> None:
    copy = conversation(texts=6, tags=("a",), workspace="w", state_detail={"depth": 1})
    await bring(log, copy)
    assert await differences(log, copy) == []


async def test_one_byte_of_one_delta_is_found_and_its_message_named(log: Turnlog) -> None:
    copy = conversation(texts=4)
    await bring(log, copy)
    message = copy.messages[3]
    assert message.streamed is not None
    pieces = list(message.streamed.chunks)
    pieces[1] = replace(pieces[1], delta="upom ")
    changed = replace(message, streamed=replace(message.streamed, chunks=tuple(pieces)))
    found = await differences(log, replace(copy, messages=(*copy.messages[:3], changed)))
    assert {difference.message_id for difference in found} == {message.id}
    assert [difference.field for difference in found] == ["parts/0/text", "text", "chunks/2/delta"]
    assert found[2] == Difference(copy.id, message.id, "chunks/2/delta", '"upom "', '"upon "')


async def test_one_byte_that_the_log_has_otherwise_is_found_too(log: Turnlog) -> None:
    copy = conversation(texts=2)

    def spoil(append: Append) -> Append:
        events = [
            replace(event, deltas=("Onze ", *event.deltas[1:])) if isinstance(event, ChunkRun) else event
            for event in append.events
        ]
        return replace(append, events=tuple(events))

    await bring(log, copy, spoil)
    found = await differences(log, copy)
    assert (copy.messages[1].id, "chunks/1/delta") in [(d.message_id, d.field) for d in found]
    assert {d.message_id for d in found} == {copy.messages[1].id}


async def test_a_message_too_many_and_one_too_few_are_found(log: Turnlog) -> None:
    copy = conversation(texts=2)
    await bring(log, copy)
    fewer = replace(copy, messages=copy.messages[:1])
    assert (copy.messages[1].id, "message") in [
        (d.message_id, d.field) for d in await differences(log, fewer)
    ]
    extra = Message(identifier("extra"), copy.messages[1].id, "main", "user", ())
    more = replace(copy, messages=(*copy.messages, extra))
    assert [(d.message_id, d.field) for d in await differences(log, more)] == [(extra.id, "message")]


async def test_another_order_is_found(log: Turnlog) -> None:
    roots = [Message(identifier(n), None, "main", "user", (TextPart(str(n)),)) for n in range(3)]
    copy = conversation(messages=tuple(roots), branches={"main": roots[2].id})
    await bring(log, copy)
    swapped = replace(copy, messages=(roots[1], roots[0], roots[2]))
    assert [d.field for d in await differences(log, swapped)] == ["order"]


async def test_a_redacted_message_is_told(log: Turnlog) -> None:
    copy = conversation(texts=2)
    await bring(log, copy)
    await log.context(copy.id).redact(copy.messages[1].id)
    assert [(d.message_id, d.field) for d in await differences(log, copy)] == [
        (copy.messages[1].id, "redacted")
    ]


async def test_what_came_later_is_no_difference_to_how_it_was_then(log: Turnlog) -> None:
    copy = conversation(texts=2)
    version = await bring(log, copy)
    await log.context(copy.id).append_message("user", "later")
    await log.context(copy.id).update({"title": "later"})
    assert await differences(log, copy, version) == []
    assert {d.field for d in await differences(log, copy)} == {"message", "title", "branches/main"}


async def test_a_long_stream_is_compared_to_its_last_chunk(log: Turnlog) -> None:
    pieces = tuple(Chunk(str(n % 10), START + n) for n in range(20_500))
    stream = replace(streamed(), chunks=pieces)
    message = Message(identifier(1), None, "main", "assistant", (), streamed=stream)
    copy = conversation(messages=(message,), branches={"main": message.id})
    await bring(log, copy)
    assert await differences(log, copy) == []
    late = replace(stream, chunks=(*pieces[:-1], replace(pieces[-1], at=0)))
    found = await differences(log, replace(copy, messages=(replace(message, streamed=late),)))
    assert [d.field for d in found] == ["chunks/20500/at"]


async def test_a_true_is_not_a_one(log: Turnlog) -> None:
    copy = conversation(config={"stream": True})
    await bring(log, copy)
    assert [d.field for d in await differences(log, replace(copy, config={"stream": 1}))] == ["config"]


MEMBERS: Final[tuple[tuple[str, Any], ...]] = (
    ("title", "seeded"),
    ("workspace", "seeded"),
    ("config", {"seeded": 1}),
    ("attributes", {"seeded": 1}),
    ("tags", ("seeded",)),
    ("state", "seeded"),
    ("state_detail", {"seeded": True}),
    ("active_branch", "seeded"),
    ("kept", (Kept("seeded", {}),)),
    ("kept", ()),
)
OF_MESSAGES: Final[tuple[tuple[str, Any], ...]] = (
    ("role", "developer"),
    ("branch", "seeded"),
    ("message_type", "seeded"),
    ("metadata", {"seeded": 1}),
    ("occurred_at", START - 5),
    ("time_source", "source"),
    ("time_source", "file"),
    ("parts", (TextPart("seeded"),)),
    ("parts", (ToolCallPart("seeded", "seeded", "{}"),)),
    ("parent_id", UUID(int=5)),
    ("streamed", Streamed(START - 5, ())),
    ("streamed", None),
)
OF_STREAMS: Final[tuple[tuple[str, Any], ...]] = (
    ("started_at", START - 5),
    ("model", "seeded"),
    ("completed_at", START - 5),
    ("outcome", "completed"),
    ("outcome", "failed"),
    ("finish_reason", "seeded"),
    ("usage", {"seeded": 1}),
    ("error", {"seeded": 1}),
    ("chunks", ()),
)


def with_message(copy: Conversation, index: int, message: Message) -> Conversation:
    return replace(copy, messages=(*copy.messages[:index], message, *copy.messages[index + 1 :]))


def seeded(copy: Conversation) -> Iterator[Conversation]:
    """The conversation with one difference, in any field."""
    for field, value in MEMBERS:
        yield replace(copy, **{field: value})
    for name in copy.branches:
        yield replace(copy, branches=copy.branches | {name: UUID(int=5)})
        yield replace(copy, branches={n: head for n, head in copy.branches.items() if n != name})
    yield replace(copy, branches=copy.branches | {"seeded": None})
    for index, message in enumerate(copy.messages):
        yield replace(copy, messages=(*copy.messages[:index], *copy.messages[index + 1 :]))
        yield from (
            with_message(copy, index, replace(message, **{field: value})) for field, value in OF_MESSAGES
        )
        if message.streamed is not None:
            for stream in seeded_streams(message.streamed):
                yield with_message(copy, index, replace(message, streamed=stream))
        elif message.parts:
            yield with_message(copy, index, replace(message, parts=message.parts[1:]))


def seeded_streams(stream: Streamed) -> Iterator[Streamed]:
    yield from (replace(stream, **{field: value}) for field, value in OF_STREAMS)
    yield replace(stream, chunks=(*stream.chunks, Chunk("", START)))
    for index, chunk in enumerate(stream.chunks):
        for field, value in (
            ("delta", f"{chunk.delta}."),
            ("at", chunk.at + 1),
            ("kind", "tool_call"),
            ("part", "seeded"),
        ):
            changed = replace(chunk, **{field: value})
            yield replace(stream, chunks=(*stream.chunks[:index], changed, *stream.chunks[index + 1 :]))


def said(copy: Conversation) -> object:
    """What a conversation says: two that say the same are told apart by nobody."""
    messages = [
        to_builtins(replace(message, metadata=metadata_of(message) or {}, time_source="source"))
        | {"times": None if message.streamed is None else (message.streamed.outcome or "interrupted")}
        for message in copy.messages
    ]
    for message in messages:
        stream = message["streamed"]
        if stream is not None:
            stream["outcome"] = message["times"]
            message["occurred_at"] = message["message_type"] = None  # they are in the metadata, if at all
    whole = to_builtins(replace(copy, branches=branches_of(copy), workspace=copy.workspace or "default"))
    return whole | {"messages": messages}


@settings(max_examples=25)
@given(conversations(), st.data())
def test_any_conversation_is_brought_over_whole_and_any_difference_is_found(
    copy: Conversation, data: st.DataObject
) -> None:
    different = [each for each in seeded(copy) if not same_json(said(each), said(copy))]
    assume(different)
    chosen = data.draw(st.lists(st.sampled_from(different), min_size=1, max_size=8), "seeded")

    async def check() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with turnlog.open(Path(directory) / "store") as log:
                await bring(log, copy)
                assert await differences(log, copy) == []
                for each in chosen:
                    assert await differences(log, each), "a seeded difference was not found"

    anyio.run(check)


async def test_a_context_that_was_changed_by_hand_is_told(log: Turnlog) -> None:
    copy = conversation()
    await bring(log, copy)
    await log.context(copy.id).append(ContextUpdated({"attributes": {"note": 1}}))
    assert [d.field for d in await differences(log, copy)] == ["attributes"]
