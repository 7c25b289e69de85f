"""An append on its way to the writer: checked, packed, encoded."""

from __future__ import annotations

from typing import Any

import msgspec

from eventstore import body, validation
from eventstore.body import Prepared
from eventstore.commits import Append, pack
from eventstore.errors import Refused
from eventstore.events import ChunkReceived
from eventstore.limits import TOGETHER_BYTES_MAX, TRANSACTION_REQUESTS_MAX


class Request(msgspec.Struct, frozen=True, gc=False):
    """``future`` gets the outcome. The collector need not look: what refers to a request ends with it.

    ``rest``: the requests that are to be written together with this one, or not at all. ``bytes``: of all.
    """

    append: Append
    prepared: Prepared
    context_key: bytes
    commit_id: bytes | None
    future: Any
    bytes: int
    rest: tuple[Request, ...] = ()


def make_request(append: Append, future: Any, rest: tuple[Append, ...] = ()) -> Request:
    """Check and encode an append, and the ``rest`` that is to be written together with it.

    Raises ``Refused``, also for a rest of another context and for more than can be written together.
    """
    prepared = _prepared_chunk(append)
    if prepared is not None:
        validation.check_arguments(append)
    else:
        validation.check(append)
        prepared = body.prepare(pack(append.events), append.metadata)
    commit_id = append.commit_id
    commit_key = commit_id.bytes if commit_id else None
    request = Request(append, prepared, append.context_id.bytes, commit_key, future, len(prepared.body))
    return _with_rest(request, rest) if rest else request


def _with_rest(first: Request, rest: tuple[Append, ...]) -> Request:
    requests: list[Request] = []
    size = first.bytes
    for append in rest:
        if append.context_id != first.append.context_id:
            raise Refused("invalid_argument", "what is appended together is of one context")
        requests.append(make_request(append, first.future))
        size += requests[-1].bytes
        if size > TOGETHER_BYTES_MAX or len(requests) >= TRANSACTION_REQUESTS_MAX:
            raise Refused(
                "commit_too_large",
                f"at most {TRANSACTION_REQUESTS_MAX} commits of {TOGETHER_BYTES_MAX} bytes go together",
                limit=TOGETHER_BYTES_MAX,
                actual=size,
            )
    return msgspec.structs.replace(first, bytes=size, rest=tuple(requests))


def _prepared_chunk(append: Append) -> Prepared | None:
    """The commonest append of all, one plain chunk: a single look decides that nothing is wrong with it."""
    events = append.events
    if append.metadata is None and type(events) is tuple and len(events) == 1:
        (event,) = events
        if type(event) is ChunkReceived:
            return body.prepare_chunk(event)
    return None
