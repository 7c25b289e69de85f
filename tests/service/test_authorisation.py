"""Who may use which route: every route times everybody who may ask."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from every_route import GOES_ON, ROWS, Ask, Place, Row, declared, nowhere, place_in
from litestar import Litestar, Router, get
from serving import Served, new_key, serving

from eventstore.errors import CODES
from eventstore.events import BranchMoved
from eventstore.units import wall_clock_us
from turnlog.service.access import guard, require_scopes
from turnlog.service.key_file import create_key, revoke_key
from turnlog.service.keys import ROLES, KeyRole

OURS: Final = "ours"
HOUR_US: Final = 3_600_000_000

CALLERS: Final[dict[str, tuple[str | None, KeyRole] | None]] = {
    "no key": None,
    "wrong": None,
    "expired": None,
    "revoked": None,
    "admin elsewhere": ("theirs", "admin"),
    "reader": (OURS, "reader"),
    "writer": (OURS, "writer"),
    "admin": (OURS, "admin"),
    "reader of all": (None, "reader"),
    "writer of all": (None, "writer"),
    "admin of all": (None, "admin"),
}
"""Whoever may ask: the workspace and the role of their key, if it is one that opens anything."""

REFUSED: Final = {
    "no key": "key_missing",
    "wrong": "key_invalid",
    "expired": "key_expired",
    "revoked": "key_revoked",
}


def key_of(directory: Path, caller: str) -> str | None:
    """The text that a caller sends."""
    now, held = wall_clock_us(), CALLERS[caller]
    if held is not None:
        workspace, role = held
        return new_key(directory, role, workspace)[1]
    if caller == "no key":
        new_key(directory)  # there is one, but it is not the caller's
        return None
    then = now - 2 * HOUR_US
    expires_at = now - HOUR_US if caller == "expired" else None
    key, text = create_key(
        directory, name=caller, workspace=None, role="admin", expires_at=expires_at, now=then
    )
    if caller == "revoked":
        revoke_key(directory, key.id, now)
    return text[:-1] + "!" if caller == "wrong" else text


def expected(row: Row, caller: str) -> str:
    """What becomes of a request: the code of its refusal, or ``ok``."""
    if row.scope == "open":
        return "ok"
    held = CALLERS[caller]
    if held is None:
        return REFUSED[caller]
    workspace, role = held
    if ROLES.index(role) < ROLES.index(row.scope):
        return "role_too_low"
    if row.about == "whole" and workspace is not None:
        return "workspace_not_allowed"
    return "not_found" if row.about == "one" and workspace not in (None, OURS) else "ok"


async def answer(client: httpx.AsyncClient, method: str, ask: Ask) -> tuple[httpx.Response, str]:
    """The answer and its text; of one that goes on, its beginning."""
    headers = {} if ask.body is None and ask.content is None else {"content-type": ask.content_type}
    body: dict[str, Any] = {"content": ask.content} if ask.body is None else {"json": ask.body}
    async with client.stream(method, ask.path, headers=headers, **body) as response:
        if response.is_success and response.headers.get("content-type", "").startswith(GOES_ON):
            return response, ""
        return response, (await response.aread()).decode()


async def outcome(served: Served, route: str, ask: Ask) -> str:
    """What becomes of it; whoever is refused has written nothing."""
    before = served.service.log.store.acknowledged
    response, text = await answer(served.client, route.partition(" ")[0], ask)
    if response.is_success:
        assert response.status_code == ask.status, (route, text)
        return "ok"
    assert served.service.log.store.acknowledged == before
    code = response.json()["code"]
    assert response.status_code == CODES[code].status
    assert response.headers["content-type"] == "application/problem+json"
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)
    return "not_found" if response.status_code == 404 else code


@pytest.fixture
async def ours(data_dir: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Served]:
    """A service that is asked with the key of a caller, the test's parameter."""
    async with serving(data_dir, key=key_of(data_dir, request.param)) as service:
        yield service


@pytest.mark.parametrize(("ours", "caller"), [(caller, caller) for caller in CALLERS], indirect=["ours"])
async def test_every_route_lets_in_whom_it_should(ours: Served, caller: str) -> None:
    found = {route: await outcome(ours, route, row.ask(await prepared(ours))) for route, row in ROWS.items()}
    assert found == {route: expected(row, caller) for route, row in ROWS.items()}


async def prepared(served: Served) -> Place:
    """Something of ours, with a branch to spare."""
    place = await place_in(served, OURS)
    await served.service.log.store.append(place.context, [BranchMoved("spare", place.message)])
    return place


@pytest.mark.parametrize("ours", ["admin elsewhere"], indirect=True)
async def test_what_is_elsewhere_is_told_as_what_is_not(ours: Served) -> None:
    for route, row in ROWS.items():
        if row.about == "one":
            method = route.partition(" ")[0]
            there, absent = await prepared(ours), nowhere()
            _, text = await answer(ours.client, method, row.ask(there))
            _, other = await answer(ours.client, method, row.ask(absent))
            assert there.named(text) == absent.named(other), route


async def test_every_route_has_its_row(served: Served) -> None:
    found = {
        name: (handler.opt["scope"], handler.opt.get("whole", False))
        for name, handler in declared(served).items()
        if not name.startswith("GET /schema")
    }
    assert found == {
        name: (row.scope, row.about == "whole" and row.scope != "open") for name, row in ROWS.items()
    }


@pytest.mark.parametrize("ours", ["no key"], indirect=True)
async def test_the_schema_and_the_methods_of_a_path_are_open(ours: Served) -> None:
    schema = [name for name in declared(ours) if name.startswith("GET /schema")]
    assert schema == ["GET /schema", "GET /schema/openapi.json"]
    for name in schema:
        assert declared(ours)[name].opt["scope"] == "open"
        response = await ours.client.get(name.removeprefix("GET "))
        assert (response.status_code, response.json()["openapi"]) == (200, "3.1.0"), name
    place = await prepared(ours)
    for row in ROWS.values():
        response = await ours.client.options(row.ask(place).path.partition("?")[0])
        assert response.status_code == 204
        assert "OPTIONS" in response.headers["allow"]


async def test_a_route_without_a_scope_does_not_start() -> None:
    @get("/everything")
    async def everything() -> str:
        return "secrets"

    @get("/anything", opt={"scope": "everybody"})
    async def anything() -> str:
        return "secrets"

    for handler in (everything, anything):
        routes = Router("/api", route_handlers=[handler], guards=[guard])
        app = Litestar([routes], openapi_config=None, logging_config=None)
        with pytest.raises(RuntimeError, match=f"routes without a scope: /api/{handler.handler_name}"):
            require_scopes(app)
