"""What a certificate is worth: who it says it was made for, and which authority it leads to.

    leaf = load_certificate(der)
    read_leaf(leaf).issuer                       "https://token.actions.githubusercontent.com"
    find_chains(leaf, given, material.used_for("signing"), "code-signing")      (claims, why there is none)

An anchor is never found in evidence: given certificates only help on the way. Windows are not judged, revocation is not
asked (claims say what both need). Name constraints are not understood: a certificate that insists on them is refused,
except under the Notary Project's rules, which honour three extensions and forbid to look at the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

from verifier.errors import EvidenceError
from verifier.evidence.certificates import (
    ALTERNATIVE_NAME,
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    MALFORMED,
    Certificate,
    load_certificate,
    load_pem_chain,
)
from verifier.evidence.content import excerpt
from verifier.evidence.der import OID, SEQUENCE, UTF8_STRING, Der, Node, finished, required
from verifier.evidence.limits import CERTIFICATES, NAME_CHARACTERS
from verifier.evidence.material import Authority
from verifier.models import ChainClaim, LeafCertificate

__all__ = [
    "FULCIO_EXTENSIONS",
    "Certificate",
    "Profile",
    "ca_keys",
    "chain_to",
    "find_chains",
    "load_certificate",
    "load_pem_chain",
    "read_leaf",
]

Profile = Literal["code-signing", "notation", "timestamping"]
"""What is asked of the certificates; see `leaf_problem` and `_ca_problem`."""

ALTERNATIVE_NAMES: Final = 32
"""Names read from one certificate. A signer has one; each is compared with each identity of a policy."""

CHAIN_SIGNATURES: Final = 16
"""Signatures checked in one search for chains: loops of same-named CAs would otherwise cost one for each path."""

_EDGES_CACHED: Final = 512
"""Pairs of CA certificates kept, with the answer whether one signed the other."""

# ------------------------------------------------------------------------------------------------------------ identity

_FULCIO: Final = "1.3.6.1.4.1.57264.1"

FULCIO_EXTENSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        f"{_FULCIO}.1": "issuer",
        f"{_FULCIO}.2": "githubWorkflowTrigger",
        f"{_FULCIO}.3": "githubWorkflowSHA",
        f"{_FULCIO}.4": "githubWorkflowName",
        f"{_FULCIO}.5": "githubWorkflowRepository",
        f"{_FULCIO}.6": "githubWorkflowRef",
        f"{_FULCIO}.8": "issuerV2",
        f"{_FULCIO}.9": "buildSignerURI",
        f"{_FULCIO}.10": "buildSignerDigest",
        f"{_FULCIO}.11": "runnerEnvironment",
        f"{_FULCIO}.12": "sourceRepositoryURI",
        f"{_FULCIO}.13": "sourceRepositoryDigest",
        f"{_FULCIO}.14": "sourceRepositoryRef",
        f"{_FULCIO}.15": "sourceRepositoryIdentifier",
        f"{_FULCIO}.16": "sourceRepositoryOwnerURI",
        f"{_FULCIO}.17": "sourceRepositoryOwnerIdentifier",
        f"{_FULCIO}.18": "buildConfigURI",
        f"{_FULCIO}.19": "buildConfigDigest",
        f"{_FULCIO}.20": "buildTrigger",
        f"{_FULCIO}.21": "runInvocationURI",
        f"{_FULCIO}.22": "sourceRepositoryVisibilityAtSigning",
        f"{_FULCIO}.23": "deploymentEnvironment",
        f"{_FULCIO}.24": "tokenSubject",
    }
)
"""Dotted OID -> name, after Fulcio's docs/oid-info.md. The first six are raw text, the others DER UTF8String."""

_RAW: Final = frozenset(f"{_FULCIO}.{arc}" for arc in range(1, 7))
_USER_NAME: Final = f"{_FULCIO}.7"
_TEXT_NAMES: Final = {0x81: "e-mail", 0x82: "DNS", 0x86: "URI"}
_OTHER_NAME: Final = 0xA0


