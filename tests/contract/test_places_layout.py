"""OCI layouts: the recorded images, names of all kinds, and directories that come from an enemy."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.helpers.registry_server import OCI_MANIFEST, REF_NAME, Layout
from verifier.adapters.ocilayout import OciLayoutPlace
from verifier.errors import PlaceRefused
from verifier.evidence.identity import check_evidence_id
from verifier.reference import parse_reference

pytestmark = pytest.mark.asyncio

REPOSITORY = "registry.example.com/payments/api"
REFERENCE = parse_reference(f"{REPOSITORY}:1.4.2")
DEMO = Path(__file__).parents[2] / "streams" / "demo_data"
FORMATS = {"classic": "cosign-simplesigning", "bundle": "sigstore-bundle"}


def recorded() -> list[dict]:
    return json.loads((DEMO / "images.json").read_text())


@pytest.mark.parametrize("image", recorded(), ids=lambda image: image["name"])
async def test_cosign_what_was_recorded_is_found_where_it_was_recorded(image):
    place = OciLayoutPlace(DEMO / "oci")
    collected = await place.collect(parse_reference(image["reference"]), image["digest"])
    assert collected.complete
    found = {(e.artifact, digest_of_layer(e.payload), e.format) for e in collected.evidence}
    for signer in image["signers"]:
        if signer.get("format") in FORMATS:
            assert (signer["artifact"], signer["layer"], FORMATS[signer["format"]]) in found
    for evidence in collected.evidence:
        assert check_evidence_id(evidence)
        assert evidence.repository == parse_reference(image["reference"]).repository


def digest_of_layer(payload: bytes) -> str:
    return "sha256:" + hashlib.sha256(payload).hexdigest()


async def test_a_new_index_is_seen_without_opening_again(tmp_path):
    layout = Layout(tmp_path / "layout")
    image = layout.image(REPOSITORY, "1.4.2")
    layout.close()
    place = OciLayoutPlace(layout.root)
    assert not (await place.collect(REFERENCE, image)).evidence
    layout.signatures(REPOSITORY, image, [b"later"])
    layout.close()
    assert len((await place.collect(REFERENCE, image)).evidence) == 1


@pytest.mark.parametrize("name", ["1.4.2", None], ids=["only a tag", "no name"])
async def test_a_layout_without_full_names_answers_for_the_repository_asked(tmp_path, name):
    layout = Layout(tmp_path / "layout")
    image = layout.image(REPOSITORY, "1.4.2")
    layout.bundle(REPOSITORY, image, b"bundle")
    layout.close()
    listing = json.loads((layout.root / "index.json").read_text())
    for entry in listing["manifests"]:
        tag = entry["annotations"].pop(REF_NAME).rpartition(":")[2]
        if name is not None and tag == name:
            entry["annotations"][REF_NAME] = name
    (layout.root / "index.json").write_text(json.dumps(listing))
    collected = await OciLayoutPlace(layout.root).collect(REFERENCE, image)
    assert [evidence.payload for evidence in collected.evidence] == [b"bundle"]
    assert collected.complete


async def test_a_referrer_that_cannot_be_read_hides_only_itself_and_is_told(tmp_path):
    layout = Layout(tmp_path / "layout")
    image = layout.image(REPOSITORY, "1.4.2")
    layout.bundle(REPOSITORY, image, b"good")
    layout.manifest(REPOSITORY, "", b"{ broken")
    layout.close()
    collected = await OciLayoutPlace(layout.root).collect(REFERENCE, image)
    assert [evidence.payload for evidence in collected.evidence] == [b"good"]
    assert [(p.place, p.code) for p in collected.places if p.outcome == "error"] == [
        ("referrers-api", "registry-protocol")
    ]


# ----------------------------------------------------------------------------------------------- hostile directories


def blob_path(layout: Layout, digest: str) -> Path:
    return layout.root / "blobs" / "sha256" / digest.removeprefix("sha256:")


@pytest.fixture
def signed(tmp_path) -> tuple[Layout, str, Path]:
    """A layout with one signed image, and the file of the signature's payload."""
    layout = Layout(tmp_path / "layout")
    image = layout.image(REPOSITORY, "1.4.2")
    layout.signatures(REPOSITORY, image, [b"payload", b"neighbour"])
    layout.close()
    return layout, image, blob_path(layout, digest_of_layer(b"payload"))


def linked_outside(path: Path) -> None:
    outside = path.parents[3] / "outside"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def gone(path: Path) -> None:
    path.unlink()


def swapped(path: Path) -> None:
    path.write_bytes(b"swapped")


@pytest.mark.parametrize("trick", [linked_outside, a_pipe, a_directory, a_device, huge, gone, swapped])
@pytest.mark.timeout(10)
async def test_nothing_but_regular_files_of_the_layout_is_read(signed, trick):
    layout, image, path = signed
    trick(path)
    collected = await OciLayoutPlace(layout.root).collect(REFERENCE, image)
    assert [evidence.payload for evidence in collected.evidence] == [b"neighbour"]
    (told,) = [place for place in collected.places if place.outcome == "error"]
    assert told.place == "sig-tag"
    assert told.code in {"registry-protocol", "limit-exceeded"}


@pytest.mark.timeout(10)
async def test_blobs_that_are_a_link_to_elsewhere_are_not_read(signed, tmp_path):
    layout, image, _ = signed
    (layout.root / "blobs").rename(tmp_path / "elsewhere")
    (layout.root / "blobs").symlink_to(tmp_path / "elsewhere")
    collected = await OciLayoutPlace(layout.root).collect(REFERENCE, image)
    assert collected.evidence == ()
    assert not collected.complete


@pytest.mark.parametrize("digest", ["sha256:../../../../etc/passwd", "../../outside", "sha256:", "sha256:" + "A" * 64])
async def test_digests_of_the_index_that_are_paths_lead_nowhere(tmp_path, digest):
    layout = Layout(tmp_path / "layout")
    image = layout.image(REPOSITORY, "1.4.2")
    listing = {
        "schemaVersion": 2,
        "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "annotations": {REF_NAME: f"{REPOSITORY}:1.4.2"}},
            {"mediaType": OCI_MANIFEST, "digest": image, "size": 1, "annotations": {REF_NAME: f"{REPOSITORY}:x"}},
        ],
    }
    (layout.root / "index.json").write_text(json.dumps(listing))
    collected = await OciLayoutPlace(layout.root).collect(REFERENCE, image)
    assert collected.tag_digest == ""
    assert collected.evidence == ()


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{", b'{"manifests": 1}', b"[" * 100_000])
async def test_a_directory_that_is_no_layout_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(PlaceRefused):
        OciLayoutPlace(tmp_path)


async def test_an_index_that_is_a_link_is_refused(signed, tmp_path):
    layout, _, _ = signed
    (layout.root / "index.json").rename(tmp_path / "index.json")
    (layout.root / "index.json").symlink_to(tmp_path / "index.json")
    with pytest.raises(PlaceRefused):
        OciLayoutPlace(layout.root)
