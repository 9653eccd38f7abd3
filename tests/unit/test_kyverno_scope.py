"""Kyverno's match and exclude: what a policy can see of a workload, and that no filter makes a check weaker."""

import pytest
import yaml

from tests.helpers.imports import A, B, C
from tests.helpers.kyverno import H, block, cluster_policy, governs, keys, resources, run, scope
from verifier.errors import PolicyError
from verifier.policy.documents import PolicyDocument, load_documents, plain, policy_document
from verifier.policy.selection import compile_policy

# ---------------------------------------------------------------------------------------------------- match and exclude


MATCHES = [
    ("any: the namespace", {"any": [resources(namespaces=["pay*"])]}, scope(), True),
    ("any: another namespace", {"any": [resources(namespaces=["x"])]}, scope(), False),
    (
        "any: one of two filters",
        {"any": [resources(namespaces=["x"]), resources(namespaces=["payments"])]},
        scope(),
        True,
    ),
    (
        "all: both filters",
        {"all": [resources(namespaces=["payments"]), resources(selector={"matchLabels": {"app": "a?"}})]},
        scope(app="ab"),
        True,
    ),
    (
        "all: one filter only",
        {"all": [resources(namespaces=["payments"]), resources(selector={"matchLabels": {"app": "a?"}})]},
        scope(app="b"),
        False,
    ),
    ("no any and no all", {"resources": {"kinds": ["Pod"], "namespaces": ["payments"]}}, scope(), True),
    ("no namespace: every one", {"any": [resources()]}, scope(namespace="x"), True),
    (
        "a selector on the namespace's name",
        {"any": [resources(namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "payments"}})]},
        scope(),
        True,
    ),
    (
        "the same, another namespace",
        {"any": [resources(namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "x"}})]},
        scope(),
        False,
    ),
    (
        "the same as an expression",
        {
            "any": [
                resources(
                    namespaceSelector={
                        "matchExpressions": [
                            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["payments", "x"]}
                        ]
                    }
                )
            ]
        },
        scope(),
        True,
    ),
    (
        "a label that exists",
        {"any": [resources(selector={"matchExpressions": [{"key": "app", "operator": "Exists"}]})]},
        scope(app="1"),
        True,
    ),
    (
        "a label that does not",
        {"any": [resources(selector={"matchExpressions": [{"key": "app", "operator": "Exists"}]})]},
        scope(),
        False,
    ),
]


@pytest.mark.parametrize(("_sentence", "match", "where", "expected"), MATCHES, ids=[row[0] for row in MATCHES])
def test_match_blocks_select_as_in_kyverno(_sentence, match, where, expected):
    document = cluster_policy(block(keys(A)), match=match)
    assert not run(document).notes
    assert governs(document, where) is expected


def test_patterns_keep_their_meaning():
    assert governs(cluster_policy(block(keys(A))), scope("registry.example.com/deep/er/app:1"))
    hub = cluster_policy(block(keys(A), imageReferences=["docker.io/nginx:*"]))
    assert governs(hub, scope("docker.io/library/nginx:1"))


