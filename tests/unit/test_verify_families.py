"""Verdicts of the families of signers, whole: roots that come and go, content, time, and what cannot be told."""

import pytest

from tests.helpers import openpgp
from tests.helpers.pki import DAY, SECOND, Ca, pem
from tests.helpers.scene import (
    FROM,
    NOW,
    SIGNED,
    UNTIL,
    VSA,
    Instance,
    Logged,
    Stamped,
    ask,
    bundle,
    certificates,
    crl,
    fact_of,
    gpg,
    keyless,
    keys,
    listed,
    notary,
    notary_attestor,
    notary_leaf,
    openpgp_attestor,
    own_leaf,
    own_root,
    policy,
    revoked,
    ring_key,
    root,
    serial_of,
    trust_of,
    unpolicy,
    unroot,
    withdrawn,
)
from verifier.times import format_instant

ALPHA, BETA = Instance("alpha"), Instance("beta")
CORP = Ca.root("corp")
PROVENANCE = "https://slsa.dev/provenance/v1"


# ---------------------------------------------------------------------------------------------------- roots come and go


@pytest.mark.parametrize("derived", ["before", "after"])
def test_a_root_that_is_added_later(derived):
    """Until the facts are made under it nobody can tell; it never violates meanwhile."""
    made = ALPHA.sign()
    waiting = trust_of(BETA.root(), policy(ci=keyless("alpha", "beta")))
    fact = fact_of(made, waiting)
    assert ask(waiting, facts=[fact]).outcome == "violates"
    after = trust_of(ALPHA.root(), start=waiting)
    facts = [fact if derived == "before" else fact_of(made, after)]
    answer = ask(after, facts=facts)
    assert (answer.outcome, answer.codes) == (
        ("unverifiable", ("keys-pending",)) if derived == "before" else ("valid", ("satisfied",))
    )


def test_a_root_that_is_removed_and_put_back():
    made = ALPHA.sign()
    trust = trust_of(ALPHA.root(), policy(ci=keyless("alpha")))
    gone = trust_of(unroot("alpha"), start=trust)
    fact = fact_of(made, trust)
    assert ask(trust, facts=[fact]).outcome == "valid"
    assert ask(gone, facts=[fact])[:2] == ("violates", ("wrong-signer",))
    back = trust_of(ALPHA.root(), start=gone)
    assert ask(back, facts=[fact])[:3] == ask(trust, facts=[fact])[:3]


def test_a_root_that_is_narrowed_and_widened_needs_no_cryptography():
    trust = trust_of(ALPHA.root(), policy(ci=keyless("alpha")))
    fact = fact_of(ALPHA.sign(), trust)
    narrow = trust_of(ALPHA.root(ca=(FROM, SIGNED - 1)), start=trust)
    assert ask(narrow, facts=[fact])[:2] == ("violates", ("outside-certificate-window",))
    wide = trust_of(ALPHA.root(ca=(FROM, SIGNED)), start=narrow)
    assert ask(wide, facts=[fact]).outcome == "valid"


def test_a_root_written_anew_is_pending_and_never_a_false_violation():
    ca = CORP.intermediate("corp issuing")
    made = bundle(own_leaf(ca), given=(ca.certificate,))
    trust = trust_of(own_root(CORP), policy(ops=certificates("corp")))
    fact = fact_of(made, trust)
    assert ask(trust, facts=[fact]).outcome == "valid"
    after = trust_of(root("corp", pem(*ca.chain), "certificates"), start=trust)
    assert ask(after, facts=[fact])[:2] == ("unverifiable", ("keys-pending",))
    assert ask(after, made).outcome == "valid"


