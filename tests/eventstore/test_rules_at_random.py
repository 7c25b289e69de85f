"""Whatever is sent in whatever order: what the rules let pass keeps a context in order."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from samples import C, D, ident
from worlds import World

from eventstore.context import WriteModel, evolve
from eventstore.errors import CODES, Refused
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkReceived,
    ChunkRun,
    ContextCreated,
    ContextDeleted,
    CustomRecorded,
    Event,
    ForkedFrom,
    MessageAppended,
    MessageRedacted,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)

IDS = st.sampled_from([ident(n) for n in range(1, 6)])
BRANCHES = st.sampled_from(("main", "a", "b"))
SMALL = st.integers(1, 4)
PARENTS = st.one_of(st.none(), IDS)

EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(MessageAppended, IDS, st.just("user"), branch=BRANCHES),
    st.builds(MessageAppended, IDS, st.just("user"), branch=BRANCHES, parent_id=PARENTS),
    st.builds(StreamStarted, IDS, branch=BRANCHES),
    st.builds(StreamStarted, IDS, branch=BRANCHES, parent_id=PARENTS),
    st.builds(ChunkReceived, IDS, SMALL, st.sampled_from("xy")),
    st.builds(StreamResumed, IDS, SMALL),
    st.builds(StreamFinalized, IDS, st.just("completed")),
    st.builds(MessageRedacted, IDS),
    st.builds(BranchMoved, BRANCHES, PARENTS),
    st.builds(BranchMoved, BRANCHES, PARENTS, PARENTS),
    st.builds(BranchSwitched, BRANCHES),
    st.builds(BranchDeleted, BRANCHES),
    st.just(CustomRecorded("c")),
)
RARE: st.SearchStrategy[Event] = st.one_of(
    st.just(ContextCreated()),
    st.builds(ContextCreated, forked_from=st.builds(ForkedFrom, st.sampled_from((C, D)), SMALL)),
    st.just(ContextDeleted()),
)
COMMITS = st.tuples(
    st.sampled_from((C, D)),
    st.one_of(st.lists(EVENTS, min_size=1, max_size=5), st.lists(RARE, min_size=1, max_size=1)),
    st.integers(1, 3),
)


def lineage_sees(world: World, context_id: UUID, message_id: UUID) -> bool:
    """Written differently than the rules do: walk the forks, collecting what each shows."""
    seen = {m for m, (owner, _, _) in world.places.items() if owner == context_id}
    fork = world.models[context_id].forked_from
    while fork is not None:
        owner, version = fork.context_id, fork.version
        seen |= {m for m, (by, at, _) in world.places.items() if by == owner and at <= version}
        fork = world.models[owner].forked_from
    return message_id in seen


def check_order(world: World, context_id: UUID) -> None:
    model, recorded = world.models[context_id], world.recorded[context_id]
    replayed = WriteModel(context_id)
    for record in recorded:
        evolve(replayed, record)
    assert replayed == model, "the model is the fold of what was recorded"
    counts = [len(record.deltas) if isinstance(record, ChunkRun) else 1 for record in recorded]
    assert model.version == sum(counts)
    assert isinstance(recorded[0], ContextCreated)
    assert not any(isinstance(record, ContextDeleted) for record in recorded[:-1])
    assert model.active_branch in model.branches
    for head in model.branches.values():
        assert head is None or lineage_sees(world, context_id, head)
    for record in recorded:
        if isinstance(record, (MessageAppended, StreamStarted)):
            assert record.parent_id is None or lineage_sees(world, context_id, UUID(str(record.parent_id)))
    for message_id, stream in model.streams.items():
        assert world.places[message_id] == (context_id, stream.started_version, True)
        assert len(world.deltas.get(message_id, ())) == stream.sequence
    for record in recorded:
        if isinstance(record, StreamFinalized):
            assert record.message_id not in model.streams


@given(st.lists(COMMITS, max_size=40))
def test_what_passes_the_rules_keeps_every_context_in_order(
    commits: list[tuple[UUID, list[Event], int]],
) -> None:
    world = World()
    world.append(ContextCreated(), to=C)
    codes = set[str]()
    for context_id, events, epoch in commits:
        before = {key: model.copy() for key, model in world.models.items()}
        try:
            recorded = world.append(*events, to=context_id, epoch=epoch)
        except Refused as refused:
            codes.add(refused.code)
            assert world.models == before, "a refusal leaves no trace"
            continue
        if not recorded:
            assert world.models == before, "a repeat writes nothing"
        check_order(world, context_id)
    assert codes <= CODES.keys()


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=20))
def test_a_producer_that_repeats_itself_at_will_leaves_each_chunk_once(spans: list[tuple[int, int]]) -> None:
    world = World()
    world.append(ContextCreated(), StreamStarted(ident(1)))
    stored = 0
    for a, b in spans:
        first, last = min(a, b), max(a, b)
        events = [ChunkReceived(ident(1), n, f"{n}") for n in range(first, last + 1)]
        if first > stored + 1:
            assert world.refusal(*events)[0] == "sequence_gap"
        else:
            world.append(*events)
            stored = max(stored, last)
        assert [delta for _, _, delta, _ in world.deltas.get(ident(1), [])] == [
            f"{n}" for n in range(1, stored + 1)
        ]
