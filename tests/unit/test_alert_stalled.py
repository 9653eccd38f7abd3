"""What stands still is told once, closed when it moves again, and never made up from clocks, restarts or good-byes."""

from __future__ import annotations

from itertools import count

import msgspec
import pytest

from alerting.stalled import MAX_SUBJECTS, Heard, Watch
from verifier.times import DAY, SECOND

T0 = 1_767_225_600 * SECOND
AFTER = 60 * SECOND


def beat(shard: int = 3, instance: str = "judge-a", component: str = "judge", **more: object) -> Heard:
    return Heard(component, instance, shard, **more)  # type: ignore[arg-type]  # members of Heard


def on_time(heard: Heard, now: int) -> Heard:
    """Clocks are right where a test says nothing of them."""
    return heard if heard.time else msgspec.structs.replace(heard, time=now)


def story(watch: Watch, *events: tuple[int, Heard | None]) -> list[tuple[str, str, str]]:
    """(subject, state or close reason, reason) of everything told, at seconds after T0; None is a tick."""
    told = []
    for second, heard in events:
        now = T0 + int(second * SECOND)
        made = watch.tick(now) if heard is None else watch.heard(on_time(heard, now), now)
        told += [
            (f.owner_name, f.close_reason or f.state, dict(f.detail)["reason"].split(" with ")[0])
            for f in made.findings
        ]
        assert [(p.incident, p.workloads) for p in made.parts] == [(f.incident, f.members) for f in made.findings]
    return told


def test_a_silent_shard_is_told_once_and_closed_when_it_speaks():
    watch = Watch(AFTER)
    events = [(0, beat()), (59, None), (60, None), (61, None), (90, None), (95, beat()), (100, None)]
    assert story(watch, *events) == [
        ("judge shard 3", "open", "was not heard"),
        ("judge shard 3", "converged", "was not heard"),
    ]


def test_a_shard_goes_on_whoever_works_on_it():
    watch = Watch(AFTER)
    assert story(watch, (0, beat()), (50, beat(instance="judge-b")), (100, None)) == []


def test_waiting_records_without_progress():
    watch = Watch(AFTER)
    stuck = [(s, beat(position=5, lag=9)) for s in range(0, 80, 10)]
    assert story(watch, *stuck, (81, beat(position=6, lag=8))) == [
        ("judge shard 3", "open", "does not move on"),
        ("judge shard 3", "converged", "does not move on"),
    ]


def test_a_backlog_that_is_worked_off_slowly_is_no_standstill():
    watch = Watch(AFTER)
    assert story(watch, *((s, beat(position=s, lag=10**6)) for s in range(0, 600, 10))) == []


def test_nothing_to_do_is_no_standstill():
    watch = Watch(AFTER)
    assert story(watch, *((s, beat(position=5)) for s in range(0, 600, 10))) == []


def test_a_crash_loop_that_commits_nothing_is_one():
    """Each start reads some records, says so, and dies: what counts is what is committed."""
    watch, number = Watch(AFTER), count()
    events = [(s, beat(instance=f"judge-{next(number)}", position=5, lag=9)) for s in range(0, 80, 10)]
    assert [told[1:] for told in story(watch, *events)] == [("open", "does not move on")]


def test_older_trust_than_the_rest():
    watch = Watch(AFTER)
    events = [e for s in range(0, 80, 10) for e in ((s, beat(1, epoch=7)), (s, beat(2, epoch=9)), (s, beat(4)))]
    (told,) = story(watch, *events)
    assert told[:2] == ("judge shard 1", "open")
    assert told[2] == "works under trust epoch 7, others under 9"


def test_a_reason_that_changes_is_told_and_the_finding_stays_one():
    watch = Watch(AFTER)
    told = story(watch, (0, beat(lag=4)), (50, beat(lag=4)), (61, beat(lag=5)), (130, None), (131, beat()))
    assert told == [
        ("judge shard 3", "open", "does not move on"),
        ("judge shard 3", "open", "was not heard"),
        ("judge shard 3", "converged", "was not heard"),
    ]


# ------------------------------------------------------------------------------------------------ processes come and go


def process(instance: str, **more: object) -> Heard:
    return beat(-1, instance, "collector", **more)


def test_a_process_that_is_followed_by_another_is_not_missed():
    watch = Watch(AFTER)
    told = story(watch, (0, process("a")), (70, None), (80, process("b")), (90, None))
    assert told == [("collector a", "open", "was not heard"), ("collector a", "replaced", "was not heard")]


