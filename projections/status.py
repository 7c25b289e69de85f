"""What the runner says about itself: state, lag, rate and progress of every projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from eventstore.errors import TurnlogError
from eventstore.log import Log
from projections.generations import Entry, Failure, Generation
from projections.projection import Projection
from projections.track import Track

RATE_SECONDS: Final = 5.0
"""Rates are means over about this long: long enough not to jump, short enough to follow a change."""

_SAMPLE_SECONDS: Final = 0.1
"""Between two samples of a meter."""

State: TypeAlias = Literal["live", "building", "failed", "unused"]
"""``live`` is followed and readable, ``building`` is readable once its first build in this version is done,
``failed`` has stopped, ``unused`` has rows here but is not configured."""


class Rates(msgspec.Struct, frozen=True):
    """Positions passed and events folded, per second."""

    commits_per_second: float = 0.0
    events_per_second: float = 0.0


class BuildStatus(msgspec.Struct, frozen=True):
    """A generation that is built beside the live one, or before there is one.

    ``progress`` is 0 to 1; ``eta_seconds`` is None while no rate is known.
    """

    version: int
    checkpoint: int
    progress: float
    rates: Rates
    eta_seconds: float | None
    failure: Failure | None


class ProjectionStatus(msgspec.Struct, frozen=True):
    """One projection. ``version`` is the code's, ``live_version`` that of the rows which are live.

    ``checkpoint`` is the last position that its readers see, None before its first build is done.
    ``lag_seconds`` is the time between recording that commit and recording the log's last one.
    """

    name: str
    version: int
    state: State
    live_version: int | None
    checkpoint: int | None
    lag_positions: int
    lag_seconds: float
    rates: Rates
    building: BuildStatus | None
    failure: Failure | None


class RunnerStatus(msgspec.Struct, frozen=True):
    """All of them. ``failure`` is what stopped the runner itself, and with it every projection."""

    head: int
    read_only: bool
    failure: Failure | None
    projections: tuple[ProjectionStatus, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing has failed."""
        return self.failure is None and all(p.state != "failed" for p in self.projections)


class Meter:
    """How fast a track moves. ``mark`` on one thread, ``rates`` on any."""

    def __init__(self) -> None:
        self._samples: tuple[tuple[float, int, int], ...] = ()

    def mark(self, at: float, position: int, events: int) -> None:
        """It is there now."""
        if not self._samples or at - self._samples[-1][0] >= _SAMPLE_SECONDS:
            recent = [sample for sample in self._samples if sample[0] >= at - RATE_SECONDS]
            self._samples = (*recent, (at, position, events))

    def rates(self, at: float, position: int, events: int) -> Rates:
        """The means since the oldest sample that is recent enough."""
        for then, position_then, events_then in self._samples:
            if then >= at - RATE_SECONDS:
                seconds = max(at - then, _SAMPLE_SECONDS)
                return Rates((position - position_then) / seconds, (events - events_then) / seconds)
        return Rates()


class Census:
    """Everything that the statuses are made of, taken at one time."""

    def __init__(self, log: Log, entries: Mapping[str, Entry], now: float, failure: Failure | None) -> None:
        self._log = log
        self._entries = entries
        self._now = now
        self._failure = failure
        with log.reading() as txn:
            self.head: int = log.head(txn).position

    def of(
        self, projection: Projection, tracks: Sequence[Track], meters: Mapping[Track, Meter]
    ) -> ProjectionStatus:
        """The status of a configured projection, with its tracks: none in a read-only process."""
        entry = self._entries.get(projection.name, Entry())
        readable = entry.readable(projection)
        live = next((track for track in tracks if track.role == "live"), None)
        build = next((track for track in tracks if track.role == "building"), None)
        building = self._building(entry.building, build, meters) if entry.building is not None else None
        checkpoint = live.applied if live else readable.checkpoint if readable else None
        failure = live.failure if live else readable.failure if readable else None
        if readable is None and building is not None:
            failure = building.failure
        failure = self._failure or failure
        return ProjectionStatus(
            name=projection.name,
            version=projection.version,
            state="failed" if failure else "live" if readable else "building",
            live_version=entry.live.version if entry.live else None,
            checkpoint=checkpoint,
            lag_positions=max(self.head - (checkpoint or 0), 0),
            lag_seconds=self._lag_seconds(checkpoint or 0),
            rates=self._rates(live, meters),
            building=building,
            failure=failure,
        )

    def unused(self, name: str) -> ProjectionStatus:
        """The status of a projection that nobody configured: its rows are kept as they are."""
        live = self._entries[name].live
        checkpoint = live.checkpoint if live else None
        return ProjectionStatus(
            name=name,
            version=live.version if live else 0,
            state="unused",
            live_version=live.version if live else None,
            checkpoint=checkpoint,
            lag_positions=max(self.head - (checkpoint or 0), 0),
            lag_seconds=self._lag_seconds(checkpoint or 0),
            rates=Rates(),
            building=None,
            failure=None,
        )

    def _building(
        self, generation: Generation, track: Track | None, meters: Mapping[Track, Meter]
    ) -> BuildStatus:
        checkpoint = track.applied if track else generation.checkpoint
        rates = self._rates(track, meters)
        left = max(self.head - checkpoint, 0)
        return BuildStatus(
            version=generation.version,
            checkpoint=checkpoint,
            progress=1.0 if left == 0 else checkpoint / self.head,
            rates=rates,
            eta_seconds=left / rates.commits_per_second if rates.commits_per_second > 0 else None,
            failure=track.failure if track else generation.failure,
        )

    def _rates(self, track: Track | None, meters: Mapping[Track, Meter]) -> Rates:
        meter = meters.get(track) if track else None
        return meter.rates(self._now, track.applied, track.events) if track and meter else Rates()

    def _lag_seconds(self, checkpoint: int) -> float:
        if checkpoint >= self.head:
            return 0.0
        try:
            with self._log.reading() as txn:
                then = self._log.commit_at(txn, max(checkpoint, 1)).recorded_at
                return (self._log.head(txn).recorded_at - then) / 1e6
        except TurnlogError:  # a damaged commit must not hide the status that tells of it
            return 0.0
