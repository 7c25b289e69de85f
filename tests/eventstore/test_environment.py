"""Data directories: made private and whole, recognised, refused; one writer, any number of readers."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest
from processes import hear, output, program, say
from samples import C, message

from eventstore import environment, frame, keys
from eventstore.environment import open_environment, translate
from eventstore.errors import Damaged, TurnlogError, Unavailable
from eventstore.events import ContextCreated
from eventstore.log import StoreFacts
from eventstore.store import EventStore


async def refused(path: Path, **options: Any) -> TurnlogError:
    """The error with which opening fails."""
    with pytest.raises(TurnlogError) as error:
        await EventStore.open(path, **options)
    return error.value


async def make(path: Path) -> None:
    """A log with one commit."""
    async with await EventStore.open(path) as store:
        await store.append(C, [ContextCreated()])


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- Making -------------------------------------------------------------------------------------------------


async def test_a_new_directory_is_its_owners_alone(data_dir: Path) -> None:
    path = data_dir / "deep" / "new"
    before = os.umask(0)
    try:
        await make(path)
    finally:
        os.umask(before)
    assert [mode(path), mode(path / "log")] == [0o700, 0o700]
    assert {entry.name: mode(entry) for entry in (path / "log").iterdir()} == {
        "data.mdb": 0o600,
        "lock.mdb": 0o600,
    }
    assert mode(path / "writer.lock") == 0o600


async def test_a_directory_that_was_open_to_others_is_closed_to_them(data_dir: Path) -> None:
    os.chmod(data_dir, 0o755)
    await make(data_dir)
    assert mode(data_dir) == 0o700


async def test_a_store_has_an_identity_and_a_birth_that_stay(data_dir: Path) -> None:
    async with await EventStore.open(data_dir, clock=lambda: 77) as store:
        facts = store.log.facts
    async with await EventStore.open(data_dir) as store:
        assert store.log.facts == facts
    assert (facts.format, facts.created_at, facts.store_id.version) == (frame.FORMAT, 77, 7)


async def test_what_a_creation_that_died_left_behind_is_removed(data_dir: Path) -> None:
    (data_dir / ".log-dead").mkdir()
    (data_dir / ".log-dead" / "data.mdb").write_bytes(b"half")
    await make(data_dir)
    assert names(data_dir) == ["log", "writer.lock"]


async def test_a_creation_that_fails_leaves_no_log(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise lmdb.DiskError("disk")

    with monkeypatch.context() as broken:
        broken.setattr(environment, "sync_directory", full)
        with pytest.raises(lmdb.DiskError):
            environment.create_environment(data_dir / "log", lambda _: None)
    assert names(data_dir) == []
    await make(data_dir)


async def test_without_create_nothing_is_made(data_dir: Path) -> None:
    assert (await refused(data_dir / "no", create=False)).code == "directory_not_found"
    assert (await refused(data_dir / "no", read_only=True)).code == "directory_not_found"
    assert (await refused(data_dir, read_only=True)).code == "directory_not_found"
    assert names(data_dir) == []


# -- Recognising --------------------------------------------------------------------------------------------


async def test_among_somebody_elses_files_no_log_is_made_and_nothing_is_touched(data_dir: Path) -> None:
    (data_dir / "thesis.txt").write_text("years of work")
    os.chmod(data_dir, 0o755)
    error = await refused(data_dir)
    assert (type(error), error.code) == (Unavailable, "directory_foreign")
    assert "thesis.txt" in error.message
    assert mode(data_dir) == 0o755
    assert names(data_dir) == ["thesis.txt"]


@pytest.mark.parametrize("name", [".hidden", "lost+found"])
async def test_what_every_disk_may_hold_is_nobodys(data_dir: Path, name: str) -> None:
    (data_dir / name).mkdir()
    await make(data_dir)


async def test_a_file_in_the_directorys_place_is_an_error(data_dir: Path) -> None:
    path = data_dir / "file"
    path.write_text("here")
    for place in (path, path / "below"):
        assert (await refused(place)).code == "storage_failed"
        assert (await refused(place, read_only=True)).code == "directory_not_found"
    assert path.read_text() == "here"


async def test_a_lone_data_file_that_is_missing_is_an_error(data_dir: Path) -> None:
    await make(data_dir)
    (data_dir / "log" / "data.mdb").unlink()
    assert (await refused(data_dir)).code == "directory_not_found"


async def test_bytes_that_are_no_database_are_damage(data_dir: Path) -> None:
    await make(data_dir)
    (data_dir / "log" / "data.mdb").write_bytes(b"x" * 65_536)
    error = await refused(data_dir)
    assert (type(error), error.code) == (Damaged, "directory_damaged")
    assert (await refused(data_dir, read_only=True)).code == "directory_damaged"


async def test_somebody_elses_database_is_foreign(data_dir: Path) -> None:
    (data_dir / "log").mkdir()
    lmdb.open(str(data_dir / "log"), lib_version=0).close()
    assert (await refused(data_dir)).code == "directory_foreign"


def put(path: Path, key: bytes, value: bytes | None) -> None:
    """Write into the unnamed database behind the store's back."""
    env = open_environment(path / "log", databases_max=8)
    with env.begin(write=True) as txn:
        _ = txn.delete(key) if value is None else txn.put(key, value)
    env.close()


