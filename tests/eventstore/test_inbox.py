"""What waits for the writer stays within its bounds, in order, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import cast

import anyio
from anyio.lowlevel import checkpoint

from eventstore.inbox import Inbox
from eventstore.limits import TRANSACTION_BYTES_MAX, TRANSACTION_REQUESTS_MAX
from eventstore.request import Request


def request(size: int = 1, rest: tuple[Request, ...] = ()) -> Request:
    """As much of a request as an inbox looks at."""
    return cast("Request", SimpleNamespace(bytes=size, rest=rest))


async def put(inbox: Inbox, item: Request) -> None:
    """As ``append`` does it."""
    if not inbox.has_room():
        await inbox.wait_for_room(item)
    inbox.put(item)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await checkpoint()


async def test_what_waits_is_taken_at_once_and_in_order() -> None:
    inbox, items = Inbox(), [request() for _ in range(5)]
    for item in items:
        inbox.put(item)
    assert inbox.take() == items
    assert (inbox.requests, inbox.bytes) == (5, 5), "they count until they are delivered"
    inbox.delivered(items)
    assert (inbox.requests, inbox.bytes) == (0, 0)


async def test_a_batch_is_bounded_in_requests_and_in_bytes() -> None:
    inbox = Inbox()
    for _ in range(TRANSACTION_REQUESTS_MAX + 1):
        inbox.put(request(0))
    assert [len(inbox.take()) for _ in range(2)] == [TRANSACTION_REQUESTS_MAX, 1]
    for _ in range(5):
        inbox.put(request(TRANSACTION_BYTES_MAX // 2))
    assert [len(inbox.take()) for _ in range(3)] == [2, 2, 1]


async def test_a_request_with_a_rest_is_taken_alone_and_in_its_turn() -> None:
    inbox = Inbox()
    one, whole, other, last = (
        request(),
        request(3, (request(), request())),
        request(),
        request(2, (request(),)),
    )
    for item in (one, whole, other, last):
        inbox.put(item)
    inbox.close()
    assert [inbox.take() for _ in range(5)] == [[one], [whole], [other], [last], []]
    inbox.delivered([one, whole, other, last])
    assert (inbox.requests, inbox.bytes) == (0, 0)


async def test_what_was_put_before_closing_is_still_taken() -> None:
    inbox, item = Inbox(), request()
    inbox.put(item)
    inbox.close()
    assert [inbox.take(), inbox.take()] == [[item], []]


async def test_a_full_inbox_makes_wait_and_lets_in_first_come_first_served() -> None:
    inbox, entered = Inbox(requests_max=2), list[int]()

    async def enter(number: int) -> None:
        await put(inbox, request())
        entered.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(enter, number)
        await settle()
        assert (entered, inbox.has_room()) == ([0, 1], False)
        while len(entered) < 6:
            inbox.delivered(inbox.take())
            await settle()
            assert inbox.requests <= 2
    assert entered == list(range(6))


async def test_a_newcomer_does_not_take_the_room_of_one_who_was_called() -> None:
    inbox = Inbox(requests_max=1)
    await put(inbox, request())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(put, inbox, request())
        await settle()
        inbox.delivered(inbox.take())
        assert not inbox.has_room(), "it is kept for the one who waits, who has not run yet"
        await settle()
        assert inbox.requests == 1


async def test_bytes_are_bounded_as_well_also_when_many_wait() -> None:
    inbox, most = Inbox(bytes_max=100), 0
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(put, inbox, request(60))
        for _ in range(20):
            await settle()
            most = max(most, inbox.bytes)
            if inbox.requests:
                inbox.delivered(inbox.take())
    assert most == 120, "one request may go beyond, the next one waits"


async def test_who_stops_waiting_leaves_the_room_to_the_next() -> None:
    inbox = Inbox(requests_max=1)
    await put(inbox, request())
    first, second, third = (asyncio.ensure_future(put(inbox, request())) for _ in range(3))
    await settle()
    second.cancel()  # while it waits
    await settle()
    inbox.delivered(inbox.take())
    first.cancel()  # after it was called
    await settle()
    assert first.cancelled()
    assert third.done()
    assert inbox.requests == 1


async def test_closing_calls_everyone_who_waits() -> None:
    inbox, called = Inbox(requests_max=1), list[int]()
    await put(inbox, request())

    async def wait(number: int) -> None:
        await inbox.wait_for_room(request())
        called.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(wait, number)
        await settle()
        inbox.close()
    assert called == list(range(5))
    assert (inbox.requests, inbox.bytes) == (1, 1)


async def test_whatever_comes_goes_and_gives_up_the_bounds_hold_and_nobody_is_forgotten(seed: int) -> None:
    rng, inbox, entered = random.Random(seed), Inbox(requests_max=3, bytes_max=50), list[Request]()

    async def enter(item: Request) -> None:
        await put(inbox, item)
        entered.append(item)

    tasks = [asyncio.ensure_future(enter(request(rng.randrange(40)))) for _ in range(200)]
    cancelled = set(rng.sample(range(200), 60))
    for number in sorted(cancelled, key=lambda _: rng.random()):
        await settle() if rng.random() < 0.5 else await checkpoint()
        assert inbox.requests <= 3
        assert inbox.bytes < 50 + 40
        tasks[number].cancel()
        if inbox.requests and rng.random() < 0.7:
            inbox.delivered(inbox.take())
    while not all(task.done() for task in tasks):
        await settle()
        inbox.delivered(inbox.take())
    assert inbox.requests <= 3
    assert len(entered) == sum(not task.cancelled() for task in tasks) >= 140
