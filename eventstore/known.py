"""What the log holds already, as the rules ask it in the middle of an append."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import lmdb

from eventstore import keys
from eventstore.events import ChunkRun, ForkedFrom
from eventstore.filing import Filing
from eventstore.log import Log, place_in
from eventstore.rules import StoredChunk


class Known:
    """The log as ``rules.check`` asks it, with what the commit in hand adds.

    ``position``, ``version`` and ``recorded_at`` are those of the last commit that held a repeated chunk.
    """

    def __init__(
        self,
        log: Log,
        txn: lmdb.Transaction,
        context_id: UUID,
        filing: Filing,
        flush: Callable[[lmdb.Transaction], None],
    ) -> None:
        self._log = log
        self._txn = txn
        self._context_id = context_id
        self._filing = filing
        self._flush = flush
        self.added: dict[UUID, tuple[UUID, int, bool]] = {}
        self.position = 0
        self.version = 0
        self.recorded_at = 0

    def message(self, message_id: UUID) -> tuple[UUID, int, bool] | None:
        """The context and version where it was added, and whether it was streamed."""
        added = self.added.get(message_id)
        if added is not None:
            return added
        stored = self._filing.get(self._txn, keys.MESSAGES, message_id.bytes)
        return None if stored is None else place_in(stored)

    def version_of(self, context_id: UUID) -> int:
        """The number of events a context has had."""
        self._flush(self._txn)
        return self._log.version_of(self._txn, context_id)

    def forked_from(self, context_id: UUID) -> ForkedFrom | None:
        """Whose history a context shares."""
        self._flush(self._txn)
        return self._log.forked_from(self._txn, context_id)

    def chunks(self, message_id: UUID, started_version: int, first: int, last: int) -> list[StoredChunk]:
        """Chunk n of a stream is at least n versions after its start: the search begins there."""
        self._flush(self._txn)
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