def read_leaf(certificate: Certificate) -> LeafCertificate:
    """Who the certificate says it was made for (Fulcio docs/oid-info.md; RFC 5280 section 4.2.1.6).

    The OIDC issuer is extension .8, or .1 where .8 is absent. General names of other kinds are not read.

    Raises:
        EvidenceError: `certificate-malformed`: .8 and .1 differ, a text in the wrong form, an empty name or one with
            control characters; `limit-exceeded`: too many names, or too long.
    """
    values = {
        name: _fulcio_text(oid, certificate.extensions[oid].value)
        for oid, name in FULCIO_EXTENSIONS.items()
        if oid in certificate.extensions
    }
    issuer, old_issuer = values.get("issuerV2"), values.get("issuer")
    if issuer is not None and old_issuer is not None and issuer != old_issuer:
        raise EvidenceError(
            MALFORMED, f"two OIDC issuers: {excerpt(issuer)} and, in the old form, {excerpt(old_issuer)}"
        )
    return LeafCertificate(
        sha256=certificate.sha256,
        key_id=certificate.key_id,
        serial=certificate.serial,
        subject=certificate.subject,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        issuer=issuer or old_issuer or "",
        sans=_alternative_names(certificate),
        extensions=tuple(sorted(values.items())),
    )


def _fulcio_text(oid: str, value: bytes) -> str:
    doc = Der(value, MALFORMED)
    whole = (0, 0, 0, len(value)) if oid in _RAW else doc.root(UTF8_STRING)
    return _bounded(doc.text(whole, FULCIO_EXTENSIONS[oid]), FULCIO_EXTENSIONS[oid])


def _bounded(text: str, what: str) -> str:
    if len(text) > NAME_CHARACTERS:
        raise EvidenceError("limit-exceeded", f"{what} of {len(text)} characters, limit {NAME_CHARACTERS}")
    return text


def _alternative_names(certificate: Certificate) -> tuple[str, ...]:
    extension = certificate.extensions.get(ALTERNATIVE_NAME)
    if extension is None:
        return ()
    doc = Der(extension.value, MALFORMED)
    nodes = doc.children(doc.root(SEQUENCE))
    if len(nodes) > ALTERNATIVE_NAMES:
        raise EvidenceError("limit-exceeded", f"{len(nodes)} alternative names, limit {ALTERNATIVE_NAMES}")
    return tuple(name for node in nodes for name in _alternative_name(doc, node))


def _alternative_name(doc: Der, node: Node) -> Iterator[str]:
    """The text of one GeneralName, if it is of a kind that names a signer."""
    if node[0] in _TEXT_NAMES:
        text = doc.text(node, f"an alternative name of kind {_TEXT_NAMES[node[0]]}")
        if not text.isascii():  # IA5String; what is outside it would be shown as something it is not
            raise doc.refuse("an alternative name that is not ASCII")
    elif node[0] == _OTHER_NAME:
        parts = doc.children(node)
        if doc.oid(required(parts, OID, doc, "type-id of an other name")) != _USER_NAME:
            return
        wrapper = required(parts, 0xA0, doc, "value of an other name")
        finished(parts, doc, "an other name")
        text = doc.text(doc.only_child(wrapper, UTF8_STRING, "user name"), "user name")
    else:
        return
    if not text or any(c < " " or c == "\x7f" for c in text):  # a NUL once made `good.example\0evil` match
        raise doc.refuse("an alternative name that is empty or has control characters")
    yield _bounded(text, "an alternative name")


# -------------------------------------------------------------------------------------------------------------- usages

_DIGITAL_SIGNATURE: Final = 1
_CONTENT_COMMITMENT: Final = 2
_KEY_CERT_SIGN: Final = 1 << 5

_ANY_PURPOSE: Final = "2.5.29.37.0"
_CODE_SIGNING: Final = "1.3.6.1.5.5.7.3.3"
_TIMESTAMPING: Final = "1.3.6.1.5.5.7.3.8"
_PURPOSES: Final = {"code-signing": _CODE_SIGNING, "timestamping": _TIMESTAMPING}

_NOTATION_FORBIDS: Final = frozenset(
    {_ANY_PURPOSE, _TIMESTAMPING, *(f"1.3.6.1.5.5.7.3.{arc}" for arc in (1, 2, 4, 9))}  # servers, clients, mail, OCSP
)

