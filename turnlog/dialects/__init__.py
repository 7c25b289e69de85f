"""Provider wire formats <-> our events, without I/O: the dialects by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from eventstore.errors import Refused
from turnlog.dialects.anthropic import Anthropic
from turnlog.dialects.openai_chat import OpenAIChat
from turnlog.dialects.wire import Dialect

DIALECTS: Final[dict[str, Callable[[], Dialect]]] = {
    Anthropic.name: Anthropic,
    OpenAIChat.name: OpenAIChat,
}
"""A new state machine for each stream."""


def dialect(name: str) -> Dialect:
    """A state machine for one stream in the dialect of that name.

    Raises ``Refused`` with code ``unknown_dialect``; field ``known`` lists the names.
    """
    machine = DIALECTS.get(name)
    if machine is None:
        known = sorted(DIALECTS)
        raise Refused(
            "unknown_dialect", f"unknown dialect {name!r}; known: {', '.join(known)}", name=name, known=known
        )
    return machine()


def no_event_of(name: str) -> Refused:
    """The error for an input that holds no event of the dialect of that name."""
    return Refused(
        "malformed_stream", f"the input holds no event of {name}", dialect=name, known=sorted(DIALECTS)
    )
