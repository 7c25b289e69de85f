"""Numbers for Prometheus. Labels are routes, projections and databases: never contexts or streams."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from eventstore.errors import TurnlogError
from turnlog.facade import Turnlog
from turnlog.service.streams import Streams

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BOUNDS: Final = (*map(str, _BUCKETS), "+Inf")


class _Timed:
    """How long the requests of one method and route took."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.seconds: float = 0.0
        self.buckets: list[int] = [0] * len(_BOUNDS)
        """Those within each bound, and not within the one before it."""


class Metrics:
    """All numbers of one service. One thread counts: the library's own counters take a lock for each step."""

    def __init__(self, log: Turnlog, streams: Streams) -> None:
        self._registry = CollectorRegistry()
        self._requests: dict[tuple[str, str, int], int] = {}
        self._timed: dict[tuple[str, str], _Timed] = {}
        self._registry.register(_Requests(self._requests, self._timed))
        self._registry.register(_State(log, streams))

    def count(self, method: str, route: str, status: int, seconds: float, *, goes_on: bool) -> None:
        """One request is over."""
        key = method, route, status
        self._requests[key] = self._requests.get(key, 0) + 1
        if goes_on:
            return
        timed = self._timed.get((method, route))
        if timed is None:
            timed = self._timed[method, route] = _Timed()
        timed.seconds += seconds
        timed.buckets[bisect_left(_BUCKETS, seconds)] += 1

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)


class _Requests(Collector):
    """What was counted."""

    def __init__(
        self, requests: dict[tuple[str, str, int], int], timed: dict[tuple[str, str], _Timed]
    ) -> None:
        self._requests = requests
        self._timed = timed

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        requests = CounterMetricFamily(
            "turnlog_requests", "Requests answered.", labels=["method", "route", "status"]
        )
        for (method, route, status), count in self._requests.items():
            requests.add_metric([method, route, str(status)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "turnlog_request_seconds",
            "Until the answer was sent; responses that go on are left out.",
            labels=["method", "route"],
        )
        for labels, timed in self._timed.items():
            within = list(zip(_BOUNDS, map(float, accumulate(timed.buckets)), strict=True))
            seconds.add_metric(labels, within, timed.seconds)
        yield seconds


class _State(Collector):
    """What the log and the views say of themselves, read when it is asked for."""

    def __init__(self, log: Turnlog, streams: Streams) -> None:
        self._log = log
        self._streams = streams

    def collect(self) -> Iterator[Metric]:
        """The metrics: first what a damaged log has no part in."""
        yield _gauge("turnlog_connections", "Responses that go on.", len(self._streams.connections))
        yield _gauge("turnlog_feeds", "Streams that are read live.", len(self._streams.feeds))
        try:
            yield from self._store()
            yield from self._projections()
        except TurnlogError:
            return  # the log is damaged, or being closed or reopened: these are left out this time

    def _store(self) -> Iterator[Metric]:
        store = self._log.store.statistics()
        yield CounterMetricFamily("turnlog_commits", "Commits in the log.", value=store.position)
        yield _gauge("turnlog_log_bytes", "Size of the log's file.", store.file_bytes)
        yield _gauge("turnlog_waiting_requests", "Appends that wait for the writer.", store.waiting_requests)
        yield _gauge("turnlog_waiting_bytes", "Bytes that wait for the writer.", store.waiting_bytes)
        yield _gauge("turnlog_group_max", "Most appends that shared a sync.", store.group_max)
        yield _gauge("turnlog_read_only", "1 when nothing can be written.", float(store.read_only))
        yield CounterMetricFamily(
            "turnlog_failed_commits", "Commits that failed.", value=store.failed_commits
        )
        yield CounterMetricFamily("turnlog_recoveries", "Recoveries of the log.", value=store.recoveries)
        sizes = GaugeMetricFamily("turnlog_database_bytes", "Size by database.", labels=["database"])
        for name, size in store.databases.items():
            sizes.add_metric([name], size["bytes"])
        yield sizes

    def _projections(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily("turnlog_projection_lag", "Commits behind the log.", labels=["projection"])
        failed = GaugeMetricFamily("turnlog_projection_failed", "1 when it stopped.", labels=["projection"])
        for projection in self._log.runner.status().projections:
            lag.add_metric([projection.name], projection.lag_positions)
            failed.add_metric([projection.name], float(projection.failure is not None))
        yield lag
        yield failed


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_, value=value)
