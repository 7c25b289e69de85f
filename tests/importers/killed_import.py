"""The command line with the tests' importer, as a process that may kill itself at a given moment.

``killed_import.py STEP COUNT ARGUMENTS...`` runs ``turnlog ARGUMENTS``. Its ``COUNT``-th step of that kind is
its last; for STEP "timer" COUNT is in microseconds; "none" lets it live. At "interrupt-STEP" it is only
interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from conversations import Plain

from turnlog.cli import importing, main
from turnlog.importers.conversation import Importer
from turnlog.importers.job import backup, batches, deleting, reading
from turnlog.importers.source.files import Source

BATCH: Final = 4
"""Contexts in a batch: there are to be several."""


def found(source: Source, insist: str | None) -> list[Importer]:
    del source, insist
    return [Plain()]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGINT if sys.argv[1].startswith("interrupt-") else signal.SIGKILL)


def killing(step: Callable[..., Any], count: int, *, after: bool) -> Callable[..., Any]:
    """The step, whose process dies before or after it has been done so often."""
    done = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal done
        done += 1
        if done == count and not after:
            kill()
        answer = step(*arguments, **named)
        if done == count and after:
            kill()
        return answer

    return counted


def spoil(step: str, count: int) -> None:
    """Let the process die at that step."""
    match step:
        case "copy":
            backup._digest = killing(backup._digest, count, after=False)  # pyright: ignore[reportPrivateUsage] -- the step is inside
        case "read":
            Source.bytes = killing(Source.bytes, count, after=False)
        case "append":
            batches.EventStore.append = killing(batches.EventStore.append, count, after=True)
        case "verify":
            batches.compare = killing(batches.compare, count, after=False)
        case "delete":
            deleting.same_file = killing(deleting.same_file, count, after=False)
        case "timer":
            timer = threading.Timer(count / 1_000_000, kill)
            timer.daemon = True
            timer.start()
        case _:
            pass


if __name__ == "__main__":
    importing.detect = found
    reading.BATCH_CONTEXTS = BATCH
    spoil(sys.argv[1].removeprefix("interrupt-"), int(sys.argv[2]))
    main(sys.argv[3:])
