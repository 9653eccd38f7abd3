"""A small, seeded share of `python -m tests.fuzz`, what it once found, and proof that it finds.

Tiny files in tests/assets/fuzz, named `<target>..<attack>.bin`, are inputs that were once answered wrongly.
"""

import ast
import gc
from pathlib import Path

import pytest

from tests.fuzz import forgery, runner, world
from tests.fuzz.__main__ import Slice, main, merge, work
from tests.fuzz.mutators import FAMILIES, mutate
from tests.fuzz.runner import Report
from tests.fuzz.seeds import MAKERS, seeds
from tests.fuzz.targets import TARGETS, Target, keyset
from verifier.errors import EvidenceError
from verifier.facts.derive import derive_fact

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "tests" / "assets" / "fuzz"
INPUTS = 60
"""Per target: with the seeds themselves about five seconds in all."""
SEED = 20261121


@pytest.fixture(autouse=True)
def installed():
    """The timer of the runner; the end of memory is for processes of its own."""
    runner.install(address_space=False)
    yield
    gc.unfreeze()


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_of_everything(name):
    report = runner.run(name, INPUTS, SEED)
    assert [str(finding) for finding in report.findings] == []
    assert report.inputs == INPUTS


@pytest.mark.parametrize("name", forgery.NAMES)
def test_no_mutation_passes_for_signed(name):
    report = forgery.run(name, INPUTS, SEED)
    assert [str(finding) for finding in report.findings] == []


@pytest.mark.parametrize("path", sorted(ASSETS.glob("*.bin")), ids=lambda path: path.stem)
def test_what_was_found_stays_mended(path):
    name, dots, attack = path.stem.partition("..")
    assert dots
    assert attack
    assert runner.one(TARGETS[name], path.read_bytes(), Report(name), measured=True) is None


def test_every_seed_of_a_target_that_refuses_is_read_at_least_once():
    """Seeds that nobody accepts would only ever test the first check of a parser."""
    for name, target in TARGETS.items():
        refusals = [runner.answer(target, sound)[1] for sound in seeds(target.seeds)]
        if name not in NEVER_ACCEPTED:
            assert not all(refusals), name


NEVER_ACCEPTED = {
    "annotation_entry",  # the entry is about another signature than the one it is compared with, at the last step
    "check_body",  # the same
}


def test_every_kind_of_seed_and_every_family_is_used():
    assert {target.seeds for target in TARGETS.values()} == set(MAKERS) - {"unused"}
    assert {target.family for target in TARGETS.values()} == set(FAMILIES)


# ------------------------------------------------------------------------------------------------ every parser is there

PARSERS = ("read_", "load_", "parse_", "decode_", "import_", "check_regex", "check_cel", "check_path")
ELSEWHERE = {
    "read_administrators": "of the settings, not of strangers; garbage in test_trust_signing",
    "load_private_key": "of the administrator's own file; garbage in test_trust_signing",
    "read_said": "of content that a reader made; part of derive_fact",
    "read_bom": "of a predicate; part of `predicate`",
    "read_scan": "the same",
    "read_provenance": "the same",
    "read_simple_signing": "part of derive_fact, simple signing",
    "read_carried": "of annotations",
    "read_dsse": "part of derive_fact, attestation",
    "read_envelope": "part of derive_fact, attestation and bundle",
    "read_bundle": "part of derive_fact, bundle",
    "read_jws": "part of derive_fact, JWS",
    "read_cose": "part of derive_fact, COSE",
    "read_notation": "part of derive_fact, JWS and COSE",
    "read_openpgp": "part of derive_fact, OpenPGP",
    "read_keys": "part of derive_fact, trust data",
    "read_trusted_root": "part of trusted_root.json",
    "read_status_list": "a CRL that stands in a trust record: read_crl",
    "read_instant": "of a model's field: load_documents",
    "read_root": "`root, ...`",
    "read_trees": "with load_documents",
    "decode_point": "32 bytes of a key that a person put into trust",
    "parse_utc": "of a predicate's text",
    "load": "of a root's certificate: `root, certificates`",
    **{f"import_{name}": "`import, ...`" for name in ("binauthz", "cip", "connaisseur", "containers", "kyverno")},
    **{f"import_{name}": "`import, ...`" for name in ("notation", "openshift")},
}
"""Parsers that are reached through another one's target."""


