"""Streams as nobody should send them: no crash, no silent loss, nothing that cannot be stored."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wires import RECORDINGS, call, chunk, content, is_prefix, sse
from wires import understood as understood_in

from eventstore.content import Part, ReasoningPart, TextPart, ToolCallPart
from eventstore.errors import Refused
from turnlog.dialects import dialect
from turnlog.dialects.interpreter import Interpreter
from turnlog.dialects.wire import Piece

understood = partial(understood_in, "openai_chat")
OPENAI = {name: data for name, data in RECORDINGS.items() if name.startswith("openai_chat/")}


ESCAPED = r'{"choices":[{"index":0,"delta":{"content":"%s"}}]}'


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([r"a\ud83d", r"\ude00b"], "a😀b"),
        ([r"\ud83d", r"\ude00\ud83d", r"\ude01"], "😀😁"),
        ([r"\ud83d\ude00"], "😀"),
        ([r"a\ud83d", "b"], "a\ufffdb"),
        ([r"a\ude00", "b"], "a\ufffdb"),
        ([r"a\ud83d"], "a\ufffd"),
        ([r"\ud83d", "", r"\ude00"], "😀"),
    ],
)
def test_halves_of_a_character_join_or_are_replaced(texts: list[str], expected: str) -> None:
    pieces, _, _ = understood(*(sse(ESCAPED % text) for text in texts))
    assert "".join(piece.delta for piece in pieces) == expected
    for piece in pieces:
        assert piece.delta.encode()


def test_halves_of_different_parts_do_not_join() -> None:
    first = r'{"choices":[{"index":0,"delta":{"content":"a\ud83d","reasoning":"r\ud83d"}}]}'
    second = r'{"choices":[{"index":0,"delta":{"content":"\ude00"}}]}'
    pieces, _, _ = understood(sse(first), sse(second))
    assert content(pieces) == (ReasoningPart("r\ufffd"), TextPart("a😀"))


def test_lone_halves_outside_the_text_are_replaced() -> None:
    call = {"id": "\ud83d", "function": {"name": "\ude00"}}
    choice = {
        "index": 0,
        "delta": {"tool_calls": [call], "x\ud83d": ["\ud83d"]},
        "finish_reason": "\ud83d",
    }
    event = {"id": "\ud83d", "model": "\ude00m", "choices": [choice], "usage": {"\ud83d": 1}}
    pieces, ended, opened = understood(sse(event))
    assert opened[0].provider_id == "\ufffd"
    assert [piece.delta.encode() for piece in pieces]
    assert (ended.finish_reason, ended.usage) == ("\ufffd", {"\ufffd": 1})


def test_arguments_may_be_split_anywhere() -> None:
    arguments = '{"text": "quote \\" back \\\\ line\\n é 😀 \\u00e9 \\ud83d\\ude00"}'
    pieces = [call(0, "a", "n")] + [call(0, arguments=character) for character in arguments]
    folded = content(understood(*pieces)[0])
    assert folded == (ToolCallPart("a", "n", arguments),)


def test_numbers_that_json_cannot_say_read_as_null() -> None:
    choice = '{"index":0,"delta":{"content":"a"},"logprobs":-Infinity}'
    usage = '{"n":NaN,"m":1e999,"k":%s}' % ("9" * 40)
    event = f'{{"choices":[{choice}],"usage":{usage}}}'
    pieces, ended, _ = understood(sse(event))
    assert content(pieces) == (TextPart("a"),)
    assert ended.usage == {"n": None, "m": None, "k": hex(int("9" * 40))}
    decoded: dict[str, Any] = {
        "choices": [],
        "usage": {"n": float("nan"), "m": -float("inf"), "k": [1 << 64], "t": (b"x",)},
    }
    assert understood(decoded)[1].usage == {"n": None, "m": None, "k": [hex(1 << 64)], "t": ["b'x'"]}


MALFORMED = {
    "broken JSON": "{]",
    "an array": "[1]",
    "a string": '"a"',
    "null": "null",
    "a control character in a string": '{"a": "\x01"}',
    "nesting": '{"a":' * 61 + "1" + "}" * 61,
    "absurd nesting": "[" * 500_000,
    "nesting behind an open string": '{"a": "' + '\\"[' * 200_000,
    "an index that is none": '{"choices": [{"index": "zero"}]}',
    "an endless number": '{"a": ' + "9" * 5_000 + "}",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_chunk_is_refused_with_its_line_after_what_came_before(name: str) -> None:
    interpreter = Interpreter(dialect("openai_chat"))
    heard: list[object] = []
    with pytest.raises(Refused) as caught:
        heard.extend(
            interpreter.read(chunk({"content": "a"}) + sse(MALFORMED[name]) + chunk({"content": "b"}))
        )
    assert caught.value.code == "malformed_stream"
    assert caught.value.fields["line"] == 3
    assert "line 3" in caught.value.message
    assert len(heard) == 1
    assert interpreter.end()[1].outcome == "interrupted"


def test_nesting_up_to_the_limit_and_brackets_in_strings_are_fine() -> None:
    deep = '{"choices":' * 60 + '"' + "[{" * 100 + '"' + "}" * 60
    assert understood(sse(deep))[1].outcome == "interrupted"


def check_cut(data: bytes, length: int, whole: tuple[Part, ...]) -> None:
    """A stream cut after so many bytes keeps its text and ends as what it is."""
    pieces, ended, _ = understood(data[:length])
    assert is_prefix(content(pieces), whole)
    assert ended.error is None
    finished = b'"finish_reason":"' in data[:length].rpartition(b"\n")[0] or length == len(data)
    assert ended.outcome == "completed" if finished else ended.outcome in ("interrupted", "completed")
    assert (ended.finish_reason is not None) == (ended.outcome == "completed")


def test_a_recording_cut_at_any_byte_keeps_what_arrived() -> None:
    data = OPENAI["openai_chat/azure-model-router.1.chunks.txt"]
    whole = content(understood(data)[0])
    for length in range(len(data) + 1):
        check_cut(data, length, whole)


@pytest.mark.parametrize("name", OPENAI)
@given(cut=st.integers(0, 100_000))
def test_a_recording_cut_anywhere_keeps_what_arrived(name: str, cut: int) -> None:
    data = OPENAI[name]
    check_cut(data, cut % (len(data) + 1), content(understood(data)[0]))


FIELDS = st.sampled_from(
    ["id", "model", "choices", "index", "delta", "content", "tool_calls", "function", "arguments", "name",
     "finish_reason", "usage", "error", "type", "message", "reasoning", "refusal", "content_block", "text",
     "input", "partial_json", "thinking", "signature", "stop_reason", "x"]
)  # fmt: skip
VALUES = st.sampled_from(
    ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
     "message_stop", "error", "text_delta", "input_json_delta", "thinking_delta", "signature_delta", "text",
     "tool_use", "thinking", 0, 1, 2, -1, "\ud83d", "\ude00", None, 1e400, 1 << 70, True, "a"]
)  # fmt: skip


JSONS = st.recursive(
    VALUES | st.text(st.characters(codec=None), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize("name", ["anthropic", "openai_chat"])
@given(events=st.lists(st.dictionaries(FIELDS, JSONS, max_size=6), max_size=6))
def test_whatever_objects_come_only_refusals_leave(name: str, events: list[dict[str, Any]]) -> None:
    interpreter = Interpreter(dialect(name))
    pieces: list[Piece] = []
    code = "malformed_stream"
    try:
        for event in events:
            for heard in interpreter.read(event):
                pieces += heard.pieces
    except Refused as refused:
        code = refused.code
    assert code == "malformed_stream"
    left, ended = interpreter.end()
    for piece in pieces + left:
        assert piece.delta.encode()
    json.dumps([ended.usage, ended.error], allow_nan=False).encode()
