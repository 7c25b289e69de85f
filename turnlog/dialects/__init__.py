"""Provider wire formats <-> our events, without I/O: the dialects by name, to read and to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from eventstore.errors import Refused
from turnlog.dialects.ai_sdk_out import AISdkOut
from turnlog.dialects.anthropic import Anthropic
from turnlog.dialects.anthropic_out import AnthropicOut
from turnlog.dialects.openai_chat import OpenAIChat
from turnlog.dialects.openai_chat_out import OpenAIChatOut
from turnlog.dialects.plain_out import RawOut, TextOut
from turnlog.dialects.rendering import Renderer, StreamFacts
from turnlog.dialects.turnlog_out import TurnlogOut
from turnlog.dialects.wire import Dialect

DIALECTS: Final[dict[str, Callable[[], Dialect]]] = {
    Anthropic.name: Anthropic,
    OpenAIChat.name: OpenAIChat,
}
"""What a provider's stream may be in: a new state machine for each stream."""

RENDERERS: Final[dict[str, Callable[[StreamFacts], Renderer]]] = {
    AISdkOut.name: AISdkOut,
    AnthropicOut.name: AnthropicOut,
    OpenAIChatOut.name: OpenAIChatOut,
    RawOut.name: RawOut,
    TextOut.name: TextOut,
    TurnlogOut.name: TurnlogOut,
}
"""What a stored stream may be read in: a new state machine for each reader."""


def dialect(name: str) -> Dialect:
    """A state machine for one stream in the dialect of that name.

    Raises ``Refused`` with code ``unknown_dialect``; field ``known`` lists the names.
    """
    machine = DIALECTS.get(name)
    if machine is None:
        raise _unknown(name, sorted(DIALECTS))
    return machine()


def renderer(name: str, facts: StreamFacts) -> Renderer:
    """A state machine for one reader of a stream, in the dialect of that name.

    Raises ``Refused`` with code ``unknown_dialect``; field ``known`` lists the names.
    """
    machine = RENDERERS.get(name)
    if machine is None:
        raise _unknown(name, sorted(RENDERERS))
    return machine(facts)


def no_event_of(name: str) -> Refused:
    """The error for an input that holds no event of the dialect of that name."""
    return Refused(
        "malformed_stream", f"the input holds no event of {name}", dialect=name, known=sorted(DIALECTS)
    )


def _unknown(name: str, known: list[str]) -> Refused:
    return Refused(
        "unknown_dialect", f"unknown dialect {name!r}; known: {', '.join(known)}", name=name, known=known
    )
