"""``turnlog export``: files that say what the contexts say, in one directory, over nothing unless forced."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
from commands import Terminal

import turnlog
from eventstore.commits import Append
from eventstore.content import (
    DataPart,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ContextCreated,
    ContextDeleted,
    Event,
    MessageAppended,
    StateChanged,
)
from eventstore.store import EventStore
from eventstore.units import parse_time
from turnlog.exporters.exported import Exported

C, M, N, P = UUID(int=0xC), UUID(int=1), UUID(int=2), UUID(int=3)


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(data_dir, capsys)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def write(path: Path, *appends: Append) -> None:
    """A store of these commits."""

    async def work() -> None:
        async with await EventStore.open(path) as store:
            for append in appends:
                await store.append(append.context_id, append.events)

    asyncio.run(work())


def read(path: Path) -> Any:
    return msgspec.json.decode(path.read_bytes())


def rows(path: Path) -> list[Any]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def kept(*events: Event, **source: Any) -> Append:
    """A context that came from copilot_chat with this left over."""
    note = {"format": "copilot_chat", "origin": "x", "source": source}
    return Append(C, (ContextCreated(attributes={"import": note}), *events))


def exported_context(terminal: Terminal, out: Path, context_id: UUID = C) -> tuple[Any, dict[str, Any]]:
    """The context's document and its messages by id, as copilot_chat would find them."""
    terminal.ok("export", "--all", "--format", "copilot_chat", "--out", out)
    folder = out / "contexts" / str(context_id)
    pool = {path.stem: read(path) for path in (folder / "messages_pool").iterdir()}
    return read(folder / "context.json"), pool


ODD: Final = DataPart({"type": "odd"})


def said(message_id: UUID, source: dict[str, Any], *parts: Part, role: Any = "user") -> MessageAppended:
    return MessageAppended(message_id, role, parts, "main", None, "message", {"source": source})


def test_what_an_importer_kept_goes_back_where_it_was(data_dir: Path, terminal: Terminal, out: Path) -> None:
    call = {"id": "1", "tool_name": "look", "arguments": ["a"], "approval_status": "Denied"}
    bytes_of_image: dict[str, Any] = {"mime_type": "image/png"}
    image = {"kind": "image", "data": {"image_data": {"base64": bytes_of_image}, "n": 1}}
    reference = {"kind": "file_reference", "data": {"path": "a.py"}}
    result = {"request_id": "1", "result": {"ok": True}}
    strange: dict[str, Any] = {"content": [], "message_type": 7, "parent_id": "gone", "role": "ROBOT"}
    branch = {"message_ids": ["gone", str(M)], "system_prompt": {"id": "s"}, "name": "o" * 120}
    write(
        data_dir,
        kept(
            said(M, {"tool_calls": [call], "node": {"odd": 1}, "later": 2}, ToolCallPart("1", "look")),
            said(N, {"rich_type": image}, TextPart("see"), ImagePart(url="data:image/png;base64,AAAA")),
            said(P, {}, TextPart("t"), DataPart(reference), ODD, ToolResultPart("1", {"ok": True})),
            said(UUID(int=4), strange, TextPart("x")),
            BranchMoved("orphans", M),
            BranchSwitched("orphans"),
            BranchDeleted("main"),
            StateChanged("idle", {"was": "awaiting_llm_response", "source": "AwaitingLLMResponse"}),
            parent_id=None,
            branches={"orphans": branch},
            odd="kept",
        ),
    )
    document, pool = exported_context(terminal, out)
    assert document["odd"] == "kept"
    assert document["current_state"] == "awaiting_l_l_m_response"
    assert document["active_branch_name"] == "o" * 120
    branch = {
        "message_ids": ["gone", str(M)],
        "user_prompt": None,
        "system_prompt": {"id": "s"},
        "name": "o" * 120,
    }
    assert document["branches"] == {"o" * 120: branch}
    assert pool[str(M)]["odd"] == 1
    assert pool[str(M)]["message"]["tool_calls"] == [call]
    assert (pool[str(M)]["message"]["later"], pool[str(M)]["message"]["content"]) == (2, [])
    bytes_of_image["data"] = "AAAA"
    assert pool[str(N)]["message"]["rich_type"] == image
    assert pool[str(N)]["message"]["content"] == [{"type": "text", "text": "see"}]
    told = pool[str(P)]["message"]
    assert told["content"] == [{"type": "text", "text": "t"}, {"type": "odd"}]
    assert (told["rich_type"], told["tool_result"], told["metadata"]) == (reference, result, None)
    odd = pool[str(UUID(int=4))]
    assert (odd["parent_id"], odd["message"]["role"], odd["message"]["content"]) == ("gone", "ROBOT", [])
    assert odd["message"]["message_type"] == 7


