"""How often a host is asked: the rate, revet's own share of its budget, and what the host says is left of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.oci.pacing import ASK_AGAIN, Budget, Pace, Quota, parse_quota


@pytest.mark.parametrize(
    ("text", "quota"), [("50/6h", Quota(50, 21600)), ("5000/d", Quota(5000, 86400)), ("10/30m", Quota(10, 1800))]
)
def test_a_quota_is_a_number_and_a_time(text, quota):
    assert parse_quota(text) == quota


@pytest.mark.parametrize("text", ["", "50", "50/", "/6h", "50/6w", "-1/h", "1.5/h", "50/6h/2"])
def test_what_is_no_quota_is_refused(text):
    with pytest.raises(ValueError, match="expected NUMBER/TIME"):
        parse_quota(text)


def test_a_burst_of_one_second_and_then_the_rate():
    pace = Pace(10)
    waits = [pace.wait(100.0) for _ in range(20)]
    assert waits[:11] == [0.0] * 11
    assert waits[11:] == pytest.approx([0.1 * number for number in range(1, 10)])
    assert Pace(0).wait(1.0) == 0.0


@given(st.lists(st.floats(0, 3000), min_size=1, max_size=80), st.integers(0, 6), st.integers(1, 20))
def test_no_window_of_any_place_holds_more_than_the_quota(gaps, most, hours):
    budget, now, made = Budget(Quota(most, hours * 600)), 0.0, []
    for gap in gaps:
        now += gap
        if not budget.blocked(now):
            budget.spend(now)
            made.append(now)
    for start in made:
        assert len([at for at in made if start <= at < start + hours * 600]) <= most


def test_what_the_host_says_is_left_holds_beside_the_own_share():
    budget = Budget(Quota(50, 21600))
    budget.learn("100;w=21600", "12;w=21600", 0.0)
    for _ in range(2):
        assert budget.blocked(1.0) == 0
        budget.spend(1.0)
    assert 0 < budget.blocked(1.0) <= ASK_AGAIN, "the last tenth is left to the nodes"
    budget.learn("100;w=21600", "80;w=21600", 2.0)
    assert budget.blocked(2.0) == 0


def test_a_spent_budget_is_tried_again_by_one_request_behind_a_look():
    budget = Budget()
    budget.learn("200;w=21600", "0;w=21600", 0.0)
    assert budget.counts
    assert budget.blocked(10.0) == pytest.approx(ASK_AGAIN - 10)
    assert budget.blocked(ASK_AGAIN) == 0
    budget.spend(ASK_AGAIN)
    assert budget.blocked(ASK_AGAIN + 1) > 0


@pytest.mark.parametrize("told", ["", "many", "-1", "1e9", "12 34"])
def test_what_is_no_count_is_passed_over(told):
    budget = Budget()
    budget.learn("100", told, 0.0)
    assert not budget.counts
