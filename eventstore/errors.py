"""The one error type, its few children, and the table of stable codes.

Every code maps here, and only here, to an exit code, an HTTP status and a hint that names what to do.
"""

from __future__ import annotations

import traceback
from typing import Final, NamedTuple, Self


class Code(NamedTuple):
    """What a code means outside: ``exit`` for the command line, ``status`` for HTTP."""

    exit: int
    status: int
    hint: str


REFUSED, NOT_FOUND, CONFLICT, DAMAGED, UNAVAILABLE = 2, 3, 4, 5, 6

CODES: Final[dict[str, Code]] = {
    # The request itself is wrong: sending it again changes nothing.
    "invalid_event": Code(REFUSED, 422, "Correct the field named in the message."),
    "invalid_time": Code(REFUSED, 422, "Write times like 2026-01-31T12:00:00Z."),
    "invalid_argument": Code(REFUSED, 422, "Correct the argument named in the message."),
    "ambiguous_id": Code(REFUSED, 422, "Give more characters of the id, or all of it."),
    "input_unreadable": Code(REFUSED, 422, "Check the file's name and permissions."),
    "nothing_recognised": Code(
        REFUSED, 422, "Check that it is the right place; --format insists on a format, and tells each file."
    ),
    "empty_commit": Code(REFUSED, 422, "Append at least one event."),
    "event_too_large": Code(REFUSED, 413, "Store large content as an attachment and refer to it."),
    "commit_too_large": Code(REFUSED, 413, "Split the events over several appends."),
    "metadata_too_large": Code(REFUSED, 413, "Keep commit metadata to ids; content goes into events."),
    "context_metadata_too_large": Code(REFUSED, 413, "Remove members by null; content goes into messages."),
    "nested_too_deeply": Code(REFUSED, 422, "Flatten the value."),
    "too_many_branches": Code(REFUSED, 422, "Delete branches that are no longer needed."),
    "too_many_open_streams": Code(REFUSED, 422, "Finalize streams, or sweep those whose producer died."),
    "unknown_dialect": Code(REFUSED, 422, "Use one of the dialects named in the message."),
    "malformed_stream": Code(
        REFUSED, 422, "Check that it is a provider's stream, and its dialect: anthropic or openai_chat."
    ),
    "unknown_projection": Code(NOT_FOUND, 404, "See `turnlog stats` for the projections of this store."),
    "invalid_transform": Code(REFUSED, 422, "Correct the transform named in the message."),
    "invalid_projection": Code(REFUSED, 422, "Correct the projection named in the message."),
    # Of a request over HTTP: it never came as far as the log.
    "invalid_request": Code(REFUSED, 400, "Correct what `errors` names; /schema has every request's shape."),
    "invalid_header": Code(REFUSED, 400, "Correct the header named in the message."),
    "unsupported_media_type": Code(REFUSED, 415, "Send JSON, or one of the types named in the message."),
    "body_too_large": Code(REFUSED, 413, "Send less at once: the limit is in the message."),
    "route_not_found": Code(NOT_FOUND, 404, "See /schema for the routes."),
    "method_not_allowed": Code(REFUSED, 405, "Use a method that the `Allow` header names."),
    "too_many_connections": Code(UNAVAILABLE, 429, "Close streams that are no longer read, or wait."),
    "overloaded": Code(UNAVAILABLE, 503, "Wait as `Retry-After` says, then send it again."),
    "shutting_down": Code(UNAVAILABLE, 503, "Connect again in a moment; go on from the last event's id."),
    "unexpected": Code(UNAVAILABLE, 500, "This is a defect: report it with the line in the log."),
    # The service does not know who asks, or may not do that for them.
    "invalid_settings": Code(REFUSED, 422, "Correct the setting named in the message."),
    "keys_required": Code(REFUSED, 422, "Make a key: `turnlog keys create`. Or listen on 127.0.0.1."),
    "keys_exposed": Code(REFUSED, 500, "Check that nobody put a key into it, then `chmod 600` it."),
    "too_many_keys": Code(REFUSED, 422, "Move keys.json and keys.made away and make the keys anew."),
    "key_not_found": Code(NOT_FOUND, 404, "See `turnlog keys list` for the ids."),
    "not_confirmed": Code(REFUSED, 422, "Answer as it asks, or repeat with --yes."),
    "key_missing": Code(REFUSED, 401, "Send a key: `Authorization: Bearer tl_...`."),
    "key_invalid": Code(REFUSED, 401, "Check the key; `turnlog keys list` shows the ids that there are."),
    "key_expired": Code(REFUSED, 401, "Ask for a new key."),
    "key_revoked": Code(REFUSED, 401, "Ask for a new key."),
    "role_too_low": Code(REFUSED, 403, "Use a key with the role named in the message."),
    "workspace_not_allowed": Code(REFUSED, 403, "Use a key for that workspace, or for all."),
    "ticket_invalid": Code(REFUSED, 401, "Ask for a new ticket; each is good for one use of one path."),
    "too_many_tickets": Code(UNAVAILABLE, 429, "Use tickets, or wait until they expire."),
    # The write model says no: the history of the context does not allow it.
    "context_not_found": Code(NOT_FOUND, 404, "Create the context first, or check its id."),
    "context_exists": Code(CONFLICT, 409, "Use another id, or append to the existing context."),
    "context_deleted": Code(CONFLICT, 410, "A deleted context takes no more events."),
    "message_exists": Code(CONFLICT, 409, "Give every message its own id."),
    "message_not_found": Code(NOT_FOUND, 404, "Check the id; a message belongs to one context."),
    "message_redacted": Code(CONFLICT, 410, "The text of this message was withdrawn."),
    "parent_not_found": Code(CONFLICT, 409, "Name a message of this context as parent."),
    "head_not_found": Code(CONFLICT, 409, "Name a message of this context as head."),
    "branch_not_found": Code(NOT_FOUND, 404, "Create the branch by moving it to a head."),
    "branch_active": Code(CONFLICT, 409, "Switch to another branch before deleting this one."),
    "head_is_not_parent": Code(CONFLICT, 409, "Name the parent explicitly, or start a branch."),
    "fork_source_not_found": Code(CONFLICT, 409, "Fork from a version that exists."),
    "stream_not_found": Code(CONFLICT, 409, "Start the stream first."),
    "stream_finalized": Code(CONFLICT, 409, "It is finalized already: it takes no chunks and no other end."),
    "stream_not_open": Code(CONFLICT, 409, "This message was not streamed."),
    "raw_not_kept": Code(
        CONFLICT, 409, "Read it in another dialect; record with keep_raw to have its bytes."
    ),
    "sequence_gap": Code(CONFLICT, 409, "Send the expected sequence next."),
    "chunk_conflict": Code(CONFLICT, 409, "This sequence is already taken by other content."),
    "producer_fenced": Code(CONFLICT, 409, "Another producer has taken over this stream; stop."),
    "epoch_not_higher": Code(CONFLICT, 409, "Resume with an epoch above the current one."),
    "previous_head_differs": Code(CONFLICT, 409, "Read the branch again and decide anew."),
    "wrong_expected_version": Code(CONFLICT, 409, "Read what happened in between and decide anew."),
    "commit_id_reused": Code(CONFLICT, 409, "Use a new commit id for other events."),
    # Of what is written outside the store.
    "output_exists": Code(
        CONFLICT, 409, "Move it away or choose another place; `turnlog export --force` replaces it."
    ),
    "output_unsafe": Code(REFUSED, 422, "Choose a directory without links in it."),
    "store_differs": Code(CONFLICT, 409, "Replay into a new directory; keep the old one as it is."),
    # Asked for a past that is not there.
    "version_not_found": Code(NOT_FOUND, 404, "Ask for a version between 1 and the context's version."),
    "position_not_found": Code(NOT_FOUND, 404, "Ask for a position between 0 and the log's head."),
    "moment_before_creation": Code(NOT_FOUND, 404, "The context did not exist at that moment yet."),
    # The store cannot do it now, or at all.
    "outcome_unknown": Code(UNAVAILABLE, 503, "Repeat the append with the same commit id."),
    "append_failed": Code(UNAVAILABLE, 500, "This is a defect: report it with the line in the log."),
    "log_read_only": Code(UNAVAILABLE, 503, "Open it for writing, or see the failure in its statistics."),
    "log_closed": Code(UNAVAILABLE, 503, "Open the store again."),
    "log_full": Code(UNAVAILABLE, 507, "Open the log with a larger map."),
    "disk_full": Code(UNAVAILABLE, 507, "Free disk space; reads go on."),
    "storage_failed": Code(UNAVAILABLE, 503, "Check the disk and the permissions of the directory."),
    "backup_failed": Code(UNAVAILABLE, 503, "Free disk space, or choose another --backup-dir."),
    "reader_died": Code(UNAVAILABLE, 503, "Run it again: it goes on where it was. See if memory is short."),
    "spool_failed": Code(
        UNAVAILABLE, 503, "Free disk space, or name another folder in TMPDIR; run it again."
    ),
    "writer_locked": Code(UNAVAILABLE, 503, "Stop that process, or write over HTTP if it is the service."),
    "wrong_event_loop": Code(UNAVAILABLE, 500, "Use the store on the event loop that opened it."),
    "already_open": Code(UNAVAILABLE, 500, "Use the store that this process has opened."),
    "forked_process": Code(UNAVAILABLE, 500, "Open the store after forking, in the child itself."),
    "directory_not_found": Code(NOT_FOUND, 404, "Check the data directory."),
    "directory_foreign": Code(UNAVAILABLE, 500, "Choose an empty directory, or one that Turnlog made."),
    "directory_newer": Code(UNAVAILABLE, 500, "Use a Turnlog at least as new as the one that wrote it."),
    "directory_damaged": Code(DAMAGED, 500, "Restore from a backup; keep a copy of the directory."),
    "file_system_unsafe": Code(UNAVAILABLE, 500, "Use a local disk, or allow this file system explicitly."),
    "keys_damaged": Code(
        DAMAGED, 500, "Restore keys.json from a backup; to begin without keys, remove it and keys.made."
    ),
    "cannot_listen": Code(UNAVAILABLE, 500, "Choose another port with --port, or end what listens there."),
    "service_missing": Code(UNAVAILABLE, 500, 'Install it: pip install "turnlog[service]".'),
    "commit_damaged": Code(DAMAGED, 500, "Run `turnlog verify`; restore from a backup."),
    "view_damaged": Code(DAMAGED, 500, "Delete the views directory; it is rebuilt from the log."),
    "projection_poisoned": Code(UNAVAILABLE, 503, "Repair the projection, then rebuild it."),
    "projection_stuck": Code(UNAVAILABLE, 503, "Repair the projection: its fold must return."),
    "runner_failed": Code(UNAVAILABLE, 503, "See the health report; open the store again."),
    "views_behind": Code(UNAVAILABLE, 503, "Run the writer's process; it brings the views up to date."),
}


