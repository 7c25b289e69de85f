"""What an importer says, and whether the log would take it: its commits, by every rule of the log."""

from __future__ import annotations

from pathlib import Path

from worlds import World

from eventstore.request import make_request
from turnlog.importers.conversation import Conversation, Importer, Problem
from turnlog.importers.job.planning import Plan, plan_new
from turnlog.importers.job.recording import digest_and_bytes, figures_of
from turnlog.importers.source.files import Source


def read_with(importer: Importer, root: Path) -> tuple[list[Conversation], list[Problem]]:
    """What an importer says of a folder or file."""
    said = list(importer.read(Source(root)))
    found = [one for one in said if isinstance(one, Conversation)]
    return found, [one for one in said if isinstance(one, Problem)]


def first_plan(conversation: Conversation) -> Plan:
    """What is appended of a conversation that the log does not have."""
    return plan_new(
        conversation, figures_of(conversation.messages), digest_and_bytes(conversation)[0], None, "run"
    )


def check_storable(conversation: Conversation) -> None:
    """Raise if a commit of the conversation's would be refused."""
    world = World()
    for append in first_plan(conversation).appends:
        request = make_request(append, None)  # checks, encodes and measures
        world.append(*request.prepared.records, to=append.context_id)
    model = world.models[conversation.id]
    assert model.branches == conversation.branches
    assert model.active_branch == conversation.active_branch
    assert world.places.keys() == {message.id for message in conversation.messages}
