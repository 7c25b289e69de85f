"""Appending: expectations, repeats by commit id and by chunk, what is recorded, outcomes side by side."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID

import pytest
from samples import START, C, D, M, S, TickingClock, chunk, chunks, ident, message

from eventstore.append import EVENTS_BETWEEN_MAX
from eventstore.commits import ANY, EXISTS, NO_CONTEXT, Append, Committed, ExpectedVersion
from eventstore.errors import Refused, TurnlogError, WrongExpectedVersion
from eventstore.events import (
    BranchMoved,
    ContextCreated,
    ContextDeleted,
    CustomRecorded,
    Event,
    StreamFinalized,
    StreamStarted,
    tag_of,
)
from eventstore.store import EventStore

MARK = CustomRecorded("mark")


def events_of(store: EventStore, context_id: UUID = C) -> list[str]:
    return [tag_of(event) for commit in store.read_context(context_id) for event in commit.events()]


async def conflict(store: EventStore, expected: ExpectedVersion, **options: Any) -> WrongExpectedVersion:
    before = store.head()
    with pytest.raises(WrongExpectedVersion) as wrong:
        await store.append(C, [MARK], expected_version=expected, **options)
    assert store.head() == before
    assert wrong.value.code == "wrong_expected_version"
    return wrong.value


async def refusal(store: EventStore, *events: Event, to: UUID = C, **options: Any) -> Refused:
    before = store.head()
    with pytest.raises(Refused) as refused:
        await store.append(to, events, **options)
    assert store.head() == before, "nothing is written"
    return refused.value


# -- Outcomes -----------------------------------------------------------------------------------------------


async def test_an_append_returns_its_position_version_and_time(store: EventStore) -> None:
    assert await store.append(C, [ContextCreated(), message()]) == Committed(1, 2, START + 1_000)
    assert await store.append(D, [ContextCreated()]) == Committed(2, 1, START + 2_000)
    assert await store.append(C, [MARK]) == Committed(3, 3, START + 3_000)
    assert (store.acknowledged, store.head().position, store.head().recorded_at) == (3, 3, START + 3_000)


async def test_a_clock_that_goes_back_does_not_take_the_log_with_it(
    store: EventStore, clock: TickingClock
) -> None:
    created = await store.append(C, [ContextCreated()])
    clock.now = START - 1_000_000
    assert (await store.append(C, [MARK])).recorded_at == created.recorded_at


async def test_what_is_recorded_says_every_parent_and_every_previous_head(store: EventStore) -> None:
    await store.append(
        C, [ContextCreated(), message(M), StreamStarted(S), BranchMoved("b", M), BranchMoved("b")]
    )
    (commit,) = store.read()
    assert list(commit.events()) == [
        ContextCreated(),
        message(M, parent_id=None),
        StreamStarted(S, parent_id=M),
        BranchMoved("b", M, previous=None),
        BranchMoved("b", None, previous=M),
    ]


async def test_events_may_come_from_a_generator_that_is_read_once(store: EventStore) -> None:
    await store.append(C, (event for event in (ContextCreated(), message())))
    assert events_of(store) == ["context.created", "message.appended"]


async def test_a_generator_without_an_end_is_refused(store: EventStore) -> None:
    with pytest.raises(Refused) as refused:
        await store.append(C, itertools.repeat(MARK))
    assert refused.value.code == "commit_too_large"


async def test_a_refused_commit_writes_none_of_its_events(store: EventStore) -> None:
    await store.append(C, [ContextCreated()])
    assert (await refusal(store, message(M), message(M))).code == "message_exists"
    assert (await store.append(C, [message(M)])).version == 2, "its message is not remembered either"


# -- Expected versions --------------------------------------------------------------------------------------


async def test_a_context_that_does_not_exist_meets_any_and_no_context(store: EventStore) -> None:
    for expected in (EXISTS, 1, 7):
        assert (await conflict(store, expected)).fields["actual"] == 0
    for context_id, expected in ((C, ANY), (D, NO_CONTEXT)):
        assert await store.append(context_id, [ContextCreated()], expected_version=expected)


async def test_a_context_at_a_version_meets_any_exists_and_that_version(store: EventStore) -> None:
    await store.append(C, [ContextCreated(), MARK])
    for expected in (NO_CONTEXT, 1, 3):
        wrong = await conflict(store, expected)
        assert wrong.fields == {"context_id": C, "expected": expected, "actual": 2}
    for expected in (ANY, EXISTS, 4):
        assert (await store.append(C, [MARK], expected_version=expected)).written
    with pytest.raises(WrongExpectedVersion):
        await store.append(C, [MARK], expected_version=2)


async def test_a_deleted_context_takes_nothing_whatever_is_expected(store: EventStore) -> None:
    await store.append(C, [ContextCreated(), ContextDeleted()])
    for expected in (ANY, EXISTS, 2):
        assert (await refusal(store, MARK, expected_version=expected)).code == "context_deleted"


async def test_a_conflict_carries_the_events_in_between_when_asked_to(store: EventStore) -> None:
    await store.append(C, [ContextCreated(), MARK])
    await store.append(D, [ContextCreated()])
    await store.append(C, [StreamStarted(S), *chunks(1, 3)])
    between = [StreamStarted(S, parent_id=None), *chunks(1, 3)]
    for expected, events in (
        (0, [ContextCreated(), MARK, *between]),
        (1, [MARK, *between]),
        (2, between),
        (4, between[2:]),
        (9, []),
        (1 << 53, []),
    ):
        wrong = await conflict(store, expected, with_events_between=True)
        assert wrong.fields["events_between"] == events
    assert "events_between" not in (await conflict(store, 1)).fields
    assert (await conflict(store, NO_CONTEXT, with_events_between=True)).fields["expected"] == 0


async def test_a_conflict_with_a_context_that_does_not_exist_carries_no_events(store: EventStore) -> None:
    assert (await conflict(store, 3, with_events_between=True)).fields["events_between"] == []
    assert "events_between" not in (await conflict(store, EXISTS, with_events_between=True)).fields


async def test_a_conflict_carries_a_bounded_number_of_events(store: EventStore) -> None:
    await store.append(C, [ContextCreated(), *[MARK] * EVENTS_BETWEEN_MAX])
    wrong = await conflict(store, 0, with_events_between=True)
    assert wrong.fields["events_between"] == [ContextCreated(), *[MARK] * (EVENTS_BETWEEN_MAX - 1)]


# -- Repeated chunks ----------------------------------------------------------------------------------------


async def streaming(store: EventStore) -> None:
    """Chunks 1 to 3 at position 2, 4 to 6 at position 4, with something else in between."""
    await store.append(C, [ContextCreated(), StreamStarted(S)])
    await store.append(C, chunks(1, 3))
    await store.append(C, [MARK])
    await store.append(C, chunks(4, 6))


async def test_repeated_chunks_return_the_commit_that_holds_them(store: EventStore) -> None:
    await streaming(store)
    head = store.head()
    for first, last, position, version in ((1, 3, 2, 5), (2, 2, 2, 5), (1, 6, 4, 9), (5, 6, 4, 9)):
        again = await store.append(C, chunks(first, last))
        assert (again.position, again.version, again.written) == (position, version, False)
    assert store.head() == head


async def test_a_partly_repeated_run_records_what_is_new(store: EventStore) -> None:
    await streaming(store)
    assert (await store.append(C, chunks(3, 8))).version == 11
    assert [e for c in store.read(after=4) for e in c.events()] == chunks(7, 8)


async def test_a_chunk_with_other_content_is_a_conflict_wherever_it_is_stored(store: EventStore) -> None:
    await streaming(store)
    for sequence in (1, 3, 4, 6):
        refused = await refusal(store, chunk(sequence, "other"))
        assert (refused.code, refused.fields["sequence"]) == ("chunk_conflict", sequence)


async def test_streams_side_by_side_repeat_each_their_own_chunks(store: EventStore) -> None:
    other = ident(0x52)
    await store.append(C, [ContextCreated(), StreamStarted(S), StreamStarted(other)])
    for n in range(1, 30):
        await store.append(C, [*chunks(n, n), *chunks(n, n, other)])
    head = store.head()
    for message_id in (S, other):
        again = await store.append(C, chunks(5, 29, message_id))
        assert (again.position, again.written) == (30, False)
    assert store.head() == head


# -- Side by side -------------------------------------------------------------------------------------------


async def test_many_appends_get_each_their_own_outcome_in_order(store: EventStore) -> None:
    outcomes = await store.append_many(
        [
            Append(C, (ContextCreated(),)),
            Append(C, (ContextCreated(),)),
            Append(C, (message(M),), expected_version=1),
            Append(C, (message(M),)),
            Append(C, (MARK,), expected_version=1),
            Append(C, ()),
            Append(D, (MARK,)),
            Append(C, (StreamFinalized(M, "completed"),)),
            Append(C, (MARK,)),
        ]
    )
    said = [outcome.code if isinstance(outcome, TurnlogError) else outcome.position for outcome in outcomes]
    assert said == [
        1,
        "context_exists",
        2,
        "message_exists",
        "wrong_expected_version",
        "empty_commit",
        "context_not_found",
        "stream_not_open",
        3,
    ]
    assert events_of(store) == ["context.created", "message.appended", "custom.recorded"]


async def test_appends_to_one_context_keep_their_order(store: EventStore) -> None:
    await store.append(C, [ContextCreated(), StreamStarted(S)])
    outcomes = await store.append_many(Append(C, (one,)) for one in chunks(1, 500))
    assert [outcome.version for outcome in outcomes if isinstance(outcome, Committed)] == list(range(3, 503))
    assert store.statistics().group_max > 1, "they shared transactions"
