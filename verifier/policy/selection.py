"""Which policies govern a class: match and exclude rules, compiled once, asked for every class.

A rule is a set of facets (image, namespace, labels …) that must all accept; a policy governs when one of its match
rules accepts and none of its exclude rules does. Every facet keeps, per value it has seen, the bit mask of the rules
that accept it; so the second pod of a namespace costs a look-up and an AND, whatever the number of policies.

    index = PolicyIndex([compile_policy(p) for p in policies])
    for compiled in index.governing(scope, running_digest): ...

It decides from the *spec* reference and the running digest only, never from names the runtime reports (DESIGN 6).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from verifier.models import ImageReference, Scope
from verifier.policy.globs import Matcher, Over, compile_glob, image_texts, split_image
from verifier.policy.model import Dialect, MatchRule, Policy

MAX_REMEMBERED: Final = 65_536
"""Values remembered per facet. Beyond, the memory starts anew: a bound on memory, not on correctness."""

_Value = TypeVar("_Value", bound=Hashable)
_Pairs = tuple[tuple[str, str], ...]
_Test = Callable[[Scope, str], bool]


class _Rule(NamedTuple):
    """A rule with the dialect its patterns are written in."""

    rule: MatchRule
    dialect: Dialect


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
        rules = [_Rule(r, p.policy.dialect) for p in policies for r in (*p.policy.match, *p.policy.exclude)]
        self._spans = _spans([p.policy for p in policies])
        self._images = _Memory(_image_facet(rules))
        self._registries = _Memory(_text_facet(rules, lambda r: r.registries, "registry"))
        self._repositories = _Memory(_text_facet(rules, lambda r: r.repositories, "repository"))
        self._namespaces = _Memory(_text_facet(rules, lambda r: r.namespaces, "namespace"))
        self._accounts = _Memory(_text_facet(rules, lambda r: r.service_accounts, "name"))
        self._clusters = _Memory(_either_facet(rules, lambda r: r.clusters))
        self._labels = _Memory(_pairs_facet(rules, lambda r: r.labels))
        self._cluster_labels = _Memory(_pairs_facet(rules, lambda r: r.cluster_labels))
        self._outcomes = _Memory(self._outcome)
        self._governing: list[tuple[CompiledPolicy, ...]] = []

    def governing(self, scope: Scope, digest: str) -> tuple[CompiledPolicy, ...]:
        """The policies that govern, in the order they were given.

        `digest` is the running manifest digest, or empty while it is not known.
        """
        image = scope.image
        mask = (
            self._namespaces[scope.namespace]
            & self._images[image, digest]
            & self._registries[image.registry]
            & self._repositories[image.repository]
            & self._labels[scope.labels]
            & self._accounts[scope.service_account]
            & self._clusters[scope.cluster, scope.cluster_name]
            & self._cluster_labels[scope.cluster_labels]
        )
        return self._governing[self._outcomes[mask]]

    def _outcome(self, mask: int) -> int:
        governing = tuple(
            policy
            for policy, (match, exclude) in zip(self._policies, self._spans, strict=True)
            if mask & match and not mask & exclude
        )
        if governing not in self._governing:
            self._governing.append(governing)
        return self._governing.index(governing)


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
    free, tests = _tests(rules, lambda r: [compile_glob(p, r.dialect, over) for p in member(r.rule)])

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
    free, tests = _tests(
        rules, lambda r: [(key, compile_glob(p, r.dialect, "value")) for key, p in member(r.rule).items()]
    )

    def accepts(pairs: _Pairs) -> int:
        values = dict(pairs)
        return free | sum(bit for bit, wanted in tests if all(k in values and m(values[k]) for k, m in wanted))

    return accepts


def _image_facet(rules: Sequence[_Rule]) -> Callable[[tuple[ImageReference, str]], int]:
    """Patterns that name neither tag nor digest depend on the repository alone and are remembered by it."""
    free, tests = _tests(rules, lambda r: [(p, r.dialect) for p in r.rule.images])
    whole = [(bit, [w for w in wanted if not _by_name(*w)]) for bit, wanted in tests]
    whole_tests = [(bit, [(compile_glob(p, d, "image"), d) for p, d in wanted]) for bit, wanted in whole if wanted]
    named = [(bit, [compile_glob(p, d, "repository") for p, d in wanted if _by_name(p, d)]) for bit, wanted in tests]
    by_name = _Memory[str](lambda name: sum(bit for bit, matchers in named if any(m(name) for m in matchers)))

    def accepts(value: tuple[ImageReference, str]) -> int:
        image, digest = value
        mask = free | by_name[image.repository]
        if not whole_tests:
            return mask
        texts: dict[Dialect, tuple[str, ...]] = {d: image_texts(image, digest, d) for d in ("native", "kyverno")}
        for bit, matchers in whole_tests:
            if not mask & bit and any(m(text) for m, d in matchers for text in texts[d]):
                mask |= bit
        return mask

    return accepts


def _by_name(pattern: str, dialect: Dialect) -> bool:
    parts = split_image(pattern)
    return dialect == "native" and parts.tag is None and parts.digest is None


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
            for member, pattern, matches in _members(rule, policy.dialect):
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


def _members(rule: MatchRule, dialect: Dialect) -> Iterator[tuple[tuple[str | int, ...], str, _Test]]:
    for position, pattern in enumerate(rule.images):
        yield ("images", position), pattern, _on_image(compile_glob(pattern, dialect, "image"), dialect)
    for name, (over, texts) in _LISTS.items():
        for position, pattern in enumerate(getattr(rule, name)):
            matcher = compile_glob(pattern, dialect, over)
            yield (_alias(name), position), pattern, _on_texts(matcher, texts)
    for name, pairs in _MAPS.items():
        for key, pattern in getattr(rule, name).items():
            yield (_alias(name), key), pattern, _on_pair(key, compile_glob(pattern, dialect, "value"), pairs)


def _alias(name: str) -> str:
    return MatchRule.model_fields[name].alias or name


def _on_image(matcher: Matcher, dialect: Dialect) -> _Test:
    return lambda scope, digest: any(matcher(text) for text in image_texts(scope.image, digest, dialect))


def _on_texts(matcher: Matcher, texts: Callable[[Scope], tuple[str, ...]]) -> _Test:
    return lambda scope, _digest: any(matcher(text) for text in texts(scope))


def _on_pair(key: str, matcher: Matcher, pairs: Callable[[Scope], _Pairs]) -> _Test:
    return lambda scope, _digest: any(k == key and matcher(value) for k, value in pairs(scope))
