"""A migrated store says what the old one said, about the past too, however often its making was killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import lmdb
import msgspec
import pytest
from commands import Terminal
from logs import random_appends, write

import turnlog
from eventstore.append import Appender
from eventstore.commits import Append, Commit, Committed
from eventstore.content import TextPart
from eventstore.errors import Refused, Unavailable
from eventstore.events import (
    BranchMoved,
    ContextCreated,
    ContextUpdated,
    CustomRecorded,
    Event,
    MessageAppended,
    StateChanged,
    StreamStarted,
)
from eventstore.store import EventStore
from projections.timetravel import AtTime, AtVersion
from turnlog.comparing import compare_answers
from turnlog.migrating import Migrated, migrate
from turnlog.swapping import finish_swap, kept_at, swap

ROOT: Final = Path(__file__).resolve().parents[2]
C, M, N = UUID(int=0xC), UUID(int=1), UUID(int=2)

CHILD: Final = """
import asyncio, os, signal, sys
from pathlib import Path
from eventstore import rewriting
from turnlog.migrating import migrate
old, new, phase, place = sys.argv[1:]
rewriting._COMMITS_MAX = 7
def progress(doing, done, total):
    if doing == phase and done >= int(place):
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(migrate(Path(old), Path(new), progress=progress))
"""


def run_and_kill(old: Path, new: Path, phase: str, place: int) -> None:
    """Let a process migrate until it is killed there."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, old, new, phase, str(place)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr


async def commits_of(path: Path) -> list[Commit]:
    async with await EventStore.open(path, read_only=True) as store:
        return list(store.read())


async def chain_of(path: Path) -> bytes:
    async with await EventStore.open(path, read_only=True) as store:
        return store.head().chain


def quiet(doing: str, done: int, total: int) -> None:
    """A progress that nobody watches."""


async def test_any_log_is_migrated_to_the_same_one(tmp_path: Path, seed: int) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    appends = random_appends(random.Random(seed), 200)
    await write(old, appends)
    migrated = await migrate(old, new)
    assert (migrated.commits, migrated.dropped_commits, migrated.resumed_position) == (200, 0, 0)
    assert await commits_of(new) == await commits_of(old)
    assert await chain_of(new) == await chain_of(old)
    again = await migrate(old, new)
    assert again == msgspec.structs.replace(migrated, resumed_position=200)
    await write(new, [append for append in appends if append.commit_id is not None])
    assert await chain_of(new) == await chain_of(old)


async def test_a_repeat_of_an_append_is_known_to_the_migrated_store_and_another_is_refused(
    tmp_path: Path,
) -> None:
    old, new, changed = tmp_path / "old", tmp_path / "new", tmp_path / "changed"
    asked = (MessageAppended(M, "user", (TextPart("Hi"),)), StreamStarted(N), BranchMoved("b", M))
    commit_id = UUID(int=7)
    async with await EventStore.open(old) as store:
        await store.append(C, [ContextCreated()])
        first = await store.append(C, asked, commit_id=commit_id, metadata={"actor": "ann"})
    await migrate(old, new)
    await migrate(old, changed, without_answers)
    for path, version in ((new, first.version), (changed, first.version - 1)):
        async with await EventStore.open(path) as store:
            again = await store.append(C, asked, commit_id=commit_id, metadata={"actor": "ann"})
            expected = msgspec.structs.replace(first, version=version, written=False)
            assert again == expected
            with pytest.raises(Refused) as refused:
                await store.append(C, asked, commit_id=commit_id, metadata={"actor": "bob"})
            assert refused.value.code == "commit_id_reused"


async def test_a_store_that_knows_another_request_by_a_commit_id_is_refused(tmp_path: Path) -> None:
    old, new, commit_id = tmp_path / "old", tmp_path / "new", UUID(int=7)
    for path, digest in ((old, None), (new, bytes(32))):
        async with await EventStore.open(path, clock=lambda: 5) as store:
            append = Append(C, (ContextCreated(),), commit_id=commit_id, request_digest=digest)
            (outcome,) = await store.append_many([append])
            assert isinstance(outcome, Committed)
    with pytest.raises(Refused, match="is not what the old store gives"):
        await migrate(old, new)


