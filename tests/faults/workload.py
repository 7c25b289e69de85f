"""Conversations appended to the real store, side by side, by clients that repeat what was not answered.
A program.

    workload.py DIRECTORY SEED COUNT COMMITS

Goes on with conversations 0 .. COUNT - 1 until each has COMMITS commits; with `--together` others are sent
whole beside them, by `append_together`. Prints a line for everything that a
client learns, and writes acknowledgements to `FAULT_RECORD` too, for the power-cut explorer:

    A NUMBER INDEX POSITION    a commit is acknowledged; repeated ones are acknowledged again
    E NUMBER INDEX CODE        an append raised, and is repeated a few times; or a read after it did
    O CODE                     the directory could not be opened
    S JSON                     when all is done: the store's statistics, with
                               `readable`, how many commits can be read, and
                               `views`, whether the views catch up: "ok" or the code of why not
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import anyio
import msgspec
import mutants
import sent
import structlog
from judge import Acknowledged, Sent, send
from opening import Opened, caught_up, opened, retry_at_once, short_steps

from eventstore.commits import Append, Committed
from eventstore.errors import TurnlogError
from eventstore.store import EventStore

TRIES: Final = 5
"""How often a client sends a commit before it gives up its conversation."""
TWICE_EVERY: Final = 7
"""Commits after which a client sends one twice at once, as one does that does not trust its connection."""
READ_EVERY: Final = 5
"""Commits after which a client reads what it wrote: it waits for the views then."""


class Arguments(argparse.Namespace):
    """The command line."""

    directory: Path
    seed: int
    count: int
    commits: int
    together: bool
    mutant: str | None
    inject: str
    inject_after: int


class Clients:
    """What the clients of one run share."""

    def __init__(self, all_open: Opened, arguments: Arguments) -> None:
        self._store = all_open.store
        self._runner = all_open.runner
        self._arguments = arguments
        self._record = _open_record()
        self._acknowledged = 0
        if self._record is not None:
            os.write(self._record, Sent(arguments.seed, arguments.count).mark())

    async def converse(self, number: int) -> None:
        """Send a conversation, from the last two commits that are stored already."""
        arguments = self._arguments
        there = _stored_commits(self._store, arguments.seed, number)
        conversation = sent.conversation(arguments.seed, number, arguments.commits)
        for index, append in enumerate(conversation):
            if index < there - 2:
                continue
            if not await self._sent(number, index, append):
                return
            if arguments.together and index % sent.WHOLE_EVERY == 0:
                await self._send_whole(sent.whole_number(number, index))

    async def _send_whole(self, number: int) -> None:
        whole = list(sent.conversation(self._arguments.seed, number, sent.WHOLE_COMMITS))
        try:
            outcomes = await self._store.append_together(whole)
        except TurnlogError as error:
            _say(f"E {number} 0 {error.code}")
            return
        for index, outcome in enumerate(outcomes):
            self._acknowledge(Acknowledged(number, index, outcome.position))

    async def _sent(self, number: int, index: int, append: Append) -> bool:
        for _ in range(TRIES):
            try:
                position = await self._position(index, append)
            except TurnlogError as error:
                _say(f"E {number} {index} {error.code}")
                continue
            self._acknowledge(Acknowledged(number, index, position))
            if index % READ_EVERY == 0:
                await self._read(number, index, position)
            return True
        return False

    async def _position(self, index: int, append: Append) -> int:
        if index % TWICE_EVERY:
            return (await send(self._store, append)).position
        outcomes = await self._store.append_many((append, append))
        for outcome in outcomes:
            if not isinstance(outcome, Committed):
                raise outcome
        positions = {outcome.position for outcome in outcomes if isinstance(outcome, Committed)}
        assert len(positions) == 1, f"one commit id was written twice: {outcomes}"
        return positions.pop()

    async def _read(self, number: int, index: int, position: int) -> None:
        try:
            await self._runner.wait_for(position)
        except TurnlogError as error:
            _say(f"E {number} {index} {error.code}")

    def _acknowledge(self, acknowledged: Acknowledged) -> None:
        if self._record is not None:
            os.write(self._record, acknowledged.mark())
        _say("A {} {} {}".format(*acknowledged))
        self._acknowledged += 1
        if self._arguments.inject and self._acknowledged == self._arguments.inject_after:
            ctypes.CDLL(None).fault_inject(self._arguments.inject.encode())


def _stored_commits(store: EventStore, seed: int, number: int) -> int:
    context_id = sent.context_id(seed, number)
    return sum(1 for _ in store.read_context(context_id)) if store.version_of(context_id) else 0


def _open_record() -> int | None:
    path = os.environ.get("FAULT_RECORD")
    return os.open(path, os.O_WRONLY | os.O_APPEND) if path else None


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def _main(arguments: Arguments) -> None:
    retry_at_once()
    if arguments.together:
        short_steps()
    async with AsyncExitStack() as stack:
        try:
            all_open = await stack.enter_async_context(opened(arguments.directory))
        except TurnlogError as error:
            _say(f"O {error.code}")
            return
        clients = Clients(all_open, arguments)
        async with anyio.create_task_group() as group:
            for number in range(arguments.count):
                group.start_soon(clients.converse, number)
        facts = msgspec.to_builtins(all_open.store.statistics())
        facts["readable"] = sum(1 for _ in all_open.store.read())
        facts["views"] = await _read_views(all_open)
        _say(f"S {msgspec.json.encode(facts).decode()}")


async def _read_views(all_open: Opened) -> str:
    try:
        await caught_up(all_open)
    except TurnlogError as error:
        return error.code
    return "ok"


def _arguments() -> Arguments:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    for name in ("seed", "count", "commits"):
        parser.add_argument(name, type=int)
    parser.add_argument("--together", action="store_true", help="send whole conversations, too")
    parser.add_argument("--mutant", choices=mutants.NAMES)
    parser.add_argument("--inject", default="", help="a fault for shim.c")
    parser.add_argument("--inject-after", type=int, default=0, help="acknowledgements before it")
    return parser.parse_args(namespace=Arguments())


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    given = _arguments()
    if given.mutant is not None:
        mutants.apply(given.mutant)
    asyncio.run(_main(given))
