"""What follows from the commits: index entries and snapshots of write models, held against them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import islice
from typing import Final, TypeAlias, cast
from uuid import UUID

import lmdb
import msgspec

from eventstore import frame, keys
from eventstore.commits import Commit
from eventstore.context import WriteModel, evolve
from eventstore.errors import Damaged, NotFound
from eventstore.events import MessageAppended, StreamStarted
from eventstore.findings import Finding
from eventstore.limits import PAGE_BYTES, PAGE_COMMITS
from eventstore.log import Log
from eventstore.stored import stored_commit

_model_decoder: Final = msgspec.msgpack.Decoder(WriteModel)


class Entries:
    """Index entries as they are in ``txn``: how many of each index no commit was seen to lead to."""

    def __init__(self, log: Log, txn: lmdb.Transaction) -> None:
        self.indexed: int = log.head(txn).indexed
        self.left: dict[bytes, int] = {name: txn.stat(log.databases[name])["entries"] for name in _LEADS}

    def found(self, name: bytes, position: int) -> None:
        """An entry of the commit at a position is right."""
        if name != keys.BY_CONTEXT or position <= self.indexed:  # else it was stored since
            self.left[name] -= 1


def check_entries(log: Log, txn: lmdb.Transaction, commit: Commit, entries: Entries) -> Iterator[Finding]:
    """Every index entry that follows from a commit is there and says what it must; ``entries`` hear of it."""
    indexed = log.head(txn).indexed
    for name, key, value in _entries_of(commit):
        if name == keys.BY_CONTEXT and commit.position > indexed:
            continue  # stored later, with others
        entry = cast("bytes | None", txn.get(key, db=log.databases[name]))
        # An entry of commit_ids also holds the digest of the request, which the stored events do not tell.
        size = keys.COMMIT_ID_BYTES if name == keys.COMMIT_IDS else len(value)
        if entry is None or len(entry) != size or not entry.startswith(value):
            what = "is missing" if entry is None else "says something else"
            yield Finding(
                "index_missing" if entry is None else "index_differs",
                commit.position,
                f"its entry in {name.decode()} {what}",
                {"index": name.decode(), "key": key.hex()},
            )
        else:
            entries.found(name, commit.position)


def _entries_of(commit: Commit) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Database, key and (start of the) value."""
    position, context_key = keys.pack_u64(commit.position), commit.context_id.bytes
    yield keys.BY_CONTEXT, keys.context_version(context_key, commit.first_version), position
    if commit.commit_id is not None:
        yield keys.COMMIT_IDS, context_key + commit.commit_id.bytes, position
    for version, record in commit.versioned():
        if isinstance(record, (MessageAppended, StreamStarted)):
            value = keys.message_value(context_key, version, isinstance(record, StreamStarted))
            yield keys.MESSAGES, record.message_id.bytes, value


def _commit_leads(log: Log, txn: lmdb.Transaction, key: bytes, value: bytes) -> bool:
    if len(value) != keys.U64_BYTES:
        return False
    stored = stored_commit(txn, log.databases[keys.COMMITS], value)
    if stored is None:
        return False
    log.mapped.touched(len(stored))
    return stored[frame.CONTEXT_VERSION] == key


def _commit_id_leads(log: Log, txn: lmdb.Transaction, key: bytes, value: bytes) -> bool:
    if len(value) != keys.COMMIT_ID_BYTES:
        return False
    commit = log.commit_at(txn, keys.split_commit_id_value(value)[0])
    return commit.commit_id is not None and commit.context_id.bytes + commit.commit_id.bytes == key


def _message_leads(log: Log, txn: lmdb.Transaction, key: bytes, value: bytes) -> bool:
    if len(value) != keys.MESSAGE_BYTES:
        return False
    context_key, version, _ = keys.split_message_value(value)
    commit = log.commit_of(txn, UUID(bytes=context_key), version)
    return any(
        at == version
        and isinstance(record, (MessageAppended, StreamStarted))
        and record.message_id.bytes == key
        for at, record in commit.versioned()
    )


