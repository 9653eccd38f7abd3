"""What evidence rests on, asked of every record: identities, CAs, builders, commits and logs as subjects."""

from __future__ import annotations

import pytest

from streams.queries.blast import blast_radius
from streams.queries.held import NOT_REVOCABLE
from streams.queries.results import as_json
from streams.queries.subjects import FIELD_OF, NothingCalledError, resolve
from streams.queries.trace import trace
from tests.helpers.certified import (
    BUILDER,
    CI,
    COMMIT,
    CORP_ROOT,
    FULCIO,
    ISSUER,
    OTHER,
    REKOR,
    SECOND,
    SIGSTORE_AUTHORITY,
    CertifiedRecord,
    identity_subject,
    keyless_policy,
    sigstore_root,
)
from tests.helpers.stores import STORES, opened
from tests.helpers.world import MINUTE, START
from verifier.errors import InputError
from verifier.trust import changes
from verifier.trust.changes import By

T = START + 60 * MINUTE
LEAK = START + 30 * MINUTE


@pytest.fixture(params=STORES)
def world(request) -> CertifiedRecord:
    """Two images by CI (one old, one young), one by another workflow, one by the corporate CA."""
    made = CertifiedRecord(keys=(), store=opened(request))
    made.root("sigstore", sigstore_root())
    made.root("corp", CORP_ROOT, "certificates")
    made.trust(keyless_policy("pay", "https://git.example.com/*", images="r.example/pay/*"))
    made.now = T
    images = {
        "old": made.keyless("r.example/pay/old:1", CI, at=START + 10 * MINUTE, builder=BUILDER, commits=("a" * 40,)),
        "new": made.keyless("r.example/pay/new:1", CI, at=START + 50 * MINUTE, builder=BUILDER),
        "tool": made.keyless("r.example/pay/tool:1", OTHER, log=SECOND),
        "corp": made.corporate("r.example/corp:1"),
    }
    for name, image in images.items():
        made.send(made.pod("shop" if name == "tool" else "pay", f"{name}-1", {"app": image}))
    return made


def radius(world: CertifiedRecord, text: str, **asked):
    return blast_radius(world.reader, resolve(world.reader, text), **asked)


@pytest.mark.parametrize(
    ("text", "containers", "namespaces"),
    [
        (f"identity:{CI}", 2, 1),
        ("identity:https://git.example.com/pay/*", 3, 2),
        (f"identity:{OTHER}", 1, 1),
        ("identity:build@corp.example", 1, 1),
        (CI, 2, 1),
        ("ca:sigstore", 3, 2),
        (f"ca:{FULCIO.key_id}", 3, 2),
        (f"ca:{FULCIO.key_id[:12]}", 3, 2),
        (f"ca:{SIGSTORE_AUTHORITY}", 3, 2),
        ("ca:corp", 1, 1),
        (f"builder:{BUILDER}", 2, 1),
        ("builder:https://git.example.com/builders/*", 2, 1),
        (f"commit:{COMMIT}", 3, 2),
        (f"commit:{'a' * 40}", 1, 1),
        (f"commit:{'a' * 8}", 1, 1),
        (f"log:{REKOR.id}", 2, 1),
        (f"log:{SECOND.id[:8]}", 1, 1),
    ],
)
def test_what_rests_on_it_is_counted(world, text, containers, namespaces):
    """By name, id or beginning; `*` in identities and builders."""
    found = radius(world, text)
    assert (found.containers, found.namespaces) == (containers, namespaces)
    assert found.signatures is not None
    assert found.signatures.total == containers


def test_signatures_are_split_by_what_is_proven(world):
    """Attested before and after the leak; an observed one counts by its first sight."""
    parts = radius(world, f"identity:{CI}", since=LEAK).signatures
    assert (parts.total, parts.attested, parts.before, parts.after) == (2, 2, 1, 1)
    corp = radius(world, "ca:corp", since=LEAK).signatures
    assert (corp.total, corp.observed, corp.before, corp.after) == (1, 1, 0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "identity:https://git.example.com/pay",
        "identity:*",
        "identity:**",
        f"identity:{CI.upper()}",
        "ca:nobody",
        "ca:abcdefab",
        "builder:https://git.example.com/",
        f"commit:{'b' * 40}",
        "commit:not hex",
        "commit:cccc",
        f"log:{'0' * 64}",
        "log:*",
    ],
)
def test_nothing_is_called_so(world, text):
    """No part of a name, no bare wildcard, no hex cut shorter than eight digits."""
    with pytest.raises(NothingCalledError):
        resolve(world.reader, text)


def test_a_cut_that_is_not_unique_is_said(world):
    """Two commits that begin alike."""
    world.keyless("r.example/pay/x:1", CI, commits=("a" * 39 + "b",))
    world.send(world.pod("pay", "x-1", {"app": world.keyless("r.example/pay/x:1", CI)}))
    with pytest.raises(InputError, match="not unique"):
        resolve(world.reader, f"commit:{'a' * 10}")


def test_the_timeline_of_an_identity_tells_evidence_trust_and_findings(world):
    """First its evidence, then its revocation, then what fell with it."""
    record = changes.revoke(
        world.state.trust, By("alice", world.now), "identity", identity_subject(CI), reason="identityCompromise",
        compromised_since=LEAK,
    )  # fmt: skip
    world.record(record)
    found = trace(world.reader, resolve(world.reader, f"identity:{CI}"))
    assert {s.signer for s in found.signatures} == {CI}
    assert {s.issuer for s in found.signatures} == {ISSUER}
    assert {"evidence", "signed", "trust", "verdict", "finding", "incident"} <= {row.kind for row in found.rows}
    told = [row.text for row in found.rows if row.kind == "trust"]
    assert any("alice revoked identity" in text for text in told)
    assert [row.ids["finding"] for row in found.rows if row.kind == "finding"] == ["identity-revoked"]
    assert as_json(found)["schema"] == "revet.trace/v1"


@pytest.mark.parametrize("kind", sorted({*FIELD_OF} - NOT_REVOCABLE))
def test_an_image_tells_what_became_of_all_it_rests_on(world, kind):
    """A revocation of whatever its evidence rests on is in the timeline of the image."""
    subject = {
        "identity": identity_subject(CI),
        "ca": FULCIO.key_id,
        "builder": BUILDER,
        "commit": COMMIT,
        "log": REKOR.id,
    }[kind]
    record = changes.revoke(
        world.state.trust, By("alice", world.now), kind, subject, reason="identityCompromise", all_signatures=True
    )
    world.record(record)
    rows = trace(world.reader, resolve(world.reader, "r.example/pay/new:1")).rows
    assert any(row.kind == "trust" and row.ids.get("revocation") == record.id for row in rows)
    tool = trace(world.reader, resolve(world.reader, "r.example/corp:1")).rows
    assert not any(row.ids.get("revocation") == record.id for row in tool)


def test_an_incident_of_a_root_tells_the_roots_history(world):
    """What changed, by the name of the root."""
    world.now += MINUTE
    world.root("sigstore", sigstore_root(until="2026-01-01T00:00:00Z"))
    (finding,) = {f.incident for f in world.open() if f.cause.id.startswith("root:")}
    rows = trace(world.reader, resolve(world.reader, f"incident:{finding}")).rows
    assert [row.ids.get("root") for row in rows if row.kind == "trust"][-1] == "sigstore"
