"""Migrating a whole store: replay it into a new one, prove that, and let it take the old one's place.

The new log is what a replay of the old one gives, commit by commit, at the same times and, where nothing is
dropped, at the same positions. One that was cut short is a prefix of it, and migrating again goes on there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import UnsetType
from msgspec.structs import replace

from eventstore import reading
from eventstore.body import request_digest
from eventstore.commits import Append, Commit, pack
from eventstore.directory import Opened, open_directory
from eventstore.environment import WriterLock, sync_directory, translated
from eventstore.errors import Damaged, Refused
from eventstore.events import ALL_BITS, BranchMoved, MessageAppended, Record, StreamStarted
from eventstore.limits import MAP_BYTES
from eventstore.log import Log
from eventstore.rewriting import Rewriter
from eventstore.units import wall_clock_us
from eventstore.verify import verify
from turnlog.comparing import Progress, compare_answers
from turnlog.replaying.transforming import Replay, Transform

KEPT: Final = "before-migration"
"""What the old directory's name ends with after a swap."""


class Migrated(msgspec.Struct, frozen=True):
    """What came of it. ``resumed_at``: the position that an earlier run had reached.

    ``events_chain`` covers all commits of the new log, by what they say and not by their stored bytes;
    without a transform the old log has the same.
    """

    commits: int
    events: int
    dropped_commits: int
    resumed_at: int
    contexts: int
    messages: int
    events_chain: str


class _Replayed(NamedTuple):
    position: int
    recorded_at: int
    append: Append
    together: bool


async def migrate(
    old: Path,
    new: Path,
    transform: Transform | None = None,
    *,
    allow_unsafe_file_system: bool = False,
    progress: Progress = lambda doing, done, total: None,
) -> Migrated:
    """Replay the store in ``old`` into ``new``, which is made or goes on, and verify it.

    Nobody may write either meanwhile. Raises ``Refused`` (``store_differs`` when ``new`` holds something
    else, ``invalid_transform``, or what the write model says of a commit), ``Damaged``, ``Unavailable``.
    """
    if new == old or new.is_relative_to(old) or old.is_relative_to(new):
        raise Refused("invalid_argument", f"{old} and {new} are not beside each other")

    def opened(path: Path, *, create: bool) -> Opened:
        return open_directory(
            path,
            read_only=False,
            create=create,
            allow_unsafe_file_system=allow_unsafe_file_system,
            clock=wall_clock_us,
            map_bytes=MAP_BYTES,
        )

    source = opened(old, create=False)
    try:
        target = opened(new, create=True)
        try:
            resumed_at = _replay(source.log, target.log, transform, progress)
            commits, events, chain = _compare(source.log, target.log, transform, progress)
            dropped = _head(source.log) - commits
            _verify(target.log, progress)
        finally:
            target.close()
        _copy_keys(old, new)
    finally:
        source.close()
    paths = (new, old) if transform is None else (new,)
    contexts, messages = await compare_answers(paths, unsafe=allow_unsafe_file_system, progress=progress)
    return Migrated(commits, events, dropped, resumed_at, contexts, messages, chain)


def _replayed(old: Log, transform: Transform | None) -> Iterator[_Replayed]:
    """What the new log must hold: always the same for the same old log and transform."""
    replay = Replay(transform)
    for commit in reading.commits(old, 0, None, ALL_BITS):
        try:
            append = replay.append(
                commit.context_id, commit.first_version, commit.records, commit.commit_id, commit.metadata
            )
        except Refused as error:
            position = commit.position
            raise Refused(error.code, f"position {position}: {error.message}", position=position) from error
        if append is not None:
            yield _Replayed(commit.position, commit.recorded_at, append, commit.together)


def _replay(old: Log, new: Log, transform: Transform | None, progress: Progress) -> int:
    """Write what the new log lacks. Returns the position that it had before."""
    replayed, total, resumed_at = _replayed(old, transform), _head(old), _head(new)
    for commit, item in zip(_commits(new), islice(replayed, resumed_at), strict=False):
        if not _same(commit, item):
            raise _differs(new, commit.position)
        progress("comparing", commit.position, resumed_at)
    rewriter = Rewriter(new)
    for item in replayed:
        rewriter.append(item.append, item.recorded_at, item.position, together=item.together)
        progress("replaying", item.position, total)
    rewriter.finish()
    return resumed_at


