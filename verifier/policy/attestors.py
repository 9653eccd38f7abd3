"""Attestors: the signers a policy knows by name, each of exactly one kind.

    dev:    {keys: [dev]}
    ci:     {keyless: {identities: [{issuer: "https://token.example.com", subjectPattern: "https://git.example.com/*"}]}}
    corp:   {certificates: {roots: [corp-ca], identities: [{subject: build@example.com}]}}
    notary: {notary: {stores: ["ca:corp", "tsa:corp"], identities: ["x509.subject: C=US, ST=WA, O=Example"]}}
    distro: {openpgp: {keyrings: [distro]}}
    hub:    {trustData: {roots: [hub]}}

Keys, roots and key rings are names in trust, or the text itself. This module says what is well-formed; whether a
signature is an attestor's is said by `verifier.policy.signers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from verifier.errors import PolicyError
from verifier.policy.fields import MAX_LIST_ENTRIES, MAX_NAME_CHARACTERS, UNPRINTABLE, check_window
from verifier.policy.identity import Identity
from verifier.policy.notary import actions_of, check_overlap, parse_trusted_identity
from verifier.policy.pem import is_pem, public_key_pem
from verifier.written import DOCUMENT, Instant, Model

Demand = Literal["required", "optional"]

PUBLIC_GOOD: Final = "sigstore-public-good"
"""Name of the trust root of the public Sigstore instance, which revet ships."""

MAX_ROOT_CHARACTERS: Final = 512 * 1024
"""Characters of a root given as text inside a policy. The public Sigstore root has 20,000."""

ATTESTOR_KINDS: Final = ("keys", "keyless", "certificates", "notary", "openpgp", "trustData")
"""Members of which an attestor has exactly one."""

_STORE: Final = re.compile(r"(ca|signingAuthority|tsa):[A-Za-z0-9_.-]{1,200}", re.ASCII)
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)

Texts = Annotated[tuple[str, ...], Field(max_length=MAX_LIST_ENTRIES)]


def _key(key: str) -> str:
    if is_pem(key):
        return public_key_pem(key)
    if not key or len(key) > MAX_NAME_CHARACTERS or UNPRINTABLE.search(key):
        raise ValueError("a key is the name of a key in the trust ring, or a whole PUBLIC KEY block in PEM")
    return key


def _roots(roots: tuple[str, ...]) -> tuple[str, ...]:
    for root in roots:
        if "PRIVATE KEY" in root:
            raise ValueError("this is a private key; revet never needs one. Give the public part; treat this as leaked")
        inline = is_pem(root)
        limit = MAX_ROOT_CHARACTERS if inline else MAX_NAME_CHARACTERS
        if not root or len(root) > limit or (not inline and UNPRINTABLE.search(root)):
            raise ValueError("a root is the name of a trust root (`revet trust show`), or its text in PEM or armor")
    return roots


class Keyless(Model):
    """Short-lived certificates for an identity (Fulcio), a log entry, and a proven time within the certificate's."""

    identities: Annotated[tuple[Identity, ...], Field(max_length=MAX_LIST_ENTRIES)]
    roots: Texts = (PUBLIC_GOOD,)
    log: Demand = "required"
    """An entry in a transparency log of the root, about this signature. Times come from it or from a timestamp."""
    sct: Demand = "required"
    """The certificate stands in a CT log of the root."""

    @field_validator("identities")
    @classmethod
    def _somebody(cls, identities: tuple[Identity, ...]) -> tuple[Identity, ...]:
        if not identities:
            raise ValueError("keyless without identities would accept anybody; name who may sign")
        if not all(identity.names_issuer for identity in identities):
            raise ValueError("a keyless identity names its issuer; without it any identity provider could vouch for it")
        return identities

    _roots_are_sound = field_validator("roots")(_roots)


class Certificates(Model):
    """Certificates of a CA of one's own ("bring your own PKI")."""

    roots: Texts
    identities: Annotated[tuple[Identity, ...], Field(max_length=MAX_LIST_ENTRIES)] = ()
    """Who; empty needs `anyone`."""
    anyone: bool = False
    """Everybody the CA certifies for code signing may sign. Has to be said."""
    fingerprints: Texts = ()
    """Hex SHA-256 of certificates (DER): only these."""
    log: Demand = "optional"
    timestamp: Demand = "optional"
    """A timestamp of a known authority. Without one the certificate has to be valid while the image is judged."""
    sct: Demand = "optional"

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.roots:
            raise ValueError("certificates without roots can never lead anywhere; name a trust root")
        if not (self.identities or self.fingerprints or self.anyone):
            raise ValueError("without identities or fingerprints anybody certified may sign; say anyone: true")
        if any(_FINGERPRINT.fullmatch(text) is None for text in self.fingerprints):
            raise ValueError("a fingerprint is the SHA-256 of the certificate in lower-case hex")
        return self

    _roots_are_sound = field_validator("roots")(_roots)


