"""Keys and their file: what is kept of a secret, who may read it, and that no change is ever lost."""

from __future__ import annotations

import os
import signal
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from commands import SECONDS_MAX
from hypothesis import given
from hypothesis import strategies as st
from locksmith import DAMAGED, DAY_US, NOW, TEXT, creator, go, make, stored_in

from eventstore.directory import make_directory
from eventstore.errors import Damaged, NotFound, Refused, TurnlogError, Unavailable
from eventstore.store import EventStore
from turnlog.service import key_file
from turnlog.service.key_file import path_in, read, revoke_key
from turnlog.service.keys import ANYBODY, ROLES, Key, KeyRole, StoredKey, digest_of, parse, without_secrets


def test_a_key_has_a_public_id_and_a_secret_of_256_bits_that_is_kept_as_a_digest(data_dir: Path) -> None:
    key, text = make(data_dir, name="Back end", expires_at=NOW + DAY_US)
    assert TEXT.fullmatch(text)
    assert parse(text) == (key.id, text[12:])
    assert key == Key(key.id, "Back end", "w", "writer", NOW, NOW + DAY_US, None)
    (stored,) = stored_in(data_dir)
    assert stored == StoredKey(key, sha256(text[12:].encode()).hexdigest())
    for path in data_dir.iterdir():
        assert text[12:] not in path.read_text()


def test_no_two_keys_are_alike(data_dir: Path) -> None:
    made = [make(data_dir) for _ in range(20)]
    assert len({key.id for key, _ in made}) == len({text[12:] for _, text in made}) == 20
    assert [stored.key for stored in stored_in(data_dir)] == [key for key, _ in made]


def test_an_id_is_never_given_twice(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = make(data_dir)
    revoke_key(data_dir, key.id, NOW)
    drawn = iter([key.id, key.id, "0badcafe"])
    monkeypatch.setattr(key_file, "new_id", lambda: next(drawn))
    assert make(data_dir)[0].id == "0badcafe"


def test_a_revocation_is_for_ever_and_the_first_one_stays(data_dir: Path) -> None:
    key, _ = make(data_dir)
    other, _ = make(data_dir)
    assert revoke_key(data_dir, key.id, NOW + 5).revoked_at == NOW + 5
    assert revoke_key(data_dir, key.id, NOW + 9).revoked_at == NOW + 5
    assert [stored.key.revoked_at for stored in stored_in(data_dir)] == [NOW + 5, None]
    assert stored_in(data_dir)[1].key == other


def test_a_key_that_is_not_there_cannot_be_revoked(data_dir: Path) -> None:
    make(data_dir)
    with pytest.raises(NotFound) as refused:
        revoke_key(data_dir, "0badcafe", NOW)
    assert refused.value.code == "key_not_found"


@pytest.mark.parametrize(
    "facts",
    [
        {"expires_at": NOW},
        {"expires_at": NOW - 1},
        {"expires_at": NOW + 101 * 366 * DAY_US},
        {"name": ""},
        {"name": "n" * 101},
        {"workspace": ""},
        {"workspace": "w" * 101},
        {"name": "\udc80"},
        {"role": "boss"},
    ],
)
def test_a_key_that_makes_no_sense_is_refused_and_nothing_is_written(
    facts: dict[str, Any], data_dir: Path
) -> None:
    with pytest.raises(Refused) as refused:
        make(data_dir, **facts)
    assert refused.value.code == "invalid_argument"
    assert read(path_in(data_dir)) is None


def test_there_is_an_end_to_keys(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_file, "KEYS_MAX", 2)
    make(data_dir)
    revoke_key(data_dir, make(data_dir)[0].id, NOW)
    with pytest.raises(Refused) as refused:
        make(data_dir)
    assert (refused.value.code, len(stored_in(data_dir))) == ("too_many_keys", 2)


def test_as_many_keys_as_there_may_be_can_be_read(data_dir: Path) -> None:
    key = Key("0badcafe", "\x01" * 100, "\x01" * 100, "writer", NOW, NOW, NOW)  # six characters each in JSON
    keys = [msgspec.structs.replace(key, id=f"{n:08x}") for n in range(key_file.KEYS_MAX)]
    document = {"format": 1, "keys": [{"key": key, "digest": "0" * 64} for key in keys]}
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=1)
    assert len(encoded) <= key_file.FILE_BYTES_MAX


@pytest.mark.parametrize(
    ("key", "now", "state"),
    [
        (Key("0badcafe", None, None, "reader", 0), NOW, "live"),
        (Key("0badcafe", None, None, "reader", 0, NOW), NOW - 1, "live"),
        (Key("0badcafe", None, None, "reader", 0, NOW), NOW, "expired"),
        (Key("0badcafe", None, None, "reader", 0, NOW, 5), NOW, "revoked"),
        (Key("0badcafe", None, None, "reader", 0, None, 5), 1, "revoked"),
    ],
)
def test_a_key_is_live_until_it_expires_or_is_revoked(key: Key, now: int, state: str) -> None:
    assert key.state(now) == state


