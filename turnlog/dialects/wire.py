"""What a dialect takes and gives, and how provider JSON is read without trusting it."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, Final, Protocol, cast

import msgspec

from eventstore.content import Json, Kind, Part
from eventstore.errors import Refused
from eventstore.events import Outcome
from eventstore.limits import JSON_DEPTH_MAX

REPLACEMENT: Final = "\ufffd"
"""Stands for what no UTF-8 text can hold: half of a surrogate pair that its other half never joined."""

DEPTH_MAX: Final = JSON_DEPTH_MAX - 4
"""Nesting of a provider's JSON: what is kept of it is wrapped in up to four levels of ours."""

_INTEGER_MIN, _INTEGER_MAX = -(1 << 63), (1 << 64) - 1
_BRACKETS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)|[][{}]', re.DOTALL)


class Opened(msgspec.Struct, frozen=True):
    """The provider began to answer. ``metadata`` is what else it says of the answer as a whole."""

    model: str | None = None
    provider_id: str | None = None
    metadata: dict[str, Json] = {}


class Piece(msgspec.Struct, frozen=True):
    """One chunk in the making. The delta is empty only where ``raw`` alone is kept."""

    kind: Kind
    part: str | None
    delta: str
    raw: bytes | None = None


class Ended(msgspec.Struct, frozen=True):
    """The end as far as the provider told it.

    ``completed``: it said so. ``failed``: it reported an error, in ``error`` as it came. ``interrupted``:
    its events ceased. ``parts`` is None where the fold of the pieces is the final content.
    """

    outcome: Outcome
    finish_reason: str | None = None
    usage: dict[str, Json] | None = None
    error: dict[str, Json] | None = None
    parts: tuple[Part, ...] | None = None


class Dialect(Protocol):
    """The state machine of one stream in one provider's wire format."""

    @property
    def name(self) -> str:
        """The dialect's name."""
        ...

    @property
    def recognized(self) -> bool:
        """Whether any event so far was one of the dialect, even one that says nothing, or reports an error.

        An event of another kind is no fault by itself: providers add to their formats.
        """
        ...

    def feed(self, event: dict[str, Json], name: str | None = None) -> list[Opened | Piece]:
        """What one provider event says; ``name`` is its SSE event name.

        Raises ``Refused`` with code ``malformed_stream``.
        """
        ...

    def finish(self) -> None:
        """The frame ``[DONE]`` came."""
        ...

    def close(self) -> tuple[list[Piece], Ended]:
        """The events are over, whatever the reason: what was held back, and the end."""
        ...


def parse(text: str, line: int | None = None) -> dict[str, Json]:
    """The JSON object in a frame's data.

    NaN and infinities read as null: they are not JSON, but a log probability of a token is no reason to
    lose an answer. Halves of surrogate pairs stay for ``Characters`` to join. Raises ``Refused`` with code
    ``malformed_stream`` and the line.
    """
    if _depth(text) > DEPTH_MAX:
        raise malformed(f"JSON nested deeper than {DEPTH_MAX}", line)
    try:
        value: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        try:
            value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
        except (ValueError, RecursionError):
            raise malformed("not JSON", line) from None
    return as_event(value, line)


def as_event(value: object, line: int | None = None) -> dict[str, Json]:
    """A decoded provider event, refused unless it is an object."""
    if not isinstance(value, dict):
        raise malformed(f"a provider event is an object, not a {type(value).__name__}", line)
    return cast("dict[str, Json]", value)


def malformed(message: str, line: int | None = None) -> Refused:
    """The stream is not what its dialect says; the message never holds its text."""
    if line is None:
        return Refused("malformed_stream", message)
    return Refused("malformed_stream", f"line {line}: {message}", line=line)


def _depth(text: str) -> int:
    """How deep the brackets outside strings nest; exact only where it could matter."""
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return 0
    depth = deepest = 0
    for token in _BRACKETS.finditer(text):
        match token[0]:
            case "[" | "{":
                depth += 1
                deepest = max(deepest, depth)
            case "]" | "}":
                depth -= 1
            case _:
                pass
    return deepest


def _finite(text: str) -> float | None:
    value = float(text)
    return value if isfinite(value) else None


def storable(value: Any, depth: int = 1) -> Json:
    """The same value in what the log can hold.

    Lone surrogates become U+FFFD, numbers that are not finite null, integers beyond 64 bits and anything
    that is not JSON their text. Raises ``Refused`` with code ``malformed_stream`` beyond ``DEPTH_MAX``.
    """
    if isinstance(value, str):
        return whole(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if _INTEGER_MIN <= value <= _INTEGER_MAX else f"{value:#x}"
    if isinstance(value, float):
        return value if isfinite(value) else None
    if depth > DEPTH_MAX:
        raise malformed(f"a value nested deeper than {DEPTH_MAX}")
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {whole(str(key)): storable(item, depth + 1) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [storable(item, depth + 1) for item in cast("list[object]", value)]
    return whole(str(value))


def whole(text: str) -> str:
    """The text with surrogate pairs joined and lone halves replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Characters:
    """Deltas made of whole characters.

    A provider may cut JSON text between the two escapes of one character, as in ``\\ud83d`` | ``\\ude00``.
    The first half waits here for the next delta of its kind and part, because half a character cannot be
    stored; one that waits in vain becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._halves: dict[tuple[Kind, str | None], str] = {}

    def pieces(self, kind: Kind, part: str | None, text: str) -> list[Piece]:
        """The piece that ``text`` adds, if any."""
        key = (kind, part)
        if self._halves:
            text = self._halves.pop(key, "") + text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._halves[key] = text[-1]
            text = text[:-1]
        return [Piece(kind, part, whole(text))] if text else []

    def close(self) -> list[Piece]:
        """What waited in vain."""
        left = [Piece(kind, part, REPLACEMENT) for kind, part in self._halves]
        self._halves.clear()
        return left


def note(part: str | None, content: dict[str, Json]) -> Piece:
    """A chunk of kind ``other``: a JSON object that says something about its part."""
    return Piece("other", part, msgspec.json.encode(storable(content)).decode())


def as_object(value: Any) -> dict[str, Json]:
    """The value if it is an object, or an empty one."""
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Json]:
    """The value if it is a list, or an empty one."""
    return cast("list[Json]", value) if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """The value if it is a string, or an empty one."""
    return value if isinstance(value, str) else ""


def as_index(value: Any, default: int) -> int:
    """A choice's, call's or block's number, which becomes a part of a part's name."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _INTEGER_MAX:
        raise malformed("an index is not a small whole number")
    return value


def as_error(value: Any) -> dict[str, Json]:
    """A provider's error as it came, in an object."""
    error = storable(value)
    return cast("dict[str, Json]", error) if isinstance(error, dict) else {"message": error}
