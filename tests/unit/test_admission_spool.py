"""Decisions on their way: durable before they count, once by their id, and never waited for longer than said."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from streams.admission import spooling as spooling_module
from streams.admission.configuration import webhook_configuration
from streams.admission.spooling import Spooling
from streams.admission.sqlite import Kept, Spool, StateFile, opened_spool
from streams.codec import decode
from streams.collectors.webhook import patience
from streams.engine.sqlite import append_trust, connect
from streams.events import DecisionObserved, Owner
from streams.outputs import output
from streams.settings import AdmissionSettings
from streams.topics import OBSERVATIONS
from tests.helpers.command import revet
from tests.helpers.world import START
from verifier.errors import PlaceUnavailable
from verifier.testing import Signer
from verifier.trust.records import TRUST_RECORD, KeyPut

MIB = 1024 * 1024


def decision(name: str, size: int = 0) -> DecisionObserved:
    return DecisionObserved(
        f"id-{name}", START, "c", "pay", Owner("Pod", name), "admitted", "create", "pods", name, message="x" * size
    )


def names(kept: Sequence[Kept]) -> list[str]:
    found = [decode(one.value) for one in kept]
    return [event.name for event in found if isinstance(event, DecisionObserved)]


def test_what_was_added_is_there_after_another_start_in_its_order(tmp_path):
    file = tmp_path / "spool"
    with opened_spool(file, MIB) as spool:
        assert spool.add([output(decision(n)) for n in "abc"]) == 3
        assert spool.add([output(decision("b"))]) == 0  # known by its id
    with opened_spool(file, MIB) as spool:
        assert names(spool.oldest(10)) == ["a", "b", "c"]
        spool.remove(spool.oldest(1))
        assert (names(spool.oldest(10)), spool.waiting()) == (["b", "c"], 2)
    assert file.stat().st_mode & 0o077 == 0


def filled(spool: Spool) -> int:
    """How many went in before there was no more room."""
    for number in range(10_000):
        try:
            spool.add([output(decision(f"d{number}", 4000))])
        except PlaceUnavailable:
            with pytest.raises(PlaceUnavailable, match="full"):
                spool.add([output(decision(f"d{number}", 4000))])
            return number
    raise AssertionError("it takes everything")


def test_a_full_spool_says_so_keeps_what_it_has_and_takes_more_when_there_is_room(tmp_path):
    with opened_spool(tmp_path / "spool", MIB) as spool:
        added = filled(spool)
        assert added > 100
        assert (tmp_path / "spool").stat().st_size <= MIB + 4096
        assert spool.waiting() == added
        spool.remove(spool.oldest(50))
        spool.add([output(decision("more", 4000))])
        assert spool.waiting() == added - 49


def test_a_file_that_is_none_of_ours_is_an_error_with_its_name(tmp_path):
    file = tmp_path / "spool"
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(PlaceUnavailable, match="spool"), opened_spool(file, MIB):
        pass


# ------------------------------------------------------------------------------------------------------------ spooling


class Outlet:
    """Takes everything, or nothing."""

    def __init__(self) -> None:
        self.took: list[str] = []
        self.down = False

    async def deliver(self, kept: Sequence[Kept]) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise PlaceUnavailable("kafka-unavailable", "no broker answers")
        self.took += names(kept)


class Told:
    def __init__(self) -> None:
        self.troubles: set[str] = set()
        self.lost_ones = 0

    def trouble(self, what: str, message: str) -> None:
        assert message
        self.troubles.add(what)

    def well(self, what: str) -> None:
        self.troubles.discard(what)

    def lost(self, number: int) -> None:
        self.lost_ones += number

    def waits(self, number: int) -> None:
        assert number >= 0

    def delivered(self, kept: Sequence[Kept]) -> None:
        assert kept


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_decision_is_on_disk_before_it_counts_and_goes_on_from_there(tmp_path):
    outlet, told = Outlet(), Told()
    outlet.down = True
    with opened_spool(tmp_path / "spool", MIB) as spool:
        async with Spooling(spool, outlet, told) as spooling:
            kept = await asyncio.gather(*(spooling.keep(output(decision(f"d{n}")), 5) for n in range(50)))
            assert kept == [True] * 50
            await until(lambda: "outlet" in told.troubles)
            with closing(sqlite3.connect(tmp_path / "spool")) as other:  # as another process would find it
                assert other.execute("SELECT count(*) FROM spool").fetchone() == (50,)
            outlet.down = False
            await until(lambda: len(outlet.took) == 50)
            await until(lambda: not told.troubles)
        assert spool.waiting() == 0
    assert sorted(outlet.took) == sorted(f"d{n}" for n in range(50))


@pytest.mark.asyncio
async def test_a_spool_that_cannot_be_written_is_said_at_once_and_nothing_is_lost(tmp_path, monkeypatch):
    outlet, told = Outlet(), Told()
    with opened_spool(tmp_path / "spool", MIB) as spool:
        real = Spool.add

        def full(_self: Spool, _outputs: object) -> int:
            raise PlaceUnavailable("spool-unavailable", "the spool cannot be written: database or disk is full")

        monkeypatch.setattr(Spool, "add", full)
        async with Spooling(spool, outlet, told) as spooling:
            assert not await spooling.keep(output(decision("a")), 5)
            assert not await spooling.keep(output(decision("b")), 5)
            assert told.troubles == {"spool"}
            assert spooling.held == 2
            monkeypatch.setattr(Spool, "add", real)
            await until(lambda: len(outlet.took) == 2)
            assert await spooling.keep(output(decision("c")), 5)
            await until(lambda: outlet.took == ["a", "b", "c"])
        assert told.lost_ones == 0


@pytest.mark.asyncio
async def test_a_slow_disk_is_not_waited_for_longer_than_said(tmp_path, monkeypatch):
    outlet, told = Outlet(), Told()
    with opened_spool(tmp_path / "spool", MIB) as spool:
        real = Spool.add

        def slow(self: Spool, outputs) -> int:
            import time  # noqa: PLC0415  # of this fake

            time.sleep(0.5)
            return real(self, outputs)

        monkeypatch.setattr(Spool, "add", slow)
        async with Spooling(spool, outlet, told) as spooling:
            assert not await spooling.keep(output(decision("a")), 0.05)
            await until(lambda: outlet.took == ["a"])


@pytest.mark.asyncio
async def test_at_the_end_what_can_be_delivered_is_and_what_cannot_waits(tmp_path):
    outlet, told = Outlet(), Told()
    with opened_spool(tmp_path / "spool", MIB) as spool:
        async with Spooling(spool, outlet, told) as spooling:
            assert await spooling.keep(output(decision("a")), 5)
        assert (outlet.took, spool.waiting()) == (["a"], 0)
        outlet.down = True
        async with Spooling(spool, outlet, told) as spooling:
            assert await spooling.keep(output(decision("b")), 5)
        assert (outlet.took, spool.waiting(), told.lost_ones) == (["a"], 1, 0)


@pytest.mark.asyncio
async def test_what_is_lost_with_the_memory_is_counted(tmp_path, monkeypatch):
    told = Told()
    monkeypatch.setattr(spooling_module, "BACK_OFF", (0.05,))

    def full(_self: Spool, _outputs: object) -> int:
        raise PlaceUnavailable("spool-unavailable", "the spool cannot be written: database or disk is full")

    with opened_spool(tmp_path / "spool", MIB) as spool:
        monkeypatch.setattr(Spool, "add", full)
        async with Spooling(spool, Outlet(), told) as spooling:
            assert not await spooling.keep(output(decision("a")), 5)
    assert told.lost_ones == 1


# ---------------------------------------------------------------------------------------------------------- state file


def test_a_state_file_is_followed_and_takes_decisions_once(tmp_path):
    file = tmp_path / "state"
    state = StateFile(file)
    assert not state.look() or state.trust.epoch == 0
    signer = Signer("dev")
    record = KeyPut(author="t", at=START, name="dev", key_id=signer.key_id, pem=signer.pem)
    with closing(connect(file, create=False)) as other:
        append_trust(other, [TRUST_RECORD.dump_json(record)], START, 0)
        assert state.look()
        assert state.trust.epoch == 1
        with opened_spool(tmp_path / "spool", MIB) as spool:
            spool.add([output(decision("a"))])
            state.append(spool.oldest(5))
            state.append(spool.oldest(5))  # the process was ended before it removed them
        assert other.execute("SELECT count(*) FROM log WHERE topic = ?", (OBSERVATIONS,)).fetchone() == (1,)
    state.close()


# ------------------------------------------------------------------------------------------------------------ settings


def printed(**settings: object) -> dict:
    own = AdmissionSettings.model_validate({"service": "revet/admission", **settings})
    (webhook,) = yaml.safe_load(webhook_configuration(own, b"-----BEGIN CERTIFICATE-----"))["webhooks"]
    return dict(webhook)


def test_the_printed_configuration_says_what_the_settings_say():
    webhook = printed(service="sec/hook:9443", timeout_seconds=7, failure_policy="Fail", namespace="sec")
    assert webhook["clientConfig"]["service"] == {"namespace": "sec", "name": "hook", "port": 9443, "path": "/admit"}
    assert webhook["clientConfig"]["caBundle"]
    assert (webhook["timeoutSeconds"], webhook["failurePolicy"]) == (7, "Fail")
    assert (webhook["matchPolicy"], webhook["sideEffects"]) == ("Equivalent", "NoneOnDryRun")
    (expression,) = webhook["namespaceSelector"]["matchExpressions"]
    assert expression["values"] == ["kube-system", "sec"]
    asked = {resource for rule in webhook["rules"] for resource in rule["resources"]}
    assert {"pods", "pods/ephemeralcontainers", "deployments", "cronjobs"} <= asked


def test_what_is_named_into_scope_is_in_the_printed_configuration():
    webhook = printed(in_scope=("kube-system", "revet", "mirror-pods"))
    assert "namespaceSelector" not in webhook
    assert "is-no-mirror-pod" not in {condition["name"] for condition in webhook["matchConditions"]}
    assert "is-no-mirror-pod" in {condition["name"] for condition in printed()["matchConditions"]}


def test_every_choice_of_the_printed_configuration_has_its_reason_beside_it():
    text = webhook_configuration(AdmissionSettings(service="revet/admission"), None)
    lines = text.splitlines()
    for field in ("sideEffects", "matchPolicy", "failurePolicy", "timeoutSeconds", "rules", "matchConditions"):
        (at,) = [n for n, line in enumerate(lines) if line.strip().startswith(f"{field}:")]
        assert lines[at - 1].strip().startswith("#"), field


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget_seconds": 5, "timeout_seconds": 5},
        {"certificate_file": "/a"},
        {"service": "a/b", "url": "https://h/admit"},
        {"service": "none"},
        {"service": "a/b:0"},
        {"url": "http://h/admit"},
        {"url": "https://u:p@h/admit"},
        {"webhook": "two.parts"},
        {"address": "nowhere"},
    ],
    ids=json.dumps,
)
def test_settings_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(ValidationError):
        AdmissionSettings.model_validate(wrong)


def test_a_file_with_a_private_key_is_never_printed(tmp_path: Path):
    file = tmp_path / "ca.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nplanted\n")
    settings = tmp_path / "revet.yaml"
    settings.write_text(yaml.safe_dump({"admission": {"service": "revet/a", "ca_file": str(file)}}))
    ran = revet("serve", "admission", "--print-webhook", "--settings", settings)
    assert ran.code == 2
    assert "admission.ca_file" in ran.err
    assert "planted" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 4.5), ("800ms", 0.4), ("", None), ("5", None), ("-5s", None), ("99999s", None)]
)
def test_what_the_api_server_waits_is_read_from_its_words(text, seconds):
    assert patience(text) == seconds
