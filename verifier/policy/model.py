"""The native policy: what a person writes, strict (unknown members are refused), frozen, with a generated JSON Schema.

    apiVersion: revet/v1
    kind: Policy
    metadata: {name: payments-signed}
    spec:
      mode: audit
      match:
        - images: ["registry.example.com/payments/**"]
          clusterLabels: {env: prod}
      attestors:
        dev: {keys: [dev]}
        ops: {keys: [ops], validFrom: 2026-01-01T00:00:00Z}
        ci: {keyless: {identities: [{issuer: "https://token.example.com", subjectPattern: "https://git.example.com/*"}]}}
      require:
        all:
          - signedBy: dev
          - signedBy: ops
            annotations: {env: prod}
          - attestedBy: ci
            predicateType: slsaprovenance1
            rule: {slsa: {builders: ["https://github.com/example/**"]}}

A policy that could be read as "accept everything" is refused, with the reason: an empty requirement, an empty `all`, a
match rule that names nothing. `verifier.policy.documents` reads the text; this module says what is well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from verifier.canonical import stable_id
from verifier.content.model import ContentRule
from verifier.content.predicates import predicate_uri
from verifier.policy.attestors import Attestor
from verifier.policy.fields import (
    MAX_LIST_ENTRIES,
    MAX_NAME_CHARACTERS,
    Digest,
    Name,
    Patterns,
    PlacedErrors,
    Registry,
    ValuePattern,
)
from verifier.written import Model

Dialect = Literal["native", "kyverno", "cip", "gobwas", "connaisseur", "notation", "containers"]
"""Glob dialect of the patterns of one policy; never translated between dialects."""

SoftUnproven = Literal["allow", "warn", "deny"]

MAX_REQUIREMENT_DEPTH: Final = 8
"""Levels of all / any / atLeast. Nobody reads a deeper tree; evaluation recurses."""

MAX_REQUIREMENT_LEAVES: Final = 200
"""Leaves of one requirement tree. Bounds the cost of one verdict."""

_ATTESTOR: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)


class MatchRule(Model):
    """One rule: every member that is given must match (AND); within a member any entry may match (OR)."""

    images: Patterns = ()
    """Patterns over the whole reference, tried on the spec reference and on `repository@digest` (policy dialect)."""
    registries: Patterns = ()
    repositories: Patterns = ()
    """Patterns over `registry/path`."""
    namespaces: Patterns = ()
    labels: dict[str, ValuePattern] = Field(default={})
    """Pod labels; values are patterns."""
    service_accounts: Patterns = Field(default=(), alias="serviceAccounts")
    clusters: Patterns = ()
    """Patterns over cluster id or cluster name."""
    cluster_labels: dict[str, ValuePattern] = Field(default={}, alias="clusterLabels")

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError('a rule that names nothing would match everything; if that is meant, write images: ["**"]')
        return self


ONE_OF: Final = ("all", "any", "atLeast", "signedBy", "attestedBy", "digestIn", "registryIn", "denied")
"""Members of which a requirement has exactly one."""


class Requirement(Model):
    """A node of the requirement tree: exactly one of the members. An empty requirement is refused.

    `signedBy` and `attestedBy` are about evidence; `digestIn` and `registryIn` are lists and are shown as such, never
    as signed; `denied` is never met and says why.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [member]} for member in ONE_OF]})

    all: tuple[Requirement, ...] | None = None
    any: tuple[Requirement, ...] | None = None
    at_least: AtLeast | None = Field(default=None, alias="atLeast")
    signed_by: str | None = Field(default=None, alias="signedBy")
    """Name of an attestor of this policy."""
    annotations: dict[str, str] = Field(default={})
    """Only with `signedBy`: signed annotations that must be present with exactly these values."""
    attested_by: str | None = Field(default=None, alias="attestedBy")
    """Name of an attestor of this policy that made an attestation of `predicateType`, for which `rule` holds."""
    predicate_type: str = Field(default="", alias="predicateType")
    """A predicate type URI, or a short name of one (`slsaprovenance1`, `spdxjson`, `vuln` …: docs/attestations.md)."""
    rule: ContentRule | None = None
    """What the attestation has to say; without it its presence is enough."""
    digest_in: Annotated[tuple[Digest, ...], Field(max_length=MAX_LIST_ENTRIES)] | None = Field(
        default=None, alias="digestIn"
    )
    registry_in: Annotated[tuple[Registry, ...], Field(max_length=MAX_LIST_ENTRIES)] | None = Field(
        default=None, alias="registryIn"
    )

    denied: str | None = Field(default=None, max_length=1024)
    """Nothing meets this; the text is the reason people are given."""

    @field_validator("predicate_type")
    @classmethod
    def _type_is_known(cls, text: str) -> str:
        if text:
            predicate_uri(text)
        return text

    @model_validator(mode="after")
    def _exactly_one_member(self) -> Self:
        values = (
            *(self.all, self.any, self.at_least, self.signed_by),
            *(self.attested_by, self.digest_in, self.registry_in, self.denied),
        )
        given = [name for name, value in zip(ONE_OF, values, strict=True) if value is not None]
        if not given:
            raise ValueError(f"an empty requirement would accept every image; write one of {', '.join(ONE_OF)}")
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} stand side by side; put them into a list under all or any")
        if self.annotations and self.signed_by is None:
            raise ValueError("annotations are those of a signature: they stand beside signedBy")
        if (self.attested_by is None) != (self.predicate_type == ""):
            raise ValueError("attestedBy and predicateType stand side by side: who says so, and what kind of statement")
        if self.rule is not None and self.attested_by is None:
            raise ValueError("a rule is about an attestation: it stands beside attestedBy")
        for name, value in (
            ("all", self.all),
            ("any", self.any),
            ("digestIn", self.digest_in),
            ("registryIn", self.registry_in),
        ):
            if value == ():
                raise ValueError(_EMPTY[name])
        return self

    @property
    def children(self) -> tuple[Requirement, ...]:
        """The nodes below; empty for a leaf."""
        if self.at_least is not None:
            return self.at_least.of
        return self.all or self.any or ()

    def walk(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Requirement]]:
        """Every node with its path as in the document, depth first, left to right."""
        yield path, self
        under: tuple[str, ...] = ("atLeast", "of") if self.at_least else ("all",) if self.all else ("any",)
        for position, child in enumerate(self.children):
            yield from child.walk((*path, *under, position))

    @property
    def attestor(self) -> str | None:
        """Name of the attestor a leaf asks for; None for lists and inner nodes."""
        return self.signed_by if self.signed_by is not None else self.attested_by

    def leaves(self) -> Iterator[Requirement]:
        """The leaves, depth first, left to right."""
        return (node for _, node in self.walk() if not node.children)

    def depth(self) -> int:
        """Levels of the tree; a leaf has one."""
        return 1 + max((child.depth() for child in self.children), default=0)


