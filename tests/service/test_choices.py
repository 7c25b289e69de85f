"""What may only be one of some values: whoever gives another is told them all, wherever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, get_args
from uuid import uuid4

import pytest
from expecting import invalid
from serving import Served
from story import document_of

from eventstore.content import KINDS, Role
from eventstore.events import BIT_OF_TAG, Outcome


async def test_a_parameter_that_is_none_of_its_values_is_told_all_of_them(served: Served) -> None:
    context_id = await served.context()
    stream = (await served.client.post(f"/api/contexts/{context_id}/streams", json={})).json()["message_id"]
    asked = 0
    for path, methods in (await document_of(served))["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", []):
                values = parameter["schema"].get("enum", [])
                if parameter["in"] != "query" or not values:
                    continue
                place = path.format(context_id=context_id, message_id=stream)
                query, types = {parameter["name"]: "nonsense"}, {"content-type": "text/event-stream"}
                refused = await served.client.request(method, place, params=query, headers=types)
                assert refused.status_code in (400, 422), (path, query)
                detail = refused.json()["detail"]
                assert all(value in detail for value in values), (path, query, detail)
                asked += 1
    assert asked > 5


TEXT: Final = {"type": "text", "text": "x"}
APPENDED: Final = {"type": "message.appended", "message_id": str(uuid4()), "role": "user", "parts": [TEXT]}


@pytest.mark.parametrize(
    ("route", "body", "where", "values"),
    [
        ("/api/commits", {"events": [{"type": "nonsense"}]}, "events[0].type", [*BIT_OF_TAG][:2]),
        ("/api/commits", {"events": [APPENDED | {"role": "x"}]}, "events[0].role", get_args(Role)),
        (
            "/api/commits",
            {"events": [APPENDED | {"parts": [TEXT, {"type": "x"}]}]},
            "events[0].parts[1].type",
            ["text", "tool_result", "data"],
        ),
        (
            "/api/commits",
            {"events": [], "expected_version": "some"},
            "expected_version",
            ["any", "exists", "an integer"],
        ),
        ("/api/contexts/{}/streams", {"role": "x"}, "role", get_args(Role)),
        ("/api/contexts/{}/messages", {"role": "user", "parts": [{"type": 1}]}, "parts[0].type", []),
        (
            "/api/contexts/{}/messages",
            {"role": "user", "parts": [{"type": "x"}]},
            "parts[0].type",
            ["text", "data"],
        ),
        ("/api/messages/{}/chunks", [{"sequence": 1, "delta": "", "kind": "x"}], "[0].kind", KINDS),
        ("/api/messages/{}/chunks", {"sequence": 1, "delta": "", "kind": "x"}, "kind", KINDS),
        ("/api/messages/{}/finalize", {"outcome": "x"}, "outcome", get_args(Outcome)),
        ("/api/messages/{}/finalize", {"parts": [{"type": "x"}]}, "parts[0].type", ["text", "data"]),
    ],
)
async def test_a_member_that_is_none_of_its_values_is_told_all_of_them(
    served: Served, route: str, body: Any, where: str, values: Sequence[str]
) -> None:
    context_id = await served.context()
    started = (await served.client.post(f"/api/contexts/{context_id}/streams", json={})).json()
    if route == "/api/commits":
        body = {"context_id": str(context_id), **body}
    path = route.format(context_id if "contexts" in route else started["message_id"])
    ((told, message),) = invalid(await served.client.post(path, json=body)).items()
    assert told == f"body{'' if where.startswith('[') else '.'}{where}"
    assert ("; it is " in message) == bool(values)
    assert all(value in message for value in values), message


async def test_the_one_value_that_a_member_may_have_is_told(served: Served) -> None:
    path = f"/api/contexts/{await served.context()}/branches/main"
    refused = invalid(await served.client.put(path, json={"active": False}))
    assert refused == {"body.active": "Invalid enum value False; it is true"}


async def test_a_line_with_another_kind_is_told_those_that_there_are(served: Served) -> None:
    context_id = await served.context()
    started = (await served.client.post(f"/api/contexts/{context_id}/streams", json={})).json()
    told = await served.client.post(
        f"/api/messages/{started['message_id']}/chunks",
        content=b'{"sequence":1,"delta":"","kind":"x"}\n',
        headers={"content-type": "application/x-ndjson"},
    )
    assert "it is one of " + ", ".join(sorted(KINDS)) in told.text
