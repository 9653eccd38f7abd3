"""`revet revoke identity|ca|builder|commit|log`: the split over signatures that carry certificates, and back again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.oracle_world import IDENTITY, ISSUER
from tests.helpers.signedshop import BETWEEN, BUILDER, COMMIT, OTHER, SignedShop, outcomes, policy, record
from tests.helpers.statefile import Result, revet

NAMES = ("early", "late", "other", "tiles")
VALID = dict.fromkeys(NAMES, "valid")
LEAK = ("--reason", "identityCompromise", "--compromised-since", BETWEEN)


class Stage(NamedTuple):
    """A state in which images run: `early` and `tiles` signed before the leak, `late` and `other` after."""

    shop: SignedShop
    state: Path

    def run(self, *args: object) -> Result:
        return revet(*args, "--state", self.state)

    def dry(self, *args: object) -> Result:
        ran = self.run("revoke", *args, "--dry-run")
        assert ran.code == 0, ran.err
        assert ran.out.endswith("dry run: nothing was applied\n")
        return ran

    def epoch(self) -> int:
        return int(self.run("trust", "show", "-o", "json").json["epoch"])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    shop = SignedShop(folder, NAMES)
    files = (shop.write("given/private.json", shop.root_json()), shop.write("given/policy.json", policy()))
    assert revet("trust", "apply", *files, "--state", folder / "state.sqlite", "--at", "2026-11-18T12:00:00Z").code == 0
    record(shop, folder / "state.sqlite", NAMES)
    return shop


@pytest.fixture
def stage(prepared, tmp_path):
    for file in prepared.folder.glob("state.sqlite*"):
        shutil.copy(file, tmp_path)
    return Stage(prepared, tmp_path / "state.sqlite")


def ids(stage: Stage) -> dict[str, str]:
    """What a subject is called in this world."""
    world = stage.shop.world
    return {
        "authority": stage.run("trust", "show", "roots", "-o", "json").json["roots"][0]["holds"][0]["id"],
        "issuing key": world.issuing.key_id,
        "anchor key": world.anchor.key_id,
        "log": world.logs[1].id,
        "tiles log": world.logs[2].id,
        "ct": world.ct.id,
    }


AT = ["identity", "--issuer", ISSUER]
WHO = [*AT, "--subject"]
AFTER = {"late", "other"}
SPLITS = [
    ("an identity", [*WHO, IDENTITY], "2 before, 1 after, 0 of unknown time", {"late"}),
    ("another identity", [*WHO, OTHER], "0 before, 1 after, 0 of unknown time", {"other"}),
    ("a pattern", [*AT, "--subject-pattern", "*@corp.example"], "2 before, 2 after", AFTER),
    ("an expression", [*AT, "--subject-regexp", "(dev|ops)@.*"], "2 before, 1 after", {"late"}),
    ("a build extension", ["identity", "--extension", f"sourceRepositoryDigest={COMMIT}"], "2 before, 2 after", AFTER),
    ("nobody", [*WHO, "nobody@corp.example"], "0 before, 0 after, 0 of unknown time", set()),
    ("a builder", ["builder", BUILDER], "2 before, 2 after, 0 of unknown time", AFTER),
    ("a commit", ["commit", COMMIT], "2 before, 2 after, 0 of unknown time", AFTER),
    ("a CA by its label", ["ca", "https://ca.example"], "2 before, 2 after, 0 of unknown time", AFTER),
    ("a CA by its key", ["ca", "<issuing key>"], "2 before, 2 after, 0 of unknown time", AFTER),
    ("a CA by its anchor", ["ca", "<anchor key>"], "2 before, 2 after, 0 of unknown time", AFTER),
    ("a CA by its id", ["ca", "<authority>"], "2 before, 2 after, 0 of unknown time", AFTER),
]  # fmt: skip


@pytest.mark.parametrize(("words", "split", "falls"), [row[1:] for row in SPLITS], ids=[row[0] for row in SPLITS])
def test_the_split_is_said_first_and_is_what_comes(stage, words, split, falls):
    named = ids(stage)
    words = [named.get(word.strip("<>"), word) if word.startswith("<") else word for word in words]
    dry = stage.dry(*words, *LEAK)
    assert f"signatures: {split}" in dry.out
    assert outcomes(stage.state) == VALID
    done = stage.run("revoke", *words, *LEAK, "--yes")
    assert done.code == 0, done.err
    assert f"signatures: {split}" in done.out
    assert outcomes(stage.state) == VALID | dict.fromkeys(falls, "violates")
    assert done.out.count("incident INC-") == bool(falls), "one cause, one incident"


@pytest.mark.parametrize("words", [row[1] for row in SPLITS[:2]])
def test_withdrawn_everything_is_as_before_and_it_can_be_revoked_again(stage, words):
    for _ in range(2):
        done = stage.run("revoke", *words, *LEAK, "--yes", "-o", "json")
        assert done.code == 0, done.err
        assert outcomes(stage.state) != VALID
        back = stage.run("revocation", "withdraw", done.json["revocation"]["id"], "--note", "false alarm")
        assert back.code == 0, back.err
        assert "valid-again" in back.out
        assert outcomes(stage.state) == VALID


def test_what_was_foretold_is_what_came(stage):
    foretold = stage.run("revoke", *WHO, IDENTITY, *LEAK, "--dry-run", "-o", "json").json
    came = stage.run("revoke", *WHO, IDENTITY, *LEAK, "--yes", "-o", "json").json
    assert foretold["split"] == came["split"]
    assert {s["part"]: s["image"].split("@")[0] for s in foretold["split"]["signatures"] if s["part"] == "after"} == {
        "after": "registry.example.com/late"
    }
    assert came["outcome"]["came"]["classes"] == len(foretold["preview"]["changes"]) == 1
    assert came["outcome"]["came"]["opened"] == {"identity-revoked": 1}


def test_all_signatures_fall_when_no_time_is_known(stage):
    words = ["revoke", *WHO, IDENTITY, "--reason", "identityCompromise"]
    assert "all-signatures" in stage.run(*words, "--yes").err
    assert stage.run(*words, "--all-signatures", "--yes").code == 0
    assert outcomes(stage.state) == {name: "valid" if name == "other" else "violates" for name in NAMES}


@pytest.mark.parametrize("digits", [64, 12])
def test_a_log_is_named_by_its_id_or_the_beginning_of_it(stage, digits):
    """A compromised log vouches for nothing, and its times are those of a liar: certificates of ten minutes fall."""
    log = stage.shop.world.logs[1].id[:digits]
    dry = stage.dry("log", log, "--reason", "keyCompromise", "--all-signatures")
    assert f"to revoke: log {log[:12]}, keyCompromise, all its signatures" in dry.out
    assert "would begin to violate: 3 containers" in dry.out
    assert stage.run("revoke", "log", log, "--reason", "keyCompromise", "--all-signatures", "--yes").code == 0
    assert outcomes(stage.state) == {name: "valid" if name == "tiles" else "violates" for name in NAMES}


def test_entries_up_to_the_last_good_one_stay(stage):
    """The order of a log holds even where its clock lied: `early` came first."""
    log = stage.shop.world.logs[1].id
    index = {}
    for name in ("early", "late", "other"):
        ran = revet("evidence", "show", stage.shop.reference(name), "--evidence", stage.shop.evidence,
                    "--trust", stage.shop.folder / "given" / "private.json", "-o", "json")  # fmt: skip
        index[name] = ran.json["evidence"][0]["logs"][0]["index"]
    words = ["revoke", "log", log, "--reason", "keyCompromise", "--last-good-index", index["early"]]
    dry = stage.run(*words, "--dry-run")
    assert dry.code == 0, dry.err
    assert f"log {log[:12]} after entry {index['early']}, keyCompromise, later entries" in dry.out
    assert stage.run(*words, "--yes").code == 0
    assert index["early"] < index["late"] < index["other"]
    assert outcomes(stage.state) == VALID | {"late": "violates", "other": "violates"}


def test_a_certificate_log_that_is_revoked_takes_its_timestamps_with_it(stage):
    assert (
        stage.run(
            "revoke", "log", stage.shop.world.ct.id, "--reason", "keyCompromise", "--all-signatures", "--yes"
        ).code
        == 0
    )
    assert outcomes(stage.state) == dict.fromkeys(NAMES, "violates"), "the policy asks for an SCT"


def test_a_timestamp_authority_costs_the_times_it_gave_and_no_more(stage):
    words = ["revoke", "ca", "https://tsa.example", "--reason", "caCompromise", "--all-signatures"]
    done = stage.run(*words, "--yes")
    assert done.code == 0, done.err
    assert "to revoke: CA https://tsa.example (" in done.out
    assert outcomes(stage.state) == VALID | {"tiles": "violates"}


def test_a_ca_is_called_by_its_name(stage):
    dry = stage.dry("ca", stage.shop.world.issuing.key_id, *LEAK)
    assert dry.out.startswith("to revoke: CA https://ca.example (")


REFUSED = [
    ("nobody named", ["identity", *LEAK], "is anyone"),
    ("an issuer alone", [*AT, *LEAK], "is anyone"),
    ("an expression that is none", [*AT, "--subject-regexp", "(", *LEAK], "subjectRegExp"),
    ("an extension without a value", ["identity", "--extension", "sourceRepositoryURI", *LEAK], "is not KEY=VALUE"),
    (
        "one extension with two values",
        ["identity", "--extension", "githubWorkflowName=a", "--extension", "githubWorkflowName=b", *LEAK],
        "one name with two values",
    ),
    ("an unknown CA", ["ca", "https://nobody.example", *LEAK], "https://nobody.example"),
    ("an unknown log", ["log", "ffffffffffff", "--reason", "keyCompromise", "--all-signatures"], "ffffffffffff"),
    ("a commit that is none", ["commit", "main", *LEAK], "main"),
    ("a time ahead", ["builder", BUILDER, *LEAK[:3], "2031-01-01"], "after now"),
    ("a negative index", ["log", "ff", "--reason", "keyCompromise", "--last-good-index", "-1"], "--last-good-index"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_meant_is_refused(stage, words, said):
    ran = stage.run("revoke", *words, "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "pydantic" not in ran.err
    assert stage.epoch() == 2


def test_history_list_and_blast_radius_know_the_identity(stage):
    assert stage.run("revoke", *WHO, IDENTITY, *LEAK, "--yes", "--note", "laptop\x1b[2J stolen").code == 0
    told = stage.run("trust", "history", "--limit", "1").out
    assert f"revoked identity subject {IDENTITY}" in told
    listed = stage.run("revocation", "list").out
    assert IDENTITY in listed
    (row,) = stage.run("trust", "show", "revocations", "-o", "json").json["revocations"]
    assert row["subject"].startswith("identity subject")
    assert "\x1b" not in told + listed
