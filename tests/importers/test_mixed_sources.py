"""A source with all formats in it, read by the importers themselves: imported, deleted, undone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ait42_stores import HASH
from ait42_stores import session as ait42_session
from jobs import run, undone
from taskerino_stores import put_chunked
from taskerino_stores import session as taskerino_session

from turnlog.facade import Turnlog
from turnlog.importers.detecting import detect
from turnlog.importers.source.files import Source


@pytest.fixture
def source(tmp_path: Path, fixtures: Path) -> Path:
    """Contexts of copilot_chat, one with a pool; sessions of AIT42 and of Taskerino; and other things."""
    source = tmp_path / "source"
    shutil.copytree(fixtures / "copilot_chat" / "conversations", source / "conversations")
    shutil.copytree(fixtures / "copilot_chat" / "pool", source / "pool")
    (source / "ait42").mkdir()
    (source / "ait42" / f"{HASH}.json").write_text(json.dumps([ait42_session()]))
    put_chunked(source / "db", taskerino_session())
    (source / "notes.txt").write_text("x")
    (source / "list.json").write_text("[1, 2]")
    (source / "link.json").symlink_to(source / "list.json")
    (source / "ait42" / f"{HASH[::-1]}.json").write_text("[{")
    return source


def contents(source: Path) -> dict[str, bytes]:
    found = [path for path in source.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(source)): path.read_bytes() for path in found}


async def test_each_file_is_told_once(log: Turnlog, source: Path) -> None:
    importers = tuple(detect(Source(source)))
    assert [importer.format for importer in importers] == ["copilot_chat", "ait42", "taskerino"]
    imported = await run(log, source, importers)
    assert sorted((line.path, line.code) for line in imported.problems) == [
        (f"ait42/{HASH[::-1]}.json", "truncated"),
        ("link.json", "symbolic_link"),
        ("list.json", "not_a_conversation"),
        ("notes.txt", "unrecognised"),
    ]
    assert {line.format for line in imported.contexts} == {"copilot_chat", "ait42", "taskerino"}
    assert all(line.verified for line in imported.contexts)


async def test_what_was_verified_is_deleted_and_comes_back(log: Turnlog, source: Path) -> None:
    there, importers = contents(source), tuple(detect(Source(source)))
    imported = await run(log, source, importers, delete=True)
    assert sorted(contents(source)) == [f"ait42/{HASH[::-1]}.json", "list.json", "notes.txt"]
    assert {name for name, line in imported.files.items() if line.deleted} == there.keys() - contents(source)
    assert imported.summary.files_failed == 0
    await undone(log, imported.path)
    assert contents(source) == there
    assert (await log.queries.contexts()).items == []


async def test_of_the_contexts_that_were_asked_for_all_files_are_deleted(log: Turnlog, source: Path) -> None:
    there, importers = contents(source), tuple(detect(Source(source)))
    (pool,) = [name for name in there if name.endswith("context.json")]
    contexts = (await run(log, source, importers)).contexts
    only = {line.context_id: "the pool" for line in contexts if pool in line.files}
    assert len(only) == 1
    imported = await run(log, source, importers, only=only, delete=True)
    assert there.keys() - contents(source) == {name for name in there if name.startswith("pool/")}
    await undone(log, imported.path)
    assert contents(source) == there
