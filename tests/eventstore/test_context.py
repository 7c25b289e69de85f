"""The write model: what recorded events leave behind that the next one depends on."""

from __future__ import annotations

import msgspec
import pytest
from samples import C, D, M, S, chunk, ident, message, run

from eventstore.context import MAIN, OpenStream, WriteModel, evolve
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ContextCreated,
    ContextDeleted,
    ContextUpdated,
    CustomRecorded,
    ForkedFrom,
    MessageRedacted,
    Record,
    StateChanged,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)
from eventstore.metadata import Metadata, decode


def after(*events: Record) -> WriteModel:
    model = WriteModel(C)
    for event in events:
        evolve(model, event)
    return model


def test_a_new_context_has_an_empty_active_main_branch() -> None:
    assert after(ContextCreated()) == WriteModel(C, version=1, branches={MAIN: None})


def test_metadata_is_what_was_created_and_changed() -> None:
    model = after(
        ContextCreated("t", config={"a": 1, "b": {"c": 2}}, attributes={"x": 1}),
        ContextUpdated({"title": None, "config": {"b": {"c": None, "d": 3}}, "tags": ["y"]}),
    )
    assert decode(model.metadata) == Metadata(None, {"a": 1, "b": {"d": 3}}, {"x": 1}, ["y"])


def test_a_fork_remembers_whose_history_it_shares() -> None:
    assert after(ContextCreated(forked_from=ForkedFrom(D, 4))).forked_from == ForkedFrom(D, 4)


def test_messages_and_streams_move_their_branch() -> None:
    model = after(ContextCreated(), message(M), StreamStarted(S, branch="side", parent_id=M))
    assert model.branches == {MAIN: M, "side": S}
    assert model.streams == {S: OpenStream(started_version=3)}


def test_an_open_stream_counts_its_chunks_and_its_epoch_until_it_is_finalized() -> None:
    events = [ContextCreated(), StreamStarted(S), run(1, "a", "b"), StreamResumed(S, 5), run(3, "c")]
    model = after(*events)
    assert (model.version, model.streams) == (6, {S: OpenStream(2, sequence=3, epoch=5)})
    assert after(*events, StreamFinalized(S, "completed")).streams == {}


def test_branches_are_moved_switched_and_forgotten() -> None:
    model = after(
        ContextCreated(),
        message(M),
        BranchMoved("a", M),
        BranchMoved("b"),
        BranchSwitched("a"),
        BranchDeleted("b"),
    )
    assert (model.branches, model.active_branch) == ({MAIN: M, "a": M}, "a")


def test_other_events_only_count() -> None:
    model = after(
        ContextCreated(), ContextUpdated({}), StateChanged("s"), MessageRedacted(M), CustomRecorded("c")
    )
    assert model == WriteModel(C, version=5, branches={MAIN: None})


def test_deletion_is_remembered() -> None:
    assert after(ContextCreated(), ContextDeleted()).deleted


def test_chunks_evolve_as_runs_only() -> None:
    with pytest.raises(TypeError, match="runs"):
        after(ContextCreated(), StreamStarted(S), chunk(1))


def test_a_copy_evolves_by_itself() -> None:
    model = after(ContextCreated(), StreamStarted(S))
    copy = model.copy()
    evolve(copy, run(1, "a"))
    evolve(copy, message(M, branch="other"))
    assert model == after(ContextCreated(), StreamStarted(S))


def test_a_snapshot_of_the_model_reads_back_equal() -> None:
    model = after(
        ContextCreated("t", config={"a": [1, {"b": "é"}]}, forked_from=ForkedFrom(D, 2)),
        message(M),
        StreamStarted(S, branch="b", parent_id=None),
        StreamStarted(ident(7)),
        run(1, "a"),
    )
    encoded = msgspec.msgpack.Encoder(uuid_format="bytes").encode(model)
    assert msgspec.msgpack.decode(encoded, type=WriteModel) == model