def test_an_inline_root_lives_and_dies_with_its_policy():
    made = bundle(own_leaf(CORP))
    text = pem(CORP.certificate)
    trust = trust_of(policy(name="p", ops=certificates(text)), policy(name="q", ops=certificates(text)))
    fact = fact_of(made, trust)
    assert ask(trust, facts=[fact]).outcome == "valid"
    without = trust_of(unpolicy("q"), start=trust)
    assert ask(without, facts=[fact]).outcome == "valid", "the text stands in p too"
    gone = trust_of(unpolicy("p"), start=without)
    assert gone.anchors.authorities == {}
    assert gone.anchors.material is trust.anchors.material
    back = trust_of(policy(name="p", ops=certificates(text)), start=gone)
    assert back.keyset_id == trust.keyset_id
    assert ask(back, facts=[fact]).outcome == "valid"


# -------------------------------------------------------------------------------------------------------------- content


def content(rule, kind=VSA, **attestors):
    return policy({"attestedBy": "ci", "predicateType": kind, "rule": rule}, ci=keyless("alpha"), **attestors)


def test_a_rule_that_was_not_evaluated_yet_is_pending_then_known():
    trust = trust_of(ALPHA.root(), policy({"attestedBy": "ci", "predicateType": VSA}, ci=keyless("alpha")))
    made = ALPHA.sign(predicate_type=VSA, predicate={"passed": True})
    fact = fact_of(made, trust)
    assert ask(trust, facts=[fact]).outcome == "valid"
    ruled = trust_of(
        policy(
            {"attestedBy": "ci", "predicateType": VSA, "rule": {"cel": [{"expression": "predicate.passed == true"}]}},
            ci=keyless("alpha"),
        ),
        start=trust,
    )
    assert ask(ruled, facts=[fact])[:2] == ("unverifiable", ("keys-pending",))
    assert ask(ruled, made).outcome == "valid"
    bad = ALPHA.sign(predicate_type=VSA, predicate={"passed": False})
    assert ask(ruled, bad)[:2] == ("violates", ("attestation-violates",))


def test_a_statement_goes_stale_at_its_microsecond():
    built = SIGNED
    predicate = {
        "buildDefinition": {"buildType": "https://ci.example/t", "externalParameters": {}},
        "runDetails": {
            "builder": {"id": "https://ci.example/b"},
            "metadata": {"finishedOn": format_instant(built)},
        },
    }
    rule = {"slsa": {"maxAge": "7d"}}
    trust = trust_of(ALPHA.root(), content(rule, PROVENANCE))
    made = ALPHA.sign(predicate_type=PROVENANCE, predicate=predicate)
    last = built + 7 * DAY
    fresh = ask(trust, made, now=last)
    assert (fresh.outcome, fresh.valid_until) == ("valid", last + 1), fresh.verdict.reasons
    stale = ask(trust, made, now=last + 1)
    assert stale[:2] == ("violates", ("attestation-stale",))


def test_denied_is_denied_whoever_signed():
    trust = trust_of(
        ALPHA.root(), policy({"all": [{"signedBy": "ci"}, {"denied": "end of life"}]}, ci=keyless("alpha"))
    )
    assert ask(trust, ALPHA.sign())[:2] == ("violates", ("denied-by-policy",))
    allowed = trust_of(ALPHA.root(), policy({"any": [{"denied": "no"}, {"signedBy": "ci"}]}, ci=keyless("alpha")))
    assert ask(allowed, ALPHA.sign()).outcome == "valid"


# ----------------------------------------------------------------------------------------------------------------- time


def test_until_when_a_certificate_without_timestamp_counts():
    end = own_end = fact_of(bundle(own_leaf(CORP)), trust_of(own_root(CORP))).chains[0].valid_until
    trust = trust_of(own_root(CORP), policy(ops=certificates("corp")))
    assert ask(trust, bundle(own_leaf(CORP))).valid_until == end + 1
    assert ask(trust, bundle(own_leaf(CORP)), now=end).outcome == "valid"
    assert ask(trust, bundle(own_leaf(CORP)), now=own_end + 1)[:2] == ("violates", ("outside-certificate-window",))
    assert ask(trust, bundle(own_leaf(CORP)), now=end + DAY, seen=end)[:3] == ("valid", ("satisfied",), None)


