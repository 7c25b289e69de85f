"""A provider's stream that is over and held nothing at all is no answer: it is refused, as `record` does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from expecting import problem
from serving import Served


async def pieces(*sent: bytes) -> AsyncIterator[bytes]:
    for piece in sent:
        yield piece


@pytest.mark.parametrize("tee", ["", "&tee=true"])
@pytest.mark.parametrize("sent", [(), (b"",), (b"\n\n", b" \r\n")])
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_empty_body_is_refused_and_nothing_is_written(
    served: Served, sent: tuple[bytes, ...], tee: str, chunked: bool
) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}/ingest?dialect=anthropic{tee}"
    refused = await served.client.post(path, content=pieces(*sent) if chunked else b"".join(sent))
    told = problem(refused, 422, "malformed_stream")
    assert told["detail"] == "the input holds no event of anthropic"
    assert (await served.json("GET", "/api/log/head"))["position"] == 1


async def test_one_that_is_known_to_be_empty_is_refused_before_its_model_is_written(served: Served) -> None:
    path = f"/api/contexts/{await served.context()}/ingest?dialect=anthropic&model=claude"
    problem(await served.client.post(path, content=b""), 422, "malformed_stream")
    assert (await served.json("GET", "/api/log/head"))["position"] == 1


async def test_one_that_turns_out_empty_after_its_model_was_written_has_failed(served: Served) -> None:
    context_id = await served.context()
    path = f"/api/contexts/{context_id}/ingest?dialect=anthropic&model=claude"
    told = problem(await served.client.post(path, content=pieces()), 422, "malformed_stream")
    (message,) = (await served.json("GET", f"/api/contexts/{context_id}/messages"))["items"]
    assert (message["outcome"], message["id"]) == ("failed", told["message_id"])
    assert (await served.json("GET", f"/api/contexts/{context_id}"))["open_streams"] == {}
