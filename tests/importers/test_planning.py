"""From conversations to commits: all of a new context, what is new of a later copy, and nothing else."""

from __future__ import annotations

from itertools import accumulate
from typing import Any
from uuid import UUID

from conversations import START, conversation, identifier, streamed
from msgspec.structs import replace
from storing import first_plan

from eventstore.commits import Committed
from eventstore.content import TextPart
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkRun,
    ContextCreated,
    ContextUpdated,
    CustomRecorded,
    Record,
    StateChanged,
    StreamFinalized,
    StreamStarted,
)
from eventstore.limits import COMMIT_EVENTS_MAX
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Chunk, Conversation, Kept, Message
from turnlog.importers.job.planning import Plan, plan_later
from turnlog.importers.job.recording import COMMIT_BYTES, copies_in, digest_and_bytes
from turnlog.importers.job.verifying import compare


def records(plan: Plan) -> list[Record]:
    return [record for append in plan.appends for record in append.events]


def events_in(record: Record) -> int:
    return len(record.deltas) if isinstance(record, ChunkRun) else 1


def kinds(plan: Plan) -> list[str]:
    return [type(record).__name__ for record in records(plan)]


async def append(log: Turnlog, plan: Plan) -> None:
    for outcome in await log.store.append_many(plan.appends):
        assert isinstance(outcome, Committed), outcome


async def bring(log: Turnlog, copy: Conversation) -> None:
    await append(log, first_plan(copy))


async def later(log: Turnlog, copy: Conversation) -> Plan | None:
    """What a copy adds; it is appended too, and what then is not as the copy says is only its conflicts."""
    before = log.store.version_of(copy.id)
    plan = plan_later(copy, digest_and_bytes(copy)[0], await compare(log, copy, before=before), "again")
    if plan is not None:
        await append(log, plan)
        after = await compare(log, copy, before=before, version=plan.version)
        assert [(d.message_id, d.field) for d in after.differences] == [
            (d.message_id, d.field) for d in plan.conflicts
        ]
    return plan


def more(copy: Conversation, *texts: str, branch: str = "main", parent: UUID | None = None) -> Conversation:
    """The copy with further messages."""
    messages = list(copy.messages)
    head = parent or copy.branches.get(branch)
    for text in texts:
        message_id = identifier(copy.id, branch, text)
        messages.append(Message(message_id, head, branch, "user", (TextPart(text),)))
        head = message_id
    return replace(copy, messages=tuple(messages), branches=copy.branches | {branch: head})


def test_a_new_context_is_created_with_everything_in_one_commit() -> None:
    copy = conversation(texts=2, tags=("a", "b"), workspace="w")
    plan = first_plan(copy)
    assert kinds(plan) == [
        "ContextCreated",
        "MessageAppended",
        "StreamStarted",
        "ChunkRun",
        "StreamFinalized",
        "ContextUpdated",
        "StateChanged",
    ]
    (created, *_, updated, state) = records(plan)
    assert isinstance(created, ContextCreated)
    assert (created.title, created.workspace, created.config) == (copy.title, "w", copy.config)
    (noted,) = copies_in(created.attributes)
    assert (noted.run, noted.before, noted.version) == ("run", 0, plan.version)
    assert updated == ContextUpdated({"tags": ["a", "b"]})
    assert state == StateChanged("idle")
    assert (plan.before, plan.version, len(plan.brought), plan.figures.chunks) == (0, 9, 2, 3)
    assert [append.expected_version for append in plan.appends] == [0]


def test_a_stream_keeps_every_chunk_at_its_time() -> None:
    copy = conversation(texts=2)
    started, run, finalized = records(first_plan(copy))[2:5]
    assert isinstance(started, StreamStarted)
    assert isinstance(run, ChunkRun)
    assert isinstance(finalized, StreamFinalized)
    assert (started.occurred_at, started.model) == (START - 10, "model-1")
    assert [(chunk.sequence, chunk.delta, chunk.at) for chunk in run.chunks()] == [
        (1, "Once ", START),
        (2, "upon ", START + 1_000),
        (3, "a time 1.", START + 2_000),
    ]
    assert (finalized.outcome, finalized.finish_reason) == ("completed", "stop")
    assert finalized.occurred_at == START + 1_000_000


