"""Every setting of the service: its default, its range, and the reason for the number.

Units stand in the names. Where the values come from is ``configuration``'s business.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from eventstore.limits import (
    COMMIT_EVENTS_MAX,
    JSON_DEPTH_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_REQUESTS_MAX,
)

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4_096)]
Host: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=r"^[^\s/\[\]]+\Z",
        description="a name or an address, without port and brackets",
    ),
]
Origin: TypeAlias = Annotated[str, Meta(pattern=r"^(\*|https?://[^/\s*]+)\Z")]
Origins: TypeAlias = Annotated[
    tuple[Origin, ...], Meta(description="origins such as https://chat.example, without a path, or *")
]
LogLevel: TypeAlias = Annotated[
    Literal["debug", "info", "warning", "error"], Meta(description="debug, info, warning or error")
]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one client may ask of the service, and all of them together."""

    header_bytes_max: Annotated[int, Meta(ge=1_024, le=1024 * 1024)] = 16 * 1024
    """All headers of a request. A key, a cursor and what proxies add are under 4 KiB; other servers stop at
    8 to 16."""

    body_bytes_max: Annotated[int, Meta(ge=1_024, le=256 * 1024 * 1024)] = 24 * 1024 * 1024
    """A request's body. The largest commit is 16 MiB, and base64 in JSON makes a third more of bytes."""

    json_depth_max: Annotated[int, Meta(ge=8, le=128)] = JSON_DEPTH_MAX + 8
    """Nesting of a body: of a value that the log takes, and of the lists and objects around it in a request.
    Beyond 128 decoders recurse towards the end of a thread's stack."""

    commit_events_max: Annotated[int, Meta(ge=1, le=COMMIT_EVENTS_MAX)] = COMMIT_EVENTS_MAX
    """Events of one append: as many as the log takes."""

    connections_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 4_000
    """Open connections: 1,000 answers that stream at once, each with a producer and two readers, and a
    quarter for everything else. The process needs as many file descriptors."""

    requests_queued_max: Annotated[int, Meta(ge=1, le=100_000)] = 128
    """Requests that wait on one connection for the answers before them; to read as many takes 5 ms. HTTP's
    clients send one after another, and who sends more ahead is cut off."""

    subscribers_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 3_000
    """Open event streams of all keys: three quarters of the connections, so that requests find one."""

    streams_per_key_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 2_000
    """Open event streams of one key. A backend reads for all its users by one key; another still gets in."""

    inbox_requests_max: Annotated[int, Meta(ge=1, le=1_000_000)] = TRANSACTION_REQUESTS_MAX
    """Appends that wait for the writer before more are answered with 503: those of a full transaction, so
    what is accepted waits for two syncs at most."""

    inbox_bytes_max: Annotated[int, Meta(ge=1_024, le=1 << 40)] = TRANSACTION_BYTES_MAX
    """Bytes that wait for the writer before more are answered with 503: a full transaction's."""

    retry_after_seconds: Annotated[int, Meta(ge=1, le=3_600)] = 1
    """What ``Retry-After`` says with a 503. A full transaction takes a tenth of it; clients add jitter."""

    tickets_per_key_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    """Tickets of one key that wait to be used: as many pages that open at once. A ticket takes 300 bytes."""

    header_seconds_max: Annotated[float, Meta(ge=0.1, le=3_600)] = 10.0
    """From the first byte of a request to the end of its headers. One that takes longer holds a connection
    on purpose."""

    idle_seconds_max: Annotated[float, Meta(ge=1, le=86_400)] = 75.0
    """Silence on a connection between requests or inside a body. Proxies keep theirs for 60 s, and must be
    the first to close: otherwise they send a request into a connection that has just gone."""

    reader_stalled_seconds_max: Annotated[float, Meta(ge=0.1, le=3_600)] = 20.0
    """How long a reader of a stream may take nothing before it is cut off with its position. It comes back
    and goes on there; what is sent waits in memory until then."""


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """How event streams are kept alive and found again."""

    heartbeat_seconds: Annotated[float, Meta(ge=0.1, le=3_600)] = 15.0
    """Silence after which a comment is sent: half of the 30 s after which the strictest proxies hang up."""

    retry_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 1_000
    """What a browser waits before it comes back. A restart takes about as long."""

    ticket_life_seconds: Annotated[float, Meta(ge=1, le=3_600)] = 30.0
    """From a ticket's issue to its use: a slow page still opens its stream, a leaked address does not."""


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """When streams whose producer died are closed."""

    interval_seconds: Annotated[float, Meta(ge=0.1, le=86_400)] = 15.0
    """Between two looks at the open streams: a quarter of the lease, so that it is kept to within that."""

    lease_seconds: Annotated[float, Meta(ge=1, le=604_800)] = 60.0
    """Silence after which a producer counts as dead. Models that think say nothing for half a minute."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. The names are those of the settings file; a group is a table in it."""

    host: Host = "127.0.0.1"
    """A name or an address to listen on. Only this machine's own may be without keys."""

    port: Annotated[int, Meta(ge=0, le=65_535)] = 7411
    """Where to listen; above 1024, so that nobody needs to be root. 0 lets the system choose."""

    data: Text = "data"
    """The data directory, as for every other verb; relative to where the service is started."""

    projections: tuple[Text, ...] = ()
    """Projections as MODULE:NAME, beside the built-in and the installed ones."""

    allow_unsafe_file_system: bool = False
    """Accept a network or overlay file system, against all advice."""

    cors_origins: Origins = ()
    """Pages of other sites that browsers may let in; none, because most backends have no browser before
    them."""

    keys_check_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    """Between two looks at the key file, and so from a revocation to its effect. A look costs 4 us."""

    shutdown_grace_seconds: Annotated[float, Meta(ge=0, le=3_600)] = 1.5
    """What requests get to finish when the service is told to stop, so that all is over within 2 s. An append
    takes milliseconds; streams are ended at once, and orchestrators kill after 10 s."""

    log_level: LogLevel = "info"
    """The least of what is logged: with info a line for each request."""

    limits: Limits = Limits()
    streams: Streams = Streams()
    sweep: Sweep = Sweep()
