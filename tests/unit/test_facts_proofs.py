"""Proofs beside a signature: whose they are, what makes evidence bad, what stays undecided, and when facts are open."""

import json

import msgspec
import pytest

from tests.helpers.pki import DAY, SECOND, Ca, Tsa, pem
from tests.helpers.scene import (
    ALICE,
    BOB,
    SIGNED,
    Instance,
    Stamped,
    bundle,
    envelope_of,
    evidence,
    fact_of,
    key_pem,
    keys,
    notary,
    notary_leaf,
    own_leaf,
    own_root,
    policy,
    ring_key,
    root,
    trust_of,
    unroot,
)
from verifier.adapters.fetch import rekey
from verifier.adapters.memory import MemoryEvidenceStore
from verifier.facts.candidates import may_say_more
from verifier.facts.derive import derive_fact, is_open
from verifier.models import DigestClosure, Evidence, EvidenceSet, Fact
from verifier.trust.state import TrustState

ALPHA, BETA = Instance("alpha"), Instance("beta")
CORP = Ca.root("corp")
DEV, OPS = ALPHA.leaf("dev"), ALPHA.leaf("ops")
BOTH = trust_of(ALPHA.root(), BETA.root(), ring_key("dev", DEV), ring_key("ops", OPS))
NOTHING = TrustState.empty()


def open_under(fact: Fact, trust: TrustState) -> bool:
    return is_open(fact, trust.candidate_set())


# ----------------------------------------------------------------------------------------------------------- what holds


def test_what_a_complete_fact_holds():
    fact = fact_of(ALPHA.sign(stamps=(Stamped(ALPHA.tsa),)), BOTH)
    (chain,) = fact.chains
    assert (fact.problem, fact.undecided, fact.verified_by) == ("", (), ())
    assert chain.authority == BOTH.anchors.resolve("alpha", "signing")[0]
    assert [sct.log for sct in chain.scts] == [ALPHA.ct.id]
    assert {(t.source, t.time) for t in fact.times} == {("set", SIGNED), ("tsa", SIGNED)}
    assert [(e.log, e.included, e.promised) for e in fact.logs] == [(ALPHA.rekor.id, True, True)]
    assert fact.certificate is not None
    assert fact.certificate.sans == (ALICE,)


def test_a_repeated_token_is_one_proof():
    made = bundle(DEV, keyed=True, stamps=(Stamped(ALPHA.tsa), Stamped(ALPHA.tsa)))
    assert len(fact_of(made, BOTH).times) == 1


@pytest.mark.parametrize(
    ("made", "undecided"),
    [
        (ALPHA.sign(), {"authority", f"log:{ALPHA.rekor.id}"}),
        (ALPHA.sign(stamps=(Stamped(ALPHA.tsa),), logs=()), {"authority", "timestamp"}),
        (bundle(own_leaf(CORP)), {"authority"}),
    ],
)
def test_what_nobody_knows_is_undecided_and_nothing_is_wrong(made, undecided):
    fact = fact_of(made, NOTHING)
    assert (set(fact.undecided), fact.problem, fact.chains, fact.times, fact.logs) == (undecided, "", (), (), ())


def test_an_unknown_ct_log_is_undecided():
    trust = trust_of(ALPHA.root(without=["ctlogs"]))
    assert fact_of(ALPHA.sign(), trust).undecided == (f"ct:{ALPHA.ct.id}",)


# ------------------------------------------------------------------------------------------------ what makes it bad

