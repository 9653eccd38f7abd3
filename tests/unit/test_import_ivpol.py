"""ImageValidatingPolicy: the sentences of CEL that are known, attestors, and that every other sentence is a loss."""

import pytest
import yaml

from tests.helpers.imports import CA, A, B, C, codes, governing, public_key, read, tree
from verifier.errors import PolicyError
from verifier.policy.importers.notes import WeakeningImport

ROOT_KEY = public_key(31)
ATTESTORS = [
    {"name": name, "cosign": {"key": {"data": pem}, "ctlog": {"insecureIgnoreTlog": True}}}
    for name, pem in (("a", A), ("b", B), ("c", C))
]
CHECK = "images.containers.map(image, verifyImageSignatures(image, [attestors.a])).all(e, e > 0)"
PODS = {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}


def policy(
    *expressions, attestors=ATTESTORS, globs=("r.example/*",), kind="ImageValidatingPolicy", metadata=None, **spec
):
    body = {
        "matchConstraints": PODS,
        "matchImageReferences": [{"glob": glob} for glob in globs],
        "attestors": list(attestors),
        "validations": [{"expression": expression} for expression in expressions or (CHECK,)],
    } | spec
    head = {"apiVersion": "policies.kyverno.io/v1", "kind": kind, "metadata": {"name": "p"} | (metadata or {})}
    return yaml.safe_dump(head | {"spec": body})


def only(text, **options):
    (found,) = read("kyverno", text, **options).policies
    return found


SENTENCES = [
    (CHECK, "A"),
    ("images.containers.map(i,verifyImageSignatures(i,[attestors.a,attestors.b])).all(n,n>0)", ("any", "A", "B")),
    (
        "images.all.map(i, verifyImageSignatures(i, [attestors['a'], attestors[\"b\"]])).all(n, n >= 2)",
        ("all", "A", "B"),
    ),
    (
        "images.containers.map(i, verifyImageSignatures(i, [attestors.a, attestors.b, attestors.c]))\n  .all(n, n > 1)",
        ("2 of", "A", "B", "C"),
    ),
    ("images.containers.all(i, verifyImageSignatures(i, [attestors.a]) > 0)", "A"),
    (
        "images.containers.map(i, verifyImageSignatures(i, [attestors.a, attestors.b])).all(n, n == 2)",
        ("all", "A", "B"),
    ),
    (
        "images.containers.map(i, verifyAttestationSignatures(i, attestations.sbom, [attestors.a])).all(n, n > 0)",
        "https://spdx.dev/Document by A",
    ),
]
SBOM = [{"name": "sbom", "intoto": {"type": "https://spdx.dev/Document"}}]


@pytest.mark.parametrize(("expression", "expected"), SENTENCES)
def test_sentences(expression, expected):
    assert tree(only(policy(expression, attestations=SBOM))) == expected


def test_all_validations_must_hold():
    second = "images.containers.map(i, verifyImageSignatures(i, [attestors.b])).all(n, n > 0)"
    assert tree(only(policy(CHECK, second))) == ("all", "A", "B")


UNKNOWN = [
    CHECK.replace("e > 0", "e >= 0"),
    CHECK.replace("e > 0", "e < 1"),
    CHECK.replace("e > 0", "f > 0"),
    CHECK.replace("verifyImageSignatures(image", "verifyImageSignatures(other"),
    f"{CHECK} || true",
    f"true || {CHECK}",
    f"!{CHECK}",
    f"({CHECK})",
    CHECK.replace("[attestors.a]", "[attestors.a] + [attestors.b]"),
    CHECK.replace("all(", "exists("),
    "images.containers.map(image, verifyImageSignatures(image, [attestors.a, attestors.b])).all(e, e == 1)",
    "images.containers.map(image, extractPayload(image, attestations.sbom).bomFormat == 'CycloneDX').all(e, e)",
    "true",
    "",
    CHECK + " " * 5000,
]


@pytest.mark.parametrize("expression", UNKNOWN)
def test_any_other_sentence_is_a_loss(expression):
    with pytest.raises(WeakeningImport) as caught:
        read("kyverno", policy(CHECK, expression, attestations=SBOM))
    assert caught.value.codes == ("expression",)
    assert tree(only(policy(CHECK, expression, attestations=SBOM), accept_weaker={"expression"})) == "A"


def test_globs_are_those_of_gobwas():
    result = read("kyverno", policy(globs=["r.example/{a,b}/*"]))
    assert result.policies[0].dialect == "gobwas"
    assert governing(result, "r.example/b/deep/app:1") == ["p"]
    assert governing(result, "r.example/c/app:1") == []
    everything = read("kyverno", policy(matchImageReferences=None))
    assert governing(everything, "x.example/a:1") == ["p"]


def test_an_expression_over_the_reference_is_a_loss():
    with pytest.raises(WeakeningImport) as caught:
        read("kyverno", policy(matchImageReferences=[{"expression": 'ref.startsWith("x")'}, {"glob": "r/*"}]))
    assert caught.value.codes == ("expression",)


