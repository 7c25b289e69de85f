"""What a member of a request may be, where it is one of some values: said with what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import inspect

_STEPS: Final = re.compile(r"\[[^\]]*\]|[^.\[]+")
"""A member or an element, in a place as msgspec gives it: ``.events[0].role``."""

_type_of: Final = lru_cache(inspect.type_info)
"""There are as many as routes have bodies and parameters; looking into the largest takes 10 ms."""


def allowed(shape: Any, place: str, message: str) -> str:
    """What to add to msgspec's ``message`` about a place in a value of the type ``shape``; mostly nothing."""
    if not message.startswith(("Invalid enum value", "Invalid value")):
        return ""
    found = list(_alternatives(_type_of(shape)))
    for step in _STEPS.findall(place):
        found = [one for kind in found for inner in _inside(kind, step) for one in _alternatives(inner)]
    values = [value for kind in found if isinstance(kind, inspect.LiteralType) for value in kind.values]
    names = [value if isinstance(value, str) else msgspec.json.encode(value).decode() for value in values]
    if any(isinstance(kind, inspect.IntType) for kind in found):
        names.append("an integer")
    one_of = "one of " if len(names) > 1 else ""
    return f"; it is {one_of}{', '.join(dict.fromkeys(names))}" if names else ""


def _alternatives(kind: inspect.Type) -> Iterator[inspect.Type]:
    """Those of a union, without what only describes them."""
    match kind:
        case inspect.UnionType():
            for one in kind.types:
                yield from _alternatives(one)
        case inspect.Metadata():
            yield from _alternatives(kind.type)
        case _:
            yield kind


def _inside(kind: inspect.Type, step: str) -> Iterator[inspect.Type]:
    match kind:
        case inspect.StructType():
            if step == kind.tag_field:
                yield inspect.LiteralType((kind.tag,))
            yield from (field.type for field in kind.fields if field.encode_name == step)
        case inspect.CollectionType() if step.startswith("["):
            yield kind.item_type
        case inspect.DictType() if step.startswith("["):
            yield kind.value_type
        case _:
            pass
