"""What the readers of copilot_chat share: values of one type or none, and words in any spelling."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from eventstore.limits import NAME_CHARACTERS_MAX

FORMAT: Final = "copilot_chat"


def is_exact(value: str) -> bool:
    """Whether microseconds hold the time: nanoseconds that are not zero are cut off."""
    return len(value) <= 27 or not value[26:29].strip("0").isdecimal()


def squashed(word: str) -> str:
    """One spelling for ``awaiting_l_l_m_response``, ``awaiting_llm_response`` and ``AwaitingLLMResponse``."""
    return word.replace("_", "").replace("-", "").lower()


def object_of(value: object) -> dict[str, Any] | None:
    """A JSON object, or None."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def list_of(value: object) -> list[Any] | None:
    """A JSON array, or None."""
    return cast("list[Any]", value) if isinstance(value, list) else None


def text_of(value: object) -> str | None:
    """A string, or None."""
    return value if isinstance(value, str) else None


def name_of(value: object) -> str | None:
    """What the log takes as a name, or None."""
    return value if isinstance(value, str) and 0 < len(value) <= NAME_CHARACTERS_MAX else None


def rest_of(found: dict[str, Any], *known: str) -> dict[str, Any]:
    """The members that are not ``known``: what we do not model."""
    return {key: value for key, value in found.items() if key not in known}


def as_text(value: object) -> str:
    """A JSON value as its text."""
    return msgspec.json.encode(value).decode()
