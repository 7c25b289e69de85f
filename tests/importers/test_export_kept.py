"""What an import kept beside a context stands in its place again when the context moves out."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import ait42_stores
import copilot_stores
import msgspec
import pytest
import taskerino_stores
from conversations import conversation, streamed
from copilot_stores import files_in
from jobs import Spoken, run, undone
from legacy import START, Context, stamp, stream_payload, write_gen4, write_json

import turnlog
from eventstore.content import TextPart
from eventstore.events import ContextUpdated, CustomRecorded, MessageRedacted
from turnlog.exporters import copilot_chat, openai_jsonl
from turnlog.exporters.folder import Folder
from turnlog.exporters.messages import Contents, Told, states
from turnlog.facade import Turnlog
from turnlog.importers.ait42.importer import Ait42
from turnlog.importers.conversation import Message
from turnlog.importers.copilot_chat.importer import CopilotChat
from turnlog.importers.source.keeping import fitted
from turnlog.importers.source.kept import KEPT, Values

ID: Final = UUID(copilot_stores.ID)
METADATA: Final = 200_000
PARTS: Final = 4_300_000
EVENT: Final = 7_400_000


def quiet(_: object) -> None:
    """Nobody listens."""


def context(**more: Any) -> Context:
    """A context of two messages with these members, and with what is said of the last message."""
    made = copilot_stores.plain("a", "b")
    made["config"] |= {"mode": "chat", "parameters": {}}
    made["parent_id"] = None
    made["branches"]["main"] |= {"system_prompt": None, "user_prompt": None}
    for node in made["message_pool"].values():
        node["message"] |= {"message_type": "text", "metadata": {"created_at": stamp(START)}}
    last(made).update(more.pop("message", {}))
    return made | more


def last(made: Context) -> dict[str, Any]:
    """The last message of a context."""
    return list(made["message_pool"].values())[-1]["message"]


def text(*lengths: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": f"{number}" * length} for number, length in enumerate(lengths, 1)]


def stream(*deltas: str, **more: Any) -> dict[str, Any]:
    payload = stream_payload(list(deltas), [1_000] * len(deltas)) | more
    rich = {"kind": "streaming_response", "data": payload}
    content = [{"type": "text", "text": payload["content"]}]
    return {"role": "Assistant", "content": content, "rich_type": rich}


def deep(levels: int) -> Any:
    return {"in": deep(levels - 1)} if levels else "x"


async def export(log: Turnlog, out: Path, *context_ids: UUID) -> Path:
    """Export contexts for copilot_chat."""
    with Folder(out, force=False) as folder:
        await copilot_chat.export(log, states(log, context_ids, deleted=False), folder, quiet)
    return out


async def told(log: Turnlog, context_id: UUID) -> list[Told]:
    """What an exporter is told of a context's messages."""
    contents = Contents(log, await log.queries.context(context_id))
    return [each async for page in contents.pages("main") async for each in contents.told(page)]


