"""What the demo plays: four conversations, and the pace of their recorded answers.

    Weather    a question, a tool call and its result, the answer; then the question is edited: a branch
    Letters    a model that thinks before it answers
    Greeting   an answer that is regenerated: a sibling, and the branch moves to it
    Holiday    a long answer

The recordings hold no times, so each is given a believable pace: a wait for the first event, then gaps around
a mean. The gaps vary by a fixed rule, so that every run is timed alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from importlib.resources import files
from typing import Final, Protocol
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from eventstore.content import ToolCallPart, ToolResultPart
from eventstore.context import MAIN
from turnlog.dialects.sse import Decoder, Frame
from turnlog.facade import Context, Turnlog

EDITED: Final = "paris"
"""The branch of the edited question."""


class Recording(msgspec.Struct, frozen=True):
    """A recorded answer: the file, who gave it, and how fast it comes."""

    file: str
    dialect: str
    topic: str
    model: str
    first_seconds: float
    gap_seconds: float

    def frames(self) -> Iterator[Frame]:
        """The provider's events."""
        decoder = Decoder()
        yield from decoder.feed(files("turnlog").joinpath("fixtures", self.dialect, self.file).read_bytes())
        yield from decoder.close()

    def due(self, number: int) -> float:
        """When the event of that number, from 0, comes: in seconds after it was asked for."""
        return self.first_seconds + self.gap_seconds * (number + 0.9 * _wobble(number))


def _wobble(number: int) -> float:
    """Between 0 and 1, never twice alike: multiples of the golden ratio."""
    return number * 0.6180339887498949 % 1.0


HOLIDAY: Final = Recording("openai-text.chunks.txt", "openai_chat", "Holiday", "gpt-4.1-nano", 0.45, 0.016)
LETTERS: Final = Recording(
    "deepseek-reasoning.chunks.txt", "openai_chat", "Letters", "deepseek-reasoner", 0.8, 0.02
)
FORECAST: Final = Recording(
    "deepseek-tool-call.chunks.txt", "openai_chat", "Weather", "deepseek-reasoner", 0.5, 0.03
)
TABLE: Final = Recording(
    "anthropic-json-tool.1.chunks.txt", "anthropic", "Weather", "claude-haiku-4-5", 0.35, 0.06
)
PARIS: Final = Recording("tool_use_response.txt", "anthropic", "Weather", "claude-sonnet-4", 0.4, 0.08)
HELLO: Final = Recording("basic_response.txt", "anthropic", "Greeting", "claude-3-opus", 0.6, 0.12)
HELLO_AGAIN: Final = Recording(
    "anthropic-text.chunks.txt", "anthropic", "Greeting", "claude-sonnet-4-5", 0.5, 0.14
)

RECORDINGS: Final = (FORECAST, TABLE, PARIS, LETTERS, HELLO, HELLO_AGAIN, HOLIDAY)
"""In the order of display."""


class Stage(Protocol):
    """What the scenes are played on."""

    @property
    def log(self) -> Turnlog:
        """Where they are recorded."""
        ...

    async def stream(
        self,
        context: Context,
        recording: Recording,
        *,
        branch: str = MAIN,
        parent_id: UUID | UnsetType | None = UNSET,
    ) -> UUID:
        """Record an answer while it is played; its message id."""
        ...

    async def pause(self, seconds: float) -> None:
        """What a person or a tool takes."""
        ...


async def weather(stage: Stage) -> tuple[UUID, UUID]:
    """A tool call, then an edited question on a branch of its own; the context and its last answer."""
    context = await stage.log.create_context(title="Weather", config={"tools": ["weather", "json"]})
    await context.append_message("user", "What is the weather in San Francisco?")
    call_id = await stage.stream(context, FORECAST)
    await stage.pause(0.3)
    await _answer_tool(stage, context, call_id, MAIN, {"temperature": 58, "condition": "sunny"})
    await stage.stream(context, TABLE)
    await stage.pause(0.6)
    # The edit: a sibling of the first question, on a new branch.
    await context.append_message("user", "What is the weather in Paris?", branch=EDITED, parent_id=None)
    call_id = await stage.stream(context, PARIS, branch=EDITED)
    await stage.pause(0.3)
    # The last three events of this context.
    await _answer_tool(stage, context, call_id, EDITED, {"temperature": 61, "condition": "light rain"})
    await context.update({"title": "Weather in two cities"})
    await context.switch(EDITED)
    return context.id, call_id


async def _answer_tool(stage: Stage, context: Context, call_id: UUID, branch: str, result: object) -> None:
    """Append the result of the tool that a message called."""
    body = await stage.log.queries.body(call_id)
    call = next(part for part in body.parts if isinstance(part, ToolCallPart))
    await context.append_message("tool", [ToolResultPart(call.id, result)], branch=branch)


async def letters(stage: Stage) -> tuple[UUID, UUID]:
    """A model that thinks first."""
    context = await stage.log.create_context(title="How many r in strawberry?")
    await context.append_message("user", 'How many times does "r" occur in the word "strawberry"?')
    return context.id, await stage.stream(context, LETTERS)


async def greeting(stage: Stage) -> tuple[UUID, UUID]:
    """An answer, and another one in its place."""
    context = await stage.log.create_context(title="Hello")
    question = await context.append_message("user", "Hello, how are you?")
    await stage.stream(context, HELLO)
    await stage.pause(0.8)
    # The regeneration: a sibling of the first answer, to which the branch moves.
    return context.id, await stage.stream(context, HELLO_AGAIN, parent_id=question)


async def holiday(stage: Stage) -> tuple[UUID, UUID]:
    """A long answer."""
    context = await stage.log.create_context(title="A new holiday")
    await context.append_message("user", "Invent a new holiday and describe its traditions.")
    return context.id, await stage.stream(context, HOLIDAY)


SCENES: Final[tuple[Callable[[Stage], Awaitable[tuple[UUID, UUID]]], ...]] = (
    weather,
    letters,
    greeting,
    holiday,
)
"""Played side by side; each gives its context and the last answer in it."""
