"""Repeating an append by its commit id: the same request finds its outcome for ever, another is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from samples import C, D, ident, message

from eventstore.commits import ANY, EXISTS, NO_CONTEXT, Append, Committed
from eventstore.errors import Refused
from eventstore.events import ContextCreated, ContextDeleted, CustomRecorded, Event
from eventstore.store import EventStore

MARK: Final = CustomRecorded("mark")


async def refusal(store: EventStore, *events: Event, to: UUID = C, **options: Any) -> Refused:
    before = store.head()
    with pytest.raises(Refused) as refused:
        await store.append(to, events, **options)
    assert store.head() == before, "nothing is written"
    return refused.value


ID = ident(0x1D)


async def test_a_repeated_commit_id_returns_the_first_outcome_and_writes_nothing(store: EventStore) -> None:
    first = await store.append(C, [ContextCreated(), message()], commit_id=ID)
    await store.append(C, [MARK])
    again = await store.append(C, [ContextCreated(), message()], commit_id=ID)
    assert again == Committed(first.position, first.version, first.recorded_at, written=False)
    assert store.version_of(C) == 3


async def test_a_commit_id_is_for_ever(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        first = await store.append(C, [ContextCreated()], commit_id=ID)
    for _ in range(2):
        async with await EventStore.open(data_dir) as store:
            again = await store.append(C, [ContextCreated()], commit_id=ID)
            assert (again.position, again.recorded_at, again.written) == (1, first.recorded_at, False)
            await store.append(C, [MARK] * 3_000)
    async with await EventStore.open(data_dir) as store:
        await store.append(C, [ContextDeleted()])
        assert not (await store.append(C, [ContextCreated()], commit_id=ID)).written


async def test_whatever_was_expected_a_repeat_finds_its_outcome(store: EventStore) -> None:
    await store.append(C, [ContextCreated()], commit_id=ID, expected_version=NO_CONTEXT)
    for expected in (ANY, EXISTS, NO_CONTEXT, 9):
        again = await store.append(C, [ContextCreated()], commit_id=ID, expected_version=expected, epoch=3)
        assert not again.written


async def test_a_commit_id_with_other_events_or_metadata_is_refused(store: EventStore) -> None:
    await store.append(C, [ContextCreated(), MARK], commit_id=ID, metadata={"by": "ann"})
    await store.append(C, [MARK])
    others: list[tuple[list[Event], dict[str, Any] | None]] = [
        ([ContextCreated()], {"by": "ann"}),
        ([ContextCreated(), CustomRecorded("other")], {"by": "ann"}),
        ([ContextCreated(), MARK, MARK], {"by": "ann"}),
        ([MARK, ContextCreated()], {"by": "ann"}),
        ([ContextCreated(), MARK], {"by": "bob"}),
        ([ContextCreated(), MARK], None),
    ]
    for events, metadata in others:
        refused = await refusal(store, *events, commit_id=ID, metadata=metadata)
        assert refused.code == "commit_id_reused"
        assert refused.fields == {"context_id": C, "commit_id": ID, "position": 1}


async def test_the_order_of_dicts_makes_no_other_request(store: EventStore) -> None:
    await store.append(
        C, [ContextCreated(config={"a": 1, "b": {"x": 1, "y": 2}})], commit_id=ID, metadata={"k": 1, "l": 2}
    )
    again = await store.append(
        C, [ContextCreated(config={"b": {"y": 2, "x": 1}, "a": 1})], commit_id=ID, metadata={"l": 2, "k": 1}
    )
    assert not again.written


async def test_a_repeat_is_the_same_though_the_log_has_filled_in_its_parent(store: EventStore) -> None:
    await store.append(C, [ContextCreated(), message(ident(1))])
    await store.append(C, [message(ident(2))], commit_id=ID)
    await store.append(C, [message(ident(3))])
    assert not (await store.append(C, [message(ident(2))], commit_id=ID)).written


async def test_a_commit_id_belongs_to_its_context(store: EventStore) -> None:
    await store.append(C, [ContextCreated()], commit_id=ID)
    assert (await store.append(D, [ContextCreated()], commit_id=ID)).position == 2


async def test_a_refused_append_leaves_its_commit_id_free(store: EventStore) -> None:
    await refusal(store, MARK, commit_id=ID)
    assert (await store.append(C, [ContextCreated()], commit_id=ID)).written


async def test_of_one_commit_id_sent_many_times_at_once_one_is_written(store: EventStore) -> None:
    append = Append(C, (ContextCreated(),), commit_id=ID)
    outcomes = await store.append_many([append] * 20)
    assert [outcome.written for outcome in outcomes if isinstance(outcome, Committed)] == [True] + [
        False
    ] * 19
    assert {outcome.position for outcome in outcomes if isinstance(outcome, Committed)} == {1}


async def test_a_commit_that_is_written_again_is_known_by_the_request_that_first_made_it(
    store: EventStore,
) -> None:
    await store.append(C, [ContextCreated()], commit_id=ID)
    with store.log.reading() as txn:
        digest = store.log.request_digest(txn, C, ID)
        assert store.log.request_digest(txn, D, ID) is None
    again = Append(D, (ContextCreated("another"),), commit_id=ID, request_digest=digest)
    assert [getattr(outcome, "written", None) for outcome in await store.append_many([again] * 2)] == [
        True,
        False,
    ]
    assert not (await store.append(D, [ContextCreated()], commit_id=ID)).written
    assert (await refusal(store, ContextCreated("another"), to=D, commit_id=ID)).code == "commit_id_reused"
