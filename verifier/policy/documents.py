"""The documents of a trust setup: Policy, Key, Exemption, Cluster; YAML or JSON text, strict, every error placed.

    documents, errors = load_documents("trust/payments.yaml", text)
    errors[0]                      trust/payments.yaml:7:9: spec.match[0].imagse: unknown member; did you mean images?
    documents[0].body.to_policy()  the policy, with its version

A file may hold several documents. Unknown or duplicate members, wrong types and empty values are errors, all of them
reported at once; a document with an error is never returned, so nothing half-read can be applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from verifier.errors import PolicyError
from verifier.evidence.material import STORE_PREFIXES, RootFormat
from verifier.models import Micros
from verifier.policy.attestors import (
    MAX_ROOT_CHARACTERS,
    Attestor,
    Certificates,
    Keyless,
    Notary,
    OpenPgp,
    TrustData,
)
from verifier.policy.fields import Digest, Name, Patterns, PlacedErrors, check_window
from verifier.policy.globs import Over, matches_everything
from verifier.policy.identity import Identity
from verifier.policy.model import AtLeast, MatchRule, Policy, PolicySpec, Requirement, with_version
from verifier.policy.pem import public_key_pem
from verifier.policy.yamltree import Path, Position, Tree, read_trees
from verifier.reasons import REASONS
from verifier.times import DAY
from verifier.written import DOCUMENT, Instant, Model

API_VERSION: Final = "revet/v1"

DEFAULT_EXEMPTION_DAYS: Final = 30
"""Days an exemption lasts when neither `expires` nor `days` is written."""

MAX_EXEMPTION_DAYS: Final = 180
"""Days an exemption may last: it is looked at twice a year, or it ends."""

MAX_TEXT_CHARACTERS: Final = 2_000
"""Characters of a description, of a why, an owner, a ticket: they travel in every record."""

Text = Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)]
Said = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)]


class Metadata(Model):
    """Name and notes of a document."""

    name: Name
    description: Text = ""
    annotations: dict[str, str] = Field(default_factory=dict)
    """For your own tools; revet reads none of them."""


class _Document(Model):
    api_version: Literal["revet/v1"] = Field(alias="apiVersion")
    metadata: Metadata


class PolicyDocument(_Document):
    """A policy: what it governs, whose signatures it knows, what it requires."""

    kind: Literal["Policy"]
    spec: PolicySpec

    def to_policy(self) -> Policy:
        """The policy as trust records and the evaluation hold it, with its version."""
        members = {name: getattr(self.spec, name) for name in PolicySpec.model_fields}
        return with_version(Policy(id=self.metadata.name, description=self.metadata.description, **members))


def policy_document(policy: Policy) -> PolicyDocument:
    """A policy in the form people write, for instance after an import."""
    spec = PolicySpec.model_validate({name: getattr(policy, name) for name in PolicySpec.model_fields})
    metadata = Metadata(name=policy.id, description=policy.description)
    return PolicyDocument(api_version=API_VERSION, kind="Policy", metadata=metadata, spec=spec)


def stays_beside(file: str) -> str:
    """A relative path within the folder of the document that names it.

    Raises:
        ValueError: it leads out of it.
    """
    if file.startswith(("/", "~")) or ".." in file.replace("\\", "/").split("/"):
        raise ValueError("expected a path within the folder of this document: relative, without ..")
    return file


class KeySpec(Model):
    """A public key: PEM text here, or in a file beside this one."""

    pem: str = ""
    """One PUBLIC KEY block."""
    file: Text = ""
    """Relative path of a PEM file, from the folder of this document; read by the command, not by the loader."""
    owner: Text = ""
    valid_from: Instant | None = Field(default=None, alias="validFrom")
    valid_until: Instant | None = Field(default=None, alias="validUntil")
    """Closed window judged at the proven signing time."""

    @field_validator("pem")
    @classmethod
    def _pem_is_a_public_key(cls, pem: str) -> str:
        return public_key_pem(pem) if pem else pem

    _file_stays_beside = field_validator("file")(stays_beside)

    @model_validator(mode="after")
    def _one_source_and_a_window(self) -> Self:
        if bool(self.pem) == bool(self.file):
            raise ValueError("write either pem (the key itself) or file (where it is)")
        check_window(self.valid_from, self.valid_until)
        return self


class KeyDocument(_Document):
    """A public key of the trust ring, by name."""

    kind: Literal["Key"]
    spec: KeySpec

    def with_pem(self, pem: str) -> KeyDocument:
        """The same key with the text of its `file` read in.

        Raises:
            PolicyError: the text is not one PUBLIC KEY block.
        """
        try:
            spec = self.spec.model_copy(update={"pem": public_key_pem(pem), "file": ""})
        except ValueError as error:
            raise PolicyError(str(error), file=self.spec.file, field="spec.file") from error
        return self.model_copy(update={"spec": spec})


class TrustRootSpec(Model):
    """A trust root: its document here, or in a file beside this one. Public material only."""

    format: RootFormat
    content: Annotated[str, Field(max_length=MAX_ROOT_CHARACTERS)] = ""
    """JSON, PEM or ASCII armor, by the format."""
    file: Text = ""
    """Relative path, from the folder of this document; read by the command, not by the loader."""

    @field_validator("content")
    @classmethod
    def _content_is_public(cls, content: str) -> str:
        if "PRIVATE KEY" in content:
            raise ValueError(
                "this holds a private key; revet never needs one. Give its public part; treat it as leaked"
            )
        return content

    _file_stays_beside = field_validator("file")(stays_beside)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.content) == bool(self.file):
            raise ValueError("write either content (the root itself) or file (where it is)")
        return self


class TrustRootDocument(_Document):
    """A trust root, by name. Notary Project stores are referred to with their type: `ca:NAME`."""

    kind: Literal["TrustRoot"]
    spec: TrustRootSpec

    @property
    def root_name(self) -> str:
        """The name policies refer to it by."""
        store = STORE_PREFIXES.get(self.spec.format)
        return f"{store}:{self.metadata.name}" if store else self.metadata.name

    def with_content(self, content: str) -> TrustRootDocument:
        """The same root with the text of its `file` read in.

        Raises:
            PolicyError: the text holds a private key, or is too long.
        """
        try:
            spec = TrustRootSpec(format=self.spec.format, content=content)
        except ValueError as error:
            raise PolicyError("not public material, or too long", file=self.spec.file, field="spec.file") from error
        return self.model_copy(update={"spec": spec})


class ExemptionSpec(Model):
    """A violation accepted for a time. The verdict stays; the finding closes, and reopens when this ends."""

    policy: Annotated[str, Field(max_length=253)] = ""
    """Policy covered; left out: every policy, and then a scope is required."""
    reasons: tuple[str, ...] = ()
    """Reason codes covered; left out: all but proof of compromise."""
    namespaces: Patterns = ()
    images: Patterns = ()
    clusters: Patterns = ()
    digests: tuple[Digest, ...] = ()
    why: Said
    owner: Said
    approver: Text = ""
    ticket: Text = ""
    starts: Instant | None = None
    """Left out: when it is applied."""
    expires: Instant | None = None
    days: Annotated[int, Field(ge=1, le=MAX_EXEMPTION_DAYS)] | None = None
    """Instead of `expires`: how long from its start."""

    @field_validator("reasons")
    @classmethod
    def _reasons_are_known(cls, reasons: tuple[str, ...]) -> tuple[str, ...]:
        known = [code for code, row in REASONS.items() if row.effect == "violates"]
        for code in reasons:
            if code not in known:
                near = get_close_matches(code, known, n=1)
                advice = f"did you mean {near[0]}?" if near else "`revet explain` lists them"
                raise ValueError(f"{code[:80]!r} is not the reason of a violation; {advice}")
        return reasons

    @model_validator(mode="after")
    def _ends_and_leaves_something_out(self) -> Self:
        if self.expires is not None and self.days is not None:
            raise ValueError("write either expires or days")
        check_window(self.starts, self.expires)
        if self.starts is not None and self.expires is not None:
            self.window(self.starts)
        if not self.policy and not self.digests and self._scope_is_open():
            raise ValueError("this exempts everything; name a policy, or a scope that leaves something out")
        return self

    def _scope_is_open(self) -> bool:
        scope: tuple[tuple[tuple[str, ...], Over], ...] = (
            (self.images, "image"),
            (self.namespaces, "namespace"),
            (self.clusters, "name"),
        )
        return all(
            not patterns or any(matches_everything(pattern, "native", over) for pattern in patterns)
            for patterns, over in scope
        )

    def window(self, now: Micros) -> tuple[Micros, Micros]:
        """[starts, expires) when applied at `now`.

        Raises:
            ValueError: it ends before it starts, or lasts longer than `MAX_EXEMPTION_DAYS`.
        """
        starts = now if self.starts is None else self.starts
        expires = starts + (self.days or DEFAULT_EXEMPTION_DAYS) * DAY if self.expires is None else self.expires
        if expires <= starts:
            raise ValueError("the exemption ends before it starts")
        if expires - starts > MAX_EXEMPTION_DAYS * DAY:
            raise ValueError(f"an exemption lasts at most {MAX_EXEMPTION_DAYS} days; renew it when it is still needed")
        return starts, expires


class ExemptionDocument(_Document):
    """An exemption, by name."""

    kind: Literal["Exemption"]
    spec: ExemptionSpec


class ClusterSpec(Model):
    """A cluster: who it is and what it sends."""

    id: Said
    """UID of its namespace kube-system."""
    labels: dict[str, str] = Field(default_factory=dict)
    """env, region, tenant …: what `clusterLabels` of a policy looks at."""
    feeds: tuple[Literal["audit", "pods"], ...] = ("audit", "pods")
    """Feeds it is declared to send; a finding that needs another one is never raised for it."""


class ClusterDocument(_Document):
    """A cluster; its name is `metadata.name`."""

    kind: Literal["Cluster"]
    spec: ClusterSpec


AnyDocument = PolicyDocument | KeyDocument | TrustRootDocument | ExemptionDocument | ClusterDocument

MODELS: Final[Mapping[str, type[AnyDocument]]] = {
    "Policy": PolicyDocument,
    "Key": KeyDocument,
    "TrustRoot": TrustRootDocument,
    "Exemption": ExemptionDocument,
    "Cluster": ClusterDocument,
}
"""Every kind and its model. A new kind is a row here."""


def plain(body: AnyDocument) -> dict[str, object]:
    """A document as plain values, ready for a YAML or JSON writer: camel-case members, RFC 3339, no defaults."""
    head = {"apiVersion": API_VERSION, "kind": body.kind}
    return {**head, **body.model_dump(mode="json", by_alias=True, exclude_defaults=True, context=DOCUMENT)}


class Document(NamedTuple):
    """A sound document and where its parts stand in the file."""

    body: AnyDocument
    tree: Tree

    @property
    def file(self) -> str:
        """File it was read from, as given."""
        return self.tree.file

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return self.body.metadata.name

    def place(self, *path: str | int) -> Position:
        """Line and column of a member: `place("spec", "attestors", "dev", "keys", 0)`."""
        return self.tree.place(path)


def load_documents(file: str, text: str) -> tuple[tuple[Document, ...], tuple[PolicyError, ...]]:
    """Every sound document of a text, and every error of the others, in the order they stand. Raises nothing.

    `file` is only a name for messages. Limits: `verifier.policy.yamltree` and `verifier.policy.model`.
    """
    trees, errors = read_trees(file, text)
    documents: list[Document] = []
    for tree in trees:
        body, wrong = _read(tree)
        errors += wrong
        if body is not None and not tree.refused:
            documents.append(Document(body, tree))
    return tuple(documents), tuple(sorted(errors, key=lambda e: (e.line, e.column)))


def _read(tree: Tree) -> tuple[AnyDocument | None, list[PolicyError]]:
    if not isinstance(tree.data, dict):
        return None, [tree.error("expected a document with apiVersion, kind, metadata and spec", ())]
    api_version, kind = tree.data.get("apiVersion"), tree.data.get("kind")
    if api_version != API_VERSION:
        return None, [tree.error(_foreign(api_version), ("apiVersion",))]
    model = MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        return None, [tree.error(f"kind is one of {', '.join(MODELS)}", ("kind",))]
    try:
        return model.model_validate(tree.data, strict=True, by_alias=True, by_name=False, context=DOCUMENT), []
    except ValidationError as error:
        return None, _translated(error, tree)


_IMPORTED: Final = ("policy.sigstore.dev/", "config.openshift.io/")
"""Groups of the other policies that the importers read."""


def _foreign(api_version: object) -> str:
    if isinstance(api_version, str) and "kyverno.io/" in api_version:
        return f"expected {API_VERSION}; a Kyverno policy is read by `revet policy import --dialect kyverno`"
    if isinstance(api_version, str) and api_version.startswith(_IMPORTED):
        return f"expected {API_VERSION}; other verifiers' policies are read by `revet policy import`"
    return f"expected apiVersion: {API_VERSION}"


# ---------------------------------------------------------------------------------------------------- errors in words

_MEMBERS: Final = sorted(
    {
        field.alias or name
        for model in (
            *MODELS.values(),
            *(Metadata, PolicySpec, KeySpec, TrustRootSpec, ExemptionSpec, ClusterSpec),
            *(MatchRule, Attestor, Requirement, AtLeast, Keyless, Certificates, Notary, OpenPgp, TrustData, Identity),
        )
        for name, field in model.model_fields.items()
    }
)
"""Every member name of every document, to suggest from."""

_EXPECTED: Final[dict[str, str]] = {
    "missing": "a required member is missing",
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "bool_type": "expected true or false",
    "tuple_type": "expected a list",
    "dict_type": "expected members with values",
    "model_type": "expected members with values",
}
"""pydantic's error types in the words of somebody who writes YAML."""


