"""Fetching on recorded images: sets, facts, dates; what is kept when it vanishes; what a failing place changes."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.registry_server import Layout, tag_of
from verifier.adapters.fetch import Fetched, fetch, rekey
from verifier.adapters.memory import MemoryEvidenceStore
from verifier.adapters.ocilayout import OciLayoutPlace
from verifier.adapters.sqlite import SqliteEvidenceStore, create_evidence_tables
from verifier.errors import PlaceRefused, PlaceUnavailable
from verifier.evidence.keys import load_public_key
from verifier.facts.candidates import KeySet, key_set
from verifier.models import DigestClosure, ImageReference, PlaceAsked
from verifier.oci.port import KEPT, Collected
from verifier.reference import parse_reference

pytestmark = pytest.mark.asyncio

DEMO = Path(__file__).parents[2] / "streams" / "demo_data"
REPOSITORY = "registry.example.com/payments/api"
REFERENCE = parse_reference(f"{REPOSITORY}:1.4.2")
NO_KEYS = key_set([])
EARLY, NOW, LATER = 1_700_000_000_000_000, 1_700_000_100_000_000, 1_700_000_200_000_000


def keys(*names: str) -> KeySet:
    return key_set((name, load_public_key((DEMO / "keys" / f"{name}.pub").read_text())) for name in names)


def image(name: str) -> tuple[ImageReference, str, dict]:
    row = next(row for row in json.loads((DEMO / "images.json").read_text()) if row["name"] == name)
    return parse_reference(row["reference"]), row["digest"], row


@pytest.fixture
def demo() -> OciLayoutPlace:
    return OciLayoutPlace(DEMO / "oci")


async def fetched(
    place, store, reference, digest, keyset=NO_KEYS, observed=None, platform=None, instant=NOW
) -> Fetched:
    return await fetch(place, store, reference, digest, keyset, keyset.id, instant, observed, platform)


class FailingPlace:
    """A place that fails as a whole."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def collect(self, reference, digest, platform=None, indexes=(), names=()) -> Collected:
        raise self.error

    async def resolve(self, reference) -> str:
        raise self.error


ALL_KEYS = sorted(path.stem for path in (DEMO / "keys").glob("*.pub"))


@pytest.mark.parametrize("row", json.loads((DEMO / "images.json").read_text()), ids=lambda row: row["name"])
async def test_cosign_signatures_recorded_as_good_verify_under_the_key_that_made_them(demo, row):
    keyset = keys(*ALL_KEYS)
    result = await fetched(demo, MemoryEvidenceStore(), parse_reference(row["reference"]), row["digest"], keyset)
    verified = {(fact.subject, keyset.names[key]) for fact in result.facts for key in fact.verified_by}
    for signer in row["signers"]:
        if signer.get("good") and signer.get("format") in {"classic", "bundle"}:
            assert (row["digest"], signer["key"]) in verified
    assert result.set.complete
    assert [fact.evidence_id for fact in result.facts] == list(result.set.evidence)


async def test_a_set_says_what_it_was_computed_from(demo):
    reference, digest, _ = image("payments-api-1.4.2")
    keyset = keys("dev")
    result = await fetched(demo, MemoryEvidenceStore(), reference, digest, keyset)
    assert (result.set.repository, result.set.digest) == (reference.repository, digest)
    assert result.set.keyset == keyset.id
    assert result.set.fetched_at == NOW
    assert result.set.closure == DigestClosure(digest)
    assert result.first_seen == ()


async def test_the_version_changes_with_content_and_with_nothing_else(demo):
    reference, digest, _ = image("payments-api-1.4.2")
    store = MemoryEvidenceStore()
    first = await fetched(demo, store, reference, digest)
    again = await fetched(demo, store, reference, digest, instant=LATER)
    other_keys = await fetched(demo, store, reference, digest, keys("dev"))
    other_answers = await fetched(
        FailingPlace(PlaceUnavailable("registry-unavailable", "down")), store, reference, digest
    )
    assert first.set.version == again.set.version
    assert len({first.set.version, other_keys.set.version, other_answers.set.version}) == 3


async def test_the_first_sight_is_dated_and_later_ones_do_not_move_it(demo):
    reference, digest, _ = image("payments-api-1.4.2")
    store = MemoryEvidenceStore()
    undated = await fetched(demo, store, reference, digest)
    dated = await fetched(demo, store, reference, digest, observed=NOW)
    moved = await fetched(demo, store, reference, digest, observed=LATER)
    replayed = await fetched(demo, store, reference, digest, observed=EARLY)
    assert undated.first_seen == ()
    assert dict(dated.first_seen) == dict(moved.first_seen) == dict.fromkeys(dated.set.evidence, NOW)
    assert dict(replayed.first_seen) == dict.fromkeys(dated.set.evidence, EARLY)


