"""Silences: nobody is told, everything is recorded, what is left is told once when they end."""

from __future__ import annotations

import msgspec
import pytest

from alerting.findings import FINDINGS
from alerting.held import SILENCE, read_key
from alerting.incidents import IncidentBook
from alerting.lifecycle import Lifecycle, Notification, ReplyPurpose
from alerting.models import Cause, Incident, IncidentAction, IncidentPart, ShardReached, Silence, SilenceAction
from alerting.models import SilenceScope as Scope
from alerting.render import render, render_reply
from alerting.routing import FALLBACK, Routes
from alerting.said import short_id
from alerting.silences import KEEP_ENDED, MAX_IN_FORCE, MAX_LENGTH, NAMED_ONLY, Silences, refusal, scope_text
from verifier.times import DAY, HOUR, MINUTE, SECOND

T0 = 1_767_225_600 * SECOND
INCIDENT = "v1:i"
PAY = Scope(namespaces=("pay",))


def asked(scope: Scope = PAY, name="s1", *, time=T0, length=HOUR, why="moving", by="ann") -> SilenceAction:
    return SilenceAction(f"{name}:add", time, name, "add", by, why, scope, time + length)


def ended(name="s1", *, time, note="") -> SilenceAction:
    return SilenceAction(f"{name}:end", time, name, "end", "ben", note)


def part(namespace="pay", *, code="unsigned", containers=3, sequence=1, time=T0, severity="high", cluster="c"):
    return IncidentPart(
        INCIDENT, code, "signed shop", Cause(), "signed", severity, 0, cluster, namespace, 3, sequence, time,
        containers, 1 if containers else 0, T0, "no signature",
    )  # fmt: skip


class Desk:
    """A book, its clock, and what it put out."""

    def __init__(self, **routes) -> None:
        self.book = IncidentBook(Routes(**routes))
        self.book.reached(ShardReached(0, 1, 3, T0), T0)
        self.now = T0
        self.out: list[object] = []

    def do(self, *events: object) -> Desk:
        for event in events:
            if isinstance(event, IncidentPart):
                self.out += self.book.apply(event, self.now)
            elif isinstance(event, SilenceAction):
                self.out += self.book.silence(event, max(self.now, event.time))
            else:
                assert isinstance(event, IncidentAction)
                self.out += self.book.act(event)
        return self

    def wait(self, length: int) -> Desk:
        """Let time pass, stopping at everything that is due."""
        until = self.now + length
        while (due := self.book.next_due()) is not None and due <= until:
            self.now = max(self.now, due)
            self.out += self.book.tick(self.now)
        self.now = until
        return self

    def said(self) -> list[tuple[str, list[ReplyPurpose]]]:
        """(destination, replies) of every intent since it was asked last."""
        found = [(o.destination, [r.purpose for r in o.replies]) for o in self.out if isinstance(o, Notification)]
        self.out.clear()
        return found

    def again(self) -> Desk:
        """Another process goes on from the rows."""
        self.book = IncidentBook.from_rows(self.book.to_rows().items(), self.book._routes)
        return self

    @property
    def row(self) -> Incident:
        found = self.book.incident(INCIDENT)
        assert found is not None
        return found

    def silence(self, name="s1") -> Silence:
        found = self.book.silences.get(name)
        assert found is not None
        return found


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (asked(Scope()), "silence everything"),
        (asked(Scope(namespaces=("*",))), "`*` alone"),
        (asked(Scope(teams=("pay", "*"))), "`*` alone"),
        (asked(Scope(namespaces=("",))), "no name"),
        (asked(Scope(namespaces=("p*y",))), "no name"),
        (asked(Scope(namespaces=("pay ments",))), "no name"),
        (asked(Scope(codes=("unsign*",))), "given in full"),
        (asked(Scope(codes=("nonsense",))), "no finding is called"),
        (asked(Scope(incidents=("INC-*",))), "given in full"),
        (asked(Scope(namespaces=tuple(f"n{n}" for n in range(51)))), "at most 50"),
        (asked(why=" "), "needs a reason"),
        (asked(why="x" * 2001), "at most 2000"),
        (asked(length=0), "over before it begins"),
        (asked(length=MAX_LENGTH + 1), "longer than 7 days"),
    ],
)
def test_what_would_mislead_is_refused_by_name_and_silences_nothing(action, why):
    assert why in refusal(action)
    desk = Desk().do(action)
    (said,) = desk.out
    assert isinstance(said, Silence)
    assert (said.state, why in said.note) == ("refused", True)
    assert list(desk.book.silences) == []
    assert desk.do(part()).wait(MINUTE).said() == [("security", [])]


