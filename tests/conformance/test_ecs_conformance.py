"""Names, types and values against the published ECS field list (facts of it: scripts/ecs_facts.py writes them)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.sinks.document import Body
from streams.sinks.fields import ECS_VERSION, FIELDS
from streams.sinks.mapping import HOMES, mappings
from tests.unit.test_sinks_documents import certified_story, story

ECS = json.loads((Path(__file__).parents[1] / "assets" / "ecs.json").read_text(encoding="utf-8"))
OURS = ("provenance.", "kubernetes.")
"""`kubernetes.*` is the convention of Elastic's integrations, not ECS."""

NAMES = [name for name in FIELDS if not name.startswith(OURS)]


def values(body: Body, name: str) -> set[str]:
    found = body.get(name, [])
    return set(found) if isinstance(found, list) else {str(found)}  # type: ignore[arg-type]  # texts, of these fields


def bodies() -> Iterator[Body]:
    for world in (story(), certified_story()):
        yield from (made.body for made in world.written)


def test_the_facts_are_of_the_version_that_documents_name():
    """Otherwise: python scripts/ecs_facts.py."""
    assert ECS["version"] == ECS_VERSION


@pytest.mark.parametrize("name", NAMES)
def test_every_name_outside_our_own_is_one_of_ecs(name):
    """With its type; and what ECS does not index, we do not either."""
    fact = ECS["fields"].get(name)
    assert fact is not None, f"{name} is no field of ECS {ECS_VERSION}, or scripts/ecs_facts.py was not run again"
    ours = FIELDS[name].type
    assert {"text": "match_only_text", "unindexed": "keyword"}.get(ours, ours) == fact["type"]
    assert (ours == "unindexed") is (fact.get("index") is False)


@pytest.mark.parametrize("profile", ["full", "reduced"])
@pytest.mark.parametrize("home", HOMES)
def test_no_alias_takes_the_name_of_an_object_that_our_own_documents_use(home, profile):
    """`user` cannot be a field and an object at once."""
    properties = mappings(home, profile)["properties"]
    aliases = {name for name, field in properties.items() if field.get("type") == "alias"}
    assert not aliases & {name.partition(".")[0] for name in FIELDS if "." in name}


def test_events_have_allowed_kinds_categories_types_and_outcomes():
    """Types must be expected by one of the document's categories."""
    seen = 0
    allowed = {name: ECS["fields"][f"event.{name}"]["allowed"] for name in ("kind", "category", "type", "outcome")}
    for body in bodies():
        for name, known in allowed.items():
            assert values(body, f"event.{name}") <= set(known), body
        categories = values(body, "event.category")
        expected = {kind for category in categories for kind in allowed["category"][category]}
        if categories:
            assert values(body, "event.type") <= expected, body
        assert "signal" not in values(body, "event.kind")  # reserved by ECS
        seen += 1
    assert seen > 100


def test_every_document_says_which_version_it_follows():
    """Readers of other years can tell."""
    assert all(body["ecs.version"] == ECS_VERSION for body in bodies())
