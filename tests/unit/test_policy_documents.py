"""Reading policies, keys, exemptions, clusters: every error with its place, nothing half-read, no text that hurts."""

import json
from time import process_time
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import PolicyError
from verifier.policy import documents as documents_module
from verifier.policy.attestors import Attestor
from verifier.policy.documents import load_documents, plain, policy_document
from verifier.policy.model import MAX_REQUIREMENT_DEPTH, MatchRule, Policy, Requirement, with_version
from verifier.policy.yamltree import MAX_ALIASES, MAX_DEPTH, MAX_DOCUMENTS, MAX_TEXT_BYTES
from verifier.times import DAY, parse_instant
from verifier.trust.exemptions import DEFAULT_DURATION, MAX_DURATION
from verifier.trust.records import TRUST_RECORD, PolicyPut

PRIVATE = ec.derive_private_key(7, ec.SECP256R1())
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
PRIVATE_PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
H = "sha256:" + "a" * 64

POLICY = """\
apiVersion: revet/v1
kind: Policy
metadata:
  name: payments-signed
  description: Dev and Ops sign off
spec:
  match:
    - images: ["registry.example.com/payments/**"]
      namespaces: [payments]
  attestors:
    dev: {keys: [dev]}
    ops: {keys: [ops], validFrom: 2026-01-01T00:00:00Z}
  require:
    all:
      - signedBy: dev
      - signedBy: ops
        annotations: {env: prod}
"""


def errors_of(text):
    documents, errors = load_documents("p.yaml", text)
    return documents, [str(e) for e in errors]


def only(text) -> Any:
    documents, errors = load_documents("p.yaml", text)
    assert errors == ()
    return documents[0]


def test_a_policy_is_read_with_version_and_places():
    document = only(POLICY)
    policy = document.body.to_policy()
    assert policy.id == "payments-signed"
    assert policy.attestors["ops"].valid_from == 1_767_225_600_000_000
    assert policy.version.startswith("v1:")
    assert document.place("spec", "attestors", "ops", "validFrom") == (12, 24)
    assert document.place("spec", "require", "all", 1, "annotations", "env") == (17, 23)


def test_json_is_read_as_yaml_is():
    data = yaml.load(POLICY, Loader=yaml.BaseLoader)
    assert only(json.dumps(data, indent="\t")).body == only(POLICY).body


