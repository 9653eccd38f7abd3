"""What `revet verify` reads trust from: documents, folders, bare keys; and every way in which they can be wrong."""

from pathlib import Path

import pytest

from streams.cli.sources import COMMAND_LINE, TrustFiles, keyset_of, read_trust
from tests.helpers.command import DEMO, LAYOUT, key, revet
from verifier.errors import InputError
from verifier.trust.changes import By
from verifier.trust.state import TrustState

API = "registry.example.com/payments/api:1.4.2"
NOW = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z."""

POLICY = """\
apiVersion: revet/v1
kind: Policy
metadata: {name: signed}
spec:
  match: [{images: ["**"]}]
  attestors: {dev: {keys: [dev]}}
  require: {signedBy: dev}
"""
EXEMPTION = """\
apiVersion: revet/v1
kind: Exemption
metadata: {name: legacy}
spec: {policy: signed, namespaces: [legacy], why: it goes away, owner: payments}
"""


def read(tmp_path: Path, keys: tuple[str, ...] = (), **texts: str) -> TrustState:
    """Trust of a folder with these files (`a_yaml="…"` is a.yaml)."""
    for name, text in texts.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    return read_trust(TrustFiles((str(tmp_path),), keys), By("test", NOW))


def test_a_folder_of_documents_and_bare_keys(tmp_path):
    trust = read(
        tmp_path, dev_pub=key("dev").read_text(), sec_pub=key("sec").read_text(), a_yaml=POLICY + "---\n" + EXEMPTION
    )
    assert (set(trust.names), set(trust.policies), len(trust.exemptions)) == ({"dev", "sec"}, {"signed"}, 1)
    assert keyset_of(trust).id == trust.keyset_id


def test_a_policy_may_stand_before_its_keys_and_in_another_file(tmp_path):
    late = "apiVersion: revet/v1\nkind: Key\nmetadata: {name: dev}\nspec: {file: dev.pem, owner: team}\n"
    (tmp_path / "dev.pem").write_text(key("dev").read_text())
    trust = read(tmp_path, a_yaml=POLICY, z_yaml=late)
    assert trust.keys[trust.names["dev"]].owner == "team"


def test_the_same_file_named_twice_is_read_once(tmp_path):
    (tmp_path / "p.yaml").write_text(POLICY)
    files = (str(tmp_path), str(tmp_path / "p.yaml"), str(key("dev")))
    assert set(read_trust(TrustFiles(files), By("test", NOW)).policies) == {"signed"}


def test_an_exemption_of_another_policy_is_told_and_left_out(tmp_path, capsys):
    trust = read(tmp_path, a_yaml=EXEMPTION)
    assert not trust.exemptions
    assert "exemption legacy is for policy signed, not given: left out" in capsys.readouterr().err


def test_keys_of_the_command_line_make_one_policy(tmp_path):
    trust = read(tmp_path, (str(key("dev")), str(key("sec"))))
    policy = trust.policies[COMMAND_LINE].policy
    assert [leaf.signed_by for leaf in policy.require.leaves()] == ["dev", "sec"]
    assert policy.mode == "enforce"


def test_a_key_that_is_in_the_ring_keeps_its_name(tmp_path):
    trust = read(tmp_path, (str(key("dev")),), release_pub=key("dev").read_text())
    assert set(trust.names) == {"release"}
    assert set(trust.policies[COMMAND_LINE].policy.attestors) == {"release"}


# ------------------------------------------------------------------------------------------------------- what is wrong

_KEY = "apiVersion: revet/v1\nkind: Key\nmetadata: {name: dev}\nspec: "


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        (POLICY.replace("images:", "imagse:"), "a.yaml:5", "unknown member; did you mean images?"),
        (POLICY.replace("signedBy: dev", "signedBy: ops"), "a.yaml:7", "this policy does not have"),
        (POLICY.replace("{signedBy: dev}", "{}"), "a.yaml:7", "an empty requirement would accept every image"),
        (POLICY.replace("keys: [dev]", "keys: [ops]"), "a.yaml:6", "there is no key named ops"),
        (POLICY.replace('"**"', '"Registry.example.com/**"'), "a.yaml:5", "can never match"),
        (POLICY + "---\n" + POLICY, "a.yaml:11", "stands in"),
        (POLICY.replace("revet/v1", "kyverno.io/v1"), "a.yaml:1", "revet policy import --dialect kyverno"),
        (POLICY.replace("kind: Policy", "kind: Pod"), "a.yaml:2", "kind is one of"),
        ("a: [\n", "a.yaml:2", ""),
        (_KEY + "{file: ../secret}", "a.yaml:4", "within the folder"),
        (_KEY + "{file: none.pem}", "none.pem", "No such file"),
        (_KEY + "{pem: nonsense}", "a.yaml:4", "PUBLIC KEY"),
        (EXEMPTION.replace("why: it goes away, ", ""), "a.yaml:4", "spec.why: a required member is missing"),
        (
            EXEMPTION.replace("policy: signed, namespaces: [legacy]", 'namespaces: ["*"]'),
            "a.yaml:4",
            "exempts everything",
        ),
    ],
)
def test_a_broken_document_is_refused_with_file_and_line(tmp_path, text, where, message):
    (tmp_path / "a.yaml").write_text(text)
    ran = revet("verify", API, "--policy", tmp_path / "a.yaml", "--trust", key("dev"), "--evidence", LAYOUT)
    assert (ran.code, ran.out) == (2, "")
    assert where in ran.err
    assert message in ran.err


def test_every_error_is_told_at_once(tmp_path):
    (tmp_path / "a.yaml").write_text(POLICY.replace("images:", "imagse:").replace("require:", "requires:"))
    (tmp_path / "b.yaml").write_text(POLICY.replace("kind: Policy", "kind: Polcy"))
    ran = revet("verify", API, "--policy", tmp_path, "--trust", key("dev"), "--evidence", LAYOUT)
    assert ran.code == 2
    assert ran.err.count("revet: ") >= 4
    assert all(name in ran.err for name in ("imagse", "requires", "b.yaml:2"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"Dev.pub": "dev"}, "a name is 1 to"),
        ({"a.pub": "dev", "b.pub": "dev"}, "already in the ring as a"),
    ],
)
def test_bare_keys_that_cannot_be_named(tmp_path, files, message):
    for name, source in files.items():
        (tmp_path / name).write_text(key(source).read_text())
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_certificate_is_no_key(tmp_path):
    with pytest.raises(InputError, match="got a certificate"):
        read(tmp_path, dev_pub="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def test_a_policy_of_that_name_and_keys_of_the_command_line_do_not_replace_each_other(tmp_path):
    with pytest.raises(InputError, match=COMMAND_LINE):
        read(
            tmp_path, (str(key("dev")),), a_yaml=POLICY.replace("signed", COMMAND_LINE), dev_pub=key("dev").read_text()
        )


def test_hostile_text_in_documents_never_reaches_the_terminal_raw(tmp_path):
    (tmp_path / "a.yaml").write_text(POLICY.replace("signedBy: dev", '"\\e[31m\\u202e": 1'))
    (tmp_path / "b\x1b[31m.yaml").write_text("a: [")
    ran = revet("verify", API, "--policy", tmp_path, "--evidence", LAYOUT)
    assert ran.code == 2
    assert "\x1b" not in ran.err
    assert "\u202e" not in ran.err


def test_the_keys_of_the_recording_are_a_trust_folder():
    trust = read_trust(TrustFiles((str(DEMO / "keys"),)), By("test", NOW))
    assert set(trust.names) == {path.stem for path in (DEMO / "keys").glob("*.pub")}
