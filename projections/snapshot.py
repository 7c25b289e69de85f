"""One look at the views and the log together: rows as values, with truthful errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TypeAlias
from uuid import UUID

from eventstore.commits import Commit
from eventstore.content import Json
from eventstore.errors import Damaged, NotFound
from eventstore.log import Log, context_not_found
from eventstore.metadata import Metadata
from projections.cuts import Cut, stored_cut
from projections.layout import (
    CONTEXTS,
    CUTS,
    DETAILS,
    HISTORY,
    MESSAGES,
    METADATA,
    SEALING,
    TIMELINES,
    ContextRow,
    HistoryRow,
    MessageRow,
    TimelineRow,
    context_rows,
    decode_detail,
    history_rows,
    message_rows,
    metadata_rows,
    sealing_rows,
    timeline_rows,
    version_in,
    versioned,
)
from projections.views import ViewReader, Views

Items: TypeAlias = Iterator[tuple[bytes, bytes]]


class Snapshot:
    """A reading of the views and one of the log, as a context manager. Leave it before anything is awaited.

    The views were opened first, so the log holds all that they have. They have applied at least
    ``position``, which stands for now: what came later may be in them, in part, and is not looked at.
    """

    def __init__(self, views: Views, log: Log, position: int) -> None:
        self.log: Log = log
        self.position: int = position
        self._last: Commit | None = None
        self._leaving = ExitStack()
        self.view: ViewReader = self._leaving.enter_context(views.reading())
        try:
            self.txn = self._leaving.enter_context(log.reading())
        except BaseException:
            self._leaving.close()
            raise

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._leaving.__exit__(kind, error, trace)

    def find_context(self, context_id: UUID) -> ContextRow | None:
        """A context as it is now."""
        stored = self.view.get("contexts", CONTEXTS, context_id.bytes)
        return None if stored is None else context_rows.decode(stored)

    def context(self, context_id: UUID) -> ContextRow:
        """A context as it is now. Raises ``NotFound`` (``context_not_found``)."""
        row = self.find_context(context_id)
        if row is None:
            raise context_not_found(context_id)
        return row

    def history(self, context_id: UUID, version: int) -> tuple[int, HistoryRow]:
        """The last row of history at or below a version that exists, and its version."""
        prefix = context_id.bytes
        found = self.view.floor("contexts", HISTORY, prefix, versioned(prefix, version))
        if found is None:
            raise Damaged("view_damaged", "a context has no history", context_id=context_id, version=version)
        return version_in(found[0]), history_rows.decode(found[1])

    def cut_after(self, context_id: UUID, row_version: int, row: HistoryRow, version: int) -> Cut | None:
        """The last stored cut at or below a version, if it is after that row of history.

        A view that lags has fewer: that makes a question slower, and changes no answer.
        """
        prefix = context_id.bytes
        found = self.view.floor("contexts", CUTS, prefix, versioned(prefix, version))
        if found is None or version_in(found[0]) <= row_version:
            return None
        return stored_cut(version_in(found[0]), row, found[1])

    def metadata(self, context_id: UUID, row: HistoryRow) -> Metadata:
        """The metadata that a row of history refers to."""
        key = versioned(context_id.bytes, row.metadata_version)
        return metadata_rows.decode(self.view.get("contexts", METADATA, key) or b"")

    def state_detail(self, context_id: UUID, row: HistoryRow) -> Json:
        """The detail of the state that a row of history refers to."""
        if not row.detail_version:
            return None
        key = versioned(context_id.bytes, row.detail_version)
        return decode_detail(self.view.get("contexts", DETAILS, key) or b"\xc0")

    def find_message(self, message_id: UUID) -> MessageRow | None:
        """A message as it is now."""
        stored = self.view.get("messages", MESSAGES, message_id.bytes)
        return None if stored is None else message_rows.decode(stored)

    def message(self, message_id: UUID) -> MessageRow:
        """A message as it is now. Raises ``NotFound`` (``message_not_found``)."""
        row = self.find_message(message_id)
        if row is None:
            raise message_not_found(message_id)
        return row

    def find_timeline(self, message_id: UUID) -> TimelineRow | None:
        """A stream's header as it is now."""
        stored = self.view.get("timelines", TIMELINES, message_id.bytes)
        return None if stored is None else timeline_rows.decode(stored)

    def timeline(self, message_id: UUID) -> TimelineRow:
        """A stream's header. Raises ``NotFound`` (``message_not_found``, ``stream_not_open``)."""
        row = self.find_timeline(message_id)
        if row is not None:
            return row
        if self.log.message_place(self.txn, message_id) is None:
            raise message_not_found(message_id)
        raise NotFound("stream_not_open", "the message was not streamed", message_id=message_id)

    def sealed_version(self, context_id: UUID) -> int:
        """The version up to which the chunks of a context's open streams are in segments; 0: none are."""
        stored = self.view.get("timelines", SEALING, context_id.bytes)
        return 0 if stored is None else sealing_rows.decode(stored).version

    def last_at(self, context_id: UUID, position: int) -> tuple[int, int]:
        """A context's version once ``position`` was committed, and the position that holds it; 0, 0 before.

        Raises ``NotFound`` (``context_not_found``) when it does not exist at all.
        """
        place = self.log.place_at(self.txn, context_id, position)
        if place == (0, 0) and self.log.version_of(self.txn, context_id) == 0:
            raise context_not_found(context_id)
        return place

    def commit_of(self, context_id: UUID, version: int) -> Commit:
        """The commit that holds a version. Raises ``NotFound`` or ``Damaged``."""
        last = self._last
        if (
            last is None
            or last.context_id != context_id
            or not last.first_version <= version <= last.last_version
        ):
            last = self._last = self.log.commit_of(self.txn, context_id, version)
        return last

    def commit_at(self, position: int) -> Commit:
        """The commit at a position; the last one read is remembered: neighbours often share it."""
        if self._last is None or self._last.position != position:
            self._last = self.log.commit_at(self.txn, position)
        return self._last


def message_not_found(message_id: UUID, **fields: object) -> NotFound:
    """The error for a message that does not exist, or did not at the moment that was asked for."""
    return NotFound("message_not_found", f"there is no message {message_id}", message_id=message_id, **fields)
