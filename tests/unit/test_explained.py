"""A verdict told step by step, from verdicts that were really reached and from facts made by hand."""

from typing import Any, get_args

import msgspec
import pytest

from streams.local.explained import _STATES, Explained, Step, explain
from tests.helpers.command import DEMO, LAYOUT, key, revet
from verifier.models import (
    ChainClaim,
    DigestClosure,
    EvidenceSet,
    Fact,
    ImageReference,
    LeafCertificate,
    LogClaim,
    PlaceAsked,
    Reason,
    RuleClaim,
    Scope,
    SctClaim,
    SignatureState,
    SignatureView,
    TimeClaim,
    Verdict,
)
from verifier.verify import ImageEvidence

DIGEST = "sha256:" + "1" * 64
IMAGE = ImageReference("registry.example.com", "app", "1")
KEYS = "k" * 64
LEAF = LeafCertificate("c" * 64, KEYS, "1", "", 0, 600_000_000, "https://issuer.example", ("dev@example.com",))
NAMES = ("read", "signature", "chain", "log", "time", "identity", "trust", "policy")


def fact(**members: Any) -> Fact:
    given: dict[str, Any] = {
        "id": "f",
        "evidence_id": "e",
        "format": "sigstore-bundle",
        "kind": "signature",
        "repository": "registry.example.com/app",
        "subject": DIGEST,
        "subjects": (DIGEST,),
        "verified_by": (KEYS,),
        "keyset": "",
        "algorithm": "ecdsa-p256-sha256",
    }
    return Fact(**(given | members))


def view(**members: Any) -> SignatureView:
    given: dict[str, Any] = {
        "evidence": "e",
        "fact": "f",
        "format": "sigstore-bundle",
        "kind": "signature",
        "signer": "dev",
        "key_id": KEYS,
        "status": "trusted",
        "counts": True,
        "via": "exact",
        "time": None,
        "time_kind": "none",
    }
    return SignatureView(**(given | members))


def verdict(
    *views: SignatureView, outcome: str = "valid", codes: tuple[str, ...] = ("satisfied",), **members: Any
) -> Verdict:
    given: dict[str, Any] = {
        "id": "v",
        "policy": "signed",
        "policy_version": "v1:x",
        "mode": "audit",
        "outcome": outcome,
        "reasons": tuple(Reason(code, f"because {code}", "signed") for code in codes),
        "signatures": views,
        "exempted_by": "",
        "epoch": 1,
        "evidence_set": "s",
        "facts": ("f",),
        "scope": Scope(IMAGE),
        "closure": DigestClosure(DIGEST),
        "instant": 0,
        "valid_until": None,
    }
    return Verdict(**(given | members))


def image(*facts: Fact, complete: bool = True, kept: bool = True, problem: Reason | None = None) -> ImageEvidence:
    place = PlaceAsked("sig-tag", DIGEST, "found" if complete else "error", "" if complete else "registry-unavailable")
    closure = DigestClosure(DIGEST)
    known = EvidenceSet("registry.example.com/app", DIGEST, (), closure, (place,), complete, 0, "", "s")
    return ImageEvidence("registry.example.com/app", DIGEST, known if kept else None, facts, problem=problem)


def steps_of(given: Fact, seen: SignatureView) -> dict[str, Step]:
    (signature,) = explain(verdict(seen), image(given)).signatures
    assert tuple(step.name for step in signature.steps) == NAMES
    return {step.name: step for step in signature.steps}


# -------------------------------------------------------------------------------------------------- which step decided


@pytest.mark.parametrize(
    ("given", "known", "step"),
    [
        (verdict(outcome="violates", codes=("digest-denied",)), image(), "1"),
        (verdict(outcome="ungoverned", codes=("ungoverned",), policy=""), image(), "2"),
        (verdict(), image(), "4"),
        (verdict(), image(complete=False), "4"),
        (verdict(outcome="violates", codes=("untrusted-registry",)), image(complete=False), "5"),
        (verdict(outcome="unverifiable", codes=("evidence-pending",)), image(kept=False), "6"),
        (verdict(outcome="unverifiable", codes=("keys-pending",)), image(), "6"),
        (verdict(outcome="unverifiable", codes=("rules-pending",)), image(), "6"),
        (
            verdict(outcome="unverifiable", codes=("registry-not-found",)),
            image(kept=False, problem=Reason("x", "y")),
            "6",
        ),
        (verdict(outcome="unverifiable", codes=("registry-unavailable",)), image(complete=False), "7"),
        (verdict(outcome="violates", codes=("unsigned",)), image(), "8"),
    ],
)
def test_the_step_that_decided(given, known, step):
    told = explain(given, known)
    assert told.decided_by == step
    assert msgspec.json.decode(msgspec.json.encode(told), type=Explained) == told


def test_all_ten_steps_are_told_for_a_policy():
    told = explain(verdict(view(), outcome="violates", codes=("unsigned",)), image(fact()))
    assert [step.name for step in told.steps] == [str(n) for n in range(1, 11)]
    assert {s.name: s.found for s in told.steps}["8"] == "failed"


def test_an_exemption_and_an_end_are_told():
    told = explain(
        verdict(outcome="violates", codes=("unsigned",), exempted_by="v1:ex", valid_until=60_000_000), image()
    )
    nine, ten = told.steps[8:]
    assert (nine.found, nine.text) == ("passed", "v1:ex covers it; the verdict stays violates")
    assert (ten.found, ten.text) == ("passed", "judge again at 1970-01-01T00:01:00Z")


def test_a_place_that_did_not_answer_is_named():
    told = explain(verdict(outcome="unverifiable", codes=("registry-unavailable",)), image(complete=False))
    assert told.steps[6].text == "sig-tag: registry-unavailable: unverifiable"


