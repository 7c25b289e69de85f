"""A context's title, config, attributes and tags: what ``context.updated`` makes of them, and their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import msgspec

from eventstore.content import Json


class Metadata(msgspec.Struct, frozen=True, array_like=True):
    """What ``context.updated`` changes."""

    title: str | None = None
    config: dict[str, Json] = {}
    attributes: dict[str, Json] = {}
    tags: list[str] = []


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Metadata)


def encode(metadata: Metadata) -> bytes:
    """Metadata as it is kept; its length is what ``limits.CONTEXT_METADATA_BYTES_MAX`` bounds."""
    return _encoder.encode(metadata)


def decode(encoded: bytes) -> Metadata:
    """What ``encode`` was given."""
    return _decoder.decode(encoded)


EMPTY: Final = encode(Metadata())


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


def updated(metadata: Metadata, changes: Mapping[str, Json]) -> Metadata:
    """The metadata after ``changes``.

    A member that is not one of the four is left out, and so is a value that its place cannot hold: a fold
    takes whatever the log holds.
    """
    document = merge_patch(msgspec.structs.asdict(metadata), dict(changes))
    title, tags = document.get("title"), document.get("tags", [])
    return Metadata(
        title if isinstance(title, str) or title is None else metadata.title,
        _object(document.get("config", {}), metadata.config),
        _object(document.get("attributes", {}), metadata.attributes),
        tags if _are_tags(tags) else metadata.tags,
    )


def _object(value: Json, otherwise: dict[str, Json]) -> dict[str, Json]:
    return cast("dict[str, Json]", value) if isinstance(value, dict) else otherwise


def _are_tags(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(tag, str) for tag in cast("list[object]", value))
