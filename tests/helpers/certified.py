"""A world whose images are signed with certificates: facts are made by hand, as the verifier would have derived them.

world = CertifiedWorld()
world.root("sigstore", sigstore_root())
api = world.keyless("registry.example.com/pay/api:1", CI)
world.trust(keyless_policy("pay", CI))
world.send(world.pod("pay", "api-1", {"app": api}))
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from streams.events import EvidenceFound, TrustChanged
from tests.helpers.pki import Ca, pem
from tests.helpers.recorded import RecordedWorld
from tests.helpers.rekor import MemoryLog, b64
from tests.helpers.world import START, World, digest_of
from verifier.canonical import canonical_json, stable_id
from verifier.content.evaluate import rule_id
from verifier.content.model import ContentRule
from verifier.content.predicates import predicate_uri
from verifier.evidence.material import RootFormat
from verifier.models import (
    ChainClaim,
    DigestClosure,
    EvidenceSet,
    Fact,
    LeafCertificate,
    LogClaim,
    PlaceAsked,
    RuleClaim,
    TimeClaim,
)
from verifier.policy.attestors import Attestor
from verifier.policy.identity import Identity
from verifier.policy.model import MatchRule, Policy, Requirement, with_version
from verifier.reference import parse_reference
from verifier.times import DAY, MINUTE
from verifier.trust.records import RootPut, TrustRecord
from verifier.trust.roots import read_root

ISSUER = "https://token.example.com"
CI = "https://git.example.com/pay/api/ci.yml@refs/heads/main"
OTHER = "https://git.example.com/pay/tools/release.yml@refs/heads/main"
BUILDER = "https://git.example.com/builders/go@v2"
COMMIT = "c" * 40
PROVENANCE = "https://slsa.dev/provenance/v1"
RULE = ContentRule.model_validate({"slsa": {"builders": ["https://git.example.com/**"]}})
RULE_ID = rule_id(RULE, (predicate_uri(PROVENANCE),))

FULCIO = Ca.root("fulcio").intermediate("fulcio-issuing")
CORP = Ca.root("corp")
REKOR, SECOND = MemoryLog("rekor.example"), MemoryLog("rekor2.example", key_type="p384")


def sigstore_root(*, until: str = "", logs: tuple[MemoryLog, ...] = (REKOR, SECOND)) -> str:
    """A Sigstore root with one CA (which ends `until`) and transparency logs."""
    window = {"start": "2025-01-01T00:00:00Z"} | ({"end": until} if until else {})
    chain = {"certificates": [{"rawBytes": b64(der)} for der in FULCIO.chain]}
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                {
                    "baseUrl": f"https://{log.host}",
                    "hashAlgorithm": "SHA2_256",
                    "publicKey": {
                        "rawBytes": b64(log.spki),
                        "keyDetails": "PKIX_ECDSA_P384_SHA_384" if log is SECOND else "PKIX_ECDSA_P256_SHA_256",
                        "validFor": {"start": "2025-01-01T00:00:00Z"},
                    },
                    "logId": {"keyId": b64(bytes.fromhex(log.id))},
                }
                for log in logs
            ],
            "ctlogs": [],
            "certificateAuthorities": [{"uri": "https://ca.example", "certChain": chain, "validFor": window}],
            "timestampAuthorities": [],
        }
    )


CORP_ROOT = pem(CORP.certificate)


def authority(format_: RootFormat, content: str) -> str:
    """Id of the only authority of a root."""
    (found,) = read_root(format_, content).authorities
    return found.id


SIGSTORE_AUTHORITY = authority("sigstore-trusted-root", sigstore_root())
CORP_AUTHORITY = authority("certificates", CORP_ROOT)


def keyless_policy(
    name: str, *subjects: str, attested: bool = False, rule: ContentRule | None = None, images: str = "**"
) -> Policy:
    """Signed (or, with `attested`, also attested) by one of these identities; patterns hold a `*`."""
    identities = [
        {"issuer": ISSUER, "subjectPattern" if "*" in subject else "subject": subject} for subject in subjects
    ]
    attestor = Attestor.model_validate(
        {"keyless": {"identities": identities, "roots": ["sigstore"], "sct": "optional"}}
    )
    signed = Requirement(signed_by="ci")
    stated = Requirement(attested_by="ci", predicate_type=PROVENANCE, rule=rule)
    return with_version(
        Policy(
            id=name,
            match=(MatchRule(images=(images,)),),
            attestors={"ci": attestor},
            require=Requirement(all=(signed, stated)) if attested else signed,
        )
    )


def corp_policy(name: str, **demands: str) -> Policy:
    """Signed with any certificate of the corporate CA."""
    attestor = Attestor.model_validate({"certificates": {"roots": ["corp"], "anyone": True, **demands}})
    return with_version(
        Policy(
            id=name,
            match=(MatchRule(images=("**",)),),
            attestors={"corp": attestor},
            require=Requirement(signed_by="corp"),
        )
    )


def identity_subject(subject: str) -> str:
    """The subject of a revocation of an identity."""
    return Identity(issuer=ISSUER, subject=subject).model_dump_json(by_alias=True, exclude_defaults=True)


@dataclass
class CertifiedWorld(World):
    """One shard whose evidence comes as facts."""

    made: dict[tuple[str, str], list[Fact]] = field(default_factory=dict)

    def record(self, record: TrustRecord) -> None:
        """Append one trust record, written without members at their default, and let the sweep finish."""
        epoch = self.state.trust.epoch + 1
        plain = record.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"kind": record.kind}
        value = canonical_json(plain)
        self.send(TrustChanged(stable_id("trust", epoch, value.decode()), self.now, epoch, value))

    def root(self, name: str, content: str, format_: RootFormat = "sigstore-trusted-root") -> None:
        """Put a trust root in force."""
        self.record(RootPut(author="test", at=self.now, name=name, format=format_, content=content))

    def keyless(
        self,
        reference: str,
        subject: str,
        *,
        at: int = -1,
        kind: Literal["signature", "attestation"] = "signature",
        log: MemoryLog = REKOR,
        index: int = 7,
        builder: str = "",
        commits: tuple[str, ...] = (),
        holds: bool = True,
        content: str = "",
        authority_id: str = SIGSTORE_AUTHORITY,
        by_log: bool = True,
    ) -> tuple[str, str]:
        """An image signed with a certificate for `subject`, logged `at` (-1: now), or with `by_log` not logged."""
        digest = digest_of(content or reference)
        repository = parse_reference(reference).repository
        time = self.now if at == -1 else at
        evidence = "sha256:" + hashlib.sha256(repr((digest, subject, kind, time, log.id, index)).encode()).hexdigest()
        leaf_key = hashlib.sha256(evidence.encode()).hexdigest()
        leaf = LeafCertificate(
            sha256=hashlib.sha256(f"leaf {evidence}".encode()).hexdigest(),
            key_id=leaf_key,
            serial=leaf_key[:16],
            subject="",
            not_before=time - MINUTE if by_log else START - 400 * DAY,
            not_after=time + 9 * MINUTE if by_log else START + 400 * DAY,
            issuer=ISSUER if authority_id == SIGSTORE_AUTHORITY else "",
            sans=(subject,),
            extensions=(("sourceRepositoryDigest", COMMIT),) if authority_id == SIGSTORE_AUTHORITY else (),
        )
        ca = FULCIO if authority_id == SIGSTORE_AUTHORITY else CORP
        chain = ChainClaim(
            authority=authority_id,
            valid_from=leaf.not_before,
            valid_until=leaf.not_after,
            key_ids=(ca.key_id,),
            serials=(f"{ca.key_id}:{leaf.serial}",),
        )
        fact = Fact(
            id=stable_id("fact", evidence, "", "1"),
            evidence_id=evidence,
            format="sigstore-bundle",
            kind=kind,
            repository=repository,
            subject=digest,
            subjects=(digest,),
            verified_by=(),
            keyset="",
            predicate_type=PROVENANCE if kind == "attestation" else "",
            certificate=leaf,
            chains=(chain,),
            logs=(LogClaim(log.id, "hashedrekord/0.0.1", index, True, True, time),) if by_log else (),
            times=(TimeClaim("set", "attested", time, log.id),) if by_log else (),
            rules=(
                RuleClaim(rule_id(RULE, (predicate_uri(PROVENANCE),)), holds, "" if holds else "builder is strange"),
            )
            if kind == "attestation"
            else (),
            builder=builder,
            commits=commits,
        )
        self.made.setdefault((repository, digest), []).append(fact)
        self.seen.setdefault(evidence, self.now)
        return reference, digest

    def corporate(self, reference: str, subject: str = "build@corp.example", **more: object) -> tuple[str, str]:
        """An image signed with a certificate of the corporate CA, without log or timestamp."""
        return self.keyless(reference, subject, authority_id=CORP_AUTHORITY, by_log=False, **more)  # type: ignore[arg-type]  # its own

    def fetch(self, repository: str, digest: str) -> EvidenceFound:
        """What the fetcher would answer now: chains and rules as far as trust knows them."""
        if (repository, digest) in self.evidence:
            return super().fetch(repository, digest)
        facts = tuple(self._derived(fact) for fact in self.made.get((repository, digest), ()))
        keyset = self.state.trust.keyset_id
        content = repr([(f.id, f.keyset, f.undecided, f.rules) for f in facts]) + keyset
        place = PlaceAsked("referrers-api", digest, "found" if facts else "absent")
        return EvidenceFound(
            id=stable_id("evidence-found", repository, digest, content, self.now),
            time=self.now,
            set=EvidenceSet(
                repository=repository,
                digest=digest,
                evidence=tuple(f.evidence_id for f in facts),
                closure=DigestClosure(digest),
                places=(place,),
                complete=True,
                fetched_at=self.now,
                keyset=keyset,
                version=stable_id("evidence-set", repository, digest, content),
            ),
            facts=facts,
            first_seen=tuple((f.evidence_id, self.seen[f.evidence_id]) for f in facts if f.evidence_id in self.seen),
        )

    def _derived(self, fact: Fact) -> Fact:
        trust = self.state.trust
        chains = tuple(c for c in fact.chains if c.authority in trust.anchors.material.authorities)
        rules = tuple(r for r in fact.rules if r.rule in trust.rules)
        unknown = () if chains else ("authority",)
        return msgspec.structs.replace(
            fact,
            id=stable_id("fact", fact.evidence_id, trust.keyset_id, "1"),
            keyset=trust.keyset_id,
            chains=chains,
            rules=rules,
            undecided=unknown,
        )


@dataclass
class CertifiedRecord(CertifiedWorld, RecordedWorld):
    """The same, with a record of everything."""