def test_every_parser_of_the_verifier_has_a_target():
    called = (ROOT / "tests" / "fuzz" / "targets.py").read_text()
    missing = []
    for path in sorted((ROOT / "verifier").rglob("*.py")):
        if "adapters" in path.parts or path.name == "testing.py":
            continue
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith(PARSERS):
                continue
            if node.name not in ELSEWHERE and node.name not in called:
                missing.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert missing == []


# ------------------------------------------------------------------------------------------------------------ it finds


def found(call, data=b"x", **members):
    return runner.one(Target(call, "reference", "bytes", **members), data, Report("t"), measured=True)


def test_it_finds_an_exception_that_is_not_documented():
    kind, what = found(lambda data: 1 / 0)
    assert (kind, "ZeroDivisionError" in what) == ("raised", True)


def test_it_finds_a_warning():
    import warnings  # noqa: PLC0415 - used once

    assert found(lambda data: warnings.warn("odd", stacklevel=1))[0] == "raised"


def test_it_finds_slowness():
    def slow(data):
        return sum(range(6_000_000))

    kind, what = found(slow)
    assert (kind, "promised are 50" in what) == ("slow", True)
    assert found(slow, data=b"x" * 1024, per_kib=60_000) is None


def test_it_finds_memory():
    assert found(lambda data: bytes(80_000_000))[0] == "memory"


def test_it_finds_a_hang(monkeypatch):
    monkeypatch.setattr(runner, "HANG_SECONDS", 0.2)

    def hang(data):
        while True:
            pass

    assert found(hang)[0] == "raised"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EvidenceError("no-such-code", "text"), "code"),
        (EvidenceError("payload-malformed", "x" * 3000), "message"),
        (EvidenceError("payload-malformed", "\x1b[31m"), "message"),
        (EvidenceError("payload-malformed", "text"), None),
    ],
)
def test_it_reads_what_errors_say(error, kind):
    def refuse(data):
        raise error

    wrong = found(refuse, allowed=(EvidenceError,))
    assert (wrong and wrong[0]) == kind


def test_it_finds_a_forgery(monkeypatch):
    """A verifier that believes whatever it reads."""
    good = world.good()["keyed, simple signing"]
    known = derive_fact(good, keyset())
    monkeypatch.setattr(forgery, "derive_fact", lambda piece, keys: known)
    assert forgery.run("forgery, keyed, simple signing", 40, SEED).findings


def test_the_same_seed_makes_the_same_inputs():
    first = list(runner.inputs("load_certificate", 7, 40))
    assert first == list(runner.inputs("load_certificate", 7, 40))
    assert first[20:] == list(runner.inputs("load_certificate", 7, 20, 20))
    assert first != list(runner.inputs("load_certificate", 8, 40))


@pytest.mark.parametrize("family", FAMILIES)
def test_mutators_take_anything(family):
    from random import Random  # noqa: PLC0415 - used once

    for number, data in enumerate((b"", b"\0", b"{", b"[]", b"-----BEGIN ", b"\x30\x80", "é\n".encode(), b"\xff" * 50)):
        for turn in range(30):
            assert isinstance(mutate(data, (data, b"other"), family, Random(f"{number} {turn}")), bytes)


def test_the_command_finds_keeps_and_tells(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TARGETS, "broken", Target(lambda data: 1 / 0, "reference", "bytes"))
    arguments = ["--inputs", "5", "--seed", "1", "--jobs", "1", "--save", str(tmp_path)]
    monkeypatch.setattr(runner, "install", lambda: None)
    assert main(["--target", "broken", *arguments]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert [path.name.split(".")[:2] for path in tmp_path.iterdir()] == [["broken", "raised"]] * len(
        list(tmp_path.iterdir())
    )
    assert main(["--target", "parse_age", *arguments]) == 0
    assert main(["--target", "nothing of that name"]) == 2
    assert main(["--list"]) == 0
    assert "load_certificate" in capsys.readouterr().out


def test_slices_add_up():
    whole = Report("parse_age")
    for start in (0, 10):
        merge(whole, work(Slice("parse_age", 1, start, 10)))
    assert whole.inputs == 20
