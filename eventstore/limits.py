"""Every bound that the log enforces, with its unit and the reason for the number."""

from __future__ import annotations

from typing import Final

EVENT_BYTES_MAX: Final = 8 * 1024 * 1024
"""Encoded bytes of one event. A long document pasted into a chat is under 2 MiB; what is larger
belongs in an attachment."""

COMMIT_EVENTS_MAX: Final = 10_000
"""Events in one commit. A group of a second's chunks from the fastest model is under 1,000."""

COMMIT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Encoded bytes of one commit's body before compression: the most that one read must hold."""

METADATA_BYTES_MAX: Final = 64 * 1024
"""Encoded bytes of a commit's metadata: actor, correlation and causation ids, not content."""

JSON_DEPTH_MAX: Final = 64
"""Nesting of any free-form value. Beyond it decoders recurse towards the end of a thread's stack."""

NAME_CHARACTERS_MAX: Final = 100
"""Characters of a branch, workspace, part, message type, state or custom event name. Some stand in LMDB
keys, which end at 511 bytes: 100 characters are at most 400."""

COMPRESS_BYTES_MIN: Final = 1_024
"""Bodies below this are stored as they are: zstd's frame and call would cost more than they save."""

CONTEXT_METADATA_BYTES_MAX: Final = 256 * 1024
"""Encoded bytes of a context's title, config, attributes and tags together. A long system prompt with its
tools is under 100 KiB; every change stores all four anew in the views."""

BRANCHES_MAX: Final = 1_000
"""Branches of one context: each row of its history holds all heads."""

OPEN_STREAMS_MAX: Final = 1_000
"""Streams open at once in one context: each row of its history names them."""

TRANSACTION_REQUESTS_MAX: Final = 4_096
"""Requests that share one LMDB transaction: bounds the work lost when it fails."""

TRANSACTION_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes that share one LMDB transaction: bounds the dirty pages held in memory."""

TOGETHER_BYTES_MAX: Final = 256 * 1024 * 1024
"""Encoded bytes of the commits that one ``append_together`` takes: the pages for them are in memory until the
last is written, and so are their rows in the views. The longest chats that were seen take a tenth."""

INBOX_REQUESTS_MAX: Final = 8_192
"""Requests waiting for the writer before ``append`` itself waits: two full transactions."""

INBOX_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes waiting for the writer before ``append`` itself waits."""

WRITE_MODELS_BYTES_MAX: Final = 64 * 1024 * 1024
"""Memory of the write models that are kept: of 40,000 contexts with a branch and little metadata, or of 40
with as many branches and open streams and as much metadata as there can be."""

SPARED_MODELS_BYTES_MAX: Final = 8 * 1024 * 1024
"""That of a process which spares memory, as an import: it seldom comes back to a context."""

SNAPSHOT_EVENTS: Final = 1_000
"""A context's write model is stored anew after this many events, so that loading one folds at
most this many (about 1 ms)."""

UNINDEXED_COMMITS_MAX: Final = 4_096
"""Commits without their entry in the index by context. More of them share its pages when they are stored
together; a process that opens the log reads them once (5 ms), and storing them keeps the writer 10 ms."""

BESIDE_HEAD_BYTES_MAX: Final = 3_400
"""Bytes of the newest commits beside the head, with 18 for each: they and some 600 bytes of head and roots
fill one page of 4 KiB."""

BESIDE_HEAD_COMMIT_BYTES_MAX: Final = 1_500
"""A larger commit is filed at once. LMDB gives a value of 2 KB a page of its own, which this is to spare."""

BESIDE_HEAD_AT_ONCE_MAX: Final = 4
"""Commits of one transaction, if they are to go beside the head: with more of them, the page that filing
costs is shared, and putting each twice costs more."""

EVENTS_AT_ONCE: Final = 1_000
"""Events of an append, those in runs too, that are checked and encoded on the loop; more go to a thread."""

PAGE_COMMITS: Final = 256
"""Commits read at once, a few milliseconds: others wait for their turn on the loop meanwhile, and long
readers keep LMDB from reusing pages."""

PAGE_BYTES: Final = 128 * 1024
"""Bytes read at once, decompressed, at least one commit: packed chunks unfold to some 10,000 events, and what
repeats itself is stored in a thousandth."""

MAP_BYTES: Final = 1 << 40
"""Address space reserved for the log, 1 TiB sparse: growing a map under readers kills them."""

FREE_BYTES_LOW: Final = 64 * 1024 * 1024
"""Free disk below which appends are refused, so that the views and the system keep breathing."""
