"""The eighteen acceptance tests of telling people: each has a test, by name. A test that was renamed is missed here."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

ACCEPTANCE: dict[int, tuple[str, tuple[tuple[str, str], ...]]] = {
    1: (
        "10,000 findings of one cause, 40 teams: 41 parents, no 429, exact totals, first post at once, few edits",
        (("contract/test_slack_delivery.py", "test_a_storm_of_ten_thousand_over_forty_teams_is_forty_one_parents"),),
    ),
    2: (
        "a kill at every edge of the ledger: always one parent",
        (
            ("contract/test_slack_delivery.py", "test_a_kill_at_any_edge_leaves_one_parent"),
            ("contract/test_slack_delivery.py", "test_an_answer_that_was_lost_makes_no_second_parent_and_no_hole"),
            ("integration/test_slack_kafka.py", "test_one_message_each_while_alerters_are_killed_and_others_take_over"),
        ),
    ),
    3: (
        "two notifiers and a rebalance within a post: one parent; a zombie posts nothing after its deadline",
        (
            ("contract/test_slack_delivery.py", "test_two_owners_at_once_leave_one_parent"),
            ("contract/test_slack_delivery.py", "test_a_zombie_does_not_post_after_its_deadline"),
        ),
    ),
    4: (
        "a parent that a person deleted comes again once",
        (("contract/test_slack_delivery.py", "test_a_parent_that_a_person_deleted_comes_again_once_and_says_so"),),
    ),
    5: (
        "hostile text in every field does nothing, limits hold",
        (
            ("contract/test_slack_content.py", "test_hostile_text_in_every_field_is_shown_and_does_nothing"),
            ("contract/test_slack_content.py", "test_a_workspace_takes_hostile_text_as_it_is"),
            ("contract/test_slack_storm.py", "test_hostile_names_in_a_digest_do_nothing"),
        ),
    ),
    6: (
        "blocks that are refused are followed by simpler ones, counted",
        (
            (
                "contract/test_slack_content.py",
                "test_a_workspace_without_tables_gets_the_layout_without_and_is_asked_once",
            ),
            ("contract/test_slack_content.py", "test_what_is_refused_twice_arrives_as_text"),
        ),
    ),
    7: (
        "pods gone: resolved after the hold; sight lost: UNKNOWN and not resolved; back: it goes on",
        (
            ("contract/test_slack_sight.py", "test_pods_that_are_gone_resolve_after_the_hold"),
            (
                "contract/test_slack_sight.py",
                "test_a_cluster_that_is_not_heard_is_unknown_and_never_resolved_and_goes_on_when_it_is_back",
            ),
        ),
    ),
    8: (
        "a rolling restart opens nothing and does not flap",
        (("contract/test_slack_delivery.py", "test_a_rolling_restart_of_many_opens_nothing_and_does_not_flap"),),
    ),
    9: (
        "a policy that fails many and is taken back: one incident, one resolve",
        (
            (
                "contract/test_slack_delivery.py",
                "test_a_policy_that_fails_many_and_is_taken_back_is_one_incident_and_one_resolve",
            ),
        ),
    ),
    10: (
        "an ack lost in ghost connections: the command does it, the watchdog says so",
        (
            (
                "contract/test_slack_buttons.py",
                "test_10_an_ack_lost_in_ghosts_is_done_by_the_command_and_the_watchdog_says_so",
            ),
        ),
    ),
    11: (
        "ack and resolve race: it ends resolved",
        (("contract/test_slack_delivery.py", "test_an_ack_and_a_resolve_race_and_it_ends_resolved"),),
    ),
    12: (
        "a silence expires, one of everything is refused, a resolve passes through",
        (
            ("contract/test_slack_silences.py", "test_nobody_hears_of_it_until_the_silence_expires_and_then_once"),
            ("contract/test_slack_silences.py", "test_a_silence_of_everything_is_refused_and_silences_nothing"),
            ("contract/test_slack_silences.py", "test_resolved_and_acknowledged_pass_through"),
            (
                "integration/test_slack_silence_kafka.py",
                "test_a_silence_holds_through_a_kill_and_its_end_tells_what_is_left",
            ),
        ),
    ),
    13: (
        "Slack is down: told elsewhere within two minutes, caught up once, nothing stale",
        (
            (
                "contract/test_slack_errors.py",
                "test_an_outage_is_told_elsewhere_within_two_minutes_and_caught_up_once_with_the_text_of_then",
            ),
            ("contract/test_slack_elsewhere.py", "test_an_outage_of_slack_triggers_and_resolves_at_pagerduty"),
        ),
    ),
    14: (
        "Elasticsearch is down: alerts flow and say so, the backlog is indexed later under the same ids",
        (
            (
                "contract/test_slack_record.py",
                "test_14_without_the_record_alerts_flow_and_say_so_and_all_is_indexed_later_under_the_same_ids",
            ),
        ),
    ),
    15: (
        "signed HTTP: bad timestamp, not UTF-8, replayed, too large: 401 or 413, never 500",
        (
            ("contract/test_slack_signed.py", "test_15_a_bad_timestamp_is_401"),
            ("contract/test_slack_signed.py", "test_15_what_is_not_utf8_is_401_unsigned_and_400_signed"),
            ("contract/test_slack_signed.py", "test_15_a_replay_is_401"),
            ("contract/test_slack_signed.py", "test_15_what_is_too_large_is_413"),
            ("contract/test_slack_signed.py", "test_15_nothing_makes_it_fail"),
        ),
    ),
    16: (
        "a restart with many open incidents: nothing is posted again, no reminder is missed",
        (
            ("contract/test_slack_delivery.py", "test_a_restart_with_hundreds_of_open_incidents_posts_nothing_again"),
            ("contract/test_slack_delivery.py", "test_a_restart_repeats_no_reminder_and_skips_none"),
        ),
    ),
    17: (  # of the link's form; that Kibana itself opens it is tried where there is one
        "links open the right search",
        (
            (
                "contract/test_slack_content.py",
                "test_buttons_open_the_page_of_the_finding_and_what_belongs_to_the_incident",
            ),
            ("contract/test_slack_content.py", "test_a_value_in_a_query_stays_in_its_quotes"),
        ),
    ),
    18: (
        "the canary from end to end, and the dead man's switch",
        (
            ("contract/test_slack_canary.py", "test_a_canary_that_arrived_calls_the_watchman"),
            ("contract/test_slack_canary.py", "test_a_process_sings_only_while_it_works"),
        ),
    ),
}
"""Number -> (what has to be so, the tests that show it)."""


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_"))


def test_all_eighteen_are_there() -> None:
    assert sorted(ACCEPTANCE) == list(range(1, 19))


@pytest.mark.parametrize("number", ACCEPTANCE)
def test_each_has_a_test_that_is_there(number: int) -> None:
    sentence, tests = ACCEPTANCE[number]
    assert sentence
    assert tests
    for file, name in tests:
        assert name in functions_of(file), f"{number}: {sentence}: {file} has no {name}"
