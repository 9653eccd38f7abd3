"""Failures that verifiers are known for, each as a test: advisories, parser confusion, and what tools were seen to do.

The signatures are real, by tests/helpers/oracle_world.py; each test changes what an attacker would, and the good case
stands beside it, so that nothing passes by refusing everything. docs/differences.md says who answers otherwise.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from tests.helpers.notation import MANIFEST, SUBJECT, envelope
from tests.helpers.oracle_cases import ELSEWHERE, SPDX, SPDX_URI
from tests.helpers.oracle_tools import evidence_of, judge_evidence
from tests.helpers.oracle_world import (
    IDENTITY,
    ISSUER,
    OTHER_IDENTITY,
    Image,
    Layer,
    Made,
    Part,
    Question,
    Recipe,
    Referrer,
    World,
    b64,
    compact,
    flip,
    key,
    make,
    message_of,
    stamped_bytes,
)
from tests.helpers.pki import DAY, MINUTE, SECOND, moment
from tests.helpers.pki import pem as certificate_pem
from tests.helpers.rekor import hashedrekord1
from verifier.evidence.identity import SIGNATURE_ANNOTATION
from verifier.evidence.keys import load_public_key
from verifier.evidence.simplesigning import LOG_ANNOTATION, TIMESTAMP_ANNOTATION
from verifier.facts.candidates import key_set
from verifier.facts.derive import derive_fact
from verifier.models import Fact, Verdict
from verifier.testing import BUNDLE_TYPE
from verifier.trust.records import KeyPut, StatusListPut, TrustRecord

NOW = 1_800_000_000 * SECOND
WORLD = World(NOW)
IMAGE = Image("registry.example.com/payments/api", "sha256:" + "a1" * 32, 528)
DEV = key("dev")

CLASSIC, BUNDLE = Recipe("classic"), Recipe("bundle")
KEYLESS = {
    "classic, Rekor v1": Recipe("classic", certified="keyless", log=1),
    "bundle, Rekor v1": Recipe("bundle", certified="keyless", log=1),
    "bundle, Rekor v2": Recipe("bundle", certified="keyless", log=2, stamped=True),
}


def keyed(**changes: Any) -> Question:
    return replace(Question((DEV.pem,)), **changes)


def keyless(**changes: Any) -> Question:
    return replace(Question(root=WORLD.root(), identity=IDENTITY, issuer=ISSUER, log=True, sct=True), **changes)


def ask(parts: Sequence[Part | Made], question: Question, more: Sequence[TrustRecord] = ()) -> Verdict:
    written = [part.part() if isinstance(part, Made) else part for part in parts]
    return judge_evidence([evidence_of(part, IMAGE) for part in written], question, NOW, more)


def made(recipe: Recipe, change: Callable[[Made], None] | None = None) -> Made:
    found = make(WORLD, IMAGE, recipe)
    if change is not None:
        change(found)
    return found


def fact_of(part: Part | Made, *, keys: Sequence[str] = (DEV.pem,)) -> Fact:
    written = part.part() if isinstance(part, Made) else part
    return derive_fact(evidence_of(written, IMAGE), key_set((f"k{n}", load_public_key(k)) for n, k in enumerate(keys)))


def outcome(parts: Sequence[Part | Made], question: Question, more: Sequence[TrustRecord] = ()) -> tuple[str, str]:
    """Outcome and the one reason; of broken evidence the problem that the reason quotes."""
    verdict = ask(parts, question, more)
    (reason,) = verdict.reasons
    if reason.code == "signature-invalid":
        return verdict.outcome, reason.message.rpartition(": ")[2]
    return verdict.outcome, reason.code


VALID = ("valid", "satisfied")


# ---------------------------------------------------------------------------------------------------------- advisories


@pytest.mark.parametrize("name", KEYLESS)
def test_cve_2022_36056_an_entry_that_does_not_name_the_signature(name):
    """cosign verify-blob before 1.12: the log entry in a bundle need not be about the signature it came with."""
    recipe = KEYLESS[name]
    assert outcome([made(recipe)], keyless()) == VALID
    other = made(replace(recipe, digest=ELSEWHERE))
    assert outcome([made(recipe, lambda m: setattr(m, "entry", other.entry))], keyless()) == (
        "violates",
        "log-entry-mismatch",
    )


@pytest.mark.parametrize("name", KEYLESS)
def test_cve_2022_36056_the_identity_is_compared_also_when_there_is_an_entry(name):
    assert outcome([made(KEYLESS[name])], keyless(identity=OTHER_IDENTITY)) == ("violates", "wrong-signer")
    assert outcome([made(KEYLESS[name])], keyless(issuer="https://idp.evil.example")) == ("violates", "wrong-signer")


@pytest.mark.parametrize("asked", [False, True], ids=["nobody asks for a log", "the log is asked for"])
def test_cve_2022_36056_an_invalid_entry_is_never_a_success(asked):
    """cosign took a broken Rekor bundle for none, and an invalid entry for the end of all checks."""
    recipe = replace(CLASSIC, certified="keyless", log=1)
    question = keyless(log=asked)

    def spoil(m: Made) -> None:
        assert m.entry is not None
        m.entry["SignedEntryTimestamp"] = b64(flip(b64decode(m.entry["SignedEntryTimestamp"])))

    assert outcome([made(recipe)], question) == VALID
    assert outcome([made(recipe, spoil)], question) == ("violates", "log-proof-invalid")
    for junk in ("{}", "null", '{"SignedEntryTimestamp":"","Payload":{}}', "not JSON"):
        part = made(recipe).part()
        assert isinstance(part, Layer)
        broken = part._replace(annotations={**part.annotations, LOG_ANNOTATION: junk})
        assert outcome([broken], question) == ("violates", "log-entry-malformed"), junk


ABOUT_ANOTHER: dict[str, dict[str, Any]] = {
    "artifact": {"digest": ELSEWHERE},
    "signer": {"signer": "eve"},
    "artifact and signer": {"digest": ELSEWHERE, "signer": "eve"},
}


@pytest.mark.parametrize("what", ABOUT_ANOTHER)
@pytest.mark.parametrize("name", KEYLESS)
def test_cve_2026_22703_an_entry_about_something_else(name, what):
    """cosign before 2.6.2 and 3.0.4: any valid entry of the log would do."""
    recipe = KEYLESS[name]
    entry = made(replace(recipe, **ABOUT_ANOTHER[what])).entry
    assert outcome([made(recipe, lambda m: setattr(m, "entry", entry))], keyless()) == (
        "violates",
        "log-entry-mismatch",
    )


@pytest.mark.parametrize("member", ["hash", "signature", "key"])
def test_cve_2026_22703_each_of_the_three_comparisons(member):
    """An entry that differs from the signature in one of hash, signature and key alone."""
    recipe = KEYLESS["classic, Rekor v1"]
    good = made(recipe)
    other = made(replace(recipe, signer="eve"))
    signer = type("Shown", (), {"certified": True, "pem": _pem(good), "certificate": good.certificates[0], "spki": b""})
    body = hashedrekord1(good.payload, good.signature, signer)  # type: ignore[arg-type]  # the members it reads
    if member == "hash":
        body["spec"]["data"]["hash"]["value"] = hashlib.sha256(b"another payload").hexdigest()
    elif member == "signature":
        body["spec"]["signature"]["content"] = b64(other.signature)
    else:
        body["spec"]["signature"]["publicKey"]["content"] = b64(_pem(other).encode())
    good.entry = json.loads(WORLD.logs[1].annotation(body, (WORLD.signed_at + MINUTE) // SECOND))
    assert outcome([good], keyless()) == ("violates", "log-entry-mismatch")


def _pem(m: Made) -> str:
    return x509.load_der_x509_certificate(m.certificates[0]).public_bytes(Encoding.PEM).decode()


AT = WORLD.signed_at + MINUTE


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, VALID),
        (AT, AT + DAY, VALID),
        (AT - DAY, AT + SECOND, VALID),
        (None, AT - SECOND, ("violates", "outside-key-window")),
        (AT + 2 * SECOND, None, ("violates", "outside-key-window")),
    ],
    ids=["no window", "from that instant", "until that second", "ended before", "begins after"],
)
def test_ghsa_wqqc_jjcq_vfxm_a_managed_key_outside_its_window(start, end, expected):
    """sigstore-go before June 2026 compared timestamps with certificates, and never with the window of a key."""
    stamped = made(replace(BUNDLE, stamped=True))
    ring = KeyPut(name="dev", key_id=_key_id(DEV.pem), pem=DEV.pem, valid_from=start, valid_until=end, **HEAD)
    question = Question(("dev",), root=WORLD.root())
    assert outcome([stamped], question, [ring]) == expected


HEAD: dict[str, Any] = {"author": "tests", "at": NOW - 300 * DAY}


def _key_id(text: str) -> str:
    return load_public_key(text).key_id


@pytest.mark.parametrize("order", ["as in the chain", "reversed", "root first", "with a stranger's between"])
def test_tokens_with_unsorted_certificates_are_read(order):
    """rfc3161-client refuses a token whose certificates are not in DER order; authorities write them so."""
    leaf, issuing, root = WORLD.tsa.chain
    orders = {
        "as in the chain": (leaf, issuing, root),
        "reversed": (root, issuing, leaf),
        "root first": (root, leaf, issuing),
        "with a stranger's between": (issuing, WORLD.anchor.certificate, root, leaf),
    }
    recipe = KEYLESS["bundle, Rekor v2"]

    def restamp(m: Made) -> None:
        m.stamps = [WORLD.tsa.response(stamped_bytes(m), AT, certificates=orders[order])]

    assert outcome([made(recipe, restamp)], keyless()) == VALID


# ----------------------------------------------------------------------------------------------------- parser confusion


def resigned(recipe: Recipe, payload: bytes) -> Made:
    """The signer really signed these bytes: what is wrong is what they say."""

    def change(m: Made) -> None:
        m.payload = payload
        m.signature = DEV.sign(message_of(m))

    return made(recipe, change)


SIMPLE = made(CLASSIC).payload
STATEMENT = made(BUNDLE).payload
THIS, OTHER = IMAGE.digest.encode(), ELSEWHERE.encode()
DIGEST_MEMBER = b'"docker-manifest-digest":"' + THIS + b'"'

CONFUSING_PAYLOADS = {
    "digest twice": SIMPLE.replace(DIGEST_MEMBER, DIGEST_MEMBER.replace(THIS, OTHER) + b"," + DIGEST_MEMBER),
    "digest twice, the same": SIMPLE.replace(DIGEST_MEMBER, DIGEST_MEMBER + b"," + DIGEST_MEMBER),
    "digest again in an escape": SIMPLE.replace(
        DIGEST_MEMBER, DIGEST_MEMBER.replace(b"docker-", b"docker\\u002d").replace(THIS, OTHER) + b"," + DIGEST_MEMBER
    ),
    "digest again in capitals": SIMPLE.replace(
        DIGEST_MEMBER, DIGEST_MEMBER.replace(b"docker", b"Docker").replace(THIS, OTHER) + b"," + DIGEST_MEMBER
    ),
    "critical twice": SIMPLE[:-1] + b',"critical":{}}',
    "member of optional twice": SIMPLE.replace(b'"optional":null', b'"optional":{"env":"prod","env":"dev"}'),
    "another document behind": SIMPLE + SIMPLE,
    "a byte behind": SIMPLE + b"x",
    "a zero byte behind": SIMPLE + b"\0",
    "byte-order mark": b"\xef\xbb\xbf" + SIMPLE,
    "UTF-16": SIMPLE.decode().encode("utf-16"),
    "not a number": SIMPLE.replace(b'"optional":null', b'"optional":{"n":NaN}'),
    "bytes that are no text": SIMPLE.replace(b'"optional":null', b'"optional":{"n":"\xff"}'),
    "half a surrogate": SIMPLE.replace(b'"optional":null', b'"optional":{"n":"\\ud800"}'),
}


@pytest.mark.parametrize("name", CONFUSING_PAYLOADS)
def test_a_payload_with_two_meanings_has_none(name):
    """Signed for real: one verifier would read this image out of it, another one the other."""
    payload = CONFUSING_PAYLOADS[name]
    assert payload != SIMPLE
    fact = fact_of(resigned(CLASSIC, payload))
    assert (fact.problem, fact.verified_by) == ("payload-malformed", ())
    assert outcome([resigned(CLASSIC, payload)], keyed())[0] == "violates"


SUBJECT_MEMBER = STATEMENT[STATEMENT.index(b'"subject":') : STATEMENT.index(b',"predicateType"')]

CONFUSING_STATEMENTS = {
    "subject twice": STATEMENT.replace(SUBJECT_MEMBER, SUBJECT_MEMBER + b"," + SUBJECT_MEMBER),
    "sha256 twice": STATEMENT.replace(b'{"sha256":', b'{"sha256":"' + b"7" * 64 + b'","sha256":'),
    "predicate type twice": STATEMENT.replace(
        b'"predicateType":', b'"predicateType":"https://spdx.dev/Document","predicateType":'
    ),
    "subject in capitals": STATEMENT.replace(b'"subject":', b'"Subject":[],"subject":'),
    "member of the predicate twice": STATEMENT.replace(b'"predicate":{}', b'"predicate":{"a":1,"a":2}'),
    "another document behind": STATEMENT + b"{}",
}


@pytest.mark.parametrize("name", CONFUSING_STATEMENTS)
@pytest.mark.parametrize("style", ["bundle", "classic"])
def test_a_statement_with_two_meanings_has_none(style, name):
    payload = CONFUSING_STATEMENTS[name]
    assert payload != STATEMENT
    recipe = BUNDLE if style == "bundle" else Recipe("classic", predicate=SPDX_URI)
    fact = fact_of(resigned(recipe, payload))
    assert (fact.problem, fact.verified_by) == ("payload-malformed", ())


def _written(change: Callable[[bytes], bytes]) -> Referrer:
    """The good bundle, changed as text: nothing signed is touched."""
    part = made(BUNDLE).part()
    assert isinstance(part, Referrer)
    data = change(part.payload)
    assert data != part.payload
    return Referrer(BUNDLE_TYPE, data)


_EVIL = compact(make(WORLD, IMAGE, replace(BUNDLE, signer="eve")).envelope)
_EVIL_PAYLOAD = b64encode(STATEMENT.replace(b"a1" * 32, b"77" * 32))

CONFUSING_BUNDLES: dict[str, Callable[[bytes], bytes]] = {
    "envelope twice": lambda data: data[:-1] + b',"dsseEnvelope":' + _EVIL + b"}",
    "envelope again in capitals": lambda data: data[:-1] + b',"DsseEnvelope":' + _EVIL + b"}",
    "payload twice": lambda data: data.replace(b'"payload":', b'"payload":"' + _EVIL_PAYLOAD + b'","payload":'),
    "payload type twice": lambda data: data.replace(b'"payloadType":', b'"payloadType":"text/plain","payloadType":'),
    "signature twice in one entry": lambda data: data.replace(b'{"sig":', b'{"sig":"AAAA","sig":'),
    "media type twice": lambda data: data.replace(b'"mediaType":', b'"mediaType":"x","mediaType":'),
    "hint twice": lambda data: data.replace(b'{"hint":', b'{"hint":"AAAA","hint":'),
    "material twice": lambda data: data[:-1] + b',"verificationMaterial":{}}',
    "another document behind": lambda data: data + data,
    "a line behind that is none": lambda data: data + b"\n]",
}


@pytest.mark.parametrize("name", CONFUSING_BUNDLES)
def test_a_bundle_with_two_meanings_has_none(name):
    part = _written(CONFUSING_BUNDLES[name])
    fact = fact_of(part)
    assert (fact.problem, fact.verified_by) == ("bundle-malformed", ())
    assert outcome([part], keyed()) == ("violates", "bundle-malformed")


def test_an_envelope_with_two_payloads_has_none():
    """A classic attestation layer: the same trick one level lower."""
    part = made(Recipe("classic", predicate=SPDX_URI)).part()
    assert isinstance(part, Layer)
    doubled = part.payload.replace(b'"payload":', b'"payload":"' + _EVIL_PAYLOAD + b'","payload":')
    fact = fact_of(part._replace(payload=doubled))
    assert (fact.problem, fact.verified_by) == ("payload-malformed", ())


@pytest.mark.parametrize("name", ["classic, Rekor v1", "bundle, Rekor v1", "bundle, Rekor v2"])
def test_a_log_body_with_two_meanings_has_none(name):
    """The log really logged these bytes: an entry that names two hashes."""
    recipe = KEYLESS[name]
    found = made(recipe)
    assert found.entry is not None
    classic = "Payload" in found.entry
    body = b64decode(found.entry["Payload"]["body"] if classic else found.entry["canonicalizedBody"])
    log = WORLD.logs[recipe.log]
    doubled = body.replace(b'"spec":', b'"spec":{},"spec":')
    log.leaves.append(doubled)
    index, at = len(log.leaves) - 1, (WORLD.signed_at + MINUTE) // SECOND
    known = index + log.offset if recipe.log == 1 else index
    if classic:
        found.entry["Payload"] |= {"body": b64(doubled), "logIndex": known}
        found.entry["SignedEntryTimestamp"] = b64(log.promise(doubled, known, at))
    else:
        found.entry |= {"canonicalizedBody": b64(doubled), "logIndex": str(known), "inclusionProof": log.proof(index)}
        if recipe.log == 1:
            found.entry["inclusionPromise"] = {"signedEntryTimestamp": b64(log.promise(doubled, known, at))}
    assert outcome([found], keyless()) == ("violates", "log-entry-malformed")


def test_what_is_verified_is_what_is_read():
    """Spaces, order and escapes differ from what any encoder would write; the bytes are never written a second time."""
    digest = IMAGE.digest.removeprefix("sha256:")
    odd = (
        f'{{ "predicate" : {{ }} ,\n"subject":[ {{"digest":{{ "sha256":"{digest}" }}, '
        '"annotations":{"k\\u0065y":"v\\u0061l"} } ],\t'
        '"predicateType":"https:\\/\\/sigstore.dev/cosign/sign/v1", "_type":"https://in-toto.io/Statement/v1" }\r\n'
    )
    found = resigned(BUNDLE, odd.encode())
    fact = fact_of(found)
    assert (fact.kind, fact.annotations, len(fact.verified_by)) == ("signature", (("key", "val"),), 1)
    assert outcome([found], keyed(annotations={"key": "val"})) == VALID
    found.payload = compact(json.loads(odd))
    assert fact_of(found).verified_by == ()


# -------------------------------------------------------------------------------------------------------- trailing data


def _annotated(change: Callable[[str], str]) -> Layer:
    part = made(CLASSIC).part()
    assert isinstance(part, Layer)
    return part._replace(
        annotations={**part.annotations, SIGNATURE_ANNOTATION: change(part.annotations[SIGNATURE_ANNOTATION])}
    )


def left_over(text: str) -> str:
    """The same bytes in another spelling: bits that padding makes meaningless."""
    body = text.rstrip("=")
    if body == text:
        return text + "A==="
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return body[:-1] + alphabet[alphabet.index(body[-1]) ^ 1] + "=" * (len(text) - len(body))


BASE64_TRICKS: dict[str, Callable[[str], str]] = {
    "text behind the padding": lambda text: text + "AAAA",
    "padding behind the padding": lambda text: text + "=",
    "a character that is none": lambda text: text[:10] + "!" + text[10:],
    "URL alphabet": lambda text: "-_" + text[2:],
    "no padding": lambda text: text.rstrip("=") + ("" if text.endswith("=") else "A"),
    "left-over bits": left_over,
    "zero byte": lambda text: text + "\0",
}


@pytest.mark.parametrize("name", BASE64_TRICKS)
def test_base64_has_one_spelling(name):
    fact = fact_of(_annotated(BASE64_TRICKS[name]))
    assert (fact.problem, fact.verified_by) == ("signature-malformed", ())

    def in_bundle(data: bytes) -> bytes:
        document = json.loads(data)
        entry = document["dsseEnvelope"]["signatures"][0]
        entry["sig"] = BASE64_TRICKS[name](entry["sig"])
        return compact(document)

    assert fact_of(_written(in_bundle)).problem == "signature-malformed"


@pytest.mark.parametrize("extra", [b"\0", b"\x30\x00", b"x" * 8], ids=["a zero", "an element", "bytes"])
def test_nothing_stands_behind_der(extra):
    """Signature, certificate and timestamp: what follows the element is read by some parsers and by others not."""
    assert fact_of(made(CLASSIC, lambda m: setattr(m, "signature", m.signature + extra))).verified_by == ()
    recipe = KEYLESS["bundle, Rekor v2"]

    def certificate(m: Made) -> None:
        m.certificates[0] += extra

    def stamp(m: Made) -> None:
        m.stamps[0] += extra

    assert outcome([made(recipe, certificate)], keyless()) == ("violates", "certificate-malformed")
    assert outcome([made(recipe, stamp)], keyless()) == ("violates", "timestamp-malformed")


def test_nothing_stands_behind_the_classic_timestamp():
    part = made(replace(KEYLESS["classic, Rekor v1"], stamped=True)).part()
    assert isinstance(part, Layer)
    assert outcome([part], keyless()) == VALID
    text = part.annotations[TIMESTAMP_ANNOTATION]
    for broken in (text + "{}", text + "x", text[:-1] + ',"SignedRFC3161Timestamp":"AAAA"}'):
        spoiled = part._replace(annotations={**part.annotations, TIMESTAMP_ANNOTATION: broken})
        assert outcome([spoiled], keyless()) == ("violates", "timestamp-malformed"), broken


# -------------------------------------------------------------------------- where others err, seen while running them


@pytest.mark.parametrize("style", ["bundle", "classic"])
def test_an_attestation_alone_is_no_signature(style):
    """`cosign verify` 2.6 and 3.1 and Kyverno's SigstoreBundle pass an image that carries only an SBOM attestation."""
    sbom = made(Recipe(style, predicate=SPDX_URI))
    assert outcome([sbom], keyed()) == ("violates", "attestation-only")
    assert outcome([sbom], keyed(attestation=SPDX)) == VALID
    assert outcome([made(Recipe(style))], keyed(attestation=SPDX))[0] == "violates"