def _translated(error: ValidationError, tree: Tree) -> list[PolicyError]:
    found = []
    for detail in error.errors(include_url=False, include_input=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        if any(path[: len(done)] == done for done in tree.refused):
            continue
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, PlacedErrors):
            found += [tree.error(message, (*path, *below)) for below, message in cause.messages.items()]
        else:
            found.append(tree.error(_sentence(detail["type"], detail["msg"], detail.get("ctx", {}), path, tree), path))
    return found


def _sentence(kind: str, message: str, context: Mapping[str, object], path: Path, tree: Tree) -> str:
    if kind == "extra_forbidden":
        near = get_close_matches(str(path[-1]), _MEMBERS, n=1)
        return f"unknown member; did you mean {near[0]}?" if near else "unknown member"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"expected {context['expected']}"
    expected = _EXPECTED.get(kind, message[:1].lower() + message[1:])
    found = _kind_of(tree, path) if kind.endswith("_type") else ""
    quote = "; put it in quotes" if kind == "string_type" and found in ("a number", "true or false") else ""
    return expected + (f", found {found}" if found else "") + quote


def _kind_of(tree: Tree, path: Path) -> str:
    value = tree.data
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, tuple) and isinstance(part, int):
            value = value[part]
    names = ((bool, "true or false"), (int | float, "a number"), (str, "text"), (tuple, "a list"), (dict, "members"))
    return next((name for types, name in names if isinstance(value, types)), "something else")