_UNDERSTOOD: Final = frozenset({BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE, ALTERNATIVE_NAME, "2.5.29.32"})
"""Extensions that may be critical. The last one, certificatePolicies, says under which policies a CA issued; with no
policy asked for, every set of them is acceptable (RFC 5280 section 6.1.1, user-initial-policy-set any-policy)."""


def leaf_problem(leaf: Certificate, profile: Profile) -> str:
    """Why this certificate may not sign what the profile is about; empty when it may.

    * code-signing (Fulcio, own CAs): KeyUsage digitalSignature, ExtendedKeyUsage codeSigning.
    * notation (Notary Project signature specification, certificate requirements): KeyUsage critical, digitalSignature
      and at most contentCommitment beside it; none of the forbidden purposes.
    * timestamping (RFC 3161 section 2.3): ExtendedKeyUsage critical and timeStamping alone.
    """
    usage = leaf.usage
    if usage.ca:
        return "the signing certificate is a CA"
    if profile == "notation":
        return _notation_leaf_problem(leaf)
    if unknown := _unknown_critical(leaf):
        return f"the signing certificate has a critical extension {unknown} that is not understood"
    bits = usage.key_usage
    if profile == "timestamping":
        if not _is_timestamping(leaf):
            return "ExtendedKeyUsage of the signing certificate is not timeStamping alone, and critical"
        if bits is not None and not bits & (_DIGITAL_SIGNATURE | _CONTENT_COMMITMENT):
            return "KeyUsage of the signing certificate lacks digitalSignature"
        return ""
    if usage.extended is None or _CODE_SIGNING not in usage.extended:
        return "ExtendedKeyUsage of the signing certificate lacks codeSigning"
    if bits is None or not bits & _DIGITAL_SIGNATURE:
        return "KeyUsage of the signing certificate lacks digitalSignature"
    return ""


def _is_timestamping(certificate: Certificate) -> bool:
    """Whether this is a timestamp authority's leaf: ExtendedKeyUsage critical and timeStamping alone, and no CA."""
    purpose = certificate.extensions.get(EXTENDED_KEY_USAGE)
    alone = certificate.usage.extended == frozenset({_TIMESTAMPING})
    return purpose is not None and purpose.critical and alone and not certificate.usage.ca


def _notation_leaf_problem(leaf: Certificate) -> str:
    bits = leaf.usage.key_usage
    if bits is None or not leaf.extensions[KEY_USAGE].critical:
        return "KeyUsage of the signing certificate is absent or not critical"
    if not bits & _DIGITAL_SIGNATURE or bits & ~(_DIGITAL_SIGNATURE | _CONTENT_COMMITMENT):
        return "KeyUsage of the signing certificate is not digitalSignature alone"
    if leaf.usage.extended and leaf.usage.extended & _NOTATION_FORBIDS:
        return "ExtendedKeyUsage of the signing certificate has a purpose that the Notary Project forbids"
    return ""


def _ca_problem(ca: Certificate, below: int, profile: Profile) -> str:
    """Why `ca` may not have issued what is below it; empty when it may (RFC 5280 section 6.1.4).

    Args:
        ca: the issuer, anchors included: a root that limits its paths is taken at its word.
        below: CA certificates between it and the leaf that count for the path length.
        profile: the Notary Project wants BasicConstraints and KeyUsage critical; the others want the purposes of a CA,
            where it states any, to include theirs.
    """
    usage = ca.usage
    if not usage.ca:
        return f"{excerpt(ca.subject)} is no CA"
    if usage.path_length is not None and below > usage.path_length:
        return f"{excerpt(ca.subject)} allows {usage.path_length} CAs below it, found {below}"
    if usage.key_usage is not None and not usage.key_usage & _KEY_CERT_SIGN:
        return f"KeyUsage of {excerpt(ca.subject)} lacks keyCertSign"
    if profile == "notation":
        marked = (ca.extensions.get(KEY_USAGE), ca.extensions.get(BASIC_CONSTRAINTS))
        honoured = all(extension is not None and extension.critical for extension in marked)
        return "" if honoured else f"BasicConstraints and KeyUsage of {excerpt(ca.subject)} are not both critical"
    if unknown := _unknown_critical(ca):
        return f"{excerpt(ca.subject)} has a critical extension {unknown} that is not understood"
    if usage.extended is not None and not usage.extended & {_PURPOSES[profile], _ANY_PURPOSE}:
        return f"ExtendedKeyUsage of {excerpt(ca.subject)} does not allow {profile}"
    return ""


