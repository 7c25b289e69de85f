"""Times as text and as numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import Refused
from eventstore.events import NUMBER_MAX
from eventstore.units import format_time, parse_time, wall_clock_us

TIMES = (
    (0, "1970-01-01T00:00:00.000000Z"),
    (1, "1970-01-01T00:00:00.000001Z"),
    (-1, "1969-12-31T23:59:59.999999Z"),
    (1_700_000_000_123_456, "2023-11-14T22:13:20.123456Z"),
)


@pytest.mark.parametrize(("at", "text"), TIMES)
def test_a_time_is_written_with_six_decimals_in_utc_and_read_back(at: int, text: str) -> None:
    assert format_time(at) == text
    assert parse_time(text) == at


def test_an_offset_is_taken_into_account() -> None:
    assert parse_time("1970-01-01T01:00:00+01:00") == 0
    assert parse_time("1970-01-01T00:00:00-00:30") == 30 * 60 * 1_000_000


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "\ud800"]
)
def test_what_names_no_instant_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_time(text)
    assert (refused.value.code, refused.value.fields) == ("invalid_time", {"value": text})


@given(st.integers(-NUMBER_MAX, NUMBER_MAX))
def test_every_time_that_an_event_may_carry_survives_the_way_through_text(at: int) -> None:
    assert parse_time(format_time(at)) == at


def test_the_wall_clock_counts_microseconds() -> None:
    assert 1_700_000_000_000_000 < wall_clock_us() < NUMBER_MAX