EMPTY: Final[dict[str, Any]] = {"name": "main", "message_ids": [], "system_prompt": None, "user_prompt": None}
LARGE: Final[dict[str, dict[str, Any]]] = {
    "a member": {"note": "n" * METADATA},
    "a text in a member": {"notes": [{"a": ["n" * METADATA]}, "short"]},
    "members of a member": {"notes": {str(n): "n" * 10 for n in range(METADATA // 10)}},
    "a list": {"notes": [n % 256 for n in range(METADATA)]},
    "a text in what is kept itself": {"notes": {str(n): "n" * 1_024 for n in range(METADATA // 100)}},
    "names that read as places": {"a.b": "1" * METADATA, "a": {"b": "2" * METADATA}, "a[0]": "3" * METADATA},
    "what is nested deeply": {"note": "n" * METADATA, "deep": deep(50)},
    "a config": {"config": {"model_id": "m", "mode": "chat", "parameters": {}, "prompt": "p" * METADATA}},
    "a config of many": {"config": {str(n): "n" * 10 for n in range(METADATA // 10)}},
    "a branch": {"branches": {"main": {**EMPTY, "system_prompt": "p" * METADATA}}},
    "a state": {"current_state": {"failed": {"error_message": "e" * METADATA * 2, "failed_at": "x"}}},
    "a title": {"title": "t" * METADATA},
    "a text": {"message": {"content": text(PARTS)}},
    "texts": {"message": {"content": text(PARTS // 2, PARTS // 2, 10)}},
    "a picture": {"message": {"content": [{"type": "image", "url": "u" * PARTS}, *text(9)]}},
    "a part that we do not know": {"message": {"content": [{"type": "odd", "odd": "o" * PARTS}]}},
    "metadata": {"message": {"metadata": {"extra": {"a.b": "n" * EVENT, "more": ["m" * 2_000]}}}},
    "usage": {"message": stream("a", "b", usage={"detail": "u" * METADATA * 2, "more": 1})},
    "usage of many": {"message": stream("a", usage={str(n): n for n in range(METADATA)})},
    "the text of a stream that is another": {"message": stream("a", content="c" * PARTS)},
    "a chunk": {"message": stream("a", "c" * 2_200_000, "b")},
}  # fmt: skip


@pytest.mark.parametrize("what", LARGE)
async def test_what_is_too_large_comes_back_as_it_was(tmp_path: Path, what: str) -> None:
    made = context(**LARGE[what])
    write_gen4(tmp_path / "source", made)
    async with turnlog.open(tmp_path / "data") as log:
        imported = await run(log, tmp_path / "source", CopilotChat())
        assert (imported.summary.failed, imported.summary.problems) == (0, 0)
        kept = [commit for commit in log.store.read_context(ID) if "import.kept" in str(commit.records)]
        assert kept or what == "a title"
        out = await export(log, tmp_path / "out", ID)
    assert files_in(out) == files_in(tmp_path / "source")
    assert copilot_stores.read(out) == copilot_stores.read(tmp_path / "source")
    async with turnlog.open(tmp_path / "other") as log:
        assert (await run(log, out, CopilotChat())).summary.verified == 1
        assert files_in(await export(log, tmp_path / "again", ID)) == files_in(out)


async def test_what_only_looks_as_if_something_were_kept_stays_as_it_is(tmp_path: Path) -> None:
    own = {"kept": "$.import.source.own", "bytes": 5}
    of_another = {"kept": "$.import.source.note", "bytes": METADATA}
    part = {"kept": f"$.messages.{ID}.parts[0]", "bytes": 5}
    made = context(
        note="n" * METADATA, own=own, other=of_another, odd={"kept": "x"}, config={"a": own, "mode": 1}
    )
    last(made).update(metadata={"extra": {"note": of_another}}, content=[{"type": "odd", **part}, part])
    write_gen4(tmp_path / "source", made)
    async with turnlog.open(tmp_path / "data") as log:
        await run(log, tmp_path / "source", CopilotChat())
        pieces: list[Any] = [
            {"place": own["kept"]},
            5,
            None,
            {"place": own["kept"], "form": "json", "pieces": 1},
        ]
        pieces.append({"place": own["kept"], "form": "json", "piece": 1, "pieces": 1, "text": "{"})
        await log.store.append(ID, [CustomRecorded(KEPT, piece) for piece in pieces])
        await log.store.append(ID, [CustomRecorded("other", {"place": own["kept"], "form": "text"})])
        assert files_in(await export(log, tmp_path / "out", ID)) == files_in(tmp_path / "source")


async def test_why_a_stream_failed_is_told_whole(tmp_path: Path) -> None:
    error = {"code": "overloaded", "detail": "e" * METADATA * 2}
    answer = Message(
        UUID(int=7), None, "main", "assistant", (), streamed=streamed("a", outcome="failed", error=error)
    )
    made = fitted(conversation(messages=(answer,), branches={"main": answer.id}))
    (tmp_path / "source").mkdir()
    async with turnlog.open(tmp_path / "data") as log:
        await run(log, tmp_path / "source", Spoken(made))
        (found,) = await told(log, made.id)
    assert found.end is not None
    assert found.end.error == error


async def test_the_last_word_of_several_copies_comes_out(tmp_path: Path) -> None:
    notes = ["one " * METADATA, "two " * METADATA * 3, "one " * METADATA * 3, "one " * METADATA]
    async with turnlog.open(tmp_path / "data") as log:
        for number, note in enumerate(notes):
            source = tmp_path / str(number) / "source"
            write_gen4(source, context(title=f"copy {number}", current_state="idle", config={"note": note}))
            imported = await run(log, source, CopilotChat())
            assert imported.summary.verified == 1
            out = await export(log, tmp_path / f"out {number}", ID)
            (document,) = out.rglob("context.json")
            assert msgspec.json.decode(document.read_bytes())["config"]["note"] == note


async def test_what_a_later_copy_says_otherwise_of_a_message_is_a_conflict_and_not_put_back(
    tmp_path: Path,
) -> None:
    write_gen4(tmp_path / "1" / "source", context(message={"content": text(PARTS)}))
    other = [{"type": "text", "text": "2" * PARTS}]
    write_gen4(tmp_path / "2" / "source", context(title="newer", message={"content": other}))
    async with turnlog.open(tmp_path / "data") as log:
        await run(log, tmp_path / "1" / "source", CopilotChat())
        (line,) = (await run(log, tmp_path / "2" / "source", CopilotChat())).contexts
        assert line.conflicts
        assert not line.verified
        (_, said) = await told(log, ID)
    assert said.parts == (TextPart("1" * PARTS),)


async def test_a_fork_and_what_was_brought_over_again_have_it_too(tmp_path: Path) -> None:
    made = context(
        note="n" * METADATA, message={"metadata": {"extra": ["m" * EVENT]}, "content": text(PARTS)}
    )
    write_gen4(tmp_path / "source", made)
    async with turnlog.open(tmp_path / "data") as log:
        imported = await run(log, tmp_path / "source", CopilotChat())
        moment = turnlog.AtVersion(log.store.version_of(ID) + 1)
        later = {"place": "$.import.source.note", "form": "text", "piece": 1, "pieces": 1, "text": "later"}
        await log.store.append(ID, [CustomRecorded("mark"), CustomRecorded(KEPT, later)])
        fork = await log.context(ID).fork(moment)
        out = files_in(await export(log, tmp_path / "fork", fork.id))
        _, was = await told(log, fork.id)
        await undone(log, imported.path)
        (line,) = (await run(log, tmp_path / "source", CopilotChat())).contexts
        assert line.context_id != ID
        again = await told(log, line.context_id)
        new = files_in(await export(log, tmp_path / "again", line.context_id))
    source = {"extra": ["m" * EVENT]}
    assert out[f"contexts/{fork.id}/context.json"]["note"] == "n" * METADATA
    assert new[f"contexts/{line.context_id}/context.json"]["note"] == "n" * METADATA
    for each in (was, again[1]):
        assert each.parts == (TextPart("1" * PARTS),)
        assert each.metadata["source"]["metadata"] == source


async def test_nothing_that_was_kept_of_a_redacted_message_comes_out(tmp_path: Path) -> None:
    made = context(message={"content": text(PARTS), "metadata": {"extra": "1" * EVENT}})
    write_gen4(tmp_path / "source", made)
    async with turnlog.open(tmp_path / "data") as log:
        await run(log, tmp_path / "source", CopilotChat())
        await log.store.append(ID, [MessageRedacted(UUID(made["branches"]["main"]["message_ids"][-1]))])
        assert "1" * 100 not in str(files_in(await export(log, tmp_path / "out", ID)))


async def test_lines_for_fine_tuning_hold_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    said = {"role": "user", "content": "a" * PARTS}
    write_json(source / "a.json", [ait42_stores.session(chatHistory=[said])])
    made = fitted(conversation(config={"system_prompt": "p" * METADATA}, workspace="w"))
    async with turnlog.open(tmp_path / "data") as log:
        (line,) = (await run(log, source, Ait42())).contexts
        await run(log, source, Spoken(made))
        with Folder(tmp_path / "out", force=False) as folder:
            ids = (line.context_id, made.id)
            await openai_jsonl.export(log, states(log, ids, deleted=False), folder, quiet)
    lines = (tmp_path / "out" / "conversations.jsonl").read_bytes().splitlines()
    first, second = (msgspec.json.decode(one)["messages"][0]["content"] for one in lines)
    assert (first, second) == ("a" * PARTS, "p" * METADATA)


async def test_tags_come_out_unless_they_were_changed(tmp_path: Path) -> None:
    tags = [f"{'t' * 90}{number}" for number in range(200)]
    taskerino_stores.put(tmp_path / "source", "sessions", [taskerino_stores.session(tags=tags)], "bare")
    (made,), _ = taskerino_stores.read(tmp_path / "source")
    async with turnlog.open(tmp_path / "data") as log:
        await run(log, tmp_path / "source", Spoken(made))
        whole = await export(log, tmp_path / "whole", made.id)
        await log.store.append(made.id, [ContextUpdated({"tags": tags[:3]})])
        changed = await export(log, tmp_path / "changed", made.id)
    found = [next(iter(files_in(out / "contexts" / str(made.id)).items()))[1] for out in (whole, changed)]
    documents = [files_in(out)[f"contexts/{made.id}/context.json"] for out in (whole, changed)]
    assert found
    assert [document["turnlog"]["tags"] for document in documents] == [tags, tags[:3]]


async def test_the_kept_values_of_one_context_are_held_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        own = f"11111111-1111-4111-8111-11111111111{number}"
        write_gen4(tmp_path / "source", context(note="n" * METADATA) | {"id": own, "message_pool": {}})
    most = 0
    begin = Values.__init__

    def counted(values: Values, *given: Any) -> None:
        nonlocal most
        begin(values, *given)
        gc.collect()
        most = max(most, sum(isinstance(each, Values) for each in gc.get_objects()))

    async with turnlog.open(tmp_path / "data") as log:
        ids = [line.context_id for line in (await run(log, tmp_path / "source", CopilotChat())).contexts]
        monkeypatch.setattr(Values, "__init__", counted)
        await export(log, tmp_path / "out", *ids)
        assert most == 1
        with Folder(tmp_path / "lines", force=False) as folder:
            await openai_jsonl.export(log, states(log, ids, deleted=False), folder, quiet)
        assert most == 1
