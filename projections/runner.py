"""The runner: one thread that follows the log and keeps the views up to date."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Final

import anyio
import anyio.to_thread

from eventstore.closing import Once
from eventstore.errors import Damaged, TurnlogError, Unavailable
from eventstore.store import EventStore
from projections.bookkeeping import Bookkeeping
from projections.following import Following
from projections.generations import Failure, failure_of, poisoned
from projections.polling import Poller, position_not_found, stored_entries
from projections.progress import Progress
from projections.status import Census, RunnerStatus
from projections.views import Views
from projections.waiting import Waiters

LINGER_SECONDS: Final = 0.06
"""What the runner waits after the first new commit while nobody waits for it. The log and the views sync on
one disk, and each sync of one slows the other: fewer and larger transactions here are faster appends, and
less of the processor that both share."""

RETRY_SECONDS: Final = 1.0
"""Between two tries while the views cannot be stored, as on a full disk."""

TURN_SECONDS: Final = 0.001
"""Work of a rebuild before other threads have their turn. Python hands its lock on after 5 ms, and the event
loop gives it up at each call of LMDB, so that one answer waited several times as long."""

WAYS_SECONDS: Final = (0.00001, 0.002)
"""How long it gives way: the shortest wait there is, some 60 us; while others want the lock, so long that
they have it to themselves for the most part, since handing it to and fro takes them twice their own time."""

WANTED_SECONDS: Final = 0.0002
"""Who comes back from a wait later than by this found the lock in other hands."""

READERS_CHECK_SECONDS: Final = 60.0
"""Between two looks for readers whose process died."""

CLOSE_SECONDS: Final = 10.0
"""How long a close waits for the thread: twenty times a step. Longer, and a fold does not return."""


class Runner:
    """Follows the log of ``store`` and brings ``views`` up to date, on a thread of its own.

    ``async with Runner(store, views) as runner``, or ``start`` and ``close``; close it before the views and
    the store. In a read-only process there is no thread: the writer's process does the work, and
    ``wait_for`` looks at what that has stored.
    """

    def __init__(
        self,
        store: EventStore,
        views: Views,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._store = store
        self._views = views
        self._monotonic = monotonic
        self._linger_seconds = linger_seconds
        self._head_at_start = self._durable = store.head().position
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._waiters = Waiters()
        self._progress = Progress(views.projections)
        self._wanted: dict[str, None] = {}
        self._error: TurnlogError | None = None
        self._suspect = False
        self._closing = False
        self._ending = Once(self._stop)
        self._readers_checked = monotonic()
        self._turn_ends = 0.0
        self._is_wanted = False
        self._remove_listener: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None
        self._poller: Poller | None = None
        if views.read_only:
            self._poller = Poller(store.log, views)
            return
        self._books = Bookkeeping(views, store.log)
        self._following = Following(store.log, self._books, monotonic, self._give_way)
        self._following.take_over(self._durable)  # an empty log needs no building
        self._progress.publish(self._following.tracks, monotonic())

    def start(self) -> None:
        """Start the thread, once; in a process that only reads there is none."""
        if self._poller is not None or self._thread is not None:
            return
        self._remove_listener = self._store.add_commit_listener(self._committed)
        # After the listener is there, so that no commit falls between the two; and apart from what the
        # listener writes on its thread.
        self._head_at_start = self._store.head().position
        self._wake_up()
        self._thread = threading.Thread(target=self._run, name="turnlog-projections", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Stop the thread, with every checkpoint stored. Idempotent; done to its end even when cancelled.

        Whoever waits gets ``Unavailable`` with code ``log_closed``. A fold that does not return within
        ``CLOSE_SECONDS`` raises ``Unavailable`` with code ``projection_stuck``; its thread, and the views'
        environment that it is inside, are left to the end of the process.
        """
        self._closing = True
        await self._ending.done()

    async def _stop(self) -> None:
        if self._thread is None:
            return
        if self._remove_listener is not None:
            self._remove_listener()
        self._following.stopping = True
        self._wake_up()
        await anyio.to_thread.run_sync(self._thread.join, CLOSE_SECONDS)
        if self._thread.is_alive():
            self._views.leave_open()
            raise Unavailable(
                "projection_stuck",
                f"the fold of {self._following.folding} does not return",
                projection=self._following.folding,
            )

    async def __aenter__(self) -> Runner:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def wait_for(self, position: int, projection: str | tuple[str, ...] | None = None) -> None:
        """Wait until the views have applied ``position``: afterwards a reader sees all up to it.

        ``projection`` names the projections that are needed; without it, all are waited for but those that
        have failed. Returns at once, without giving way to other tasks, when there is nothing to wait for.
        A projection whose first build is under way is waited for to its end. Cancelling is harmless.

        Raises ``NotFound`` (``position_not_found`` when the log is not that long, ``unknown_projection``),
        ``Unavailable`` (``projection_poisoned`` when a named projection stopped before the position,
        ``log_closed``, ``disk_full`` and its like, ``views_behind`` in a read-only process) or ``Damaged``.
        """
        names = (projection,) if isinstance(projection, str) else projection
        for name in names or ():
            self._progress.known(name)
        if self._poller is not None:
            await self._poller.wait(position, names)
        elif not self._progress.has_applied(position, names) and not self._is_passed(position, names):
            if position > self._durable and position > self._store.head().position:
                raise position_not_found(position)
            await self._wait(partial(self._progress.has_applied, position, names))

    def _is_passed(self, position: int, names: tuple[str, ...] | None) -> bool:
        """Whether the thread has only to pass by what came since: the rows are those of ``position`` then.

        While a model streams, nearly every reader finds it so, and no thread is waited for.
        """
        if not names or position > self._durable or self._error is not None or self._closing:
            return False
        kinds = 0
        for name in names:
            kinds |= self._views.projections[name].kinds
        return self._following.news.skip(self._progress.applied(names), position, kinds) == position

    async def rebuild(self, name: str) -> None:
        """Begin to build a projection anew, beside its live rows; returns when that is durable.

        A build that is under way goes on; one that failed is begun again. ``rebuilt`` waits for the end,
        ``status`` tells the progress. Raises ``NotFound`` (``unknown_projection``) or ``Unavailable``.
        """
        self._progress.known(name)
        if self._poller is not None:
            raise Unavailable("log_read_only", "the views were opened read-only", path=str(self._views.path))
        self._wanted[name] = None
        await self._wait(lambda: name not in self._wanted)

    async def rebuilt(self, name: str) -> None:
        """Wait until no build of a projection is under way. Raises as ``wait_for``."""
        self._progress.known(name)
        if self._poller is None:
            await self._wait(partial(self._has_built, name))

    def status(self) -> RunnerStatus:
        """State, lag, rate and progress of every projection, now. Raises ``Unavailable`` after closing."""
        reads_only = self._poller is not None
        entries = stored_entries(self._views) if reads_only else self._books.entries
        tracks = [] if reads_only else self._following.tracks
        failure = None if self._error is None else _failure_of_runner(self._error)
        census = Census(self._store.log, entries, self._monotonic(), failure)
        configured = [
            census.of(p, [t for t in tracks if t.projection is p], self._progress.meters)
            for p in self._views.projections.values()
        ]
        unused = [census.unused(name) for name in sorted(entries) if name not in self._views.projections]
        return RunnerStatus(census.head, reads_only, failure, (*configured, *unused))

    def _committed(self, after: int, position: int, kinds: int) -> None:
        """On the writer's thread."""
        self._following.news.tell(after, position, kinds)
        self._durable = position
        if not self._wake.is_set():
            self._wake.set()

    def _wake_up(self) -> None:
        self._following.hurry = True
        self._urgent.set()
        self._wake.set()

    async def _wait(self, ready: Callable[[], bool]) -> None:
        self._views.check_process()
        await self._waiters.wait(partial(self._is_over, ready), self._wake_up)

    def _is_over(self, ready: Callable[[], bool]) -> bool:
        """Whether a wait is, one way or the other."""
        if ready():
            return True
        if self._error is not None:
            raise _anew(self._error)
        if self._closing or self._thread is None:
            raise Unavailable("log_closed", "the views are closed")
        return False

    def _has_built(self, name: str) -> bool:
        build = self._following.track(name, "building")
        if build is not None and build.failure is not None:
            raise poisoned(name, build.failure)
        return build is None

    # From here on, on the runner's thread.

    def _run(self) -> None:
        try:
            while not self._closing:
                self._wake.wait()
                if not self._waiters:
                    self._urgent.wait(self._linger_seconds)
                self._wake.clear()
                self._urgent.clear()
                self._catch_up()
            self._following.save()
        except TurnlogError as error:
            self._error = error
        except BaseException as error:
            self._error = Unavailable("runner_failed", f"the runner failed: {type(error).__name__}")
            self._error.__cause__ = error
        finally:
            # Nobody may be left waiting for a thread that has ended.
            self._publish()

    def _catch_up(self) -> None:
        more = True
        while more and not self._closing:
            try:
                if self._suspect:
                    self._following.recover()
                    self._suspect = False
                self._begin_rebuilds()
                more = self._following.step(max(self._durable, self._head_at_start))
                self._error = None
                self._check_readers()
            except Unavailable as error:
                # Nothing is lost: what is not stored waits in memory, or is folded again.
                self._error = error
                self._suspect |= error.code == "storage_failed"
                self._urgent.clear()
                self._publish()
                if not self._closing:
                    self._urgent.wait(RETRY_SECONDS)
            else:
                self._publish()

    def _give_way(self) -> None:
        now = self._monotonic()
        if now >= self._turn_ends:
            way = WAYS_SECONDS[self._is_wanted]
            time.sleep(way)
            back = self._monotonic()
            self._is_wanted = back - now - way > WANTED_SECONDS
            self._turn_ends = back + TURN_SECONDS

    def _begin_rebuilds(self) -> None:
        for name in tuple(self._wanted):
            self._following.rebuild(name)
            self._wanted.pop(name, None)

    def _publish(self) -> None:
        self._progress.publish(self._following.tracks, self._monotonic())
        self._waiters.settle()

    def _check_readers(self) -> None:
        now = self._monotonic()
        if now - self._readers_checked >= READERS_CHECK_SECONDS:
            self._readers_checked = now
            self._books.check_readers()


def _anew(error: TurnlogError) -> TurnlogError:
    """The runner's error for one who waits: raising one for all would keep what each of them held."""
    raised = error.copy()
    raised.__cause__ = error.__cause__
    return raised


def _failure_of_runner(error: TurnlogError) -> Failure:
    position = error.fields.get("position")
    return failure_of(position if isinstance(error, Damaged) and isinstance(position, int) else 0, error)
