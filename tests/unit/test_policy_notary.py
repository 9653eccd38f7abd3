"""Notary trust policies: levels and overrides, trusted identities, and the judgement of a signature over time."""

import itertools
from typing import Any

import pytest

from verifier.errors import PolicyError
from verifier.evidence.crl import Revocation, RevocationStatus
from verifier.evidence.envelope import SCHEME_AUTHORITY, SCHEME_X509
from verifier.models import TimeClaim
from verifier.policy.notary import (
    IDENTITIES,
    LEVELS,
    VALIDATIONS,
    Actions,
    NotaryRules,
    NotarySignature,
    actions_of,
    check_overlap,
    judge,
    parse_subject,
    parse_trusted_identity,
    store_type,
)
from verifier.times import DAY, SECOND

NOW = 1_767_225_600 * SECOND
GOOD = RevocationStatus("good")
WINDOW = (NOW - 10 * DAY, NOW + 10 * DAY)
SUBJECT = "CN=signer,O=wabbit-networks.io,ST=WA,C=US"
IDENTITY = parse_trusted_identity("x509.subject: C=US, ST=WA, O=wabbit-networks.io")
ANYBODY = parse_trusted_identity("*")


# ------------------------------------------------------------------------------------------------- levels and actions


@pytest.mark.parametrize(
    ("level", "enforced", "logged", "skipped"),
    [
        ("strict", set(VALIDATIONS), set(), set()),
        ("permissive", {"integrity", "authenticity"}, {"authenticTimestamp", "expiry", "revocation"}, set()),
        ("audit", {"integrity"}, {"authenticity", "authenticTimestamp", "expiry", "revocation"}, set()),
        ("skip", set(), set(), set(VALIDATIONS)),
    ],
)
def test_the_level_table_of_the_specification(level, enforced, logged, skipped):
    actions = actions_of(level)
    by_action: dict[str, set] = {"enforce": set(), "log": set(), "skip": set()}
    for validation in VALIDATIONS:
        by_action[actions.of(validation)].add(validation)
    assert (by_action["enforce"], by_action["log"], by_action["skip"]) == (enforced, logged, skipped)
    assert actions == LEVELS[level]


ALLOWED = {
    "authenticity": {"enforce", "log"},
    "authenticTimestamp": {"enforce", "log"},
    "expiry": {"enforce", "log"},
    "revocation": {"enforce", "log", "skip"},
}


@pytest.mark.parametrize("level", ["strict", "permissive", "audit", "skip"])
@pytest.mark.parametrize("validation", VALIDATIONS)
@pytest.mark.parametrize("action", ["enforce", "log", "skip"])
def test_every_override(level, validation, action):
    if level == "skip" or action not in ALLOWED.get(validation, set()):
        with pytest.raises(PolicyError):
            actions_of(level, {validation: action})
        return
    changed = actions_of(level, {validation: action})
    assert changed.of(validation) == action
    others = [name for name in VALIDATIONS if name != validation]
    assert [changed.of(name) for name in others] == [LEVELS[level].of(name) for name in others]


@pytest.mark.parametrize(
    ("level", "override", "says"),
    [
        ("Strict", {}, "expected level"),
        ("", {}, "expected level"),
        ("strict", {"Revocation": "log"}, "expected a validation"),
        ("strict", {"authentictimestamp": "log"}, "expected a validation"),
        ("strict", {"expiry": "ignore"}, "expected enforce, log or skip"),
        ("strict", {"integrity": "log"}, "integrity cannot be overridden"),
        ("audit", {"integrity": "enforce"}, "integrity cannot be overridden"),
        ("strict", {"expiry": "skip"}, "only revocation can"),
        ("skip", {"revocation": "log"}, "verifies nothing"),
    ],
)
def test_what_a_policy_must_not_say(level, override, says):
    with pytest.raises(PolicyError, match=says):
        actions_of(level, override)