BAD = {
    "entry about another digest": lambda: ALPHA.sign(entries=_entries(ALPHA.sign(digest="sha256:" + "0b" * 32))),
    "entry about another signer": lambda: ALPHA.sign(entries=_entries(ALPHA.sign(BOB))),
    "entry with another time": lambda: ALPHA.sign(entries=_changed("integratedTime", str(SIGNED // SECOND + 1))),
    "entry with another index": lambda: ALPHA.sign(entries=_changed("logIndex", "1")),
    "token over something else": lambda: ALPHA.sign(tokens=[ALPHA.tsa.response(b"x", SIGNED)]),
    "token with a bad signature": lambda: ALPHA.sign(stamps=(Stamped(ALPHA.tsa, SIGNED, {"spoil": True}),)),
    "a spoiled SCT": lambda: ALPHA.sign(spoil_scts=True),
    "a signature by another key than the certificate's": lambda: ALPHA.sign(signature=DEV.sign(b"x")),
}


def _entries(made: Evidence) -> list[dict]:
    return json.loads(made.payload)["verificationMaterial"]["tlogEntries"]


def _changed(name: str, value: str) -> list[dict]:
    (entry,) = _entries(ALPHA.sign())
    return [entry | {name: value}]


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_a_proof_that_does_not_hold_makes_the_evidence_bad(make):
    fact = fact_of(make(), BOTH)
    assert fact.problem
    assert (fact.verified_by, fact.chains, fact.times) == ((), (), ())


# -------------------------------------------------------------------------------------------------- several signatures


def test_an_entry_about_one_of_several_signatures_proves_nothing_of_the_others():
    for leaves, by in (([DEV, OPS], 0), ([DEV, OPS], 1), ([OPS, DEV], 0)):
        fact = fact_of(envelope_of(leaves, logged=ALPHA.rekor, by=by), BOTH)
        assert set(fact.verified_by) == {DEV.key_id, OPS.key_id}
        assert (fact.logs, fact.times, fact.problem) == ((), (), "")


@pytest.mark.parametrize("by", [0, 1])
def test_an_entry_about_the_only_known_one_of_several_signatures(by):
    """The stranger's signature stands before or behind; a key that is added may know it."""
    leaves = [ALPHA.leaf("stranger"), ALPHA.leaf("stranger")]
    leaves[by] = DEV
    fact = fact_of(envelope_of(leaves, logged=ALPHA.rekor, by=by), BOTH)
    assert (fact.verified_by, len(fact.logs), fact.undecided) == ((DEV.key_id,), 1, ("key",))
    assert fact_of(envelope_of(leaves, logged=ALPHA.rekor, by=1 - by), BOTH).problem == "log-entry-mismatch"


def test_a_signer_of_an_envelope_who_comes_later_is_found():
    only_dev = trust_of(ring_key("dev", DEV))
    fact = fact_of(envelope_of([DEV, OPS]), only_dev)
    after = trust_of(ring_key("ops", OPS), start=only_dev)
    assert (fact.verified_by, fact.undecided) == ((DEV.key_id,), ("key",))
    assert open_under(fact, after)
    assert set(fact_of(envelope_of([DEV, OPS]), after).verified_by) == {DEV.key_id, OPS.key_id}
    assert fact_of(envelope_of([DEV, DEV]), only_dev).undecided == ()


# ----------------------------------------------------------------------------------------------------------- openness


def test_the_key_of_a_certificate_becomes_a_key_of_the_ring():
    before = trust_of(ALPHA.root())
    leaf = ALPHA.leaf(ALICE)
    fact = fact_of(ALPHA.sign(), before)
    unrelated = trust_of(ring_key("dev", DEV), start=before)
    added = trust_of(ring_key("alice", leaf), start=before)
    assert not open_under(fact, unrelated)
    assert open_under(fact, added)
    again = fact_of(ALPHA.sign(), added)
    assert again.verified_by == (leaf.key_id,)
    assert not open_under(again, trust_of(ring_key("dev", DEV), start=added))


def test_a_root_written_anew_is_another_authority_and_facts_find_it():
    """The same CA in another bundle: without this every signature of it would be unauthorised for ever."""
    leaf = own_leaf(CORP.intermediate("corp issuing"))
    made = bundle(leaf, given=leaf.chain)
    before = trust_of(own_root(CORP))
    wider = root("corp", pem(*leaf.chain), "certificates")
    after = trust_of(wider, start=before)
    fact = fact_of(made, before)
    assert fact.chains[0].authority not in after.anchors.resolve("corp", "signing")
    assert open_under(fact, after)
    assert not open_under(fact, trust_of(own_root(Ca.root("else"), "else"), start=before))
    found = fact_of(made, after)
    assert {c.authority for c in found.chains} >= set(after.anchors.resolve("corp", "signing"))


def test_a_timestamp_authority_written_anew():
    made = ALPHA.sign(stamps=(Stamped(ALPHA.tsa),))
    before = trust_of(ALPHA.root())
    after = trust_of(ALPHA.root(tsa_chain=ALPHA.tsa.chain[:2]), start=before)
    fact = fact_of(made, before)
    assert open_under(fact, after)
    named = {t.authority for t in fact_of(made, after).times if t.source == "tsa"}
    assert set(after.anchors.resolve("alpha", "timestamping")) <= named


def test_a_helper_that_leads_elsewhere_keeps_a_fact_open():
    """The intermediate is cross-signed: one of its certificates leads to a root that comes later."""
    one, two = Ca.root("one"), Ca.root("two")
    mine, cross = one.intermediate("shared"), two.intermediate("shared")
    assert mine.key_id == cross.key_id
    leaf = mine.leaf("x", sans=["build@example.com"])
    made = bundle(leaf, given=(mine.certificate, cross.certificate))
    before = trust_of(own_root(one, "one"))
    fact = fact_of(made, before)
    assert fact.undecided == ("authority",)
    after = trust_of(own_root(two, "two"), start=before)
    assert open_under(fact, after)
    both = fact_of(made, after)
    assert {c.authority for c in both.chains} == {
        *after.anchors.resolve("one", "signing"),
        *after.anchors.resolve("two", "signing"),
    }
    assert both.undecided == ()


def test_a_notary_store_that_lists_more_of_the_same_chain():
    ca = CORP.intermediate("corp notary")
    made = notary(notary_leaf(ca))
    inner = trust_of(root("ca:inner", pem(ca.certificate), "notation-ca"))
    fact = fact_of(made, inner)
    assert fact.undecided == ("authority",)
    outer = trust_of(root("ca:outer", pem(CORP.certificate), "notation-ca"), start=inner)
    assert open_under(fact, outer)
    found = fact_of(made, outer)
    assert (len(found.chains), found.undecided) == (2, ())


def test_what_is_closed():
    fact = fact_of(ALPHA.sign(), trust_of(ALPHA.root()))
    for more in (BETA.root(), own_root(CORP), ring_key("dev", DEV), policy(name="q", a=keys(key_pem(OPS.key)))):
        assert not open_under(fact, trust_of(more, start=trust_of(ALPHA.root()))), more
    gone = trust_of(unroot("alpha"), start=trust_of(ALPHA.root()))
    assert not open_under(fact, gone)
    broken = derive_fact(evidence("sigstore-bundle", b"{"), BOTH.candidate_set())
    assert not open_under(broken, trust_of(own_root(CORP), start=BOTH))


def test_another_verifier_version_opens_every_fact():
    fact = msgspec.structs.replace(fact_of(ALPHA.sign(), BOTH), verifier="0")
    assert open_under(fact, BOTH)
    assert not open_under(fact_of(ALPHA.sign(), BOTH), BOTH)


def test_a_token_that_was_not_good_under_one_root_may_be_under_another():
    """The document lists a certificate of the authority that was not valid yet; a mended one does not."""
    early = Tsa.under(ALPHA.tsa_ca, "alpha tsa", not_before=SIGNED + DAY)
    made = ALPHA.sign(logs=(), tokens=None, stamps=(Stamped(early, SIGNED, {"accuracy": b""}),))
    before = trust_of(ALPHA.root(stamping=early))
    fact = fact_of(made, before)
    assert fact.problem == "timestamp-invalid"
    assert may_say_more(fact, (), before.anchors.material)
    assert open_under(fact, trust_of(BETA.root(), start=before))


def test_rekeying_makes_only_open_facts_anew():
    """What trust learned decides which facts are made again; the others are kept as they are, object for object."""
    store = MemoryEvidenceStore()
    made = [ALPHA.sign(), BETA.sign(), bundle(DEV, keyed=True)]
    for one in made:
        store.put(one, SIGNED)
    before = trust_of(ALPHA.root(), ring_key("dev", DEV))
    digest = made[0].subject
    known = EvidenceSet(
        made[0].repository, digest, (), DigestClosure(digest), (), complete=True, fetched_at=1, keyset="", version=""
    )
    first = rekey(store, known, before.candidate_set(), 2)
    after = trust_of(BETA.root(), start=before)
    second = rekey(store, first.set, after.candidate_set(), 3, first.facts)
    old, new = ({fact.evidence_id: fact for fact in found.facts} for found in (first, second))
    assert [new[one.id] is old[one.id] for one in made] == [True, False, True]
    assert new[made[1].id].chains
    assert [fact.evidence_id for fact in second.facts] == list(second.set.evidence)
    assert (second.set.keyset, second.set.fetched_at) == (after.keyset_id, 3)
    again = rekey(store, second.set, after.candidate_set(), 3, second.facts)
    assert again.facts == second.facts
    assert again.set.fetched_at == 4, "the newest set wins, even where a recording's clock stands still"
