"""An export for copilot_chat that comes back to where it came from: nothing changed, nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from jobs import Imported, run
from legacy import Context, legacy_contexts, write_gen2, write_gen3, write_gen4

import turnlog
from eventstore.content import ReasoningPart, TextPart, ToolCallPart, ToolResultPart
from eventstore.events import (
    ChunkReceived,
    ContextCreated,
    ContextUpdated,
    Event,
    MessageAppended,
    MessageRedacted,
    StateChanged,
    StreamFinalized,
    StreamStarted,
)
from turnlog.exporters import copilot_chat
from turnlog.exporters.folder import Folder
from turnlog.exporters.messages import states
from turnlog.facade import Turnlog
from turnlog.importers.copilot_chat.importer import CopilotChat

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "copilot_chat"
C, M, N, P, Q, R = (UUID(int=number) for number in range(0xC, 0x12))

OURS: tuple[Event, ...] = (
    ContextCreated("Ours", "shop", {"system_prompt": "Be kind."}, {"a": 1}),
    MessageAppended(M, "user", (TextPart("a"), ReasoningPart("b"))),
    MessageAppended(N, "assistant", (ToolCallPart("1", "look", '{"b":1}'),), metadata={"x": 1}),
    MessageAppended(P, "tool", (ToolResultPart("1", {"found": True}),)),
    StreamStarted(Q, model="model-1"),
    ChunkReceived(Q, 1, "so "),
    ChunkReceived(Q, 2, "far"),
    StreamFinalized(Q, "failed", error={"code": "overloaded"}),
    MessageAppended(R, "user", (TextPart("secret"),)),
    MessageRedacted(R),
    ContextUpdated({"tags": ["x"]}),
    StateChanged("waiting", {"for": "a person"}),
)


async def export(log: Turnlog, out: Path, *context_ids: UUID) -> Path:
    with Folder(out, force=False) as folder:
        await copilot_chat.export(log, states(log, context_ids, deleted=False), folder, lambda _: None)
    return out


def check_unchanged(imported: Imported) -> None:
    """Every context was there already, and nothing was written."""
    assert not imported.problems
    for line in imported.contexts:
        assert (line.status, line.verified) == ("unchanged", True)
        assert (line.difference_count, line.conflicts, line.messages_written) == (0, (), 0)


def edit(out: Path, name: str, **members: Any) -> None:
    """Change what an exported file says."""
    (path,) = out.rglob(f"{name}.json")
    value = json.loads(path.read_bytes())
    value.get("message", value).update(members)
    path.write_text(json.dumps(value))


async def test_what_was_never_imported_is_here_already(tmp_path: Path) -> None:
    async with turnlog.open(tmp_path / "data") as log:
        await log.store.append(C, OURS)
        long = MessageAppended(UUID(int=1), "user", (TextPart("a" * 4_300_000),))
        await log.store.append(C, [long])
        fork = await log.context(C).fork()
        await fork.append_message("user", "only here")
        before = log.store.head().position
        imported = await run(log, await export(log, tmp_path / "out", C, fork.id), CopilotChat())
        assert log.store.head().position == before
    assert len(imported.contexts) == 2
    check_unchanged(imported)


async def test_what_was_imported_from_the_samples_is_here_already(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("conversations", "pool"):
        shutil.copytree(FIXTURES / name, source / name)
    async with turnlog.open(tmp_path / "data") as log:
        ids = [line.context_id for line in (await run(log, source, CopilotChat())).contexts]
        for each in list(ids):
            ids.append((await log.context(each).fork()).id)
            await log.store.append(ids[-1], [StateChanged("idle")])
        before = log.store.head().position
        out = await export(log, tmp_path / "out", *ids)
        check_unchanged(await run(log, out, CopilotChat()))
        assert log.store.head().position == before


@pytest.mark.parametrize("write", [write_gen2, write_gen3, write_gen4])
@settings(max_examples=10)
@given(context=legacy_contexts(streaming=False))
async def test_any_context_is_here_already(
    context: Context, write: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp = tmp_path_factory.mktemp("own")
    write(tmp / "source", context)
    async with turnlog.open(tmp / "data") as log:
        (line,) = (await run(log, tmp / "source", CopilotChat())).contexts
        check_unchanged(await run(log, await export(log, tmp / "out", line.context_id), CopilotChat()))


async def test_an_export_of_before_is_here_already(tmp_path: Path) -> None:
    async with turnlog.open(tmp_path / "data") as log:
        await log.store.append(C, OURS)
        out = await export(log, tmp_path / "out", C)
        await log.context(C).append_message("user", "and on")
        before = log.store.head().position
        check_unchanged(await run(log, out, CopilotChat()))
        assert log.store.head().position == before


async def test_what_was_changed_in_the_files_is_told_and_nothing_else(tmp_path: Path) -> None:
    async with turnlog.open(tmp_path / "data") as log:
        await log.store.append(C, OURS)
        out = await export(log, tmp_path / "out", C)
        edit(out, str(P), role="User")
        edit(out, "context", title="Theirs")
        (line,) = (await run(log, out, CopilotChat())).contexts
        assert (line.status, line.verified, line.messages_written) == ("updated", False, 0)
        assert {each.message_id for each in line.conflicts} == {P}
        assert "role" in {each.field for each in line.conflicts}
        assert line.difference_count == 0
        assert (await log.queries.context(C)).title == "Theirs"


async def test_what_was_added_to_the_files_is_all_that_is_new(tmp_path: Path) -> None:
    async with turnlog.open(tmp_path / "data") as log:
        await log.store.append(C, OURS)
        out = await export(log, tmp_path / "out", C)
        new = {"id": str(UUID(int=9)), "parent_id": str(R), "message": {"role": "User", "content": "new"}}
        (out / f"contexts/{C}/messages_pool/{UUID(int=9)}.json").write_text(json.dumps(new))
        branches = json.loads((out / f"contexts/{C}/context.json").read_bytes())["branches"]
        branches["main"]["message_ids"].append(new["id"])
        edit(out, "context", branches=branches)
        (line,) = (await run(log, out, CopilotChat())).contexts
    assert (line.status, line.verified, line.messages_written) == ("updated", True, 1)
    assert line.conflicts == ()