# --------------------------------------------------------------------------------------------------------- identities


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("C=US,ST=WA,O=w", {"C": "US", "ST": "WA", "O": "w"}),
        (" C=US, ST=WA , O = w ", {"C": "US", "ST": "WA", "O": "w"}),
        ("C=US;S=WA;O=w", {"C": "US", "ST": "WA", "O": "w"}),
        (r"C=US, ST=WA, O=Wabbit\, Inc.", {"C": "US", "ST": "WA", "O": "Wabbit, Inc."}),
        (r"C=US, ST=WA, O=a\;b\\c\+d\=e\"f\<g\>h\#i", {"C": "US", "ST": "WA", "O": 'a;b\\c+d=e"f<g>h#i'}),
        (r"C=US, ST=WA, O=\ lead and trail\ ", {"C": "US", "ST": "WA", "O": " lead and trail "}),
        (r"C=US, ST=WA, O=back\\ ", {"C": "US", "ST": "WA", "O": "back\\"}),
        (r"C=US, ST=WA, O=L\C4\8Di", {"C": "US", "ST": "WA", "O": "Lči"}),
        ("C=US, ST=WA, O=a=b", {"C": "US", "ST": "WA", "O": "a=b"}),
        ("C=US, ST=WA, O=w, OU=dev, CN=é漢", {"C": "US", "ST": "WA", "O": "w", "OU": "dev", "CN": "é漢"}),
        ("2.5.4.5=7,O=w,ST=WA,C=US", {"SERIALNUMBER": "7", "C": "US", "ST": "WA", "O": "w"}),
    ],
)
def test_names(text, attributes):
    assert parse_subject(text) == attributes
    assert dict(parse_trusted_identity(f"x509.subject:{text}").attributes) == attributes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x509.subject", "expected `\\*` or"),
        ("C=US, ST=WA, O=w", "expected `\\*` or"),
        ("x509.issuer: C=US, ST=WA, O=w", "expected `\\*` or"),
        ("X509.subject: C=US, ST=WA, O=w", "expected `\\*` or"),
        ("", "expected `\\*` or"),
        ("x509.subject:", "lacks C, ST, O"),
        ("x509.subject: *", "expected TYPE=value"),
        ("x509.subject: C=US, ST=WA", "lacks O"),
        ("x509.subject: C=US, O=w", "lacks ST"),
        ("x509.subject: C=, ST=WA, O=w", "lacks C"),
        ("x509.subject: c=US, st=WA, o=w", "lacks C, ST, O"),
        ("x509.subject: C=US, ST=WA, O=w, O=v", "'O' twice"),
        ("x509.subject: C=US, ST=WA, S=OR, O=w", "'ST' twice"),
        ("x509.subject: C=US, ST=WA, O=w+OU=x", "several attributes"),
        ("x509.subject: C=US, ST=WA, O=#0401ff", "`#` form"),
        ("x509.subject: C=US, ST=WA, O=w,", "expected TYPE=value"),
        ("x509.subject: C=US, , ST=WA, O=w", "expected TYPE=value"),
        ("x509.subject: C=US, ST=WA, O=w\\", "neither a special character nor a byte"),
        ("x509.subject: C=US, ST=WA, O=\\zz", "neither a special character nor a byte"),
        ("x509.subject: C=US, ST=WA, O=\\ff", "decode"),
        ("x509.subject: C=US, ST=WA, O=\ud800", "encode"),
        ("x509.subject: C=US, ST=WA, O=" + "w" * 1100, "limit 1024"),
    ],
)
def test_attack_identities_that_are_refused(text, says):
    with pytest.raises(PolicyError, match=says):
        parse_trusted_identity(text)


def test_a_subset_of_the_subject_matches_and_nothing_else():
    subject = parse_subject(SUBJECT)
    assert IDENTITY.matches(subject)
    assert parse_trusted_identity("x509.subject: C=US,S=WA,O=wabbit-networks.io,CN=signer").matches(subject)
    for other in ("O=Wabbit-networks.io", "O=wabbit-networks.io ,CN=other", "O=wabbit-networks.io,OU=x", "O=wabbit"):
        assert not parse_trusted_identity(f"x509.subject: C=US,ST=WA,{other}").matches(subject), other


