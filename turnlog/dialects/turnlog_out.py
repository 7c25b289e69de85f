"""The dialect ``turnlog``: our own events, each a JSON object with a ``type``.

| type                  | members                                                                      |
|---|---|
| stream.started        | message_id, context_id, role, model, provider_id, created_at                 |
| stream.chunk_received | message_id, sequence, kind, part, at, delta                                  |
| stream.snapshot       | message_id, sequence, replay (true), pieces: [{kind, part, delta}]           |
| stream.finalized      | message_id, outcome, finish_reason, usage, error, parts, occurred_at, totals |
| stream.caught_up      | message_id, totals: the end of a replay whose stream is still open           |

Members are always present. Times are RFC 3339 with ``Z``. ``content.fold`` of (kind, part, delta), of pieces
and chunks alike, is the content, unless ``parts`` says otherwise. ``sequence`` of a snapshot is that of the
last chunk in it, 0 without any. ``totals`` are given at the end of a replay: chunks, characters, text_bytes,
recorded_us.

Each outcome is told as it is. Nothing depends on the chunks before, so a reader may resume anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from eventstore.content import Json, Part
from eventstore.events import StreamFinalized
from eventstore.units import format_time
from projections.answers import ReplayDone
from turnlog.dialects.rendering import Chunk, Event, StreamFacts, accumulated, in_json, text_in_json

_SECOND: Final = 1_000_000


class TurnlogOut:
    """The state of one reader; see ``rendering.Renderer``."""

    name = "turnlog"
    headers: Mapping[str, str] = {}
    resumes_anywhere = True

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self._head = b'{"type":"stream.chunk_received","message_id":"%b","sequence":' % _text(
            facts.message_id
        )
        self._kind: str | None = None
        self._part: str | None = None
        self._middle = b""
        self._second: int | None = None
        self._clock = b""

    def begin(self) -> list[Event]:
        """The stream's facts."""
        facts = self._facts
        said = self._about("stream.started") | {
            "context_id": facts.context_id,
            "role": facts.role,
            "model": facts.model,
            "provider_id": facts.provider_id,
            "created_at": format_time(facts.created_at),
        }
        return [Event(in_json(said))]

    def chunk(self, chunk: Chunk) -> list[Event]:
        """The chunk as it is, without the provider's own bytes."""
        if chunk.kind != self._kind or chunk.part != self._part:
            self._kind, self._part = chunk.kind, chunk.part
            self._middle = b',"kind":"%b","part":%b,"at":"' % (chunk.kind.encode(), in_json(chunk.part))
        second, micros = divmod(chunk.at, _SECOND)
        if second != self._second:
            # Its chunks share all but the last digits of their times; to write those anew doubles the cost.
            self._second, self._clock = second, format_time(second * _SECOND)[:-7].encode()
        delta = text_in_json(chunk.delta)
        at = (chunk.sequence, self._middle, self._clock, micros, delta)
        return [Event(self._head + b'%d%b%b%06dZ","delta":%b}' % at)]

    def skip(self, chunk: Chunk) -> None:
        """Nothing: no event depends on another."""

    def snapshot(self, chunks: Iterable[Chunk]) -> list[Event]:
        """One event, also if there is nothing yet: it says up to where."""
        taken = list(chunks)
        said = self._about("stream.snapshot") | {
            "sequence": taken[-1].sequence if taken else 0,
            "replay": True,
            "pieces": [
                {"kind": kind, "part": part, "delta": delta} for kind, part, delta in accumulated(taken)
            ],
        }
        return [Event(in_json(said))]

    def end(self, finalized: StreamFinalized | None, totals: ReplayDone | None = None) -> list[Event]:
        """The outcome, whole."""
        if finalized is None:
            return [Event(in_json(self._about("stream.caught_up") | {"totals": _totals(totals)}))]
        at = finalized.occurred_at
        said = self._about("stream.finalized") | {
            "outcome": finalized.outcome,
            "finish_reason": finalized.finish_reason,
            "usage": finalized.usage,
            "error": finalized.error,
            "parts": None if finalized.parts is None else [_part(part) for part in finalized.parts],
            "occurred_at": None if at is None else format_time(at),
            "totals": _totals(totals),
        }
        return [Event(in_json(said))]

    def _about(self, kind: str) -> dict[str, Json]:
        return {"type": kind, "message_id": self._facts.message_id}


def _totals(done: ReplayDone | None) -> dict[str, Json] | None:
    if done is None:
        return None
    return {
        "chunks": done.chunks,
        "characters": done.characters,
        "text_bytes": done.text_bytes,
        "recorded_us": done.recorded_us,
    }


def _part(part: Part) -> dict[str, Json]:
    members: dict[str, Any] = msgspec.structs.asdict(part)
    return {"type": part.__struct_config__.tag, **members}


def _text(value: object) -> bytes:
    return str(value).encode()