class Notary(Model):
    """Notary Project signatures (trust-store-trust-policy specification)."""

    stores: Texts
    """`ca:NAME`, `signingAuthority:NAME`, `tsa:NAME`: trust stores, which are trust roots of those names."""
    identities: Texts
    """`*`, or `x509.subject: C=…, ST=…, O=…`."""
    level: Literal["strict", "permissive", "audit"] = "strict"
    override: dict[
        Literal["authenticity", "authenticTimestamp", "expiry", "revocation"], Literal["enforce", "log", "skip"]
    ] = Field(default={})
    verify_timestamp: Literal["always", "afterCertExpiry"] = Field(default="always", alias="verifyTimestamp")
    revocation_mode: Literal["specification", "notation"] = Field(default="specification", alias="revocationMode")
    """`specification`: a timestamp before the invalidity date keeps a signature good under either scheme; `notation`:
    only under `notary.x509.signingAuthority`, as notation 1.3 does it."""

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if not any(not store.startswith("tsa:") for store in self.stores):
            raise ValueError("name at least one store ca:NAME or signingAuthority:NAME; a tsa store signs no images")
        if any(_STORE.fullmatch(store) is None for store in self.stores):
            raise ValueError("a store is ca:NAME, signingAuthority:NAME or tsa:NAME")
        if not self.identities:
            raise ValueError('notary without identities accepts nobody; name them, or "*" for everybody in the stores')
        try:
            check_overlap([parse_trusted_identity(text) for text in self.identities])
            actions_of(self.level, dict[str, str](self.override.items()))
        except PolicyError as error:
            raise ValueError(error.message) from error
        return self


class OpenPgp(Model):
    """OpenPGP simple signing (containers-signature.5)."""

    keyrings: Texts
    """Names of key rings in trust, or armored public keys."""
    fingerprints: Texts = ()
    """Hex key ids (SPKI SHA-256) or OpenPGP v4 fingerprints: only these. Empty: every key of the rings."""

    @field_validator("keyrings")
    @classmethod
    def _given(cls, keyrings: tuple[str, ...]) -> tuple[str, ...]:
        if not keyrings:
            raise ValueError("openpgp without keyrings can never have signed anything")
        return _roots(keyrings)


class TrustData(Model):
    """Docker Content Trust: stored TUF metadata under pinned root keys."""

    roots: Texts
    delegations: Texts = ()
    """Every one of these delegation roles must have signed the tag; empty: `targets` or any delegation."""

    @field_validator("roots")
    @classmethod
    def _given(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        if not roots:
            raise ValueError("trustData without roots trusts nobody; pin a root key")
        return _roots(roots)


class Attestor(Model):
    """A signer by name: exactly one kind. With several keys, identities or roots any one of them will do."""

    keys: tuple[str, ...] = Field(default=(), max_length=MAX_LIST_ENTRIES)
    """Names in the trust ring, or PEM text."""
    keyless: Keyless | None = None
    certificates: Certificates | None = None
    notary: Notary | None = None
    openpgp: OpenPgp | None = None
    trust_data: TrustData | None = Field(default=None, alias="trustData")
    valid_from: Instant | None = Field(default=None, alias="validFrom")
    valid_until: Instant | None = Field(default=None, alias="validUntil")
    """Closed window judged at the proven signing time. Written as RFC 3339, held as microseconds."""
    repository_claim: bool = Field(default=False, alias="repositoryClaim")
    """Also demand that the signed payload names the repository it is found in (stops cross-repository replay).
    Only simple signing carries such a claim; a bundle does not, and so does not count for this attestor."""
    log: Demand = "optional"
    """For `keys`: demand an entry about this signature in a transparency log of a trust root."""

    @field_validator("keys")
    @classmethod
    def _keys_are_named_or_pem(cls, keys: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not keys and info.context == DOCUMENT:  # the trust log writes out what is empty
            raise ValueError("an attestor without keys can never have signed anything; name at least one key")
        return tuple(_key(key) for key in keys)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name, value in zip(ATTESTOR_KINDS, self._kinds(), strict=True) if value]
        if not given:
            raise ValueError(f"an attestor names who signs; write one of {', '.join(ATTESTOR_KINDS)}")
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} stand side by side; make them attestors of their own")
        if self.log == "required" and not self.keys:
            raise ValueError("log stands beside keys; other kinds have a log member of their own")
        check_window(self.valid_from, self.valid_until)
        return self

    def _kinds(self) -> tuple[object, ...]:
        return (self.keys, self.keyless, self.certificates, self.notary, self.openpgp, self.trust_data)

    @property
    def root_texts(self) -> tuple[str, ...]:
        """Names of trust roots, or their text, that this attestor rests on."""
        return tuple(self._roots())

    def _roots(self) -> Iterator[str]:
        for part in (self.keyless, self.certificates, self.trust_data):
            yield from part.roots if part is not None else ()
        yield from self.notary.stores if self.notary is not None else ()
        yield from self.openpgp.keyrings if self.openpgp is not None else ()
