"""Contexts in copilot_chat's generation 4: ``contexts/{id}/context.json`` and ``messages_pool/{id}.json``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final, cast
from uuid import UUID

import msgspec

from eventstore.content import Json
from projections.answers import ContextState, MessageEntry
from turnlog.exporters.copilot_message import node_of, object_of, time_of
from turnlog.exporters.exported import Exported, Progress
from turnlog.exporters.folder import Folder
from turnlog.exporters.messages import Contents
from turnlog.facade import Turnlog
from turnlog.importers.copilot_chat.found import message_id_of
from turnlog.importers.source.files import uuid_of

FORMAT: Final = "copilot_chat"

DOCUMENT: Final = "context.json"
POOL: Final = "messages_pool"
"""The file and the folder of a context."""

_UNIT_STATES: Final = ("idle", "paused", "initializing", "cancelling")
"""States of theirs that need no detail; ours are the application's, and may be any."""


async def export(
    log: Turnlog, contexts: AsyncIterable[ContextState], folder: Folder, progress: Progress
) -> Exported:
    """Write each context: its messages, and then the file that makes it one. Memory holds a few messages.

    Raises what queries and ``Folder`` raise.
    """
    exported = Exported(FORMAT, str(folder.path))
    async for state in contexts:
        folder.check_free(f"contexts/{state.id}/{DOCUMENT}")
        folder.check_empty(f"contexts/{state.id}/{POOL}")
        await _context(log, state, folder, exported)
        exported.contexts += 1
        progress(exported.contexts)
    return exported


async def _context(log: Turnlog, state: ContextState, folder: Folder, exported: Exported) -> None:
    place, names = f"contexts/{state.id}", set[str]()
    async for name, value in contents_of(log, state, exported):
        if name == DOCUMENT:
            folder.remove_others(f"{place}/{POOL}", names)
        names.add(name.removeprefix(f"{POOL}/"))
        folder.write(f"{place}/{name}", _pretty(value))
        exported.files += 1


async def contents_of(
    log: Turnlog, state: ContextState, exported: Exported
) -> AsyncGenerator[tuple[str, Json]]:
    """What the files of a context hold, by their names in its folder: each message, and last its document."""
    contents, written = Contents(log, state), set[UUID]()
    kept = Kept(contents.state)
    owners = {state.id: kept}

    async def new(entries: list[MessageEntry]) -> AsyncGenerator[tuple[str, Json]]:
        async for message in contents.told([entry for entry in entries if entry.id not in written]):
            entry = message.entry
            if entry.context_id not in owners:  # whose history the context shares
                owners[entry.context_id] = Kept(await log.queries.context(entry.context_id))
            imported = owners[entry.context_id].covers(entry.version)
            yield _pooled(entry.id), node_of(message, await contents.chunks(message), imported=imported)
            exported.messages += 1
        written.update(entry.id for entry in entries)

    async for page in contents.pages(None):
        async for node in new(page):
            yield node
    leading: dict[str, list[str]] = {name: [] for name in state.branches}
    for name, ids in leading.items():
        async for page in contents.pages(name):
            async for node in new(page):
                yield node
            ids += [str(entry.id) for entry in page]
    untaken: set[UUID] = set()
    for message_id, value in contents.untaken() if kept.is_theirs else ():
        if message_id in written:
            exported.leave_out("message that another one has the id of")
            continue
        yield _pooled(message_id), value
        untaken.add(message_id)
    branches: dict[str, Json] = {}
    for name, ids in leading.items():
        branch = kept.branch(name, ids, written)
        if kept.named_by(name) & untaken > kept.named(branch) & untaken:
            exported.leave_out("place on a branch of a message that is none here")
        branches[cast("str", branch["name"])] = branch
    yield DOCUMENT, kept.document(branches)


def _pooled(message_id: UUID) -> str:
    return f"{POOL}/{message_id}.json"


