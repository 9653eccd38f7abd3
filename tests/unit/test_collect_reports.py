"""Reports of other engines by hand: shapes without a sample, and garbage."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec import encode
from streams.collectors.bodies import Bodies
from streams.collectors.claims import claim_observed
from streams.collectors.deadletters import CODES
from streams.collectors.framing import Refused
from streams.collectors.reports import Claim, Subject, read_policy_report, read_reports
from streams.engine.wire import MAX_RECORD_BYTES
from streams.events import ClaimObserved, DeadLetter

OPA = {
    "labels": {"id": "1", "version": "1.4"},
    "decision_id": "d-1",
    "path": "system/main",
    "input": {
        "kind": "AdmissionReview",
        "request": {
            "uid": "u",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "pay",
            "name": "api",
            "object": {"spec": {"containers": [{"env": [{"name": "K", "value": "hunter2"}]}]}},
        },
    },
    "result": {"response": {"allowed": False, "status": {"reason": "image is not from our registry"}}},
    "timestamp": "2026-11-20T18:51:44.136391Z",
}
ALERT = {
    "alert_message": "CONNAISSEUR rejected a request",
    "priority": 3,
    "namespace": "pay",
    "images": "docker.io/library/nginx:1, quay.io/a/b:2",
    "request_id": "u-1",
    "timestamp": "2026-11-20T18:51:44.136391Z",
}
RATIFY2 = {
    "succeeded": False,
    "artifactReports": [
        {
            "subject": "r.example/a@sha256:1",
            "artifact": {"digest": "sha256:2"},
            "results": [{"verifierName": "notation-1", "errorReason": "no signature", "description": "checked"}],
            "artifactReports": [{"subject": "r.example/a@sha256:2", "results": [{"verifierName": "sbom"}]}],
        }
    ],
}


def read(*documents):
    return read_raw(b"\n".join(json.dumps(d).encode() for d in documents))


def read_raw(body):
    return list(read_reports([body]))


def test_opa_logs_come_as_compressed_arrays():
    (claim,) = read_raw(gzip.compress(json.dumps([OPA]).encode()))
    assert (claim.engine, claim.result, claim.policy, claim.subject.name) == ("opa", "fail", "system/main", "api")
    assert (claim.message, claim.at_admission) == ("image is not from our registry", True)
    assert "hunter2" not in repr(claim)


def test_opa_decisions_about_something_else_are_no_claims():
    assert read({**OPA, "input": {"user": "x"}, "result": True}) == []
    assert read({**OPA, "input": {"request": {"method": "GET"}}, "result": {"allow": True}}) == []


def test_connaisseurs_sentence_says_what_it_did():
    (rejected,) = read(ALERT)
    assert (rejected.result, rejected.images) == ("fail", ("docker.io/library/nginx:1", "quay.io/a/b:2"))
    (admitted,) = read({**ALERT, "alert_message": "CONNAISSEUR admitted a request.", "images": ""})
    assert (admitted.result, admitted.images) == ("pass", ())


def test_ratify_version_2():
    assert [(c.policy, c.result, c.message) for c in read(RATIFY2)] == [
        ("notation-1", "fail", "no signature"),
        ("sbom", "pass", ""),
    ]


def test_a_list_of_reports_and_fractions_of_seconds():
    one = {"policy": "p", "result": "warn", "timestamp": {"seconds": 1795200073.5, "nanos": 0}, "source": "trivy"}
    report = {"apiVersion": "wgpolicyk8s.io/v1alpha2", "kind": "PolicyReport", "results": [one], "metadata": {}}
    (claim,) = read({"kind": "PolicyReportList", "apiVersion": "wgpolicyk8s.io/v1alpha2", "items": [report]})
    assert (claim.engine, claim.result, claim.time) == ("trivy", "warn", 1_795_200_073_500_000)


BAD = {
    "another kind": ({"kind": "Pod", "apiVersion": "v1"}, "kind-missing"),
    "another group's Report": ({"kind": "Report", "apiVersion": "example.com/v1", "results": []}, "kind-missing"),
    "results that are no list": (
        {"kind": "PolicyReport", "apiVersion": "wgpolicyk8s.io/v1alpha2", "results": 7}, "object-malformed"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_report_is_refused_by_name_and_the_next_is_read(name):
    document, code = BAD[name]
    refusal, claim = read(document, ALERT)
    assert isinstance(refusal, Refused)
    assert refusal.code == code
    assert isinstance(claim, Claim)


def observed(claim, received=1, **more):
    return claim_observed(claim, cluster="c1", received=received, **more)


def test_a_claim_that_comes_again_has_the_same_id_and_one_that_says_something_else_another():
    (claim,) = read(ALERT)
    assert observed(claim, 1).id == observed(claim, 2).id
    (later,) = read({**ALERT, "timestamp": "2026-11-20T18:51:45Z"})
    (other,) = read({**ALERT, "alert_message": "CONNAISSEUR admitted a request."})
    assert len({observed(one).id for one in (claim, later, other)}) == 3
    assert observed(claim, occasion="7").id == observed(claim).id, "the engine's own time is enough"


def test_without_a_time_the_occasion_tells_two_claims_apart():
    (claim,) = read({**ALERT, "timestamp": None})
    assert observed(claim).said is None
    assert observed(claim, occasion="u:1").id != observed(claim, occasion="u:2").id


def test_a_claim_as_long_as_can_be_fits_into_a_record():
    wide = "\U0001f984" * 600
    about = Subject(*(wide[:512],) * 4)
    claim = Claim("opa", wide[:512], "fail", wide[:512], wide[:512], (wide * 4)[:2048], about, (wide[:512],) * 100)
    event = observed(claim)
    assert 0 < len(event.images) < 100
    assert len(encode(event)) < MAX_RECORD_BYTES - 8 * 1024


def test_a_body_of_reports_gives_claims_and_dead_letters_of_the_sender():
    lying = {**ALERT, "cluster": "somebody-else"}
    body = json.dumps(lying).encode() + b"\n" + json.dumps({"kind": "Pod"}).encode()
    batch = Bodies().read("c1", body, 5, "reports")
    claim, letter = batch.observations
    assert isinstance(claim, ClaimObserved)
    assert (claim.cluster, claim.time, claim.source) == ("c1", 5, "reports:c1")
    assert isinstance(letter, DeadLetter)
    assert (letter.code, letter.source, batch.letters) == ("kind-missing", "reports:c1:2", {"kind-missing": 1})
    assert batch.originals == ()


def test_an_item_of_a_list_needs_no_kind():
    """API servers that serve typed lists leave it out, and the request named it."""
    (claim,) = read_policy_report(b'{"results":[{"policy":"p","result":"fail"}]}', "policyreports")
    assert isinstance(claim, Claim)
    assert (claim.policy, claim.result) == ("p", "fail")
    (refusal,) = read_policy_report(b'{"results":7}', "policyreports")
    assert isinstance(refusal, Refused)
    assert (refusal.code, refusal.position) == ("object-malformed", "policyreports")
    (deep,) = read_policy_report(b'{"results":' + b"[" * 9000 + b"]" * 9000 + b"}", "policyreports")
    assert isinstance(deep, Refused)
    assert deep.code == "too-deep"


def test_an_unknown_result_is_no_pass():
    report = {"apiVersion": "openreports.io/v1alpha1", "kind": "Report", "results": [{"policy": "p", "result": "ok"}]}
    assert [claim.result for claim in read(report)] == ["error"]


WORDS = st.sampled_from(
    ["kind", "apiVersion", "results", "items", "spec", "metadata", "scope", "eventType", "enforcementAction", "result",
     "event_type", "constraint_kind", "isSuccess", "verifierReports", "succeeded", "artifactReports", "alert_message",
     "decision_id", "input", "request", "timestamp", "images", "ts", "nestedReports", "properties"]
)  # fmt: skip
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES |= st.sampled_from(["PolicyReport", "wgpolicyk8s.io/v1alpha2", "Report", "openreports.io/v1", "pass", "x" * 9])
JSON = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5), max_leaves=25
)


@settings(max_examples=400)
@given(JSON)
def test_garbage_never_raises(body):
    for found in read_reports([json.dumps(body).encode()]):
        assert isinstance(found, Claim) or found.code in CODES
