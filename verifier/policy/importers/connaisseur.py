"""Connaisseur's configuration (version 3): validators with trust roots, and rules that name one validator each.

    result = import_connaisseur([("values.yaml", text)])
    result.policies        one per rule that asks for anything, dialect connaisseur, and one for images without a rule

One rule applies to an image, the most specific: the one with the most `/`; then the one that shares the longest prefix
with the image, component by component; then the longest. The first step can be said by excluding the longer patterns.
The others depend on the image, so of two rules with equally many components both hold where both match: revet asks the
same or more, and a note says so. Written after internal/{config,policy,validator} of the project.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal, NamedTuple

from verifier.policy.globs import matches_everything
from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.drafting import Draft, Sources, all_of, flag, n_of, name_of, placed
from verifier.policy.importers.notes import ImportResult
from verifier.policy.importers.signers import Signers, certificates, unanchored
from verifier.policy.model import MatchRule, Requirement

TYPES: Final = ("static", "cosign", "notaryv1", "notation")

_DEFAULT: Final = "default"
_ALL: Final = "*"
_WITH_MEMBERS: Final = frozenset(
    {
        *("trustRoot", "threshold", "required", "delegations", "verifyInTransparencyLog", "verifySCT", "mode"),
        *("verificationLevel", "verifyTimestamp"),
    }
)
_VALIDATOR_MEMBERS: Final = frozenset({"name", "type", "approve", "trustRoots", "host", "auth", "cert"})
_NO_RULE: Final = "no rule of Connaisseur matches this image"
_STATIC_DENY: Final = "denied by the static validator {name}"

_Demand = Literal["required", "optional"]


class _Rule(NamedTuple):
    """A rule and the validator it names."""

    at: Cursor
    pattern: str
    validator: Cursor

    @property
    def components(self) -> int:
        """Parts of the pattern between slashes; the rule with more of them wins."""
        return self.pattern.count("/") + 1


def import_connaisseur(
    sources: Sources,
    *,
    accept_weaker: bool | Collection[str] = False,
    keys: Mapping[str, str] | None = None,
    owner: str = "imported",
) -> ImportResult:
    """Policies and loss notes of every configuration of all sources: the file itself, or the values of its chart.

    Args:
        sources: (file name, text) pairs; the name is only used in messages.
        accept_weaker: True, or the codes of the weakenings that are accepted.
        keys: PEM text for keys that the configuration only refers to (a KMS URI).
        owner: unused; the same for every importer.

    Raises:
        PolicyError: a document that cannot be read, or that Connaisseur would refuse too.
        WeakeningImport: a policy would ask less than the original, in a way that is not accepted.
    """
    del owner
    draft = Draft("connaisseur", "connaisseur", sources)
    for at in draft.documents():
        application = at.get("application")
        with placed(at):
            _Importer(draft, keys or {}).configuration(application or at)
    return draft.result(accept_weaker)


class _Importer:
    """One configuration."""

    def __init__(self, draft: Draft, keys: Mapping[str, str]) -> None:
        self._draft = draft
        self._keys = keys

    def configuration(self, at: Cursor) -> None:
        """Adds a policy per rule, and one for what no rule matches.

        Raises:
            PolicyError: Connaisseur would refuse it too.
        """
        validators = {entry.text_of("name"): entry for entry in at.list_of("validators")}
        rules = [self._rule(entry, validators) for entry in at.list_of("policy")]
        if not rules:
            raise at.error("expected validators and policy with at least one entry each")
        components = {rule.pattern: rule.components for rule in rules}
        for number, rule in enumerate(rules, start=1):
            self._policy(rule, f"rule-{number}", rules, components)
        self._unmatched(at, rules)

    def _rule(self, at: Cursor, validators: Mapping[str, Cursor]) -> _Rule:
        pattern, name = at.text_of("pattern"), at.text_of("validator") or _DEFAULT
        if not pattern:
            raise at.error("expected pattern")
        if name not in validators:
            raise at.error("there is no validator of this name")
        if validators[name].text_of("type") not in TYPES:
            raise validators[name].error(f"type is one of {', '.join(TYPES)}")
        return _Rule(at, self._draft.check_pattern(at, pattern), validators[name])

    def _policy(self, rule: _Rule, name: str, rules: list[_Rule], components: Mapping[str, int]) -> None:
        signers = Signers(self._draft, self._keys)
        require = self._require(rule, signers)
        self._note_pattern(rule, rules)
        if require is None:
            message = "approve: true asks for nothing; these images stay ungoverned, except where another rule governs"
            self._draft.note(rule.at, "info", "static-approve", message)
            return
        longer = tuple(pattern for pattern, count in components.items() if count > rule.components)
        self._draft.policy(
            rule.at,
            name_of("connaisseur", name),
            match=(MatchRule(images=(rule.pattern,)),),
            exclude=(MatchRule(images=longer),) if longer else (),
            require=require,
            attestors=signers.attestors,
            description=f"Connaisseur: {rule.pattern}",
        )

    def _note_pattern(self, rule: _Rule, rules: list[_Rule]) -> None:
        if not rule.pattern.startswith("*"):
            message = "as in Connaisseur, this may stand anywhere in an image's name: evil.invalid/… matches too"
            self._draft.note(rule.at, "info", "substring", message)
        if any(other is not rule and other.components == rule.components for other in rules):
            message = "another rule has equally many components; where both match, both hold (Connaisseur takes one)"
            self._draft.note(rule.at, "loses", "most-specific", message)

    def _unmatched(self, at: Cursor, rules: list[_Rule]) -> None:
        """Connaisseur denies an image without a rule."""
        patterns = tuple(dict.fromkeys(rule.pattern for rule in rules))
        if any(matches_everything(pattern, "connaisseur", "image") for pattern in patterns):
            return
        self._draft.policy(
            at,
            "connaisseur.no-rule",
            match=(MatchRule(images=("*",)),),
            exclude=(MatchRule(images=patterns),),
            require=Requirement(denied=_NO_RULE),
        )

    # --------------------------------------------------------------------------------------------------- validators

    def _require(self, rule: _Rule, signers: Signers) -> Requirement | None:
        """What a rule asks for; None when it approves everything."""
        validator, options = rule.validator, rule.at.get("with")
        self._draft.unknown(validator, _VALIDATOR_MEMBERS)
        if options is not None:
            self._draft.unknown(options, _WITH_MEMBERS)
        match validator.text_of("type"):
            case "static":
                if flag(validator, "approve", default=False):
                    return None
                return Requirement(denied=_STATIC_DENY.format(name=validator.text_of("name"))[:1024])
            case "cosign":
                return _Cosign(self._draft, signers, validator, options).require(rule.at)
            case "notaryv1":
                return self._trust_data(rule, signers, options)
            case _:
                return self._notation(rule, signers, options)

    def _trust_data(self, rule: _Rule, signers: Signers, options: Cursor | None) -> Requirement:
        """Docker Content Trust: root keys, and delegations which must all have signed."""
        roots = []
        for root in _roots(rule.validator, options):
            key = root.text_of("key")
            if "-----BEGIN" not in key:
                raise root.error("expected a public key in PEM")
            roots.append(key)
        named = () if options is None else options.texts_of("delegations")
        delegations = tuple(role if role.startswith("targets/") else f"targets/{role}" for role in named)
        if not delegations:
            message = "Connaisseur takes the delegation releases where there is one; revet takes any. Name delegations"
            self._draft.note(rule.at, "weakens", "delegations", message)
        members = {"trustData": {"roots": tuple(roots), "delegations": delegations}}
        return Requirement(signed_by=signers.add(rule.at, "content-trust", members))

    def _notation(self, rule: _Rule, signers: Signers, options: Cursor | None) -> Requirement:
        """One store per trust root; everybody in it."""
        stores: list[str] = []
        for root in _roots(rule.validator, options):
            reference = f"{rule.validator.text_of('name')}-{root.text_of('name')}"
            stores.append(signers.root_named(root, reference, "the certificate of this trust root", store="ca:"))
            if root.get("tsCert") is not None:
                stores.append(signers.root_named(root, reference, "its timestamp certificate", store="tsa:"))
        members: dict[str, Any] = {"stores": tuple(stores), "identities": ("*",)}
        if options is not None and (level := options.text_of("verificationLevel")):
            members["level"] = level
        if options is not None and (when := options.text_of("verifyTimestamp")):
            members["verifyTimestamp"] = when
        return Requirement(signed_by=signers.add(rule.at, "notation", {"notary": members}))


def _roots(validator: Cursor, options: Cursor | None) -> list[Cursor]:
    """The trust roots a rule names: one, all by `*`, the one called default when it names none."""
    entries = validator.list_of("trustRoots")
    wanted = ("" if options is None else options.text_of("trustRoot")) or _DEFAULT
    found = entries if wanted == _ALL else [entry for entry in entries if entry.text_of("name") == wanted]
    if not found:
        raise (options or validator).error("there is no trust root of this name in the validator")
    return found


class _Cosign:
    """Signatures of cosign: n of the trust roots, and those that are required besides."""

    def __init__(self, draft: Draft, signers: Signers, validator: Cursor, options: Cursor | None) -> None:
        self._draft = draft
        self._signers = signers
        self._validator = validator
        self._options = options
        self._host = validator.get("host")

    def require(self, at: Cursor) -> Requirement:
        """cosign_validator.go: `*` means all, or `threshold` of all, or all of `required`, or both.

        Raises:
            PolicyError: a trust root that is not there, a threshold that cannot be met.
        """
        options = self._options
        names = () if options is None else options.texts_of("required")
        every = {entry.text_of("name"): entry for entry in self._validator.list_of("trustRoots")}
        for name in names:
            if name not in every:
                raise at.error("required names a trust root that is not there")
        threshold = self._threshold(at)
        wildcard = options is not None and options.text_of("trustRoot") == _ALL
        found = [self._leaf(root) for root in _roots(self._validator, options)]
        trees = [self._leaf(every[name]) for name in dict.fromkeys(names)]
        if not wildcard:
            trees = [tree for tree in trees if tree not in found] + found
        elif threshold or not names:
            if threshold > len(found):
                raise at.error(f"threshold {threshold} of {len(found)} trust roots can never be met")
            counted = n_of(threshold or len(found), found)
            trees += [counted] if counted is not None and counted not in trees else []
        return all_of(trees) or trees[0]

    def _threshold(self, at: Cursor) -> int:
        found = None if self._options is None else self._options.get("threshold")
        value = 0 if found is None else found.value
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise (found or at).error("expected a whole number that is not negative")
        return value

    def _leaf(self, root: Cursor) -> Requirement:
        if (keyless := root.get("keyless")) is not None:
            return Requirement(signed_by=self._keyless(root, keyless))
        if key := root.text_of("key"):
            texts = self._signers.each_key(root, key)
            return Requirement(signed_by=self._signers.keys(root, texts, log=self._demand("verifyInTransparencyLog")))
        raise root.error("expected key or keyless")

    def _keyless(self, root: Cursor, at: Cursor) -> str:
        members: dict[str, object] = {
            "issuer": at.text_of("issuer"),
            "subject": at.text_of("subject"),
            "issuerRegExp": at.text_of("issuerRegex"),
            "subjectRegExp": at.text_of("subjectRegex"),
        }
        members |= unanchored((at.text_of("issuerRegex"), at.text_of("subjectRegex")))
        keyless: dict[str, object] = {
            "identities": (self._signers.identity(at, members),),
            "log": self._demand("verifyInTransparencyLog"),
            "sct": self._demand("verifySCT"),
        }
        if self._host is not None and (pem := self._host.text_of("fulcioCert")):
            keyless["roots"] = (certificates(self._host, pem),)
        return self._signers.add(at, root.text_of("name"), {"keyless": keyless})

    def _demand(self, option: str) -> _Demand:
        key = {"verifyInTransparencyLog": "rekorPubkey", "verifySCT": "ctLogPubkey"}[option]
        demanded = flag(self._options, option, default=True)
        if demanded and self._host is not None and self._host.get(key) is not None:
            self._signers.log_key(self._host)
        return "required" if demanded else "optional"
