"""What a registry lost, and tags that it moved: asked twice over HTTP, and what the answers say."""

from pathlib import Path

import pytest

from streams.events import EvidenceWanted
from streams.fetching import EvidenceAnswerer, Known, names_of
from streams.handlers.freshness import lost
from tests.helpers.registry_server import Layout, serving, tag_of
from verifier.adapters.memory import MemoryEvidenceStore
from verifier.adapters.registry import RegistryOptions, RegistryPlace
from verifier.models import EvidenceSet
from verifier.oci.port import TAGGED
from verifier.trust.state import TrustState

pytestmark = pytest.mark.asyncio

REGISTRY = "registry.example.com"
REPOSITORY = f"{REGISTRY}/payments/api"
NOW = 1_700_000_000_000_000


class Registry:
    """A registry that changes between two questions, and what a fetcher makes of it."""

    def __init__(self, folder: Path, *, recorded: bool = False) -> None:
        self.layout = Layout(folder)
        self.image = self.layout.image(REPOSITORY, "1.4.2")
        self.layout.signatures(REPOSITORY, self.image, [b"one", b"two"])
        self.layout.close()
        self._store = MemoryEvidenceStore()
        self._known: Known | None = None
        self._recorded = recorded
        self._now = NOW

    async def asked(self, tag: str = "1.4.2") -> EvidenceSet:
        self._now += 1
        async with (
            serving(self.layout.root) as server,
            RegistryPlace(RegistryOptions(mirrors={REGISTRY: server.origin})) as place,
        ):
            date_of = (lambda evidence: None) if self._recorded else None
            trust = TrustState.empty()
            answerer = EvidenceAnswerer(place, self._store, lambda: trust, lambda: self._now, date_of=date_of)
            wanted = EvidenceWanted("w", self._now, REPOSITORY, self.image, f"{REPOSITORY}:{tag}", "stale")
            answer = await answerer.ask([wanted], self._known)
            found = answerer.found(wanted, answer, self._known, names=names_of([wanted], self._known))
        self._known = Known(found.set, found.facts)
        return found.set


def moved(found: EvidenceSet) -> list[tuple[str, str]]:
    return [(p.detail, p.digest) for p in found.places if p.place == TAGGED]


async def test_signatures_that_are_taken_away_are_lost_and_come_back(tmp_path):
    registry = Registry(tmp_path / "layout")
    assert lost(await registry.asked()) == ""
    registry.layout.untag(REPOSITORY, tag_of(registry.image) + ".sig")
    registry.layout.close()
    found = await registry.asked()
    assert found.complete
    assert len(found.evidence) == 2
    assert (lost(found) or "").startswith("2 kept from first sight and not published now")
    registry.layout.signatures(REPOSITORY, registry.image, [b"one", b"two"])
    registry.layout.close()
    assert lost(await registry.asked()) == ""


async def test_a_tag_that_means_another_image_is_told_until_it_means_this_one_again(tmp_path):
    registry = Registry(tmp_path / "layout")
    assert moved(await registry.asked()) == []
    other = registry.layout.image(REPOSITORY, "1.4.2", seed="another build")
    registry.layout.manifest(REPOSITORY, "", (registry.layout.root / "blobs/sha256" / registry.image[7:]).read_bytes())
    registry.layout.close()
    assert moved(await registry.asked()) == [("1.4.2", other)]
    assert moved(await registry.asked("stable")) == [("1.4.2", other)], "another tag says nothing of this one"
    registry.layout.image(REPOSITORY, "1.4.2")
    registry.layout.close()
    assert moved(await registry.asked()) == []


async def test_in_a_recording_todays_meaning_of_a_tag_says_nothing(tmp_path):
    registry = Registry(tmp_path / "layout", recorded=True)
    await registry.asked()
    registry.layout.image(REPOSITORY, "1.4.2", seed="another build")
    registry.layout.close()
    assert moved(await registry.asked()) == []
