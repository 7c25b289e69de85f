"""How copilot_chat lays a context out in files, by generation: whole, as a pool, and as once designed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, Literal
from uuid import UUID

from eventstore.content import Json
from turnlog.importers.copilot_chat.found import CHUNKS, Found, Layout, Node
from turnlog.importers.copilot_chat.notes import FORMAT, list_of, object_of, rest_of, text_of
from turnlog.importers.copilot_chat.streams import ROWS
from turnlog.importers.source.files import Source, Unreadable, own_id, stable_id, uuid_of
from turnlog.importers.source.notes import Notes
from turnlog.importers.source.pieces import Left, decode, opened
from turnlog.importers.source.rows import Place, Rowed
from turnlog.importers.source.times import read_moment

Kind = Literal["context", "designed", "session", "other"]

MESSAGES: Final[Place] = ("message_pool", None)
"""What of a large context is not decoded before it is read, message by message."""

_ROWED: Final = Rowed(CHUNKS, ROWS)

MESSAGES_ROWED: Final = Rowed((*MESSAGES, *CHUNKS), ROWS)
"""Where the chunks of a context stand."""

_POOL = "messages_pool"
_MESSAGES = "messages"


def kind_of(document: Any, name: str, source: Source) -> Kind:
    """What a JSON file is, by its shape and by what lies beside it."""
    held = object_of(document)
    if held is None:
        return "other"
    if "message_pool" in held:
        return "context"
    if (
        "branches" in held
        and ("current_state" in held or "config" in held)
        and _base(name) != "metadata.json"
    ):
        return "context"
    named = "context_id" in held or "id" in held
    folder = _folder(name)
    if named and ("branches" in held or "active_branch" in held or "active_branch_name" in held):
        return "designed"
    if named and _base(name) == "metadata.json" and source.has(_join(folder, "index.json")):
        return "designed"
    messages = list_of(held.get("messages"))
    if messages is not None and "id" in held:
        said = any("role" in (object_of(item) or {}) for item in messages)
        return "session" if said or not messages or "created_at" in held else "other"
    return "other"


def is_index(name: str, source: Source) -> bool:
    """Whether a file is the index of a context, which is read with it."""
    return _base(name) == "index.json" and source.has(_join(_folder(name), "metadata.json"))


def holds_parts(name: str, source: Source) -> bool:
    """Whether a file's folder holds the messages of a context, which are read with it."""
    folder = _folder(name)
    if _base(folder) == _POOL:
        return source.has(_join(_folder(folder), "context.json"))
    if _base(folder).startswith("branch-"):
        folder = _folder(folder)
    return _base(folder) == _MESSAGES and source.has(_join(_folder(folder), "metadata.json"))


def has_messages(name: str, source: Source) -> bool:
    """Whether messages lie beside a file, which are read with it or not at all."""
    beside = {"context.json": _POOL, "metadata.json": _MESSAGES}.get(_base(name))
    return beside is not None and bool(source.names(_join(_folder(name), beside)))


def identity_of(document: dict[str, Any], name: str) -> UUID:
    """The context's own id; made of what it is called if that is no UUID, of where it lies if it has none."""
    said = text_of(document.get("context_id", document.get("id")))
    if said:
        return own_id(FORMAT, said)
    return uuid_of(stem(name)) or uuid_of(_base(_folder(name))) or stable_id(FORMAT, name)


def find_context(document: dict[str, Any], name: str, source: Source) -> Found:
    """A context whose messages are in its file or in the pool beside it, or both."""
    pool = source.names(_join(_folder(name), _POOL)) if _base(name) == "context.json" else []
    layout: Layout = "pool" if _base(name) == "context.json" else "whole"
    notes = notes_of(document, name, _base(_folder(name)) if layout == "pool" else stem(name))
    inside = document.pop("message_pool", None)

    def nodes() -> Iterator[Node | Unreadable]:
        held = object_of(inside)
        items: list[tuple[str, Any]] = []
        if held is not None:
            items = list(held.items())
            held.clear()
        elif inside is not None:
            items = list(_enumerate_nodes(list(map(opened, list_of(inside) or [inside]))))
        size = source.size(name) // max(1, len(items))
        while items:  # each original goes as soon as it is read
            key, value = items.pop()
            if isinstance(value, Left):
                value = value.value(CHUNKS, _ROWED)
            yield Node(key, value, name, f"$.message_pool.{key}", bytes=size)
        for path in pool:
            yield from _file(path, source)

    return found_of(document, name, layout, nodes(), lambda: modified(document, name, source), notes)


def found_of(
    document: dict[str, Any],
    name: str,
    layout: Layout,
    nodes: Iterable[Node | Unreadable],
    modified_us: Callable[[], int | None],
    notes: Notes,
) -> Found:
    """A context of its document and its messages."""
    branches = _branches(document, name, notes)
    return Found(identity_of(document, name), name, layout, document, branches, nodes, modified_us, notes)


def _enumerate_nodes(items: list[Any]) -> Iterator[tuple[str, Any]]:
    """A pool that is a list: its messages by their own ids, else by their number."""
    for index, item in enumerate(items):
        yield text_of((object_of(item) or {}).get("id")) or str(index), item


