"""Sequences that memory need not hold: values in a file without a name, and values made when asked for."""

from __future__ import annotations

import errno
import os
import pickle
import tempfile
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from io import BytesIO, FileIO
from operator import eq, itemgetter
from typing import Any, BinaryIO, Final, TypeVar, cast, overload
from uuid import UUID

from eventstore.errors import Unavailable, reason_of
from eventstore.portions import portions

HELD_BYTES_MAX: Final = 8 * 1024 * 1024
"""What values take in memory, roughly, before they go into a file."""

VALUE_BYTES: Final = 512
"""What a value takes in memory beside its encoded bytes: objects, of which a small one has several."""

_BLOCK_BYTES: Final = 64 * 1024
"""Values that stand together in the file, by what they take in memory, roughly: a hundred small ones."""

_PIECE_BYTES: Final = 1024 * 1024
_MEMORY: Final = "/tmp"  # noqa: S108 -- nothing is made there
_DISK: Final = "/var/tmp"  # noqa: S108 -- what is made there has no name
"""Where large temporary files belong instead: the other may be memory."""

T = TypeVar("T")


class _Lazy(Sequence[T]):
    """A sequence that makes each value when it is asked for."""

    def _at(self, index: int) -> T:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        places = range(len(self))[index]
        return self._at(places) if isinstance(places, int) else View(places, self._at)

    def __iter__(self) -> Iterator[T]:
        return map(self._at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether the other sequence has the same values: how each holds them does not matter."""
        if not isinstance(other, Sequence):
            return NotImplemented
        others = cast("Sequence[object]", other)
        return len(self) == len(others) and all(map(eq, self, others))

    __hash__ = None  # pyright: ignore[reportAssignmentType] -- as of a list


class View(_Lazy[T]):
    """What a function makes of each value of another sequence."""

    def __init__(self, of: Sequence[Any], made: Callable[[Any], T]) -> None:
        self._of, self._made = of, made

    def _at(self, index: int) -> T:
        return self._made(self._of[index])

    def __len__(self) -> int:
        return len(self._of)


def chosen(of: Sequence[T], places: Sequence[int]) -> Sequence[T]:
    """The values at some places of a sequence, in that order."""
    return View(places, of.__getitem__)


class Spool(_Lazy[T]):
    """Values that are appended, and are in memory while they are few.

    One thread appends; then any may read, which raises ``Unavailable`` where the file cannot be read. In the
    file they stand in blocks, since neighbours are asked for one after the other: a block that is not large
    stays in memory until another is read. As a pickle it has nothing of what is in its file: that is sent and
    received behind it. ``firsts`` and ``ends``: where each block begins and ends that is to be received.
    """

    def __init__(self, firsts: array[int] | None = None, ends: array[int] | None = None) -> None:
        self._held: list[T] = []
        self._sizes: list[int] = []
        self._bytes = 0
        self._file: FileIO | None = None
        self._firsts = array("Q", [0]) if firsts is None else firsts
        self._ends = array("Q", [0]) if ends is None else ends
        self._last: tuple[int, list[T]] = (-1, [])

    def append(self, value: T, size: int) -> None:
        """Add a value that takes so many bytes encoded. Raises ``Unavailable`` (``spool_failed``)."""
        self._held.append(value)
        self._sizes.append(VALUE_BYTES + size)
        self._bytes += VALUE_BYTES + size
        if self._bytes > (HELD_BYTES_MAX if self._file is None else _BLOCK_BYTES):
            self._store()

    def extend(self, values: Iterable[tuple[T, int]]) -> None:
        """Append values, each with the bytes that it takes."""
        for value, size in values:
            self.append(value, size)

    def settled(self) -> Sequence[T]:
        """All of it, when nothing more is added: a tuple, if it is in memory."""
        return tuple(self._held) if self._file is None else self

    def send(self, to: BinaryIO) -> None:
        """Write what is in its file, after its pickle."""
        for begin in range(0, self._ends[-1], _PIECE_BYTES):
            to.write(self._read(begin, min(begin + _PIECE_BYTES, self._ends[-1])))

    def receive(self, given: BinaryIO) -> None:
        """Take what was sent. Raises ``EOFError`` if that ends too early, and what ``append`` raises."""
        self._file = self._opened()
        left = self._ends[-1]
        while left:
            some = given.read(min(left, _PIECE_BYTES))
            if not some:
                raise EOFError
            left -= _write(self._file, some)

    def _store(self) -> None:
        """Put what is held into the file, in blocks: a large value has one for itself."""
        if self._file is None:
            self._file = self._opened()
        for some in portions(zip(self._held, self._sizes, strict=True), itemgetter(1), _BLOCK_BYTES):
            block = [value for value, _ in some]
            self._ends.append(self._ends[-1] + _write(self._file, pickled(block)))
            self._firsts.append(self._firsts[-1] + len(block))
        self._held, self._sizes, self._bytes = [], [], 0

    def _opened(self) -> FileIO:
        try:
            file = _temporary()
        except OSError as error:
            raise _failed(error) from error
        weakref.finalize(self, file.close)  # open as long as there is a spool
        return file

    def _at(self, index: int) -> T:
        stored = self._firsts[-1]
        if index >= stored:
            return self._held[index - stored]
        block = bisect_right(self._firsts, index) - 1
        number, values = self._last
        if number != block:
            some = self._read(self._ends[block], self._ends[block + 1])
            values = cast("list[T]", pickle.loads(some))  # noqa: S301 -- of our own file
            if len(some) <= _PIECE_BYTES:
                self._last = block, values
        return values[index - self._firsts[block]]

    def _read(self, begin: int, end: int) -> bytes:
        assert self._file is not None, "what is in memory is not read"
        try:
            some = os.pread(self._file.fileno(), end - begin, begin)
            if len(some) < end - begin:
                raise OSError(errno.EIO, "it ends too early")
            return some
        except OSError as error:
            raise _failed(error) from error

    def __len__(self) -> int:
        return self._firsts[-1] + len(self._held)

    def __reduce__(self) -> tuple[Any, ...]:
        assert self._file is not None, "what is in memory goes as a tuple"
        if self._held:
            self._store()
        return Spool, (self._firsts, self._ends)


def _temporary() -> FileIO:
    if tempfile.gettempdir() == _MEMORY:
        with suppress(OSError):  # it is not there, or not for us
            return tempfile.TemporaryFile(dir=_DISK, buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _write(file: FileIO, some: bytes) -> int:
    left = memoryview(some)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise _failed(error) from error
    return len(some)


def _failed(error: OSError) -> Unavailable:
    what = "what is too large for memory does not go into a temporary file"
    return Unavailable("spool_failed", f"{what}: {reason_of(error)}")


def pickled(value: object) -> bytes:
    """A value as a pickle."""
    to = BytesIO()
    pickle_into(to, value, is_long=False)
    return to.getvalue()


def pickle_into(to: BinaryIO | BytesIO, value: object, *, is_long: bool) -> None:
    """Write a value as a pickle; of a long one no note is kept of what was written.

    Such a note would take as much memory as half of it.
    """
    pickler = pickle.Pickler(to, protocol=5)
    pickler.fast = is_long
    pickler.dispatch_table = {UUID: _reduced}
    pickler.dump(value)


def _reduced(value: UUID) -> tuple[Any, ...]:
    return UUID, (None, value.bytes)
