"""An append on its way to the writer: checked, packed, encoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import anyio.to_thread
import msgspec

from eventstore import body, validation
from eventstore.body import Prepared
from eventstore.commits import Append, pack
from eventstore.errors import Refused
from eventstore.events import ChunkReceived, ChunkRun
from eventstore.limits import EVENTS_AT_ONCE, TOGETHER_BYTES_MAX, TRANSACTION_REQUESTS_MAX
from eventstore.spool import Spool


class Request(msgspec.Struct, frozen=True, gc=False):
    """``future`` gets the outcome. The collector need not look: what refers to a request ends with it.

    ``rest``: the requests that are to be written together with this one, or not at all; they are encoded and
    nothing else (``unpacked``), and many are not in memory. ``bytes``: of all.
    """

    append: Append
    prepared: Prepared
    context_key: bytes
    commit_id: bytes | None
    future: Any
    bytes: int
    rest: Sequence[Request] = ()


def make_request(append: Append, future: Any) -> Request:
    """Check and encode an append. Raises ``Refused``."""
    prepared = _prepared_chunk(append)
    if prepared is not None:
        validation.check_arguments(append)
    else:
        validation.check(append)
        prepared = body.prepare(pack(append.events), append.metadata)
    commit_id = append.commit_id
    commit_key = commit_id.bytes if commit_id else None
    return Request(append, prepared, append.context_id.bytes, commit_key, future, len(prepared.body))


def make_together(appends: Iterable[Append], future: Any) -> Request | None:
    """Check and encode appends that are to be written together, one by one; None if there are none.

    Raises ``Refused``, also for one of another context and for more than can be written together, and
    ``Unavailable`` (``spool_failed``) where many find no room on the disk.
    """
    taken = iter(appends)
    first = next(taken, None)
    return None if first is None else _with_rest(make_request(first, future), taken)


async def request_of(append: Append, future: Any) -> Request:
    """What ``make_request`` gives; a long append is encoded by another thread. Raises ``Refused``."""
    if _takes_long(append):
        return await anyio.to_thread.run_sync(make_request, append, future)
    return make_request(append, future)


def _takes_long(append: Append) -> bool:
    """Whether it has more than ``EVENTS_AT_ONCE`` events, those in runs counted."""
    count = len(append.events)
    for event in append.events:
        if type(event) is ChunkRun and type(event.deltas) is tuple:  # what is none is refused with the rest
            count += len(event.deltas)
    return count > EVENTS_AT_ONCE


def unpacked(request: Request) -> Request:
    """What was ``packed``, with the records that are encoded in it."""
    records = body.decode_body(request.prepared.body).records
    prepared = msgspec.structs.replace(request.prepared, records=records)
    return msgspec.structs.replace(request, prepared=prepared)


def packed(request: Request) -> Request:
    """A request whose events are in its bytes alone: as objects they take ten times the memory."""
    return msgspec.structs.replace(
        request,
        append=msgspec.structs.replace(request.append, events=()),
        prepared=msgspec.structs.replace(request.prepared, records=()),
    )


def _with_rest(first: Request, rest: Iterable[Append]) -> Request:
    requests = Spool[Request]()
    size = first.bytes
    for append in rest:
        if append.context_id != first.append.context_id:
            raise Refused("invalid_argument", "what is appended together is of one context")
        request = packed(make_request(append, None))
        requests.append(request, request.bytes)
        size += request.bytes
        if size > TOGETHER_BYTES_MAX or len(requests) >= TRANSACTION_REQUESTS_MAX:
            raise Refused(
                "commit_too_large",
                f"at most {TRANSACTION_REQUESTS_MAX} commits of {TOGETHER_BYTES_MAX} bytes go together",
                limit=TOGETHER_BYTES_MAX,
                actual=size,
            )
    return msgspec.structs.replace(first, bytes=size, rest=requests.settled())


def _prepared_chunk(append: Append) -> Prepared | None:
    """The commonest append of all, one plain chunk: a single look decides that nothing is wrong with it."""
    events = append.events
    if append.metadata is None and type(events) is tuple and len(events) == 1:
        (event,) = events
        if type(event) is ChunkReceived:
            return body.prepare_chunk(event)
    return None
