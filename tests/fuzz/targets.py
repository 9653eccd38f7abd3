"""Every public parser of `verifier`: how it is called with bytes, what it may raise, what its inputs look like.

    TARGETS["load_certificate"].call(b"...")     raises one of TARGETS["load_certificate"].allowed, or nothing

Text parsers get the bytes as UTF-8 in which what is none becomes lone surrogates: hostile text, too.
A target is a row; `tests/unit/test_fuzz_small.py` fails when a parser has none.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, get_args

import msgspec

from tests.fuzz import seeds, world
from tests.helpers.pki import DAY, T0
from verifier.content import licences, patterns
from verifier.content.builder import builder_of, commits_of
from verifier.content.custom import check_cel, check_path, select
from verifier.content.document import Predicate, read_predicate
from verifier.content.evaluate import evaluate
from verifier.content.model import ContentRule
from verifier.content.outcome import Mismatch
from verifier.content.predicates import ALIASES
from verifier.errors import EvidenceError, ImageReferenceError, PlaceRefused, PolicyError, TrustError
from verifier.evidence import limits
from verifier.evidence.base64text import decode_any_base64, decode_base64, decode_spaced_base64
from verifier.evidence.cbor import decode_cbor
from verifier.evidence.certificates import Certificate, Extension, load_certificate, load_pem_chain
from verifier.evidence.checkpoint import read_checkpoint, verify_checkpoint
from verifier.evidence.crl import names_revocation_source, read_crl, read_ocsp
from verifier.evidence.der import Der
from verifier.evidence.identity import check_evidence_id
from verifier.evidence.keys import load_public_key, looks_like_signature, public_key_from_spki
from verifier.evidence.logentry import LogEntry
from verifier.evidence.olpcjson import canonical
from verifier.evidence.openpgp import read_keyring
from verifier.evidence.openpgp_packets import read_key, read_packets, read_signature
from verifier.evidence.rekor import TlogEntry, annotation_entry, bundle_entry, check_entry
from verifier.evidence.rekorbody import Signed, check_body, kind_of
from verifier.evidence.schemes import signature_scheme
from verifier.evidence.sct import SCT_LIST, verify_scts
from verifier.evidence.strictjson import loads_strict
from verifier.evidence.timestamps import verify_timestamp
from verifier.evidence.trustdata import listed_digests
from verifier.evidence.tufkeys import read_root_keys
from verifier.evidence.x509 import find_chains, read_leaf
from verifier.facts.candidates import KeySet
from verifier.facts.derive import derive_fact
from verifier.models import Evidence, EvidenceFormat
from verifier.oci.auth import parse_challenges, parse_docker_config, parse_token, token_url
from verifier.oci.manifests import Index, child_of_platform, children_of, media_type_of, parse_manifest
from verifier.oci.pacing import parse_quota
from verifier.policy.documents import load_documents
from verifier.policy.globs import Over, compile_glob, split_image
from verifier.policy.identity import check_regex
from verifier.policy.importers.formats import IMPORTERS, detect
from verifier.policy.importers.notes import WeakeningImport
from verifier.policy.lint import overreach, why_never
from verifier.policy.model import Dialect
from verifier.policy.notary import parse_subject, parse_trusted_identity
from verifier.policy.pem import public_key_pem, split_public_keys
from verifier.policy.yamltree import read_trees
from verifier.reference import parse_image_id, parse_reference
from verifier.times import parse_age, parse_instant
from verifier.trust.publicgood import source_note
from verifier.trust.roots import read_root, window_note

Call = Callable[[bytes], object]

DOCUMENT_MS: Final = 4
"""CPU milliseconds per KiB of an administrator's document: YAML with positions, a signature per packet of a ring."""
POLICY_MS: Final = 24
"""The same for other people's policies: one line of twenty bytes can stand for a policy of its own."""