def test_a_week_is_allowed():
    assert refusal(asked(length=MAX_LENGTH)) == ""


def test_there_are_so_many_at_a_time_and_no_more():
    desk = Desk()
    for number in range(MAX_IN_FORCE + 1):
        desk.do(asked(name=f"s{number}"))
    assert [o.state for o in desk.out if isinstance(o, Silence)][-2:] == ["in-force", "refused"]


def test_one_whose_end_has_come_before_it_is_read_never_begins():
    desk = Desk()
    desk.now = T0 + 2 * HOUR
    (said,) = desk.do(asked()).out
    assert isinstance(said, Silence)
    assert (said.state, said.note) == ("refused", "its end has come already")


# --------------------------------------------------------------------------------------------------- what it is about


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (Scope(namespaces=("pay",)), True),
        (Scope(namespaces=("pa*",)), True),
        (Scope(namespaces=("other", "pay")), True),
        (Scope(namespaces=("pa",)), False),
        (Scope(clusters=("c",)), True),
        (Scope(clusters=("prod-*",)), True),
        (Scope(clusters=("staging",)), False),
        (Scope(teams=("payments",)), True),
        (Scope(teams=("unowned",)), False),
        (Scope(policies=("signed",)), True),
        (Scope(codes=("unsigned",)), True),
        (Scope(codes=("expired",)), False),
        (Scope(incidents=(INCIDENT,)), True),
        (Scope(incidents=(short_id(INCIDENT),)), True),
        (Scope(incidents=("v1:other",)), False),
        (Scope(codes=("unsigned",), namespaces=("pay",), policies=("signed",)), True),
        (Scope(codes=("unsigned",), namespaces=("shop",)), False),
    ],
)
def test_of_one_list_any_and_of_several_all(scope, covered):
    silences = Silences(set())
    silences.names_of = lambda cluster: (cluster, "prod-eu")
    silences.act(asked(scope), T0)
    cover = silences.cover(INCIDENT, [part()], lambda *_: "payments")
    assert cover.hushes("") is covered
    assert cover.hushes("payments") is covered
    assert (cover.containers, cover.ids) == ((3, ("s1",)) if covered else (0, ()))


def test_a_finding_of_no_namespace_is_in_none():
    silences = Silences(set())
    silences.act(asked(Scope(namespaces=("x*",), clusters=("x*",))), T0)
    assert not silences.cover(INCIDENT, [part("", cluster="", code="expires-soon")], lambda *_: "").ids


def test_proof_of_compromise_and_blindness_are_only_silenced_by_name():
    assert {code for code, row in FINDINGS.items() if row.proof_of_compromise} <= NAMED_ONLY
    assert {"pipeline-stalled", "trust-refused", "denied-but-running"} <= NAMED_ONLY
    assert "unsigned" not in NAMED_ONLY
    wide = Desk().do(asked(), part(code="key-revoked", severity="critical")).wait(MINUTE)
    assert wide.said() == [("security", [])]
    assert wide.row.silences == ()
    for scope in (Scope(codes=("key-revoked",)), Scope(incidents=(INCIDENT,))):
        named = Desk().do(asked(scope), part(code="key-revoked", severity="critical")).wait(MINUTE)
        assert named.said() == []


# ---------------------------------------------------------------------------------------------------- what it comes to


