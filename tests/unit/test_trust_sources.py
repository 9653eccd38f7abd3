"""Time sources and logs: windows with closed ends, revocation by class, log order, closed worlds."""

import pytest

from tests.helpers.pki import DAY, SECOND, T0
from tests.helpers.rekor import MemoryLog
from tests.helpers.scene import (
    FROM,
    NOW,
    SIGNED,
    UNTIL,
    Instance,
    Logged,
    Stamped,
    accuracy,
    bundle,
    fact_of,
    revoked,
    ring_key,
    trust_of,
    unroot,
    withdrawn,
)
from verifier.models import Fact, LogClaim, SctClaim, TimeClaim
from verifier.trust.sources import (
    accepted_sources,
    dating_names,
    in_order,
    log_accepted,
    lost_source,
    proven_time,
    sound_times,
    time_accepted,
)

ALPHA, BETA = Instance("alpha"), Instance("beta")
DEV = ALPHA.leaf("dev")
LOG = ALPHA.rekor.id
A, B = frozenset({"alpha"}), frozenset({"beta"})


def fact(trust, *, logs=(), stamps=()) -> Fact:
    return fact_of(bundle(DEV, keyed=True, logs=logs, stamps=stamps), trust)


def trusting(**document):
    return trust_of(ALPHA.root(**document), ring_key("dev", DEV))


EDGES = [
    ((FROM, UNTIL), True),
    ((SIGNED, UNTIL), True),
    ((FROM, SIGNED), True),
    ((SIGNED, SIGNED), True),
    ((SIGNED + 1, UNTIL), False),
    ((FROM, SIGNED - 1), False),
    ((FROM, None), True),
]


@pytest.mark.parametrize(("window", "good"), EDGES)
@pytest.mark.parametrize("source", ["set", "tsa", "sct", "rekor v2"])
def test_windows_are_closed_at_both_ends(source, window, good):
    """Equality on both sides counts, one microsecond outside does not."""
    if source == "set":
        trust = trusting(log=window)
        found = accepted_sources(fact(trust, logs=(Logged(ALPHA.rekor),)), A, trust, NOW)
        assert (bool(found.times), bool(found.logs)) == (good, good)
    elif source == "tsa":
        trust = trusting(tsa=window)
        assert bool(accepted_sources(fact(trust, stamps=(Stamped(ALPHA.tsa),)), A, trust, NOW).times) is good
    elif source == "sct":
        trust = trusting(ct=window)
        claims = (SctClaim(ALPHA.ct.id, SIGNED),)
        assert bool(accepted_sources(fact(trust), A, trust, NOW, claims).scts) is good
    else:
        trust = trusting(tiles=window)
        dated = fact(trust, logs=(Logged(ALPHA.tiles),), stamps=(Stamped(ALPHA.tsa),))
        assert bool(accepted_sources(dated, A, trust, NOW).logs) is good


def test_the_window_is_asked_at_the_time_the_authority_stated_and_the_proof_is_its_upper_end():
    trust = trusting(tsa=(FROM, SIGNED))
    made = fact(trust, stamps=(Stamped(ALPHA.tsa, SIGNED, accuracy(60)),))
    assert proven_time(made.times, None, trust, NOW, A)[:2] == (SIGNED + 60 * SECOND, "attested")


@pytest.mark.parametrize(
    ("reason", "times", "kept"),
    [
        ("keyCompromise", {}, False),
        ("keyCompromise", {"compromised_since": NOW}, False),
        ("superseded", {"effective": SIGNED}, True),
        ("superseded", {"effective": SIGNED - 1}, False),
        ("cessationOfOperation", {"effective": SIGNED}, True),
        ("certificateHold", {"effective": SIGNED}, False),
        ("keyCompromise", {"effective": NOW + 1}, True),
    ],
)
@pytest.mark.parametrize("source", ["log", "tsa leaf", "tsa authority", "tsa CA", "tsa root", "key of the log"])
def test_a_revoked_source(source, reason, times, kept):
    """SOFT keeps times up to R, ends included; HARD discards them all, also those before C; HOLD all of them."""
    trust = trusting()
    of_log = source in {"log", "key of the log"}
    made = fact(trust, logs=(Logged(ALPHA.rekor),)) if of_log else fact(trust, stamps=(Stamped(ALPHA.tsa),))
    (authority,) = trust.anchors.resolve("alpha", "timestamping") if not of_log else ("",)
    kind, subject = {
        "log": ("log", LOG),
        "key of the log": ("key", LOG),
        "tsa leaf": ("ca", ALPHA.tsa.leaf.key_id),
        "tsa authority": ("ca", authority),
        "tsa CA": ("ca", ALPHA.tsa_ca.key_id),
        "tsa root": ("ca", ALPHA.anchor.key_id),
    }[source]
    record = revoked(kind, subject, reason, **times)
    after = trust_of(record, start=trust)
    found = accepted_sources(made, A, after, NOW)
    assert bool(found.times) is kept
    assert proven_time(made.times, None, after, NOW, A).kind == ("attested" if kept else "none")
    assert found.valid_until == (times["effective"] if times.get("effective", 0) > NOW else None)
    assert accepted_sources(made, A, trust_of(withdrawn(record), start=after), NOW) == accepted_sources(
        made, A, trust, NOW
    )
    assert lost_source(made, None, after, NOW) == ("" if times.get("effective", 0) > NOW else record.id)


