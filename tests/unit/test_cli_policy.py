"""`policy check`, `import`, `preview`, `schema` through the front door."""

from __future__ import annotations

import pytest
import yaml

from tests.helpers.statefile import Shop, a_policy, revet
from verifier.policy.documents import load_documents
from verifier.policy.schema import schema_text
from verifier.testing import Signer

PEM = Signer("kyverno").pem


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


# --------------------------------------------------------------------------------------------------------------- check


def test_sound_documents_are_said_to_be_sound(tmp_path):
    (tmp_path / "p.yaml").write_text(a_policy(key=PEM))
    result = revet("policy", "check", tmp_path)
    assert result.code == 0
    assert result.out == "1 sound document: nothing to say against\n"


def test_every_error_is_said_with_its_place(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(
        "apiVersion: revet/v1\nkind: Policy\nmetadata: {name: x}\nspec:\n"
        "  match: [{imagse: ['**']}]\n  require: {all: []}\n"
    )
    result = revet("policy", "check", file)
    assert result.code == 2
    assert f"{file}:5:12: error: spec.match[0].imagse: unknown member; did you mean images?" in result.out
    assert f"{file}:6:13: error: spec.require.all: " in result.out or f"{file}:6:3: error: spec.require" in result.out
    assert "0 sound documents: 2 errors" in result.out


def test_a_pattern_that_can_never_match_is_an_error(tmp_path):
    (tmp_path / "p.yaml").write_text(a_policy(key=PEM, images="https://r.example/shop/**"))
    result = revet("policy", "check", tmp_path / "p.yaml", "-o", "json")
    assert result.code == 2
    (problem,) = result.json["problems"]
    assert (problem["severity"], problem["field"]) == ("error", "spec.match[0].images[0]")
    assert result.json["sound"] is False


def test_a_key_nobody_has_is_a_warning_while_the_ring_is_not_at_hand(tmp_path):
    (tmp_path / "p.yaml").write_text(a_policy())
    result = revet("policy", "check", tmp_path)
    assert result.code == 0
    assert "warning: spec.attestors.who.keys[0]: there is no key named build" in result.out


def test_against_the_state_the_ring_and_what_runs_are_known(shop):
    good, idle = (
        shop.write("good.yaml", a_policy()),
        shop.write("idle.yaml", a_policy("idle", images="r.example/none/**")),
    )
    unknown = shop.write("unknown.yaml", a_policy("unknown", key="nobody"))
    result = shop.run("policy", "check", good, idle, "--against-state")
    assert result.code == 0, result.out
    assert "idle.yaml:1:" in result.out
    assert "r.example/none/** matches nothing of what was looked at" in result.out
    assert "good.yaml" not in result.out
    assert shop.run("policy", "check", unknown, "--against-state").code == 2


def test_a_document_on_standard_input_is_checked():
    result = revet("policy", "check", "-", input=a_policy(key=PEM))
    assert result.code == 0


def test_a_hostile_document_cannot_write_to_the_terminal(tmp_path):
    (tmp_path / "p.yaml").write_text(a_policy(key="x\x1b[2Jy"))
    for output in ("table", "json"):
        result = revet("policy", "check", tmp_path / "p.yaml", "-o", output)
        assert result.code == 2
        assert "\x1b" not in result.out + result.err


@pytest.mark.parametrize("name", ["none.yaml", "."])
def test_nothing_to_read_is_an_error(tmp_path, name):
    (tmp_path / "d").mkdir()
    result = revet("policy", "check", tmp_path / "d" / name)
    assert result.code == 2


# -------------------------------------------------------------------------------------------------------------- import

SOUND = {"keys": {"publicKeys": PEM, "rekor": {"ignoreTlog": True, "url": ""}}}
WEAKER = SOUND | {"threshold": 2}
"""A member nobody knows may be a demand."""


def kyverno(entry):
    match = {"any": [{"resources": {"kinds": ["Pod"]}}]}
    block = {"imageReferences": ["r.example/shop/*"], "attestors": [{"entries": [entry]}]}
    rule = {"name": "check", "match": match, "verifyImages": [block]}
    policy = {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "signed"}}
    return yaml.safe_dump({**policy, "spec": {"validationFailureAction": "Enforce", "rules": [rule]}})


def test_an_import_is_native_yaml_that_loads_again(tmp_path):
    (tmp_path / "k.yaml").write_text(kyverno(SOUND))
    result = revet("policy", "import", "--dialect", "kyverno", tmp_path / "k.yaml")
    assert result.code == 0, result.err
    documents, errors = load_documents("out.yaml", result.out)
    assert errors == ()
    assert [d.name for d in documents] == ["signed.check"]
    assert "-----BEGIN PUBLIC KEY-----" in result.out, "a key is a block that people can read"
    assert revet("policy", "check", "-", input=result.out).code == 0


