"""Places without a registry: lookaside directories, `dir:` layouts and stored trust data, honest and hostile.

What every place promises is asked of both in the first part; what one layout is like, and what an enemy puts into it,
in the others.
"""

import base64
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.trustdata import SigningKey, TrustData
from verifier.adapters.lookaside import SIGNATURE_FILE_BYTES, SIGNATURE_FILES, LookasidePlace, read_within
from verifier.adapters.trustdata_dir import TrustDataPlace
from verifier.errors import EvidenceError, ImageReferenceError, PlaceRefused
from verifier.evidence.identity import check_evidence_id
from verifier.evidence.material import Material
from verifier.evidence.trustdata import FILE_BYTES, read_root_keys, trustdata_fact_parts
from verifier.models import Evidence, ImageReference
from verifier.oci.port import Collected, EvidencePlace
from verifier.oci.wire import Absent, Failed, Found
from verifier.reference import parse_reference

pytestmark = pytest.mark.asyncio

REGISTRY = "registry.example.com:5000"
REPOSITORY = f"{REGISTRY}/payments/api"
REFERENCE = parse_reference(f"{REPOSITORY}:1.4.2")
HEX, INDEX_HEX, OTHER_HEX = (f"{n:064x}" for n in (1, 2, 3))
DIGEST, INDEX, OTHER = (f"sha256:{text}" for text in (HEX, INDEX_HEX, OTHER_HEX))
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def codes(collected: Collected) -> list[tuple[str, str]]:
    return [(place.outcome, place.code) for place in collected.places]


def payloads(collected: Collected) -> list[bytes]:
    return sorted(evidence.payload for evidence in collected.evidence)


# --------------------------------------------------------------------------------------------------- what both promise


class Lookaside:
    """A tree of signatures, as `skopeo copy --sign-by` leaves it."""

    name = "lookaside"
    format = "openpgp-simplesigning"

    def __init__(self, root: Path):
        self.root = root
        root.mkdir()

    def sign(self, digest: str, path: str = "payments/api") -> None:
        put(self.root / f"{path}@{digest.replace(':', '=')}" / "signature-1", f"signed {digest}".encode())

    def open(self) -> EvidencePlace:
        return LookasidePlace(self.root)


class Notary:
    """A directory of trust data, as the Docker client leaves it."""

    name = "trust-data"
    format = "tuf-trust-data"

    def __init__(self, root: Path):
        self.root = root
        self.repositories: dict[str, TrustData] = {}
        root.mkdir()

    def sign(self, digest: str, path: str = "payments/api") -> None:
        gun = f"{REGISTRY}/{path}"
        made = self.repositories.setdefault(gun, TrustData(gun))
        made.tag(f"tag-{len(made.entries)}", digest)
        write(self.root, made)

    def open(self) -> EvidencePlace:
        return TrustDataPlace(self.root)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write(root: Path, made: TrustData, files: dict[str, bytes] | None = None) -> Path:
    folder = root / made.gun / "metadata"
    for name, data in (made.files() if files is None else files).items():
        put(folder / name, data)
    return folder


@pytest.fixture(params=[Lookaside, Notary], ids=lambda kind: kind.name)
def kept(request, tmp_path):
    return request.param(tmp_path / "kept")


async def test_nothing_kept_is_known_to_be_nothing(kept):
    collected = await kept.open().collect(REFERENCE, DIGEST)
    assert collected.evidence == ()
    assert collected.complete
    assert [(p.place, p.digest, p.outcome) for p in collected.places] == [(kept.name, DIGEST, "absent")]


async def test_what_is_kept_is_found_with_its_place(kept):
    kept.sign(DIGEST)
    collected = await kept.open().collect(REFERENCE, DIGEST)
    (evidence,) = collected.evidence
    assert (evidence.format, evidence.place) == (kept.format, kept.name)
    assert (evidence.repository, evidence.subject, evidence.artifact) == (REPOSITORY, DIGEST, "")
    assert check_evidence_id(evidence)
    assert codes(collected) == [("found", "")]


