"""Generations: which build of a projection is live, which is being built, which are to be dropped.

A generation is the rows of one projection as one version of its code made them, in LMDB databases of its
own, ``{name}.{number}.{table}``, and beside each, once one was needed, one of staged rows (``staging.py``).
The database ``projections`` holds one ``Entry`` per name. Pure: the
transactions are in ``bookkeeping.py``.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from eventstore.errors import Damaged, TurnlogError, Unavailable
from projections.projection import Projection
from projections.staging import Staged, Table

PROJECTIONS: Final = b"projections"
"""The database of entries. Every other one has dots in its name, and no projection may."""

ABOUT: Final = b"about"
"""Key in the unnamed database: ``About``."""

FORMAT: Final = 1
"""Of what this module writes. Views of another format are discarded and rebuilt."""


class About(msgspec.Struct, frozen=True):
    """What the views environment belongs to."""

    format: int
    store_id: bytes


class Failure(msgspec.Struct, frozen=True):
    """Why a fold stopped. It says where, never what: the text of an error may quote a chat.

    ``code`` is the stable code if the error was one of ours, ``error`` its type and ``place`` the file,
    line and function that raised.
    """

    position: int
    error: str
    place: str
    code: str | None = None


class Generation(msgspec.Struct, frozen=True):
    """One build. ``checkpoint`` is the last position whose rows are in it, ``digest`` that commit's.

    The digest (empty at 0) tells this log from another one that has grown to the same length.
    Rows that are ``staged`` and hidden are of commits beyond the checkpoint.
    """

    number: int
    version: int
    tables: tuple[str, ...]
    checkpoint: int = 0
    digest: bytes = b""
    failure: Failure | None = None
    staged: Staged = "none"

    def fits(self, projection: Projection) -> bool:
        """Whether this code made these rows."""
        return self.version == projection.version and self.tables == tuple(projection.tables)

    def databases(self, name: str) -> dict[str, bytes]:
        """The LMDB database of each table."""
        return {table: f"{name}.{self.number}.{table}".encode() for table in self.tables}

    def staging(self, name: str) -> dict[str, bytes]:
        """The LMDB database of each table for rows that are staged; there may be none yet."""
        return {table: database + b".staged" for table, database in self.databases(name).items()}


class Entry(msgspec.Struct, frozen=True):
    """All generations of one projection."""

    live: Generation | None = None
    building: Generation | None = None
    retired: tuple[Generation, ...] = ()

    def generations(self) -> tuple[Generation, ...]:
        """Every one that has databases."""
        return tuple(g for g in (self.live, self.building, *self.retired) if g is not None)

    def generation(self, number: int) -> Generation:
        """The live or building one of that number."""
        return next(g for g in (self.live, self.building) if g is not None and g.number == number)

    def readable(self, projection: Projection) -> Generation | None:
        """The live generation, if the code that asks made it: other rows cannot be understood."""
        return self.live if self.live is not None and self.live.fits(projection) else None

    def with_generation(self, generation: Generation) -> Entry:
        """With the live or building generation of that number replaced."""
        if self.live is not None and self.live.number == generation.number:
            return replace(self, live=generation)
        return replace(self, building=generation)

    def with_build(self, projection: Projection) -> Entry:
        """With a new, empty generation being built, instead of any other build."""
        number = 1 + max((g.number for g in self.generations()), default=0)
        entry = self.without_build()
        return replace(entry, building=Generation(number, projection.version, tuple(projection.tables)))

    def without_build(self) -> Entry:
        """With no generation being built."""
        if self.building is None:
            return self
        return replace(self, building=None, retired=(*self.retired, self.building))

    def without_live(self) -> Entry:
        """With no live generation."""
        if self.live is None:
            return self
        return replace(self, live=None, retired=(*self.retired, self.live))

    def taken_over(self) -> Entry:
        """With the built generation live."""
        return replace(self.without_live(), live=self.building, building=None)


def tables_of(name: str, generation: Generation, opened: Callable[[bytes], Any]) -> dict[str, Table]:
    """The tables of a generation, with what is staged over them."""
    staging = generation.staging(name) if generation.staged != "none" else {}
    return {
        table: Table(opened(database), opened(staging[table]) if staging else None)
        for table, database in generation.databases(name).items()
    }


def settle(entry: Entry, projection: Projection, is_ours: Callable[[Generation], bool]) -> Entry:
    """What becomes of an entry when this code opens the views of a log.

    Generations of another log (``is_ours`` says no) go. A live one of another version stays, unread and
    unfollowed, while this version's is built beside it; a build of another version goes. What had failed
    is tried again.
    """
    if entry.live is not None and not is_ours(entry.live):
        entry = entry.without_live()
    if entry.building is not None and not (entry.building.fits(projection) and is_ours(entry.building)):
        entry = entry.without_build()
    if entry.readable(projection) is None and entry.building is None:
        entry = entry.with_build(projection)
    return _tried_again(entry, projection)


def _tried_again(entry: Entry, projection: Projection) -> Entry:
    live = entry.readable(projection)
    if live is not None:
        entry = replace(entry, live=replace(live, failure=None))
    if entry.building is not None:
        entry = replace(entry, building=replace(entry.building, failure=None))
    return entry


def failure_of(position: int, error: BaseException) -> Failure:
    """What may be known about an error that a fold raised at ``position``."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name}" if frames else ""
    code = error.code if isinstance(error, TurnlogError) else None
    return Failure(position, type(error).__qualname__, place, code)


def poisoned(name: str, failure: Failure) -> Unavailable:
    """The error for a projection whose fold raised."""
    return Unavailable(
        "projection_poisoned",
        f"the projection {name} stopped before position {failure.position}: {failure.error}",
        projection=name,
        position=failure.position,
    )


_encoder: Final = msgspec.msgpack.Encoder()
_entry_decoder: Final = msgspec.msgpack.Decoder(Entry)
_about_decoder: Final = msgspec.msgpack.Decoder(About)

encode_entry: Final = _encoder.encode
encode_about: Final = _encoder.encode


def decode_entry(name: bytes, stored: bytes) -> Entry:
    """The entry stored under ``name``. Raises ``Damaged`` with code ``view_damaged``."""
    try:
        return _entry_decoder.decode(stored)
    except msgspec.MsgspecError as error:
        raise Damaged("view_damaged", f"the views' entry {name!r} cannot be read") from error


def decode_about(stored: bytes) -> About | None:
    """What the views belong to; None when it cannot be told."""
    try:
        return _about_decoder.decode(stored)
    except msgspec.MsgspecError:
        return None
