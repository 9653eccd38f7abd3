"""Scopes of containers-policy.json: which of two is more specific, and what the more general one has to leave out.

    nested("registry.example.com", "registry.example.com/app")       True: the second takes its images from the first
    without("registry.example.com", scopes)                          the scopes that do so

The scopes that match one image form a chain, from the reference to the repository, the paths above it, the host, its
domains, and `*` (every image). So a scope governs exactly what it matches and no scope nested in it does.
"""

from __future__ import annotations

from collections.abc import Iterable

from verifier.policy.globs import EVERY_IMAGE, split_image
from verifier.policy.model import MatchRule


def nested(outer: str, inner: str) -> bool:
    """Is every image of `inner` one of `outer`, and `inner` the more specific of the two?"""
    if inner in (outer, EVERY_IMAGE):
        return False
    if outer == EVERY_IMAGE:
        return True
    host = inner.partition("/")[0].partition("@")[0].partition(":")[0]
    if outer.startswith("*."):
        return host.lower().endswith(outer[1:].lower())
    if inner.startswith("*."):
        return False
    name, scope = _folded(split_image(inner).name), _folded(outer)
    return name == scope or name.startswith(f"{scope}/")


def _folded(scope: str) -> str:
    host, slash, path = scope.partition("/")
    return f"{host.lower()}{slash}{path}"


def without(scope: str, others: Iterable[str]) -> tuple[MatchRule, ...]:
    """The exclude rules of a scope: what is more specific governs alone there."""
    found = tuple(dict.fromkeys(other for other in others if nested(scope, other)))
    return (MatchRule(images=found),) if found else ()
