"""Reading the log: functions on a transaction, and the environment that they need.

Each method that takes ``txn`` runs inside ``with log.reading() as txn``: short, on any thread. Whatever is
read is checked against its digest and against the key that led to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast
from uuid import UUID

import lmdb
import msgspec
import zstandard

from eventstore import frame, keys
from eventstore.commits import Commit
from eventstore.errors import Damaged, NotFound, Refused, Unavailable
from eventstore.events import ALL_BITS, MILESTONE_VERSIONS, MILESTONES, ContextCreated, ForkedFrom
from eventstore.index import ContextIndex
from eventstore.limits import MAP_BYTES
from eventstore.shared import SharedEnvironment
from eventstore.stored import Head, Item, stored_commit, stored_commits, stored_head
from eventstore.upcasters import UPCASTERS


class StoreFacts(msgspec.Struct, frozen=True):
    """What is written once, when a store is created."""

    format: int
    store_id: UUID
    created_at: int


class Log(SharedEnvironment):
    """The log's environment and what can be read in it."""

    def __init__(self, path: Path, *, read_only: bool = False, map_bytes: int = MAP_BYTES) -> None:
        super().__init__(path, keys.DATABASES, read_only=read_only, map_bytes=map_bytes)
        self._local = threading.local()
        self.index: ContextIndex = ContextIndex(self)
        try:
            with self.reading() as txn:
                self.facts: StoreFacts = _facts(txn, path)
        except BaseException:
            self.close()
            raise

    @property
    def store_id(self) -> UUID:
        """Made when the store was created: tells two stores apart."""
        return self.facts.store_id

    def head(self, txn: lmdb.Transaction) -> Head:
        """The last commit's position, time and chain; position 0 in an empty log."""
        head = stored_head(txn)
        if head is None:
            raise Damaged("directory_damaged", f"{self.path} has no readable head", path=str(self.path))
        return head

    def commit_at(self, txn: lmdb.Transaction, position: int) -> Commit:
        """The commit at ``position``. Raises ``NotFound`` or ``Damaged``."""
        return frame.decode(position, self._stored(txn, position), self._decompressor())

    def _stored(self, txn: lmdb.Transaction, position: int) -> bytes:
        there = 0 < position < keys.U64_MAX
        stored = stored_commit(txn, self.databases[keys.COMMITS], keys.pack_u64(position)) if there else None
        if stored is None:
            if 0 < position <= self.head(txn).position:
                raise frame.damaged(position, "it is missing")
            raise NotFound("position_not_found", f"the log has no position {position}", position=position)
        self.mapped.touched(len(stored))
        return stored

    def is_divided(self, txn: lmdb.Transaction, position: int) -> bool:
        """Whether the commits up to a position end between two that became visible together."""
        key = keys.pack_u64(position + 1)
        stored = stored_commit(txn, self.databases[keys.COMMITS], key)
        return stored is not None and len(stored) >= frame.STORED_BYTES_MIN and frame.is_together(stored)

    def _decompressor(self) -> zstandard.ZstdDecompressor:
        try:
            return self._local.decompressor
        except AttributeError:
            self._local.decompressor = zstandard.ZstdDecompressor()
            return self._local.decompressor

    def commits(
        self,
        txn: lmdb.Transaction,
        after: int,
        *,
        count_max: int,
        bytes_max: int,
        kinds: int = ALL_BITS,
        to: int | None = None,
        keep: Callable[[int, bytes], None] | None = None,
    ) -> tuple[list[Commit], int]:
        """The commits after a position that hold any of ``kinds``, and the position reached.

        With ``MILESTONES`` among them also those that hold one, without records (``frame.header``).
        Stops at ``to`` (inclusive), after ``count_max`` commits, or before they take more than ``bytes_max``,
        matching ones unpacked and the others as they are stored; one that takes more comes alone. When the
        position reached equals ``after``, there is nothing further. What is sound before damage is given
        first; ``Damaged`` is raised when the damaged commit is the next. ``keep`` is called with the position
        and the stored bytes of each commit that was read, matching or not.
        """
        if not 0 <= after < keys.U64_MAX:
            raise Refused("invalid_argument", f"after is {after}, not a position", after=after)
        found: list[Commit] = []
        to = keys.U64_MAX if to is None else to
        position, bytes_read, last = after, 0, min(after + count_max, to)
        decompressor, wanted = self._decompressor(), UPCASTERS.stored_kinds(kinds & ALL_BITS)
        milestones = kinds & MILESTONES
        check, summary, unpacked_bytes = frame.check, frame.summary, frame.unpacked_bytes
        pack = keys.pack_u64
        try:
            items = stored_commits(txn, self.databases[keys.COMMITS], keys.pack_u64(after + 1))
            for key, stored in items:
                if position >= last:
                    return found, position
                at = position + 1
                if key != pack(at):
                    break
                check(at, stored)
                there, first_version, events = summary(stored)
                bytes_read += unpacked_bytes(stored) if there & wanted else len(stored)
                if bytes_read > bytes_max and position > after:
                    return found, position
                if there & wanted:
                    commit = frame.decode_checked(at, stored, decompressor)
                    if commit.kinds & kinds:
                        found.append(commit)
                elif milestones and -first_version % MILESTONE_VERSIONS < events:
                    found.append(frame.header(at, stored))
                if keep is not None:
                    keep(at, stored)
                position = at
            if position < min(to, self.head(txn).position):
                raise frame.damaged(position + 1, "it is missing")
        except Damaged:
            if position == after:
                raise
        finally:
            self.mapped.touched(bytes_read)
        return found, position

    def context_commits(
        self, txn: lmdb.Transaction, context_id: UUID, from_version: int = 1, to_version: int = keys.U64_MAX
    ) -> Iterator[Commit]:
        """The commits of a context that hold these versions, both inclusive; lazily, within ``txn``."""
        decompressor = self._decompressor()
        for position, stored in self._context_stored(txn, context_id, from_version, to_version):
            yield frame.decode_checked(position, stored, decompressor)

    def _context_stored(
        self, txn: lmdb.Transaction, context_id: UUID, from_version: int, to_version: int
    ) -> Iterator[tuple[int, bytes]]:
        from_version, to_version = max(1, from_version), min(to_version, keys.U64_MAX)
        if from_version > to_version:
            return
        context_key, expected = context_id.bytes, 0
        for entry in self.index.entries(txn, self.head(txn), context_key, from_version, to_version):
            position, stored = self._indexed(txn, entry)
            frame.check(position, stored)
            first_version, last_version = frame.versions(stored)
            if first_version != expected and (expected or first_version > from_version):
                raise frame.damaged(position, f"its context goes on with version {first_version}")
            expected = last_version + 1
            if expected > from_version:
                yield position, stored

    def context_page(
        self,
        txn: lmdb.Transaction,
        context_id: UUID,
        from_version: int = 1,
        to_version: int = keys.U64_MAX,
        *,
        count_max: int,
        bytes_max: int,
    ) -> tuple[list[Commit], bool]:
        """The first of ``context_commits``, and whether there is more; bounds, damage as in ``commits``."""
        page: list[Commit] = []
        bytes_read, decompressor = 0, self._decompressor()
        try:
            for position, stored in self._context_stored(txn, context_id, from_version, to_version):
                bytes_read += frame.unpacked_bytes(stored)
                if page and (len(page) >= count_max or bytes_read > bytes_max):
                    return page, True
                page.append(frame.decode_checked(position, stored, decompressor))
        except Damaged:
            if not page:
                raise
            return page, True
        return page, False

    def _indexed(self, txn: lmdb.Transaction, entry: Item) -> tuple[int, bytes]:
        """Position and stored commit that an index entry leads to, after checking that it is that one."""
        key, position_key = entry
        position = int.from_bytes(position_key, "big")
        stored = stored_commit(txn, self.databases[keys.COMMITS], position_key or b"\0")
        if stored is None or stored[frame.CONTEXT_VERSION] != key:
            raise frame.damaged(position, "the index of its context leads to another")
        self.mapped.touched(len(stored))
        return position, stored

    def commit_of(self, txn: lmdb.Transaction, context_id: UUID, version: int) -> Commit:
        """The commit that holds a version of a context. Raises ``NotFound`` or ``Damaged``."""
        for commit in self.context_commits(txn, context_id, version, version):
            if commit.first_version <= version <= commit.last_version:
                return commit
        if not self.has_context(txn, context_id):
            raise context_not_found(context_id)
        raise NotFound(
            "version_not_found",
            f"the context has no version {version}",
            context_id=context_id,
            version=version,
        )

    def request_digest(self, txn: lmdb.Transaction, context_id: UUID, commit_id: UUID) -> bytes | None:
        """The digest of the request that made a commit, by the commit's id."""
        value = txn.get(context_id.bytes + commit_id.bytes, db=self.databases[keys.COMMIT_IDS])
        return None if value is None else keys.split_commit_id_value(value)[1]

    def version_of(self, txn: lmdb.Transaction, context_id: UUID) -> int:
        """The number of events a context has had; 0 when it does not exist."""
        entry = self.index.floor(txn, self.head(txn), context_id.bytes, keys.U64_MAX)
        return 0 if entry is None else self._last_version(txn, entry)[0]

    def _last_version(self, txn: lmdb.Transaction, entry: Item) -> tuple[int, int]:
        """The last version of the commit that an index entry leads to, and its position."""
        position, stored = self._indexed(txn, entry)
        frame.check(position, stored)
        return frame.versions(stored)[1], position

    def has_context(self, txn: lmdb.Transaction, context_id: UUID) -> bool:
        """Whether a context exists, deleted or not."""
        return self.index.floor(txn, self.head(txn), context_id.bytes, keys.U64_MAX) is not None

    def place_at(self, txn: lmdb.Transaction, context_id: UUID, position: int) -> tuple[int, int]:
        """A context's version once ``position`` was committed, and the position that brought it; or 0, 0."""
        entry = self.index.as_of(txn, self.head(txn), context_id.bytes, position)
        return (0, 0) if entry is None else self._last_version(txn, entry)

    def context_keys(self, txn: lmdb.Transaction) -> Iterator[bytes]:
        """The 16 bytes of every context's id, in no particular order; lazily, within ``txn``."""
        return self.index.context_keys(txn, self.head(txn))

    def position_at_time(self, txn: lmdb.Transaction, at_us: int) -> int:
        """The last position recorded at or before a time; 0 when there is none."""
        low, high = 1, self.head(txn).position
        while low <= high:
            middle = (low + high) // 2
            stored = self._stored(txn, middle)
            frame.check(middle, stored)
            if frame.recorded_at(stored) <= at_us:
                low = middle + 1
            else:
                high = middle - 1
        return high

    def message_place(self, txn: lmdb.Transaction, message_id: UUID) -> tuple[UUID, int, bool] | None:
        """The context and version where a message was added, and whether it was streamed."""
        stored = cast("bytes | None", txn.get(message_id.bytes, db=self.databases[keys.MESSAGES]))
        return None if stored is None else place_in(stored)

    def message_keys(self, txn: lmdb.Transaction) -> Iterator[bytes]:
        """The 16 bytes of every message's id, in order; lazily, within ``txn``. About a million a second."""
        with txn.cursor(self.databases[keys.MESSAGES]) as cursor:
            yield from cast("Iterator[bytes]", cursor.iternext(values=False))

    def forked_from(self, txn: lmdb.Transaction, context_id: UUID) -> ForkedFrom | None:
        """Whose history a context shares."""
        created = next(self.commit_of(txn, context_id, 1).events())
        return created.forked_from if isinstance(created, ContextCreated) else None


def place_in(stored: bytes) -> tuple[UUID, int, bool]:
    """The place of a message, as it is stored."""
    context_id, version, streamed = keys.split_message_value(stored)
    return UUID(bytes=context_id), version, bool(streamed)


def context_not_found(context_id: UUID) -> NotFound:
    """The error for a context that does not exist."""
    return NotFound("context_not_found", f"there is no context {context_id}", context_id=context_id)


def _facts(txn: lmdb.Transaction, path: Path) -> StoreFacts:
    stored = txn.get(keys.STORE)
    if stored is None:
        raise Unavailable("directory_foreign", f"{path} is not a Turnlog log", path=str(path))
    try:
        facts = msgspec.msgpack.decode(stored, type=StoreFacts)
    except msgspec.MsgspecError as error:
        raise Damaged("directory_damaged", f"{path} has no readable store record", path=str(path)) from error
    if facts.format > frame.FORMAT:
        raise Unavailable(
            "directory_newer",
            f"{path} has format {facts.format}; this Turnlog knows {frame.FORMAT}",
            path=str(path),
            format=facts.format,
        )
    return facts