def test_what_is_silenced_is_recorded_and_told_when_the_silence_is_over():
    desk = Desk().do(asked(), part()).wait(30 * MINUTE)
    assert next(o.transition for o in desk.out if isinstance(o, Lifecycle)) == "opened"
    assert desk.said() == []
    before = desk.row
    assert (before.silences, before.silenced) == ((("s1", "ann", "moving", T0 + HOUR),), (3, 1))
    assert desk.silence().withheld == 1
    desk.wait(30 * MINUTE)
    (over,) = (o for o in desk.out if isinstance(o, Silence))
    assert (over.state, over.time, over.withheld) == ("expired", T0 + HOUR, 1)
    assert desk.said() == [("security", [])]
    assert desk.row.silences == ()
    assert desk.wait(HOUR).said() == []


def test_what_is_gone_when_the_silence_ends_was_never_told():
    desk = Desk().do(asked(), part()).wait(10 * MINUTE).do(part(containers=0, sequence=2, time=T0 + 10 * MINUTE))
    assert desk.wait(DAY).said() == []
    assert desk.row.state == "resolved"


def test_what_stands_is_edited_says_less_and_is_spoken_of_once_at_the_end():
    desk = Desk().do(part()).wait(MINUTE)
    desk.said()
    assert desk.do(asked(time=desk.now)).said() == [("security", [])]
    assert "silenced" in {fact.label for fact in shown(desk).facts}
    assert shown(desk).headline.startswith("SILENCED HIGH: ")
    assert desk.do(part(sequence=2, severity="critical", time=desk.now)).said() == [("security", [])]
    assert desk.silence().withheld == 1
    desk.do(ended(time=desk.now + 1, note="done"))
    (notice,) = (o for o in desk.out if isinstance(o, Notification))
    (reply,) = notice.replies
    assert "the silence by ann has ended: 3 containers still open" in render_reply(reply, shown(desk))
    assert not reply.broadcast
    assert desk.silence().ended_by == "ben"
    desk.said()
    assert all(replies == [] for _, replies in desk.wait(HOUR).said())
    assert not shown(desk).headline.startswith("SILENCED")


def shown(desk: Desk):
    found = desk.book.slice_of(INCIDENT, "security")
    assert found is not None
    return render(found)


@pytest.mark.parametrize("how", ["ack", "close"])
def test_acknowledgements_and_ends_pass_through(how):
    desk = Desk().do(part()).wait(MINUTE).do(asked(time=T0 + MINUTE))
    desk.said()
    desk.do(IncidentAction("a1", desk.now, INCIDENT, how, "ann", "why"))
    assert desk.said() == [("security", ["acknowledged" if how == "ack" else "closed"])]


def test_resolved_passes_through():
    desk = Desk().do(part()).wait(MINUTE).do(asked(time=T0 + MINUTE))
    desk.do(part(containers=0, sequence=2, time=desk.now))
    desk.said()
    assert ("security", ["resolved"]) in desk.wait(11 * MINUTE).said()


def test_closed_by_hand_under_a_silence_tells_nobody_who_was_not_told():
    desk = Desk().do(asked(), part()).wait(MINUTE)
    assert desk.do(IncidentAction("a1", desk.now, INCIDENT, "close", "ann", "test")).said() == []
    assert desk.wait(DAY).said() == []


def test_an_incident_of_which_something_is_not_silenced_is_told_and_says_how_much_is():
    desk = Desk().do(asked(), part(), part("shop", containers=2)).wait(MINUTE)
    assert desk.said() == [("security", [])]
    (fact,) = (fact.value for fact in shown(desk).facts if fact.label == "silenced")
    assert fact == "3 containers of it, until 2026-01-01 01:00:00Z, by ann: moving"
    assert not shown(desk).headline.startswith("SILENCED")


def test_a_team_whose_part_is_silenced_is_left_alone_while_others_are_told():
    desk = Desk()
    for namespace in ("pay", "shop"):
        desk.book.own("c", namespace, namespace, T0)
    desk.do(asked(), part(), part("shop")).wait(MINUTE)
    assert {destination for destination, _ in desk.said()} == {"security", "team/shop"}
    desk.wait(HOUR)
    assert ("team/pay", []) in desk.said()