@pytest.mark.parametrize("held", ROLES)
@pytest.mark.parametrize("needed", ROLES)
def test_each_role_may_do_what_those_before_it_may(held: KeyRole, needed: KeyRole) -> None:
    key = Key("0badcafe", None, None, held, 0)
    if ("reader", "writer", "admin").index(held) >= ("reader", "writer", "admin").index(needed):
        key.require(needed)
        return
    with pytest.raises(Refused) as refused:
        key.require(needed)
    assert refused.value.code == "role_too_low"
    assert refused.value.fields == {"role": held, "needed": needed}


def test_a_key_sees_its_workspace_or_all() -> None:
    key = Key("0badcafe", None, "w", "reader", 0)
    assert (key.sees("w"), key.sees("W"), key.sees("")) == (True, False, False)
    assert msgspec.structs.replace(key, workspace=None).sees("anything")
    assert ANYBODY.sees("anything")
    ANYBODY.require("admin")


@given(st.text(max_size=90))
def test_what_is_no_key_has_neither_id_nor_secret(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "tl_0123abcd_" + "0" * 63,
        "tl_0123abcd_" + "0" * 65,
        "tl_0123abcd_" + "0" * 64 + "\n",
        "TL_0123abcd_" + "0" * 64,
        "tl_0123ABCD_" + "0" * 64,
        "tl_0123abcd_" + "\u0660" * 64,
        " tl_0123abcd_" + "0" * 64,
        "tl__" + "0" * 64,
    ],
)
def test_what_is_nearly_a_key_is_none(text: str) -> None:
    assert parse(text) is None


def test_no_text_of_a_key_is_in_what_is_printed_of_it(data_dir: Path) -> None:
    key, text = make(data_dir)
    shown = f"{key!r} {key} {stored_in(data_dir)!r} {read(path_in(data_dir))}"
    assert text[12:] not in shown
    assert digest_of(text[12:]) not in shown
    assert key.id in shown


def test_what_can_be_used_is_cut_out_of_a_text() -> None:
    secret = "0123456789abcdef" * 4
    said = f"Bearer tl_0badcafe_{secret}, ?ticket=tlt_{secret}&x=1 tl_0badcafe_{secret[:9]}"
    assert without_secrets(said) == "Bearer tl_0badcafe_…, ?ticket=tlt_…&x=1 tl_0badcafe_…"
    assert without_secrets("tl_0badcafe and tl_x") == "tl_0badcafe and tl_x"


def test_the_files_are_their_owners_alone_whatever_the_umask_says(data_dir: Path) -> None:
    before = os.umask(0)
    try:
        key, _ = make(data_dir)
        revoke_key(data_dir, key.id, NOW)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in data_dir.iterdir()}
    assert modes == {"keys.json": 0o600, "keys.lock": 0o600, "keys.made": 0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_directory(data_dir: Path) -> None:
    os.chown(data_dir, 1234, 5678)
    make(data_dir)
    make(data_dir)
    for path in data_dir.iterdir():
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 5678), path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o666])
def test_a_file_that_others_may_open_is_refused(mode: int, data_dir: Path) -> None:
    key, _ = make(data_dir)
    path_in(data_dir).chmod(mode)
    for attempt in (
        lambda: read(path_in(data_dir)),
        lambda: make(data_dir),
        lambda: revoke_key(data_dir, key.id, NOW),
    ):
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.code == "keys_exposed"
    path_in(data_dir).chmod(0o600)
    assert [stored.key for stored in stored_in(data_dir)] == [key]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_refused_and_left_as_it_is(content: bytes, data_dir: Path) -> None:
    path = path_in(data_dir)
    path.write_bytes(content)
    path.chmod(0o600)
    for attempt in (lambda: read(path), lambda: make(data_dir)):
        with pytest.raises(Damaged) as refused:
            attempt()
        assert (refused.value.code, refused.value.fields) == ("keys_damaged", {"path": str(path)})
    assert path.read_bytes() == content


def test_every_cut_of_a_file_is_damage(data_dir: Path) -> None:
    make(data_dir)
    path = path_in(data_dir)
    whole = path.read_bytes()
    for length in range(len(whole) - 2):  # the last two are the bracket's line end and the bracket
        path.write_bytes(whole[:length])
        with pytest.raises(Damaged):
            read(path)