def test_a_bundle_hides_no_classic_signature_and_the_answer_says_which_satisfied():
    """cosign 3: one bundle referrer makes it overlook every classic signature."""
    eve = made(replace(BUNDLE, signer="eve"))
    verdict = ask([eve, made(CLASSIC)], keyed())
    assert verdict.outcome == "valid"
    assert verdict.reasons[0].message.endswith("(cosign-simplesigning)")
    verdict = ask([made(replace(CLASSIC, signer="eve")), made(BUNDLE)], keyed())
    assert verdict.outcome == "valid"
    assert verdict.reasons[0].message.endswith("(sigstore-bundle)")


@pytest.mark.parametrize(
    ("key_type", "label"),
    [("p384", "ecdsa-p384-sha384"), ("p521", "ecdsa-p521-sha512"), ("ed25519ph", "ed25519ph")],
)
@pytest.mark.parametrize("style", ["bundle", "classic"])
def test_the_hash_that_the_key_implies_and_which_one_matched(style, key_type, label):
    """cosign cannot verify its own signatures of these keys with default flags."""
    signer = key("dev", key_type)
    found = made(Recipe(style, key_type))
    fact = fact_of(found, keys=(signer.pem,))
    assert fact.algorithm == label
    assert outcome([found], Question((signer.pem,))) == VALID