@dataclass(frozen=True)
class Target:
    """One parser."""

    call: Call
    seeds: str
    """Kind of `tests.fuzz.seeds`."""
    family: str
    """Of `tests.fuzz.mutators`."""
    allowed: tuple[type[Exception], ...] = (EvidenceError,)
    per_kib: int = 0
    """Milliseconds more for each KiB: for what an administrator writes (policies, trust roots), not what anybody
    pushes."""


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


@cache
def keyset() -> KeySet:
    return world.trust().candidate_set()


@cache
def _issuer(name: str = "notary") -> Certificate:
    return load_certificate({"notary": world.NOTARY, "issuing": world.ISSUING}[name].certificate)


# ---------------------------------------------------------------------------------------------------- calls with state


def _certificate(data: bytes) -> None:
    """Read, described, and led to the authorities as a leaf and as an intermediate."""
    found = load_certificate(data)
    read_leaf(found)
    material = keyset().material
    find_chains(found, (), material.used_for("signing"), "code-signing")
    find_chains(found, (_issuer(),), material.used_for("notation"), "notation")
    find_chains(load_certificate(world.LEAF.certificate), (found,), material.used_for("signing"), "code-signing")


def _scts(data: bytes) -> None:
    leaf = load_certificate(world.LEAF.certificate)
    changed = replace(leaf, extensions={**leaf.extensions, SCT_LIST: Extension(False, data)})
    verify_scts(changed, _issuer("issuing"), keyset().material)


def _der(data: bytes) -> None:
    doc = Der(data, "certificate-malformed")
    todo = doc.children((0, 0, 0, len(data)))
    while todo:
        node = todo.pop()
        if node[0] & 0x20:
            todo += doc.children(node)
        else:
            doc.content(node)
            doc.raw(node)


def _timestamp(data: bytes, *, response: bool) -> None:
    verify_timestamp(data, b"signed", keyset().material.used_for("timestamping"), response=response)


@cache
def _signed() -> Signed:
    leaf = load_certificate(world.LEAF.certificate)
    return Signed(signature=b"x", key_id=leaf.key_id, certificate=leaf.der, message=b"m", payload=b"p", envelope=b"e")


def _entry(data: bytes) -> None:
    """A log entry as a bundle's reader hands it on: typed."""
    try:
        written = msgspec.convert(loads_strict(data, limit=limits.ENVELOPE_BYTES), TlogEntry)
    except msgspec.ValidationError:
        return
    _check_entry(bundle_entry(written))


def _check_entry(entry: LogEntry) -> None:
    check_entry(entry, _signed(), keyset().material, need_proof=True)


def _body(data: bytes) -> None:
    kind = kind_of(data)
    check_body(kind, data, _signed())


def _checkpoint(data: bytes) -> None:
    read = read_checkpoint(text(data))
    for log in keyset().material.logs.values():
        verify_checkpoint(read, log)


def _derived(format_: EvidenceFormat) -> Call:
    """Payload to fact; whatever it is, a fact."""
    carried = {"revet.subject.size": str(len(world.MANIFEST))} if format_.startswith("notation") else {}
    if format_ == "cosign-simplesigning":
        carried = dict(world.classic_keyless().annotations)

    def call(data: bytes) -> None:
        derive_fact(Evidence("sha256:" + "0" * 64, format_, world.REPOSITORY, world.DIGEST, data, carried), keyset())

    return call


def _annotated(name: str, format_: EvidenceFormat = "cosign-simplesigning") -> Call:
    """One annotation of a `.sig` layer to fact."""

    def call(data: bytes) -> None:
        good = world.classic_keyless()
        changed = msgspec.structs.replace(good, format=format_, annotations={**good.annotations, name: text(data)})
        derive_fact(changed, keyset())
        check_evidence_id(changed)

    return call