def test_no_source_outside_every_root_counts():
    trust = trusting()
    made = fact(trust, logs=(Logged(ALPHA.rekor),), stamps=(Stamped(ALPHA.tsa),))
    gone = trust_of(unroot("alpha"), start=trust)
    assert accepted_sources(made, None, gone, NOW)[:3] == ((), (), ())
    never = trust_of(ring_key("dev", DEV))
    assert accepted_sources(made, None, never, NOW)[:3] == ((), (), ())
    back = trust_of(ALPHA.root(), start=gone)
    assert accepted_sources(made, A, back, NOW) == accepted_sources(made, A, trust, NOW)


def test_sources_of_other_roots_do_not_count_for_a_closed_one():
    trust = trust_of(ALPHA.root(), BETA.root(), ring_key("dev", DEV))
    made = fact(trust, logs=(Logged(BETA.rekor),), stamps=(Stamped(BETA.tsa),))
    assert accepted_sources(made, A, trust, NOW)[:2] == ((), ())
    for roots in (B, None):
        found = accepted_sources(made, roots, trust, NOW)
        assert (len(found.times), len(found.logs)) == (2, 1)


# ------------------------------------------------------------------------------------------------------------ log order


@pytest.mark.parametrize(
    ("entry", "good"),
    [
        (LogClaim(LOG, "dsse/0.0.1", 7, included=True, promised=True, time=SIGNED), True),
        (LogClaim(LOG, "dsse/0.0.1", 8, included=True, promised=True, time=SIGNED), False),
        (LogClaim(LOG, "dsse/0.0.1", 7, included=True), False),
        (LogClaim(LOG, "hashedrekord/0.0.2", 7, included=True), True),
        (LogClaim(LOG, "hashedrekord/0.0.2", 8, included=True), False),
        (LogClaim("00" * 32, "dsse/0.0.1", 8, included=True, promised=True, time=SIGNED), True),
    ],
    ids=["last good", "next", "index not signed", "v2 last good", "v2 next", "another log"],
)
def test_the_last_good_entry_is_good(entry, good):
    record = revoked("log", LOG, last_good_index=7)
    assert in_order(entry, (record,), NOW) == (good, None)
    later = revoked("log", LOG, last_good_index=7, effective=NOW + 5)
    assert in_order(entry, (later,), NOW) == (True, None if good else NOW + 5)


def test_a_late_entry_takes_its_time_with_it_and_nothing_else():
    log = MemoryLog(ALPHA.rekor.host, offset=100)
    trust = trusting()
    made = fact(trust, logs=(Logged(log, SIGNED), Logged(log, SIGNED + DAY)), stamps=(Stamped(ALPHA.tsa, SIGNED + 9),))
    first, second = sorted(entry.index for entry in made.logs)
    for good, times in ((second, 3), (first, 2), (first - 1, 1)):
        after = trust_of(revoked("log", LOG, last_good_index=good), start=trust)
        kept, due = sound_times(made, after, NOW)
        assert (len(kept), due) == (times, None)
        assert len(accepted_sources(made, A, after, NOW).logs) == times - 1
    assert sound_times(made, trust, NOW) == (made.times, None)


def test_one_time_by_two_entries_stands_while_one_of_them_does():
    log = MemoryLog(ALPHA.rekor.host, offset=100)
    trust = trusting()
    made = fact(trust, logs=(Logged(log, SIGNED), Logged(log, SIGNED)))
    assert len(made.times) == 1
    after = trust_of(revoked("log", LOG, last_good_index=min(e.index for e in made.logs)), start=trust)
    assert sound_times(made, after, NOW)[0] == made.times


# --------------------------------------------------------------------------------------------------- undated entries


def test_an_undated_entry_counts_until_its_log_has_ended():
    """Nothing dates a key's signature in Rekor v2: the instant judged at decides, to the microsecond."""
    trust = trusting(tiles=(SIGNED, NOW))
    (entry,) = fact(trust, logs=(Logged(ALPHA.tiles),)).logs
    assert log_accepted(entry, trust, SIGNED - 1, A) == (False, SIGNED)
    assert log_accepted(entry, trust, SIGNED, A) == (True, NOW + 1)
    assert log_accepted(entry, trust, NOW, A) == (True, NOW + 1)
    assert log_accepted(entry, trust, NOW + 1, A) == (False, None)
    assert log_accepted(entry, trust, NOW + 9, A, (NOW,)) == (True, None)
    assert log_accepted(entry, trust, NOW + 9, A, (SIGNED - 1, NOW + 1)) == (False, None)


def test_proven_time_is_the_earliest_and_observed_only_where_nothing_attests_it():
    trust = trusting()
    made = fact(trust, stamps=(Stamped(ALPHA.tsa), Stamped(ALPHA.tsa, SIGNED + 5 * SECOND)))
    assert proven_time(made.times, None, trust, NOW)[:2] == (SIGNED, "attested")
    assert proven_time(made.times, SIGNED - 1, trust, NOW)[:2] == (SIGNED - 1, "observed")
    assert proven_time(made.times, SIGNED, trust, NOW)[:2] == (SIGNED, "attested")
    assert proven_time((), None, trust, NOW)[:2] == (None, "none")


def test_names_of_what_dates():
    trust = trusting()
    (claim,) = fact(trust, stamps=(Stamped(ALPHA.tsa),)).times
    ids = dating_names(claim, trust)
    assert set(ids) == {claim.authority, ALPHA.tsa.leaf.key_id, ALPHA.tsa_ca.key_id, ALPHA.anchor.key_id}
    assert dating_names(TimeClaim("set", "attested", T0, LOG), trust) == (LOG,)
    assert time_accepted(TimeClaim("tsa", "attested", T0, "", ""), trust, NOW) == (True, None)