async def test_the_past_of_a_migrated_store_is_that_of_the_old_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    async with turnlog.open(old) as log:
        context = await log.create_context(title="first")
        await context.append_message("user", "Hello")
        between = (await context.update({"title": "second"})).recorded_at
        await context.update({"title": "third"})
    await migrate(old, new)
    async with turnlog.open(new) as log:
        state = await log.context(context.id).state(AtTime(between))
        assert (state.title, state.updated_at) == ("second", between)
        assert (await log.context(context.id).state(AtVersion(1))).title == "first"


@pytest.mark.parametrize("phase", ["replaying", "comparing", "verifying", "building the views"])
async def test_a_migration_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(
    phase: str, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(f"{seed} {phase}")
    old, new, whole = tmp_path / "old", tmp_path / "new", tmp_path / "whole"
    await write(old, random_appends(rng, 120))
    expected = await migrate(old, whole)
    reached: list[int] = []
    for _ in range(3 if phase == "replaying" else 1):
        place = rng.randrange(reached[-1] if reached else 1, 120) if phase == "replaying" else 0
        run_and_kill(old, new, phase, place)
        reached.append(len(await commits_of(new)))
        assert place - 7 <= reached[-1] <= (place or 120)
    ended = await migrate(old, new)
    assert ended == msgspec.structs.replace(expected, resumed_position=reached[-1])
    assert await commits_of(new) == await commits_of(whole)
    await compare_answers([new, whole], unsafe=False, progress=quiet)


async def test_a_directory_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    await write(old, [Append(C, (ContextCreated("ours"), StateChanged("busy")))])
    await write(new, [Append(C, (ContextCreated("theirs"), StateChanged("busy")))])
    with pytest.raises(Refused) as refused:
        await migrate(old, new)
    assert (refused.value.code, refused.value.fields["position"]) == ("store_differs", 1)
    shutil.rmtree(new)
    await write(new, [Append(C, (ContextCreated("ours"), StateChanged("busy")))])
    with pytest.raises(Refused, match="not what the old store gives"):
        await migrate(old, new)  # another time
    shutil.rmtree(new)
    shutil.copytree(old, new)
    await write(new, [Append(C, (CustomRecorded("more"),))])
    with pytest.raises(Refused) as refused:
        await migrate(old, new)
    assert (refused.value.code, refused.value.fields["position"]) == ("store_differs", 2)
    with pytest.raises(Refused, match="not beside each other"):
        await migrate(old, old / "new")


async def test_a_store_that_somebody_writes_is_not_migrated(tmp_path: Path) -> None:
    async with turnlog.open(tmp_path / "old"):
        with pytest.raises(Unavailable) as refused:
            await migrate(tmp_path / "old", tmp_path / "new")
    assert refused.value.code == "writer_locked"
    assert not (tmp_path / "new").exists()


async def test_views_that_answer_otherwise_are_found(tmp_path: Path) -> None:
    message = MessageAppended(M, "user", (TextPart("Hello"),), parent_id=None)
    other = msgspec.structs.replace(message, parts=(TextPart("Hallo"),))
    for name, said in (("one", message), ("other", other)):
        async with await EventStore.open(tmp_path / name, clock=lambda: 5) as store:
            await store.append(C, (ContextCreated(), said))
    with pytest.raises(Refused, match=f"message {M} of context {C} is not the same"):
        await compare_answers([tmp_path / "one", tmp_path / "other"], unsafe=False, progress=quiet)


def without_answers(event: Event) -> Event | None:
    """A transform that drops what was streamed, and renames a state."""
    if isinstance(event, StateChanged):
        return StateChanged(event.state.upper(), event.detail)
    return None if isinstance(event, StreamStarted) else event


async def test_a_transform_migrates_a_store_to_another_and_resumes(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    async with turnlog.open(old) as log:
        context = await log.create_context()
        await context.append_message("user", "Hello", message_id=M)
        async with context.record() as stream:
            await stream.write("Hi")
        await context.append_message("user", "Bye", message_id=N)
        await context.set_state("done")
    migrated = await migrate(old, new, without_answers)
    assert migrated.dropped_commits > 0
    assert migrated.messages == 2
    assert await migrate(old, new, without_answers) == msgspec.structs.replace(
        migrated, resumed_position=migrated.commits
    )
    async with turnlog.open(new) as log:
        state = await log.context(context.id).state()
        assert (state.state, state.message_count) == ("DONE", 2)
        assert (await log.queries.message(N)).parent_id == M
    with pytest.raises(Refused) as refused:
        await migrate(old, new)
    assert refused.value.code == "store_differs"


async def test_what_the_write_model_refuses_is_told_with_its_position(tmp_path: Path) -> None:
    old = tmp_path / "old"
    await write(old, [Append(C, (ContextCreated(),)), Append(C, (CustomRecorded("x"),))])

    def deleting(event: Event) -> Event | None:
        return ContextUpdated({"title": 7}) if isinstance(event, CustomRecorded) else event

    with pytest.raises(Refused) as refused:
        await migrate(old, tmp_path / "new", deleting)
    assert (refused.value.code, refused.value.fields["position"]) == ("invalid_event", 2)


def test_the_verb_migrates_swaps_and_keeps_the_keys(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal, new = Terminal(data_dir, capsys), data_dir.parent / "new"
    terminal.ok("demo", "--speed", "0")
    terminal.ok("keys", "create", "--role", "reader")
    keys, before = (data_dir / "keys.json").read_bytes(), terminal.ok("events", "--json").out
    told = terminal.ok("migrate-store", data_dir, new, "--json").object
    assert list(told) == [*Migrated.__struct_fields__, "store", "kept"]
    assert (told["store"], told["kept"]) == (str(new), None)
    said = terminal.ok("migrate-store", data_dir, new, "--swap")
    assert f"{data_dir} is the new store" in said.out
    assert "went on after position" in said.err
    assert not new.exists()
    assert terminal.ok("events", "--json").out == before
    assert (data_dir / "keys.json").read_bytes() == keys
    assert (data_dir / "keys.json").stat().st_mode & 0o777 == 0o600
    assert (data_dir / "keys.made").exists()
    assert terminal.ok("verify", "--json").object["sound"]
    assert kept_at(data_dir).is_dir()
    ran = terminal("migrate-store", data_dir, new, "--swap", "--json")
    assert (ran.code, ran.error["code"]) == (4, "output_exists")
    assert not new.exists(), "it is known before the work"
    ran = terminal("migrate-store", data_dir, data_dir, "--json")
    assert (ran.code, ran.error["code"]) == (2, "invalid_argument")
    assert "the same directory" in ran.error["message"]


def migrated_as(told: dict[str, Any]) -> Migrated:
    """What the verb said of it: figures as they are, no times."""
    return msgspec.convert({name: told[name] for name in Migrated.__struct_fields__}, Migrated)


class Killed(BaseException):
    """Instead of a kill."""


def cut_short(old: Path, new: Path, migrated: Migrated, monkeypatch: pytest.MonkeyPatch) -> None:
    """A swap that ends between its two renamings."""

    def killed(path: Path) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("turnlog.swapping.sync_directory", killed)
        with pytest.raises(Killed):
            swap(old, new, migrated)
    assert not old.exists()


def test_a_swap_that_was_cut_short_is_finished_and_tells_the_same(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, new = Terminal(data_dir, capsys), data_dir.parent / "new"
    terminal.ok("demo", "--speed", "0")
    told = terminal.ok("migrate-store", data_dir, new, "--json").object
    migrated = migrated_as(told)
    key = terminal.ok("keys", "create", "--role", "reader", "--json").object["id"]
    cut_short(data_dir, new, migrated, monkeypatch)
    again = terminal.ok("migrate-store", data_dir, new, "--swap", "--json").object
    assert again == {**told, "store": str(data_dir), "kept": str(kept_at(data_dir))}
    assert terminal.ok("verify", "--json").object["sound"]
    assert [line["id"] for line in terminal.ok("keys", "list", "--json").lines] == [key]


async def test_only_the_store_that_was_verified_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, other = tmp_path / "old", tmp_path / "new", tmp_path / "other"
    await write(old, [Append(C, (ContextCreated(),))])
    migrated = await migrate(old, new)
    await write(other, [Append(C, (ContextCreated("another"),))])
    shutil.copytree(old, kept_at(old))
    old.rename(tmp_path / "elsewhere")
    assert finish_swap(old, new) is None, "names alone say nothing"
    (tmp_path / "elsewhere").rename(old)
    shutil.rmtree(kept_at(old))
    cut_short(old, new, migrated, monkeypatch)
    with pytest.raises(Refused, match="not the store that was to take the place") as refused:
        finish_swap(old, other)
    assert refused.value.code == "store_differs"
    for path in (new, kept_at(old)):
        async with turnlog.open(path):
            with pytest.raises(Unavailable) as locked:
                finish_swap(old, new)
        assert locked.value.code == "writer_locked"
    assert finish_swap(old, new) == migrated
    assert finish_swap(old, new) is None


def test_keys_are_those_of_the_moment_of_the_swap(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terminal, new = Terminal(data_dir, capsys), data_dir.parent / "new"
    terminal.ok("demo", "--speed", "0")
    key = terminal.ok("keys", "create", "--role", "reader", "--json").object["id"]
    migrated = migrated_as(terminal.ok("migrate-store", data_dir, new, "--json").object)
    terminal.ok("keys", "revoke", key, "--yes")
    swap(data_dir, new, migrated)
    (line,) = terminal.ok("keys", "list", "--json").lines
    assert line["revoked_at"] is not None


def test_an_import_is_undone_in_the_store_that_took_the_place(
    data_dir: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    terminal, new = Terminal(data_dir, capsys), data_dir.parent / "new"
    source = ROOT / "tests" / "fixtures" / "copilot_chat" / "pool"
    report = tmp_path / "report.ndjson"
    terminal.ok("import", source, "--backup-dir", tmp_path / "backups", "--report", report, "--yes")
    terminal.ok("migrate-store", data_dir, new, "--swap")
    assert "undone: 1 context" in terminal.ok("import", "undo", report, "--yes").out


@pytest.mark.parametrize("place", ["finish", "finish_index"])
async def test_storage_that_fails_is_told_as_ours(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(tmp_path / "old", [Append(C, (ContextCreated(),))])

    def full(self: Appender, txn: lmdb.Transaction) -> None:
        raise lmdb.MapFullError("full")

    monkeypatch.setattr(Appender, place, full)
    with pytest.raises(Unavailable) as failed:
        await migrate(tmp_path / "old", tmp_path / "new")
    assert failed.value.code == "log_full"


def test_a_transform_is_named_by_module_and_function(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal, new = Terminal(data_dir, capsys), data_dir.parent / "new"
    terminal.ok("demo", "--speed", "0")
    told = terminal.ok("migrate-store", data_dir, new, "--transform", f"{__name__}:without_answers", "--json")
    assert told.object["dropped_commits"] > 0
    for wrong in ("nonsense", "no_such_module:f", f"{__name__}:nothing", f"{__name__}:C"):
        ran = terminal("migrate-store", data_dir, new, "--transform", wrong, "--json")
        assert (ran.code, ran.error["code"]) == (2, "invalid_transform")


def test_no_directory_is_made_for_a_store_that_there_is_not(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Terminal(data_dir, capsys)("migrate-store", data_dir / "x", data_dir.parent / "new", "--json")
    assert (ran.code, ran.error["code"]) == (3, "directory_not_found")
    assert not (data_dir.parent / "new").exists()


async def test_a_swap_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    await write(old, [Append(C, (ContextCreated(),))])
    migrated = await migrate(old, new)
    kept_at(old).mkdir()
    with pytest.raises(Refused) as refused:
        swap(old, new, migrated)
    assert refused.value.code == "output_exists"
    kept_at(old).rmdir()
    async with turnlog.open(old):
        with pytest.raises(Unavailable) as locked:
            swap(old, new, migrated)
    assert locked.value.code == "writer_locked"
    for path in (old, new):  # by the second time, a position of the old one was dropped
        await write(path, [Append(C, (CustomRecorded("more"),))])
        with pytest.raises(Refused, match=f"{path} went on to position 2") as refused:
            swap(old, new, msgspec.structs.replace(migrated, dropped_commits=int(path == new)))
        assert refused.value.code == "store_differs"
    assert old.is_dir()
    assert not kept_at(old).exists()
