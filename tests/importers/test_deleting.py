"""Deleting a source: only files of which everything was verified, each told, none lost on the way."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from ait42_stores import SCHEMA_A, SCHEMA_B, make_database, session
from conversations import conversation, identifier, write
from jobs import Spoken, contents, run, undone

from turnlog.facade import Turnlog
from turnlog.importers.ait42.importer import Ait42
from turnlog.importers.conversation import Problem
from turnlog.importers.job import deleting, report
from turnlog.importers.job.report import FileLine


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def folder(source: Path) -> Path:
    """A source that is there, with nothing in it."""
    source.mkdir()
    return source


async def test_a_file_is_kept_when_only_some_of_its_contexts_were_asked_for(
    log: Turnlog, source: Path
) -> None:
    write(source, [conversation(0), conversation(1)], "both.conversation")
    write(source, [conversation(2)], "other.conversation")
    write(source, [conversation(3)], "whole.conversation")
    (source / "broken.conversation").write_bytes(b"\xc1")
    imported = await run(log, source, only={identifier(0): "0", identifier(3): "3"}, delete=True)
    assert sorted(contents(source)) == ["both.conversation", "broken.conversation", "other.conversation"]
    assert imported.files == {
        "both.conversation": FileLine("both.conversation", False, "not_imported"),
        "whole.conversation": FileLine("whole.conversation", True),
    }
    assert not imported.summary.has_failed, "what was asked for is done"


async def test_a_file_that_cannot_be_deleted_is_told_and_the_others_go(
    log: Turnlog, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(source, [conversation(n) for n in range(4)])
    first, second, third, fourth = sorted(contents(source))
    unlink = Path.unlink

    def stubborn(path: Path, missing_ok: bool = False) -> None:
        if path.name == first:
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    same_file = deleting.same_file

    def gone(backup: Path, name: str, path: Path) -> bool:
        if name == second:
            unlink(path)
        elif name == third:
            unlink(path)
            os.symlink("/etc/passwd", path)
        return same_file(backup, name, path)

    monkeypatch.setattr(Path, "unlink", stubborn)
    monkeypatch.setattr(deleting, "same_file", gone)
    imported = await run(log, source, delete=True)
    assert {name: (line.deleted, line.reason) for name, line in imported.files.items()} == {
        first: (False, "Permission denied"),
        second: (False, "No such file or directory"),
        third: (False, "changed"),
        fourth: (True, None),
    }
    assert (imported.summary.files_deleted, imported.summary.files_failed) == (1, 3)
    assert imported.summary.has_failed


async def test_a_context_whose_files_are_named_by_a_problem_is_kept_whole(log: Turnlog, source: Path) -> None:
    write(source, [conversation(0, files=("0.conversation", "beside.json"))], "0.conversation")
    (source / "beside.json").write_bytes(b"\x90")
    (source / "broken.conversation").write_bytes(b"\xc1")
    write(source, [conversation(1, files=("1.conversation", "broken.conversation"))], "1.conversation")
    await run(log, source, delete=True)
    assert sorted(contents(source)) == ["1.conversation", "broken.conversation"]


async def test_the_backup_and_the_report_are_on_the_disk_before_anything_is_deleted(
    log: Turnlog, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(source, [conversation()])
    (source / "below").mkdir()
    (source / "below" / "more.json").write_text("{}")
    synced: set[tuple[int, int]] = set()
    fsync, unlink, checked = os.fsync, Path.unlink, list[Path]()

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        found = os.fstat(descriptor)
        synced.add((found.st_dev, found.st_ino))

    def watched(path: Path, missing_ok: bool = False) -> None:
        checked.append(path)
        backups = source.parent / "backups"
        for each in (source.parent, backups, *backups.rglob("*")):
            assert (each.stat().st_dev, each.stat().st_ino) in synced, each
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "unlink", watched)
    await run(log, source, delete=True)
    assert len(checked) == 1


async def test_what_a_cut_report_does_not_tell_any_more_is_put_back(log: Turnlog, source: Path) -> None:
    write(source, [conversation(n) for n in range(3)])
    there = contents(source)
    imported = await run(log, source, delete=True)
    lines = imported.path.read_bytes().splitlines(keepends=True)
    assert [line.path for line in report.lines(imported.path) if isinstance(line, FileLine)] == sorted(there)
    imported.path.write_bytes(b"".join(lines[:-3]))  # it died before it could tell of the last two
    await undone(log, imported.path)
    assert contents(source) == there


async def test_what_is_told_of_a_context_keeps_its_files_also_under_another_id(
    log: Turnlog, source: Path
) -> None:
    copy = conversation()
    write(source, [copy], "one.conversation")
    await undone(log, (await run(log, source)).path)
    lost = Problem("elsewhere", "unreadable", "a part of it", context_id=copy.id)
    imported = await run(log, source, Spoken(lost, copy), delete=True)
    assert imported.contexts[0].context_id != copy.id
    assert imported.files["one.conversation"].reason == "kept_together"


@pytest.mark.parametrize("schema", [SCHEMA_A, SCHEMA_B])
async def test_a_database_of_which_nothing_is_missing_goes(log: Turnlog, folder: Path, schema: str) -> None:
    make_database(folder / "sessions.db", schema, [session()])
    imported = await run(log, folder, Ait42(), delete=True)
    assert contents(folder) == {}
    assert imported.summary.files_deleted == 1


async def test_a_link_to_a_file_and_the_file_stay(log: Turnlog, source: Path, tmp_path: Path) -> None:
    write(source, [conversation(files=("link.conversation",))], "one.conversation")
    link = tmp_path / "link.conversation"
    link.symlink_to(source / "one.conversation")
    imported = await run(log, link, delete=True)
    assert imported.files["link.conversation"] == FileLine(
        "link.conversation", False, "symbolic_link", failed=True
    )
    assert link.exists()


def lone_database(folder: Path) -> tuple[Path, dict[str, bytes]]:
    """A database with its log, as a program that was killed leaves them; and what is there."""
    made, lone = folder / "made.db", folder / "lone.db"
    make_database(made, SCHEMA_B, [session()])
    with closing(sqlite3.connect(made)) as database:
        database.execute("PRAGMA journal_mode=wal")
        database.execute("PRAGMA wal_autocheckpoint=0")
        database.execute("UPDATE sessions SET id = id")
        database.commit()
        for end in ("", "-wal", "-shm"):
            shutil.copyfile(f"{made}{end}", f"{lone}{end}")
    made.unlink()
    return lone, beside(lone)


def beside(database: Path) -> dict[str, bytes]:
    """A database and what is called as it is."""
    return {path.name: path.read_bytes() for path in database.parent.glob(f"{database.name}*")}


async def test_the_log_beside_a_lone_database_is_backed_up_deleted_and_put_back(
    log: Turnlog, folder: Path
) -> None:
    lone, there = lone_database(folder)
    assert there["lone.db-wal"]
    imported = await run(log, lone, Ait42(), delete=True)
    assert beside(lone) == {}
    assert contents(imported.backup.path / "files") == there
    await undone(log, imported.path)
    assert beside(lone) == there
