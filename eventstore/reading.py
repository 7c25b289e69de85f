"""Reading on and on: page after page, each in a short transaction of its own."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from eventstore import keys
from eventstore.commits import Commit
from eventstore.limits import PAGE_BYTES, PAGE_COMMITS
from eventstore.log import Log, context_not_found


def commits(log: Log, after: int, to: int | None, kinds: int) -> Iterator[Commit]:
    """See ``EventStore.read``."""
    while True:
        with log.reading() as txn:
            page, reached = log.commits(
                txn, after, count_max=PAGE_COMMITS, bytes_max=PAGE_BYTES, kinds=kinds, to=to
            )
        yield from page
        if reached == after:
            return
        after = reached


def context_commits(
    log: Log, context_id: UUID, from_version: int, to_version: int | None
) -> Iterator[Commit]:
    """See ``EventStore.read_context``."""
    with log.reading() as txn:
        if not log.has_context(txn, context_id):
            raise context_not_found(context_id)
    last = keys.U64_MAX if to_version is None else to_version
    while True:
        with log.reading() as txn:
            page, more = log.context_page(
                txn, context_id, from_version, last, count_max=PAGE_COMMITS, bytes_max=PAGE_BYTES
            )
        yield from page
        if not more:
            return
        from_version = page[-1].last_version + 1
