"""What came from copilot_chat goes back as it was; what did not is told in its words, as of one moment."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
from commands import Terminal
from copilot_stores import files_in
from hypothesis import given, settings
from legacy import Context, legacy_contexts, write_gen4, write_json

import turnlog
from eventstore.content import TextPart
from eventstore.events import (
    ChunkReceived,
    ContextCreated,
    Event,
    MessageAppended,
    MessageRedacted,
    StreamFinalized,
    StreamStarted,
)
from eventstore.log import Log
from projections.answers import ContextState
from turnlog.exporters import copilot_chat
from turnlog.exporters.folder import Folder
from turnlog.exporters.messages import states
from turnlog.facade import Turnlog
from turnlog.importers.copilot_chat.importer import CopilotChat
from turnlog.importers.job.backup import back_up
from turnlog.importers.job.running import Order, run_import
from turnlog.importers.source.files import Source, stable_id

POOL: Final = Path(__file__).resolve().parents[1] / "fixtures" / "copilot_chat" / "pool"
C, D, M, N, P = UUID(int=0xC), UUID(int=0xD), UUID(int=1), UUID(int=2), UUID(int=3)


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(data_dir, capsys)


def quiet(_: object) -> None:
    """Nobody listens."""


async def bring(log: Turnlog, source: Path) -> None:
    """Import a source."""
    order = Order(Source(source), (CopilotChat(),))
    summary = await run_import(log, order, back_up(order.source, source.parent / "backups"), quiet)
    assert not summary.has_failed


async def export(log: Turnlog, out: Path, *context_ids: UUID) -> None:
    """Export contexts for copilot_chat."""
    with Folder(out, force=False) as folder:
        await copilot_chat.export(log, states(log, context_ids, deleted=False), folder, quiet)


def message(out: Path, context_id: UUID, message_id: UUID) -> dict[str, Any]:
    """A message as it was exported."""
    path = out / "contexts" / str(context_id) / "messages_pool" / f"{message_id}.json"
    return msgspec.json.decode(path.read_bytes())["message"]


async def append(log: Turnlog, context_id: UUID, *events: Event) -> None:
    await log.store.append(context_id, events)


async def test_a_pool_that_was_imported_comes_back_as_it_was(data_dir: Path, tmp_path: Path) -> None:
    (folder,) = (POOL / "contexts").iterdir()
    source = Path(shutil.copytree(POOL, tmp_path / "pool"))  # the backup goes beside it
    async with turnlog.open(data_dir) as log:
        await bring(log, source)
        await export(log, tmp_path / "out", UUID(folder.name))
    assert files_in(tmp_path / "out") == files_in(POOL)


@settings(max_examples=25)
@given(context=legacy_contexts())
async def test_any_context_comes_back_as_it_was(
    context: Context, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp = tmp_path_factory.mktemp("again")
    write_gen4(tmp / "source", context)
    async with turnlog.open(tmp / "data") as log:
        await bring(log, tmp / "source")
        await export(log, tmp / "out", UUID(context["id"]))
    assert files_in(tmp / "out") == files_in(tmp / "source")


NOTE: Final[dict[str, Any]] = {"format": "copilot_chat", "origin": "x", "source": {}}


async def test_what_is_written_meanwhile_is_left_to_the_next_export(data_dir: Path, tmp_path: Path) -> None:
    async with turnlog.open(data_dir) as log:
        start = (ContextCreated(), MessageAppended(M, "user", (TextPart("first"),)), StreamStarted(N))
        await append(log, C, *start, ChunkReceived(N, 1, "so "))

        async def contexts() -> AsyncIterator[ContextState]:
            yield (await log.queries.context(C))
            await append(log, C, MessageAppended(D, "user"))

        async def then_more() -> AsyncIterator[ContextState]:
            state = await log.queries.context(C)
            await append(log, C, ChunkReceived(N, 2, "far"), MessageAppended(P, "user"))
            yield state

        with Folder(tmp_path / "out", force=True) as folder:
            await copilot_chat.export(log, then_more(), folder, quiet)
            found = files_in(folder.path)
            pool = f"contexts/{C}/messages_pool"
            assert sorted(found) == [f"contexts/{C}/context.json", f"{pool}/{M}.json", f"{pool}/{N}.json"]
            said = message(folder.path, C, N)
            assert (said["rich_type"]["data"]["content"], len(said["rich_type"]["data"]["chunks"])) == (
                "so ",
                1,
            )
            await copilot_chat.export(log, contexts(), folder, quiet)
        assert len(files_in(tmp_path / "out")) == 4


async def test_only_a_context_that_was_imported_has_messages_of_theirs(
    data_dir: Path, tmp_path: Path
) -> None:
    kept = {"source": {"later": 2, "message_type": "odd"}, "import": {"message_type": "odder"}}
    said = MessageAppended(M, "user", (TextPart("a"),), metadata=kept)
    async with turnlog.open(data_dir) as log:
        for context_id, note in ((C, NOTE), (D, {**NOTE, "format": "ait42"})):
            message_id = M if context_id == C else N
            own = msgspec.structs.replace(said, message_id=message_id)
            await append(log, context_id, ContextCreated(attributes={"import": note}), own)
        await export(log, tmp_path / "out", C, D)
        fork = await log.context(C).fork()
        await fork.append_message("user", "new", message_id=P)
        await export(log, tmp_path / "forked", fork.id)
    theirs, ours = message(tmp_path / "out", C, M), message(tmp_path / "out", D, N)
    assert (theirs["later"], theirs["message_type"], theirs["metadata"]) == (2, "odd", None)
    assert (ours.get("later"), ours["message_type"]) == (None, "text")
    assert ours["metadata"]["extra"]["turnlog"] == {"metadata": kept}
    assert message(tmp_path / "forked", fork.id, M) == theirs
    assert message(tmp_path / "forked", fork.id, P)["metadata"]["source"] == "user_input"


async def test_errors_and_redactions_are_told(data_dir: Path, tmp_path: Path) -> None:
    failed = StreamFinalized(N, "failed", error={"code": "overloaded"})
    quoting = StreamFinalized(P, "failed", error={"said": "secret"})
    async with turnlog.open(data_dir) as log:
        await append(log, C, ContextCreated(), StreamStarted(N), failed, StreamStarted(P), quoting)
        await append(log, C, MessageRedacted(P))
        created = ContextCreated(attributes={"import": NOTE})
        await append(log, D, created, MessageAppended(M, "user", metadata={"source": {"a": "secret"}}))
        await append(log, D, MessageRedacted(M))
        await export(log, tmp_path, C, D)
    told = message(tmp_path, C, N)["metadata"]["extra"]["turnlog"]
    assert told == {"outcome": "failed", "error": {"code": "overloaded"}}
    assert message(tmp_path, C, P)["metadata"]["extra"]["turnlog"] == {"outcome": "failed", "redacted": True}
    assert message(tmp_path, D, M)["metadata"]["extra"]["turnlog"] == {"redacted": True}
    assert "secret" not in str(files_in(tmp_path))


async def test_neighbours_are_decoded_once_and_made_durable_together(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    synced: list[int] = []
    commit_of, fsync = Log.commit_of, os.fsync

    def counted(log: Log, txn: Any, context_id: UUID, version: int) -> Any:
        decoded.append(version)
        return commit_of(log, txn, context_id, version)

    def noted(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    async with turnlog.open(data_dir) as log:
        messages = [MessageAppended(UUID(int=n), "user", (TextPart("a"),)) for n in range(1, 101)]
        await append(log, C, ContextCreated(), *messages)
        await log.queries.context(C)
        monkeypatch.setattr(Log, "commit_of", counted)
        monkeypatch.setattr(os, "fsync", noted)
        await export(log, tmp_path / "out", C)
        monkeypatch.undo()
    assert len(decoded) == 1
    there = {path.stat().st_ino for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]}
    assert there <= set(synced)
    assert len(synced) <= len(there) + 1


def test_what_somebody_put_among_the_messages_takes_force(
    data_dir: Path, terminal: Terminal, tmp_path: Path
) -> None:
    terminal.ok("demo", "--speed", "0")
    export = ("export", "@latest", "--format", "copilot_chat", "--out", tmp_path / "out")
    terminal.ok(*export)
    (document,) = (tmp_path / "out").rglob("context.json")
    document.unlink()
    precious = document.parent / "messages_pool" / "mine.json"
    for path in precious.parent.iterdir():
        path.unlink()
    precious.write_text("{}")
    ran = terminal(*export, "--json")
    assert (ran.code, ran.error["code"]) == (4, "output_exists")
    assert list(precious.parent.iterdir()) == [precious]
    terminal.ok(*export, "--force")
    assert not precious.exists()


CALL: Final = {"id": "1", "name": "t", "arguments": {"p": [1]}}
AT: Final = "2025-11-01T10:00:00.000001Z"
RICH: Final[dict[str, dict[str, Any]]] = {
    "tool_request": {"calls": [CALL], "approval_status": "denied", "requested_at": AT},
    "m_c_p_tool_request": {
        "server_name": "s",
        "tool_name": "t",
        "arguments": {},
        "request_id": "1",
        "approval_status": "pending",
        "requested_at": AT,
    },
    "tool_result": {"request_id": "1", "result": {"x": 1}, "status": "timeout", "executed_at": AT},
    "m_c_p_tool_result": {"request_id": "1", "result": "r", "status": "failed", "executed_at": AT},
    "image": {"image_data": {"url": "u"}, "recognition_mode": "o_c_r"},
    "file_reference": {"path": "p", "line_range": [1, 2]},
    "workflow_execution": {"workflow_name": "w", "status": "running", "started_at": AT},
}


@pytest.mark.parametrize("pascal", [False, True])
@pytest.mark.parametrize("kind", RICH)
async def test_every_rich_type_comes_back_as_it_was(
    data_dir: Path, tmp_path: Path, kind: str, pascal: bool
) -> None:
    spelled = "".join(word.capitalize() for word in kind.split("_")) if pascal else kind
    body = {
        "role": "Assistant",
        "content": [{"type": "text", "text": "a"}],
        "metadata": None,
        "message_type": "text",
        "rich_type": {"kind": spelled, "data": RICH[kind]},
    }
    context: Context = {
        "id": str(C),
        "parent_id": None,
        "config": {"model_id": "m", "mode": "chat", "parameters": {}},
        "message_pool": {str(M): {"id": str(M), "message": body, "parent_id": None}},
        "branches": {
            "main": {"name": "main", "message_ids": [str(M)], "system_prompt": None, "user_prompt": None}
        },
        "active_branch_name": "main",
        "current_state": "idle",
    }
    write_gen4(tmp_path / "source", context)
    async with turnlog.open(data_dir) as log:
        await bring(log, tmp_path / "source")
        await export(log, tmp_path / "out", C)
    assert message(tmp_path / "out", C, M) == body


async def test_a_session_goes_out_as_a_context_that_they_can_read(data_dir: Path, tmp_path: Path) -> None:
    session = {"id": "chat-1", "model": "m", "messages": [{"role": "user", "content": "a"}], "created_at": AT}
    write_json(tmp_path / "source" / "chat-1.json", session)
    context_id = stable_id("copilot_chat", "chat-1")
    async with turnlog.open(data_dir) as log:
        await bring(log, tmp_path / "source")
        await export(log, tmp_path / "out", context_id)
        document = tmp_path / "out" / "contexts" / str(context_id) / "context.json"
        told = msgspec.json.decode(document.read_bytes())
        assert told["id"] == str(context_id)
        assert told["config"] == {"model_id": "m", "mode": "chat", "parameters": {}, "agent_role": "actor"}
        order = Order(Source(tmp_path / "out"), (CopilotChat(),))
        summary = await run_import(log, order, back_up(order.source, tmp_path / "backups"), quiet)
    assert (summary.unchanged, summary.failed) == (1, 0)