_RULES: Final = tuple(
    ContentRule.model_validate(rule)
    for rule in (
        {"slsa": {"builders": ["https://good/*"], "sources": ["https://good/*"], "parameters": {"a.b": "c"}}},
        {"sbom": {"forbidComponents": ["pkg:*/bad*", "x*"], "allowedLicences": ["MIT"], "maxUnlicensed": 0}},
        {"vulnerabilities": {"maxSeverity": "low", "maxAge": "7d"}},
        {"vsa": {"verifiers": ["https://good/*"], "levels": ["SLSA_BUILD_LEVEL_2"]}},
        {"testResult": {"configurations": ["unit"]}},
        {"vex": {"require": [{"id": "CVE-1"}], "forbidStatuses": ["affected"]}},
        {"cel": [{"expression": "predicate.approved == true && predicate.names.all(n, n.matches('a.*'))"}]},
        {"jsonPath": [{"path": "$..approved", "oneOf": [True]}, {"path": "$.names[?@ == 'a']", "minCount": 1}]},
    )
)
_TYPES: Final = tuple(ALIASES.values())


def _predicate(data: bytes) -> None:
    """Every rule on every type the bytes could be said to be of; `evaluate` raises nothing."""
    kind = _TYPES[len(data) % len(_TYPES)]
    evaluate(_RULES[len(data) % len(_RULES)], kind, data)
    try:
        read = read_predicate(kind, data)
    except Mismatch:
        return
    for rule in _RULES:
        evaluate(rule, kind, read)
    builder_of(kind, read)
    commits_of(kind, read)


def _manifest(data: bytes) -> None:
    media_type_of(data)
    found = parse_manifest(data, "application/vnd.oci.image.manifest.v1+json" if len(data) % 3 else "")
    if isinstance(found, Index):
        child_of_platform(children_of(world.DIGEST, found), "linux/arm64")


def _challenge(data: bytes) -> None:
    for challenge in parse_challenges([text(data), "Basic"]):
        token_url(challenge, "team/app", plain_http=True)


def _documents(data: bytes) -> None:
    load_documents("f.yaml", text(data))
    read_trees("f.yaml", text(data), empty_values=True)


def _imported(name: str) -> Call:
    def call(data: bytes) -> None:
        sources = [("f.yaml", text(data))]
        IMPORTERS[name](sources, accept_weaker=bool(len(data) % 2))

    return call


def _glob(data: bytes) -> None:
    pattern = text(data)
    split_image(pattern)
    for dialect in get_args(Dialect):
        for over in get_args(Over):
            try:
                matches = compile_glob(pattern, dialect, over)
            except ValueError:
                continue
            matches("registry.example.com/payments/api:1.0")
            matches("a" * 200)
        why_never(pattern, dialect, "image")
        overreach(pattern, dialect)


def _root(format_: str) -> Call:
    return lambda data: window_note(read_root(format_, text(data)), T0)  # type: ignore[arg-type]  # one of the formats


def _packets(data: bytes) -> None:
    for packet in read_packets(data):
        for read in (read_signature, read_key):
            try:
                read(packet.body)
            except EvidenceError:
                continue


def _cel(data: bytes) -> None:
    check_cel(text(data))


def _json_path(data: bytes) -> None:
    path = check_path(text(data))
    select(path, Predicate("https://example.com/x", json.loads(seeds.seeds("predicate")[-1])))


def _key(data: bytes) -> None:
    key = public_key_from_spki(data)
    key.verify(b"\x30\x06\x02\x01\x01\x02\x01\x01", b"m")
    key.verify(b"\x01" * 256, b"m")


def _base64(data: bytes) -> None:
    for decode in (decode_base64, decode_any_base64, decode_spaced_base64):
        try:
            looks_like_signature(decode(text(data), "it", "signature-malformed"))
        except EvidenceError:
            continue


_POLICY = (PolicyError,)
_TRUST = (TrustError,)
_VALUE = (ValueError,)
_IMPORT = (PolicyError, WeakeningImport)

