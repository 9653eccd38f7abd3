"""`trust apply`: only what differs is written, in an order that opens no gap, and never over somebody unseen."""

from __future__ import annotations

import pytest

from streams.cli import changing
from tests.helpers.statefile import Shop, a_policy, document, revet
from verifier.errors import TrustError
from verifier.trust.changes import add_key


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def test_applying_twice_writes_once(shop):
    files = [shop.pem("ops"), shop.write("p.yaml", a_policy(key="ops"))]
    first = shop.run("trust", "apply", *files, "--note", "onboarding")
    assert first.code == 0, first.err
    assert "put key ops" in first.out
    assert "put policy strict in force" in first.out
    assert shop.epoch() == 4
    second = shop.run("trust", "apply", *files)
    assert second.code == 0
    assert "nothing to do: 2 documents" in second.out
    assert shop.epoch() == 4


def test_a_folder_holds_every_kind(shop):
    shop.write("trust/keys/ops.pub", shop.world.signer("ops").pem)
    shop.write("trust/.hidden.yaml", "not: ours")
    shop.write("trust/a.yaml", a_policy(key="ops"))
    shop.write("trust/cluster.json", document("Cluster", "eu", id="prod-eu", labels={"env": "prod"}))
    exemption = {"policy": "strict", "namespaces": ["web"], "why": "vendor", "owner": "web", "days": 10}
    shop.write("trust/exemption.yaml", document("Exemption", "vendor", **exemption))
    plan = shop.ask("trust", "apply", shop.folder / "trust", "--dry-run")
    kinds = [record["kind"] for record in plan["records"]]
    assert kinds == ["cluster-put", "key-put", "exemption-put", "policy-put"], "nothing is needed before it is there"
    assert [record["expects"] for record in plan["records"]] == [2, 3, 4, 5]
    assert shop.epoch() == 2
    result = shop.run("trust", "apply", shop.folder / "trust")
    assert result.code == 0, result.err
    assert "ignored" not in result.out
    assert "findings: opened 0" in result.out, "the exemption stands before the policy it is about"
    assert "nothing to do" in shop.run("trust", "apply", shop.folder / "trust").out


def test_the_commit_is_the_origin_of_every_record_it_made(shop):
    commit = "https://git.example.com/trust@4f0c1d2"
    result = shop.run("trust", "apply", shop.write("p.yaml", a_policy()), "--prune", "--commit", commit)
    assert result.code == 0, result.err
    entries = [e for e in shop.ask("trust", "history")["entries"] if e["epoch"] > 2]
    assert entries
    made, removed = f"git:{commit} {shop.folder / 'p.yaml'}", f"git:{commit}"
    assert {e["record"]["origin"] for e in entries} == {made, removed}


@pytest.mark.parametrize("commit", ["", "x", "two words", "a\x1b[31mred", "x" * 300, "-rf"])
def test_what_is_no_commit_changes_nothing(shop, commit):
    result = shop.run("trust", "apply", shop.write("p.yaml", a_policy()), f"--commit={commit}")
    assert result.code == 2
    assert "git rev-parse HEAD" in result.err
    assert shop.epoch() == 2


def test_a_document_on_standard_input(shop):
    result = shop.run("trust", "apply", "-", input=a_policy())
    assert result.code == 0, result.err
    assert shop.epoch() == 3


def test_pruning_removes_what_the_files_leave_out_of_their_kinds(shop):
    result = shop.run("trust", "apply", shop.write("p.yaml", a_policy()), "--prune")
    assert result.code == 0, result.err
    shown = shop.ask("trust", "show")
    assert [p["id"] for p in shown["policies"]] == ["strict"]
    assert [k["name"] for k in shown["keys"]] == ["build"], "keys were not among the kinds given"
    kinds = [e["record"]["kind"] for e in shop.ask("trust", "history")["entries"]]
    assert kinds[:2] == ["policy-removed", "policy-put"], "newest first; what replaces it came before it went"


def test_a_pruned_key_leaves_the_ring_and_clusters_stay(shop):
    shop.run("trust", "apply", "-", input=document("Cluster", "eu", id="prod-eu"))
    given = [shop.pem("ops"), shop.write("c.yaml", document("Cluster", "us", id="prod-us"))]
    result = shop.run("trust", "apply", *given, "--prune")
    assert result.code == 0, result.err
    assert "clusters stay enrolled" in result.err
    assert [k["name"] for k in shop.ask("key", "list")["keys"]] == ["ops"]
    assert {c["name"] for c in shop.ask("trust", "show", "clusters")["clusters"]} == {"eu", "us"}


def test_a_changed_exemption_replaces_the_one_of_its_name(shop):
    spec = {"policy": "signed", "namespaces": ["web"], "why": "vendor", "owner": "web", "days": 10}
    assert shop.run("trust", "apply", "-", input=document("Exemption", "vendor", **spec)).code == 0
    assert shop.run("trust", "apply", "-", input=document("Exemption", "vendor", **spec | {"ticket": "T-1"})).code == 0
    everything = shop.ask("exempt", "list", "--all")["exemptions"]
    assert sorted((e["ticket"], e["status"].split()[0]) for e in everything) == [("", "ended"), ("T-1", "in")]


def test_an_exemption_that_is_over_is_not_renewed_by_applying_its_file_again(shop):
    spec = {"policy": "signed", "namespaces": ["web"], "why": "vendor", "owner": "web", "days": 10}
    text = document("Exemption", "vendor", **spec)
    assert shop.run("trust", "apply", "-", input=text).code == 0
    (entry,) = shop.ask("exempt", "list")["exemptions"]
    assert shop.run("exempt", "end", entry["id"]).code == 0
    result = shop.run("trust", "apply", "-", input=text)
    assert "nothing to do" in result.out
    assert "exemption vendor is over" in result.err


