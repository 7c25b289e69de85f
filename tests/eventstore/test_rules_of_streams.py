"""Which chunk may follow which, from which producer: each refusal, each repeat."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from samples import STREAMING, D, M, S, chunk, chunks, ident, message, run
from worlds import every_chunk, given

from eventstore.events import (
    ChunkRun,
    ContextCreated,
    Event,
    Record,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
    tag_of,
)
from eventstore.limits import OPEN_STREAMS_MAX

CREATED = ContextCreated()


ON_A_STREAM: tuple[Event, ...] = (chunk(1), StreamFinalized(S, "completed"), StreamResumed(S, 2))


@pytest.mark.parametrize("event", ON_A_STREAM, ids=tag_of)
def test_a_stream_has_to_be_started(event: Event) -> None:
    assert given(CREATED).refusal(event) == ("stream_not_found", {"message_id": S})
    world = given(CREATED)
    world.append(CREATED, StreamStarted(S), to=D)
    assert world.refusal(event) == ("stream_not_found", {"message_id": S}), "of this context"


@pytest.mark.parametrize("event", ON_A_STREAM, ids=tag_of)
def test_a_whole_message_is_no_stream(event: Event) -> None:
    assert given(CREATED, message(S)).refusal(event) == ("stream_not_open", {"message_id": S})


@pytest.mark.parametrize("event", [chunk(2), chunk(1), *ON_A_STREAM[1:]], ids=tag_of)
def test_a_finalized_stream_takes_nothing_more(event: Event) -> None:
    world = given(CREATED, StreamStarted(S), chunk(1), StreamFinalized(S, "aborted"))
    assert world.refusal(event) == ("stream_finalized", {"message_id": S})


def test_chunks_follow_each_other_without_a_gap() -> None:
    world = given(*STREAMING)
    assert world.refusal(chunk(5)) == ("sequence_gap", {"message_id": S, "expected": 4, "received": 5})
    assert world.append(chunk(4)) == (run(4, "x"),)
    assert given(CREATED, StreamStarted(S)).refusal(chunk(2))[1]["expected"] == 1


def test_a_gap_inside_one_append_is_refused_too() -> None:
    assert given(CREATED, StreamStarted(S)).refusal(chunk(1), chunk(3))[0] == "sequence_gap"


def test_two_streams_count_apart() -> None:
    world = given(*STREAMING, StreamStarted(ident(2), branch="b", parent_id=M))
    assert every_chunk(world.append(chunk(1, message_id=ident(2)), chunk(4))) == [(1, "x"), (4, "x")]


def test_chunks_that_are_there_already_are_nothing_new() -> None:
    world = given(*STREAMING)
    for first, last in ((1, 3), (1, 1), (2, 3), (3, 3)):
        assert world.append(*chunks(first, last)) == ()


def test_when_a_chunk_arrived_does_not_make_it_another() -> None:
    assert given(*STREAMING).append(replace(chunks(2, 2)[0], at=5)) == ()


def test_of_a_partly_repeated_run_only_the_new_chunks_are_recorded() -> None:
    sent = [chunk(n, f"{n}", at=at) for n, at in enumerate((5, 3, 40, 41, 90, 80, 200), 1)]
    for repeated in range(len(sent)):
        world = given(CREATED, StreamStarted(S), *sent[:repeated])
        (kept,) = world.append(*sent)
        assert isinstance(kept, ChunkRun)
        assert list(kept.chunks()) == sent[repeated:], "with their own times"


def test_the_raw_bytes_of_a_partly_repeated_run_stay_with_their_chunks() -> None:
    sent = [chunk(1, "a", raw=b"1"), chunk(2, "b"), chunk(3, "c", raw=b"3")]
    world = given(CREATED, StreamStarted(S), *sent[:2])
    (kept,) = world.append(*sent)
    assert isinstance(kept, ChunkRun)
    assert list(kept.chunks()) == sent[2:]


@pytest.mark.parametrize(
    "other",
    [{"delta": "y"}, {"kind": "reasoning"}, {"part": "0"}, {"raw": b"r"}],
    ids=lambda other: next(iter(other)),
)
def test_a_sequence_that_is_taken_by_other_content_is_a_conflict(other: dict[str, object]) -> None:
    world = given(CREATED, StreamStarted(S), chunk(1), chunk(2))
    conflict = ("chunk_conflict", {"message_id": S, "sequence": 2})
    assert world.refusal(replace(chunk(2), **other)) == conflict
    assert world.refusal(chunk(1), replace(chunk(2), **other)) == conflict
    assert world.refusal(replace(chunk(2), **other), chunk(3)) == conflict


def test_a_chunk_that_stands_twice_in_one_append_is_a_conflict() -> None:
    world = given(CREATED, StreamStarted(S))
    assert world.refusal(chunk(1), chunk(1)) == ("chunk_conflict", {"message_id": S, "sequence": 1})
    assert world.refusal(run(1, "x", "x"), run(2, "x", "y"))[1]["sequence"] == 2


def test_the_number_of_open_streams_is_bounded() -> None:
    starts = [StreamStarted(ident(n), parent_id=None) for n in range(OPEN_STREAMS_MAX)]
    world = given(CREATED, *starts)
    assert world.refusal(StreamStarted(ident(5_000))) == (
        "too_many_open_streams",
        {"limit": OPEN_STREAMS_MAX},
    )
    assert world.append(StreamFinalized(ident(1), "failed"), StreamStarted(ident(5_000)))
    assert world.append(message(ident(5_001))), "whole messages need no room"


# -- Producers ----------------------------------------------------------------------------------------------


def test_a_resumed_stream_fences_off_producers_of_a_lower_epoch() -> None:
    world = given(*STREAMING, StreamResumed(S, 3))
    fenced: tuple[Record, ...] = (chunk(4), chunk(3), StreamFinalized(S, "completed"))
    for event in fenced:
        for epoch in (1, 2):
            refusal = world.refusal(event, epoch=epoch)
            assert refusal == ("producer_fenced", {"message_id": S, "current": 3, "received": epoch})
    assert world.append(chunk(4), epoch=3)
    assert world.append(chunk(5), epoch=4), "a higher one is not fenced"
    assert world.append(StreamFinalized(S, "completed"), epoch=3)


def test_a_stream_is_resumed_with_a_higher_epoch_only() -> None:
    world = given(*STREAMING, StreamResumed(S, 3))
    for epoch in (1, 3):
        assert world.refusal(StreamResumed(S, epoch)) == (
            "epoch_not_higher",
            {"message_id": S, "current": 3, "received": epoch},
        )
    assert given(*STREAMING).refusal(StreamResumed(S, 1))[1]["current"] == 1
    assert world.append(StreamResumed(S, 4))


def test_the_producer_that_resumes_goes_on_in_the_same_commit() -> None:
    assert given(*STREAMING).append(StreamResumed(S, 2), chunk(4), epoch=2)
    assert given(*STREAMING).refusal(StreamResumed(S, 2), chunk(4))[0] == "producer_fenced"
