"""Messages that are none here, such as of an unknown role: told, kept in the log, and put back on export."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from uuid import UUID

import copilot_stores
from copilot_stores import files_in
from jobs import Imported, run
from legacy import START, Context, stamp, stream_payload, write_gen3, write_gen4, write_json

import turnlog
from eventstore.content import TextPart
from eventstore.events import BranchMoved, CustomRecorded, MessageAppended
from turnlog.exporters import copilot_chat
from turnlog.exporters.exported import Exported
from turnlog.exporters.folder import Folder
from turnlog.exporters.messages import states
from turnlog.facade import Turnlog
from turnlog.importers.copilot_chat.importer import CopilotChat

ID: Final = UUID(copilot_stores.ID)
DOCUMENT: Final = f"contexts/{ID}/context.json"


def context(*texts: str, ghost: int | None, **more: Any) -> Context:
    """A context of the user's messages, of which one is said by nobody whom we know."""
    made = copilot_stores.plain(*texts)
    made["config"] |= {"mode": "chat", "parameters": {}}
    made["parent_id"] = None
    made["branches"]["main"] |= {"system_prompt": None, "user_prompt": None}
    for node in made["message_pool"].values():
        node["message"] |= {"message_type": "text", "metadata": {"created_at": stamp(START)}}
    if ghost is not None:
        made["message_pool"][ids(made)[ghost]]["message"] |= {"role": "Ghost"} | more
    return made


def ids(made: Context) -> list[str]:
    return made["branches"]["main"]["message_ids"]


async def export(log: Turnlog, out: Path) -> Exported:
    with Folder(out, force=True) as folder:
        return await copilot_chat.export(log, states(log, [ID], deleted=False), folder, lambda _: None)


def check_told(imported: Imported, problems: int = 1) -> None:
    """The report tells of it, and the context is verified with what is kept."""
    assert [problem.code for problem in imported.problems] == ["role_unknown"] * problems
    assert not any(problem.warning for problem in imported.problems)
    assert [line.verified for line in imported.contexts] == [True]


async def test_a_message_of_an_unknown_role_comes_back_where_it_was(tmp_path: Path) -> None:
    write_gen4(tmp_path / "source", context("a", "b", "c", ghost=1))
    async with turnlog.open(tmp_path / "data") as log:
        check_told(await run(log, tmp_path / "source", CopilotChat()))
        exported = await export(log, tmp_path / "out")
        check_told(await run(log, tmp_path / "source", CopilotChat()))
    assert exported.left_out == {}
    assert files_in(tmp_path / "out") == files_in(tmp_path / "source")
    assert copilot_stores.read(tmp_path / "out") == copilot_stores.read(tmp_path / "source")


async def test_a_large_one_is_kept_whole(tmp_path: Path) -> None:
    payload = stream_payload(["word "] * 20_000, [1_000] * 20_000)
    rich = {"kind": "streaming_response", "data": payload}
    made = context("a", "b", ghost=0, rich_type=rich, content=[{"type": "text", "text": payload["content"]}])
    write_gen4(tmp_path / "pool", made)
    write_gen3(tmp_path / "whole", made)
    for layout in ("pool", "whole"):
        async with turnlog.open(tmp_path / f"data of {layout}") as log:
            check_told(await run(log, tmp_path / layout, CopilotChat()))
            await export(log, tmp_path / f"out of {layout}")
        assert files_in(tmp_path / f"out of {layout}") == files_in(tmp_path / "pool")


async def test_what_is_no_object_or_has_the_id_of_another_is_kept_too(tmp_path: Path) -> None:
    made = context("a", "b", ghost=None)
    made["message_pool"] |= {"44444444-4444-4444-8444-444444444444": "", "x": None, "y": {"id": ids(made)[0]}}
    write_gen3(tmp_path / "source", made)
    async with turnlog.open(tmp_path / "data") as log:
        imported = await run(log, tmp_path / "source", CopilotChat())
        exported = await export(log, tmp_path / "out")
        kept = [event for commit in log.store.read_context(ID) for event in commit.events()]
    assert len(imported.problems) == 3
    assert [line.verified for line in imported.contexts] == [True]
    assert sum(isinstance(event, CustomRecorded) for event in kept) == 3
    assert exported.left_out == {"message that another one has the id of": 1}
    pool = {Path(name).stem: value for name, value in files_in(tmp_path / "out").items()}
    assert pool["44444444-4444-4444-8444-444444444444"] == ""
    assert len(pool) == 5


