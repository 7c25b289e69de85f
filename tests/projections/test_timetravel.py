"""The exact past: contexts, messages, differences and forks as of any moment, against a naive fold."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from given import START, C, Stack, chunk, chunks, ident, running
from naive import Naive, events_of, wander

from eventstore.commits import Commit
from eventstore.content import Kind, TextPart, fold
from eventstore.errors import NotFound, Refused
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ContextCreated,
    ContextUpdated,
    ForkedFrom,
    MessageAppended,
    MessageRedacted,
    StreamFinalized,
    StreamStarted,
)
from projections.answers import ContextState
from projections.timetravel import (
    NOW,
    AtMessage,
    AtPosition,
    AtTime,
    AtVersion,
    Moment,
    fork_events,
)


@pytest.fixture
async def stack(data_dir: Path) -> AsyncIterator[Stack]:
    async with running(data_dir) as stack:
        yield stack


async def test_the_state_at_every_version_equals_a_naive_fold_of_the_log(stack: Stack, seed: int) -> None:
    await wander(stack, random.Random(seed), 150)
    naive = Naive()
    for version, (commit, event) in enumerate(events_of(stack.commits()), 1):
        naive.apply(event)
        state = await stack.queries.context(C, AtVersion(version))
        naive.agrees(state)
        assert (state.version, state.position) == (version, commit.position)
        if version == commit.last_version:
            assert await stack.queries.context(C, AtPosition(commit.position)) == state
            assert await stack.queries.context(C, AtTime(commit.recorded_at)) == state
    naive.agrees(await stack.queries.context(C))


async def test_paths_and_bodies_at_every_version_equal_a_naive_fold(stack: Stack, seed: int) -> None:
    rng = random.Random(seed)
    await wander(stack, rng, 80)
    naive = Naive()
    for version, (_, event) in enumerate(events_of(stack.commits()), 1):
        naive.apply(event)
        moment = AtVersion(version)
        branch = rng.choice(list(naive.branches))
        page = await stack.queries.messages(C, branch=branch, moment=moment)
        assert [entry.id for entry in page.items] == naive.path(naive.branches[branch])
        assert [entry.outcome for entry in page.items] == [naive.outcomes.get(e.id) for e in page.items]
        everything = await stack.queries.messages(C, all_branches=True, moment=moment, limit=1_000)
        assert [entry.id for entry in everything.items] == naive.messages
        if naive.chunks:
            message = rng.choice(list(naive.chunks))
            body = await stack.queries.body(message, moment)
            assert body.complete == (message in naive.outcomes)
            pieces: list[tuple[Kind, str | None, str]] = [
                (c.kind, c.part, c.delta) for c in naive.chunks[message]
            ]
            assert body.parts == (naive.finals.get(message) or fold(pieces))


async def test_a_past_state_never_changes_afterwards(stack: Stack, seed: int) -> None:
    wanderer = await wander(stack, random.Random(seed), 60)
    head = stack.store.version_of(C)
    before = [await stack.queries.context(C, AtVersion(version)) for version in range(1, head + 1)]
    histories = await stack.queries.history(C, limit=1_000)
    for _ in range(60):
        await stack.store.append(C, wanderer.commit())
    after = [await stack.queries.context(C, AtVersion(version)) for version in range(1, head + 1)]
    assert before == after
    assert histories == await stack.queries.history(C, limit=1_000, moment=AtVersion(head))


async def test_every_moment_that_is_not_there_has_an_error_of_its_own(stack: Stack) -> None:
    await stack.store.append(ident(1), [ContextCreated()])
    await stack.store.append(C, [ContextCreated(), MessageAppended(ident(9), "user")])
    await stack.store.append(ident(1), [MessageAppended(ident(8), "user")])
    cases: list[tuple[UUID, Moment, str]] = [
        (ident(404), NOW, "context_not_found"),
        (ident(404), AtVersion(1), "context_not_found"),
        (ident(404), AtVersion(0), "context_not_found"),
        (ident(404), AtPosition(1), "context_not_found"),
        (ident(404), AtTime(START), "context_not_found"),
        (ident(404), AtMessage(ident(9)), "context_not_found"),
        (C, AtVersion(0), "version_not_found"),
        (C, AtVersion(-1), "version_not_found"),
        (C, AtVersion(3), "version_not_found"),
        (C, AtPosition(4), "position_not_found"),
        (C, AtPosition(-1), "position_not_found"),
        (C, AtPosition(0), "moment_before_creation"),
        (C, AtPosition(1), "moment_before_creation"),
        (C, AtTime(START - 1), "moment_before_creation"),
        (C, AtMessage(ident(404)), "message_not_found"),
        (C, AtMessage(ident(8)), "message_not_found"),
    ]
    for context_id, moment, code in cases:
        with pytest.raises(NotFound) as caught:
            await stack.queries.context(context_id, moment)
        assert caught.value.code == code, moment
    assert (await stack.queries.context(C, AtPosition(3))).version == 2
    assert (await stack.queries.context(C, AtTime(START * 2))).version == 2


async def test_at_a_message_is_when_it_was_added(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), MessageAppended(ident(1), "user")])
    await stack.store.append(C, [StreamStarted(ident(2)), chunk(2, 1)])
    state = await stack.queries.context(C, AtMessage(ident(2)))
    assert (state.version, state.open_streams) == (3, {ident(2): 0})


async def test_a_redaction_holds_at_every_moment(stack: Stack) -> None:
    said = MessageAppended(ident(1), "user", (TextPart("secret"),))
    await stack.store.append(C, [ContextCreated(), said, StreamStarted(ident(2)), *chunks(2, 1, 3)])
    await stack.store.append(C, [StreamFinalized(ident(2), "completed", parts=(TextPart("secret"),))])
    assert (await stack.queries.body(ident(1), AtVersion(2))).text == "secret"
    await stack.store.append(C, [MessageRedacted(ident(1)), MessageRedacted(ident(2))])
    for message, version in ((1, 2), (1, 8), (2, 4), (2, 7), (2, 8)):
        body = await stack.queries.body(ident(message), AtVersion(version))
        assert (body.text, body.parts, body.redacted) == ("", (), True)
    for read in (stack.queries.chunks(ident(2)), stack.queries.chunks(ident(2), raw=True)):
        with pytest.raises(NotFound) as caught:
            await read
        assert caught.value.code == "message_redacted"


async def test_a_body_is_read_only_as_far_as_the_moment(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), StreamStarted(ident(2))])
    for sequence in range(1, 6):
        await stack.store.append(C, [chunk(1, sequence, "a"), chunk(2, sequence, "b")])
    await stack.store.append(C, [StreamFinalized(ident(2), "completed")])
    await stack.store.append(C, [StreamFinalized(ident(1), "completed", parts=(TextPart("whole"),))])
    texts = [(await stack.queries.body(ident(1), AtVersion(v))).text for v in range(2, 16)]
    assert texts == [
        "",
        "",
        "a",
        "a",
        "aa",
        "aa",
        "aaa",
        "aaa",
        "aaaa",
        "aaaa",
        "aaaaa",
        "aaaaa",
        "aaaaa",
        "whole",
    ]
    with pytest.raises(NotFound) as caught:
        await stack.queries.body(ident(2), AtVersion(2))
    assert caught.value.code == "message_not_found"


async def forked(stack: Stack, source: UUID, moment: Moment, new: UUID) -> ContextState:
    state = await stack.queries.context(source, moment)
    await stack.store.append(new, fork_events(state))
    return state


async def test_a_fork_shares_history_and_goes_its_own_way(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated("t", "w", {"m": 1})])
    await stack.store.append(C, [ContextUpdated({"tags": ["x"]}), MessageAppended(ident(1), "user")])
    await stack.store.append(C, [MessageAppended(ident(2), "assistant"), BranchMoved("other", ident(1))])
    new = ident(0xF)
    source = await forked(stack, C, AtVersion(4), new)
    await stack.store.append(C, [MessageAppended(ident(3), "user")])
    await stack.store.append(new, [MessageAppended(ident(4), "user", (TextPart("mine"),))])
    state = await stack.queries.context(new)
    assert (state.title, state.workspace, state.config, state.tags) == ("t", "w", {"m": 1}, ["x"])
    assert state.forked_from == ForkedFrom(C, 4)
    assert source.branches == {"main": ident(2)}
    page = await stack.queries.messages(new)
    assert [entry.id.int for entry in page.items] == [1, 2, 4]
    assert [entry.context_id for entry in page.items] == [C, C, new]
    assert [entry.id.int for entry in (await stack.queries.messages(C)).items] == [1, 2, 3]
    with pytest.raises(NotFound):
        await stack.queries.body(ident(3), context_id=new)


async def test_a_stream_that_was_open_when_it_was_forked_stays_cut_for_ever(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1)), *chunks(1, 1, 3)])
    second, third = ident(0xF), ident(0xF1)
    await forked(stack, C, AtVersion(4), second)
    await stack.store.append(C, [*chunks(1, 4, 6), StreamFinalized(ident(1), "completed")])
    await stack.store.append(second, [MessageAppended(ident(2), "user")])
    await forked(stack, second, NOW, third)
    for context_id in (second, third):
        body = await stack.queries.body(ident(1), context_id=context_id)
        assert (body.text, body.complete, body.outcome) == ("1.1 1.2 ", False, None)
        entry = (await stack.queries.messages(context_id)).items[0]
        assert (entry.outcome, entry.size_bytes) == (None, None)
    assert [e.id.int for e in (await stack.queries.messages(third)).items] == [1, 2]
    whole = await stack.queries.body(ident(1))
    assert (whole.text, whole.outcome) == ("1.1 1.2 1.3 1.4 1.5 1.6 ", "completed")
    assert (await stack.queries.context(second)).open_streams == {}


async def test_the_events_of_a_fork_make_the_same_branches(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated(), MessageAppended(ident(1), "user")])
    await stack.store.append(C, [BranchMoved("a", ident(1)), BranchSwitched("a"), BranchMoved("b")])
    await stack.store.append(C, [BranchDeleted("main")])
    for moment in range(1, 7):
        new = ident(0x100 + moment)
        source = await forked(stack, C, AtVersion(moment), new)
        state = await stack.queries.context(new)
        assert (state.branches, state.active_branch) == (source.branches, source.active_branch)


async def test_the_state_of_a_long_context_asks_the_log_for_one_commit(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stack.store.append(C, [ContextCreated(), StreamStarted(ident(1))])
    for first in range(1, 20_000, 5_000):
        await stack.store.append(C, chunks(1, first, first + 4_999))
    asked: list[int] = []
    commit_of = type(stack.store.log).commit_of

    def counted(log: Any, txn: Any, context_id: UUID, version: int) -> Commit:
        asked.append(version)
        return commit_of(log, txn, context_id, version)

    monkeypatch.setattr(type(stack.store.log), "commit_of", counted)
    state = await stack.queries.context(C, AtVersion(12_345))
    assert state.open_streams == {ident(1): 12_343}
    assert asked == [12_345]


async def test_bad_arguments_are_refused(stack: Stack) -> None:
    await stack.store.append(C, [ContextCreated()])
    questions = (
        stack.queries.history(C, limit=0),
        stack.queries.history(C, after="?"),
        stack.queries.diff(C, NOW, limit=1_001),
    )
    for question in questions:
        with pytest.raises(Refused) as caught:
            await question
        assert caught.value.code == "invalid_argument"
