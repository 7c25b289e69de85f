"""Imports go downward only, pure modules stay pure, and the world enters at the listed edges."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

import pytest

LAYERS: Final = (
    # eventstore: the truth
    "eventstore.errors",
    "eventstore.limits",
    "eventstore.units",
    "eventstore.closing",
    "eventstore.process",
    "eventstore.portions",
    "eventstore.spool",
    "eventstore.content",
    "eventstore.events",
    "eventstore.commits",
    "eventstore.keys",
    "eventstore.upcasters",
    "eventstore.validation",
    "eventstore.body",
    "eventstore.frame",
    "eventstore.request",
    "eventstore.metadata",
    "eventstore.context",
    "eventstore.models",
    "eventstore.rules",
    "eventstore.environment",
    "eventstore.resident",
    "eventstore.shared",
    "eventstore.stored",
    "eventstore.index",
    "eventstore.log",
    "eventstore.directory",
    "eventstore.filing",
    "eventstore.known",
    "eventstore.append",
    "eventstore.inbox",
    "eventstore.disk",
    "eventstore.writer",
    "eventstore.rewriting",
    "eventstore.statistics",
    "eventstore.reading",
    "eventstore.subscription",
    "eventstore.store",
    "eventstore.findings",
    "eventstore.derived",
    "eventstore.verify",
    "eventstore",
    # projections: the meaning. First the folds,
    "projections.projection",
    "projections.layout",
    "projections.cuts",
    "projections.metadata",
    "projections.contexts",
    "projections.messages",
    "projections.segments",
    "projections.timelines",
    "projections.rows",
    "projections.memory",
    # then what keeps the views following the log,
    "projections.staging",
    "projections.generations",
    "projections.loading",
    "projections.reading",
    "projections.views",
    "projections.bookkeeping",
    "projections.news",
    "projections.past",
    "projections.track",
    "projections.following",
    "projections.status",
    "projections.progress",
    "projections.polling",
    "projections.waiting",
    "projections.runner",
    # then what can be asked of them.
    "projections.pages",
    "projections.answers",
    "projections.snapshot",
    "projections.timetravel",
    "projections.chunks",
    "projections.entries",
    "projections.bodies",
    "projections.paths",
    "projections.listing",
    "projections.history",
    "projections.diff",
    "projections.delivery",
    "projections.replay",
    "projections.statistics",
    "projections.totals",
    "projections.asking",
    "projections.queries",
    "projections",
    # turnlog: the front door
    "turnlog.dialects",
    "turnlog.importers",
    "turnlog.shapes",
    "turnlog.gathering",
    "turnlog.stream",
    "turnlog.recorder",
    "turnlog.feeder",
    "turnlog.tee",
    "turnlog.sweep",
    "turnlog.facade",
    "turnlog.moments",
    "turnlog.importers.source.json_text",
    "turnlog.importers.source.unpacking",
    "turnlog.importers.source.arrays",
    "turnlog.importers.source.rows",
    "turnlog.importers.source.pieces",
    "turnlog.importers.source.files",
    "turnlog.importers.conversation",
    "turnlog.importers.source.times",
    "turnlog.importers.source.seen",
    "turnlog.importers.source.shapes",
    "turnlog.importers.source.notes",
    "turnlog.importers.source.fields",
    "turnlog.importers.source.kept",
    "turnlog.importers.source.keeping",
    "turnlog.importers.copilot_chat.notes",
    "turnlog.importers.copilot_chat.found",
    "turnlog.importers.copilot_chat.states",
    "turnlog.importers.copilot_chat.streams",
    "turnlog.importers.copilot_chat.rich_types",
    "turnlog.importers.copilot_chat.messages",
    "turnlog.importers.copilot_chat.branches",
    "turnlog.importers.copilot_chat.contexts",
    "turnlog.importers.copilot_chat.layouts",
    "turnlog.importers.copilot_chat.sessions",
    "turnlog.importers.copilot_chat.copies",
    "turnlog.importers.copilot_chat.importer",
    "turnlog.importers.ait42.sessions",
    "turnlog.importers.ait42.databases",
    "turnlog.importers.ait42.importer",
    "turnlog.importers.taskerino.envelope",
    "turnlog.importers.taskerino.attachments",
    "turnlog.importers.taskerino.items",
    "turnlog.importers.taskerino.sessions",
    "turnlog.importers.taskerino.folders",
    "turnlog.importers.taskerino.importer",
    "turnlog.importers.detecting",
    "turnlog.importers.job.recording",
    "turnlog.importers.job.differences",
    "turnlog.importers.job.streams",
    "turnlog.importers.job.ids",
    "turnlog.importers.job.events",
    "turnlog.importers.job.verifying",
    "turnlog.importers.job.renaming",
    "turnlog.importers.job.growing",
    "turnlog.importers.job.planning",
    "turnlog.importers.job.backup",
    "turnlog.importers.job.report",
    "turnlog.importers.job.deleting",
    "turnlog.importers.job.reading",
    "turnlog.importers.job.apart",
    "turnlog.exporters.folder",
    "turnlog.exporters.exported",
    "turnlog.exporters.restoring",
    "turnlog.exporters.messages",
    "turnlog.exporters.copilot_message",
    "turnlog.exporters.copilot_chat",
    "turnlog.importers.job.own_exports",
    "turnlog.importers.job.batches",
    "turnlog.importers.job.undoing",
    "turnlog.importers.job.running",
    "turnlog.ndjson",
    "turnlog.replaying",
    "turnlog.replaying.transforming",
    "turnlog.replaying.lines",
    "turnlog.replaying.ndjson",
    "turnlog.replaying.writing",
    "turnlog.exporters.ndjson",
    "turnlog.exporters.openai_jsonl",
    "turnlog.exporters",
    "turnlog.comparing",
    "turnlog",
    # the service: what it is told, who may use it, and then itself
    "turnlog.service.settings",
    "turnlog.service.configuration",
    "turnlog.service.exposure",
    "turnlog.service.keys",
    "turnlog.service.key_file",
    "turnlog.service.keyring",
    "turnlog.service.tickets",
    "turnlog.service.gate",
    "turnlog.service.conditions",
    "turnlog.service.parameters",
    "turnlog.service.answers",
    "turnlog.service.access",
    "turnlog.service.choices",
    "turnlog.service.decoding",
    "turnlog.service.bodies",
    "turnlog.service.strict",
    "turnlog.service.requests",
    "turnlog.service.connections",
    "turnlog.service.health",
    "turnlog.service.problems",
    "turnlog.service.feeds",
    "turnlog.service.streams",
    "turnlog.service.event_stream",
    "turnlog.service.delivering",
    "turnlog.service.signals",
    "turnlog.service.following",
    "turnlog.service.ingest",
    "turnlog.service.metrics",
    "turnlog.service.edge",
    "turnlog.service.routes",
    "turnlog.service.schema",
    "turnlog.service.appending",
    "turnlog.service.app",
    "turnlog.service.chores",
    "turnlog.service.logs",
    "turnlog.service.direct",
    "turnlog.service.protocol",
    "turnlog.service.running",
    "turnlog.service.server",
    "turnlog.service",
    # what moves a whole directory, its keys too,
    "turnlog.migrating",
    "turnlog.swapping",
    "turnlog.cli",
    "turnlog.__main__",
)
"""From the bottom to the top: a module imports only from lines above its own. A line stands for the module
and what is inside it, but for the three packages' own names, which stand for their ``__init__`` alone."""