def test_until_when_an_openpgp_signature_counts():
    key = openpgp.Key()
    trust = trust_of(root("ring", openpgp.armored(openpgp.primary(key)), "openpgp"), policy(d=openpgp_attestor("ring")))
    made = gpg(key, openpgp.subpacket(3, (60 * 86400).to_bytes(4)))
    end = fact_of(made, trust).expires
    assert end is not None
    assert ask(trust, made).valid_until == end + 1
    assert ask(trust, made, now=end + 1)[:2] == ("violates", ("signature-expired",))


def test_a_revocation_list_that_ends_wakes_a_notary_verdict():
    leaf = notary_leaf(CORP)
    trust = trust_of(
        root("ca:corp", pem(CORP.certificate), "notation-ca"),
        listed(CORP, crl(CORP, until=NOW + DAY)),
        policy(ops=notary_attestor("ca:corp")),
    )
    answer = ask(trust, notary(leaf))
    assert (answer.outcome, answer.valid_until) == ("valid", NOW + DAY + 1)
    late = ask(trust, notary(leaf), now=NOW + DAY + 1)
    assert late[:2] == ("violates", ("certificate-revoked",)), (
        "a list that ended tells nothing, and strict wants to know"
    )
    later = ask(trust, notary(leaf), now=NOW + DAY)
    assert later.outcome == "valid"
    assert serial_of(leaf.certificate)


def test_a_future_revocation_is_told_and_then_taken_back():
    trust = trust_of(ALPHA.root(), policy(ci=keyless("alpha")))
    record = revoked("ca", ALPHA.ca.key_id, "caCompromise", effective=NOW + DAY)
    after = trust_of(record, start=trust)
    assert ask(after, ALPHA.sign())[::2][:2] == ("valid", NOW + DAY)
    assert ask(after, ALPHA.sign(), now=NOW + DAY - 1).outcome == "valid"
    assert ask(after, ALPHA.sign(), now=NOW + DAY)[:2] == ("violates", ("identity-revoked",))
    back = trust_of(withdrawn(record), start=after)
    assert ask(back, ALPHA.sign())[:3] == ask(trust, ALPHA.sign())[:3]


# ------------------------------------------------------------------------------------------------------ cannot be told


def test_absence_is_only_known_from_a_complete_set():
    trust = trust_of(ALPHA.root(), policy(ci=keyless("alpha")))
    assert ask(trust)[:2] == ("violates", ("unsigned",))
    assert ask(trust, complete=False)[:2] == ("unverifiable", ("registry-unavailable",))
    assert ask(trust, ALPHA.sign(), complete=False).outcome == "valid"
    assert ask(trust, ALPHA.sign(sct=False), complete=False).outcome == "unverifiable"


def test_bad_evidence_of_others_never_hides_a_good_signature():
    trust = trust_of(ALPHA.root(), policy(ci=keyless("alpha")))
    others = (ALPHA.sign(spoil_scts=True), BETA.sign(), ALPHA.sign(sct=False), bundle(own_leaf(CORP)))
    assert ask(trust, *others, ALPHA.sign()).outcome == "valid"
    assert ask(trust, *others).outcome == "violates"


def test_a_verdict_is_a_pure_function_of_what_it_lists():
    trust = trust_of(ALPHA.root(), ring_key("dev", ALPHA.leaf("dev")), policy(ci=keyless("alpha"), dev=keys("dev")))
    made = (ALPHA.sign(), ALPHA.sign(logs=(Logged(ALPHA.tiles),), stamps=(Stamped(ALPHA.tsa),)))
    assert ask(trust, *made).verdict == ask(trust, *made).verdict
    assert ask(trust, *made[::-1]).outcome == ask(trust, *made).outcome
    assert UNTIL > SECOND
