"""Reading in a process of its own, so that a second processor reads while this one writes and verifies.

The other process is told what to read and answers with the batches, as pickles from one to the other and to
nobody else. A pipe holds about one of them, so that it is a batch ahead and no further.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec

from eventstore.errors import Unavailable
from eventstore.process import spare
from eventstore.spool import Spool, pickle_into
from turnlog.importers.conversation import Importer
from turnlog.importers.detecting import FORMATS
from turnlog.importers.job.reading import BATCH_BYTES, Batch, Only, batches, read
from turnlog.importers.source.files import Source

WORTH_BYTES: Final = 8 * 1024 * 1024
"""Of a source: starting a process takes as long as reading this."""

PIPE_BYTES: Final = 1024 * 1024
"""As much as Linux lets anybody have; a batch is smaller as a pickle."""

_START: Final = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from turnlog.importers.job import apart; apart.main()"
)


class _Task(msgspec.Struct, frozen=True):
    """What is to be read."""

    root: Path
    formats: tuple[str, ...]
    only: Only | None


class _End(msgspec.Struct, frozen=True):
    """All was read. The files of what was not asked for."""

    not_asked_for: set[str]


class _Failure(msgspec.Struct, frozen=True):
    """The other process cannot go on."""

    code: str
    message: str


def is_worth_it(importers: tuple[Importer, ...], size: int) -> bool:
    """Whether a source of so many bytes is read faster apart: not by one processor alone.

    Importers that are not among the formats cannot be named to another process.
    """
    known = all(one.format in FORMATS and FORMATS[one.format].importer is one for one in importers)
    return known and size >= WORTH_BYTES and (os.cpu_count() or 1) > 1


@contextlib.contextmanager
def reading_apart(
    source: Source, importers: tuple[Importer, ...], only: Only | None, not_asked_for: set[str]
) -> Generator[Iterator[Batch]]:
    """The batches of a source, as ``reading.batches`` makes them; ``not_asked_for`` is filled at their end.

    Asking for the next one blocks until it is there, and raises ``Unavailable`` (``reader_died``) if it
    never comes, and what the other process raised. That process is gone when the context is left.
    """
    task = _Task(source.root.absolute(), tuple(one.format for one in importers), only)
    command = [sys.executable, "-P", "-c", _START]
    with subprocess.Popen(  # noqa: S603 -- our own interpreter, and nothing of a user's in its arguments
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as process:
        assert process.stdin is not None, "it was asked for"
        assert process.stdout is not None, "it was asked for"
        try:
            _widen(process.stdout.fileno())
            with (
                contextlib.suppress(BrokenPipeError),
                process.stdin as said,
            ):  # what it died of, it says itself
                pickle.dump(sys.path, said)
                pickle.dump(task, said)
            yield _received(process, cast("BinaryIO", process.stdout), not_asked_for)
        finally:
            process.kill()


def _received(
    process: subprocess.Popen[bytes], answers: BinaryIO, not_asked_for: set[str]
) -> Iterator[Batch]:
    while True:
        try:
            said: Batch | _End | _Failure = _load(answers)
        except (EOFError, pickle.UnpicklingError) as error:
            code = process.wait()
            what = "the process that reads the source ended too early"
            raise Unavailable("reader_died", f"{what}, {_how(code)}", exit=code) from error
        if isinstance(said, _End):
            not_asked_for |= said.not_asked_for
            return
        if isinstance(said, _Failure):
            raise Unavailable(said.code, said.message)
        yield said
        del said  # before the next one is there


def _how(code: int) -> str:
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with {code}"


def _widen(pipe: int) -> None:
    """Let a pipe hold a batch, where the system can; elsewhere less is read ahead."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # a user may be at the limit for all pipes together
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def main() -> None:
    """The other process: read what standard input names, and write the batches to standard output."""
    spare()
    task: _Task = pickle.load(sys.stdin.buffer)  # noqa: S301 -- of the process that started this one
    importers = [FORMATS[name].importer for name in task.formats]
    not_asked_for = set[str]()
    # Not sys.stdout: unbuffered, as one may ask Python for, it drops the rest when a write ends early.
    answers = open(sys.stdout.fileno(), "wb", closefd=False)  # noqa: SIM115 -- the process ends with it
    found = batches(read(Source(task.root), importers, task.only, not_asked_for))
    try:
        while (batch := _next(found)) is not None:
            send(batch, answers)
            if isinstance(batch, _Failure):
                return
            del batch  # before the next one is read
        send(_End(not_asked_for), answers)
    except BrokenPipeError:  # nobody waits for it any more
        os._exit(1)


def _next(found: Iterator[Batch]) -> Batch | _Failure | None:
    try:
        return next(found, None)
    except Unavailable as error:
        return _Failure(error.code, error.message)


def send(said: object, to: BinaryIO) -> None:
    """Write something as a pickle, and behind it what is in files of it."""
    pickle_into(to, said, is_long=isinstance(said, Batch) and said.bytes > BATCH_BYTES)
    for spool in _spools(said):
        spool.send(to)
    to.flush()


def _load(given: BinaryIO) -> Any:
    """Read what was sent. Raises ``EOFError`` and ``pickle.UnpicklingError`` if it is not whole."""
    said = pickle.load(given)  # noqa: S301 -- of the process that we started
    for spool in _spools(said):
        spool.receive(given)
    return said


def _spools(said: object) -> Iterator[Spool[Any]]:
    for one in said.conversations.values() if isinstance(said, Batch) else ():
        for held in (one.conversation.messages, one.conversation.kept):
            if isinstance(held, Spool):
                yield held
