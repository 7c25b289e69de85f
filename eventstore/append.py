"""One append inside a write transaction, read top to bottom: known already? expected? allowed? then write.

Whatever can be refused is refused before the first byte is put, so a refused append leaves no trace in a
transaction that its neighbours share.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from typing import Any, Final, cast
from uuid import UUID

import lmdb
import msgspec
import zstandard

from eventstore import frame, keys
from eventstore.commits import ANY, EXISTS, Append, Committed
from eventstore.content import Json
from eventstore.context import WriteModel, evolve
from eventstore.errors import Refused, WrongExpectedVersion
from eventstore.events import ChunkRun, Event, ForkedFrom, MessageAppended, Record, StreamStarted
from eventstore.frame import Prepared
from eventstore.limits import SNAPSHOT_EVENTS
from eventstore.log import Head, Log
from eventstore.models import Models
from eventstore.rules import StoredChunk, check
from eventstore.units import Clock

EVENTS_BETWEEN_MAX: Final = 1_000
"""Events that a version conflict carries at most: beyond that, reading the context is the better way."""

_snapshots: Final = msgspec.msgpack.Encoder(uuid_format="bytes")
_snapshot_decoder: Final = msgspec.msgpack.Decoder(WriteModel)


class Request:
    """An append whose events are encoded, on its way to the writer."""

    __slots__ = ("append", "commit_id", "context_key", "future", "prepared")

    def __init__(self, append: Append, prepared: Prepared, future: Any) -> None:
        self.append = append
        self.prepared = prepared
        self.context_key: bytes = append.context_id.bytes
        self.commit_id: bytes | None = append.commit_id.bytes if append.commit_id else None
        self.future = future


class Appender:
    """What the writer remembers between appends: the head, and the write models in use.

    After a transaction that was not committed, ``forget`` brings it back to what is stored.
    """

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._models = Models()
        self._rows: dict[bytes, list[tuple[bytes, bytes]]] = {name: [] for name in keys.DATABASES}
        self._now = 0
        self.head: Head
        self.forget()

    def forget(self) -> None:
        """Drop what was remembered and read the stored head."""
        self._models.clear()
        for rows in self._rows.values():
            rows.clear()
        with self._log.reading() as txn:
            self.head = self._log.head(txn)

    def begin(self) -> None:
        """Read the clock for the appends of a transaction."""
        self._now = self._clock()

    def append(self, txn: lmdb.Transaction, request: Request) -> Committed:
        """Put one commit, or find that it is there already. Raises ``Refused`` with nothing put."""
        append = request.append
        if request.commit_id is not None:
            known = self._known_commit(txn, request, request.commit_id)
            if known is not None:
                return known
        model = self._model(txn, request)
        if append.expected_version is not ANY:
            self._check_expected(txn, model, append)
        prepared = request.prepared
        if not _continues_stream(model, request):
            self._flush(txn)
            past = _Known(self._log, txn, append.context_id)
            copy = model.copy()
            recorded = _record(copy, prepared.records, past, append.epoch)
            if not recorded:
                return Committed(past.position, past.version, past.recorded_at, written=False)
            if recorded != prepared.records:
                prepared = frame.prepare(recorded, append.metadata)
            self._put(request, prepared, model.version + 1)
            for message_id, place in past.added.items():
                value = keys.message_value(request.context_key, place[1], place[2])
                self._rows[keys.MESSAGES].append((message_id.bytes, value))
            self._models.put(request.context_key, copy)
        else:
            self._put(request, prepared, model.version + 1)
            copy = model
            evolve(model, prepared.records[0])
        if copy.version // SNAPSHOT_EVENTS != (copy.version - prepared.event_count) // SNAPSHOT_EVENTS:
            self._put_snapshot(request.context_key, copy)
        return Committed(self.head.position, copy.version, self.head.recorded_at)

    def finish(self, txn: lmdb.Transaction) -> None:
        """Write what is left to write, and the new head: the last of a transaction."""
        self._flush(txn)
        txn.put(keys.HEAD, keys.head_value(*self.head))

    def _put(self, request: Request, prepared: Prepared, first_version: int) -> None:
        position, recorded_at, chain = self.head
        position += 1
        recorded_at = max(self._now, recorded_at)
        framed = frame.encode(
            prepared, request.context_key, first_version, recorded_at, request.commit_id, self._compressor
        )
        digest, key, rows = sha256(framed).digest(), keys.pack_u64(position), self._rows
        rows[keys.COMMITS].append((key, digest + framed))
        rows[keys.BY_CONTEXT].append((keys.context_version(request.context_key, first_version), key))
        if request.commit_id is not None:
            value = keys.commit_id_value(position, _request_digest(request))
            rows[keys.COMMIT_IDS].append((request.context_key + request.commit_id, value))
        self.head = Head(position, recorded_at, sha256(chain + digest).digest())

    def _put_snapshot(self, context_key: bytes, model: WriteModel) -> None:
        snapshot = _snapshots.encode(model)
        self._rows[keys.WRITE_MODELS].append((context_key, sha256(snapshot).digest() + snapshot))

    def _flush(self, txn: lmdb.Transaction) -> None:
        """Write the rows that wait, before anything is read through ``txn``.

        They wait because writing many at once costs a third of writing each: lmdb gives the interpreter's
        lock away at every put.
        """
        for name, rows in self._rows.items():
            if not rows:
                continue
            database, append = self._log.databases[name], name == keys.COMMITS
            if len(rows) == 1:
                added = int(txn.put(*rows[0], db=database, append=append))
            else:
                with txn.cursor(database) as cursor:
                    _, added = cursor.putmulti(rows, append=append)
            if append and added != len(rows):
                raise lmdb.CorruptedError(f"position {self.head.position} is out of order")
            rows.clear()

    def _known_commit(self, txn: lmdb.Transaction, request: Request, commit_id: bytes) -> Committed | None:
        self._flush(txn)
        stored = txn.get(request.context_key + commit_id, db=self._log.databases[keys.COMMIT_IDS])
        if stored is None:
            return None
        position, digest = keys.split_commit_id_value(stored)
        if digest != _request_digest(request):
            raise Refused(
                "commit_id_reused",
                f"the commit id was used at position {position} for other events",
                context_id=request.append.context_id,
                commit_id=request.append.commit_id,
                position=position,
            )
        commit = self._log.commit_at(txn, position)
        return Committed(position, commit.last_version, commit.recorded_at, written=False)

    def _check_expected(self, txn: lmdb.Transaction, model: WriteModel, append: Append) -> None:
        expected, actual = append.expected_version, model.version
        if expected == actual or (expected is EXISTS and actual > 0):
            return
        fields: dict[str, object] = {}
        if append.with_events_between and isinstance(expected, int):
            fields["events_between"] = self._events_after(txn, append.context_id, expected)
        raise WrongExpectedVersion(
            "wrong_expected_version",
            f"expected version {'any but 0' if expected is EXISTS else expected}, the context has {actual}",
            context_id=append.context_id,
            expected=expected.value if expected is EXISTS else expected,
            actual=actual,
            **fields,
        )

    def _events_after(self, txn: lmdb.Transaction, context_id: UUID, version: int) -> list[Event]:
        self._flush(txn)
        events: list[Event] = []
        for commit in self._log.context_commits(txn, context_id, version + 1):
            skipped = max(0, version + 1 - commit.first_version)
            events += list(commit.events())[skipped:]
            if len(events) >= EVENTS_BETWEEN_MAX:
                break
        return events[:EVENTS_BETWEEN_MAX]

    def _model(self, txn: lmdb.Transaction, request: Request) -> WriteModel:
        model = self._models.get(request.context_key)
        if model is None:
            model = self._load(txn, request.append.context_id)
            self._models.put(request.context_key, model)
        return model

    def _load(self, txn: lmdb.Transaction, context_id: UUID) -> WriteModel:
        """The snapshot, if it is sound, and the events since; a snapshot is only ever a shortcut."""
        self._flush(txn)
        model = WriteModel(context_id)
        stored = cast("bytes | None", txn.get(context_id.bytes, db=self._log.databases[keys.WRITE_MODELS]))
        if stored is not None:
            digest, snapshot = stored[: keys.DIGEST_BYTES], stored[keys.DIGEST_BYTES :]
            if sha256(snapshot).digest() == digest:
                with suppress(msgspec.MsgspecError):  # an older shape: fold from the start instead
                    model = _snapshot_decoder.decode(snapshot)
        for commit in self._log.context_commits(txn, context_id, model.version + 1):
            if commit.first_version > model.version:
                for record in commit.records:
                    evolve(model, record)
        return model


def _continues_stream(model: WriteModel, request: Request) -> bool:
    """Whether it is one run of the next chunks of an open stream: nearly every append, and needs no copy."""
    records = request.prepared.records
    if len(records) != 1 or type(records[0]) is not ChunkRun or model.deleted:
        return False
    run = records[0]
    stream = model.streams.get(run.message_id)
    return (
        stream is not None
        and run.first_sequence == stream.sequence + 1
        and request.append.epoch >= stream.epoch
    )


def _record(model: WriteModel, records: tuple[Record, ...], past: _Known, epoch: int) -> tuple[Record, ...]:
    """Check and evolve event by event; ``model`` is a copy that is dropped when one is refused."""
    recorded: list[Record] = []
    for record in records:
        kept = check(model, record, past, epoch)
        if kept is None:
            continue
        evolve(model, kept)
        if isinstance(kept, (MessageAppended, StreamStarted)):
            streamed = isinstance(kept, StreamStarted)
            past.added[kept.message_id] = (model.context_id, model.version, streamed)
        recorded.append(kept)
    return tuple(recorded)


def _request_digest(request: Request) -> bytes:
    return frame.request_digest(request.prepared.records, request.append.metadata)


class _Known:
    """The log as ``rules.check`` asks it, with what the commit in hand adds.

    ``position``, ``version`` and ``recorded_at`` are those of the last commit that held a repeated chunk.
    """

    def __init__(self, log: Log, txn: lmdb.Transaction, context_id: UUID) -> None:
        self._log = log
        self._txn = txn
        self._context_id = context_id
        self.added: dict[UUID, tuple[UUID, int, bool]] = {}
        self.position = 0
        self.version = 0
        self.recorded_at = 0

    def message(self, message_id: UUID) -> tuple[UUID, int, bool] | None:
        return self.added.get(message_id) or self._log.message_place(self._txn, message_id)

    def version_of(self, context_id: UUID) -> int:
        return self._log.version_of(self._txn, context_id)

    def forked_from(self, context_id: UUID) -> ForkedFrom | None:
        return self._log.forked_from(self._txn, context_id)

    def chunks(self, message_id: UUID, started_version: int, first: int, last: int) -> list[StoredChunk]:
        """Chunk n of a stream is at least n versions after its start: the search begins there."""
        found: list[StoredChunk] = []
        for commit in self._log.context_commits(self._txn, self._context_id, started_version + first):
            for record in commit.records:
                if type(record) is not ChunkRun or record.message_id != message_id:
                    continue
                for chunk in record.chunks():
                    if first <= chunk.sequence <= last:
                        found.append((chunk.kind, chunk.part, chunk.delta, chunk.raw))
                        self.position, self.version = commit.position, commit.last_version
                        self.recorded_at = commit.recorded_at
            if len(found) > last - first:
                break
        return found


def make_request(append: Append, records: tuple[Record, ...], future: Any) -> Request:
    """Encode a checked append. Raises ``Refused``."""
    metadata: dict[str, Json] | None = append.metadata
    return Request(append, frame.prepare(records, metadata), future)
