"""A stream that was unfinished when it was brought in, and goes on in a newer copy of its context."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from conversations import conversation, identifier, streamed, write
from jobs import Imported, run
from msgspec.structs import replace

from eventstore.content import TextPart
from eventstore.events import MessageAppended
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Conversation, Message

ASKED, ANSWER = identifier("one", 0), identifier("one", 1)


def copy_of(*deltas: str, ended: bool = False, texts: tuple[str, ...] = (), **more: Any) -> Conversation:
    """A question and an answer of so many deltas, and what was said afterwards."""
    outcome: dict[str, Any] = {} if ended else {"outcome": None, "completed_at": None, "finish_reason": None}
    asked = conversation("one", texts=1).messages[0]
    messages = [asked]
    answer = streamed(*deltas, **outcome)
    messages.append(Message(ANSWER, ASKED, "main", "assistant", (), streamed=answer))
    for number, text in enumerate(texts, 2):
        said = Message(identifier("one", number), messages[-1].id, "main", "user", (TextPart(text),))
        messages.append(said)
    return conversation("one", messages=messages, branches={"main": messages[-1].id}, **more)


async def brought(log: Turnlog, source: Path, copy: Conversation) -> Imported:
    """Import a copy; all of it is verified."""
    write(source, [copy])
    imported = await run(log, source)
    (line,) = imported.contexts
    assert (line.verified, line.differences, line.conflicts) == (True, (), ())
    return imported


async def said(log: Turnlog) -> list[str]:
    """The texts of the active branch."""
    page = await log.queries.messages(identifier("one"))
    bodies = await log.queries.bodies([entry.id for entry in page.items])
    return [body.text for body in bodies]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


async def test_the_newer_content_is_on_the_branch(log: Turnlog, source: Path) -> None:
    await brought(log, source, copy_of("a", "b"))
    newer = await brought(log, source, copy_of("a", "b", "c", ended=True, texts=("thanks",)))
    (line,) = newer.contexts
    assert (line.status, line.messages_written, line.chunks_written) == ("updated", 2, 3)
    assert (await said(log))[1:] == ["abc", "thanks"]
    partial = await log.queries.timeline(ANSWER)
    assert (partial.outcome, partial.chunks) == ("interrupted", 2)
    whole = await log.queries.timeline((await log.queries.messages(identifier("one"))).items[1].id)
    assert (whole.outcome, whole.chunks) == ("completed", 3)


async def test_no_copy_is_brought_in_twice(log: Turnlog, source: Path) -> None:
    first, second = copy_of("a"), copy_of("a", "b", ended=True)
    for copy in (first, second):
        await brought(log, source, copy)
    position = log.store.head().position
    for copy in (first, second, first, replace(second, origin="elsewhere"), second):
        (line,) = (await brought(log, source, copy)).contexts
        assert line.status == "unchanged"
    assert log.store.head().position == position
    assert (await said(log))[1:] == ["ab"]


async def test_it_may_grow_again_and_again(log: Turnlog, source: Path) -> None:
    await brought(log, source, copy_of("a"))
    await brought(log, source, copy_of("a", "b"))
    await brought(log, source, copy_of("a", "b", ended=True))
    assert (await said(log))[1:] == ["ab"]
    third = await brought(log, source, copy_of("a", "b", ended=True, texts=("more",)))
    assert third.contexts[0].messages_written == 1
    fourth = await brought(log, source, copy_of("a", "b", ended=True, texts=("more",), title="named"))
    assert fourth.contexts[0].status == "updated"
    assert (await said(log))[1:] == ["ab", "more"]
    assert (await log.queries.context(identifier("one"))).title == "named"


async def test_what_followed_it_follows_the_newer_one(log: Turnlog, source: Path) -> None:
    await brought(log, source, copy_of("a", texts=("then", "and")))
    await brought(log, source, copy_of("a", "b", texts=("then", "and", "more")))
    assert (await said(log))[1:] == ["ab", "then", "and", "more"]
    last = copy_of("a", "b", "c", ended=True, texts=("then", "and", "more", "still"))
    await brought(log, source, last)
    assert (await said(log))[1:] == ["abc", "then", "and", "more", "still"]
    position = log.store.head().position
    for copy in (last, replace(last, origin="elsewhere"), copy_of("a", texts=("then", "and"))):
        assert (await brought(log, source, copy)).contexts[0].status == "unchanged"
    assert log.store.head().position == position
    again = copy_of("a", "b", "c", ended=True, texts=("then", "and", "more", "still", "last"))
    assert (await brought(log, source, again)).contexts[0].messages_written == 1
    assert (await said(log))[-2:] == ["still", "last"]


async def test_an_older_copy_moves_nothing_back(log: Turnlog, source: Path) -> None:
    await brought(log, source, copy_of("a"))
    await brought(log, source, copy_of("a", "b", "c", ended=True))
    write(source, [copy_of("a", "b")])
    (line,) = (await run(log, source)).contexts
    assert {each.field for each in line.conflicts} == {"branches/main"}, "the branch went on from another"
    assert (await said(log))[1:] == ["abc"]


async def test_an_end_alone_is_news(log: Turnlog, source: Path) -> None:
    await brought(log, source, copy_of("a"))
    await brought(log, source, copy_of("a", ended=True))
    page = await log.queries.messages(identifier("one"))
    assert (await log.queries.timeline(page.items[-1].id)).outcome == "completed"


@pytest.mark.parametrize(
    "other",
    [copy_of("x", "b", "c", ended=True, texts=("t",)), copy_of("a", texts=("t",))],
    ids=["other", "shorter"],
)
async def test_what_does_not_go_on_from_it_is_a_conflict(
    log: Turnlog, source: Path, other: Conversation
) -> None:
    await brought(log, source, copy_of("a", "b"))
    write(source, [other])
    (line,) = (await run(log, source)).contexts
    assert not line.verified
    assert {each.message_id for each in (*line.conflicts, *line.differences)} == {ANSWER}


async def test_a_stream_that_ended_is_not_gone_on_with(log: Turnlog, source: Path) -> None:
    await brought(log, source, copy_of("a", ended=True))
    write(source, [copy_of("a", "b", ended=True, texts=("t",))])
    (line,) = (await run(log, source)).contexts
    assert {each.message_id for each in line.conflicts} == {ANSWER}


async def test_who_wrote_on_meanwhile_is_not_overruled(log: Turnlog, source: Path) -> None:
    await brought(log, source, copy_of("a"))
    own = uuid4()
    await log.store.append(identifier("one"), [MessageAppended(own, "user", (TextPart("mine"),))])
    write(source, [copy_of("a", "b", ended=True)])
    (line,) = (await run(log, source)).contexts
    assert {each.field for each in line.conflicts} == {"branches/main"}
    assert (await log.queries.context(identifier("one"))).branches["main"] == own
