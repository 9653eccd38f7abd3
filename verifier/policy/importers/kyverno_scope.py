"""Kyverno's match and exclude blocks as match rules: what a policy can see of a workload, and what it cannot.

revet judges containers that run, so it knows namespace and pod labels; it does not know who asked for the pod, its
name, or its annotations. A demand it cannot express is treated so that no check gets weaker:

    in match      the demand is dropped, the policy covers more
    in exclude    the filter is dropped, the policy covers more
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from verifier.policy.importers.cursor import Cursor

POD_KINDS: Final = frozenset({"Pod", "*"})
"""Kinds that mean running containers. A rule on Deployments alone leaves bare pods out, which nobody can tell later."""

_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
"""Label that every namespace carries with its own name; a selector on it is a list of namespaces."""


class Filter(NamedTuple):
    """One resource filter: what can be said natively, and the members that cannot."""

    at: Cursor
    namespaces: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    lost: tuple[Cursor, ...] = ()


def is_variable(text: str) -> bool:
    """True for text that Kyverno fills in at admission; outside a cluster nobody knows with what."""
    return "{{" in text or "$(" in text


def filters(block: Cursor | None) -> list[Filter]:
    """The alternatives of a match or exclude block; `all` becomes one filter. Empty: no block, or an empty one.

    Raises:
        PolicyError: a member has the wrong type.
    """
    if block is None or not block.members():
        return []
    if alternatives := block.list_of("any"):
        return [_filter(entry) for entry in alternatives]
    if together := block.list_of("all"):
        return [_and([_filter(entry) for entry in together])]
    return [_filter(block)]


def _filter(at: Cursor) -> Filter:
    lost = [other for other in at.others({"resources", "any", "all"}) if other.value not in ((), {})]
    resources = at.get("resources")
    if resources is None:
        return Filter(at, lost=tuple(lost))
    namespaces = resources.texts_of("namespaces")
    labels: tuple[tuple[str, str], ...] = ()
    if any(map(is_variable, namespaces)):
        lost += [found for found in [resources.get("namespaces")] if found]
        namespaces = ()
    for found in _lost_members(resources):
        lost.append(found)
    by_label = resources.get("namespaceSelector")
    if by_label is not None:
        names = namespace_names(by_label)
        if names and not namespaces:
            namespaces = names
        else:
            lost.append(by_label)
    selector = resources.get("selector")
    if selector is not None:
        labels, rest = label_selector(selector)
        lost += rest
    return Filter(at, namespaces, labels, tuple(lost))


def _lost_members(resources: Cursor) -> Iterator[Cursor]:
    known = {"kinds", "name", "names", "namespaces", "selector", "namespaceSelector", "operations"}
    yield from resources.others(known)
    kinds = resources.get("kinds")
    if kinds is not None and not any(_kind(k.text()) in POD_KINDS for k in kinds.items()):
        yield kinds
    operations = resources.get("operations")
    if operations is not None and "CREATE" not in resources.texts_of("operations"):
        yield operations
    for member in ("name", "names"):
        found = resources.get(member)
        texts = resources.texts_of(member) if member == "names" else (resources.text_of(member),)
        if found is not None and "*" not in texts:
            yield found


def _kind(text: str) -> str:
    """`Pod` of `Pod`, `v1/Pod`, `*/Pod`, `Pod/ephemeralcontainers`, `apps/v1/Deployment`."""
    named = [part for part in text.replace(".", "/").split("/") if part[:1].isupper()]
    return named[0] if named else text.rpartition("/")[2]


def namespace_names(selector: Cursor) -> tuple[str, ...]:
    """The namespaces a selector names by their own label; empty when it asks for anything else.

    Raises:
        PolicyError: a member has the wrong type.
    """
    labels = selector.pairs_of("matchLabels")
    expressions = selector.list_of("matchExpressions")
    if set(labels) == {_NAMESPACE_NAME} and not expressions:
        return (labels[_NAMESPACE_NAME],)
    if not labels and len(expressions) == 1:
        only = expressions[0]
        if only.text_of("key") == _NAMESPACE_NAME and only.text_of("operator") == "In":
            return only.texts_of("values")
    return ()


def label_selector(selector: Cursor) -> tuple[tuple[tuple[str, str], ...], list[Cursor]]:
    """matchLabels with plain names, and of matchExpressions what a pattern can say; and the parts that cannot be said.

    Raises:
        PolicyError: a member has the wrong type.
    """
    labels: dict[str, str] = {}
    lost: list[Cursor] = []
    for name, value in selector.pairs_of("matchLabels").items():
        if "*" in name or "?" in name or is_variable(value):
            lost.append(Cursor(selector.tree, (*selector.path, "matchLabels", name), value))
        else:
            labels[name] = value
    for expression in selector.list_of("matchExpressions"):
        name, values = expression.text_of("key"), expression.texts_of("values")
        operator = expression.text_of("operator")
        if operator == "Exists" and name not in labels:
            labels[name] = "*"
        elif operator == "In" and len(values) == 1 and name not in labels:
            labels[name] = values[0]
        else:
            lost.append(expression)
    return tuple(sorted(labels.items())), lost


def _and(parts: list[Filter]) -> Filter:
    """One filter for several that must all hold; a second list of namespaces or value of a label cannot be said."""
    first, lost = parts[0], [cursor for part in parts for cursor in part.lost]
    namespaces, labels = first.namespaces, dict(first.labels)
    for part in parts[1:]:
        if part.namespaces and namespaces and set(part.namespaces) != set(namespaces):
            lost.append(part.at)
        namespaces = namespaces or part.namespaces
        for name, value in part.labels:
            if labels.setdefault(name, value) != value:
                lost.append(part.at)
    return Filter(first.at, namespaces, tuple(sorted(labels.items())), tuple(lost))
