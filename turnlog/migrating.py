"""Migrating a whole store: replay it into a new one, and prove that.

The new log is what a replay of the old one gives, commit by commit, at the same times and, where nothing is
dropped, at the same positions. One that was cut short is a prefix of it, and migrating again goes on there.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import UnsetType
from msgspec.structs import replace

from eventstore import reading
from eventstore.body import request_digest
from eventstore.commits import Commit, pack
from eventstore.directory import Opened, open_directory
from eventstore.errors import Damaged, Refused
from eventstore.events import ALL_BITS, BranchMoved, MessageAppended, Record, StreamStarted
from eventstore.limits import MAP_BYTES
from eventstore.log import Log, StoreFacts
from eventstore.rewriting import Rewriter
from eventstore.units import wall_clock_us
from eventstore.verify import verify
from turnlog.comparing import Progress, compare_answers
from turnlog.replaying.transforming import Replay, Rewritten, Transform
from turnlog.service import key_file


class Migrated(msgspec.Struct, frozen=True):
    """What came of it. ``resumed_position``: where an earlier run had come to.

    ``events_chain`` covers all commits of the new log, by what they say and not by their stored bytes;
    without a transform the old log has the same.
    """

    commits: int
    events: int
    dropped_commits: int
    resumed_position: int
    contexts: int
    messages: int
    events_chain: str


class _Placed(NamedTuple):
    position: int
    recorded_at: int
    rewritten: Rewritten


async def migrate(
    old: Path,
    new: Path,
    transform: Transform | None = None,
    *,
    allow_unsafe_file_system: bool = False,
    progress: Progress = lambda doing, done, total: None,
) -> Migrated:
    """Replay the store in ``old`` into ``new``, which is made or goes on, and verify it.

    Without a transform a new store that is made is the old one, by its ``store_id`` too: what names positions
    of the old one, or the store, as the report of an import does, holds for it.

    Nobody may write either meanwhile. Raises ``Refused`` (``store_differs`` when ``new`` holds something
    else, ``invalid_transform``, or what the write model says of a commit), ``Damaged``, ``Unavailable``.
    """
    if new == old:
        raise Refused("invalid_argument", f"the old store and the new one are the same directory, {old}")
    if new.is_relative_to(old) or old.is_relative_to(new):
        raise Refused("invalid_argument", f"{old} and {new} are not beside each other")

    def opened(path: Path, *, create: bool, facts: StoreFacts | None = None) -> Opened:
        return open_directory(
            path,
            read_only=False,
            create=create,
            allow_unsafe_file_system=allow_unsafe_file_system,
            clock=wall_clock_us,
            map_bytes=MAP_BYTES,
            facts=facts,
        )

    key_file.read(key_file.path_in(old))  # what is wrong with it is told before the work, not after
    source = opened(old, create=False)
    try:
        target = opened(new, create=True, facts=source.log.facts if transform is None else None)
        try:
            resumed = _replay(source.log, target.log, transform, progress)
            commits, events, chain = _compare(source.log, target.log, transform, progress)
            dropped = _head(source.log) - commits
            _verify(target.log, progress)
        finally:
            target.close()
        with key_file.carried_over(old, new):
            pass
    finally:
        source.close()
    paths = (new, old) if transform is None else (new,)
    contexts, messages = await compare_answers(paths, unsafe=allow_unsafe_file_system, progress=progress)
    return Migrated(commits, events, dropped, resumed, contexts, messages, chain)


def _replayed(old: Log, transform: Transform | None) -> Iterator[_Placed]:
    """What the new log must hold: always the same for the same old log and transform."""
    replay = Replay(transform)
    for commit in reading.commits(old, 0, None, ALL_BITS):
        try:
            replayed = replay.append(
                commit.context_id,
                commit.first_version,
                commit.records,
                commit.commit_id,
                commit.metadata,
                _digest(old, commit),
                together=commit.together,
            )
        except Refused as error:
            position = commit.position
            raise Refused(error.code, f"position {position}: {error.message}", position=position) from error
        if replayed is not None:
            yield _Placed(commit.position, commit.recorded_at, replayed)


def _replay(old: Log, new: Log, transform: Transform | None, progress: Progress) -> int:
    """Write what the new log lacks. Returns the position that it had before."""
    replayed, total, resumed = _replayed(old, transform), _head(old), _head(new)
    for commit, item in zip(_commits(new), islice(replayed, resumed), strict=False):
        if not _same(new, commit, item):
            raise _differs(new, commit.position)
        progress("comparing", commit.position, resumed)
    rewriter = Rewriter(new)
    for item in replayed:
        append, together = item.rewritten
        rewriter.append(append, item.recorded_at, item.position, together=together)
        progress("replaying", item.position, total)
    rewriter.finish()
    return resumed


def _digest(log: Log, commit: Commit) -> bytes | None:
    """That of the request which made a commit, if it has an id by which it may be repeated."""
    if commit.commit_id is None:
        return None
    with log.reading() as txn:
        return log.request_digest(txn, commit.context_id, commit.commit_id)


def _same(new: Log, commit: Commit, item: _Placed) -> bool:
    append, together = item.rewritten
    if commit.together != together or (
        commit.context_id,
        commit.first_version - 1,
        commit.commit_id,
        commit.recorded_at,
    ) != (*(append.context_id, append.expected_version, append.commit_id, item.recorded_at),):
        return False
    if append.request_digest not in (None, _digest(new, commit)):
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
        if commit is None or item is None or not _same(new, commit, item):
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
