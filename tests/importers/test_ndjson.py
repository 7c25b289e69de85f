"""What is exported as Turnlog's own NDJSON replays into the same log; what is not exact is told."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import random_appends, write

from eventstore.commits import Append, Commit, Committed
from eventstore.content import TextPart
from eventstore.errors import Refused
from eventstore.events import (
    BranchMoved,
    ChunkReceived,
    ContextCreated,
    CustomRecorded,
    Event,
    ForkedFrom,
    MessageAppended,
    MessageRedacted,
    StateChanged,
    StreamFinalized,
    StreamStarted,
)
from eventstore.store import EventStore
from eventstore.upcasters import Chain, Upcaster
from turnlog.exporters.ndjson import lines, with_sources
from turnlog.importers.conversation import Problem
from turnlog.importers.source.files import Source
from turnlog.ndjson import REPLAYED, Line, Replayed
from turnlog.replaying.lines import LINE_BYTES_MAX
from turnlog.replaying.ndjson import Placed, TurnlogNdjson
from turnlog.replaying.transforming import Transform

A, B = UUID(int=0xA), UUID(int=0xB)
M, N, P = UUID(int=1), UUID(int=2), UUID(int=3)


async def exported(path: Path, *contexts: UUID) -> bytes:
    """The lines of a store, or of some of its contexts."""
    async with await EventStore.open(path, read_only=True) as store:
        return b"".join(lines(store, with_sources(store, [*contexts]) if contexts else None))


def taken(source: Path, transform: Transform | None = None) -> tuple[list[Append], list[Problem]]:
    """What the importer gives of a file or folder."""
    items = list(TurnlogNdjson().commits(Source(source), transform))
    appends = [item.append for item in items if isinstance(item, Placed)]
    return appends, [item for item in items if isinstance(item, Problem)]


async def replayed(tmp: Path, content: bytes, name: str = "again") -> bytes:
    """The export of a store into which an export was replayed, twice."""
    file = tmp / f"{name}.ndjson"
    file.write_bytes(content)
    appends, problems = taken(file)
    assert not problems
    await write(tmp / name, appends)
    async with await EventStore.open(tmp / name, free_bytes_low=0) as store:
        outcomes = await store.append_many(appends)
        assert not any(outcome.written for outcome in outcomes if isinstance(outcome, Committed))
    return await exported(tmp / name)


async def commits_of(path: Path) -> list[Commit]:
    async with await EventStore.open(path, read_only=True) as store:
        return list(store.read())


@settings(max_examples=20)
@given(seed=st.integers(0, 1 << 32))
async def test_any_log_comes_back_byte_for_byte_through_another_store(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp = tmp_path_factory.mktemp("replay")
    appends = random_appends(random.Random(seed), 60)
    await write(tmp / "first", appends)
    content = await exported(tmp / "first")
    assert await replayed(tmp, content) == content
    first, again = await commits_of(tmp / "first"), await commits_of(tmp / "again")
    await write(tmp / "again", [append for append in appends if append.commit_id is not None])
    assert len(await commits_of(tmp / "again")) == len(first)
    for one, other in zip(first, again, strict=True):
        assert (one.context_id, one.first_version) == (other.context_id, other.first_version)
        assert list(map(repr, one.events())) == list(map(repr, other.events()))
        assert other.metadata is not None
        assert other.metadata[REPLAYED]["recorded_at"] == one.recorded_at
        if one.commit_id is not None:
            assert other.commit_id == one.commit_id


async def test_a_repeat_of_an_append_is_known_where_its_commit_was_replayed(tmp_path: Path) -> None:
    asked, commit_id = (ContextCreated(), MessageAppended(M, "user"), StreamStarted(N)), UUID(int=7)
    await write(tmp_path / "data", [Append(A, asked, commit_id=commit_id, metadata={"actor": "ann"})])
    content = await exported(tmp_path / "data")
    assert await replayed(tmp_path, content) == content
    async with await EventStore.open(tmp_path / "again") as store:
        outcome = await store.append(A, asked, commit_id=commit_id, metadata={"actor": "ann"})
        assert not outcome.written
        with pytest.raises(Refused) as refused:
            await store.append(A, asked[:2], commit_id=commit_id, metadata={"actor": "ann"})
        assert refused.value.code == "commit_id_reused"


async def test_a_context_is_exported_with_what_it_shares_of_its_source(tmp_path: Path) -> None:
    await write(
        tmp_path / "data",
        [
            Append(A, (ContextCreated("source"), MessageAppended(M, "user", (TextPart("shared"),)))),
            Append(A, (StateChanged("later"),)),
            Append(B, (ContextCreated("fork", forked_from=ForkedFrom(A, 2)), StateChanged("own"))),
            Append(UUID(int=0xD), (ContextCreated("another"),)),
        ],
    )
    content = await exported(tmp_path / "data", B)
    assert b"shared" in content
    assert b"later" not in content
    assert b"another" not in content
    assert await replayed(tmp_path, content) == content
    assert (await exported(tmp_path / "data", A)).count(b'"commit"') == 3


async def test_a_fork_waits_for_its_source_in_another_file(tmp_path: Path) -> None:
    source = Append(A, (ContextCreated("source"), StateChanged("busy")))
    fork = Append(B, (ContextCreated("fork", forked_from=ForkedFrom(A, 2)),))
    await write(tmp_path / "data", [source, fork])
    both, folder = await exported(tmp_path / "data"), tmp_path / "files"
    folder.mkdir()
    await write(tmp_path / "sources", [source])
    (folder / "z.ndjson").write_bytes(await exported(tmp_path / "sources"))
    rows = both.splitlines(keepends=True)
    (folder / "a.ndjson").write_bytes(b"".join([rows[0], rows[3], rows[4]]))
    appends, problems = taken(folder)
    assert [append.context_id for append in appends] == [A, B]
    assert [problem.code for problem in problems] == ["digest_differs"]
    (folder / "z.ndjson").write_bytes(rows[0])
    appends, problems = taken(folder)
    assert [append.context_id for append in appends] == [B]


def good() -> list[bytes]:
    """Lines of three commits: two of A with an event and two events, and one of B."""
    return [
        b'{"turnlog":"events","format":1}\n',
        b'{"commit":1,"context_id":"%s","version":1,"recorded_at":5,"events":1,"event":{"type":"context.created"}}\n'
        % str(A).encode(),
        b'{"commit":2,"context_id":"%s","version":2,"recorded_at":6,"events":2,'
        b'"event":{"type":"custom.recorded","name":"one"}}\n' % str(A).encode(),
        b'{"commit":2,"version":3,"event":{"type":"custom.recorded","name":"two"}}\n',
        b'{"commit":3,"context_id":"%s","version":1,"recorded_at":7,"events":1,"event":{"type":"context.created"}}\n'
        % str(B).encode(),
        b'{"commit":4,"context_id":"%s","version":4,"recorded_at":8,"events":1,'
        b'"event":{"type":"custom.recorded","name":"three"}}\n' % str(A).encode(),
    ]


DEEP = b"[" * 9_999 + b"]" * 9_999

HOSTILE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "no JSON": ("not_a_line", lambda line: b"{\n"),
    "another value": ("not_a_line", lambda line: b"7\n"),
    "no event": ("not_a_line", lambda line: line.replace(b'"event":', b'"other":')),
    "invalid UTF-8": ("not_a_line", lambda line: line.replace(b'"two"', b'"\xff"')),
    "a lone surrogate": ("not_a_line", lambda line: line.replace(b'"two"', b'"\\ud800"')),
    "NaN": ("not_a_line", lambda line: line.replace(b'"two"', b'"two","data":NaN')),
    "nested": (
        "not_a_line",
        lambda line: line.replace(b'"two"', b'"two","data":' + DEEP),
    ),
    "an unknown tag": ("not_an_event", lambda line: line.replace(b"custom.recorded", b"custom.imagined")),
    "another type": ("not_an_event", lambda line: line.replace(b'"two"', b"2")),
    "an empty name": ("not_an_event", lambda line: line.replace(b'"two"', b'""')),
    "an unknown member": ("unknown_member", lambda line: line.replace(b'"two"', b'"two","colour":"red"')),
    "a member twice": ("duplicate_member", lambda line: line.replace(b'"two"', b'"two","name":"2"')),
    "an unknown member outside": ("not_an_event", lambda line: line.replace(b'"event"', b'"x":1,"event"')),
    "another version": ("line_out_of_place", lambda line: line.replace(b'"version":3', b'"version":4')),
    "missing": ("commit_torn", lambda line: b""),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_line_is_told_and_its_commit_and_what_follows_are_left_out(
    what: str, tmp_path: Path
) -> None:
    code, spoil = HOSTILE[what]
    rows = good()
    rows[3] = spoil(rows[3])
    file = tmp_path / "spoiled.ndjson"
    file.write_bytes(b"".join(rows))
    appends, problems = taken(file)
    assert [(append.context_id, append.expected_version) for append in appends] == [(A, 0), (B, 0)]
    told, torn, left = problems
    assert (told.code, told.path, told.context_id) == (code, "spoiled.ndjson", A)
    assert told.place == ("line 3" if what == "missing" else "line 4")
    assert torn.code == "file_torn"
    assert (left.code, left.context_id) == ("context_incomplete", A)
    assert left.reason.startswith("1 later commit")


def test_facts_on_a_later_line_are_not_dropped(tmp_path: Path) -> None:
    rows = good()
    rows[3] = rows[3].replace(b'"event":', b'"metadata":{"a":1},"event":')
    (tmp_path / "x.ndjson").write_bytes(b"".join(rows))
    assert taken(tmp_path / "x.ndjson")[1][0].code == "line_out_of_place"


async def test_metadata_without_room_for_more_is_replayed_as_it_is(tmp_path: Path) -> None:
    full = {"full": "x" * 65_500}
    await write(tmp_path / "data", [Append(A, (ContextCreated(),), metadata=full)])
    (tmp_path / "x.ndjson").write_bytes(await exported(tmp_path / "data"))
    appends, problems = taken(tmp_path / "x.ndjson")
    assert [(problem.code, problem.place) for problem in problems] == [("metadata_full", "line 2")]
    await write(tmp_path / "again", appends)
    assert (await commits_of(tmp_path / "again"))[0].metadata == full


async def test_a_transform_may_give_messages_other_ids(tmp_path: Path) -> None:
    stream = (StreamStarted(M), ChunkReceived(M, 1, "a"), StreamFinalized(M, "completed"))
    await write(tmp_path / "data", [Append(A, (ContextCreated(), *stream))])
    (tmp_path / "x.ndjson").write_bytes(await exported(tmp_path / "data"))

    def renamed(event: Event) -> Event:
        is_its = isinstance(event, (StreamStarted, ChunkReceived, StreamFinalized))
        return msgspec.structs.replace(event, message_id=N) if is_its else event

    appends, _ = taken(tmp_path / "x.ndjson", renamed)
    await write(tmp_path / "again", appends)
    (commit,) = await commits_of(tmp_path / "again")
    assert [getattr(event, "message_id", None) for event in commit.events()] == [None, N, N, N]


@pytest.mark.parametrize(
    ("member", "code"),
    [
        (b'"recorded_at":6,', "line_incomplete"),
        (b'"events":2,', "line_incomplete"),
        (b'"context_id":"00000000-0000-0000-0000-00000000000a",', "line_out_of_place"),
    ],
)
def test_a_commit_needs_its_facts(member: bytes, code: str, tmp_path: Path) -> None:
    rows = good()
    rows[2] = rows[2].replace(member, b"")
    file = tmp_path / "spoiled.ndjson"
    file.write_bytes(b"".join(rows))
    appends, problems = taken(file)
    assert (problems[0].code, problems[0].place) == (code, "line 3")
    assert [append.context_id for append in appends][:2] == [A, B]


def test_a_commit_of_too_many_events_is_not_gathered(tmp_path: Path) -> None:
    rows = good()
    rows[2] = rows[2].replace(b'"events":2', b'"events":10001')
    (tmp_path / "x.ndjson").write_bytes(b"".join(rows))
    assert taken(tmp_path / "x.ndjson")[1][0].code == "commit_too_large"


def test_a_line_without_an_end_is_told_and_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnlog.replaying.lines.LINE_BYTES_MAX", 2_000)
    assert LINE_BYTES_MAX > 2_000
    rows = good()
    rows[3] = b"x" * 9_999 + b"\n"
    (tmp_path / "x.ndjson").write_bytes(b"".join(rows))
    appends, problems = taken(tmp_path / "x.ndjson")
    assert [append.context_id for append in appends] == [A, B]
    assert (problems[0].code, problems[0].place) == ("line_too_long", "line 4")


async def test_a_file_that_was_changed_or_cut_short_is_told(tmp_path: Path) -> None:
    await write(tmp_path / "data", [Append(A, (ContextCreated("abc"), StateChanged("busy")))])
    content, file = await exported(tmp_path / "data"), tmp_path / "x.ndjson"
    file.write_bytes(content.replace(b"abc", b"abd"))
    appends, problems = taken(file)
    assert len(appends) == 1
    assert [problem.code for problem in problems] == ["digest_differs"]
    file.write_bytes(content[: content.index(b'{"end"')])
    assert [problem.code for problem in taken(file)[1]] == ["file_torn"]
    file.write_bytes(content + b"{}\n")
    assert [problem.code for problem in taken(file)[1]] == ["after_end"]
    file.write_bytes(content.replace(b'"format":1', b'"format":2'))
    assert [problem.code for problem in taken(file)[1]] == ["format_newer"]


def test_what_is_no_export_is_told_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "other.json").write_text("{}")
    (tmp_path / "files" / "x.ndjson").write_bytes(b"".join(good()))
    (tmp_path / "files" / "y.ndjson").symlink_to(tmp_path / "files" / "x.ndjson")
    appends, problems = taken(tmp_path / "files")
    assert len(appends) == 4
    assert [(problem.code, problem.path) for problem in problems] == [
        ("not_turnlog", "other.json"),
        ("file_torn", "x.ndjson"),
    ]
    assert TurnlogNdjson().recognises(Source(tmp_path / "files"))
    assert not TurnlogNdjson().recognises(Source(tmp_path / "files" / "other.json"))


def test_a_line_that_was_written_by_hand_counts_as_long_as_nothing_is_lost(tmp_path: Path) -> None:
    rows = good()
    rows[3] = (
        b' {"version": 3, "commit": 2,'
        b' "event": {"name": "t\\u0077o", "data": null, "type": "custom.recorded"}}\n'
    )
    (tmp_path / "x.ndjson").write_bytes(b"\n".join(rows))
    appends, problems = taken(tmp_path / "x.ndjson")
    assert [problem.code for problem in problems] == ["file_torn"]
    assert appends[1].events == (CustomRecorded("one"), CustomRecorded("two"))


def test_an_event_of_a_retired_tag_goes_through_the_upcasters(tmp_path: Path) -> None:
    def convert(fields: dict[str, Any]) -> dict[str, Any]:
        return {"name": fields["title"]}

    rows = [row.replace(b'"custom.recorded","name"', b'"custom.noted","title"') for row in good()]
    (tmp_path / "x.ndjson").write_bytes(b"".join(rows))
    chain = Chain([Upcaster("custom.noted", 1 << 20, "custom.recorded", convert)])
    items = list(TurnlogNdjson(chain).commits(Source(tmp_path / "x.ndjson")))
    appends = [item.append for item in items if isinstance(item, Placed)]
    assert appends[1].events == (CustomRecorded("one"), CustomRecorded("two"))
    assert taken(tmp_path / "x.ndjson")[1][0].code == "not_an_event"


def test_a_commit_with_metadata_of_our_name_keeps_it(tmp_path: Path) -> None:
    rows = good()[:2]
    rows[1] = rows[1].replace(b'"event":{', b'"metadata":{"turnlog.replayed":"mine"},"event":{')
    (tmp_path / "x.ndjson").write_bytes(b"".join(rows))
    (append,), problems = taken(tmp_path / "x.ndjson")
    assert append.metadata == {REPLAYED: "mine"}
    assert [(problem.code, problem.place) for problem in problems] == [
        ("metadata_taken", "line 2"),
        ("file_torn", None),
    ]


def without(*message_ids: UUID) -> Transform:
    """A transform that drops messages."""

    def transform(event: Event) -> Event | None:
        dropped = isinstance(event, (MessageAppended, StreamStarted)) and event.message_id in message_ids
        return None if dropped else event

    return transform


async def test_a_transform_leaves_no_hole_where_it_drops_something(tmp_path: Path) -> None:
    await write(
        tmp_path / "data",
        [
            Append(A, (ContextCreated(), MessageAppended(M, "user"), StreamStarted(N))),
            Append(A, (ChunkReceived(N, 1, "a"), StreamFinalized(N, "completed"), MessageRedacted(N))),
            Append(A, (MessageAppended(P, "user"), BranchMoved("b", N), BranchMoved("b", P))),
            Append(B, (ContextCreated(forked_from=ForkedFrom(A, 7)), MessageAppended(UUID(int=4), "user"))),
        ],
    )
    file = tmp_path / "x.ndjson"
    file.write_bytes(await exported(tmp_path / "data"))
    appends, problems = taken(file, without(N))
    assert not problems
    await write(tmp_path / "again", appends)
    commits = await commits_of(tmp_path / "again")
    assert [(commit.context_id, commit.first_version, commit.event_count) for commit in commits] == [
        (A, 1, 2),
        (A, 3, 3),
        (B, 1, 2),
    ]
    appended, moved, again = commits[1].events()
    assert isinstance(appended, MessageAppended)
    assert appended.parent_id == M
    assert isinstance(moved, BranchMoved)
    assert moved.head == M
    assert again == BranchMoved("b", P, M)
    (fork, *_) = commits[2].events()
    assert isinstance(fork, ContextCreated)
    assert fork.forked_from == ForkedFrom(A, 3)


def test_a_transform_may_drop_a_context_or_write_more(tmp_path: Path) -> None:
    (tmp_path / "x.ndjson").write_bytes(b"".join(good()))

    def doubled(event: Event) -> list[Event]:
        return [event, event] if isinstance(event, CustomRecorded) else [event]

    appends, _ = taken(tmp_path / "x.ndjson", doubled)
    assert [append.expected_version for append in appends] == [0, 1, 0, 5]
    assert [len(append.events) for append in appends] == [1, 4, 1, 2]
    appends, _ = taken(tmp_path / "x.ndjson", lambda event: None)
    assert appends == []


def test_a_transform_that_fails_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "x.ndjson").write_bytes(b"".join(good()))

    def fails(event: Event) -> Any:
        return "nonsense" if isinstance(event, CustomRecorded) else event

    appends, problems = taken(tmp_path / "x.ndjson", fails)
    assert [append.context_id for append in appends] == [A, B]
    assert [(problem.code, problem.place) for problem in problems] == [
        ("invalid_transform", "line 3"),
        ("file_torn", None),
        ("context_incomplete", None),
    ]
    assert msgspec.json.encode(problems)


def test_the_format_document_names_every_member() -> None:
    text = (Path(__file__).resolve().parents[2] / "FORMAT.md").read_text("utf-8")
    section = text.partition("\n## NDJSON\n")[2].partition("\n## ")[0]
    names = re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)
    assert sorted(names) == sorted((*Line.__struct_fields__, *Replayed.__struct_fields__))
