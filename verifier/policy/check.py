"""Are these documents sound together? Everything `revet policy check` says beyond what the loader refuses.

    for problem in check_documents(documents, ring=["dev"], now=instant):
        problem.severity, problem.file, problem.line, problem.field, problem.message, problem.todo

It decides nothing and repairs nothing. An `error` means that a document cannot do what it was written for; a `warning`,
that it does less or more than it looks like; an `info`, something worth knowing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, NamedTuple

from verifier.models import Micros, Scope
from verifier.policy.attestors import PUBLIC_GOOD
from verifier.policy.documents import (
    ClusterDocument,
    Document,
    ExemptionDocument,
    KeyDocument,
    PolicyDocument,
    TrustRootDocument,
)
from verifier.policy.globs import Over, compile_glob, is_literal
from verifier.policy.lint import Severity, idle_nodes, overreach, why_never
from verifier.policy.model import Dialect, MatchRule, PolicySpec
from verifier.policy.pem import is_pem
from verifier.policy.selection import unmatched_patterns
from verifier.policy.yamltree import field_text
from verifier.times import show_instant


class Problem(NamedTuple):
    """One thing to look at, and where."""

    severity: Severity
    file: str
    line: int
    column: int
    field: str
    message: str
    todo: str


class _Setup(NamedTuple):
    """All documents, and what is known besides them; None: not known."""

    documents: tuple[Document, ...]
    ring: Collection[str] | None
    roots: Collection[str] | None
    policies: Collection[str] | None
    now: Micros | None
    scopes: tuple[tuple[Scope, str], ...]


def check_documents(
    documents: Iterable[Document],
    *,
    ring: Collection[str] | None = None,
    roots: Collection[str] | None = None,
    policies: Collection[str] | None = None,
    now: Micros | None = None,
    scopes: Iterable[tuple[Scope, str]] = (),
) -> tuple[Problem, ...]:
    """Every problem, ordered by file and line. Raises nothing.

    Args:
        documents: from `load_documents`, of any number of files.
        ring: names of keys already in trust; None when the ring is not at hand (then an unknown key is a warning).
        roots: names of trust roots already in trust; None likewise.
        policies: ids of policies already in trust; None likewise.
        now: microseconds UTC; without it nothing is said about windows that are over.
        scopes: (scope, running digest) of what runs; when given, patterns that match none of it are named.
    """
    setup = _Setup(tuple(documents), ring, roots, policies, now, tuple(scopes))
    found = [problem for check in CHECKS for problem in check(setup)]
    return tuple(sorted(found, key=lambda p: (p.file, p.line, p.column, p.field, p.message)))


def _problem(document: Document, path: tuple[str | int, ...], severity: Severity, message: str, todo: str) -> Problem:
    line, column = document.place(*path)
    return Problem(severity, document.file, line, column, field_text(path), message, todo)


def _policies(setup: _Setup) -> Iterator[tuple[Document, PolicySpec]]:
    for document in setup.documents:
        if isinstance(document.body, PolicyDocument):
            yield document, document.body.spec


# ------------------------------------------------------------------------------------------------------------- names


def names_used_twice(setup: _Setup) -> Iterator[Problem]:
    """Two documents of one kind with one name: the later would silently replace the earlier."""
    first: dict[tuple[str, str], Document] = {}
    for document in setup.documents:
        # Stores of two types may share a name: policies know them as ca:NAME and tsa:NAME.
        name = document.body.root_name if isinstance(document.body, TrustRootDocument) else document.name
        earlier = first.setdefault((document.body.kind, name), document)
        if earlier is not document:
            where = f"{earlier.file}:{earlier.place('metadata', 'name').line}"
            message = f"the {document.body.kind} {document.name} stands in {where} already"
            yield _problem(document, ("metadata", "name"), "error", message, "give one of them another name")


def unknown_keys(setup: _Setup) -> Iterator[Problem]:
    """An attestor's key that is neither PEM nor the name of a key."""
    named = {d.name for d in setup.documents if isinstance(d.body, KeyDocument)}
    for document, spec in _policies(setup):
        for name, attestor in spec.attestors.items():
            for position, key in enumerate(attestor.keys):
                if not is_pem(key) and key not in named and key not in (setup.ring or ()):
                    severity: Severity = "warning" if setup.ring is None else "error"
                    path = ("spec", "attestors", name, "keys", position)
                    message = f"there is no key named {key}; nothing can be signed by it"
                    yield _problem(document, path, severity, message, "add a Key document, or `revet key add`")


