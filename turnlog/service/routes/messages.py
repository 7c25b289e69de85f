"""Messages: append, list by branch, role, type and time, read one or many, withdraw."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

import anyio.lowlevel
import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from eventstore.content import Part, Role
from eventstore.errors import NotFound, Refused
from eventstore.events import MessageAppended, MessageRedacted, Record
from eventstore.units import parse_time
from projections.answers import ContextState, MessageBody, MessageEntry, Page
from turnlog.facade import new_id
from turnlog.service.access import READER, WRITER, Access
from turnlog.service.answers import Answer, Written, written
from turnlog.service.conditions import at_least, commit_id
from turnlog.service.requests import (
    ID,
    ITEMS_MAX,
    AppendMessage,
    AtMessageQuery,
    AtPositionQuery,
    AtTimeQuery,
    AtVersionQuery,
    BranchQuery,
    LimitQuery,
    Redact,
    moment,
    place,
)
from turnlog.service.routes.contexts import OF_ADDING
from turnlog.service.strict import micros

BATCH_AT_ONCE: Final = 25
"""Messages of a batch before others have their turn."""

BATCH_MAX = 100
"""Messages that one request reads with their bodies."""

PlaceQuery: TypeAlias = Annotated[
    str | None, QueryParameter(max_length=1_000, description="A version of the context, or a cursor.")
]
_TIME = {"format": "date-time"}


class MessageAnswer(MessageEntry, frozen=True, kw_only=True):
    """A message. Its content is there where it was asked for; ``complete`` is false while it streams.

    ``text`` joins the text parts.
    """

    complete: bool | None = None
    text: str | None = None
    parts: list[Part] | None = None


class Batch(msgspec.Struct, frozen=True):
    """Messages in the order asked; the ids of those that do not exist."""

    items: list[MessageAnswer]
    not_found: list[UUID]


@post(
    "/contexts/{context_id:uuid}/messages",
    opt=WRITER,
    status_code=201,
    problems=("message_exists", "invalid_argument", *OF_ADDING),
)
async def append_message(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    data: JSONBody[AppendMessage],
) -> Answer[Written]:
    """Append a message to a branch.

    A `parent_id` other than the branch's head makes a sibling: an edit. Repeated with the same
    `Idempotency-Key` it is the same message.
    """
    context, key = access.context(context_id), commit_id(request.headers)
    message_id = data.message_id or new_id(key, str(context_id))

    def events(now: ContextState) -> list[Record]:
        return [
            MessageAppended(
                message_id,
                data.role,
                data.content(),
                data.branch or now.active_branch,
                data.parent_id,
                data.message_type,
                data.metadata,
                None if data.occurred_at is None else micros(data.occurred_at),
            )
        ]

    committed = await access.append_from(request.headers, context, events)
    location = f"/api/messages/{message_id}"
    return written(context_id, committed, message_id, location=location, status_code=201)


@get("/contexts/{context_id:uuid}/messages", opt=READER, problems=("branch_not_found",))
async def list_messages(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    branch: BranchQuery = None,
    all_branches: Annotated[
        bool, QueryParameter(description="All messages, in the order in which they were added.")
    ] = False,
    role: Annotated[Role | None, QueryParameter(description="Only those of this role.")] = None,
    message_type: Annotated[
        str | None, QueryParameter(name="type", max_length=100, description="Only those of this type.")
    ] = None,
    since: Annotated[
        str | None, QueryParameter(description="Recorded then or later.", schema_extra=_TIME)
    ] = None,
    until: Annotated[str | None, QueryParameter(description="Recorded before.", schema_extra=_TIME)] = None,
    limit: LimitQuery = 50,
    before: PlaceQuery = None,
    after: PlaceQuery = None,
    last: Annotated[
        int | None, QueryParameter(ge=1, le=ITEMS_MAX, description="The newest, as many as this.")
    ] = None,
    include: Annotated[
        Literal["body"] | None, QueryParameter(description="Their content too; then at most 100.")
    ] = None,
    at_version: AtVersionQuery = None,
    at_position: AtPositionQuery = None,
    at_time: AtTimeQuery = None,
    at_message: AtMessageQuery = None,
) -> Answer[Page[MessageAnswer]]:
    """The messages on a branch's path from the root to the head, or of all branches.

    Without their content unless `include=body`. `last` gives the newest. A page may be short, even empty,
    while its cursor is there: a filter let few pass.
    """
    context = access.context(context_id)
    at = moment(at_version, at_position, at_time, at_message)
    page = await access.log.queries.messages(
        context.id,
        branch=branch,
        all_branches=all_branches,
        role=role,
        message_type=message_type,
        since=None if since is None else parse_time(since),
        until=None if until is None else parse_time(until),
        limit=limit,
        before=None if before is None else place(before),
        after=None if after is None else place(after),
        last=last,
        moment=at,
        at_least=at_least(request.headers),
    )
    if include is None:
        items = [MessageAnswer(**msgspec.structs.asdict(entry)) for entry in page.items]
    else:
        if len(page.items) > BATCH_MAX:
            raise Refused("invalid_argument", f"with bodies a page has at most {BATCH_MAX}", argument="limit")
        ids = [entry.id for entry in page.items]
        bodies = await access.log.queries.bodies(ids, at, context_id=context.id)
        items = [_whole(body) for body in bodies]
    return Answer(Page(items, page.next_cursor), position=access.position)


def _whole(body: MessageBody) -> MessageAnswer:
    entry = msgspec.structs.asdict(body.entry)
    return MessageAnswer(**entry, complete=body.complete, text=body.text, parts=list(body.parts))


@get("/messages/batch", opt=READER, problems=("invalid_argument",))
async def read_messages(
    access: NamedDependency[Access],
    ids: Annotated[
        str,
        QueryParameter(
            max_length=100 * BATCH_MAX,
            description="Message ids, separated by commas; at most 100.",
            schema_extra={"pattern": f"^{ID}(,{ID}){{0,{BATCH_MAX - 1}}}$"},
        ),
    ],
) -> Answer[Batch]:
    """Many messages with their content, in the order asked; those not found are named."""
    wanted = [_id(text) for text in ids.split(",")]
    if len(wanted) > BATCH_MAX:
        raise Refused("invalid_argument", f"at most {BATCH_MAX} ids at once", argument="ids")
    items: list[MessageAnswer] = []
    missing: list[UUID] = []
    for number, message_id in enumerate(wanted, 1):
        try:
            access.context_of(message_id)
            items.append(_whole(await access.log.queries.body(message_id)))
        except NotFound:
            missing.append(message_id)
        if number % BATCH_AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()
    return Answer(Batch(items, missing), position=access.position)


def _id(text: str) -> UUID:
    try:
        return UUID(text.strip())
    except ValueError:
        raise Refused("invalid_argument", f"{text[:40]!r} is no message id", argument="ids") from None


@get("/messages/{message_id:uuid}", opt=READER)
async def read_message(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    message_id: FromPath[UUID],
    at_version: AtVersionQuery = None,
    at_position: AtPositionQuery = None,
    at_time: AtTimeQuery = None,
) -> Answer[MessageAnswer]:
    """One message with its content: of a stream that is open, what has arrived."""
    access.context_of(message_id)
    body = await access.log.queries.body(
        message_id, moment(at_version, at_position, at_time), at_least=at_least(request.headers)
    )
    return Answer(_whole(body), position=access.position)


@post("/messages/{message_id:uuid}/redact", opt=WRITER, status_code=200)
async def redact_message(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    message_id: FromPath[UUID],
    data: JSONBody[Redact],
) -> Answer[Written]:
    """Withdraw a message's text: from now on no read at any moment shows it."""
    context_id = access.context_of(message_id)
    return await access.append(request.headers, context_id, MessageRedacted(message_id, data.reason))


ROUTES = [append_message, list_messages, read_messages, read_message, redact_message]
