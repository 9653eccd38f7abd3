"""What admission said, read out of audit events: every row of the table of messages, every mark, every trap."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.collectors import IGNORED
from streams.collectors.engines import classify, engine_of
from tests.helpers.audit_events import decide, event, pod, read

# ----------------------------------------------------------------------------------------------- the table of messages

BLOCKED = "\n\nresource Pod/pay/api was blocked due to the following policies \n\np:\n  r: "
KEYS = ".attestors[0].entries[0].keys: "
SIGSTORE = "failed policy: demo: spec.containers[0].image\nREF signature key validation failed for a for REF: "

WEBHOOKS = [
    # what, webhook, its words, outcome, engine
    ("any webhook", "verify.example.com", ": unsigned", "denied", "webhook"),
    ("no explanation", "verify.example.com", " without explanation", "denied", "webhook"),
    (
        "Kyverno verifies while mutating",
        "mutate.kyverno.svc-fail",
        BLOCKED + KEYS + "no matching signatures",
        "denied",
        "kyverno",
    ),
    (
        "Kyverno, registry away",
        "mutate.kyverno.svc-fail",
        BLOCKED + "Get https://r/v2/: dial tcp: i/o timeout",
        "errored",
        "kyverno",
    ),
    ("Kyverno, image unknown", "mutate.kyverno.svc-fail", BLOCKED + KEYS + "MANIFEST_UNKNOWN: x", "errored", "kyverno"),
    (
        "one unsigned, one away",
        "mutate.kyverno.svc-fail",
        BLOCKED + "no signatures found; i/o timeout",
        "denied",
        "kyverno",
    ),
    ("Kyverno pattern", "validate.kyverno.svc-fail", BLOCKED + "validation error: registry", "denied", "kyverno"),
    ("Kyverno CEL failed:", "ivpol.validate.kyverno.svc-fail", ": Policy p failed: not signed", "denied", "kyverno"),
    (
        "Kyverno CEL error:",
        "ivpol.mutate.kyverno.svc-fail",
        ": Policy p error: failed to evaluate",
        "errored",
        "kyverno",
    ),
    ("Gatekeeper", "validation.gatekeeper.sh", ": [repos] bad\n[repos] worse", "denied", "gatekeeper"),
    (
        "Ratify away",
        "validation.gatekeeper.sh",
        ": [r] System error calling external data provider",
        "errored",
        "gatekeeper",
    ),
    (
        "policy-controller",
        "policy.sigstore.dev",
        ": " + SIGSTORE + "no matching signatures:",
        "denied",
        "policy-controller",
    ),
    (
        "... rate limited",
        "policy.sigstore.dev",
        ": " + SIGSTORE + "unexpected status code 429",
        "errored",
        "policy-controller",
    ),
    ("... wants a digest", "policy.sigstore.dev", ": REF must be an image digest", "denied", "policy-controller"),
    ("Connaisseur", "connaisseur-svc.connaisseur.svc", ": no trust data", "denied", "connaisseur"),
    (
        "... late",
        "connaisseur-svc.connaisseur.svc",
        ": U timed out after validating 1/3 images",
        "errored",
        "connaisseur",
    ),
    ("Kubewarden", "clusterwide-pods.kubewarden.admission", ": no", "denied", "kubewarden"),
    (
        "Notation on AWS",
        "pods.notary-admission.aws.com",
        ": REF image failed signature validation",
        "denied",
        "notation",
    ),
    (
        "Binary Authorization",
        "imagepolicywebhook.image-policy.k8s.io",
        ": denied by x",
        "denied",
        "image-policy-webhook",
    ),
    ("GKE Warden", "warden-validating.common-webhooks.networking.gke.io", ": rejected", "denied", "gke-warden"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("webhook", "words", "outcome", "engine"), [row[1:] for row in WEBHOOKS], ids=[r[0] for r in WEBHOOKS]
)
@pytest.mark.parametrize("code", [400, 403, 422, 500])
def test_a_webhooks_denial_is_read_from_its_words_whatever_its_code(code, webhook, words, outcome, engine):
    decision = decide(event(code=code, message=f'admission webhook "{webhook}" denied the request{words}'))
    assert (decision.outcome, decision.engine, decision.by) == (outcome, engine, webhook)


FAILED = 'Internal error occurred: failed calling webhook "verify.example.com": '
FORBIDDEN = 'pods "api" is forbidden: '
VAP = FORBIDDEN + "ValidatingAdmissionPolicy 'trusted' with binding 'trusted-enforce' denied request: "
POLICY, IMAGES = "validating-admission-policy trusted", "image-policy-webhook imagepolicywebhook"

FRAMES = [
    # what, code, message, outcome, engine and name
    (
        "refused",
        500,
        FAILED + "failed to call webhook: dial tcp: connection refused",
        "errored",
        "webhook verify.example.com",
    ),
    (
        "too slow",
        500,
        FAILED + "failed to call webhook: context deadline exceeded",
        "errored",
        "webhook verify.example.com",
    ),
    (
        "answered 500",
        500,
        FAILED + 'an error on the server ("429") has prevented',
        "errored",
        "webhook verify.example.com",
    ),
    ("wrong uid", 500, FAILED + "received invalid webhook response: expected", "errored", "webhook verify.example.com"),
    (
        "older words",
        500,
        FAILED.replace("calling webhook", "calling admission webhook"),
        "errored",
        "webhook verify.example.com",
    ),
    (
        "panicked",
        500,
        "Internal error occurred: ValidatingAdmissionWebhook/w has panicked: nil",
        "errored",
        "webhook w",
    ),
    ("VAP, default code", 422, VAP + "mutable tag", "denied", POLICY),
    ("VAP, Forbidden", 403, VAP + "outside", "denied", POLICY),
    ("VAP, Unauthorized", 401, VAP + "no", "denied", POLICY),
    ("VAP, too large", 413, VAP + "no", "denied", POLICY),
    ("VAP misconfigured", 422, VAP + "failed to configure binding: no params", "errored", POLICY),
    ("VAP in error", 422, VAP + "expression 'object.x' resulted in error: no such key: x", "errored", POLICY),
    ("image policy", 403, FORBIDDEN + "image policy webhook backend denied one or more images: x", "denied", IMAGES),
    ("older spelling", 403, FORBIDDEN + "image policy webook backend denied one or more images: x", "denied", IMAGES),
    ("other words", 403, FORBIDDEN + "one or more images rejected by webhook backend", "denied", IMAGES),
    ("backend away", 403, FORBIDDEN + 'Post "https://policy": context deadline exceeded', "errored", IMAGES),
    (
        "Pod Security",
        403,
        FORBIDDEN + 'violates PodSecurity "restricted:latest": x',
        "denied",
        "pod-security pod-security",
    ),
    ("quota", 403, FORBIDDEN + "exceeded quota: pods, requested: pods=1", "denied", "quota quota"),
    ("LimitRanger", 403, FORBIDDEN + "maximum cpu usage per Container is 1", "denied", "limit-ranger limit-ranger"),
    ("some plugin", 403, FORBIDDEN + "unable to create new content in namespace pay", "denied", "api-server "),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "message", "outcome", "who"), [row[1:] for row in FRAMES], ids=[row[0] for row in FRAMES]
)
def test_a_rejection_is_read_from_its_frame(code, message, outcome, who):
    decision = decide(event(code=code, message=message, requestObject=pod("nginx")))
    assert (decision.outcome, f"{decision.engine} {decision.by}") == (outcome, who)
    assert decision.message == message
    assert (decision.uid, decision.images[0].submitted, decision.images[0].stored) == ("", "nginx", "")


def asked(verb, subresource, code=101, **reference):
    return event(verb, code=code, reference={"subresource": subresource, **reference})


DECIDED_BY = "authorization.k8s.io/decision"
NO_DECISION = [
    # what, reason, event
    ("RBAC", "forbidden", event(code=403, annotations={DECIDED_BY: "forbid"})),
    (
        "RBAC, unmarked",
        "forbidden",
        event(code=403, message='pods is forbidden: User "a" cannot', annotations={DECIDED_BY: None}),
    ),
    ("401", "unauthenticated", event(code=401, annotations={DECIDED_BY: None})),
    ("409", "conflict", event(code=409, message='pods "api" already exists')),
    ("429", "too-many-requests", event(code=429, message="too many")),
    ("404", "not-found", event(code=404, message='pods "api" not found')),
    ("422", "invalid", event(code=422, message='Pod "api" is invalid: spec.x: Forbidden: is forbidden: no')),
    ("413", "too-large", event(code=413, message="Request entity too large")),
    ("504", "server-error", event(code=504, message="Timeout: request did not complete")),
    ("no dry run", "dry-run-unsupported", event(code=400, message='admission webhook "x" does not support dry run')),
    ("RequestReceived", "stage", event(stage="RequestReceived")),
    ("ResponseStarted", "stage", event(stage="ResponseStarted", code=101)),
    ("exec is a get, 101 even when it failed", "exec", asked("get", "exec")),
    ("exec was a create", "exec", asked("create", "exec")),
    ("attach", "attach", asked("create", "attach")),
    ("port-forward", "portforward", asked("create", "portforward")),
    ("binding", "binding", asked("create", "binding", 201)),
    ("eviction", "eviction", asked("create", "eviction", 201)),
    ("status", "status", asked("patch", "status", 200)),
    ("scale", "scale", asked("patch", "scale", 200, resource="deployments", apiGroup="apps")),
    ("resize", "resize", asked("patch", "resize", 200)),
    ("get", "read", event("get", code=200)),
    ("watch", "read", event("watch", code=200)),
    ("another verb", "verb", event("connect")),
    ("a secret", "resource", event(reference={"resource": "secrets"})),
    ("a revision", "resource", event(reference={"resource": "controllerrevisions", "apiGroup": "apps"})),
    ("no object", "no-object", event(objectRef=None)),
    ("no status", "no-status", event(responseStatus=None)),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "value"), [row[1:] for row in NO_DECISION], ids=[row[0] for row in NO_DECISION])
def test_what_is_no_decision_is_counted_with_its_reason(value, reason):
    assert read(value) == ([], [reason])
    assert reason in IGNORED


def test_a_panic_of_the_api_server_is_an_error_not_a_denial():
    decision = decide(event(stage="Panic", code=500, message="APIServer panic'd: x"))
    assert (decision.outcome, decision.engine) == ("errored", "api-server")


# ---------------------------------------------------------------------------------------------------------------- marks


def calls(prefix, *webhooks, mutated=True):
    return {
        f"{prefix}/round_{r}_index_{i}": json.dumps({"configuration": "c", "webhook": name, "mutated": mutated})
        for r, i, name in webhooks
    }


MUTATION = "mutation.webhook.admission.k8s.io"


def test_webhooks_that_mutated_come_in_order_of_their_calls():
    notes = calls(MUTATION, (0, 10, "ten"), (0, 2, "two"), (1, 0, "again"), (1, 2, "two")) | calls(
        MUTATION, (0, 3, "idle"), mutated=False
    )
    assert decide(event(annotations=notes)).mutated_by == ("two", "ten", "again")


def test_failed_open_names_the_webhooks_mutating_ones_first():
    notes = {
        "failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "validate.example.com",
        "failed-open.mutation.webhook.admission.k8s.io/round_0_index_10": "late.example.com",
        "failed-open.mutation.webhook.admission.k8s.io/round_0_index_2": "early.example.com",
        "imagepolicywebhook.image-policy.k8s.io/failed-open": "true",
    }
    decision = decide(event(annotations=notes | calls(MUTATION, (0, 2, "early.example.com"), mutated=False)))
    assert decision.outcome == "admitted"
    assert decision.failed_open == (
        "early.example.com",
        "late.example.com",
        "validate.example.com",
        "imagepolicywebhook",
    )
    assert decision.mutated_by == ()


def test_a_request_that_failed_open_and_then_failed_is_no_decision():
    notes = {"failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "validate.example.com"}
    assert read(event(code=409, message="exists", annotations=notes)) == ([], ["conflict"])


def test_audit_mode_violations_are_kept():
    failure = [
        {"message": "outside", "policy": "p", "binding": "b", "expressionIndex": 0, "validationActions": ["Audit"]}
    ]
    notes = {
        "validation.policy.admission.k8s.io/validation_failure": json.dumps(failure),
        "pod-security.kubernetes.io/audit-violations": "would violate",
        "imagepolicywebhook.image-policy.k8s.io/overridden-verification-result": "denied by attestor",
    }
    assert decide(event(annotations=notes)).audited == (
        "p/b: outside",
        "pod-security: would violate",
        "image-policy-webhook: denied by attestor",
    )


@pytest.mark.parametrize(
    ("members", "mark"),
    [
        pytest.param(
            {"requestObject": pod("a", labels={"revet.test/break-glass": "inc-1"})},
            "revet.test/break-glass=inc-1",
            id="label",
        ),
        pytest.param(
            {"requestObject": pod("a", annotations={"break-glass": ""})}, "break-glass=", id="annotation, no prefix"
        ),
        pytest.param(
            {"responseObject": pod("a", labels={"x/break-glass": "y"})}, "x/break-glass=y", id="only in what was stored"
        ),
        pytest.param(
            {"requestObject": pod("a", labels={"image-policy.k8s.io/break-glass": "true"})},
            "image-policy.k8s.io/break-glass=true",
            id="Binary Authorization",
        ),
        pytest.param(
            {"requestObject": pod("a", annotations={"alpha.image-policy.k8s.io/break-glass": "true"})},
            "alpha.image-policy.k8s.io/break-glass=true",
            id="Binary Authorization, older",
        ),
        pytest.param(
            {"requestObject": pod("a", labels={"image-policy.k8s.io/break-glass": "false"})},
            "",
            id="which demands true",
        ),
        pytest.param(
            {
                "annotations": {
                    "authorization.k8s.io/decision": "allow",
                    "imagepolicywebhook.image-policy.k8s.io/break-glass": "true",
                }
            },
            "imagepolicywebhook.image-policy.k8s.io/break-glass=true",
            id="audit annotation",
        ),
        pytest.param(
            {"requestObject": [{"op": "add", "path": "/metadata/labels/x~1break-glass", "value": "y"}]},
            "x/break-glass=y",
            id="JSON patch",
        ),
        pytest.param(
            {"requestObject": {"spec": {"template": {"metadata": {"labels": {"x/break-glass": "y"}}}}}},
            "x/break-glass=y",
            id="template",
        ),
        pytest.param(
            {"requestObject": pod("a", labels={"x/not-break-glass": "y", "x/break-glassy": "z"})}, "", id="other names"
        ),
    ],
)
def test_break_glass_is_found_wherever_it_is_marked(members, mark):
    assert decide(event(**members)).break_glass == mark


def test_exemptions_are_named():
    assert (
        decide(event(annotations={"pod-security.kubernetes.io/exempt": "namespace"})).exempt == "pod-security:namespace"
    )
    flat = json.dumps({"r/a:1": "skip", "r/b:1": "fail"})
    scoped = json.dumps({"version": 1, "policies": {"/p": {"rule": {"r/a:1": "skip", "r/b:1": "fail"}}}})
    key = "kyverno.io/verify-images"
    for marks in ({key: flat}, {key: scoped}, {f"{key}-scoped": scoped}, {key: flat, f"{key}-scoped": scoped}):
        decision = decide(event(responseObject=pod("a", annotations=marks)))
        assert decision.exempt == "kyverno:r/a:1"
        assert decision.audited == ("kyverno: r/b:1",)


def test_truncation_and_level_are_told():
    decision = decide(event(level="Metadata", annotations={"audit.k8s.io/truncated": "true"}))
    assert (decision.truncated, decision.level, decision.images) == (True, "Metadata", ())


def test_a_dry_run_has_no_uid_and_says_so():
    decision = decide(event(requestURI="/api/v1/namespaces/pay/pods?dryRun=All", responseObject=pod("a", uid="u")))
    assert (decision.dry_run, decision.uid) == (True, "")
    deletion = decide(event("delete", code=200, requestObject={"kind": "DeleteOptions", "dryRun": ["All"]}))
    assert deletion.dry_run


def test_impersonation_names_both():
    decision = decide(event(impersonatedUser={"username": "bob", "groups": ["ops"]}))
    assert (decision.user, decision.groups, decision.impersonated_by) == ("bob", ("ops",), "alice")


@settings(max_examples=200)
@given(st.text(max_size=300), st.integers(100, 599))
def test_any_message_is_classified_without_exception(message, code):
    for text in (message, 'admission webhook "w" denied the request' + message, FORBIDDEN + message, FAILED + message):
        judgement = classify(text, code)
        assert judgement is None or judgement.outcome in {"denied", "errored"}
    assert engine_of(message)
