"""The rule over bills of material: format, components that must or must not be in it, licences.

    judge(SbomRule(forbid_components=("pkg:npm/event-stream@3.3.6",)), predicate)

Only components that the document lists are judged: an SBOM cannot show what it leaves out. Patterns are over the
package URL without qualifiers, or over `name@version` when they do not start with `pkg:`; capitals make no difference.
"""

from __future__ import annotations

from verifier.content.bom import Bom, Item, read_bom
from verifier.content.document import Predicate
from verifier.content.licences import Expression, Licensing, parse_licence
from verifier.content.model import SbomRule
from verifier.content.outcome import Mismatch, Outcome, instant_of, listed
from verifier.content.patterns import Component, check_budget, components, named_component, package_url
from verifier.evidence.content import excerpt

Names = tuple[tuple[Component, ...], ...]


def judge(rule: SbomRule, predicate: Predicate) -> Outcome:
    """Whether the document meets the rule.

    Raises:
        Mismatch: it does not, or it is no SBOM that is understood.
    """
    bom = predicate.view(read_bom)
    if rule.formats is not None and bom.format not in rule.formats:
        raise Mismatch(f"format is {bom.format} {excerpt(bom.version)}, expected {' or '.join(rule.formats)}")
    count = sum(1 for item in bom.items if not item.is_file)
    if count < rule.min_components:
        raise Mismatch(f"{count} components, expected at least {rule.min_components}")
    if rule.forbid_components is not None:
        _check_forbidden(bom, predicate.view(_names), rule.forbid_components)
    if rule.require_components is not None:
        _check_required(predicate.view(_names), rule.require_components)
    if rule.allowed_licences is not None or rule.forbidden_licences is not None or rule.max_unlicensed is not None:
        _check_licences(rule, bom)
    return Outcome(instant_of(bom.created, "the document's date"), rule.max_age) if rule.max_age else Outcome()


# -------------------------------------------------------------------------------------------------------- components


def _names(predicate: Predicate) -> Names:
    """For each component of the document every name it goes by."""
    return tuple(
        (*(package_url(purl) for purl in item.purls), named_component(item.name, item.version))
        for item in (*predicate.view(read_bom).described, *predicate.view(read_bom).items)
    )


def _check_forbidden(bom: Bom, names: Names, patterns: tuple[str, ...]) -> None:
    wanted = components(patterns)
    check_budget(len(names), len(wanted.wild))
    items = (*bom.described, *bom.items)
    found = [_label(items[at]) for at, aliases in enumerate(names) if any(map(wanted.matches, aliases))]
    if found:
        raise Mismatch(f"{len(found)} forbidden components: {listed(found)}")


def _check_required(names: Names, patterns: tuple[str, ...]) -> None:
    check_budget(len(names), len(patterns))
    for pattern in patterns:
        wanted = components((pattern,))
        if not any(wanted.matches(alias) for aliases in names for alias in aliases):
            raise Mismatch(f"no component matches {excerpt(pattern)}")


def _label(item: Item) -> str:
    return item.purls[0] if item.purls else f"{item.name}@{item.version}"


# ----------------------------------------------------------------------------------------------------------- licences


def _check_licences(rule: SbomRule, bom: Bom) -> None:
    licensing = Licensing(rule.allowed_licences, rule.forbidden_licences)
    judged: dict[str, bool | None] = {}
    unlicensed, refused = [], []
    for item in bom.items:
        answers = {_answer(text, licensing, judged) for text in item.licences} or {None}
        if False in answers:
            refused.append(f"{_label(item)}: {' AND '.join(item.licences)}")
        elif None in answers and not item.is_file:
            unlicensed.append(_label(item))
    if refused:
        raise Mismatch(f"{len(refused)} components under licences that are not accepted: {listed(refused)}")
    most = rule.max_unlicensed
    if most is None and rule.allowed_licences is not None:
        most = 0
    if most is not None and len(unlicensed) > most:
        raise Mismatch(f"{len(unlicensed)} components without a known licence, at most {most}: {listed(unlicensed)}")


def _answer(text: str, licensing: Licensing, judged: dict[str, bool | None]) -> bool | None:
    """Accepted, refused, or None for what is no licence expression. Each text is read once."""
    if text not in judged:
        expression: Expression | None = parse_licence(text)
        judged[text] = None if expression is None else licensing.accepts(expression)
    return judged[text]
