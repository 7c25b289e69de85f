"""What ``turnlog serve`` says once it takes requests: where, what to open, and three things to try."""

from __future__ import annotations

from uuid import UUID

from eventstore.errors import TurnlogError
from turnlog.cli.output import Output
from turnlog.facade import Turnlog

_CONTEXTS = 4
"""How many of the newest contexts are looked through for an answer to replay."""

_INDENT = "   "


async def welcome(output: Output, address: str, log: Turnlog, *, keys_required: bool) -> None:
    """Tell a person, or with ``--json`` a program."""
    if output.json:
        output.emit({"address": address, "data": str(log.store.path), "keys_required": keys_required})
        output.flush()
        return
    if not keys_required:
        everybody = f"whoever is on this machine may do everything on {address} (turnlog keys create)"
        output.say(("no keys: ", "changed"), everybody)
    output.line()
    output.line(("Turnlog", "heading"), f" serves {log.store.path} on {address}; Ctrl-C stops it.")
    output.line()
    output.line(_INDENT, (f"{address}/schema", "command"), ("   every route, to read in a browser", "faint"))
    header = ' -H "Authorization: Bearer $KEY"' if keys_required else ""
    for why, request in await _examples(address, log):
        output.line()
        output.line(_INDENT, (f"# {why}", "faint"))
        output.line(_INDENT, (f"curl{header} {request}", "command"))
    output.line()
    output.flush()


async def _examples(address: str, log: Turnlog) -> list[tuple[str, str]]:
    """Why, and what follows ``curl``."""
    answer = await _answer(log)
    new = """-H 'Content-Type: application/json' -d '{"title": "A context of my own"}'"""
    return [
        ("the newest contexts", f"'{address}/api/contexts?limit=3'"),
        ("what happens from now on, as it happens", f"-N '{address}/api/events?live=true'")
        if answer is None
        else ("an answer once more, as it was timed", f"-N '{address}/api/messages/{answer}/replay'"),
        ("a context of your own", f"{new} {address}/api/contexts"),
    ]


async def _answer(log: Turnlog) -> UUID | None:
    """The newest streamed answer that is at hand. Views that are still being built are not waited for."""
    try:
        for context in (await log.queries.contexts(limit=_CONTEXTS, at_least=0)).items:
            page = await log.queries.messages(context.id, last=20, at_least=0)
            for entry in reversed(page.items):
                if entry.streamed and entry.outcome == "completed" and not entry.redacted:
                    return entry.id
    except TurnlogError:
        return None  # it has its place in the health; here it is only an example that is missing
    return None
