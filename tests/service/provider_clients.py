"""OpenAI's and Anthropic's own clients, on the service as if it were the provider.

Where they post a request, a stream of the service is asked for instead; all that they read is the service's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import anthropic
import httpx2
import msgspec
import openai
from openai.types.chat import ChatCompletion
from wires import DONE, RECORDINGS

from turnlog.dialects.sse_out import MEDIA_TYPE

OPENAI: Final[dict[str, Any]] = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
ANTHROPIC: Final[dict[str, Any]] = {"max_tokens": 9, **OPENAI}


class InsteadOfTheProvider(httpx2.AsyncBaseTransport):
    """Sends a GET of one address, whatever the client asks for."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._network = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Ask the service."""
        asked = httpx2.Request("GET", self._address, extensions=request.extensions)
        return await self._network.handle_async_request(asked)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._network.aclose()


def recorded(body: bytes) -> httpx2.AsyncBaseTransport:
    """The provider itself, as it was recorded."""
    return httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"content-type": MEDIA_TYPE}, content=body)
    )


@asynccontextmanager
async def openai_client(transport: httpx2.AsyncBaseTransport) -> AsyncGenerator[openai.AsyncOpenAI]:
    """OpenAI's client."""
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        openai.AsyncOpenAI(api_key="-", base_url="http://here/v1", http_client=http, max_retries=0) as made,
    ):
        yield made


@asynccontextmanager
async def anthropic_client(transport: httpx2.AsyncBaseTransport) -> AsyncGenerator[anthropic.AsyncAnthropic]:
    """Anthropic's client."""
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        anthropic.AsyncAnthropic(
            api_key="-", base_url="http://here", http_client=http, max_retries=0
        ) as made,
    ):
        yield made


async def completion(transport: httpx2.AsyncBaseTransport) -> ChatCompletion:
    """What OpenAI's client puts together of a stream."""
    async with openai_client(transport) as made, made.chat.completions.stream(**OPENAI) as stream:
        return await stream.get_final_completion()


async def message(transport: httpx2.AsyncBaseTransport) -> anthropic.types.Message:
    """What Anthropic's client puts together of a stream."""
    async with anthropic_client(transport) as made, made.messages.stream(**ANTHROPIC) as stream:
        return await stream.get_final_message()


def sent(name: str) -> bytes:
    """A recording as the provider sent it: with the frames that some lost when they were recorded."""
    recording, dialect = RECORDINGS[name], name.partition("/")[0]
    if not recording.startswith(b"{"):
        return recording
    lines = recording.splitlines()
    if dialect == "openai_chat":
        return b"".join(b"data: %b\n\n" % line for line in lines) + DONE
    return b"".join(b"event: %b\ndata: %b\n\n" % (_type(line), line) for line in lines)


def _type(line: bytes) -> bytes:
    return str(msgspec.json.decode(line)["type"]).encode()
