"""Does what a second process should not, and prints what it is told. A program.

    intruding.py DIRECTORY write    opens for writing what another process writes
    intruding.py DIRECTORY read     opens read-only and reads
    intruding.py DIRECTORY views    opens for writing, with views
    intruding.py DIRECTORY fork     opens for writing, forks, and uses store and views in the child

Prints a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import sent
from judge import send
from opening import Opened, opened

from eventstore.errors import TurnlogError
from eventstore.store import EventStore


async def write(directory: Path) -> dict[str, object]:
    """Open, and say why not."""
    try:
        store = await EventStore.open(directory, free_bytes_low=0)
    except TurnlogError as error:
        return {"code": error.code, "pid": error.fields.get("pid"), "message": error.message}
    await store.close()
    return {"code": "ok"}


async def read(directory: Path) -> dict[str, object]:
    """Read, and try to append."""
    async with await EventStore.open(directory, read_only=True) as store:
        return {"commits": sum(1 for _ in store.read()), "append": code_of(appending(store))}


async def views(directory: Path) -> dict[str, object]:
    """Open with views, and say why not."""
    try:
        async with opened(directory) as all_open:
            return {"code": "ok", "head": all_open.store.head().position}
    except TurnlogError as error:
        return {"code": error.code}


async def fork(directory: Path) -> dict[str, object]:
    """Use everything in a forked child, then append in the parent."""
    async with opened(directory) as all_open:
        await send(all_open.store, next(sent.conversation(0, 0)))
        said = told_in_a_child(all_open)
        conversation = list(sent.conversation(0, 0, 2))
        await send(all_open.store, conversation[1])
        await all_open.runner.wait_for(2)
        return {"child": said, "parent": all_open.store.head().position}


def told_in_a_child(all_open: Opened) -> dict[str, str]:
    """Fork, and report what the child is told."""
    answers, answer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(answer, json.dumps(use(all_open)).encode())
        os._exit(0)
    os.close(answer)
    with os.fdopen(answers) as stream:
        said = json.load(stream)
    os.waitpid(child, 0)
    return said


def use(all_open: Opened) -> dict[str, str]:
    """What the child is told."""
    store, rows, runner = all_open
    return {
        "append": code_of(appending(store)),
        "head": code_of(store.head),
        "read": code_of(lambda: list(store.read())),
        "views": code_of(rows.reading().__enter__),
        "wait": code_of(lambda: runner.wait_for(10).send(None)),
        "statistics": code_of(store.statistics),
    }


def appending(store: EventStore) -> Callable[[], object]:
    """An append, as far as it goes without its event loop."""
    return lambda: send(store, next(sent.conversation(0, 1))).send(None)


def code_of(call: Callable[[], object]) -> str:
    """How it ended."""
    try:
        call()
    except TurnlogError as error:
        return error.code
    return "ok"


if __name__ == "__main__":
    what = {"write": write, "read": read, "views": views, "fork": fork}[sys.argv[2]]
    sys.stdout.write(json.dumps(asyncio.run(what(Path(sys.argv[1])))))
