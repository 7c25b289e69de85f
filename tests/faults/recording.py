"""What `shim.c` recorded, and the disks that a power cut may leave behind it. Pure."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

LOG, VIEWS = "L", "V"
NAMES: Final = {LOG: "log", VIEWS: "views"}

_HEAD: Final = struct.Struct("=ccQQ")
_WITH_DATA: Final = frozenset("WDNF")
_UNMODELLED: Final = {"T": "a file was cut or grown"}

SECTOR_BYTES: Final = 512
PAGE_BYTES: Final = 4096


class Operation(NamedTuple):
    """One record; `offset` and `length` mean what its tag says."""

    tag: str
    file: str
    offset: int
    length: int
    data: bytes


class Piece(NamedTuple):
    """Bytes that reach the disk whole or not at all."""

    offset: int
    data: bytes


class Disk(NamedTuple):
    """What is there after the cut: by file, its content and whether its directory has its final name."""

    content: dict[str, bytes]
    named: frozenset[str]


def load(path: Path) -> list[Operation]:
    """Every record, in order."""
    raw, at, found = path.read_bytes(), 0, list[Operation]()
    while at < len(raw):
        tag, file, offset, length = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        data = b""
        if tag.decode() in _WITH_DATA:
            data = raw[at : at + length]
            at += length
        if tag == b"M":
            raise NotImplementedError("a map was synced: what it wrote is not recorded")
        found.append(Operation(tag.decode(), file.decode(), offset, length, data))
    return found


def mark(tag: str, offset: int = 0, length: int = 0) -> bytes:
    """A record of a program's own, to be written by one `os.write` to a descriptor opened to append."""
    return _HEAD.pack(tag.encode(), b"-", offset, length)


def disk_after(operations: list[Operation], cut: int, rng: random.Random) -> Disk:
    """One of the disks that a cut after `operations[:cut]` may leave.

    Certain is what was written before a completed sync, or through O_DSYNC; of the rest each piece, a page
    or a sector, is there or not. The last operation may have been cut short. After a failed sync a kernel
    may count its pages as written though they are not: a later sync does not save them then.
    """
    choose = _choice(rng)
    piece_bytes = rng.choice((PAGE_BYTES, PAGE_BYTES, SECTOR_BYTES))
    forgotten = rng.random() < 0.5
    content: dict[str, bytes] = {}
    named: set[str] = set()
    for file in (LOG, VIEWS):
        layers = _Layers(forgotten)
        for index, operation in enumerate(operations[:cut]):
            if operation.file == file:
                layers.add(operation, in_flight=index == cut - 1)
        if layers.touched:
            content[file] = layers.flatten(lambda pieces: choose(pieces, rng), piece_bytes)
            if _is_named(operations, cut, file, rng):
                named.add(file)
    return Disk(content, frozenset(named))


def _is_named(operations: list[Operation], cut: int, file: str, rng: random.Random) -> bool:
    """Not before its rename, certainly after a sync of the directory, in between perhaps."""
    renames = [index for index, operation in enumerate(operations) if _renames(operation, file)]
    if not renames:
        return True  # a program that creates its file where it stays
    parent = os.path.dirname(operations[renames[0]].data)
    since = [operation for operation in operations[renames[0] : cut] if operation.tag == "F"]
    if any(operation.data == parent for operation in since):
        return True
    return renames[0] < cut and rng.random() < 0.5


def _renames(operation: Operation, file: str) -> bool:
    return operation.tag == "N" and os.path.basename(operation.data).decode() == NAMES[file]


class _Layers:
    """The writes to one file in order: those at the bottom are merged and certain."""

    def __init__(self, forgotten: bool) -> None:
        self._forgotten = forgotten
        self._bottom = bytearray()
        self._above: list[tuple[Piece, str]] = []  # certain, pending (a sync saves it), lost (none does)
        self.touched = False

    def add(self, operation: Operation, *, in_flight: bool) -> None:
        if operation.tag in _UNMODELLED:
            raise NotImplementedError(_UNMODELLED[operation.tag])
        piece = Piece(operation.offset, operation.data)
        match operation.tag:
            case "W":
                self._put(piece, "pending")
            case "D":
                self._put(piece, "pending" if in_flight else "certain")
            case "S":
                self._above = [(p, "certain" if how == "pending" else how) for p, how in self._above]
                self._merge()
            case "E" if self._forgotten:
                self._above = [(p, "lost" if how == "pending" else how) for p, how in self._above]
            case _:
                pass

    def _put(self, piece: Piece, how: str) -> None:
        self.touched = True
        self._above.append((piece, how))

    def _merge(self) -> None:
        while self._above and self._above[0][1] == "certain":
            _apply(self._bottom, self._above.pop(0)[0])

    def flatten(self, choose: Callable[[list[Piece]], list[Piece]], piece_bytes: int) -> bytes:
        pieces: list[tuple[Piece, bool]] = []
        for piece, how in self._above:
            pieces += [(part, how == "certain") for part in _split(piece, piece_bytes)]
        kept = {id(piece) for piece in choose([piece for piece, certain in pieces if not certain])}
        for piece, certain in pieces:
            if certain or id(piece) in kept:
                _apply(self._bottom, piece)
        return bytes(self._bottom)


def _apply(image: bytearray, piece: Piece) -> None:
    end = piece.offset + len(piece.data)
    if len(image) < end:
        image.extend(bytes(end - len(image)))
    image[piece.offset : end] = piece.data


def _split(piece: Piece, piece_bytes: int) -> list[Piece]:
    first = piece_bytes - piece.offset % piece_bytes
    bounds = [0, *range(first, len(piece.data), piece_bytes), len(piece.data)]
    return [Piece(piece.offset + start, piece.data[start:stop]) for start, stop in pairwise(bounds)]


_Choose = Callable[[list[Piece], random.Random], list[Piece]]


def _choice(rng: random.Random) -> _Choose:
    return rng.choice(_CHOICES)


def _random_half(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    return [piece for piece in pieces if rng.random() < 0.5]


def _prefix(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    return pieces[: rng.randrange(len(pieces) + 1)]


def _all_but_one(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    dropped = rng.randrange(len(pieces)) if pieces else 0
    return pieces[:dropped] + pieces[dropped + 1 :]


def _only_one(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    return [rng.choice(pieces)] if pieces else []


_CHOICES: Final[tuple[_Choose, ...]] = (
    lambda pieces, _: pieces,
    lambda _pieces, _: [],
    _random_half,
    _random_half,
    _prefix,
    _all_but_one,
    _only_one,
)
