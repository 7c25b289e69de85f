"""The document: OpenAPI 3.1 of all routes, made of their signatures, their structs and ``OPERATIONS``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Litestar

from turnlog.service.access import Scope
from turnlog.service.bodies import MSGPACK_TYPES, NDJSON
from turnlog.service.problems import Problem
from turnlog.service.routes.schema import OPENAPI
from turnlog.service.schema import errors, shapes
from turnlog.service.schema.asked import (
    SECURITY,
    Operation,
    camel,
    headers,
    operations,
    parameters,
    security,
)
from turnlog.service.schema.examples import Example, example, recorded
from turnlog.service.schema.operations import RESPONSE_HEADERS, TAGS, Told
from turnlog.service.schema.shapes import Schema, prose

DESCRIPTION: Final = """\
An event-sourced, append-only log for chat backends: contexts hold messages and streams; every change is an
event; every moment of the past can be read.

**Keys.** `Authorization: Bearer tl_...`, or `X-Api-Key`. A key has a role: reader, writer or admin, each of
which may do what those before it may. While no key was ever made, the service takes requests from its own
machine alone, and they need none. A browser's `EventSource` sends a ticket instead.

**Answers** have all of their members, always. Ids are UUIDs, times RFC 3339 in UTC, spans (`*_us`)
microseconds. Unknown members are refused in requests and to be expected in answers.

**Positions.** Every commit has one; a response's `Turnlog-Position`, sent back as `Turnlog-At-Least`, makes a
later answer know of it, whichever client asks.

**Problems** are RFC 9457 with a stable `code` to decide by, a `hint`, and the facts as further members.
`x-problems` lists all codes. In a stream that has begun a problem is an `error` event, or line, and the end.

**Streams.** The schema of server-sent events, or of lines of JSON, is that of each one. Only an event's id
is where to go on; an event without a name is called `message`, as browsers do.

