"""The OpenAPI document is whole and true: asked as it says, the service answers as it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema_rs
import msgspec
import pytest
import schemathesis
from httpx_sse import EventSource
from serving import Served, process, serving
from story import document_of, find, tell

from eventstore.errors import CODES, Refused
from turnlog.service.app import API
from turnlog.service.bodies import NDJSON
from turnlog.service.conditions import AT_LEAST_HEADER, IDEMPOTENCY_HEADER
from turnlog.service.event_stream import SSE, NdjsonWords
from turnlog.service.routes import schema, upkeep
from turnlog.service.schema.errors import ELSEWHERE, NEVER
from turnlog.service.schema.examples import example, recorded
from turnlog.service.schema.operations import IF_MATCH, OPERATIONS
from turnlog.service.schema.page import STYLE

PROBLEM: Final = "application/problem+json"
JSON: Final = "application/json"


@pytest.fixture
async def document(served: Served) -> dict[str, Any]:
    return await document_of(served)


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def check(document: Mapping[str, Any], schema_: Mapping[str, Any], value: object, what: str) -> None:
    """Hold a value against a schema of the document."""
    whole = {**schema_, "components": document["components"]}
    found = [
        str(error)
        for error in jsonschema_rs.Draft202012Validator(whole, validate_formats=True).iter_errors(value)
    ]
    assert not found, (what, found)


def items(kind: str, text: str) -> list[Any]:
    """What a stream said, in the form that its schema is about."""
    if kind == NDJSON:
        return [msgspec.json.decode(line) for line in text.splitlines() if line]
    response = httpx.Response(200, headers={"content-type": SSE}, text=text)
    return [
        {"event": event.event, "id": event.id, "data": event.data}
        for event in EventSource(response).iter_sse()
        if event.data
    ]


def check_items(document: Mapping[str, Any], schema_: Mapping[str, Any], kind: str, text: str) -> list[Any]:
    """Each against the schema, but for what says only that other dialects are another matter."""
    told = [one for one in schema_["anyOf"] if "$ref" in one or "properties" in one]
    found = items(kind, text)
    for item in found:
        if kind == SSE and told:
            named = [one for one in told if one["properties"]["event"]["const"] == item["event"]]
            said = msgspec.json.decode(item["data"])
            inner = [one["properties"]["data"]["contentSchema"] for one in named]
            check(document, {"anyOf": inner}, said, item["event"])
        elif told:
            check(document, {"anyOf": told}, item, kind)
    return found


async def test_it_describes_every_route_and_no_other(document: dict[str, Any]) -> None:
    routes = [("/api", handler) for handler in API]
    routes += [("", handler) for handler in (*upkeep.ROOT_ROUTES, *schema.ROUTES)]
    asked = {
        f"{method} {prefix}{re.sub(':[a-z]+}', '}', path)}"
        for prefix, handler in routes
        for path in handler.paths
        for method in handler.http_methods
    }
    assert asked == {name for name, _ in operations(document)}
    assert {handler.fn.__name__ for _, handler in routes} == set(OPERATIONS)


async def test_it_is_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(document).validate()


async def test_every_operation_says_what_it_is(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in operations(document):
        assert operation["summary"], name
        assert set(operation["tags"]) <= tags, name
        for parameter in operation["parameters"]:
            assert parameter.get("description"), (name, parameter["name"])


async def test_every_code_is_told_by_an_operation_or_said_to_be_of_none(document: dict[str, Any]) -> None:
    problems = document["x-problems"]
    assert set(problems) == CODES.keys() - NEVER
    told: set[str] = set()
    for _, operation in operations(document):
        for response in operation["responses"].values():
            if PROBLEM in response.get("content", {}):
                told |= set(response["content"][PROBLEM]["schema"]["allOf"][1]["properties"]["code"]["enum"])
    assert told | ELSEWHERE.keys() == set(problems)


async def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for parameter in operation["parameters"]:
            if "example" in parameter:
                check(document, parameter["schema"], parameter["example"], f"{name} {parameter['name']}")
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            check(document, media["schema"], media["example"], f"{name} {kind}")
        for status, response in operation["responses"].items():
            for header, said in response.get("headers", {}).items():
                check(document, said["schema"], said["example"], f"{name} {header}")
            for kind, media in response.get("content", {}).items():
                if "example" in media and kind in (SSE, NDJSON):
                    check_items(document, media["schema"], kind, media["example"])
                elif "example" in media:
                    check(document, media["schema"], media["example"], f"{name} {status} {kind}")
                for reference in media.get("examples", {}).values():
                    example = document["components"]["examples"][reference["$ref"].rpartition("/")[2]]
                    check(document, media["schema"], example["value"], f"{name} {status}")


async def test_asked_by_its_examples_the_service_answers_as_it_says(served: Served) -> None:
    document = await document_of(served)
    answers = recorded()
    for name in OPERATIONS:
        _, _, operation = find(document, name)
        response = await tell(served, name, document)
        assert response.is_success, (name, response.text)
        said = operation["responses"][str(response.status_code)]
        for header, known in said.get("headers", {}).items():
            if known.get("required"):
                value: Any = response.headers[header]
                value = int(value) if known["schema"]["type"] == "integer" else value
                check(document, known["schema"], value, f"{name} {header}")
        kind = response.headers["content-type"].partition(";")[0]
        media = said["content"][kind]
        if kind in (SSE, NDJSON):
            assert check_items(document, media["schema"], kind, response.text), name
        else:
            value = response.json() if kind.endswith("json") else response.text
            check(document, media["schema"], value, name)
        if name in answers:
            assert answers[name].keys() == {kind}, "record them anew: python tests/service/story.py"


async def test_events_and_lines_are_as_it_says_in_every_form(served: Served) -> None:
    document = await document_of(served)
    for name in OPERATIONS:
        if name == "delete_context":
            break
        await tell(served, name, document)
    for name in ("read_events", "read_context_events", "read_stream", "replay_stream"):
        _, _, operation = find(document, name)
        for kind, media in operation["responses"]["200"]["content"].items():
            if kind != JSON:
                response = await tell(served, name, document, headers={"accept": kind})
                assert check_items(document, media["schema"], kind, response.text), (name, kind)


async def test_all_signals_are_as_it_says(served: Served) -> None:
    document = await document_of(served)
    for name in OPERATIONS:
        await tell(served, name, document)
    _, _, operation = find(document, "follow_context")
    schema_ = operation["responses"]["200"]["content"][SSE]["schema"]
    known = {one["properties"]["event"]["const"] for one in schema_["anyOf"]}
    path = f"/api/contexts/{recorded()['create_context'][JSON]['context_id']}/sse"
    async with served.client.stream("GET", path, params={"after": "0"}) as response:
        text = ""
        async for part in response.aiter_text():
            text += part
            if "event: deleted" in text:
                served.service.streams.connections.stop()
    told = check_items(document, schema_, SSE, text)
    assert {item["event"] for item in told} == known - {"error"}


async def test_chunks_as_lines_are_answered_as_it_says(served: Served) -> None:
    document = await document_of(served)
    for name in ("create_context", "start_stream"):
        await tell(served, name, document)
    path, _, operation = find(document, "send_chunks")
    message_id = recorded()["start_stream"][JSON]["message_id"]
    schema_ = operation["responses"]["200"]["content"][NDJSON]["schema"]
    response = await served.client.post(
        path.format(message_id=message_id),
        content=example("send_chunks").text,
        headers={"content-type": NDJSON},
    )
    assert check_items(document, schema_, NDJSON, response.text)[-1]["type"] == "done"
    failure = NdjsonWords().failure(Refused("sequence_gap", "expected chunk 3, received 9", expected=3))
    assert check_items(document, schema_, NDJSON, failure.decode())[-1]["type"] == "error"


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        (AT_LEAST_HEADER, "x", "invalid_header"),
        (IF_MATCH, "x", "invalid_header"),
        (IDEMPOTENCY_HEADER, '"', "invalid_header"),
        ("Last-Event-ID", "x", "invalid_argument"),
    ],
)
async def test_headers_that_it_names_are_read_and_no_others(
    served: Served, header: str, value: str, code: str
) -> None:
    document = await document_of(served)
    for name in OPERATIONS:
        _, _, operation = find(document, name)
        named = header in [parameter["name"] for parameter in operation["parameters"]]
        response = await tell(served, name, document, headers={header: value})
        refused = response.headers["content-type"] == PROBLEM and response.json()["code"] == code
        assert refused == named, (name, header, response.text[:300])
        if refused:
            assert (await tell(served, name, document)).is_success, name


async def test_a_service_that_is_not_well_says_so_as_it_says(served: Served) -> None:
    document = await document_of(served)
    await tell(served, "create_context", document)
    served.service.log.store.stop_writing("a test")
    for name in ("read_health", "append_message"):
        response = await tell(served, name, document)
        assert response.status_code == 503
        kind = response.headers["content-type"]
        said = find(document, name)[2]["responses"]["503"]["content"][kind]
        check(document, said["schema"], response.json(), name)


async def test_what_a_reader_has_already_is_not_sent_again(served: Served) -> None:
    document = await document_of(served)
    await tell(served, "create_context", document)
    said = find(document, "read_context")[2]["responses"]["304"]
    response = await tell(served, "read_context", document, headers={"if-none-match": '"1"'})
    assert (response.status_code, response.content) == (304, b"")
    assert all(header in response.headers for header in said["headers"])


async def test_it_is_the_same_in_every_process(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[bytes] = set()
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        async with process(data_dir / seed) as service, httpx.AsyncClient() as client:
            seen.add((await client.get(f"{service.address}/schema")).content)
    async with serving(data_dir / "3") as served:
        seen.add((await served.client.get("/schema/openapi.json")).content)
    assert len(seen) == 1


class Page(HTMLParser):
    """What a page refers to, and what it holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "action", "srcset", "data", "poster"):
                self.references.append(value or "")


async def test_the_page_shows_all_of_it_and_needs_nothing_from_elsewhere(served: Served) -> None:
    response = await served.client.get("/schema", headers={"accept": "text/html,*/*;q=0.8"})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    page, document = Page(response.text), await document_of(served)
    assert not page.tags & {"script", "link", "img", "iframe", "base", "object", "embed"}
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert len(page.ids) == len(set(page.ids))
    for reference in page.references:
        assert reference == "/schema/openapi.json" or reference.removeprefix("#") in page.ids, reference
    for _, operation in operations(document):
        assert operation["operationId"] in page.ids
    for name in document["components"]["schemas"]:
        assert f"schema-{name}" in page.ids
    for code in document["x-problems"]:
        assert f"<code>{code}</code>" in response.text


async def test_who_asks_for_no_page_gets_the_document(served: Served) -> None:
    plain, named = await served.client.get("/schema"), await served.client.get("/schema/openapi.json")
    assert plain.headers["content-type"] == named.headers["content-type"]
    assert plain.content == named.content
    assert plain.headers["vary"] == "Accept"
    assert plain.json()["openapi"].startswith("3.1.")