WINDOWS = {
    "certificateAuthorities": "outside-certificate-window",
    "tlogs": "outside-certificate-window",
    "ctlogs": "sct-missing",
}


@pytest.mark.parametrize("edge", ["ended", "to come"])
@pytest.mark.parametrize("listing", WINDOWS)
def test_windows_of_ca_log_and_ct_log_are_judged(listing, edge):
    """sigstore-python ignores all three; with Rekor v1 the log is also the only clock."""
    recipe = KEYLESS["bundle, Rekor v1"]
    window = {"ended": {"start": _day(-100), "end": _day(-1)}, "to come": {"start": _day(1)}}[edge]
    root = WORLD.root()
    for entry in root[listing]:
        entry.get("publicKey", entry)["validFor"] = window
    assert outcome([made(recipe)], keyless(root=root)) == ("violates", WINDOWS[listing])


@pytest.mark.parametrize("edge", ["start", "end"])
@pytest.mark.parametrize("listing", ["certificateAuthorities", "tlogs", "timestampAuthorities"])
def test_windows_are_closed_at_both_ends(listing, edge):
    """A log's and an authority's word in the last second counts; sigstore-python takes the end as outside."""
    recipe = KEYLESS["bundle, Rekor v2"]
    moments = {"start": {"start": _rfc(AT)}, "end": {"start": _day(-100), "end": _rfc(AT)}}[edge]
    root = WORLD.root()
    for entry in root[listing]:
        entry.get("publicKey", entry)["validFor"] = moments
    assert outcome([made(recipe)], keyless(root=root)) == VALID


