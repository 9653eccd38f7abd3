"""Kyverno's ImageValidatingPolicy: its attestors, and of its CEL the few sentences that everybody copies.

    images.containers.map(image, verifyImageSignatures(image, [attestors.a, attestors.b])).all(e, e > 0)
    images.containers.map(image, verifyAttestationSignatures(image, attestations.sbom, [attestors.a])).all(e, e > 0)

become `signedBy` and `attestedBy`; `e > 0` means one of the attestors, `e >= 2` two of them. Every other expression is
a note of severity weakens: it has to be translated by hand. Written after policies.kyverno.io (v1alpha1 to v1) and
pkg/cel/libs/imageverify. Here issuer and subject are exact; regular expressions match anywhere, as in Go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.drafting import Draft, Mode, all_of, flag, n_of, name_of, placed
from verifier.policy.importers.kyverno_scope import label_selector, namespace_names
from verifier.policy.importers.signers import (
    Signers,
    certificate_fingerprint,
    certificate_key,
    certificates,
    unanchored,
)
from verifier.policy.model import MatchRule, Requirement

IMAGE_KINDS: Final = frozenset({"ImageValidatingPolicy", "NamespacedImageValidatingPolicy"})

MAX_EXPRESSION_CHARACTERS: Final = 4_096
"""Characters of an expression that is looked at. The sentences above have some 150."""

_COSIGN_MEMBERS: Final = frozenset(
    {"key", "keyless", "certificate", "source", "ctlog", "tuf", "annotations", "trustedRoot"}
)
_SPEC_MEMBERS: Final = frozenset(
    {
        *("matchConstraints", "failurePolicy", "auditAnnotations", "validationActions", "matchConditions", "variables"),
        *("validationConfigurations", "matchImageReferences", "credentials", "images", "attestors", "attestations"),
        *("validations", "webhookConfiguration", "evaluation", "autogen"),
    }
)
_ONE: Final = r"attestors(?:\.\w+|\[[\"'][\w.-]+[\"']\])"
_LIST: Final = rf"\[{_ONE}(?:,{_ONE})*\]"
_SIGNED: Final = rf"verifyImageSignatures\((?P<image>\w+),{_LIST}\)"
_ATTESTED: Final = rf"verifyAttestationSignatures\((?P<image>\w+),attestations\.(?P<statement>\w+),{_LIST}\)"
_ATTESTOR: Final = re.compile(r"attestors(?:\.(\w+)|\[[\"']([\w.-]+)[\"']\])", re.ASCII)
_COUNTED: Final = r"(?P<operator>>=|>|==)(?P<count>\d{1,3})"
_SENTENCES: Final = tuple(
    re.compile(shape, re.ASCII)
    for call in (_SIGNED, _ATTESTED)
    for shape in (
        rf"images\.\w+\.map\((?P<over>\w+),{call}\)\.all\((?P<each>\w+),(?P<tested>\w+){_COUNTED}\)",
        rf"images\.\w+\.all\((?P<over>\w+),{call}{_COUNTED}\)",
    )
)
"""The sentences without spaces, whole: a call for every image, counted. Anything more makes another sentence."""

_Demand = Literal["required", "optional"]


class _Sentence(NamedTuple):
    """A validation that is understood: so many of these attestors, over a named attestation or the image itself."""

    attestors: tuple[str, ...]
    need: int
    statement: str


def image_policy(draft: Draft, at: Cursor, keys: Mapping[str, str]) -> None:
    """Adds the policy of one document to the draft, with its notes.

    Raises:
        PolicyError: a member has the wrong type, or names an attestor or attestation that is not there.
    """
    metadata, spec = at.get("metadata"), at.get("spec")
    name = "" if metadata is None else metadata.text_of("name")
    if metadata is None or spec is None or not name:
        raise at.error("expected metadata.name and spec")
    draft.unknown(spec, _SPEC_MEMBERS)
    namespace = metadata.text_of("namespace") if at.text_of("kind").startswith("Namespaced") else ""
    images = _images(draft, spec)
    require = _Reader(draft, spec, Signers(draft, keys))
    tree = require.tree()
    if tree is None or not images:
        draft.note(spec, "info", "no-signature", "nothing of this could be carried over; left out")
        return
    draft.policy(
        spec,
        name_of(namespace, name),
        match=_match(draft, spec, images, namespace),
        require=tree,
        attestors=require.signers.attestors,
        mode=_mode(spec),
        dialect="gobwas",
    )


def _mode(spec: Cursor) -> Mode:
    actions = spec.texts_of("validationActions")
    return "enforce" if not actions or "Deny" in actions else "audit"


def _images(draft: Draft, spec: Cursor) -> tuple[str, ...]:
    """The globs; an expression over the reference is not evaluated. Without either: every image."""
    found, entries = [], spec.list_of("matchImageReferences")
    for entry in entries:
        if glob := entry.text_of("glob"):
            found.append(glob)
        else:
            message = "an expression chooses images here; these would not be checked. Write patterns by hand"
            draft.note(entry, "weakens", "expression", message)
    return tuple(found) if entries else ("*",)


def _match(draft: Draft, spec: Cursor, images: tuple[str, ...], namespace: str) -> tuple[MatchRule, ...]:
    labels: dict[str, str] = {}
    namespaces: tuple[str, ...] = (namespace,) if namespace else ()
    constraints = spec.get("matchConstraints")
    for at in constraints.others({"resourceRules", "matchPolicy"}) if constraints is not None else ():
        if at.path[-1] == "namespaceSelector" and not namespaces and (named := namespace_names(at)):
            namespaces = named
        elif at.path[-1] == "objectSelector":
            pairs, lost = label_selector(at)
            labels = dict(pairs)
            for part in lost:
                draft.note(part, "loses", "match", "revet cannot look at this; the policy covers more")
        else:
            draft.note(at, "loses", "match", "revet cannot look at this; the policy covers more")
    if (conditions := spec.get("matchConditions")) is not None and conditions.value:
        draft.note(conditions, "loses", "match", "conditions in CEL are not evaluated; the policy covers more")
    return (MatchRule(images=images, namespaces=namespaces, labels=labels),)


class _Reader:
    """The attestors of one policy by name, made when a validation names them, and the requirement tree."""

    def __init__(self, draft: Draft, spec: Cursor, signers: Signers) -> None:
        self.signers = signers
        self._draft = draft
        self._spec = spec
        self._attestors = {entry.text_of("name"): entry for entry in spec.list_of("attestors")}
        self._statements = {entry.text_of("name"): entry for entry in spec.list_of("attestations")}
        self._built: dict[str, tuple[str, dict[str, str]]] = {}

    def tree(self) -> Requirement | None:
        """All validations that are understood; None when there is none."""
        trees = [self._validation(at) for at in self._spec.list_of("validations")]
        return all_of([tree for tree in trees if tree is not None])

    def _validation(self, at: Cursor) -> Requirement | None:
        sentence = _understood(at.text_of("expression"))
        if sentence is None:
            message = "this expression is not one of those the importer knows; translate it by hand"
            self._draft.note(at, "weakens", "expression", message)
            return None
        predicate = ""
        if sentence.statement:
            predicate = self._predicate(at, sentence.statement)
            if not predicate:
                return None
        if sentence.need > len(sentence.attestors):
            raise at.error(f"{sentence.need} of {len(sentence.attestors)} attestors can never be met")
        leaves = [self._leaf(at, name, predicate) for name in sentence.attestors]
        return n_of(sentence.need, leaves)

    def _predicate(self, at: Cursor, name: str) -> str:
        """The predicate type of a named attestation; empty with a note when it has no native form."""
        statement = self._statements.get(name)
        if statement is None:
            raise at.error(f"there is no attestation {name}")
        intoto = statement.get("intoto")
        if intoto is not None:
            return intoto.text_of("type")
        message = "an artifact that refers to the image is no statement about it; this check would be left out"
        self._draft.note(statement, "weakens", "attestations", message)
        return ""

    def _leaf(self, at: Cursor, name: str, predicate: str) -> Requirement:
        if name not in self._built:
            if name not in self._attestors:
                raise at.error(f"there is no attestor {name}")
            self._built[name] = self._attestor(self._attestors[name], name)
        signer, annotations = self._built[name]
        if not predicate:
            return Requirement(signed_by=signer, annotations=annotations)
        if annotations:
            message = "annotations of an attestation's signature have no native form; they would be left out"
            self._draft.note(self._attestors[name], "weakens", "annotations", message)
        with placed(self._attestors[name]):
            return Requirement(attested_by=signer, predicate_type=predicate)

    def _attestor(self, at: Cursor, name: str) -> tuple[str, dict[str, str]]:
        if (notary := at.get("notary")) is not None:
            what = "the certificate store of these Notary signatures"
            stores: tuple[str, ...] = (self.signers.root_named(notary, name, what, store="ca:"),)
            if notary.get("tsaCerts") is not None:
                stores += (self.signers.root_named(notary, name, "the store of their timestamps", store="tsa:"),)
            members = {"notary": {"stores": stores, "identities": ("*",)}}
            return self.signers.add(notary, name, members), {}
        cosign = at.get("cosign")
        if cosign is None:
            raise at.error("expected cosign or notary")
        self._draft.unknown(cosign, _COSIGN_MEMBERS)
        if (source := cosign.get("source")) is not None:
            message = "signatures kept elsewhere are not looked for; revet will not find them"
            self._draft.note(source, "loses", "repository", message)
        return self._cosign(cosign, name), cosign.pairs_of("annotations")

    def _cosign(self, at: Cursor, name: str) -> str:
        """A key, an identity or a certificate. `roots` of the cosign entry itself: a TUF mirror or a trusted root."""
        ctlog = at.get("ctlog")
        log: _Demand = "optional" if flag(ctlog, "insecureIgnoreTlog", default=False) else "required"
        sct: _Demand = "optional" if flag(ctlog, "insecureIgnoreSCT", default=False) else "required"
        for member in ("rekorPubKey", "ctLogPubKey"):
            if ctlog is not None and ctlog.get(member) is not None:
                self.signers.log_key(ctlog)
        stamped = None if ctlog is None else ctlog.get("tsaCertChain")
        if (key := at.get("key")) is not None:
            if stamped is not None:
                message = "revet demands no timestamp beside a key's signature"
                self._draft.note(stamped, "weakens", "timestamp", message)
            return self._key(key, name, log)
        if (keyless := at.get("keyless")) is not None:
            return self._keyless(at, keyless, name, {"log": log, "sct": sct})
        if (certificate := at.get("certificate")) is not None:
            return self._certificate(certificate, name, {"log": log, "sct": sct}, stamped=stamped is not None)
        raise at.error("expected key, keyless or certificate")

    def _key(self, at: Cursor, name: str, log: _Demand) -> str:
        text = at.text_of("data") or at.text_of("kms")
        if not text:
            expression = at.get("expression")
            if expression is None:
                raise at.error("expected data, kms or expression")
            return self.signers.keys(at, [self.signers.key_named(expression, name)], log=log)
        return self.signers.keys(at, self.signers.each_key(at, text), log=log)

    def _keyless(self, cosign: Cursor, at: Cursor, name: str, members: Mapping[str, str]) -> str:
        identities = tuple(self._identity(entry) for entry in at.list_of("identities"))
        found: dict[str, object] = {"identities": identities, **members}
        extensions = at.get("additionalExtensions")
        if extensions is not None and extensions.value:
            message = "extensions are not translated here; write them into the identity"
            self._draft.note(extensions, "weakens", "extensions", message)
        if roots := at.text_of("roots"):
            found["roots"] = (certificates(at, roots),)
        for member in ("tuf", "trustedRoot"):
            if (elsewhere := cosign.get(member)) is not None:
                found["roots"] = (self.signers.root_named(elsewhere, f"{name}-root", "the trust root"),)
        return self.signers.add(at, name, {"keyless": found})

    def _identity(self, at: Cursor) -> object:
        names = ("issuer", "subject", "issuerRegExp", "subjectRegExp")
        if at.text_of("subjectExpression"):
            message = "an expression makes this subject; any subject would do. Write it out"
            self._draft.note(at, "weakens", "expression", message)
        members = {member: at.text_of(member) for member in names}
        regexes = unanchored((members["issuerRegExp"], members["subjectRegExp"]))
        return self.signers.identity(at, members | regexes)

    def _certificate(self, at: Cursor, name: str, members: Mapping[str, str], *, stamped: bool) -> str:
        leaf, chain = at.get("cert"), at.get("certChain")
        texts = [None if part is None else part.text_of("value") for part in (leaf, chain)]
        if leaf is None and chain is None:
            raise at.error("expected cert or certChain")
        if "" in texts:
            return self.signers.keys(at, [self.signers.key_named(at, name)], log=members["log"])
        if texts[1] is None:
            return self.signers.keys(at, [certificate_key(at, texts[0] or "")], log=members["log"])
        found: dict[str, object] = {"roots": (certificates(at, texts[1]),), **members}
        found |= {"timestamp": "required"} if stamped else {}
        who = {"fingerprints": (certificate_fingerprint(at, texts[0]),)} if texts[0] else {"anyone": True}
        return self.signers.add(at, name, {"certificates": found | who})


def _understood(expression: str) -> _Sentence | None:
    if len(expression) > MAX_EXPRESSION_CHARACTERS:
        return None
    text = "".join(expression.split())
    found = next((match for shape in _SENTENCES if (match := shape.fullmatch(text))), None)
    if found is None:
        return None
    parts = found.groupdict()
    if parts["over"] != parts["image"] or parts.get("each") != parts.get("tested"):
        return None
    count = int(parts["count"]) + (parts["operator"] == ">")
    names = tuple(dict.fromkeys(dotted or quoted for dotted, quoted in _ATTESTOR.findall(text)))
    if count == 0 or (parts["operator"] == "==" and count != len(names)):
        return None
    return _Sentence(names, count, parts.get("statement") or "")
