"""Projections that users bring: by ``module:name``, or installed under an entry point group.

    [project.entry-points."turnlog.projections"]
    word_count = "my_package.word_count:WordCount"

Either names a projection, or a class or function that makes one when called without arguments.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any, Final, NoReturn, cast

from eventstore.errors import Refused
from eventstore.events import ALL_BITS
from projections.projection import MILESTONES, Projection

GROUP: Final = "turnlog.projections"
"""The entry point group."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,50}\Z")


def load(reference: str) -> Projection:
    """The projection at ``module:name``; ``name`` may have dots.

    The module is imported as Python imports any: from the installed packages and ``sys.path``. Raises
    ``Refused`` with code ``invalid_projection``, also when the module itself raises.
    """
    module, colon, name = reference.partition(":")
    if not (module and colon and name):
        _refuse(reference, "a projection is named module:name")
    try:
        found: object = importlib.import_module(module)
        for attribute in name.split("."):
            found = getattr(found, attribute)
    except Exception as error:
        raise _invalid(reference, f"it cannot be imported: {type(error).__name__}: {error}") from error
    return _made(reference, found)


def installed() -> list[Projection]:
    """The projections of all installed packages, by name of their entry points. Raises ``Refused``."""
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    found: list[Projection] = []
    for point in points:
        try:
            target = point.load()
        except Exception as error:
            raise _invalid(point.value, f"it cannot be imported: {type(error).__name__}: {error}") from error
        found.append(_made(point.value, target))
    return found


def check(projections: Iterable[Projection]) -> tuple[Projection, ...]:
    """The same projections, each well formed and no two of one name. Raises ``Refused``."""
    checked: dict[str, Projection] = {}
    for projection in projections:
        _check(projection)
        if projection.name in checked:
            _refuse(projection.name, "two projections have this name")
        checked[projection.name] = projection
    return tuple(checked.values())


def _made(reference: str, found: object) -> Projection:
    # A class with the right attributes looks like a projection, so it is asked for first.
    if isinstance(found, type) or (callable(found) and not hasattr(found, "apply")):
        try:
            found = found()
        except Exception as error:
            raise _invalid(reference, f"it cannot be made: {type(error).__name__}: {error}") from error
    return check([cast("Projection", found)])[0]


def _check(projection: object) -> None:
    what: Any = projection
    label = str(getattr(what, "name", type(what).__name__))
    for attribute in ("name", "version", "tables", "kinds", "apply"):
        if not hasattr(what, attribute):
            _refuse(label, f"it has no {attribute}")
    if not isinstance(what.name, str) or not _NAME.match(what.name):
        _refuse(label, "a name is 1 to 50 letters, digits, _ or -")
    if type(what.version) is not int or what.version < 1:
        _refuse(label, "a version is 1, 2, 3 ...")
    tables = what.tables
    if not isinstance(tables, tuple) or not tables:
        _refuse(label, "tables is a tuple of at least one name")
    names = cast("tuple[object, ...]", tables)
    if not all(isinstance(table, str) and _NAME.match(table) for table in names):
        _refuse(label, "a table's name is 1 to 50 letters, digits, _ or -")
    if len(set(names)) != len(names):
        _refuse(label, "two tables have one name")
    if type(what.kinds) is not int or what.kinds <= 0 or what.kinds & ~(ALL_BITS | MILESTONES):
        _refuse(label, "kinds is a sum of bits of eventstore.events.BITS")
    if not callable(what.apply):
        _refuse(label, "apply is a function of (commit, rows, past)")


def _invalid(label: str, why: str) -> Refused:
    return Refused("invalid_projection", f"projection {label}: {why}", projection=label)


def _refuse(label: str, why: str) -> NoReturn:
    raise _invalid(label, why)
