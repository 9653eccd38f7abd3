"""Which policy governs what: facets, both texts of an image, exclude, and the index against the plain definition."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.models import ImageReference, Scope
from verifier.policy.attestors import Attestor
from verifier.policy.globs import compile_glob, image_texts
from verifier.policy.model import MatchRule, Policy, Requirement
from verifier.policy.selection import PolicyIndex, compile_policy, unmatched_patterns

H = "sha256:" + "a" * 64
SCOPE = Scope(
    image=ImageReference("registry.example.com", "payments/api", "1.4"),
    cluster="0d3f",
    cluster_name="prod-eu",
    cluster_labels=(("env", "prod"), ("region", "eu")),
    namespace="payments",
    service_account="api",
    labels=(("app", "api"), ("tier", "back")),
)


def policy(match, exclude=(), dialect="native", name="p"):
    return Policy(
        id=name,
        dialect=dialect,
        match=tuple(match),
        exclude=tuple(exclude),
        attestors={"dev": Attestor(keys=("dev",))},
        require=Requirement(signed_by="dev"),
    )


RULES = [
    ("by image", {"images": ["registry.example.com/payments/*"]}, True),
    ("by another image", {"images": ["registry.example.com/other/*"]}, False),
    ("by tag", {"images": ["registry.example.com/payments/api:1.*"]}, True),
    ("by running digest", {"images": [f"registry.example.com/payments/api@{H}"]}, True),
    ("by registry", {"registries": ["registry.example.com"]}, True),
    ("by registry pattern", {"registries": ["*.example.com"]}, True),
    ("by another registry", {"registries": ["docker.io"]}, False),
    ("by repository", {"repositories": ["registry.example.com/payments/**"]}, True),
    ("by namespace", {"namespaces": ["pay*"]}, True),
    ("by one of several namespaces", {"namespaces": ["x", "payments"]}, True),
    ("by another namespace", {"namespaces": ["pay"]}, False),
    ("by pod label", {"labels": {"app": "a*"}}, True),
    ("by a label the pod lacks", {"labels": {"owner": "*"}}, False),
    ("by two labels of which one differs", {"labels": {"app": "api", "tier": "front"}}, False),
    ("by service account", {"serviceAccounts": ["api"]}, True),
    ("by cluster id", {"clusters": ["0d3f"]}, True),
    ("by cluster name", {"clusters": ["prod-*"]}, True),
    ("by another cluster", {"clusters": ["test-*"]}, False),
    ("by cluster label", {"clusterLabels": {"env": "prod"}}, True),
    ("by another cluster label", {"clusterLabels": {"env": "test"}}, False),
    ("by two members that both match", {"namespaces": ["payments"], "clusterLabels": {"env": "prod"}}, True),
    ("by two members of which one does not", {"namespaces": ["payments"], "clusterLabels": {"env": "test"}}, False),
    ("everything, said openly", {"images": ["**"]}, True),
]


@pytest.mark.parametrize(("_name", "rule", "expected"), RULES)
def test_a_rule_matches_when_every_member_does(_name, rule, expected):
    compiled = compile_policy(policy([MatchRule.model_validate(rule)]))
    assert compiled.governs(SCOPE, H) is expected


@pytest.mark.parametrize(("_name", "rule", "expected"), RULES)
def test_exclude_wins_over_match(_name, rule, expected):
    compiled = compile_policy(policy([MatchRule(images=("**",))], [MatchRule.model_validate(rule)]))
    assert compiled.governs(SCOPE, H) is not expected


def test_a_policy_governs_by_digest_what_the_spec_asked_for_by_tag():
    compiled = compile_policy(policy([MatchRule(images=(f"registry.example.com/payments/api@{H}",))]))
    assert compiled.governs(SCOPE, H)
    assert not compiled.governs(SCOPE, "sha256:" + "b" * 64)
    assert not compiled.governs(SCOPE, "")


def test_a_kyverno_pattern_keeps_its_meaning():
    rule = MatchRule(images=("registry.example.com/*",))
    assert compile_policy(policy([rule], dialect="kyverno")).governs(SCOPE, H)
    assert not compile_policy(policy([rule], dialect="native")).governs(SCOPE, H)


def test_a_workload_outside_any_cluster_matches_no_demand_on_clusters():
    scope = Scope(image=SCOPE.image)
    assert not compile_policy(policy([MatchRule(clusters=("prod-*",))])).governs(scope, H)
    assert not compile_policy(policy([MatchRule(namespaces=("payments",))])).governs(scope, H)


# ---------------------------------------------------------------------------------------- the index, by its definition

images = st.builds(
    ImageReference,
    st.sampled_from(["r.example", "docker.io"]),
    st.sampled_from(["a", "a/b", "library/c"]),
    st.sampled_from(["", "1", "2"]),
)
patterns = st.sampled_from(["**", "*", "r.example/*", "r.example/**", "*/a:1", f"*/**@{H}", "docker.io/c:*", "**:2"])
pairs = st.dictionaries(st.sampled_from("xy"), st.sampled_from("12"), max_size=2)
names = st.sampled_from(["", "n1", "n2"])
scopes = st.builds(
    Scope,
    image=images,
    cluster=names,
    cluster_name=names,
    namespace=names,
    service_account=names,
    labels=pairs.map(lambda d: tuple(sorted(d.items()))),
)
rules = st.fixed_dictionaries(
    {},
    optional={
        "images": st.lists(patterns, min_size=1, max_size=2),
        "namespaces": st.lists(st.sampled_from(["n1", "n?", "*"]), min_size=1, max_size=2),
        "clusters": st.lists(st.sampled_from(["n1", "n2"]), min_size=1, max_size=1),
        "labels": st.dictionaries(st.sampled_from("xy"), st.sampled_from(["1", "*"]), min_size=1, max_size=2),
    },
).filter(bool)


def plainly(rule, dialect, scope, digest):
    def some(given, over, texts):
        return not given or any(compile_glob(p, dialect, over)(t) for p in given for t in texts)

    labels = dict(scope.labels)
    return (
        some(rule.images, "image", image_texts(scope.image, digest, dialect))
        and some(rule.namespaces, "namespace", [scope.namespace])
        and some(rule.clusters, "name", [scope.cluster, scope.cluster_name])
        and all(k in labels and compile_glob(p, dialect, "value")(labels[k]) for k, p in rule.labels.items())
    )


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.lists(rules, min_size=1, max_size=2), st.lists(rules, max_size=1)), min_size=1, max_size=4),
    st.sampled_from(["native", "kyverno"]),
    st.lists(st.tuples(scopes, st.sampled_from(["", H])), min_size=1, max_size=10),
)
def test_the_index_agrees_with_the_definition(given_rules, dialect, seen):
    policies = [
        policy(map(MatchRule.model_validate, m), map(MatchRule.model_validate, e), dialect, f"p{i}")
        for i, (m, e) in enumerate(given_rules)
    ]
    index = PolicyIndex([compile_policy(p) for p in policies])
    for scope, digest in seen:
        expected = [
            p.id
            for p in policies
            if any(plainly(r, dialect, scope, digest) for r in p.match)
            and not any(plainly(r, dialect, scope, digest) for r in p.exclude)
        ]
        assert [c.policy.id for c in index.governing(scope, digest)] == expected


def test_patterns_that_match_nothing_are_named_with_their_place():
    rule = MatchRule(images=("registry.example.com/**", "regsitry.example.com/**"), labels={"app": "api", "ap": "*"})
    exclude = MatchRule(namespaces=("kube-sytem",))
    found = unmatched_patterns([policy([rule], [exclude])], [(SCOPE, H)])
    assert [(u.path, u.pattern) for u in found] == [
        (("spec", "match", 0, "images", 1), "regsitry.example.com/**"),
        (("spec", "match", 0, "labels", "ap"), "*"),
        (("spec", "exclude", 0, "namespaces", 0), "kube-sytem"),
    ]