@pytest.mark.parametrize("read_only", [True, False])
async def test_a_log_without_its_facts_is_foreign_with_bad_ones_damaged(
    data_dir: Path, read_only: bool
) -> None:
    await make(data_dir)
    put(data_dir, keys.STORE, None)
    assert (await refused(data_dir, read_only=read_only)).code == "directory_foreign"
    for facts in (b"", b"\x01", b"\x81\xa6format\xa1x"):
        put(data_dir, keys.STORE, facts)
        assert (await refused(data_dir, read_only=read_only)).code == "directory_damaged"


async def test_a_newer_log_is_refused_and_left_as_it_is(data_dir: Path) -> None:
    await make(data_dir)
    facts = StoreFacts(frame.FORMAT + 1, C, 5)
    put(data_dir, keys.STORE, msgspec.msgpack.Encoder(uuid_format="bytes").encode(facts))
    error = await refused(data_dir)
    assert (error.code, error.fields["format"]) == ("directory_newer", frame.FORMAT + 1)


async def test_an_unreadable_head_is_damage(data_dir: Path) -> None:
    await make(data_dir)
    put(data_dir, keys.HEAD, b"short")
    assert (await refused(data_dir)).code == "directory_damaged"


# -- Writers and readers ------------------------------------------------------------------------------------

HOLD = """
store = await EventStore.open(path)
await store.append(C, [ContextCreated()])
say(os.getpid())
while hear():
    say((await store.append(C, [CustomRecorded("c")])).position)
"""


TRY = """
try:
    await EventStore.open(path)
except TurnlogError as error:
    say(error.code, error.fields["pid"])
"""


async def test_a_second_writer_is_told_the_first_ones_process(data_dir: Path, store: EventStore) -> None:
    error = await refused(data_dir)
    assert (error.code, error.fields["pid"]) == ("writer_locked", os.getpid())
    said = output(data_dir, TRY)
    assert said == f"writer_locked {os.getpid()}"
    assert store.head().position == 0


async def test_readers_beside_a_writer_in_another_process_see_each_commit(data_dir: Path) -> None:
    with program(data_dir, HOLD) as writer:
        pid = int(hear(writer))
        error = await refused(data_dir)
        assert (error.code, error.fields["pid"]) == ("writer_locked", pid)
        async with await EventStore.open(data_dir, read_only=True) as reader:
            for position in (2, 3):
                say(writer)
                assert int(hear(writer)) == position
                assert [commit.position for commit in reader.read()] == list(range(1, position + 1))
                assert reader.head().position == position
            with pytest.raises(Unavailable) as read_only:
                await reader.append(C, [message()])
            assert read_only.value.code == "log_read_only"


async def test_a_writer_that_was_killed_leaves_the_lock_to_the_next(data_dir: Path) -> None:
    with program(data_dir, HOLD) as writer:
        hear(writer)
    async with await EventStore.open(data_dir) as store:
        assert (await store.append(C, [message()])).position == 2


async def test_one_process_opens_an_environment_once(data_dir: Path, store: EventStore) -> None:
    assert (await refused(data_dir, read_only=True)).code == "already_open"
    assert store.head().position == 0


FORK = """
store = await EventStore.open(path)
never, held = os.pipe()
child = os.fork()
if child == 0:
    os.close(held)
    os.read(never, 1)
    os._exit(0)
await store.close()
store = await EventStore.open(path)
say((await store.append(C, [ContextCreated()])).position)
await store.close()
os.kill(child, 9)
"""


async def test_a_store_can_be_opened_again_while_a_forked_child_lives(data_dir: Path) -> None:
    said = output(data_dir, FORK)
    assert said == "1"


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="nothing tells which locks are held")
async def test_a_writer_that_is_refused_takes_no_lock_from_the_reader_beside_it(data_dir: Path) -> None:
    def held() -> set[str]:
        inode = (data_dir / "log" / "lock.mdb").stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
        return {line.split(":", 1)[1] for line in lines if f":{inode} " in line}

    await make(data_dir)
    async with await EventStore.open(data_dir, read_only=True) as reader:
        before = held()
        assert before, "a reader holds a lock on the table of readers"
        assert (await refused(data_dir)).code == "already_open"
        assert held() == before
        assert reader.head().position == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (lmdb.MapFullError("x"), "log_full"),
        (lmdb.DiskError("x"), "disk_full"),
        (lmdb.InvalidError("x"), "directory_damaged"),
        (lmdb.CorruptedError("x"), "directory_damaged"),
        (lmdb.PageNotFoundError("x"), "directory_damaged"),
        (lmdb.VersionMismatchError("x"), "directory_newer"),
        (lmdb.Error("The environment is already open in this process"), "already_open"),
        (lmdb.Error("mdb_txn_commit: Input/output error"), "storage_failed"),
        (lmdb.PanicError("x"), "storage_failed"),
    ],
)
def test_each_error_of_lmdb_becomes_one_of_ours(error: lmdb.Error, code: str) -> None:
    translated = translate(error, Path("/data"))
    assert (translated.code, translated.fields) == (code, {"path": "/data"})
    assert isinstance(translated, Damaged if code == "directory_damaged" else Unavailable)


def test_a_failed_write_without_room_on_the_disk_is_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventstore.environment.NO_ROOM_BYTES", 1 << 62)
    assert translate(lmdb.Error("mdb_env_sync: Input/output error"), Path("/")).code == "disk_full"
    assert translate(lmdb.Error("mdb_env_sync: Bad file descriptor"), Path("/")).code == "storage_failed"