# --------------------------------------------------------------------------------------------------------- a signature


def test_a_signature_by_a_key():
    steps = steps_of(fact(), view())
    assert steps["signature"].text == f"ecdsa-p256-sha256 by key {KEYS[:12]}"
    assert [steps[n].found for n in NAMES] == [
        *("passed", "passed", "nothing", "nothing", "nothing", "passed", "passed", "passed")
    ]


def test_a_keyless_signature_with_everything():
    chain = ChainClaim("a" * 64, 0, 600_000_000, scts=(SctClaim("l", 1),))
    given = fact(
        certificate=LEAF,
        chains=(chain,),
        logs=(LogClaim("b" * 64, "hashedrekord/0.0.1", 7, included=True, promised=True, time=1),),
        times=(TimeClaim("tsa", "attested", 2),),
    )
    steps = steps_of(given, view(time=2_000_000, time_kind="attested"))
    assert all(step.found == "passed" for step in steps.values())
    assert steps["chain"].text.endswith("; in 1 certificate log")
    assert steps["log"].text == "bbbbbbbbbbbb entry 7 (included and promised)"
    assert steps["time"].text == "1970-01-01T00:00:02Z, attested (tsa)"
    assert steps["identity"].text == "dev@example.com, vouched for by https://issuer.example; it names this very digest"


@pytest.mark.parametrize(
    ("given", "seen", "stage", "found", "says"),
    [
        (
            fact(problem="bundle-malformed", problem_detail="no bundle", subjects=()),
            view(),
            "read",
            "failed",
            "no bundle",
        ),
        (fact(problem="signature-malformed"), view(), "signature", "failed", "signature-malformed"),
        (fact(verified_by=(), key_hint="ab"), view(), "signature", "unknown", "it names ab"),
        (fact(certificate=LEAF), view(), "chain", "unknown", "none that is given"),
        (fact(undecided=("log:ab",)), view(), "log", "unknown", "no key is given for log:ab"),
        (fact(logs=(LogClaim("b", "x", 1),)), view(), "log", "failed", "not vouched for"),
        (fact(claimed_time=0), view(), "time", "nothing", "its signer claims 1970-01-01"),
        (fact(), view(via=None), "identity", "failed", "names another image"),
        (fact(), view(status="revoked", counts=False), "trust", "failed", "revoked"),
        (fact(), view(counts=False), "policy", "failed", "does not count"),
        (fact(kind="attestation"), view(kind="attestation"), "policy", "nothing", "signs no image"),
        (
            fact(
                kind="attestation", rules=(RuleClaim("a", holds=True), RuleClaim("b", holds=False, detail="builder x"))
            ),
            view(kind="attestation"),
            "policy",
            "failed",
            "meets 1 of 2 content rules: builder x",
        ),
        (
            fact(kind="attestation", rules=(RuleClaim("a", holds=True),)),
            view(kind="attestation"),
            "policy",
            "passed",
            "meets 1 of 1 content rule",
        ),
    ],
)
def test_stages(given, seen, stage, found, says):
    step = steps_of(given, seen)[stage]
    assert step.found == found
    assert says in step.text


def test_every_state_of_a_signature_has_words():
    assert set(_STATES) == set(get_args(SignatureState))


def test_evidence_without_a_standing_is_told_too():
    told = explain(verdict(), image(fact(id="other", subject="sha256:" + "2" * 64)))
    (unseen,) = told.signatures
    assert unseen.steps[-1].text == "other image"


def test_a_verdict_whose_fact_is_gone_is_told():
    (signature,) = explain(verdict(view(fact="gone")), image()).signatures
    assert signature.steps[0].text == "this fact is no longer on record"


HOSTILE = "dev\x1b[2J\u202e\nSTEP 4: valid"


def test_hostile_names_stay_in_their_cells():
    given = fact(
        certificate=msgspec.structs.replace(LEAF, sans=(HOSTILE * 200,)), key_hint=HOSTILE, predicate_type=HOSTILE
    )
    told = explain(verdict(view(signer=HOSTILE)), image(given))
    text = "".join(f"{s.signer}{step.text}" for s in told.signatures for step in s.steps)
    assert not any(c in text for c in ("\x1b", "\u202e", "\n"))
    assert all(len(step.text) < 1000 for s in told.signatures for step in s.steps)


# --------------------------------------------------------------------------------------------------------- the command

API = "registry.example.com/payments/api:1.4.2"


def test_the_command_tells_every_step():
    ran = revet("verify", API, "--key", key("dev"), "--evidence", LAYOUT, "--explain")
    assert ran.code == 0
    assert f"{API}, policy command-line: valid (step 4 decides)" in ran.out
    assert "1. cosign-simplesigning by dev" in ran.out
    for name in NAMES:
        assert f"\n{name} " in ran.out


def test_the_document_holds_the_steps_only_when_asked():
    asked = revet("verify", API, "--trust", DEMO / "keys", "--evidence", LAYOUT, "-o", "json", "--explain")
    (told,) = asked.json["results"][0]["explained"]
    assert (told["outcome"], told["policy"], told["signatures"][0]["signer"]) == ("ungoverned", "", "dev")
    assert (
        revet("verify", API, "--key", key("dev"), "--evidence", LAYOUT, "-o", "json").json["results"][0]["explained"]
        == []
    )


@pytest.mark.parametrize("output", ["sarif", "junit"])
def test_reports_for_programs_hold_no_explanation(output):
    ran = revet("verify", API, "--key", key("dev"), "--evidence", LAYOUT, "--explain", "-o", output)
    assert (ran.code, "--explain tells people" in ran.err) == (2, True)
