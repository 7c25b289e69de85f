"""Feeds: one for all readers of a stream, wherever they are, and whatever befalls it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from event_source import heard, objects
from serving import Served

from turnlog.service.feeds import Feeds


async def test_a_reader_that_is_ahead_does_not_take_the_feed_from_others(served: Served) -> None:
    context_id = await served.context()
    message_id = await served.stream(context_id)
    await served.chunks(message_id, "a", "b")
    feeds = served.service.streams.feeds
    async with (
        feeds.reading(context_id, message_id, 99) as ahead,
        feeds.reading(context_id, message_id, 2) as reader,
    ):
        assert (ahead is reader, len(feeds)) == (True, 1)
        assert reader.after(2) == [], "who has all that is stored waits for more"
        await served.chunks(message_id, "c", after=2)
        while not (found := reader.after(2)):
            await reader.change()
        assert [chunk.delta for chunk in found] == ["c"]
        assert ahead.after(99) == []
    assert len(feeds) == 0


async def test_who_comes_next_finds_the_feed_of_the_one_before(served: Served) -> None:
    context_id = await served.context()
    message_id = await served.stream(context_id)
    feeds = Feeds(served.service.log.store, served.service.log.queries)
    async with feeds.reading(context_id, message_id, 0) as first:
        feeds.tend()
        feeds.tend()
    feeds.tend()
    async with feeds.reading(context_id, message_id, 0) as second:
        assert second is first
        await served.chunks(message_id, "a")
        while not second.after(0):
            await second.change()
        feeds.tend()
    feeds.tend()
    feeds.tend()
    async with feeds.reading(context_id, message_id, 0) as third:
        assert third is not first, "nobody came between two looks"
        await served.finalize(message_id)
        while not third.ended:
            await third.change()
    async with feeds.reading(context_id, message_id, 0) as fourth:
        assert fourth is not third, "it has ended"
    feeds.stop()


async def test_a_feed_that_fails_ends_what_its_readers_read(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = await served.stream(await served.context())
    await served.chunks(message_id, "a")

    async def follow(*_: Any, **__: Any) -> AsyncGenerator[None]:
        raise ValueError("secret words of a chat")
        yield

    monkeypatch.setattr(served.service.log.queries, "follow", follow)
    found = await heard(served.client, f"/api/messages/{message_id}/stream")
    assert [event.event for event in found] == ["message", "message", "error"]
    assert objects(found)[-1]["problem"]["code"] == "unexpected"
    assert "secret" not in found[-1].data
