"""What an append may carry before anything is encoded: free-form values must be JSON, and shallow."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from eventstore.commits import Append, Expected
from eventstore.errors import Refused
from eventstore.events import BITS, ChunkReceived, ChunkRun
from eventstore.limits import JSON_DEPTH_MAX

_SCALARS: Final = (str, int, bool, type(None))
_CHUNKS: Final = (ChunkReceived, ChunkRun)
_FREE_FIELDS: Final = ("data", "content", "detail")


def check(append: Append) -> None:
    """Refuse what is not an event, and values that would not come back as they were given.

    Raises ``Refused`` with code ``invalid_event``, ``invalid_argument``, ``nested_too_deeply`` or
    ``empty_commit``; the message names the event's index and the field.
    """
    if not append.events:
        raise Refused("empty_commit", "an append needs at least one event")
    for index, event in enumerate(append.events):
        if type(event) not in BITS:
            raise Refused("invalid_event", f"event {index} is a {type(event).__name__}, not an event")
        if type(event) not in _CHUNKS:
            _check_struct(event, f"event {index}")
    if append.metadata is not None:
        _check_json(append.metadata, "metadata", 1)
    _check_arguments(append)


def _check_arguments(append: Append) -> None:
    _check_uuid(append.context_id, "context_id")
    if append.commit_id is not None:
        _check_uuid(append.commit_id, "commit_id")
    expected = append.expected_version
    if not isinstance(expected, Expected) and (type(expected) is not int or expected < 0):
        raise Refused("invalid_argument", "expected_version is neither a version nor ANY or EXISTS")
    if type(append.epoch) is not int or append.epoch < 1:
        raise Refused("invalid_argument", "epoch is not a positive number")


def _check_uuid(value: object, name: str) -> None:
    if not isinstance(value, UUID):
        raise Refused("invalid_argument", f"{name} is a {type(value).__name__}, not a UUID")


def _check_struct(shape: msgspec.Struct, place: str) -> None:
    for field in shape.__struct_fields__:
        value: Any = getattr(shape, field)
        if field == "parts" and isinstance(value, (list, tuple)):
            for index, part in enumerate(cast("list[object]", value)):
                if isinstance(part, msgspec.Struct):
                    _check_struct(part, f"{place}, part {index}")
                else:
                    _check_json(part, f"{place}, part {index}", 1)
        elif isinstance(value, dict) or field in _FREE_FIELDS:
            _check_json(value, f"{place}, field {field}", 1)


def _check_json(value: Any, place: str, depth: int) -> None:
    if isinstance(value, _SCALARS) or (isinstance(value, float) and isfinite(value)):
        return
    if depth > JSON_DEPTH_MAX:
        raise Refused("nested_too_deeply", f"{place} is nested deeper than {JSON_DEPTH_MAX}", place=place)
    if isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            if not isinstance(key, str):
                raise Refused("invalid_event", f"{place} has a key that is not a string", place=place)
            _check_json(item, f"{place}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("list[object]", value)):
            _check_json(item, f"{place}[{index}]", depth + 1)
    else:
        what = "not a finite number" if isinstance(value, float) else f"a {type(value).__name__}, not JSON"
        raise Refused("invalid_event", f"{place} is {what}", place=place)
