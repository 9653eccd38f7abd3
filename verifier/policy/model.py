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
      require:
        all:
          - signedBy: dev
          - signedBy: ops
            annotations: {env: prod}

A policy that could be read as "accept everything" is refused, with the reason: an empty requirement, an empty `all`, a
match rule that names nothing. `verifier.policy.documents` reads the text; this module says what is well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from verifier.canonical import stable_id
from verifier.policy.pem import is_pem, public_key_pem
from verifier.times import parse_instant, show_instant

Dialect = Literal["native", "kyverno"]
"""Glob dialect of the patterns of one policy; never translated between dialects."""

SoftUnproven = Literal["allow", "warn", "deny"]

MAX_NAME_CHARACTERS: Final = 253
"""Characters of a policy id, as for a Kubernetes object name (RFC 1123 subdomain)."""

MAX_PATTERN_CHARACTERS: Final = 512
"""Characters of one pattern: a name (255), a tag (128) and a digest (71) fit. Bounds the cost of matching."""

MAX_LIST_ENTRIES: Final = 1_000
"""Entries of one list in a policy. Every entry of a match rule is tried against every image."""

MAX_REQUIREMENT_DEPTH: Final = 8
"""Levels of all / any / atLeast. Nobody reads a deeper tree; evaluation recurses."""

MAX_REQUIREMENT_LEAVES: Final = 200
"""Leaves of one requirement tree. Bounds the cost of one verdict."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.ASCII)
_ATTESTOR: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_REGISTRY: Final = re.compile(r"[a-z0-9.\-\[\]:]*[a-z0-9\]]", re.ASCII)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f]")


class PlacedErrors(ValueError):
    """What a check over a whole model found, each at its path below that model."""

    def __init__(self, messages: Mapping[tuple[str | int, ...], str]) -> None:
        super().__init__("; ".join(dict.fromkeys(messages.values())))
        self.messages = messages


def read_instant(value: object, info: ValidationInfo) -> object:
    """RFC 3339 text to microseconds. In a document a bare number is refused: is 2026 a year or two milliseconds?"""
    if isinstance(value, str):
        return parse_instant(value)
    if value is not None and info.context == DOCUMENT:
        raise ValueError("expected a time with zone, as RFC 3339 writes it, such as 2026-01-31T12:00:00Z")
    return value


DOCUMENT: Final = "document"
"""Validation context of `documents`: what a person wrote, as opposed to what the trust log holds."""


def write_instant(value: int, info: SerializationInfo) -> int | str:
    """The number, and RFC 3339 where a document is written."""
    return show_instant(value) if info.context == DOCUMENT else value


Instant = Annotated[
    int,
    BeforeValidator(read_instant),
    PlainSerializer(write_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""Microseconds since the Unix epoch, UTC; written as RFC 3339."""


def check_name(name: str) -> str:
    """A name that is safe in file names, topics, URLs and terminals.

    Raises:
        ValueError: the name breaks the grammar; the message gives it.
    """
    if len(name) > MAX_NAME_CHARACTERS or _NAME.fullmatch(name) is None:
        raise ValueError(
            f"a name is 1 to {MAX_NAME_CHARACTERS} of a-z, 0-9, '.', '_', '-'; first and last a letter or digit"
        )
    return name


def check_pattern(pattern: str) -> str:
    """A pattern of any dialect: not empty, not too long, nothing invisible in it.

    Raises:
        ValueError: it is not.
    """
    if not pattern or len(pattern) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"a pattern has 1 to {MAX_PATTERN_CHARACTERS} characters, this one has {len(pattern)}")
    if _UNPRINTABLE.search(pattern):
        raise ValueError("a pattern holds no spaces and no control characters")
    return pattern


def check_digest(digest: str) -> str:
    """A manifest digest.

    Raises:
        ValueError: it is not `sha256:` and 64 lower-case hexadecimal digits.
    """
    if _DIGEST.fullmatch(digest) is None:
        raise ValueError("expected a digest: sha256: and 64 lower-case hexadecimal digits")
    return digest


def check_registry(registry: str) -> str:
    """A literal registry host (a list of trusted registries must not be widened by a wildcard).

    Raises:
        ValueError: a wildcard, a path, a scheme, or capitals.
    """
    if _REGISTRY.fullmatch(registry) is None:
        raise ValueError(
            "expected a registry host such as docker.io or registry.example.com:5000: lower case, no path, no pattern"
        )
    return registry


def check_value_pattern(pattern: str) -> str:
    """A pattern over a label's value, which may be empty.

    Raises:
        ValueError: too long, or something invisible in it.
    """
    return check_pattern(pattern) if pattern else pattern


Name = Annotated[str, AfterValidator(check_name)]
ValuePattern = Annotated[str, AfterValidator(check_value_pattern)]
Pattern = Annotated[str, AfterValidator(check_pattern)]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=MAX_LIST_ENTRIES)]
Digest = Annotated[str, AfterValidator(check_digest), Field(json_schema_extra={"pattern": "^sha256:[0-9a-f]{64}$"})]
Registry = Annotated[str, AfterValidator(check_registry)]


