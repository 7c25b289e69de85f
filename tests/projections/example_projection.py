"""A projection of one's own: how often each word was said in a context."""

from __future__ import annotations

from eventstore.commits import Commit
from eventstore.content import Part, TextPart, fold
from eventstore.events import BITS, ChunkReceived, MessageAppended, StreamFinalized, StreamStarted
from projections.projection import Past, Rows


class WordCount:
    """Words by context. ``words``: context id and word -> count; ``open``: message id -> first version."""

    name = "word_count"
    version = 1
    tables = ("words", "open")
    kinds = BITS[MessageAppended] | BITS[StreamStarted] | BITS[StreamFinalized]

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Count whole messages as they come, streamed ones once they are complete."""
        for version, event in commit.versioned():
            if isinstance(event, MessageAppended):
                self._count(commit, rows, event.parts)
            elif isinstance(event, StreamStarted):
                rows.put("open", event.message_id.bytes, version.to_bytes(8, "big"))
            elif isinstance(event, StreamFinalized):
                first = int.from_bytes(rows.get("open", event.message_id.bytes) or b"", "big")
                rows.delete("open", event.message_id.bytes)
                chunks = (
                    chunk
                    for earlier in past.context(commit.context_id, first, version)
                    for chunk in earlier.events()
                    if isinstance(chunk, ChunkReceived) and chunk.message_id == event.message_id
                )
                self._count(commit, rows, fold((chunk.kind, chunk.part, chunk.delta) for chunk in chunks))

    def _count(self, commit: Commit, rows: Rows, parts: tuple[Part, ...]) -> None:
        for part in parts:
            for word in part.text.lower().split() if isinstance(part, TextPart) else ():
                key = commit.context_id.bytes + word.encode()[:200]
                count = int.from_bytes(rows.get("words", key) or b"", "big")
                rows.put("words", key, (count + 1).to_bytes(8, "big"))
