"""What the store says about itself: sizes, head, the writer's counts."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from eventstore import keys
from eventstore.inbox import Inbox
from eventstore.log import Log
from eventstore.stored import beside_head
from eventstore.units import At
from eventstore.writer import WriterStatistics

if TYPE_CHECKING:
    from lmdb import _StatDict  # pyright: ignore[reportPrivateUsage] -- lmdb's stubs name it nowhere else


class StoreStatistics(msgspec.Struct, frozen=True):
    """``databases``: entries and bytes by name; ``by_context`` may lack the newest commits (``index``).

    ``failure``: why nothing can be written, if so.
    """

    store_id: UUID
    created_at: At
    position: int
    chain: str
    recorded_at: At
    file_bytes: int
    databases: dict[str, dict[str, int]]
    readers: int
    waiting_requests: int
    waiting_bytes: int
    group_max: int
    failed_commits: int
    recoveries: int
    read_only: bool
    failure: str | None


def gather(log: Log, inbox: Inbox, writer: WriterStatistics | None) -> StoreStatistics:
    """Read the numbers now; ``writer`` is None in a read-only store."""
    with log.reading() as txn:
        head = log.head(txn)
        databases = {name.decode(): _size(txn.stat(db)) for name, db in log.databases.items()}
        databases[keys.COMMITS.decode()]["entries"] += sum(1 for _ in beside_head(txn))
        readers = log.env.info()["num_readers"]  # inside: a recovery may replace the environment
    counts = writer or WriterStatistics()
    return StoreStatistics(
        store_id=log.facts.store_id,
        created_at=log.facts.created_at,
        position=head.position,
        chain=head.chain.hex(),
        recorded_at=head.recorded_at,
        file_bytes=_file_bytes(log),
        databases=databases,
        readers=readers,
        waiting_requests=inbox.requests,
        waiting_bytes=inbox.bytes,
        group_max=counts.group_max,
        failed_commits=counts.failed_commits,
        recoveries=counts.recoveries,
        read_only=writer is None or counts.failure is not None,
        failure=counts.failure,
    )


def _file_bytes(log: Log) -> int:
    try:
        return (log.path / "data.mdb").stat().st_size
    except OSError:  # removed under the store, which ``failure`` tells
        return 0


def _size(stat: _StatDict) -> dict[str, int]:
    pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return {"entries": stat["entries"], "bytes": pages * stat["psize"]}
