"""The whole of an import: backed up, brought over in batches, verified, reported, deleted, undone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from conversations import Plain, conversation, identifier, streamed, write
from jobs import Spoken, contents, run, undone
from msgspec.structs import replace

import turnlog
from eventstore.content import DataPart, TextPart
from eventstore.errors import Refused, Unavailable
from eventstore.events import ContextDeleted
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Conversation, Kept, Message, Problem
from turnlog.importers.job import backup as backups
from turnlog.importers.job import batches, planning, reading
from turnlog.importers.job.report import ContextLine, Line
from turnlog.importers.job.running import Order, look
from turnlog.importers.job.undoing import plan_undoing
from turnlog.importers.source.files import Source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


async def test_contexts_are_brought_over_and_verified(log: Turnlog, source: Path) -> None:
    write(source, [conversation(n, texts=4) for n in range(5)])
    imported = await run(log, source)
    summary = imported.summary
    assert (summary.contexts, summary.created, summary.verified, summary.failed) == (5, 5, 5, 0)
    assert (summary.messages, summary.messages_written) == (20, 20)
    assert (summary.chunks, summary.chunks_written) == (30, 30)
    assert not summary.has_failed
    page = await log.queries.contexts()
    assert {context.id for context in page.items} == {identifier(n) for n in range(5)}


async def test_a_second_run_changes_nothing(log: Turnlog, source: Path) -> None:
    write(source, [conversation(n) for n in range(3)])
    await run(log, source)
    head = log.store.head()
    again = await run(log, source)
    assert log.store.head() == head
    assert (again.summary.unchanged, again.summary.verified, again.summary.messages_written) == (3, 3, 0)
    assert not any(line.created for line in again.contexts)


async def test_many_contexts_share_batches_and_two_copies_of_one_do_not(log: Turnlog, source: Path) -> None:
    first = [conversation(n, texts=1) for n in range(reading.BATCH_CONTEXTS + 10)]
    newer = conversation(3, texts=3)
    write(source, [])
    imported = await run(log, source, Spoken(*first, newer, first[3]))
    assert imported.summary.created == len(first)
    assert [line.status for line in imported.contexts[-2:]] == ["updated", "unchanged"]
    assert all(line.verified for line in imported.contexts)
    assert (await log.queries.context(newer.id)).message_count == 3


@pytest.mark.parametrize("where", ["chunks", "data", "metadata", "attributes", "kept", "surrogate"])
async def test_a_batch_is_bounded_by_all_that_its_contexts_hold(
    where: str, log: Turnlog, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BATCH_BYTES", 100_000)
    large, message = "x" * 60_000, conversation(texts=1).messages[0]
    inside: dict[str, dict[str, Any]] = {
        "chunks": {"parts": (), "streamed": streamed(large)},
        "data": {"parts": (DataPart({"large": large}),)},
        "metadata": {"metadata": {"large": large}},
        "surrogate": {"parts": (TextPart("\ud800"),)},
    }
    beside: dict[str, dict[str, Any]] = {
        "attributes": {"attributes": {"large": large}},
        "kept": {"kept": (Kept("large", {"large": large}),)},
    }
    read = 0

    class Counting(Plain):
        def read(self, source: Source) -> Iterator[Conversation | Problem]:
            nonlocal read
            for number in range(5):
                read += 1
                one = replace(message, id=identifier("m", number), **inside.get(where, {}))
                fields: dict[str, Any] = {"messages": (one,), "branches": {"main": one.id}}
                yield conversation(number, **(fields | beside.get(where, {})))

    write(source, [])
    lines = batches.bring_over(log, Source(source), [Counting()], batches.Settings("run"), set())
    await anext(lines)
    assert read == (1 if where == "surrogate" else 2), "what cannot be measured is a batch by itself"
    await lines.aclose()


async def test_what_was_changed_here_since_is_no_failure_of_the_next_run(log: Turnlog, source: Path) -> None:
    copy = conversation()
    write(source, [copy])
    await run(log, source)
    context = log.context(copy.id)
    await context.update({"title": "named here"})
    await context.append_message("user", "said here")
    await context.branch("mine")
    again = await run(log, source)
    assert (again.summary.unchanged, again.summary.verified) == (1, 1)


async def test_what_cannot_be_stored_fails_alone(log: Turnlog, source: Path) -> None:
    good, orphan = conversation("good"), conversation("orphan")
    orphan = replace(orphan, messages=(replace(orphan.messages[0], parent_id=UUID(int=1)),))
    lone = conversation("lone", texts=1)
    lone = replace(lone, messages=(replace(lone.messages[0], parts=(TextPart("\ud800"),)),))
    huge = conversation("huge", config={"prompt": "x" * 300_000})
    write(source, [])
    imported = await run(log, source, Spoken(orphan, lone, huge, good))
    assert [line.status for line in imported.contexts] == ["failed", "failed", "failed", "created"]
    codes = [line.error.code for line in imported.contexts if line.error is not None]
    assert codes == ["parent_not_found", "invalid_event", "context_metadata_too_large"]
    assert imported.summary.has_failed
    assert [log.store.version_of(each.id) for each in (orphan, lone, huge)] == [0, 0, 0]


async def test_a_context_of_many_commits_is_there_whole_or_not_at_all(
    log: Turnlog, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "COMMIT_EVENTS_MAX", 3)
    good, orphan = conversation("good", texts=6), conversation("orphan", texts=6)
    last = replace(orphan.messages[-1], parent_id=UUID(int=1))
    orphan = replace(orphan, messages=(*orphan.messages[:-1], last))
    write(source, [])
    imported = await run(log, source, Spoken(orphan, good))
    assert [line.status for line in imported.contexts] == ["failed", "created"]
    assert (log.store.version_of(orphan.id), imported.summary.verified) == (0, 1)
    commits = list(log.store.read())
    assert len(commits) > 4
    assert [commit.together for commit in commits] == [False, *[True] * (len(commits) - 1)]
    more = conversation("good", texts=12)
    later = (await run(log, source, Spoken(more))).contexts[0]
    assert (later.status, later.verified) == ("updated", True)
    added = [commit.together for commit in log.store.read(len(commits))]
    assert added == [False, *[True] * (len(added) - 1)]


async def test_a_file_that_does_not_parse_is_a_problem_and_the_rest_goes_on(
    log: Turnlog, source: Path
) -> None:
    write(source, [conversation()])
    (source / "broken.conversation").write_bytes(b"\xc1")
    imported = await run(log, source)
    assert [(line.path, line.code, line.place) for line in imported.problems] == [
        ("broken.conversation", "not_msgpack", "$")
    ]
    assert (imported.summary.created, imported.summary.problems) == (1, 1)
    assert imported.summary.has_failed


async def test_warnings_are_counted_and_fail_nothing(log: Turnlog, source: Path) -> None:
    open_stream = Message(identifier(1), None, "main", "assistant", (), streamed=streamed("a", outcome=None))
    told = (Problem("x", "orphan", "kept on no branch", "$.pool"),)
    copy = conversation(messages=(open_stream,), branches={"main": open_stream.id}, warnings=told)
    write(source, [])
    note = Problem("y", "not_a_conversation", "skipped", warning=True)
    imported = await run(log, source, Spoken(note, copy))
    (line,) = imported.contexts
    assert [warned.code for warned in line.warnings] == ["orphan", "stream_interrupted"]
    assert (imported.summary.warnings, imported.summary.has_failed) == (3, False)


async def test_only_some_contexts_are_imported_and_missing_ones_told(log: Turnlog, source: Path) -> None:
    write(source, [conversation(n) for n in range(3)])
    only = {each: str(each) for each in (identifier(1), UUID(int=9))}
    imported = await run(log, source, only=only)
    assert [line.context_id for line in imported.contexts] == [identifier(1)]
    assert [(line.code, line.context_id) for line in imported.problems] == [
        ("context_not_found", UUID(int=9))
    ]


async def test_a_workspace_may_be_chosen(log: Turnlog, source: Path) -> None:
    write(source, [conversation(workspace="theirs")])
    imported = await run(log, source, workspace="ours")
    assert imported.summary.verified == 1
    assert (await log.queries.context(identifier("one"))).workspace == "ours"
    assert (await run(log, source, workspace="ours")).summary.verified == 1


async def test_a_dry_run_says_what_would_happen_and_writes_nothing(log: Turnlog, source: Path) -> None:
    copy = conversation(texts=2)
    write(source, [copy])
    order = Order(Source(source), (Plain(),))
    for opened in (None, log):
        lines: list[Line] = []
        summary = await look(opened, order, lines.append)
        assert (summary.created, summary.messages_written, summary.chunks_written) == (1, 2, 3)
        assert (summary.verified, summary.has_failed) == (0, False)
    assert log.store.head().position == 0
    await run(log, source)
    write(source, [conversation(texts=3)])
    summary = await look(log, order, lambda line: None)
    assert (summary.created, summary.updated, summary.messages_written) == (0, 1, 1)


async def test_a_dry_run_tells_what_would_fail(log: Turnlog, source: Path) -> None:
    copies = [conversation(n, texts=2) for n in range(3)]
    write(source, copies)
    await run(log, source)
    first, *rest = copies[0].messages
    changed = replace(first, parts=(TextPart("otherwise"),))
    more = conversation(1, texts=3)
    write(source, [replace(copies[0], messages=[changed, *rest]), more])
    lines: list[Line] = []
    dry = await look(log, Order(Source(source), (Plain(),)), lines.append)
    real = (await run(log, source)).summary
    for summary in (dry, real):
        counts = (summary.contexts, summary.created, summary.updated, summary.unchanged, summary.failed)
        assert counts == (3, 0, 1, 1, 1)
    (failed,) = [line for line in lines if isinstance(line, ContextLine) and line.failed]
    assert {each.field for each in failed.differences} == {"parts/0/text", "text"}


async def test_files_are_deleted_only_when_all_in_them_is_verified(log: Turnlog, source: Path) -> None:
    bad = conversation("bad", config={"prompt": "x" * 300_000})
    write(source, [conversation("good")], "good.conversation")
    write(source, [conversation("beside"), bad], "mixed.conversation")
    (source / "broken.conversation").write_bytes(b"\xc1")
    imported = await run(log, source, delete=True)
    assert sorted(contents(source)) == ["broken.conversation", "mixed.conversation"]
    assert {path: (line.deleted, line.reason) for path, line in imported.files.items()} == {
        "good.conversation": (True, None),
        "mixed.conversation": (False, "not_verified"),
    }


async def test_a_file_that_changed_since_the_backup_is_kept(log: Turnlog, source: Path) -> None:
    write(source, [conversation()])
    (name,) = contents(source)

    class Changing(Plain):
        def read(self, source: Source) -> Iterator[Conversation | Problem]:
            yield from super().read(source)
            with source.path(name).open("ab") as file:
                file.write(b"more")

    imported = await run(log, source, Changing(), delete=True)
    assert imported.files[name].reason == "changed"
    assert (source / name).exists()


async def test_undoing_deletes_the_contexts_and_puts_the_files_back(log: Turnlog, source: Path) -> None:
    before = conversation("before")
    write(source, [before])
    await run(log, source)
    write(source, [conversation(n) for n in range(3)])
    there = contents(source)
    imported = await run(log, source, delete=True)
    assert contents(source) == {}
    outcomes = await undone(log, imported.path)
    assert contents(source) == there
    assert {name: outcome for name, outcome in outcomes.items() if isinstance(name, UUID)} == {
        identifier(n): "deleted" for n in range(3)
    }
    assert [context.id for context in (await log.queries.contexts()).items] == [before.id]
    assert set((await undone(log, imported.path)).values()) == {"there", "deleted_before"}


async def test_what_was_undone_is_imported_again_under_other_ids(log: Turnlog, source: Path) -> None:
    write(source, [conversation(n, texts=4) for n in range(2)])
    sources = {identifier(0), identifier(1)}
    seen = set[UUID]()
    for _ in range(3):
        imported = await run(log, source)
        assert (imported.summary.created, imported.summary.verified) == (2, 2)
        assert {line.source_id for line in imported.contexts} == sources
        ids = {line.context_id for line in imported.contexts}
        assert not ids & seen
        seen |= ids
        assert {context.id for context in (await log.queries.contexts()).items} == ids
        again = await run(log, source)
        assert (again.summary.unchanged, again.summary.verified) == (2, 2)
        assert set((await undone(log, imported.path)).values()) == {"deleted"}
    write(source, [conversation(n, texts=6) for n in range(2)])
    longer = await run(log, source, delete=True)
    assert (longer.summary.created, longer.summary.messages, longer.summary.files_deleted) == (2, 12, 2)
    noted = (await log.queries.context(longer.contexts[0].context_id)).attributes["import"]
    assert isinstance(noted, dict)
    assert noted["source_id"] == str(longer.contexts[0].source_id)


async def test_what_was_deleted_by_hand_is_not_brought_back(log: Turnlog, source: Path) -> None:
    write(source, [conversation()])
    await run(log, source)
    await log.store.append(identifier("one"), [ContextDeleted("no longer wanted")])
    again = await run(log, source, delete=True)
    (line,) = again.contexts
    assert line.error is not None
    assert (line.status, line.error.code) == ("failed", "context_deleted")
    assert str(line.context_id) in line.error.message
    assert len(contents(source)) == 1


async def test_undoing_overwrites_nothing(log: Turnlog, source: Path) -> None:
    write(source, [conversation()])
    (name,) = contents(source)
    imported = await run(log, source, delete=True)
    (source / name).write_text("mine")
    outcomes = await undone(log, imported.path)
    assert outcomes[name] == "another file is there"
    assert outcomes[identifier("one")] == "its file could not be put back: it stays"
    assert (source / name).read_text() == "mine"
    assert not (await log.queries.context(identifier("one"))).deleted
    (source / name).unlink()
    assert await undone(log, imported.path) == {name: "restored", identifier("one"): "deleted"}


async def test_undoing_needs_the_report_of_this_store(log: Turnlog, source: Path, tmp_path: Path) -> None:
    write(source, [conversation()])
    imported = await run(log, source)
    async with turnlog.open(tmp_path / "other") as other:
        with pytest.raises(Refused, match="another store"):
            await plan_undoing(other, imported.path)
    dry = tmp_path / "dry.ndjson"
    await look(log, Order(Source(source), (Plain(),), report=dry), lambda line: None)
    with pytest.raises(Refused, match="dry run"):
        await plan_undoing(log, dry)
    dry.write_text("{}\n")
    with pytest.raises(Refused, match="no report"):
        await plan_undoing(log, dry)


async def test_an_interrupted_import_is_gone_on_with_and_undone_whole(log: Turnlog, source: Path) -> None:
    write(source, [conversation(n) for n in range(6)])

    class Interrupted(Plain):
        def read(self, source: Source) -> Iterator[Conversation | Problem]:
            for number, item in enumerate(super().read(source)):
                if number == 4:
                    raise KeyboardInterrupt
                yield item

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "BATCH_CONTEXTS", 2)
        with pytest.raises(KeyboardInterrupt):
            await run(log, source, Interrupted())
    (cut,) = source.parent.glob("backups/*/report-1.ndjson")
    assert len((await plan_undoing(log, cut)).context_ids) == 4
    cut.write_bytes(cut.read_bytes().splitlines(keepends=True)[0])  # killed before it told of them
    assert len((await plan_undoing(log, cut)).context_ids) == 4
    imported = await run(log, source)
    assert (imported.summary.created, imported.summary.unchanged) == (2, 4)
    assert imported.header.run.endswith(".1")
    assert sum(line.created for line in imported.contexts) == 6
    await undone(log, imported.path)
    assert (await log.queries.contexts()).items == []


def test_a_backup_is_made_once_and_verified_each_time(source: Path, tmp_path: Path) -> None:
    write(source, [conversation(n) for n in range(3)])
    (source / "below").mkdir()
    (source / "below" / "more.json").write_text("{}")
    os.symlink("/etc/passwd", source / "link")
    first = backups.back_up(Source(source), tmp_path / "backups")
    assert (first.files, first.path.name[:7]) == (4, "source-")
    assert (first.path / "files" / "below" / "more.json").read_text() == "{}"
    assert not (first.path / "files" / "link").exists()
    assert backups.back_up(Source(source), tmp_path / "backups") == first
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [first.path.name]
    (first.path / "files" / "below" / "more.json").write_text("[]")
    with pytest.raises(Unavailable, match="not the same"):
        backups.back_up(Source(source), tmp_path / "backups")


def test_a_single_file_is_backed_up_and_put_back(source: Path, tmp_path: Path) -> None:
    write(source, [conversation()], "one.conversation")
    file = source / "one.conversation"
    backup = backups.back_up(Source(file), tmp_path / "backups")
    content = file.read_bytes()
    file.unlink()
    outcomes = dict(backups.restore(backup.path, file, iter([file.name]), is_file=True))
    assert outcomes == {file.name: "restored"}
    assert file.read_bytes() == content


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", ""])
def test_a_manifest_leads_nowhere_else(name: str, tmp_path: Path) -> None:
    entry = {"path": name, "bytes": 0, "sha256": ""}
    (tmp_path / "manifest.ndjson").write_bytes(msgspec.json.encode(entry) + b"\n")
    with pytest.raises(Refused, match="leads out"):
        list(backups.restore(tmp_path, tmp_path / "source", iter([name]), is_file=False))