@pytest.mark.parametrize(
    ("texts", "overlap"),
    [
        (["*"], False),
        (["*", "x509.subject: C=US,ST=WA,O=w"], True),
        (["x509.subject: C=US,ST=WA,O=w", "x509.subject: C=US,ST=WA,O=w"], True),
        (["x509.subject: C=US,ST=WA,O=w", "x509.subject: O=w,S=WA,C=US"], True),
        (["x509.subject: C=US,ST=WA,O=w", "x509.subject: C=US,ST=WA,O=w,CN=a"], True),
        (["x509.subject: C=US,ST=WA,O=w,CN=a", "x509.subject: C=US,ST=WA,O=w"], True),
        (["x509.subject: C=US,ST=WA,O=w,CN=a", "x509.subject: C=US,ST=WA,O=w,CN=b"], False),
        (["x509.subject: C=US,ST=WA,O=w,CN=a", "x509.subject: C=US,ST=WA,O=w,OU=b"], False),
    ],
)
def test_overlap(texts, overlap):
    identities = [parse_trusted_identity(text) for text in texts]
    if overlap:
        with pytest.raises(PolicyError, match="overlap"):
            check_overlap(identities)
    else:
        check_overlap(identities)


def test_the_number_of_identities_is_bounded():
    many = [parse_trusted_identity(f"x509.subject: C=US,ST=WA,O=w{n}") for n in range(IDENTITIES + 1)]
    check_overlap(many[:-1])
    with pytest.raises(PolicyError, match="limit"):
        check_overlap(many)


# ---------------------------------------------------------------------------------------------------------- judgement


def rules(level: str = "strict", **changes) -> NotaryRules:
    override = changes.pop("override", {})
    return NotaryRules(**{"actions": actions_of(level, override), "identities": (IDENTITY,)} | changes)


def signature(**changes) -> NotarySignature:
    fields: dict[str, Any] = {
        "good": True,
        "scheme": SCHEME_X509,
        "subject": SUBJECT,
        "windows": (WINDOW,),
        "untrusted_window": WINDOW,
        "revocation": GOOD,
    }
    return NotarySignature(**fields | changes)


def tsa(time: int, accuracy: int = 0) -> TimeClaim:
    return TimeClaim("tsa", "attested", time, accuracy=accuracy)


def failed(judgement) -> list[str]:
    return [failure.validation for failure in judgement.failures]


def test_everything_right_is_ok_until_the_chain_ends():
    found = judge(rules(), signature(), NOW)
    assert (found.ok, found.failures, found.warnings, found.valid_until) == (True, (), (), WINDOW[1] + 1)


WRONG: dict[str, dict[str, Any]] = {
    "authenticity": {"windows": ()},
    "authenticTimestamp": {"windows": ((NOW - 2 * DAY, NOW - DAY),)},
    "expiry": {"expires": NOW},
    "revocation": {"revocation": RevocationStatus("revoked", "certificate 7 is revoked", "k:7", Revocation(NOW))},
}


@pytest.mark.parametrize("level", ["strict", "permissive", "audit"])
@pytest.mark.parametrize("validation", WRONG)
def test_each_validation_does_what_its_level_says(level, validation):
    found = judge(rules(level), signature(**WRONG[validation]), NOW)
    action = LEVELS[level].of(validation)
    assert [(f.validation, f.action) for f in (*found.failures, *found.warnings)] == [(validation, action)]
    assert found.ok == (action == "log")


@pytest.mark.parametrize(
    "broken", list(itertools.chain.from_iterable(itertools.combinations(WRONG, n) for n in (2, 3, 4)))
)
def test_all_failures_are_said_in_the_order_of_the_specification(broken):
    changes = {key: value for name in broken for key, value in WRONG[name].items()}
    if {"authenticity", "authenticTimestamp"} <= set(broken):
        changes |= {"windows": (), "untrusted_window": (NOW - 2 * DAY, NOW - DAY)}
    assert failed(judge(rules(), signature(**changes), NOW)) == [name for name in VALIDATIONS if name in broken]


@pytest.mark.parametrize("level", ["strict", "permissive", "audit"])
def test_attack_a_bad_signature_fails_at_every_level_but_skip(level):
    assert failed(judge(rules(level), signature(good=False), NOW)) == ["integrity"]


def test_level_skip_verifies_nothing_and_says_so():
    found = judge(rules("skip"), signature(good=False), NOW)
    assert (found.ok, found.failures, [w.validation for w in found.warnings]) == (True, (), ["integrity"])
    assert "nothing was verified" in found.warnings[0].sentence


