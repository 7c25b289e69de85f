"""The verbs of ``turnlog`` and its help page: the whole of what can be called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cyclopts import App, Group

from turnlog.cli.branches import branch, fork
from turnlog.cli.contexts import contexts, messages, show
from turnlog.cli.demo import demo
from turnlog.cli.events import events
from turnlog.cli.exporting import export
from turnlog.cli.help import HelpPanels
from turnlog.cli.importing import import_
from turnlog.cli.json_output import JSON_SHAPES
from turnlog.cli.keys import create, list_, revoke
from turnlog.cli.migrate_copilot import migrate
from turnlog.cli.migrate_store import migrate_store
from turnlog.cli.past import diff, history
from turnlog.cli.record import record
from turnlog.cli.serve import serve
from turnlog.cli.streams import replay
from turnlog.cli.undoing import undo
from turnlog.cli.upkeep import rebuild, stats, sweep, verify

HELP: Final = "Keep, replay and revisit the history of chats: an append-only log of events in one directory."

EPILOGUE: Final = """\
Ids      whole, or at least four characters of the start or the end of one, as
         tables show it; @latest is the context that was written last
Moments  now                   the newest version
         v12                   the context's version 12
         p90                   once the log had position 90
         2026-01-31T12:00:00Z  at a time, with its offset
         m5d0efd44             right after that message was added
         now~3                 three events before that, or any of these
Exit     0  done                      5    damaged
codes    1  unexpected                6    unavailable
         2  refused, or used wrongly  130  interrupted
         3  not found                 141  nobody reads the output
         4  conflict
"""

START: Final = Group("Start here", sort_key=1)
WRITE: Final = Group("Write", sort_key=2)
READ: Final = Group("Read, now or as of any moment", sort_key=3)
MOVE: Final = Group("Move in and out", sort_key=4)
KEEP: Final = Group("Look after the store", sort_key=5)
SERVE: Final = Group("Serve it over HTTP", sort_key=6)
ARGUMENTS: Final = Group("Arguments", sort_key=20)
OPTIONS: Final = Group("Options", sort_key=30)

app: Final = App(
    name="turnlog",
    help=HELP,
    help_epilogue=EPILOGUE,
    help_format="plaintext",
    help_formatter=HelpPanels(),
    group_arguments=ARGUMENTS,
    group_parameters=OPTIONS,
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)
"""The verbs. Call it with a list of arguments: it returns the exit code, or raises."""

VERBS: Final = {
    START: (demo,),
    WRITE: (record, branch, fork),
    READ: (contexts, show, messages, replay, history, diff, events),
    MOVE: (migrate, export, migrate_store),
    KEEP: (stats, verify, rebuild, sweep),
    SERVE: (serve,),
}

KEYS: Final = {"create": create, "list": list_, "revoke": revoke}
"""What can be done with keys: ``turnlog keys create`` and so on."""

IMPORTS: Final = {"import": import_, "import undo": undo}
"""A verb that has another one in it."""


def _register() -> None:
    for group, verbs in VERBS.items():
        for order, verb in enumerate(verbs):
            app.command(verb, group=group, sort_key=order, help_epilogue=_epilogue(name_of(verb)))
    about = "Make, list and revoke the keys of the service."
    keys = App(
        name="keys",
        help=about,
        help_epilogue="",
        version_flags=(),
        group=SERVE,
        group_arguments=ARGUMENTS,
        group_parameters=OPTIONS,
        sort_key=1,
    )
    for order, (name, verb) in enumerate(KEYS.items()):
        keys.command(verb, name=name, sort_key=order, help_epilogue=_epilogue(f"keys {name}"))
    app.command(keys)
    importing = App(
        name="import",
        help_epilogue=_epilogue("import"),
        version_flags=(),
        group=MOVE,
        group_arguments=ARGUMENTS,
        group_parameters=OPTIONS,
        sort_key=-1,
    )
    importing.default(IMPORTS["import"])
    importing.command(IMPORTS["import undo"], help_epilogue=_epilogue("import undo"))
    app.command(importing)
    helps = (Group("Help", sort_key=9),)
    app["--help"].group = app["--version"].group = helps
    keys["--help"].group = importing["--help"].group = helps


def name_of(verb: Callable[..., object]) -> str:
    """What a verb is called."""
    return verb.__name__.replace("_", "-")


def _epilogue(verb: str) -> str:
    return f"With --json {JSON_SHAPES[verb]}."


_register()
