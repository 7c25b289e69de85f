"""Bring generations forward along the log: bounded steps, for one thread, without a thread of its own.

Theory of operation. Each live or building generation is a ``Track`` with a position. Tracks at one position
form a lane, and a lane shares one read of the log. Step by step, the foremost lane moves towards the head
and the hindmost towards the lane before it; where they meet, they are one lane. So live views keep up while
another generation is built, and building all of them reads the log once.

Changed rows wait in memory until the end of a step, then they are stored in one transaction with the
checkpoints of their lane. A lane in which no row changed is moved in memory only, since a transaction costs
a sync; its checkpoint is stored now and then. Commits that became visible together stay so: a lane that is
between two of them at the end of a step keeps its rows until it is past the last, and stages them where
nobody looks when they are many (``staging.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from msgspec.structs import replace

from eventstore.commits import Commit
from eventstore.errors import Damaged
from eventstore.log import Log
from projections.bookkeeping import Bookkeeping
from projections.generations import Generation
from projections.news import News
from projections.past import LogPast
from projections.track import Track

STEP_SECONDS: Final = 0.5
"""Work of one step when no live view waits for another lane: few syncs, and a close that waits this long."""

SLICE_SECONDS: Final = 0.02
"""Work on a lagging lane before the live one has its turn again: what a rebuild adds to live lag."""

PAGE_COMMITS: Final = 256
"""Commits read and folded before the clock is looked at, a millisecond or a few."""

PAGE_BYTES: Final = 512 * 1024
"""Bytes read before the clock is looked at, unpacked where a fold wants them, at least one commit."""

ROWS_BYTES_MAX: Final = 32 * 1024 * 1024
"""Changed rows of a lane held in memory before they are stored."""

STAGED_BYTES: Final = 4 * 1024 * 1024
"""Changed rows of a lane between commits that became visible together, before they are staged. Each may
dirty a page of its own, which memory holds until the transaction ends."""

CHECKPOINT_POSITIONS: Final = 10_000
"""Positions that a checkpoint in memory may run ahead of the stored one: some 15 ms to skip once more."""


class Following:
    """All tracks of the configured projections.

    ``monotonic`` gives seconds. ``give_way`` is called again and again while a lagging lane is folded beside
    one that readers look at: it may wait for a moment. On any thread, ``stopping`` may be set so that the
    step under way ends soon, and ``hurry`` so that it does if it is a slice: somebody waits for a live view.
    ``folding`` names the projection whose fold was entered last, to blame one that does not return.
    """

    def __init__(
        self,
        log: Log,
        books: Bookkeeping,
        monotonic: Callable[[], float],
        give_way: Callable[[], None] | None = None,
    ) -> None:
        self.tracks: list[Track] = []  # replaced, never changed: other threads read it
        self.stopping: bool = False
        self.hurry: bool = False
        self.folding: str | None = None
        self.news: News = News()
        self._log = log
        self._books = books
        self._monotonic = monotonic
        self._give_way = give_way
        self._past = LogPast(log)
        self._slice_next = False
        self._start()

    def _start(self) -> None:
        """From what is durable."""
        tracks: list[Track] = []
        for name, projection in self._books.views.projections.items():
            entry = self._books.entry(name)
            live = entry.readable(projection)
            if live is not None:
                tracks.append(Track(projection, live, "live"))
            if entry.building is not None:
                tracks.append(Track(projection, entry.building, "building"))
        self.tracks = tracks

    def recover(self) -> None:
        """After a commit that failed and may have happened: reopen the views, go on from what they hold.

        Raises ``Unavailable`` while the disk still fails.
        """
        self._books.reopen()
        self._start()

    def track(self, name: str, role: Literal["live", "building"]) -> Track | None:
        """The live or building track of a projection."""
        return next((t for t in self.tracks if t.projection.name == name and t.role == role), None)

    def rebuild(self, name: str) -> None:
        """Begin to build a projection anew beside its live generation, unless that is under way."""
        building = self.track(name, "building")
        if building is not None and building.failure is None:
            return
        generation = self._books.build(name)
        track = Track(self._books.views.projections[name], generation, "building")
        self.tracks = [*(t for t in self.tracks if t is not building), track]

    def step(self, head: int) -> bool:
        """One bounded piece of work towards ``head``; whether there is more to do at once.

        The foremost lane and the hindmost take turns. Raises ``Damaged`` when the log is, after storing what
        comes before; ``Unavailable`` when the views cannot be stored, keeping what is folded for later.
        """
        lanes = self._lanes()
        self._slice_next = len(lanes) > 1 and (self._slice_next or lanes[0][0].position >= head)
        if self._slice_next:
            self._catch_up(lanes)
        elif lanes:
            self._advance(lanes[0], head, STEP_SECONDS)
        self._slice_next = not self._slice_next
        self.take_over(head)
        self._books.drop_retired()
        return self._books.move_staged() or any(
            track.position < head for lane in self._lanes() for track in lane
        )

    def _catch_up(self, lanes: list[list[Track]]) -> None:
        """Bring the hindmost lane towards the one before it: shortly, if readers look at another."""
        self.hurry = False
        live = any(track.role == "live" for lane in lanes[:-1] for track in lane)
        goal = max(track.position for track in lanes[-2])
        self._advance(lanes[-1], goal, SLICE_SECONDS if live else STEP_SECONDS, sliced=live)

    def save(self) -> None:
        """Store every checkpoint that is ahead in memory."""
        for lane in self._lanes():
            self._save(lane, 1)

    def _lanes(self) -> list[list[Track]]:
        """The tracks that run, by position, the foremost first."""
        lanes: dict[int, list[Track]] = {}
        for track in self.tracks:
            if track.failure is None or not track.failure_saved:
                lanes.setdefault(track.position, []).append(track)
        return [lanes[position] for position in sorted(lanes, reverse=True)]

    def _advance(self, lane: list[Track], goal: int, seconds: float, *, sliced: bool = False) -> None:
        deadline = self._monotonic() + seconds
        damage: Damaged | None = None
        with self._books.stored() as rows_of:
            for track in lane:
                generation = self._books.entry(track.projection.name).generation(track.number)
                track.rows.stored = rows_of(track.projection.name, generation)
            try:
                self._fold_pages(lane, goal, deadline, sliced)
            except Damaged as error:
                damage = error
        if damage is None:
            self._save(lane, CHECKPOINT_POSITIONS)
        else:
            # No build gets beyond it: what comes before it is all that a first one can show.
            self._save(lane, 1, whole=False)
            self.take_over(min(track.position for track in lane))
            raise damage

    def _fold_pages(self, lane: list[Track], goal: int, deadline: float, sliced: bool) -> None:
        running = [track for track in lane if track.failure is None]
        while running:
            position = running[0].position
            if position >= goal:
                return
            size = _rows_bytes(running)
            if size >= STAGED_BYTES and (size >= ROWS_BYTES_MAX or self._is_divided(position)):
                return
            kinds = 0
            for track in running:
                kinds |= track.projection.kinds
            reached = self.news.skip(position, goal, kinds)
            commits: list[Commit] = []
            if reached == position:
                commits, reached = self._page(position, goal, kinds)
            for track in running:
                self.folding = track.projection.name
                track.fold(commits, reached, self._past, self._give_way if sliced else None)
            running = [track for track in running if track.failure is None]
            if reached == position or self._monotonic() >= deadline:
                return
            if self.stopping or (sliced and self.hurry):
                return

    def _page(self, after: int, goal: int, kinds: int) -> tuple[list[Commit], int]:
        """The next commits with any of the kinds, and the position reached."""
        with self._log.reading() as txn:
            return self._log.commits(
                txn,
                after,
                count_max=PAGE_COMMITS,
                bytes_max=PAGE_BYTES,
                kinds=kinds,
                to=goal,
                keep=self._past.hold,
            )

    def _save(self, lane: list[Track], behind: int, *, whole: bool = True) -> None:
        """Store the rows of a lane with its checkpoints, if there are any, or if they lag by ``behind``.

        Not between commits that became visible together, while the rest of them can come (``whole``).
        """
        if whole:
            divided = [track for track in lane if not track.failure and self._is_divided(track.position)]
            self._stage(divided)
            lane = [track for track in lane if track not in divided]
        if any(self._is_to_be_saved(track, behind) for track in lane):
            with self._books.writing() as change:
                for track in lane:
                    name = track.projection.name
                    entry = change.entries.get(name) or self._books.entry(name)
                    generation = entry.generation(track.number)
                    change.write(name, generation, track.rows)
                    if generation.staged == "hidden":
                        generation = replace(generation, staged="shown")
                    generation = self._checkpointed(track, generation, track.position)
                    change.save(name, entry.with_generation(generation))
            for track in lane:
                track.rows.clear()
                track.saved = track.position
                track.failure_saved = True
        for track in lane:
            track.applied = track.position

    def _is_to_be_saved(self, track: Track, behind: int) -> bool:
        staged = self._books.entry(track.projection.name).generation(track.number).staged
        is_changed = track.rows.changed or staged == "hidden"
        return is_changed or not track.failure_saved or track.position - track.saved >= behind

    def _stage(self, lane: list[Track]) -> None:
        """Put the rows of a lane aside if they are many, once others that were staged are moved."""
        entries = {track: self._books.entry(track.projection.name) for track in lane}
        staged = [entry.generation(track.number).staged for track, entry in entries.items()]
        if _rows_bytes(lane) < STAGED_BYTES or "shown" in staged:
            return
        with self._books.writing() as change:
            for track in lane:
                name = track.projection.name
                change.stage(name, change.entries.get(name) or entries[track], track.number, track.rows)
        for track in lane:
            track.rows.clear()

    def _is_divided(self, position: int) -> bool:
        with self._log.reading() as txn:
            return self._log.is_divided(txn, position)

    def _checkpointed(self, track: Track, generation: Generation, position: int) -> Generation:
        digest = self._books.digest_at(position)
        return replace(generation, checkpoint=position, digest=digest, failure=track.failure)

    def take_over(self, head: int) -> None:
        """Make live what has caught up: with the live generation, and with ``head`` where that stands.

        So no answer goes back, also where damage lets nothing get as far as a live generation once did.
        The live generation flips in one transaction, so readers see the one or the other.
        """
        for track in [t for t in self.tracks if t.role == "building" and t.failure is None]:
            name = track.projection.name
            live = self.track(name, "live")
            goal = head if live is None else live.applied
            if live is not None and live.failure is not None:
                goal = max(goal, head)
            if track.applied < goal:
                continue
            entry = self._books.entry(name)
            generation = self._checkpointed(track, entry.generation(track.number), track.applied)
            with self._books.writing() as change:
                change.save(name, entry.with_generation(generation).taken_over())
            track.role, track.saved = "live", track.applied
            self.tracks = [t for t in self.tracks if t is not live]


def _rows_bytes(lane: list[Track]) -> int:
    return sum(track.rows.bytes for track in lane)
