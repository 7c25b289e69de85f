"""Commits: the whole power of the log in one route, for whoever writes much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import anyio.lowlevel
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec.structs import replace

from eventstore.commits import EXISTS, Committed, ExpectedVersion
from eventstore.errors import Refused
from eventstore.events import ContextCreated, Event
from eventstore.limits import EVENTS_AT_ONCE
from eventstore.log import context_not_found
from turnlog.service.access import WRITER, Access
from turnlog.service.answers import Answer, Written, written
from turnlog.service.bodies import MSGPACK
from turnlog.service.conditions import commit_id, expected_version
from turnlog.service.requests import AppendCommit
from turnlog.service.routes.contexts import OF_ADDING
from turnlog.service.settings import Limits
from turnlog.service.strict import event


@post(
    "/commits",
    opt=WRITER | MSGPACK,
    status_code=201,
    problems=(
        "context_not_found",
        "empty_commit",
        "commit_too_large",
        "metadata_too_large",
        "invalid_argument",
        "workspace_not_allowed",
        "context_metadata_too_large",
        "fork_source_not_found",
        "message_exists",
        "message_not_found",
        "branch_not_found",
        "branch_active",
        "head_not_found",
        "previous_head_differs",
        "stream_not_found",
        "stream_not_open",
        "stream_finalized",
        "sequence_gap",
        "chunk_conflict",
        "producer_fenced",
        "epoch_not_higher",
        *OF_ADDING,
    ),
)
async def append_commit(
    access: NamedDependency[Access], request: Request[Any, Any, Any], data: JSONBody[AppendCommit]
) -> Answer[Written]:
    """Append the events of one commit to a context: all of them become visible, or none.

    The body is JSON, or MessagePack (`application/msgpack`) of the same shape. A repeat with the same
    `commit_id` gives the first outcome and writes nothing, for ever.
    """
    limits: Limits = request.state.limits
    committed = await append(access, request.headers, data, limits.commit_events_max)
    return written(data.context_id, committed)


async def append(
    access: Access, headers: Mapping[str, str], data: AppendCommit, events_max: int
) -> Committed:
    """What the route does, however it was reached."""
    if len(data.events) > events_max:
        raise Refused("commit_too_large", f"a commit has at most {events_max} events", limit=events_max)
    expected, key = _expected(headers, data), commit_id(headers)
    events: list[Event] = []
    for given in data.events:
        events.append(event(given))
        if len(events) % EVENTS_AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()
    if not access.sees(data.context_id):
        events = _creating(access, data.context_id, events)
    access.check_room()
    return await access.log.store.append(
        data.context_id,
        events,
        expected_version=expected,
        commit_id=data.commit_id or key,
        metadata=data.metadata,
        epoch=data.epoch,
    )


def _expected(headers: Mapping[str, str], data: AppendCommit) -> ExpectedVersion:
    """The body's, or that of the headers."""
    of_headers = expected_version(headers)
    match data.expected_version:
        case "any":
            return of_headers
        case "exists":
            return EXISTS
        case version:
            return version


def _creating(access: Access, context_id: UUID, events: list[Event]) -> list[Event]:
    """The events of a commit that creates its context, in the key's workspace.

    Any other commit is for a context that there is not, or that the key does not see.
    """
    created = events[0] if events else None
    if not isinstance(created, ContextCreated):
        if not events:
            raise Refused("empty_commit", "an append needs at least one event")
        raise context_not_found(context_id)
    access.check_free(context_id)
    if created.forked_from is not None:
        access.context(created.forked_from.context_id)
    asked = None if created.workspace == "default" else created.workspace
    return [replace(created, workspace=access.workspace_for(asked)), *events[1:]]


ROUTES = [append_commit]
