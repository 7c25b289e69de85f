"""Comparing what two stores answer: the state, messages, bodies and streams of every context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import msgspec

from eventstore.errors import Refused
from eventstore.portions import portions
from projections.answers import MessageEntry
from projections.pages import BODIES_AT_ONCE, BODIES_BYTES, PAGE_ITEMS_MAX
from turnlog.facade import Turnlog, open_turnlog

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


async def compare_answers(paths: Sequence[Path], *, unsafe: bool, progress: Progress) -> tuple[int, int]:
    """Ask the stores in these directories everything; of one alone, see that it answers.

    Returns how many contexts and messages there are. Raises ``Refused`` (``store_differs``), and whatever a
    query raises.
    """
    async with AsyncExitStack() as stack:
        logs: list[Turnlog] = []
        for path in paths:
            log = await open_turnlog(
                path, read_only=False, create=False, projections=(), allow_unsafe_file_system=unsafe
            )
            stack.push_async_callback(log.close)
            head = log.store.head().position
            progress("building the views", 0, head)
            await log.runner.wait_for(head)
            logs.append(log)
        counts = [_contexts(log) for log in logs]
        if len(set(counts)) > 1:
            raise Refused("store_differs", f"the stores have {counts[0]} and {counts[1]} contexts")
        contexts, messages, cursor = 0, 0, None
        while True:
            page = await logs[0].queries.contexts(limit=PAGE_ITEMS_MAX, cursor=cursor, include_deleted=True)
            for summary in page.items:
                messages += await _compare_context(logs, summary.id)
                contexts += 1
                progress("comparing contexts", contexts, counts[0])
            if (cursor := page.next_cursor) is None:
                return contexts, messages


def _contexts(log: Turnlog) -> int:
    with log.store.log.reading() as txn:
        return sum(1 for _ in log.store.log.context_keys(txn))


async def _compare_context(logs: list[Turnlog], context_id: UUID) -> int:
    """State, messages in order, bodies and timelines of a context. Returns how many messages it has."""
    states = [await log.queries.context(context_id) for log in logs]
    _check_equal(states, f"the state of context {context_id}")
    messages, after = 0, None
    while True:
        pages = [
            await log.queries.messages(context_id, all_branches=True, limit=PAGE_ITEMS_MAX, after=after)
            for log in logs
        ]
        _check_equal(pages, f"the messages of context {context_id}")
        for some in portions(pages[0].items, _body_bytes, BODIES_BYTES, BODIES_AT_ONCE):
            ids = [entry.id for entry in some]
            bodies = [await log.queries.bodies(ids, context_id=context_id) for log in logs]
            for message_id, *answers in zip(ids, *bodies, strict=True):
                _check_equal(answers, f"message {message_id} of context {context_id}")
        for entry in pages[0].items:
            if entry.streamed:
                timelines = [await log.queries.timeline(entry.id) for log in logs]
                _check_equal(timelines, f"the stream of message {entry.id} of context {context_id}")
        messages += len(pages[0].items)
        if (after := pages[0].next_cursor) is None:
            return messages


def _body_bytes(entry: MessageEntry) -> int:
    return entry.size_bytes or 0


def _check_equal(answers: Sequence[msgspec.Struct], what: str) -> None:
    if len({msgspec.msgpack.encode(answer) for answer in answers}) > 1:
        raise Refused("store_differs", f"{what} is not the same in both stores")
