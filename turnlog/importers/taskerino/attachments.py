"""Taskerino's attachments, stored under the hash of their bytes: which one an item means."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple, cast

from eventstore.content import Json
from turnlog.importers.source.fields import Notes
from turnlog.importers.source.files import Source, Unreadable
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
    """The content-addressed store beside the sessions, if there is one: ``root`` is the folder of both."""

    def __init__(self, source: Source, folder: str) -> None:
        self.source = source
        self.root: str | None = None
        self._hashes: dict[tuple[str, str], str] | None = None
        if not source.root.is_dir():
            return
        for parent in (PurePosixPath(folder), *PurePosixPath(folder).parents):
            if self._is_inside(path := (parent / STORE).as_posix()) and source.path(path).is_dir():
                self.root = parent.as_posix()
                break

    def find(self, session: str, attachment_id: str | None, hash_: str | None) -> Attachment | None:
        """What an item of a session refers to."""
        known = hash_.lower() if hash_ and _HASH.fullmatch(hash_.lower()) else None
        if known is None and attachment_id is not None:
            known = self._by_id(session, attachment_id)
        if known is None:
            told = attachment_id or hash_
            return Attachment(told, None, False) if told else None
        about = self._about(known)
        media_type = about.get("mimeType")
        stored = self._is_file(f"{STORE}/{known[:2]}/{known}/data.json")
        return Attachment(f"sha256:{known}", media_type if isinstance(media_type, str) else None, stored)

    def _about(self, hash_: str) -> dict[str, Json]:
        found = self._value(f"{STORE}/{hash_[:2]}/{hash_}/metadata.json")
        return cast("dict[str, Json]", found) if isinstance(found, dict) else {}

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
        index = self._value(INDEX)
        if isinstance(index, dict):
            for attachment_id, hash_ in cast("dict[str, Json]", index).items():
                if isinstance(hash_, str):
                    hashes["", attachment_id] = hash_
        folder = self.source.path((PurePosixPath(self.root) / STORE).as_posix())
        for path in folder.glob("??/*/metadata.json"):
            references = self._about(path.parent.name).get("references")
            for reference in cast("list[Any]", references) if isinstance(references, list) else []:
                match reference:
                    case {"sessionId": str(session), "attachmentId": str(attachment_id)}:
                        hashes[session, attachment_id] = path.parent.name
                    case _:
                        pass
        return hashes

    def _value(self, name: str) -> Any:
        """What a file of the store says; None if it cannot be read: then its attachment has no more facts."""
        path = (PurePosixPath(self.root or "") / name).as_posix()
        if not self._is_file(name):
            return None
        try:
            return value(self.source, path, Notes(path))
        except Unreadable:
            return None

    def _is_file(self, name: str) -> bool:
        path = (PurePosixPath(self.root or "") / name).as_posix()
        return self.root is not None and self._is_inside(path) and self.source.path(path).is_file()

    def _is_inside(self, path: str) -> bool:
        """Whether no link leads away from there."""
        return self.source.path(path).resolve() == self.source.root.resolve() / PurePosixPath(path)
