"""Which problems an operation can answer: its own, and those that follow from what it takes and does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from eventstore.errors import CODES
from turnlog.service.access import Scope
from turnlog.service.conditions import AT_LEAST_HEADER, IDEMPOTENCY_HEADER
from turnlog.service.problems import MEDIA_TYPE, Problem, problem_of
from turnlog.service.schema.operations import IF_MATCH, RESPONSE_HEADERS, RETRY_AFTER
from turnlog.service.schema.shapes import REF

ALWAYS: Final = ("invalid_request", "unexpected")

OF_KEYS: Final = (
    "invalid_header",
    "key_missing",
    "key_invalid",
    "key_expired",
    "key_revoked",
    "ticket_invalid",
)

OF_LOG: Final = (
    "log_closed",
    "storage_failed",
    "commit_damaged",
    "directory_damaged",
    "view_damaged",
    "views_behind",
    "projection_poisoned",
    "projection_stuck",
    "runner_failed",
)
"""Of whatever asks the log and its views."""

OF_WRITES: Final = (
    "invalid_event",
    "event_too_large",
    "context_deleted",
    "overloaded",
    "outcome_unknown",
    "append_failed",
    "log_read_only",
    "log_full",
    "disk_full",
)

OF_BODIES: Final = ("unsupported_media_type", "body_too_large", "nested_too_deeply")

OF_STREAMS: Final = ("too_many_connections", "shutting_down")

OF_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "at_version": ("invalid_argument", "version_not_found"),
    "at_position": ("position_not_found", "moment_before_creation"),
    "at_time": ("invalid_time",),
    "at_message": ("message_not_found",),
    "since": ("invalid_time",),
    "cursor": ("invalid_argument",),
    "after": ("invalid_argument",),
    AT_LEAST_HEADER: ("position_not_found",),
    IF_MATCH: ("wrong_expected_version", "context_exists"),
    IDEMPOTENCY_HEADER: ("commit_id_reused",),
}

OF_PATHS: Final[dict[str, str]] = {
    "{": "route_not_found",
    "{context_id}": "context_not_found",
    "{message_id}": "message_not_found",
}

ELSEWHERE: Final[dict[str, str]] = {
    "route_not_found": "There is no such path; an id in a path that is none makes it another path.",
    "method_not_allowed": "The path has no such method.",
    "too_many_connections": "Before a request is read, as 503: more connections are open than may be.",
    "invalid_request": "Before a request is routed: it is not HTTP.",
    "invalid_header": "Before a request is routed: its headers are too large, or take too long.",
}
"""What a request can meet that is of no operation."""

PRECONDITION_FAILED: Final = 412

CONDITIONAL: Final = ("wrong_expected_version", "context_exists")
"""A version that a header expected, and the context does not have: 412."""


def codes_of(
    opt: Mapping[str, Any], path: str, names: Collection[str], *, body: bool, streams: bool
) -> dict[int, list[str]]:
    """The codes of an operation by status: those in the ``opt`` of its route, and those that follow.

    ``names``: of its parameters and headers.
    """
    scope: Scope = opt["scope"]
    codes = [*ALWAYS, *opt.get("problems", ())]
    if scope != "open":
        codes += [*OF_KEYS, *OF_LOG]
    if opt.get("whole"):
        codes.append("workspace_not_allowed")
    if scope in ("writer", "admin"):
        codes.append("role_too_low")
    if scope == "writer":
        codes += OF_WRITES
    if body:
        codes += OF_BODIES
    if streams:
        codes += OF_STREAMS
    for place, code in OF_PATHS.items():
        if place in path:
            codes.append(code)
    for name in names:
        codes += OF_PARAMETERS.get(name, ())
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(CODES[code].status, []).append(code)
    by_status[431] = ["invalid_header"]
    if IF_MATCH in names:
        by_status[PRECONDITION_FAILED] = list(CONDITIONAL)
    return by_status


def response(status: int, codes: Iterable[str]) -> dict[str, Any]:
    """What a status says, with an example of each code."""
    shape = {
        "allOf": [
            {"$ref": f"{REF}{Problem.__name__}"},
            {"properties": {"code": {"enum": sorted(codes)}, "status": {"const": status}}},
        ]
    }
    examples = {code: {"$ref": f"#/components/examples/{_example(code, status)}"} for code in sorted(codes)}
    described: dict[str, Any] = {
        "description": "\n".join(f"- `{code}`: {CODES[code].hint}" for code in sorted(codes)),
        "content": {MEDIA_TYPE: {"schema": shape, "examples": examples}},
    }
    headers = [name for name, statuses in _HEADERS.items() if status in statuses]
    if headers:
        described["headers"] = {name: RESPONSE_HEADERS[name] for name in headers}
    return described


def examples() -> dict[str, Any]:
    """An example of each problem."""
    pairs = [(code, known["status"]) for code, known in table().items()]
    pairs += [(code, PRECONDITION_FAILED) for code in CONDITIONAL] + [("invalid_header", 431)]
    return {
        _example(code, status): {"value": problem_of(code, DETAIL, status=status)} for code, status in pairs
    }


def _example(code: str, status: int) -> str:
    return code if status == CODES[code].status else f"{code}_{status}"


DETAIL: Final = "What exactly, with the ids, versions and limits that it is about."

_HEADERS: Final = {"WWW-Authenticate": (401,), RETRY_AFTER: (429, 503)}


def table() -> dict[str, dict[str, Any]]:
    """Every code that the service answers, its status and hint."""
    return {
        code: {"status": known.status, "hint": known.hint}
        | ({"elsewhere": ELSEWHERE[code]} if code in ELSEWHERE else {})
        for code, known in sorted(CODES.items())
        if code not in NEVER
    }


NEVER: Final = frozenset(
    {
        "ambiguous_id",
        "backup_failed",
        "reader_died",
        "spool_failed",
        "input_unreadable",
        "invalid_transform",
        "output_exists",
        "output_unsafe",
        "store_differs",
        "invalid_projection",
        "invalid_settings",
        "keys_damaged",
        "keys_required",
        "keys_exposed",
        "too_many_keys",
        "key_not_found",
        "not_confirmed",
        "nothing_recognised",
        "writer_locked",
        "wrong_event_loop",
        "already_open",
        "forked_process",
        "directory_not_found",
        "directory_foreign",
        "directory_newer",
        "file_system_unsafe",
        "cannot_listen",
        "service_missing",
    }
)
"""Codes of the command line and of starting up: a service that runs answers none of them."""
