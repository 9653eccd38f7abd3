"""The recipes of docs/architecture.md say what has to change together; a step that is forgotten fails here.

Tables are compared with each other, and with what the code asks of them (string literals in the syntax trees).
"""

import ast
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from alerting.adapters.sqlite import SqliteNotifier
from streams import codec, outputs, state, topics
from streams.cli import COMMANDS, revoke, trust_root
from streams.cli.serve import PROCESSES
from streams.engine.sqlite import connect
from streams.events import Observation
from streams.handlers import HANDLERS
from streams.handlers.ticks import DUE
from streams.sinks import documents
from streams.sinks.sqlite import create_record_tables
from verifier.adapters.sqlite import create_evidence_tables
from verifier.content import evaluate
from verifier.content.model import MEMBERS
from verifier.evidence.material import RootFormat
from verifier.facts.derive import READERS
from verifier.facts.offline import OFFLINE_READERS
from verifier.models import EvidenceFormat
from verifier.oci import media
from verifier.policy.importers.formats import IMPORTERS
from verifier.trust import hits, roots
from verifier.trust.records import SubjectKind

ROOT = Path(__file__).parents[2]


def literals(folder: str, name: str, position: int) -> Iterator[tuple[str, str]]:
    """(place, text) of the string literals that calls of the method `name` have as their argument number `position`."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") != name or len(node.args) <= position:
                continue
            value = node.args[position]
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", value.value


# ------------------------------------------------------------------------------------------------- an evidence format

MEDIA_TYPES = {
    (media.SIMPLE_SIGNING, ""): "cosign-simplesigning",
    (media.DSSE, ""): "cosign-dsse",
    (media.BUNDLE_PREFIX + ".v0.3+json", ""): "sigstore-bundle",
    ("application/jose+json", media.NOTATION): "notation-jws",
    ("application/cose", media.NOTATION): "notation-cose",
}
"""(media type, artifact type) -> format."""

BESIDE_THE_REGISTRY = {"openpgp-simplesigning": "lookaside.py", "tuf-trust-data": "trustdata_dir.py"}
"""Formats that are no layers -> the adapter of their place."""


def test_every_evidence_format_is_read_and_found():
    formats = set(get_args(EvidenceFormat))
    assert not set(READERS) & set(OFFLINE_READERS)
    assert set(READERS) | set(OFFLINE_READERS) == formats, "verifier/facts: READERS or OFFLINE_READERS"
    found = {*MEDIA_TYPES.values(), *BESIDE_THE_REGISTRY}
    assert found == formats, "which media type is it found by, or where? Say it in these tables"


@pytest.mark.parametrize("types", MEDIA_TYPES, ids=lambda types: types[0])
def test_the_collector_knows_the_media_type(types):
    assert media.evidence_format(*types) == MEDIA_TYPES[types], "verifier/oci/media.py: evidence_format"


@pytest.mark.parametrize("name", BESIDE_THE_REGISTRY)
def test_a_place_beside_the_registry_makes_the_format(name):
    source = (ROOT / "verifier" / "adapters" / BESIDE_THE_REGISTRY[name]).read_text(encoding="utf-8")
    assert f'"{name}"' in source


# --------------------------------------------------------------------- a trust root format, a rule, a revocable subject


def test_every_format_of_a_trust_root_is_read_and_can_be_given():
    assert set(roots._READERS) == set(get_args(RootFormat)), "verifier/trust/roots.py: _READERS"
    assert set(trust_root.FORMATS) == set(get_args(RootFormat)), "streams/cli/trust_root.py: FORMATS"


def test_every_content_rule_is_evaluated():
    assert {name.replace("_", "").lower() for name in evaluate._JUDGES} == {name.lower() for name in MEMBERS}


def test_every_revocable_subject_hits_something_and_has_a_command():
    kinds = set(get_args(SubjectKind))
    assert set(hits._TESTS) == kinds, "verifier/trust/hits.py: _TESTS"
    assert set(revoke.command.commands) == kinds, "streams/cli/revoke.py"


# -------------------------------------------------------------------------------------------------- an input or output

EVENTS = get_args(codec.Event)
NOT_ON_A_TOPIC = {"Tick"}
"""Time: made where it is needed."""
NO_KEY = {"TrustChanged", "ShardReached", "LedgerWritten", "LedgerSealed", "LedgerSigned"}
"""Every reader reads all of them."""
ONLY_RECORDED = {"NamespaceObserved", "ConfigurationObserved", "ClaimObserved", "PastSeen", "DeadLetter"}
"""Inputs that the judge does not ask (namespaces go to the alerter; what archives say is told to nobody)."""
NOT_KEPT = {
    *("PodObserved", "EvidenceWanted", "Tick", "IncidentPart", "ShardReached", "ProgressSeen"),
    *("IncidentAction", "IncidentContext", "SilenceAction", "AuditCounted", "PullsTaken"),
    *("LedgerWritten", "LedgerSealed", "LedgerSigned", "LedgerChecked", "LedgerDay"),
}
"""Events without documents of their own: another document covers them, or they are questions between our own parts."""


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_every_event_has_a_topic_a_key_and_an_id(kind):
    """What carries its subject's id and a version needs an id of its own, or the log takes the second version for a
    repetition of the first."""
    if kind.__name__ in NOT_ON_A_TOPIC:
        return
    assert kind in topics._TOPIC_OF, "streams/topics.py: TOPICS"
    assert (kind in topics._KEYS) != (kind.__name__ in NO_KEY), "streams/topics.py: _KEYS"
    fields = set(kind.__struct_fields__)
    assert (kind in outputs._IDS) == ("id" not in fields or bool({"sequence", "revision"} & fields)), (
        "streams/outputs.py"
    )


def test_everything_observed_or_on_a_topic_can_be_encoded():
    assert set(get_args(Observation)) <= set(EVENTS), "streams/codec.py: Event"
    assert {kind for topic in topics.TOPICS.values() for kind in topic.holds} <= set(EVENTS), "streams/codec.py: Event"


@pytest.mark.parametrize("kind", get_args(Observation), ids=lambda kind: kind.__name__)
def test_every_observation_has_a_handler_or_is_only_recorded(kind):
    assert (kind in HANDLERS) != (kind.__name__ in ONLY_RECORDED), "streams/handlers/__init__.py: HANDLERS"


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_every_event_is_kept_or_is_not_on_purpose(kind):
    assert (kind in documents._MAKERS) != (kind.__name__ in NOT_KEPT), "streams/sinks/documents.py: _MAKERS"


# ------------------------------------------------------------------------------------------------- state and due times


def test_what_is_stored_can_be_read_back():
    assert set(state._PACK) == set(state._UNPACK)


def test_every_kind_of_state_that_is_touched_can_be_stored():
    asked = {text: place for place, text in literals("streams", "touch", 0)}
    assert {kind: place for kind, place in asked.items() if kind not in state._PACK} == {}, "streams/state.py: _PACK"


def test_every_due_time_has_somebody_who_looks():
    asked = {text: place for place, text in literals("streams", "schedule", 1)}
    assert {kind: place for kind, place in asked.items() if kind not in DUE} == {}, "streams/handlers/ticks.py: DUE"
    assert set(asked) == set(DUE), "a row of DUE that nobody schedules"


# -------------------------------------------------------------------------------------------- an importer or a command


def test_every_importer_can_be_asked_for():
    folder = ROOT / "verifier" / "policy" / "importers"
    written = {
        node.name
        for path in folder.glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("import_")
    }
    listed = {importer.__name__ for importer in IMPORTERS.values()}
    assert written == listed, "verifier/policy/importers/formats.py: IMPORTERS"


def test_every_file_with_a_command_is_in_the_list():
    serving = {f"serve_{name}" for name in PROCESSES}
    files = {path.stem for path in (ROOT / "streams" / "cli").glob("*.py") if defines(path, "command")}
    listed = {module.rpartition(".")[2] for module, _ in COMMANDS.values()}
    assert files == listed | serving, "streams/cli/__init__.py: COMMANDS"


def defines(path: Path, name: str) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in body)


# -------------------------------------------------------------------------------------------------- a table of the file


def test_the_architecture_page_names_every_table_of_the_state_file(tmp_path):
    connection = connect(tmp_path / "state.sqlite", create=True)
    with closing(connection):
        create_evidence_tables(connection)
        create_record_tables(connection)
        SqliteNotifier(connection)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [
        line.split("|")[1] for line in page[page.index("## What is stored") :].splitlines() if line.startswith("| `")
    ]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {name for name in tables if not name.startswith("sqlite_")} == named