LOST_IN_MATCH = [
    ("the name of the pod", resources(namespaces=["payments"], names=["api-*"])),
    ("one name", resources(namespaces=["payments"], name="api")),
    ("annotations", resources(namespaces=["payments"], annotations={"a": "b"})),
    ("who asks", resources(namespaces=["payments"]) | {"subjects": [{"kind": "User", "name": "a"}]}),
    ("labels of the namespace", resources(namespaces=["payments"], namespaceSelector={"matchLabels": {"env": "prod"}})),
    ("a pattern for a label's name", resources(namespaces=["payments"], selector={"matchLabels": {"app*": "a"}})),
    (
        "a label that is not there",
        resources(namespaces=["payments"], selector={"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
    ),
    ("only Deployments", {"resources": {"kinds": ["apps/v1/Deployment"], "namespaces": ["payments"]}}),
]


@pytest.mark.parametrize(("_sentence", "lossy"), LOST_IN_MATCH, ids=[row[0] for row in LOST_IN_MATCH])
def test_what_revet_cannot_look_at_makes_a_match_wider(_sentence, lossy):
    result = run(cluster_policy(block(keys(A)), match={"any": [lossy]}))
    assert [(n.severity, n.code) for n in result.notes] == [("loses", "match")]
    assert compile_policy(result.policies[0]).governs(scope(), H)


@pytest.mark.parametrize(("_sentence", "lossy"), LOST_IN_MATCH, ids=[row[0] for row in LOST_IN_MATCH])
def test_and_never_makes_an_exclude_wider(_sentence, lossy):
    result = run(cluster_policy(block(keys(A)), exclude={"any": [lossy]}))
    assert [(n.severity, n.code) for n in result.notes] == [("loses", "exclude")]
    assert compile_policy(result.policies[0]).governs(scope(), H)


def test_two_lists_of_namespaces_that_must_both_hold():
    both = {"all": [resources(namespaces=["payments"]), resources(namespaces=["pay*"])]}
    assert [n.code for n in run(cluster_policy(block(keys(A)), match=both)).notes] == ["match"]
    assert [n.code for n in run(cluster_policy(block(keys(A)), exclude=both)).notes] == ["exclude"]


def test_exclude_and_skipped_images():
    document = cluster_policy(
        block(keys(A), skipImageReferences=["registry.example.com/tools/*"]),
        exclude={"any": [resources(selector={"matchLabels": {"tier": "test"}})]},
    )
    assert governs(document, scope())
    assert not governs(document, scope(tier="test"))
    assert not governs(document, scope("registry.example.com/tools/x:1"))


def test_an_exclude_of_everything_is_left_out():
    result = run(cluster_policy(block(keys(A)), exclude={"any": [resources()]}))
    assert result.policies[0].exclude == ()
    assert [n.code for n in result.notes] == ["exclude"]


def test_preconditions_are_a_note():
    result = run(cluster_policy(block(keys(A)), preconditions={"all": []}))
    assert [(n.severity, n.code) for n in result.notes] == [("loses", "preconditions")]


def test_a_namespaced_policy_governs_its_namespace():
    document = cluster_policy(
        block(keys(A)), kind="Policy", metadata={"namespace": "team-a"}, match={"any": [resources()]}
    )
    assert run(document).policies[0].id == "team-a.signed.check"
    assert governs(document, scope(namespace="team-a"))
    assert not governs(document, scope(namespace="payments"))


def test_each_block_is_a_policy_with_a_name_that_stays():
    rules = [
        {"name": "One Rule", "match": {}, "verifyImages": [block(keys(A)), block(keys(B))]},
        {"name": "two", "match": {}, "verifyImages": [block(keys(C))]},
        {"name": "no-latest", "match": {}, "validate": {"pattern": {}}},
    ]
    result = run(cluster_policy(spec={"rules": rules}))
    assert [p.id for p in result.policies] == ["signed.one-rule", "signed.one-rule.2", "signed.two"]
    assert [n.code for n in result.notes] == ["other-rule"]
    with pytest.raises(PolicyError, match="rename one"):
        run(cluster_policy(spec={"rules": [rules[0], {**rules[1], "name": "one rule"}]}))


def test_the_policy_carries_dialect_source_description_and_version():
    metadata = {"annotations": {"policies.kyverno.io/description": "Signed\n  by us"}}
    policy = run(cluster_policy(block(keys(A)), metadata=metadata)).policies[0]
    assert (policy.dialect, policy.source, policy.description) == ("kyverno", "kyverno", "Signed by us")
    assert policy.version.startswith("v1:")


def test_an_imported_policy_can_be_written_and_read_again():
    policy = run(cluster_policy(block(keys(A), keys(B), count=1))).policies[0]
    documents, errors = load_documents("a.yaml", yaml.safe_dump(plain(policy_document(policy))))
    assert errors == ()
    body = documents[0].body
    assert isinstance(body, PolicyDocument)
    again = body.to_policy()
    assert again.model_copy(update={"source": "kyverno", "version": policy.version}) == policy