def test_a_wrong_document_applies_nothing_and_says_where(shop):
    good = shop.write("good.yaml", a_policy())
    bad = shop.write("bad.yaml", "apiVersion: revet/v1\nkind: Policy\nmetadata: {name: x}\nspec:\n  mach: []\n")
    result = shop.run("trust", "apply", good, bad)
    assert result.code == 2
    assert "bad.yaml:5:3: spec.mach: unknown member; did you mean match?" in result.err
    assert shop.epoch() == 2


def test_a_policy_that_names_an_unknown_key_applies_nothing(shop):
    result = shop.run("trust", "apply", shop.write("p.yaml", a_policy(key="bulid")))
    assert result.code == 2
    assert "there is no key named bulid" in result.err


def test_a_key_file_that_would_take_a_name_over_is_refused(shop):
    other = shop.write("build.pub", shop.world.signer("other").pem)
    result = shop.run("trust", "apply", other)
    assert result.code == 2
    assert "build.pub:1:" in result.err
    assert "rotate it" in result.err


def test_a_bare_key_changes_neither_owner_nor_window(shop):
    pem = shop.pem("ops")
    assert shop.run("key", "add", "ops", "--pem", pem, "--owner", "platform", "--valid-until", "2031-01-01").code == 0
    assert "nothing to do" in shop.run("trust", "apply", pem).out
    (ops,) = [k for k in shop.ask("key", "list")["keys"] if k["name"] == "ops"]
    assert (ops["owner"], ops["valid_until"]) == ("platform", "2031-01-01T00:00:00Z")


def test_a_key_document_reads_the_file_beside_it(shop):
    shop.write("keys/ops.pem", shop.world.signer("ops").pem)
    shop.write("keys/ops.yaml", document("Key", "ops", file="ops.pem", owner="platform"))
    assert shop.run("trust", "apply", shop.folder / "keys" / "ops.yaml").code == 0
    missing = shop.write("k.yaml", document("Key", "sec", file="sec.pem"))
    result = shop.run("trust", "apply", missing)
    assert result.code == 2
    assert "k.yaml:1:" in result.err
    assert "sec.pem" in result.err


def test_an_empty_folder_is_an_error(shop):
    (shop.folder / "empty").mkdir()
    result = shop.run("trust", "apply", shop.folder / "empty")
    assert result.code == 2
    assert "no .yaml" in result.err


@pytest.mark.parametrize("seen", [0, 1, 7])
def test_a_change_made_for_another_epoch_is_refused(shop, seen):
    result = shop.run("trust", "apply", shop.pem("ops"), "--expects", seen)
    assert result.code == 2
    assert f"trust is at epoch 2, expected {seen}" in result.err
    assert shop.epoch() == 2


def test_two_administrators_cannot_overwrite_each_other_unseen(shop):
    """The log moves on between reading and writing: nothing is written, and the command says so."""
    found = changing.reading(shop.state)
    record = add_key(found.trust, changing.asked_by(found), "ops", shop.pem("ops").read_text())
    assert shop.run("key", "add", "sec", "--pem", shop.pem("sec")).code == 0  # another one is quicker
    with pytest.raises(TrustError, match="prepared at 2"):
        changing.carry_out(shop.state, [record], found.now, expects=found.trust.epoch)
    assert shop.epoch() == 3


def test_the_first_change_makes_the_state_file(tmp_path):
    state = tmp_path / "new" / "state.sqlite"
    pem = tmp_path / "dev.pub"
    pem.write_text(Shop(tmp_path).world.signer("dev").pem)
    result = revet("trust", "apply", pem, "--state", state)
    assert result.code == 0, result.err
    assert state.stat().st_mode & 0o077 == 0
    shown = revet("trust", "show", "keys", "--state", state, "-o", "json").json
    assert [k["name"] for k in shown["keys"]] == ["dev"]


def test_trust_can_be_dated_to_the_recording_that_is_to_come(tmp_path):
    pem = tmp_path / "dev.pub"
    pem.write_text(Shop(tmp_path).world.signer("dev").pem)
    state = tmp_path / "new.sqlite"
    assert revet("trust", "apply", pem, "--state", state, "--at", "2026-11-01T00:00:00Z").code == 0
    (entry,) = revet("trust", "history", "--state", state, "-o", "json").json["entries"]
    assert entry["time"] == "2026-11-01T00:00:00Z"


def test_the_past_of_a_state_that_has_one_cannot_be_written(shop):
    result = shop.run("trust", "apply", shop.pem("ops"), "--at", "2020-01-01")
    assert result.code == 2
    assert "has already come to 2026-11-18" in result.err


@pytest.mark.parametrize(
    "command",
    [
        ["trust", "show"],
        ["trust", "history"],
        ["key", "list"],
        ["revocation", "list"],
        ["exempt", "list"],
        ["policy", "preview", "-"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_state_that_is_not_there_is_said_so(tmp_path, command):
    result = revet(*command, "--state", tmp_path / "none.sqlite")
    assert result.code == 2
    assert "no state at" in result.err
    assert not (tmp_path / "none.sqlite").exists()


def test_a_file_that_is_no_state_is_said_so(tmp_path):
    (tmp_path / "x.sqlite").write_text("hello, I am a text file" * 100)
    result = revet("trust", "show", "--state", tmp_path / "x.sqlite")
    assert result.code == 2
    assert "is not a revet state file" in result.err
