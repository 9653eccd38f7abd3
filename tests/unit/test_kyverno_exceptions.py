"""Kyverno's exceptions, odd documents, and recorded policies of a real cluster."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.imports import A
from tests.helpers.kyverno import NO_LOG, block, cluster_policy, exception, keys, resources, run
from verifier.errors import PolicyError, TrustError
from verifier.policy.importers.kyverno import import_kyverno

# ----------------------------------------------------------------------------------------------------------- exceptions


def test_an_exception_becomes_an_exemption_of_thirty_days():
    result = run(exception(resources(namespaces=["delta"])), cluster_policy(block(keys(A))))
    spec = result.exemptions[0].spec
    assert (spec.policy, spec.namespaces, spec.days, spec.reasons) == ("signed.check", ("delta",), 30, ())
    assert "exceptions/legacy" in spec.why
    assert [n.code for n in result.notes] == ["expiry"]


@pytest.mark.parametrize("rule", ["check", "autogen-check", "autogen-cronjob-check", "che*", "*"])
def test_rules_of_an_exception_may_be_patterns_and_generated_names(rule):
    result = run(cluster_policy(block(keys(A))), exception(resources(namespaces=["delta"]), rules=[rule]))
    assert [e.spec.policy for e in result.exemptions] == ["signed.check"]


def test_an_exception_for_a_policy_of_another_file():
    assert run(exception(resources(namespaces=["delta"]))).exemptions[0].spec.policy == "signed.check"
    lost = run(exception(resources(namespaces=["delta"]), rules=["*"]))
    assert (lost.exemptions, [n.code for n in lost.notes]) == ((), ["exception-target"])


WIDER = [
    ("by name", exception(resources(namespaces=["delta"], names=["tool*"]))),
    ("by label", exception(resources(namespaces=["delta"], selector={"matchLabels": {"a": "b"}}))),
    ("by condition", exception(resources(namespaces=["delta"]), conditions={"any": []})),
    ("by what we do not know", exception(resources(namespaces=["delta"]), images=["a/*"])),
]


@pytest.mark.parametrize(("_sentence", "document"), WIDER, ids=[row[0] for row in WIDER])
def test_an_exception_that_would_cover_more_is_left_out_unless_accepted(_sentence, document):
    careful = run(cluster_policy(block(keys(A))), document)
    assert (careful.exemptions, [(n.severity, n.code) for n in careful.notes]) == ((), [("loses", "exception-scope")])
    accepted = run(cluster_policy(block(keys(A))), document, accept_weaker={"exception-scope"})
    assert accepted.exemptions[0].spec.namespaces == ("delta",)
    assert ("weakens", "exception-scope") in [(n.severity, n.code) for n in accepted.notes]


def test_an_exception_for_two_rules_and_two_filters():
    rules = [{"name": n, "match": dict[str, str](), "verifyImages": [block(keys(A))]} for n in ("one", "two")]
    both = exception(resources(namespaces=["x"]), resources(namespaces=["y"]), rules=["one", "two"])
    result = run(cluster_policy(spec={"rules": rules}), both)
    made = [(e.metadata.name, e.spec.policy, e.spec.namespaces[0]) for e in result.exemptions]
    assert made == [
        ("legacy.1", "signed.one", "x"),
        ("legacy.2", "signed.one", "y"),
        ("legacy.3", "signed.two", "x"),
        ("legacy.4", "signed.two", "y"),
    ]


# ------------------------------------------------------------------------------------------------------ odd input, real


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"apiVersion": "v1", "kind": "Namespace"}, "other-kind"),
        ({"apiVersion": "kyverno.io/v2", "kind": "CleanupPolicy"}, "other-kind"),
        ({"apiVersion": "policies.kyverno.io/v1", "kind": "ValidatingPolicy"}, "other-kind"),
        ({"apiVersion": "policies.kyverno.io/v1", "kind": "PolicyException"}, "other-language"),
    ],
)
def test_other_documents_are_left_out_with_a_note(document, code):
    result = run(document)
    assert (result.policies, [n.code for n in result.notes]) == ((), [code])


def test_a_list_of_kubectl_is_read():
    listed = {"apiVersion": "v1", "kind": "List", "items": [cluster_policy(block(keys(A)), metadata={"uid": None})]}
    assert [p.id for p in run(listed).policies] == ["signed.check"]


@pytest.mark.parametrize(
    "document",
    [
        ["no mapping"],
        {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy"},
        cluster_policy({"attestors": []}),
        cluster_policy(block({"nothing": 1})),
        cluster_policy(block({"keys": {"rekor": NO_LOG}})),
        cluster_policy(block(keys("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"))),
        cluster_policy(block(keys("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"))),
        cluster_policy(block(keys(A), failureAction="Shout")),
        cluster_policy(block(keys(A), imageReferences="registry.example.com/*")),
        cluster_policy(block(keys(A), imageReferences=["a b"])),
        cluster_policy(block(keys(A)), match=["Pod"]),
    ],
)
def test_what_kyverno_would_refuse_is_an_error_with_its_place(document):
    with pytest.raises(PolicyError) as caught:
        run(document, accept_weaker=True)
    assert caught.value.line > 0
    assert "c2VjcmV0" not in str(caught.value)


text = st.text("abz*?{}-", max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | text | st.sampled_from([A, "*", "All"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["any", "all", "keys", "entries"]), inner, max_size=3)
    ),
    max_leaves=5,
)
members = st.sampled_from(["image", "imageReferences", "attestors", "attestations", "key", "annotations", "count", "x"])


@settings(max_examples=150)
@given(
    st.dictionaries(members, values, max_size=3), st.dictionaries(st.sampled_from(["match", "exclude", "name"]), values)
)
def test_no_document_makes_the_importer_raise_anything_else(changes, rule):
    document = cluster_policy(block(keys(A)) | changes, **rule)
    with suppress(PolicyError, TrustError):
        run(document)


def test_the_recorded_policies_of_a_real_cluster(require):
    path = require("samples") / "kubernetes" / "recorded" / "how" / "kyverno-policies.yaml"
    result = import_kyverno([(path.name, path.read_text(encoding="utf-8"))])
    found = [(p.id, p.mode, p.match[0].namespaces, p.match[0].images) for p in result.policies]
    assert found == [
        ("require-signed-images.check-signature", "enforce", ("payments",), ("127.0.0.1:5998/*",)),
        ("audit-signed-images.check-signature", "audit", ("inventory",), ("127.0.0.1:5998/*",)),
        ("orders-signed", "enforce", ("orders",), ("127.0.0.1:5998/*",)),
    ]
    assert [p.dialect for p in result.policies] == ["kyverno", "kyverno", "gobwas"]
    assert {n.severity for n in result.notes} == {"info"}
