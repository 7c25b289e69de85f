"""Keeping it running: health, statistics, projections and their rebuilds."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter
from prometheus_client import CONTENT_TYPE_LATEST

from eventstore.errors import Unavailable
from eventstore.statistics import StoreStatistics
from projections.status import ProjectionStatus
from projections.totals import NAME as TOTALS
from projections.totals import Totals, totals_of
from turnlog.facade import Turnlog
from turnlog.service.access import ADMIN, OPEN, READER, WHOLE, Access
from turnlog.service.answers import Answer
from turnlog.service.conditions import at_least
from turnlog.service.health import Health, health_of
from turnlog.service.streams import Streams


class Projections(msgspec.Struct, frozen=True):
    """All projections; ``head`` is the log's."""

    head: int
    items: list[ProjectionStatus]


class Stats(msgspec.Struct, frozen=True):
    """Sizes and counts, now. ``connections``: responses that go on; ``feeds``: streams that are read live.

    ``workspaces`` and ``events``, by kind, are what the projection ``totals`` has counted so far, of what the
    key sees.
    """

    store: StoreStatistics
    workspaces: dict[str, Totals]
    events: dict[str, int]
    projections: list[ProjectionStatus]
    connections: int
    feeds: int


class Rebuilding(msgspec.Struct, frozen=True):
    """A rebuild has begun; `/api/projections` shows its progress."""

    projection: str
    head: int


class Ready(msgspec.Struct, frozen=True):
    """Requests may come."""

    ready: bool = True


@get("/projections", opt=READER | WHOLE)
async def list_projections(access: NamedDependency[Access]) -> Answer[Projections]:
    """Every projection: version, checkpoint, lag, rate, progress, failure."""
    status = access.log.runner.status()
    return Answer(Projections(status.head, list(status.projections)), position=access.position)


@post("/projections/{name:str}/rebuild", opt=ADMIN | WHOLE, status_code=202, problems=("unknown_projection",))
async def rebuild_projection(
    access: NamedDependency[Access], name: Annotated[str, PathParameter(max_length=50)]
) -> Answer[Rebuilding]:
    """Build a projection anew beside its live rows; it takes over at once when it has caught up."""
    await access.log.runner.rebuild(name)
    return Answer(
        Rebuilding(name, access.log.store.head().position), position=access.position, status_code=202
    )


@get("/stats", opt=ADMIN | WHOLE)
async def read_stats(
    access: NamedDependency[Access], request: Request[Any, Any, Any], streams: NamedDependency[Streams]
) -> Answer[Stats]:
    """Sizes by database, by workspace and by kind of event; the writer's counts, the projections.

    It waits for nothing, so that it tells how things are when they are not well. With `Turnlog-At-Least` the
    totals wait for that position.
    """
    least = at_least(request.headers)
    if least is not None:
        await access.log.runner.wait_for(least, TOTALS)
    workspaces = _totals(access)
    events: Counter[str] = Counter()
    for totals in workspaces.values():
        events.update(totals.events)
    answer = Stats(
        access.log.store.statistics(),
        workspaces,
        dict(events),
        list(access.log.runner.status().projections),
        len(streams.connections),
        len(streams.feeds),
    )
    return Answer(answer, position=access.position)


def _totals(access: Access) -> dict[str, Totals]:
    """Nothing while they are counted for the first time, which the projections tell."""
    try:
        with access.log.views.reading() as view:
            return totals_of(view)
    except Unavailable as error:
        if error.code != "views_behind":
            raise
        return {}


@get("/healthz", opt=OPEN)
async def read_health(request: Request[Any, Any, Any]) -> Answer[Health]:
    """Whether all is well: 503 when a projection is poisoned, the log read-only, or the disk low."""
    health = health_of(request.state.log, request.state.keyring)
    return Answer(health, status_code=200 if health.healthy else 503)


@get("/readyz", opt=OPEN, problems=("shutting_down", "views_behind"))
async def read_readiness(request: Request[Any, Any, Any]) -> Answer[Ready]:
    """Whether requests should come here: not while it stops, nor before its views have caught up once."""
    streams: Streams = request.state.streams
    streams.connections.check_running()
    log: Turnlog = request.state.log
    building = [p.name for p in log.runner.status().projections if p.state == "building"]
    if building:
        raise Unavailable("views_behind", f"the first build of {', '.join(building)} is under way")
    return Answer(Ready())


@get("/metrics", opt=ADMIN | WHOLE, media_type=CONTENT_TYPE_LATEST)
async def read_metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Prometheus: the log, the writer, the projections, the requests. Never labelled by context or stream."""
    return Response(request.state.metrics.render(), media_type=CONTENT_TYPE_LATEST)


API_ROUTES = [list_projections, rebuild_projection, read_stats]
ROOT_ROUTES = [read_health, read_readiness, read_metrics]
