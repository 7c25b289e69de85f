"""The views environment: what readers see, and what becomes of rows that no longer fit."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from witness import CONTEXT, EVERYTHING, Journal, code_of, fill, opened, oracle, rows_of

from eventstore.errors import Damaged, NotFound, Refused, Unavailable
from eventstore.store import EventStore
from projections.bookkeeping import Bookkeeping
from projections.following import Following
from projections.generations import PROJECTIONS, Generation, decode_entry
from projections.memory import MemoryRows
from projections.rows import BufferedRows
from projections.views import Views


def followed(store: EventStore, views: Views) -> Bookkeeping:
    """Bring all projections up to the head, on this thread."""
    books = Bookkeeping(views, store.log)
    following = Following(store.log, books, lambda: 0.0)
    while following.step(store.acknowledged):
        pass
    following.save()
    return books


def databases(path: Path) -> set[str]:
    """The names of the databases of views that are closed."""
    with lmdb.open(str(path), readonly=True, max_dbs=64, lib_version=0) as env, env.begin() as txn:
        return {key.decode() for key in txn.cursor().iternext(values=False) if b"." in bytes(key)}


def read_in_fork(views: Views) -> str:
    """The code of the error that a forked child meets when it reads."""
    output, child_output = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with views.reading():
                os._exit(1)
        except Unavailable as error:
            os.write(child_output, error.code.encode())
            os._exit(0)
    os.close(child_output)
    os.waitpid(child, 0)
    with open(output, encoding="ascii") as said:
        return said.read()


# What readers see.


KEYS = st.lists(st.sampled_from([0, 1, 255]), min_size=1, max_size=3).map(bytes)


async def test_a_reader_reads_like_rows_in_memory(data_dir: Path) -> None:
    async with opened(data_dir, [Journal()]) as (store, views):
        books = followed(store, views)
        live = books.entry("journal").live
        assert live is not None
        database = views.databases[live.databases("journal")["events"]]

        @given(st.dictionaries(KEYS, st.binary(max_size=2), max_size=20), KEYS, KEYS, st.binary(max_size=1))
        def check(rows: dict[bytes, bytes], start: bytes, stop: bytes, prefix: bytes) -> None:
            memory = MemoryRows(["events"])
            with books.writing() as change:
                change.txn.drop(database, delete=False)
                for key, value in rows.items():
                    change.txn.put(key, value, db=database)
                    memory.put("events", key, value)
            with views.reading() as reader:
                for reverse in (False, True):
                    found = list(reader.scan("journal", "events", start, stop, reverse))
                    assert found == list(memory.scan("events", start, stop, reverse))
                everything = list(reader.scan("journal", "events", b"", EVERYTHING))
                assert everything == sorted(rows.items())
                assert everything[::-1] == list(reader.scan("journal", "events", b"", EVERYTHING, True))
                assert reader.floor("journal", "events", prefix, start) == memory.floor(
                    "events", prefix, start
                )
                assert reader.get("journal", "events", start) == rows.get(start)

        check()


async def test_a_reader_sees_one_moment_while_the_writer_goes_on(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        await fill(store, 3)
        books = followed(store, views)
        following = Following(store.log, books, lambda: 0.0)
        with views.reading() as reader:
            before = list(reader.scan("journal", "events", b"", EVERYTHING))
            await fill(store, 3)
            following.step(store.acknowledged)
            assert list(reader.scan("journal", "events", b"", EVERYTHING)) == before
        assert rows_of(views, journal) == oracle(store, journal)


async def test_what_is_not_there_to_read_has_a_clear_error(data_dir: Path) -> None:
    async with opened(data_dir, [Journal()]) as (store, views):
        await fill(store, 1)
        Bookkeeping(views, store.log)
        with views.reading() as reader:
            with pytest.raises(NotFound) as unknown:
                reader.get("nobody", "events", b"k")
            with pytest.raises(Refused) as no_table:
                reader.get("journal", "nothing", b"k")
            with pytest.raises(Unavailable) as building:
                reader.scan("journal", "events", b"a", b"b")
    assert code_of(unknown) == "unknown_projection"
    assert code_of(no_table) == "invalid_argument"
    assert code_of(building) == "views_behind"


async def test_closed_views_say_so_and_end_a_reader_that_was_left_inside(data_dir: Path) -> None:
    async with opened(data_dir, [Journal()]) as (store, views):
        followed(store, views)
        reader = views.reading().__enter__()
        views.close()
        views.close()
        with pytest.raises(lmdb.Error):
            reader.get("journal", "events", b"k")
        with pytest.raises(Unavailable) as closed, views.reading():
            pass
        assert code_of(closed) == "log_closed"


async def test_a_forked_process_may_not_read(data_dir: Path) -> None:
    async with opened(data_dir, [Journal()]) as (_, views):
        assert read_in_fork(views) == "forked_process"


# The environment.


async def test_the_views_are_private_and_synced(data_dir: Path) -> None:
    async with opened(data_dir, [Journal()]) as (_, views):
        flags = views.env.flags()
        assert (flags["sync"], flags["metasync"], flags["writemap"], flags["lock"]) == (
            True,
            True,
            False,
            True,
        )
        assert views.env.lib_version()[:2] == (0, 9)
        assert stat.S_IMODE(views.path.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in views.path.iterdir()} == {0o600}


async def test_a_directory_that_holds_something_else_is_left_alone(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        with (
            lmdb.open(str(data_dir / "views"), max_dbs=2, lib_version=0) as env,
            env.begin(write=True) as txn,
        ):
            txn.put(b"mine", b"precious")
        with pytest.raises(Unavailable) as foreign:
            Views(data_dir / "views", [Journal()], store.log)
        assert code_of(foreign) == "directory_foreign"
        with lmdb.open(str(data_dir / "views"), lib_version=0) as env, env.begin() as txn:
            assert txn.get(b"mine") == b"precious"


async def test_damaged_views_say_that_they_may_be_deleted(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        (data_dir / "views").mkdir()
        (data_dir / "views" / "data.mdb").write_bytes(b"\x13" * 16384)
        with pytest.raises(Damaged) as damaged:
            Views(data_dir / "views", [Journal()], store.log)
        assert code_of(damaged) == "view_damaged"
        assert "rebuilt" in damaged.value.hint


async def test_deleted_views_are_built_again_with_the_same_rows(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        await fill(store, 10)
        followed(store, views)
        before = rows_of(views, journal)
    for file in (data_dir / "views").iterdir():
        file.unlink()
    (data_dir / "views").rmdir()
    async with opened(data_dir, [journal]) as (store, views):
        followed(store, views)
        assert rows_of(views, journal) == before == oracle(store, journal)


# Rows that do not fit: another log, another version, another set of projections.


async def test_views_of_another_store_are_discarded(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir / "a", [journal, Journal("other")]) as (store, views):
        await fill(store, 10)
        followed(store, views)
    async with await EventStore.open(data_dir / "b") as store:
        await fill(store, 10)
    (data_dir / "a" / "views").rename(data_dir / "b" / "views")
    async with opened(data_dir / "b", [journal]) as (store, views):
        books = Bookkeeping(views, store.log)
        assert list(books.entries) == ["journal"]
        entry = books.entry("journal")
        assert entry.live is None
        assert entry.building is not None
        assert entry.building.checkpoint == 0
    assert databases(data_dir / "b" / "views") == {"journal.1.events", "journal.1.counts"}


@pytest.mark.parametrize("kept", [5, 20])
async def test_views_of_another_history_of_the_same_store_are_built_again(data_dir: Path, kept: int) -> None:
    """As after restoring an older copy of the log: shorter than the views, or as long again since."""
    journal = Journal()
    async with await EventStore.open(data_dir) as store:
        await fill(store, 5)
        store.log.env.copy(str(copy := data_dir.parent))
    copied = (copy / "data.mdb").rename(data_dir.parent / "kept.mdb")
    async with opened(data_dir, [journal]) as (store, views):
        await fill(store, 5)
        followed(store, views)
    copied.rename(data_dir / "log" / "data.mdb")
    async with opened(data_dir, [journal]) as (store, views):
        await fill(store, kept - 5, chunks=False)
        books = followed(store, views)
        assert rows_of(views, journal) == oracle(store, journal)
        live = books.entry("journal").live
        assert live is not None
        assert live.number == 2


async def test_a_new_version_is_built_beside_the_old_rows_which_nobody_reads(data_dir: Path) -> None:
    async with opened(data_dir, [Journal()]) as (store, views):
        await fill(store, 5)
        followed(store, views)
    new = Journal(version=2)
    async with opened(data_dir, [new]) as (store, views):
        books = Bookkeeping(views, store.log)
        entry = books.entry("journal")
        assert entry.live is not None
        assert entry.building is not None
        assert (entry.live.version, entry.building.version) == (1, 2)
        with views.reading() as reader, pytest.raises(Unavailable) as building:
            reader.get("journal", "counts", CONTEXT.bytes)
        assert code_of(building) == "views_behind"
        followed(store, views)
        assert rows_of(views, new) == oracle(store, new)
    assert databases(data_dir / "views") == {"journal.2.events", "journal.2.counts"}


async def test_going_back_to_the_old_version_finds_its_rows_and_drops_the_build(data_dir: Path) -> None:
    old = Journal()
    async with opened(data_dir, [old]) as (store, views):
        await fill(store, 5)
        followed(store, views)
    async with opened(data_dir, [Journal(version=2)]) as (store, views):
        Bookkeeping(views, store.log)
    async with opened(data_dir, [old]) as (store, views):
        books = Bookkeeping(views, store.log)
        with views.reading() as reader:
            assert reader.get("journal", "counts", CONTEXT.bytes) is not None
        assert books.entry("journal").building is None
        old.folded.clear()
        followed(store, views)
        assert old.folded == []
    assert databases(data_dir / "views") == {"journal.1.events", "journal.1.counts"}


async def test_other_tables_are_another_generation_even_without_a_new_version(data_dir: Path) -> None:
    async with opened(data_dir, [Journal()]) as (store, views):
        await fill(store, 5)
        followed(store, views)
    changed = Journal()
    changed.tables = (*changed.tables, "further")
    async with opened(data_dir, [changed]) as (store, views):
        followed(store, views)
        assert rows_of(views, changed) == oracle(store, changed)


async def test_rows_of_a_projection_that_is_not_configured_are_kept(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal, Journal("other")]) as (store, views):
        await fill(store, 5)
        followed(store, views)
    async with opened(data_dir, [journal]) as (store, views):
        followed(store, views)
    async with opened(data_dir, [journal, other := Journal("other")]) as (store, views):
        followed(store, views)
        assert other.folded == []
        assert rows_of(views, other) == oracle(store, other)


async def test_a_reader_inside_an_old_generation_keeps_its_databases(data_dir: Path) -> None:
    journal = Journal()
    async with opened(data_dir, [journal]) as (store, views):
        await fill(store, 5)
        books = followed(store, views)
        following = Following(store.log, books, lambda: 0.0)
        with views.reading() as reader:
            before = list(reader.scan("journal", "events", b"", EVERYTHING))
            following.rebuild("journal")
            while following.step(store.acknowledged):
                pass
            live = books.entry("journal").live
            assert live is not None
            assert live.number == 2
            assert list(reader.scan("journal", "events", b"", EVERYTHING)) == before
            with views.reading() as later:
                assert list(later.scan("journal", "events", b"", EVERYTHING)) == before
            assert [g.number for g in books.entry("journal").retired] == [1]
        following.step(store.acknowledged)
        assert books.entry("journal").retired == ()
        assert rows_of(views, journal) == oracle(store, journal)


async def test_many_rebuilds_do_not_use_up_the_databases(data_dir: Path) -> None:
    async with opened(data_dir, [journal := Journal()]) as (store, views):
        await fill(store, 2)
        books = followed(store, views)
        following = Following(store.log, books, lambda: 0.0)
        for _ in range(150):
            following.rebuild("journal")
            following.step(store.acknowledged)
        assert rows_of(views, journal) == oracle(store, journal)


def write_and_fail(books: Bookkeeping, journal: Journal) -> None:
    """Change rows and bookkeeping, and raise before the end of the transaction."""
    entry = books.entry("journal")
    assert entry.live is not None
    rows = BufferedRows(journal.tables, lambda _table, _key: None)
    rows.put("events", b"new", b"row")
    with books.writing() as change:
        change.write("journal", entry.live, rows)
        change.save("journal", entry.with_build(journal))
        raise RuntimeError


async def test_a_transaction_that_fails_leaves_no_trace(data_dir: Path) -> None:
    async with opened(data_dir, [journal := Journal()]) as (store, views):
        await fill(store, 5)
        books = followed(store, views)
        before, entry = rows_of(views, journal), books.entry("journal")
        with pytest.raises(RuntimeError):
            write_and_fail(books, journal)
        assert rows_of(views, journal) == before
        assert books.entry("journal") == entry


# Other processes.

READER = """
import sys, anyio
from pathlib import Path
from eventstore.store import EventStore
from projections import views as module
from projections.views import Views
from witness import Journal, rows_of