class TurnlogError(Exception):
    """Base of every error that Turnlog raises.

    ``code`` is stable and a key of ``CODES``; ``fields`` carry the facts (ids, versions, positions),
    never message text.
    """

    def __init__(self, code: str, message: str, /, **fields: object) -> None:
        super().__init__(message)
        self.code: str = code
        self.message: str = message
        self.fields: dict[str, object] = fields

    def copy(self) -> Self:
        """The same error anew: one that is raised in many places would gather all their tracebacks."""
        return type(self)(self.code, self.message, **self.fields)

    @property
    def hint(self) -> str:
        """What to do about it."""
        return CODES[self.code].hint


class Refused(TurnlogError):
    """The request is wrong or the context's history forbids it; certainly nothing was written."""


class WrongExpectedVersion(Refused):
    """The context is not at the version that the append expected; nothing was written.

    ``fields``: ``expected``, ``actual``; ``events_between`` (the events after ``expected``) when the
    append asked for them.
    """


class NotFound(TurnlogError):
    """A context, message, branch or moment that was asked for does not exist."""


class OutcomeUnknown(TurnlogError):
    """The commit failed in a way that leaves open whether it happened: repeat with the same commit id."""


class Unavailable(TurnlogError):
    """The store cannot do it now; certainly nothing was written."""


class Damaged(TurnlogError):
    """Stored bytes are not what was written. Never skipped; ``fields`` name the place."""


def reason_of(error: OSError) -> str:
    """Why the system refuses, in its own words; not Python's, which begin with a number."""
    return error.strerror or type(error).__name__


def place_of(error: BaseException) -> str:
    """Where it was raised; a whole traceback may show the locals around it, and those hold messages."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
