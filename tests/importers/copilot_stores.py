"""Contexts of copilot_chat as tests need most of them, and what the importer says of a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import msgspec
from legacy import Context
from storing import read_with

from eventstore.content import TextPart
from turnlog.importers.conversation import Conversation, Message, Problem
from turnlog.importers.copilot_chat.importer import CopilotChat

ID: Final = "11111111-1111-4111-8111-111111111111"


def read(directory: Path) -> tuple[list[Conversation], list[Problem]]:
    """What the importer says of a folder."""
    return read_with(CopilotChat(), directory)


def read_one(directory: Path) -> Conversation:
    """The only conversation of a folder."""
    conversations, problems = read(directory)
    assert problems == []
    assert len(conversations) == 1
    return conversations[0]


def text_of(message: Message) -> str:
    """What a reader sees: the deltas where the chunks say everything."""
    if message.streamed is not None and not message.parts:
        return "".join(chunk.delta for chunk in message.streamed.chunks)
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


def plain(*texts: str, identity: str = ID) -> Context:
    """A context of a user's messages, one after another."""
    ids = [f"22222222-2222-4222-8222-{number:012}" for number in range(len(texts))]
    return {
        "id": identity,
        "config": {"model_id": "gpt-4"},
        "message_pool": {
            own: {
                "id": own,
                "message": {"role": "User", "content": [{"type": "text", "text": text}], "metadata": None},
                "parent_id": parent,
            }
            for own, parent, text in zip(ids, [None, *ids], texts, strict=False)
        },
        "branches": {"main": {"name": "main", "message_ids": ids}},
        "active_branch_name": "main",
        "current_state": "idle",
    }


def files_in(folder: Path) -> dict[str, Any]:
    """What the files of a folder say; times with as many decimals as they need."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*.json"):
        content = re.sub(rb"(?:\.000|(\.\d{3}))000Z", rb"\1Z", path.read_bytes())
        found[str(path.relative_to(folder))] = msgspec.json.decode(content)
    return found
