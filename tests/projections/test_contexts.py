"""The fold of contexts: history rows, metadata, lists and the progress of open streams."""

from __future__ import annotations

from uuid import UUID

from given import C, GivenLog, chunk, chunks, ident

from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkRun,
    ContextCreated,
    ContextDeleted,
    ContextUpdated,
    CustomRecorded,
    MessageAppended,
    MessageRedacted,
    StateChanged,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)
from eventstore.metadata import Metadata
from projections import layout
from projections.layout import HistoryRow
from projections.memory import MemoryViews


def history(views: MemoryViews, context_id: UUID = C) -> dict[int, HistoryRow]:
    """Every row of a context's history by version."""
    prefix = context_id.bytes
    rows = views.scan("contexts", layout.HISTORY, prefix, layout.versioned(prefix, layout.U64_MAX))
    return {layout.version_in(key): layout.history_rows.decode(value) for key, value in rows}


def listed(views: MemoryViews, workspace: str | None = None, deleted: bool = False) -> list[UUID]:
    """A list of contexts as its keys order it."""
    start = layout.scope_of(workspace) + bytes([deleted])
    rows = views.scan("contexts", layout.BY_UPDATED, start, start + b"\xff" * 25)
    return [UUID(bytes=key[-16:]) for key, _ in rows]


def test_a_new_context_is_on_an_empty_main_branch() -> None:
    log = GivenLog()
    log.append(C, ContextCreated("Trip", "home", {"model": "m"}, {"a": 1}))
    views = log.views()
    (row,) = history(views).values()
    assert row.branches == {"main": None}
    assert row.active_branch == "main"
    assert row.metadata_version == 1
    stored = views.get("contexts", layout.METADATA, layout.versioned(C.bytes, 1))
    assert layout.metadata_rows.decode(stored or b"") == Metadata("Trip", {"model": "m"}, {"a": 1}, [])


def test_every_event_but_a_chunk_has_a_row_of_history() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), MessageAppended(ident(1), "user"))
    log.append(C, StreamStarted(ident(2)))
    log.append(C, *chunks(2, 1, 5))
    log.append(C, *chunks(2, 6, 7), StreamFinalized(ident(2), "completed"))
    log.append(C, CustomRecorded("seen"))
    assert list(history(log.views())) == [1, 2, 3, 11, 12]


def test_commits_of_chunks_alone_change_nothing() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)))
    before = log.views().dump()
    log.append(C, *chunks(1, 1, 3))
    assert log.views().dump() == before


def test_branches_follow_messages_moves_switches_and_deletions() -> None:
    log = GivenLog()
    one, two, three = ident(1), ident(2), ident(3)
    log.append(C, ContextCreated())
    log.append(C, MessageAppended(one, "user"))
    log.append(C, MessageAppended(two, "assistant"))
    log.append(C, BranchMoved("try", one))
    log.append(C, BranchSwitched("try"), MessageAppended(three, "assistant", branch="try"))
    log.append(C, BranchDeleted("main"))
    rows = history(log.views())
    assert rows[3].branches == {"main": two}
    assert rows[4].branches == {"main": two, "try": one}
    assert (rows[5].active_branch, rows[4].active_branch) == ("try", "main")
    assert rows[7].branches == {"try": three}
    assert [rows[v].message_count for v in (1, 2, 3, 6, 7)] == [0, 1, 2, 3, 3]


def test_state_stays_until_it_changes_and_its_detail_goes_with_it() -> None:
    log = GivenLog()
    log.append(C, ContextCreated())
    log.append(C, StateChanged("running", {"step": 1}))
    log.append(C, CustomRecorded("tick"))
    log.append(C, StateChanged("idle"))
    views = log.views()
    rows = history(views)
    assert [rows[v].state for v in (1, 2, 3, 4)] == [None, "running", "running", "idle"]
    assert [rows[v].detail_version for v in (1, 2, 3, 4)] == [0, 2, 2, 0]
    detail = views.get("contexts", layout.DETAILS, layout.versioned(C.bytes, 2))
    assert layout.decode_detail(detail or b"") == {"step": 1}