def unknown_roots(setup: _Setup) -> Iterator[Problem]:
    """A trust root by a name that nothing has. The public Sigstore root comes with revet."""
    named = {d.body.root_name for d in setup.documents if isinstance(d.body, TrustRootDocument)} | {PUBLIC_GOOD}
    for document, spec in _policies(setup):
        for name, attestor in spec.attestors.items():
            for root in attestor.root_texts:
                if not is_pem(root) and root not in named and root not in (setup.roots or ()):
                    severity: Severity = "warning" if setup.roots is None else "error"
                    message = f"there is no trust root named {root}; nothing can lead to it"
                    todo = "add a TrustRoot document, or `revet trust root add`"
                    yield _problem(document, ("spec", "attestors", name), severity, message, todo)


def unknown_policies(setup: _Setup) -> Iterator[Problem]:
    """An exemption for a policy that is not there."""
    known = {d.name for d, _ in _policies(setup)} | set(setup.policies or ())
    for document in setup.documents:
        if isinstance(document.body, ExemptionDocument):
            policy = document.body.spec.policy
            if policy and policy not in known:
                severity: Severity = "warning" if setup.policies is None else "error"
                message = f"there is no policy {policy}; this exempts nothing"
                yield _problem(document, ("spec", "policy"), severity, message, "correct the name")


def idle_attestors(setup: _Setup) -> Iterator[Problem]:
    """An attestor that the requirement never names."""
    for document, spec in _policies(setup):
        used = {leaf.attestor for leaf in spec.require.leaves()}
        for name in spec.attestors:
            if name not in used:
                message = f"the attestor {name} is never required"
                yield _problem(document, ("spec", "attestors", name), "warning", message, "require it, or remove it")


def shared_keys(setup: _Setup) -> Iterator[Problem]:
    """One key for two attestors of a policy: separation of duty on paper only."""
    texts = {d.name: d.body.spec.pem for d in setup.documents if isinstance(d.body, KeyDocument) and d.body.spec.pem}
    for document, spec in _policies(setup):
        holder: dict[str, str] = {}
        for name, attestor in spec.attestors.items():
            for position, key in enumerate(attestor.keys):
                other = holder.setdefault(texts.get(key, key), name)
                if other != name:
                    path = ("spec", "attestors", name, "keys", position)
                    message = f"this is also a key of {other}; one signature counts for both under all"
                    todo = "use different keys, or atLeast, which counts a key once"
                    yield _problem(document, path, "warning", message, todo)


# ------------------------------------------------------------------------------------------------------ trees, windows


def idle_requirements(setup: _Setup) -> Iterator[Problem]:
    """Parts of a requirement that never decide, and trees that nothing can meet."""
    for document, spec in _policies(setup):
        for path, severity, doubt in idle_nodes(spec.require):
            yield _problem(document, ("spec", "require", *path), severity, doubt.message, doubt.todo)


def windows_that_are_over(setup: _Setup) -> Iterator[Problem]:
    """Keys, attestors and exemptions that ended before now."""
    now = setup.now
    if now is None:
        return
    for document in setup.documents:
        for path, end in _ends(document):
            if end is not None and end < now:
                message = f"this ended at {show_instant(end)}"
                yield _problem(document, path, "warning", message, "extend it, or remove it")


def _ends(document: Document) -> Iterator[tuple[tuple[str, ...], Micros | None]]:
    match document.body:
        case PolicyDocument(spec=policy):
            for name, attestor in policy.attestors.items():
                yield ("spec", "attestors", name, "validUntil"), attestor.valid_until
        case KeyDocument(spec=key):
            yield ("spec", "validUntil"), key.valid_until
        case ExemptionDocument(spec=exemption):
            yield ("spec", "expires"), exemption.expires
        case ClusterDocument():
            return


# --------------------------------------------------------------------------------------------------------- selection