_EMPTY: Final = {
    "all": "an empty all would accept every image; name what is required",
    "any": "an empty any can never be met; name the alternatives",
    "digestIn": "an empty digestIn can never be met; list the digests that are allowed",
    "registryIn": "an empty registryIn can never be met; list the registries that are allowed",
}


class AtLeast(Model):
    """n of m. A signer never counts for two `signedBy` leaves of one atLeast: three people, not one with three hats."""

    count: int = Field(ge=1)
    of: tuple[Requirement, ...]

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if not self.of:
            raise ValueError("an empty atLeast can never be met; name the alternatives under of")
        if self.count > len(self.of):
            raise ValueError(f"{self.count} of {len(self.of)} can never be met; count is at most the number of entries")
        return self


class PolicySpec(Model):
    """What a policy document says under `spec`."""

    dialect: Dialect = "native"
    mode: Literal["trial", "audit", "enforce"] = "audit"
    match: Annotated[tuple[MatchRule, ...], Field(max_length=MAX_LIST_ENTRIES)]
    exclude: Annotated[tuple[MatchRule, ...], Field(max_length=MAX_LIST_ENTRIES)] = ()
    attestors: dict[str, Attestor] = Field(default={})
    require: Requirement
    soft_unproven: SoftUnproven = Field(default="warn", alias="softUnproven")
    """What a soft-revoked key's signature counts without proof that it is older: allow, warn (count), deny."""

    @field_validator("match")
    @classmethod
    def _governs_something(cls, match: tuple[MatchRule, ...]) -> tuple[MatchRule, ...]:
        if not match:
            raise ValueError("a policy without a match rule governs nothing")
        return match

    @field_validator("attestors")
    @classmethod
    def _attestors_have_names(cls, attestors: dict[str, Attestor]) -> dict[str, Attestor]:
        for name in attestors:
            if len(name) > MAX_NAME_CHARACTERS or _ATTESTOR.fullmatch(name) is None:
                raise ValueError("an attestor's name is made of letters, digits, '.', '_' and '-'")
        return attestors

    @model_validator(mode="after")
    def _tree_is_sound(self) -> Self:
        if self.require.depth() > MAX_REQUIREMENT_DEPTH:
            raise ValueError(f"the requirement tree is deeper than {MAX_REQUIREMENT_DEPTH} levels")
        leaves = tuple(self.require.leaves())
        if len(leaves) > MAX_REQUIREMENT_LEAVES:
            raise ValueError(f"the requirement tree has {len(leaves)} leaves; the limit is {MAX_REQUIREMENT_LEAVES}")
        unknown = {
            ("require", *path, member): _no_attestor(member, node.attestor, self.attestors)
            for path, node in self.require.walk()
            if node.attestor is not None and node.attestor not in self.attestors
            for member in ("signedBy" if node.signed_by is not None else "attestedBy",)
        }
        if unknown:
            raise PlacedErrors(unknown)
        return self


def _no_attestor(member: str, name: str, attestors: dict[str, Attestor]) -> str:
    near = get_close_matches(name, attestors, n=1)
    known = f"did you mean {near[0]}?" if near else f"this policy's attestors: {', '.join(sorted(attestors)) or 'none'}"
    return f"{member} names the attestor {name[:MAX_NAME_CHARACTERS]!r}, which this policy does not have; {known}"


class Policy(PolicySpec):
    """One policy at one version. `id` is metadata.name; `version` the hash of the canonical content."""

    id: Name
    description: str = ""
    source: str = "native"
    """`native` or the importer's name (`kyverno`)."""
    version: str = ""


def policy_version(policy: Policy) -> str:
    """The version of a policy: a hash over all that can change a verdict, so not over its description.

    Members at their default are left out: a member added to the model later changes no existing version.
    """
    content = policy.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"version", "description"})
    return stable_id("policy-version", content)


def with_version(policy: Policy) -> Policy:
    """The same policy with `version` filled in."""
    return policy.model_copy(update={"version": policy_version(policy)})
