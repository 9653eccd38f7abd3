"""The field table: fit for ECS and Elasticsearch, complete, and the page made from it fresh."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.sinks.fields import (
    COLUMNS,
    CURRENT,
    FIELDS,
    HISTORY,
    HOMES,
    INDEXED,
    SHORT_NAMES,
    TERM_FIELDS,
    TERMINAL_ONLY,
    field_of,
    home_of,
    is_current,
)
from streams.sinks.pages import fields_page
from verifier.errors import InputError

ROOT = Path(__file__).parents[2]

BRIEF = (
    *("image", "digest", "namespace", "cluster", "verdict", "key", "policy", "finding", "severity", "owner", "user"),
    *("pod", "node", "reason", "state"),
)


def test_the_page_is_fresh():
    """docs/fields.md is what the table gives; `python scripts/generate_fields_docs.py` writes it."""
    assert (ROOT / "docs" / "fields.md").read_text(encoding="utf-8") == fields_page()


def test_no_name_is_both_a_value_and_an_object():
    """Elasticsearch refuses a mapping in which `a.b` has a value and `a.b.c` too."""
    names = set(FIELDS)
    parents = {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
    assert names & parents == set()


def test_short_names_are_unambiguous():
    """One field each; none is a full name; those that cannot be aliases in Elasticsearch are marked."""
    shorts = [short for row in FIELDS.values() for short in row.short]
    assert len(shorts) == len(set(shorts))
    assert not set(shorts) & set(FIELDS)
    assert set(BRIEF) <= set(shorts)
    assert {"user", "container"} <= TERMINAL_ONLY
    assert not {"digest", "namespace", "verdict", "key"} & TERMINAL_ONLY


def test_every_row_is_used_somewhere_and_explained():
    """Homes exist, texts end, columns are columns."""
    for row in FIELDS.values():
        assert row.homes, row.name
        assert set(row.homes) <= set(HOMES), row.name
        assert row.text.endswith((".", "…")), row.name
        assert not row.column or row.type in ("keyword", "date"), row.name
    assert set(COLUMNS.values()) >= INDEXED
    assert all(FIELDS[name].type == "keyword" for name in TERM_FIELDS)


def test_homes():
    """History is dated datasets, state is indices."""
    assert home_of("containers") == "revet-state-containers"
    assert home_of("revet.admission") == "revet.admission"
    assert [is_current(HOMES[name]) for name in CURRENT] == [True] * len(CURRENT)
    assert [is_current(HOMES[name]) for name in HISTORY] == [False] * len(HISTORY)
    with pytest.raises(InputError, match="state: containers"):
        home_of("pods")


@pytest.mark.parametrize(
    ("name", "full", "inner"),
    [
        ("digest", "provenance.image.digest", ""),
        ("provenance.cluster.labels.env", "provenance.cluster.labels", "env"),
        ("cluster_labels.a.b", "provenance.cluster.labels", "a.b"),
        ("labels.app", "kubernetes.labels", "app"),
    ],
)
def test_lookup(name, full, inner):
    """Short, full, and members of maps."""
    found = field_of(name)
    assert found is not None
    assert (found.field.name, found.inner) == (full, inner)


@pytest.mark.parametrize("name", ["", "no", "labels.", "provenance", "digest.x"])
def test_lookup_of_nothing(name):
    """Not a field."""
    assert field_of(name) is None


def test_every_short_name_leads_to_its_row():
    """The table and its inverse agree."""
    assert all(short in FIELDS[name].short for short, name in SHORT_NAMES.items())
