"""Lists: contexts, newest first; messages along a branch's path, or all of a context by version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import merge
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec

from eventstore.content import Role
from eventstore.errors import NotFound, Refused
from eventstore.validation import check_choice
from projections.answers import ContextSummary, MessageEntry, Page
from projections.entries import Seen, entry_of
from projections.layout import (
    BY_ROLE,
    BY_TYPE,
    BY_UPDATED,
    BY_VERSION,
    OPEN_STREAMS,
    PATH_CURSOR_BYTES,
    U64_MAX,
    UPDATED_BYTES,
    VERSION_BYTES,
    MessageRow,
    by_role,
    by_type,
    open_stream_rows,
    pack_version,
    path_cursor,
    scope_of,
    version_in,
    versioned,
)
from projections.pages import PAGE_ITEMS_MAX, SCANNED_MAX, checked_limit, decode_cursor, encode_cursor
from projections.paths import Node, Path
from projections.snapshot import Items, Snapshot
from projections.timetravel import Lineage, Resolved

WINDOW: Final = 256
"""Nodes of a path read at a time when a filter may drop some of them."""


def contexts(
    snapshot: Snapshot, workspace: str | None, limit: int, cursor: str | None, include_deleted: bool
) -> Page[ContextSummary]:
    """A page of contexts, those that changed last first."""
    checked_limit(limit)
    after = b"" if cursor is None else decode_cursor(cursor, UPDATED_BYTES) + b"\x00"
    scopes = [scope_of(workspace) + bytes([deleted]) for deleted in ((0, 1) if include_deleted else (0,))]
    ordered = merge(*(_tails(snapshot, scope, after) for scope in scopes))
    found = list(islice(ordered, limit + 1))
    items = [_summary(snapshot, UUID(bytes=tail[-16:])) for tail in found[:limit]]
    return Page(items, encode_cursor(found[limit - 1]) if len(found) > limit else None)


def _tails(snapshot: Snapshot, scope: bytes, after: bytes) -> Iterator[bytes]:
    stop = scope + b"\xff" * (UPDATED_BYTES + 1)
    for key, _ in snapshot.view.scan("contexts", BY_UPDATED, scope + after, stop):
        yield key[len(scope) :]


def _summary(snapshot: Snapshot, context_id: UUID) -> ContextSummary:
    row = snapshot.context(context_id)
    last = row.last
    return ContextSummary(
        context_id,
        row.workspace,
        row.title,
        row.tags,
        last.state,
        last.deleted,
        last.active_branch,
        last.message_count,
        len(last.streams),
        row.created_at,
        row.updated_at,
        row.forked_from,
    )


def open_streams(snapshots: Callable[[], Snapshot]) -> Iterator[tuple[UUID, UUID]]:
    """Context id and message id of every open stream; each page of them is read at once."""
    start = b""
    while True:
        with snapshots() as snapshot:
            rows = snapshot.view.scan("timelines", OPEN_STREAMS, start, b"\xff" * 17)
            page = list(islice(rows, PAGE_ITEMS_MAX))
        for key, value in page:
            yield open_stream_rows.decode(value).context_id, UUID(bytes=key)
        if len(page) < PAGE_ITEMS_MAX:
            return
        start = page[-1][0] + b"\x00"


class Wanted(msgspec.Struct, frozen=True):
    """Which messages a page is to hold.

    ``after`` and ``before`` exclude their bounds: versions of the context, or cursors. ``since`` is included,
    ``until`` is not: microseconds since the epoch. With ``last``, or ``before`` alone, the page is read
    backwards: it holds the last messages, and its cursor leads to those before, as ``before``.
    """

    branch: str | None = None
    all_branches: bool = False
    role: Role | None = None
    message_type: str | None = None
    since: int | None = None
    until: int | None = None
    limit: int = 50
    before: int | str | None = None
    after: int | str | None = None
    last: int | None = None

    @property
    def count(self) -> int:
        """How many messages at most."""
        return checked_limit(self.limit) if self.last is None else checked_limit(self.last, "last")

    @property
    def backwards(self) -> bool:
        """Whether the page is read from its end."""
        return self.last is not None or (self.before is not None and self.after is None)

    def passes(self, row: MessageRow) -> bool:
        """Whether a message is of the wanted role and type."""
        return self.role in (None, row.role) and self.message_type in (None, row.message_type)


def messages(snapshot: Snapshot, context_id: UUID, moment: Resolved, wanted: Wanted) -> Page[MessageEntry]:
    """A page of a context's messages as of a moment, always in the order in which they were added.

    Raises ``NotFound`` (``branch_not_found``) or ``Refused`` (``invalid_argument``).
    """
    if wanted.role is not None:
        check_choice(wanted.role, "role")
    if wanted.all_branches and wanted.branch is not None:
        raise Refused("invalid_argument", "give one branch, or ask for all", argument="branch")
    lineage = Lineage(snapshot, context_id, moment.version)
    if wanted.all_branches:
        found, cursor = _by_version(snapshot, context_id, moment, wanted)
    else:
        found, cursor = _along_path(snapshot, lineage, moment, wanted)
    entries = [
        entry_of(snapshot, Seen(node.id, node.row, lineage.version_of(node.row.context_id))) for node in found
    ]
    return Page(entries, cursor)


def _along_path(
    snapshot: Snapshot, lineage: Lineage, moment: Resolved, wanted: Wanted
) -> tuple[list[Node], str | None]:
    count = wanted.count
    head_id = _head(snapshot, lineage, moment, wanted)
    if head_id is None:
        return [], None
    path = Path(snapshot, head_id)
    low, high = _depths(path, lineage, wanted)
    found: list[Node] = []
    scanned = 0
    # A window is at the end from which the page is read; ``low`` to ``high`` is what is still ahead.
    while low <= high and len(found) <= count and scanned < SCANNED_MAX:
        size = WINDOW if wanted.role or wanted.message_type else count + 1 - len(found)
        if wanted.backwards:
            window = path.between(max(low, high - size + 1), high)
            high -= size
        else:
            window = path.between(low, min(high, low + size - 1))[::-1]
            low += size
        scanned += len(window)
        found.extend(node for node in window if wanted.passes(node.row))
    cursor = None
    if len(found) > count:
        found = found[:count]
        cursor = encode_cursor(path_cursor(head_id.bytes, found[-1].row.depth))
    elif low <= high:
        depth = high + 1 if wanted.backwards else low - 1
        cursor = encode_cursor(path_cursor(head_id.bytes, depth))
    return (found[::-1] if wanted.backwards else found), cursor


def _head(snapshot: Snapshot, lineage: Lineage, moment: Resolved, wanted: Wanted) -> UUID | None:
    """The message at the path's end: a cursor's, so that all pages are of one path, or else the branch's."""
    for cursor in (wanted.after, wanted.before):
        if isinstance(cursor, str):
            head_id = UUID(bytes=decode_cursor(cursor, PATH_CURSOR_BYTES)[:16])
            row = snapshot.find_message(head_id)
            if row is None or row.version > lineage.version_of(row.context_id):
                raise Refused("invalid_argument", "this is a cursor of another context", argument="cursor")
            return head_id
    _, row = snapshot.history(lineage.context_id, moment.version)
    branch = row.active_branch if wanted.branch is None else wanted.branch
    if branch not in row.branches:
        raise NotFound(
            "branch_not_found",
            f"there is no branch {branch!r} at that moment",
            context_id=lineage.context_id,
            branch=branch,
        )
    return row.branches[branch]


