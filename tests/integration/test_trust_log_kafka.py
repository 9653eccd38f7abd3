"""Changing trust on a real broker, by the commands people type: signatures, races, forgery, two administrators."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.cli import trustplace
from streams.events import TrustChanged
from streams.kafka.producer import KafkaDoor
from streams.kafka.trust import KafkaTrustTopic, TrustDoor
from streams.outputs import output
from streams.settings import Settings, load_settings
from streams.trustlog import TrustGate, gate_of
from streams.trustwriting import propose, signed_by
from tests.helpers.command import Ran, revet
from tests.helpers.pipeline import Cluster
from tests.helpers.servers import KafkaServer
from tests.helpers.trustadmins import MALLORY, key_put, next_of, pem
from verifier.errors import TrustError

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.timeout(180)]

NO_JUDGE = 4
"""Exit code where nobody judges: the change counts, and nobody has judged under it."""


class Shop(NamedTuple):
    """An installation with an empty trust log, and two administrators."""

    folder: Path
    settings: Callable[[], Settings]
    said: list[str]
    """Everything commands printed."""

    def run(self, *args: object) -> Ran:
        ran = revet(*args)
        self.said.extend((ran.out, ran.err))
        return ran

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.trust-key.pem"

    def pem(self, number: int) -> Path:
        file = self.folder / f"{number}.pub"
        file.write_text(pem(number))
        return file


@pytest.fixture
def shop(kafka_server: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    cluster = Cluster(kafka_server.bootstrap, "", tmp_path / "cluster", shards=2)
    cluster.prepare()
    environ = {k: v for k, v in cluster.environ.items() if k.startswith(("REVET_KAFKA_", "REVET_ADMINISTRATORS"))}
    for name in ("REVET_STATE", "REVET_PROFILE", "REVET_TRUST_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(trustplace, "GIVE_UP", 0.2)
    made = Shop(tmp_path, lambda: load_settings(None, dict(environ), {}), [])
    lines = []
    for name in ("alice", "bob"):
        ran = made.run("trust", "keygen", name)
        assert ran.code == 0, ran.err
        lines.append(ran.out.strip())
    environ["REVET_ADMINISTRATORS_KEYS"] = ",".join(lines)
    monkeypatch.setenv("REVET_ADMINISTRATORS_KEYS", ",".join(lines))
    return made


def read(shop: Shop) -> TrustGate:
    return TrustDoor(shop.settings()).trust().read().gate


def test_a_change_is_signed_counts_and_is_shown_with_who_signed_it(shop):
    (shop.folder / "signed.yaml").write_text(POLICY)
    ran = shop.run("trust", "apply", "signed.yaml", shop.pem(1), "--sign-with", shop.key("alice"), "--note", "first")
    assert ran.code == NO_JUDGE, ran.err
    assert "(signed by alice)" in ran.out
    assert "not every shard has judged under it yet" in ran.err
    shown = shop.run("trust", "show", "-o", "json").json
    assert ([key["name"] for key in shown["keys"]], [p["id"] for p in shown["policies"]]) == (["1"], ["signed"])
    history = shop.run("trust", "history", "-o", "json").json["entries"]
    assert [(e["epoch"], e["signed"], e["record"]["author"]) for e in history] == [
        (2, ["alice"], "alice"),
        (1, ["alice"], "alice"),
    ]
    assert "signed by" in shop.run("trust", "history").out
    assert shop.run("trust", "diff", "--from", "0").out.count("added") == 2


def test_every_changing_command_signs(shop):
    """Each of them once, each a further epoch."""
    alice = ("--sign-with", shop.key("alice"))
    (shop.folder / "signed.yaml").write_text(POLICY)
    commands = [
        ("key", "add", "dev", "--pem", shop.pem(1)),
        ("key", "rotate", "dev", "--new", shop.pem(2)),
        ("key", "add", "1", "--pem", shop.pem(3)),
        ("trust", "apply", "signed.yaml"),
        ("revoke", "key", "dev", "--reason", "keyCompromise", "--all-signatures", "--yes"),
        ("exempt", "add", "--policy", "signed", "--why", "w", "--owner", "o", "--approver", "a"),
        ("key", "remove", "dev", "--yes"),
    ]
    for number, command in enumerate(commands, start=1):
        ran = shop.run(*command, *alice)
        assert (ran.code, read(shop).reached) == (NO_JUDGE, number), (command, ran.err)
    revocation = shop.run("revocation", "list", "-o", "json").json["revocations"][0]["id"]
    exemption = shop.run("exempt", "list", "-o", "json").json["exemptions"][0]["id"]
    assert shop.run("revocation", "withdraw", revocation, *alice).code == NO_JUDGE
    assert shop.run("exempt", "end", exemption, *alice).code == NO_JUDGE
    assert read(shop).counts == {"accepted": 9, "ignored": 0, "refused": 0}


def test_without_a_key_nothing_is_changed(shop):
    ran = shop.run("key", "add", "dev", "--pem", shop.pem(1))
    assert ran.code == 2
    assert "give --sign-with FILE, or REVET_TRUST_KEY=FILE" in ran.err
    assert read(shop).position == 0


def test_a_strangers_key_is_refused_before_anything_is_written(shop):
    shop.run("trust", "keygen", "mallory")
    ran = shop.run("key", "add", "dev", "--pem", shop.pem(1), "--sign-with", shop.key("mallory"))
    assert ran.code == 2
    assert "is no trust administrator's; administrators in these settings: alice, bob" in ran.err
    assert read(shop).position == 0


def test_two_writers_at_once_have_one_winner_and_the_loser_is_told(shop, monkeypatch):
    """Both have looked, both append, the broker puts one first: many times over."""
    barrier = threading.Barrier(2)
    append = KafkaTrustTopic.append

    def together(topic: KafkaTrustTopic, events: list[TrustChanged]) -> None:
        barrier.wait(60)
        append(topic, events)

    monkeypatch.setattr(KafkaTrustTopic, "append", together)
    settings = shop.settings()
    keys = [trustplace.read_key(shop.key(name)) for name in ("alice", "bob")]
    for round_ in range(5):
        before = read(shop).reached
        results: dict[int, object] = {}

        def write(who: int, first: int = 100 * round_, results: dict[int, object] = results) -> None:
            door = TrustDoor(settings).trust()
            gate = door.read().gate
            proposal = propose(gate, [key_put(first + 10 * who + n + 1) for n in range(2)], 10**15)
            try:
                results[who] = door.submit(signed_by(gate, proposal, keys[who]))
            except TrustError as error:
                results[who] = error

        writers = [threading.Thread(target=write, args=(who,)) for who in range(2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(90)
        lost = [result for result in results.values() if isinstance(result, TrustError)]
        assert len(results) == 2, results
        assert len(lost) == 1, results
        assert "another change came first" in str(lost[0])
        after = read(shop)
        assert after.reached == before + 2, "all of one change and nothing of the other"


def test_a_forged_record_changes_nothing_for_anybody(shop):
    alice = ("--sign-with", shop.key("alice"))
    shop.run("key", "add", "dev", "--pem", shop.pem(1), *alice)
    gate = read(shop)
    door = KafkaDoor(shop.settings().kafka)
    (forged,) = next_of(gate, key_put(5), by=[MALLORY])
    door.send([output(forged)])
    door.close()
    assert read(shop).counts == {"accepted": 1, "ignored": 0, "refused": 1}
    assert shop.run("key", "add", "ops", "--pem", shop.pem(2), *alice).code == NO_JUDGE
    assert set(read(shop).trust.names) == {"dev", "ops"}
    history = shop.run("trust", "history")
    assert "0 lost races or repetitions, 1 refused" in history.err
    assert gate_of(shop.settings().administrators).fingerprint == gate.fingerprint


def test_two_administrators_sign_what_loosens_by_file(shop, monkeypatch):
    monkeypatch.setenv("REVET_ADMINISTRATORS_LOOSENING", "2")
    alice, bob = ("--sign-with", shop.key("alice")), ("--sign-with", shop.key("bob"))
    add = ("key", "add", "dev", "--pem", shop.pem(1))
    alone = shop.run(*add, *alice)
    assert alone.code == 2
    assert "needs 2 administrators to sign, has alice" in alone.err
    proposed = shop.run(*add, *alice, "--propose", "change.json")
    assert proposed.code == 0, proposed.err
    assert "1 more administrator must sign it: revet trust sign change.json" in proposed.out
    early = shop.run("trust", "submit", "change.json")
    assert early.code == 2
    assert "has alice" in early.err
    twice = shop.run("trust", "sign", "change.json", "--yes", *alice)
    assert "1 more administrator must sign it" in twice.out
    signed = shop.run("trust", "sign", "change.json", "--yes", *bob)
    assert signed.code == 0, signed.err
    assert "loosens trust: another key may sign: dev" in signed.err
    assert read_position(shop) == 0, "nothing is applied by signing"
    assert shop.run("trust", "submit", "change.json").code == NO_JUDGE
    history = shop.run("trust", "history", "-o", "json").json["entries"]
    assert [e["signed"] for e in history] == [["alice", "bob"]]
    again = shop.run("trust", "submit", "change.json")
    assert again.code == 2
    assert "look again" in again.err
    revoke = shop.run("revoke", "key", "dev", "--reason", "keyCompromise", "--all-signatures", "--yes", *bob)
    assert revoke.code == NO_JUDGE, "a revocation waits for nobody"


def read_position(shop: Shop) -> int:
    return TrustDoor(shop.settings()).trust().read().gate.position


def test_a_proposal_file_is_never_overwritten_and_signing_shows_what_is_signed(shop):
    alice = ("--sign-with", shop.key("alice"))
    add = ("key", "add", "dev", "--pem", shop.pem(1), *alice, "--propose", "change.json")
    assert shop.run(*add).code == 0
    assert "is there already" in shop.run(*add).err
    document = json.loads((shop.folder / "change.json").read_text())
    document["entries"][0]["record"] = document["entries"][0]["record"].replace('"dev"', '"evil"')
    (shop.folder / "change.json").write_text(json.dumps(document))
    shown = shop.run("trust", "sign", "change.json", "--sign-with", shop.key("bob"))
    assert shown.code == 2, "nobody can be asked here"
    assert "put key evil" in shown.err
    assert "signed by nobody" in shown.err


def test_private_keys_stay_where_they_are(shop):
    """Rights from the first moment, no second copy, never printed: not by errors either."""
    key = shop.key("alice")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert shop.run("trust", "keygen", "alice").code == 2, "a key is not overwritten"
    secret = [line for line in key.read_text().splitlines() if not line.startswith("-")]
    (shop.folder / "broken.pem").write_text(key.read_text().replace(secret[0], secret[0][::-1]))
    (shop.folder / "wide.pem").write_text(key.read_text())
    (shop.folder / "wide.pem").chmod(0o644)
    shop.run("key", "add", "dev", "--pem", shop.pem(1), "--sign-with", "broken.pem")
    shop.run("key", "add", "dev", "--pem", shop.pem(1), "--sign-with", key, "--propose", "p.json")
    warned = shop.run("key", "add", "dev", "--pem", shop.pem(1), "--sign-with", "wide.pem")
    assert "others can read wide.pem: chmod 600 wide.pem" in warned.err
    shop.run("key", "add", "bad", "--pem", key, "--sign-with", key)
    everything = "\n".join([*shop.said, (shop.folder / "p.json").read_text(), repr(shop.settings())])
    for line in secret:
        assert line not in everything
        assert line[::-1] not in everything


def test_a_topic_that_is_missing_is_told_with_the_command_that_mends_it(shop, monkeypatch):
    monkeypatch.setenv("REVET_KAFKA_PREFIX", "nowhere.")
    ran = shop.run("trust", "show")
    assert ran.code == 4
    assert "there is no topic nowhere.revet.trust" in ran.err
    assert "revet topics apply" in ran.err


def test_a_state_file_named_by_hand_is_still_one_machine(shop):
    state = shop.folder / "one.sqlite"
    assert shop.run("key", "add", "dev", "--pem", shop.pem(1), "--state", state).code == 0
    assert read(shop).position == 0
    refused = shop.run("key", "add", "x", "--pem", shop.pem(2), "--state", state, "--propose", "p.json")
    assert refused.code == 2
    assert "--propose is for a cluster" in refused.err


POLICY = """\
apiVersion: revet/v1
kind: Policy
metadata: {name: signed}
spec:
  match: [{images: ["**"]}]
  attestors: {dev: {keys: ["1"]}}
  require: {signedBy: dev}
"""
