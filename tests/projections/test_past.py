"""Looking back gives what the log holds, whether it was held, let go, or never passed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from given import C, chunk, ident
from witness import damage

from eventstore.commits import Append
from eventstore.errors import Damaged
from eventstore.events import ContextCreated, CustomRecorded, StreamStarted
from eventstore.limits import PAGE_BYTES
from eventstore.log import Log
from eventstore.store import EventStore
from projections import past
from projections.past import LogPast

CONTEXTS = [ident(n) for n in (1, 2, 3)]


async def filled(store: EventStore, commits: int, seed: int) -> None:
    rng = random.Random(seed)
    await store.append_many([Append(context, (ContextCreated(),)) for context in CONTEXTS])
    mark = CustomRecorded("mark")
    await store.append_many(
        [Append(rng.choice(CONTEXTS), (mark,) * rng.randint(1, 3)) for _ in range(commits)]
    )


def read(log: Log, back: LogPast, after: int, count: int) -> None:
    """Pass commits as the runner does."""
    with log.reading() as txn:
        log.commits(txn, after, count_max=count, bytes_max=PAGE_BYTES, kinds=0, keep=back.hold)


@pytest.mark.parametrize("held_max", [0, 1_000, 1 << 20])
async def test_it_gives_what_the_log_gives(
    data_dir: Path, seed: int, monkeypatch: pytest.MonkeyPatch, held_max: int
) -> None:
    monkeypatch.setattr(past, "HELD_BYTES_MAX", held_max)
    rng = random.Random(seed)
    async with await EventStore.open(data_dir) as store:
        await filled(store, 60, seed)
        back, head = LogPast(store.log), store.head().position
        for _ in range(300):
            read(store.log, back, rng.randrange(head), rng.randint(1, 12))
            back.position = rng.randint(0, head)
            context, first = rng.choice(CONTEXTS), rng.randint(1, 40)
            last = first + rng.randint(-1, 20)
            there = store.read_context(context, first, last) if first <= last else ()
            wanted = [commit for commit in there if commit.position <= back.position]
            assert list(back.context(context, first, last)) == wanted


async def test_what_was_just_passed_is_not_read_again(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        await store.append(C, [ContextCreated(), StreamStarted(ident(1))])
        for number in range(1, 6):
            await store.append(C, [chunk(1, number)])
        held, fresh = LogPast(store.log), LogPast(store.log)
        read(store.log, held, 0, 10)
        damage(store, 4)
        held.position = fresh.position = 6
        assert [commit.position for commit in held.context(C, 3, 7)] == [2, 3, 4, 5, 6]
        with pytest.raises(Damaged, match="position 4"):
            list(fresh.context(C, 3, 7))
