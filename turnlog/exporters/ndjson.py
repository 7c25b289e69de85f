"""The log, or some contexts of it, as Turnlog's own NDJSON (``turnlog.ndjson``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from heapq import merge
from typing import Final
from uuid import UUID

from eventstore.commits import Commit
from eventstore.events import MessageAppended, StreamStarted
from eventstore.store import EventStore
from turnlog.exporters.exported import Exported, Progress
from turnlog.exporters.folder import Folder
from turnlog.ndjson import FILE_NAME, HEADER, End, Facts, Line, Totals, encode, unmarked

FORMAT: Final = "ndjson"

MERGED_MAX: Final = 32
"""Contexts whose commits are read one context beside the other, each a page at a time; for more, the whole
log is read, which costs less then."""


def with_sources(store: EventStore, context_ids: list[UUID]) -> dict[UUID, int | None]:
    """The contexts, and those whose history they share, each up to the version needed; None is all of it."""
    wanted: dict[UUID, int | None] = dict.fromkeys(context_ids)
    waiting = list(context_ids)
    while waiting:
        with store.log.reading() as txn:
            source = store.log.forked_from(txn, waiting.pop())
        if source is None:
            continue
        there = wanted.get(source.context_id, 0)
        if there is not None and there < source.version:
            wanted[source.context_id] = source.version
            if there == 0:
                waiting.append(source.context_id)
    return wanted


def lines(
    store: EventStore,
    contexts: Mapping[UUID, int | None] | None = None,
    told: Callable[[Commit], None] = lambda commit: None,
) -> Iterator[bytes]:
    """The lines of an export, each with its end, in the log's order; of all contexts unless some are named.

    ``contexts`` gives the last version wanted of each (``with_sources``); ``told`` hears of each commit
    before its lines. Memory holds a page of commits of each context that is merged. Raises ``NotFound`` or
    ``Damaged``.
    """
    digest, commits, events = sha256(), 0, 0
    yield (line := HEADER + b"\n")
    digest.update(line)
    for commits, commit in enumerate(_commits(store, contexts), 1):
        events += commit.event_count
        told(commit)
        yield (block := b"".join(_lines(commits, commit, _facts(store, commit))))
        digest.update(block)
    yield encode(End(Totals(commits, events, digest.hexdigest()))) + b"\n"


def _commits(store: EventStore, contexts: Mapping[UUID, int | None] | None) -> Iterator[Commit]:
    head = store.head().position  # what is written meanwhile is left to the next export
    if contexts is None:
        yield from store.read(to=head)
    elif len(contexts) <= MERGED_MAX:
        each = [store.read_context(context_id, 1, last) for context_id, last in contexts.items()]
        for commit in merge(*each, key=lambda commit: commit.position):
            if commit.position > head:
                return
            yield commit
    else:
        for commit in store.read(to=head):
            if commit.context_id in contexts:
                last = contexts[commit.context_id]
                if last is None or commit.first_version <= last:
                    yield commit


def _facts(store: EventStore, commit: Commit) -> Facts:
    digest = None
    if commit.commit_id is not None:
        with store.log.reading() as txn:
            digest = store.log.request_digest(txn, commit.context_id, commit.commit_id)
    return unmarked(Facts(commit.recorded_at, commit.commit_id, digest, commit.metadata))


def _lines(number: int, commit: Commit, facts: Facts) -> Iterator[bytes]:
    first = commit.first_version
    for version, event in enumerate(commit.events(), first):
        if version == first:
            line = Line(
                commit=number,
                context_id=commit.context_id,
                version=version,
                recorded_at=facts.recorded_at,
                events=commit.event_count,
                commit_id=facts.commit_id,
                request_digest=facts.request_digest,
                metadata=facts.metadata,
                together=commit.together,
                event=event,
            )
        else:
            line = Line(commit=number, version=version, event=event)
        yield encode(line) + b"\n"


def export(
    store: EventStore, contexts: Mapping[UUID, int | None] | None, folder: Folder, progress: Progress
) -> Exported:
    """Write the lines to one file. Raises as ``lines``, and what ``Folder`` raises."""
    exported = Exported(FORMAT, str(folder.path), files=1)
    commits = 0

    def told(commit: Commit) -> None:
        nonlocal commits
        commits += 1
        exported.contexts += commit.first_version == 1
        exported.events += commit.event_count
        exported.messages += sum(
            isinstance(each, (MessageAppended, StreamStarted)) for each in commit.records
        )
        progress(commits)

    with folder.file(FILE_NAME) as file:
        file.writelines(lines(store, contexts, told))
    return exported