def _day(days: int) -> str:
    return _rfc(WORLD.signed_at + days * DAY)


def _rfc(at: int) -> str:
    return moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    "window", [{"start": _day(-100), "end": _day(-1)}, {"start": _day(1)}], ids=["ended", "to come"]
)
def test_the_window_of_a_rekor_v2_key_is_judged_at_the_timestamp(window):
    """Neither sigstore-python nor sigstore-go looks: the entries have no time of their own."""
    root = WORLD.root()
    for entry in root["tlogs"]:
        entry["publicKey"]["validFor"] = window
    assert outcome([made(KEYLESS["bundle, Rekor v2"])], keyless(root=root)) == ("violates", "log-entry-missing")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bundle, Rekor v1", {"kind": "intoto", "version": "0.0.2"}),
        ("bundle, Rekor v1", {"kind": "hashedrekord", "version": "0.0.1"}),
        ("bundle, Rekor v2", {"kind": "hashedrekord", "version": "0.0.1"}),
    ],
)
def test_an_entry_is_of_the_kind_it_says(name, kind):
    """sigstore-go accepts an entry whose kindVersion is not that of its body."""

    def change(m: Made) -> None:
        assert m.entry is not None
        m.entry["kindVersion"] = kind

    assert outcome([made(KEYLESS[name], change)], keyless()) == ("violates", "log-entry-mismatch")