def test_more_than_what_is_silenced_is_told_at_once():
    desk = Desk().do(part()).wait(MINUTE).do(asked(time=T0 + MINUTE)).do(part("shop", time=T0 + MINUTE))
    desk.said()
    desk.wait(2 * MINUTE)
    (reply,) = (r for o in desk.out if isinstance(o, Notification) for r in o.replies)
    assert "there is more now than what is silenced: 6 containers" in render_reply(reply, shown(desk))


def test_of_two_silences_the_later_end_counts():
    desk = Desk().do(asked(), asked(name="s2", length=2 * HOUR), part()).wait(90 * MINUTE)
    assert desk.said() == []
    assert [name for name, *_ in desk.row.silences] == ["s2"]
    assert desk.wait(HOUR).said() == [("security", [])]


def test_a_second_silence_over_what_was_never_told_does_not_lose_it():
    desk = Desk().do(asked(length=2 * HOUR), part()).wait(MINUTE).do(asked(name="s2", time=T0 + MINUTE))
    assert desk.wait(3 * HOUR).said() == [("security", [])]


def test_reminders_and_escalations_are_withheld_and_counted():
    desk = Desk(reminders=True, escalates=True)
    desk.do(part(code="key-revoked", severity="critical")).wait(MINUTE)
    desk.do(asked(Scope(codes=("key-revoked",)), time=desk.now, length=2 * HOUR))
    desk.said()
    assert all(where != FALLBACK and not replies for where, replies in desk.wait(119 * MINUTE).said())
    assert desk.silence().withheld >= 2


# ----------------------------------------------------------------------------------------------------------- durable


@pytest.mark.parametrize("at", range(5))
def test_a_restart_at_any_point_changes_nothing(at):
    def story(restart: int) -> list[object]:
        desk, out = Desk(), list[object]()
        steps = (
            lambda: desk.do(part()).wait(MINUTE),
            lambda: desk.do(asked(time=T0 + MINUTE)),
            lambda: desk.do(part(sequence=2, containers=9, time=T0 + MINUTE)).wait(10 * MINUTE),
            lambda: desk.do(part("shop", time=T0 + 11 * MINUTE)),
            lambda: desk.wait(2 * HOUR),
        )
        for number, step in enumerate(steps):
            step()
            out += desk.out
            desk.out.clear()
            if number == restart:
                desk.again()
                desk.book.reached(ShardReached(0, 1, 3, T0), desk.now)
        return out

    assert story(at) == story(-1)


def test_an_act_is_done_once_and_only_what_changed_is_written():
    desk = Desk().do(asked())
    (value,) = (value for key, value in desk.book.dirty().items() if read_key(key)[0] == SILENCE)
    assert value is not None
    assert msgspec.json.decode(value, type=Silence) == desk.silence()
    desk.book.saved()
    desk.out.clear()
    assert desk.do(asked(), ended("unknown", time=T0)).out == []
    assert desk.book.dirty() == {}
    desk.do(ended(time=T0 + 1))
    desk.out.clear()
    assert desk.do(ended(time=T0 + 2), asked()).out == []
    assert desk.silence().state == "ended"


def test_one_that_is_over_is_forgotten_in_the_end():
    desk = Desk().do(asked()).wait(HOUR)
    desk.book.saved()
    desk.wait(KEEP_ENDED)
    assert list(desk.book.silences) == []
    assert list(desk.book.dirty().values()) == [None]


def test_hostile_text_is_shown_and_does_nothing():
    desk = Desk().do(part()).wait(MINUTE).do(asked(why="\x1b[2J\u202e<!channel>", by="\x00ann", time=T0 + MINUTE))
    (fact,) = (fact.value for fact in shown(desk).facts if fact.label == "silenced")
    assert fact.isprintable()
    assert scope_text(Scope(namespaces=("a", "b*"), teams=("t",))) == "namespaces a, b*; teams t"


def test_rows_of_an_older_program_have_no_silences():
    head = msgspec.json.decode(msgspec.json.encode(Desk().do(part()).row))
    del head["silences"], head["silenced"]
    assert msgspec.json.decode(msgspec.json.encode(head), type=Incident).silences == ()