def test_a_list_of_ids_that_was_odd_is_let_go_once_the_branch_went_on(
    data_dir: Path, terminal: Terminal, out: Path
) -> None:
    branches = {"main": {"message_ids": ["gone", str(M)], "system_prompt": None}}
    write(
        data_dir,
        kept(said(M, {}, TextPart("a")), branches=branches),
        Append(C, (MessageAppended(N, "user"),)),
    )
    document, _ = exported_context(terminal, out)
    assert document["branches"]["main"]["message_ids"] == [str(M), str(N)]


def test_a_stream_keeps_the_rules_that_theirs_keep(terminal: Terminal, out: Path) -> None:
    terminal.ok("demo", "--speed", "0")
    terminal.ok("export", "--all", "--format", "copilot_chat", "--out", out)
    nodes = [read(path) for path in out.glob("contexts/*/messages_pool/*.json")]
    streams = [node["message"] for node in nodes if "rich_type" in node["message"]]
    assert len(streams) == 7
    for message in streams:
        data, figures = message["rich_type"]["data"], message["metadata"]["streaming"]
        deltas = [chunk["delta"] for chunk in data["chunks"]]
        assert data["content"] == "".join(deltas)
        assert message["content"] == ([{"type": "text", "text": data["content"]}] if deltas else [])
        assert [chunk["sequence"] for chunk in data["chunks"]] == list(range(1, len(deltas) + 1))
        assert figures["chunks_count"] == len(deltas)
        times = [parse_time(chunk["timestamp"]) // 1_000 for chunk in data["chunks"]]
        assert ["interval_ms" in chunk for chunk in data["chunks"]] == [False, *[True] * len(times)][
            : len(times)
        ]
        assert [chunk["interval_ms"] for chunk in data["chunks"][1:]] == [b - a for a, b in pairwise(times)]
        if deltas:
            assert data["chunks"][-1]["accumulated_chars"] == len(data["content"].encode())
    calls = [call for message in streams for call in message.get("tool_calls", ())]
    assert {call["tool_name"] for call in calls} >= {"weather", "get_weather"}


def test_a_fork_comes_with_the_messages_that_it_shares(data_dir: Path, terminal: Terminal, out: Path) -> None:
    write(data_dir, Append(C, (ContextCreated("T"), MessageAppended(M, "user", (TextPart("shared"),)))))
    fork = UUID(terminal.ok("fork", str(C), "--title", "Copy", "--json").object["id"])
    document, pool = exported_context(terminal, out, fork)
    assert document["branches"]["main"]["message_ids"] == [str(M)] == list(pool)


def test_all_means_every_context_that_is_not_deleted(data_dir: Path, terminal: Terminal, out: Path) -> None:
    ids = [UUID(int=number << 64) for number in range(1, 6)]
    gone = ids[2]
    appends = [Append(context_id, (ContextCreated(),)) for context_id in ids]
    write(data_dir, *appends, Append(gone, (ContextDeleted(),)))
    terminal.ok("export", "--all", "--format", "copilot_chat", "--out", out)
    there = {path.name for path in (out / "contexts").iterdir()}
    assert there == {str(context_id) for context_id in ids if context_id != gone}
    terminal.ok("export", str(gone), "--format", "copilot_chat", "--out", out)
    assert (out / "contexts" / str(gone) / "context.json").is_file()


LOOK: Final = {"name": "look", "input_schema": {"type": "object"}}
CONVERSATION: Final = (
    ContextCreated(config={"system_prompt": "Be kind.", "tools": [LOOK, "x"]}),
    MessageAppended(
        M, "user", (TextPart("What is "), TextPart("this?"), ImagePart(url="https://example.org/a.png"))
    ),
    MessageAppended(N, "assistant", (ReasoningPart("Hm."), ToolCallPart("c1", "look", '{"at":1}'))),
    MessageAppended(P, "tool", (ToolResultPart("c1", {"found": "cat"}),)),
    MessageAppended(UUID(int=4), "assistant", (RefusalPart("No."),)),
    BranchMoved("other", M),
    MessageAppended(UUID(int=5), "assistant", (TextPart("A cat."),), "other"),
    BranchMoved("empty"),
)


def test_each_branch_is_a_line_of_a_conversation_for_fine_tuning(
    data_dir: Path, terminal: Terminal, out: Path
) -> None:
    write(data_dir, Append(C, CONVERSATION))
    told = terminal.ok("export", str(C), "--format", "openai_jsonl", "--out", out, "--json").object
    assert list(told) == list(Exported.__struct_fields__)
    assert (told["conversations"], told["contexts"], told["files"]) == (2, 1, 1)
    assert told["left_out"] == {"reasoning part": 1, "tool without a definition": 2, "empty branch": 1}
    said = terminal.ok("export", str(C), "--format", "openai_jsonl", "--out", out, "--force").err
    assert "no place for: tool without a definition (2)" in said
    main, other = rows(out / "conversations.jsonl")
    pieces = [{"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}]
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
    start = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": [*pieces, image]}]
    assert main["messages"] == [
        *start,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"found":"cat"}'},
        {"role": "assistant", "content": None, "refusal": "No."},
    ]
    assert other["messages"] == [*start, {"role": "assistant", "content": "A cat."}]
    look = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    assert main["tools"] == other["tools"] == [look]


def test_a_result_stands_after_its_call_and_before_anything_else(
    data_dir: Path, terminal: Terminal, out: Path
) -> None:
    one, other, failed = (
        ToolCallPart("c1", "look"),
        ToolCallPart("c2", "see"),
        ToolResultPart("c2", "no", True),
    )
    whole = (TextPart("Wait."), one, other, ToolResultPart("c1", 1), failed, TextPart("Well."))
    write(
        data_dir,
        Append(
            C,
            (
                ContextCreated(),
                MessageAppended(M, "assistant", whole),
                MessageAppended(N, "assistant", (one,)),
                MessageAppended(P, "user", (TextPart("And?"), ToolResultPart("c1", 2))),
            ),
        ),
    )
    told = terminal.ok("export", "--all", "--format", "openai_jsonl", "--out", out, "--json").object
    assert told["left_out"] == {"tool error mark": 1}
    (line,) = rows(out / "conversations.jsonl")
    said = [
        (each["role"], each["content"], [call["id"] for call in each.get("tool_calls", ())])
        for each in line["messages"]
    ]
    assert said == [
        ("assistant", "Wait.", ["c1", "c2"]),
        ("tool", "1", []),
        ("tool", "no", []),
        ("assistant", "Well.", []),
        ("assistant", None, ["c1"]),
        ("tool", "2", []),
        ("user", "And?", []),
    ]


def test_what_was_redacted_is_only_in_the_exact_lines(data_dir: Path, terminal: Terminal, out: Path) -> None:
    write(
        data_dir,
        kept(
            said(M, {"content": ["secret"]}, TextPart("secret")), MessageAppended(N, "user", (TextPart("b"),))
        ),
    )

    async def redact() -> None:
        async with turnlog.open(data_dir) as log:
            await log.context(C).redact(M)

    asyncio.run(redact())
    for form in ("copilot_chat", "openai_jsonl", "ndjson"):
        terminal.ok("export", "--all", "--format", form, "--out", out / form)
        text = b"".join(path.read_bytes() for path in (out / form).rglob("*") if path.is_file())
        assert (b"secret" in text) == (form == "ndjson"), form
        assert b"b" in text


def test_ndjson_takes_all_or_what_is_named(data_dir: Path, terminal: Terminal, out: Path) -> None:
    write(data_dir, Append(C, CONVERSATION), Append(UUID(int=0xD), (ContextCreated("another"),)))
    told = terminal.ok("export", str(C), "--format", "ndjson", "--out", out, "--json").object
    assert (told["contexts"], told["events"], told["files"]) == (1, len(CONVERSATION), 1)
    assert told["messages"] == 5
    (file,) = out.iterdir()
    assert rows(file)[0] == {"turnlog": "events", "format": 1}
    told = terminal.ok("export", "--all", "--format", "ndjson", "--out", out, "--force", "--json").object
    assert (told["contexts"], told["events"]) == (2, len(CONVERSATION) + 1)
    assert rows(file)[-1]["end"]["commits"] == 2


@pytest.mark.parametrize("form", ["ndjson", "copilot_chat", "openai_jsonl"])
def test_nothing_is_overwritten_unless_forced(
    form: str, data_dir: Path, terminal: Terminal, out: Path
) -> None:
    write(data_dir, Append(C, CONVERSATION))
    terminal.ok("export", "--all", "--format", form, "--out", out)
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for path in files:
        path.write_bytes(b"mine")
    ran = terminal("export", "--all", "--format", form, "--out", out, "--json")
    assert (ran.code, ran.error["code"]) == (4, "output_exists")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == dict.fromkeys(
        files, b"mine"
    )
    terminal.ok("export", "--all", "--format", form, "--out", out, "--force")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files


def test_a_message_of_an_earlier_export_does_not_stay_among_the_new(
    data_dir: Path, terminal: Terminal, out: Path
) -> None:
    write(data_dir, Append(C, CONVERSATION))
    terminal.ok("export", "--all", "--format", "copilot_chat", "--out", out)
    pool = out / "contexts" / str(C) / "messages_pool"
    (pool / f"{UUID(int=77)}.json").write_text("{}")
    (pool / "notes.txt").write_text("mine")
    terminal.ok("export", "--all", "--format", "copilot_chat", "--out", out, "--force")
    names = {f"{UUID(int=number)}.json" for number in range(1, 6)}
    assert {path.name for path in pool.iterdir()} == {*names, "notes.txt"}


@pytest.mark.parametrize("place", ["contexts", f"contexts/{C}", f"contexts/{C}/messages_pool"])
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_nothing_is_written_through_a_link(
    place: str, force: tuple[str, ...], data_dir: Path, terminal: Terminal, out: Path, tmp_path: Path
) -> None:
    write(data_dir, Append(C, CONVERSATION))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (out / place).parent.mkdir(parents=True)
    (out / place).symlink_to(elsewhere)
    ran = terminal("export", "--all", "--format", "copilot_chat", "--out", out, *force, "--json")
    assert (ran.code, ran.error["code"]) == (2, "output_unsafe")
    assert list(elsewhere.iterdir()) == []


def test_a_link_in_a_files_place_is_replaced_and_not_written_through(
    data_dir: Path, terminal: Terminal, out: Path, tmp_path: Path
) -> None:
    write(data_dir, Append(C, CONVERSATION))
    (tmp_path / "precious").write_text("mine")
    out.mkdir()
    (out / "turnlog.ndjson").symlink_to(tmp_path / "precious")
    (out / ".turnlog.ndjson.unfinished").symlink_to(tmp_path / "precious")
    ran = terminal("export", "--all", "--format", "ndjson", "--out", out, "--json")
    assert (ran.code, ran.error["code"]) == (4, "output_exists")
    ran = terminal("export", "--all", "--format", "ndjson", "--out", out, "--force", "--json")
    assert (ran.code, ran.error["code"]) == (2, "output_unsafe")
    (out / ".turnlog.ndjson.unfinished").unlink()
    terminal.ok("export", "--all", "--format", "ndjson", "--out", out, "--force")
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (out / "turnlog.ndjson").is_symlink()


def test_an_export_that_fails_leaves_no_file(data_dir: Path, terminal: Terminal, out: Path) -> None:
    write(data_dir, Append(C, CONVERSATION))
    log = data_dir / "log" / "data.mdb"
    log.write_bytes(log.read_bytes().replace(b"A cat.", b"A dog."))
    ran = terminal("export", "--all", "--format", "ndjson", "--out", out, "--json")
    assert (ran.code, ran.error["code"]) == (5, "commit_damaged")
    assert list(out.iterdir()) == []


def test_what_to_export_is_named_or_all(data_dir: Path, terminal: Terminal, out: Path) -> None:
    write(data_dir, Append(C, CONVERSATION))
    for words in ((), (str(C), "--all")):
        ran = terminal("export", *words, "--format", "ndjson", "--out", out, "--json")
        assert (ran.code, ran.error["code"]) == (2, "invalid_argument")
    ran = terminal("export", str(UUID(int=0xE)), "--format", "copilot_chat", "--out", out, "--json")
    assert (ran.code, ran.error["code"]) == (3, "context_not_found")
    ran = terminal("export", "--all", "--format", "other", "--out", out, "--json")
    assert ran.code == 2
