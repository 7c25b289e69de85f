"""The store as a whole: cancelling, back-pressure, closing, and being used where it must not be."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from processes import output
from samples import C, D, chunk, ident

from eventstore import reading as reading_module
from eventstore import request
from eventstore import store as store_module
from eventstore.commits import Append, Committed
from eventstore.errors import NotFound, TurnlogError, Unavailable
from eventstore.events import BITS, ContextCreated, CustomRecorded, StreamStarted
from eventstore.inbox import Inbox
from eventstore.limits import EVENTS_AT_ONCE
from eventstore.request import Request
from eventstore.store import EventStore

MARK = CustomRecorded("mark")


async def code_of(store: EventStore) -> str:
    """The code with which an append fails."""
    with pytest.raises(TurnlogError) as error:
        await store.append(C, [MARK])
    return error.value.code


@pytest.fixture
def tiny_inbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores opened from here on let two requests wait."""
    monkeypatch.setattr(store_module, "Inbox", partial(Inbox, requests_max=2))


# -- Reading ------------------------------------------------------------------------------------------------


async def test_reading_gives_every_commit_in_order_or_those_with_some_kinds(store: EventStore) -> None:
    for context in (C, D):
        await store.append(context, [ContextCreated()])
    await store.append(C, [MARK])
    assert [commit.position for commit in store.read()] == [1, 2, 3]
    assert [commit.position for commit in store.read(after=1, to=2)] == [2]
    assert [commit.position for commit in store.read(kinds=BITS[CustomRecorded])] == [3]
    assert list(store.read(after=3)) == list(store.read(after=99)) == []


async def test_reading_goes_on_over_many_pages_and_holds_no_transaction_between(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "PAGE_COMMITS", 3)
    await store.append_many([Append(ident(n), (ContextCreated(),)) for n in range(1, 21)])
    seen = list[int]()
    for commit in store.read():
        seen.append(commit.position)
        if commit.position == 10:
            assert store.log.env.readers().count("\n") <= 2, "a header and at most one idle reader"
            await store.append(ident(99), [ContextCreated()])
    assert seen == list(range(1, 22))


async def test_reading_a_context_goes_on_over_many_pages(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "PAGE_COMMITS", 3)
    await store.append_many([Append(C, (ContextCreated(),)), *[Append(C, (MARK, MARK))] * 10])
    assert [commit.position for commit in store.read_context(C)] == list(range(1, 12))
    assert [commit.position for commit in store.read_context(C, 0)] == list(range(1, 12))
    assert [commit.position for commit in store.read_context(C, 5, 12)] == [3, 4, 5, 6, 7]
    assert list(store.read_context(C, 22)) == list(store.read_context(C, 5, 4)) == []
    with pytest.raises(NotFound) as unknown:
        list(store.read_context(D))
    assert unknown.value.code == "context_not_found"


# -- Cancelling and waiting ---------------------------------------------------------------------------------


async def test_a_cancelled_append_has_happened_or_not_and_its_commit_id_tells(store: EventStore) -> None:
    await store.append(C, [ContextCreated()])
    for number in range(30):
        commit_id = ident(0x1000 + number)
        with anyio.move_on_after(0.0002 * (number % 5)):
            await store.append(C, [MARK], commit_id=commit_id)
        again = await store.append(C, [MARK], commit_id=commit_id)
        assert again.version == number + 2, "once, whether it was written before or now"


async def test_cancelling_one_append_leaves_its_neighbours_alone(store: EventStore) -> None:
    await store.append(C, [ContextCreated()])
    appends = [asyncio.ensure_future(store.append(C, [MARK])) for _ in range(20)]
    await checkpoint()
    for append in appends[::2]:
        append.cancel()
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert all(isinstance(outcome, Committed) for outcome in outcomes[1::2])


