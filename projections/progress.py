"""How far every projection has come, as the event loop asks: it only compares integers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from projections.generations import Failure, poisoned
from projections.status import Meter
from projections.track import Track
from projections.views import unknown_projection

_NOTHING_WAITS: Final = 1 << 64
"""Above every position: what is applied by all when there is no projection left to wait for."""


class Progress:
    """``publish`` on the runner's thread, everything else on any: what is published is replaced whole."""

    def __init__(self, names: Iterable[str]) -> None:
        self.meters: dict[Track, Meter] = {}
        self.applied_by_all: int = -1
        self._applied: dict[str, int] = dict.fromkeys(names, -1)
        self._failures: dict[str, Failure] = {}

    def publish(self, tracks: Sequence[Track], now: float) -> None:
        """What readers see from now on; a projection without a live generation has applied nothing."""
        applied = dict.fromkeys(self._applied, -1)
        failures: dict[str, Failure] = {}
        building: set[str] = set()
        meters: dict[Track, Meter] = {}
        for track in tracks:
            name = track.projection.name
            meters[track] = self.meters.get(track) or Meter()
            meters[track].mark(now, track.applied, track.events)
            if track.role == "live":
                applied[name] = track.applied
            if track.failure is not None:
                failures[name] = track.failure
            elif track.role == "building":
                building.add(name)
        # A projection that failed and is being built again has not failed: the build will answer.
        failures = {name: failure for name, failure in failures.items() if name not in building}
        running = [position for name, position in applied.items() if name not in failures]
        self.meters, self._failures, self._applied = meters, failures, applied
        self.applied_by_all = min(running, default=_NOTHING_WAITS)

    def applied(self, names: tuple[str, ...]) -> int:
        """How far all of these have come; -1 when one has nothing yet."""
        return min(self._applied[name] for name in names)

    def known(self, name: str) -> str:
        """The same name. Raises ``NotFound`` (``unknown_projection``) when it is not configured."""
        if name not in self._applied:
            raise unknown_projection(name)
        return name

    def has_applied(self, position: int, names: tuple[str, ...] | None) -> bool:
        """Whether these projections have applied ``position``; without names, all but those that failed.

        Raises ``Unavailable`` (``projection_poisoned``) for a named one that stopped before it.
        """
        if names is None:
            return position <= self.applied_by_all
        applied, failures = self._applied, self._failures
        behind = [name for name in names if applied[name] < position]
        for name in behind:
            if name in failures:
                raise poisoned(name, failures[name])
        return not behind
