"""Every row and key of the built-in projections, drawn; the only place that packs them.

All integers in keys are big-endian, so that byte order is numeric order; ids are their 16 bytes.

    contexts    contexts          context                                      -> ContextRow
                context_history   context | version u64                        -> HistoryRow
                context_metadata  context | version u64                        -> Metadata
                context_details   context | version u64                        -> msgpack of a state's detail
                context_cuts      context | version u64                        -> CutRow
                by_updated        scope | deleted u8 | MAX - time u64 | context -> nothing
    messages    messages          message                                      -> MessageRow
                by_version        context | version u64                        -> message
                by_role           context | role u8 | version u64              -> message
                by_type           context | name | version u64                 -> message
                redactions        context | version u64                        -> message
    timelines   timelines         message                                      -> TimelineRow
                segments          message | first sequence u64                 -> see ``segments.py``
                open_streams      message                                      -> OpenStreamRow
                sealing           context                                      -> SealingRow

A name in a key is its length in bytes as u16 and its UTF-8. A scope is 0 for all workspaces, or 1 and the
workspace's name. Values are msgpack arrays; whatever changes here raises the projection's version.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final, Generic, TypeVar, get_args
from uuid import UUID

import msgspec

from eventstore.content import Json, Role
from eventstore.errors import Damaged
from eventstore.events import ForkedFrom, Outcome
from eventstore.metadata import Metadata

CONTEXTS: Final = "contexts"
HISTORY: Final = "context_history"
METADATA: Final = "context_metadata"
DETAILS: Final = "context_details"
CUTS: Final = "context_cuts"
BY_UPDATED: Final = "by_updated"

MESSAGES: Final = "messages"
BY_VERSION: Final = "by_version"
BY_ROLE: Final = "by_role"
BY_TYPE: Final = "by_type"
REDACTIONS: Final = "redactions"

TIMELINES: Final = "timelines"
SEGMENTS: Final = "segments"
OPEN_STREAMS: Final = "open_streams"
SEALING: Final = "sealing"

U64_MAX: Final = (1 << 64) - 1

_T = TypeVar("_T")


class OpenStream(msgspec.Struct, array_like=True):
    """A stream that is open in a context; ``progress`` is the number of its chunks."""

    started_version: int
    progress: int = 0
    epoch: int = 1


class HistoryRow(msgspec.Struct, array_like=True):
    """A context right after an event other than a chunk.

    ``event`` is the number of the event's bit in ``events.BITS``; ``message_id`` and ``name`` say what it
    was about. ``metadata_version`` and ``detail_version`` lead to rows that change seldom and may be large;
    0 is "none".
    """

    position: int = 0
    recorded_at: int = 0
    event: int = 0
    message_id: UUID | None = None
    name: str | None = None
    branches: dict[str, UUID | None] = {}
    active_branch: str = ""
    state: str | None = None
    deleted: bool = False
    message_count: int = 0
    streams: dict[UUID, OpenStream] = {}
    metadata_version: int = 0
    detail_version: int = 0


class CutRow(msgspec.Struct, array_like=True):
    """How many chunks each open stream had at a milestone, in the order of the history row before it.

    There may be a thousand open streams, so their ids are left to that row.
    """

    progress: list[int]


class ContextRow(msgspec.Struct, array_like=True):
    """A context as it is now. ``last`` is its newest history row, of version ``last_version``."""

    workspace: str
    title: str | None
    tags: list[str]
    created_at: int
    updated_at: int
    forked_from: ForkedFrom | None
    last_version: int
    last: HistoryRow


class MessageRow(msgspec.Struct, array_like=True):
    """A message. ``depth`` counts its ancestors; ``jump_id`` is one of them, of depth ``jump_depth``.

    For a streamed message without final parts ``size_bytes`` and ``has_tool_calls`` are None: its timeline
    knows them, and reading the stream a second time to know them here would double the cost of a rebuild.
    """

    context_id: UUID
    version: int
    position: int
    recorded_at: int
    parent_id: UUID | None
    depth: int
    jump_id: UUID
    jump_depth: int
    branch: str
    role: Role
    message_type: str
    occurred_at: int | None
    streamed: bool
    size_bytes: int | None = None
    has_tool_calls: bool | None = None
    has_tool_result: bool = False
    outcome: Outcome | None = None
    finalized_version: int | None = None
    has_final_parts: bool = False
    redacted_version: int | None = None


class SegmentMark(msgspec.Struct, array_like=True, gc=False):
    """Where a segment starts, ``elapsed_us`` after the stream's first chunk, and what is in it."""

    first_sequence: int
    elapsed_us: int
    characters: int
    text_bytes: int


