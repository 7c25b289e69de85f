"""A context's title, config, attributes and tags: what ``context.updated`` does, and how two differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import msgspec
from msgspec import UNSET, UnsetType

from eventstore.content import Json
from projections.layout import MetadataRow


def merge_patch(target: Json, patch: Json) -> Json:
    """RFC 7396: objects merge, null removes, anything else replaces. Neither argument changes."""
    if not isinstance(patch, dict):
        return patch
    merged: dict[str, Json] = dict(cast("dict[str, Json]", target)) if isinstance(target, dict) else {}
    for name, value in cast("dict[str, Json]", patch).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def updated(row: MetadataRow, changes: Mapping[str, Json]) -> MetadataRow:
    """The row after ``changes``.

    A member that is not one of the four is left out, and so is a value that its place cannot hold: a fold
    takes whatever the log holds.
    """
    document = merge_patch(msgspec.structs.asdict(row), dict(changes))
    title, tags = document.get("title"), document.get("tags", [])
    return MetadataRow(
        title if isinstance(title, str) or title is None else row.title,
        _object(document.get("config", {}), row.config),
        _object(document.get("attributes", {}), row.attributes),
        tags if _are_tags(tags) else row.tags,
    )


def _object(value: Json, otherwise: dict[str, Json]) -> dict[str, Json]:
    return cast("dict[str, Json]", value) if isinstance(value, dict) else otherwise


def _are_tags(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(tag, str) for tag in cast("list[object]", value))


class FieldChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One value that differs. ``path`` is a JSON pointer; a side on which nothing is there is left out."""

    path: str
    before: Json | UnsetType = UNSET
    after: Json | UnsetType = UNSET


def changes_between(before: MetadataRow, after: MetadataRow) -> list[FieldChange]:
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
