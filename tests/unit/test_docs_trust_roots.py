"""The examples of docs/trust-roots.md run, on a state as the page describes it; its tables are those of the code."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from streams.cli import trust_root  # noqa: F401  # imported here: its HTTP library tries a socket when it is loaded
from streams.events import NamespaceObserved
from streams.local.node import LocalNode, NodeSettings
from streams.local.sqlite import note_clock
from tests.helpers.certified import BUILDER, CI, COMMIT, FULCIO, ISSUER, REKOR, keyless_policy, sigstore_root
from tests.helpers.docs import fences, revet_words
from tests.helpers.pki import TIMESTAMPING, Ca, Leaf, make_key, pem, spki
from tests.helpers.rekor import MemoryLog, hashedrekord1, key_pem
from tests.helpers.statefile import WorldPlace, revet
from tests.helpers.world import World, digest_of
from verifier.evidence.identity import SIGNATURE_ANNOTATION, evidence_id
from verifier.evidence.material import RootFormat
from verifier.evidence.simplesigning import CERTIFICATE_ANNOTATION, LOG_ANNOTATION, SIGNATURE_TYPE
from verifier.models import Evidence
from verifier.times import MINUTE, SECOND, parse_instant
from verifier.trust.changes import By, put_policy
from verifier.trust.records import RevocationReason, SubjectKind
from verifier.trust.revocation import CLASS_OF, NEVER_SOUND
from verifier.trust.rootchanges import put_root

ROOT = Path(__file__).parents[2]
PATH = ROOT / "docs" / "trust-roots.md"
PAGE = PATH.read_text(encoding="utf-8")
TYPED = [line for fence in fences(PATH) if fence.language == "sh" for line in fence.commands]
NOON = parse_instant("2026-11-17T12:00:00Z")
ELSEWHERE = {"fetch-root", "release.asc", "release-keys"}
"""Words of examples that ask a mirror, or need a vendor's key ring; they are parsed by test_docs_pages.py."""


