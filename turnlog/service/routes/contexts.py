"""Contexts: create, list, read as of any moment, change, delete, fork."""

from __future__ import annotations

from typing import Annotated, Any, cast
from uuid import UUID

import anyio.lowlevel
import msgspec
from litestar import Request, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from eventstore.commits import NO_CONTEXT, ExpectedVersion
from eventstore.errors import WrongExpectedVersion
from eventstore.events import ContextCreated, ContextDeleted, ContextUpdated, StateChanged
from projections.answers import ContextState, ContextSummary, Page
from projections.timetravel import NOW, AtVersion, fork_events
from turnlog.facade import new_id
from turnlog.service.access import READER, WRITER, Access
from turnlog.service.answers import Answer, Written, written
from turnlog.service.conditions import at_least, commit_id, expected_version, is_known
from turnlog.service.requests import (
    AtMessageQuery,
    AtPositionQuery,
    AtTimeQuery,
    AtVersionQuery,
    BranchQuery,
    CreateContext,
    CursorQuery,
    Fork,
    LimitQuery,
    PatchContext,
    PutState,
    moment,
)

OF_MOMENTS = (
    "invalid_argument",
    "invalid_time",
    "version_not_found",
    "position_not_found",
    "moment_before_creation",
    "message_not_found",
)
"""Where a moment is in the body."""

OF_ADDING = ("parent_not_found", "head_is_not_parent", "too_many_branches", "too_many_open_streams")
"""Of whatever adds a message or a stream."""

PATH_MESSAGES_MAX = 1_000
"""Message ids of a branch that a context's answer holds: the newest. `/messages` pages through all."""

IDS_AT_ONCE = 250
"""Of them, found in a millisecond or two, before others have their turn."""


class ContextAnswer(ContextState, frozen=True, kw_only=True):
    """A context at a moment, and its conversation in ids.

    ``message_ids``: of ``branch``, from the root to the head; the newest 1,000 of them.
    """

    branch: str
    message_ids: list[UUID]


@post(
    "/contexts", opt=WRITER, status_code=201, problems=("workspace_not_allowed", "context_metadata_too_large")
)
async def create_context(
    access: NamedDependency[Access], request: Request[Any, Any, Any], data: JSONBody[CreateContext]
) -> Answer[Written]:
    """Create a context.

    Repeated with the same `Idempotency-Key` it is the same context: its id follows from the key.
    """
    workspace, key = access.workspace_for(data.workspace), commit_id(request.headers)
    context_id = data.context_id or new_id(key, workspace)
    access.check_free(context_id)
    created = ContextCreated(data.title, workspace, data.config, data.attributes)
    committed = await access.log.store.append(
        context_id, [created], expected_version=expected_version(request.headers), commit_id=key
    )
    return written(context_id, committed, location=f"/api/contexts/{context_id}", status_code=201)


@get("/contexts", opt=READER, problems=("workspace_not_allowed",))
async def list_contexts(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    workspace: Annotated[
        str | None, QueryParameter(max_length=100, description="Only those of this workspace.")
    ] = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
    include_deleted: Annotated[bool, QueryParameter(description="Deleted ones too.")] = False,
) -> Answer[Page[ContextSummary]]:
    """List contexts, those that changed last first: metadata only, in pages."""
    wanted = workspace if access.workspace is None else access.workspace_for(workspace)
    page = await access.log.queries.contexts(
        wanted,
        limit=limit,
        cursor=cursor,
        include_deleted=include_deleted,
        at_least=at_least(request.headers),
    )
    return Answer(page, position=access.position)


@get("/contexts/{context_id:uuid}", opt=READER, problems=("branch_not_found",))
async def read_context(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    branch: BranchQuery = None,
    at_version: AtVersionQuery = None,
    at_position: AtPositionQuery = None,
    at_time: AtTimeQuery = None,
    at_message: AtMessageQuery = None,
) -> Answer[ContextAnswer]:
    """A context, now or as of any moment: metadata, state, branches, open streams, the ids of a branch.

    The ETag is its version. With `If-None-Match` an unchanged context answers 304, without a body.
    """
    context = access.context(context_id)
    at = moment(at_version, at_position, at_time, at_message)
    queries, least = access.log.queries, at_least(request.headers)
    state = await queries.context(context.id, at, at_least=least)
    if is_known(request.headers, state.version):
        return Answer(
            cast("ContextAnswer", None), position=access.position, etag=state.version, status_code=304
        )
    branch = branch or state.active_branch
    then = AtVersion(state.version)  # also where now was asked for: more may have come since
    ids: list[UUID] = []
    cursor: str | None = None
    while not ids or (cursor is not None and len(ids) < PATH_MESSAGES_MAX):
        path = await queries.messages(
            context.id, branch=branch, last=IDS_AT_ONCE, before=cursor, moment=then, at_least=least
        )
        await anyio.lowlevel.checkpoint()
        ids[:0] = [entry.id for entry in path.items]
        cursor = path.next_cursor
        if not path.items:
            break
    answer = ContextAnswer(**msgspec.structs.asdict(state), branch=branch, message_ids=ids)
    return Answer(answer, position=access.position, etag=state.version)


@patch("/contexts/{context_id:uuid}", opt=WRITER, problems=("context_metadata_too_large",))
async def patch_context(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    data: JSONBody[PatchContext],
) -> Answer[Written]:
    """Change title, config, attributes or tags by an RFC 7396 merge patch."""
    return await access.append(request.headers, context_id, ContextUpdated(data.changes()))


@delete("/contexts/{context_id:uuid}", opt=WRITER, status_code=200)
async def delete_context(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    reason: Annotated[
        str | None, QueryParameter(max_length=1_000, description="Why; it is kept in the log.")
    ] = None,
) -> Answer[Written]:
    """Tombstone a context: it takes no more events, and its history stays readable."""
    return await access.append(request.headers, context_id, ContextDeleted(reason))


@put("/contexts/{context_id:uuid}/state", opt=WRITER)
async def put_state(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    data: JSONBody[PutState],
) -> Answer[Written]:
    """Record the application's own state."""
    return await access.append(request.headers, context_id, StateChanged(data.state, data.detail))


@post("/contexts/{context_id:uuid}/fork", opt=WRITER, status_code=201, problems=OF_MOMENTS)
async def fork_context(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    data: JSONBody[Fork],
) -> Answer[Written]:
    """Make a new context that shares this one's history up to a moment, by reference.

    To go on from a moment in the same context, `PUT` a branch with that moment. `If-Match` is about the
    context that is forked.
    """
    key, moment, source = commit_id(request.headers), data.moment(), access.context(context_id)
    forked = new_id(key, str(context_id))
    first = access.forked_version(forked)
    if first is None:
        now = await source.state()
        _check_version(expected_version(request.headers), now)
        first = now.version
    state = await source.state(AtVersion(first) if moment is NOW else moment)  # a repeat's now was then
    committed = await access.log.store.append(
        forked, fork_events(state, title=data.title), expected_version=NO_CONTEXT, commit_id=key
    )
    return written(forked, committed, location=f"/api/contexts/{forked}", status_code=201)


def _check_version(expected: ExpectedVersion, now: ContextState) -> None:
    if isinstance(expected, int) and expected != now.version:
        raise WrongExpectedVersion(
            "wrong_expected_version",
            f"expected version {expected}, the context has {now.version}",
            context_id=now.id,
            expected=expected,
            actual=now.version,
        )


ROUTES = [
    create_context,
    list_contexts,
    read_context,
    patch_context,
    delete_context,
    put_state,
    fork_context,
]
