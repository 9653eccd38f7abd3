"""Which evidence a revocation is about: one answer for standings, previews and blast radii.

    hits(record, fact)                               True when the record says something about this evidence
    matching(trust.by_subject["identity"], fact)     the records of one kind that do

A record names what it hits by content: a key id, a CA's key, an identity, a builder, a commit, a log. A fact says what
its evidence rests on. Nothing else decides; time and class are `verifier.trust.revocation`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from verifier.models import Fact
from verifier.policy.identity import Identity, matches
from verifier.trust.records import RevocationPut, SubjectKind

_CACHED: Final = 1_024
"""Parsed identities kept."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)


@lru_cache(maxsize=_CACHED)
def identity_of(subject: str) -> Identity:
    """The identity a revocation's subject spells.

    Raises:
        pydantic.ValidationError: it is not the JSON of one.
    """
    return Identity.model_validate_json(subject)


def is_identity(subject: str) -> bool:
    """Does a revocation's subject spell an identity?"""
    try:
        identity_of(subject)
    except ValueError:
        return False
    return True


def identity_subject(identity: Identity) -> str:
    """The subject of a revocation of this identity: canonical, so that the same identity has the same text."""
    return identity.model_dump_json(by_alias=True, exclude_defaults=True)


def check_commit(text: str) -> str:
    """A commit id.

    Raises:
        ValueError: it is not 40 or 64 lower-case hexadecimal digits.
    """
    if _COMMIT.fullmatch(text) is None:
        raise ValueError("expected a commit: 40 or 64 lower-case hexadecimal digits")
    return text


def builders(fact: Fact) -> tuple[str, ...]:
    """Builders this evidence names: of the provenance, and of the signing certificate."""
    named = (fact.builder, _extension(fact, "buildSignerURI"))
    return tuple(dict.fromkeys(name for name in named if name))


def commits(fact: Fact) -> tuple[str, ...]:
    """Source commits this evidence names."""
    of_certificate = (_extension(fact, "sourceRepositoryDigest"), _extension(fact, "githubWorkflowSHA"))
    return tuple(dict.fromkeys((*fact.commits, *(name for name in of_certificate if name))))


def _extension(fact: Fact, name: str) -> str:
    return dict(fact.certificate.extensions).get(name, "") if fact.certificate is not None else ""


def _identity(subject: str, fact: Fact) -> bool:
    return fact.certificate is not None and bool(fact.chains) and matches(identity_of(subject), fact.certificate)


def _authority(subject: str, fact: Fact) -> bool:
    """A CA on the signer's way, or one that dates the signature."""
    on_the_way = any(subject == chain.authority or subject in chain.key_ids for chain in fact.chains)
    return on_the_way or any(subject in (claim.authority, claim.source_key) for claim in fact.times)


def _log(subject: str, fact: Fact) -> bool:
    of_chain = any(sct.log == subject for chain in fact.chains for sct in chain.scts)
    return of_chain or any(claim.log == subject for claim in fact.logs)


def _key(subject: str, fact: Fact) -> bool:
    of_certificate = fact.certificate is not None and bool(fact.chains) and fact.certificate.key_id == subject
    return subject in fact.verified_by or of_certificate


_TESTS: Final[Mapping[SubjectKind, Callable[[str, Fact], bool]]] = {
    "key": _key,
    "digest": lambda subject, fact: subject in fact.subjects,
    "evidence": lambda subject, fact: subject == fact.evidence_id,
    "identity": _identity,
    "ca": _authority,
    "builder": lambda subject, fact: subject in builders(fact),
    "commit": lambda subject, fact: subject in commits(fact),
    "log": _log,
}

OF_SIGNERS: Final[tuple[SubjectKind, ...]] = ("identity", "ca", "builder", "commit")
"""Kinds that make a signature count less by who made it and with what, beside its key."""

OF_CONTENT: Final[tuple[SubjectKind, ...]] = ("builder", "commit")
"""Those of them that are about what is signed, so that they hit whoever signed it, with a certificate or without."""


def hits(record: RevocationPut, fact: Fact) -> bool:
    """Is the record about this evidence? Raises nothing for a record that trust accepted."""
    return _TESTS[record.subject_kind](record.subject, fact)


def matching(records: Mapping[str, Iterable[RevocationPut]], fact: Fact) -> Iterator[RevocationPut]:
    """The records of one kind, by subject, that hit the fact."""
    for subject, found in records.items():
        kept = tuple(found)
        if kept and _TESTS[kept[0].subject_kind](subject, fact):
            yield from kept