WRONG = [
    ("unknown member", "images:", "imagse:", "8:7: spec.match[0].imagse: unknown member; did you mean images?"),
    ("unknown mode", "spec:\n", "spec:\n  mode: watch\n", "7:3: spec.mode: expected 'trial', 'audit' or 'enforce'"),
    (
        "a list where one text is meant",
        "namespaces: [payments]",
        "namespaces: payments",
        "9:7: spec.match[0].namespaces: expected a list, found text",
    ),
    (
        "a number where text is meant",
        "{env: prod}",
        "{env: 3}",
        "17:23: spec.require.all[1].annotations.env: expected text, found a number; put it in quotes",
    ),
    (
        "the word no",
        "namespaces: [payments]",
        "namespaces: [no]",
        "9:20: spec.match[0].namespaces[0]: expected text, found true or false; put it in quotes",
    ),
    ("a name used twice", "metadata:\n", "kind: Key\nmetadata:\n", "3:1: kind: the member 'kind' stands here twice"),
    ("a member without a value", "[payments]", "", "9:18: spec.match[0].namespaces: has no value"),
    (
        "a day for an instant",
        "2026-01-01T00:00:00Z",
        "2026-01-01",
        "12:24: spec.attestors.ops.validFrom: 2026-01-01 names a day",
    ),
    (
        "a time without zone",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00",
        "12:24: spec.attestors.ops.validFrom: expected a time with zone",
    ),
    (
        "a bare number for an instant",
        "2026-01-01T00:00:00Z",
        "1767225600",
        "12:24: spec.attestors.ops.validFrom: expected a time with zone",
    ),
    (
        "a time that is none",
        "2026-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "12:24: spec.attestors.ops.validFrom: '2026-02-30T00:00:00Z' is not a time",
    ),
    (
        "an attestor that is not there",
        "signedBy: dev",
        "signedBy: deb",
        "15:9: spec.require.all[0].signedBy: signedBy names the attestor 'deb'",
    ),
    (
        "an attestor without keys",
        "{keys: [dev]}",
        "{keys: []}",
        "11:11: spec.attestors.dev.keys: an attestor without keys",
    ),
    (
        "a window that ends first",
        "validFrom: 2026-01-01T00:00:00Z",
        "validFrom: 2026-01-01T00:00:00Z, validUntil: 2025-01-01T00:00:00Z",
        "12:5: spec.attestors.ops: the window ends before",
    ),
    (
        "a rule that names nothing",
        '- images: ["registry.example.com/payments/**"]\n      namespaces: [payments]',
        "- {}",
        'write images: ["**"]',
    ),
    (
        "a requirement that asks for nothing",
        "- signedBy: dev",
        "- {}",
        "15:9: spec.require.all[0]: an empty requirement would accept every image",
    ),
    ("an empty all", "- signedBy: dev", "- all: []", "an empty all would accept every image"),
    ("an empty any", "- signedBy: dev", "- any: []", "an empty any can never be met"),
    ("more of fewer", "- signedBy: dev", "- atLeast: {count: 2, of: [{signedBy: dev}]}", "2 of 1 can never be met"),
    ("none of many", "- signedBy: dev", "- atLeast: {count: 0, of: [{signedBy: dev}]}", "greater than or equal to 1"),
    (
        "two members at once",
        "- signedBy: dev",
        f"- {{signedBy: dev, digestIn: ['{H}']}}",
        "signedBy and digestIn stand side by side",
    ),
    (
        "annotations of nothing",
        "- signedBy: dev",
        f"- {{digestIn: ['{H}'], annotations: {{a: b}}}}",
        "they stand beside signedBy",
    ),
    (
        "a digest that is none",
        "- signedBy: dev",
        "- digestIn: [sha256:12]",
        "spec.require.all[0].digestIn[0]: expected a digest",
    ),
    ("a pattern for a registry list", "- signedBy: dev", "- registryIn: ['*.example.com']", "no pattern"),
    ("capitals in the name", "payments-signed", "Payments", "4:3: metadata.name: a name is 1 to 253"),
    ("another version", "revet/v1", "revet/v2", "1:1: apiVersion: expected apiVersion: revet/v1"),
    ("somebody else's", "revet/v1", "kyverno.io/v1", "revet policy import --dialect kyverno"),
    (
        "another kind",
        "kind: Policy",
        "kind: Polcy",
        "2:1: kind: kind is one of Policy, Key, TrustRoot, Exemption, Cluster",
    ),
    ("Python's names of members", "validFrom", "valid_from", "12:24: spec.attestors.ops.valid_from: unknown member"),
]


@pytest.mark.parametrize(("_sentence", "old", "new", "expected"), WRONG, ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_named_with_its_place(_sentence, old, new, expected):
    assert old in POLICY
    documents, errors = errors_of(POLICY.replace(old, new, 1))
    assert documents == ()
    assert any(expected in error for error in errors), errors


def test_all_errors_of_all_documents_are_reported_and_the_sound_ones_returned():
    wrong = POLICY.replace("keys: [dev]", "keys: []").replace("images:", "imagse:")
    documents, errors = errors_of(f"{wrong}---\n{POLICY}---\n- no\n")
    assert [d.name for d in documents] == ["payments-signed"]
    assert len(errors) == 3
    assert [e.split(":")[1] for e in errors] == ["8", "11", "37"]


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{below}'] * 10)}]\n" for below, name in zip("abcd", "bcde", strict=True)
)
SURPRISES = [
    ("an alias of itself", "a: &a [*a]", "levels"),
    ("aliases of aliases", BOMB, "alias"),
    ("many aliases", "a: &a 1\nb: [" + "*a," * (MAX_ALIASES + 1) + "1]", f"more than {MAX_ALIASES} aliases"),
    ("deep nesting", "[" * 100_000, f"more than {MAX_DEPTH} levels"),
    ("many documents", "---\na: 1\n" * (MAX_DOCUMENTS + 1), f"more than {MAX_DOCUMENTS} documents"),
    ("a large text", "# " + "a" * MAX_TEXT_BYTES, f"the limit is {MAX_TEXT_BYTES}"),
    ("an object of Python", "a: !!python/object/apply:os.system [id]", "is not used here"),
    ("binary", "a: !!binary aGk=", "is not used here"),
    ("a merge key", "a: &a {x: 1}\nb: {<<: *a}", "merge keys"),
    ("a number as member name", "1: a", "a member name is text"),
    ("a list as member name", "[a]: b", "a member name is text"),
    ("a NUL", "a: \0", "U+0000"),
    ("half a surrogate pair", "a: \ud800", "U+D800"),
    ("an escape", "a: \x1b[31m", "U+001B"),
    ("an alias of nothing", "a: *b", "undefined alias"),
    ("a bracket left open", "a: [", "not readable"),
]


