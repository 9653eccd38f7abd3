"""Google Binary Authorization: the narrowest rule, images that are always admitted, attestors with and without keys."""

import pytest
import yaml

from tests.helpers.imports import A, B, codes, governing, read, tree, trees
from verifier.errors import PolicyError
from verifier.policy.importers.notes import WeakeningImport

ARMOR = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"
NAME = "projects/p/attestors/qa"
REQUIRE = {
    "evaluationMode": "REQUIRE_ATTESTATION",
    "enforcementMode": "ENFORCED_BLOCK_AND_AUDIT_LOG",
    "requireAttestationsBy": [NAME],
}
ALLOW = {"evaluationMode": "ALWAYS_ALLOW", "enforcementMode": "ENFORCED_BLOCK_AND_AUDIT_LOG"}
DENY = ALLOW | {"evaluationMode": "ALWAYS_DENY"}


def policy(default=REQUIRE, patterns=(), **more):
    found = {"name": "projects/p/policy", "defaultAdmissionRule": default}
    if patterns:
        found["admissionWhitelistPatterns"] = [{"namePattern": pattern} for pattern in patterns]
    return yaml.safe_dump(found | more)


def attestor(*keys):
    return yaml.safe_dump(
        {"name": NAME, "userOwnedGrafeasNote": {"noteReference": "projects/p/notes/qa", "publicKeys": list(keys)}}
    )


def pkix(pem):
    return {"id": "x", "pkixPublicKey": {"publicKeyPem": pem, "signatureAlgorithm": "ECDSA_P256_SHA256"}}


QA = attestor(pkix(A))


def test_the_default_rule():
    result = read("binary-authorization", policy(), QA)
    assert trees(result) == {"binary-authorization.p.default": "A"}
    assert governing(result, "gcr.io/p/app:1") == ["binary-authorization.p.default"]
    assert codes(result, "loses") == ["place"]


def test_images_that_are_always_admitted_stay_ungoverned():
    result = read("binary-authorization", policy(patterns=["gcr.io/google/*", "gke.gcr.io/**"]), QA)
    assert governing(result, "gcr.io/google/app:1") == []
    assert governing(result, "gcr.io/google/deep/app:1") == ["binary-authorization.p.default"]
    assert governing(result, "gke.gcr.io/deep/er/app:1") == []


def test_the_narrowest_rule_counts():
    result = read(
        "binary-authorization",
        policy(
            kubernetesServiceAccountAdmissionRules={"prod:deployer": ALLOW},
            kubernetesNamespaceAdmissionRules={"prod": DENY},
        ),
        QA,
    )
    assert governing(result, "gcr.io/p/app:1", namespace="dev") == ["binary-authorization.p.default"]
    assert governing(result, "gcr.io/p/app:1", namespace="prod") == ["binary-authorization.p.namespace.prod"]
    assert trees(result)["binary-authorization.p.namespace.prod"].startswith("denied")
    exclude = next(p for p in result.policies if p.id.endswith("namespace.prod")).exclude
    assert [(rule.namespaces, rule.service_accounts) for rule in exclude] == [(("prod",), ("deployer",))]


def test_a_clusters_rule_needs_the_clusters_name():
    text = policy(clusterAdmissionRules={"us-central1-a.prod": DENY})
    with pytest.raises(WeakeningImport) as caught:
        read("binary-authorization", text, QA)
    assert caught.value.codes == ("cluster-name",)
    result = read("binary-authorization", text, QA, accept_weaker={"cluster-name"})
    assert result.policies[0].match[0].clusters == ("us-central1-a.prod",)
    assert read("binary-authorization", policy(clusterAdmissionRules={"a.b": ALLOW}), QA).policies


def test_an_istio_rule_is_a_loss():
    with pytest.raises(WeakeningImport) as caught:
        read("binary-authorization", policy(istioServiceIdentityAdmissionRules={"x": DENY}), QA)
    assert caught.value.codes == ("istio",)


def test_attestors():
    assert tree(read("binary-authorization", policy(), attestor(pkix(A), pkix(B))).policies[0]) == "A+B"
    both = read("binary-authorization", policy(), attestor(pkix(A), {"asciiArmoredPgpPublicKey": ARMOR})).policies[0]
    assert tree(both) == ("any", "A", "qa-openpgp")
    assert both.attestors["qa-openpgp"].openpgp.keyrings == (ARMOR,)
    assert tree(read("binary-authorization", policy(), attestor()).policies[0]).startswith(
        "denied: the attestor has no keys"
    )
    alone = read("binary-authorization", policy())
    assert tree(alone.policies[0]) == "projects-p-attestors-qa"
    assert tree(read("binary-authorization", policy(), keys={NAME: A}).policies[0]) == "A"


def test_modes_and_rules_that_ask_for_nothing():
    dry = REQUIRE | {"enforcementMode": "DRYRUN_AUDIT_LOG_ONLY"}
    assert read("binary-authorization", policy(dry), QA).policies[0].mode == "audit"
    result = read("binary-authorization", policy(ALLOW, globalPolicyEvaluationMode="ENABLE"))
    assert result.policies == ()
    assert codes(result) == ["system-images", "always-allow"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (policy({"evaluationMode": "SOMETIMES"}), "evaluationMode is one of"),
        (policy(ALLOW | {"enforcementMode": "x"}), "enforcementMode is one of"),
        (policy(REQUIRE | {"requireAttestationsBy": []}), "names attestors"),
        (policy(patterns=["gcr.io/[a]"]), "letters, digits"),
        (policy(kubernetesServiceAccountAdmissionRules={"prod": DENY}), "NAMESPACE:SERVICE_ACCOUNT"),
        (policy(kubernetesNamespaceAdmissionRules={"a b": DENY}), "no spaces"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(text, message):
    with pytest.raises(PolicyError, match=message) as caught:
        read("binary-authorization", text, QA)
    assert caught.value.file == "f1.yaml"
