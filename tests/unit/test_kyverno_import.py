"""Kyverno's verifyImages and PolicyException: what is carried over, and that no check gets weaker unseen."""

from contextlib import suppress

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import PolicyError, TrustError
from verifier.models import ImageReference, Scope
from verifier.policy.documents import PolicyDocument, load_documents, plain, policy_document
from verifier.policy.importers.kyverno import import_kyverno
from verifier.policy.importers.notes import WeakeningImport
from verifier.policy.selection import compile_policy

H = "sha256:" + "a" * 64


def public_key(number):
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


A, B, C = public_key(11), public_key(12), public_key(13)
NO_LOG = {"ignoreTlog": True, "url": ""}


def keys(pem, **more):
    return {"keys": {"publicKeys": pem, "rekor": NO_LOG}, **more}


def block(*entries, count=None, **more):
    attestors = [{"entries": list(entries)} | ({} if count is None else {"count": count})]
    return {"imageReferences": ["registry.example.com/*"], "attestors": attestors} | more


def cluster_policy(*blocks, name="signed", kind="ClusterPolicy", spec=None, metadata=None, **rule):
    match = {"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["payments"]}}]}
    first = {"name": "check", "match": match, "verifyImages": list(blocks)} | rule
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": kind,
        "metadata": {"name": name} | (metadata or {}),
        "spec": {"rules": [first]} | (spec or {}),
    }


def exception(*filters, name="legacy", policy="signed", rules=("check",), **spec):
    body = {"exceptions": [{"policyName": policy, "ruleNames": list(rules)}], "match": {"any": list(filters)}} | spec
    metadata = {"name": name, "namespace": "exceptions"}
    return {"apiVersion": "kyverno.io/v2", "kind": "PolicyException", "metadata": metadata, "spec": body}


def run(*documents, **options):
    return import_kyverno([("k.yaml", yaml.safe_dump_all(documents))], **options)


def tree(require, policy):
    """A requirement with the attestors' generated names replaced by A, B, C."""
    names = {pem: letter for letter, pem in (("A", A), ("B", B), ("C", C))}
    if require.signed_by:
        return names[policy.attestors[require.signed_by].keys[0]]
    children = [tree(child, policy) for child in require.children]
    if require.at_least:
        return (f"{require.at_least.count} of", *children)
    return ("all" if require.all else "any", *children)


def signatures(result):
    assert len(result.policies) == 1
    return tree(result.policies[0].require, result.policies[0])


def weakened(document, **options):
    with pytest.raises(WeakeningImport) as caught:
        run(document, **options)
    return caught.value.codes


COUNTS = [
    ("no count: all entries", [keys(A), keys(B)], None, ("all", "A", "B")),
    ("count 0: all entries", [keys(A), keys(B)], 0, ("all", "A", "B")),
    ("count 1: any entry", [keys(A), keys(B)], 1, ("any", "A", "B")),
    ("count 2 of 3", [keys(A), keys(B), keys(C)], 2, ("2 of", "A", "B", "C")),
    ("count of all", [keys(A), keys(B)], 2, ("all", "A", "B")),
    ("one entry", [keys(A)], None, "A"),
    ("several keys in one text are entries of their own", [keys(A + B)], None, ("all", "A", "B")),
    ("and count over them", [keys(A + B + C)], 2, ("2 of", "A", "B", "C")),
    (
        "a nested set",
        [keys(A), {"attestor": {"count": 1, "entries": [keys(B), keys(C)]}}],
        None,
        ("all", "A", ("any", "B", "C")),
    ),
]


@pytest.mark.parametrize(("_sentence", "entries", "count", "expected"), COUNTS, ids=[row[0] for row in COUNTS])
def test_attestor_sets_become_a_tree(_sentence, entries, count, expected):
    result = run(cluster_policy(block(*entries, count=count)))
    assert signatures(result) == expected
    assert not [n for n in result.notes if n.severity != "info"]


def test_all_sets_must_hold():
    two = block() | {"attestors": [{"entries": [keys(A)]}, {"entries": [keys(B)]}]}
    assert signatures(run(cluster_policy(two))) == ("all", "A", "B")


def test_annotations_of_an_entry_go_before_those_of_the_block():
    result = run(cluster_policy(block(keys(A, annotations={"env": "prod"}), keys(B), annotations={"env": "any"})))
    assert [leaf.annotations for leaf in result.policies[0].require.leaves()] == [{"env": "prod"}, {"env": "any"}]


