"""Pages that were read through the map of a log are given back, and what is read stays the same."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Final
from uuid import UUID

import pytest

from eventstore import process, resident, writer
from eventstore.commits import Append, Committed
from eventstore.content import TextPart
from eventstore.errors import Refused, Unavailable
from eventstore.events import ContextCreated, MessageAppended
from eventstore.resident import Mapped
from eventstore.store import EventStore

COMMITS = 60
COMMIT_BYTES = 100_000
CONTEXTS = 1_100

A = UUID(int=0xA)

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells")


def resident_of(file: Path) -> int:
    """Resident bytes of a mapped file."""
    found, place = 0, ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.startswith("Rss:") and place.endswith(str(file)):
            found += int(line.split()[1]) * 1_024
        elif not line.split(" ", 1)[0].endswith(":"):
            place = line
    return found


@pytest.fixture(autouse=True)
def sparing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "spares", True)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store of 6 MB that do not compress."""
    rng = Random(1)
    async with await EventStore.open(tmp_path / "data", free_bytes_low=0) as store:
        await store.append(A, [ContextCreated()])
        for n in range(COMMITS):
            text = rng.randbytes(COMMIT_BYTES // 2).hex()
            await store.append(A, [MessageAppended(UUID(int=n + 1), "user", (TextPart(text),))])
    return tmp_path / "data"


async def test_what_was_read_is_given_back_while_more_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = path / "log" / "data.mdb"
    async with await EventStore.open(path, read_only=True) as store:
        commits = list(store.read())
        assert (most := resident_of(file)) > COMMITS * COMMIT_BYTES // 2
        monkeypatch.setattr(resident, "RESIDENT_BYTES_MAX", 0)
        monkeypatch.setattr(resident, "READ_BYTES", 5 * COMMIT_BYTES)
        held: list[int] = []
        for commit, before in zip(store.read(), commits, strict=True):
            assert commit == before
            held.append(resident_of(file))
        assert max(held[10:]) < most / 2
        assert list(store.read_context(A)) == commits


async def test_nothing_is_given_back_while_little_is_resident(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "RESIDENT_BYTES_MAX", 1 << 40)
    monkeypatch.setattr(resident, "READ_BYTES", 1)
    async with await EventStore.open(path, read_only=True) as store:
        assert len(list(store.read())) == COMMITS + 1
        assert resident_of(path / "log" / "data.mdb") > COMMITS * COMMIT_BYTES // 2


async def test_who_is_not_sparing_keeps_what_was_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "spares", False)
    monkeypatch.setattr(resident, "RESIDENT_BYTES_MAX", 0)
    monkeypatch.setattr(resident, "READ_BYTES", 1)
    async with await EventStore.open(path, read_only=True) as store:
        assert len(list(store.read())) == COMMITS + 1
        assert resident_of(path / "log" / "data.mdb") > COMMITS * COMMIT_BYTES // 2


async def test_where_nothing_can_be_given_back_reading_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "RESIDENT_BYTES_MAX", 0)
    monkeypatch.setattr(resident, "READ_BYTES", 1)
    monkeypatch.setattr(resident, "_MADVISE", None)
    async with await EventStore.open(path, read_only=True) as store:
        assert len(list(store.read())) == COMMITS + 1


async def test_many_rows_of_an_index_are_not_written_at_one_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Mapped] = []

    def look(mapped: Mapped) -> None:
        looks.append(mapped)

    async with await EventStore.open(tmp_path / "data", free_bytes_low=0) as store:
        for n in range(CONTEXTS):
            await store.append(UUID(int=n + 1), [ContextCreated()])
        monkeypatch.setattr(Mapped, "look", look)
    assert len(looks) >= CONTEXTS // 256


LARGE_VALUES: Final = """
import sys
from eventstore import process

if sys.argv[1:]:
    process.spare()
values = [bytes(1 << 20) for _ in range(20)]
del values[0]  # what glibc would take as a sign to keep others
values = [b"x" * (1 << 20) for _ in range(100)]
values = values[::10]
(line,) = [line for line in open("/proc/self/status") if line.startswith("RssAnon:")]
print(line.split()[1])
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc's malloc is told")
def test_a_process_that_spares_gives_back_what_large_values_took() -> None:
    spared, kept = (
        int(
            subprocess.run(
                [sys.executable, "-c", LARGE_VALUES, *given], check=True, capture_output=True
            ).stdout
        )
        for given in (["spare"], [])
    )
    assert spared < 10 * 1024 + 25 * 1024
    assert kept > 70 * 1024, "nothing of it would be kept anyway"


async def together(store: EventStore, first: int) -> list[Committed]:
    """Ten commits that become visible together."""
    messages = [MessageAppended(UUID(int=first + n), "user", (TextPart("x" * 1_000),)) for n in range(10)]
    return await store.append_together([Append(A, (message,)) for message in messages])


@pytest.mark.parametrize("fails", [False, True])
async def test_the_pages_of_a_large_transaction_are_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr(writer, "TRANSACTION_BYTES_MAX", 5_000)
    async with await EventStore.open(tmp_path, free_bytes_low=0) as store:
        await store.append(A, [ContextCreated()])
        before, reopen = store.log.env, store.log.reopen

        def fail_once() -> None:
            monkeypatch.setattr(store.log, "reopen", reopen)
            raise Unavailable("storage_failed", "it does not open")

        if fails:
            monkeypatch.setattr(store.log, "reopen", fail_once)
        assert [one.position for one in await together(store, 1)] == [*range(2, 12)]
        assert (store.log.env is before) is fails
        # What comes next finds all that was there: ids that are taken, the version, the head.
        with pytest.raises(Refused):
            await store.append(A, [MessageAppended(UUID(int=3), "user")])
        assert (
            await store.append(A, [MessageAppended(UUID(int=99), "user")], expected_version=11)
        ).position == 12
        assert store.log.env is not before
        assert [commit.position for commit in store.read()] == [*range(1, 13)]
        assert store.statistics().recoveries == int(fails)


async def test_a_service_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "spares", False)
    monkeypatch.setattr(writer, "TRANSACTION_BYTES_MAX", 5_000)
    async with await EventStore.open(tmp_path, free_bytes_low=0) as store:
        await store.append(A, [ContextCreated()])
        before = store.log.env
        await together(store, 1)
        assert store.log.env is before
