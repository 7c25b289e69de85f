"""An append on its way to the writer: checked, packed, encoded."""

from __future__ import annotations

from typing import Any

import msgspec

from eventstore import body, validation
from eventstore.body import Prepared
from eventstore.commits import Append, pack
from eventstore.events import ChunkReceived


class Request(msgspec.Struct, frozen=True, gc=False):
    """``future`` gets the outcome. The collector need not look: what refers to a request ends with it."""

    append: Append
    prepared: Prepared
    context_key: bytes
    commit_id: bytes | None
    future: Any


def make_request(append: Append, future: Any) -> Request:
    """Check and encode an append. Raises ``Refused``."""
    prepared = _prepared_chunk(append)
    if prepared is not None:
        validation.check_arguments(append)
    else:
        validation.check(append)
        prepared = body.prepare(pack(append.events), append.metadata)
    commit_id = append.commit_id
    return Request(append, prepared, append.context_id.bytes, commit_id.bytes if commit_id else None, future)


def _prepared_chunk(append: Append) -> Prepared | None:
    """The commonest append of all, one plain chunk: a single look decides that nothing is wrong with it."""
    events = append.events
    if append.metadata is None and type(events) is tuple and len(events) == 1:
        (event,) = events
        if type(event) is ChunkReceived:
            return body.prepare_chunk(event)
    return None