async def test_another_digest_or_repository_has_its_own(kept):
    kept.sign(DIGEST)
    kept.sign(OTHER, "checkout/web")
    place = kept.open()
    assert (await place.collect(REFERENCE, OTHER)).evidence == ()
    assert (await place.collect(parse_reference(f"{REGISTRY}/checkout/web"), DIGEST)).evidence == ()
    there = await place.collect(parse_reference(f"{REGISTRY}/checkout/web"), OTHER)
    assert [e.repository for e in there.evidence] == [f"{REGISTRY}/checkout/web"]


async def test_indexes_known_from_earlier_are_asked_about(kept):
    kept.sign(INDEX)
    collected = await kept.open().collect(REFERENCE, DIGEST, "linux/amd64", (INDEX, DIGEST, INDEX))
    assert [evidence.subject for evidence in collected.evidence] == [INDEX]
    assert collected.closure.indexes == (INDEX,)
    assert [(p.digest, p.outcome) for p in collected.places] == [(DIGEST, "absent"), (INDEX, "found")]


async def test_too_many_indexes_are_told(kept):
    many = tuple(f"sha256:{n:064x}" for n in range(100, 120))
    collected = await kept.open().collect(REFERENCE, DIGEST, None, many)
    assert ("error", "limit-exceeded") in codes(collected)
    assert not collected.complete


async def test_what_was_kept_meanwhile_is_seen(kept):
    place = kept.open()
    assert not (await place.collect(REFERENCE, DIGEST)).evidence
    kept.sign(DIGEST)
    assert len((await place.collect(REFERENCE, DIGEST)).evidence) == 1


async def test_only_what_is_pinned_resolves(kept):
    place = kept.open()
    assert await place.resolve(parse_reference(f"{REPOSITORY}@{DIGEST}")) == DIGEST
    with pytest.raises(PlaceRefused) as caught:
        await place.resolve(REFERENCE)
    assert caught.value.code == "registry-not-found"


HOSTILE_NAMES = [
    ImageReference(REGISTRY, "../../secrets"),
    ImageReference(REGISTRY, "a/../../b"),
    ImageReference(REGISTRY, "/etc"),
    ImageReference("..", "payments/api"),
    ImageReference("", "payments/api"),
    ImageReference("registry.example.com/..", "api"),
    ImageReference(REGISTRY, "a\x00b"),
    ImageReference(REGISTRY, "payments/api@sha256=x"),
    ImageReference(REGISTRY, "Payments/api"),
]


@pytest.mark.parametrize("reference", HOSTILE_NAMES, ids=str)
async def test_names_that_would_be_other_paths_are_refused(kept, reference):
    with pytest.raises(ImageReferenceError):
        await kept.open().collect(reference, DIGEST)
    with pytest.raises(ImageReferenceError):
        await kept.open().resolve(reference)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../x", "sha512:" + "a" * 128, HEX, DIGEST.upper()])
async def test_digests_that_are_none_are_refused(kept, digest):
    with pytest.raises(ImageReferenceError):
        await kept.open().collect(REFERENCE, digest)


async def test_a_folder_that_is_not_there_is_refused(kept, tmp_path):
    for path in (tmp_path / "absent", put(tmp_path / "file", b"")):
        with pytest.raises(PlaceRefused):
            type(kept.open())(path)


async def test_a_folder_that_went_away_is_no_absence(kept):
    place = kept.open()
    kept.root.rmdir()
    collected = await place.collect(REFERENCE, DIGEST)
    assert codes(collected) == [("error", "registry-unavailable")]


async def test_a_folder_may_itself_be_reached_by_a_link(kept, tmp_path):
    kept.sign(DIGEST)
    (tmp_path / "link").symlink_to(kept.root)
    place = type(kept.open())(tmp_path / "link")
    assert len((await place.collect(REFERENCE, DIGEST)).evidence) == 1


