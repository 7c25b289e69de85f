"""How a context's metadata differs between two moments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import msgspec
from msgspec import UNSET, UnsetType

from eventstore.content import Json
from eventstore.metadata import Metadata


class FieldChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One value that differs. ``path`` is a JSON pointer; a side on which nothing is there is left out."""

    path: str
    before: Json | UnsetType = UNSET
    after: Json | UnsetType = UNSET


def changes_between(before: Metadata, after: Metadata) -> list[FieldChange]:
    """What differs, object members one by one, in order of path."""
    a, b = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    return sorted(_differences("", a, b), key=lambda change: change.path)


def _differences(path: str, before: Json, after: Json) -> Iterator[FieldChange]:
    if isinstance(before, dict) and isinstance(after, dict):
        a, b = cast("dict[str, Json]", before), cast("dict[str, Json]", after)
        for name in a.keys() | b.keys():
            member = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            yield from _differences(member, a.get(name, UNSET), b.get(name, UNSET))
    elif not same_json(before, after):
        yield FieldChange(path, cast("Json", before), after)


def same_json(a: Json, b: Json) -> bool:
    """Whether two values are one JSON value: Python says that True is 1, JSON does not."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(cast("list[Json]", a)) == len(b) and all(map(same_json, cast("list[Json]", a), b))
    if isinstance(a, dict):
        items = cast("dict[str, Json]", a)
        return items.keys() == b.keys() and all(same_json(items[name], b[name]) for name in items)
    return bool(a == b)
