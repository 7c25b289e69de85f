"""The keys on the disk: ``DIR/keys.json``, replaced whole, one change at a time.

    keys.json       {"format": 1, "keys": [{"key": {"id": ..., ...}, "digest": ...}, ...]}, mode 0600
    keys.made       empty; says that there were keys, also when keys.json is lost
    keys.lock       held by whoever changes them
    .keys.json.new  the next one, until it is renamed

That one of the first two is there means that a key was made once: from then on nobody gets in without one.
The mark is on the disk before the first key is told to anybody, but after the key itself: so that whoever
looks for the mark first and for the keys then never takes keys that are just being made for lost ones.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from eventstore.environment import sync_directory, translated
from eventstore.errors import Damaged, NotFound, Refused, Unavailable
from eventstore.limits import NAME_CHARACTERS_MAX
from turnlog.service.keys import Key, KeyRole, StoredKey, digest_of, new_id, new_secret, text_of

FORMAT: Final = 1

KEYS_MAX: Final = 10_000
"""Keys of a directory, revoked ones too: a new one every hour for a year."""

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Read at most: of as many keys with names of 100 characters, each of four bytes, twice."""

EXPIRY_US_MAX: Final = 100 * 366 * 86_400 * 1_000_000
"""A hundred years, beyond which a key may as well never expire."""


class _Header(msgspec.Struct, frozen=True):
    format: int


class _Document(msgspec.Struct, frozen=True):
    format: int
    keys: tuple[StoredKey, ...]


class Signature(NamedTuple):
    """What differs when a file was replaced, written or given other permissions."""

    modified_ns: int
    changed_ns: int
    size_bytes: int
    inode: int


class Stored(NamedTuple):
    """The keys of a file, and the signature that it had before they were read."""

    signature: Signature
    keys: tuple[StoredKey, ...]


_header_decoder: Final = msgspec.json.Decoder(_Header)
_decoder: Final = msgspec.json.Decoder(_Document)


def path_in(directory: Path) -> Path:
    """Where the keys of a data directory are."""
    return directory / "keys.json"


def was_made(path: Path) -> bool:
    """Whether there ever were keys in the file, as the mark beside it says. Raises ``Unavailable``."""
    with translated(path):
        return _mark_of(path).exists()


def _mark_of(path: Path) -> Path:
    return path.with_name("keys.made")


def signature_of(path: Path) -> Signature | None:
    """The signature of the file as it is now; None when there is none. Raises ``Unavailable``."""
    with translated(path):
        try:
            return _signature(path.stat())
        except FileNotFoundError:
            return None


def read(path: Path) -> Stored | None:
    """What the file holds; None when there never was one.

    Raises ``Damaged`` (``keys_damaged``, also when it is gone), ``Unavailable`` (``storage_failed``,
    ``directory_newer``) or ``Refused`` (``keys_exposed``: others may read or change it).
    """
    had_keys = was_made(path)
    with translated(path):
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                content = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            if not had_keys:
                return None
            what = f"{path} is gone, but {_mark_of(path).name} beside it says that there were keys"
            raise Damaged("keys_damaged", what, path=str(path)) from None
    if status.st_mode & 0o077:
        raise Refused("keys_exposed", f"others than its owner have access to {path}", path=str(path))
    if len(content) > FILE_BYTES_MAX:
        raise Damaged("keys_damaged", f"{path} is larger than {FILE_BYTES_MAX} bytes", path=str(path))
    return Stored(_signature(status), _decode(content, path))