def _depths(path: Path, lineage: Lineage, wanted: Wanted) -> tuple[int, int]:
    """The least and the greatest depth that the bounds let through."""
    low, high = 0, path.head.row.depth

    def version(row: MessageRow) -> int:
        return lineage.version_here(row.context_id, row.version)

    after, before, since, until = wanted.after, wanted.before, wanted.since, wanted.until
    if isinstance(after, str):
        low = max(low, version_in(decode_cursor(after, PATH_CURSOR_BYTES)) + 1)
    elif after is not None:
        low = max(low, path.first(lambda row: version(row) > after))
    if since is not None:
        low = max(low, path.first(lambda row: row.recorded_at >= since))
    if isinstance(before, str):
        high = min(high, version_in(decode_cursor(before, PATH_CURSOR_BYTES)) - 1)
    elif before is not None:
        high = min(high, path.first(lambda row: version(row) >= before) - 1)
    if until is not None:
        high = min(high, path.first(lambda row: row.recorded_at >= until) - 1)
    return low, high


def _by_version(
    snapshot: Snapshot, context_id: UUID, moment: Resolved, wanted: Wanted
) -> tuple[list[Node], str | None]:
    count = wanted.count
    low, high = _versions(snapshot, context_id, moment, wanted)
    if low > high:
        return [], None
    found: list[Node] = []
    version = 0
    cursor = None
    for scanned, (key, message_id) in enumerate(_scan(snapshot, context_id, low, high, wanted)):
        if len(found) == count or scanned == SCANNED_MAX:
            cursor = encode_cursor(pack_version(version))
            break
        version = version_in(key)
        node = Node(UUID(bytes=message_id), snapshot.message(UUID(bytes=message_id)))
        if wanted.passes(node.row):
            found.append(node)
    return (found[::-1] if wanted.backwards else found), cursor


def _versions(snapshot: Snapshot, context_id: UUID, moment: Resolved, wanted: Wanted) -> tuple[int, int]:
    """The least and the greatest version that the bounds let through."""

    def bound(value: int | str) -> int:
        if isinstance(value, int):
            return min(max(value, 0), U64_MAX)
        return version_in(decode_cursor(value, VERSION_BYTES))

    def version_before(at_us: int) -> int:
        position = snapshot.log.position_at_time(snapshot.txn, at_us - 1)
        return snapshot.last_at(context_id, position)[0]

    low, high = 1, moment.version
    if wanted.after is not None:
        low = max(low, bound(wanted.after) + 1)
    if wanted.since is not None:
        low = max(low, version_before(wanted.since) + 1)
    if wanted.before is not None:
        high = min(high, bound(wanted.before) - 1)
    if wanted.until is not None:
        high = min(high, version_before(wanted.until))
    return low, high


def _scan(snapshot: Snapshot, context_id: UUID, low: int, high: int, wanted: Wanted) -> Items:
    context, backwards = context_id.bytes, wanted.backwards
    table, start, stop = BY_VERSION, versioned(context, low), versioned(context, high + 1)
    if wanted.message_type is not None:
        table = BY_TYPE
        start = by_type(context, wanted.message_type, low)
        stop = by_type(context, wanted.message_type, high + 1)
    elif wanted.role is not None:
        table = BY_ROLE
        start, stop = by_role(context, wanted.role, low), by_role(context, wanted.role, high + 1)
    return snapshot.view.scan("messages", table, start, stop, backwards)
