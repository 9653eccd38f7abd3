"""How often a chat is spoken to, quiet hours, and which channel a destination has. Time is given."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.calls import Step
from alerting.channels import Channels
from alerting.delivery import FALLBACK
from alerting.pacing import Bucket, Pacing
from alerting.quiet import Quiet
from verifier.times import HOUR, MINUTE, SECOND, parse_instant

T0 = 1_795_000_000 * SECOND
CHANNELS = {"security": "C0SEC0001", "team/a": "C0TEAM00A", "team/b": "C0TEAM00B"}


def pacing(quiet: Quiet | None = None) -> Pacing:
    return Pacing(Channels(CHANNELS, "security").of, quiet)


def step(kind, destination="security", *, rank=3, resolved=False, channel="", delivery="d"):
    return Step(kind, delivery, destination, channel, rank, resolved)


def made(one: Pacing, what: Step, seconds: int, now: int = T0) -> int:
    """How many steps there is room for, asked as often as one may."""
    end, count = now + seconds * SECOND, 0
    while now < end:
        wait = one.wait(what, now)
        count += wait == 0
        now += max(wait, 1)
    return count


@settings(max_examples=100)
@given(
    rate=st.floats(0.01, 10), burst=st.integers(1, 20), gaps=st.lists(st.integers(0, 30 * SECOND), max_size=60)
)  # fmt: skip
def test_a_bucket_never_gives_more_than_its_rate_and_burst(rate: float, burst: int, gaps: list[int]) -> None:
    bucket, now, taken = Bucket(rate, float(burst), T0), T0, 0
    for gap in gaps:
        now += gap
        if bucket.wait(now) == 0:
            bucket.take()
            taken += 1
        assert taken <= burst + (now - T0) / SECOND * rate + 1e-6


@settings(max_examples=100)
@given(rate=st.floats(0.01, 10), took=st.integers(1, 50))
def test_what_a_bucket_says_to_wait_is_enough(rate: float, took: int) -> None:
    bucket, now = Bucket(rate, 1.0, T0), T0
    for _ in range(took):
        now += bucket.wait(now)
        assert bucket.wait(now) == 0
        bucket.take()


def test_one_channel_gets_about_one_message_a_second_and_holds_up_no_other() -> None:
    one = pacing()
    assert made(one, step("post"), 60) in range(54, 59)
    assert made(one, step("post", "team/a"), 60, T0) in range(54, 59)


def test_replies_and_posts_share_a_channel() -> None:
    one = pacing()
    assert made(one, step("post"), 30) + made(one, step("reply", channel="C0SEC0001"), 30, T0 + 30 * SECOND) < 60


def test_edits_of_all_channels_stay_within_fifty_a_minute() -> None:
    """Whole incidents, slices, and what is kept for the end of things, all at once."""
    one = pacing()
    count, now = 0, T0
    while now < T0 + 10 * MINUTE:
        for what in (step("edit"), step("edit", "team/a"), step("edit", "team/b", resolved=True), step("edit", rank=4)):
            count += one.wait(what, now) == 0
        now += SECOND // 4
    assert count <= 500 + 20


def test_the_end_of_things_is_told_when_edits_have_run_out() -> None:
    one = pacing()
    while one.wait(step("edit"), T0) == 0:
        pass
    assert one.wait(step("edit"), T0) > 0
    assert one.wait(step("edit", resolved=True), T0) == 0


def test_a_service_that_said_no_is_left_alone_and_then_spoken_to_at_half_the_rate() -> None:
    one = pacing()
    one.wait(step("post"), T0)
    one.limited("post", "C0SEC0001", T0, 30 * SECOND)
    assert one.wait(step("post"), T0 + 29 * SECOND) > 0
    assert made(one, step("post"), 60, T0 + 30 * SECOND) <= 30
    assert made(one, step("post"), 60, T0 + HOUR) >= 54


def test_elsewhere_news_of_one_incident_are_paced_and_of_many_are_not() -> None:
    one = pacing()
    assert made(one, step("edit", FALLBACK), 300) == 5
    assert [one.wait(step("edit", FALLBACK, delivery=str(n)), T0 + HOUR) for n in range(50)] == [0] * 50
    assert one.wait(step("edit", FALLBACK, resolved=True), T0) == 0


def test_buckets_of_many_channels_are_forgotten_when_they_know_nothing() -> None:
    one = Pacing(lambda destination: destination)
    for number in range(5_000):
        assert one.wait(step("post", f"c{number}"), T0 + number * SECOND) == 0
    assert len(one._buckets) < 2_100


# ------------------------------------------------------------------------------------------------- quiet hours


@pytest.mark.parametrize(
    ("text", "at", "hours"),
    [
        ("22:00-07:00", "2026-11-21T21:59:00Z", 0),
        ("22:00-07:00", "2026-11-21T22:00:00Z", 9),
        ("22:00-07:00", "2026-11-22T03:00:00Z", 4),
        ("22:00-07:00", "2026-11-22T07:00:00Z", 0),
        ("12:00-13:00", "2026-11-21T12:30:00Z", 0.5),
        ("22:00-07:00 Europe/Berlin", "2026-11-21T21:00:00Z", 9),
        ("22:00-07:00 Europe/Berlin", "2026-07-01T20:00:00Z", 9),
        ("22:00-07:00 Europe/Berlin", "2026-10-24T21:00:00Z", 9),
    ],
)
def test_how_long_what_is_not_urgent_waits(text: str, at: str, hours: float) -> None:
    quiet = Quiet.read(text, "high")
    found = quiet.wait(2, parse_instant(at))
    assert abs(found - hours * HOUR) <= HOUR * ("10-24" in at), "a night in which the clock is put back is longer"
    assert quiet.wait(3, parse_instant(at)) == 0


def test_what_is_critical_never_waits() -> None:
    assert Quiet.read("00:00-23:59", "critical").wait(4, T0) == 0


@pytest.mark.parametrize(
    "text", ["", "22-7", "25:00-07:00", "22:00-22:00", "22:00-07:00 Nowhere/Here", "22:00-07:00 ../x"]
)
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|known"):
        Quiet.read(text)


def test_edits_make_no_noise_and_do_not_wait() -> None:
    one = pacing(Quiet.read("00:00-23:59", "critical"))
    assert one.wait(step("post"), T0) > MINUTE
    assert one.wait(step("edit"), T0) == 0
    assert one.wait(step("post", rank=4), T0) == 0


# ------------------------------------------------------------------------------------------------- channels


def test_a_namespace_that_changes_hands_takes_its_choice_along() -> None:
    one = Channels({"security": "C0SEC0001", "x": "C0XXXX001", "y": "C0YYYY001"}, "security")
    assert not one.reaches("shop")
    one.learn(("c", "n"), "shop", "y")
    assert one.of("team/shop") == "C0YYYY001"
    one.learn(("c", "m"), "shop", "x")
    assert one.of("team/shop") == "C0XXXX001", "of several the first by name, whatever came first"
    one.learn(("c", "m"), "other", "x")
    assert (one.of("team/shop"), one.of("team/other")) == ("C0YYYY001", "C0XXXX001")
    one.learn(("c", "n"), "shop", "")
    assert not one.reaches("shop")


def test_a_team_of_the_settings_needs_no_namespace() -> None:
    one = Channels(CHANNELS, "security")
    one.learn(("c", "n"), "a", "security")
    assert one.of("team/a") == "C0TEAM00A"
    assert (one.default, one.of("security"), one.of(FALLBACK), one.of("team/z")) == ("C0SEC0001", "C0SEC0001", "", "")