# ----------------------------------------------------------------------------------------------------------- tricks


def linked_outside(path: Path, elsewhere: Path) -> None:
    path.rename(elsewhere / "moved")
    path.symlink_to(elsewhere / "moved")


def linked_inside(path: Path, elsewhere: Path) -> None:
    path.rename(path.parent / "moved")
    path.symlink_to("moved")


def folder_linked(path: Path, elsewhere: Path) -> None:
    path.parent.rename(elsewhere / "moved")
    path.parent.symlink_to(elsewhere / "moved")


def a_pipe(path: Path, elsewhere: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path, elsewhere: Path) -> None:
    path.unlink()
    path.mkdir()


def a_device(path: Path, elsewhere: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def huge(path: Path, elsewhere: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def a_loop(path: Path, elsewhere: Path) -> None:
    path.unlink()
    path.symlink_to(path)


TRICKS = [linked_outside, linked_inside, folder_linked, a_pipe, a_folder, a_device, huge, a_loop]


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.timeout(10)
async def test_nothing_but_regular_files_of_the_folder_is_read(kept, tmp_path, trick: Callable[[Path, Path], None]):
    kept.sign(DIGEST)
    (path,) = [p for p in kept.root.rglob("*") if p.name in {"signature-1", "root.json"}]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    trick(path, elsewhere)
    collected = await kept.open().collect(REFERENCE, DIGEST)
    assert collected.evidence == ()
    ((outcome, code),) = codes(collected)
    assert outcome == "error"
    assert code == ("limit-exceeded" if trick is huge else "registry-protocol")


@pytest.mark.parametrize("parts", [("..", "secret"), ("a/../../secret",), ("",), (".",), ("a\x00b",)])
async def test_file_names_are_single_names(tmp_path, parts):
    put(tmp_path / "secret", b"secret")
    (tmp_path / "root").mkdir()
    assert isinstance(read_within(tmp_path / "root", parts, 10), Failed)


async def test_a_name_too_long_for_the_file_system_is_absent(tmp_path):
    assert read_within(tmp_path, ("x" * 5000,), 10) == Absent()
    assert read_within(put(tmp_path / "f", b"1234567890").parent, ("f",), 10) == Found(b"1234567890")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_every_descriptor_is_closed(kept):
    kept.sign(DIGEST)
    place = kept.open()
    await place.collect(REFERENCE, DIGEST)
    before = open_descriptors()
    for _ in range(5):
        await place.collect(REFERENCE, DIGEST)
        await place.collect(REFERENCE, OTHER)
    assert open_descriptors() == before


# -------------------------------------------------------------------------------------------------------- lookaside


def signatures(root: Path, *contents: bytes, host: str = "") -> Path:
    folder = root / host / f"payments/api@sha256={HEX}"
    for number, content in enumerate(contents, start=1):
        put(folder / f"signature-{number}", content)
    return folder


async def test_signatures_are_read_up_to_the_first_that_is_missing(tmp_path):
    folder = signatures(tmp_path, b"one", b"two", b"three")
    put(folder / "signature-5", b"never")
    put(folder / "signature-0", b"never")
    put(folder / "signature-01", b"never")
    collected = await LookasidePlace(tmp_path).collect(REFERENCE, DIGEST)
    assert payloads(collected) == [b"one", b"three", b"two"]
    assert collected.complete


async def test_a_tree_that_begins_with_the_host_is_read_too(tmp_path):
    signatures(tmp_path, b"plain")
    signatures(tmp_path, b"with host", host=REGISTRY)
    signatures(tmp_path, b"other host", host="other.example.com")
    assert payloads(await LookasidePlace(tmp_path).collect(REFERENCE, DIGEST)) == [b"plain", b"with host"]


async def test_docker_hub_names_are_expanded(tmp_path):
    put(tmp_path / f"library/busybox@sha256={HEX}" / "signature-1", b"hub")
    assert payloads(await LookasidePlace(tmp_path).collect(parse_reference("busybox"), DIGEST)) == [b"hub"]


async def test_a_tree_of_one_registry_holds_nothing_of_others(tmp_path):
    signatures(tmp_path, b"one")
    place = LookasidePlace(tmp_path, REGISTRY)
    assert payloads(await place.collect(REFERENCE, DIGEST)) == [b"one"]
    other = await place.collect(parse_reference("other.example.com/payments/api"), DIGEST)
    assert other.evidence == ()
    assert other.places[0].detail == f"holds signatures of {REGISTRY} only"


async def test_the_same_bytes_twice_are_one_signature(tmp_path):
    signatures(tmp_path, b"same", b"same")
    assert payloads(await LookasidePlace(tmp_path).collect(REFERENCE, DIGEST)) == [b"same"]


async def test_more_signatures_than_are_read_are_told(tmp_path):
    signatures(tmp_path, *(b"%d" % n for n in range(SIGNATURE_FILES + 3)))
    collected = await LookasidePlace(tmp_path).collect(REFERENCE, DIGEST)
    assert len(collected.evidence) == SIGNATURE_FILES
    assert codes(collected) == [("error", "limit-exceeded")]


def tagged(payload: bytes, annotations: dict | None = None, mime: str | None = None) -> bytes:
    content = {
        "mimeType": mime or "application/vnd.dev.cosign.simplesigning.v1+json",
        "payload": base64.b64encode(payload).decode(),
        "annotations": annotations or {},
    }
    return b"\x00sigstore-json\n" + json.dumps(content).encode()


SIGNATURE = {"dev.cosignproject.cosign/signature": "MEUC"}


async def test_cosign_signatures_outside_of_registries(tmp_path):
    decorated = SIGNATURE | {"org.example/decoration": "x", "dev.sigstore.cosign/bundle": "{}"}
    signatures(
        tmp_path,
        tagged(b"claims", decorated),
        b"openpgp",
        tagged(b"envelope", mime="application/vnd.dsse.envelope.v1+json"),
        tagged(b"bundle", SIGNATURE, mime="application/vnd.dev.sigstore.bundle.v0.3+json"),
    )
    collected = await LookasidePlace(tmp_path).collect(REFERENCE, DIGEST)
    found = {evidence.payload: evidence for evidence in collected.evidence}
    assert {payload: evidence.format for payload, evidence in found.items()} == {
        b"claims": "cosign-simplesigning",
        b"openpgp": "openpgp-simplesigning",
        b"envelope": "cosign-dsse",
        b"bundle": "sigstore-bundle",
    }
    assert found[b"claims"].annotations == SIGNATURE | {"dev.sigstore.cosign/bundle": "{}"}
    assert found[b"bundle"].annotations == {}
    assert all(check_evidence_id(evidence) for evidence in collected.evidence)


BROKEN = {
    "another tag": b"\x00other-json\n{}",
    "only a zero": b"\x00",
    "no JSON": b"\x00sigstore-json\n{",
    "a list": b"\x00sigstore-json\n[]",
    "no payload": b'\x00sigstore-json\n{"mimeType": "a"}',
    "no base64": b'\x00sigstore-json\n{"mimeType": "a", "payload": "*"}',
    "a number as annotation": b'\x00sigstore-json\n{"mimeType": "a", "payload": "", "annotations": {"a": 1}}',
    "another media type": tagged(b"x", mime="text/html"),
    "a member twice": b'\x00sigstore-json\n{"mimeType": "a", "payload": "", "payload": ""}',
    "deep": b"\x00sigstore-json\n" + b"[" * 100_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
async def test_a_file_that_cannot_be_read_hides_only_itself(tmp_path, content):
    signatures(tmp_path, b"before", content, b"after")
    collected = await LookasidePlace(tmp_path).collect(REFERENCE, DIGEST)
    assert payloads(collected) == [b"after", b"before"]
    assert codes(collected) == [("error", "registry-protocol")]


async def test_a_payload_beyond_the_limit_is_told(tmp_path):
    signatures(tmp_path, bytes(SIGNATURE_FILE_BYTES + 1))
    assert codes(await LookasidePlace(tmp_path).collect(REFERENCE, DIGEST)) == [("error", "limit-exceeded")]


# --------------------------------------------------------------------------------------------------------- dir: layouts


def dir_layout(root: Path, manifest: bytes) -> str:
    put(root / "version", b"Directory Transport Version: 1.1\n")
    put(root / "manifest.json", manifest)
    return "sha256:" + hashlib.sha256(manifest).hexdigest()


def image_manifest(name: str) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [], "annotations": {"name": name}}).encode()


async def test_an_image_in_a_dir_layout(tmp_path):
    digest = dir_layout(tmp_path, image_manifest("one"))
    put(tmp_path / "signature-1", b"one")
    put(tmp_path / "signature-2", tagged(b"two", SIGNATURE))
    place = LookasidePlace(tmp_path)
    collected = await place.collect(REFERENCE, digest)
    assert payloads(collected) == [b"one", b"two"]
    assert not collected.is_index
    other = await place.collect(REFERENCE, DIGEST)  # the layout's signatures are its image's and no other's
    assert other.evidence == ()
    assert codes(other) == [("absent", "")]


async def test_an_index_in_a_dir_layout_and_its_children(tmp_path):
    child = image_manifest("amd64")
    child_digest = "sha256:" + hashlib.sha256(child).hexdigest()
    entry = {"mediaType": MANIFEST, "digest": child_digest, "size": len(child)}
    entry["platform"] = {"os": "linux", "architecture": "amd64"}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    digest = dir_layout(tmp_path, index)
    put(tmp_path / f"{child_digest[7:]}.manifest.json", child)
    put(tmp_path / "signature-1", b"of the index")
    put(tmp_path / f"{child_digest[7:]}.signature-1", b"of the child")
    place = LookasidePlace(tmp_path)
    from_child = await place.collect(REFERENCE, child_digest, "linux/amd64")
    assert payloads(from_child) == [b"of the child", b"of the index"]
    assert from_child.closure.indexes == (digest,)
    assert from_child.closure.via(digest) == "index_of"
    from_index = await place.collect(REFERENCE, digest, "linux/amd64")
    assert payloads(from_index) == [b"of the child", b"of the index"]
    assert from_index.is_index
    assert from_index.closure.children == (child_digest,)
    unknown = await place.collect(REFERENCE, digest)
    assert payloads(unknown) == [b"of the index"]
    assert unknown.is_index
    assert [c.digest for c in unknown.children] == [child_digest]
    assert (await place.collect(REFERENCE, DIGEST)).children == ()


async def test_a_dir_layout_with_a_broken_manifest_still_has_its_signatures(tmp_path):
    digest = dir_layout(tmp_path, b"{ broken")
    put(tmp_path / "signature-1", b"one")
    assert payloads(await LookasidePlace(tmp_path).collect(REFERENCE, digest)) == [b"one"]


async def test_a_dir_layout_whose_manifest_cannot_be_read_is_no_absence(tmp_path):
    digest = dir_layout(tmp_path, image_manifest("one"))
    put(tmp_path / "signature-1", b"one")
    (tmp_path / "manifest.json").rename(tmp_path / "moved")
    (tmp_path / "manifest.json").symlink_to("moved")
    collected = await LookasidePlace(tmp_path).collect(REFERENCE, digest)
    assert collected.evidence == ()
    assert codes(collected) == [("error", "registry-protocol")]


# ----------------------------------------------------------------------------------------------------------- trust data


@pytest.fixture
def repository() -> TrustData:
    made = TrustData(REPOSITORY)
    made.tag("1.4.2", DIGEST)
    made.delegate("targets/releases", [SigningKey()])
    made.delegate("targets/releases/nightly", [SigningKey()])
    made.tag("1.5.0", OTHER, "targets/releases/nightly")
    return made


async def found_in(root: Path, digest: str) -> Evidence:
    (evidence,) = (await TrustDataPlace(root).collect(REFERENCE, digest)).evidence
    return evidence


async def test_what_was_packed_verifies(tmp_path, repository):
    write(tmp_path, repository)
    material = Material.of(read_root_keys(repository.root.keys[0].pem))
    for digest in (DIGEST, OTHER):
        parts = trustdata_fact_parts(await found_in(tmp_path, digest), material)
        assert parts.subjects == (DIGEST, OTHER)
        assert parts.chains


async def test_the_same_metadata_is_the_same_evidence_for_each_image(tmp_path, repository):
    write(tmp_path, repository)
    one, two = await found_in(tmp_path, DIGEST), await found_in(tmp_path, OTHER)
    assert one.id == two.id
    assert (one.subject, two.subject) == (DIGEST, OTHER)


@pytest.mark.parametrize("name", ["root.json", "targets.json", "snapshot.json", "timestamp.json"])
async def test_half_of_the_metadata_is_no_absence(tmp_path, repository, name):
    folder = write(tmp_path, repository)
    (folder / name).unlink()
    collected = await TrustDataPlace(tmp_path).collect(REFERENCE, DIGEST)
    assert codes(collected) == [("error", "registry-protocol")]
    assert name in collected.places[0].detail


async def test_a_published_delegation_that_is_missing_is_found_by_the_verifier(tmp_path, repository):
    folder = write(tmp_path, repository)
    (folder / "targets" / "releases.json").unlink()
    evidence = await found_in(tmp_path, DIGEST)
    with pytest.raises(EvidenceError, match="targets/releases: the metadata file is missing"):
        trustdata_fact_parts(evidence, Material.of(()))


async def test_files_the_snapshot_does_not_name_are_left_alone(tmp_path, repository):
    folder = write(tmp_path, repository)
    before = await found_in(tmp_path, DIGEST)
    put(folder / "targets" / "more.json", b"{ junk")
    put(folder / "root.json.bak", b"{ junk")
    assert (await found_in(tmp_path, DIGEST)).id == before.id


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"signed": {"meta": {"targets/../../x": {}}}}'])
async def test_broken_metadata_is_evidence_that_says_so(tmp_path, repository, content):
    write(tmp_path, repository, repository.files() | {"snapshot.json": content})
    put(tmp_path / "x.json", b"secret")
    evidence = await found_in(tmp_path, DIGEST)
    assert b"secret" not in evidence.payload
    assert base64.b64encode(b"secret") not in evidence.payload
    with pytest.raises(EvidenceError) as caught:
        trustdata_fact_parts(evidence, Material.of(()))
    assert caught.value.code in {"trust-data-malformed", "trust-data-invalid"}


async def test_too_much_of_it_is_told(tmp_path, repository):
    files = repository.files()
    meta = {f"targets/d{n}": {"hashes": {}, "length": 1} for n in range(40)}
    write(tmp_path, repository, files | {"snapshot.json": json.dumps({"signed": {"meta": meta}}).encode()})
    assert codes(await TrustDataPlace(tmp_path).collect(REFERENCE, DIGEST)) == [("error", "limit-exceeded")]
    write(tmp_path, repository, files | {"targets.json": bytes(FILE_BYTES + 1)})
    assert codes(await TrustDataPlace(tmp_path).collect(REFERENCE, DIGEST)) == [("error", "limit-exceeded")]
    full = {name: bytes(FILE_BYTES) for name in ("root.json", "targets.json", "timestamp.json")}
    write(tmp_path, repository, files | full)
    assert codes(await TrustDataPlace(tmp_path).collect(REFERENCE, DIGEST)) == [("error", "limit-exceeded")]
