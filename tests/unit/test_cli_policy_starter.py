"""The starter policies: each is sound, in trial, says where it was read, and governs what it says and nothing else."""

import tomllib
from pathlib import Path

import pytest
import yaml

from streams.cli.policy_starter import starter_sets
from tests.helpers.command import revet
from verifier.models import Scope
from verifier.policy.documents import PolicyDocument, load_documents
from verifier.policy.selection import compile_policy
from verifier.reference import parse_reference

SETS = starter_sets()
DIGEST = "sha256:" + "1" * 64


def policy_of(name: str):
    documents, errors = load_documents(name, SETS[name].text)
    assert errors == ()
    (body,) = (d.body for d in documents if isinstance(d.body, PolicyDocument))
    return body.to_policy()


@pytest.mark.parametrize("name", SETS)
def test_each_passes_the_check_by_itself(name, tmp_path):
    (tmp_path / f"{name}.yaml").write_text(SETS[name].text)
    ran = revet("policy", "check", tmp_path)
    assert (ran.code, "nothing to say against" in ran.out) == (0, True), ran.out


@pytest.mark.parametrize("name", SETS)
def test_each_is_in_trial_and_names_a_person_or_workflow_and_its_page(name):
    policy = policy_of(name)
    assert policy.mode == "trial"
    assert policy.description
    assert SETS[name].sources
    assert all(source.startswith("https://") for source in SETS[name].sources)
    for attestor in policy.attestors.values():
        for identity in attestor.keyless.identities if attestor.keyless else ():
            assert identity.issuer.startswith("https://")
            named = identity.subject or identity.subject_pattern or ""
            assert not named.startswith("*")
            assert named.count("*") <= 1


@pytest.mark.parametrize(
    ("image", "governing"),
    [
        ("registry.k8s.io/kube-apiserver:v1.34.1", ["kubernetes"]),
        ("registry.k8s.io/ingress-nginx/controller:v1.12.0", ["kubernetes"]),
        ("gcr.io/distroless/static-debian12:nonroot", ["distroless"]),
        ("cgr.dev/chainguard/static", ["chainguard"]),
        ("cgr.dev/example.com/static", []),
        ("quay.io/cilium/operator-generic:v1.18.0", ["cilium"]),
        ("quay.io/cilium/cilium-envoy:v1", []),
        ("quay.io/argoproj/argocd:v3.0.0", ["argo-cd"]),
        ("quay.io/argoproj/argo-rollouts:v1.5.0", ["argo-rollouts"]),
        ("quay.io/jetstack/cert-manager-controller:v1.18.0", ["cert-manager"]),
        ("quay.io/jetstack/cert-manager-approver-policy:v0.1", []),
        ("ghcr.io/fluxcd/source-controller:v1.7.0", ["flux"]),
        ("envoyproxy/gateway:v1.5.0", ["envoy-gateway"]),
        ("aquasec/tracee:0.20", ["tracee"]),
        ("docker.io/library/nginx", []),
        ("registry.k8s.io.evil.example/kube-apiserver:v1", []),
        ("evil.example/registry.k8s.io/kube-apiserver:v1", []),
    ],
)
def test_what_is_governed(image, governing):
    scope = Scope(image=parse_reference(image))
    assert [n for n in SETS if compile_policy(policy_of(n)).governs(scope, DIGEST)] == governing


def test_all_together_pass_the_check(tmp_path):
    assert revet("policy", "starter", "--dir", tmp_path / "p").code == 0
    assert sorted(f.stem for f in (tmp_path / "p").iterdir()) == sorted(SETS)
    ran = revet("policy", "check", tmp_path / "p")
    assert (ran.code, f"{len(SETS) + 1} sound documents: nothing to say against" in ran.out) == (0, True)


def test_what_is_printed_is_what_is_written(tmp_path):
    ran = revet("policy", "starter", "kubernetes", "cert-manager", "kubernetes")
    assert ran.code == 0
    assert [d["metadata"]["name"] for d in yaml.safe_load_all(ran.out)] == [
        "kubernetes-images",
        "cert-manager-2021-09-20",
        "cert-manager-images",
    ]


def test_the_list_says_what_and_where_from():
    ran = revet("policy", "starter", "--list", "-o", "json")
    assert (ran.code, ran.json["schema"]) == (0, "revet.policy-starter/v1")
    (row,) = (p for p in ran.json["policies"] if p["name"] == "kubernetes")
    assert row["images"] == ["registry.k8s.io/**"]
    assert any(s.startswith("https://kubernetes.io/") for s in row["sources"])
    table = revet("policy", "starter", "kubernetes", "--list").out
    assert "registry.k8s.io/**" in table
    assert "cilium" not in table


def test_a_file_that_is_there_is_never_replaced(tmp_path):
    (tmp_path / "cilium.yaml").write_text("mine")
    ran = revet("policy", "starter", "--dir", tmp_path)
    assert (ran.code, "cilium.yaml is there already" in ran.err) == (2, True)
    assert [f.name for f in tmp_path.iterdir()] == ["cilium.yaml"]
    assert (tmp_path / "cilium.yaml").read_text() == "mine"


def test_an_unknown_name_is_a_usage_error_that_says_what_there_is():
    ran = revet("policy", "starter", "nobody\x1b[2J")
    assert (ran.code, "kubernetes" in ran.err, "\x1b" in ran.err) == (2, True, False)


def test_the_files_are_part_of_the_distribution():
    """Found as a resource of the package, as an installed wheel finds them; the pattern of package data covers them."""

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "*.yaml" in project["tool"]["setuptools"]["package-data"]["*"]
    assert (Path(__file__).parents[2] / "streams" / "starter" / "__init__.py").is_file()