def _same(commit: Commit, item: _Replayed) -> bool:
    append = item.append
    if (commit.context_id, commit.first_version - 1, commit.commit_id, commit.recorded_at) != (
        *(append.context_id, append.expected_version, append.commit_id, item.recorded_at),
    ):
        return False
    records = pack(append.events)
    if len(records) != len(commit.records):
        return False
    filled = tuple(map(_filled, records, commit.records))
    return request_digest(filled, append.metadata) == request_digest(commit.records, commit.metadata)


def _filled(record: Record, stored: Record) -> Record:
    """The record with what the log fills in, as it is stored."""
    match record, stored:
        case BranchMoved(previous=UnsetType()), BranchMoved():
            return replace(record, previous=stored.previous)
        case MessageAppended(parent_id=UnsetType()), MessageAppended():
            return replace(record, parent_id=stored.parent_id)
        case StreamStarted(parent_id=UnsetType()), StreamStarted():
            return replace(record, parent_id=stored.parent_id)
        case _:
            return record


def _compare(old: Log, new: Log, transform: Transform | None, progress: Progress) -> tuple[int, int, str]:
    """Hold the new log against the replay of the old one. Returns commits, events, and their chain."""
    chain, commits, events, total = bytes(32), 0, 0, _head(new)
    for commit, item in zip_longest(_commits(new), _replayed(old, transform)):
        commits += 1
        if commit is None or item is None or not _same(commit, item):
            raise _differs(new, commits)
        events += commit.event_count
        facts = (commit.context_id, commit.first_version, commit.recorded_at, commit.commit_id)
        told = msgspec.msgpack.encode((*facts, request_digest(commit.records, commit.metadata)))
        chain = sha256(chain + told).digest()
        progress("comparing", commits, total)
    return commits, events, chain.hex()


def _commits(log: Log) -> Iterator[Commit]:
    return reading.commits(log, 0, None, ALL_BITS)


def _head(log: Log) -> int:
    with log.reading() as txn:
        return log.head(txn).position


def _differs(log: Log, position: int) -> Refused:
    return Refused(
        "store_differs",
        f"position {position} of {log.path.parent} is not what the old store gives",
        path=str(log.path.parent),
        position=position,
    )


def _verify(new: Log, progress: Progress) -> None:
    total = _head(new)
    for finding in verify(new, progress=lambda position: progress("verifying", position, total)):
        if finding.severity == "error":
            raise Damaged(
                "directory_damaged", f"{new.path.parent}: {finding.message}", position=finding.position
            )


def _copy_keys(old: Path, new: Path) -> None:
    """The keys of the service: without them everybody would be locked out."""
    with translated(new):
        if not (old / "keys.json").is_file():
            return
        aside = new / ".keys.json.new"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write((old / "keys.json").read_bytes())
            file.flush()
            os.fsync(file.fileno())
        aside.rename(new / "keys.json")
        sync_directory(new)


def kept_at(old: Path) -> Path:
    """Where a swap keeps the old directory."""
    return old.with_name(f"{old.name}.{KEPT}")


def swap(old: Path, new: Path, verified: int) -> Path:
    """Let the new directory take the old one's name; the old one is kept beside. Returns where.

    ``verified``: the position of the old log up to which the new one was verified. Nobody may write either
    meanwhile. Raises ``Refused``: ``output_exists`` when something else is where the old one would be kept,
    ``store_differs`` when the old log went on; and ``Unavailable``.
    """
    kept = kept_at(old)
    if kept.exists():
        raise Refused("output_exists", f"{kept} is there already", path=str(kept))
    with translated(new), ExitStack() as locks:
        for path in (old, new):
            locks.callback(WriterLock(path).release)
        if (now := _position_of(old)) != verified:
            raise Refused("store_differs", f"{old} went on to position {now}", path=str(old), position=now)
        if old.parent.stat().st_dev != new.stat().st_dev:
            raise Refused("invalid_argument", f"{new} is on another file system than {old}")
        old.rename(kept)
        sync_directory(old.parent)
        finish_swap(old, new)
    return kept


def _position_of(path: Path) -> int:
    log = Log(path / "log", read_only=True)
    try:
        return _head(log)
    finally:
        log.close()


def finish_swap(old: Path, new: Path) -> None:
    """The second half of a swap, after which the new directory has the old one's name."""
    with translated(new):
        new.rename(old)
        sync_directory(old.parent)
        sync_directory(new.parent)


def is_swap_unfinished(old: Path, new: Path) -> bool:
    """Whether a swap was cut short between its two renamings: the new store was verified before."""
    return not old.exists() and kept_at(old).is_dir() and new.is_dir()
