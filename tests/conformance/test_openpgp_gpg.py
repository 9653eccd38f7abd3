"""OpenPGP against the real gpg: the same keys, the same messages, the same answer.

gpg says of a signature GOODSIG, EXPSIG, EXPKEYSIG, REVKEYSIG, BADSIG or NO_PUBKEY, as of now; ours says what it found
and when it ends. `as_gpg` below puts the one into the words of the other.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from verifier.errors import EvidenceError, TrustError
from verifier.evidence.material import Authority, Material
from verifier.evidence.openpgp import openpgp_fact_parts, read_keyring
from verifier.models import Evidence
from verifier.times import DAY, parse_instant

pytestmark = pytest.mark.needs("gpg")

DIGEST = f"sha256:{7:064x}"
NOW = parse_instant("2026-11-01T00:00:00Z")
LONG_AGO = "20250101T000000"
"""What gpg takes for now while it makes something that shall have expired."""
BY_NOW = "20261101T000000"
VERDICTS = ("GOODSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "NO_PUBKEY")


def document(**optional) -> bytes:
    critical = {
        "type": "atomic container signature",
        "image": {"docker-manifest-digest": DIGEST},
        "identity": {"docker-reference": "registry.example.com/payments/api:1.4.2"},
    }
    return json.dumps(
        {"critical": critical, "optional": {"creator": "test 1", "timestamp": 1735689600} | optional}
    ).encode()


class Gpg:
    """One home directory."""

    def __init__(self, program: Path):
        self.program = program
        self.home = Path(tempfile.mkdtemp(prefix="gpg-"))  # short: the agent's socket has a path of 108 bytes at most

    def run(self, *args: str, stdin: bytes = b"", at: str = BY_NOW, check: bool = True) -> bytes:
        base = [str(self.program), "--homedir", str(self.home), "--no-tty", "--batch", "--pinentry-mode", "loopback"]
        base += ["--passphrase", "", "--quiet", "--trust-model", "always", "--faked-system-time", f"{at}!"]
        done = subprocess.run([*base, *args], input=stdin, capture_output=True, check=False, timeout=60)
        assert not check or done.returncode == 0, (args, done.stderr.decode())
        return done.stdout

    def dialogue(self, *args: str, answers: str, at: str = BY_NOW) -> bytes:
        base = [str(self.program), "--homedir", str(self.home), "--no-tty", "--pinentry-mode", "loopback"]
        base += ["--passphrase", "", "--command-fd", "0", "--faked-system-time", f"{at}!", *args]
        done = subprocess.run(base, input=answers.encode(), capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, (args, done.stderr.decode())
        return done.stdout

    def key(self, name: str, algorithm: str, usage: str = "sign", expires: str = "0", at: str = LONG_AGO) -> str:
        """A new primary key; its fingerprint."""
        self.run("--quick-gen-key", f"{name} <{name}@example.com>", algorithm, usage, expires, at=at)
        return self.fingerprints(name)[0]

    def subkey(self, primary: str, algorithm: str, usage: str = "sign", expires: str = "0", at: str = LONG_AGO) -> str:
        known = set(self.fingerprints(primary))
        self.run("--quick-add-key", primary, algorithm, usage, expires, at=at)
        (new,) = set(self.fingerprints(primary)) - known
        return new

    def fingerprints(self, name: str) -> list[str]:
        lines = self.run("--with-colons", "--list-keys", name).decode().splitlines()
        return [line.split(":")[9] for line in lines if line.startswith("fpr:")]

    def sign(self, *signers: str, at: str = LONG_AGO, options: tuple[str, ...] = (), content: bytes = b"") -> bytes:
        users = [part for signer in signers for part in ("--local-user", f"{signer}!")]
        return self.run(*users, *options, "--sign", stdin=content or document(), at=at)

    def revoke(self, key: str, reason: int) -> None:
        """Reasons as gpg numbers them: 0 none, 1 compromised, 2 superseded, 3 no longer used."""
        certificate = self.dialogue("--gen-revoke", key, answers=f"y\n{reason}\n\ny\n")
        self.run("--import", stdin=certificate)

    def revoke_subkey(self, primary: str, number: int, reason: int) -> None:
        self.dialogue("--edit-key", primary, answers=f"key {number}\nrevkey\ny\n{reason}\n\ny\nsave\n")

    def export(self, *names: str) -> str:
        return self.run("--armor", "--export", *names).decode()

    def verdicts(self, message: bytes) -> list[str]:
        """What gpg says of each signature, in its order."""
        path = self.home / "message"
        path.write_bytes(message)
        told = self.run("--status-fd", "1", "--verify", str(path), check=False).decode(errors="replace")
        words = [line.split()[1] for line in told.splitlines() if line.startswith("[GNUPG:] ")]
        return [word for word in words if word in VERDICTS]

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], capture_output=True, check=False)
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture(scope="module")
def gpg(require) -> Iterator[Gpg]:
    made = Gpg(require("gpg"))
    yield made
    made.close()


def evidence_of(message: bytes) -> Evidence:
    return Evidence("sha256:" + hashlib.sha256(message).hexdigest(), "openpgp-simplesigning", "", DIGEST, message)


def as_gpg(message: bytes, ring: tuple[Authority, ...]) -> str:
    """Our answer for a message with one signature, as gpg would put it: its order of precedence."""
    material = Material.of(ring)
    parts = openpgp_fact_parts(evidence_of(message), material)
    if not parts.signature_good:
        assert (parts.undecided == ("authority",)) == (not parts.hinted)
        return "BADSIG" if parts.hinted else "NO_PUBKEY"
    assert parts.subjects == (DIGEST,)
    assert parts.signed_repository == "registry.example.com/payments/api"
    (chain,) = parts.chains
    if parts.expires is not None and parts.expires <= NOW:
        return "EXPSIG"
    if chain.valid_until <= NOW:
        return "EXPKEYSIG"
    return "REVKEYSIG" if material.authorities[chain.authority].revoked else "GOODSIG"


def agree(gpg: Gpg, message: bytes, expected: str, *names: str) -> tuple[Authority, ...]:
    """Both say `expected`, of the exported ring alone."""
    exported = gpg.export(*names)
    verifier = Gpg(gpg.program)
    try:
        verifier.run("--import", stdin=exported.encode())
        assert verifier.verdicts(message) == [expected]
    finally:
        verifier.close()
    ring = read_keyring(exported)
    assert as_gpg(message, ring) == expected
    return ring


# ------------------------------------------------------------------------------------------------------ kinds of keys

KINDS = {
    "rsa2048": "rsa-pkcs1",
    "rsa3072": "rsa-pkcs1",
    "ed25519": "ed25519",
    "nistp256": "ecdsa-p256",
    "nistp384": "ecdsa-p384",
    "nistp521": "ecdsa-p521",
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request, gpg) -> tuple[str, str]:
    return request.param, gpg.key(request.param, request.param)


@pytest.mark.parametrize("compression", ["none", "zip", "zlib", "bzip2"])
def test_every_kind_of_key_and_every_compression(gpg, kind, compression):
    name, key = kind
    message = gpg.sign(key, options=("--compress-algo", compression))
    (authority,) = agree(gpg, message, "GOODSIG", name)
    assert authority.label.endswith(key)
    assert authority.valid_from == parse_instant("2025-01-01T00:00:00Z")
    assert authority.valid_until is None
    parts = openpgp_fact_parts(evidence_of(message), Material.of((authority,)))
    assert parts.algorithm.startswith(KINDS[name])
    assert parts.claimed_time == parse_instant("2025-01-01T00:00:00Z")
    assert parts.annotations == (("creator", "test 1"),)


SHORTEST = {"nistp256": 256, "nistp384": 384, "nistp521": 512}
"""Bits of the shortest hash gpg takes for a curve; longer ones are cut to its size."""


def test_every_hash_that_is_accepted(gpg, kind):
    name, key = kind
    for bits in (224, 256, 384, 512):
        if bits >= SHORTEST.get(name, 0):
            message = gpg.sign(key, options=("--digest-algo", f"SHA{bits}"))
            ring = agree(gpg, message, "GOODSIG", name)
            algorithm = openpgp_fact_parts(evidence_of(message), Material.of(ring)).algorithm
            assert algorithm == f"{KINDS[name]}-sha{bits}"


def test_sha1_is_good_for_gpg_and_not_for_us(gpg, kind):
    name, key = kind
    if name != "rsa2048":
        return
    message = gpg.sign(key, options=("--digest-algo", "SHA1"))
    with pytest.raises(EvidenceError, match="sha1") as caught:
        as_gpg(message, read_keyring(gpg.export(name)))
    assert caught.value.code == "unsupported-evidence"


def test_a_tampered_document(gpg, kind):
    name, key = kind
    message = gpg.sign(key, options=("--compress-algo", "none"))
    other = message.replace(DIGEST.encode(), f"sha256:{8:064x}".encode())
    assert other != message
    agree(gpg, message, "GOODSIG", name)
    ring = read_keyring(gpg.export(name))
    assert gpg.verdicts(other) == ["BADSIG"]
    parts = openpgp_fact_parts(evidence_of(other), Material.of(ring))
    assert not parts.signature_good
    assert parts.hinted == ring[0].id
    assert parts.chains == ()


def test_what_is_good_for_us_is_good_for_gpg(gpg, kind):
    """A byte changed here and there: never a signature that gpg calls bad, or another document."""
    name, key = kind
    message = gpg.sign(key, options=("--compress-algo", "none"))
    material = Material.of(read_keyring(gpg.export(name)))
    places = [len(message) * step // 40 for step in range(40)]
    for place in places:
        changed = message[:place] + bytes([message[place] ^ 0x10]) + message[place + 1 :]
        if good_for_us(changed, material):
            assert gpg.verdicts(changed) == ["GOODSIG"]


def good_for_us(message: bytes, material: Material) -> bool:
    try:
        parts = openpgp_fact_parts(evidence_of(message), material)
    except EvidenceError:
        return False
    return parts.signature_good and parts.subjects == (DIGEST,)


def test_a_key_that_is_not_in_the_ring(gpg, kind):
    _, key = kind
    gpg.key(f"stranger-{key[:6]}", "ed25519")
    agree(gpg, gpg.sign(key), "NO_PUBKEY", f"stranger-{key[:6]}")


# ------------------------------------------------------------------------------------------------ expiry, revocation


def test_an_expired_signature(gpg):
    key = gpg.key("short signature", "ed25519")
    message = gpg.sign(key, options=("--default-sig-expire", "10d"))
    ring = agree(gpg, message, "EXPSIG", "short signature")
    parts = openpgp_fact_parts(evidence_of(message), Material.of(ring))
    assert parts.expires == parse_instant("2025-01-11T00:00:00Z")


def test_an_expired_key(gpg):
    key = gpg.key("short key", "ed25519", expires="20250201T000000")
    message = gpg.sign(key)
    (authority,) = agree(gpg, message, "EXPKEYSIG", "short key")
    assert authority.valid_until == parse_instant("2025-02-01T00:00:00Z")


def test_an_expiry_that_was_prolonged(gpg):
    key = gpg.key("prolonged", "nistp256", expires="20250201T000000")
    message = gpg.sign(key)
    gpg.run("--quick-set-expire", key, "20300101T000000", at="20250115T000000")
    (authority,) = agree(gpg, message, "GOODSIG", "prolonged")
    assert authority.valid_until == parse_instant("2030-01-01T00:00:00Z")
    gpg.run("--quick-set-expire", key, "20260101T000000", at="20250116T000000")
    (authority,) = agree(gpg, message, "EXPKEYSIG", "prolonged")
    assert authority.valid_until == parse_instant("2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("reason", "row"), [(0, "hard-all"), (1, "hard-all"), (2, "soft"), (3, "soft")], ids=["none", "bad", "new", "old"]
)
def test_a_revoked_key_hard_and_soft(gpg, reason, row):
    name = f"revoked-{reason}"
    key = gpg.key(name, "ed25519")
    subkey = gpg.subkey(key, "nistp256/ecdsa")
    messages = gpg.sign(key), gpg.sign(subkey)
    gpg.revoke(key, reason)
    for message in messages:
        authorities = agree(gpg, message, "REVKEYSIG", name)
        assert [authority.revoked for authority in authorities] == [((row, NOW),)] * 2


@pytest.mark.parametrize(("reason", "row"), [(0, "hard-all"), (1, "hard-all"), (2, "soft"), (3, "soft")])
def test_a_revoked_sub_key_takes_nothing_else_with_it(gpg, reason, row):
    name = f"subrev-{reason}"
    key = gpg.key(name, "ed25519")
    gone, other = gpg.subkey(key, "nistp256/ecdsa"), gpg.subkey(key, "ed25519")
    messages = {fingerprint: gpg.sign(fingerprint) for fingerprint in (key, gone, other)}
    gpg.revoke_subkey(key, 1, reason)
    for fingerprint, message in messages.items():
        ring = agree(gpg, message, "REVKEYSIG" if fingerprint == gone else "GOODSIG", name)
        rows = {authority.label.split()[-1]: authority.revoked for authority in ring}
        assert rows == {key: (), gone: ((row, NOW),), other: ()}


def test_the_revocation_certificate_gpg_keeps_ready(gpg):
    key = gpg.key("prepared", "ed25519")
    message = gpg.sign(key)
    text = (gpg.home / "openpgp-revocs.d" / f"{key}.rev").read_text()
    gpg.run("--import", stdin=text.replace(":-----BEGIN", "-----BEGIN").encode())
    (authority,) = agree(gpg, message, "REVKEYSIG", "prepared")
    assert authority.revoked == (("hard-all", parse_instant("2025-01-01T00:00:00Z")),)


def test_an_older_copy_of_the_ring_does_not_hide_a_revocation(gpg):
    key = gpg.key("copies", "ed25519")
    before = gpg.export("copies")
    gpg.revoke(key, 1)
    after = gpg.export("copies")
    for content in (before + after, after + before):
        (authority,) = read_keyring(content)
        assert authority.revoked == (("hard-all", NOW),)


def test_a_revoked_user_id_is_not_a_revoked_key(gpg):
    key = gpg.key("first", "ed25519")
    message = gpg.sign(key)
    gpg.run("--quick-add-uid", key, "second <second@example.com>", at="20250102T000000")
    gpg.run("--quick-revoke-uid", key, "first <first@example.com>")
    (authority,) = agree(gpg, message, "GOODSIG", "second")
    assert authority.label == f"second <second@example.com> {key}"
    assert authority.revoked == ()


# ---------------------------------------------------------------------------------------------------------- sub-keys


def test_a_signing_sub_key_below_a_key_that_only_certifies(gpg):
    key = gpg.key("offline", "ed25519", usage="cert")
    subkey = gpg.subkey(key, "rsa2048")
    gpg.subkey(key, "cv25519", usage="encr")
    (authority,) = agree(gpg, gpg.sign(subkey), "GOODSIG", "offline")
    assert authority.label == f"offline <offline@example.com> {subkey}"


def test_a_sub_key_ends_with_itself_or_with_its_primary_key(gpg):
    key = gpg.key("windows", "ed25519", expires="20260101T000000")
    early, late = gpg.subkey(key, "ed25519", expires="20250601T000000"), gpg.subkey(key, "ed25519")
    messages = gpg.sign(early), gpg.sign(late)
    for message in messages:
        ring = agree(gpg, message, "EXPKEYSIG", "windows")
    ends = {authority.label.split()[-1]: authority.valid_until for authority in ring}
    year, june = parse_instant("2026-01-01T00:00:00Z"), parse_instant("2025-06-01T00:00:00Z")
    assert ends == {key: year, early: june, late: year}


def test_a_ring_that_cannot_sign_is_refused(gpg):
    key = gpg.key("certifies", "ed25519", usage="cert")
    gpg.subkey(key, "cv25519", usage="encr")
    with pytest.raises(TrustError, match="flags do not allow signing"):
        read_keyring(gpg.export("certifies"))


# ------------------------------------------------------------------------------------------------- several, and other


def test_two_signers_of_one_document(gpg):
    one, two = gpg.key("one", "rsa2048"), gpg.key("two", "nistp384")
    message = gpg.sign(one, two)
    assert gpg.verdicts(message) == ["GOODSIG", "GOODSIG"]
    ring = read_keyring(gpg.export("one", "two"))
    both = openpgp_fact_parts(evidence_of(message), Material.of(ring))
    assert {chain.authority for chain in both.chains} == {authority.id for authority in ring}
    assert both.undecided == ()
    alone = openpgp_fact_parts(evidence_of(message), Material.of(read_keyring(gpg.export("two"))))
    assert len(alone.chains) == 1
    assert alone.undecided == ("authority",)
    assert alone.signature_good
    assert alone.hinted == ""


def test_a_ring_of_several_blocks_is_the_ring_of_all(gpg):
    gpg.key("three", "ed25519")
    gpg.key("four", "nistp256")
    apart = read_keyring("# team keys\n" + gpg.export("three") + "\n\n" + gpg.export("four"))
    assert {a.id for a in apart} == {a.id for a in read_keyring(gpg.export("three", "four"))}
    assert len(apart) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--clear-sign",), "armored or clear-signed"),
        (("--armor", "--sign"), "armored or clear-signed"),
        (("--detach-sign",), "detached"),
        (("--textmode", "--sign"), "type 0x01"),
        (("--sign", "--sig-notation", "!wanted@example.com=yes"), "critical subpacket 20"),
    ],
)
def test_what_gpg_can_make_and_nobody_needs(gpg, kind, options, says):
    _, key = kind
    message = gpg.run("--local-user", key, *options, stdin=document(), at=LONG_AGO)
    with pytest.raises(EvidenceError, match=says) as caught:
        openpgp_fact_parts(evidence_of(message), Material.of(()))
    assert caught.value.code == "unsupported-evidence"


def test_a_private_key_is_refused_and_not_repeated(gpg):
    key = gpg.key("secret", "ed25519")
    text = gpg.run("--armor", "--export-secret-keys", key).decode()
    for content in (text, text.replace("PRIVATE", "PUBLIC")):
        with pytest.raises(TrustError, match="private key") as caught:
            read_keyring(content)
        assert text.splitlines()[3] not in str(caught.value)


def test_a_signature_in_the_last_second_of_a_key(gpg):
    """The window of a key is closed at both ends, and the claimed time decides nothing."""
    key = gpg.key("edges", "ed25519", expires="20250201T000000")
    ring = read_keyring(gpg.export("edges"))
    parts = openpgp_fact_parts(evidence_of(gpg.sign(key, at="20250131T235959")), Material.of(ring))
    (chain,) = parts.chains
    assert chain.valid_until - (parts.claimed_time or 0) == DAY // 86_400
    assert os.environ.get("GNUPGHOME") != str(gpg.home)
