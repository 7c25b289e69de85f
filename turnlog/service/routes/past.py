"""What happened to a context: its history, and the difference between two moments."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from eventstore.errors import Refused
from projections.answers import Diff, HistoryEntry, Page
from projections.timetravel import Moment
from turnlog.moments import moment_of
from turnlog.service.access import READER, Access
from turnlog.service.answers import Answer
from turnlog.service.conditions import at_least
from turnlog.service.requests import ID, LimitQuery, place

MOMENTS: Final = {
    "anyOf": [
        {"pattern": f"^(now|[vp][0-9]{{1,18}}|m{ID})(~[0-9]{{1,18}})?$"},
        {"format": "date-time"},
    ]
}


@get("/contexts/{context_id:uuid}/history", opt=READER)
async def read_history(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    after: Annotated[str, QueryParameter(max_length=1_000, description="A version, or a cursor.")] = "0",
    limit: LimitQuery = 100,
) -> Answer[Page[HistoryEntry]]:
    """What changed when: each event, the chunks between two others as one entry."""
    page = await access.log.queries.history(
        access.context(context_id).id,
        after=place(after),
        limit=limit,
        at_least=at_least(request.headers),
    )
    return Answer(page, position=access.position)


@get(
    "/contexts/{context_id:uuid}/diff",
    opt=READER,
    problems=("version_not_found", "moment_before_creation", "message_not_found", "invalid_argument"),
)
async def read_diff(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    from_: Annotated[
        str,
        QueryParameter(
            name="from",
            max_length=100,
            description="now, v12, p90, RFC 3339, or m and a message's id; ~3 after it: 3 events before.",
            schema_extra=MOMENTS,
        ),
    ],
    to: Annotated[
        str, QueryParameter(max_length=100, description="Another moment.", schema_extra=MOMENTS)
    ] = "now",
    limit: LimitQuery = 200,
) -> Answer[Diff]:
    """What differs between two moments, in either order: metadata, state, branches, messages, streams."""
    context = access.context(context_id)
    a, b = await _moment(access, context.id, from_), await _moment(access, context.id, to)
    diff = await access.log.queries.diff(context.id, a, b, limit=limit, at_least=at_least(request.headers))
    return Answer(diff, position=access.position)


async def _moment(access: Access, context_id: UUID, text: str) -> Moment:
    def message(written: str) -> UUID:
        try:
            return UUID(written)
        except ValueError:
            raise Refused("invalid_argument", "after m comes a whole message id", value=text) from None

    return await moment_of(access.log.queries, context_id, text, message)


ROUTES = [read_history, read_diff]