def test_a_stream_that_was_never_finished_is_interrupted() -> None:
    message = Message(identifier(1), None, "main", "assistant", (), streamed=streamed("a", outcome=None))
    plan = first_plan(conversation(messages=(message,), branches={"main": message.id}))
    (end,) = [record for record in records(plan) if isinstance(record, StreamFinalized)]
    assert end.outcome == "interrupted"


def test_branches_are_moved_switched_and_forgotten_as_the_source_has_them() -> None:
    copy = conversation(texts=3)
    first, second = copy.messages[0].id, copy.messages[1].id
    copy = replace(copy, branches={"other": second, "empty": None, "root": first}, active_branch="other")
    branch_records = [
        record
        for record in records(first_plan(copy))
        if isinstance(record, (BranchMoved, BranchSwitched, BranchDeleted))
    ]
    assert branch_records == [
        BranchMoved("other", second),
        BranchMoved("empty"),
        BranchMoved("root", first),
        BranchSwitched("other"),
        BranchDeleted("main"),
    ]


def test_a_long_stream_takes_several_commits() -> None:
    pieces = tuple(Chunk("x", START + n) for n in range(COMMIT_EVENTS_MAX * 2 + 5))
    stream = streamed(completed_at=None)
    message = Message(identifier(1), None, "main", "assistant", (), streamed=replace(stream, chunks=pieces))
    plan = first_plan(conversation(messages=(message,), branches={"main": message.id}))
    assert plan.figures.chunks == len(pieces)
    counts = [sum(map(events_in, append.events)) for append in plan.appends]
    assert sum(counts) == plan.version
    assert max(counts) <= COMMIT_EVENTS_MAX
    assert [append.expected_version for append in plan.appends] == [0, *accumulate(counts)][:-1]
    assert len({append.commit_id for append in plan.appends}) == len(counts) > 2


def test_no_commit_is_larger_than_it_may_be() -> None:
    pieces = tuple(Chunk("é" * 100_000, START + n) for n in range(100))
    stream = replace(streamed(), chunks=pieces)
    message = Message(identifier(1), None, "main", "assistant", (), streamed=stream)
    plan = first_plan(conversation(messages=(message,), branches={"main": message.id}))
    for append in plan.appends:
        text = sum(len(d.encode()) for r in append.events if isinstance(r, ChunkRun) for d in r.deltas)
        assert text <= COMMIT_BYTES


def test_the_same_conversation_gives_the_same_commits() -> None:
    assert first_plan(conversation()) == first_plan(conversation())


async def test_the_same_copy_brings_nothing(log: Turnlog) -> None:
    copy = conversation()
    await bring(log, copy)
    assert await later(log, copy) is None
    assert await later(log, replace(copy, origin="elsewhere", attributes={"import": {"origin": "?"}})) is None


async def test_an_older_copy_brings_nothing(log: Turnlog) -> None:
    copy = conversation(texts=4)
    older = conversation(texts=2, title="an older title", state="busy")
    await bring(log, copy)
    assert await later(log, older) is None
    assert (await log.queries.context(copy.id)).title == copy.title


async def test_a_newer_copy_adds_its_messages_and_changes(log: Turnlog) -> None:
    copy = conversation(texts=2)
    await bring(log, copy)
    newer = replace(
        conversation(texts=4), title="new", state="busy", config=copy.config | {"workspace_path": "there"}
    )
    plan = await later(log, newer)
    assert plan is not None
    assert (len(plan.brought), plan.figures.chunks, plan.conflicts) == (2, 3, ())
    assert kinds(plan)[0] == "ContextUpdated"
    updated = records(plan)[0]
    assert isinstance(updated, ContextUpdated)
    assert updated.changes["config"] == {"workspace_path": "there"}
    state = await log.queries.context(copy.id)
    assert (state.title, state.state, state.branches) == ("new", "busy", newer.branches)
    assert [noted.run for noted in copies_in(state.attributes)] == ["run", "again"]
    assert await later(log, newer) is None


