"""Who may do what: every route declares a scope, and sees only the contexts of its key's workspace.

A route gets the log as ``Access`` and no other way, so a query without a workspace cannot be written. What
belongs to another workspace does not exist for a key: it is not forbidden, it is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

import structlog
from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from eventstore.commits import Committed
from eventstore.errors import Refused, Unavailable
from eventstore.events import ContextCreated, Record
from eventstore.log import Log, context_not_found
from projections.answers import ContextState
from projections.polling import position_not_found
from projections.snapshot import message_not_found
from projections.timetravel import AtVersion
from turnlog.facade import Context, Turnlog
from turnlog.service.answers import Answer, Written, written
from turnlog.service.conditions import at_least, commit_id, expected_version
from turnlog.service.gate import Gate
from turnlog.service.keys import Key, KeyRefused, KeyRole
from turnlog.service.settings import Limits

Scope: TypeAlias = Literal["open", "reader", "writer", "admin"]
"""What a route asks for: nothing, or at least a role."""

_logger: Final = structlog.get_logger("turnlog.service")
_SCOPES: Final = frozenset(get_args(Scope))

OPEN: Final[dict[str, Any]] = {"scope": "open"}
READER: Final[dict[str, Any]] = {"scope": "reader"}
WRITER: Final[dict[str, Any]] = {"scope": "writer"}
ADMIN: Final[dict[str, Any]] = {"scope": "admin"}
"""The ``opt`` of a route."""

WHOLE: Final[dict[str, Any]] = {"whole": True}
"""Beside the scope in the ``opt`` of a route that tells of the whole store. A key of one workspace is refused
there, whatever its role: what it would learn is the others' too."""

WORKSPACES_KNOWN_MAX: Final = 100_000
"""Contexts whose workspace is remembered, about 200 bytes each; it never changes."""


def created_by(log: Log, context_id: UUID) -> ContextCreated | None:
    """The first event of a context; None when there is no such context."""
    with log.reading() as txn:
        if not log.has_context(txn, context_id):
            return None
        created = next(log.commit_of(txn, context_id, 1).events())
    assert isinstance(created, ContextCreated), "the write model lets nothing else come first"
    return created


class Workspaces:
    """The workspace of each context, from its first event."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: dict[UUID, str] = {}

    def of(self, context_id: UUID) -> str | None:
        """A context's workspace; None when there is no such context."""
        known = self._known.get(context_id)
        if known is not None:
            return known
        created = created_by(self._log, context_id)
        if created is None:
            return None
        if len(self._known) >= WORKSPACES_KNOWN_MAX:
            self._known.clear()
        self._known[context_id] = created.workspace
        return created.workspace


class Access:
    """The log as the holder of one key sees it."""

    def __init__(self, log: Turnlog, key: Key, workspaces: Workspaces, admission: Admission) -> None:
        self.log: Turnlog = log
        self.key: Key = key
        self.position: int = log.store.acknowledged
        """What every answer knows of: what was durable when it was asked for, unless less was asked for."""
        self._workspaces = workspaces
        self._admission = admission

    def check_key(self) -> None:
        """Raise ``KeyRefused`` when the key opens nothing any more: a body may come long after it."""
        self._admission.check_key(self.key)

    def check_room(self) -> None:
        """Right before an append: raise ``Unavailable`` (``overloaded``) when it would wait for too long."""
        self._admission.check_inbox()

    @property
    def workspace(self) -> str | None:
        """The one that lists are about; None: all."""
        return self.key.workspace

    def sees(self, context_id: UUID) -> bool:
        """Whether there is such a context, and in a workspace of the key's."""
        workspace = self._workspaces.of(context_id)
        return workspace is not None and self.key.sees(workspace)

    def context(self, context_id: UUID) -> Context:
        """A context. Raises ``NotFound`` (``context_not_found``)."""
        if not self.sees(context_id):
            raise context_not_found(context_id)
        return self.log.context(context_id)

    def context_of(self, message_id: UUID) -> UUID:
        """The context of a message. Raises ``NotFound`` (``message_not_found``)."""
        context_id = self.log.queries.context_of(message_id)
        if context_id is None or not self.sees(context_id):
            raise message_not_found(message_id)
        return context_id

    async def append(self, headers: Mapping[str, str], context_id: UUID, *events: Record) -> Answer[Written]:
        """Append to a context under the conditions of the request's headers."""
        context = self.context(context_id)
        self.check_room()
        committed = await context.append(
            *events, expected_version=expected_version(headers), commit_id=commit_id(headers)
        )
        return written(context_id, committed)

    async def append_from(
        self,
        headers: Mapping[str, str],
        context: Context,
        events: Callable[[ContextState], Sequence[Record]],
    ) -> Committed:
        """The same for ``events`` that follow from what the context is.

        Those of a repeat follow from what it was before the first time: either they are the same then, or it
        is another request.
        """
        expected, key = expected_version(headers), commit_id(headers)
        state = await context.state()
        self.check_room()
        try:
            return await context.append(*events(state), expected_version=expected, commit_id=key)
        except Refused as refused:
            before = self._version_before(refused)
            if not before:
                raise
        state = await context.state(AtVersion(before))
        return await context.append(*events(state), expected_version=expected, commit_id=key)

    def _version_before(self, refused: Refused) -> int | None:
        """The version of the context just before the commit that an id was first used for."""
        position = refused.fields.get("position")
        if refused.code != "commit_id_reused" or not isinstance(position, int):
            return None
        log = self.log.store.log
        with log.reading() as txn:
            return log.commit_at(txn, position).first_version - 1

    def forked_version(self, context_id: UUID) -> int | None:
        """The version that a context was forked from; None when it was not, or is not there."""
        created = created_by(self.log.store.log, context_id)
        return None if created is None or created.forked_from is None else created.forked_from.version

    def ask_for(self, position: int) -> None:
        """An answer that knows of a position. Raises ``NotFound`` where none can (``position_not_found``)."""
        if position > self.log.store.head().position:
            raise position_not_found(position)
        self.position = position

    def workspace_for(self, asked: str | None) -> str:
        """The workspace of a new context: the key's. Raises ``Refused`` (``workspace_not_allowed``)."""
        own = self.key.workspace
        if asked is not None and own not in (None, asked):
            raise Refused("workspace_not_allowed", f"the key is for workspace {own!r}", workspace=asked)
        return asked or own or "default"

    def check_free(self, context_id: UUID) -> None:
        """Raise ``Refused`` (``context_exists``) when an id is taken by a context that the key does not see.

        The log would say the same, and of which version that context is besides.
        """
        workspace = self._workspaces.of(context_id)
        if workspace is not None and not self.key.sees(workspace):
            raise Refused("context_exists", "the context exists already", context_id=context_id)