@pytest.mark.parametrize(("_sentence", "text", "expected"), SURPRISES, ids=[row[0] for row in SURPRISES])
def test_yaml_holds_no_surprises(_sentence, text, expected):
    start = process_time()
    documents, errors = errors_of(text)
    assert documents == ()
    assert any(expected in error for error in errors), errors
    assert all("\x1b" not in error and "\0" not in error for error in errors)
    assert process_time() - start < 5


def test_empty_documents_are_nothing():
    assert load_documents("p.yaml", "---\n---\n# only a comment\n") == ((), ())


@settings(max_examples=200)
@given(st.text() | st.from_regex(r"[\[\]{}:,&*!|>'\"%@`\n a-z0-9-]{0,60}", fullmatch=True))
def test_no_text_makes_the_loader_raise(text):
    documents, errors = load_documents("p.yaml", text)
    assert all(isinstance(error, PolicyError) for error in errors)
    assert documents == ()


@settings(max_examples=100)
@given(st.integers(0, len(POLICY) - 1), st.sampled_from(["", "x", "\n", ":", " ", "'", "&a", "null", "- "]))
def test_no_slip_of_the_pen_makes_the_loader_raise(at, slip):
    load_documents("p.yaml", POLICY[:at] + slip + POLICY[at + 1 :])


def test_a_requirement_deeper_than_anybody_reads_is_refused():
    tree = "{signedBy: dev}"
    for _ in range(MAX_REQUIREMENT_DEPTH):
        tree = f"{{all: [{tree}]}}"
    _, errors = errors_of(POLICY.partition("  require:")[0] + f"  require: {tree}\n")
    assert "deeper than" in errors[0]


# ------------------------------------------------------------------------------------------------------- other kinds


def key_document(spec):
    return json.dumps({"apiVersion": "revet/v1", "kind": "Key", "metadata": {"name": "dev"}, "spec": spec})


def test_a_key_is_read_from_pem_or_named_by_file():
    assert only(key_document({"pem": PEM.replace("\n", "\r\n"), "owner": "team-a"})).body.spec.pem == PEM
    by_file = only(key_document({"file": "keys/dev.pub"})).body
    assert by_file.with_pem(PEM).spec.pem == PEM
    with pytest.raises(PolicyError, match=r"keys/dev\.pub: spec\.file"):
        by_file.with_pem("nothing")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"pem": PRIVATE_PEM}, "treat this one as leaked"),
        ({"pem": "ssh-ed25519 AAAA"}, "exactly one block"),
        ({"pem": PEM + PEM}, "exactly one block"),
        ({"pem": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"}, "readable public key"),
        ({"pem": PEM, "file": "a.pub"}, "either pem"),
        ({"owner": "a"}, "either pem"),
        ({"file": "/etc/passwd"}, "within the folder"),
        ({"file": "a/../../b"}, "within the folder"),
    ],
)
def test_what_is_no_public_key_is_refused_and_never_repeated(spec, expected):
    _, errors = errors_of(key_document(spec))
    assert expected in errors[0]
    assert not any(line in errors[0] for line in PRIVATE_PEM.splitlines()[1:-1])


