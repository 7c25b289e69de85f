"""The latest files of copilot_chat: a session's JSON, and beside it the lines of what its agent did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from eventstore.content import Json
from eventstore.events import Outcome
from turnlog.importers.conversation import Chunk, Streamed
from turnlog.importers.copilot_chat.found import Found, Node
from turnlog.importers.copilot_chat.layouts import identity_of, modified, notes_of, stem
from turnlog.importers.copilot_chat.notes import list_of, object_of, text_of
from turnlog.importers.source.files import Source, Unreadable
from turnlog.importers.source.json_text import decode
from turnlog.importers.source.notes import Notes

_EVENTS: Final = frozenset(
    (
        "token",
        "tool_start",
        "tool_complete",
        "tool_error",
        "need_clarification",
        "todo_list_updated",
        "todo_list_item_progress",
        "todo_list_completed",
        "todo_evaluation_started",
        "todo_evaluation_completed",
        "token_budget_updated",
        "context_summarized",
        "complete",
        "error",
    )
)
"""The types of lines that an agent writes."""


class Run(msgspec.Struct):
    """One answer of the model: tokens in a row, and the lines until the next. No line has a time."""

    line: int
    deltas: list[str] = []
    after: list[Json] = []
    closed: bool = False
    outcome: Outcome | None = None
    usage: dict[str, Json] | None = None
    error: dict[str, Json] | None = None

    def streamed(self, model: str | None) -> Streamed:
        """The stream that it was; its times are set with the message's."""
        chunks = tuple(Chunk(delta, 0) for delta in self.deltas)
        return Streamed(0, chunks, model, None, self.outcome, None, self.usage, self.error)


def is_agent_log(text: bytes) -> bool:
    """Whether the first line of a file is one that an agent writes."""
    first = text.lstrip().partition(b"\n")[0]
    try:
        event = object_of(decode("", first)) or {}
    except Unreadable:
        return False
    return event.get("type") in _EVENTS


def find_session(document: dict[str, Any], name: str, source: Source) -> Found:
    """A session. ``name`` may be that of the lines alone, where the JSON was lost."""
    log = f"{name.rpartition('.')[0]}.jsonl"
    notes = notes_of(document, name, stem(name))
    items = list_of(document.pop("messages", None)) or []
    runs, early = _runs(log, source, notes) if source.has(log) else ([], [])
    if early:
        document["agent_events"] = early
    keys = [
        text_of((object_of(item) or {}).get("id")) or f"message {index}" for index, item in enumerate(items)
    ]
    matched = _matched(items, runs)
    model = text_of(document.get("model"))
    last = object_of(items[-1]) if items else None
    answered = last is not None and last.get("role") == "assistant"
    tail = max((index for index in matched.values()), default=-1) + 1
    if answered and len(items) - 1 not in matched:
        tail = len(runs)  # the last answer is there in another wording, or its lines are not
    loose = [index for index in range(len(runs)) if index not in matched.values()]
    keys += [f"run {index}" for index in loose if index >= tail]

    size = (source.size(name) + source.size(log)) // max(1, len(items) + len(loose))

    def nodes() -> Iterator[Node]:
        for index, item in enumerate(items):
            place = f"$.messages[{index}]"
            at = matched.get(index)
            if at is None:
                yield Node(keys[index], item, name, place, bytes=size)
            else:
                run = runs[at]
                streamed = run.streamed(model)
                yield Node(keys[index], _with_lines(item, run), name, place, None, streamed, size)
        for index in loose:
            run = runs[index]
            message = {"role": "assistant", "content": "".join(run.deltas)}
            reason = "tokens that are no message of the session"
            notes.of(log).say("stream_unmatched", reason, f"line {run.line}")
            place = f"line {run.line}"
            streamed = run.streamed(model)
            yield Node(f"run {index}", _with_lines(message, run), log, place, None, streamed, size)

    branches = {"main": {"message_ids": keys}}
    return Found(
        identity_of(document, name),
        name,
        "session",
        document,
        branches,
        nodes(),
        lambda: modified(document, name, source),
        notes,
        (log,) if runs or early else (),
    )


def _with_lines(item: dict[str, Any], run: Run) -> dict[str, Any]:
    return {**item, "agent_events": run.after, "chunk_times": "none"} if run.deltas else item


def _matched(items: list[Any], runs: list[Run]) -> dict[int, int]:
    """Which message is which run: in order, and by the text."""
    matched: dict[int, int] = {}
    start = 0
    for at, run in enumerate(runs):
        text = "".join(run.deltas)
        for index in range(start, len(items)):
            item = object_of(items[index]) or {}
            if item.get("role") == "assistant" and item.get("content") == text:
                matched[index] = at
                start = index + 1
                break
    return matched


def _runs(log: str, source: Source, notes: Notes) -> tuple[list[Run], list[Json]]:
    """The answers, and what was done before any if there is none."""
    runs: list[Run] = []
    early: list[Json] = []
    try:
        lines = source.bytes(log).split(b"\n")
    except Unreadable as error:
        notes.lose(error)
        return [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = object_of(decode(log, line))
            if event is None:
                raise Unreadable(log, "line_unknown", "it is no object")
        except Unreadable as error:
            notes.lose(Unreadable(log, error.code, error.reason, f"line {number}"))
            continue
        delta = event.get("content") if event.get("type") == "token" else None
        if isinstance(delta, str):
            if not runs or runs[-1].closed:
                runs.append(Run(number, after=early))
                early = []
            runs[-1].deltas.append(delta)
        elif runs:
            _end(runs[-1], event)
        else:
            early.append(event)
    return runs, early


def _end(run: Run, event: dict[str, Any]) -> None:
    """What follows the tokens ends the answer; only what is not said by how it ended is kept."""
    kind = event.get("type")
    if kind == "complete" and run.usage is None and set(event) <= {"type", "usage"}:
        run.usage = object_of(event.get("usage"))
        run.outcome = run.outcome or "completed"
    elif kind == "error" and not run.closed:
        run.outcome = "failed"
        run.error = {key: value for key, value in event.items() if key != "type"}
    else:
        run.outcome = run.outcome or "completed"
        run.after.append(event)
    run.closed = True
