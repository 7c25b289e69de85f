"""Reading the log: functions on a transaction, and the environment that they need.

Each method that takes ``txn`` runs inside ``with log.reading() as txn``: short, on any thread. Whatever is
read is checked against its digest and against the key that led to it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, cast
from uuid import UUID

import lmdb
import msgspec
import zstandard

from eventstore import frame, keys
from eventstore.commits import Commit
from eventstore.errors import Damaged, NotFound, Refused, Unavailable
from eventstore.events import ALL_BITS, ContextCreated, ForkedFrom
from eventstore.limits import MAP_BYTES
from eventstore.shared import SharedEnvironment
from eventstore.upcasters import UPCASTERS

_Value: TypeAlias = bytes | None
_Item: TypeAlias = tuple[bytes, bytes]
_Items: TypeAlias = Iterator[_Item]
# What lmdb returns without buffers=True, which its stubs cannot say.

GENESIS: Final = bytes(keys.DIGEST_BYTES)
"""The chain before the first commit."""


class Head(NamedTuple):
    """The end of the log. ``chain`` covers every commit up to ``position``."""

    position: int
    recorded_at: int
    chain: bytes


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
        stored = txn.get(keys.HEAD)
        if stored is None:
            return Head(0, 0, GENESIS)
        if len(stored) != keys.HEAD_BYTES:
            raise Damaged("directory_damaged", f"{self.path} has no readable head", path=str(self.path))
        return Head(*keys.split_head_value(stored))

    def commit_at(self, txn: lmdb.Transaction, position: int) -> Commit:
        """The commit at ``position``. Raises ``NotFound`` or ``Damaged``."""
        return frame.decode(position, self._stored(txn, position), self._decompressor())

    def _stored(self, txn: lmdb.Transaction, position: int) -> bytes:
        key = keys.pack_u64(max(0, position))  # Nothing is at position 0.
        stored = cast(_Value, txn.get(key, db=self.databases[keys.COMMITS]))
        if stored is None:
            if 0 < position <= self.head(txn).position:
                raise frame.damaged(position, "it is missing")
            raise NotFound("position_not_found", f"the log has no position {position}", position=position)
        return stored

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
        multiples_of: int = 0,
        to: int | None = None,
    ) -> tuple[list[Commit], int]:
        """The commits after a position that hold any of ``kinds``, and the position reached.

        With ``multiples_of`` also those with a version that it divides, without records (``frame.header``).
        Stops at ``to`` (inclusive), or after reading ``count_max`` commits or ``bytes_max`` stored bytes,
        matching or not: when the position reached equals ``after``, there is nothing further. What is sound
        before damage is given first; ``Damaged`` is raised when the damaged commit is the next.
        """
        if not 0 <= after < keys.U64_MAX:
            raise Refused("invalid_argument", f"after is {after}, not a position", after=after)
        found: list[Commit] = []
        to = keys.U64_MAX if to is None else to
        position, bytes_read, last = after, 0, min(after + count_max, to)
        decompressor, wanted = self._decompressor(), UPCASTERS.stored_kinds(kinds)
        try:
            with txn.cursor(self.databases[keys.COMMITS]) as cursor:
                there = cursor.set_range(keys.pack_u64(after + 1))
                for key, stored in cast(_Items, cursor.iternext()) if there else ():
                    if position >= last or bytes_read >= bytes_max:
                        return found, position
                    if key != keys.pack_u64(position + 1):
                        break
                    bytes_read += len(stored)
                    if frame.checked_kinds(position + 1, stored) & wanted:
                        commit = frame.decode(position + 1, stored, decompressor, check=False)
                        if commit.kinds & kinds:
                            found.append(commit)
                    elif multiples_of and frame.holds_multiple(stored, multiples_of):
                        found.append(frame.header(position + 1, stored))
                    position += 1
            if position < min(to, self.head(txn).position):
                raise frame.damaged(position + 1, "it is missing")
        except Damaged:
            if position == after:
                raise
        return found, position

    def context_commits(
        self, txn: lmdb.Transaction, context_id: UUID, from_version: int = 1, to_version: int = keys.U64_MAX
    ) -> Iterator[Commit]:
        """The commits of a context that hold these versions, both inclusive; lazily, within ``txn``."""
        for commit, _ in self._sized_commits(txn, context_id, from_version, to_version):
            yield commit

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
        bytes_read = 0
        try:
            for commit, stored_bytes in self._sized_commits(txn, context_id, from_version, to_version):
                page.append(commit)
                bytes_read += stored_bytes
                if len(page) >= count_max or bytes_read >= bytes_max:
                    return page, True
        except Damaged:
            if not page:
                raise
            return page, True
        return page, False

    def _sized_commits(
        self, txn: lmdb.Transaction, context_id: UUID, from_version: int, to_version: int
    ) -> Iterator[tuple[Commit, int]]:
        prefix = context_id.bytes
        from_version, to_version = max(1, from_version), min(to_version, keys.U64_MAX)
        if from_version > to_version:
            return
        last = keys.context_version(prefix, to_version)
        decompressor = self._decompressor()
        with txn.cursor(self.databases[keys.BY_CONTEXT]) as cursor:
            if not _seek_floor(cursor, prefix, from_version):
                return
            for key, value in cast(_Items, cursor.iternext()):
                if key > last:
                    return
                stored = self._indexed(txn, key, value)
                commit = frame.decode(keys.unpack_u64(value), stored, decompressor)
                if commit.last_version >= from_version:
                    yield commit, len(stored)

    def _indexed(self, txn: lmdb.Transaction, key: bytes, value: bytes) -> bytes:
        """The stored commit that an entry of ``by_context`` leads to, after checking that it is that one."""
        there = len(value) == keys.U64_BYTES
        stored = cast(_Value, txn.get(value, db=self.databases[keys.COMMITS]) if there else None)
        if stored is None or stored[frame.CONTEXT_VERSION] != key:
            raise frame.damaged(int.from_bytes(value, "big"), "the index of its context leads to another")
        return stored

    def commit_of(self, txn: lmdb.Transaction, context_id: UUID, version: int) -> Commit:
        """The commit that holds a version of a context. Raises ``NotFound`` or ``Damaged``."""
        for commit in self.context_commits(txn, context_id, version, version):
            if commit.first_version <= version <= commit.last_version:
                return commit
        if self.version_of(txn, context_id) == 0:
            raise context_not_found(context_id)
        raise NotFound(
            "version_not_found",
            f"the context has no version {version}",
            context_id=context_id,
            version=version,
        )

    def last_commit(self, txn: lmdb.Transaction, context_id: UUID) -> Commit | None:
        """A context's newest commit."""
        prefix = context_id.bytes
        with txn.cursor(self.databases[keys.BY_CONTEXT]) as cursor:
            if not _seek_floor(cursor, prefix, keys.U64_MAX):
                return None
            key, value = cast(_Item, cursor.item())
        return frame.decode(keys.unpack_u64(value), self._indexed(txn, key, value), self._decompressor())

    def version_of(self, txn: lmdb.Transaction, context_id: UUID) -> int:
        """The number of events a context has had; 0 when it does not exist."""
        commit = self.last_commit(txn, context_id)
        return commit.last_version if commit else 0

    def commit_as_of(self, txn: lmdb.Transaction, context_id: UUID, position: int) -> Commit | None:
        """The last commit of a context at or below a position; None when it did not exist yet."""
        last = self.last_commit(txn, context_id)
        if last is None or last.position <= position:
            return last
        prefix = context_id.bytes
        low, high, found = 1, last.first_version - 1, None
        with txn.cursor(self.databases[keys.BY_CONTEXT]) as cursor:
            while low <= high:
                middle = (low + high) // 2
                if not _seek_floor(cursor, prefix, middle):
                    raise Damaged("commit_damaged", "the context's index has a hole", context_id=context_id)
                key, value = cast(_Item, cursor.item())
                if keys.unpack_u64(value) > position:
                    high = keys.split_context_version(key)[1] - 1
                else:
                    found, low = (key, value), middle + 1
        if found is None:
            return None
        stored = self._indexed(txn, *found)
        return frame.decode(keys.unpack_u64(found[1]), stored, self._decompressor())

    def version_at_position(self, txn: lmdb.Transaction, context_id: UUID, position: int) -> int:
        """A context's version once ``position`` was committed; 0 when it did not exist yet."""
        commit = self.commit_as_of(txn, context_id, position)
        return commit.last_version if commit else 0

    def position_at_time(self, txn: lmdb.Transaction, at_us: int) -> int:
        """The last position recorded at or before a time; 0 when there is none."""
        low, high = 1, self.head(txn).position
        while low <= high:
            middle = (low + high) // 2
            stored = self._stored(txn, middle)
            frame.checked_kinds(middle, stored)
            if frame.recorded_at(stored) <= at_us:
                low = middle + 1
            else:
                high = middle - 1
        return high

    def message_place(self, txn: lmdb.Transaction, message_id: UUID) -> tuple[UUID, int, bool] | None:
        """The context and version where a message was added, and whether it was streamed."""
        stored = cast(_Value, txn.get(message_id.bytes, db=self.databases[keys.MESSAGES]))
        if stored is None:
            return None
        context_id, version, streamed = keys.split_message_value(stored)
        return UUID(bytes=context_id), version, bool(streamed)

    def forked_from(self, txn: lmdb.Transaction, context_id: UUID) -> ForkedFrom | None:
        """Whose history a context shares."""
        created = next(self.commit_of(txn, context_id, 1).events())
        return created.forked_from if isinstance(created, ContextCreated) else None


def context_not_found(context_id: UUID) -> NotFound:
    """The error for a context that does not exist."""
    return NotFound("context_not_found", f"there is no context {context_id}", context_id=context_id)


def _seek_floor(cursor: lmdb.Cursor, prefix: bytes, version: int) -> bool:
    """Move to the commit of a context whose first version is the greatest at or below ``version``."""
    wanted = keys.context_version(prefix, version)
    if cursor.set_range(wanted):
        if cursor.key() == wanted:
            return True
        moved = cursor.prev()
    else:
        moved = cursor.last()
    return moved and cursor.key()[:16] == prefix


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