PACKAGES: Final = ("eventstore", "projections", "turnlog")

IO: Final = (
    "lmdb",
    "anyio",
    "asyncio",
    "socket",
    "ssl",
    "select",
    "selectors",
    "http",
    "urllib",
    "subprocess",
)
WORLD: Final = ("time", "random", "secrets", "os", "uuid_utils", "pathlib", "tempfile")

PURE: Final = (
    "eventstore.content",
    "eventstore.events",
    "eventstore.commits",
    "eventstore.metadata",
    "eventstore.context",
    "eventstore.rules",
    "eventstore.validation",
    "eventstore.upcasters",
    "eventstore.body",
    "eventstore.frame",
    "eventstore.keys",
    "projections.projection",
    "projections.layout",
    "projections.cuts",
    "projections.metadata",
    "projections.contexts",
    "projections.messages",
    "projections.segments",
    "projections.timelines",
    "projections.memory",
    "turnlog.dialects",
    "turnlog.service.settings",
    "turnlog.service.exposure",
)
"""These import none of ``IO`` and ``WORLD``: the same input always gives the same output."""

EDGES: Final[dict[str, tuple[str, ...]]] = {
    "clock": (
        "eventstore.units",
        "eventstore.disk",
        "eventstore.writer",
        "projections.runner",
        "turnlog.service.edge",
    ),
    "randomness": (
        "eventstore.directory",
        "turnlog.stream",
        "turnlog.recorder",
        "turnlog.tee",
        "turnlog.facade",
        "turnlog.service.edge",
        "turnlog.service.keys",
        "turnlog.service.tickets",
    ),
    "environment variables": ("turnlog.cli.serve",),
    "lmdb": (
        "eventstore.environment",
        "eventstore.shared",
        "eventstore.stored",
        "eventstore.index",
        "eventstore.log",
        "eventstore.directory",
        "eventstore.filing",
        "eventstore.known",
        "eventstore.append",
        "eventstore.writer",
        "eventstore.rewriting",
        "eventstore.subscription",
        "eventstore.statistics",
        "eventstore.derived",
        "eventstore.verify",
        "projections.staging",
        "projections.reading",
        "projections.views",
        "projections.bookkeeping",
    ),
    "packed integers": ("eventstore.keys", "eventstore.frame", "projections.layout"),
}
"""Where each part of the world comes in; from there it is passed on."""

