"""Anthropic's Messages stream when an upstream failed and began anew: the last attempt is the answer."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from wires import STOP, Event, arguments, block, block_stop, delta, final, finish, start
from wires import understood as understood_in

from eventstore.content import TextPart
from turnlog.dialects.wire import Ended

understood = partial(understood_in, "anthropic")


def test_a_second_attempt_is_not_glued_to_the_first() -> None:
    pieces, ended, opened = understood(
        start("msg_1", input_tokens=5, output_tokens=2),
        block(0),
        delta(0, "Hello, I am "),
        start("msg_2", input_tokens=5),
        block(0),
        delta(0, "Hi there"),
        block_stop(0),
        finish(output_tokens=3),
        STOP,
    )
    assert ended == Ended(
        "completed", "end_turn", {"input_tokens": 5, "output_tokens": 3}, None, (TextPart("Hi there"),)
    )
    assert [(piece.kind, piece.part, piece.delta) for piece in pieces] == [
        ("text", "0", "Hello, I am "),
        ("other", None, '{"type":"attempt","attempt":2,"id":"msg_2"}'),
        ("text", "2/0", "Hi there"),
    ]
    assert [item.provider_id for item in opened] == ["msg_1"]


def test_a_second_attempt_shows_even_without_its_block_start_or_a_new_id() -> None:
    without_start = [start("a"), block(0), delta(0, "Hel"), start("b"), delta(0, "Hello")]
    same_id = [start("a"), block(0), delta(0, "Hel"), start("a"), block(0), delta(0, "Hello")]
    for events in (without_start, same_id):
        pieces, ended, _ = understood(*events, STOP)
        assert ended.parts == (TextPart("Hello"),)
        assert [piece.delta for piece in pieces if piece.kind == "text"] == ["Hel", "Hello"]


def test_a_repeated_start_that_goes_on_is_no_second_attempt() -> None:
    same_id = [start("a"), block(0), delta(0, "Hel"), start("a"), delta(0, "lo")]
    next_block = [start("a"), block(0), delta(0, "Hel"), start("b"), block(1), delta(1, "lo"), delta(1, "!")]
    pieces, ended, _ = understood(*same_id)
    assert (final(pieces, ended), ended.parts) == ((TextPart("Hello"),), None)
    pieces, ended, _ = understood(*next_block)
    assert (final(pieces, ended), ended.parts) == ((TextPart("Hel"), TextPart("lo!")), None)


def test_a_retry_that_brings_nothing_leaves_the_text_of_the_first_attempt() -> None:
    pieces, ended, _ = understood(start("a"), block(0), delta(0, "Hel"), start("b"))
    assert (ended.outcome, final(pieces, ended)) == ("interrupted", (TextPart("Hel"),))


def test_a_third_attempt_wins_and_tools_start_anew() -> None:
    tool = block(0, "tool_use", id="t", name="n")
    pieces, ended, _ = understood(
        start("a"),
        tool,
        arguments(0, "{"),
        start("b"),
        tool,
        arguments(0, "{}"),
        start("c"),
        block(0),
        delta(0, "x"),
    )
    assert ended.parts == (TextPart("x"),)
    assert {piece.part for piece in pieces} == {"0", None, "2/0", "3/0"}


def test_an_error_that_a_retry_made_good_is_none() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    _, ended, _ = understood(
        start("a"), block(0), delta(0, "x"), error, start("b"), block(0), delta(0, "y"), STOP
    )
    assert (ended.outcome, ended.error, ended.parts) == ("completed", None, (TextPart("y"),))


STEPS = ["start a", "start b", "block 0", "block 1", "delta 0", "delta 1", "tool 0", "stop"]


@given(script=st.lists(st.sampled_from(STEPS), max_size=20))
def test_the_final_content_is_never_more_than_one_attempt(script: list[str]) -> None:
    """Each delta is a number: the final content holds none from before its block last began."""
    events: list[Event] = []
    begun: dict[int, int] = {}
    for number, step in enumerate(script):
        verb, _, name = step.partition(" ")
        match verb:
            case "start":
                events.append(start(name))
            case "block":
                events.append(block(int(name)))
                begun[int(name)] = number
            case "tool":
                events.append(block(int(name), "tool_use", id="t", name="n"))
                begun[int(name)] = number
            case "delta":
                events.append(delta(int(name), f"<{number}>"))
            case _:
                events.append(STOP)
    pieces, ended, _ = understood(*events)
    texts = [part.text for part in final(pieces, ended) if isinstance(part, TextPart)]
    numbers = [int(number) for text in texts for number in text.strip("<>").split("><")]
    for index, at in begun.items():
        of_index = [n for n in numbers if script[n] == f"delta {index}"]
        assert all(n > at for n in of_index), (script, numbers)