@pytest.mark.parametrize("form", ["jws", "cose"])
def test_a_certificate_revoked_in_a_newer_list_falls_at_once(form):
    """notation serves a revoked certificate until the list it has cached expires."""
    times: dict[str, Any] = {"not_before": NOW - 30 * DAY, "not_after": NOW + 30 * DAY, "subject": SUBJECT}
    leaf = WORLD.corp.leaf("revocable", serial=0x7001, **times)
    about = {"mediaType": MANIFEST, "digest": IMAGE.digest, "size": IMAGE.size}
    data = envelope(leaf, form, payload=compact({"targetArtifact": about}), at=NOW - 20 * DAY)
    parts = [Referrer({"jws": "application/jose+json", "cose": "application/cose"}[form], data)]
    question = Question(store=certificate_pem(WORLD.corp.certificate))
    old, new = _list(1, NOW - DAY), _list(2, NOW - MINUTE, 0x7001)
    assert outcome(parts, question) == VALID
    assert outcome(parts, question, [old]) == VALID
    assert outcome(parts, question, [old, new]) == ("violates", "certificate-revoked")
    assert outcome(parts, question, [new, old]) == ("violates", "certificate-revoked")


def _list(number: int, at: int, *serials: int) -> StatusListPut:
    """A revocation list that promises to be good for a month."""
    corp = WORLD.corp
    name = x509.load_der_x509_certificate(corp.certificate).subject
    revoked = [x509.RevokedCertificateBuilder(serial, moment(at)).build() for serial in serials]
    built = x509.CertificateRevocationListBuilder(name, moment(at), moment(at + 30 * DAY), [], revoked)
    signed = built.add_extension(x509.CRLNumber(number), critical=False).sign(corp.key, hashes.SHA256())
    return StatusListPut(issuer=corp.key_id, content=b64(signed.public_bytes(Encoding.DER)), **HEAD)
