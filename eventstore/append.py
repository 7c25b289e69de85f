"""One append inside a write transaction, read top to bottom: known already? expected? allowed? then write.

Whatever can be refused is refused before the first byte is put, so a refused append leaves no trace in a
transaction that its neighbours share.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from itertools import chain
from typing import Final, cast
from uuid import UUID

import lmdb
import msgspec
import zstandard

from eventstore import body, frame, keys, process
from eventstore.body import Prepared
from eventstore.commits import ANY, EXISTS, Append, Committed
from eventstore.context import OpenStream, WriteModel, evolve, evolve_chunks
from eventstore.errors import Refused, TurnlogError, WrongExpectedVersion
from eventstore.events import (
    MILESTONE_STREAMS_MIN,
    MILESTONE_VERSIONS,
    MILESTONES,
    ChunkRun,
    Event,
    MessageAppended,
    Record,
    StreamStarted,
)
from eventstore.filing import Filing
from eventstore.known import Known
from eventstore.limits import SNAPSHOT_EVENTS, UNINDEXED_COMMITS_MAX
from eventstore.log import Log
from eventstore.models import Models
from eventstore.request import Request, unpacked
from eventstore.rules import check
from eventstore.stored import Head
from eventstore.units import Clock

EVENTS_BETWEEN_MAX: Final = 1_000
"""Events that a version conflict carries at most: beyond that, reading the context is the better way."""

_snapshots: Final = msgspec.msgpack.Encoder(uuid_format="bytes")
_snapshot_decoder: Final = msgspec.msgpack.Decoder(WriteModel)


class Appender:
    """What the writer remembers between appends: the end of the log, and the write models in use.

    For each transaction ``begin``, ``append`` for each request, ``finish``; once that is committed,
    ``committed``. After one that was not, ``forget`` brings it back to what is stored. ``head`` is the last
    ``finish``'s, ``kinds`` those of the events since ``begin``.
    """

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._models = Models()
        self._filing = Filing(log)
        self.head: Head
        self.kinds = 0
        self.forget()

    def forget(self) -> None:
        """Drop what was remembered and read what is stored."""
        self._models.clear()
        self._log.index.forget()
        with self._log.reading() as txn:
            self.head = self._log.head(txn)
            self._filing.forget(txn)
        self._position, self._recorded_at, self._chain, _ = self.head

    def let_go(self) -> bool:
        """Give back the pages of a large transaction, which LMDB keeps; whether the log is open again."""
        try:
            self._log.reopen()
            self.forget()
        except (lmdb.Error, TurnlogError):
            return False
        finally:
            process.trim()
        return True

    def begin(self, txn: lmdb.Transaction) -> None:
        """Read the clock for the appends of a transaction; if it went backwards, time stands still."""
        self.kinds = 0
        self._now = max(self._clock(), self._recorded_at)
        self._recent = self._log.index.recent(txn, self.head)
        self._filing.begin()

    def set_time(self, at: int) -> None:
        """The time of the appends to come in this transaction, for commits that are written again."""
        self._now = max(at, self._recorded_at)

    def append_together(self, txn: lmdb.Transaction, request: Request) -> list[Committed]:
        """Put several commits. When one is refused, abort the transaction and ``forget``."""
        before, outcomes = self._position, list[Committed]()
        for each in chain((request,), map(unpacked, request.rest)):
            outcomes.append(self.append(txn, each, together=self._position > before))
            self._flush(txn)  # memory holds one: each may be as large as a commit can be
        return outcomes

    def append(self, txn: lmdb.Transaction, request: Request, *, together: bool = False) -> Committed:
        """Put one commit, or find that it is there already. Raises ``Refused`` with nothing put.

        ``together``: it is visible only together with the commit before it.
        """
        append = request.append
        if request.commit_id is not None:
            known = self._known_commit(txn, request, request.commit_id)
            if known is not None:
                return known
        model = self._model(txn, request)
        if append.expected_version is not ANY:
            self._check_expected(txn, model, append)
        stream = _continued_stream(model, request)
        if stream is None:
            return self._append_checked(txn, request, model, together)
        self._put(request, request.prepared, model, together)
        evolve_chunks(model, stream, request.prepared.event_count)
        return self._appended(request.context_key, model, request.prepared.event_count)

    def _append_checked(
        self, txn: lmdb.Transaction, request: Request, model: WriteModel, together: bool
    ) -> Committed:
        append, prepared = request.append, request.prepared
        past = Known(self._log, txn, append.context_id, self._filing, self._flush)
        copy = model.copy()
        recorded = _record(copy, prepared.records, past, append.epoch)
        if not recorded:
            return Committed(past.position, past.version, past.recorded_at, written=False)
        if recorded != prepared.records:
            prepared = body.prepare(recorded, append.metadata)
        self._put(request, prepared, model, together)
        for message_id, place in past.added.items():
            value = keys.message_value(request.context_key, place[1], place[2])
            self._filing.rows[keys.MESSAGES][message_id.bytes] = value
        self._models.put(request.context_key, copy)
        return self._appended(request.context_key, copy, prepared.event_count)

    def _appended(self, context_key: bytes, model: WriteModel, events: int) -> Committed:
        version = model.version
        if version % MILESTONE_VERSIONS < events and len(model.streams) >= MILESTONE_STREAMS_MIN:
            self.kinds |= MILESTONES
        if version % SNAPSHOT_EVENTS < events:
            snapshot = _snapshots.encode(model)
            value = sha256(snapshot).digest() + snapshot
            self._filing.rows[keys.WRITE_MODELS][context_key] = value
        return Committed(self._position, version, self._recorded_at)

    def finish(self, txn: lmdb.Transaction) -> bool:
        """Write what is left, and the new head. False when there is nothing to commit."""
        if self._position == self.head.position:
            return False
        indexed = self.head.indexed
        if self._position - indexed >= UNINDEXED_COMMITS_MAX:
            self._filing.rows[keys.BY_CONTEXT] = dict(self._recent.rows())
            indexed = self._position
        self._flush(txn, indexed)
        self.head = self._pending_head(indexed)
        return True

    def finish_index(self, txn: lmdb.Transaction) -> None:
        """Write the entries that the index still lacks, and a head that says so."""
        if self.head.indexed < self._position:
            self._filing.rows[keys.BY_CONTEXT] = dict(self._log.index.recent(txn, self.head).rows())
            self._flush(txn, self._position)

    def committed(self) -> None:
        """The transaction of the last ``finish`` is durable."""
        if self.head.indexed == self.head.position:
            self._log.index.caught_up(self.head)

    def _pending_head(self, indexed: int) -> Head:
        return Head(self._position, self._recorded_at, self._chain, indexed)

    def _put(self, request: Request, prepared: Prepared, model: WriteModel, together: bool) -> None:
        """The next commit, on top of what ``model`` has seen."""
        context_key, commit_id, rows = request.context_key, request.commit_id, self._filing.rows
        first_version = model.version + 1
        self.kinds |= prepared.kinds
        self._position = position = self._position + 1
        self._recorded_at = now = self._now
        framed = frame.encode(
            prepared, context_key, first_version, now, commit_id, self._compressor, together
        )
        digest = sha256(framed).digest()
        self._chain = sha256(self._chain + digest).digest()
        key = keys.pack_u64(position)
        rows[keys.COMMITS][key] = digest + framed
        self._recent.add(context_key, framed[frame.FRAME_CONTEXT_VERSION], key)
        if commit_id is not None:
            value = keys.commit_id_value(position, _request_digest(request))
            rows[keys.COMMIT_IDS][context_key + commit_id] = value

    def _flush(self, txn: lmdb.Transaction, indexed: int | None = None) -> None:
        """Write the rows that wait, before commits are read through ``txn``."""
        self._filing.write(txn, self._pending_head(self.head.indexed if indexed is None else indexed))

    def _known_commit(self, txn: lmdb.Transaction, request: Request, commit_id: bytes) -> Committed | None:
        stored = self._filing.get(txn, keys.COMMIT_IDS, request.context_key + commit_id)
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
        self._flush(txn)
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


def _continued_stream(model: WriteModel, request: Request) -> OpenStream | None:
    """The open stream whose next chunks are all there is: nearly every append, and it needs no copy."""
    records = request.prepared.records
    if len(records) != 1 or type(records[0]) is not ChunkRun or model.deleted:
        return None
    run = records[0]
    stream = model.streams.get(run.message_id)
    if stream is None or run.first_sequence != stream.sequence + 1 or request.append.epoch < stream.epoch:
        return None
    return stream


def _record(model: WriteModel, records: tuple[Record, ...], past: Known, epoch: int) -> tuple[Record, ...]:
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
    append = request.append
    return append.request_digest or body.request_digest(request.prepared.records, append.metadata)
