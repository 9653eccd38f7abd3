"""The recorded images in a real registry program, in the registry of these tests, and in the directory: one answer."""

import json
from pathlib import Path

import msgspec
import pytest

from tests.helpers.registry_server import Behaviour, push, running, serving
from verifier.adapters.ocilayout import OciLayoutPlace
from verifier.adapters.registry import RegistryOptions, RegistryPlace
from verifier.oci.port import Collected
from verifier.reference import parse_reference

pytestmark = pytest.mark.asyncio

REGISTRY = "registry.example.com"
DEMO = Path(__file__).parents[2] / "streams" / "demo_data"


def content(collected: Collected) -> tuple:
    """What was found; where a bundle was listed, by API or by tag, is the registry's affair."""
    found = sorted(
        (msgspec.structs.replace(evidence, place="") for evidence in collected.evidence),
        key=lambda evidence: (evidence.id, evidence.subject),
    )
    return found, collected.closure, collected.complete, collected.children, collected.tag_digest


def over(origin: str) -> RegistryPlace:
    return RegistryPlace(RegistryOptions(mirrors={REGISTRY: origin}))


async def answers(place) -> list[tuple]:
    rows = json.loads((DEMO / "images.json").read_text())
    return [
        content(await place.collect(parse_reference(row["reference"]), row["digest"], "linux/amd64")) for row in rows
    ]


@pytest.mark.needs("registry")
async def test_a_real_registry_gives_what_the_directory_gives(require):
    async with running(require("registry")) as origin:
        await push(DEMO / "oci", origin)
        async with over(origin) as place:
            over_http = await answers(place)
    assert over_http == await answers(OciLayoutPlace(DEMO / "oci"))


@pytest.mark.parametrize("behaviour", [Behaviour(), Behaviour(referrers_api=True, page_size=1)], ids=["tag", "api"])
async def test_parity_with_and_without_the_referrers_api(behaviour):
    async with serving(DEMO / "oci", behaviour) as registry, over(registry.origin) as place:
        over_http = await answers(place)
    assert over_http == await answers(OciLayoutPlace(DEMO / "oci"))
