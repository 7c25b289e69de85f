"""Tickets: how a browser's EventSource, which cannot send a key, opens a stream."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from eventstore.errors import Refused
from eventstore.units import At
from turnlog.service.access import READER, Access
from turnlog.service.answers import Answer
from turnlog.service.gate import Gate

STREAMS: Final = r"^/api/((contexts/[^/?#]+/)?(sse|events)|messages/[^/?#]+/(stream|replay))\Z"
"""What a browser opens by an ``EventSource``; all else it asks for with a key, or through its backend."""


_NO_STREAM: Final = (
    "not the path of a stream, without its query: /api/events, /api/sse, these two of a context, or the "
    "stream or replay of a message"
)


class TicketFor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to issue a ticket for: the path of a stream, without its query."""

    path: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": STREAMS}, max_length=1_000)]


class Ticket(msgspec.Struct, frozen=True):
    """Append it to the address as ``?ticket=``. It opens its path once, until it expires."""

    ticket: str
    path: str
    expires_at: At


@post("/tickets", opt=READER, status_code=201, problems=("too_many_tickets",))
async def issue_ticket(
    access: NamedDependency[Access], request: Request[Any, Any, Any], data: JSONBody[TicketFor]
) -> Answer[Ticket]:
    """Issue a ticket for one request of a path, in the name of the key.

    A backend asks for one with its key and hands it to a page, whose `EventSource` cannot set headers. A
    browser that comes back by itself is refused, as the ticket is used up: ask for another, and go on with
    `after` from the last event's id.
    """
    if re.search(STREAMS, data.path) is None:
        errors = [{"path": "body.path", "message": _NO_STREAM}]
        raise Refused("invalid_request", f"body.path: {_NO_STREAM}", errors=errors)
    gate: Gate = request.state.gate
    ticket, expires_at = gate.ticket(access.key, data.path)
    return Answer(Ticket(ticket, data.path, expires_at))


ROUTES = [issue_ticket]
