"""Conversations that are in files while they are imported come over as any other, here and read apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import ait42_stores
import msgspec
import pytest
import taskerino_stores
from conversations import conversations
from hypothesis import given
from jobs import run, undone

from eventstore import spool
from eventstore.spool import HELD_BYTES_MAX, Spool
from projections import following
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Conversation, Message
from turnlog.importers.detecting import FORMATS
from turnlog.importers.job.apart import reading_apart
from turnlog.importers.job.reading import Batch, batches, read
from turnlog.importers.source import pieces
from turnlog.importers.source.files import Source
from turnlog.importers.source.pieces import WHOLE_BYTES_MAX, decode_large
from turnlog.importers.source.rows import Place

FIXTURES: Final = Path(__file__).resolve().parents[1] / "fixtures"
IMPORTERS: Final = tuple(FORMATS[name].importer for name in ("copilot_chat", "ait42", "taskerino"))
MESSAGES: Final = 30
MESSAGE_BYTES: Final = HELD_BYTES_MAX // 20


@pytest.fixture
def in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every conversation is a long one, whose rows in the views are staged."""
    monkeypatch.setattr(spool, "HELD_BYTES_MAX", -1)
    monkeypatch.setattr(following, "STAGED_BYTES", 1)


def batches_of(folder: Path) -> list[Batch]:
    return list(batches(read(Source(folder), IMPORTERS, None, set())))


def spools_in(found: list[Batch]) -> int:
    """Conversations whose messages are in a file."""
    read_ = [one for batch in found for one in batch.conversations.values()]
    return sum(isinstance(one.conversation.messages, Spool) for one in read_)


def pool(folder: Path) -> Path:
    """A context of several files, together more than memory is to hold; one of them is no message."""
    ids = [f"11111111-1111-4111-8111-{n:012}" for n in range(MESSAGES)]
    context = folder / "contexts" / "22222222-2222-4222-8222-222222222222"
    (context / "messages_pool").mkdir(parents=True)
    document: dict[str, Any] = {
        "id": context.name,
        "config": {},
        "branches": {"main": {"message_ids": ids}},
        "active_branch_name": "main",
    }
    (context / "context.json").write_text(json.dumps(document))
    for n, own in enumerate(ids):
        text = f"{n} " * (MESSAGE_BYTES // len(f"{n} "))
        role = "User" if n != MESSAGES // 2 else "Nobody"
        message = {"role": role, "content": [{"type": "text", "text": text}], "odd": n}
        node = {"id": own, "parent_id": ids[n - 1] if n else None, "message": message}
        (context / "messages_pool" / f"{own}.json").write_text(json.dumps(node))
    return folder


@pytest.mark.usefixtures("in_files")
def test_they_are_read_as_they_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FIXTURES / "copilot_chat", tmp_path / "copilot_chat")
    shutil.copytree(FIXTURES / "ait42", tmp_path / "ait42")
    chat = [ait42_stores.message(n, instanceId=n % 2) for n in range(MESSAGES)]
    session = ait42_stores.session(instances=[ait42_stores.instance(n) for n in range(2)], chatHistory=chat)
    for name, schema in (("a", ait42_stores.SCHEMA_A), ("b", ait42_stores.SCHEMA_B)):
        ait42_stores.make_database(tmp_path / f"{name}.db", schema, [session | {"id": name}])
    recorded = {
        "screenshots": [taskerino_stores.screenshot(n) for n in range(MESSAGES)],
        "audioSegments": [taskerino_stores.segment(n) for n in range(MESSAGES)],
        "summary": "It went well.",
    }
    taskerino_stores.put_chunked(tmp_path / "taskerino", taskerino_stores.session(**recorded))
    found = batches_of(tmp_path)
    assert spools_in(found) > 8
    monkeypatch.undo()
    assert found == batches_of(tmp_path)


@given(one=conversations())
def test_messages_come_back_as_they_were(one: Conversation) -> None:
    made = Spool[Message]()
    made.extend((message, HELD_BYTES_MAX + 1) for message in one.messages)
    assert tuple(made) == one.messages
    assert made == one.messages
    assert one.messages == made