async def test_a_copy_that_lacks_a_member_takes_nothing_away(log: Turnlog) -> None:
    newer = conversation(config={"model_id": "m", "workspace_path": "there"})
    await bring(log, newer)
    older = replace(newer, config={"model_id": "m"}, title=None)
    assert await later(log, older) is None


async def test_a_branch_that_the_source_moved_is_moved(log: Turnlog) -> None:
    copy = conversation(texts=3)
    await bring(log, copy)
    back = replace(copy, branches={"main": copy.messages[0].id, "kept": copy.messages[2].id})
    plan = await later(log, back)
    assert plan is not None
    assert plan.conflicts == ()
    assert (await log.queries.context(copy.id)).branches == back.branches


async def test_a_text_that_changed_under_its_id_is_a_conflict_and_stays(log: Turnlog) -> None:
    copy = conversation(texts=1)
    await bring(log, copy)
    message = copy.messages[0]
    changed = more(replace(copy, messages=(replace(message, parts=(TextPart("other"),)),)), "next")
    plan = await later(log, changed)
    assert plan is not None
    assert len(plan.brought) == 1
    assert {(d.message_id, d.field) for d in plan.conflicts} == {
        (message.id, "parts/0/text"),
        (message.id, "text"),
    }
    assert (await log.queries.body(message.id)).text == "question 0"


async def test_a_conversation_that_went_on_here_is_left_where_it_is(log: Turnlog) -> None:
    copy = conversation(texts=2)
    await bring(log, copy)
    here = await log.context(copy.id).append_message("user", "said here")
    assert await later(log, copy) is None
    newer = more(copy, "on a side branch", branch="side", parent=copy.messages[0].id)
    plan = await later(log, newer)
    assert plan is not None
    assert plan.conflicts == ()
    assert (await log.queries.context(copy.id)).branches == newer.branches | {"main": here}


async def test_a_branch_that_went_on_in_both_places_is_a_conflict(log: Turnlog) -> None:
    copy = conversation(texts=2)
    await bring(log, copy)
    here = await log.context(copy.id).append_message("user", "said here")
    newer = more(copy, "said there")
    plan = await later(log, newer)
    assert plan is not None
    assert [(d.message_id, d.field) for d in plan.conflicts] == [(None, "branches/main")]
    assert (await log.queries.context(copy.id)).branches == {"main": here}
    assert await log.queries.exists(newer.messages[-1].id)


async def test_synthesised_times_that_changed_are_no_conflict(log: Turnlog) -> None:
    copy = conversation(texts=1)
    guessed: dict[str, Any] = {"time_source": "file", "occurred_at": START}
    copy = replace(copy, messages=(replace(copy.messages[0], **guessed),))
    await bring(log, copy)
    touched = replace(copy, messages=(replace(copy.messages[0], occurred_at=START + 1),))
    assert await later(log, touched) is None
    plan = await later(log, more(touched, "next"))
    assert plan is not None
    assert plan.conflicts == ()


async def test_another_workspace_is_a_conflict(log: Turnlog) -> None:
    copy = conversation(workspace="one")
    await bring(log, copy)
    plan = await later(log, more(replace(copy, workspace="two"), "next"))
    assert plan is not None
    assert [d.field for d in plan.conflicts] == ["workspace"]


async def test_of_two_copies_the_one_updated_later_is_newer(log: Turnlog) -> None:
    copy = conversation(texts=3, updated_at=START)
    await bring(log, copy)
    assert await later(log, replace(copy, title="earlier", updated_at=START - 1)) is None
    plan = await later(log, replace(conversation(texts=1), title="later", updated_at=START + 1))
    assert plan is not None
    assert (await log.queries.context(copy.id)).title == "later"


async def test_what_attributes_have_no_room_for_is_kept_as_events(log: Turnlog) -> None:
    first, second = Kept("status", {"at": 1}), Kept("status", {"at": 2})
    copy = conversation(texts=1, kept=(first,))
    plan = first_plan(copy)
    assert records(plan)[1] == CustomRecorded("status", {"at": 1})
    await append(log, plan)
    plan = await later(log, replace(copy, kept=(first, second)))
    assert plan is not None
    assert [record for record in records(plan) if isinstance(record, CustomRecorded)] == [
        CustomRecorded("status", {"at": 2})
    ]