def _unknown_critical(certificate: Certificate) -> str:
    extensions = certificate.extensions.items()
    return next((oid for oid, extension in extensions if extension.critical and oid not in _UNDERSTOOD), "")


# -------------------------------------------------------------------------------------------------------------- chains

_UNRELATED: Final = "no certificate of the authority issued it"


def chain_to(
    leaf: Certificate, given: Sequence[Certificate], authority: Authority, profile: Profile
) -> ChainClaim | str:
    """The chain from `leaf` to the authority's last certificate, its anchor; or why there is none.

    Every signature, name, usage and constraint on the way is checked; the time is not. `valid_from` and `valid_until`
    of the claim bound the instants at which every certificate is valid, **the anchor included**: the Sigstore client
    specification wants a time at which every certificate of the chain is, and the Notary Project checks all of them.

    Args:
        leaf: the signing certificate.
        given: certificates that came with the evidence: helpers, never anchors. Under "notation" they are the rest of
            the chain in its order, up to a self-signed root, and the claim's bounds cover all of it.
        authority: its certificates before the last are trusted as helpers, if they chain to it.
        profile: see `leaf_problem`.
    """
    return _chain(leaf, given, authority, profile, _Edges())


def ca_keys(authority: Authority) -> tuple[str, ...]:
    """Key ids of an authority's certificates."""
    return tuple(load_certificate(der).key_id for der in authority.certificates)


def find_chains(
    leaf: Certificate, given: Sequence[Certificate], authorities: Iterable[Authority], profile: Profile
) -> tuple[tuple[ChainClaim, ...], str]:
    """(the chains to each authority that has one, why there is none): `chain_to` for all; one of the two is empty."""
    edges = _Edges()
    claims, reason = [], ""
    for authority in authorities:
        found = _chain(leaf, given, authority, profile, edges)
        if isinstance(found, ChainClaim):
            claims.append(found)
        elif not reason or reason == _UNRELATED:  # the first that came further than comparing names says most
            reason = found
    if claims:
        return tuple(claims), ""
    return (), reason.replace(_UNRELATED, f"no known authority is its issuer {excerpt(leaf.issuer)}") or (
        "no authority is known"
    )