class TimelineRow(msgspec.Struct, array_like=True):
    """A stream's header. The chunks up to ``sealed`` are in segments; when it is finalized, all are.

    Of a redacted stream they are counted, but not kept; its ``error`` is not either, as it may quote them.

    ``first_at``, ``last_at`` and ``elapsed_us`` speak of the sealed chunks: when the first and the last
    arrived, and the sum of the times between them.
    """

    context_id: UUID
    role: Role
    model: str | None
    started_version: int
    started_position: int
    started_at: int
    occurred_at: int | None
    sealed: int = 0
    first_at: int = 0
    last_at: int = 0
    elapsed_us: int = 0
    marks: list[SegmentMark] = []
    has_raw: bool = False
    has_tool_calls: bool = False
    redacted: bool = False
    outcome: Outcome | None = None
    finish_reason: str | None = None
    usage: dict[str, Json] | None = None
    error: dict[str, Json] | None = None
    has_final_parts: bool = False
    finalized_version: int | None = None
    finalized_position: int | None = None
    finalized_at: int | None = None


class OpenStreamRow(msgspec.Struct, array_like=True):
    """A stream that is not finalized, for ``sweep``."""

    context_id: UUID
    started_version: int
    started_at: int
    epoch: int = 1


class SealingRow(msgspec.Struct, array_like=True):
    """The open streams of a context, whose chunks up to ``version`` are in segments."""

    version: int
    message_ids: list[UUID] = []


class Codec(Generic[_T]):
    """One row type <-> bytes."""

    def __init__(self, row: type[_T]) -> None:
        self._row = row
        self._decoder: msgspec.msgpack.Decoder[_T] = msgspec.msgpack.Decoder(row)
        self.encode = _encoder.encode

    def decode(self, value: bytes) -> _T:
        """Raises ``Damaged`` with code ``view_damaged``."""
        try:
            return self._decoder.decode(value)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise Damaged("view_damaged", f"a {self._row.__name__} cannot be read") from error


_encoder: Final = msgspec.msgpack.Encoder(uuid_format="bytes")

context_rows: Final = Codec(ContextRow)
history_rows: Final = Codec(HistoryRow)
metadata_rows: Final = Codec(Metadata)
cut_rows: Final = Codec(CutRow)
message_rows: Final = Codec(MessageRow)
timeline_rows: Final = Codec(TimelineRow)
open_stream_rows: Final = Codec(OpenStreamRow)
sealing_rows: Final = Codec(SealingRow)
encode_detail: Final = _encoder.encode
decode_detail: Final = msgspec.msgpack.decode

_id_number: Final = Struct(">16sQ")
_role_number: Final = Struct(">16sBQ")
_updated: Final = Struct(">BQ16s")
_u16: Final = Struct(">H")
_u64: Final = Struct(">Q")

versioned: Final = _id_number.pack
"""(context, version), or (message, first sequence)."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)


def version_in(key: bytes) -> int:
    """The number at the end of any key that ends with one."""
    return _u64.unpack_from(key, len(key) - 8)[0]


def name_in_key(name: str) -> bytes:
    """A name such that no other name's bytes start with these."""
    text = name.encode()
    return _u16.pack(len(text)) + text


def by_role(context: bytes, role: Role, version: int) -> bytes:
    """Key of ``by_role``."""
    return _role_number.pack(context, ROLES.index(role), version)


def by_type(context: bytes, message_type: str, version: int) -> bytes:
    """Key of ``by_type``."""
    return context + name_in_key(message_type) + _u64.pack(version)


@lru_cache
def scope_of(workspace: str | None) -> bytes:
    """The start of ``by_updated`` keys: of one workspace, or of all."""
    return b"\x00" if workspace is None else b"\x01" + name_in_key(workspace)


def by_updated(scope: bytes, deleted: bool, updated_at: int, context: bytes) -> bytes:
    """Key of ``by_updated``: newest first."""
    return scope + _updated.pack(deleted, U64_MAX - updated_at, context)


def path_cursor(head: bytes, depth: int) -> bytes:
    """A place on the path to a message, for a page's cursor."""
    return _id_number.pack(head, depth)


pack_version: Final = _u64.pack

PATH_CURSOR_BYTES: Final = _id_number.size
VERSION_BYTES: Final = _u64.size
UPDATED_BYTES: Final = 24
"""Length of the part of a ``by_updated`` key that orders contexts: inverted time and id."""