TARGETS: Final[dict[str, Target]] = {
    # DER
    "Der": Target(_der, "certificate", "der"),
    "load_certificate": Target(_certificate, "certificate", "der"),
    "load_pem_chain": Target(lambda data: load_pem_chain(text(data)), "certificates in PEM", "armor"),
    "signature_scheme": Target(signature_scheme, "algorithm", "der"),
    "read_crl": Target(lambda data: read_crl(data, _issuer()), "CRL", "der"),
    "read_ocsp": Target(lambda data: read_ocsp(data, _issuer(), instant=T0 + DAY), "OCSP", "der"),
    "names_revocation_source": Target(names_revocation_source, "certificate", "der"),
    "verify_scts": Target(_scts, "SCT list", "bytes"),
    "verify_timestamp, token": Target(lambda data: _timestamp(data, response=False), "timestamp token", "der"),
    "verify_timestamp, response": Target(lambda data: _timestamp(data, response=True), "timestamp response", "der"),
    # keys
    "load_public_key": Target(load_public_key, "key in PEM", "armor", _POLICY),
    "public_key_from_spki": Target(_key, "key in DER", "der", _POLICY),
    "public_key_pem": Target(lambda data: public_key_pem(text(data)), "key in PEM", "armor", (PolicyError, ValueError)),
    "split_public_keys": Target(
        lambda data: split_public_keys(text(data)), "key in PEM", "text", (PolicyError, ValueError), per_kib=DOCUMENT_MS
    ),
    "read_root_keys": Target(
        lambda data: read_root_keys(text(data)), "TUF root keys", "armor", _TRUST, per_kib=DOCUMENT_MS
    ),
    "base64": Target(_base64, "signature annotation", "bytes"),
    # JSON, CBOR, OpenPGP
    "loads_strict": Target(lambda data: loads_strict(data, limit=limits.ENVELOPE_BYTES), "bundle", "json"),
    "canonical": Target(lambda data: canonical(loads_strict(data, limit=limits.MIB)), "trust data", "json"),
    "decode_cbor": Target(lambda data: decode_cbor(data, limit=limits.MIB), "COSE", "cbor"),
    "read_packets": Target(_packets, "OpenPGP packets", "openpgp"),
    "read_keyring": Target(lambda data: read_keyring(text(data)), "OpenPGP ring", "armor", _TRUST, per_kib=DOCUMENT_MS),
    "read_checkpoint": Target(_checkpoint, "checkpoint", "text"),
    "bundle_entry": Target(_entry, "log entry", "json"),
    "annotation_entry": Target(lambda data: _check_entry(annotation_entry(text(data))), "log annotation", "json"),
    "check_body": Target(_body, "log entry body", "json"),
    "listed_digests": Target(listed_digests, "trust data", "json"),
    # evidence to facts: nothing may be raised
    "derive_fact, simple signing": Target(_derived("cosign-simplesigning"), "simple signing", "json", ()),
    "derive_fact, attestation": Target(_derived("cosign-dsse"), "envelope", "json", ()),
    "derive_fact, bundle": Target(_derived("sigstore-bundle"), "bundle", "json", ()),
    "derive_fact, JWS": Target(_derived("notation-jws"), "JWS", "json", ()),
    "derive_fact, COSE": Target(_derived("notation-cose"), "COSE", "cbor", ()),
    "derive_fact, OpenPGP": Target(_derived("openpgp-simplesigning"), "OpenPGP message", "openpgp", ()),
    "derive_fact, trust data": Target(_derived("tuf-trust-data"), "trust data", "json", ()),
    "annotation, signature": Target(_annotated("dev.cosignproject.cosign/signature"), "signature annotation", "bytes"),
    "annotation, certificate": Target(_annotated("dev.sigstore.cosign/certificate"), "certificate annotation", "armor"),
    "annotation, chain": Target(_annotated("dev.sigstore.cosign/chain"), "chain annotation", "armor"),
    "annotation, log": Target(_annotated("dev.sigstore.cosign/bundle"), "log annotation", "json"),
    "annotation, timestamp": Target(_annotated("dev.sigstore.cosign/rfc3161timestamp"), "timestamp annotation", "json"),
    # content rules
    "predicate": Target(_predicate, "predicate", "json", ()),
    "check_cel": Target(_cel, "CEL", "bytes", _VALUE),
    "check_path": Target(_json_path, "JSONPath", "bytes", (ValueError, Mismatch)),
    "check_licence_id": Target(lambda data: licences.check_licence_id(text(data)), "licence", "bytes", _VALUE),
    "parse_licence": Target(lambda data: licences.parse_licence(text(data)), "licence", "bytes", ()),
    "package_url": Target(lambda data: patterns.package_url(text(data)), "package URL", "bytes", ()),
    "check_pattern": Target(lambda data: patterns.check_pattern(text(data)), "package URL", "bytes", _VALUE),
    # trust roots
    "trusted_root.json": Target(_root("sigstore-trusted-root"), "trusted root", "json", _TRUST, per_kib=DOCUMENT_MS),
    "root, certificates": Target(_root("certificates"), "certificates in PEM", "armor", _TRUST, per_kib=DOCUMENT_MS),
    "root, notation": Target(_root("notation-ca"), "certificates in PEM", "armor", _TRUST, per_kib=DOCUMENT_MS),
    "root, timestamps": Target(_root("notation-tsa"), "certificates in PEM", "armor", _TRUST, per_kib=DOCUMENT_MS),
    "root, OpenPGP": Target(_root("openpgp"), "OpenPGP ring", "armor", _TRUST, per_kib=DOCUMENT_MS),
    "root, TUF": Target(_root("tuf-root-keys"), "TUF root keys", "armor", _TRUST, per_kib=DOCUMENT_MS),
    "source_note": Target(lambda data: source_note(text(data)), "trusted root", "json", ()),
    # registries
    "parse_manifest": Target(_manifest, "manifest", "json"),
    "parse_docker_config": Target(parse_docker_config, "Docker configuration", "json", (PlaceRefused,)),
    "parse_token": Target(parse_token, "token answer", "json", ()),
    "parse_challenges": Target(_challenge, "challenge", "bytes", ()),
    "parse_reference": Target(lambda data: parse_reference(text(data)), "reference", "bytes", (ImageReferenceError,)),
    "parse_quota": Target(lambda data: parse_quota(text(data)), "quota", "bytes", _VALUE),
    "parse_image_id": Target(lambda data: parse_image_id(text(data)), "image ID", "bytes", ()),
    "parse_instant": Target(lambda data: parse_instant(text(data)), "instant", "bytes", _VALUE),
    "parse_age": Target(lambda data: parse_age(text(data)), "instant", "bytes", ()),
    # policies
    "load_documents": Target(_documents, "revet documents", "text", (), per_kib=DOCUMENT_MS),
    "compile_glob": Target(_glob, "glob", "bytes", ()),
    "check_regex": Target(lambda data: check_regex(text(data)), "regex", "bytes", _VALUE),
    "parse_trusted_identity": Target(lambda data: parse_trusted_identity(text(data)), "subject", "bytes", _POLICY),
    "parse_subject": Target(lambda data: parse_subject(text(data)), "subject", "bytes", _VALUE),
    "detect": Target(lambda data: detect([("f", text(data))]), "policy of cip", "json", _POLICY, per_kib=DOCUMENT_MS),
    **{
        f"import, {name}": Target(_imported(name), f"policy of {name}", "json", _IMPORT, per_kib=POLICY_MS)
        for name in IMPORTERS
    },
    **{
        f"import, {name}, YAML": Target(_imported(name), f"policy of {name}", "text", _IMPORT, per_kib=POLICY_MS)
        for name in IMPORTERS
    },
}
"""Name -> parser."""
