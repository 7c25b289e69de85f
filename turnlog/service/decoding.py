"""Decoding what clients send: bounded in depth, and a long body in pieces.

A decoder holds the interpreter's lock from its beginning to its end, and the event loop with it, whatever
thread it is on. So a long body is decoded on another thread, some of its values at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import anyio.to_thread
import msgspec

from eventstore.errors import Refused
from eventstore.portions import portions

LONG_BYTES: Final = 256 * 1024
"""A body up to this is decoded at once, in a millisecond or two."""

_PIECE_BYTES: Final = 32 * 1024
"""What of a long one is decoded at once, but for a longer single value."""

_BLANKS: Final = b" \t\n\r"
"""What JSON takes for blank: less than Python does."""

_LEVELS: Final = 3
"""Lists and objects that are opened for their values: each is passed over once before."""

_ROUND: Final = bytes.maketrans(b"[]{}", b"()()")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""Also one that does not end: were it left alone, each quote inside of it would be tried as a beginning."""

_FAULTS: Final = (msgspec.MsgspecError, ValueError)


class _Form(NamedTuple):
    """A form that bodies have: how all of it is decoded, or some items of a list, and what is opened.

    Lists and objects are known by their first byte.
    """

    whole: Callable[[bytes, int], Any]
    some: Callable[[list[msgspec.Raw], int], list[Any]]
    lists: frozenset[int]
    items: Callable[[bytes], list[msgspec.Raw]]
    objects: frozenset[int]
    members: Callable[[bytes], dict[str, msgspec.Raw]]


async def decode(body: bytes, most: int, *, packed: bool) -> Any:
    """The value of JSON, or of MessagePack if it is ``packed``, whose lists and objects nest up to ``most``.

    Raises ``Refused`` (``nested_too_deeply``), and as msgspec does.
    """
    form = _MSGPACK if packed else _JSON
    if len(body) <= LONG_BYTES:
        return form.whole(body, most)
    return await anyio.to_thread.run_sync(_long, body, most, form)


def check_depth(body: bytes, most: int) -> None:
    """Raise ``Refused`` (``nested_too_deeply``) for JSON whose lists and objects nest deeper than that.

    Without decoding it: of nothing but brackets, each look removes the innermost. Those inside of strings
    are taken along until they make a difference. Brackets that do not match are left to the decoder.
    """
    if body.count(b"[") + body.count(b"{") <= most:
        return  # nearly always
    brackets = body.translate(_ROUND, _NO_BRACKETS)
    for quotes_removed in (False, True):
        if quotes_removed:
            brackets = _STRINGS.sub(b"", body).translate(_ROUND, _NO_BRACKETS)
        for _ in range(most):
            if not brackets:
                return
            brackets = brackets.replace(b"()", b"")
    if b"()" in brackets:  # otherwise they do not match, which the decoder says better
        raise too_deep(most)


def too_deep(most: int) -> Refused:
    """The refusal of what nests deeper than that."""
    return Refused("nested_too_deeply", f"the body nests deeper than {most}", limit=most)


def _long(body: bytes, most: int, form: _Form) -> Any:
    try:
        return _opened(body.lstrip(_BLANKS) if form is _JSON else body, most, form, _LEVELS)
    except Refused:
        raise too_deep(most) from None  # of the body, not of what was inside
    except _FAULTS:
        return form.whole(body, most)  # names may be no text; and it says where a fault is


def _opened(text: bytes, most: int, form: _Form, levels: int) -> Any:
    """A value, of which lists and objects are opened while they are long and there are ``levels``."""
    if most and levels and len(text) > _PIECE_BYTES:
        if text[0] in form.lists:
            return list(_items(form.items(text), most - 1, form, levels - 1))
        if text[0] in form.objects:
            members = form.members(text)
            return {name: _opened(bytes(one), most - 1, form, levels - 1) for name, one in members.items()}
    return form.whole(text, most)


def _items(items: list[msgspec.Raw], most: int, form: _Form, levels: int) -> Iterator[Any]:
    for some in pieces(items):
        if len(some) == 1:
            yield _opened(bytes(some[0]), most, form, levels)
        else:
            yield from form.some(some, most)


def pieces(items: list[msgspec.Raw]) -> Iterator[list[msgspec.Raw]]:
    """Items of a list, those together that are decoded at once; a long one is alone."""
    return portions(items, lambda one: memoryview(one).nbytes, _PIECE_BYTES)


def _json(text: bytes, most: int) -> Any:
    check_depth(text, most)
    return msgspec.json.decode(text)


def _jsons(items: list[msgspec.Raw], most: int) -> list[Any]:
    return _json(listed(items), most + 1)


def listed(items: list[msgspec.Raw]) -> bytes:
    """Items as the JSON of a list."""
    return b"[%b]" % b",".join(items)


def _msgpack(text: bytes, most: int) -> Any:
    value = msgspec.msgpack.decode(text)
    check_depth(msgspec.json.encode(value), most)
    return value


def _msgpacks(items: list[msgspec.Raw], most: int) -> list[Any]:
    return [_msgpack(bytes(one), most) for one in items]


_JSON: Final = _Form(
    _json,
    _jsons,
    frozenset(b"["),
    msgspec.json.Decoder(list[msgspec.Raw]).decode,
    frozenset(b"{"),
    msgspec.json.Decoder(dict[str, msgspec.Raw]).decode,
)

_MSGPACK: Final = _Form(
    _msgpack,
    _msgpacks,
    frozenset((*range(0x90, 0xA0), 0xDC, 0xDD)),
    msgspec.msgpack.Decoder(list[msgspec.Raw]).decode,
    frozenset((*range(0x80, 0x90), 0xDE, 0xDF)),
    msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode,
)
"""Its first bytes are those of arrays and maps, https://github.com/msgpack/msgpack/blob/master/spec.md."""
