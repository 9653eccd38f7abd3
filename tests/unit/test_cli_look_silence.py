"""`revet silence` on the state that the demo leaves, and what the alerter of a cluster keeps of it."""

from pathlib import Path

import msgspec
import pytest

from alerting.models import Silence, SilenceAction, SilenceScope
from streams.alerter import BOOK, Alerter
from streams.codec import NewerSchemaError
from streams.engine.port import Record
from streams.engine.staterows import Owner, row_record
from streams.local import acting
from streams.local.lease import Lease
from streams.serving.silencing import act, is_done, kept
from streams.settings import Settings
from streams.topics import ALERTS
from tests.helpers.command import Ran, revet
from tests.helpers.demo_state import copy_of_demo
from verifier.errors import InputError
from verifier.times import HOUR, SECOND

T0 = 1_795_000_000 * SECOND


class Desk:
    def __init__(self, state: Path) -> None:
        self.state = state

    def run(self, *args: str, code: int = 0) -> Ran:
        ran = revet("silence", *args, "--state", self.state)
        assert ran.code == code, ran.err or ran.out
        return ran

    def listed(self, *args: str) -> list[dict]:
        rows: list[dict] = self.run("list", *args, "-o", "json").json["silences"]
        return rows

    def incident(self, kind: str) -> dict:
        rows = revet("incident", "list", "--all", "--state", self.state, "-o", "json").json["rows"]
        found: dict = next(row for row in rows if row["kind"] == kind)
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(copy_of_demo(tmp_path))


def test_a_silence_is_made_listed_shown_with_its_incident_and_ended(desk: Desk) -> None:
    incident = desk.incident("unadmitted")["short_id"]
    made = desk.run("add", "--finding", "unadmitted", "--why", "a known gap", "--for", "2h", "-o", "json").json
    assert (made["schema"], made["action"], made["covers"]) == ("revet.silence/v1", "add", [incident])
    (row,) = desk.listed()
    assert (row["state"], row["codes"], row["why"]) == ("in-force", ["unadmitted"], "a known gap")
    assert row["by"].startswith("local:")
    shown = revet("incident", "show", incident, "--state", desk.state)
    assert "SILENCED" in shown.out
    assert "a known gap" in shown.out
    assert "silenced by local:" in shown.out  # its timeline
    (told,) = desk.incident("unadmitted")["silences"]
    assert (told["id"], told["why"]) == (row["id"], "a known gap")
    out = desk.run("end", row["id"][:9], "--note", "closed the gap").out
    assert f"{row['id']} ended" in out
    assert desk.listed() == []
    (over,) = desk.listed("--all")
    assert (over["state"], over["note"]) == ("ended", "closed the gap")
    assert "SILENCED" not in revet("incident", "show", incident, "--state", desk.state).out


def test_silences_are_in_the_record(desk: Desk) -> None:
    desk.run("add", "--namespace", "nobody-*", "--why", "planned")
    found = revet("search", "event.action:silence-in-force", "--in", "incident", "--state", desk.state, "-o", "json")
    (hit,) = found.json["hits"]
    assert hit["event.reason"] == "planned"
    assert "namespaces nobody-*" in hit["message"]


def test_what_is_told_all_the_same_is_said(desk: Desk) -> None:
    assert "key-revoked" in desk.run("add", "--namespace", "legacy*", "--why", "x").err
    assert desk.run("add", "--finding", "unsigned", "--why", "x").err == ""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("add", "--why", "x"), "silence everything"),
        (("add", "--namespace", "*", "--why", "x"), "alone would be all"),
        (("add", "--namespace", "a", "--why", " "), "needs a reason"),
        (("add", "--namespace", "a"), "--why"),
        (("add", "--namespace", "a", "--why", "x", "--for", "8d"), "longer than 7 days"),
        (("add", "--namespace", "a", "--why", "x", "--for", "soon"), "no length of time"),
        (("add", "--namespace", "a", "--why", "x", "--for", "0h"), "no length of time"),
        (("add", "--finding", "nonsense", "--why", "x"), "no finding is called"),
        (("add", "--incident", "INC-NOBODY", "--why", "x"), "nothing in the record is called"),
        (("end", "v1:nothing"), "no silence is called"),
        (("end", "v1:nothing", "--note", "x" * 2001), "at most 2000"),
    ],
)
def test_wrong_requests_change_nothing(desk: Desk, args: tuple[str, ...], said: str) -> None:
    assert said in desk.run(*args, code=2).err
    assert desk.listed("--all") == []


