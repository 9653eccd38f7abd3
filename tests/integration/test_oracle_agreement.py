"""Real cosign 2, cosign 3 and notation, and revet, on more than six hundred signed cases: equal, or a row of a page.

tests/helpers/oracle_cases.py makes the cases. revet reads them from an OCI layout, by the way all evidence takes, and
the tools read the same bytes from a registry. Each case knows what is right; what a tool says otherwise has to be a row
of docs/differences.md, and each row has to show.

A seeded part runs always; REVET_ORACLE_PROOF=full (make oracle-proof) runs all of them.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers.oracle_cases import cases
from tests.helpers.oracle_differences import ROWS, explained, table
from tests.helpers.oracle_mutations import LOOSER, STRICTER, mutations, row_of
from tests.helpers.oracle_tools import Answer, Tools, judge, publish, registry, tools_for
from tests.helpers.oracle_world import Case, World
from tests.helpers.pki import SECOND
from tests.helpers.registry_server import push
from verifier.adapters.ocilayout import OciLayoutPlace

FULL = os.environ.get("REVET_ORACLE_PROOF") == "full"
SEED = 20_260_101
SHARE = 0.22
"""Of the cases of a family, in a run that is not full; those that show a difference come on top, one per pattern."""
PROCESSES = 2
NOW = int(time.time()) * SECOND
PAGE = ROOT / "docs" / "differences.md"
FAMILIES = (
    *("classic", "bundle", "attest-classic", "attest-bundle", "several", "byo-classic", "byo-bundle"),
    *("keyless-classic", "keyless-v1", "keyless-v2", "stamped-classic", "stamped-bundle"),
    *("notation-jws", "notation-cose"),
)
TOOLS = ("cosign3", "cosign2", "notation")

NOBODY = ("wrong-signer", "attestation-missing")
OUTSIDE, ENTRY, PROOF = "outside-certificate-window", "log-entry-mismatch", "log-proof-invalid"
CHANGED = ("signature-mismatch", "signed bytes", *NOBODY)
"""A key of the ring that did not sign is nobody's signature, unless the evidence itself names that key."""

_REASONS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (NOBODY, ("wrong key", "wrong identity", "wrong issuer", "another CA of that name", "another store")),
    (NOBODY, ("another identity", "leaf for servers", "chain missing", "another type")),
    (NOBODY, ("0 of 2", "2 of 3", "one signer twice", "signature asked as attestation")),
    (CHANGED, ("payload tampered", "signature tampered", "another image's, digest replaced")),
    (("signature-malformed", *CHANGED), ("signature cut",)),
    (("subject-mismatch", "payload-digest-mismatch"), ("another image's",)),
    (("annotation-mismatch",), ("annotation missing", "annotation of another value")),
    (("attestation-only",), ("attestation only",)),
    (("sct-missing",), ("without SCT", "SCT of a stranger", "CT window ended")),
    (("sct-invalid",), ("SCT spoiled",)),
    (("certificate-malformed",), ("issuers in .1 and .8 differ",)),
    ((OUTSIDE,), ("CA window ended", "CA window to come", "signed after the certificate", "still to come")),
    ((OUTSIDE,), ("TSA window ended", "TSA window to come", "TSA unknown", "stamp stripped", "stamp by a stranger")),
    ((OUTSIDE,), ("signed before the certificate", "stamped before the certificate", "stamped after the certificate")),
    ((OUTSIDE,), ("certificate expired", "certificate to come", "expired, stamp by a stranger")),
    ((OUTSIDE,), ("expired, stamp stripped", "expired, stamped too late")),
    ((OUTSIDE, "signature-expired"), ("expired",)),
    ((OUTSIDE, "log-entry-missing"), ("log window ended", "log window to come", "log unknown", "entry stripped")),
    ((ENTRY, *NOBODY), ("entry of another image", "entry of another signer")),
    ((ENTRY,), ("entry and stamp of another image", "entry about another hash", "kind changed")),
    ((PROOF,), ("promise spoiled", "time changed", "log index changed", "checkpoint spoiled", "proof missing")),
    ((PROOF,), ("proof index changed", "proof size changed", "proof path changed", "proof root changed")),
    (("timestamp-invalid",), ("stamp of another signature", "expired, stamp of another signature")),
)
REASONS = {name: codes for codes, names in _REASONS for name in names}
"""Defect -> what revet's one reason has to name: refusing is not enough, it has to be for what is wrong."""


