"""JSON Schemas of what requests say and what answers are, from the structs that decode and encode them.

msgspec makes them; here is what it cannot know. An answer has all of its members, always, and its times are
text (``turnlog.shapes``); some rules of a body are code, and hold between members.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final, TypeAlias

import msgspec

from eventstore.events import Event
from eventstore.units import RFC_3339
from turnlog.service.requests import AppendMessage, Fork, PatchContext, PutBranch
from turnlog.shapes import is_time

Schema: TypeAlias = dict[str, Any]

REF: Final = "#/components/schemas/"

_TIME: Final[Schema] = {"type": "string", "format": "date-time", "examples": [RFC_3339]}

_GIVEN: Final[Schema] = {"not": {"type": "null"}}

_ONE_MOMENT: Final[list[Schema]] = [
    {"not": {"required": list(two), "properties": dict.fromkeys(two, _GIVEN)}}
    for two in combinations(("at_version", "at_position", "at_time", "at_message"), 2)
]

_RULES: Final[dict[str, Schema]] = {
    AppendMessage.__name__: {
        "oneOf": [
            {"required": ["text"], "properties": {"text": {"type": "string"}, "parts": {"type": "null"}}},
            {"required": ["parts"], "properties": {"parts": {"type": "array"}, "text": {"type": "null"}}},
        ]
    },
    Fork.__name__: {"allOf": _ONE_MOMENT},
    PutBranch.__name__: {"allOf": _ONE_MOMENT},
}
"""What holds between the members of a body."""


def requests(types: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """The schemas of some types as bodies of requests, and the components that they refer to."""
    schemas, components = _generated(types)
    for name, rules in _RULES.items():
        components[name] |= rules
    components["ContextUpdatedIn"]["properties"]["changes"] = {"$ref": f"{REF}{PatchContext.__name__}"}
    return schemas, components


def answers(types: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """The same of types as answers."""
    schemas, components = _generated([*types, Event])
    event = schemas.pop()
    for name, component in components.items():
        components[name] = _answered(component)
    components["EventLine"]["properties"]["event"] = event
    return schemas, components


def parameter(kind: Any) -> Schema:
    """The schema of a parameter's text. One that may be null is left out then, so null is not in it."""
    schema = msgspec.json.schema(kind)
    schema.pop("default", None)
    given = [one for one in schema.pop("anyOf", ()) if one != {"type": "null"}]
    return schema | given[0] if len(given) == 1 else schema | ({"anyOf": given} if given else {})


def reference(schema: Mapping[str, Any]) -> str | None:
    """The name of the component that a schema refers to, if it is nothing else."""
    return schema["$ref"].removeprefix(REF) if set(schema) == {"$ref"} else None


_BASE64: Final[Schema] = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
}


def _generated(types: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    schemas, components = msgspec.json.schema_components(types, ref_template=f"{REF}{{name}}")
    for component in components.values():
        if "description" in component:
            component["description"] = prose(component["description"])
        if not component.get("required"):
            component.pop("required", None)
        for schema in component.get("properties", {}).values():
            if "pattern" in schema:  # the end, as Python writes it and as JSON Schema does
                schema["pattern"] = schema["pattern"].replace(r"\Z", "$")
            for one in schema.get("anyOf", ()):
                if "contentEncoding" in one:
                    one |= _BASE64
    return list(schemas), dict(components)


def prose(docstring: str) -> str:
    """A docstring as Markdown."""
    return inspect.cleandoc(docstring).replace("``", "`")


def _answered(component: Schema) -> Schema:
    """A struct as it goes out."""
    if "properties" not in component:
        return component
    members = {
        name: _member(name, {key: value for key, value in schema.items() if key != "default"})
        for name, schema in component["properties"].items()
    }
    return component | {"properties": members, "required": list(members)}


def _member(name: str, schema: Schema) -> Schema:
    """A member; text where its integer is a time."""
    if not is_time(name):
        return schema
    if "anyOf" in schema:
        return schema | {"anyOf": [_member(name, one) for one in schema["anyOf"]]}
    return _TIME if schema.get("type") == "integer" else schema
