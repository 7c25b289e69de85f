"""What an append may carry before anything is encoded: free-form values must be JSON, and shallow."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Final, TypeAlias, cast, get_args
from uuid import UUID

import msgspec
from msgspec import UNSET

from eventstore.commits import Append, Expected
from eventstore.content import KINDS, Role
from eventstore.errors import Refused
from eventstore.events import BITS, NUMBER_MAX, ChunkReceived, ChunkRun, ContextUpdated, Outcome
from eventstore.keys import DIGEST_BYTES
from eventstore.limits import COMMIT_EVENTS_MAX, JSON_DEPTH_MAX

_SCALARS: Final = (str, int, bool, type(None))
_FREE_FIELDS: Final = ("data", "content", "detail")
_OBJECT_FIELDS: Final = ("config", "attributes", "changes", "metadata", "usage", "error")
_CHANGEABLE: Final = {"title": str, "config": dict, "attributes": dict, "tags": (list, tuple)}
_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "role": get_args(Role),
    "kind": KINDS,
    "outcome": get_args(Outcome),
}
_ID_FIELDS: Final = ("message_id", "parent_id", "head", "previous", "context_id")


def check(append: Append) -> None:
    """Refuse what is not an event, and values that would not come back as they were given.

    Raises ``Refused`` with code ``invalid_event``, ``invalid_argument``, ``nested_too_deeply`` or
    ``empty_commit`` or ``commit_too_large``; the message names the event's index and the field.
    """
    if not isinstance(cast("object", append.events), (tuple, list)):
        raise Refused("invalid_argument", f"events is a {type(append.events).__name__}, not a tuple")
    if not append.events:
        raise Refused("empty_commit", "an append needs at least one event")
    if len(append.events) > COMMIT_EVENTS_MAX:
        raise Refused(
            "commit_too_large", f"a commit takes at most {COMMIT_EVENTS_MAX} events", limit=COMMIT_EVENTS_MAX
        )
    for index, event in enumerate(append.events):
        if type(event) is ChunkReceived:
            _check_chunk(event, index)
        elif type(event) is ChunkRun:
            _check_run(event, index)
        elif type(event) in BITS:
            _check_struct(event, f"event {index}")
            if type(event) is ContextUpdated:
                _check_changes(event.changes, f"event {index}, field changes")
        else:
            raise Refused("invalid_event", f"event {index} is a {type(event).__name__}, not an event")
    if append.metadata is not None:
        _check_json(append.metadata, "metadata", 1)
    check_arguments(append)


def check_arguments(append: Append) -> None:
    """The part of ``check`` that is not about the events and the metadata."""
    check_id(append.context_id, "context_id")
    if append.commit_id is not None:
        check_id(append.commit_id, "commit_id")
    expected = append.expected_version
    if not isinstance(expected, Expected) and (type(expected) is not int or not 0 <= expected <= NUMBER_MAX):
        raise Refused("invalid_argument", "expected_version is neither a version nor ANY or EXISTS")
    if type(append.epoch) is not int or not 1 <= append.epoch <= NUMBER_MAX:
        raise Refused("invalid_argument", "epoch is not a positive number")
    digest = append.request_digest
    if digest is not None and (type(digest) is not bytes or len(digest) != DIGEST_BYTES):
        raise Refused("invalid_argument", f"request_digest is not {DIGEST_BYTES} bytes")


def check_id(value: object, argument: str) -> None:
    """Refuse what is not a UUID, such as the text of one: every way in asks this of its ids.

    Raises ``Refused`` with code ``invalid_argument``.
    """
    if not isinstance(value, UUID):
        raise Refused(
            "invalid_argument",
            f"{argument} is a {type(value).__name__}, not a uuid.UUID: of a text make one by UUID(text)",
            argument=argument,
        )


def check_int(value: object, argument: str, what: str) -> None:
    """Refuse what is no integer, such as the text of one; ``what`` says what it is about.

    Raises ``Refused`` with code ``invalid_argument``.
    """
    if type(value) is not int:
        kind = type(value).__name__
        raise Refused("invalid_argument", f"{argument} is a {kind}, not an int: {what}", argument=argument)


def check_optional_ids(**ids: object) -> None:
    """``check_id`` for arguments that may be left out, each by its name."""
    for argument, value in ids.items():
        if value is not None and value is not UNSET:
            check_id(value, argument)


def check_choice(value: object, argument: str) -> None:
    """Refuse a role, kind or outcome that there is not. Raises ``Refused`` with code ``invalid_argument``."""
    if value not in _CHOICES[argument]:
        raise Refused(
            "invalid_argument", f"{argument} is none of {', '.join(_CHOICES[argument])}", argument=argument
        )


def _check_choice(value: object, field: str, place: str) -> None:
    if value not in _CHOICES[field]:
        place = f"{place}, field {field}"
        raise Refused("invalid_event", f"{place} is none of {', '.join(_CHOICES[field])}", place=place)


def _check_id(value: object, place: str) -> None:
    """Text or bytes would decode to the id too, but are not what the format says."""
    if not isinstance(value, UUID):
        raise Refused("invalid_event", f"{place} is a {type(value).__name__}, not a UUID", place=place)


def _check_chunk(chunk: ChunkReceived, index: int) -> None:
    """What packing computes with; the rest is checked with the frame."""
    if (
        type(chunk.message_id) is UUID
        and type(chunk.sequence) is type(chunk.at) is int
        and chunk.kind in KINDS
        and chunk.raw is None
    ):
        return
    if not isinstance(cast("object", chunk.message_id), UUID):
        _check_id(chunk.message_id, f"event {index}, field message_id")
    if type(chunk.sequence) is not int or type(chunk.at) is not int:
        place = f"event {index}"
        raise Refused("invalid_event", f"{place}: sequence or at is not an int", place=place)
    if chunk.kind not in KINDS:
        _check_choice(chunk.kind, "kind", f"event {index}")
    if chunk.raw is not None and type(chunk.raw) is not bytes:
        place = f"event {index}, field raw"
        raise Refused("invalid_event", f"{place} is a {type(chunk.raw).__name__}, not bytes", place=place)


def _check_run(run: ChunkRun, index: int) -> None:
    _check_id(run.message_id, f"event {index}, field message_id")
    _check_choice(run.kind, "kind", f"event {index}")
    if isinstance(cast("object", run.raws), (list, tuple)):
        for raw in run.raws or ():
            if raw is not None and type(raw) is not bytes:
                place = f"event {index}, field raws"
                raise Refused("invalid_event", f"{place} has a {type(raw).__name__}", place=place)


def _check_changes(changes: dict[str, Any], place: str) -> None:
    """A merge patch whose result is not a context would stop every view at this event."""
    if not isinstance(cast("object", changes), dict):
        return  # refused with the frame
    for name, value in changes.items():
        if name not in _CHANGEABLE:
            raise Refused("invalid_event", f"{place} has {name!r}, which no context has", place=place)
        if value is not None and not isinstance(value, _CHANGEABLE[name]):
            raise Refused("invalid_event", f"{place}.{name} is a {type(value).__name__}", place=place)
    if not all(isinstance(tag, str) for tag in changes.get("tags") or ()):
        raise Refused("invalid_event", f"{place}.tags has an item that is not a string", place=place)


def _check_struct(shape: msgspec.Struct, place: str) -> None:
    for field, check_field in _RULES.get(type(shape)) or _rules(type(shape)):
        value: Any = getattr(shape, field)
        if value is not None or field in _CHOICES:
            check_field(value, field, place)


def _check_id_field(value: object, field: str, place: str) -> None:
    if not isinstance(value, UUID) and value is not UNSET:
        _check_id(value, f"{place}, field {field}")


def _check_fork_field(value: object, field: str, place: str) -> None:
    if not isinstance(value, msgspec.Struct):
        raise Refused("invalid_event", f"{place}, field {field} is not a ForkedFrom", place=place)
    _check_struct(value, f"{place}, field {field}")


def _check_object_field(value: object, field: str, place: str) -> None:
    if not isinstance(value, dict):
        raise Refused("invalid_event", f"{place}, field {field} is a {type(value).__name__}", place=place)
    _check_json(value, f"{place}, field {field}", 1)


def _check_free_field(value: object, field: str, place: str) -> None:
    _check_json(value, f"{place}, field {field}", 1)


def _check_other_field(value: object, field: str, place: str) -> None:
    """What else it is, the frame tells; but not how deep an object is."""
    if isinstance(value, dict):
        _check_json(cast("object", value), f"{place}, field {field}", 1)


def _check_parts_field(value: object, field: str, place: str) -> None:
    _check_parts(value, f"{place}, field {field}")


_Rule: TypeAlias = Callable[[Any, str, str], None]

_RULES: Final[dict[type, tuple[tuple[str, _Rule], ...]]] = {}
"""By struct: its fields, each with what looks at its value."""


def _rules(kind: type[msgspec.Struct]) -> tuple[tuple[str, _Rule], ...]:
    found = _RULES[kind] = tuple((field, _rule(field)) for field in kind.__struct_fields__)
    return found


def _rule(field: str) -> _Rule:
    if field in _ID_FIELDS:
        return _check_id_field
    if field in _CHOICES:
        return _check_choice
    if field in _OBJECT_FIELDS:
        return _check_object_field
    if field in _FREE_FIELDS:
        return _check_free_field
    special: dict[str, _Rule] = {"forked_from": _check_fork_field, "parts": _check_parts_field}
    return special.get(field, _check_other_field)


def _check_parts(parts: object, place: str) -> None:
    if not isinstance(parts, (list, tuple)):
        raise Refused("invalid_event", f"{place} is a {type(parts).__name__}", place=place)
    for index, part in enumerate(cast("list[object]", parts)):
        if isinstance(part, msgspec.Struct):
            _check_struct(part, f"{place}[{index}]")
        else:
            _check_json(part, f"{place}[{index}]", 1)


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
