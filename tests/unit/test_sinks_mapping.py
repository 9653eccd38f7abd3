"""What Elasticsearch is told about the record: complete, bounded, the same as the field table."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.sinks.document import MAX_TEXT
from streams.sinks.fields import CURRENT, FIELDS, HISTORY, HOMES, TERMINAL_ONLY, is_current
from streams.sinks.mapping import (
    CUSTOM,
    FLATTENED_ABOVE,
    IGNORE_ABOVE,
    MAPPING_VERSION,
    MAX_ID,
    SPARE_FIELDS,
    Names,
    Profile,
    Shape,
    field_count,
    fields_hash,
    mappings,
    record_id,
    state_index,
    switch_alias,
    templates,
)
from streams.sinks.roles import roles
from verifier.errors import InputError

PROFILES: tuple[Profile, ...] = ("full", "reduced")
NAMES = Names("default")
LUCENE_TERM = 32_766
"""Bytes of one term: a longer one refuses the whole document."""

PINNED = {
    1: {"full": "950d0928434d6b56", "reduced": "0ea921303b3ed317"},
    2: {"full": "2ee8d44efc0cbe3d", "reduced": "9c9dbcb7a7188f06"},
    3: {"full": "37e9eeede07b2414", "reduced": "deb81822545c607e"},
    4: {"full": "bbbd0e19768c4bb3", "reduced": "e099fc5296f221e9"},
    5: {"full": "92c1901273b75402", "reduced": "8f0d735b2a99315e"},
}
"""Mapping version -> hash of its rendered mappings."""


def leaves(properties: dict, above: str = "") -> dict[str, dict]:
    found: dict[str, dict] = {}
    for name, field in properties.items():
        full = f"{above}{name}"
        if "properties" in field:
            found |= leaves(field["properties"], f"{full}.")
        else:
            found[full] = field
    return found


def of(home: str, profile: Profile = "full") -> dict[str, dict]:
    return leaves(mappings(home, profile)["properties"])


def template(home: str, **shape) -> dict:
    target = NAMES.target(home)
    pieces = templates(NAMES, msgspec.structs.replace(Shape(), **shape))
    return next(piece.body for piece in pieces if piece.kind == "template" and piece.name == target)


# ------------------------------------------------------------------------------------------------------------ mappings


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("home", HOMES)
def test_a_mapping_has_the_fields_of_its_home_and_no_others(home, profile):
    """Rows of the table and their short names; nothing else may appear (but what Kibana filters streams by)."""
    rows = [row for row in FIELDS.values() if home in row.homes]
    shorts = {short for row in rows for short in row.short if short not in TERMINAL_ONLY}
    found = {name for name in of(home, profile) if not name.startswith("data_stream.")}
    assert found == {row.name for row in rows} | shorts


@pytest.mark.parametrize("home", HOMES)
def test_aliases_lead_to_fields_of_the_same_mapping(home):
    """Elasticsearch refuses an alias that leads nowhere, and one that leads to an alias."""
    found = of(home, "reduced")
    for field in found.values():
        if field["type"] == "alias":
            assert found[field["path"]]["type"] not in ("alias", "object")


@pytest.mark.parametrize(
    ("name", "full", "reduced"),
    [
        ("@timestamp", "date_nanos", "date_nanos"),
        ("message", "match_only_text", "text"),
        ("provenance.run.started", "date", "date"),
        ("kubernetes.labels", "flattened", "flattened"),
        ("provenance.policies", "object", "object"),
        ("event.sequence", "long", "long"),
        ("digest", "alias", "alias"),
    ],
)
def test_types(name, full, reduced):
    """One row of each kind, in a container's mapping."""
    assert (of("containers", "full")[name]["type"], of("containers", "reduced")[name]["type"]) == (full, reduced)


def test_what_no_store_searches_is_not_indexed():
    """Original bytes are kept and cost no index; structures for reading are not looked into."""
    assert of("trust")["event.original"] == {"type": "keyword", "index": False, "doc_values": False}
    assert of("verification")["provenance.signatures"]["enabled"] is False


def test_dates_and_texts_keep_what_was_written_beside_them():
    """Both stores answer alike to the microsecond and to the letter."""
    assert of("containers")["provenance.run.started"]["fields"]["raw"]["type"] == "keyword"
    assert of("containers", "full")["message"]["fields"]["raw"]["type"] == "wildcard"
    assert of("containers", "reduced")["message"]["fields"]["raw"]["type"] == "keyword"