def test_a_long_chat_in_json_is_read_as_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Piece by piece, unless something in it is odd: then whole, and what was mended is told."""
    chat = [ait42_stores.message(n) for n in range(MESSAGES)]
    told = [ait42_stores.session(id=str(n), chatHistory=chat) for n in range(4)]
    odd = json.dumps(told).replace('"role"', '"role": "user", "role"', 1)
    (tmp_path / "sessions.json").write_text(odd)
    expected = batches_of(tmp_path)
    asked: list[tuple[int, bool]] = []

    def decoded(text: bytes, left: Place) -> Any:
        monkeypatch.setattr(pieces, "WHOLE_BYTES_MAX", 1)
        value = decode_large(text, left)
        asked.append((len(text), value is not msgspec.UNSET))
        return value

    monkeypatch.setattr("turnlog.importers.ait42.importer.decode_large", decoded)
    assert batches_of(tmp_path) == expected
    assert [is_decoded for _, is_decoded in asked] == [False, True, True, True]
    (first, *_) = [one.conversation for batch in expected for one in batch.conversations.values()]
    assert [problem.code for problem in first.warnings] == ["repeated_key"]


@pytest.mark.usefixtures("in_files")
async def test_they_come_over_and_again_and_back(log: Turnlog, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("copilot_chat", "ait42"):
        shutil.copytree(FIXTURES / folder, source / folder)
    first = await run(log, source, IMPORTERS)
    assert first.summary.verified == first.summary.contexts == first.summary.created > 5
    assert any(line.chunks for line in first.contexts)
    again = await run(log, source, IMPORTERS)
    assert again.summary.unchanged == again.summary.verified == first.summary.contexts
    assert set((await undone(log, first.path)).values()) == {"deleted"}
    renamed = await run(log, source, IMPORTERS)
    assert renamed.summary.verified == renamed.summary.created == first.summary.contexts
    for one, other in zip(first.contexts, renamed.contexts, strict=True):
        assert one.context_id != other.context_id
        assert (one.messages_written, one.chunks_written) == (other.messages_written, other.chunks_written)


async def test_a_later_copy_adds_what_is_new(log: Turnlog, tmp_path: Path) -> None:
    source = pool(tmp_path / "source")
    (context,) = source.glob("contexts/*/context.json")
    *_, last = sorted(context.parent.glob("messages_pool/*.json"))
    whole, text = context.read_text(), last.read_bytes()
    context.write_text(whole.replace(f', "{last.stem}"', ""))
    last.unlink()
    first = await run(log, source, IMPORTERS)
    assert [(line.messages_written, line.verified) for line in first.contexts] == [(MESSAGES - 2, True)]
    context.write_text(whole)
    last.write_bytes(text)
    then = await run(log, source, IMPORTERS)
    assert [(line.status, line.messages_written, line.verified) for line in then.contexts] == [
        ("updated", 1, True)
    ]


def test_one_that_is_long_is_read_apart_as_here(tmp_path: Path) -> None:
    source = pool(tmp_path)
    expected = batches_of(source)
    assert spools_in(expected) == 1
    with reading_apart(Source(source), IMPORTERS, None, set()) as found:
        there = list(found)
    assert spools_in(there) == 1
    assert there == expected
    (one,) = [one for batch in there for one in batch.conversations.values()]
    assert len(one.conversation.messages) == MESSAGES - 1
    assert (
        "".join(msgspec.convert(one.conversation.kept[0].data, dict[str, Any])["text"]).count("Nobody") == 1
    )


async def test_one_that_is_long_is_verified(log: Turnlog, tmp_path: Path) -> None:
    source = pool(tmp_path / "source")
    imported = await run(log, source, IMPORTERS)
    (line,) = imported.contexts
    assert (line.messages_written, line.difference_count, line.verified) == (MESSAGES - 1, 0, True)
    assert [problem.code for problem in imported.problems] == ["role_unknown"]


@pytest.mark.parametrize("chat", [{}, {"a": "x", "b": {"c": [1]}}, [[]], [{}]])
def test_a_large_session_whose_chat_is_odd_is_read_as_a_small_one(tmp_path: Path, chat: Any) -> None:
    large = "x " * WHOLE_BYTES_MAX
    found: list[list[Batch]] = []
    for text in ("x", large):
        told = [ait42_stores.session(chatHistory=chat, odd=text)]
        (tmp_path / "sessions.json").write_text(json.dumps(told))
        found.append(batches_of(tmp_path))
    small, long = (found_[0].conversations.popitem()[1].conversation for found_ in found)
    assert long.warnings == small.warnings
    assert tuple(long.messages) == tuple(small.messages)
    assert ("chatHistory" in str(long.attributes)) is ("chatHistory" in str(small.attributes))


@pytest.mark.usefixtures("in_files")
@pytest.mark.parametrize("depth", [100, 300, 600, 900])
def test_a_session_with_items_nested_deeply_is_read_or_told(tmp_path: Path, depth: int) -> None:
    deep: Any = 1
    for _ in range(depth):
        deep = {"a": deep}
    items = [taskerino_stores.screenshot(n, odd=deep if n == 1 else n) for n in range(3)]
    taskerino_stores.put_chunked(tmp_path, taskerino_stores.session(screenshots=items))
    (batch,) = batches_of(tmp_path)
    told = [problem.code for problem in batch.problems]
    assert len(batch.conversations) == 1 or told == ["nested_too_deeply"]