class Model(BaseModel):
    """What people write: frozen, strict about members, and silent about what was typed when it is wrong."""

    # hide_input_in_errors: what was typed may be a private key or a control sequence
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)


class MatchRule(Model):
    """One rule: every member that is given must match (AND); within a member any entry may match (OR)."""

    images: Patterns = ()
    """Patterns over the whole reference, tried on the spec reference and on `repository@digest` (policy dialect)."""
    registries: Patterns = ()
    repositories: Patterns = ()
    """Patterns over `registry/path`."""
    namespaces: Patterns = ()
    labels: dict[str, ValuePattern] = {}
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


class Attestor(Model):
    """A signer by name: any one of its keys will do. Keys are names in the trust ring, or PEM text."""

    keys: tuple[str, ...] = Field(max_length=MAX_LIST_ENTRIES)
    valid_from: Instant | None = Field(default=None, alias="validFrom")
    valid_until: Instant | None = Field(default=None, alias="validUntil")
    """Closed window judged at the proven signing time. Written as RFC 3339, held as microseconds."""
    repository_claim: bool = Field(default=False, alias="repositoryClaim")
    """Also demand that the signed payload names the repository it is found in (stops cross-repository replay).
    Only simple signing carries such a claim; a bundle does not, and so does not count for this attestor."""

    @field_validator("keys")
    @classmethod
    def _keys_are_named_or_pem(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if not keys:
            raise ValueError("an attestor without keys can never have signed anything; name at least one key")
        return tuple(_key(key) for key in keys)

    @model_validator(mode="after")
    def _window_is_not_empty(self) -> Self:
        check_window(self.valid_from, self.valid_until)
        return self


def _key(key: str) -> str:
    if is_pem(key):
        return public_key_pem(key)
    if not key or len(key) > MAX_NAME_CHARACTERS or _UNPRINTABLE.search(key):
        raise ValueError("a key is the name of a key in the trust ring, or a whole PUBLIC KEY block in PEM")
    return key


def check_window(start: int | None, end: int | None) -> None:
    """A closed window [start, end] that holds at least one instant.

    Raises:
        ValueError: it ends before it starts.
    """
    if start is not None and end is not None and end < start:
        raise ValueError("the window ends before it starts")


ONE_OF: Final = ("all", "any", "atLeast", "signedBy", "digestIn", "registryIn")
"""Members of which a requirement has exactly one."""


class Requirement(Model):
    """A node of the requirement tree: exactly one of the members. An empty requirement is refused.

    `signedBy` is about evidence; `digestIn` and `registryIn` are lists and are shown as such, never as signed.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [member]} for member in ONE_OF]})

    all: tuple[Requirement, ...] | None = None
    any: tuple[Requirement, ...] | None = None
    at_least: AtLeast | None = Field(default=None, alias="atLeast")
    signed_by: str | None = Field(default=None, alias="signedBy")
    """Name of an attestor of this policy."""
    annotations: dict[str, str] = {}
    """Only with `signedBy`: signed annotations that must be present with exactly these values."""
    digest_in: Annotated[tuple[Digest, ...], Field(max_length=MAX_LIST_ENTRIES)] | None = Field(
        default=None, alias="digestIn"
    )
    registry_in: Annotated[tuple[Registry, ...], Field(max_length=MAX_LIST_ENTRIES)] | None = Field(
        default=None, alias="registryIn"
    )

    @model_validator(mode="after")
    def _exactly_one_member(self) -> Self:
        values = (self.all, self.any, self.at_least, self.signed_by, self.digest_in, self.registry_in)
        given = [name for name, value in zip(ONE_OF, values, strict=True) if value is not None]
        if not given:
            raise ValueError(f"an empty requirement would accept every image; write one of {', '.join(ONE_OF)}")
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} stand side by side; put them into a list under all or any")
        if self.annotations and self.signed_by is None:
            raise ValueError("annotations are those of a signature: they stand beside signedBy")
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
    """n of m. A key never counts for two `signedBy` leaves of one `atLeast`: three people, not one with three hats."""

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
    attestors: dict[str, Attestor] = {}
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
            ("require", *path, "signedBy"): _no_attestor(node.signed_by, self.attestors)
            for path, node in self.require.walk()
            if node.signed_by is not None and node.signed_by not in self.attestors
        }
        if unknown:
            raise PlacedErrors(unknown)
        return self


def _no_attestor(name: str, attestors: dict[str, Attestor]) -> str:
    near = get_close_matches(name, attestors, n=1)
    known = f"did you mean {near[0]}?" if near else f"this policy's attestors: {', '.join(sorted(attestors)) or 'none'}"
    return f"signedBy names the attestor {name[:MAX_NAME_CHARACTERS]!r}, which this policy does not have; {known}"


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