def test_the_reduced_profile_uses_only_types_of_a_bare_server():
    """Nothing of a module that may be missing."""
    bare = {"keyword", "text", "date", "date_nanos", "long", "boolean", "ip", "flattened", "object", "alias"}
    kinds = set()
    for home in HOMES:
        for field in of(home, "reduced").values():
            kinds |= {field["type"], *(inner["type"] for inner in field.get("fields", {}).values())}
    assert kinds <= bare


def test_history_takes_unknown_fields_and_leaves_them_unsearchable_and_state_refuses_them():
    """Neither can grow by what a cluster sends."""
    for home in HOMES.values():
        made = mappings(home, "full")
        assert made["dynamic"] == ("strict" if is_current(home) else False)
        assert made["date_detection"] is False


def test_no_value_a_document_may_hold_is_ignored_or_too_long_for_a_term():
    """`ignore_above` counts UTF-16 units, two for the longest characters; Lucene counts bytes, three a unit at most. Of
    a map, key (four bytes a character) and value make one term."""
    assert MAX_TEXT * 2 <= IGNORE_ABOVE
    assert IGNORE_ABOVE * 3 < LUCENE_TERM
    assert MAX_TEXT * 4 + 1 + FLATTENED_ABOVE * 3 < LUCENE_TERM


# ----------------------------------------------------------------------------------------------------------- templates


@pytest.mark.parametrize("home", HOMES)
def test_templates_win_over_those_of_elasticsearch(home):
    """Above `logs-*-*` (100) and Fleet's (200); the operator's own component comes last."""
    body = template(home)
    assert body["priority"] > 200
    assert body["composed_of"][-1] == CUSTOM
    assert body["ignore_missing_component_templates"] == [CUSTOM]
    assert ("data_stream" in body) is (home in HISTORY)


@pytest.mark.parametrize("home", HOMES)
def test_the_limit_of_fields_is_just_above_their_number(home):
    """So growth is refused, and noticed."""
    body = template(home)["template"]
    limit = body["settings"]["index"]["mapping"]["total_fields"]["limit"]
    assert limit == field_count(body["mappings"]["properties"]) + SPARE_FIELDS < 400


def test_patterns_match_their_own_names_only():
    """A stream exactly; state indices of any version."""
    assert template("trust")["index_patterns"] == ["logs-revet.trust-default"]
    assert template("findings")["index_patterns"] == ["revet-state-findings-default-v*"]


def test_retention_follows_the_settings():
    """What only repeats goes earlier; without the service nothing is said."""
    assert template("finding", retention_days=30)["template"]["lifecycle"]["data_retention"] == "30d"
    assert template("namespace", repeated_days=7)["template"]["lifecycle"]["data_retention"] == "7d"
    assert "lifecycle" not in template("trust", lifecycle=False)["template"]
    assert "lifecycle" not in template("findings")["template"]


def test_the_trust_log_is_never_deleted():
    """Answers about the past start from all of it."""
    assert template("trust")["template"]["lifecycle"] == {"enabled": True}


def test_the_failure_store_is_asked_for_where_there_is_one():
    """A template with it is refused by a server without."""
    on = template("trust", failure_store=True)["template"]["data_stream_options"]
    assert on == {"failure_store": {"enabled": True}}
    assert "data_stream_options" not in template("trust")["template"]
    assert "data_stream_options" not in template("findings", failure_store=True)["template"]


def test_settings_are_shared():
    """Replicas by setting; evidence is never rebuilt from columns."""
    (shared,) = [piece for piece in templates(NAMES, Shape(replicas=2)) if piece.kind == "component"]
    index = shared.body["template"]["settings"]["index"]
    assert (index["number_of_replicas"], index["mode"], index["refresh_interval"]) == (2, "standard", "1s")


def test_components_come_before_what_is_composed_of_them():
    """The other way round Elasticsearch refuses."""
    seen = {CUSTOM}
    for piece in templates(NAMES, Shape()):
        assert set(piece.body.get("composed_of", ())) <= seen
        seen.add(piece.name)


def test_version_and_hash_belong_together():
    """A change of any mapping is a new version: raise MAPPING_VERSION and add its hashes here (and to CHANGELOG.md)."""
    assert {profile: fields_hash(profile) for profile in PROFILES} == PINNED[MAPPING_VERSION]
    assert max(PINNED) == MAPPING_VERSION
    stamp = mappings("trust", "full")["_meta"]["revet"]
    assert stamp == {"mapping": MAPPING_VERSION, "fields": fields_hash("full"), "profile": "full"}