_Leads: TypeAlias = Callable[[Log, lmdb.Transaction, bytes, bytes], bool]
_LEADS: Final[dict[bytes, _Leads]] = {
    keys.BY_CONTEXT: _commit_leads,
    keys.COMMIT_IDS: _commit_id_leads,
    keys.MESSAGES: _message_leads,
}
"""Whether an index entry leads to a commit that it follows from."""


def _key_pages(log: Log, name: bytes) -> Iterator[list[bytes]]:
    start = b""
    while True:
        with log.reading() as txn, txn.cursor(log.databases[name]) as cursor:
            there = cursor.set_range(start)
            page = list(islice(cast("Iterator[bytes]", cursor.iternext(values=False)), PAGE_COMMITS * there))
        if not page:
            return
        yield page
        start = page[-1] + b"\0"


def surplus_entries(log: Log, entries: Entries) -> Iterator[Finding]:
    """Index entries that follow from no commit. Those that lead to a damaged one are found with it.

    ``entries`` have heard of all that follow from commits. An index of which none is left has no other; to
    look at each would decode its commit once for every message in it.
    """
    for name, left in entries.left.items():
        if left:
            yield from _surplus(log, name)


def _surplus(log: Log, name: bytes) -> Iterator[Finding]:
    for page in _key_pages(log, name):
        found: list[Finding] = []
        with log.reading() as txn:
            for key in page:
                value = cast("bytes", txn.get(key, db=log.databases[name]))
                try:
                    leads = _LEADS[name](log, txn, key, value)
                except NotFound:
                    leads = False
                except Damaged:
                    continue
                if not leads:
                    found.append(
                        Finding(
                            "index_surplus",
                            None,
                            f"an entry in {name.decode()} follows from no commit",
                            {"index": name.decode(), "key": key.hex()},
                        )
                    )
        yield from found


def check_snapshots(log: Log) -> Iterator[Finding]:
    """Every snapshot of a write model equals the fold of its context up to there."""
    for page in _key_pages(log, keys.WRITE_MODELS):
        for key in page:
            yield from _check_snapshot(log, key)


def _check_snapshot(log: Log, key: bytes) -> Iterator[Finding]:
    fields = {"context_id": key.hex()}
    with log.reading() as txn:
        stored = cast("bytes", txn.get(key, db=log.databases[keys.WRITE_MODELS]))
    snapshot = stored[keys.DIGEST_BYTES :]
    try:
        if not stored.startswith(sha256(snapshot).digest()):
            raise ValueError("its digest does not match")
        model = _model_decoder.decode(snapshot)
        folded = WriteModel(UUID(bytes=key))
    except (msgspec.MsgspecError, ValueError) as error:
        yield Finding("snapshot_damaged", None, f"a snapshot cannot be read: {error}", fields, "warning")
        return
    try:
        impossible = _fold(log, folded, model.version)
    except Damaged:
        return  # found on its own
    if impossible is not None:
        yield impossible
    elif folded != model:
        what = f"the snapshot at version {model.version} is not what its context adds up to"
        yield Finding("snapshot_differs", None, what, fields, "warning")


def _fold(log: Log, model: WriteModel, version: int) -> Finding | None:
    """Bring a new model up to a version, in pages. Returns what stands in the way."""
    more = True
    while more and model.version < version:
        with log.reading() as txn:
            page, more = log.context_page(
                txn,
                model.context_id,
                model.version + 1,
                version,
                count_max=PAGE_COMMITS,
                bytes_max=PAGE_BYTES,
            )
        for commit in page:
            try:
                for record in commit.records:
                    evolve(model, record)
            except (LookupError, TypeError):
                what = "its events cannot follow on what its context holds"
                return Finding("history_impossible", commit.position, what)
    return None
