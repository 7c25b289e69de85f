"""What schemathesis cannot know of itself: how two media types are written, and what OpenAPI cannot say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext, SerializationContext


@schemathesis.serializer("application/msgpack")
def to_msgpack(_: SerializationContext, value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


CHUNKS = st.lists(st.text(max_size=20), max_size=4).map(
    lambda deltas: "".join(
        json.dumps({"sequence": n, "delta": delta}) + "\n" for n, delta in enumerate(deltas, 1)
    )
)
schemathesis.openapi.format("ndjson", CHUNKS)

PROVIDER_STREAMS = st.text(min_size=1, max_size=40).map(
    lambda text: f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': text}}]})}\n\n"
)
schemathesis.openapi.format("event-stream", PROVIDER_STREAMS)


TIMES = st.datetimes(
    min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)
).map(lambda moment: moment.isoformat())

schemathesis.openapi.format("date-time", TIMES)
"""Those that the log takes: microseconds since the epoch of 54 bits."""

TEXTS = ("application/x-ndjson", "text/event-stream")
"""Bodies that are text, whatever is in it: nothing else can be sent instead."""


@schemathesis.serializer("application/x-ndjson", "text/event-stream")
def to_text(_: SerializationContext, value: Any) -> bytes:
    return str(value).encode()


@schemathesis.deserializer("application/x-ndjson")
def from_lines(_: DeserializationContext, response: Response) -> Any:
    lines = [msgspec.json.decode(line) for line in response.content.splitlines() if line]
    return lines[-1] if lines else {"type": "closing", "reason": "shutdown", "after": 0}


MOMENTS = ("at_version", "at_position", "at_time", "at_message")


@schemathesis.hook
def filter_case(_: HookContext, case: Case) -> bool:
    """What OpenAPI cannot say: which parameters exclude each other, and what a free-form value may hold."""
    query, headers = case.query or {}, case.headers or {}
    if sum(name in query for name in MOMENTS) > 1:
        return False
    if "If-Match" in headers and "If-None-Match" in headers:
        return False
    if case.media_type in TEXTS and not isinstance(case.body, str):
        return False
    return _fits(case.body)


def _fits(value: Any, depth: int = 0) -> bool:
    """Whether the log takes it: numbers of 64 bits, and not too deep."""
    match value:
        case dict():
            return depth < 30 and all(_fits(one, depth + 1) for one in value.values())
        case list():
            return depth < 30 and all(_fits(one, depth + 1) for one in value)
        case int():
            return -(2**63) <= value < 2**64
        case float():
            return not value.is_integer()  # to JSON Schema it is one, to msgspec it is not
        case _:
            return True
