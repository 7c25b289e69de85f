"""What differs between two moments, against a naive fold of both."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from given import C, Stack, ident, running
from naive import Naive, events_of, wander

from eventstore.events import (
    ContextCreated,
    MessageAppended,
    MessageRedacted,
)
from eventstore.metadata import Metadata
from projections.metadata import changes_between
from projections.timetravel import NOW, AtVersion


@pytest.fixture
async def stack(data_dir: Path) -> AsyncIterator[Stack]:
    async with running(data_dir) as stack:
        yield stack


async def test_a_difference_leads_from_one_moment_to_the_other(stack: Stack, seed: int) -> None:
    rng = random.Random(seed)
    await wander(stack, rng, 120)
    naive, past = Naive(), list[Naive]()
    for _, event in events_of(stack.commits()):
        naive.apply(event)
        past.append(naive.copy())
    for _ in range(60):
        a, b = rng.randrange(len(past)), rng.randrange(len(past))
        diff = await stack.queries.diff(C, AtVersion(a + 1), AtVersion(b + 1))
        before, after = past[a], past[b]
        assert diff.metadata == changes_between(_metadata(before), _metadata(after))
        moved = {name: (move.before, move.after) for name, move in diff.branches_moved.items()}
        heads = dict(before.branches)
        for name in diff.branches_removed:
            assert heads.pop(name) == diff.branches_removed[name]
        assert {name: heads[name] for name in moved} == {name: was for name, (was, _) in moved.items()}
        heads |= diff.branches_added | {name: head for name, (_, head) in moved.items()}
        assert heads == after.branches
        assert (diff.state is None) == (before.state == after.state)
        assert (diff.active_branch or (before.active, after.active)) == (before.active, after.active)
        assert [e.id for e in diff.messages_added] == after.messages[len(before.messages) :]
        assert [e.id for e in diff.messages_gone] == before.messages[len(after.messages) :]
        later = before if a > b else after
        for entry in (*diff.messages_added, *diff.messages_gone):
            assert entry.outcome == later.outcomes.get(entry.id)
        assert diff.message_count_change == len(after.messages) - len(before.messages)
        streams = {change.message_id: change for change in diff.streams}
        for message in before.chunks.keys() | after.chunks.keys():
            sides = [(len(s.chunks.get(message, ())), s.outcomes.get(message)) for s in (before, after)]
            change = streams.get(message)
            if change is None:
                assert sides[0] == sides[1]
            else:
                assert (change.chunks_before, change.outcome_before) == sides[0]
                assert (change.chunks_after, change.outcome_after) == sides[1]


def _metadata(naive: Naive) -> Metadata:
    return Metadata(naive.metadata.get("title"), naive.metadata.get("config", {}))


async def test_a_difference_lists_redactions_in_between_and_says_when_it_is_cut(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), *(MessageAppended(ident(n), "user") for n in range(1, 6))])
    await stack.store.append(C, [MessageRedacted(ident(2))])
    diff = await stack.queries.diff(C, AtVersion(1), limit=3)
    assert (len(diff.messages_added), diff.message_count_change, diff.truncated) == (3, 5, True)
    assert diff.redacted == [ident(2)]
    back = await stack.queries.diff(C, NOW, AtVersion(6))
    assert (back.redacted, back.messages_gone, back.truncated) == ([ident(2)], [], False)