@pytest.mark.parametrize(
    ("subject", "identities", "ok"),
    [
        (SUBJECT, (IDENTITY,), True),
        (SUBJECT, (ANYBODY,), True),
        ("", (ANYBODY,), True),
        ("", (IDENTITY,), False),
        (SUBJECT, (), False),
        ("O=wabbit-networks.io,ST=WA,C=CA", (IDENTITY,), False),
        ("O=wabbit-networks.io,ST=WA", (IDENTITY,), False),
        ("CN=x+O=wabbit-networks.io,ST=WA,C=US", (IDENTITY,), False),
        ("O=wabbit-networks.io,O=evil,ST=WA,C=US", (IDENTITY,), False),
        (r"CN=x\,O=wabbit-networks.io\,ST=WA\,C=US", (IDENTITY,), False),
        (r"CN=x\, O=wabbit-networks.io,O=evil,ST=WA,C=US", (IDENTITY,), False),
    ],
)
def test_identities(subject, identities, ok):
    found = judge(rules(identities=identities), signature(subject=subject), NOW)
    assert found.ok is ok
    assert failed(found) == ([] if ok else ["authenticity"])


def test_attack_an_unknown_scheme_is_authentic_nowhere():
    assert failed(judge(rules(identities=(ANYBODY,)), signature(scheme="notary.x509.other"), NOW)) == ["authenticity"]
    assert (store_type(SCHEME_X509), store_type(SCHEME_AUTHORITY), store_type("x")) == ("ca", "signingAuthority", None)


# ---- time: closed windows, whole intervals

SINCE, UNTIL = WINDOW


@pytest.mark.parametrize(
    ("instant", "ok", "due"),
    [
        (SINCE - 1, False, SINCE),
        (SINCE, True, UNTIL + 1),
        (UNTIL, True, UNTIL + 1),
        (UNTIL + 1, False, None),
    ],
)
@pytest.mark.parametrize("times", [(), (tsa(NOW),)])
def test_without_a_tsa_store_the_chain_must_be_valid_now(instant, ok, due, times):
    found = judge(rules(), signature(times=times), instant)
    assert (found.ok, found.valid_until) == (ok, due)


@pytest.mark.parametrize(
    ("time", "accuracy", "ok"),
    [
        (SINCE, 0, True),
        (SINCE - 1, 0, False),
        (UNTIL, 0, True),
        (UNTIL + 1, 0, False),
        (SINCE + 2 * SECOND, SECOND, True),
        (SINCE + 2 * SECOND - 1, SECOND, False),
        (UNTIL, SECOND, True),
        (UNTIL + 1, SECOND, False),
    ],
)
@pytest.mark.parametrize("instant", [NOW, NOW + 1000 * DAY])
def test_with_one_the_whole_interval_must_lie_in_the_window(time, accuracy, ok, instant):
    found = judge(rules(timestamped=True), signature(times=(tsa(time, accuracy),)), instant)
    assert (found.ok, found.valid_until) == (ok, None)


def test_a_tsa_store_and_no_token_fails_even_while_the_chain_is_valid():
    found = judge(rules(timestamped=True), signature(timestamp_problem="timestamp-invalid: imprint"), NOW)
    assert failed(found) == ["authenticTimestamp"]
    assert "timestamp-invalid: imprint" in found.failures[0].sentence


@pytest.mark.parametrize(
    ("instant", "times", "ok", "due"),
    [
        (NOW, (), True, UNTIL + 1),
        (UNTIL, (), True, UNTIL + 1),
        (UNTIL + 1, (), False, None),
        (UNTIL + 1, (tsa(NOW),), True, None),
        (UNTIL + 1, (tsa(UNTIL + 1),), False, None),
        (NOW, (tsa(UNTIL + 1),), True, UNTIL + 1),
        (SINCE - 1, (tsa(NOW),), False, SINCE),
    ],
)
def test_after_cert_expiry_looks_at_tokens_only_then(instant, times, ok, due):
    asked = rules(timestamped=True, verify_timestamp="afterCertExpiry")
    found = judge(asked, signature(times=times), instant)
    assert (found.ok, found.valid_until) == (ok, due)


