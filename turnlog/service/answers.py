"""Answers over HTTP: JSON as ``turnlog.shapes`` makes it, with a position and a context's version."""

from __future__ import annotations

from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from litestar import Response

from eventstore.commits import Committed
from eventstore.units import At
from turnlog.shapes import plain

T = TypeVar("T")

JSON: Final = "application/json"

POSITION_HEADER: Final = "Turnlog-Position"
"""In answers: the position that they know of. Sent back as ``Turnlog-At-Least`` it gives read-your-writes."""


MESSAGE_HEADER: Final = "Turnlog-Message-Id"
"""In the answer to a provider's stream: the message that it becomes."""


class Written(msgspec.Struct, frozen=True):
    """What an append did. ``written`` is false when all of it was there already: a repeat changes nothing."""

    context_id: UUID
    position: int
    version: int
    recorded_at: At
    written: bool
    message_id: UUID | None = None
    """Of the message or stream that was added, if one was."""


class Answer(Response[T]):
    """A struct of ours as JSON, or JSON that is there already. ``etag`` is a context's version."""

    def __init__(
        self,
        content: T,
        *,
        position: int | None = None,
        etag: int | None = None,
        location: str | None = None,
        status_code: int | None = None,
    ) -> None:
        headers: dict[str, str] = {}
        if position is not None:
            headers[POSITION_HEADER] = str(position)
        if etag is not None:
            headers["ETag"] = f'"{etag}"'
        if location is not None:
            headers["Location"] = location
        super().__init__(content, headers=headers, status_code=status_code, media_type=JSON)

    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:
        """The bytes of the body."""
        if content is None:
            return b""
        if isinstance(content, bytes):
            return content
        return msgspec.json.encode(plain(content))


def outcome(context_id: UUID, committed: Committed, message_id: UUID | None = None) -> Written:
    """What an append did."""
    return Written(
        context_id,
        committed.position,
        committed.version,
        committed.recorded_at,
        committed.written,
        message_id,
    )


def written(
    context_id: UUID,
    committed: Committed,
    message_id: UUID | None = None,
    *,
    location: str | None = None,
    status_code: int | None = None,
) -> Answer[Written]:
    """The answer to an append."""
    return Answer(
        outcome(context_id, committed, message_id),
        position=committed.position,
        etag=committed.version,
        location=location,
        status_code=status_code,
    )
