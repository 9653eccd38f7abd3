"""Who built it, and from which commits: what a fact keeps of an SLSA provenance, so that a builder or a commit can be
revoked later without reading the evidence again.

    builder_of("https://slsa.dev/provenance/v1", predicate)      "https://github.com/actions/runner"
    commits_of("https://slsa.dev/provenance/v1", predicate)      ("9f2c…",)

Answers nothing, rather than raising, for whatever is no provenance or a broken one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from verifier.content.document import Predicate, read_predicate
from verifier.content.outcome import Mismatch
from verifier.content.predicates import SLSA_V02, SLSA_V1, same_type
from verifier.content.provenance import Provenance, Resource, read_provenance
from verifier.models import BuildClaim

MAX_COMMITS: Final = 64
"""Commits kept in a fact, which every worker holds. Sources come before dependencies, so that none of them is lost."""

MAX_BUILDER_CHARACTERS: Final = 1024
"""Characters of a builder id that is kept; a longer one names nobody."""

_COMMIT: Final = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}", re.ASCII)
_GIT: Final = ("git+", "git:", "ssh:", "https:", "http:")
_HASHES: Final = ("gitCommit", "sha1")
"""Names of a commit in a digest set: in-toto's digest_set.md, and what v0.2 builders write."""


def builder_of(predicate_type: str, predicate: bytes | Predicate) -> str:
    """`builder.id` of an SLSA provenance v0.2 or v1 (drafts included); empty for anything else. Raises nothing."""
    found = _provenance(predicate_type, predicate)
    return found.builder if found and len(found.builder) <= MAX_BUILDER_CHARACTERS else ""


def commits_of(predicate_type: str, predicate: bytes | Predicate) -> tuple[str, ...]:
    """Lower-case hex of the commits a provenance names, sorted, at most `MAX_COMMITS`. Raises nothing.

    `gitCommit` counts wherever it stands, `sha1` only beside a URI of a repository or in the source itself: packages
    have SHA-1 digests too.
    """
    found = _provenance(predicate_type, predicate)
    if found is None:
        return ()
    return tuple(sorted(_first([*_commits(found.origins, origin=True), *_commits(found.dependencies, origin=False)])))


def build_of(predicate_type: str, predicate: bytes | Predicate) -> BuildClaim | None:
    """Build type, run, sources and images that a provenance names, cut to what a fact may hold; None when it is no
    provenance. Raises nothing.
    """
    found = _provenance(predicate_type, predicate)
    if found is None:
        return None
    sources = dict.fromkeys(f"{source.uri}@{source.ref}" if source.ref else source.uri for source in found.sources)
    images = dict.fromkeys(digest for resource in found.dependencies for digest in _images(resource))
    return BuildClaim(
        build_type=found.build_type[:MAX_TEXT],
        run=found.run[:MAX_TEXT],
        sources=tuple(source[:MAX_TEXT] for source in sources)[:MAX_SOURCES],
        images=tuple(images)[:MAX_IMAGES],
    )


MAX_TEXT: Final = 512
"""Characters of a build type, run or source that are kept."""
MAX_SOURCES: Final = 4
MAX_IMAGES: Final = 32
"""Images among the materials that are kept: bases of every stage, and the builder's own."""

_IMAGE: Final = ("pkg:docker/", "pkg:oci/", "docker-image://", "oci://", "docker://")
"""How builders write that a material is an image: purl-spec types `docker` and `oci`, and schemes of tools."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


def _images(resource: Resource) -> Iterator[str]:
    if (resource.uri or "").startswith(_IMAGE):
        value = (resource.digest or {}).get("sha256")
        if isinstance(value, str) and _SHA256.fullmatch(value):
            yield f"sha256:{value}"


def _provenance(predicate_type: str, predicate: bytes | Predicate) -> Provenance | None:
    if not (same_type(SLSA_V1, predicate_type) or same_type(SLSA_V02, predicate_type)):
        return None
    try:
        read = predicate if isinstance(predicate, Predicate) else read_predicate(predicate_type, predicate)
        return read.view(read_provenance)
    except Mismatch:
        return None


def _commits(resources: tuple[Resource, ...], *, origin: bool) -> Iterator[str]:
    for resource in resources:
        for name in _HASHES:
            value = (resource.digest or {}).get(name)
            if isinstance(value, str) and _COMMIT.fullmatch(value) and (origin or name != "sha1" or _is_git(resource)):
                yield value.lower()


def _is_git(resource: Resource) -> bool:
    return (resource.uri or "").startswith(_GIT)


def _first(commits: list[str]) -> list[str]:
    return list(dict.fromkeys(commits))[:MAX_COMMITS]
