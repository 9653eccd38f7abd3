"""What an attestation says: builder, commits and the answer of every content rule of its type, evaluated once.

    read_said(content, keyset)        Said(rules=(RuleClaim(…),), builder="https://…", commits=("…",))

The predicate is the one that was decoded from the verified payload, shared by all rules. What it says is believed only
as far as whoever signed it is; that is for the verdict.
"""

from __future__ import annotations

from typing import Final

import msgspec

from verifier.content.builder import build_of, builder_of, commits_of
from verifier.content.document import Predicate
from verifier.content.evaluate import evaluate
from verifier.content.predicates import same_type
from verifier.evidence.signed import SignedContent
from verifier.facts.candidates import CandidateRule, KeySet
from verifier.models import BuildClaim, FactKind, RuleClaim


class Said(msgspec.Struct, frozen=True, gc=False):
    """Members of a fact that come from the predicate."""

    rules: tuple[RuleClaim, ...] = ()
    builder: str = ""
    commits: tuple[str, ...] = ()
    build: BuildClaim | None = None


NOTHING_SAID: Final = Said()


def read_said(content: SignedContent, keyset: KeySet) -> Said:
    """What the statement of `content` says, under the rules of `keyset`. Raises nothing."""
    kind, predicate = content.predicate_type, Predicate(content.predicate_type, content.predicate)
    claims = tuple(_claim(rule, predicate) for rule in rules_for(content.kind, kind, keyset))
    return Said(claims, builder_of(kind, predicate), commits_of(kind, predicate), build_of(kind, predicate))


def rules_for(kind: FactKind, predicate_type: str, keyset: KeySet) -> tuple[CandidateRule, ...]:
    """The candidate rules about this type, by id."""
    if kind != "attestation" or not keyset.rules:
        return ()
    return tuple(rule for rule in keyset.rules.values() if same_type(rule.predicate_type, predicate_type))


def _claim(candidate: CandidateRule, predicate: Predicate) -> RuleClaim:
    return evaluate(candidate.rule, predicate.type, predicate, identity=candidate.id)