def test_one_chain_in_time_is_enough():
    old = (SINCE - 100 * DAY, SINCE - DAY)
    assert judge(rules(), signature(windows=(old, WINDOW)), NOW).ok
    assert judge(rules(timestamped=True), signature(windows=(old, WINDOW), times=(tsa(SINCE - 2 * DAY),)), NOW).ok
    after = rules(timestamped=True, verify_timestamp="afterCertExpiry")
    assert judge(after, signature(windows=(old, WINDOW)), NOW).ok
    # ... but an interval must lie in one of them, not in two
    split = signature(windows=((SINCE, NOW), (NOW + 1, UNTIL)), times=(tsa(NOW + DAY, DAY),))
    assert not judge(rules(timestamped=True), split, NOW).ok


@pytest.mark.parametrize(("time", "ok"), [(SINCE - 1, False), (SINCE, True), (UNTIL, True), (UNTIL + 1, False)])
@pytest.mark.parametrize("timestamped", [False, True])
def test_a_signing_authority_brings_its_own_time(time, ok, timestamped):
    claim = TimeClaim("signing-authority", "attested", time)
    found = judge(rules(timestamped=timestamped), signature(scheme=SCHEME_AUTHORITY, times=(claim,)), UNTIL + 500 * DAY)
    assert found.ok is ok


def test_attack_a_signing_authoritys_time_does_not_stand_in_for_a_timestamp():
    claim = TimeClaim("signing-authority", "attested", NOW)
    assert not judge(rules(timestamped=True), signature(times=(claim,)), NOW).ok
    assert not judge(rules(), signature(scheme=SCHEME_AUTHORITY, times=(tsa(NOW),)), NOW).ok


@pytest.mark.parametrize(("instant", "ok", "due"), [(NOW - 1, True, NOW), (NOW, False, UNTIL + 1)])
def test_expiry_is_the_first_instant_that_is_too_late(instant, ok, due):
    found = judge(rules(), signature(expires=NOW), instant)
    assert (found.ok, found.valid_until) == (ok, due)


@pytest.mark.parametrize(
    ("state", "action", "ok", "warned"),
    [
        ("good", "enforce", True, False),
        ("revoked", "enforce", False, False),
        ("unknown", "enforce", False, False),
        ("revoked", "log", True, True),
        ("unknown", "log", True, True),
        ("revoked", "skip", True, False),
        ("unknown", "skip", True, False),
    ],
)
def test_unknown_revocation_fails_like_revoked(state, action, ok, warned):
    override = {"revocation": action} if action != "enforce" else {}
    found = judge(rules(override=override), signature(revocation=RevocationStatus(state, "why")), NOW)
    assert (found.ok, [w.validation for w in found.warnings]) == (ok, ["revocation"] if warned else [])


def test_revocation_that_was_not_looked_at_is_unknown():
    bare = NotarySignature(good=True, scheme=SCHEME_X509, subject=SUBJECT, windows=(WINDOW,), untrusted_window=WINDOW)
    assert failed(judge(rules(), bare, NOW)) == ["revocation"]


def test_the_answer_is_due_when_its_first_part_is():
    status = RevocationStatus("good", valid_until=NOW + 3)
    found = judge(rules(), signature(revocation=status, expires=NOW + 5), NOW)
    assert found.valid_until == NOW + 3
    assert (
        judge(rules(override={"revocation": "skip"}), signature(revocation=status, expires=NOW + 5), NOW).valid_until
        == NOW + 5
    )


def test_between_due_instants_nothing_changes():
    """Judged at every edge and beside it, the answer changes only at an instant that was announced."""
    status = RevocationStatus("good", valid_until=UNTIL - DAY)
    one = signature(revocation=status, expires=UNTIL - 2 * DAY)
    edges = sorted({SINCE, UNTIL, UNTIL + 1, UNTIL - DAY, UNTIL - 2 * DAY})
    instants = sorted({edge + step for edge in edges for step in (-1, 0, 1)})
    for earlier, later in itertools.pairwise(instants):
        before, after = judge(rules(), one, earlier), judge(rules(), one, later)
        if (before.ok, failed(before)) != (after.ok, failed(after)):
            assert before.valid_until == later


def test_actions_are_named_as_in_policies():
    assert Actions("enforce", "log", "skip", "enforce", "log").of("authenticTimestamp") == "skip"
