"""Bodies of requests: JSON whole, or MessagePack where a route takes it; or as they come, where they go on.

A browser sends a form or plain text to another origin without asking, but JSON only after a preflight: that
the type is checked keeps a foreign page from writing to a service on the reader's own machine, should it get
past the gate.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException

from eventstore.errors import Refused
from turnlog.service.access import Access
from turnlog.service.choices import allowed
from turnlog.service.decoding import decode, too_deep
from turnlog.service.settings import Limits

MSGPACK: Final[dict[str, Any]] = {"msgpack": True}
"""In the ``opt`` of a route: its body may be MessagePack."""

NDJSON_TOO: Final[dict[str, Any]] = {"ndjson": True}
"""The same for lines of JSON, which such a route reads itself."""

JSON_TYPES: Final = ("application/json", "application/merge-patch+json")
NDJSON: Final = "application/x-ndjson"
MSGPACK_TYPES: Final = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")

UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, ValueError, TypeError, OverflowError)
"""What decoding a body may raise, or encoding again as JSON what MessagePack alone can say."""

T = TypeVar("T")

_MEMBER: Final = re.compile(r"Object (?:missing required|contains unknown) field `(.+)`", re.DOTALL)
"""What msgspec says of an object, naming its member in the message alone."""


def media_type(headers: Mapping[str, str]) -> str:
    """What a body says that it is, without parameters; empty where it says nothing."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


class TypedRequest(Request[Any, Any, Any]):
    """A request whose body says what it is, and has an end."""

    _taken: bytes | None = None

    async def body(self) -> bytes:
        """All of it. Raises ``Refused``: ``body_too_large`` before it is all there, or what ends its key."""
        if self._taken is None:
            limits: Limits = self.state.limits
            self._taken = await self._whole(limits.body_bytes_max)
            access: Access | None = self.scope["state"].get("access")
            if access is not None:
                access.check_key()
        return self._taken

    async def json(self) -> Any:
        """The decoded body. Raises ``Refused`` (``unsupported_media_type``, ``nested_too_deeply``)."""
        kind = media_type(self.headers)
        takes = JSON_TYPES + (MSGPACK_TYPES if self.route_handler.opt.get("msgpack") else ())
        if kind not in takes:
            takes += (NDJSON,) if self.route_handler.opt.get("ndjson") else ()
            raise Refused(
                "unsupported_media_type",
                f"the body is {kind or 'of no type'}; this route takes {', '.join(takes)}",
                takes=list(takes),
            )
        limits: Limits = self.state.limits
        return await decoded(await self.body(), limits.json_depth_max, packed=kind in MSGPACK_TYPES)

    async def _whole(self, most: int) -> bytes:
        """The body, which is JSON or MessagePack, and in memory: it has an end, also where lines go on."""
        body = bytearray()
        if (self.content_length or 0) <= most:
            try:
                async for data in self.stream():
                    body += data
                    if len(body) > most:
                        break
                else:
                    return bytes(body)
            except InternalServerException:  # Litestar's word for a client that goes away
                raise Refused("invalid_request", "the body ends before its end") from None
        raise Refused("body_too_large", f"the body is more than {most} bytes", limit=most)


async def decoded(body: bytes, most: int, *, packed: bool) -> Any:
    """A body as any value. Raises ``Refused`` (``invalid_request``, ``nested_too_deeply``)."""
    try:
        return await decode(body, most, packed=packed)
    except RecursionError:
        raise too_deep(most) from None
    except UNREADABLE as error:
        errors = [{"path": "body", "message": str(error)}]
        raise Refused("invalid_request", f"the body cannot be read: {error}", errors=errors) from None


def fitted(given: Any, shape: type[T]) -> T:
    """What was decoded, as what it should be. Raises ``Refused`` (``invalid_request``), naming the place."""
    try:
        return msgspec.convert(given, shape)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        place = place.removesuffix("`")
        fault = named(f"body{place}", message + allowed(shape, place, message))
        detail = f"{fault['path']}: {fault['message']}"
        raise Refused("invalid_request", detail, errors=[fault]) from None


def named(path: str, message: str) -> dict[str, str]:
    """What is wrong with a body, as ``errors`` has it: down to the member."""
    if member := _MEMBER.fullmatch(message):
        path = f"{path}.{member[1]}"
    return {"path": path, "message": message}


async def arriving(
    request: Request[Any, Any, Any], nothing: Refused | None = None
) -> AsyncGenerator[bytes, None]:
    """A long body as it comes, as far as it comes: a client that goes away is no error, it ends there.

    Raises ``nothing``, if given, when a body is over and held no more than white space.
    """
    blank = True
    async with aclosing(request.stream()) as body:
        try:
            async for data in body:
                blank = blank and not data.strip()
                yield data
        except InternalServerException:  # Litestar's word for that
            return
    if blank and nothing is not None:
        raise nothing