@pytest.mark.parametrize(
    ("count", "entries"), [(3, [keys(A), keys(B)]), (-1, [keys(A)]), ("two", [keys(A)]), (None, [])]
)
def test_a_count_that_cannot_be_met_is_an_error(count, entries):
    with pytest.raises(PolicyError, match=r"k\.yaml:\d+:\d+: spec\.rules\[0\]\.verifyImages\[0\]\.attestors\[0\]"):
        run(cluster_policy(block(*entries, count=count)))


# ------------------------------------------------------------------------------------------------- the old form, modes


def old(**members):
    return {"image": "registry.example.com/*"} | members


def test_the_old_form_with_image_and_key():
    result = run(cluster_policy(old(key=A, annotations={"env": "prod"}), spec={"validationFailureAction": "enforce"}))
    policy = result.policies[0]
    assert (signatures(result), policy.mode, policy.match[0].images) == ("A", "enforce", ("registry.example.com/*",))
    assert policy.require.annotations == {"env": "prod"}
    assert [n.code for n in result.notes if n.severity != "info"] == ["transparency-log"]


def test_the_old_form_with_several_keys():
    assert signatures(run(cluster_policy(old(key=A + B)))) == ("all", "A", "B")


@pytest.mark.parametrize(
    ("_sentence", "members", "codes"),
    [
        ("keyless", {"issuer": "https://issuer.example", "subject": "a@example.com"}, ("keyless",)),
        ("a key that is elsewhere", {"key": "k8s://security/cosign"}, ("key-reference",)),
        ("a key of attestations", {"key": A, "attestations": [{"predicateType": "https://x"}]}, ("attestations",)),
    ],
)
def test_the_old_form_where_it_would_get_weaker(_sentence, members, codes):
    assert weakened(cluster_policy(old(**members))) == codes


@pytest.mark.parametrize(
    ("in_block", "in_spec", "mode"),
    [(None, None, "audit"), ("Enforce", None, "enforce"), (None, "enforce", "enforce"), ("Audit", "Enforce", "audit")],
)
def test_modes(in_block, in_spec, mode):
    spec = {} if in_spec is None else {"validationFailureAction": in_spec}
    more = {} if in_block is None else {"failureAction": in_block}
    assert run(cluster_policy(block(keys(A), **more), spec=spec)).policies[0].mode == mode


# ------------------------------------------------------------------------------------------------------- what gets lost

KEYLESS = {"keyless": {"issuer": "https://issuer.example", "subject": "https://github.example/org/*"}}
CERTIFICATE = {"certificates": {"cert": "-----BEGIN CERTIFICATE-----"}}
SECRET = {"keys": {"secret": {"name": "cosign", "namespace": "security"}, "rekor": NO_LOG}}
KMS = {"keys": {"kms": "awskms:///arn", "rekor": NO_LOG}}
VARIABLE = {"keys": {"publicKeys": "{{ keys.data.org }}", "rekor": NO_LOG}}

WEAKER = [
    ("keyless beside a key", block(keys(A), KEYLESS), ("keyless",)),
    ("only keyless", block(KEYLESS), ("keyless",)),
    ("a certificate beside a key", block(keys(A), CERTIFICATE), ("certificates",)),
    ("a key in a secret", block(SECRET), ("key-reference",)),
    ("a key in a KMS", block(keys(A), KMS), ("key-reference",)),
    ("a key from a variable", block(VARIABLE), ("key-reference",)),
    ("two of three, two of them lost", block(keys(A), KEYLESS, SECRET, count=2), ("key-reference", "keyless")),
    ("a nested set that is lost", block(keys(A), {"attestor": {"entries": [KEYLESS]}}), ("keyless",)),
    (
        "a log that is demanded",
        block({"keys": {"publicKeys": A, "rekor": {"url": "https://rekor.example"}}}),
        ("transparency-log",),
    ),
    ("a log that is demanded by default", block({"keys": {"publicKeys": A}}), ("transparency-log",)),
    (
        "an attestation",
        block(keys(A), attestations=[{"type": "https://slsa.dev/provenance/v1", "conditions": []}]),
        ("attestations",),
    ),
    ("only an attestation", {"imageReferences": ["r/*"], "attestations": [{"type": "https://x"}]}, ("attestations",)),
    ("conditions on attestations", block(keys(A), validate={"deny": {}}), ("validate",)),
    ("Notary", block(keys(A), type="Notary"), ("notary",)),
    ("a member of tomorrow's Kyverno", block(keys(A), quorum=2), ("unknown-member",)),
    ("the same in an entry", block(keys(A, threshold=2)), ("unknown-member",)),
    ("a variable among the patterns", block(keys(A), imageReferences=["r/*", "{{ images.a }}"]), ("variable",)),
]