def _signature(status: os.stat_result) -> Signature:
    return Signature(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def _decode(content: bytes, path: Path) -> tuple[StoredKey, ...]:
    try:
        header = _header_decoder.decode(content)
        if header.format > FORMAT:
            raise Unavailable("directory_newer", f"{path} has format {header.format}", path=str(path))
        document = _decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Damaged("keys_damaged", f"{path} is not what Turnlog wrote", path=str(path)) from None
    if len({stored.key.id for stored in document.keys}) < len(document.keys):
        raise Damaged("keys_damaged", f"{path} has two keys of one id", path=str(path))
    return document.keys


def create_key(
    directory: Path,
    *,
    name: str | None,
    workspace: str | None,
    role: KeyRole,
    expires_at: int | None,
    now: int,
) -> tuple[Key, str]:
    """Make a key in a data directory that is there; the key, and its text, which is kept nowhere.

    Raises ``Refused`` (``invalid_argument``, ``too_many_keys``) and what ``read`` raises.
    """
    if expires_at is not None and not now < expires_at <= now + EXPIRY_US_MAX:
        raise Refused(
            "invalid_argument", "a key expires within 100 years from now, or never", argument="expires"
        )
    secret = new_secret()
    with _locked(directory) as keys:
        if len(keys) >= KEYS_MAX:
            raise Refused(
                "too_many_keys", f"there are {len(keys)} keys, the revoked ones counted", limit=KEYS_MAX
            )
        key = _checked(Key(_free_id(keys), name, workspace, role, now, expires_at))
        _replace(path_in(directory), (*keys, StoredKey(key, digest_of(secret))))
    return key, text_of(key.id, secret)


def revoke_key(directory: Path, key_id: str, now: int) -> Key:
    """Revoke a key, for ever. Idempotent: the first time stays.

    Raises ``NotFound`` (``key_not_found``) and what ``read`` raises.
    """
    with _locked(directory) as keys:
        found = find_key(keys, key_id)
        if found.revoked_at is not None:
            return found
        revoked = msgspec.structs.replace(found, revoked_at=now)
        _replace(
            path_in(directory),
            tuple(StoredKey(revoked, each.digest) if each.key.id == key_id else each for each in keys),
        )
    return revoked


def find_key(keys: tuple[StoredKey, ...], key_id: str) -> Key:
    """The key with that id. Raises ``NotFound`` with code ``key_not_found``."""
    for stored in keys:
        if stored.key.id == key_id:
            return stored.key
    raise NotFound("key_not_found", f"there is no key {key_id}", key_id=key_id)


def _free_id(keys: tuple[StoredKey, ...]) -> str:
    """An id that no key here had before, revoked ones included: logs name keys by it."""
    taken = {stored.key.id for stored in keys}
    while (key_id := new_id()) in taken:
        pass
    return key_id


def _checked(key: Key) -> Key:
    """What is written can be read."""
    try:
        return msgspec.json.decode(msgspec.json.encode(key), type=Key)
    except (msgspec.MsgspecError, UnicodeError):
        what = f"a name and a workspace are texts of 1 to {NAME_CHARACTERS_MAX} characters"
        raise Refused("invalid_argument", what) from None


@contextmanager
def carried_over(source: Path, target: Path) -> Generator[None]:
    """The keys of a data directory are those of another too, and nobody changes either in the block.

    A directory that never had keys leaves the other as it is. Raises what ``read`` raises.
    """
    with _locked(source) as keys, _locked(target):
        if path_in(source).exists():
            _replace(path_in(target), keys)
        yield


@contextmanager
def _locked(directory: Path) -> Generator[tuple[StoredKey, ...]]:
    """The keys as they are, while nobody else changes them."""
    path = path_in(directory)
    with translated(path):
        lock = _open_private(directory / "keys.lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            stored = read(path)
            yield () if stored is None else stored.keys
        finally:
            os.close(lock)


def _replace(path: Path, keys: tuple[StoredKey, ...]) -> None:
    """The whole file anew, or as it was: a power cut leaves one of the two. The mark follows the first."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)  # left behind by a process that died; its permissions may be any
    content = msgspec.json.format(msgspec.json.encode(_Document(FORMAT, keys)), indent=1) + b"\n"
    with os.fdopen(_open_private(aside, os.O_WRONLY | os.O_EXCL), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    sync_directory(path.parent)
    mark = _mark_of(path)
    if not mark.exists():
        with os.fdopen(_open_private(mark, os.O_WRONLY), "wb") as file:
            os.fsync(file.fileno())
        sync_directory(path.parent)


def _open_private(path: Path, flags: int) -> int:
    """Create or open a file that is its owner's alone. What root makes belongs to the directory's owner, who
    runs the service."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0 and (owner := path.parent.stat()).st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor
