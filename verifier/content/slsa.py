"""The rule over SLSA provenance: who built it, from which source, how, with which parameters.

    judge(SlsaRule(builders=("https://github.com/acme/builder@*",)), predicate)

The level reached is the one that *your* table gives the builder, never one that the predicate claims (slsa.dev,
verifying artifacts: "the verifier's roots of trust"). Parameters that the builder controls (`internalParameters`,
`environment`) are not looked at: only external parameters are the interface to whoever asked for the build.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.content.document import Predicate
from verifier.content.model import SlsaRule
from verifier.content.outcome import Mismatch, Outcome, instant_of, listed, show
from verifier.content.patterns import any_of
from verifier.content.provenance import Provenance, Source, read_provenance, split_source
from verifier.evidence.content import excerpt


def judge(rule: SlsaRule, predicate: Predicate) -> Outcome:
    """Whether the provenance meets the rule.

    Raises:
        Mismatch: it does not, or it is no provenance.
    """
    found = predicate.view(read_provenance)
    _expect("builder.id", found.builder, rule.builders)
    _expect("buildType", found.build_type, rule.build_types)
    _check_level(rule, found.builder)
    _check_sources(rule, found)
    _check_parameters(rule, found.parameters)
    if rule.max_age is None:
        return Outcome()
    return Outcome(instant_of(found.finished, "the end of the build"), rule.max_age)


def _expect(what: str, found: str, patterns: tuple[str, ...] | None) -> None:
    if patterns is not None and not any_of(patterns).matches(found):
        raise Mismatch(f"{what} is {excerpt(found)}, expected {listed(patterns)}")


def _check_level(rule: SlsaRule, builder: str) -> None:
    if rule.min_level is None:
        return
    reached = next((row.level for row in rule.levels if any_of((row.builder,)).matches(builder)), 0)
    if reached < rule.min_level:
        raise Mismatch(f"builder {excerpt(builder)} reaches level {reached}, expected {rule.min_level} or higher")


def _check_sources(rule: SlsaRule, found: Provenance) -> None:
    if rule.sources is None and rule.source_refs is None:
        return
    if not found.sources:
        raise Mismatch("the parameters of the build name no source")
    for source in found.sources:
        _check_source(rule, source)


def _check_source(rule: SlsaRule, source: Source) -> None:
    if rule.sources is not None:
        wanted = any_of(tuple(split_source(pattern).uri for pattern in rule.sources))
        if not wanted.matches(source.uri):
            raise Mismatch(f"source is {excerpt(source.uri)}, expected {listed(rule.sources)}")
    if rule.source_refs is not None and not any_of(rule.source_refs).matches(source.ref):
        raise Mismatch(f"source reference is {excerpt(source.ref)}, expected {listed(rule.source_refs)}")


# -------------------------------------------------------------------------------------------------------- parameters


def _check_parameters(rule: SlsaRule, parameters: Mapping[str, Any]) -> None:
    if rule.allowed_parameters is not None:
        allowed = any_of(rule.allowed_parameters)
        for name in parameters:
            if not allowed.matches(name):
                raise Mismatch(f"external parameter {excerpt(name)} is not among {listed(rule.allowed_parameters)}")
    for path, wanted in rule.parameters.items():
        values = wanted if isinstance(wanted, tuple) else (wanted,)
        found = _at(parameters, path)
        if not any(_equals(found, value) for value in values):
            raise Mismatch(f"external parameter {excerpt(path)} is {show(found)}, expected {listed(values)}")


def _at(parameters: object, path: str) -> object:
    """The value at a JSON pointer (RFC 6901), or at a dotted path; None where there is nothing."""
    if path.startswith("/"):
        steps = [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    else:
        steps = path.split(".")
    value = parameters
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _equals(found: object, wanted: bool | int | str) -> bool:
    """Text by pattern; numbers and booleans by type and value (`true` is not 1)."""
    if isinstance(wanted, str):
        return isinstance(found, str) and any_of((wanted,)).matches(found)
    return type(found) is type(wanted) and found == wanted
