"""The examples of the document, told to a service one after the other.

``python tests/service/story.py`` records the answers as the document's examples.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from serving import Served, serving

import turnlog.service.schema.examples as told
from turnlog.service.bodies import NDJSON
from turnlog.service.event_stream import SSE
from turnlog.service.schema.operations import OPERATIONS

ANSWERS: Final = Path(told.__file__).with_name("answers.json")

FOREVER: Final = {"follow_context": 9, "follow_contexts": 9}
"""Responses without an end, and how many events of theirs are read."""

UNRECORDED: Final = frozenset({"read_schema", "read_openapi", "read_metrics", "read_stats"})
"""Answers that are long, or about the machine."""


async def document_of(served: Served) -> dict[str, Any]:
    """What the service says of itself."""
    return (await served.client.get("/schema/openapi.json")).json()


async def tell(served: Served, name: str, document: dict[str, Any], **more: Any) -> httpx.Response:
    """Ask an operation as its example does. ``more`` is for httpx."""
    path, method, _ = find(document, name)
    example = told.example(name)
    inside = {key: value for key, value in example.parameters.items() if f"{{{key}}}" in path}
    query = {key: _text(value) for key, value in example.parameters.items() if key not in inside}
    if example.body is not None:
        body = example.body
        more["content"] = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
        more["headers"] = {"content-type": example.media_type} | more.get("headers", {})
    request = served.client.build_request(method, path.format(**inside), params=query, **more)
    response = await served.client.send(request, stream=True)
    if name in FOREVER and response.is_success:
        read = b""
        async for data in response.aiter_bytes():
            read += data
            if read.count(b"\n\n") >= FOREVER[name]:
                break
        response._content = read  # pyright: ignore[reportPrivateUsage] -- what was read of an endless one
        await response.aclose()
    else:
        await response.aread()
        await response.aclose()
    return response


def find(document: dict[str, Any], name: str) -> tuple[str, str, dict[str, Any]]:
    """Path, method and description of an operation, by the name of its handler."""
    camel = name.title().replace("_", "")
    wanted = camel[0].lower() + camel[1:]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["operationId"] == wanted:
                return path, method.upper(), operation
    raise AssertionError(f"{name} is not in the document")


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


async def record() -> None:
    """Write the answers of the story."""
    answers: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as data:
        async with serving(Path(data) / "data") as served:
            document = await document_of(served)
            for name in OPERATIONS:
                response = await tell(served, name, document)
                assert response.is_success, (name, response.text)
                if name in UNRECORDED:
                    continue
                kind = response.headers["content-type"].partition(";")[0]
                whole = response.text if kind in (SSE, NDJSON) else response.json()
                answers[name] = {kind: whole}
    ANSWERS.write_bytes(msgspec.json.format(msgspec.json.encode(answers), indent=1) + b"\n")


if __name__ == "__main__":
    asyncio.run(record())
