"""`revet blast-radius` for what evidence rests on: the revocations that stand, and how signatures divide."""

from __future__ import annotations

import pytest

from streams.cli.blast_radius import KINDS, Window, answer, print_radius
from streams.cli.trace import answer as trace_answer
from streams.cli.trace import print_timeline
from streams.queries.looking import Look, RecordLook
from tests.helpers.certified import (
    BUILDER,
    CI,
    COMMIT,
    FULCIO,
    ISSUER,
    OTHER,
    REKOR,
    SIGSTORE_AUTHORITY,
    CertifiedRecord,
    identity_subject,
    keyless_policy,
    sigstore_root,
)
from tests.helpers.command import revet
from tests.helpers.world import MINUTE, START
from verifier.policy.identity import Identity
from verifier.trust import changes
from verifier.trust.changes import By

NO_WINDOW = Window(None, None, None)
LEAK = START + 30 * MINUTE


def look_into(world: CertifiedRecord) -> Look:
    """A look into a world as it is now; trust comes out of its documents."""
    return RecordLook(world.reader, now=world.now, live=None)


@pytest.fixture
def world() -> CertifiedRecord:
    made = CertifiedRecord(keys=())
    made.root("sigstore", sigstore_root())
    made.trust(keyless_policy("pay", "https://git.example.com/*"))
    made.now = START + 60 * MINUTE
    for name, subject, at in (("old", CI, START + MINUTE), ("new", CI, START + 40 * MINUTE), ("tool", OTHER, -1)):
        image = made.keyless(f"r.example/pay/{name}:1", subject, at=at, builder=BUILDER)
        made.send(made.pod("pay", f"{name}-1", {"app": image}))
    return made


def revoke(world, kind, subject, **more):
    more = more or {"compromised_since": LEAK}
    record = changes.revoke(
        world.state.trust, By("alice", world.now), kind, subject, reason="identityCompromise", **more
    )
    world.record(record)
    return record


@pytest.mark.parametrize(
    ("option", "text", "kind", "subject", "total"),
    [
        ("identity", CI, "identity", identity_subject(CI), 2),
        ("ca", "sigstore", "ca", FULCIO.key_id, 3),
        ("ca", FULCIO.key_id, "ca", SIGSTORE_AUTHORITY, 3),
        ("builder", BUILDER, "builder", BUILDER, 3),
        ("commit", COMMIT, "commit", COMMIT, 3),
        ("log", REKOR.id[:10], "log", REKOR.id, 3),
    ],
)
def test_the_revocation_of_it_stands_beside_the_counts(world, option, text, kind, subject, total):
    """Under every name of it; once withdrawn it no longer stands."""
    found, revocations = answer(look_into(world), text, KINDS[option], NO_WINDOW)
    assert (found.containers, revocations) == (total, ())
    record = revoke(world, kind, subject)
    found, revocations = answer(look_into(world), text, KINDS[option], NO_WINDOW)
    if text != FULCIO.key_id:  # the authority is revoked, and its key asked for: two names of one CA
        assert revocations == (record,)
    assert found.signatures is not None
    assert found.signatures.total == total
    world.record(changes.withdraw(world.state.trust, By("alice", world.now), record.id))
    assert answer(look_into(world), text, KINDS[option], NO_WINDOW)[1] == ()


def test_a_revoked_pattern_stands_for_who_it_covers_and_for_nobody_else(world):
    """Asked of the certificates that were seen."""
    pattern = Identity(issuer=ISSUER, subject_pattern="https://git.example.com/pay/api/*")
    record = revoke(world, "identity", pattern.model_dump_json(by_alias=True, exclude_defaults=True))
    assert answer(look_into(world), CI, ("identity",), NO_WINDOW)[1] == (record,)
    assert answer(look_into(world), OTHER, ("identity",), NO_WINDOW)[1] == ()
    assert answer(look_into(world), "https://git.example.com/*", ("identity",), NO_WINDOW)[1] == (record,)


def test_an_identity_by_another_issuer_is_not_revoked(world):
    """The same subject vouched for by somebody else."""
    other = Identity(issuer="https://elsewhere.example", subject=CI)
    revoke(world, "identity", other.model_dump_json(by_alias=True, exclude_defaults=True))
    assert answer(look_into(world), CI, ("identity",), NO_WINDOW)[1] == ()


def test_it_prints_the_split_and_where_it_runs(world, capsys):
    """What a person reads first."""
    revoke(world, "identity", identity_subject(CI))
    print_radius(*answer(look_into(world), CI, ("identity",), NO_WINDOW))
    told = capsys.readouterr().out
    assert f"identity {CI}" in told
    assert "revoked (identityCompromise)" in told
    assert "signatures of it: 2: 1 proven before" in told
    assert "runs now: 2 containers of 2 workloads" in told


def test_a_log_with_a_last_good_entry_loses_not_everything(world, capsys):
    """Order decides, not time: nothing is said to be lost whole."""
    revoke(world, "log", REKOR.id, last_good_index=6)
    print_radius(*answer(look_into(world), REKOR.id, ("log",), NO_WINDOW))
    told = capsys.readouterr().out
    assert "entries after 6" in told
    assert "none of them stays good" not in told


def test_trace_prints_who_signed_with_the_issuer(world, capsys):
    """A keyless signature is nobody's key."""
    print_timeline(trace_answer(look_into(world), f"identity:{CI}", None))
    told = capsys.readouterr().out
    assert CI.partition(".yml")[0] in told
    assert "no signature" not in told
    assert "running" not in told.splitlines()[1], "what runs is the blast radius"


def test_the_options_exclude_each_other():
    """One subject per question, and the message names them all."""
    ran = revet("blast-radius", "--identity", "a", "--ca", "b")
    assert ran.code == 2
    assert "--identity, --ca, --builder, --commit, --log" in ran.err
