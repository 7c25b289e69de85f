"""How an end is said: reasons and usage as each dialect words and counts them, errors with a message."""

from __future__ import annotations

import pytest
from rendered import ended

from eventstore.content import Json
from eventstore.events import Outcome
from turnlog.dialects.endings import (
    Words,
    ai_sdk_usage,
    anthropic_usage,
    error_of,
    finish_reason,
    openai_usage,
)


@pytest.mark.parametrize(
    ("said", "openai_chat", "anthropic", "ai_sdk"),
    [
        ("stop", "stop", "end_turn", "stop"),
        ("end_turn", "stop", "end_turn", "stop"),
        ("stop_sequence", "stop", "stop_sequence", "stop"),
        ("length", "length", "max_tokens", "length"),
        ("max_tokens", "length", "max_tokens", "length"),
        ("model_context_window_exceeded", "length", "model_context_window_exceeded", "length"),
        ("tool_calls", "tool_calls", "tool_use", "tool-calls"),
        ("function_call", "function_call", "tool_use", "tool-calls"),
        ("tool_use", "tool_calls", "tool_use", "tool-calls"),
        ("content_filter", "content_filter", "refusal", "content-filter"),
        ("refusal", "content_filter", "refusal", "content-filter"),
        ("tool-calls", "tool_calls", "tool_use", "tool-calls"),
        ("pause_turn", "pause_turn", "pause_turn", "pause_turn"),
        ("eos", "eos", "eos", "eos"),
    ],
)
def test_a_reason_is_said_in_the_dialects_words(
    said: str, openai_chat: str, anthropic: str, ai_sdk: str
) -> None:
    expected: dict[Words, str] = {"openai_chat": openai_chat, "anthropic": anthropic, "ai_sdk": ai_sdk}
    for words, reason in expected.items():
        for outcome in ("completed", "aborted", "failed", "interrupted"):
            finalized = ended(outcome, finish_reason=said)
            assert finish_reason(words, finalized, called=False) == reason


@pytest.mark.parametrize(
    ("outcome", "called", "reason"),
    [
        ("completed", False, "end_turn"),
        ("completed", True, "tool_use"),
        ("aborted", True, "aborted"),
        ("failed", True, None),
        ("interrupted", False, None),
    ],
)
def test_without_a_reason_the_outcome_says_it(outcome: Outcome, called: bool, reason: str | None) -> None:
    for unsaid in (None, ""):
        assert finish_reason("anthropic", ended(outcome, finish_reason=unsaid), called=called) == reason


OPENAI: dict[str, Json] = {
    "prompt_tokens": 10,
    "completion_tokens": 7,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
RESPONSES: dict[str, Json] = {
    "input_tokens": 10,
    "output_tokens": 7,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens_details": {"reasoning_tokens": 3},
}
ANTHROPIC: dict[str, Json] = {
    "input_tokens": 6,
    "output_tokens": 7,
    "cache_read_input_tokens": 4,
    "output_tokens_details": {"thinking_tokens": 3},
}
AI_SDK: dict[str, Json] = {
    "inputTokens": 10,
    "outputTokens": 7,
    "totalTokens": 17,
    "reasoningTokens": 3,
    "cachedInputTokens": 4,
}


@pytest.mark.parametrize("said", [OPENAI, RESPONSES, ANTHROPIC])
def test_usage_is_counted_as_the_dialect_counts(said: dict[str, Json]) -> None:
    assert openai_usage(said) == OPENAI
    assert anthropic_usage(said) == ANTHROPIC
    assert ai_sdk_usage(said) == AI_SDK


def test_a_dialects_own_usage_keeps_all_that_it_says() -> None:
    assert openai_usage({**OPENAI, "prompt_cache_hit_tokens": 4}) == {**OPENAI, "prompt_cache_hit_tokens": 4}
    assert anthropic_usage({**ANTHROPIC, "service_tier": "standard"}) == {
        **ANTHROPIC,
        "service_tier": "standard",
    }


def test_what_is_written_to_a_cache_is_input() -> None:
    usage: dict[str, Json] = {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 0,
    }
    assert openai_usage(usage)["prompt_tokens"] == 6
    assert anthropic_usage({"prompt_tokens": 6, "completion_tokens": 2}) == {
        "input_tokens": 6,
        "output_tokens": 2,
    }


@pytest.mark.parametrize(
    "usage", [{"total_tokens": 3}, {"input_tokens": "3", "output_tokens": True}, {"cost": 0.5}, {}]
)
def test_usage_that_cannot_be_read_is_passed_on(usage: dict[str, Json]) -> None:
    assert openai_usage(usage) == usage
    assert ai_sdk_usage(usage) == usage
    assert anthropic_usage(usage) == {"output_tokens": 0, **usage}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"type": "t", "message": "m", "code": 1}, {"type": "t", "message": "m", "code": 1}),
        ({"message": "m", "type": None}, {"message": "m", "type": "failed"}),
        ({"message": {"why": "m"}}, {"message": '{"why":"m"}', "type": "failed"}),
        ({"message": ""}, {"message": "the answer failed", "type": "failed"}),
        (None, {"message": "the answer failed", "type": "failed"}),
    ],
)
def test_an_error_has_a_type_and_a_message(error: dict[str, Json] | None, said: dict[str, Json]) -> None:
    assert error_of(ended("failed", error=error)) == said
