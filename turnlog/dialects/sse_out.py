"""Events -> the bytes of a server-sent event stream (WHATWG HTML, section 9.2); ``sse.py`` reads them back.

    id: 12                        the sequence after which a reader that comes back goes on
    event: content_block_delta
    data: {"index": 0, ...}       a data line for each line of the data; an empty line ends the event

Two habits, because OpenAI's client takes an empty line for an event, once an id was seen, and fails on it:
a comment stands in a line alone (``KEEP_ALIVE``), and ``retry:`` belongs to an event that has data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from turnlog.dialects.rendering import Event

MEDIA_TYPE: Final = "text/event-stream"

KEEP_ALIVE: Final = b": keep-alive\n"
"""A comment between two events."""

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


def frame(event: Event, sequence: int | None = None) -> bytes:
    """An event's bytes. Data is given back by any decoder as it was, but for carriage returns.

    Those cannot be said in this format: CR and CRLF come out as LF. ``sequence`` is the event's id.
    """
    data = event.data
    if event.framed:
        return data
    if b"\n" in data or b"\r" in data:
        data = _LINE_END.sub(b"\ndata: ", data)
    data = b"data: %b\n\n" % data
    if event.name is not None:
        data = b"event: %b\n%b" % (event.name.encode(), data)
    return data if sequence is None else b"id: %d\n%b" % (sequence, data)


def retry(ms: int) -> bytes:
    """How long a client waits before it comes back: a line that belongs to the event that follows."""
    return b"retry: %d\n" % ms


def frames(events: Sequence[Event], sequence: int, before: int | None = None) -> bytes:
    """The bytes of all events of one chunk, or of whatever else belongs together.

    Only the last has ``sequence`` as its id, those before it what the reader had ``before``, one less unless
    given: a reader that is cut off between two of them must not miss the rest.
    """
    if len(events) == 1:
        return frame(events[0], sequence)
    last, before = len(events) - 1, sequence - 1 if before is None else before
    return b"".join(frame(event, sequence if n == last else before) for n, event in enumerate(events))
