"""The checked-in JSON Schema is the one the models give, and says the same as the loader about shapes."""

import os
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # no types of its own
import pytest
import yaml

from verifier.policy.documents import load_documents
from verifier.policy.schema import document_schema, schema_text

FILE = Path(__file__).parents[2] / "docs" / "schema" / "policy.schema.json"


def test_the_schema_is_fresh():
    """Renew it with REVET_REGENERATE=1 in the environment."""
    if os.environ.get("REVET_REGENERATE"):
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(schema_text(), encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == schema_text(), (
        "REVET_REGENERATE=1 pytest tests/unit/test_policy_schema.py"
    )


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(document_schema())


HEAD = "apiVersion: revet/v1\nkind: {}\nmetadata: {{name: a}}\nspec: {}\n"
SHAPES = [
    ("Policy", '{match: [{images: ["**"]}], attestors: {d: {keys: [d]}}, require: {signedBy: d}}', True),
    ("Policy", '{match: [{images: ["**"]}], require: {registryIn: [docker.io]}, softUnproven: deny}', True),
    ("Policy", '{match: [{images: ["**"]}], attestors: {d: {keys: [d]}}, require: {signedBy: d, any: []}}', False),
    ("Policy", '{match: [{images: ["**"]}], require: {}}', False),
    ("Policy", '{match: [{imagse: ["**"]}], require: {registryIn: [docker.io]}}', False),
    ("Policy", '{match: [{images: "**"}], require: {registryIn: [docker.io]}}', False),
    ("Policy", '{match: [{images: ["**"]}], require: {registryIn: [docker.io]}, mode: watch}', False),
    ("Policy", '{match: [{images: ["**"]}], require: {registryIn: }}', False),
    ("Policy", '{match: [{images: ["**"]}], require: {atLeast: {count: 0, of: []}}}', False),
    ("Key", "{file: a.pub, validFrom: 2026-01-01T00:00:00Z}", True),
    ("Key", "{file: a.pub, validFrom: 12}", False),
    ("Exemption", "{policy: p, why: w, owner: o, days: 7}", True),
    ("Exemption", "{policy: p, why: w, owner: o, days: 181}", False),
    ("Exemption", "{policy: p, owner: o}", False),
    ("Cluster", "{id: x, feeds: [audit]}", True),
    ("Cluster", "{id: x, feeds: [metrics]}", False),
    ("Cluser", "{id: x}", False),
]


@pytest.mark.parametrize(("kind", "spec", "sound"), SHAPES)
def test_schema_and_loader_agree_on_shapes(kind, spec, sound):
    text = HEAD.format(kind, spec)
    data = yaml.load(text, Loader=_Plain)
    assert jsonschema.Draft202012Validator(document_schema()).is_valid(data) is sound
    assert (load_documents("a.yaml", text)[1] == ()) is sound


class _Plain(yaml.SafeLoader):
    """As editors read YAML: times stay text."""


_Plain.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if not tag.endswith("timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