class Kept:
    """What an importer kept of a context, and how it goes back."""

    def __init__(self, state: ContextState) -> None:
        self._state = state
        noted = object_of(state.attributes.get("import"))
        self._noted = noted if noted.get("format") == FORMAT else {}
        source = dict(object_of(self._noted.get("source")))
        self._is_session = self._noted.get("layout") == "session"  # the latest files, which are no contexts
        if self._is_session:
            source.pop("id", None)
        self._branches = object_of(source.pop("branches", None))
        self._source = source
        copies = self._noted.get("copies")
        self._copies = cast("list[Json]", copies) if isinstance(copies, list) else []

    def covers(self, version: int) -> bool:
        """Whether what the context had at a version came with an import of it; a fork has another's note."""
        if self._state.forked_from is not None:
            return False
        if not self._copies:
            return bool(self._noted)
        spans = (object_of(copy) for copy in self._copies)
        return any(span.get("before", 0) < version <= span.get("version", 0) for span in spans)

    @property
    def is_theirs(self) -> bool:
        """Whether it came from copilot_chat."""
        return bool(self._noted)

    def named_by(self, name: str) -> set[UUID]:
        """The messages that a branch named when it was imported."""
        return self.named(object_of(self._branches.get(name)))

    def named(self, branch: dict[str, Json]) -> set[UUID]:
        """The messages that a branch of theirs names."""
        listed = branch.get("message_ids")
        keys = cast("list[Json]", listed) if isinstance(listed, list) else []
        return {message_id_of(self._state.id, key) for key in keys if isinstance(key, str)}

    def branch(self, name: str, ids: list[str], there: set[UUID]) -> dict[str, Json]:
        """A branch. A list that was odd comes back as long as the branch leads through where it ended."""
        kept = dict(object_of(self._branches.get(name)))
        kept.pop("active_branch_name", None)
        listed = kept.get("message_ids")
        if isinstance(listed, list):
            known = {str(message_id) for message_id in there}
            keys = cast("list[Json]", listed)
            found = [one for one in keys if one in known]
            if found[-1:] != ids[-1:]:
                del kept["message_ids"]
                if found[-1:] and found[-1] in ids and all(map(_is_id, keys)):
                    kept["message_ids"] = [*keys, *ids[ids.index(cast("str", found[-1])) + 1 :]]
        return {"name": name, "message_ids": ids, "system_prompt": None, "user_prompt": None} | kept

    def document(self, branches: dict[str, Json]) -> dict[str, Json]:
        """The content of ``context.json``."""
        state = self._state
        active = object_of(self._branches.get(state.active_branch))
        document: dict[str, Json] = {
            "id": str(state.id),
            "parent_id": None,
            "config": self._config(),
            "title": state.title,
            "message_pool": {},
            "branches": branches,
            "active_branch_name": active.get("active_branch_name", active.get("name", state.active_branch)),
            "current_state": _current_state(state, imported=bool(self._noted)),
        }
        if state.title is None:
            del document["title"]
        ours = {
            name: value for name, value in state.attributes.items() if name != "import" or not self._noted
        }
        told: dict[str, Json] = {"attributes": ours, "tags": state.tags}
        if not self._noted and state.workspace != "default":
            told["workspace"] = state.workspace
        if any(told.values()):
            document["turnlog"] = {name: value for name, value in told.items() if value}
        return document | self._source

    def _config(self) -> dict[str, Json]:
        """Theirs as it was; else with what they cannot do without: model, mode and parameters."""
        config = self._state.config
        if self._noted and not self._is_session:
            return config
        model = config.get("model_id", config.get("model", self._source.get("model", "unknown")))
        needed: dict[str, Json] = {"model_id": model, "mode": "chat", "parameters": {}, "agent_role": "actor"}
        return needed | config


def _is_id(key: Json) -> bool:
    return isinstance(key, str) and uuid_of(key) is not None


def _current_state(state: ContextState, *, imported: bool) -> Json:
    detail = object_of(state.state_detail)
    if imported and isinstance(was := detail.get("was"), str):
        # The original may be spelled as an older generation did, which theirs cannot read.
        name = was.replace("llm", "l_l_m")
        return {name: detail["data"]} if "data" in detail else name
    if state.state == "failed":
        failed: dict[str, Json] = {"error_message": "", "failed_at": time_of(state.updated_at)}
        return {"failed": failed | detail}
    return state.state if state.state in _UNIT_STATES else "idle"


def _pretty(value: Json) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
