"""The lines of a Turnlog NDJSON file, each read exactly or reported: nothing in a line is dropped unseen."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from hashlib import sha256
from typing import IO, Any, Final, NamedTuple, NoReturn
from uuid import UUID

import msgspec

from eventstore.events import BIT_OF_TAG
from eventstore.upcasters import Chain
from turnlog.importers.source.files import Source, Unreadable
from turnlog.ndjson import FORMAT, End, Header, Line, encode, unknown_members

LINE_BYTES_MAX: Final = 128 * 1024 * 1024
"""Bytes of a line, and of a commit's lines together. A commit's body of 16 MiB is at most six times as long
in JSON, where each character may be escaped."""

_HEADER_BYTES_MAX: Final = 1_024
"""Bytes of a first line, ours or not."""

_lines: Final = msgspec.json.Decoder(Line)
_ends: Final = msgspec.json.Decoder(End)
_headers: Final = msgspec.json.Decoder(Header)
_COMMIT: Final = re.compile(rb'^\{\s*"commit"\s*:\s*(\d{1,18})\b')
_CONTEXT: Final = re.compile(rb'^[^{]*\{\s*"commit"\s*:\s*\d+\s*,\s*"context_id"\s*:\s*"([0-9a-fA-F-]{36})"')


class Bad(NamedTuple):
    """A line that is not replayed, or what is wrong with the whole file (``number`` is None).

    ``commit`` and ``context_id`` are what it still says of where it belongs.
    """

    number: int | None
    code: str
    reason: str
    commit: int | None = None
    context_id: UUID | None = None


def is_ours(source: Source, name: str) -> bool:
    """Whether a file begins with our first line, of whatever format."""
    try:
        with opened(source, name) as file:
            return _headers.decode(file.readline(_HEADER_BYTES_MAX)).turnlog == "events"
    except (Unreadable, OSError, msgspec.MsgspecError, UnicodeError, RecursionError):
        return False


def opened(source: Source, name: str) -> IO[bytes]:
    """A regular file of the source, open for reading. Raises ``Unreadable`` or ``OSError``."""
    descriptor = os.open(source.path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise Unreadable(name, "not_a_file", "it is no regular file")
    return file


def read(file: IO[bytes], upcasters: Chain) -> Iterator[tuple[int, Line, int] | Bad]:
    """Each event with the number and the bytes of its line, and what is wrong, in the order of the file."""
    header = file.readline(_HEADER_BYTES_MAX)
    if (found := _headers.decode(header).format) > FORMAT:
        yield Bad(1, "format_newer", f"the file has format {found}; this Turnlog knows {FORMAT}")
        return
    digest, number, end = sha256(header), 1, None
    while raw := file.readline(LINE_BYTES_MAX):
        number += 1
        if end is not None:
            yield Bad(number, "after_end", "there is more after the last line")
            return
        if raw.startswith(b'{"end"'):
            end = raw
            continue
        digest.update(raw)
        if len(raw) == LINE_BYTES_MAX and not raw.endswith(b"\n"):
            raw = raw[:_HEADER_BYTES_MAX]
            while (more := file.readline(_HEADER_BYTES_MAX)) and not more.endswith(b"\n"):
                pass  # the rest of it is no line either, and the digest is lost with it
            yield _bad(number, raw, "line_too_long", f"a line has at most {LINE_BYTES_MAX:,} bytes")
        elif not raw.isspace():
            item = _decoded(number, raw, upcasters)
            del raw  # it may be as large as what came of it
            yield item
    if end is None:
        yield Bad(None, "file_torn", "the last line is missing: what came before it may be, too")
    else:
        yield from _check_end(number, end, digest.hexdigest())


def _check_end(number: int, end: bytes, digest: str) -> Iterator[Bad]:
    try:
        told = _ends.decode(end).end.sha256
    except (msgspec.MsgspecError, UnicodeError) as error:
        yield Bad(number, "not_a_line", str(error))
        return
    if told != digest:
        yield Bad(None, "digest_differs", "the file is not what was exported: its SHA-256 differs")


def _decoded(number: int, raw: bytes, upcasters: Chain) -> tuple[int, Line, int] | Bad:
    try:
        try:
            line = _lines.decode(raw)
        except msgspec.ValidationError:
            line = _upcast(raw, upcasters)
        # Written our way, it holds what the event holds. Else see that nothing gets lost on the way.
        ours = encode(line)
        if not raw.startswith(ours) or raw[len(ours) :] not in (b"\n", b""):
            _check_members(raw, line, upcasters)
    except _Refused as refused:
        return _bad(number, raw, refused.code, str(refused))
    except msgspec.ValidationError as error:
        return _bad(number, raw, "not_an_event", str(error))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return _bad(number, raw, "not_a_line", str(error) or type(error).__name__)
    return number, line, len(raw)


class _Refused(Exception):
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def _upcast(raw: bytes, upcasters: Chain) -> Line:
    """A line whose event has a retired tag. Its ids are text here, and times and defaults as ever."""
    document: Any = msgspec.json.decode(raw)
    try:
        event: dict[str, Any] = document["event"]
        current = upcasters.upcast(event) if event["type"] not in BIT_OF_TAG else event
    except (TypeError, KeyError):
        raise _Refused("not_a_line", "it holds no event") from None
    return msgspec.convert({**document, "event": current}, Line)


def _check_members(raw: bytes, line: Line, upcasters: Chain) -> None:
    """Refuse what would be lost or is ambiguous: members unknown or given twice, and what is no JSON."""
    document: Any = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_constant)
    event = document["event"]
    if event["type"] != line.event.__struct_config__.tag:
        event = upcasters.upcast(event)  # the chain answers for what it leaves out
    lost = unknown_members(event, line.event, "event")
    if lost:
        raise _Refused("unknown_member", f"this Turnlog does not know {', '.join(sorted(lost)[:5])}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused("duplicate_member", "an object has a member twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise _Refused("not_a_line", f"{name} is no JSON")


def _bad(number: int, raw: bytes, code: str, reason: str) -> Bad:
    head = raw[:200]
    commit, context = _COMMIT.match(head), _CONTEXT.match(head)
    try:
        context_id = None if context is None else UUID(context[1].decode())
    except ValueError:
        context_id = None
    return Bad(number, code, reason, None if commit is None else int(commit[1]), context_id)
