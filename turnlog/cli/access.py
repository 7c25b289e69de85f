"""Opening the data directory for a verb: to write it, or to read it without standing in a writer's way."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import turnlog
from eventstore.errors import Unavailable
from turnlog.cli.options import Options
from turnlog.cli.output import Output
from turnlog.cli.waiting import wait_for_views
from turnlog.facade import Turnlog


@asynccontextmanager
async def writing(options: Options, output: Output, *, create: bool = False) -> AsyncGenerator[Turnlog]:
    """The directory, opened by the one process that writes; its views are up to date when it ends well.

    Raises ``Unavailable`` with code ``writer_locked`` and the other's ``pid``, or ``NotFound`` with code
    ``directory_not_found`` unless it may be created.
    """
    async with _open(options, read_only=False, create=create) as log:
        yield log
        with suppress(Unavailable):  # what was written is written, whatever a view makes of it
            await wait_for_views(log, output)


@asynccontextmanager
async def reading(options: Options, output: Output) -> AsyncGenerator[Turnlog]:
    """The directory, opened read-only, with views that are up to date if any process can bring them there.

    Where the views lag and nobody writes, this process becomes the writer for as long as they catch up.
    Raises ``NotFound`` with code ``directory_not_found``; nothing is created.
    """
    async with _open(options, read_only=True) as log:
        if not _lags(log):
            yield log
            return
    try:
        async with writing(options, output):
            pass
    except Unavailable:
        pass  # another process writes, or nobody can: what there is may be read, and queries say if it lags
    async with _open(options, read_only=True) as log:
        yield log


def reading_as_it_is(options: Options) -> AbstractAsyncContextManager[Turnlog]:
    """The directory, opened read-only, however far its views lag. Raises as ``reading``."""
    return _open(options, read_only=True)


def _open(options: Options, *, read_only: bool, create: bool = False) -> AbstractAsyncContextManager[Turnlog]:
    return turnlog.open(
        options.data,
        read_only=read_only,
        create=create,
        projections=options.projection,
        allow_unsafe_file_system=options.allow_unsafe_file_system,
    )


def _lags(log: Turnlog) -> bool:
    return any(
        projection.lag_positions > 0 and projection.state in ("live", "building")
        for projection in log.runner.status().projections
    )