async def test_evidence_that_vanishes_is_kept_and_told(tmp_path):
    layout = Layout(tmp_path / "layout")
    digest = layout.image(REPOSITORY, "1.4.2")
    layout.signatures(REPOSITORY, digest, [b"one", b"two"])
    layout.close()
    place, store = OciLayoutPlace(layout.root), MemoryEvidenceStore()
    before = await fetched(place, store, REFERENCE, digest, observed=NOW)
    layout.untag(REPOSITORY, tag_of(digest) + ".sig")
    layout.close()
    after = await fetched(place, store, REFERENCE, digest, observed=LATER)
    assert after.set.evidence == before.set.evidence
    assert after.facts == before.facts
    assert after.set.complete
    (kept,) = [line for line in after.set.places if line.place == KEPT]
    assert (kept.digest, kept.outcome) == (digest, "found")
    assert kept.detail.startswith("2 kept from first sight")
    assert {line.place: line.outcome for line in after.set.places}["sig-tag"] == "absent"
    assert not [line for line in before.set.places if line.place == KEPT]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PlaceUnavailable("registry-unavailable", "down"), "registry-unavailable"),
        (PlaceRefused("registry-unauthorized", "no"), "registry-unauthorized"),
        (PlaceRefused("payload-digest-mismatch", "odd"), "registry-unavailable"),
    ],
)
async def test_a_place_that_fails_takes_nothing_away_but_completeness(demo, error, code):
    reference, digest, _ = image("payments-api-1.4.2")
    store = MemoryEvidenceStore()
    good = await fetched(demo, store, reference, digest, keys("dev"))
    bad = await fetched(FailingPlace(error), store, reference, digest, keys("dev"))
    assert bad.set.evidence == good.set.evidence
    assert bad.facts == good.facts
    assert not bad.set.complete
    assert PlaceAsked("place", digest, "error", code, str(error)) in bad.set.places


async def test_an_index_read_once_covers_its_child_after_the_tag_has_moved(tmp_path):
    layout = Layout(tmp_path / "layout")
    child = layout.image(REPOSITORY, "", "amd64")
    index = layout.index(REPOSITORY, "1.4.2", {"linux/amd64": child})
    layout.bundle(REPOSITORY, index, b"for the index")
    layout.close()
    place, store = OciLayoutPlace(layout.root), MemoryEvidenceStore()
    before = await fetched(place, store, REFERENCE, child)
    layout.image(REPOSITORY, "1.4.2", "moved")
    layout.close()
    after = await fetched(place, store, REFERENCE, child)
    assert before.set.closure == after.set.closure == DigestClosure(child, indexes=(index,))
    assert before.set.evidence == after.set.evidence
    assert before.set.version == after.set.version
    assert rekey(store, after.set, NO_KEYS, LATER).facts == after.facts


async def test_the_child_of_an_index_read_once_is_known_while_the_registry_is_down(tmp_path):
    layout = Layout(tmp_path / "layout")
    child = layout.image(REPOSITORY, "", "amd64")
    index = layout.index(
        REPOSITORY, "1.4.2", {"linux/amd64": child, "linux/arm64": layout.image(REPOSITORY, "", "arm")}
    )
    layout.signatures(REPOSITORY, child, [b"for the child"])
    layout.close()
    store = MemoryEvidenceStore()
    up = await fetched(OciLayoutPlace(layout.root), store, REFERENCE, index, platform="linux/amd64")
    down = await fetched(
        FailingPlace(PlaceUnavailable("registry-unavailable", "down")), store, REFERENCE, index, platform="linux/amd64"
    )
    assert up.set.closure == down.set.closure == DigestClosure(index, children=(child,))
    assert up.set.evidence == down.set.evidence != ()


async def test_added_keys_are_checked_from_the_store_alone(demo):
    reference, digest, _ = image("payments-api-1.4.2")
    store = MemoryEvidenceStore()
    without = await fetched(demo, store, reference, digest, observed=NOW)
    assert not any(fact.verified_by for fact in without.facts)
    dev = keys("dev")
    again = rekey(store, without.set, dev, LATER)
    direct = await fetched(demo, store, reference, digest, dev, instant=LATER)
    assert again.facts == direct.facts
    assert any(fact.verified_by for fact in again.facts)
    assert again.set == direct.set
    assert again.first_seen == without.first_seen


async def test_the_same_signature_beside_two_digests_is_one_fact_about_the_one_it_names(demo, tmp_path):
    reference, digest, _ = image("payments-api-1.4.2")
    store = MemoryEvidenceStore()
    dev = keys("dev")
    original = (await demo.collect(reference, digest)).evidence[0]
    layout = Layout(tmp_path / "layout")
    manifest = (DEMO / "oci" / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    layout.manifest(REPOSITORY, "", manifest)
    index = layout.index(REPOSITORY, "1.4.2", {"linux/amd64": digest})
    layer = layout.descriptor(
        "application/vnd.dev.cosign.simplesigning.v1+json", original.payload, annotations=original.annotations
    )
    for subject in (index, digest):
        layout.manifest(REPOSITORY, tag_of(subject) + ".sig", {"schemaVersion": 2, "config": layer, "layers": [layer]})
    layout.close()
    result = await fetched(OciLayoutPlace(layout.root), store, REFERENCE, index, dev, platform="linux/amd64")
    assert result.set.evidence == (original.id,)
    (fact,) = result.facts
    assert fact.subject == digest
    assert fact.verified_by


async def test_the_store_takes_part_in_the_callers_transaction(demo, tmp_path):
    reference, digest, _ = image("payments-api-1.4.2")
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        create_evidence_tables(connection)
        store = SqliteEvidenceStore(connection)
        in_sqlite = await fetched(demo, store, reference, digest, keys("dev"), observed=NOW)
        in_memory = await fetched(demo, MemoryEvidenceStore(), reference, digest, keys("dev"), observed=NOW)
        assert in_sqlite == in_memory
        connection.rollback()
        assert store.for_digest(reference.repository, digest) == ()


async def test_a_store_that_fails_is_an_error_and_no_answer(demo, tmp_path):
    reference, digest, _ = image("payments-api-1.4.2")
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection, pytest.raises(PlaceUnavailable):
        await fetched(demo, SqliteEvidenceStore(connection), reference, digest)