class Admission:
    """Who is let in, and to what."""

    def __init__(self, log: Turnlog, gate: Gate, limits: Limits) -> None:
        self._log = log
        self._gate = gate
        self._limits = limits
        self._workspaces = Workspaces(log.store.log)

    def admit(
        self, scope: Any, headers: Mapping[str, str], needed: KeyRole, *, whole: bool = False
    ) -> Access:
        """The log for whoever makes a request. Raises ``Refused`` or ``Unavailable`` (``overloaded``)."""
        key = self._gate.key_of(scope, headers)
        scope["state"]["key"] = key  # who asked is logged, whether or not they are let in
        key.require(needed)
        if whole and key.workspace is not None:
            raise Refused(
                "workspace_not_allowed", "this tells of all workspaces, and the key is for one of them"
            )
        if needed == "writer":
            self.check_inbox()
        return Access(self._log, key, self._workspaces, self)

    def check_key(self, key: Key) -> None:
        """Raise ``KeyRefused`` when it opens nothing any more."""
        self._gate.check_live(key)

    def check_inbox(self) -> None:
        """Refuse what would wait for the writer for too long: who waits outside costs nothing."""
        requests, size = self._log.store.waiting()
        if requests >= self._limits.inbox_requests_max or size >= self._limits.inbox_bytes_max:
            raise Unavailable(
                "overloaded", f"{requests} appends of {size} bytes wait", requests=requests, bytes=size
            )


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request through to its route, with an ``Access`` of its own, or refuse it.

    Async, or the framework would call it in a thread.
    """
    scope: Any = connection.scope
    needed: Scope = "open" if _is_generated(handler) else handler.opt["scope"]
    if needed != "open":
        admission: Admission = connection.state.admission
        whole = handler.opt.get("whole", False)
        try:
            access = admission.admit(scope, connection.headers, needed, whole=whole)
        except KeyRefused as refused:
            _logger.info("key_refused", code=refused.code, reason=refused.reason, key_id=refused.key_id)
            raise
        least = at_least(connection.headers) if needed == "reader" and scope["method"] == "GET" else None
        if least is not None:
            access.ask_for(least)
        connection.state.access = access
    connection.app.state.parameters.check(connection)


def require_scopes(app: Litestar) -> None:
    """Raise at startup for a route that does not say who may use it."""
    missing = [
        f"{route.path} {handler}"
        for route in app.routes
        for handler in _handlers(route)
        if handler.opt.get("scope") not in _SCOPES and not _is_generated(handler)
    ]
    if missing:
        raise RuntimeError(f"routes without a scope: {', '.join(missing)}")


def _is_generated(handler: BaseRouteHandler) -> bool:
    """Whether the framework made it: it answers OPTIONS with a path's methods, which the schema tells too."""
    return getattr(handler, "http_methods", ()) == {"OPTIONS"}


def _handlers(route: Any) -> Iterable[BaseRouteHandler]:
    handlers = getattr(route, "route_handlers", None)
    return handlers if handlers is not None else (route.route_handler,)
