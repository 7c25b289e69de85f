"""``turnlog record``: a provider's stream from a file or standard input, recorded as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from eventstore.errors import Refused
from projections.answers import Timeline
from turnlog.cli.access import writing
from turnlog.cli.identify import find_context
from turnlog.cli.options import DEFAULTS, Options
from turnlog.cli.output import Output
from turnlog.cli.rendering import identifier, stream_line
from turnlog.cli.sources import STDIN, framed, paced, refuse_speed, slices, steady
from turnlog.cli.text import count, one_line
from turnlog.cli.waiting import progress
from turnlog.dialects import dialect as dialect_named
from turnlog.dialects import no_event_of
from turnlog.dialects.interpreter import Interpreter
from turnlog.dialects.sse import Frame
from turnlog.facade import Context, Turnlog
from turnlog.shapes import plain
from turnlog.tee import Tee, tee


async def record(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    dialect: str,
    context: str | None = None,
    speed: float | None = None,
    branch: str | None = None,
    title: str | None = None,
    prompt: str | None = None,
    keep_raw: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    options: Options = DEFAULTS,
) -> None:
    """Record a provider's stream as an answer in a context.

    The stream is server-sent events, or one JSON object on each line, from a file or, for -, from standard
    input; it is recorded as it arrives. Interrupted, it ends as aborted with the text so far. If its first
    event cannot be read, nothing is written.

    Args:
        file: the recording, or - for standard input.
        dialect: what the provider speaks: openai_chat or anthropic.
        context: the context that gets the answer; a new one unless given.
        speed: play the events at a steady 50 a second times this, as recordings hold no times; 0 or left out:
            as fast as they come.
        branch: the branch that gets the answer; the active one unless named.
        title: the new context's title.
        prompt: a user's message to append before.
        keep_raw: keep the provider's own bytes too.
    """
    output = Output(options.json)
    refuse_speed(speed)
    if title is not None and context is not None:
        raise Refused("invalid_argument", "--title is for a new context, not for --context", argument="title")
    async with slices(file) as source:
        frames = framed(source)
        beginning = await _beginning(frames, dialect)
        async with writing(options, output, create=context is None) as log:
            target = await _target(log, context, title or (None if file == STDIN else Path(file).name))
            name = branch or (await log.queries.context(target.id)).active_branch
            if prompt is not None:
                await target.append_message("user", prompt, branch=name)
            provided = paced(_chained(beginning, frames), steady(speed))
            stream = tee(log.store, target.id, provided, dialect=dialect, branch=name, keep_raw=keep_raw)
            await _pass_through(stream, output)
            timeline = await log.queries.timeline(stream.message_id)
    _answer(output, timeline)


async def _pass_through(stream: Tee[bytes], output: Output) -> None:
    """Record to the end; cancelled, say what is kept."""
    try:
        with progress(output, "recording: chunks", None) as tell:
            async with aclosing(stream):
                async for _ in stream:
                    tell(stream.recorder.durable)
    except asyncio.CancelledError:
        kept = count(stream.recorder.durable, "chunk")
        output.say("interrupted: ", kept, " kept in ", identifier(stream.message_id))
        raise


async def _beginning(frames: AsyncIterator[Frame], dialect: str) -> list[Frame]:
    """The frames up to the first event of the dialect: before that nothing is to be written.

    An input that ends before is refused too: it is no connection that died, but a recording of nothing.
    """
    interpreter = Interpreter(dialect_named(dialect))
    beginning: list[Frame] = []
    async for frame in frames:
        beginning.append(frame)
        _ = list(interpreter.read(frame.raw))
        if interpreter.recognized:
            return beginning
    _ = list(interpreter.close())
    if not interpreter.recognized:
        raise no_event_of(dialect)
    return beginning


async def _chained(beginning: list[Frame], frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    for frame in beginning:
        yield frame
    async for frame in frames:
        yield frame


async def _target(log: Turnlog, context: str | None, title: str | None) -> Context:
    if context is None:
        return await log.create_context(title=title)
    return log.context(find_context(log.store.log, context))


def _answer(output: Output, timeline: Timeline) -> None:
    if output.json:
        output.emit(plain(timeline))
        return
    output.line(
        Text("recorded "),
        identifier(timeline.message_id),
        (" in ", "faint"),
        identifier(timeline.context_id),
        (f" · {one_line(timeline.model)}" if timeline.model else "", "model"),
        (" · ", "faint"),
        stream_line(timeline),
    )