def exemption(**spec):
    spec = {"why": "migration", "owner": "team-a", "policy": "payments-signed"} | spec
    return json.dumps({"apiVersion": "revet/v1", "kind": "Exemption", "metadata": {"name": "e"}, "spec": spec})


def test_an_exemption_lasts_thirty_days_unless_it_says_otherwise():
    now = parse_instant("2026-06-01T00:00:00Z")
    assert only(exemption()).body.spec.window(now) == (now, now + DEFAULT_DURATION)
    assert only(exemption(days=7)).body.spec.window(now) == (now, now + 7 * DAY)
    until = only(exemption(starts="2026-05-01T00:00:00Z", expires="2026-06-10T00:00:00Z")).body.spec
    assert until.window(now) == (now - 31 * DAY, now + 9 * DAY)
    with pytest.raises(ValueError, match="at most 180 days"):
        only(exemption(expires="2027-06-10T00:00:00Z")).body.spec.window(now)


def test_limits_of_exemptions_are_those_of_trust():
    assert documents_module.DEFAULT_EXEMPTION_DAYS * DAY == DEFAULT_DURATION
    assert documents_module.MAX_EXEMPTION_DAYS * DAY == MAX_DURATION


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"days": 181}, "less than or equal to 180"),
        ({"days": 3, "expires": "2026-06-10T00:00:00Z"}, "either expires or days"),
        ({"starts": "2026-01-01T00:00:00Z", "expires": "2026-12-01T00:00:00Z"}, "at most 180 days"),
        ({"reasons": ["unsinged"]}, "did you mean unsigned?"),
        ({"reasons": ["registry-unavailable"]}, "not the reason of a violation"),
        ({"why": ""}, "at least 1 character"),
        ({"policy": ""}, "exempts everything"),
        ({"policy": "", "namespaces": ["*"]}, "exempts everything"),
        ({"policy": "", "images": ["**"], "clusters": ["*"]}, "exempts everything"),
    ],
)
def test_exemptions_that_are_too_much_are_refused(spec, expected):
    _, errors = errors_of(exemption(**spec))
    assert any(expected in error for error in errors), errors


@pytest.mark.parametrize("spec", [{"namespaces": ["legacy-*"]}, {"digests": [H]}, {"images": ["r.example/old/**"]}])
def test_an_exemption_for_every_policy_needs_a_scope(spec):
    assert only(exemption(policy="", **spec)).body.spec.policy == ""


def test_a_cluster_is_read():
    text = "{apiVersion: revet/v1, kind: Cluster, metadata: {name: prod-eu}, spec: {id: 0d3f, labels: {env: prod}}}"
    spec = only(text).body.spec
    assert (spec.id, spec.labels, spec.feeds) == ("0d3f", {"env": "prod"}, ("audit", "pods"))


# ------------------------------------------------------------------------------------------------- versions, writing


def build(**changes):
    base: dict[str, Any] = {
        "id": "p",
        "match": (MatchRule(images=("**",)),),
        "attestors": {"dev": Attestor(keys=("dev",))},
        "require": Requirement(signed_by="dev"),
    }
    return with_version(Policy(**(base | changes)))


def test_the_version_follows_what_can_change_a_verdict():
    assert build().version == build(description="another text").version
    others = [
        build(mode="enforce"),
        build(id="q"),
        build(soft_unproven="deny"),
        build(dialect="kyverno"),
        build(match=(MatchRule(images=("**",), namespaces=("a",)),)),
        build(attestors={"dev": Attestor(keys=("dev",), valid_until=5)}),
        build(require=Requirement(any=(Requirement(signed_by="dev"),))),
    ]
    assert len({build().version, *(p.version for p in others)}) == 1 + len(others)


def test_a_policy_survives_the_trust_log_and_the_way_back_to_yaml():
    policy = only(POLICY).body.to_policy()
    logged = TRUST_RECORD.dump_json(PolicyPut(policy=policy, author="a", at=1))
    record = TRUST_RECORD.validate_json(logged)
    assert isinstance(record, PolicyPut)
    assert record.policy == policy
    written = yaml.safe_dump(plain(policy_document(policy)))
    assert "2026-01-01T00:00:00Z" in written
    assert only(written).body.to_policy() == policy
