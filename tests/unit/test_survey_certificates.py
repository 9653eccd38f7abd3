"""From envelopes signed with certificates to a survey, a draft, and a fleet that meets it: no fact is made by hand.

A Notary Project signature lies in an OCI layout as a registry would have it. Without its root the survey repeats what
the certificate says and marks it; with the root it is proven, drafted with a trust store, and verified under the draft.
"""

import json
from time import time_ns

import pytest
import yaml

from tests.helpers.command import revet
from tests.helpers.notation import SUBJECT, envelope
from tests.helpers.pki import Ca, pem
from tests.helpers.registry_server import OCI_MANIFEST, Layout
from verifier.times import DAY

REPOSITORY = "registry.example.com/pay/api"
MEDIA = {"jws": "application/jose+json", "cose": "application/cose"}
NOTATION = "application/vnd.cncf.notary.signature"
NOW = time_ns() // 1_000_000_000 * 1_000_000
"""These certificates are valid now: notation judges a chain without a timestamp at the instant of the verdict."""


@pytest.fixture(scope="module")
def ca() -> Ca:
    return Ca.root("corp", not_before=NOW - DAY, not_after=NOW + 30 * DAY)


@pytest.fixture(params=["jws", "cose"])
def fleet(request, ca, tmp_path):
    """An OCI layout with one image that is signed, and the pods that run it."""
    form = request.param
    layout = Layout(tmp_path / "oci")
    digest = layout.image(REPOSITORY, "1")
    size = (tmp_path / "oci" / "blobs" / "sha256" / digest.removeprefix("sha256:")).stat().st_size
    leaf = ca.leaf("signer", "p256", subject=SUBJECT, not_before=NOW - DAY, not_after=NOW + 20 * DAY)
    artifact = {"mediaType": OCI_MANIFEST, "digest": digest, "size": size}
    payload = json.dumps({"targetArtifact": artifact}).encode()
    data = envelope(leaf, form, payload=payload, at=NOW - DAY // 2)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": NOTATION,
        "config": layout.descriptor(NOTATION, b"{}"),
        "layers": [layout.descriptor(MEDIA[form], data)],
        "subject": artifact,
    }
    signature = layout.manifest(REPOSITORY, "", document)
    layout.list_in_tag(REPOSITORY, digest, signature)
    layout.close()
    status = {"name": "app", "imageID": f"{REPOSITORY}@{digest}", "state": {"running": {}}}
    pod = {
        "metadata": {"name": "api-1", "namespace": "pay", "uid": "u1"},
        "spec": {"containers": [{"name": "app", "image": f"{REPOSITORY}:1"}]},
        "status": {"phase": "Running", "containerStatuses": [status]},
    }
    pods = json.dumps({"kind": "PodList", "apiVersion": "v1", "items": [pod]})
    return pods, f"oci-layout:{tmp_path / 'oci'}", tmp_path


def root_document(ca: Ca) -> str:
    spec = {"format": "notation-ca", "content": pem(*ca.chain)}
    return yaml.safe_dump({"apiVersion": "revet/v1", "kind": "TrustRoot", "metadata": {"name": "corp"}, "spec": spec})


def test_without_its_root_a_certificate_is_repeated_and_not_believed(fleet):
    pods, evidence, _ = fleet
    ran = revet("survey", "--evidence", evidence, "-o", "json", stdin=pods)
    (digest,) = ran.json["repositories"][0]["digests"]
    (signature,) = digest["signatures"]
    assert (ran.code, digest["state"]) == (0, "not-verified")
    assert (signature["signer"]["kind"], signature["signer"]["verified"]) == ("notation", False)
    assert "wabbit-networks.io" in signature["signer"]["name"]


def test_with_its_root_it_is_proven_drafted_and_met(fleet, ca):
    pods, evidence, folder = fleet
    (folder / "root.yaml").write_text(root_document(ca))
    options = ("--trust", folder / "root.yaml", "--evidence", evidence)
    ran = revet("survey", *options, "--draft-policy", folder / "drafted", "-o", "json", stdin=pods)
    assert (ran.code, ran.json["digests"]["signed"]) == (0, 1)
    assert sorted(f.name.partition("-signed-by")[0] for f in (folder / "drafted").iterdir()) == ["policy", "roots.yaml"]
    assert revet("policy", "check", folder / "drafted").code == 0
    for file in (folder / "drafted").iterdir():
        file.write_text(file.read_text().replace("mode: trial", "mode: enforce"))
    verified = revet("verify", f"{REPOSITORY}:1", "--policy", folder / "drafted", "--evidence", evidence, "--explain")
    assert verified.code == 0, verified.out
    assert "valid (step 4 decides)" in verified.out
    assert "chain" in verified.out
