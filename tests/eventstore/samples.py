"""Events to test with: one full example of each kind, and short ways to write the common ones."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from eventstore.content import (
    AudioPart,
    DataPart,
    FilePart,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkReceived,
    ChunkRun,
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
)

START: Final = 1_700_000_000_000_000
"""When the first commit of a test is recorded, in microseconds."""


class TickingClock:
    """Gives a time one millisecond later at each call; ``now`` can be set."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        now, self.now = self.now, self.now + 1_000
        return now


def ident(number: int) -> UUID:
    """An id that a person can read."""
    return UUID(int=number)


C: Final = ident(0xC)
"""The context that most tests are about."""
D: Final = ident(0xD)
"""Another one."""
M: Final = ident(0xA1)
"""A message."""
S: Final = ident(0x51)
"""A streamed message."""


def message(message_id: UUID = M, text: str = "Hello", **fields: object) -> MessageAppended:
    """A user's message."""
    return MessageAppended(message_id, "user", (TextPart(text),), **fields)  # pyright: ignore[reportArgumentType] -- passed on as given


def chunk(sequence: int, delta: str = "x", message_id: UUID = S, **fields: object) -> ChunkReceived:
    """One chunk of the stream ``S``."""
    return ChunkReceived(message_id, sequence, delta, **fields)  # pyright: ignore[reportArgumentType] -- passed on as given


def chunks(first: int, last: int, message_id: UUID = S) -> list[ChunkReceived]:
    """Chunks that say their own number, a millisecond apart."""
    return [ChunkReceived(message_id, n, f"{n} ", at=START + 1_000 * n) for n in range(first, last + 1)]


def run(first: int, *deltas: str, message_id: UUID = S) -> ChunkRun:
    """The same, packed."""
    return ChunkRun(message_id, first, 0, deltas, (0,) * len(deltas))


STREAMING: Final = (ContextCreated(), message(M), StreamStarted(S), *chunks(1, 3))
"""A context with an open stream of three chunks."""

EVERY_PART: Final[tuple[Part, ...]] = (
    TextPart("What is this?"),
    ReasoningPart("It looks like a cat.", "proof"),
    RefusalPart("I would rather not."),
    ImagePart(url="https://example.org/cat.png", media_type="image/png"),
    AudioPart(attachment="sha256:00", media_type="audio/wav"),
    FilePart(attachment="sha256:01", media_type="text/csv", name="cats.csv"),
    ToolCallPart("call-1", "look_up", '{"name":"cat"}'),
    ToolResultPart("call-1", {"found": [1, 2.5, None, True]}, is_error=True),
    DataPart({"kept": "as it was"}),
)

EVERY_EVENT: Final[tuple[Event, ...]] = (
    ContextCreated("A title", "team", {"model": "m-1"}, {"colour": "grün"}, ForkedFrom(ident(0xF), 3)),
    ContextUpdated({"title": "Another", "tags": ["a", "b"]}),
    StateChanged("waiting", {"for": "user"}),
    ContextDeleted("asked to"),
    MessageAppended(ident(1), "tool", EVERY_PART, "side", ident(2), "note", {"origin": "import"}, START - 1),
    MessageRedacted(ident(1), "private"),
    StreamStarted(ident(3), "tool", "side", ident(1), "m-1", {"request": "r-1"}, START),
    StreamResumed(ident(3), 2),
    ChunkReceived(ident(3), 1, "Mi", "reasoning", START + 1, "0", b"data: 1"),
    StreamFinalized(
        ident(3), "completed", "stop", {"tokens": 2}, {"code": "none"}, (TextPart("Mi"),), START + 9
    ),
    BranchMoved("side", ident(1), ident(3)),
    BranchSwitched("side"),
    BranchDeleted("main"),
    CustomRecorded("mark", {"any": ["json", 1]}),
)
"""One of each, with every field other than its default."""

EVERY_EVENT_BARE: Final[tuple[Event, ...]] = (
    ContextCreated(),
    ContextUpdated({}),
    StateChanged("s"),
    ContextDeleted(),
    MessageAppended(ident(1), "user"),
    MessageRedacted(ident(1)),
    StreamStarted(ident(3)),
    StreamResumed(ident(3), 1),
    ChunkReceived(ident(3), 1, ""),
    StreamFinalized(ident(3), "failed"),
    BranchMoved("b"),
    BranchSwitched("b"),
    BranchDeleted("b"),
    CustomRecorded("c"),
)
"""One of each, with nothing that has a default."""