async def main() -> None:
    path = Path(sys.argv[1])
    module.DATABASES_MAX = 6  # enough for one generation beside another, not for all that will have been
    async with await EventStore.open(path, read_only=True) as store:
        journal = Journal()
        views = Views(path / "views", [journal], store.log, read_only=True)
        for _ in sys.stdin:
            print(len(rows_of(views, journal)["events"]), flush=True)
        views.close()

anyio.run(main)
"""


@contextmanager
def reader_process(data_dir: Path) -> Generator[Callable[[], int]]:
    """Another process; what is given reads there and says how many events the views hold."""
    command = [sys.executable, "-c", READER, str(data_dir)]
    with subprocess.Popen(
        command,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def read() -> int:
            stdin.write("\n")
            stdin.flush()
            return int(stdout.readline())

        yield read
        stdin.close()
        assert process.wait(30) == 0


async def test_another_process_reads_through_rebuilds_and_drops(data_dir: Path) -> None:
    async with opened(data_dir, [Journal()]) as (store, views):
        await fill(store, 3)
        books = followed(store, views)
        following = Following(store.log, books, lambda: 0.0)
        with reader_process(data_dir) as read:
            for round_number in range(1, 6):
                assert read() == 3 * round_number
                await fill(store, 3)
                following.rebuild("journal")
                while following.step(store.acknowledged):
                    pass
                following.step(store.acknowledged)


async def test_a_read_only_process_without_views_is_told_that_they_are_behind(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        await fill(store, 1)
    async with await EventStore.open(data_dir, read_only=True) as store:
        views = Views(data_dir / "views", [Journal()], store.log, read_only=True)
        with pytest.raises(Unavailable) as behind, views.reading():
            pass
        assert code_of(behind) == "views_behind"
        assert not (data_dir / "views").exists()
        views.close()


async def test_a_read_only_process_sees_no_rows_of_another_store(data_dir: Path) -> None:
    async with opened(data_dir / "a", [Journal()]) as (store, views):
        followed(store, views)
    async with await EventStore.open(data_dir / "b") as store:
        pass
    (data_dir / "a" / "views").rename(data_dir / "b" / "views")
    async with await EventStore.open(data_dir / "b", read_only=True) as store:
        views = Views(data_dir / "b" / "views", [Journal()], store.log, read_only=True)
        with views.reading() as reader, pytest.raises(Unavailable) as behind:
            reader.get("journal", "events", b"k")
        assert code_of(behind) == "views_behind"
        views.close()


def test_an_entry_that_cannot_be_read_is_damage() -> None:
    with pytest.raises(Damaged) as damaged:
        decode_entry(PROJECTIONS, b"\x01")
    assert code_of(damaged) == "view_damaged"


def test_a_generation_has_a_database_for_each_table() -> None:
    assert Generation(7, 2, ("a", "b")).databases("mine") == {"a": b"mine.7.a", "b": b"mine.7.b"}