def test_a_killed_process_whose_successor_is_quick_is_not_told_at_all():
    watch = Watch(AFTER)
    events = [(0, process("a")), *((s, process("b")) for s in (10, 50, 90)), (95, None)]
    assert story(watch, *events) == []


def test_one_of_two_that_is_killed_is_told_and_forgotten_after_a_day():
    watch = Watch(AFTER)
    alive = [(s, process("b")) for s in range(0, 2 * DAY // SECOND, 600)]
    watch._after = 700 * SECOND
    told = story(watch, (0, process("a")), *(e for s, h in alive for e in ((s, h), (s, None))))
    assert told == [("collector a", "open", "was not heard"), ("collector a", "ended", "was not heard")]


def test_who_says_good_bye_is_not_missed_while_others_work():
    watch = Watch(AFTER)
    events = [(0, process("a")), (0, process("b")), (5, process("a", stopping=True)), (50, process("b")), (90, None)]
    assert story(watch, *events) == []


def test_the_last_of_its_kind_is_missed_however_politely_it_left():
    watch = Watch(AFTER)
    told = story(watch, (0, process("a")), (5, process("a", stopping=True)), (70, None))
    assert told == [("collector a", "open", "was not heard")]


def test_a_shard_that_says_good_bye_is_missed_until_somebody_takes_it():
    watch = Watch(AFTER)
    assert [t[1] for t in story(watch, (0, beat(stopping=True)), (61, None), (62, beat(instance="b")))] == [
        "open",
        "converged",
    ]


# --------------------------------------------------------------------------------------------- clocks, restarts, floods


@pytest.mark.parametrize("skew", [-DAY, -10 * AFTER, 10 * AFTER, DAY])
def test_a_sender_whose_clock_is_wrong_is_heard_all_the_same(skew):
    watch = Watch(AFTER)
    events = [(s, process("a", time=T0 + s * SECOND + skew)) for s in range(0, 300, 10)]
    assert story(watch, *(e for s, h in events for e in ((s, h), (s, None)))) == []
    assert watch.tick(T0 + 290 * SECOND + 3 * AFTER).findings, "a clock that is ahead delays it by one bound, no more"


def test_after_a_restart_everybody_has_the_whole_time_to_speak():
    watch = Watch(AFTER)
    story(watch, (0, beat(1)), (0, beat(2)))
    again = Watch(AFTER)
    again.load([(key, value) for key, value in watch.dirty().items() if value is not None])
    assert story(again, (10_000, None), (10_050, beat(1)), (10_059, None)) == []
    assert [t[0] for t in story(again, (10_061, None))] == ["judge shard 2"], (
        "one that was silent before is known still"
    )


def test_an_open_finding_survives_a_restart_and_is_not_told_again():
    watch = Watch(AFTER)
    story(watch, (0, beat()), (70, None))
    again = Watch(AFTER)
    again.load([(key, value) for key, value in watch.dirty().items() if value is not None])
    assert story(again, (80, None), (500, None)) == []
    assert [told[1] for told in story(again, (501, beat()))] == ["converged"]


def test_last_words_of_those_long_gone_wake_nobody_after_a_restart():
    """The topic keeps the newest word of every process there ever was."""
    watch = Watch(AFTER)
    words = [(1000, process(f"old-{n}", time=T0 - n * 300 * SECOND)) for n in range(20)]
    bye = [(1000, process("bye", time=T0 + 1000 * SECOND, stopping=True))]
    assert story(watch, *words, *bye, (2000, None), (9000, None)) == []


def test_a_flood_of_made_up_names_is_bounded():
    watch = Watch(AFTER)
    for n in range(MAX_SUBJECTS + 500):
        watch.heard(process(f"p{n}", time=T0), T0)
    assert len(watch._seen) == MAX_SUBJECTS


def test_next_due_is_when_something_is_said():
    watch = Watch(AFTER)
    assert watch.next_due() is None
    watch.heard(beat(), T0)
    due = watch.next_due()
    assert due is not None
    assert not watch.tick(due - 1).findings
    assert watch.tick(due).findings
    assert watch.next_due() is None


def test_only_what_changed_is_stored():
    watch = Watch(AFTER)
    watch.heard(beat(), T0)
    assert len(watch.dirty()) == 1
    watch.saved()
    watch.heard(beat(position=9), T0 + SECOND)
    assert watch.dirty() == {}