_OVER: Final[dict[str, Over]] = {
    "images": "image",
    "registries": "registry",
    "repositories": "repository",
    "namespaces": "namespace",
    "service_accounts": "name",
}
"""List members of a rule whose patterns can be looked at alone."""


def doubtful_patterns(setup: _Setup) -> Iterator[Problem]:
    """Patterns that can match nothing that exists, or more than they look like."""
    for document, spec in _policies(setup):
        for section, rules in (("match", spec.match), ("exclude", spec.exclude)):
            for position, rule in enumerate(rules):
                yield from _doubtful(document, ("spec", section, position), rule, spec.dialect)
    for document in setup.documents:
        if isinstance(document.body, ExemptionDocument):
            exempted = document.body.spec
            yield from _doubts(document, ("spec", "images"), exempted.images, "native", "image")
            yield from _doubts(document, ("spec", "namespaces"), exempted.namespaces, "native", "namespace")


def _doubtful(document: Document, path: tuple[str | int, ...], rule: MatchRule, dialect: Dialect) -> Iterator[Problem]:
    for member, over in _OVER.items():
        name = MatchRule.model_fields[member].alias or member
        yield from _doubts(document, (*path, name), getattr(rule, member), dialect, over)


def _doubts(
    document: Document, path: tuple[str | int, ...], patterns: tuple[str, ...], dialect: Dialect, over: Over
) -> Iterator[Problem]:
    for position, pattern in enumerate(patterns):
        never = why_never(pattern, dialect, over)
        wide = overreach(pattern, dialect) if over == "image" else None
        if never is not None:
            yield _problem(document, (*path, position), "error", f"can never match: {never.message}", never.todo)
        elif wide is not None:
            yield _problem(document, (*path, position), "warning", wide.message, wide.todo)


def excluded_matches(setup: _Setup) -> Iterator[Problem]:
    """A match rule that an exclude rule covers wholly: it governs nothing."""
    for document, spec in _policies(setup):
        for position, rule in enumerate(spec.match):
            for other, exclude in enumerate(spec.exclude):
                if _covers(exclude, rule, spec.dialect):
                    line = document.place("spec", "exclude", other).line
                    message = f"everything this matches is excluded again in line {line}"
                    yield _problem(document, ("spec", "match", position), "error", message, "narrow the exclude rule")


def _covers(exclude: MatchRule, rule: MatchRule, dialect: Dialect) -> bool:
    """True when every demand of `exclude` is met by all that `rule` matches. May miss a cover, never invents one."""
    lists: tuple[tuple[str, Over], ...] = (*_OVER.items(), ("clusters", "name"))
    return all(
        _covers_list(getattr(exclude, member), getattr(rule, member), dialect, over) for member, over in lists
    ) and all(
        all(getattr(rule, member).get(key) == value for key, value in getattr(exclude, member).items())
        for member in ("labels", "cluster_labels")
    )


def _covers_list(wide: tuple[str, ...], narrow: tuple[str, ...], dialect: Dialect, over: Over) -> bool:
    whole = "*" if dialect == "kyverno" or over in ("namespace", "name", "registry") else "**"
    if not wide or whole in wide:
        return True
    return bool(narrow) and all(
        any(w == n or (is_literal(n) and compile_glob(w, dialect, over)(n)) for w in wide) for n in narrow
    )


def patterns_without_match(setup: _Setup) -> Iterator[Problem]:
    """Patterns that match nothing of what runs, when that was given."""
    if not setup.scopes:
        return
    for document, _ in _policies(setup):
        if isinstance(document.body, PolicyDocument):
            policy = document.body.to_policy()
            for unmatched in unmatched_patterns([policy], setup.scopes):
                path = unmatched.path
                message = f"{unmatched.pattern} matches nothing of what was looked at"
                yield _problem(document, path, "info", message, "correct it, unless it is meant for later")


CHECKS: Final[tuple[Callable[[_Setup], Iterator[Problem]], ...]] = (
    names_used_twice,
    unknown_keys,
    unknown_roots,
    unknown_policies,
    idle_attestors,
    shared_keys,
    idle_requirements,
    windows_that_are_over,
    doubtful_patterns,
    excluded_matches,
    patterns_without_match,
)
"""Every check. A new one is a function and a row here."""
