"""Which policies govern a class: match and exclude rules, compiled once, asked for every class.

A rule is a set of facets (image, namespace, labels …) that must all accept; a policy governs when one of its match
rules accepts and none of its exclude rules does. Every facet keeps, per value it has seen, the bit mask of the rules
that accept it; so the second pod of a namespace costs a look-up and an AND, whatever the number of policies.

    index = PolicyIndex([compile_policy(p) for p in policies])
    for compiled in index.governing(scope, running_digest): ...

It decides from the *spec* reference and the running digest only, never from names the runtime reports.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from verifier.models import ImageReference, Scope
from verifier.policy.globs import DOCKER_HUB, DOCKER_LIBRARY, Matcher, Over, compile_glob, image_texts, split_image
from verifier.policy.model import Dialect, MatchRule, Policy

MAX_REMEMBERED: Final = 65_536
"""Values remembered per facet. Beyond, the memory starts anew: a bound on memory, not on correctness."""

_Value = TypeVar("_Value", bound=Hashable)
_Pairs = tuple[tuple[str, str], ...]
_Test = Callable[[Scope, str], bool]


class _Rule(NamedTuple):
    """A rule with the dialect its patterns are written in, and whether it takes images out of the policy."""

    rule: MatchRule
    dialect: Dialect
    excludes: bool

    def matcher(self, pattern: str, over: Over) -> Matcher:
        """The matcher of a pattern. One that its dialect refuses (a record nobody checked) governs rather than not."""
        try:
            return compile_glob(pattern, self.dialect, over)
        except ValueError:
            return _nothing if self.excludes else _anything


def _anything(_text: str) -> bool:
    return True


def _nothing(_text: str) -> bool:
    return False


class _Memory(dict[_Value, int]):
    """Value of a facet to the bit mask of the rules that accept it; computed on first sight."""

    def __init__(self, accepts: Callable[[_Value], int]) -> None:
        super().__init__()
        self._accepts = accepts

    def __missing__(self, value: _Value) -> int:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        mask = self[value] = self._accepts(value)
        return mask


class PolicyIndex:
    """The governing policies of a class, for many policies at once."""

    def __init__(self, policies: Sequence[CompiledPolicy]) -> None:
        self._policies = tuple(policies)
        rules = [rule for p in policies for rule in _rules(p.policy)]
        self._spans = _spans([p.policy for p in policies])
        self._every = (1 << len(rules)) - 1
        self._facets = tuple(_facets(rules))
        self._governing: dict[int, tuple[CompiledPolicy, ...]] = {}

    def governing(self, scope: Scope, digest: str) -> tuple[CompiledPolicy, ...]:
        """The policies that govern, in the order they were given.

        `digest` is the running manifest digest, or empty while it is not known.
        """
        mask = self._every
        for memory, value in self._facets:
            mask &= memory[value(scope, digest)]
            if not mask:
                return ()
        found = self._governing.get(mask)
        if found is None:
            if len(self._governing) >= MAX_REMEMBERED:
                self._governing.clear()
            found = self._governing[mask] = self._outcome(mask)
        return found

    def _outcome(self, mask: int) -> tuple[CompiledPolicy, ...]:
        return tuple(
            policy
            for policy, (match, exclude) in zip(self._policies, self._spans, strict=True)
            if mask & match and not mask & exclude
        )


class CompiledPolicy:
    """A policy ready to be asked. `policy` is the policy it was made from."""

    __slots__ = ("_index", "policy")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._index: PolicyIndex | None = None

    def governs(self, scope: Scope, digest: str) -> bool:
        """Whether a match rule accepts and no exclude rule does. For many policies ask a `PolicyIndex`."""
        if self._index is None:
            self._index = PolicyIndex([self])
        return bool(self._index.governing(scope, digest))

    def __repr__(self) -> str:
        return f"CompiledPolicy({self.policy.id!r}, {self.policy.version!r})"


def compile_policy(policy: Policy) -> CompiledPolicy:
    """The policy with its patterns compiled on first use. Raises nothing: a validated policy always compiles."""
    return CompiledPolicy(policy)


# ------------------------------------------------------------------------------------------------- facets to masks


def _facets(rules: Sequence[_Rule]) -> Iterator[tuple[_Memory[Any], Callable[[Scope, str], Any]]]:
    """The facets that any rule looks at, those with few values first: they are cheap and often decide alone."""

    def used(member: Callable[[MatchRule], object]) -> bool:
        return any(member(r.rule) for r in rules)

    if used(lambda r: r.clusters):
        yield _Memory(_either_facet(rules, lambda r: r.clusters)), lambda s, _: (s.cluster, s.cluster_name)
    if used(lambda r: r.cluster_labels):
        yield _Memory(_pairs_facet(rules, lambda r: r.cluster_labels)), lambda s, _: s.cluster_labels
    if used(lambda r: r.namespaces):
        yield _Memory(_text_facet(rules, lambda r: r.namespaces, "namespace")), lambda s, _: s.namespace
    if used(lambda r: r.service_accounts):
        yield _Memory(_text_facet(rules, lambda r: r.service_accounts, "name")), lambda s, _: s.service_account
    if used(lambda r: r.registries):
        yield _Memory(_text_facet(rules, lambda r: r.registries, "registry")), lambda s, _: s.image.registry
    if used(lambda r: r.repositories):
        yield _Memory(_text_facet(rules, lambda r: r.repositories, "repository")), lambda s, _: s.image.repository
    if used(lambda r: r.labels):
        yield _Memory(_pairs_facet(rules, lambda r: r.labels)), lambda s, _: s.labels
    if used(lambda r: r.images):
        yield _Memory(_image_facet(rules)), lambda s, digest: (s.image, digest)


def _rules(policy: Policy) -> Iterator[_Rule]:
    yield from (_Rule(rule, policy.dialect, excludes=False) for rule in policy.match)
    yield from (_Rule(rule, policy.dialect, excludes=True) for rule in policy.exclude)


def _spans(policies: Sequence[Policy]) -> list[tuple[int, int]]:
    """Per policy the bits of its match rules and of its exclude rules."""
    spans, bit = [], 0
    for policy in policies:
        match = ((1 << len(policy.match)) - 1) << bit
        bit += len(policy.match)
        exclude = ((1 << len(policy.exclude)) - 1) << bit
        bit += len(policy.exclude)
        spans.append((match, exclude))
    return spans


def _text_facet(
    rules: Sequence[_Rule], member: Callable[[MatchRule], tuple[str, ...]], over: Over
) -> Callable[[str], int]:
    free, tests = _tests(rules, lambda r: [r.matcher(p, over) for p in member(r.rule)])

    def accepts(text: str) -> int:
        return free | sum(bit for bit, matchers in tests if any(m(text) for m in matchers))

    return accepts


def _either_facet(
    rules: Sequence[_Rule], member: Callable[[MatchRule], tuple[str, ...]]
) -> Callable[[tuple[str, str]], int]:
    """Clusters: a pattern may match the stable id or the name."""
    accepts = _text_facet(rules, member, "name")
    return lambda texts: accepts(texts[0]) | accepts(texts[1])


def _pairs_facet(rules: Sequence[_Rule], member: Callable[[MatchRule], Mapping[str, str]]) -> Callable[[_Pairs], int]:
    """Labels: every key of the rule must be there, with a value its pattern accepts."""
    free, tests = _tests(rules, lambda r: [(key, r.matcher(p, "value")) for key, p in member(r.rule).items()])

    def accepts(pairs: _Pairs) -> int:
        values = dict(pairs)
        return free | sum(bit for bit, wanted in tests if all(k in values and m(values[k]) for k, m in wanted))

    return accepts


def _image_facet(rules: Sequence[_Rule]) -> Callable[[tuple[ImageReference, str]], int]:
    """What the repository decides alone is remembered by it; only the rest looks at tags and digests, per image."""
    free, tests = _tests(rules, lambda r: [_ImagePattern.of(p, r) for p in r.rule.images])
    by_repository: dict[str, tuple[int, list[tuple[int, _ImagePattern]]]] = {}

    def known(repository: str) -> tuple[int, list[tuple[int, _ImagePattern]]]:
        mask, open_ = free, []
        for bit, patterns in tests:
            possible = [p for p in patterns if p.possible(repository)]
            if any(p.by_name for p in possible):
                mask |= bit
            else:
                open_ += [(bit, p) for p in possible]
        return mask, open_

    def accepts(value: tuple[ImageReference, str]) -> int:
        image, digest = value
        found = by_repository.get(image.repository)
        if found is None:
            if len(by_repository) >= MAX_REMEMBERED:
                by_repository.clear()
            found = by_repository[image.repository] = known(image.repository)
        mask, open_ = found
        for bit, pattern in open_:
            if not mask & bit and any(map(pattern.matches, image_texts(image, digest, pattern.dialect))):
                mask |= bit
        return mask

    return accepts


class _ImagePattern(NamedTuple):
    """An image pattern, and what a repository's name says about it."""

    dialect: Dialect
    matches: Matcher
    name: Matcher | None
    """Matcher of the name part; None in dialects whose patterns have no parts."""
    prefix: str
    """What every text that matches begins with, in the dialect kyverno; elsewhere empty: it is not that simple."""
    by_name: bool
    """The name decides alone."""

    @staticmethod
    def of(pattern: str, rule: _Rule) -> _ImagePattern:
        parts = split_image(pattern)
        native = rule.dialect == "native"
        name = compile_glob(parts.name, "native", "repository") if native and parts.name else None
        by_name = native and parts.tag is None and parts.digest is None
        prefix = re.split(r"[*?]", pattern, maxsplit=1)[0] if rule.dialect == "kyverno" else ""
        return _ImagePattern(rule.dialect, rule.matcher(pattern, "image"), name, prefix, by_name)

    def possible(self, repository: str) -> bool:
        """Could any image of this repository match?"""
        if self.name is not None:
            return self.name(repository)
        names = (repository, repository.replace(f"{DOCKER_HUB}/{DOCKER_LIBRARY}", f"{DOCKER_HUB}/", 1))
        return any(name.startswith(self.prefix) or self.prefix.startswith(name) for name in names)


_Wanted = TypeVar("_Wanted")


def _tests(
    rules: Sequence[_Rule], wanted: Callable[[_Rule], list[_Wanted]]
) -> tuple[int, list[tuple[int, list[_Wanted]]]]:
    """The bits of the rules without this facet, which accept every value; and for the others bit and tests."""
    free, tests = 0, []
    for position, rule in enumerate(rules):
        found = wanted(rule)
        if found:
            tests.append((1 << position, found))
        else:
            free |= 1 << position
    return free, tests


# ------------------------------------------------------------------------------------------------ unmatched patterns


class UnmatchedPattern(NamedTuple):
    """A pattern that matches nothing of what was given: often a misspelt name, sometimes a policy made in advance."""

    policy: str
    path: tuple[str | int, ...]
    """As in the document: `("spec", "match", 0, "images", 1)`."""
    pattern: str


class _PatternAt(NamedTuple):
    policy: Policy
    path: tuple[str | int, ...]
    pattern: str
    matches: _Test


def unmatched_patterns(policies: Iterable[Policy], scopes: Iterable[tuple[Scope, str]]) -> list[UnmatchedPattern]:
    """Every pattern of every rule that matches no given (scope, running digest), in document order.

    Each pattern is looked at alone: it may match something that another facet of its rule then refuses.
    """
    left = [at for policy in policies for at in _patterns(policy)]
    for scope, digest in scopes:
        if not left:
            break
        left = [at for at in left if not at.matches(scope, digest)]
    return [UnmatchedPattern(at.policy.id, at.path, at.pattern) for at in left]


def _patterns(policy: Policy) -> Iterator[_PatternAt]:
    for section, rules in (("match", policy.match), ("exclude", policy.exclude)):
        for position, rule in enumerate(rules):
            found = _Rule(rule, policy.dialect, excludes=section == "exclude")
            for member, pattern, matches in _members(found):
                yield _PatternAt(policy, ("spec", section, position, *member), pattern, matches)


_LISTS: Final[dict[str, tuple[Over, Callable[[Scope], tuple[str, ...]]]]] = {
    "registries": ("registry", lambda s: (s.image.registry,)),
    "repositories": ("repository", lambda s: (s.image.repository,)),
    "namespaces": ("namespace", lambda s: (s.namespace,)),
    "service_accounts": ("name", lambda s: (s.service_account,)),
    "clusters": ("name", lambda s: (s.cluster, s.cluster_name)),
}
_MAPS: Final[dict[str, Callable[[Scope], _Pairs]]] = {
    "labels": lambda s: s.labels,
    "cluster_labels": lambda s: s.cluster_labels,
}


def _members(rule: _Rule) -> Iterator[tuple[tuple[str | int, ...], str, _Test]]:
    for position, pattern in enumerate(rule.rule.images):
        yield ("images", position), pattern, _on_image(rule.matcher(pattern, "image"), rule.dialect)
    for name, (over, texts) in _LISTS.items():
        for position, pattern in enumerate(getattr(rule.rule, name)):
            yield (_alias(name), position), pattern, _on_texts(rule.matcher(pattern, over), texts)
    for name, pairs in _MAPS.items():
        for key, pattern in getattr(rule.rule, name).items():
            yield (_alias(name), key), pattern, _on_pair(key, rule.matcher(pattern, "value"), pairs)


def _alias(name: str) -> str:
    return MatchRule.model_fields[name].alias or name


def _on_image(matcher: Matcher, dialect: Dialect) -> _Test:
    return lambda scope, digest: any(matcher(text) for text in image_texts(scope.image, digest, dialect))


def _on_texts(matcher: Matcher, texts: Callable[[Scope], tuple[str, ...]]) -> _Test:
    return lambda scope, _digest: any(matcher(text) for text in texts(scope))


def _on_pair(key: str, matcher: Matcher, pairs: Callable[[Scope], _Pairs]) -> _Test:
    return lambda scope, _digest: any(k == key and matcher(value) for k, value in pairs(scope))
