"""How streamed chunks fold into parts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.content import (
    Kind,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    fold,
)

CALL = json.dumps({"type": "tool_call", "id": "call-1", "name": "look_up"})
SIGNED = json.dumps({"type": "signature", "signature": "proof"})

FOLDS: tuple[tuple[str, list[tuple[Kind, str | None, str]], tuple[Part, ...]], ...] = (
    ("nothing", [], ()),
    ("text joins", [("text", None, "Hel"), ("text", None, "lo")], (TextPart("Hello"),)),
    ("empty text is a part", [("text", None, "")], (TextPart(""),)),
    ("refusal", [("refusal", None, "No"), ("refusal", None, ".")], (RefusalPart("No."),)),
    (
        "parts stand in the order of their first piece",
        [("text", "1", "b"), ("reasoning", "0", "a"), ("text", "1", "c")],
        (TextPart("bc"), ReasoningPart("a")),
    ),
    (
        "one part, two kinds",
        [("reasoning", None, "a"), ("text", None, "b")],
        (ReasoningPart("a"), TextPart("b")),
    ),
    ("one kind, two parts", [("text", "0", "a"), ("text", "1", "b")], (TextPart("a"), TextPart("b"))),
    (
        "a tool call is opened by a note",
        [("other", "0", CALL), ("tool_call", "0", '{"na'), ("tool_call", "0", 'me":1}')],
        (ToolCallPart("call-1", "look_up", '{"name":1}'),),
    ),
    ("a tool call without arguments", [("other", "0", CALL)], (ToolCallPart("call-1", "look_up"),)),
    ("a tool call without a note", [("tool_call", None, "{}")], (ToolCallPart("", "", "{}"),)),
    (
        "a signature signs the reasoning of its part",
        [("reasoning", "0", "a"), ("reasoning", "1", "b"), ("other", "1", SIGNED)],
        (ReasoningPart("a"), ReasoningPart("b", "proof")),
    ),
)


@pytest.mark.parametrize(("pieces", "parts"), [case[1:] for case in FOLDS], ids=[case[0] for case in FOLDS])
def test_chunks_fold_into_parts(pieces: list[tuple[Kind, str | None, str]], parts: tuple[Part, ...]) -> None:
    assert fold(pieces) == parts


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        "null",
        "[1]",
        '"text"',
        "1" * 5_000,
        "[" * 100_000,
        '"\ud800"',
        '{"type": "citation", "id": "x"}',
    ],
)
def test_any_other_note_is_ignored(note: str) -> None:
    pieces: list[tuple[Kind, str | None, str]] = [
        ("other", "0", CALL),
        ("other", "0", note),
        ("other", None, note),
    ]
    assert fold(pieces) == (ToolCallPart("call-1", "look_up"),)


def test_a_signature_that_is_no_text_is_ignored() -> None:
    assert fold([("reasoning", None, "a"), ("other", None, '{"type": "signature", "signature": 5}')]) == (
        ReasoningPart("a"),
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(("text", "reasoning", "refusal")), st.sampled_from((None, "0")), st.text())
    )
)
def test_folding_loses_no_text_and_cuts_nowhere(pieces: list[tuple[Kind, str | None, str]]) -> None:
    for kind, part_type in (("text", TextPart), ("reasoning", ReasoningPart), ("refusal", RefusalPart)):
        folded = [part.text for part in fold(pieces) if isinstance(part, part_type)]
        wanted = {part: "" for piece_kind, part, _ in pieces if piece_kind == kind}
        for piece_kind, part, delta in pieces:
            if piece_kind == kind:
                wanted[part] += delta
        assert folded == list(wanted.values())
