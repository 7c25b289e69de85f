"""Rows of many commits that became visible together: where nobody looks, then shown at once, then moved."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from witness import CONTEXT, EVERYTHING, Journal, Steps, fill, ident, opened, oracle, rows_of

from eventstore.commits import Append
from eventstore.errors import Unavailable
from eventstore.events import BITS, ContextCreated, CustomRecorded, MessageAppended
from eventstore.store import EventStore
from projections import bookkeeping, following
from projections.bookkeeping import Bookkeeping
from projections.generations import Generation
from projections.memory import MemoryRows
from projections.rows import BufferedRows
from projections.views import Views

GROUP: Final = range(4, 44)
"""The positions of the commits that stand together; four of one event come before, and four after."""

JOURNAL: Final = Journal()

ROWS_BYTES: Final = 2_000
"""Some four commits."""

KEYS: Final = st.lists(st.sampled_from([0, 1, 255]), min_size=1, max_size=3).map(bytes)
ROWS: Final = st.dictionaries(KEYS, st.binary(max_size=2), max_size=12)
CHANGES: Final = st.dictionaries(KEYS, st.none() | st.binary(max_size=2), max_size=12)


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    """So that a few commits are many pages and many rows, and take long to be moved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "PAGE_COMMITS", 2)
        patch.setattr(following, "STAGED_BYTES", ROWS_BYTES)
        patch.setattr(bookkeeping, "ROWS_MOVED", 7)
        patch.setattr(bookkeeping, "ROWS_AT_ONCE", 3)
        yield


async def fill_together(store: EventStore, number: int = 0xD) -> None:
    """Append a group of commits."""
    first = Append(ident(number), (ContextCreated(),))
    mark = Append(ident(number), (CustomRecorded("mark"),))
    await store.append_together([first, *[mark] * (len(GROUP) - 1)])


async def filled(store: EventStore) -> None:
    await fill(store, 3)
    await fill_together(store)
    await fill(store, 4)


def live(books: Bookkeeping) -> Generation:
    found = books.entry("journal").live
    assert found is not None
    return found


def staged_rows(books: Bookkeeping) -> int:
    """How many rows are staged over the live generation."""
    with books.writing() as change:
        databases = [change.open(name) for name in live(books).staging("journal").values()]
        return sum(change.txn.stat(database)["entries"] for database in databases)


def until(steps: Steps, staged: str) -> None:
    """Step until the live generation has staged rows of this kind."""
    while live(steps.books).staged != staged:
        assert steps.step()


@asynccontextmanager
async def staging(data_dir: Path, staged: str) -> AsyncGenerator[tuple[EventStore, Views, Steps]]:
    """A store and its views, where rows of the group are hidden, or shown."""
    async with opened(data_dir, [JOURNAL]) as (store, views):
        steps = Steps(store, views, tick=1.0)  # every page ends a step
        steps.step()
        await filled(store)
        until(steps, staged)
        yield store, views, steps


def states(steps: Steps) -> Iterator[str]:
    """After each step, what is staged."""
    while steps.step():
        yield live(steps.books).staged
    yield live(steps.books).staged


async def test_readers_see_none_of_them_or_all(data_dir: Path) -> None:
    async with opened(data_dir, [JOURNAL]) as (store, views):
        steps = Steps(store, views, tick=1.0)  # every page ends a step
        steps.step()
        await filled(store)
        seen: list[str] = []
        for staged in states(steps):
            seen.append(staged)
            track = steps.following.tracks[0]
            assert track.applied not in GROUP[:-1]
            assert track.rows.bytes < 2 * ROWS_BYTES
            assert rows_of(views, JOURNAL) == oracle(store, JOURNAL, track.applied)
        assert [*dict.fromkeys(seen)] == ["none", "hidden", "shown"]
        assert seen[-1] == "none"
        assert rows_of(views, JOURNAL) == oracle(store, JOURNAL)


async def test_they_are_built_and_take_over_whole(data_dir: Path) -> None:
    async with opened(data_dir, [JOURNAL]) as (store, views):
        steps = Steps(store, views, tick=1.0)
        await filled(store)
        steps.finish()
        steps.following.rebuild("journal")
        staged: set[str] = set()
        while steps.step():
            for generation in steps.books.entry("journal").generations():
                staged.add(generation.staged)
            assert rows_of(views, JOURNAL) == oracle(store, JOURNAL)
        assert staged == {"none", "hidden", "shown"}
        assert rows_of(views, JOURNAL) == oracle(store, JOURNAL)


async def test_one_group_after_the_other(data_dir: Path) -> None:
    async with opened(data_dir, [JOURNAL]) as (store, views):
        steps = Steps(store, views, tick=1.0)
        steps.step()
        for number in range(3):
            await fill_together(store, number)
            await fill(store, 1)
        while steps.step():
            assert rows_of(views, JOURNAL) == oracle(store, JOURNAL, steps.following.tracks[0].applied)
        assert rows_of(views, JOURNAL) == oracle(store, JOURNAL)


@pytest.mark.parametrize("count", range(4, 12))
async def test_they_are_shown_though_the_last_commits_change_no_row(data_dir: Path, count: int) -> None:
    messages = Journal(kinds=BITS[MessageAppended])
    async with opened(data_dir, [messages]) as (store, views):
        steps = Steps(store, views, tick=1.0)
        steps.step()
        said = [Append(CONTEXT, (MessageAppended(ident(number), "user"),)) for number in range(count)]
        mark = Append(CONTEXT, (CustomRecorded("mark"),))
        await store.append_together([Append(CONTEXT, (ContextCreated(),)), *said, *[mark] * 20])
        steps.finish()
        assert steps.following.tracks[0].applied == store.acknowledged
        assert rows_of(views, messages) == oracle(store, messages)