async def test_cancelling_many_appends_leaves_no_error_that_nobody_hears(store: EventStore) -> None:
    heard = list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(str(context)))
    many = asyncio.ensure_future(store.append_many([Append(C, (MARK,))] * 50))
    await checkpoint()
    many.cancel()
    with pytest.raises(asyncio.CancelledError):
        await many
    del many
    await store.append(C, [ContextCreated()])
    gc.collect()
    assert heard == []


async def test_appends_wait_while_the_inbox_is_full_and_all_get_through(
    tiny_inbox: None, data_dir: Path
) -> None:
    async with await EventStore.open(data_dir) as store:
        await store.append(C, [ContextCreated()])
        most = 0

        async def append() -> None:
            nonlocal most
            await store.append(C, [MARK])
            most = max(most, store.statistics().waiting_requests)

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(append)
        assert (store.version_of(C), most <= 2) == (101, True)
        outcomes = await store.append_many([Append(C, (MARK,))] * 50)
        assert all(isinstance(outcome, Committed) for outcome in outcomes)


async def test_closing_while_appends_wait_for_room_answers_every_one(
    tiny_inbox: None, data_dir: Path
) -> None:
    store = await EventStore.open(data_dir)
    await store.append(C, [ContextCreated()])
    appends = [asyncio.ensure_future(store.append(C, [MARK])) for _ in range(50)]
    many = asyncio.ensure_future(store.append_many([Append(C, (MARK,))] * 5))
    await checkpoint()
    with anyio.fail_after(10):
        await store.close()
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        outcomes += await many
    written = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
    refused = [outcome.code for outcome in outcomes if isinstance(outcome, Unavailable)]
    assert len(written) + len(refused) == 55
    assert set(refused) == {"log_closed"}
    async with await EventStore.open(data_dir) as reopened:
        assert reopened.version_of(C) == 1 + len(written), "what was answered as written is there, no more"


# -- Closing ------------------------------------------------------------------------------------------------


async def test_closing_writes_what_was_appended_before(data_dir: Path) -> None:
    store = await EventStore.open(data_dir)
    appends = [asyncio.ensure_future(store.append(ident(n), [ContextCreated()])) for n in range(1, 51)]
    await checkpoint()
    await store.close()
    assert all(append.done() for append in appends), "their outcomes are delivered before close returns"
    assert sorted(append.result().position for append in appends) == list(range(1, 51))


async def test_closing_twice_or_at_once_is_closing(data_dir: Path) -> None:
    store = await EventStore.open(data_dir)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(store.close)
    await store.close()


async def test_a_closed_store_says_so(data_dir: Path) -> None:
    store = await EventStore.open(data_dir)
    await store.append(C, [ContextCreated()])
    await store.close()
    assert await code_of(store) == "log_closed"
    uses = (
        store.head,
        store.statistics,
        partial(store.version_of, C),
        partial(next, store.read()),
        partial(next, store.read_context(C)),
        store.subscribe,
    )
    for use in uses:
        with pytest.raises(Unavailable) as closed:
            use()
        assert closed.value.code == "log_closed", use
    outcomes = await store.append_many([Append(C, (MARK,))])
    assert [outcome.code for outcome in outcomes if isinstance(outcome, TurnlogError)] == ["log_closed"]


