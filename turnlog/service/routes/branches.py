"""Branches: list, create, move, switch, delete."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from litestar import Request, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET

from eventstore.errors import NotFound
from eventstore.events import BranchDeleted, BranchMoved, BranchSwitched, Record
from projections.answers import ContextState
from projections.timetravel import NOW
from turnlog.service.access import READER, WRITER, Access
from turnlog.service.answers import Answer, Written, written
from turnlog.service.conditions import at_least
from turnlog.service.requests import AtPositionQuery, AtTimeQuery, AtVersionQuery, PutBranch, moment
from turnlog.service.routes.contexts import OF_MOMENTS

NamePath: TypeAlias = Annotated[str, QueryParameter(min_length=1, max_length=100)]


class Branch(msgspec.Struct, frozen=True):
    """A name for a head message; null is an empty branch."""

    name: str
    head: UUID | None
    active: bool


class Branches(msgspec.Struct, frozen=True):
    """All of a context's."""

    items: list[Branch]


def _branch_not_found(context_id: UUID, name: str) -> NotFound:
    return NotFound("branch_not_found", f"there is no branch {name!r}", context_id=context_id, branch=name)


def _of(state: ContextState, name: str) -> Branch:
    if name not in state.branches:
        raise _branch_not_found(state.id, name)
    return Branch(name, state.branches[name], name == state.active_branch)


@get("/contexts/{context_id:uuid}/branches", opt=READER)
async def list_branches(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    at_version: AtVersionQuery = None,
    at_position: AtPositionQuery = None,
    at_time: AtTimeQuery = None,
) -> Answer[Branches]:
    """The branches of a context and their heads, now or as of a moment."""
    at = moment(at_version, at_position, at_time)
    least = at_least(request.headers)
    state = await access.log.queries.context(access.context(context_id).id, at, at_least=least)
    items = [_of(state, name) for name in sorted(state.branches)]
    return Answer(Branches(items), position=access.position, etag=state.version)


@get("/contexts/{context_id:uuid}/branches/{name:str}", opt=READER, problems=("branch_not_found",))
async def read_branch(
    access: NamedDependency[Access], context_id: FromPath[UUID], name: NamePath
) -> Answer[Branch]:
    """One branch."""
    state = await access.context(context_id).state()
    return Answer(_of(state, name), position=access.position, etag=state.version)


@put(
    "/contexts/{context_id:uuid}/branches/{name:str}",
    opt=WRITER,
    problems=("branch_not_found", "head_not_found", "previous_head_differs", *OF_MOMENTS),
)
async def put_branch(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    name: NamePath,
    data: JSONBody[PutBranch],
) -> Answer[Written]:
    """Create or move a branch, to a message or to where a branch stood at a moment; or make it active."""
    context, moment = access.context(context_id), data.moment()
    past = None if moment is NOW else await context.state(moment)

    def events(now: ContextState) -> list[Record]:
        found: list[Record] = []
        if data.moves or name not in now.branches:
            head = data.head
            if head is UNSET:
                then = past or now
                head = _of(then, data.of or then.active_branch).head
            found.append(BranchMoved(name, head, data.previous))
        if data.active or not found:
            found.append(BranchSwitched(name))
        return found

    return written(context_id, await access.append_from(request.headers, context, events))


@delete(
    "/contexts/{context_id:uuid}/branches/{name:str}",
    opt=WRITER,
    status_code=200,
    problems=("branch_not_found", "branch_active"),
)
async def delete_branch(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    name: NamePath,
) -> Answer[Written]:
    """Forget a branch's name; its messages stay."""
    return await access.append(request.headers, context_id, BranchDeleted(name))


ROUTES = [list_branches, read_branch, put_branch, delete_branch]
