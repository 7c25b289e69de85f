"""Conversations as the tests make them: by hand, at random, and as files of a format for tests alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from eventstore.content import (
    DataPart,
    ImagePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from turnlog.importers.conversation import Chunk, Conversation, Kept, Message, Problem, Streamed
from turnlog.importers.source.files import Source, Unreadable, stable_id

START: Final = 1_760_000_000_000_000


class Plain:
    """An importer for tests: each file ``*.conversation`` is a list of conversations in msgpack."""

    format: str = "plain"

    def recognises(self, source: Source) -> bool:
        """Whether any file has the name of one."""
        return any(name.endswith(".conversation") for name in source.files())

    def claims(self, source: Source, name: str) -> bool:
        """Every file."""
        return True

    def read(self, source: Source) -> Iterator[Conversation | Problem]:
        """In the order of names."""
        for name in source.files():
            try:
                yield from msgspec.msgpack.decode(source.bytes(name), type=list[Conversation])
            except (msgspec.DecodeError, Unreadable) as error:
                yield Problem(name, "not_msgpack", str(error), "$")


def write(source: Path, conversations: Iterable[Conversation], name: str | None = None) -> None:
    """Each conversation in a file of its own; all in one that is named."""
    source.mkdir(parents=True, exist_ok=True)
    groups: dict[str, list[Conversation]] = {}
    for conversation in conversations:
        groups.setdefault(name or f"{conversation.id}.conversation", []).append(conversation)
    for file, group in groups.items():
        there = [msgspec.structs.replace(each, origin=file) for each in group]
        (source / file).write_bytes(msgspec.msgpack.encode(there))


def identifier(*facts: object) -> UUID:
    """The id of a test's context or message."""
    return stable_id(*map(str, facts))


def chunks(*deltas: str, at: int = START, gap: int = 1_000) -> tuple[Chunk, ...]:
    """Pieces of text that arrived one after another."""
    return tuple(Chunk(delta, at + gap * number) for number, delta in enumerate(deltas))


def streamed(*deltas: str, **given: Any) -> Streamed:
    """A stream that ended well."""
    ended: dict[str, Any] = {
        "model": "model-1",
        "completed_at": START + 1_000_000,
        "outcome": "completed",
        "finish_reason": "stop",
    }
    return Streamed(START - 10, chunks(*deltas), **(ended | given))


def conversation(name: object = "one", texts: int = 2, **given: Any) -> Conversation:
    """A user's messages and streamed answers, in turn, on the main branch."""
    messages: list[Message] = []
    for number in range(texts):
        message_id = identifier(name, number)
        parent_id = messages[-1].id if messages else None
        if number % 2:
            answer = streamed("Once ", "upon ", f"a time {number}.")
            messages.append(Message(message_id, parent_id, "main", "assistant", (), streamed=answer))
        else:
            parts = (TextPart(f"question {number}"),)
            messages.append(Message(message_id, parent_id, "main", "user", parts, occurred_at=START + number))
    head = messages[-1].id if messages else None
    fields: dict[str, Any] = {
        "messages": tuple(messages),
        "branches": {"main": head},
        "title": f"title of {name}",
        "config": {"model_id": "model-1", "parameters": {"temperature": 0.5}},
        "attributes": {"import": {"origin": f"{name}.conversation", "format": "plain"}},
        "state": "idle",
    }
    return Conversation(
        identifier(name),
        f"{name}.conversation",
        "plain",
        **(fields | given),
    )


_texts: Final = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_names: Final = st.sampled_from(["main", "second", "dritter Zweig", "四"])
_json: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_objects: Final = st.dictionaries(_texts.filter(lambda name: name != "import"), _json, max_size=3)
_parts: Final[st.SearchStrategy[Part]] = st.one_of(
    st.builds(TextPart, _texts),
    st.builds(ReasoningPart, _texts, st.none() | _texts),
    st.builds(ImagePart, url=_texts),
    st.builds(ToolCallPart, _texts, _texts, _texts),
    st.builds(ToolResultPart, _texts, _json, st.booleans()),
    st.builds(DataPart, _json),
)
_times: Final = st.integers(START, START + 10**9)
_chunks: Final = st.builds(
    Chunk, _texts, _times, st.sampled_from(["text", "reasoning", "refusal"]), st.sampled_from([None, "0"])
)
_streams: Final = st.builds(
    Streamed,
    _times,
    st.lists(_chunks, max_size=8).map(tuple),
    st.none() | _texts,
    st.none() | _times,
    st.sampled_from([None, "completed", "aborted", "failed"]),
    st.none() | _texts,
    st.none() | _objects,
    st.none() | _objects,
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Any conversation: branches, siblings, streams, parts of every kind, anything in metadata."""
    context_id = draw(st.uuids(version=4))
    messages: list[Message] = []
    for number in range(draw(st.integers(0, 6))):
        parent = draw(st.none() | st.sampled_from(messages)) if messages else None
        stream = draw(st.none() | _streams)
        messages.append(
            Message(
                stable_id(str(context_id), str(number)),
                None if parent is None else parent.id,
                draw(_names),
                draw(st.sampled_from(["system", "user", "assistant", "tool"])),
                tuple(draw(st.lists(_parts, max_size=3))) if stream is None or draw(st.booleans()) else (),
                draw(st.sampled_from(["message", "plan", "tool_call"])),
                draw(_objects),
                draw(st.none() | _times),
                draw(st.sampled_from(["source", "neighbour", "file", "none"])),
                stream,
            )
        )
    heads = st.none() if not messages else st.none() | st.sampled_from([message.id for message in messages])
    branches = draw(st.dictionaries(_names, heads, min_size=1, max_size=3))
    return Conversation(
        context_id,
        "somewhere",
        "plain",
        tuple(messages),
        branches,
        draw(st.sampled_from(sorted(branches))),
        draw(st.none() | st.just("workspace")),
        draw(st.none() | _texts),
        draw(_objects),
        draw(_objects) | {"import": {"origin": "somewhere"}},
        tuple(draw(st.lists(_texts, max_size=2))),
        draw(st.none() | st.just("idle")),
        kept=tuple(draw(st.lists(st.builds(Kept, st.sampled_from(["a", "b"]), _objects), max_size=2))),
    )
