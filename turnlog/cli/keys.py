"""``turnlog keys create``, ``list`` and ``revoke``: who may use the service. A secret is shown once."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from rich.text import Text

from eventstore.directory import make_directory
from eventstore.environment import require_directory
from eventstore.errors import Refused
from eventstore.units import format_time, parse_time, wall_clock_us
from turnlog.cli.options import DEFAULTS, Options
from turnlog.cli.output import Output
from turnlog.cli.text import ago, one_line, styled
from turnlog.service import key_file
from turnlog.service.keys import Key, KeyRole, KeyState
from turnlog.shapes import plain

WORKSPACE: Final = "default"
"""Where contexts are that name no other."""

NEVER: Final = "never"

_SPAN: Final = re.compile(r"(\d{1,6})([mhdw])")
_SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_KEY_ID: Final = re.compile(r"(?:tl_)?([0-9a-f]{8})")
_STATE_STYLES: Final[dict[KeyState, str]] = {"live": "good", "expired": "changed", "revoked": "bad"}


def create(
    *,
    role: KeyRole,
    workspace: str | None = None,
    all_workspaces: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    expires: str = NEVER,
    name: str | None = None,
    options: Options = DEFAULTS,
) -> None:
    """Make a key and print it: now, and never again.

    From the first key on the service lets nobody in without one.

    Args:
        role: what it may do. A reader reads; a writer appends and stops streams too; an admin looks after the
            store besides.
        workspace: the one workspace that it sees; default unless named.
        all_workspaces: it sees them all.
        expires: after a span such as 30d, 12h or 8w, or at a time such as 2027-01-31T12:00:00Z.
        name: whose it is, for the list.
    """
    output = Output(options.json)
    now = wall_clock_us()
    expires_at = _expiry(expires, now)
    sees = _workspace(workspace, all_workspaces)
    directory = _directory(options)
    make_directory(directory, allow_unsafe_file_system=options.allow_unsafe_file_system)
    key, text = key_file.create_key(
        directory,
        name=name,
        workspace=sees,
        role=role,
        expires_at=expires_at,
        now=now,
    )
    if options.json:
        output.emit({"key": text} | plain(key))
        return
    output.line(text)
    output.flush()
    output.say(("key ", "faint"), (key.id, "id"), f": {_about(key)}")
    output.say(("It is shown this once: only a digest of it is kept. ", "faint"), _sending(key))


def _workspace(named: str | None, every: bool) -> str | None:
    if every and named is not None:
        raise Refused(
            "invalid_argument", "give one of --workspace and --all-workspaces", argument="workspace"
        )
    return None if every else WORKSPACE if named is None else named


def _sending(key: Key) -> tuple[str, str]:
    return f"Send it as `Authorization: Bearer tl_{key.id}_...`", "faint"


def list_(*, options: Options = DEFAULTS) -> None:
    """List the keys, those made first first; never their secrets."""
    output = Output(options.json)
    directory = _directory(options)
    require_directory(directory)
    stored = key_file.read(key_file.path_in(directory))
    now = wall_clock_us()
    keys = [each.key for each in stored.keys] if stored else []
    if options.json:
        for key in keys:
            output.emit(plain(key, state=key.state(now)))
        return
    output.table(("key", "role", "workspace", "state", "made", "name"), [_row(key, now) for key in keys])
    if stored is None:
        output.say(("no keys: the service answers this machine alone (turnlog keys create)", "faint"))


def _row(key: Key, now: int) -> list[Text]:
    state = key.state(now)
    shown = styled(state, _STATE_STYLES[state])
    if state == "live" and key.expires_at is not None:
        shown.append(f" until {format_time(key.expires_at)[:10]}", style="faint")
    return [
        styled(key.id, "id"),
        Text(key.role),
        styled("(all)", "heading") if key.workspace is None else Text(one_line(key.workspace)),
        shown,
        styled(ago(key.created_at, now), "faint"),
        Text(one_line(key.name or "")),
    ]


def revoke(
    key_id: str,
    /,
    *,
    yes: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    options: Options = DEFAULTS,
) -> None:
    """Revoke a key, for ever; its open streams end within seconds.

    Asks first, on a terminal; anywhere else it needs --yes.

    Args:
        key_id: its id, as `turnlog keys list` shows it; never the whole key.
        yes: do not ask.
    """
    output = Output(options.json)
    found = _KEY_ID.fullmatch(key_id)
    if found is None:  # it may be a whole key: it is not repeated
        raise Refused(
            "invalid_argument", "give a key's id: eight characters of 0-9 and a-f", argument="key_id"
        )
    directory = _directory(options)
    require_directory(directory)
    stored = key_file.read(key_file.path_in(directory))
    key = key_file.find_key(stored.keys if stored else (), found[1])
    if key.revoked_at is None and not yes:
        _ask(output, f"Revoke key {key.id}: {_about(key)}? [y/N] ")
    key = key_file.revoke_key(directory, key.id, wall_clock_us())
    assert key.revoked_at is not None, "it was just revoked, or before"
    if options.json:
        output.emit(plain(key, state=key.state(key.revoked_at)))
    else:
        output.line("revoked ", (key.id, "id"), (f" at {format_time(key.revoked_at)}", "faint"))


def _ask(output: Output, question: str) -> None:
    if not sys.stdin.isatty():
        raise Refused("not_confirmed", "nobody is here to confirm it; nothing was revoked")
    output.errors.print(question, end="", soft_wrap=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("not_confirmed", "not confirmed; nothing was revoked")


def _about(key: Key) -> str:
    where = "all workspaces" if key.workspace is None else f"workspace {one_line(key.workspace)}"
    ends = "never expires" if key.expires_at is None else f"expires {format_time(key.expires_at)}"
    name = f"{one_line(key.name)}, " if key.name else ""
    return f"{name}{key.role}, {where}, {ends}"


def _directory(options: Options) -> Path:
    return options.data.absolute()


def _expiry(text: str, now: int) -> int | None:
    if text == NEVER:
        return None
    if span := _SPAN.fullmatch(text):
        return now + int(span[1]) * _SECONDS[span[2]] * 1_000_000
    try:
        return parse_time(text)
    except Refused:
        raise Refused(
            "invalid_argument",
            f"{text!r} is no expiry: write 30d, 12h, 8w, a time such as 2027-01-31T12:00:00Z, or never",
            argument="expires",
        ) from None