@pytest.mark.parametrize("staged", ["hidden", "shown"])
async def test_a_process_that_stops_meanwhile(data_dir: Path, staged: str) -> None:
    async with staging(data_dir, staged) as (store, views, steps):
        steps.following.save()
    async with opened(data_dir, [JOURNAL]) as (store, views):
        steps = Steps(store, views, tick=1.0)
        assert live(steps.books).staged == ("none" if staged == "hidden" else "shown")
        assert (staged_rows(steps.books) > 0) == (staged == "shown")
        assert rows_of(views, JOURNAL) == oracle(store, JOURNAL, steps.saved("journal"))
        steps.finish()
        assert live(steps.books).staged == "none"
        assert rows_of(views, JOURNAL) == oracle(store, JOURNAL)


@pytest.mark.parametrize("staged", ["hidden", "shown"])
async def test_a_process_that_only_reads(data_dir: Path, staged: str) -> None:
    async with staging(data_dir, staged) as (store, _views, steps):
        expected = oracle(store, JOURNAL, steps.saved("journal"))
    async with await EventStore.open(data_dir, read_only=True) as store:
        reading = Views(data_dir / "views", [JOURNAL], store.log, read_only=True)
        assert rows_of(reading, JOURNAL) == expected
        reading.close()


async def test_a_reader_that_is_held_up_while_others_are_staged(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look at the tables and its transaction one group is moved, and another is staged."""
    async with opened(data_dir, [JOURNAL]) as (store, views):
        steps = Steps(store, views, tick=1.0)
        steps.step()
        await fill_together(store)
        until(steps, "shown")
        await fill_together(store, 0xE)
        env = views.env

        class Late:
            def begin(self) -> lmdb.Transaction:
                monkeypatch.undo()
                until(steps, "hidden")
                return env.begin()

        monkeypatch.setattr(Views, "env", Late())
        assert rows_of(views, JOURNAL) == oracle(store, JOURNAL, steps.saved("journal"))
        assert live(steps.books).staged == "hidden"


@pytest.mark.parametrize("staged", ["hidden", "shown"])
async def test_what_is_retired_meanwhile_is_dropped_whole(data_dir: Path, staged: str) -> None:
    async with staging(data_dir, staged) as (store, views, steps):
        steps.following.rebuild("journal")
        steps.finish()
        assert rows_of(views, JOURNAL) == oracle(store, JOURNAL)
        assert [live(steps.books).number, *steps.books.entry("journal").retired] == [2]
        with views.env.begin() as txn:
            names = [bytes(name) for name in txn.cursor().iternext(values=False)]
        assert not [name for name in names if name.startswith(b"journal.1.")]


async def test_rows_that_cannot_be_staged_wait(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with staging(data_dir, "hidden") as (store, views, steps):
        while steps.following.tracks[0].rows.bytes < ROWS_BYTES // 2:
            assert steps.step()
        with monkeypatch.context() as full:
            full.setattr(bookkeeping.Change, "write", _full)
            with pytest.raises(Unavailable):
                steps.finish()
        assert rows_of(views, JOURNAL) == oracle(store, JOURNAL, steps.saved("journal"))
        steps.finish()
        assert rows_of(views, JOURNAL) == oracle(store, JOURNAL)


def _full(*_: object) -> None:
    raise lmdb.DiskError("no room: " + "No space left on device")


async def test_readers_read_what_is_staged_like_rows_in_memory(data_dir: Path) -> None:
    async with opened(data_dir, [JOURNAL]) as (store, views):
        steps = Steps(store, views)
        await fill(store, 2)
        steps.finish()
        books = steps.books

        @given(ROWS, CHANGES, KEYS, KEYS, st.binary(max_size=1))
        def check(
            rows: Mapping[bytes, bytes],
            changes: Mapping[bytes, bytes | None],
            start: bytes,
            stop: bytes,
            prefix: bytes,
        ) -> None:
            memory = MemoryRows(["events", "counts"])
            with books.writing() as change:
                for database in live(books).databases("journal").values():
                    change.txn.drop(change.open(database), delete=False)
                change.write("journal", live(books), buffered(rows, memory))
                change.stage("journal", books.entry("journal"), live(books).number, buffered(changes, memory))
                entry = change.entries["journal"]
                assert entry.live is not None
                change.save("journal", entry.with_generation(replace(entry.live, staged="shown")))
            expected = list(memory.scan("events", b"", EVERYTHING))
            with views.reading() as reader:
                assert list(reader.scan("journal", "events", b"", EVERYTHING)) == expected
                for reverse in (False, True):
                    found = list(reader.scan("journal", "events", start, stop, reverse))
                    assert found == list(memory.scan("events", start, stop, reverse))
                assert reader.floor("journal", "events", prefix, start) == memory.floor(
                    "events", prefix, start
                )
                assert reader.get("journal", "events", start) == memory.get("events", start)
            while books.move_staged():
                with views.reading() as reader:
                    assert list(reader.scan("journal", "events", b"", EVERYTHING)) == expected
            assert staged_rows(books) == 0

        check()


def buffered(changes: Mapping[bytes, bytes | None], memory: MemoryRows) -> BufferedRows:
    """The changes as a fold leaves them, which are made in memory too."""
    rows = BufferedRows(["events", "counts"], lambda _table, _key: None)
    for key, value in changes.items():
        if value is None:
            rows.delete("events", key)
            memory.delete("events", key)
        else:
            rows.put("events", key, value)
            memory.put("events", key, value)
    return rows