def test_one_that_is_over_or_has_no_clear_name_is_not_ended(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.run("add", "--namespace", name, "--why", "x")
    assert "2 silences begin with" in desk.run("end", "v1:", code=2).err
    name = desk.listed()[0]["id"]
    desk.run("end", name)
    assert "is over since" in desk.run("end", name, code=2).err


def test_a_hostile_reason_reaches_no_terminal_raw(desk: Desk) -> None:
    desk.run("add", "--finding", "unadmitted", "--why", "\x1b[2J\u202egone")
    for args in (("list",), ("list", "-o", "json")):
        assert not {"\x1b", "\u202e"} & set(desk.run(*args).out)


def test_an_empty_list_says_so(desk: Desk) -> None:
    assert "no silence is in force" in desk.run("list").err
    assert "no silence is known" in desk.run("list", "--all").err


def test_a_service_that_hangs_is_told_and_the_act_is_durable(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "GIVE_UP", 0.2)
    lease = Lease.try_acquire(desk.state, "run")
    assert lease is not None
    with lease:
        ran = desk.run("add", "--namespace", "a", "--why", "x", code=4)
    assert "has not come to it yet" in ran.err
    desk.run("add", "--namespace", "b", "--why", "x")
    assert {name for row in desk.listed() for name in row["namespaces"]} == {"a", "b"}


# ----------------------------------------------------------------------------------------------------- of a cluster

SCOPE = SilenceScope(namespaces=("pay",))
ADD = SilenceAction("s1:add", T0, "s1", "add", "ann", "why", SCOPE, T0 + HOUR)
END = SilenceAction("s1:end", T0 + 1, "s1", "end", "ben")


def stored(alerter: Alerter, position: int = 0) -> list[Record]:
    """The alerter's rows as they stand on the topic."""
    owner = Owner(1, "a")
    wires = [row_record(ALERTS, 0, owner, *row) for row in alerter.take_dirty()]
    return [
        Record(position + number, ALERTS, 0, wire.key.decode(), str(number), wire.value or b"", 0)
        for number, wire in enumerate(wires)
    ]


def test_what_the_alerter_of_a_cluster_keeps_is_what_commands_show() -> None:
    alerter = Alerter()
    assert kept([]) == []
    assert not is_done(ADD, [])
    (begun,) = alerter.handle(ADD, T0)
    assert isinstance(begun, Silence)
    records = stored(alerter)
    assert kept(records) == [begun]
    assert is_done(ADD, kept(records))
    assert not is_done(END, kept(records))
    list(alerter.handle(END, T0 + 1))
    records += stored(alerter, len(records))
    assert kept(records)[0].state == "ended"
    assert is_done(END, kept(records))


def test_rows_of_a_newer_alerter_are_not_guessed_at() -> None:
    key = msgspec.json.encode(["silence", "s1"]).decode()
    wire = row_record(ALERTS, 0, Owner(1, "a"), BOOK, key, b'{"id": 1}')
    with pytest.raises(InputError, match="not readable by this version"):
        kept([Record(0, ALERTS, 0, wire.key.decode(), "r", wire.value or b"", 0)])
    with pytest.raises(NewerSchemaError):
        kept([Record(0, ALERTS, 0, wire.key.decode(), "r", b"\xff" + (wire.value or b"")[1:], 0)])


def test_without_kafka_it_is_said_where_silences_are_kept() -> None:
    with pytest.raises(InputError, match=r"kafka\.bootstrap"):
        act(Settings(), ADD)