def test_who_is_looked_at():
    constraints = PODS | {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "orders"}},
        "objectSelector": {"matchLabels": {"app": "x"}},
    }
    result = read("kyverno", policy(matchConstraints=constraints))
    assert governing(result, "r.example/a:1", namespace="orders", labels={"app": "x"}) == ["p"]
    assert governing(result, "r.example/a:1", namespace="orders") == []
    wider = read("kyverno", policy(matchConditions=[{"name": "x", "expression": "false"}]))
    assert (codes(wider, "loses"), governing(wider, "r.example/a:1")) == (["match"], ["p"])
    own = read("kyverno", policy(kind="NamespacedImageValidatingPolicy", metadata={"namespace": "team"}))
    assert (own.policies[0].id, own.policies[0].match[0].namespaces) == ("team.p", ("team",))


@pytest.mark.parametrize(
    ("actions", "mode"), [(None, "enforce"), (["Deny", "Audit"], "enforce"), (["Audit"], "audit"), (["Warn"], "audit")]
)
def test_modes(actions, mode):
    assert only(policy(validationActions=actions)).mode == mode


def an(kind, **more):
    return [{"name": "a", "cosign": kind | more}]


def test_identities_are_exact_and_expressions_match_anywhere():
    identities = [{"issuer": "https://i.example", "subject": "a@*"}, {"issuerRegExp": "i", "subjectRegExp": "s"}]
    found = only(policy(attestors=an({"keyless": {"identities": identities, "roots": CA}}))).attestors["a"].keyless
    assert (found.identities[0].subject, found.identities[0].subject_pattern) == ("a@*", None)
    assert found.identities[1].unanchored
    assert (found.roots, found.log, found.sct) == ((CA,), "required", "required")


def test_a_trust_root_of_ones_own():
    keyless = {"keyless": {"identities": [{"issuer": "i", "subject": "s"}]}}
    found = only(policy(attestors=an(keyless, tuf={"mirror": "https://tuf.example"}))).attestors["a"].keyless
    assert found.roots == ("a-root",)


def test_certificates():
    found = only(policy(attestors=an({"certificate": {"certChain": {"value": CA}}}, ctlog={"tsaCertChain": CA})))
    chain = found.attestors["a"].certificates
    assert (chain.anyone, chain.timestamp, chain.log) == (True, "required", "required")
    alone = only(policy(attestors=an({"certificate": {"cert": {"value": CA}}})))
    assert next(iter(alone.attestors.values())).keys == (ROOT_KEY,)
    both = only(policy(attestors=an({"certificate": {"cert": {"value": CA}, "certChain": {"value": CA}}})))
    assert len(both.attestors["a"].certificates.fingerprints) == 1


def test_keys_elsewhere():
    assert tree(only(policy(attestors=an({"key": {"kms": "awskms:///x"}})))) == "awskms-x"
    assert tree(only(policy(attestors=an({"key": {"expression": "variables.key"}})))) == "a"


def test_notary():
    notary = [{"name": "a", "notary": {"certs": {"value": CA}, "tsaCerts": {"value": CA}}}]
    assert only(policy(attestors=notary)).attestors["a"].notary.stores == ("ca:a", "tsa:a")


LOSSES = [
    (
        "annotations of an attestation",
        policy(SENTENCES[6][0], attestations=SBOM, attestors=an({"key": {"data": A}}, annotations={"a": "b"})),
        "annotations",
    ),
    (
        "a referrer",
        policy(CHECK, SENTENCES[6][0], attestations=[{"name": "sbom", "referrer": {"type": "x"}}]),
        "attestations",
    ),
    ("a timestamp beside a key", policy(attestors=an({"key": {"data": A}}, ctlog={"tsaCertChain": CA})), "timestamp"),
    (
        "an expression for the subject",
        policy(attestors=an({"keyless": {"identities": [{"issuer": "i", "subjectExpression": "x"}]}})),
        "expression",
    ),
    (
        "extensions",
        policy(
            attestors=an(
                {"keyless": {"identities": [{"issuer": "i", "subject": "s"}], "additionalExtensions": {"a": "b"}}}
            )
        ),
        "extensions",
    ),
    ("a member of tomorrow", policy(quorum=2), "unknown-member"),
]


@pytest.mark.parametrize(("_sentence", "text", "code"), LOSSES, ids=[row[0] for row in LOSSES])
def test_losses_that_weaken(_sentence, text, code):
    with pytest.raises(WeakeningImport) as caught:
        read("kyverno", text)
    assert caught.value.codes == (code,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (policy(CHECK.replace("attestors.a", "attestors.x")), "no attestor x"),
        (policy(SENTENCES[6][0]), "no attestation sbom"),
        (policy(CHECK.replace("e > 0", "e > 1")), "2 of 1"),
        (policy(attestors=[{"name": "a"}]), "cosign or notary"),
        (policy(attestors=an({})), "key, keyless or certificate"),
        (policy(globs=["{a"]), "ends inside a group"),
        (policy(attestors=an({"key": {"data": "-----BEGIN PUBLIC KEY-----"}})), "PUBLIC KEY"),
    ],
)
def test_what_kyverno_refuses_is_refused_with_its_place(text, message):
    with pytest.raises(PolicyError, match=message) as caught:
        read("kyverno", text)
    assert caught.value.file == "f1.yaml"
    assert caught.value.line >= 1
