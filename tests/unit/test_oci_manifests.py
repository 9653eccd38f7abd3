"""Manifests and indexes: what is read, what is refused by name, and which child of an index a node runs."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import EvidenceError
from verifier.oci.manifests import Index, IndexChild, Manifest, child_of_platform, children_of, parse_manifest
from verifier.oci.media import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

DIGEST = "sha256:" + "a" * 64
LAYER = {"mediaType": "application/x", "digest": DIGEST, "size": 1}


def document(**members) -> bytes:
    return json.dumps({"schemaVersion": 2, **members}).encode()


@pytest.mark.parametrize(
    ("body", "content_type", "kind"),
    [
        (document(mediaType=OCI_MANIFEST, layers=[LAYER]), OCI_MANIFEST, Manifest),
        (document(mediaType=DOCKER_MANIFEST, layers=[LAYER]), DOCKER_MANIFEST, Manifest),
        (document(layers=[LAYER]), OCI_MANIFEST, Manifest),
        (document(layers=[LAYER]), "", Manifest),
        (document(mediaType=OCI_MANIFEST), OCI_MANIFEST, Manifest),
        (document(mediaType=OCI_INDEX, manifests=[LAYER]), OCI_INDEX, Index),
        (document(mediaType=DOCKER_LIST, manifests=[LAYER]), DOCKER_LIST, Index),
        (document(manifests=[LAYER]), "text/plain; charset=utf-8", Index),
        (document(mediaType=OCI_INDEX, manifests=None), OCI_INDEX, Index),
        (document(manifests=[LAYER]), OCI_INDEX + "; charset=utf-8", Index),
    ],
)
def test_a_document_is_what_its_bytes_say(body, content_type, kind):
    assert isinstance(parse_manifest(body, content_type), kind)


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        pytest.param(document(layers=[], manifests=[]), "", "registry-protocol", id="both at once, CVE-2021-41190"),
        pytest.param(document(mediaType=OCI_INDEX, layers=[]), "", "registry-protocol", id="index with layers"),
        pytest.param(
            document(mediaType=OCI_MANIFEST, layers=[]), OCI_INDEX, "registry-protocol", id="header disagrees"
        ),
        pytest.param(document(mediaType=OCI_MANIFEST, manifests=[]), "", "registry-protocol", id="type disagrees"),
        pytest.param(document(), "", "registry-protocol", id="neither"),
        pytest.param(document(), OCI_MANIFEST, "registry-protocol", id="only the header knows"),
        pytest.param(b'{"schemaVersion":1,"layers":[]}', "", "registry-protocol", id="schema 1"),
        pytest.param(
            document(layers=[]),
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "registry-protocol",
            id="schema 1 by header",
        ),
        pytest.param(b'{"layers":[],"layers":[]}', "", "registry-protocol", id="member twice"),
        pytest.param(b"[]", "", "registry-protocol", id="no object"),
        pytest.param(b"<html>", "", "registry-protocol", id="a login page"),
        pytest.param(b"", "", "registry-protocol", id="nothing"),
        pytest.param(b'{"layers":' + b"[" * 5000, "", "limit-exceeded", id="deep"),
        pytest.param(b" " * (4 * 1024 * 1024 + 1), "", "limit-exceeded", id="large"),
        pytest.param(document(layers=[{**LAYER, "digest": "sha256:A"}]), "", "registry-protocol", id="digest"),
        pytest.param(document(layers=[{**LAYER, "digest": "../../x"}]), "", "registry-protocol", id="digest is a path"),
        pytest.param(document(layers=[{**LAYER, "size": -1}]), "", "registry-protocol", id="negative size"),
        pytest.param(document(layers=[{**LAYER, "size": "1"}]), "", "registry-protocol", id="size is text"),
        pytest.param(document(layers=[{**LAYER, "annotations": {"a": 1}}]), "", "registry-protocol", id="annotation"),
        pytest.param(document(manifests=[LAYER] * 1025), "", "limit-exceeded", id="many children"),
    ],
)
def test_a_document_that_cannot_be_trusted_is_refused_with_a_code(body, content_type, code):
    with pytest.raises(EvidenceError) as refused:
        parse_manifest(body, content_type)
    assert refused.value.code == code


def test_messages_hold_no_text_of_the_document():
    with pytest.raises(EvidenceError) as refused:
        parse_manifest(document(layers=[{**LAYER, "size": "\x1b[31m planted"}]))
    assert "planted" not in str(refused.value)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
@settings(max_examples=200)
def test_any_bytes_are_a_manifest_or_an_evidence_error(body):
    with contextlib.suppress(EvidenceError):
        assert isinstance(parse_manifest(body), Manifest | Index)


BASED = {"org.opencontainers.image.base.digest": DIGEST, "org.opencontainers.image.base.name": "docker.io/alpine:3"}


@pytest.mark.parametrize("kind", ["layers", "manifests"])
def test_what_it_is_built_on(kind):
    assert parse_manifest(document(annotations=BASED, **{kind: [LAYER]})).base == (DIGEST, "docker.io/alpine:3")


@pytest.mark.parametrize(
    "annotations",
    [
        None, 7, [], ["x"], {}, {"org.opencontainers.image.base.name": "docker.io/alpine:3"},
        {"org.opencontainers.image.base.digest": "alpine"}, {"org.opencontainers.image.base.digest": [DIGEST]},
        {"org.opencontainers.image.base.digest": DIGEST.upper()},
    ],
)  # fmt: skip
def test_annotations_are_decoration_and_refuse_no_manifest(annotations):
    assert parse_manifest(document(layers=[LAYER], annotations=annotations)).base is None


def test_the_name_of_a_base_is_cut_and_need_not_be_text():
    named = parse_manifest(
        document(layers=[LAYER], annotations={**BASED, "org.opencontainers.image.base.name": "n" * 999})
    )
    assert named.base is not None
    assert len(named.base.name) == 256
    unnamed = parse_manifest(document(layers=[LAYER], annotations={**BASED, "org.opencontainers.image.base.name": 7}))
    assert unnamed.base == (DIGEST, "")


def child(number: int, platform: str) -> IndexChild:
    return IndexChild("sha256:" + "f" * 64, "sha256:" + f"{number:064x}", platform)


@pytest.mark.parametrize(
    ("platforms", "node", "expected"),
    [
        pytest.param(["linux/amd64", "linux/arm64"], "linux/arm64", 1, id="the only one of its architecture"),
        pytest.param(["linux/arm64/v8"], "linux/arm64", 0, id="arm64 means v8"),
        pytest.param(["linux/arm/v6", "linux/arm/v7"], "linux/arm", 1, id="arm means v7"),
        pytest.param(["linux/arm/v6", "linux/arm/v7"], "linux/arm/v6", 0, id="variant said"),
        pytest.param(["linux/arm/v6"], "linux/arm/v7", 0, id="an older variant, and nothing else"),
        pytest.param(["linux/amd64/v2", "linux/amd64/v3"], "linux/amd64", None, id="two variants, neither the default"),
        pytest.param(["windows/amd64", "windows/amd64"], "windows/amd64", None, id="two Windows builds"),
        pytest.param(["linux/amd64"], "linux/s390x", None, id="none"),
        pytest.param(["unknown/unknown", ""], "linux/amd64", None, id="attestation manifests"),
        pytest.param(["linux/amd64"], "", None, id="unknown node"),
    ],
)
def test_the_child_a_node_runs(platforms, node, expected):
    children = [child(number, platform) for number, platform in enumerate(platforms)]
    assert child_of_platform(children, node) == ("" if expected is None else children[expected].digest)


def test_children_keep_platform_and_index():
    platform = {"os": "linux", "architecture": "arm", "variant": "v7", "os.features": ["x"]}
    parsed = parse_manifest(document(manifests=[{**LAYER, "platform": platform}, LAYER]))
    assert isinstance(parsed, Index)
    assert [(c.index, c.platform) for c in children_of(DIGEST, parsed)] == [(DIGEST, "linux/arm/v7"), (DIGEST, "")]
