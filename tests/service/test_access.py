"""What a key sees: contexts and messages of its workspace, found once and remembered."""

from __future__ import annotations

from uuid import uuid4

import pytest
from every_route import Place, place_in
from serving import Served

from eventstore.errors import NotFound, Refused
from turnlog.service import access
from turnlog.service.access import Access, Admission, Workspaces
from turnlog.service.keys import ANYBODY, Key


def holder(served: Served, workspace: str | None) -> Access:
    """The log as one of a workspace sees it."""
    key = Key("0badcafe", None, workspace, "writer", 0)
    log, limits = served.service.log, served.service.settings.limits
    return Access(log, key, Workspaces(log.store.log), Admission(log, served.service.gate, limits))


@pytest.fixture
async def place(served: Served) -> Place:
    return await place_in(served, "ours")


@pytest.mark.parametrize("workspace", ["ours", None])
async def test_what_is_in_its_workspace_is_there(workspace: str | None, served: Served, place: Place) -> None:
    own = holder(served, workspace)
    assert own.sees(place.context)
    assert own.context(place.context).id == place.context
    assert own.context_of(place.message) == place.context
    own.check_free(place.context)  # the log itself tells, for it may
    own.check_free(uuid4())


async def test_what_is_in_another_is_not_found_and_not_free(served: Served, place: Place) -> None:
    other = holder(served, "theirs")
    assert not other.sees(place.context)
    for absent in (place.context, uuid4()):
        with pytest.raises(NotFound) as raised:
            other.context(absent)
        assert raised.value.code == "context_not_found"
    for absent in (place.message, uuid4()):
        with pytest.raises(NotFound) as raised:
            other.context_of(absent)
        assert (raised.value.code, set(raised.value.fields)) == ("message_not_found", {"message_id"})
    with pytest.raises(Refused) as taken:
        other.check_free(place.context)
    assert (taken.value.code, set(taken.value.fields)) == ("context_exists", {"context_id"})
    other.check_free(uuid4())


async def test_a_new_context_is_in_the_workspace_of_the_key(served: Served) -> None:
    assert [holder(served, "ours").workspace_for(asked) for asked in (None, "ours")] == ["ours", "ours"]
    assert [holder(served, None).workspace_for(asked) for asked in (None, "any")] == ["default", "any"]
    with pytest.raises(Refused) as raised:
        holder(served, "ours").workspace_for("theirs")
    assert raised.value.code == "workspace_not_allowed"
    assert ANYBODY.sees("ours")


async def test_workspaces_are_remembered_within_bounds(
    served: Served, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "WORKSPACES_KNOWN_MAX", 2)
    places = [place, *[await place_in(served, f"w{n}") for n in range(4)]]
    known = Workspaces(served.service.log.store.log)
    for _ in range(2):
        for n, each in enumerate(places):
            assert known.of(each.context) == ("ours" if n == 0 else f"w{n - 1}")
            assert len(known._known) <= 2  # pyright: ignore[reportPrivateUsage] -- the bound is on it
    assert known.of(uuid4()) is None, "what is not there yet is not remembered"
