"""The fold of messages: entries, indexes, ancestors, and what the end of a stream and a redaction change."""

from __future__ import annotations

import math
import random
from uuid import UUID

import pytest
from given import START, C, GivenLog, chunk, chunks, ident

from eventstore.content import (
    DataPart,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from eventstore.events import ContextCreated, MessageAppended, MessageRedacted, StreamFinalized, StreamStarted
from projections import layout
from projections.layout import MessageRow
from projections.memory import MemoryViews
from projections.messages import content_bytes


def row(views: MemoryViews, message: int) -> MessageRow:
    """A message's row."""
    return layout.message_rows.decode(views.get("messages", layout.MESSAGES, ident(message).bytes) or b"")


def found(views: MemoryViews, table: str, prefix: bytes) -> list[int]:
    """The messages that an index lists under a prefix, by their numbers."""
    rows = views.scan("messages", table, prefix, prefix + b"\xff" * 9)
    return [UUID(bytes=message).int for _, message in rows]


def test_an_entry_says_where_a_message_stands() -> None:
    log = GivenLog()
    log.append(C, ContextCreated())
    log.append(C, MessageAppended(ident(1), "user", (TextPart("hi"),), occurred_at=7))
    log.append(C, MessageAppended(ident(2), "assistant", (TextPart("oh"),), message_type="note"))
    views = log.views()
    first, second = row(views, 1), row(views, 2)
    assert (first.context_id, first.version, first.position) == (C, 2, 2)
    assert (first.parent_id, first.recorded_at, first.occurred_at) == (None, START + 2_000, 7)
    assert (second.parent_id, second.depth, second.branch) == (ident(1), 1, "main")
    assert (second.role, second.message_type) == ("assistant", "note")


@pytest.mark.parametrize(
    ("parts", "size"),
    [
        ((), 0),
        ((TextPart("é"), ReasoningPart("ab"), RefusalPart("c")), 5),
        ((ToolCallPart("id", "name", "{}"),), 2),
        ((ToolResultPart("id", "né"), ToolResultPart("id", {"a": 1})), 10),
        ((DataPart([1, 2]), ImagePart(url="https://example.org/a.png")), 5),
    ],
)
def test_the_size_counts_what_parts_say(parts: tuple[Part, ...], size: int) -> None:
    assert content_bytes(parts) == size


def test_an_entry_knows_whether_tools_were_called_and_answered() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), MessageAppended(ident(1), "assistant", (ToolCallPart("c", "f"),)))
    log.append(C, MessageAppended(ident(2), "tool", (ToolResultPart("c", 1),)))
    views = log.views()
    assert (row(views, 1).has_tool_calls, row(views, 1).has_tool_result) == (True, False)
    assert (row(views, 2).has_tool_calls, row(views, 2).has_tool_result) == (False, True)


def test_the_end_of_a_stream_is_in_its_entry_with_its_version() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)))
    log.append(C, *chunks(1, 1, 3))
    before = row(log.views(), 1)
    assert (before.streamed, before.outcome, before.finalized_version) == (True, None, None)
    log.append(C, StreamFinalized(ident(1), "aborted"))
    after = row(log.views(), 1)
    assert (after.outcome, after.finalized_version, after.has_final_parts) == ("aborted", 6, False)
    assert (after.size_bytes, after.has_tool_calls) == (None, None)


def test_final_parts_describe_a_stream_themselves() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)), chunk(1, 1))
    log.append(C, StreamFinalized(ident(1), "completed", parts=(ToolCallPart("c", "f", "{}"),)))
    entry = row(log.views(), 1)
    assert (entry.has_final_parts, entry.size_bytes, entry.has_tool_calls) == (True, 2, True)


def test_only_the_first_redaction_counts() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), MessageAppended(ident(1), "user"))
    log.append(C, MessageRedacted(ident(1)))
    log.append(C, MessageRedacted(ident(1), "again"))
    views = log.views()
    assert row(views, 1).redacted_version == 3
    assert found(views, layout.REDACTIONS, C.bytes) == [1]


def test_messages_are_found_by_version_role_and_type_in_order() -> None:
    log = GivenLog()
    log.append(C, ContextCreated())
    other = ident(0xD)
    log.append(other, ContextCreated(), MessageAppended(ident(100), "user"))
    for number in range(1, 9):
        role = "user" if number % 2 else "assistant"
        log.append(C, MessageAppended(ident(number), role, message_type="ab" if number < 4 else "a"))
    views = log.views()
    assert found(views, layout.BY_VERSION, C.bytes) == list(range(1, 9))
    assert found(views, layout.BY_ROLE, layout.by_role(C.bytes, "user", 0)[:-8]) == [1, 3, 5, 7]
    assert found(views, layout.BY_TYPE, layout.by_type(C.bytes, "a", 0)[:-8]) == [4, 5, 6, 7, 8]
    assert found(views, layout.BY_TYPE, layout.by_type(C.bytes, "ab", 0)[:-8]) == [1, 2, 3]


def test_the_longest_names_fit_into_keys() -> None:
    log = GivenLog()
    widest = "\U0001f600" * 100
    log.append(C, ContextCreated(workspace=widest))
    log.append(C, MessageAppended(ident(1), "user", branch="main", message_type=widest))
    assert row(log.views(), 1).message_type == widest


def test_jumps_lead_to_any_ancestor_in_few_steps(seed: int) -> None:
    rng = random.Random(seed)
    log = GivenLog()
    log.append(C, ContextCreated())
    parents: dict[int, int | None] = {}
    for number in range(1, 2_001):
        parent = None if rng.random() < 0.001 or number == 1 else max(1, number - rng.choice((1, 1, 1, 1, 9)))
        parents[number] = parent
        parent_id = None if parent is None else ident(parent)
        log.append(C, MessageAppended(ident(number), "user", parent_id=parent_id))
    views = log.views()
    for number in (1, 2, 3, 500, 1_999, 2_000):
        path: list[int] = []
        at: int | None = number
        while at is not None:
            path.append(at)
            at = parents[at]
        entry = row(views, number)
        assert entry.depth == len(path) - 1
        for depth in rng.sample(range(len(path)), min(20, len(path))):
            assert _ancestor(views, number, depth) == path[-1 - depth]


def _ancestor(views: MemoryViews, number: int, depth: int) -> int:
    entry, steps = row(views, number), 0
    while entry.depth > depth:
        number = entry.jump_id.int if entry.jump_depth >= depth else (entry.parent_id or entry.jump_id).int
        entry = row(views, number)
        steps += 1
    assert steps <= 3 * math.log2(2_000)
    return number
