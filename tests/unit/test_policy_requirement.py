"""The requirement tree over standings: what meets a leaf, which miss names the reason, and that more never harms."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.models import DigestClosure, ImageReference, Scope, Standing
from verifier.policy.attestors import Attestor
from verifier.policy.counting import NEVER, counts, in_window
from verifier.policy.failures import CLOSENESS
from verifier.policy.model import AtLeast, MatchRule, Policy, Requirement
from verifier.policy.requirement import evaluate
from verifier.policy.selection import compile_policy
from verifier.reasons import REASONS, reason
from verifier.trust.revocation import RANK, judge_window
from verifier.trust.revocation import counts as counts_of_trust

D0, D1, INDEX = ("sha256:" + c * 64 for c in "abc")
KEYS = {"dev": ["d1", "d2"], "sec": ["s1"], "ops": ["o1"], "both": ["d1", "s1"]}
SCOPE = Scope(image=ImageReference("registry.example.com", "payments/api", "1"))
CLOSURE = DigestClosure(D0, indexes=(INDEX,))


def by(name, **annotations):
    return Requirement(signed_by=name, annotations=annotations)


def run(require, standings, soft="warn", complete=True, instant=None, closure=CLOSURE, keys=KEYS, **attestor):
    policy = Policy(
        id="p",
        match=(MatchRule(images=("**",)),),
        attestors={name: Attestor(keys=(name,), **attestor) for name in keys},
        require=require,
        soft_unproven=soft,
    )
    return evaluate(compile_policy(policy), standings, SCOPE, closure, keys, complete, instant)


def standing(key="d1", state="trusted", kind="signature", via="exact", evidence="", **rest):
    name = evidence or f"{key}-{state}-{kind}"
    return Standing(name, f"f-{name}", "sigstore-bundle", kind, key, state, via, **rest)


LEAVES = [
    # sentence, standings, policy's choice, reason code ("" = met)
    ("a signature by a key of the attestor", [standing()], "warn", ""),
    ("a signature on an index that lists the image", [standing(via="index_of")], "warn", ""),
    ("a signature on the platform manifest that runs", [standing(via="child_of")], "warn", ""),
    ("nothing at all", [], "warn", "unsigned"),
    ("only an attestation by the right key", [standing(kind="attestation")], "warn", "attestation-only"),
    ("a signature by somebody else", [standing("s1")], "warn", "wrong-signer"),
    ("a signature by a key nobody knows", [standing("", "unknown-key")], "warn", "wrong-signer"),
    ("somebody else's, and an attestation", [standing("s1"), standing(kind="attestation")], "warn", "wrong-signer"),
    ("a key compromised before", [standing(state="trusted-before-compromise")], "deny", ""),
    ("a key retired after", [standing(state="trusted-before-retirement")], "deny", ""),
    ("a retired key, age unproven, warn", [standing(state="retired-unproven")], "warn", ""),
    ("a retired key, used late, allow", [standing(state="retired-late")], "allow", ""),
    ("a retired key, age unproven, deny", [standing(state="retired-unproven")], "deny", "retired-key"),
    ("a retired key, used late, deny", [standing(state="retired-late")], "deny", "retired-key"),
    ("a key outside its own window", [standing(state="outside-window")], "warn", "outside-key-window"),
    ("a key on hold", [standing(state="suspended")], "warn", "key-suspended"),
    ("a key taken out of trust", [standing(state="not-authorised")], "warn", "key-removed"),
    ("a compromised key, no time", [standing(state="revoked-time-unknown")], "warn", "key-revoked-time-unknown"),
    ("a compromised key", [standing(state="revoked", time=5)], "warn", "key-revoked"),
    ("a good signature of another image", [standing(state="subject-mismatch", via=None)], "warn", "subject-mismatch"),
    ("a signature that does not reach the image", [standing(via=None)], "warn", "subject-mismatch"),
    ("a broken one that names our key", [standing(state="invalid", problem="p")], "warn", "signature-invalid"),
    ("only a broken one that names no key", [standing("", "invalid", "unknown")], "warn", "signature-invalid"),
    ("a broken one, and somebody else's", [standing("", "invalid"), standing("s1")], "warn", "wrong-signer"),
    (
        "a kind of evidence that is not read",
        [standing("", "invalid", problem="unsupported-evidence")],
        "warn",
        "wrong-signer",
    ),
    ("the nearest of two misses", [standing(state="revoked"), standing("d2", "suspended")], "warn", "key-suspended"),
]


@pytest.mark.parametrize(("_sentence", "standings", "soft", "code"), LEAVES)
def test_a_leaf_is_met_or_names_the_closest_candidate(_sentence, standings, soft, code):
    result = run(by("dev"), standings, soft)
    assert result.satisfied is (code == "")
    assert [f.code for f in result.failures] == ([code] if code else [])


@pytest.mark.parametrize(("_sentence", "standings", "soft", "code"), LEAVES)
def test_every_failure_fills_the_sentence_of_its_reason(_sentence, standings, soft, code):
    for failure in run(by("dev"), standings, soft).failures:
        text = reason(failure.code, "p", **{"places": "sig-tag", "digest": D0, **failure.data}).message
        assert text
        assert "{" not in text


def test_every_shortfall_has_a_reason():
    assert {code for code in CLOSENESS if code != "invalid-of-others"} <= set(REASONS)


def test_an_attestation_never_signs_however_good_its_key():
    every_state = [standing(key, kind="attestation", evidence=f"{key}{i}") for i, key in enumerate(KEYS["dev"])]
    assert not run(by("dev"), every_state).satisfied


def test_the_answer_names_signer_format_and_evidence():
    result = run(by("dev"), [standing(evidence="e1")])
    assert (result.by, result.used, result.list_only) == (("dev (sigstore-bundle)",), ("e1",), False)


def test_a_signature_that_needs_no_excuse_is_preferred():
    result = run(by("dev"), [standing(state="retired-unproven"), standing("d2")])
    assert result.used == ("d2-trusted-signature",)
    assert result.warnings == ()


@pytest.mark.parametrize(("soft", "codes"), [("warn", ["counted-after-retirement"]), ("allow", [])])
def test_a_retired_key_that_counts_is_mentioned_when_the_policy_says_warn(soft, codes):
    result = run(by("dev"), [standing(state="retired-unproven")], soft)
    assert [w.code for w in result.warnings] == codes
    for warning in result.warnings:
        assert reason(warning.code, "p", **warning.data).message


# ----------------------------------------------------------------------------------------- annotations, claims, windows


def test_annotations_must_be_there_with_exactly_these_values():
    good = standing(annotations=(("env", "prod"), ("x", "1")))
    assert run(by("dev", env="prod"), [good]).satisfied
    result = run(by("dev", env="test"), [good])
    assert (result.failures[0].code, result.failures[0].data["found"]) == ("annotation-mismatch", "prod")
    assert run(by("dev", team="a"), [good]).failures[0].data["found"] == "not there"


@pytest.mark.parametrize(("claim", "met"), [(True, True), (False, False), (None, False)])
def test_a_repository_claim_that_is_asked_for_must_be_made_and_true(claim, met):
    result = run(by("dev"), [standing(repository_claim=claim)], repository_claim=True)
    assert result.satisfied is met
    assert met or result.failures[0].code == "repository-mismatch"
    assert run(by("dev"), [standing(repository_claim=claim)]).satisfied


WINDOW = {"valid_from": 100, "valid_until": 200}
WINDOWS = [
    ("within", 150, 500, True),
    ("at its first instant", 100, 500, True),
    ("at its last instant", 200, 500, True),
    ("before", 99, 500, False),
    ("after", 201, 500, False),
    ("unproven while it lasts", None, 150, True),
    ("unproven at its last instant", None, 200, True),
    ("unproven after it", None, 201, False),
    ("unproven before it", None, 99, False),
    ("unproven, instant not given", None, None, False),
]


@pytest.mark.parametrize(("_sentence", "time", "instant", "met"), WINDOWS)
def test_an_attestors_window_is_closed_and_judged_at_the_proven_time(_sentence, time, instant, met):
    result = run(by("dev"), [standing(time=time)], instant=instant, **WINDOW)
    assert result.satisfied is met
    assert met or result.failures[0].code == "outside-key-window"


def test_the_result_says_when_a_window_changes_it():
    assert run(by("dev"), [standing()], instant=150, **WINDOW).valid_until == 201
    assert run(by("dev"), [standing()], instant=50, **WINDOW).valid_until == 100
    assert run(by("dev"), [standing(time=150)], instant=160, **WINDOW).valid_until is None
    assert run(by("dev"), [standing("s1")], instant=150, **WINDOW).valid_until is None


times = st.none() | st.integers(0, 6)


@given(times, times, times, st.integers(0, 7))
def test_attestor_windows_follow_the_rule_of_key_windows(start, end, t_le, instant):
    judged = judge_window(start, end, t_le, instant)
    assert in_window(start, end, t_le, instant) == (judged.state == "trusted", judged.valid_until)


@pytest.mark.parametrize("soft", ["allow", "warn", "deny"])
def test_what_counts_is_what_trust_says_counts(soft):
    states = [*RANK, "subject-mismatch", "invalid", "unknown-key"]
    assert [counts(s, soft) for s in states] == [counts_of_trust(s, soft) for s in states]
    assert in_window(None, 5, None, NEVER) == (False, None)


# ------------------------------------------------------------------------------------------------------------- lists

LISTS = [
    ("the running digest is listed", Requirement(digest_in=(D0,)), ""),
    ("an index that lists the running digest is listed", Requirement(digest_in=(INDEX,)), ""),
    ("another digest is listed", Requirement(digest_in=(D1,)), "digest-not-listed"),
    ("the registry is listed", Requirement(registry_in=("docker.io", "registry.example.com")), ""),
    ("another registry is listed", Requirement(registry_in=("docker.io",)), "untrusted-registry"),
]


@pytest.mark.parametrize(("_sentence", "require", "code"), LISTS)
def test_lists_look_at_the_image_alone(_sentence, require, code):
    result = run(require, [])
    assert (result.satisfied, result.list_only) == (code == "", code == "")
    assert [f.code for f in result.failures] == ([code] if code else [])
    for failure in result.failures:
        assert reason(failure.code, "p", **failure.data).message


def test_a_listed_manifest_says_nothing_about_an_index():
    result = run(Requirement(digest_in=(D1,)), [], closure=DigestClosure(INDEX, children=(D1,)))
    assert not result.satisfied


def test_a_signature_is_shown_before_a_list_that_would_do():
    either = Requirement(any=(Requirement(registry_in=("registry.example.com",)), by("dev")))
    assert run(either, [standing()]).by == ("dev (sigstore-bundle)",)
    assert run(either, []).list_only


# ------------------------------------------------------------------------------------------------- trees, duty, absence

DEV, SEC, OPS = standing("d1"), standing("s1"), standing("o1")


def two_of(*names):
    return Requirement(at_least=AtLeast(count=2, of=tuple(by(n) for n in names)))


TREES = [
    ("all, both there", Requirement(all=(by("dev"), by("sec"))), [DEV, SEC], []),
    ("all, one missing", Requirement(all=(by("dev"), by("sec"))), [DEV], ["wrong-signer"]),
    ("any, the second", Requirement(any=(by("dev"), by("sec"))), [SEC], []),
    ("any, none", Requirement(any=(by("dev"), by("sec"))), [], ["unsigned", "unsigned"]),
    ("two of three", two_of("dev", "sec", "ops"), [DEV, OPS], []),
    ("one of three", two_of("dev", "sec", "ops"), [OPS], ["wrong-signer", "wrong-signer"]),
    ("one key is one signer", two_of("dev", "both"), [DEV], ["wrong-signer"]),
    ("two keys of one attestor are not two attestors", two_of("dev", "sec"), [DEV, standing("d2")], ["wrong-signer"]),
    ("a shared key gives way where another will do", two_of("both", "dev"), [DEV, standing("d2")], []),
    ("a shared key gives way, the other way round", two_of("dev", "both"), [DEV, SEC], []),
    ("nested", Requirement(all=(by("dev"), Requirement(any=(by("sec"), by("ops"))))), [DEV, OPS], []),
]


@pytest.mark.parametrize(("_sentence", "require", "standings", "codes"), TREES)
def test_trees(_sentence, require, standings, codes):
    for order in itertools.permutations(standings):
        result = run(require, order)
        assert [f.code for f in result.failures] == codes
        assert result.satisfied is (codes == [])


def test_dev_sec_and_ops_sign_off_separately():
    three = Requirement(at_least=AtLeast(count=3, of=(by("dev"), by("sec"), by("ops"))))
    assert run(three, [DEV, SEC, OPS]).used == (DEV.evidence, SEC.evidence, OPS.evidence)
    one_hat_for_all = {"dev": ["k"], "sec": ["k"], "ops": ["k"]}
    assert not run(three, [standing("k")], keys=one_hat_for_all).satisfied


def test_absence_is_conclusive_only_when_every_place_answered_or_a_list_decides():
    assert run(by("dev"), [], complete=True).conclusive
    assert not run(by("dev"), [], complete=False).conclusive
    assert run(by("dev"), [DEV], complete=False).conclusive
    listed = Requirement(registry_in=("docker.io",))
    assert run(Requirement(all=(by("dev"), listed)), [], complete=False).conclusive
    assert not run(Requirement(any=(by("dev"), listed)), [], complete=False).conclusive


leaves = st.sampled_from([by("dev"), by("sec"), by("ops"), by("both"), Requirement(registry_in=("docker.io",))])
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
        lambda nodes: st.sampled_from(
            [Requirement(all=tuple(nodes)), Requirement(any=tuple(nodes))]
            + [Requirement(at_least=AtLeast(count=n, of=tuple(nodes))) for n in range(1, len(nodes) + 1)]
        )
    ),
    max_leaves=6,
)
some = st.lists(
    st.builds(
        standing,
        key=st.sampled_from(["d1", "d2", "s1", "o1", ""]),
        state=st.sampled_from(["trusted", "retired-unproven", "revoked", "invalid"]),
        kind=st.sampled_from(["signature", "attestation"]),
        evidence=st.sampled_from("abcdef"),
    ),
    max_size=5,
)


@settings(max_examples=150)
@given(trees, some, some)
def test_more_evidence_never_makes_a_tree_fail_and_order_never_matters(require, first, more):
    before, after = run(require, first), run(require, [*first, *more])
    assert after.satisfied or not before.satisfied
    assert run(require, [*more, *first]) == after
    assert bool(after.failures) is not after.satisfied
    assert set(after.used) <= {s.evidence for s in (*first, *more)}
