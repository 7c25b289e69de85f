"""What ``--json`` gives, by verb; ``turnlog.shapes`` says how answers become objects."""

from __future__ import annotations

from typing import Final

import msgspec

from eventstore.commits import Committed
from eventstore.findings import Finding
from eventstore.statistics import StoreStatistics
from projections.answers import (
    ContextState,
    ContextSummary,
    Diff,
    HistoryEntry,
    MessageEntry,
    ReplayChunk,
    ReplayDone,
    StreamStretch,
    Timeline,
)
from projections.status import ProjectionStatus
from turnlog.exporters.exported import Exported
from turnlog.importers.conversation import Problem
from turnlog.importers.job.report import ContextLine, FileLine, Header, Summary
from turnlog.migrating import Migrated
from turnlog.replaying.writing import ReplayedLines
from turnlog.service.configuration import Row
from turnlog.service.keys import Key


def _fields(*answers: type[msgspec.Struct]) -> str:
    return ", ".join(name for answer in answers for name in answer.__struct_fields__)


_REPORT: Final = "; ".join(
    f"{kind.__struct_config__.tag}: {_fields(kind)}"
    for kind in (Header, ContextLine, Problem, FileLine, Summary)
)

JSON_SHAPES: Final[dict[str, str]] = {
    "demo": "an object: context_ids, message_ids",
    "record": f"the stream as an object: {_fields(Timeline)}",
    "branch": f"an object: context_id, branch, head, {_fields(Committed)}",
    "fork": f"the new context as an object: {_fields(ContextState)}",
    "contexts": f"a line for each context: {_fields(ContextSummary)}",
    "show": f"the context as an object: {_fields(ContextState)}",
    "messages": f"a line for each message: {_fields(MessageEntry)}, complete, text, parts",
    "replay": (
        f"a line for each chunk, with type chunk: {_fields(ReplayChunk)}; "
        f"and a last one, with type done: {_fields(ReplayDone)}"
    ),
    "history": (
        f"a line for each event or stretch of chunks: {_fields(HistoryEntry)}. "
        f"Streams, each: {_fields(StreamStretch)}"
    ),
    "diff": f"an object: {_fields(Diff)}",
    "events": (
        "a line for each event: position, context_id, version, recorded_at, commit_id, metadata, event; "
        "an event has its type, such as message.appended, and its own members"
    ),
    "stats": (
        f"an object: path, store, projections. store: {_fields(StoreStatistics)}. "
        f"projections, each: {_fields(ProjectionStatus)}"
    ),
    "verify": f"an object: sound, after, position, chain, findings. Findings, each: {_fields(Finding)}",
    "import": (
        f"the report's lines, each with its type. {_REPORT}. Of what is replayed problems and, last, "
        f"replayed: {_fields(ReplayedLines)}"
    ),
    "import undo": (
        "a line for each file and each context: path or context_id, outcome; "
        "and a last one: contexts, files, failed, updates_left"
    ),
    "migrate": "the report's lines, as of import",
    "rebuild": "a line for each projection: projection, version, position, duration_us",
    "sweep": "a line for each stream: message_id, outcome",
    "export": f"an object: {_fields(Exported)}",
    "migrate-store": f"an object: {_fields(Migrated)}, store, kept",
    "serve": (
        "an object when it takes requests: address, data, keys_required; with --print-settings a line for "
        f"each setting: {_fields(Row)}"
    ),
    "keys create": f"an object: key, which is the secret itself, {_fields(Key)}",
    "keys list": f"a line for each key: {_fields(Key)}, state",
    "keys revoke": f"the key as an object: {_fields(Key)}, state",
}
"""What ``--json`` gives, by verb: the end of its help."""
