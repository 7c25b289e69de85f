"""What schemathesis cannot know of itself: how some media types are written, and what OpenAPI cannot say.

It loads this module in its own process; see ``test_schemathesis.py``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import schemathesis
from hypothesis import strategies as st
from schemathesis import DeserializationContext, HookContext, Response, SerializationContext
from schemathesis.openapi.checks import UseAfterFree

TEXTS: Final = ("application/x-ndjson", "text/event-stream")
BEGINNINGS: Final = ('{"sequence":', "data: ")
"""Bodies that are text, and how those begin that are made here. A wrong one is still text, which no status
tells from a right one: the answer has begun when it is read, and says so in its own lines."""

MOMENTS: Final = ("at_version", "at_position", "at_time", "at_message")

DEPTH_MAX: Final = 30
"""Of free-form values; the log takes no deeper ones."""

TIMES: Final = st.datetimes(
    min_value=datetime(1700, 1, 1),
    max_value=datetime(2200, 1, 1),
    timezones=st.just(UTC),
).map(datetime.isoformat)
"""The log's times are microseconds since the epoch, of 54 bits."""

CHUNKS: Final = st.lists(st.text(max_size=20), min_size=1, max_size=4).map(
    lambda deltas: "".join(
        json.dumps({"sequence": n, "delta": delta}) + "\n" for n, delta in enumerate(deltas, 1)
    )
)

PROVIDER_STREAMS: Final = st.text(min_size=1, max_size=40).map(
    lambda text: f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': text}}]})}\n\n"
)

schemathesis.openapi.format("date-time", TIMES)
schemathesis.openapi.format("ndjson", CHUNKS)
schemathesis.openapi.format("event-stream", PROVIDER_STREAMS)


@schemathesis.serializer("application/msgpack")
def to_msgpack(_: SerializationContext, value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


@schemathesis.serializer(*TEXTS)
def to_text(_: SerializationContext, value: Any) -> bytes:
    return str(value).encode()


@schemathesis.deserializer("application/x-ndjson")
def from_lines(_: DeserializationContext, response: Response) -> Any:
    """The last line; ``test_schema.py`` looks at all of them. A reader that was ended at once sees none."""
    lines = response.content.splitlines() or [b'{"type":"closing","reason":"shutdown","after":0}']
    return msgspec.json.decode(lines[-1])


@schemathesis.hook  # pyright: ignore[reportUnknownMemberType] -- its annotations are partial
def filter_case(_: HookContext, case: Any) -> bool:
    """What OpenAPI cannot say: which parameters exclude each other, and what a free-form value may hold."""
    query: dict[str, Any] = case.query or {}
    headers: dict[str, Any] = case.headers or {}
    if sum(name in query for name in MOMENTS) > 1:
        return False
    if "branch" in query and "all_branches" in query:
        return False
    if "live" in query and query.get("format") not in ("ndjson", "sse"):
        return False
    if "If-Match" in headers and "If-None-Match" in headers:
        return False
    if case.media_type in TEXTS and not (isinstance(case.body, str) and case.body.startswith(BEGINNINGS)):
        return False
    if query.get("dialect") == "anthropic" and case.media_type == "text/event-stream":
        return False  # the streams that are made here are OpenAI's
    return _fits(case.body)


def _fits(value: Any, depth: int = 0) -> bool:
    match value:
        case dict():
            return depth < DEPTH_MAX and all(_fits(one, depth + 1) for one in value.values())  # pyright: ignore[reportUnknownVariableType] -- of anything
        case list():
            return depth < DEPTH_MAX and all(_fits(one, depth + 1) for one in value)  # pyright: ignore[reportUnknownVariableType] -- of anything
        case int():
            return -(2**63) <= value < 2**64
        case float():
            return not value.is_integer()  # to JSON Schema it is an integer, to msgspec it is not
        case _:
            return True


@schemathesis.hook  # pyright: ignore[reportUnknownMemberType] -- its annotations are partial
def filter_failure(_: HookContext, failure: Any, case: Any, response: Any) -> bool:
    """A deleted context is a tombstone: it takes no more events, and stays readable. A branch is gone."""
    del case, response
    return not (isinstance(failure, UseAfterFree) and "/branches/" not in failure.free)