# --------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("namespace", ["", "a-b", "A", "a" * 101, "a*", "a b", ".a", "é", "a,b"])
def test_a_namespace_that_would_make_names_ambiguous_is_refused(namespace):
    """With what is expected and an example."""
    with pytest.raises(InputError, match=r"elasticsearch\.namespace: .*example: default"):
        Names(namespace)


@pytest.mark.parametrize("home", HOMES.values())
def test_a_document_is_traced_back_to_its_home_from_any_index(home):
    """Alias, stream, concrete index, backing index, failure store."""
    target = NAMES.target(home)
    for index in (target, f"{target}-v12", f".ds-{target}-2026.11.21-000003", f".fs-{target}-2026.11.21-000003"):
        assert NAMES.home(index) == home


@pytest.mark.parametrize("index", ["", "logs-other-default", "revet.nothing-default", ".kibana", "revet-state-x"])
def test_other_indices_are_none_of_ours(index):
    """Named, not guessed."""
    with pytest.raises(InputError, match="no index of revet"):
        NAMES.home(index)


def test_versions_of_indices():
    """The number behind -v."""
    assert NAMES.index("findings", 3) == "revet-state-findings-default-v3"
    assert NAMES.version("revet-state-findings-default-v3") == 3
    assert NAMES.version("revet-state-findings-default") == 0


def test_bodies_of_aliases():
    """Made with the index; moved in one step."""
    assert state_index(NAMES, "feeds") == {"aliases": {"revet-state-feeds-default": {"is_write_index": True}}}
    assert [next(iter(action)) for action in switch_alias("a", "a-v1", "a-v2")["actions"]] == ["remove", "add"]


@given(st.text(min_size=1, max_size=700))
def test_ids_fit_and_stay_apart(text):
    """Elasticsearch takes 512 bytes; a longer id is hashed, a shorter one stays readable."""
    made = record_id(text)
    assert len(made.encode()) <= MAX_ID
    assert (made == text) is (len(text.encode()) <= MAX_ID)
    assert record_id(text + "x") != made


# --------------------------------------------------------------------------------------------------------------- roles


def test_only_the_indexer_and_the_operator_can_write():
    """Analysts and the ledger read; nobody but the operator changes templates."""
    made = roles(NAMES, {"pay": ("pay", "shop")})
    writes = {"create_doc", "index", "create", "write", "delete", "manage", "all"}
    can_write = {name for name, body in made.items() for on in body["indices"] if writes & set(on["privileges"])}
    assert can_write == {"revet_default_indexer", "revet_default_operator"}
    assert {name for name, body in made.items() if "manage_index_templates" in body["cluster"]} == {
        "revet_default_operator"
    }


def test_the_indexer_cannot_overwrite_history():
    """It appends, and may undo a second copy."""
    on_history, on_state = roles(NAMES)["revet_default_indexer"]["indices"]
    assert on_history["names"] == ["logs-revet.*-default"]
    assert not {"index", "write", "manage", "all"} & set(on_history["privileges"])
    assert "index" in on_state["privileges"]
    assert "delete" not in on_state["privileges"]


def test_a_team_sees_its_kubernetes_namespaces_only():
    """By document level security; and the whole of what no namespace owns and answers need."""
    body = roles(NAMES, {"pay": ("shop", "pay", "pay")})["revet_default_analyst_pay"]
    filtered, whole = body["indices"]
    assert filtered["query"] == {"terms": {"orchestrator.namespace": ["pay", "shop"]}}
    assert set(filtered["privileges"]) == {"read", "view_index_metadata"} == set(whole["privileges"])
    about = {name.removesuffix("-v*") for name in whole["names"]}
    assert about == {NAMES.target(home) for home in ("trust", "images", "feeds", "deadletters")}


def test_roles_never_reach_other_namespaces_of_elasticsearch():
    """Every pattern ends with ours."""
    for body in roles(Names("staging"), {"a": ("b",)}).values():
        for on in body["indices"]:
            assert all(name.removesuffix("-v*").endswith("-staging") for name in on["names"])


def test_every_home_is_set_up():
    """History as streams, state as indices; nobody is forgotten."""
    named = {piece.name for piece in templates(NAMES, Shape()) if piece.kind == "template"}
    assert named == {NAMES.target(home) for home in (*HISTORY, *CURRENT)}