def find_designed(document: dict[str, Any], name: str, source: Source) -> Found:
    """``metadata.json``, ``index.json`` and ``messages``: never written by the program, but described."""
    folder = _folder(name)
    notes = notes_of(document, name, _base(folder))
    branches = _branches(document, name, notes)
    files = _designed_files(folder, branches, source)
    beside = _join(folder, "index.json")
    index, rest = _index(beside, source, notes, {stem(path) for path in files})
    if rest:
        document["index"] = rest
    entries = index or {}
    active = text_of(document.get("active_branch", document.get("active_branch_name"))) or "main"
    for branch_name, keys in _by_folder(files, active).items():
        branch = branches.setdefault(branch_name, {})
        if "message_ids" not in branch:
            times = {key: text_of((entries.get(key) or {}).get("timestamp")) or "" for key in keys}
            branch["message_ids"] = sorted(keys, key=lambda key: (read_moment(times[key]) or 0, key))

    def nodes() -> Iterator[Node | Unreadable]:
        for path in files:
            yield from _file(path, source, entries.get(stem(path)))

    return Found(
        identity_of(document, name),
        name,
        "designed",
        document,
        branches,
        nodes(),
        lambda: modified(document, name, source),
        notes,
        (beside,) if index is not None else (),
    )


def _designed_files(folder: str, branches: dict[str, dict[str, Any]], source: Source) -> list[str]:
    messages = _join(folder, _MESSAGES)
    files = source.names(messages)
    for inner in source.names(messages, "folder"):
        if _base(inner).startswith("branch-"):
            branches.setdefault(_base(inner).removeprefix("branch-"), {})
            files += source.names(inner)
    return [path for path in files if path.endswith(".json")]


def _by_folder(files: list[str], active: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in files:
        folder = _base(_folder(path))
        name = folder.removeprefix("branch-") if folder.startswith("branch-") else active
        found.setdefault(name, []).append(stem(path))
    return found


def _index(
    name: str, source: Source, notes: Notes, messages: Collection[str]
) -> tuple[dict[str, dict[str, Any]] | None, dict[str, Json]]:
    """What the index says of each message, and all else; it only repeats them, so one without it is whole."""
    if not source.has(name):
        return None, {}
    try:
        value = source.json(name)
    except Unreadable as error:
        notes.of(error.path).say(error.code, error.reason, error.place)
        return None, {}
    document = object_of(value)
    given = None if document is None else object_of(document.get("entries"))
    if document is None or given is None:
        notes.of(name).say("index_unknown", "it has no entries by message")
        return {}, {"as_found": value}
    entries = {key: held for key, entry in given.items() if (held := object_of(entry)) is not None}
    others = {key: entry for key, entry in given.items() if key not in messages or key not in entries}
    for key in others:
        reason = "there is no such message" if key not in messages else "it is no object"
        notes.of(name).say("index_entry_unknown", f"{reason}; the entry is kept", f"$.entries.{key}")
    rest = rest_of(document, "entries")
    if rest.get("version") == 1:
        del rest["version"]
    return entries, rest | ({"entries": others} if others else {})


def _branches(document: dict[str, Any], name: str, notes: Notes) -> dict[str, dict[str, Any]]:
    found = document.get("branches")
    held = object_of(found)
    if held is None:
        items = list_of(found) or []
        names = [text_of((object_of(item) or {}).get("name")) for item in items]
        held = {name: item for name, item in zip(names, items, strict=True) if name is not None}
        if found is not None and (list_of(found) is None or len(held) != len(items)):
            notes.say("branches_unknown", "its branches are no object by name", "$.branches")
            document["branches_as_found"] = found
    branches: dict[str, dict[str, Any]] = {}
    for branch, value in held.items():
        inner = object_of(value)
        if inner is None:
            place = f"$.branches.{branch}"
            notes.say("branch_unknown", "the branch is no object", place)
            inner = {"as_found": value}
        branches[branch] = inner
    return branches


def _file(path: str, source: Source, entry: dict[str, Any] | None = None) -> Iterator[Node | Unreadable]:
    """A message of its own file; ``entry``: what the index says of it, which may be its only time."""
    if not path.endswith(".json"):
        return
    try:
        text = source.bytes(path)
        value = decode(path, text, CHUNKS, _ROWED)
    except Unreadable as error:
        yield error
        return
    if entry is not None and isinstance(value, dict):
        value["index"] = entry
    size = len(text)
    del text
    yield Node(stem(path), value, path, "$", read_moment((entry or {}).get("timestamp")), bytes=size)


def modified(document: dict[str, Any], name: str, source: Source) -> int | None:
    """The time of a context in which no message has one: of its creation if it says so, else of its file."""
    created_at = read_moment(document.get("created_at"))
    if created_at is not None:
        return created_at
    try:
        return source.modified_us(name)
    except Unreadable:
        return None


def notes_of(document: dict[str, Any], name: str, called: str) -> Notes:
    """For a context, with what is odd about its id already in them."""
    notes = Notes(name, identity_of(document, name))
    said = text_of(document.get("context_id", document.get("id")))
    if not said:
        notes.say("id_missing", "it has no id; that of its file's name or place is taken")
    elif called and called != said:
        notes.say("misnamed", f"it is stored as {called} and calls itself {said}, which holds")
    return notes


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def stem(name: str) -> str:
    """A file's name without its ending."""
    return _base(name).rpartition(".")[0]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