def test_metadata_is_stored_when_it_changes_and_not_for_each_message() -> None:
    log = GivenLog()
    log.append(C, ContextCreated("a", config={"system": "x" * 10_000, "model": "m"}))
    for number in range(1, 21):
        log.append(C, MessageAppended(ident(number), "user"))
    log.append(C, ContextUpdated({"title": "b", "config": {"model": None}, "tags": ["t"]}))
    views = log.views()
    rows = history(views)
    assert rows[21].metadata_version == 1
    assert rows[22].metadata_version == 22
    dump = views.dump()["contexts"]
    assert len(dump[layout.METADATA]) == 2
    assert sum(len(value) for _, value in dump[layout.HISTORY]) < 5_000
    now = layout.metadata_rows.decode(dump[layout.METADATA][1][1])
    assert now == Metadata("b", {"system": "x" * 10_000}, {}, ["t"])


def test_contexts_are_listed_newest_first_for_all_workspaces_and_for_one() -> None:
    log = GivenLog()
    for number, workspace in ((1, "home"), (2, "work"), (3, "home")):
        log.append(ident(number), ContextCreated(workspace=workspace))
    log.append(ident(1), CustomRecorded("touch"))
    views = log.views()
    assert listed(views) == [ident(1), ident(3), ident(2)]
    assert listed(views, "home") == [ident(1), ident(3)]
    assert listed(views, "work") == [ident(2)]
    assert listed(views, "hom") == []


def test_a_deleted_context_is_listed_apart() -> None:
    log = GivenLog()
    log.append(C, ContextCreated())
    log.append(C, ContextDeleted("enough"))
    views = log.views()
    assert listed(views) == []
    assert listed(views, deleted=True) == [C]
    assert history(views)[2].deleted


def test_chunks_do_not_move_a_context_up_the_list() -> None:
    log = GivenLog()
    log.append(ident(1), ContextCreated(), StreamStarted(ident(10)))
    log.append(ident(2), ContextCreated())
    log.append(ident(1), chunk(10, 1))
    assert listed(log.views()) == [ident(2), ident(1)]


def test_a_row_knows_how_far_each_open_stream_is() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)), StreamStarted(ident(2)))
    log.append(C, *chunks(1, 1, 3))
    log.append(C, *chunks(2, 1, 2))
    log.append(C, chunk(1, 4))
    log.append(C, chunk(2, 3), StreamResumed(ident(2), 5))
    log.append(C, StreamFinalized(ident(1), "aborted"))
    rows = history(log.views())
    (resumed, finalized) = sorted(rows)[-2:]
    assert {k.int: (s.progress, s.epoch) for k, s in rows[resumed].streams.items()} == {1: (4, 1), 2: (3, 5)}
    assert {k.int: s.progress for k, s in rows[finalized].streams.items()} == {2: 3}


def test_a_row_says_what_its_event_was_about() -> None:
    log = GivenLog()
    log.append(C, ContextCreated(), StreamStarted(ident(1)), StreamFinalized(ident(1), "failed"))
    log.append(C, MessageRedacted(ident(1)), ContextUpdated({"title": "t", "config": {}}))
    rows = history(log.views())
    assert [(row.message_id, row.name) for row in rows.values()] == [
        (None, None),
        (ident(1), "main"),
        (ident(1), "failed"),
        (ident(1), None),
        (None, "config, title"),
    ]


def test_a_run_in_a_commit_beside_other_events_counts_once() -> None:
    log = GivenLog()
    run = ChunkRun(ident(1), 1, 0, ("a", "b"), (0, 5))
    log.append(C, ContextCreated(), StreamStarted(ident(1)), run, CustomRecorded("x"), chunk(1, 3))
    log.append(C, CustomRecorded("y"))
    rows = history(log.views())
    assert rows[5].streams[ident(1)].progress == 2
    assert rows[7].streams[ident(1)].progress == 3
