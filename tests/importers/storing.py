"""Whether the log would take what an importer made: its commits, by every rule but that of the disk."""

from __future__ import annotations

from worlds import World

from eventstore.request import make_request
from turnlog.importers.conversation import Conversation
from turnlog.importers.job.planning import plan_new


def check_storable(conversation: Conversation) -> None:
    """Raise if a commit of the conversation's would be refused."""
    world = World()
    for append in plan_new(conversation, None, "run").appends:
        request = make_request(append, None)  # checks, encodes and measures
        world.append(*request.prepared.records, to=append.context_id)
    model = world.models[conversation.id]
    assert model.branches == conversation.branches
    assert model.active_branch == conversation.active_branch
    assert world.places.keys() == {message.id for message in conversation.messages}