def test_a_file_larger_than_any_is_damage(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(data_dir)
    monkeypatch.setattr(key_file, "FILE_BYTES_MAX", path_in(data_dir).stat().st_size - 1)
    with path_in(data_dir).open("ab") as file:
        file.write(b" " * 10)
    with pytest.raises(Damaged):
        read(path_in(data_dir))


def test_a_file_of_a_newer_turnlog_is_told_from_damage(data_dir: Path) -> None:
    path = path_in(data_dir)
    path.write_text('{"format": 2, "keys": "elsewhere"}')
    path.chmod(0o600)
    with pytest.raises(Unavailable) as refused:
        read(path)
    assert refused.value.code == "directory_newer"


def test_no_file_means_that_there_never_was_a_key(data_dir: Path) -> None:
    assert read(path_in(data_dir)) is None
    revoke_key(data_dir, make(data_dir)[0].id, NOW)
    assert read(path_in(data_dir)) is not None


def test_a_lost_file_is_refused_until_it_is_back_or_the_mark_is_removed_on_purpose(data_dir: Path) -> None:
    key, _ = make(data_dir)
    path = path_in(data_dir)
    whole = path.read_bytes()
    path.unlink()
    for attempt in (lambda: read(path), lambda: make(data_dir), lambda: revoke_key(data_dir, key.id, NOW)):
        with pytest.raises(Damaged) as refused:
            attempt()
        assert (refused.value.code, refused.value.fields) == ("keys_damaged", {"path": str(path)})
        assert "is gone" in refused.value.message
        assert "keys.made" in refused.value.message
    assert not path.exists()
    path.write_bytes(whole)
    path.chmod(0o600)
    assert [stored.key for stored in stored_in(data_dir)] == [key]
    path.unlink()
    (data_dir / "keys.made").unlink()
    assert read(path) is None


def test_a_mark_that_is_missing_beside_keys_is_made_with_the_next_change(data_dir: Path) -> None:
    key, _ = make(data_dir)
    (data_dir / "keys.made").unlink()
    revoke_key(data_dir, key.id, NOW)
    assert (data_dir / "keys.made").read_bytes() == b""


def test_what_the_system_refuses_is_told_as_ours(data_dir: Path) -> None:
    path_in(data_dir).mkdir(mode=0o700)
    for attempt in (lambda: read(path_in(data_dir)), lambda: make(data_dir), lambda: make(data_dir / "no")):
        with pytest.raises(Unavailable) as refused:
            attempt()
        assert refused.value.code == "storage_failed"


def test_processes_that_change_keys_at_once_lose_nothing(data_dir: Path) -> None:
    processes = [creator(data_dir, 12, f"p{number}") for number in range(4)]
    for process in processes:
        go(process)
    made: list[str] = []
    for process in processes:
        out, _ = process.communicate(timeout=SECONDS_MAX)
        assert process.returncode == 0
        made += out.split()
    stored = stored_in(data_dir)
    assert len(made) == len(set(made)) == 48
    assert sorted(each.key.id for each in stored) == sorted(made)
    assert sum(each.key.revoked_at is not None for each in stored) == 24
    names = [str(each.key.name) for each in stored]
    assert sorted(names) == sorted(f"p{process}-{number}" for process in range(4) for number in range(12))


def test_a_process_that_is_killed_leaves_all_that_it_had_said_and_blocks_nobody(data_dir: Path) -> None:
    for round_ in range(4):
        process = creator(data_dir, 100_000, f"r{round_}")
        go(process)
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(3 + round_ * 5)]
        process.send_signal(signal.SIGKILL)
        process.wait(SECONDS_MAX)
        said += process.stdout.read().split("\n")[:-1]
        process.communicate()
        assert set(said) <= {each.key.id for each in stored_in(data_dir)}
        make(data_dir, name=f"after-{round_}")
        assert stored_in(data_dir)[-1].key.name == f"after-{round_}"


def test_what_a_dead_process_left_half_written_is_replaced(data_dir: Path) -> None:
    make(data_dir)
    aside = data_dir / ".keys.json.new"
    aside.write_text("half")
    aside.chmod(0o666)
    make(data_dir)
    assert len(stored_in(data_dir)) == 2
    assert path_in(data_dir).stat().st_mode & 0o777 == 0o600
    assert not aside.exists()


def test_the_new_file_is_on_the_disk_before_it_takes_the_old_ones_place(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def syncing(descriptor: int) -> None:
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renaming(path: Path, target: Path) -> Path:
        done.append(f"rename {path.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "rename", renaming)
    replaced = ["sync .keys.json.new", "rename .keys.json.new", f"sync {data_dir.name}"]
    make(data_dir)
    assert done == [*replaced, "sync keys.made", f"sync {data_dir.name}"]
    done.clear()
    make(data_dir)
    assert done == replaced


def test_a_failed_write_leaves_the_old_keys(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = make(data_dir)

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(TurnlogError) as refused:
        make(data_dir)
    assert refused.value.code == "disk_full"
    assert [stored.key for stored in stored_in(data_dir)] == [key]


async def test_a_directory_whose_keys_were_made_first_takes_a_log(data_dir: Path) -> None:
    make_directory(data_dir, allow_unsafe_file_system=False)
    make(data_dir)
    async with await EventStore.open(data_dir) as store:
        assert store.head().position == 0
    make(data_dir)
    assert len(stored_in(data_dir)) == 2
