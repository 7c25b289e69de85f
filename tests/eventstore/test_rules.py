"""Which event may follow which: each refusal with its code and facts, and what is recorded otherwise."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from samples import STREAMING, C, D, M, S, chunk, ident, message
from worlds import World, given

from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ContextCreated,
    ContextDeleted,
    ContextUpdated,
    CustomRecorded,
    Event,
    ForkedFrom,
    MessageAppended,
    MessageRedacted,
    StateChanged,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
    tag_of,
)
from eventstore.limits import BRANCHES_MAX, CONTEXT_METADATA_BYTES_MAX

CREATED = ContextCreated()
NOT_FIRST: tuple[Event, ...] = (
    ContextUpdated({}),
    StateChanged("s"),
    ContextDeleted(),
    message(),
    MessageRedacted(M),
    StreamStarted(S),
    StreamResumed(S, 2),
    chunk(1),
    StreamFinalized(S, "completed"),
    BranchMoved("b"),
    BranchSwitched("main"),
    BranchDeleted("main"),
    CustomRecorded("c"),
)


# -- The life of a context ----------------------------------------------------------------------------------


@pytest.mark.parametrize("event", NOT_FIRST, ids=tag_of)
def test_nothing_happens_before_a_context_is_created(event: Event) -> None:
    assert World().refusal(event) == ("context_not_found", {})


@pytest.mark.parametrize("event", NOT_FIRST, ids=tag_of)
def test_nothing_happens_after_a_context_is_deleted(event: Event) -> None:
    assert given(*STREAMING, ContextDeleted()).refusal(event) == ("context_deleted", {})


def test_a_context_is_created_once() -> None:
    assert given(CREATED).refusal(CREATED) == ("context_exists", {})
    assert given(CREATED, ContextDeleted()).refusal(CREATED) == ("context_exists", {})
    assert World().refusal(CREATED, CREATED) == ("context_exists", {})


def test_what_carries_no_condition_is_recorded_as_it_is() -> None:
    for event in (
        ContextUpdated({"title": None}),
        StateChanged("s"),
        CustomRecorded("c", 1),
        ContextDeleted(),
    ):
        assert given(CREATED).append(event) == (event,)


def test_a_refusal_in_the_middle_of_a_commit_refuses_all_of_it() -> None:
    world = given(CREATED)
    assert world.refusal(message(M), message(M))[0] == "message_exists"
    assert world.append(message(M))


# -- Metadata -----------------------------------------------------------------------------------------------


def test_what_changes_add_up_to_is_bounded() -> None:
    world, text = given(CREATED), "x" * 1_000
    for n in range(CONTEXT_METADATA_BYTES_MAX // 1_100):
        place = ("config", "attributes")[n % 2]
        world.append(ContextUpdated({place: {f"member {n}": text}}))
    rest = CONTEXT_METADATA_BYTES_MAX - len(world.models[C].metadata)
    for changes in (
        {"title": "x" * rest},
        {"tags": ["x" * rest]},
        {"config": {"more": "x" * rest}},
        {"attributes": {"more": "x" * rest}},
    ):
        code, fields = world.refusal(ContextUpdated(changes))
        assert code == "context_metadata_too_large"
        assert fields["limit"] == CONTEXT_METADATA_BYTES_MAX
        assert int(str(fields["actual"])) > CONTEXT_METADATA_BYTES_MAX
    assert world.append(ContextUpdated({"config": {"member 0": None, "member 2": text}}))


def test_metadata_may_be_as_large_as_its_bound_from_the_start_and_no_larger() -> None:
    def created(size: int) -> ContextCreated:
        return ContextCreated(config={"system": "x" * (size - 17)})

    assert World().append(created(CONTEXT_METADATA_BYTES_MAX))
    assert World().refusal(created(CONTEXT_METADATA_BYTES_MAX + 1)) == (
        "context_metadata_too_large",
        {"limit": CONTEXT_METADATA_BYTES_MAX, "actual": CONTEXT_METADATA_BYTES_MAX + 1},
    )


def test_within_a_commit_too_metadata_is_never_larger_than_its_bound() -> None:
    large = ContextUpdated({"title": "x" * CONTEXT_METADATA_BYTES_MAX})
    assert given(CREATED).refusal(large, ContextUpdated({"title": None}))[0] == "context_metadata_too_large"


# -- Messages and branches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [message(M), StreamStarted(M)], ids=tag_of)
@pytest.mark.parametrize("first", [message(M), StreamStarted(M)], ids=tag_of)
def test_a_message_id_is_used_once(first: Event, again: Event) -> None:
    assert given(CREATED, first).refusal(again) == ("message_exists", {"message_id": M})


def test_a_message_id_is_used_once_in_all_contexts() -> None:
    world = given(CREATED, message(M))
    world.append(CREATED, to=D)
    assert world.refusal(message(M), to=D) == ("message_exists", {"message_id": M})


@pytest.mark.parametrize("event", [message(ident(2)), StreamStarted(ident(2))], ids=tag_of)
def test_a_left_out_parent_is_the_head_of_the_branch(event: MessageAppended | StreamStarted) -> None:
    assert given(CREATED).append(event) == (replace(event, parent_id=None),)
    assert given(CREATED, message(M)).append(event) == (replace(event, parent_id=M),)
    assert given(CREATED).append(message(M), event) == (
        message(M, parent_id=None),
        replace(event, parent_id=M),
    )


def test_a_parent_given_explicitly_makes_a_sibling_and_moves_the_branch() -> None:
    world = given(CREATED, message(M), message(ident(2)))
    sibling = message(ident(3), parent_id=M)
    assert world.append(sibling) == (sibling,)
    assert world.models[C].branches == {"main": ident(3)}


def test_a_second_root_is_said_explicitly() -> None:
    root = message(ident(2), parent_id=None)
    assert given(CREATED, message(M)).append(root) == (root,)


def test_a_message_on_a_new_branch_names_its_parent() -> None:
    world = given(CREATED, message(M))
    assert world.refusal(message(ident(2), branch="new")) == ("head_is_not_parent", {"branch": "new"})
    assert world.append(message(ident(2), branch="new", parent_id=M))


def test_a_parent_is_a_message_of_the_context() -> None:
    world = given(CREATED)
    world.append(CREATED, message(ident(9)), to=D)
    for parent in (ident(8), ident(9)):
        assert world.refusal(message(M, parent_id=parent)) == ("parent_not_found", {"parent_id": parent})


def test_a_head_is_a_message_of_the_context() -> None:
    world = given(CREATED)
    world.append(CREATED, message(ident(9)), to=D)
    for head in (ident(8), ident(9)):
        assert world.refusal(BranchMoved("b", head)) == ("head_not_found", {"head": head})


def test_a_message_of_the_same_commit_is_parent_and_head_already() -> None:
    assert World().append(CREATED, message(M), message(ident(2), parent_id=M), BranchMoved("b", ident(2)))


def test_a_moved_branch_records_the_head_that_it_had() -> None:
    world = given(CREATED, message(M), message(ident(2)))
    assert world.append(BranchMoved("main", M)) == (BranchMoved("main", M, previous=ident(2)),)
    assert world.append(BranchMoved("new", M)) == (BranchMoved("new", M, previous=None),)
    assert world.append(BranchMoved("main")) == (BranchMoved("main", None, previous=M),)


def test_a_branch_is_moved_only_from_the_head_that_was_named() -> None:
    world = given(CREATED, message(M), message(ident(2)))
    assert world.refusal(BranchMoved("main", None, previous=M)) == (
        "previous_head_differs",
        {"branch": "main", "expected": M, "actual": ident(2)},
    )
    assert world.refusal(BranchMoved("new", M, previous=M))[1]["actual"] is None
    assert world.append(BranchMoved("main", M, previous=ident(2)))
    assert world.append(BranchMoved("new", M, previous=None))


def test_a_branch_that_does_not_exist_is_neither_active_nor_deleted() -> None:
    for event in (BranchSwitched("b"), BranchDeleted("b")):
        assert given(CREATED).refusal(event) == ("branch_not_found", {"branch": "b"})


def test_the_active_branch_is_not_deleted() -> None:
    world = given(CREATED, BranchMoved("b"), BranchSwitched("b"))
    assert world.refusal(BranchDeleted("b")) == ("branch_active", {"branch": "b"})
    assert world.append(BranchDeleted("main"))


def test_the_number_of_branches_is_bounded() -> None:
    world = given(CREATED, *(BranchMoved(f"b{n}") for n in range(BRANCHES_MAX - 1)))
    refusal = ("too_many_branches", {"branch": "b", "limit": BRANCHES_MAX})
    assert world.refusal(BranchMoved("b")) == refusal
    assert world.refusal(message(M, branch="b", parent_id=None)) == refusal
    assert world.append(BranchMoved("b0"), message(M), BranchDeleted("b1"), BranchMoved("b"))


def test_only_a_message_of_the_context_is_redacted() -> None:
    world = given(CREATED, message(M))
    world.append(CREATED, message(ident(9)), to=D)
    for other in (ident(8), ident(9)):
        refusal = world.refusal(MessageRedacted(other))
        assert refusal == ("message_not_found", {"message_id": other})
    assert world.append(MessageRedacted(M)) == (MessageRedacted(M),)
    assert world.append(MessageRedacted(M)), "redacting twice is allowed"


# -- Forks --------------------------------------------------------------------------------------------------


def test_a_fork_needs_a_version_that_exists() -> None:
    world = given(CREATED, message(M))
    for source in (ForkedFrom(C, 3), ForkedFrom(ident(9), 1), ForkedFrom(D, 1)):
        assert world.refusal(ContextCreated(forked_from=source), to=D) == (
            "fork_source_not_found",
            {"source_id": source.context_id, "version": source.version},
        )
    assert world.append(ContextCreated(forked_from=ForkedFrom(C, 2)), to=D)


def forked(*, at: int) -> World:
    """C has messages 1, 2, 3 at versions 2, 3, 4 and is forked into D."""
    world = given(CREATED, *(message(ident(n)) for n in (1, 2, 3)))
    world.append(ContextCreated(forked_from=ForkedFrom(C, at)), to=D)
    return world


def test_a_fork_sees_the_messages_of_its_source_up_to_the_forked_version() -> None:
    world = forked(at=3)
    assert world.append(BranchMoved("main", ident(2)), message(ident(5), parent_id=ident(1)), to=D)
    assert world.refusal(BranchMoved("main", ident(3)), to=D) == ("head_not_found", {"head": ident(3)})
    assert world.refusal(message(ident(6), parent_id=ident(3)), to=D)[0] == "parent_not_found"


def test_a_fork_of_a_fork_sees_through_both() -> None:
    world = forked(at=3)
    world.append(message(ident(5), parent_id=ident(2)), to=D)
    world.append(ContextCreated(forked_from=ForkedFrom(D, 1)), to=ident(0xE))
    assert world.append(BranchMoved("main", ident(2)), to=ident(0xE))
    for hidden in (ident(3), ident(5)):
        assert world.refusal(BranchMoved("main", hidden), to=ident(0xE))[0] == "head_not_found"


def test_the_source_does_not_see_its_fork() -> None:
    world = forked(at=4)
    world.append(message(ident(5), parent_id=ident(3)), to=D)
    assert world.refusal(BranchMoved("main", ident(5)))[0] == "head_not_found"


def test_a_fork_does_not_redact_or_stream_on_what_is_its_sources() -> None:
    world = given(CREATED, StreamStarted(S), chunk(1))
    world.append(ContextCreated(forked_from=ForkedFrom(C, 3)), to=D)
    assert world.refusal(MessageRedacted(S), to=D)[0] == "message_not_found"
    assert world.refusal(chunk(2), to=D) == ("stream_not_found", {"message_id": S})
