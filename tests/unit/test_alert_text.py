"""Hostile text never reaches a terminal raw."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.text import count, cut, duration, pad, safe, short_digest, utc, width, wrap

HOSTILE = {
    "clear screen": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "hyperlink": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "c1 csi": "\x9b31m",
    "newline": "a\nFAKE: all clear\r\n",
    "backspace": "denied\b\b\b\b\b\bok    ",
    "null": "a\x00b",
    "right to left": "\u202egnp.exe",
    "isolate": "\u2066abc\u2069",
    "zero width": "pay\u200bments",
    "byte order mark": "\ufeffpay",
    "soft hyphen": "pay\u00adments",
    "line separator": "a\u2028b\u2029c",
    "no-break space": "a\u00a0b",
    "lone surrogate": "a\ud800b",
    "tag characters": "a\U000e0041\U000e0042",
    "private use": "\ue000",
    "fillers": "\u3164\u115f\u2800",
    "variation selectors": "a\ufe0f\U000e0100",
    "zalgo": "a" + "\u0301" * 50,
    "64 KiB": "x" * 65_536,
    "64 KiB of escapes": "\x1b" * 65_536,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_spelt_out(name):
    shown = safe(HOSTILE[name])
    assert shown.isprintable()
    assert len(shown) <= 200
    assert "\x1b" not in shown
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co") for character in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\u202egnp", "\\u202egnp"),
        ("\U000e0041", "\\U000e0041"),
        ("a\u3164\u2800\ufe0f", "a\\u3164\\u2800\\ufe0f"),
        ("grüße 東京", "grüße 東京"),
        ("C:\\new", "C:\\new"),
        ("", ""),
    ],
)
def test_what_is_shown(text, shown):
    assert safe(text) == shown


def test_names_in_ascii_show_foreign_letters_as_what_they_are():
    assert safe("p\u0430yments", ascii_only=True) == "p\\u0430yments"


@given(st.text(max_size=300), st.integers(0, 80), st.booleans())
def test_safe_is_printable_within_its_limit_and_idempotent(text, limit, ascii_only):
    once = safe(text, limit, ascii_only=ascii_only)
    assert once.isprintable()
    assert len(once) <= limit
    assert safe(once, limit, ascii_only=ascii_only) == once


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200), st.integers(2, 40))
def test_wrapped_lines_fit_and_lose_nothing(text, columns):
    shown = safe(text, 500)
    lines = wrap(shown, columns)
    assert all(width(line) <= columns for line in lines)
    assert "".join(lines).replace(" ", "") == shown.replace(" ", "")


def test_the_middle_is_cut_and_both_ends_stay():
    assert cut("sha256:0123456789abcdef", 12) == "sha256:0…def"
    assert cut("short", 12) == "short"
    assert [cut("abcdef", limit) for limit in range(4)] == ["", "a", "ab", "ab…"]


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "0s"), (59_000_000, "59s"), (3_661_000_000, "1h 1m"), (90_061_000_000, "1d 1h"), (-5, "0s")],
)
def test_durations_show_two_units(micros, text):
    assert duration(micros) == text


def test_small_words():
    assert (count(1, "container"), count(10_000, "container")) == ("1 container", "10,000 containers")
    assert utc(1_767_225_600_000_000) == "2026-01-01 00:00:00Z"
    assert utc(10**30) == "unknown"
    assert short_digest("sha256:" + "ab" * 32) == "sha256:abababababab"
    assert (width("東京"), pad("東京", 6)) == (4, "東京  ")
