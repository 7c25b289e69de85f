"""``turnlog stats``, ``verify``, ``rebuild`` and ``sweep``: look after a store."""

from __future__ import annotations

import anyio
from rich.text import Text

from eventstore.directory import open_directory
from eventstore.errors import DAMAGED
from eventstore.findings import Finding
from eventstore.limits import MAP_BYTES
from eventstore.statistics import StoreStatistics
from eventstore.units import format_time, wall_clock_us
from eventstore.verify import verify as findings_of
from projections.status import ProjectionStatus
from turnlog.cli.access import reading_as_it_is, writing
from turnlog.cli.options import DEFAULTS, Natural, Options
from turnlog.cli.output import Output
from turnlog.cli.rendering import identifier
from turnlog.cli.text import count, duration, one_line, size, styled
from turnlog.cli.waiting import polled, progress
from turnlog.facade import Turnlog
from turnlog.shapes import plain

_STATE_STYLES = {"live": "good", "building": "changed", "failed": "bad", "unused": "faint"}


async def stats(*, options: Options = DEFAULTS) -> None:
    """Show the store's size and head, and each projection's lag."""
    output = Output(options.json)
    async with reading_as_it_is(options) as log:
        store, runner = log.store.statistics(), log.runner.status()
        path = str(log.store.path)
    if options.json:
        projections = [plain(projection) for projection in runner.projections]
        output.emit({"path": path, "store": plain(store), "projections": projections})
        return
    for name, value in _store_facts(path, store):
        output.line((f"{name:<10}", "faint"), value)
    output.line("")
    databases = [
        [Text(name), Text(f"{sizes['entries']:,}"), Text(size(sizes["bytes"]))]
        for name, sizes in store.databases.items()
    ]
    output.table(("database", "entries", "size"), databases, right="entries")
    output.line("")
    output.table(
        ("projection", "version", "state", "position", "lag", ""),
        [_projection(projection) for projection in runner.projections],
        right="version position lag",
    )


def _store_facts(path: str, store: StoreStatistics) -> list[tuple[str, Text]]:
    at = f"  {format_time(store.recorded_at)}" if store.position else ""
    return [
        ("directory", Text(one_line(path))),
        ("store", styled(str(store.store_id), "id")),
        ("created", Text(format_time(store.created_at))),
        ("head", Text.assemble(f"position {store.position:,}", (at, "faint"))),
        ("chain", styled(store.chain, "faint")),
        ("log file", Text(size(store.file_bytes))),
    ]


def _projection(status: ProjectionStatus) -> list[Text]:
    note = Text()
    if status.building is not None:
        build = status.building
        note = styled(f"building version {build.version}: {build.progress:.0%}", "changed")
    if status.failure is not None:
        failure = status.failure
        note = styled(f"stopped before p{failure.position}: {one_line(failure.error)}", "bad")
    lag = styled(f"{status.lag_positions:,}", "changed" if status.lag_positions else "")
    return [
        Text(status.name),
        Text(str(status.live_version or status.version)),
        styled(status.state, _STATE_STYLES[status.state]),
        Text("-" if status.checkpoint is None else f"{status.checkpoint:,}"),
        lag,
        note,
    ]


def verify(*, after: Natural = 0, options: Options = DEFAULTS) -> int:
    """Check every commit of the log; end with 5 when it is damaged.

    Digests, order, indexes and the chain over all are checked, and nothing is changed. A writer may go on
    writing meanwhile.

    Args:
        after: only commits after this position; the chain is left out then.
    """
    output = Output(options.json)
    opened = open_directory(
        options.data,
        read_only=True,
        create=False,
        allow_unsafe_file_system=options.allow_unsafe_file_system,
        clock=wall_clock_us,
        map_bytes=MAP_BYTES,
    )
    found: list[Finding] = []
    try:
        with opened.log.reading() as txn:
            head = opened.log.head(txn)
        with progress(output, "verifying commits", head.position) as tell:
            for finding in findings_of(opened.log, after, progress=tell):
                found.append(finding)
                if not output.json:
                    output.line(_finding(finding))
    finally:
        opened.close()
    damaged = any(finding.severity == "error" for finding in found)
    if output.json:
        findings = [plain(finding) for finding in found]
        output.emit(
            {"sound": not damaged, "after": after, "position": head.position, "chain": head.chain.hex()}
            | {"findings": findings}
        )
    else:
        verdict = styled("damaged", "bad") if damaged else styled("sound", "good")
        checked = count(max(head.position - after, 0), "commit")
        output.line(verdict, f": {checked}, {count(len(found), 'finding')}")
        output.line((f"chain {head.chain.hex()}", "faint"))
    return DAMAGED if damaged else 0


def _finding(finding: Finding) -> Text:
    place = "" if finding.position is None else f"p{finding.position} "
    style = "bad" if finding.severity == "error" else "changed"
    return Text.assemble((finding.severity, style), f" {place}{finding.code}: {one_line(finding.message)}")


async def rebuild(name: str | None = None, /, *, options: Options = DEFAULTS) -> None:
    """Build a projection anew from the log, or all of them.

    The old rows answer until the new ones take over. A rebuild that is interrupted goes on by itself.

    Args:
        name: the projection, as `turnlog stats` lists it; all unless named.
    """
    output = Output(options.json)
    async with writing(options, output) as log:
        names = list(log.views.projections) if name is None else [name]
        start = anyio.current_time()
        for each in names:
            await log.runner.rebuild(each)
        head = log.store.head().position
        async with polled(output, "rebuilding " + ", ".join(names), head, lambda: _built(log)):
            for each in names:
                await log.runner.rebuilt(each)
        seconds = anyio.current_time() - start
        rebuilt = [status for status in log.runner.status().projections if status.name in names]
    for status in rebuilt:
        if options.json:
            output.emit(
                {
                    "projection": status.name,
                    "version": status.version,
                    "position": status.checkpoint,
                    "duration_us": round(seconds * 1_000_000),
                }
            )
        else:
            reached = (f" up to position {status.checkpoint or 0:,}", "faint")
            output.line("rebuilt ", (status.name, "heading"), reached)
    if not options.json:
        output.say((f"in {duration(seconds * 1_000_000)}", "faint"))


def _built(log: Turnlog) -> int:
    """The position of the build that is furthest behind."""
    status = log.runner.status()
    builds = [projection.building for projection in status.projections]
    return min((build.checkpoint for build in builds if build is not None), default=status.head)


async def sweep(*, lease_seconds: float = 60.0, options: Options = DEFAULTS) -> None:
    """Close the streams whose producer died; their text stays.

    Args:
        lease_seconds: a stream counts as dead when nothing came for so long.
    """
    output = Output(options.json)
    async with writing(options, output) as log:
        swept = await log.sweep(lease_seconds=lease_seconds)
    for message_id in swept:
        if options.json:
            output.emit({"message_id": message_id, "outcome": "interrupted"})
        else:
            output.line(Text("interrupted "), identifier(message_id))
    if not swept and not options.json:
        output.say((f"no open stream has been silent for {lease_seconds:g} s (--lease-seconds)", "faint"))
