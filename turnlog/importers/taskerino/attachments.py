"""Taskerino's attachments, stored under the hash of their bytes: which one an item means."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple, cast

from eventstore.content import Json
from turnlog.importers.conversation import Problem
from turnlog.importers.source.files import Source, Unreadable
from turnlog.importers.source.notes import Notes, problem_of
from turnlog.importers.taskerino.envelope import value

STORE: Final = "attachments-ca"
INDEX: Final = "ca-attachment-index.json"

_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Attachment(NamedTuple):
    """``reference``: ``sha256:`` and the hash; where none is known, the id that the item gives."""

    reference: str
    media_type: str | None
    stored: bool


class Attachments:
    """The content-addressed store beside the sessions, if there is one: ``root`` is the folder of both.

    What of it cannot be read is added to ``unread``, by file.
    """

    def __init__(self, source: Source, folder: str, unread: dict[str, Problem]) -> None:
        self.source = source
        self.root: str | None = None
        self._unread = unread
        self._hashes: dict[tuple[str, str], str] | None = None
        while self.root is None:
            if _join(folder, STORE) in source.names(folder, "folder"):
                self.root = folder
            elif not folder:
                break
            folder = folder.rpartition("/")[0]

    def find(self, session: str, attachment_id: str | None, hash_: str | None) -> Attachment | None:
        """What an item of a session refers to."""
        known = hash_.lower() if hash_ and _HASH.fullmatch(hash_.lower()) else None
        if known is None and attachment_id is not None:
            known = self._by_id(session, attachment_id)
        if known is None:
            told = attachment_id or hash_
            return Attachment(told, None, False) if told else None
        media_type = self._about(known).get("mimeType")
        reference = f"sha256:{known}"
        return Attachment(reference, media_type if isinstance(media_type, str) else None, self._has(known))

    def _about(self, hash_: str) -> dict[str, Json]:
        return self._object(f"{STORE}/{hash_[:2]}/{hash_}/metadata.json")

    def _has(self, hash_: str) -> bool:
        """Whether the bytes are there, and no link leads to them."""
        if self.root is None:
            return False
        try:
            self.source.head(_join(self.root, f"{STORE}/{hash_[:2]}/{hash_}/data.json"), 0)
        except Unreadable:
            return False
        return True

    def _by_id(self, session: str, attachment_id: str) -> str | None:
        """By the index, else by the references that the attachments themselves count."""
        if self._hashes is None:
            self._hashes = self._indexed()
        found = self._hashes.get((session, attachment_id)) or self._hashes.get(("", attachment_id))
        return found if found is not None and _HASH.fullmatch(found) else None

    def _indexed(self) -> dict[tuple[str, str], str]:
        hashes: dict[tuple[str, str], str] = {}
        if self.root is None:
            return hashes
        for attachment_id, hash_ in self._object(INDEX).items():
            if isinstance(hash_, str):
                hashes["", attachment_id] = hash_
        for shelf in self.source.names(_join(self.root, STORE), "folder"):
            for folder in self.source.names(shelf, "folder"):
                hash_ = folder.rpartition("/")[2]
                references = self._about(hash_).get("references")
                for reference in cast("list[Any]", references) if isinstance(references, list) else []:
                    match reference:
                        case {"sessionId": str(session), "attachmentId": str(attachment_id)}:
                            hashes[session, attachment_id] = hash_
                        case _:
                            pass
        return hashes

    def _object(self, name: str) -> dict[str, Json]:
        """What a file of the store says; nothing if there is none, or it cannot be read, which is told."""
        if self.root is None or not self.source.has(path := _join(self.root, name)):
            return {}
        try:
            found = value(self.source, path, Notes(path))
        except Unreadable as unreadable:
            self._unread[path] = problem_of(unreadable)
            return {}
        return cast("dict[str, Json]", found) if isinstance(found, dict) else {}


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
