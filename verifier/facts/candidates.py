"""The candidates evidence is checked against: keys, trust material (authorities, logs) and content rules.

    keyset = key_set([("dev", dev)], material, rules)
    derive_fact(evidence, keyset)

Facts carry the id of the set they were made under; so a set only says what there is, never whether it is trusted now.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from verifier.canonical import stable_id
from verifier.content.model import ContentRule
from verifier.evidence.keys import PublicKey
from verifier.evidence.material import NO_MATERIAL, AuthorityUse, Material
from verifier.evidence.x509 import ca_keys
from verifier.models import Fact, is_undecided


@dataclass(frozen=True, slots=True)
class CandidateRule:
    """A content rule and the predicate type it is about."""

    id: str
    rule: ContentRule
    predicate_type: str
    """URI; its versions count too (`content.predicates.same_type`)."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """Everything to try. Equal when keys, material and rules are; names are for display."""

    id: str
    """`keyset_id` of the content; part of every fact's id."""
    keys: Mapping[str, PublicKey] = field(compare=False)
    """By key id, in the order of the ids, so that answers do not depend on the order of configuration."""
    names: Mapping[str, str] = field(compare=False)
    """Key id -> its name in trust (the first in the alphabet, if it has several)."""
    material: Material = field(default=NO_MATERIAL, compare=False)
    rules: Mapping[str, CandidateRule] = field(default_factory=dict, compare=False)
    """By rule id."""


_BY_CANDIDATES: Final = frozenset({"timestamp-invalid"})
"""Problems that another root may take away: the same token under an authority whose certificates were valid then."""


def may_say_more(fact: Fact, keys: Container[str], material: Material) -> bool:
    """Could these candidates, which are not those the fact was made under, say more about its evidence?

    Yes, while nothing vouches for it or something about it is undecided; yes, when its certificate's key became a key
    of the ring, or when an authority that it does not name shares a key with one that it does (a root that was written
    anew is another authority). Otherwise every search would end as it did. Content rules are asked apart.
    """
    if is_undecided(fact) or fact.problem in _BY_CANDIDATES:
        return True
    leaf = fact.certificate if fact.chains and not fact.scheme else None
    if leaf is not None and leaf.key_id in keys and leaf.key_id not in fact.verified_by:
        return True
    if not (fact.chains or fact.times):
        return False
    return any(
        authority not in named
        for use, named, shared in _vouching(fact, material)
        for key_id in shared
        for authority in _by_key(material).get((use, key_id), ())
    )


def _vouching(fact: Fact, material: Material) -> Iterator[tuple[AuthorityUse, frozenset[str], set[str]]]:
    """(use, authorities the fact names, keys by which others may be known) of its chains and of its times."""
    if fact.chains and fact.certificate is not None:
        keys = {key_id for chain in fact.chains for key_id in chain.key_ids} | {fact.certificate.key_id}
        yield ("notation" if fact.scheme else "signing"), frozenset(chain.authority for chain in fact.chains), keys
    dating = frozenset(claim.authority for claim in fact.times if claim.authority)
    if dating:
        keys = {claim.source_key for claim in fact.times if claim.authority}
        keys.update(*(ca_keys(material.authorities[name]) for name in dating if name in material.authorities))
        yield "timestamping", dating, keys


@lru_cache(maxsize=8)
def _by_key(material: Material) -> Mapping[tuple[AuthorityUse, str], tuple[str, ...]]:
    """(use, key id of a certificate) -> the authorities that hold one."""
    found: dict[tuple[AuthorityUse, str], tuple[str, ...]] = {}
    for name, authority in sorted(material.authorities.items()):
        for key_id in dict.fromkeys(ca_keys(authority)):
            found[authority.use, key_id] = (*found.get((authority.use, key_id), ()), name)
    return found


def key_set(
    named: Iterable[tuple[str, PublicKey]],
    material: Material = NO_MATERIAL,
    rules: Iterable[CandidateRule] = (),
) -> KeySet:
    """The set of `(name, key)` pairs, material and rules; a key may come under several names."""
    names: dict[str, str] = {}
    keys: dict[str, PublicKey] = {}
    for name, key in sorted(named, key=lambda pair: (pair[1].key_id, pair[0])):
        keys[key.key_id] = key
        names.setdefault(key.key_id, name)
    known = {rule.id: rule for rule in sorted(rules, key=lambda rule: rule.id)}
    content = keyset_id(keys, material, known)
    return KeySet(content, MappingProxyType(keys), MappingProxyType(names), material, MappingProxyType(known))


def keyset_id(key_ids: Iterable[str], material: Material = NO_MATERIAL, rule_ids: Iterable[str] = ()) -> str:
    """The id of a candidate set: order and repetition make no difference."""
    rules = sorted(set(rule_ids))
    keys = sorted(set(key_ids))
    if not rules and material == NO_MATERIAL:
        return stable_id("keyset", keys)
    return stable_id("candidates", keys, material.id, rules)