def test_a_loss_that_weakens_a_check_is_an_error_until_it_is_accepted(tmp_path):
    (tmp_path / "k.yaml").write_text(kyverno(WEAKER))
    command = ("policy", "import", "--dialect", "kyverno", tmp_path / "k.yaml")
    refused = revet(*command)
    assert refused.code == 2
    assert refused.out == ""
    assert "weakens [unknown-member]" in refused.err
    assert revet(*command, "--accept", "something-else").code == 2
    for accept in (["--accept-weaker"], ["--accept", "unknown-member"]):
        accepted = revet(*command, *accept)
        assert accepted.code == 0
        assert "weakens [unknown-member]" in accepted.err
        assert "kind: Policy" in accepted.out


def test_an_import_into_a_folder_can_be_applied(shop):
    shop.write("k.yaml", kyverno(SOUND))
    result = revet("policy", "import", "--dialect", "kyverno", shop.folder / "k.yaml", "-d", shop.folder / "native")
    assert result.code == 0, result.err
    assert result.out == ""
    assert [p.name for p in (shop.folder / "native").iterdir()] == ["policy-signed.check.yaml"]
    applied = shop.run("trust", "apply", shop.folder / "native")
    assert applied.code == 0, applied.err
    assert "put policy signed.check in force, mode enforce" in applied.out


def test_a_text_that_is_no_policy_is_an_error(tmp_path):
    (tmp_path / "k.yaml").write_text("a: [")
    assert revet("policy", "import", "--dialect", "kyverno", tmp_path / "k.yaml").code == 2
    (tmp_path / "k.yaml").write_text(kyverno(SOUND))
    assert revet("policy", "import", "--dialect", "opa", tmp_path / "k.yaml").code == 2
    assert revet("policy", "import", "--dialect", "kyverno", "--key", "x", tmp_path / "k.yaml").code == 2


# ------------------------------------------------------------------------------------------------------------- preview


def test_what_would_break_is_exit_code_one(shop):
    other = shop.write("other.pub", shop.world.signer("other").pem)
    result = shop.run("policy", "preview", other, shop.write("p.yaml", a_policy(key="other")))
    assert result.code == 1
    assert "3 → 0" in result.out
    assert "1 → 4" in result.out
    assert "something that is valid now would violate" in result.out
    assert "valid now, would violate" in result.out
    assert "findings that would open: 4 " in result.out
    assert shop.ask("trust", "show")["epoch"] == 2, "nothing was applied"


def test_what_breaks_nothing_is_exit_code_zero(shop):
    result = shop.run("policy", "preview", shop.write("p.yaml", a_policy()), "-o", "json")
    assert result.code == 0
    assert result.json["breaks"] is False
    everything, strict = result.json["policies"]
    assert everything["before"] == everything["after"]
    assert (strict["policy"], strict["before"]["ungoverned"], strict["after"]["valid"]) == ("strict", 4, 3)


def test_a_policy_that_says_what_is_already_so_changes_nothing(shop):
    shop.run("trust", "apply", shop.write("p.yaml", a_policy()))
    result = shop.run("policy", "preview", shop.folder / "p.yaml")
    assert result.code == 0
    assert "no difference for what runs: strict" in result.out


def test_a_trial_policy_is_previewed_as_if_it_were_meant(shop):
    result = shop.run("policy", "preview", shop.pem("other"), "-", input=a_policy(key="other", mode="trial"))
    assert result.code == 1
    assert "findings that would open: none" in result.out, "but a policy on trial opens none"


def test_preview_is_what_apply_comes_to(shop):
    files = [shop.pem("other"), shop.write("p.yaml", a_policy(key="other"))]
    foretold = shop.run("policy", "preview", *files, "-o", "json").json
    came = shop.ask("trust", "apply", *files)["came"]
    assert came["classes"] == len({c["class_id"] for c in foretold["changes"]}) == 4
    codes = [finding["code"] for finding in foretold["opened"]]
    assert came["opened"] == {code: codes.count(code) for code in codes}


def test_a_wrong_document_is_not_previewed(shop):
    result = shop.run("policy", "preview", shop.write("p.yaml", "kind: Policy"))
    assert result.code == 2
    assert "p.yaml:1:1" in result.err


# -------------------------------------------------------------------------------------------------------------- schema


def test_the_schema_is_the_one_of_the_models():
    assert revet("policy", "schema").out == schema_text()
