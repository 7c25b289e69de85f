"""How a stream's end is said in each dialect: finish reasons, usage and errors.

| openai_chat               | anthropic                                 | ai_sdk         |
|---|---|---|
| stop                      | end_turn, stop_sequence                   | stop           |
| length                    | max_tokens, model_context_window_exceeded | length         |
| tool_calls, function_call | tool_use                                  | tool-calls     |
| content_filter            | refusal                                   | content-filter |

A reason in a dialect's own words stays as it is, one in another's is translated, one that nobody knows is
passed on. Without one, ``completed`` is ``stop``, or ``tool_calls`` if there were any, and ``aborted`` is
itself: no provider has a word for an answer that was stopped on purpose, and the clients hand on words that
they do not know. An answer that is incomplete by accident has no reason, but an error.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from eventstore.content import Json
from eventstore.events import StreamFinalized
from turnlog.dialects.rendering import in_json
from turnlog.dialects.wire import as_object

Words: TypeAlias = Literal["openai_chat", "anthropic", "ai_sdk"]

_DIALECTS: Final[tuple[Words, ...]] = ("openai_chat", "anthropic", "ai_sdk")
_REASONS: Final = (
    ("stop", "end_turn", "stop"),
    ("stop", "stop_sequence", "stop"),
    ("length", "max_tokens", "length"),
    ("length", "model_context_window_exceeded", "length"),
    ("tool_calls", "tool_use", "tool-calls"),
    ("function_call", "tool_use", "tool-calls"),
    ("content_filter", "refusal", "content-filter"),
)
_WHY: Final = {
    "failed": "the answer failed",
    "interrupted": "the answer was interrupted: its events ceased without an end",
}


class Tokens(msgspec.Struct, frozen=True):
    """Usage in no dialect's words. ``input`` counts those read from and written to a cache too."""

    input: int
    output: int
    cached: int | None = None
    cache_written: int | None = None
    reasoning: int | None = None


def finish_reason(words: Words, finalized: StreamFinalized, *, called: bool) -> str | None:
    """Why the model stopped; None where nobody said so. ``called``: it called tools."""
    reason = finalized.finish_reason
    if not reason:
        match finalized.outcome:
            case "completed":
                reason = "tool_calls" if called else "stop"
            case "aborted":
                return "aborted"
            case _:
                return None
    own = _DIALECTS.index(words)
    for row in _REASONS:
        if row[own] == reason:
            return reason
    return next((row[own] for row in _REASONS if reason in row), reason)


def error_of(finalized: StreamFinalized) -> dict[str, Json]:
    """The error as it was recorded, with a ``type`` and a ``message`` in any case."""
    error = dict(finalized.error or {})
    message = error.get("message")
    if not message:
        error["message"] = _WHY.get(finalized.outcome, finalized.outcome)
    elif not isinstance(message, str):
        error["message"] = in_json(message).decode()
    if not isinstance(error.get("type"), str):
        error["type"] = finalized.outcome
    return error


def openai_usage(usage: dict[str, Json]) -> dict[str, Json]:
    """Usage in the words of OpenAI's chat completions; as it is where it cannot be read."""
    tokens = None if "prompt_tokens" in usage else tokens_of(usage)
    if tokens is None:
        return usage
    said: dict[str, Json] = {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
    }
    if tokens.cached is not None:
        said["prompt_tokens_details"] = {"cached_tokens": tokens.cached}
    if tokens.reasoning is not None:
        said["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning}
    return said


def anthropic_usage(usage: dict[str, Json]) -> dict[str, Json]:
    """Usage in Anthropic's words, whose ``input_tokens`` leave those of a cache out.

    ``output_tokens`` must be there: 0 stands for what is not known.
    """
    tokens = tokens_of(usage)
    if tokens is None or ("input_tokens" in usage and "input_tokens_details" not in usage):
        return {"output_tokens": 0, **usage}
    cached, written = tokens.cached or 0, tokens.cache_written or 0
    said: dict[str, Json] = {"input_tokens": tokens.input - cached - written, "output_tokens": tokens.output}
    if tokens.cached is not None:
        said["cache_read_input_tokens"] = tokens.cached
    if tokens.cache_written is not None:
        said["cache_creation_input_tokens"] = tokens.cache_written
    if tokens.reasoning is not None:
        said["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return said


def ai_sdk_usage(usage: dict[str, Json]) -> dict[str, Json]:
    """Usage in the words of the AI SDK's ``LanguageModelUsage``; as it is where it cannot be read."""
    tokens = tokens_of(usage)
    if tokens is None:
        return usage
    said: dict[str, Json] = {
        "inputTokens": tokens.input,
        "outputTokens": tokens.output,
        "totalTokens": tokens.input + tokens.output,
        "reasoningTokens": tokens.reasoning,
        "cachedInputTokens": tokens.cached,
    }
    return {name: count for name, count in said.items() if count is not None}


def tokens_of(usage: dict[str, Json]) -> Tokens | None:
    """Usage as OpenAI's two interfaces and Anthropic's write it."""
    for read, written in (("prompt", "completion"), ("input", "output")):
        whole, output = _count(usage.get(f"{read}_tokens")), _count(usage.get(f"{written}_tokens"))
        if whole is None or output is None:
            continue
        inputs = as_object(usage.get(f"{read}_tokens_details"))
        outputs = as_object(usage.get(f"{written}_tokens_details"))
        reasoning = _count(outputs.get("reasoning_tokens", outputs.get("thinking_tokens")))
        cached = _count(inputs.get("cached_tokens"))
        if inputs or read == "prompt":
            return Tokens(whole, output, cached, _count(inputs.get("cache_write_tokens")), reasoning)
        cached = _count(usage.get("cache_read_input_tokens"))
        stored = _count(usage.get("cache_creation_input_tokens"))
        return Tokens(whole + (cached or 0) + (stored or 0), output, cached, stored, reasoning)
    return None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