def signed(repository: str, digest: str, at: int, log: MemoryLog) -> Evidence:
    """A classic keyless signature: a certificate of ten minutes, and the log's entry about it."""
    leaf: Leaf = FULCIO.leaf(
        f"{repository} {at}",
        sans=[CI],
        issuer=ISSUER,
        extensions={9: BUILDER, 13: COMMIT},
        not_before=at - MINUTE,
        not_after=at + 9 * MINUTE,
    )
    critical = {
        "identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": digest},
        "type": SIGNATURE_TYPE,
    }
    payload = json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()
    signature = leaf.sign(payload)
    body = hashedrekord1(payload, signature, leaf)  # type: ignore[arg-type]  # what is asked of a signer is its PEM
    annotations = {
        SIGNATURE_ANNOTATION: body["spec"]["signature"]["content"],
        CERTIFICATE_ANNOTATION: leaf.pem,
        LOG_ANNOTATION: log.annotation(body, at // SECOND),
    }
    return Evidence(
        id=evidence_id(digest_of(payload.decode()), annotations),
        format="cosign-simplesigning",
        repository=repository,
        subject=digest,
        payload=payload,
        annotations=annotations,
        place="sig-tag",
    )


def prepared(state: Path) -> None:
    """Two images of a shop run, signed by one identity, an hour before noon and an hour after."""
    world = World(keys=())
    world.now = NOON + 6 * 60 * MINUTE
    images = {}
    log = MemoryLog(REKOR.host)  # the log of the root, with the indexes that the page says
    for name, at in (("early", NOON - 60 * MINUTE), ("late", NOON + 60 * MINUTE)):
        images[name] = world.image(f"r.example/pay/{name}:1")
        repository, digest = f"r.example/pay/{name}", images[name][1]
        world.evidence[repository, digest] = [signed(repository, digest, at, log)]
    node = LocalNode.open(state, NodeSettings(place=WorldPlace(world), replay=True))
    note_clock(node.connection, recorded=True)
    by = By("alice", world.now, "test")
    node.change_trust([put_root(node.trust, by, "sigstore", "sigstore-trusted-root", sigstore_root())])
    asyncio.run(node.drain())
    node.change_trust([put_policy(node.trust, by, keyless_policy("built", CI))])
    asyncio.run(node.drain())
    world.now += MINUTE
    node.ingest([NamespaceObserved("ns", world.now, "prod-eu", "pay", (("team", "pay"),))])
    node.ingest([world.pod("pay", f"{name}-1", {"app": image}) for name, image in images.items()])
    asyncio.run(node.drain())
    node.close()


def moment(instant: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)


def revocation_list(ca: Ca) -> bytes:
    """A CRL that revokes nobody."""
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=x509.load_der_x509_certificate(ca.certificate).subject,
        last_update=moment(NOON),
        next_update=moment(NOON + 7 * 24 * 60 * MINUTE),
    )
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The folder in which the examples are typed."""
    folder = tmp_path_factory.mktemp("roots")
    prepared(folder / "state.sqlite")
    corp = Ca.root("corp")
    (folder / "corp-ca.pem").write_text(pem(corp.certificate))
    (folder / "corp-ca.crl").write_bytes(revocation_list(corp))
    (folder / "tsa.pem").write_text(pem(Ca.root("corp times", eku=TIMESTAMPING).certificate))
    (folder / "root-key.pem").write_text(key_pem(spki(make_key("official"))))
    return folder


def test_the_state_is_as_the_page_says(shop):
    found = revet("search", "verdict:valid", "--state", fresh(shop), "-o", "json")
    assert found.code == 0, found.err
    assert {"early:1", "late:1"} <= set(re.findall(r"(?:early|late):1", found.out))


def test_the_examples_run(shop, monkeypatch):
    """In the order of the page, on one state."""
    monkeypatch.chdir(shop)
    done = 0
    for line in TYPED:
        words = revet_words(line)
        assert words is not None
        if not ELSEWHERE.intersection(words):
            ran = revet(*words, "--state", "state.sqlite")
            assert ran.code == 0, f"{shlex.join(words)}\n{ran.out}\n{ran.err}"
            done += 1
    assert done == len(TYPED) - 4
    assert "identity subject" in ran.out


def test_the_answer_shown_is_the_answer(shop):
    (shown,) = [fence.text for fence in fences(PATH) if fence.language == "text"]
    line = next(line for line in TYPED if "revoke identity" in line)
    ran = revet(*(revet_words(line) or ()), "--state", fresh(shop))
    assert [part.rstrip() for part in ran.out.rstrip().splitlines()] == shown.rstrip().splitlines()


def fresh(shop: Path) -> Path:
    """A state of its own: what the examples apply is not in it."""
    state = shop / "fresh.sqlite"
    if not state.exists():
        prepared(state)
    return state


SPLITS = [
    ("identity", ["--issuer", ISSUER, "--subject", CI], "1 before, 1 after, 0 of unknown time"),
    ("ca", ["https://ca.example"], "1 before, 1 after, 0 of unknown time"),
    ("builder", [BUILDER], "1 before, 1 after, 0 of unknown time"),
    ("commit", [COMMIT], "1 before, 1 after, 0 of unknown time"),
]


@pytest.mark.parametrize(("kind", "subject", "split"), SPLITS, ids=[row[0] for row in SPLITS])
def test_the_split_is_told_before_anything_is_applied(shop, kind, subject, split):
    since = ["--reason", "identityCompromise", "--compromised-since", "2026-11-17T12:00:00Z", "--dry-run"]
    ran = revet("revoke", kind, *subject, *since, "--state", fresh(shop))
    assert ran.code == 0, ran.err
    assert f"signatures: {split}" in ran.out


# ------------------------------------------------------------------------------------------------------------- tables


def first_cells(heading: str, column: int = 0) -> list[str]:
    """The code words in a column of the first table behind a heading."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    table = [line for line in lines if line.startswith("| `")]
    end = next((i for i, line in enumerate(lines) if line.startswith("## ") and i), len(lines))
    return [
        word for line in table if line in lines[:end] for word in re.findall(r"`([^`]+)`", line.split("|")[1 + column])
    ]


def test_every_format_is_listed():
    assert set(first_cells("# Trust roots")) == set(get_args(RootFormat))


def test_every_kind_and_reason_of_a_revocation_is_listed():
    listed = first_cells("## Revoking")
    assert set(get_args(SubjectKind)) <= set(listed)
    assert set(get_args(RevocationReason)) <= set(listed)


def test_the_reasons_stand_in_the_rows_of_their_class():
    rows = [line.split("|") for line in PAGE[PAGE.index("## Revoking") :].splitlines() if line.startswith("| `")]
    found = {reason: row[2].strip().split(",")[0] for row in rows for reason in re.findall(r"`(\w+)`", row[1])}
    classes = {"HARD": "hard", "SOFT": "soft", "HOLD": "hold"}
    assert {r: classes[found[r]] for r in CLASS_OF} == CLASS_OF
    alone = next(row for row in rows if "weakKey" in row[1])
    assert set(re.findall(r"`(\w+)`", alone[1])) == NEVER_SOUND
