"""`openssl ts` as the other side: its tokens are ours to verify, and it must agree about the tokens of tests."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import pki
from tests.helpers.pki import DAY, SECOND, T0, TIMESTAMPING, Ca, Tsa
from verifier.errors import EvidenceError
from verifier.evidence.der import Der
from verifier.evidence.material import Authority
from verifier.evidence.timestamps import Stamp, verify_timestamp
from verifier.evidence.x509 import load_pem_chain

pytestmark = pytest.mark.needs("openssl")

MESSAGE = b"the bytes of a signature"

CONFIG = """
[tsa]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
certs = {folder}/chain.pem
signer_key = {folder}/tsa.key
signer_digest = {digest}
default_policy = 1.2.3.4.1
digests = sha1, sha256, sha384, sha512
accuracy = secs:1, millisecs:500, microsecs:100
clock_precision_digits = {precision}
ordering = yes
tsa_name = yes
ess_cert_id_chain = {whole_chain}
ess_cert_id_alg = {ess}
[leaf]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[req]
distinguished_name = name
[name]
"""

KEYS = {
    "p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "p521": ["ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "rsa": ["rsa", "-pkeyopt", "rsa_keygen_bits:2048"],
}


@dataclass
class Openssl:
    """A timestamp authority in a folder, run by `openssl`."""

    program: Path
    folder: Path

    def run(self, *arguments: str, good: bool = True) -> str:
        done = subprocess.run(
            [self.program, *arguments], cwd=self.folder, capture_output=True, text=True, errors="replace", check=False
        )
        assert not good or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def configure(self, digest="sha256", ess="sha256", precision=0, *, whole_chain=False) -> None:
        text = CONFIG.format(
            folder=self.folder,
            digest=digest,
            ess=ess,
            precision=precision,
            whole_chain="yes" if whole_chain else "no",
        )
        (self.folder / "c.cnf").write_text(text)

    def setup(self, key: str) -> None:
        self.configure()
        (self.folder / "serial").write_text("01\n")
        (self.folder / "message").write_bytes(MESSAGE)
        kind, *options = KEYS[key]
        common = ["-config", "c.cnf", "-nodes", "-sha256", "-newkey", kind, *options]
        self.run(
            "req", "-x509", *common, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/O=o/CN=ca", "-extensions", "ca"
        )
        self.run("req", *common, "-keyout", "mid.key", "-out", "mid.csr", "-subj", "/O=o/CN=mid")
        self.run("req", *common, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/O=o/CN=tsa")
        sign = ["x509", "-req", "-CAcreateserial", "-extfile", "c.cnf", "-days", "30"]
        self.run(*sign, "-in", "mid.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-extensions", "ca", "-out", "mid.pem")
        self.run(
            *sign, "-in", "tsa.csr", "-CA", "mid.pem", "-CAkey", "mid.key", "-extensions", "leaf", "-out", "tsa.pem"
        )
        self.chain("mid.pem", "ca.pem")

    def chain(self, *names: str) -> None:
        (self.folder / "chain.pem").write_text("".join((self.folder / name).read_text() for name in names))

    def token(self, imprint: str = "sha256", *, certificates: bool = True, bare: bool = True) -> bytes:
        with_certificates = ["-cert"] if certificates else []
        self.run("ts", "-query", "-data", "message", f"-{imprint}", "-out", "q.tsq", *with_certificates)
        bare_too = ["-token_out"] if bare else []
        self.run("ts", "-reply", "-config", "c.cnf", "-section", "tsa", "-queryfile", "q.tsq", "-out", "r", *bare_too)
        return (self.folder / "r").read_bytes()

    def der(self, *names: str) -> tuple[bytes, ...]:
        return tuple(load_pem_chain((self.folder / name).read_text())[0].der for name in names)

    @property
    def pinned(self) -> Authority:
        return Authority("pinned", "timestamping", self.der("tsa.pem", "mid.pem", "ca.pem"))

    @property
    def opened(self) -> Authority:
        return Authority("opened", "timestamping", self.der("ca.pem"))

    def accepts(self, token: bytes, root: bytes, others: tuple[bytes, ...], at: int, message: bytes = MESSAGE) -> bool:
        """What `openssl ts -verify` says at a time of verification that it is given."""
        (self.folder / "t").write_bytes(token)
        (self.folder / "m").write_bytes(message)
        (self.folder / "root.pem").write_text(pki.pem(root))
        (self.folder / "others.pem").write_text(pki.pem(*others))
        options = ["-token_in", "-in", "t", "-data", "m", "-CAfile", "root.pem", "-untrusted", "others.pem"]
        said = self.run("ts", "-verify", *options, "-attime", str(at // SECOND), good=False)
        assert ("Verification: OK" in said) is not ("Verification: FAILED" in said), said
        return "Verification: OK" in said


@pytest.fixture(scope="module", params=KEYS)
def tsa(request, require, tmp_path_factory) -> Openssl:
    made = Openssl(require("openssl"), tmp_path_factory.mktemp("tsa"))
    made.setup(request.param)
    return made


@pytest.fixture
def openssl(require, tmp_path) -> Openssl:
    return Openssl(require("openssl"), tmp_path)


# ------------------------------------------------------------------------------------------------- tokens that it makes


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_its_tokens_verify(tsa, digest):
    tsa.configure(digest, ess=digest)
    for imprint in ("sha256", "sha384", "sha512"):
        token = tsa.token(imprint)
        stamp = verify_timestamp(token, MESSAGE, [tsa.pinned, tsa.opened], response=False)
        assert [claim.authority for claim in stamp.claims] == ["pinned", "opened"]
        assert {claim.accuracy for claim in stamp.claims} == {1_500_100}


@pytest.mark.parametrize("options", [{"ess": "sha1"}, {"whole_chain": True}, {"precision": 6}, {"precision": 3}])
def test_its_other_forms_verify(tsa, options):
    tsa.configure(**options)
    assert verify_timestamp(tsa.token(), MESSAGE, [tsa.pinned], response=False).known
    assert verify_timestamp(tsa.token(bare=False), MESSAGE, [tsa.opened], response=True).known


@pytest.mark.parametrize("order", [("mid.pem", "ca.pem"), ("ca.pem", "mid.pem"), ("mid.pem",)])
def test_its_certificate_sets_in_any_order(tsa, order):
    tsa.configure()
    tsa.chain(*order)
    token = tsa.token()
    tsa.chain("mid.pem", "ca.pem")
    assert verify_timestamp(token, MESSAGE, [tsa.opened], response=False).known
    assert verify_timestamp(token, MESSAGE, [tsa.pinned], response=False).known


def test_without_certificates_only_the_pinned_leaf_can_know(tsa):
    tsa.configure()
    token = tsa.token(certificates=False)
    assert verify_timestamp(token, MESSAGE, [tsa.pinned], response=False).known
    assert verify_timestamp(token, MESSAGE, [tsa.opened], response=False) == Stamp((), known=False)


def test_what_it_stamped_in_sha1_is_refused_by_name(tsa):
    tsa.configure()
    with pytest.raises(EvidenceError, match="sha1"):
        verify_timestamp(tsa.token("sha1"), MESSAGE, [tsa.pinned], response=False)


def test_it_stamped_these_bytes_and_no_others(tsa):
    tsa.configure()
    with pytest.raises(EvidenceError, match="other bytes"):
        verify_timestamp(tsa.token(), MESSAGE + b".", [tsa.pinned], response=False)


def test_a_refusal_it_writes(tsa):
    """It grants no MD5: its answer has a status and no token."""
    tsa.configure()
    with pytest.raises(EvidenceError, match="did not grant"):
        verify_timestamp(tsa.token("md5", bare=False), MESSAGE, [tsa.pinned], response=True)


# ------------------------------------------------------------------------------------------- tokens it must agree about

ROOT = Ca.root("agree root")
CA = ROOT.intermediate("agree ca", eku=TIMESTAMPING)
TSA = Tsa.under(CA, "agree")
EXPIRED = Tsa.under(CA, "expired", not_before=T0 - 9 * DAY, not_after=T0 - DAY)
CONTENT = TSA.tst_info(MESSAGE, T0)


def altered(change) -> bytes:
    return TSA.token(MESSAGE, T0, content=CONTENT, attributes=change(TSA.attributes(CONTENT, "sha256")))


def unsorted(token: bytes) -> bytes:
    """The certificate SET the other way round: its bytes stand outside everything that is signed."""
    forward, backward = b"".join(TSA.chain), b"".join(reversed(TSA.chain))
    assert token.count(forward) == 1
    return token.replace(forward, backward)


AGREED = {
    "sha256": TSA.token(MESSAGE, T0),
    "sha384": TSA.token(MESSAGE, T0, hash="sha384", signer_hash="sha384"),
    "sha512": TSA.token(MESSAGE, T0, hash="sha512", signer_hash="sha512"),
    "unsorted": unsorted(TSA.token(MESSAGE, T0)),
    "only the leaf": TSA.token(MESSAGE, T0, certificates=TSA.chain[:1]),
    "ESSCertID v1": altered(lambda a: [*a[:2], pki.attribute(pki.ESS_V1, pki.ess_v1(TSA.certificate))]),
    "of other bytes": TSA.token(b"other", T0),
    "spoiled signature": TSA.token(MESSAGE, T0, spoil=True),
    "another key": TSA.token(MESSAGE, T0, key=pki.make_key("forger")),
    "another content": TSA.token(MESSAGE, T0, attributes=TSA.attributes(b"x", "sha256")),
    "no messageDigest": altered(lambda a: [a[0], a[2]]),
    "no ESSCertID": altered(lambda a: a[:2]),
    "ESSCertID of another": altered(lambda a: [*a[:2], pki.attribute(pki.ESS_V2, pki.ess_v2(CA.certificate))]),
    "two signers": TSA.token(MESSAGE, T0, more_signers=1),
    "no timestamp": TSA.token(MESSAGE, T0, content=CONTENT, content_type="1.2.840.113549.1.7.1"),
    "TSTInfo version 2": TSA.token(MESSAGE, T0, version=2),
    "expired": EXPIRED.token(MESSAGE, T0),
    "not for timestamps": Tsa.under(ROOT, "code", eku=pki.CODE_SIGNING).token(MESSAGE, T0),
    "two purposes": Tsa.under(ROOT, "two", eku=[TIMESTAMPING, pki.CODE_SIGNING]).token(MESSAGE, T0),
    "purpose not critical": Tsa.under(ROOT, "loose", critical={"eku": False}).token(MESSAGE, T0),
    "another root": Tsa.under(Ca.root("agree root", "p384"), "evil").token(MESSAGE, T0),
    "cut": TSA.token(MESSAGE, T0)[:-1],
}
"""What is wrong with it -> token. Those without a fault come first."""
GOOD = ("sha256", "sha384", "sha512", "unsorted", "only the leaf", "ESSCertID v1")


@pytest.mark.parametrize("name", AGREED)
def test_both_say_the_same(openssl, name):
    theirs = openssl.accepts(AGREED[name], ROOT.certificate, (CA.certificate,), T0)
    known = Authority("a", "timestamping", (CA.certificate, ROOT.certificate))
    try:
        ours = bool(verify_timestamp(AGREED[name], MESSAGE, [known], response=False).claims)
    except EvidenceError:
        ours = False
    assert ours is theirs is (name in GOOD)


def test_the_unsorted_set_is_unsorted():
    doc = Der(AGREED["unsorted"], "c")
    wrapped = doc.children(doc.root(0x30))[1]
    certificates = doc.children(doc.only_child(wrapped, 0x30, "SignedData"))[3]
    found = [doc.raw(node) for node in doc.children(certificates)]
    assert found == list(reversed(TSA.chain))
    assert found != sorted(found) or [*TSA.chain] != sorted(TSA.chain)
