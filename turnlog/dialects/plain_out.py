"""The dialects ``text`` and ``raw``: the answer's text alone, and the provider's own bytes.

``text``. An event for each chunk of kind text, its data the delta, a ``data:`` line for each line of it.
Joined without anything between them they are the text; carriage returns are left out, because the format
takes each for a line end. A decoder of server-sent events is needed, however short.

``raw``. What the provider sent, byte for byte, where the recorder was asked to keep it: no ids and no end
of ours. Of events that came as objects the bytes are their JSON, without any frame.

| outcome     | text                                      | raw                                    |
|---|---|---|
| completed   | event ``finalized``, its data the outcome | as the provider said it                |
| aborted     | the same                                  | the bytes cease                        |
| interrupted | the same, then a line that says why       | the bytes cease                        |
| failed      | the same, with the error's message        | as the provider said it, or they cease |
| still open  | nothing                                   | nothing                                |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eventstore.errors import Refused
from eventstore.events import ChunkReceived, StreamFinalized
from projections.answers import ReplayDone
from turnlog.dialects.endings import error_of
from turnlog.dialects.rendering import Chunk, Event, StreamFacts


class TextOut:
    """The state of one reader, which is none; see ``rendering.Renderer``."""

    name = "text"
    headers: Mapping[str, str] = {}
    resumes_anywhere = True

    def __init__(self, facts: StreamFacts) -> None:
        pass

    def begin(self) -> list[Event]:
        """Nothing."""
        return []

    def chunk(self, chunk: Chunk) -> list[Event]:
        """The text, if it is any."""
        return _lines(chunk.delta) if chunk.kind == "text" else []

    def skip(self, chunk: Chunk) -> None:
        """Nothing: no event depends on another."""

    def snapshot(self, chunks: Iterable[Chunk]) -> list[Event]:
        """The text so far, in one event."""
        return _lines("".join(chunk.delta for chunk in chunks if chunk.kind == "text"))

    def end(self, finalized: StreamFinalized | None, totals: ReplayDone | None = None) -> list[Event]:
        """The outcome, in an event whose name tells it from the text."""
        if finalized is None:
            return []
        said = str(finalized.outcome)
        if finalized.outcome in ("failed", "interrupted"):
            said += f"\n{error_of(finalized)['message']}"
        return [Event(said.encode(), "finalized")]


class RawOut:
    """The state of one reader, which is none; see ``rendering.Renderer``.

    ``chunk`` and ``snapshot`` raise ``Refused`` with code ``raw_not_kept`` for a stream without the bytes.
    """

    name = "raw"
    headers: Mapping[str, str] = {}
    resumes_anywhere = True

    def __init__(self, facts: StreamFacts) -> None:
        self._message_id = facts.message_id

    def begin(self) -> list[Event]:
        """Nothing."""
        return []

    def chunk(self, chunk: Chunk) -> list[Event]:
        """The event's bytes, with the first of its chunks."""
        raw = chunk.raw if isinstance(chunk, ChunkReceived) else None
        if raw is not None:
            return [Event(raw, framed=True)]
        if chunk.sequence == 1 or not isinstance(chunk, ChunkReceived):
            # The first chunk is the first of an event, so where anything is kept, it has bytes.
            raise Refused(
                "raw_not_kept",
                "the provider's own bytes of this stream were not kept",
                message_id=self._message_id,
            )
        return []

    def skip(self, chunk: Chunk) -> None:
        """Nothing: no event depends on another."""

    def snapshot(self, chunks: Iterable[Chunk]) -> list[Event]:
        """The bytes so far: there is no shorter way to say them."""
        data = b"".join(event.data for chunk in chunks for event in self.chunk(chunk))
        return [Event(data, framed=True)] if data else []

    def end(self, finalized: StreamFinalized | None, totals: ReplayDone | None = None) -> list[Event]:
        """Nothing: what the provider said at its end was a chunk."""
        return []


def _lines(text: str) -> list[Event]:
    text = text.replace("\r", "")
    return [Event(text.encode())] if text else []
