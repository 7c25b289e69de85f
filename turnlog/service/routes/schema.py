"""What describes the service: its OpenAPI document, and a page that shows it to people."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, get
from litestar.datastructures import State

from turnlog.service.access import OPEN

OPENAPI: Final = "application/vnd.oai.openapi+json"
HTML: Final = "text/html"


@get("/schema", opt=OPEN, status_code=200)
async def read_schema(request: Request[Any, Any, Any], state: State) -> Response[bytes]:
    """This document, or to a browser a page that shows it."""
    described: Any = state.described
    if HTML in request.headers.get("accept", ""):
        headers = {"Content-Security-Policy": described.page_policy, "Vary": "Accept"}
        return Response(described.page, media_type=HTML, headers=headers)
    return Response(described.document, media_type=OPENAPI, headers={"Vary": "Accept"})


@get("/schema/openapi.json", opt=OPEN, status_code=200)
async def read_openapi(state: State) -> Response[bytes]:
    """This document, whoever asks."""
    return Response(state.described.document, media_type=OPENAPI)


ROUTES = [read_schema, read_openapi]