class _Edges:
    """The signatures of one search: each is checked once, and no more than `CHAIN_SIGNATURES` of them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], bool] = {}

    @property
    def exhausted(self) -> bool:
        return len(self._known) >= CHAIN_SIGNATURES

    def good(self, child: Certificate, issuer: Certificate) -> bool:
        pair = (child.sha256, issuer.sha256)
        known = self._known.get(pair)
        if known is None:
            if self.exhausted:
                return False
            known = _ca_signed(child, issuer) if child.usage.ca else child.signed_by(issuer)
            self._known[pair] = known
        return known


@lru_cache(maxsize=_EDGES_CACHED)
def _ca_signed(child: Certificate, issuer: Certificate) -> bool:
    """Kept: CAs repeat. Leaves do not, and would push the CAs out."""
    return child.signed_by(issuer)


def _chain(
    leaf: Certificate, given: Sequence[Certificate], authority: Authority, profile: Profile, edges: _Edges
) -> ChainClaim | str:
    if len(given) > CERTIFICATES:
        return f"{len(given)} certificates given, limit {CERTIFICATES}"
    try:
        own = _own_certificates(authority.certificates)
    except EvidenceError as error:
        return f"the authority's certificates cannot be used: {error}"
    if not own:
        return "the authority has no certificates, or too many"
    if problem := leaf_problem(leaf, profile):
        return problem
    if profile == "notation":
        return _given_chain((leaf, *(c for c in given if c != leaf)), own[-1], authority.id, edges)
    if profile == "timestamping" and leaf == own[-1]:
        return _claim(authority.id, (leaf,), (leaf,))  # pinned by itself
    search = _Search(own, given, profile, edges)
    path = search.path_from((leaf,))
    return _claim(authority.id, path, path) if path else search.problem


@lru_cache(maxsize=256)
def _own_certificates(ders: tuple[bytes, ...]) -> tuple[Certificate, ...]:
    return tuple(load_certificate(der) for der in ders) if len(ders) <= CERTIFICATES else ()


def _claim(authority: str, path: tuple[Certificate, ...], judged: tuple[Certificate, ...]) -> ChainClaim:
    """The claim for leaf..anchor; `judged` are the certificates whose windows count."""
    return ChainClaim(
        authority=authority,
        valid_from=max(certificate.not_before for certificate in judged),
        valid_until=min(certificate.not_after for certificate in judged),
        key_ids=tuple(certificate.key_id for certificate in path[1:]) or (path[0].key_id,),
        serials=tuple(f"{issuer.key_id}:{path[i].serial}" for i, issuer in enumerate(path[1:])),
    )


class _Search:
    """Depth first from the leaf to one anchor, over the authority's certificates, then the given ones."""

    def __init__(
        self, own: tuple[Certificate, ...], given: Sequence[Certificate], profile: Profile, edges: _Edges
    ) -> None:
        self._anchor = own[-1]
        helpers = (*own[-2::-1], *(certificate for certificate in given if not certificate.self_issued))
        self._pool = tuple(dict.fromkeys((self._anchor, *helpers)))
        self._profile = profile
        self._edges = edges
        self.problem = _UNRELATED

    def path_from(self, path: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
        """The path, continued to the anchor; empty when it cannot be (RFC 5280 section 6.1)."""
        child = path[-1]
        for issuer in self._pool:
            if issuer.subject_name != child.issuer_name or issuer in path:
                continue
            self._note(problem := self._edge_problem(path, issuer))
            if problem:
                continue
            longer = (*path, issuer)
            if issuer == self._anchor:
                return longer
            if found := self.path_from(longer):
                return found
        return ()

    def _edge_problem(self, path: tuple[Certificate, ...], issuer: Certificate) -> str:
        if len(path) >= CERTIFICATES:
            return f"a chain of more than {CERTIFICATES} certificates"
        below = sum(1 for ca in path[1:] if not ca.self_issued)
        if problem := _ca_problem(issuer, below, self._profile):
            return problem
        if self._edges.good(path[-1], issuer):
            return ""
        if self._edges.exhausted:
            return f"more than {CHAIN_SIGNATURES} signatures to check"
        return f"the signature of {excerpt(issuer.subject)} on the certificate is not good"

    def _note(self, problem: str) -> None:
        if self.problem == _UNRELATED and problem:
            self.problem = problem


def _given_chain(
    chain: tuple[Certificate, ...], anchor: Certificate, authority: str, edges: _Edges
) -> ChainClaim | str:
    """A chain as the Notary Project wants it: complete, in order, self-signed at its end, the anchor anywhere above.

    A single self-signed certificate that is the anchor itself is a chain too.
    """
    place = chain.index(anchor) if anchor in chain else -1
    if place < 0 or (place == 0 and len(chain) > 1):
        return _UNRELATED
    root = chain[-1]
    if len(chain) > CERTIFICATES:
        return f"a chain of more than {CERTIFICATES} certificates"
    if any(certificate.self_issued for certificate in chain[:-1]) or not root.self_issued:
        return "the chain does not end with its one self-signed certificate"
    for below, child in enumerate(chain):
        issuer = chain[min(below + 1, len(chain) - 1)]
        if issuer is not child and (problem := _ca_problem(issuer, below, "notation")):
            return problem
        if child.issuer_name != issuer.subject_name:
            return f"{excerpt(issuer.subject)} is not the issuer that stands in the certificate below it"
        if not edges.good(child, issuer):
            return f"the signature of {excerpt(issuer.subject)} on the certificate is not good"
    return _claim(authority, chain[: place + 1], chain)
