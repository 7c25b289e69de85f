"""An example of each request, and what the service answered to it.

The requests make a story, in the order of ``OPERATIONS``. The answers in ``answers.json`` are recorded from a
service that was told it (``tests/service/story.py``), which is how they stay true.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final
from uuid import UUID

import msgspec

from eventstore.events import CustomRecorded
from turnlog.service.event_stream import SSE
from turnlog.service.requests import (
    AppendCommit,
    AppendMessage,
    CreateContext,
    Finalize,
    Fork,
    PatchContext,
    PutBranch,
    PutState,
    Redact,
    ResumeStream,
    StartStream,
)
from turnlog.service.routes.tickets import TicketFor
from turnlog.service.strict import ChunkIn

CONTEXT: Final = UUID("0190c4f2-7b1e-7c00-8000-000000000001")
QUESTION: Final = UUID("0190c4f2-7b1e-7c00-8000-000000000011")
ANSWER: Final = UUID("0190c4f2-7b1e-7c00-8000-000000000012")
INGESTED: Final = UUID("0190c4f2-7b1e-7c00-8000-000000000013")

_PROVIDER_STREAM: Final = """\
data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1769860800,"model":"large-1",\
"choices":[{"index":0,"delta":{"role":"assistant","content":"Bring a coat."},"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1769860800,"model":"large-1",\
"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

"""


class Example(msgspec.Struct, frozen=True):
    """A request: the values of parameters by name, and a body of a type."""

    parameters: dict[str, Any] = {}
    body: Any = None
    media_type: str = "application/json"

    @property
    def text(self) -> str:
        """A body that is none of JSON: the provider's stream, or the items of a list as lines."""
        return (
            self.body
            if isinstance(self.body, str)
            else msgspec.json.Encoder().encode_lines(self.body).decode()
        )


_IN_CONTEXT: Final[dict[str, Any]] = {"context_id": str(CONTEXT)}
_OF_QUESTION: Final[dict[str, Any]] = {"message_id": str(QUESTION)}
_OF_ANSWER: Final[dict[str, Any]] = {"message_id": str(ANSWER)}
_ON_BRANCH: Final = _IN_CONTEXT | {"name": "draft"}

CHUNKS: Final = [
    ChunkIn(1, "The sun sets at ten, "),
    ChunkIn(2, "and dusk lasts until midnight."),
]

EXAMPLES: Final[dict[str, Example]] = {
    "create_context": Example(
        body=CreateContext(context_id=CONTEXT, title="Oslo in May", config={"model": "large-1"})
    ),
    "patch_context": Example(_IN_CONTEXT, PatchContext(title="Oslo in June", tags=["travel"])),
    "put_state": Example(_IN_CONTEXT, PutState(state="answering", detail={"turn": 1})),
    "append_message": Example(
        _IN_CONTEXT, AppendMessage(message_id=QUESTION, role="user", text="How light are the nights?")
    ),
    "start_stream": Example(_IN_CONTEXT, StartStream(message_id=ANSWER, model="large-1")),
    "send_chunks": Example(_OF_ANSWER, CHUNKS),
    "resume_stream": Example(_OF_ANSWER, ResumeStream(epoch=2)),
    "finalize_stream": Example(_OF_ANSWER | {"epoch": 2}, Finalize(finish_reason="stop")),
    "stop_stream": Example(_OF_ANSWER),
    "ingest_stream": Example(
        _IN_CONTEXT | {"dialect": "openai_chat", "message_id": str(INGESTED), "keep_raw": True},
        _PROVIDER_STREAM,
        SSE,
    ),
    "append_commit": Example(
        body=AppendCommit(
            context_id=CONTEXT,
            events=[CustomRecorded("rating", {"stars": 5})],
            expected_version="exists",
            commit_id=UUID("0190c4f2-7b1e-7c00-8000-000000000021"),
        )
    ),
    "put_branch": Example(_ON_BRANCH, PutBranch(head=QUESTION)),
    "fork_context": Example(_IN_CONTEXT, Fork(at_message=QUESTION, title="Oslo, once more")),
    "list_contexts": Example({"limit": 2}),
    "read_context": Example(_IN_CONTEXT | {"branch": "main"}),
    "read_history": Example(_IN_CONTEXT | {"limit": 3}),
    "read_diff": Example(_IN_CONTEXT | {"from": "v2", "to": "now"}),
    "list_messages": Example(_IN_CONTEXT | {"role": "assistant", "include": "body"}),
    "read_messages": Example({"ids": f"{QUESTION},{ANSWER}"}),
    "read_message": Example(_OF_ANSWER),
    "list_branches": Example(_IN_CONTEXT),
    "read_branch": Example(_ON_BRANCH),
    "read_chunks": Example(_OF_ANSWER | {"after": 1}),
    "read_timeline": Example(_OF_ANSWER),
    "read_stream": Example(_OF_ANSWER | {"mode": "snapshot"}),
    "replay_stream": Example(_OF_ANSWER | {"speed": 0}),
    "read_events": Example({"after": "1", "limit": 2}),
    "read_context_events": Example(_IN_CONTEXT | {"kinds": "message.appended,stream.started"}),
    "follow_context": Example(_IN_CONTEXT | {"after": "0"}),
    "follow_contexts": Example({"contexts": str(CONTEXT), "after": "0"}),
    "rebuild_projection": Example({"name": "contexts"}),
    "issue_ticket": Example(body=TicketFor(f"/api/contexts/{CONTEXT}/sse")),
    "redact_message": Example(_OF_QUESTION, Redact(reason="a private matter")),
    "delete_branch": Example(_ON_BRANCH),
    "delete_context": Example(_IN_CONTEXT),
}
"""By the name of the handler; one that is not here has neither parameters nor a body."""


def example(handler: str) -> Example:
    """The request of a handler."""
    return EXAMPLES.get(handler, Example())


def recorded() -> dict[str, dict[str, Any]]:
    """The answers that were recorded: by handler, and by media type."""
    return msgspec.json.decode(files(__package__ or "").joinpath("answers.json").read_bytes())
