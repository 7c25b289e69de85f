"""What describes the service: its OpenAPI document, and a page that shows it to people."""

from __future__ import annotations

from typing import Any, Final

from anyio import to_thread
from litestar import Request, Response, get

from turnlog.service.access import OPEN

OPENAPI: Final = "application/vnd.oai.openapi+json"
HTML: Final = "text/html"


@get("/schema/openapi.json", opt=OPEN, status_code=200)
async def read_openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    """This document, whoever asks."""
    document = await to_thread.run_sync(lambda: request.app.state.described.document)
    return Response(document, media_type=OPENAPI)


@get("/schema", opt=OPEN, status_code=200)
async def read_schema(request: Request[Any, Any, Any]) -> Response[bytes]:
    """This document, or to a browser a page that shows it."""
    described: Any = request.app.state.described
    if HTML in request.headers.get("accept", ""):
        headers = {"Content-Security-Policy": described.page_policy, "Vary": "Accept"}
        page = await to_thread.run_sync(lambda: described.page)
        return Response(page, media_type=HTML, headers=headers)
    document = await to_thread.run_sync(lambda: described.document)
    return Response(document, media_type=OPENAPI, headers={"Vary": "Accept"})


ROUTES = [read_schema, read_openapi]
