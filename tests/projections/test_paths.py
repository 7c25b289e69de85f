"""Messages along a path and by version: in pages, by role, type, time and version, at little cost."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from given import START, C, Stack, code_of, ident, numbers, running

from eventstore.content import Role
from eventstore.events import ContextCreated, MessageAppended, Record
from projections.listing import SCANNED_MAX
from projections.paths import Path as MessagePath


@pytest.fixture
async def stack(data_dir: Path) -> AsyncIterator[Stack]:
    async with running(data_dir) as stack:
        yield stack


async def conversation(stack: Stack, count: int) -> None:
    """Messages 1 to ``count`` in turns; 100 is a branch off message 3."""
    await stack.store.append(C, [ContextCreated()])
    for number in range(1, count + 1):
        role: Role = "user" if number % 2 else "assistant"
        kind = "note" if number % 5 == 0 else "message"
        await stack.store.append(C, [MessageAppended(ident(number), role, message_type=kind)])
    await stack.store.append(C, [MessageAppended(ident(100), "user", branch="b", parent_id=ident(3))])


async def test_a_path_reads_from_root_to_head(stack: Stack) -> None:
    await conversation(stack, 9)
    assert numbers(await stack.queries.messages(C)) == list(range(1, 10))
    assert numbers(await stack.queries.messages(C, branch="b")) == [1, 2, 3, 100]
    assert numbers(await stack.queries.messages(C, all_branches=True)) == [*range(1, 10), 100]
    assert await code_of(stack.queries.messages(C, branch="no")) == "branch_not_found"


@pytest.mark.parametrize("all_branches", [False, True])
async def test_pages_forwards_and_backwards_meet_every_message_once(stack: Stack, all_branches: bool) -> None:
    await conversation(stack, 23)
    whole = numbers(await stack.queries.messages(C, all_branches=all_branches))
    filters: list[dict[str, Any]] = [
        {},
        {"role": "user"},
        {"message_type": "note"},
        {"since": START + 8_000},
    ]
    for chosen in filters:
        ask: dict[str, Any] = {"all_branches": all_branches, **chosen}
        expected = numbers(await stack.queries.messages(C, **ask))
        assert set(expected) <= set(whole)
        for limit in (1, 4, 22, 23, 24):
            forwards, backwards = list[int](), list[int]()
            page = await stack.queries.messages(C, limit=limit, **ask)
            forwards += numbers(page)
            while page.next_cursor:
                page = await stack.queries.messages(C, limit=limit, after=page.next_cursor, **ask)
                forwards += numbers(page)
            page = await stack.queries.messages(C, last=limit, **ask)
            backwards = numbers(page) + backwards
            while page.next_cursor:
                page = await stack.queries.messages(C, limit=limit, before=page.next_cursor, **ask)
                backwards = numbers(page) + backwards
            assert (forwards, backwards) == (expected, expected)


@pytest.mark.parametrize("all_branches", [False, True])
async def test_messages_are_chosen_by_role_type_time_and_version(stack: Stack, all_branches: bool) -> None:
    await conversation(stack, 9)

    async def found(**chosen: Any) -> list[int]:
        page = await stack.queries.messages(C, all_branches=all_branches, **chosen)
        return [number for number in numbers(page) if number != 100]

    assert await found(role="user") == [1, 3, 5, 7, 9]
    assert await found(message_type="note") == [5]
    assert await found(role="assistant", message_type="note") == []
    assert await found(role="user", message_type="note") == [5]
    times = {e.id.int: e.recorded_at for e in (await stack.queries.messages(C)).items}
    assert await found(since=times[4], until=times[7]) == [4, 5, 6]
    assert await found(since=START * 2) == []
    assert await found(until=START) == []
    # Message n was added at version n + 1.
    assert await found(after=4) == [4, 5, 6, 7, 8, 9]
    assert await found(before=4) == [1, 2]
    assert await found(after=2, before=5) == [2, 3]
    assert await found(after=2, before=11, last=2) == [8, 9]
    assert await found(last=2, before=6) == [3, 4]
    assert await found(after=10**30) == []


async def test_pages_of_one_path_stay_on_it_when_the_branch_moves(stack: Stack) -> None:
    await conversation(stack, 6)
    page = await stack.queries.messages(C, limit=4)
    await stack.store.append(C, [MessageAppended(ident(50), "user", parent_id=ident(2))])
    rest = await stack.queries.messages(C, after=page.next_cursor)
    assert numbers(page) + numbers(rest) == [1, 2, 3, 4, 5, 6]


async def test_a_page_reads_only_what_it_shows(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Record] = [ContextCreated()]
    events += [MessageAppended(ident(number), "user") for number in range(1, 3_001)]
    await stack.store.append(C, events)
    reads = 0
    node = MessagePath._node  # pyright: ignore[reportPrivateUsage] -- to count it

    def counted(path: MessagePath, message_id: UUID) -> object:
        nonlocal reads
        reads += 1
        return node(path, message_id)

    monkeypatch.setattr(MessagePath, "_node", counted)
    most = 10 + 6 * math.log2(3_000)
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"last": 5}, [2_996, 2_997, 2_998, 2_999, 3_000]),
        ({"limit": 5}, [1, 2, 3, 4, 5]),
        ({"limit": 3, "after": 1_501}, [1_501, 1_502, 1_503]),
    ]
    for ask, expected in cases:
        reads = 0
        assert numbers(await stack.queries.messages(C, **ask)) == expected
        assert reads < most, ask


async def test_a_page_may_be_short_where_a_filter_passes_few(stack: Stack) -> None:
    events: list[Record] = [ContextCreated(), MessageAppended(ident(1), "system")]
    events += [MessageAppended(ident(number), "user") for number in range(2, SCANNED_MAX + 500)]
    await stack.store.append(C, events)
    page = await stack.queries.messages(C, role="system", last=5)
    assert page.items == []
    page = await stack.queries.messages(C, role="system", before=page.next_cursor)
    assert (numbers(page), page.next_cursor) == ([1], None)