**Every response** has an `X-Request-Id`: that of the request, or a new one.
"""

UNNAMED: Final = "message"
"""What readers of server-sent events call one without a name."""


def document(app: Litestar, version: str) -> dict[str, Any]:
    """The whole document."""
    return _Document(operations(app)).made(version)


class _Document:
    """Schemas are made of all types at once, so that each has its name once; then come the paths."""

    def __init__(self, found: list[Operation]) -> None:
        self._operations = found
        self._recorded = recorded()
        bodies = [one.body for one in found if one.body is not None]
        answers = [one.answer for one in found if one.answer is not None]
        told = [one.data for each in found for words in each.facts.streams.values() for one in words]
        kinds: list[Any] = [*answers, *(one for one in told if one is not None), Problem]
        asked, self._components = shapes.requests(bodies)
        given, more = shapes.answers(kinds)
        clash = self._components.keys() & more.keys()
        assert not clash, f"a request and an answer share the name of a schema: {clash}"
        self._components |= more
        self._bodies = dict(zip(map(repr, bodies), asked, strict=True))
        self._answers = dict(zip(map(repr, kinds), given, strict=True))
        self._components[Problem.__name__]["properties"]["code"]["enum"] = list(errors.table())

    def made(self, version: str) -> dict[str, Any]:
        paths: dict[str, dict[str, Any]] = {}
        for one in self._operations:
            paths.setdefault(one.path, {})[one.method.lower()] = self._operation(one)
        return {
            "openapi": "3.1.0",
            "info": {"title": "Turnlog", "version": version, "description": DESCRIPTION},
            "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
            "paths": paths,
            "components": {
                "schemas": dict(sorted(self._components.items())),
                "examples": errors.examples(),
                "securitySchemes": SECURITY,
            },
            "x-problems": errors.table(),
        }

    def _operation(self, one: Operation) -> dict[str, Any]:
        summary, _, description = prose(one.handler.fn.__doc__ or "").partition("\n\n")
        scope: Scope = one.handler.opt["scope"]
        asked = example(one.name)
        made: dict[str, Any] = {
            "operationId": camel(one.name),
            "summary": " ".join(summary.split()),
            "tags": [one.facts.tag],
            "security": security(one.method, scope),
            "parameters": [*parameters(one, asked), *headers(one)],
        }
        if description:
            made["description"] = description
        body = self._body(one, asked)
        if body is not None:
            made["requestBody"] = {"required": True, "content": body}
        made["responses"] = self._responses(one, scope, [p["name"] for p in made["parameters"]], body)
        return made

    def _body(self, one: Operation, asked: Example) -> dict[str, Any] | None:
        made: dict[str, Any] = {}
        if one.body is not None:
            kinds = ["application/json"]
            if one.method == "PATCH":
                kinds.append("application/merge-patch+json")
            if one.handler.opt.get("msgpack"):
                kinds.append(MSGPACK_TYPES[0])
            content = {"schema": self._bodies[repr(one.body)], "example": msgspec.to_builtins(asked.body)}
            made = dict.fromkeys(kinds, content)
        for kind, schema in one.facts.bodies.items():
            made[kind] = {"schema": schema, "example": asked.text}
        return made or None

    def _responses(
        self, one: Operation, scope: Scope, names: list[str], body: dict[str, Any] | None
    ) -> dict[str, Any]:
        status = one.handler.status_code
        made = {str(status): self._success(one)}
        codes = errors.codes_of(
            one.handler.opt, one.path, names, body=body is not None, streams=bool(one.facts.streams)
        )
        for also, description in one.facts.also.items():
            made[str(also)] = made[str(status)] | {"description": description}
            if also == HTTPStatus.NOT_MODIFIED:
                del made[str(also)]["content"]
        for problem_status in sorted(codes):
            made[str(problem_status)] = errors.response(problem_status, codes[problem_status])
        return dict(sorted(made.items()))

    def _success(self, one: Operation) -> dict[str, Any]:
        examples = self._recorded.get(one.name, {})
        content: dict[str, dict[str, Any]] = {}
        if one.answer is not None:
            schema = self._answers[repr(one.answer)]
            content["application/json"] = {"schema": schema}
        for kind, words in one.facts.streams.items():
            told = [self._told(word, kind) for word in words]
            content[kind] = {"schema": {"anyOf": told}}
        for kind in one.facts.kinds:
            content[kind] = {"schema": {"type": "object" if kind == OPENAPI else "string"}}
        for kind, media in content.items():
            if kind in examples:
                media["example"] = examples[kind]
        made: dict[str, Any] = {"description": _STATUSES[one.handler.status_code], "content": content}
        if one.facts.gives:
            made["headers"] = {name: RESPONSE_HEADERS[name] for name in one.facts.gives}
            if one.answer is not None and one.facts.streams:  # what goes on has no position to tell
                made["headers"] = {
                    name: {**header, "required": False} for name, header in made["headers"].items()
                }
        if one.facts.made is not None:
            made["links"] = self._links(one.facts.made)
        return made

    def _told(self, word: Told, kind: str) -> Schema:
        """The schema of an event, or of a line."""
        if word.data is None:
            return {"type": "object", "description": "In another dialect: what its own clients read."}
        schema = self._answers[repr(word.data)]
        if kind == NDJSON:
            return schema
        data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
        return {
            "type": "object",
            "properties": {"event": {"const": word.name or UNNAMED}, "id": {"type": "string"}, "data": data},
            "required": ["event", "data"],
        }

    def _links(self, member: str) -> dict[str, Any]:
        """Operations on what was made."""
        return {
            camel(one.name): {
                "operationId": camel(one.name),
                "parameters": {member: f"$response.body#/{member}"},
            }
            for one in self._operations
            if f"{{{member}}}" in one.path
        }


_STATUSES: Final = {200: "It is done.", 201: "It was made.", 202: "It has begun."}
