"""``turnlog demo``: recorded answers of real models, told as one story."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import anyio
import msgspec
from cyclopts import Parameter
from msgspec import UNSET, UnsetType
from rich.text import Text

from eventstore.context import MAIN
from eventstore.units import wall_clock_us
from projections.answers import ContextState, ReplayChunk
from projections.timetravel import NOW, AtVersion
from turnlog.cli.access import writing
from turnlog.cli.bodies import collect, with_bodies
from turnlog.cli.contexts import context_row
from turnlog.cli.conversation import outline
from turnlog.cli.demo_board import Board
from turnlog.cli.demo_scenes import SCENES, Recording
from turnlog.cli.differences import difference
from turnlog.cli.options import DEFAULTS, Options
from turnlog.cli.output import Output, fitted
from turnlog.cli.player import Player, totals
from turnlog.cli.rendering import branches, version
from turnlog.cli.sources import refuse_speed
from turnlog.cli.text import count, duration, one_line, short
from turnlog.dialects import dialect as dialect_named
from turnlog.dialects.interpreter import Interpreter
from turnlog.facade import Context, Turnlog
from turnlog.tee import tee

WIDTH: Final = 96
"""Cells of the story where stdout is no terminal."""

BESIDE_CELLS_MIN: Final = 90
"""Two moments stand side by side from this width on."""

EVENTS_AGO: Final = 3

REPLAY_SECONDS: Final = 3.0
"""How long the replay is to take at speed 1 of the demo."""

CONTEXTS_SHOWN: Final = 8

INDENT: Final = "   "


class Told(msgspec.Struct, frozen=True):
    """What the demo made: its contexts, and the last answer in each, in the order of the scenes."""

    contexts: list[UUID]
    answers: list[UUID]


async def demo(
    *,
    speed: float = 1.0,
    if_empty: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    options: Options = DEFAULTS,
) -> None:
    """Record, branch, go back, compare and replay, in ten seconds.

    Four conversations are recorded at once from packaged recordings of OpenAI-compatible and Anthropic
    streams. Run again, it adds them anew.

    Args:
        speed: of everything that takes time; 0 is at once.
        if_empty: do nothing if the directory holds anything.
    """
    refuse_speed(speed)
    output = Output(options.json)
    async with writing(options, output, create=True) as log:
        if if_empty and log.store.head().position:
            return
        story = Story(output, log, speed, options)
        told = await story.record()
        if options.json:
            output.emit({"context_ids": told.contexts, "message_ids": told.answers})
            return
        await story.contexts(told)
        await story.past(told.contexts[0])
        await story.replay(told.answers[1])
        await story.ending(told)


class Story:
    """The demo's chapters; also the stage on which its scenes are played."""

    def __init__(self, output: Output, log: Turnlog, speed: float, options: Options) -> None:
        self.log: Turnlog = log
        self._output = output
        self._speed = speed
        self._options = options
        self._width = output.width or WIDTH
        self._board = Board(output, self._width, anyio.current_time)
        self._chapter = 0

    async def record(self) -> Told:
        """Chapter 1: all scenes at once."""
        self._title("Record", "What real models streamed, from recordings: four conversations at once.")
        before, start = self.log.store.head().position, anyio.current_time()
        results: list[tuple[UUID, UUID] | None] = [None] * len(SCENES)

        async def play(index: int) -> None:
            results[index] = await SCENES[index](self)

        with self._board:
            async with anyio.create_task_group() as showing:
                showing.start_soon(self._board.refresh)
                async with anyio.create_task_group() as scenes:
                    for index in range(len(SCENES)):
                        scenes.start_soon(play, index)
                showing.cancel_scope.cancel()
        seconds = anyio.current_time() - start
        commits = self.log.store.head().position - before
        chunks = sum(row.chunks for row in self._board.rows.values())
        told = f"{count(chunks, 'chunk')} in {duration(seconds * 1e6)}, {count(commits, 'commit')}"
        self._line()
        self._line((f"{INDENT}{told}: each was on the disk before it was shown.", "faint"))
        done = [result for result in results if result is not None]
        return Told([context for context, _ in done], [answer for _, answer in done])

    async def stream(
        self,
        context: Context,
        recording: Recording,
        *,
        branch: str = MAIN,
        parent_id: UUID | UnsetType | None = UNSET,
    ) -> UUID:
        """Record an answer while it is played; its message id."""
        row = self._board.begin(recording)
        heard = Interpreter(dialect_named(recording.dialect))
        provider = tee(
            self.log.store,
            context.id,
            self._provided(recording),
            dialect=recording.dialect,
            branch=branch,
            parent_id=parent_id,
        )
        async with aclosing(provider):
            async for sent in provider:
                for event in heard.read(sent):
                    row.hear(event.pieces)
        self._board.end(row)
        return provider.message_id

    async def _provided(self, recording: Recording) -> AsyncIterator[bytes]:
        """What the provider sends, when it sends it."""
        start = anyio.current_time()
        for number, frame in enumerate(recording.frames()):
            if self._speed:
                await anyio.sleep_until(start + recording.due(number) / self._speed)
            yield frame.raw

    async def pause(self, seconds: float) -> None:
        """What a person or a tool takes."""
        if self._speed:
            await anyio.sleep(seconds / self._speed)

    async def contexts(self, told: Told) -> None:
        """Chapter 2: the list."""
        self._title("The contexts", "A view, folded from the log: delete it, and it is folded again.")
        page = await self.log.queries.contexts(limit=CONTEXTS_SHOWN)
        now = wall_clock_us()
        rows = [context_row(context, now) for context in page.items]
        for context, row in zip(page.items, rows, strict=True):
            if context.id not in told.contexts:
                for cell in row:
                    cell.stylize("faint")
        headers = ("context", "messages", "branch", "changed", "title")
        self._output.table(headers, rows, right="messages", indent=INDENT)
        if len(page.items) > len(told.contexts):
            self._line()
            self._line((f"{INDENT}Those in dim were there before: every run adds its own.", "faint"))

    async def past(self, context_id: UUID) -> None:
        """Chapters 3 and 4: a context now and three events ago, and the difference."""
        now = await self.log.queries.context(context_id)
        then = await self.log.queries.context(context_id, AtVersion(now.version - EVENTS_AGO))
        self._title(
            "One context, now and three events ago",
            "Nothing is ever overwritten: any version can be read again.",
        )
        beside = self._width >= BESIDE_CELLS_MIN
        width = self._width - len(INDENT)
        if beside:
            width = (width - 3) // 2
        left = [line async for line in self._moment("now", now, width)]
        right = [line async for line in self._moment("three events ago", then, width)]
        _dim_what_is_common(left, right)
        if beside:
            for one, other in zip_longest(left, right, fillvalue=Text()):
                gap = " " * (width - one.cell_len) + " │"
                self._line(INDENT, one, (gap, "faint"), " " if other else "", other)
        else:
            for line in (*left, Text(), *right):
                self._line(INDENT, line)
        self._title("The difference", f"What v{now.version} has that v{then.version} had not.")
        diff = await self.log.queries.diff(context_id, AtVersion(then.version), NOW)
        drawn = await with_bodies(self.log, now, diff.messages_added)
        for line in difference(diff, {each.body.entry.id: each for each in drawn}, self._width - len(INDENT)):
            self._line(INDENT, line)

    async def _moment(self, name: str, state: ContextState, width: int) -> AsyncIterator[Text]:
        yield Text.assemble((name, "heading"), "  ", version(state.version))
        yield Text(one_line(state.title or "", width))
        yield fitted(branches(state), width)
        yield Text()
        for line in outline(await collect(self.log, state, 20), state.branches, state.active_branch, width):
            yield line

    async def replay(self, message_id: UUID) -> None:
        """Chapter 5: an answer once more."""
        timeline = await self.log.queries.timeline(message_id)
        speed = max(timeline.duration_us / 1e6 / REPLAY_SECONDS, 0.01) * self._speed
        pace = f", here {speed:.1f} times as fast" if speed else ""
        self._title(
            "An answer once more, as it was timed",
            f"{timeline.model}: {count(timeline.chunks, 'chunk')} in {duration(timeline.duration_us)}{pace}.",
        )
        player = Player(self._output, indent=len(INDENT), width=self._width, reasoning=True)
        async for item in self.log.queries.replay(message_id, speed):
            if isinstance(item, ReplayChunk):
                player.play(item)
            else:
                player.end()
                self._line()
                self._line(INDENT, totals(timeline, item))

    async def ending(self, told: Told) -> None:
        """What to type next."""
        self._title("What next", "An id's start or end is enough. Every verb takes --json and --help.")
        program, where = _program(), _where(self._options.data)
        weather, _, hello, holiday = map(short, told.contexts)
        middle = (await self.log.queries.context(told.contexts[-1])).version // 2
        suggestions = [
            (f"show {weather}", "the whole conversation and its branches"),
            (f"show {hello}", "an answer that was regenerated"),
            (f"show {holiday} --at v{middle}", "as it was in the middle of an answer"),
            (f"replay {short(told.answers[-1])} --speed 4", "the long answer, quickly"),
            (f"history {weather}", "every event"),
            ("events --follow", "the log itself, live"),
            ("verify", "every digest, index and the chain"),
        ]
        commands = [f"{program} {command}{where}" for command, _ in suggestions]
        widest, beside = max(map(len, commands)), max(len(why) for _, why in suggestions)
        for command, (_, why) in zip(commands, suggestions, strict=True):
            if 2 * len(INDENT) + widest + beside <= self._width:
                self._line(INDENT, (command.ljust(widest), "command"), (f"   {why}", "faint"))
            else:
                self._line(INDENT, (f"# {why}", "faint"))
                self._line(INDENT, (command, "command"))
        self._line()

    def _title(self, title: str, explanation: str) -> None:
        if self._output.json:
            return
        self._chapter += 1
        self._line()
        self._line((f"{self._chapter:<{len(INDENT)}}", "faint"), (title, "heading"))
        self._line((f"{INDENT}{explanation}", "faint"))
        self._line()

    def _line(self, *pieces: Text | str | tuple[str, str]) -> None:
        if not self._output.json:
            self._output.line(*pieces)


def _dim_what_is_common(left: list[Text], right: list[Text]) -> None:
    """Let what differs between two columns stand out."""
    common = {line.plain for line in left} & {line.plain for line in right}
    for line in (*left, *right):
        if line.plain in common:
            line.stylize("faint")


def _program() -> str:
    """How this program was called, in short."""
    called = Path(sys.argv[0])
    if called.name != "turnlog":
        return "python -m turnlog"
    found = shutil.which("turnlog")
    if found is not None and Path(found).resolve() == called.resolve():
        return "turnlog"
    return _shorter(called)


def _where(data: Path) -> str:
    """The option that names the directory, unless it is the one that verbs take anyway."""
    name = _shorter(data)
    return "" if name == str(DEFAULTS.data) else f" --data {name}"


def _shorter(path: Path) -> str:
    relative = os.path.relpath(path)
    return shlex.quote(relative if not relative.startswith("..") else str(path))
