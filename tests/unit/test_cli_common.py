"""What every command shares: hostile text on the terminal and in JSON, times on the command line."""

from __future__ import annotations

import json

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting import text
from streams.cli.changing import when
from streams.cli.common import INSTANT, parse_time, safe_json, show_time
from streams.cli.render import MAX_CELL, safe
from verifier.times import DAY, HOUR, LAST

T = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z"""

HOSTILE = st.text(st.characters() | st.sampled_from("\x1b\n\u202e\u3164\ufe0f\u0301\U000e0101\\…"), max_size=60)


# ------------------------------------------------------------------------------------------------------------ escaping


@given(HOSTILE)
def test_a_table_shows_a_text_as_a_message_does(value):
    assert safe(value) == text.safe(value, limit=10 * 60)


@given(HOSTILE, st.integers(1, 70))
def test_what_is_long_keeps_both_ends_and_is_still_escaped(value, limit):
    shown = safe(value, limit)
    assert not any(text.is_hidden(character) for character in shown)
    half = (limit - 1) // 2
    if len(value) > limit:
        assert shown == text.safe(f"{value[:half]}…{value[len(value) - half :]}", limit=10 * 60)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\u3164b", "a\\u3164b"),
        ("a\ufe0fb", "a\\ufe0fb"),
        ("a" + "\u0301" * 5, "a\u0301\u0301" + "\\u0301" * 3),
        ("\x1b[2J\n", "\\x1b[2J\\n"),
        ("\U000e0101", "\\U000e0101"),
        ("\ud800", "\\ud800"),
        ("日本語 é", "日本語 é"),
    ],
)
def test_what_cannot_be_seen_is_spelt(value, shown):
    assert safe(value) == shown


def test_the_limit_counts_the_value_and_not_its_escapes():
    assert safe("\x1b" * MAX_CELL) == "\\x1b" * MAX_CELL
    assert safe("x" * 10, limit=5) == "xx…xx"


@given(HOSTILE)
def test_json_hides_nothing_and_says_the_same(value):
    written = safe_json(json.dumps([value], ensure_ascii=False))
    assert not any(text.is_hidden(character) for character in written)
    assert json.loads(written) == [value]


# --------------------------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        ("2026-01-01", T),
        ("2026-01-01T00:00:00", T),
        ("2026-01-01T01:00:00+01:00", T),
        ("2026-01-01T00:00:00.000001Z", T + 1),
        ("2h", T + DAY - 2 * HOUR),
        ("1d", T),
        ("9999-12-31T23:59:59.999999Z", LAST),
    ],
)
def test_a_time_is_rfc_3339_or_a_date_or_an_age(value, micros):
    assert parse_time(value, T + DAY) == micros
    assert when(value, T + DAY, "--at") == micros


@pytest.mark.parametrize("value", ["", "h", "1w", "²h", "soon", "2026-13-01", "9" * 12 + "d", "9" * 40 + "d"])
def test_what_is_no_time_is_a_usage_error_that_says_what_to_give(value):
    with pytest.raises(click.BadParameter, match="give 2026-11-21T13:00:00Z"):
        when(value, T, "--at")
    with pytest.raises(click.BadParameter, match="give 2026-11-21T13:00:00Z"):
        INSTANT.convert(value, None, None)


@pytest.mark.parametrize(
    ("micros", "shown"),
    [(None, "-"), (T + 999_999, "2026-01-01T00:00:00Z"), (LAST + 1, f"{LAST + 1} µs"), (-(10**20), f"{-(10**20)} µs")],
)
def test_any_number_is_shown(micros, shown):
    assert show_time(micros) == shown
