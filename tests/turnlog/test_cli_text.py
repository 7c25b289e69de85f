"""What models wrote is made safe to print; numbers, spans and ids are short."""

from __future__ import annotations

import unicodedata
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from turnlog.cli.text import ago, clean, count, duration, one_line, short, size


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand a tab", "two\nlines    and a tab"),
        ("dos\r\nlines", "dos\nlines"),
        ("over\rwritten", "over␍written"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x9b31m", "\ufffd31m"),
        ("back\x08space\x7f", "back␈space␡"),
        ("\u202eesrever", "\ufffdesrever"),
        ("a\u2028b", "a\nb"),
        ("日本語 — ¼ 🙂", "日本語 — ¼ 🙂"),
        ("\x00", "␀"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_left(written: str, shown: str) -> None:
    assert clean(written) == shown


@given(st.text())
def test_cleaned_text_holds_no_control_but_line_ends(text: str) -> None:
    cleaned = clean(text)
    assert not [c for c in cleaned if unicodedata.category(c) in ("Cc", "Cs") and c != "\n"]
    assert clean(cleaned) == cleaned


@given(st.text(), st.integers(min_value=1, max_value=60))
def test_one_line_fits_its_width(text: str, width: int) -> None:
    line = one_line(text, width)
    assert cell_len(line) <= width
    assert "\n" not in line
    assert line == one_line(text) or line.endswith("…")


def test_one_line_without_a_width_is_the_whole_text() -> None:
    assert one_line("a\n  b\tc" + "d" * 500) == "a b c" + "d" * 500


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "0 ms"),
        (85_400, "85 ms"),
        (999_400, "999 ms"),
        (999_600, "1.00 s"),
        (4_184_000, "4.18 s"),
        (59_994_000, "59.99 s"),
        (59_996_000, "1 min 0 s"),
        (125_000_000, "2 min 5 s"),
        (12_000_000_000, "3 h 20 min"),
        (1_036_800_000_000, "12 days"),
    ],
)
def test_spans_are_short(microseconds: int, text: str) -> None:
    assert duration(microseconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-9, "just now"), (4, "just now"), (59, "59 s ago"), (60, "1 minute ago"), (7_300, "2 hours ago")],
)
def test_ages_are_short(seconds: int, text: str) -> None:
    assert ago(1_000_000_000_000, 1_000_000_000_000 + seconds * 1_000_000) == text


def test_sizes_counts_and_ids_are_short() -> None:
    assert [size(n) for n in (0, 1_023, 1_536, 5 << 20, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 MiB",
        "3.0 TiB",
    ]
    assert [count(1, "chunk"), count(1_249, "chunk"), count(2, "branch", "branches")] == [
        "1 chunk",
        "1,249 chunks",
        "2 branches",
    ]
    assert short(UUID("0190c4f2-0000-7000-8000-00003f2a9c1b")) == "3f2a9c1b"