async def test_what_is_encoded_while_the_store_is_closed_is_not_written(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await EventStore.open(data_dir)
    await store.append(C, [ContextCreated()])
    began, closed, make = threading.Event(), threading.Event(), request.make_request

    def held(append: Append, future: Any) -> Request:
        began.set()
        assert closed.wait(20)
        return make(append, future)

    monkeypatch.setattr(request, "make_request", held)
    codes: list[str] = []
    with anyio.fail_after(20):  # it would wait for ever for a writer that has ended
        async with anyio.create_task_group() as tasks:

            async def long() -> None:
                with pytest.raises(Unavailable) as refused:
                    await store.append(C, [MARK] * (EVENTS_AT_ONCE + 1))
                codes.append(refused.value.code)

            tasks.start_soon(long)
            await anyio.to_thread.run_sync(began.wait)
            await store.close()
            closed.set()
    assert codes == ["log_closed"]


async def test_a_read_that_was_under_way_ends_with_the_store(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "PAGE_COMMITS", 1)
    store = await EventStore.open(data_dir)
    await store.append_many([Append(ident(n), (ContextCreated(),)) for n in (1, 2)])
    reading = store.read()
    next(reading)
    await store.close()
    with pytest.raises(Unavailable, match="closed"):
        next(reading)


async def test_a_store_whose_loop_has_ended_makes_no_noise(data_dir: Path) -> None:
    said = output(
        data_dir,
        """
store = await EventStore.open(path)
await store.append(C, [ContextCreated()])
for n in range(100):
    task = asyncio.ensure_future(store.append(C, [CustomRecorded("c", "x" * 100_000)]))
await asyncio.sleep(0)
say("left open")
""",
    )
    assert said == "left open"


# -- Where it must not be used ------------------------------------------------------------------------------


async def test_a_forked_child_is_told_to_open_its_own(data_dir: Path) -> None:
    said = output(
        data_dir,
        """
store = await EventStore.open(path)
await store.append(C, [ContextCreated()])
child = os.fork()
if child == 0:
    for use in (store.head, store.append(C, [CustomRecorded("c")]).__await__().__next__, store.statistics):
        try:
            use()
        except TurnlogError as error:
            say(error.code)
    os._exit(0)
os.waitpid(child, 0)
say((await store.append(C, [CustomRecorded("c")])).position)
await store.close()
""",
    )
    assert said.split() == ["forked_process"] * 3 + ["2"]


async def test_another_event_loop_is_refused_and_nothing_is_written(store: EventStore) -> None:
    await store.append(C, [ContextCreated()])
    failed = list[str]()

    async def elsewhere() -> None:
        try:
            await store.append(C, [MARK])
        except TurnlogError as error:
            failed.append(error.code)

    def run() -> None:
        with asyncio.Runner() as runner:
            runner.run(elsewhere())

    thread = threading.Thread(target=run)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    assert failed == ["wrong_event_loop"]
    assert store.version_of(C) == 1


# -- Listeners ----------------------------------------------------------------------------------------------


async def test_a_listener_hears_each_head_and_a_failing_one_harms_nobody(store: EventStore) -> None:
    heard = SimpleQueue[tuple[int, int, int]]()

    def broken(after: int, position: int, kinds: int) -> None:
        raise RuntimeError(f"{kinds} at {after} to {position}")

    def sound(after: int, position: int, kinds: int) -> None:
        heard.put((after, position, kinds))

    removals = [store.add_commit_listener(listener) for listener in (broken, sound)]
    for number, event in enumerate((ContextCreated(), CustomRecorded("c"))):
        await store.append(C, [event])
        assert heard.get(timeout=10) == (number, number + 1, BITS[type(event)])
    for remove in removals:
        remove()
    await store.append(ident(3), [ContextCreated()])
    await store.close()
    assert heard.empty()


async def test_a_read_only_store_reads_and_tells_its_listeners_nothing(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as writer:
        await writer.append(C, [ContextCreated(), StreamStarted(ident(1)), chunk(1, message_id=ident(1))])
    async with await EventStore.open(data_dir, read_only=True) as reader:
        assert reader.acknowledged == 1
        reader.add_commit_listener(lambda after, position, kinds: None)()
        assert [commit.event_count for commit in reader.read()] == [3]
        assert await code_of(reader) == "log_read_only"
        assert reader.statistics().read_only


@pytest.fixture(autouse=True)
def no_child_process_is_left() -> Iterator[None]:
    """A fork in here would run the rest of the tests twice."""
    pid = os.getpid()
    yield
    assert os.getpid() == pid
