"""The latest files of copilot_chat: a session's JSON, and beside it the lines of what its agent did."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice, takewhile
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


_ENDS: Final = frozenset(("tool_start", "tool_complete", "tool_error", "complete", "error"))
"""Those after which a token is of another answer; the others are news, also in the middle of one."""


_PIECES_MAX: Final = 1_000
"""Runs of tokens that are tried as one answer."""


class Run(msgspec.Struct):
    """One answer of the model: tokens in a row, and the lines until the next. No line has a time.

    ``closed``: something else came; ``ended``: it tells of the end of an answer, or of what follows one.
    ``before``: the lines between its tokens, each with how many tokens are ahead of it.
    """

    line: int
    deltas: list[str] = []
    before: list[tuple[int, Json]] = []
    after: list[Json] = []
    closed: bool = False
    ended: bool = False
    outcome: Outcome | None = None
    usage: dict[str, Json] | None = None
    error: dict[str, Json] | None = None

    def streamed(self, model: str | None) -> Streamed:
        """The stream that it was; its times are set with the message's."""
        chunks = tuple(Chunk(delta, 0) for delta in self.deltas)
        return Streamed(0, chunks, model, None, self.outcome, None, self.usage, self.error)

    @classmethod
    def of(cls, pieces: list[Run]) -> Run:
        """Several as one answer."""
        deltas: list[str] = []
        before: list[tuple[int, Json]] = []
        for piece in pieces:
            deltas += piece.deltas
            if piece is not pieces[-1]:
                before += [(len(deltas), line) for line in piece.after]
        return msgspec.structs.replace(pieces[-1], line=pieces[0].line, deltas=deltas, before=before)


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
    runs = _joined(items, runs)
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
    if not run.deltas:
        return item
    lines = {"agent_events": run.after, "chunk_times": "none"}
    if run.before:
        lines["agent_events_between"] = [{"after": ahead, "event": line} for ahead, line in run.before]
    return {**item, **lines}


def _joined(items: list[Any], runs: list[Run]) -> list[Run]:
    """The answers, where one is all of a message that is the text of several with mere news between them."""
    contents = (text_of((object_of(item) or {}).get("content")) for item in items)
    texts = sorted({content for content in contents if content is not None})
    found: list[Run] = []
    at = 0
    while at < len(runs):
        count = _pieces(runs, at, texts)
        found.append(runs[at] if count == 1 else Run.of(runs[at : at + count]))
        at += count
    return found


def _pieces(runs: list[Run], at: int, texts: list[str]) -> int:
    """How many runs from one on are a message together; 1 also where they are none."""
    text = "".join(runs[at].deltas)
    start = bisect_left(texts, text)
    longer = list(takewhile(lambda one: one.startswith(text), islice(texts, start, None)))
    if text in longer[:1]:
        return 1
    size = len(text)
    for count in range(1, min(_PIECES_MAX, len(runs) - at)):
        if not longer or runs[at + count - 1].ended:
            break
        piece = "".join(runs[at + count].deltas)
        longer = [one for one in longer if one.startswith(piece, size)]
        size += len(piece)
        if any(len(one) == size for one in longer):
            return count + 1
    return 1


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
    run.ended = run.ended or kind in _ENDS
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
