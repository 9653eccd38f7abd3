"""`policy check`: each doubt with its place, and silence about what is sound."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifier.models import ImageReference, Scope
from verifier.policy.check import CHECKS, check_documents
from verifier.policy.documents import Document, load_documents
from verifier.policy.lint import overreach, why_never

NOW = 1_767_225_600_000_000
PEM = (
    ec.derive_private_key(9, ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


def document(kind="Policy", name="p", **spec):
    return json.dumps({"apiVersion": "revet/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def policy(name="p", **changes):
    spec = {
        "match": [{"images": ["registry.example.com/**"]}],
        "attestors": {"dev": {"keys": ["dev"]}, "ops": {"keys": ["ops"]}},
        "require": {"all": [{"signedBy": "dev"}, {"signedBy": "ops"}]},
    }
    return document(name=name, **(spec | changes))


def problems(*texts, **known):
    documents: list[Document] = []
    for number, text in enumerate(texts):
        found, errors = load_documents(f"{number}.yaml", text)
        assert errors == ()
        documents += found
    usual: dict[str, Any] = {"ring": ["dev", "ops"], "policies": [], "now": NOW}
    return check_documents(documents, **(usual | known))


def test_a_sound_setup_has_no_problems():
    assert problems(policy(), document("Key", "k", pem=PEM), document("Cluster", "c", id="0")) == ()


DEV, OPS = {"signedBy": "dev"}, {"signedBy": "ops"}
FOUND = [
    (
        "a key nobody has",
        [policy(attestors={"dev": {"keys": ["dve"]}, "ops": {"keys": ["ops"]}})],
        "error",
        "spec.attestors.dev.keys[0]",
        "no key named dve",
    ),
    (
        "a trust root nobody has",
        [policy(attestors={"dev": {"certificates": {"roots": ["corp"], "anyone": True}}, "ops": {"keys": ["ops"]}})],
        "warning",
        "spec.attestors.dev",
        "no trust root named corp",
    ),
    ("an attestor never required", [policy(require=DEV)], "warning", "spec.attestors.ops", "never required"),
    (
        "one key for two",
        [policy(attestors={"dev": {"keys": ["dev"]}, "ops": {"keys": ["dev"]}})],
        "warning",
        "spec.attestors.ops.keys[0]",
        "also a key of dev",
    ),
    (
        "one key under two names",
        [
            policy(attestors={"dev": {"keys": ["a"]}, "ops": {"keys": ["b"]}}),
            document("Key", "a", pem=PEM),
            document("Key", "b", pem=PEM),
        ],
        "warning",
        "spec.attestors.ops.keys[0]",
        "also a key of dev",
    ),
    ("a name used twice", [policy(), policy()], "error", "metadata.name", "stands in 0.yaml:1 already"),
    ("the same leaf twice", [policy(require={"all": [DEV, OPS, DEV]})], "warning", "spec.require.all[2]", "twice"),
    (
        "an alternative never needed",
        [policy(require={"any": [DEV, {"all": [DEV, OPS]}]})],
        "warning",
        "spec.require.any[1]",
        "never needed",
    ),
    (
        "a demand always met",
        [policy(require={"all": [DEV, {"any": [DEV, OPS]}]})],
        "warning",
        "spec.require.all[1]",
        "always met",
    ),
    (
        "lists without a common entry",
        [policy(require={"all": [DEV, OPS, {"registryIn": ["a.example"]}, {"registryIn": ["b.example"]}]})],
        "error",
        "spec.require.all",
        "no image can be on all",
    ),
    (
        "a list beside a signature",
        [policy(require={"any": [DEV, OPS, {"registryIn": ["a.example"]}]})],
        "info",
        "spec.require.any[2]",
        "needs no signature",
    ),
    (
        "an attestor that is over",
        [policy(attestors={"dev": {"keys": ["dev"], "validUntil": "2025-01-01T00:00:00Z"}, "ops": {"keys": ["ops"]}})],
        "warning",
        "spec.attestors.dev.validUntil",
        "ended at 2025-01-01T00:00:00Z",
    ),
    (
        "a key that is over",
        [document("Key", "k", pem=PEM, validUntil="2025-01-01T00:00:00Z")],
        "warning",
        "spec.validUntil",
        "ended at",
    ),
    (
        "an exemption that is over",
        [policy(), document("Exemption", "e", policy="p", why="w", owner="o", expires="2025-01-01T00:00:00Z")],
        "warning",
        "spec.expires",
        "ended at",
    ),
    (
        "an exemption of nothing",
        [document("Exemption", "e", policy="q", why="w", owner="o")],
        "error",
        "spec.policy",
        "no policy q",
    ),
    (
        "capitals in a path",
        [policy(match=[{"images": ["registry.example.com/App"]}])],
        "error",
        "spec.match[0].images[0]",
        "lower case",
    ),
    ("a short name", [policy(match=[{"images": ["nginx"]}])], "error", "spec.match[0].images[0]", "registry/path"),
    (
        "a namespace that cannot be",
        [policy(match=[{"namespaces": ["Team_A"]}])],
        "error",
        "spec.match[0].namespaces[0]",
        "no namespace",
    ),
    (
        "an exemption of an impossible image",
        [document("Exemption", "e", why="w", owner="o", images=["App"])],
        "error",
        "spec.images[0]",
        "never match",
    ),
    (
        "a run across a name",
        [policy(match=[{"images": ["registry.example.com/org**"]}])],
        "warning",
        "spec.match[0].images[0]",
        "org-other/",
    ),
    ("a match that is excluded", [policy(exclude=[{"registries": ["*"]}])], "error", "spec.match[0]", "excluded again"),
    (
        "a match that is excluded by pattern",
        [policy(match=[{"namespaces": ["kube-system"]}], exclude=[{"namespaces": ["kube-*"]}])],
        "error",
        "spec.match[0]",
        "excluded again",
    ),
]


@pytest.mark.parametrize(("_sentence", "texts", "severity", "field", "message"), FOUND, ids=[row[0] for row in FOUND])
def test_each_doubt_is_named_with_its_place(_sentence, texts, severity, field, message):
    found = [p for p in problems(*texts) if message in p.message]
    assert [(p.severity, p.field) for p in found] == [(severity, field)]
    assert found[0].todo
    assert found[0].line == 1


QUIET = [
    ("an exclude that leaves something", [policy(exclude=[{"namespaces": ["kube-system"]}])]),
    ("an exclude by digest-less tag", [policy(exclude=[{"images": ["**:*-debug"]}])]),
    ("labels that differ", [policy(match=[{"labels": {"a": "1"}}], exclude=[{"labels": {"a": "2"}}])]),
    (
        "lists that overlap",
        [
            policy(
                require={"all": [DEV, OPS, {"registryIn": ["a.example", "b.example"]}, {"registryIn": ["b.example"]}]}
            )
        ],
    ),
    (
        "a window that lasts",
        [policy(attestors={"dev": {"keys": ["dev"], "validUntil": "2030-01-01T00:00:00Z"}, "ops": {"keys": ["ops"]}})],
    ),
    ("an exemption of a policy in trust", [document("Exemption", "e", policy="q", why="w", owner="o")]),
]


@pytest.mark.parametrize(("_sentence", "texts"), QUIET, ids=[row[0] for row in QUIET])
def test_what_is_sound_is_not_doubted(_sentence, texts):
    assert problems(*texts, policies=["q"]) == ()


def test_without_the_ring_an_unknown_key_is_only_a_warning():
    found = problems(policy(), ring=None)
    assert {p.severity for p in found} == {"warning"}


def test_patterns_that_match_nothing_of_what_runs_are_named():
    scope = Scope(image=ImageReference("registry.example.com", "a", "1"))
    text = policy(match=[{"images": ["registry.example.com/**", "registry.example.org/**"]}])
    found = problems(text, scopes=[(scope, "")])
    assert [(p.severity, p.field) for p in found] == [("info", "spec.match[0].images[1]")]


def test_every_check_is_tried_by_a_row():
    assert len(CHECKS) == 11


NEVER = [
    ("registry.example.com/App", "native", "image", "registry.example.com/app"),
    ("Registry.Example.com/app", "native", "image", "registry.example.com/app"),
    ("https://registry.example.com/app", "native", "image", "https"),
    ("registry.example.com/{a,b}", "native", "image", "each"),
    ("*", "native", "image", '"**"'),
    ("nginx", "native", "image", "docker.io/library/nginx"),
    ("library/nginx", "native", "image", "docker.io/library/nginx"),
    ("payments/**", "native", "image", "docker.io/payments/**"),
    ("docker.io/nginx", "native", "image", "docker.io/library/nginx"),
    ("index.docker.io/library/nginx", "native", "image", "docker.io/library/nginx"),
    ("registry.example.com/app@sha256:12", "native", "image", "64"),
    ("registry.example.com/app", "kyverno", "image", "registry.example.com/app:*"),
    ("nginx", "kyverno", "image", "nginx"),
    ("registry.example.com/a", "native", "registry", "repositories"),
    ("Docker.io", "native", "registry", "docker.io"),
    ("index.docker.io", "native", "registry", "docker.io"),
    ("Kube-System", "native", "namespace", "a-z"),
    ("system:serviceaccount:payments:api", "native", "name", "api"),
]


@pytest.mark.parametrize(("pattern", "dialect", "over", "advice"), NEVER)
def test_patterns_that_can_never_match_come_with_advice(pattern, dialect, over, advice):
    doubt = why_never(pattern, dialect, over)
    assert doubt is not None
    assert advice in doubt.todo


@pytest.mark.parametrize(
    ("pattern", "dialect", "over"),
    [
        ("**", "native", "image"),
        ("*/**", "native", "image"),
        ("**/app:1.*", "native", "image"),
        ("localhost/app", "native", "image"),
        ("localhost:5000/app", "native", "image"),
        ("docker.io/library/*", "native", "image"),
        ("docker.io/**", "native", "image"),
        ("*", "kyverno", "image"),
        ("ghcr.io/org/*", "kyverno", "image"),
        ("docker.io/nginx:*", "kyverno", "image"),
        ("ghcr*", "kyverno", "image"),
        ("*.example.com", "native", "registry"),
        ("team-?", "native", "namespace"),
        ("*", "native", "namespace"),
        ("anything Odd", "native", "value"),
    ],
)
def test_patterns_that_can_match_are_left_alone(pattern, dialect, over):
    assert why_never(pattern, dialect, over) is None


@pytest.mark.parametrize(
    ("pattern", "dialect", "wide"),
    [
        ("r.example/org*", "kyverno", True),
        ("r.example/org*", "native", False),
        ("r.example/org**", "native", True),
        ("r.example/org/*", "kyverno", False),
        ("r.example/app:*", "kyverno", False),
        ("r.example/app:v1*", "kyverno", False),
        ("*.example.com/app", "kyverno", True),
        ("**/app", "native", True),
        ("**", "native", False),
        ("*", "kyverno", False),
        ("**:latest", "native", False),
        ("*:latest", "kyverno", False),
    ],
)
def test_runs_that_cross_more_than_they_look_like_are_named(pattern, dialect, wide):
    assert (overreach(pattern, dialect) is not None) is wide
