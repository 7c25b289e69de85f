"""Letting a migrated store take the old one's place, and finishing that when it was cut short.

    old -> old.before-migration, new -> old

Between the two renamings there is no ``old``. Before the first one a mark is left in the old directory, which
says what is to take its place: whoever comes after a kill goes on with that store and with no other.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from eventstore.environment import WriterLock, sync_directory, translated
from eventstore.errors import Damaged, Refused
from eventstore.log import Log
from eventstore.stored import Head
from turnlog.exporters.folder import Folder
from turnlog.migrating import Migrated
from turnlog.service import key_file

KEPT: Final = "before-migration"
"""What the old directory's name ends with after a swap."""

MARK: Final = ".swap.json"
"""The mark's name in the old directory, where it stays."""


class Mark(msgspec.Struct, frozen=True):
    """What is to take a directory's place: a log of so many commits with this chain, and how it was made."""

    position: int
    chain: str
    migrated: Migrated


def kept_at(old: Path) -> Path:
    """Where a swap keeps the old directory."""
    return old.with_name(f"{old.name}.{KEPT}")


def check_kept(old: Path) -> Path:
    """Where a swap will keep the old directory. Raises ``Refused`` (``output_exists``)."""
    kept = kept_at(old)
    if kept.exists():
        raise Refused(
            "output_exists", f"{kept} is there already: the old store would be kept there", path=str(kept)
        )
    return kept


def swap(old: Path, new: Path, migrated: Migrated) -> Path:
    """Let the new directory take the old one's name; the old one is kept beside. Returns where.

    Keys that were made or revoked since the migration are carried over. Nobody may write either meanwhile.
    Raises ``Refused``: ``output_exists`` when something else is where the old one would be kept,
    ``store_differs`` when one of the logs went on; and ``Unavailable``.
    """
    kept = check_kept(old)
    with _alone(old, new):
        _check_position(old, migrated.commits + migrated.dropped_commits)
        _check_position(new, migrated.commits)
        if old.parent.stat().st_dev != new.stat().st_dev:
            raise Refused("invalid_argument", f"{new} is on another file system than {old}")
        head = _head(new)
        with Folder(old, force=True) as folder:
            folder.write(MARK, msgspec.json.encode(Mark(head.position, head.chain.hex(), migrated)))
        old.rename(kept)
        sync_directory(old.parent)
        _take_place(old, new)
    return kept


def finish_swap(old: Path, new: Path) -> Migrated | None:
    """Finish a swap that was cut short between its renamings; None when there is none.

    Raises ``Refused`` (``store_differs``) when ``new`` is not what was to take the place of ``old``, or a log
    went on since; ``Damaged`` and ``Unavailable``.
    """
    kept = kept_at(old)
    if old.exists() or not new.exists() or not (kept / MARK).is_file():
        return None
    with _alone(kept, new):
        try:
            mark = msgspec.json.decode((kept / MARK).read_bytes(), type=Mark)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise Damaged("directory_damaged", f"{kept / MARK} is no mark", path=str(kept)) from error
        _check_position(kept, mark.migrated.commits + mark.migrated.dropped_commits)
        head = _head(new)
        if (head.position, head.chain.hex()) != (mark.position, mark.chain):
            what = f"{new} is not the store that was to take the place of {old}"
            raise Refused("store_differs", what, path=str(new), position=head.position)
        _take_place(old, new)
    return mark.migrated


@contextmanager
def _alone(old: Path, new: Path) -> Generator[None]:
    """Nobody writes the two stores, their keys are the same, and nobody changes them."""
    with ExitStack() as held:
        held.enter_context(translated(new))
        for path in (old, new):
            held.callback(WriterLock(path).release)
        held.enter_context(key_file.carried_over(old, new))
        yield


def _take_place(old: Path, new: Path) -> None:
    with translated(new):
        new.rename(old)
        sync_directory(old.parent)
        sync_directory(new.parent)


def _check_position(path: Path, verified: int) -> None:
    if (now := _head(path).position) != verified:
        what = f"{path} went on to position {now} after it was verified at {verified}"
        raise Refused("store_differs", what, path=str(path), position=now)


def _head(path: Path) -> Head:
    log = Log(path / "log", read_only=True)
    try:
        with log.reading() as txn:
            return log.head(txn)
    finally:
        log.close()