USES: Final[dict[str, tuple[str, ...]]] = {
    "clock": ("time", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today"),
    "randomness": ("random", "secrets", "uuid_utils", "os.urandom", "uuid.uuid1", "uuid.uuid4", "uuid.uuid7"),
    "environment variables": ("os.environ", "os.getenv"),
    "lmdb": ("lmdb",),
    "packed integers": ("struct",),
}
"""The names whose mention is that use; a module's name stands for all that is in it."""


def layer_of(name: str) -> int | None:
    """The index of the line in ``LAYERS`` that holds a module."""
    while name not in LAYERS and "." in name:
        name = name.rpartition(".")[0]
        if name in PACKAGES:
            return None
    return LAYERS.index(name) if name in LAYERS else None


def imports_of(name: str, tree: ast.Module, known: dict[str, ast.Module]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: write imports absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                ours = str(node.module).split(".")[0] in PACKAGES
                yield node.lineno, inner if inner in known or not ours else str(node.module)


def is_in(name: str, places: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the places or inside one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def mentions_of(name: str, tree: ast.Module, known: dict[str, ast.Module]) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of every import, and of every attribute of something imported."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            bound |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    yield from imports_of(name, tree, known)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            first, _, rest = dotted.partition(".")
            if first in bound:
                yield node.lineno, f"{bound[first]}.{rest}"


def test_every_module_has_its_place_in_the_layers(modules: dict[str, ast.Module]) -> None:
    homeless = [name for name in modules if layer_of(name) is None]
    assert not homeless, f"give them a line in LAYERS: {homeless}"


def test_every_line_of_the_layers_is_a_module(modules: dict[str, ast.Module]) -> None:
    gone = [name for name in LAYERS if name not in modules]
    assert not gone, f"take them out of LAYERS: {gone}"


def test_imports_go_only_downward(modules: dict[str, ast.Module]) -> None:
    upward: list[str] = []
    for name, tree in modules.items():
        own = layer_of(name)
        for line, target in imports_of(name, tree, modules):
            other = layer_of(target) if target.split(".")[0] in PACKAGES else None
            inside = own == other and name not in PACKAGES
            if own is not None and other is not None and other >= own and not inside:
                upward.append(f"{name}:{line} imports {target}")
    assert not upward, "\n".join(upward)


def test_the_truth_knows_no_meaning_and_the_meaning_no_front_door(modules: dict[str, ast.Module]) -> None:
    above = {"eventstore": ("projections", "turnlog"), "projections": ("turnlog",)}
    for name, tree in modules.items():
        for line, target in imports_of(name, tree, modules):
            assert not is_in(target, above.get(name.split(".")[0], ())), f"{name}:{line} imports {target}"


def test_pure_modules_import_nothing_that_touches_the_world(modules: dict[str, ast.Module]) -> None:
    touching = [
        f"{name}:{line} imports {target}"
        for name, tree in modules.items()
        if is_in(name, PURE)
        for line, target in imports_of(name, tree, modules)
        if is_in(target, IO + WORLD)
    ]
    assert not touching, "\n".join(touching)


@pytest.mark.parametrize("use", USES)
def test_the_world_enters_only_at_the_edges(use: str, modules: dict[str, ast.Module]) -> None:
    elsewhere = [
        f"{name}:{line} uses {target}"
        for name, tree in modules.items()
        if name not in EDGES[use]
        for line, target in mentions_of(name, tree, modules)
        if is_in(target, USES[use])
    ]
    assert not elsewhere, "\n".join(elsewhere)


@pytest.mark.parametrize("use", EDGES)
def test_every_edge_is_one(use: str, modules: dict[str, ast.Module]) -> None:
    for name in EDGES[use]:
        mentions = mentions_of(name, modules[name], modules)
        assert any(is_in(target, USES[use]) for _, target in mentions), f"{name} needs no {use}: unlist it"
