"""Kyverno ClusterPolicy and Policy (`verifyImages`, both its forms) and PolicyException, read into native documents.

    result = import_kyverno([("policies.yaml", text)])
    result.policies        one per verifyImages block, id <policy>.<rule>, dialect kyverno: patterns keep their meaning
    result.exemptions      one per exception, rule and resource filter, 30 days
    result.notes           every loss, with file, line and field

Written after kyverno/kyverno api/kyverno/v1 (ImageVerification, MatchResources), api/kyverno/v2 (PolicyException) and
pkg/engine/internal/imageverifier.go. A loss that weakens a check raises, unless the caller accepts that kind of loss.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from verifier.policy.documents import (
    API_VERSION,
    DEFAULT_EXEMPTION_DAYS,
    ExemptionDocument,
    ExemptionSpec,
    Metadata,
)
from verifier.policy.globs import compile_glob
from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.drafting import Draft, Mode, Sources, all_of, name_of, placed
from verifier.policy.importers.kyverno_attestors import Attestors
from verifier.policy.importers.kyverno_ivpol import IMAGE_KINDS, image_policy
from verifier.policy.importers.kyverno_scope import Filter, filters, is_variable
from verifier.policy.importers.notes import ImportResult, LossSeverity, settle
from verifier.policy.importers.signers import Signers
from verifier.policy.model import MatchRule, Policy, Requirement

_POLICY_KINDS: Final = frozenset({"ClusterPolicy", "Policy"})
_BLOCK_MEMBERS: Final = frozenset(
    {
        *("type", "image", "imageReferences", "skipImageReferences", "key", "roots", "subject", "issuer"),
        *("additionalExtensions", "attestors", "attestations", "annotations", "repository", "mutateDigest"),
        *(
            "verifyDigest",
            "required",
            "failureAction",
            "imageRegistryCredentials",
            "useCache",
            "cosignOCI11",
            "validate",
        ),
    }
)
_AUTOGEN: Final = re.compile(r"^autogen-(?:cronjob-)?")


class _Imported(NamedTuple):
    """A policy made from a rule, so that exceptions can be tied to it."""

    kyverno_name: str
    rule: str
    policy: Policy


def import_kyverno(
    sources: Sources,
    *,
    accept_weaker: bool | Collection[str] = False,
    keys: Mapping[str, str] | None = None,
    owner: str = "imported",
) -> ImportResult:
    """Policies, exemptions and loss notes of all documents of all sources.

    Args:
        sources: (file name, text) pairs; the name is only used in messages.
        accept_weaker: True, or the codes of the weakenings that are accepted (`transparency-log` …).
        keys: PEM text for keys that the policies only refer to, by reference (`k8s://namespace/secret`, a KMS URI).
        owner: owner written into exemptions.

    Raises:
        PolicyError: a document that cannot be read, or that Kyverno would refuse too.
        WeakeningImport: a policy would ask less than the original, in a way that is not accepted.
    """
    importer = _Importer(sources, accept_weaker, keys or {}, owner)
    exceptions = []
    for at in importer.draft.documents():
        if at.text_of("kind") == "PolicyException" and at.text_of("apiVersion").startswith("kyverno.io/"):
            exceptions.append(at)
        else:
            with placed(at):
                importer.document(at)
    for at in exceptions:
        with placed(at):
            importer.exception(at)
    draft = importer.draft
    return settle(ImportResult(tuple(draft.policies), tuple(importer.exemptions), tuple(draft.notes)), accept_weaker)


class _Importer:
    """Takes document after document and keeps what came of them."""

    def __init__(
        self, sources: Sources, accept_weaker: bool | Collection[str], keys: Mapping[str, str], owner: str
    ) -> None:
        self.draft = Draft("kyverno", "kyverno", sources)
        self.imported: list[_Imported] = []
        self.exemptions: list[ExemptionDocument] = []
        self._accept = accept_weaker
        self._keys = keys
        self._owner = owner
        self._note = self.draft.note

    # ------------------------------------------------------------------------------------------------- policies

    def document(self, at: Cursor) -> None:
        """A document that is no exception."""
        kind, api = at.text_of("kind"), at.text_of("apiVersion")
        if kind in _POLICY_KINDS and api.startswith("kyverno.io/"):
            self._policy(at)
        elif kind in IMAGE_KINDS and api.startswith("policies.kyverno.io/"):
            image_policy(self.draft, at, self._keys)
        elif kind == "PolicyException":
            self._note(at, "loses", "other-language", "an exception in CEL is not read; nothing is exempted by it")
        elif api.partition("/")[0].endswith("kyverno.io"):
            self._note(at, "info", "other-kind", f"{kind} checks no image signatures; left out")
        else:
            self._note(at, "info", "other-kind", f"{kind or 'this'} is no Kyverno policy; left out")

    def _policy(self, at: Cursor) -> None:
        metadata, spec = at.get("metadata"), at.get("spec")
        name = "" if metadata is None else metadata.text_of("name")
        if metadata is None or spec is None or not name:
            raise at.error("expected metadata.name and spec")
        namespace = metadata.text_of("namespace") if at.text_of("kind") == "Policy" else ""
        if at.text_of("kind") == "Policy" and not namespace:
            self._note(
                metadata, "loses", "namespace", "a Policy without namespace; revet applies it to every namespace"
            )
        if (overrides := spec.get("validationFailureActionOverrides")) is not None:
            self._note(
                overrides, "loses", "mode", "one mode per policy; the overrides per namespace are not carried over"
            )
        if spec.text_of("applyRules") == "One":
            self._note(spec, "loses", "apply-rules", "applyRules: One is not carried over; every rule holds")
        for rule in spec.list_of("rules"):
            self._rule(f"{namespace}/{name}" if namespace else name, namespace, metadata, spec, rule)

    def _rule(self, name: str, namespace: str, metadata: Cursor, spec: Cursor, rule: Cursor) -> None:
        blocks = rule.list_of("verifyImages")
        if not blocks:
            self._note(rule, "info", "other-rule", "this rule checks no image signatures; left out")
        rule_name = rule.text_of("name")
        match = self._match_rules(rule, namespace)
        exclude = self._exclude_rules(rule) if blocks else ()
        for member in ("preconditions", "celPreconditions"):
            if blocks and (found := rule.get(member)) is not None:
                self._note(found, "loses", "preconditions", "preconditions are not carried over; revet covers more")
        for number, block in enumerate(blocks, start=1):
            policy_id = policy_name(name, rule_name) + (f".{number}" if number > 1 else "")
            policy = self._block(policy_id, metadata, spec, block, match, exclude)
            if policy is None:
                continue
            self.imported.append(_Imported(name, rule_name, policy))

    def _match_rules(self, rule: Cursor, namespace: str) -> tuple[Filter, ...]:
        found = filters(rule.get("match")) or [Filter(rule)]
        if rule.get("verifyImages") is not None:
            for lost in (lost for part in found for lost in part.lost):
                self._note(lost, "loses", "match", "revet cannot look at this; the policy covers more")
        return tuple(part._replace(namespaces=(namespace,)) if namespace else part for part in found)

    def _exclude_rules(self, rule: Cursor) -> tuple[Filter, ...]:
        kept = []
        for part in filters(rule.get("exclude")):
            if part.lost:
                for lost in part.lost:
                    message = "revet cannot look at this; the whole filter is left out, the policy covers more"
                    self._note(lost, "loses", "exclude", message)
            elif part.namespaces or part.labels:
                kept.append(part)
            else:
                self._note(part.at, "loses", "exclude", "this excludes every pod; left out, the policy covers more")
        return tuple(kept)

    def _block(
        self,
        policy_id: str,
        metadata: Cursor,
        spec: Cursor,
        block: Cursor,
        match: tuple[Filter, ...],
        exclude: tuple[Filter, ...],
    ) -> Policy | None:
        images = self._images(block)
        signers = Signers(self.draft, self._keys)
        require = self._requirement(policy_id, block, signers)
        if require is None or not images:
            return None
        skip = self._skipped(block)
        excluded = [_match_rule(part, ()) for part in exclude] + ([MatchRule(images=skip)] if skip else [])
        return self.draft.policy(
            block,
            policy_id,
            match=tuple(_match_rule(part, images) for part in match),
            exclude=tuple(excluded),
            require=require,
            attestors=signers.attestors,
            mode=_mode(block, spec),
            description=_description(metadata),
        )

    def _images(self, block: Cursor) -> tuple[str, ...]:
        """The patterns that are known outside a cluster. A pattern less is an image less that is checked."""
        entries = [*block.list_of("imageReferences"), *(e for e in [block.get("image")] if e is not None)]
        if not entries:
            raise block.error("expected imageReferences (or image)")
        for entry in entries:
            if is_variable(entry.text()):
                self._note(entry, "weakens", "variable", "a variable in a pattern; these images would not be checked")
        return tuple(entry.text() for entry in entries if not is_variable(entry.text()))

    def _skipped(self, block: Cursor) -> tuple[str, ...]:
        entries = block.list_of("skipImageReferences")
        for entry in entries:
            if is_variable(entry.text()):
                self._note(entry, "loses", "variable", "a variable in a pattern; nothing is skipped by it")
        return tuple(entry.text() for entry in entries if not is_variable(entry.text()))

    def _requirement(self, policy_id: str, block: Cursor, signers: Signers) -> Requirement | None:
        """The signatures and attestations a block asks for; None when it asks for none that can be expressed."""
        self._note_members(block)
        store = f"{policy_id}.certificates" if block.text_of("type") == "Notary" else ""
        attestors = Attestors(self.draft, signers, block.pairs_of("annotations"), notary_store=store)
        old, attestations = _old_form(block), block.list_of("attestations")
        trees = [attestors.sets(block.list_of("attestors"))]
        trees += [self._attestation(at, attestors, notary=bool(store)) for at in attestations]
        if old is not None and not attestations:  # beside attestations the old key is theirs, not the image's
            trees.append(self._old_signer(old, block, attestors))
        elif old is None and not block.list_of("attestors") and not attestations:
            self._note(block, "info", "no-signature", "this asks for no signature; left out")
        return all_of([tree for tree in trees if tree is not None])

    def _attestation(self, at: Cursor, attestors: Attestors, *, notary: bool) -> Requirement | None:
        """An attestation of a type by attestors of its own; conditions over its content stay behind."""
        self.draft.unknown(at, {"name", "type", "predicateType", "attestors", "conditions"})
        kind, sets = at.text_of("type") or at.text_of("predicateType"), at.list_of("attestors")
        if (conditions := at.get("conditions")) is not None and conditions.value:
            message = "conditions on the content are not translated; write a rule under attestedBy"
            self._note(conditions, "weakens", "conditions", message)
        if notary or not kind or not sets:
            lacks = "Notary signs artifacts, not statements" if notary else "without a type or attestors"
            self._note(at, "weakens", "attestations", f"no native form ({lacks}); this check would be left out")
            return None
        return attestors.sets(sets, kind)

    def _old_signer(self, old: Cursor, block: Cursor, attestors: Attestors) -> Requirement:
        if old.path[-1] == "key":
            message = "Kyverno 1.10 and later also looks this up in a log; the versions of this form did not"
            self._note(old, "loses", "transparency-log", message)
            return attestors.key(old)
        return Requirement(signed_by=attestors.keyless(block), annotations=block.pairs_of("annotations"))

    def _note_members(self, block: Cursor) -> None:
        self.draft.unknown(block, _BLOCK_MEMBERS)
        for member, (severity, code, message) in _MEMBER_NOTES.items():
            if (found := block.get(member)) is not None:
                self._note(found, severity, code, message)
        required = block.get("required")
        if required is not None and required.value is False:
            self._note(required, "info", "required", "revet judges every matching image; this is not carried over")
        if block.text_of("type") == "SigstoreBundle":
            self._note(block, "info", "format", "revet accepts a signature in either format, bundle or classic")

    # ----------------------------------------------------------------------------------------------- exceptions

    def exception(self, at: Cursor) -> None:
        """A PolicyException: exemptions for the imported policies it names."""
        metadata, spec = at.get("metadata"), at.get("spec")
        if metadata is None or spec is None or not metadata.text_of("name"):
            raise at.error("expected metadata.name and spec")
        targets = [target for entry in spec.list_of("exceptions") for target in self._targets(entry)]
        lost = [found for found in (spec.get("conditions"), *spec.others(_EXCEPTION_MEMBERS)) if found is not None]
        scopes = [scope for part in filters(spec.get("match")) if (scope := self._scope(part, lost)) is not None]
        made = [(target, scope) for target in dict.fromkeys(targets) for scope in scopes]
        for number, (target, scope) in enumerate(made, start=1):
            name = name_of(metadata.text_of("name")) + (f".{number}" if len(made) > 1 else "")
            self.exemptions.append(self._exemption(name, target, scope, metadata))
        if made:
            message = f"Kyverno's exceptions have no end; this one ends after {DEFAULT_EXEMPTION_DAYS} days"
            self._note(at, "info", "expiry", message)

    def _targets(self, entry: Cursor) -> Iterator[str]:
        """Ids of the policies an exception is for; a policy of another file is named by its rule, if literal."""
        name = entry.text_of("policyName")
        known = [imported for imported in self.imported if imported.kyverno_name == name]
        for rule in entry.texts_of("ruleNames"):
            wanted = compile_glob(_AUTOGEN.sub("", rule) or "*", "kyverno", "name")
            found = [imported.policy.id for imported in known if wanted(imported.rule)]
            if not found and not known and "*" not in rule and "?" not in rule:
                found = [policy_name(name, _AUTOGEN.sub("", rule))]
            if not found:
                message = f"rule {rule[:80]} of {name[:80]} is none of the imported ones; nothing is exempted by it"
                self._note(entry, "loses", "exception-target", message)
            yield from found

    def _scope(self, part: Filter, besides: list[Cursor]) -> tuple[str, ...] | None:
        """Namespaces of an exemption, or None when it would cover more than the exception and that is not accepted."""
        lost = [*part.lost, *besides, *([part.at] if part.labels else [])]
        accepted = self._accept is True or (self._accept and "exception-scope" in self._accept)
        for found in lost:
            if accepted:
                self._note(found, "weakens", "exception-scope", "revet cannot look at this; the exemption covers more")
            else:
                message = "revet cannot look at this; not imported. Write an Exemption by image or digest"
                self._note(found, "loses", "exception-scope", message)
        return None if lost and not accepted else part.namespaces

    def _exemption(self, name: str, policy_id: str, namespaces: tuple[str, ...], metadata: Cursor) -> ExemptionDocument:
        where = f"{metadata.text_of('namespace')}/{metadata.text_of('name')}".lstrip("/")
        spec = ExemptionSpec(
            policy=policy_id,
            namespaces=namespaces,
            why=f"imported from Kyverno's PolicyException {where}",
            owner=self._owner,
            days=DEFAULT_EXEMPTION_DAYS,
        )
        return ExemptionDocument(api_version=API_VERSION, kind="Exemption", metadata=Metadata(name=name), spec=spec)


_MEMBER_NOTES: Final[dict[str, tuple[LossSeverity, str, str]]] = {
    "validate": ("weakens", "validate", "conditions on attestations have no native form; they would be left out"),
    "repository": ("loses", "repository", "signatures kept in another repository are not looked for, so not found"),
    "mutateDigest": ("info", "digest", "revet changes no pod; it judges the digest that runs"),
    "verifyDigest": ("info", "digest", "revet judges the digest that runs, pinned or not"),
    "imageRegistryCredentials": ("info", "credentials", "give the fetcher its registry credentials"),
}
"""Members of a block whose presence alone is worth a note."""

_EXCEPTION_MEMBERS: Final = frozenset({"background", "match", "conditions", "exceptions", "podSecurity"})


def policy_name(kyverno_name: str, rule: str) -> str:
    """Id of the policy made from a rule: the same for every import, whatever else the policy holds."""
    return name_of(f"{kyverno_name}.{rule}")


def _match_rule(part: Filter, images: tuple[str, ...]) -> MatchRule:
    return MatchRule(images=images, namespaces=part.namespaces, labels=dict(part.labels))


def _mode(block: Cursor, spec: Cursor) -> Mode:
    """Enforce or Audit, in either case of letters; Audit when nothing is said, as in Kyverno."""
    action = block.text_of("failureAction") or spec.text_of("validationFailureAction") or "Audit"
    modes: dict[str, Mode] = {"audit": "audit", "enforce": "enforce"}
    if action.lower() not in modes:
        raise block.error("expected failureAction Audit or Enforce")
    return modes[action.lower()]


def _old_form(block: Cursor) -> Cursor | None:
    """The member that makes this the form before `attestors`: a key, or the issuer of a keyless identity."""
    return block.get("key") or block.get("issuer") or block.get("subject")


def _description(metadata: Cursor) -> str:
    annotations = metadata.get("annotations")
    if annotations is None:
        return ""
    return annotations.text_of("policies.kyverno.io/description") or annotations.text_of("policies.kyverno.io/title")