@cache
def everything() -> tuple[Case, ...]:
    return tuple(cases(World(NOW)))


@cache
def chosen(family: str) -> tuple[Case, ...]:
    """All of a family, or a part: the same in every run."""
    found = [case for case in everything() if case.family == family]
    if FULL:
        return tuple(found)
    picked = set(random.Random(SEED).sample([case.name for case in found], max(4, round(len(found) * SHARE))))
    shown = {"": next(case.name for case in found if case.good)}
    for case in found:
        for tool in tools_for(case):
            row = explained(case, tool)
            if row is not None:
                shown.setdefault(row.id, case.name)
    return tuple(case for case in found if case.name in picked | set(shown.values()))


@pytest.fixture(scope="module")
def layouts() -> dict[str, Path]:
    """Family -> the layout its cases were published in; filled on demand."""
    return {}


def layout_of(family: str, layouts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    if family not in layouts:
        folder = tmp_path_factory.mktemp(family)
        publish(chosen(family), folder)
        layouts[family] = folder
    return layouts[family]


@pytest.fixture(scope="module")
def address(require) -> Iterator[str]:
    with registry(require("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def tools(require, address, tmp_path_factory) -> Tools:
    programs = {"cosign3": require("cosign"), "cosign2": require("cosign2"), "notation": require("notation")}
    return Tools(programs, address, tmp_path_factory.mktemp("tools"))


# ---------------------------------------------------------------------------------------------------------- the cases


def test_there_are_enough_cases_of_every_kind():
    found = Counter(case.family for case in everything())
    assert set(found) == set(FAMILIES)
    assert sum(found.values()) >= 300
    assert len({case.repository for case in everything()}) == len(everything())
    assert 0.2 < sum(case.good for case in everything()) / len(everything()) < 0.7
    asked = Counter(tool for case in everything() for tool in tools_for(case))
    assert min(asked[tool] for tool in TOOLS) >= 90


def test_the_part_that_always_runs_is_the_same_in_every_run():
    again = [case.name for case in cases(World(NOW))]
    assert again == [case.name for case in everything()]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("family", FAMILIES)
def test_revet_answers_what_is_right(layouts, tmp_path_factory, family):
    place = OciLayoutPlace(layout_of(family, layouts, tmp_path_factory))
    verdicts = {case.name: judge(place, case, NOW) for case in chosen(family)}
    wrong = {
        name: (verdict.outcome, [reason.message for reason in verdict.reasons])
        for (name, verdict), case in zip(verdicts.items(), chosen(family), strict=True)
        if verdict.outcome != ("valid" if case.good else "violates")
    }
    assert wrong == {}
    for name, verdict in verdicts.items():
        if verdict.outcome == "violates":
            reason = verdict.reasons[0]
            told = any(code == reason.code or reason.message.endswith(code) for code in REASONS[defect(name)])
            assert told, f"{name}: {reason}"


def defect(name: str) -> str:
    """`keyless-v1/p384 payload tampered` -> `payload tampered`."""
    last = name.rpartition("/")[2]
    head, _, rest = last.partition(" ")
    return rest if head in {"p384", "p521", "rsa2048", "rsa4096", "attestation", "classic", "bundle"} else last


def test_every_defect_has_its_reason():
    bad = {defect(case.name) for case in everything() if not case.good}
    assert bad == REASONS.keys()


@pytest.mark.slow
@pytest.mark.timeout(1200 if FULL else 300)
@pytest.mark.needs("cosign", "cosign2", "notation", "registry")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_real_tools_say_the_same_or_a_row_says_why(tools, layouts, tmp_path_factory, family):
    asyncio.run(push(layout_of(family, layouts, tmp_path_factory), f"http://{tools.address}"))
    with ThreadPoolExecutor(PROCESSES) as pool:
        answers = list(pool.map(tools.answers, chosen(family)))
    assert surprises(chosen(family), answers) == []
    for tool in {tool for said in answers for tool in said}:
        accepted = [said[tool].accepts for said in answers if tool in said]
        assert True in accepted, f"{tool} refuses everything: it is asked in a wrong way"


def surprises(asked: Sequence[Case], answers: Sequence[Mapping[str, Answer]]) -> list[str]:
    """What a tool said that neither agrees with revet nor stands in a row; also a row that does not show any more."""
    return [
        f"{case.name}: {tool} {answer.accepts}, expected {expected(case, tool)}: {answer.said[-400:]}"
        for case, said in zip(asked, answers, strict=True)
        for tool, answer in said.items()
        if answer.accepts is not expected(case, tool)
    ]


def expected(case: Case, tool: str) -> bool:
    return case.good is (explained(case, tool) is None)


def test_an_answer_that_changed_is_a_surprise():
    """The comparison itself: all as expected is nothing, all the other way round is everything, rows included."""
    as_expected = [{tool: Answer(expected(case, tool), "") for tool in tools_for(case)} for case in everything()]
    turned = [{tool: Answer(not said.accepts, "") for tool, said in answer.items()} for answer in as_expected]
    assert surprises(everything(), as_expected) == []
    assert len(surprises(everything(), turned)) == sum(len(tools_for(case)) for case in everything())


# ----------------------------------------------------------------------------------------------------------- the page


def test_every_pattern_of_a_row_names_cases():
    named: dict[str, set[str]] = {}
    for case in everything():
        for row in filter(None, (explained(case, tool) for tool in tools_for(case))):
            named.setdefault(row.id, set()).add(case.name)
    empty = {
        (row.id, pattern)
        for row in ROWS
        for pattern in row.shows
        if not any(fnmatchcase(name, pattern) for name in named.get(row.id, ()))
    }
    assert empty == set()


def test_every_row_is_shown_by_cases_or_by_a_test_that_exists():
    for row in ROWS:
        assert bool(row.shows) is not bool(row.test), row.id
        if row.test:
            file, _, name = row.test.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text(), row.test


def test_rows_are_named_once_and_each_is_a_difference():
    assert [name for name, count in Counter(row.id for row in ROWS).items() if count > 1] == []
    for row in ROWS:
        said = {row.cosign2, row.cosign3, row.notation, row.others} - {"-", "as revet", row.revet}
        assert said, f"{row.id}: nobody says otherwise"
        assert row.revet in {"accepts", "refuses"}
        assert row.clause


def test_the_page_has_exactly_these_rows():
    head, _, rest = PAGE.read_text().partition("<!-- rows: made by tests/helpers/oracle_differences.py -->\n")
    found, end, _ = rest.partition("<!-- end of rows -->")
    assert (head != "", end != "") == (True, True)
    assert found == table(), "docs/differences.md is not the table: python -m tests.helpers.oracle_differences"


# --------------------------------------------------------------------------------------------------- changed at random


@pytest.mark.slow
@pytest.mark.timeout(1200 if FULL else 300)
@pytest.mark.needs("cosign", "cosign2", "registry")
def test_what_is_changed_at_random_is_answered_alike_or_a_row_says_why(tools, tmp_path):
    found = mutations(World(NOW), SEED, 500 if FULL else 40)
    publish([mutation.case for mutation in found], tmp_path)
    asyncio.run(push(tmp_path, f"http://{tools.address}"))
    with ThreadPoolExecutor(PROCESSES) as pool:
        answers = list(pool.map(tools.answers, [mutation.case for mutation in found]))
    place = OciLayoutPlace(tmp_path)
    surprises = []
    for mutation, said in zip(found, answers, strict=True):
        accepted = judge(place, mutation.case, NOW).outcome == "valid"
        for tool, answer in said.items():
            if answer.accepts is not accepted and not row_of(mutation, accepted=accepted):
                what = f"{mutation.case.name}: {mutation.path} {mutation.how}: revet {accepted}"
                surprises.append(f"{what}, {tool} {answer.accepts}: {answer.said[-300:]}")
    assert surprises == []


def test_rows_that_explain_mutations_exist():
    assert {*LOOSER.values(), *STRICTER.values()} <= {row.id for row in ROWS}
