"""Reports of other engines, as their projects publish them and as they were recorded: every one is read.

The samples lie beside the checkout (`require("samples")`); they are read there and never copied.
"""

import json
from collections import Counter

import pytest
import yaml

from streams.codec import decode, encode
from streams.collectors.claims import claim_observed
from streams.collectors.framing import Refused
from streams.collectors.reports import Claim, read_reports
from streams.sinks.documents import documents


@pytest.fixture(scope="module")
def samples(require):
    return require("samples") / "kubernetes"


NOW = 1_795_300_000_000_000


def claims(*reports):
    """What is read; each becomes an observation that a topic takes, and a document that can be stored."""
    body = b"\n".join(json.dumps(report, default=str).encode() for report in reports)
    found = list(read_reports([body]))
    assert not [one for one in found if isinstance(one, Refused)]
    got = [one for one in found if isinstance(one, Claim)]
    for one in got:
        event = claim_observed(one, cluster="prod-eu", received=NOW)
        assert decode(encode(event)) == event
        (made,) = documents(event)
        assert (made.home, made.time, made.body["orchestrator.cluster.id"]) == ("revet.claim", NOW, "prod-eu")
        assert made.body["provenance.claim.result"] == one.result
        assert str(made.body["message"]).startswith(f"{one.engine or one.feed} says {one.result} of ")
    return got


def of_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


REPORTS = {"PolicyReport", "ClusterPolicyReport", "Report", "ClusterReport", "EphemeralReport"}


def test_every_policy_report_of_the_projects_is_read(samples):
    """YAML is what their tests hold; the API serves the same as JSON."""
    found: Counter[tuple[str, str]] = Counter()
    for folder in ("kyverno/chainsaw", "kyverno-docs"):
        for path in sorted((samples / folder).glob("*.yaml")):
            for document in yaml.safe_load_all(path.read_text()):
                if not isinstance(document, dict) or document.get("kind") not in REPORTS:
                    continue
                results = document.get("results") or (document.get("spec") or {}).get("results") or []
                got = claims(document)
                assert len(got) == len(results), path.name
                said = [(r.get("result") or "error", r.get("policy"), r.get("message") or "") for r in results]
                assert [(c.result, c.policy, c.message) for c in got] == said, path.name  # some leave the result open
                found.update((c.engine, c.result) for c in got)
    assert {("kyverno", "pass"), ("kyverno", "fail"), ("kyverno", "skip")} <= found.keys()
    assert ("KyvernoImageValidatingPolicy", "fail") in found
    assert sum(found.values()) > 40


def test_ephemeral_reports_of_a_real_kyverno_name_the_pod(samples):
    got = claims(*of_lines(samples / "recorded" / "kyverno-ephemeralreports.jsonl"))
    assert {claim.subject.kind for claim in got} == {"Pod", "Deployment"}
    assert all(claim.subject.name and claim.subject.namespace for claim in got)
    assert {bool(claim.subject.uid) for claim in got} == {True, False}  # at a creation there is no UID yet
    assert {claim.at_admission for claim in got} == {True}
    assert all(claim.time is not None and claim.time > 1_795_000_000_000_000 for claim in got)
    assert {claim.result for claim in got} >= {"pass"}


def test_violations_of_a_real_gatekeeper_name_image_and_constraint(samples):
    got = claims(*of_lines(samples / "recorded" / "gatekeeper-violation-logs.jsonl"))
    assert {claim.rule for claim in got} >= {"K8sAllowedRepos"}
    assert any(claim.images == ("docker.io/library/nginx:1.27",) for claim in got)
    assert {claim.feed for claim in got} == {"gatekeeper"}


def test_gatekeepers_export_and_audit_log(samples):
    got = claims(*(line["record"] for line in of_lines(samples / "gatekeeper-docs" / "violations.jsonl")))
    assert [(c.policy, c.rule, c.result, c.subject.kind) for c in got] == [
        ("pod-must-have-test", "K8sRequiredLabels", "fail", "Pod"),
        ("pod-must-have-test", "K8sRequiredLabels", "fail", "Pod"),
        ("container-must-have-limits", "K8sContainerLimits", "fail", "Pod"),
    ]
    assert all(claim.time and not claim.at_admission for claim in got)


def test_ratify_with_nested_artifacts(samples):
    got = claims(json.loads((samples / "ratify-docs" / "verification-01.json").read_text()))
    assert [(c.policy, c.result) for c in got] == [
        ("cosign1", "pass"),
        ("cosign2", "fail"),
        ("sbom", "fail"),
        ("schemavalidator", "pass"),
        ("notaryv2", "pass"),
    ]
    assert got[-1].images == ("test.azurecr.io/test/hello-world@sha256:123",)