async def test_it_stays_in_its_place_when_the_branch_goes_on_and_is_told_when_it_cannot(
    tmp_path: Path,
) -> None:
    made = context("a", "b", ghost=1)
    write_gen4(tmp_path / "source", made)
    async with turnlog.open(tmp_path / "data") as log:
        await run(log, tmp_path / "source", CopilotChat())
        new = UUID(int=9)
        await log.store.append(ID, [MessageAppended(new, "user", (TextPart("c"),))])
        gone_on = await export(log, tmp_path / "out")
        listed = files_in(tmp_path / "out")[DOCUMENT]["branches"]["main"]["message_ids"]
        assert (listed, gone_on.left_out) == ([*ids(made), str(new)], {})
        await log.store.append(ID, [BranchMoved("main", None)])
        moved = await export(log, tmp_path / "out")
    assert files_in(tmp_path / "out")[DOCUMENT]["branches"]["main"]["message_ids"] == []
    assert moved.left_out == {"place on a branch of a message that is none here": 1}
    assert (tmp_path / "out" / f"contexts/{ID}/messages_pool/{ids(made)[1]}.json").exists()


async def test_a_later_copy_adds_one_and_a_fork_has_it(tmp_path: Path) -> None:
    write_gen4(tmp_path / "1" / "source", context("a", ghost=None))
    write_gen4(tmp_path / "2" / "source", context("a", "b", ghost=1))
    async with turnlog.open(tmp_path / "data") as log:
        await run(log, tmp_path / "1" / "source", CopilotChat())
        check_told(await run(log, tmp_path / "2" / "source", CopilotChat()))
        await export(log, tmp_path / "out")
        fork = await log.context(ID).fork()
        with Folder(tmp_path / "fork", force=False) as folder:
            await copilot_chat.export(log, states(log, [fork.id], deleted=False), folder, lambda _: None)
    pool = {name: value for name, value in files_in(tmp_path / "2" / "source").items() if "pool" in name}
    assert {name: value for name, value in files_in(tmp_path / "out").items() if "pool" in name} == pool
    assert [value for name, value in sorted(files_in(tmp_path / "fork").items()) if "pool" in name] == [
        value for _, value in sorted(pool.items())
    ]


async def test_one_of_a_session_is_kept_and_its_place_told(tmp_path: Path) -> None:
    said = [{"role": role, "content": role} for role in ("user", "narrator", "assistant")]
    write_json(
        tmp_path / "source" / f"{ID}.json", {"id": str(ID), "messages": said, "created_at": stamp(START)}
    )
    async with turnlog.open(tmp_path / "data") as log:
        check_told(await run(log, tmp_path / "source", CopilotChat()))
        exported = await export(log, tmp_path / "out")
    assert exported.left_out == {"place on a branch of a message that is none here": 1}
    assert said[1] in files_in(tmp_path / "out").values()


def test_of_two_copies_in_one_source_nothing_is_lost(tmp_path: Path) -> None:
    write_gen3(tmp_path / "a", context("a", "b", "c", ghost=1))
    write_gen3(tmp_path / "b", context("a", "b", "c", "d", ghost=2))
    write_gen3(tmp_path / "c", context("a", "b", "c", ghost=1, more=1))
    (merged,), problems = copilot_stores.read(tmp_path)
    assert [problem.code for problem in problems] == ["role_unknown"] * 3
    there = {str(one.id) for one in merged.messages} | {one.data["place"][-36:] for one in merged.kept}
    assert there == set(ids(context("a", "b", "c", "d", ghost=None)))
    places = [warning.place for warning in merged.warnings if warning.code == "copies_differ"]
    assert any(place is not None and place.startswith("$.untaken.") for place in places)
    assert len(merged.files) < 3
