"""What is too large for the log's bounds: every format's conversations can be stored, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import ait42_stores
import copilot_stores
import pytest
import taskerino_stores
from legacy import stream_payload, write_json
from storing import check_storable
from taskerino_stores import screenshot

from turnlog.importers.conversation import Conversation
from turnlog.importers.source.keeping import fitted

METADATA = 300_000
EVENT = 4_500_000
MARK = "¤"  # two bytes each; it stands in nothing else


def copilot(tmp_path: Path, **more: Any) -> Conversation:
    """A context with these members, and with what is said of its last message."""
    context = copilot_stores.plain("a", "b")
    last = context["message_pool"][context["branches"]["main"]["message_ids"][-1]]["message"]
    last |= more.pop("message", {})
    write_json(tmp_path / f"{copilot_stores.ID}.json", context | more)
    return copilot_stores.read_one(tmp_path)


def streamed(tmp_path: Path) -> Conversation:
    payload = stream_payload(["a", MARK * EVENT, "b"], [1, 1, 1], finished=True)
    rich = {"kind": "streaming_response", "data": payload}
    content = [{"type": "text", "text": payload["content"]}]
    return copilot(tmp_path, message={"rich_type": rich, "content": content})


def ait42(tmp_path: Path, **more: Any) -> Conversation:
    """A session whose only message has these members too."""
    (tmp_path / "a.json").write_text(json.dumps([ait42_stores.session(chatHistory=[more])]))
    (conversation,), _ = ait42_stores.read(tmp_path)
    return conversation


def taskerino(tmp_path: Path, **more: Any) -> Conversation:
    """A session with these members too."""
    taskerino_stores.put(tmp_path, "sessions", [taskerino_stores.session(**more)], "bare")
    (conversation,), _ = taskerino_stores.read(tmp_path)
    return conversation


def text(count: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": MARK * count}]


Reader: TypeAlias = Callable[..., Conversation]
LARGE: dict[str, tuple[int, Reader, dict[str, Any]]] = {
    "a member": (METADATA, copilot, {"note": MARK * METADATA}),
    "many members": (METADATA, copilot, {"notes": {str(n): MARK * 10 for n in range(METADATA // 10)}}),
    "a config": (METADATA, copilot, {"config": {"prompt": MARK * METADATA}}),
    "a title": (METADATA, copilot, {"title": MARK * METADATA}),
    "a branch": (METADATA, copilot, {"branches": {"main": {"message_ids": [], "prompt": MARK * METADATA}}}),
    "a state": (EVENT, copilot, {"current_state": {"failed": {"error": MARK * EVENT}}}),
    "a text": (EVENT, copilot, {"message": {"content": text(EVENT)}}),
    "texts": (EVENT, copilot, {"message": {"content": text(EVENT // 2) * 2}}),
    "a picture": (EVENT, copilot, {"message": {"content": [{"type": "image", "url": MARK * EVENT}]}}),
    "metadata": (EVENT, copilot, {"message": {"metadata": {"extra": MARK * EVENT}}}),
    "a chunk": (EVENT, streamed, {}),
    "what was said": (EVENT, ait42, {"content": MARK * EVENT}),
    "what is kept of it": (EVENT, ait42, {"content": "a", "more": MARK * EVENT}),
    "a transcription": (EVENT, taskerino, {"fullTranscription": MARK * EVENT}),
    "an analysis": (
        EVENT,
        taskerino,
        {"screenshots": [screenshot(1, aiAnalysis={"summary": MARK * EVENT})]},
    ),
    "tags": (METADATA, taskerino, {"tags": [f"{MARK * 10}{n}" for n in range(METADATA // 10)]}),
}


@pytest.mark.parametrize("what", LARGE)
def test_what_is_too_large_is_kept_beside_and_nothing_is_lost(tmp_path: Path, what: str) -> None:
    count, read, members = LARGE[what]
    conversation = read(tmp_path, **members)
    check_storable(conversation)
    said: list[object] = [conversation.title, conversation.config, conversation.attributes]
    said += [conversation.state_detail, *conversation.tags, *(kept.data for kept in conversation.kept)]
    for message in conversation.messages:
        said += [message.metadata, *message.parts]
        said += message.streamed.chunks if message.streamed else ()
    assert sum(str(one).count(MARK) for one in said) >= count


def test_what_fits_stays_as_it_is(tmp_path: Path) -> None:
    conversation = copilot(tmp_path, note="n" * 1_000)
    assert fitted(conversation) == conversation
    assert not conversation.kept
