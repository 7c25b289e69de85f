"""What the workloads send: for a seed and a number, always the same conversation. Pure.

Every commit has a commit id, so that any process can repeat any of them and compare what is stored.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count, islice
from typing import Final
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from eventstore.commits import Append
from eventstore.content import DataPart, TextPart
from eventstore.events import (
    BranchMoved,
    ChunkReceived,
    ContextCreated,
    ContextUpdated,
    CustomRecorded,
    Event,
    MessageAppended,
    MessageRedacted,
    Record,
    StateChanged,
    StreamFinalized,
    StreamStarted,
)

WHOLE_COMMITS: Final = 12
"""Commits of a conversation that is sent whole: together, or not at all."""
WHOLE_EVERY: Final = 5
"""Commits of a conversation after which a whole one is sent beside it."""

_WHOLE_FROM: Final = 1 << 16
_STARTED_AT = 1_700_000_000_000_000


def context_id(seed: int, number: int) -> UUID:
    """The id of a conversation."""
    return _uuid(random.Random(f"{seed}:{number}:context"))


def conversation(seed: int, number: int, commits_max: int | None = None) -> Iterator[Append]:
    """The commits of a conversation in order, each to be sent after the one before was acknowledged."""
    rng = random.Random(f"{seed}:{number}")
    owner = context_id(seed, number)
    commits = (Append(owner, events, commit_id=_uuid(rng)) for events in _turns(rng, number))
    return islice(commits, commits_max)


def whole_number(number: int, place: int) -> int:
    """The number of the conversation that is sent whole beside a place in another."""
    return _WHOLE_FROM + (number << 20) + place


def whole_numbers(conversations: int, places: int) -> Iterator[int]:
    """The numbers of all that may be sent whole beside so many conversations, of so many commits at most."""
    for number in range(conversations):
        for place in range(0, places, WHOLE_EVERY):
            yield whole_number(number, place)


def as_stored(event: Record, stored: Event) -> Record:
    """A sent event, with what the log fills in taken from the stored one."""
    if isinstance(event, (MessageAppended, StreamStarted)) and event.parent_id is UNSET:
        return replace(event, parent_id=getattr(stored, "parent_id", UNSET))
    if isinstance(event, BranchMoved) and event.previous is UNSET:
        return replace(event, previous=getattr(stored, "previous", UNSET))
    return event


def _turns(rng: random.Random, number: int) -> Iterator[tuple[Event, ...]]:
    question = _message(rng)
    yield ContextCreated(title=f"conversation {number}", workspace=rng.choice("ab")), question
    for turn in count(1):
        answer = _uuid(rng)
        yield (StreamStarted(answer, model="model-1", occurred_at=_STARTED_AT + turn),)
        yield from _chunks(rng, answer)
        yield (StreamFinalized(answer, rng.choice(("completed", "aborted")), finish_reason="stop"),)
        yield from _asides(rng, turn, question, answer)
        question = _message(rng)
        yield (question,)


def _message(rng: random.Random) -> MessageAppended:
    text = "How? " * rng.choice((1, 10, 300))
    return MessageAppended(_uuid(rng), "user", (TextPart(text), DataPart({"bytes": rng.randbytes(9).hex()})))


def _chunks(rng: random.Random, answer: UUID) -> Iterator[tuple[Event, ...]]:
    sequence, at = 0, _STARTED_AT
    for _ in range(rng.randrange(2, 7)):
        chunks: list[Event] = []
        for _ in range(rng.choice((1, 1, 1, 4))):
            sequence, at = sequence + 1, at + rng.randrange(50_000)
            chunks.append(ChunkReceived(answer, sequence, rng.choice((" a", " word", "。")), at=at))
        yield tuple(chunks)


def _asides(
    rng: random.Random, turn: int, question: MessageAppended, answer: UUID
) -> Iterator[tuple[Event, ...]]:
    match rng.randrange(6):
        case 0:
            # Random text does not compress: it fills overflow pages.
            yield (CustomRecorded("ballast", rng.randbytes(rng.choice((500, 3_000, 12_000))).hex()),)
        case 1:
            yield ContextUpdated({"title": f"turn {turn}"}), StateChanged("waiting", {"turn": turn})
        case 2:
            other = _message(rng)
            yield BranchMoved(f"take-{turn}", question.message_id), replace(other, branch=f"take-{turn}")
        case 3:
            yield (MessageRedacted(question.message_id, "asked to"),)
        case 4:
            yield (BranchMoved("main", answer, previous=answer),)
        case _:
            pass


def _uuid(rng: random.Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)