@pytest.mark.parametrize(("_sentence", "lossy", "codes"), WEAKER, ids=[row[0] for row in WEAKER])
def test_a_loss_that_weakens_a_check_is_an_error(_sentence, lossy, codes):
    assert weakened(cluster_policy(lossy)) == codes


@pytest.mark.parametrize(("_sentence", "lossy", "codes"), WEAKER, ids=[row[0] for row in WEAKER])
def test_unless_that_kind_of_loss_is_accepted(_sentence, lossy, codes):
    assert run(cluster_policy(lossy), accept_weaker=True).notes == run(cluster_policy(lossy), accept_weaker=codes).notes
    assert weakened(cluster_policy(lossy), accept_weaker={"another"}) == codes


def test_the_error_says_where_and_is_one_of_ours():
    with pytest.raises(TrustError, match=r"^k\.yaml:\d+: spec\.rules\[0\]\.verifyImages\[0\]\.attestors\[0\]"):
        run(cluster_policy(block(KEYLESS)))


ACCEPTED = [
    ("what is left is required", block(keys(A), KEYLESS), "A"),
    ("two of three, one left over", block(keys(A), KEYLESS, SECRET, count=2), None),
    ("three of four, one lost", block(keys(A), keys(B), keys(C), KEYLESS, count=4), ("all", "A", "B", "C")),
    (
        "a nested set keeps what it can",
        block(keys(A), {"attestor": {"entries": [keys(B), KEYLESS]}}),
        ("all", "A", "B"),
    ),
    ("nothing is left", block(KEYLESS), None),
]


@pytest.mark.parametrize(("_sentence", "lossy", "expected"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_an_accepted_loss_keeps_what_can_be_kept(_sentence, lossy, expected):
    result = run(cluster_policy(lossy), accept_weaker=True)
    assert (signatures(result) if result.policies else None) == expected


STRICTER = [
    ("one of two, the other keyless", block(keys(A), KEYLESS, count=1), "A", ["keyless"]),
    (
        "one of a key and a nested lost set",
        block(keys(A), {"attestor": {"entries": [keys(B), KEYLESS]}}, count=1),
        "A",
        ["keyless"],
    ),
    ("two of three, one lost", block(keys(A), keys(B), SECRET, count=2), ("all", "A", "B"), ["key-reference"]),
    ("signatures in another repository", block(keys(A), repository="r.example/sigs"), "A", ["repository"]),
    ("another repository for an entry", block(keys(A, repository="r.example/sigs")), "A", ["repository"]),
    (
        "another hash",
        block({"keys": {"publicKeys": A, "rekor": NO_LOG, "signatureAlgorithm": "sha512"}}),
        "A",
        ["signature-algorithm"],
    ),
]


@pytest.mark.parametrize(("_sentence", "lossy", "expected", "codes"), STRICTER, ids=[row[0] for row in STRICTER])
def test_a_loss_that_asks_more_is_a_note(_sentence, lossy, expected, codes):
    result = run(cluster_policy(lossy))
    assert signatures(result) == expected
    assert [(n.severity, n.code) for n in result.notes] == [("loses", code) for code in codes]


def test_keys_that_are_elsewhere_can_be_given():
    given_keys = {"k8s://security/cosign": A, "awskms:///arn": B}
    assert signatures(run(cluster_policy(block(SECRET, KMS)), keys=given_keys)) == ("all", "A", "B")


QUIET = {"mutateDigest": False, "verifyDigest": True, "required": False, "type": "SigstoreBundle", "useCache": True}


def test_what_changes_no_check_is_at_most_information():
    result = run(cluster_policy(block(keys(A), **QUIET), spec={"background": False, "failurePolicy": "Ignore"}))
    assert {n.severity for n in result.notes} == {"info"}
    assert {n.code for n in result.notes} == {"digest", "required", "format"}


# ---------------------------------------------------------------------------------------------------- match and exclude


def scope(image="registry.example.com/a/b:1", namespace="payments", **labels):
    repository, _, tag = image.rpartition(":")
    registry, _, path = repository.partition("/")
    return Scope(ImageReference(registry, path, tag), namespace=namespace, labels=tuple(sorted(labels.items())))


def governs(document, where, **options):
    return any(compile_policy(p).governs(where, H) for p in run(document, **options).policies)


def resources(**members):
    return {"resources": {"kinds": ["Pod"]} | members}


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
        ({"apiVersion": "policies.kyverno.io/v1", "kind": "ImageValidatingPolicy"}, "other-language"),
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
    ]
    assert {n.severity for n in result.notes} == {"info", "loses"}
    assert [n.code for n in result.notes if n.severity == "loses"] == ["other-language"]
