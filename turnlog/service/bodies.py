"""Bodies of requests: JSON, or MessagePack where a route takes it; nothing else.

A browser sends a form or plain text to another origin without asking, but JSON only after a preflight: that
the type is checked keeps a foreign page from writing to a service on the reader's own machine.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request

from eventstore.errors import Refused

MSGPACK: Final[dict[str, Any]] = {"msgpack": True}
"""In the ``opt`` of a route: its body may be MessagePack."""

_JSON: Final = ("application/json", "application/merge-patch+json")
_MSGPACK: Final = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")


class TypedRequest(Request[Any, Any, Any]):
    """A request whose body says what it is."""

    async def json(self) -> Any:
        """The decoded body. Raises ``Refused`` (``unsupported_media_type``, ``nested_too_deeply``)."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        takes = _JSON + (_MSGPACK if self.route_handler.opt.get("msgpack") else ())
        if kind not in takes:
            raise Refused(
                "unsupported_media_type",
                f"the body is {kind or 'of no type'}; this route takes {', '.join(takes)}",
                takes=list(takes),
            )
        try:
            if kind in _MSGPACK:
                return msgspec.msgpack.decode(await self.body())
            return msgspec.json.decode(await self.body())
        except RecursionError:
            raise Refused("nested_too_deeply", "the body nests too deeply") from None
        except (msgspec.MsgspecError, UnicodeError, OverflowError, ValueError) as error:
            raise Refused("invalid_request", f"the body cannot be read: {error}") from None
