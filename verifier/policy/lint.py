"""What is odd about a pattern or a requirement tree although it is well-formed: what `revet policy check` knows.

why_never("Registry.example.com/App", "native", "image")   Doubt("names are compared in lower case", "write …")
overreach("registry.example.com/org*", "kyverno")          Doubt("also matches registry.example.com/org-evil/…", …)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from verifier.policy.globs import DOCKER_HUB, Over, compile_glob, is_literal, split_image
from verifier.policy.model import Dialect, Requirement

NodePath = tuple[str | int, ...]


Severity = Literal["error", "warning", "info"]


class Doubt(NamedTuple):
    """What is wrong, and what to do."""

    message: str
    todo: str


_Odd = tuple[NodePath, Severity, Doubt]

_WILD: Final = re.compile(r"[*?]")
_NAME_CHARACTERS: Final = re.compile(r"[a-zA-Z0-9._\-/:\[\]*?]*", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9*?-]{1,63}", re.ASCII)
_SUBDOMAIN: Final = re.compile(r"[a-z0-9.*?-]{1,253}", re.ASCII)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def why_never(pattern: str, dialect: Dialect, over: Over) -> Doubt | None:
    """Why a pattern can match nothing that exists; None when it can, or when that cannot be told."""
    if over == "image" and dialect not in {"native", "kyverno"}:
        return _never_elsewhere(pattern, dialect)
    check = _NEVER.get(over)
    return None if check is None else check(pattern, dialect)


def _never_elsewhere(pattern: str, dialect: Dialect) -> Doubt | None:
    """Image patterns of the other tools: what their dialect refuses, and what no tool's reference can ever be."""
    try:
        compile_glob(pattern, dialect, "image")
    except ValueError as error:
        return Doubt(f"not a pattern of the dialect {dialect}: {error}", "write one that is, or change the dialect")
    host, slash, path = pattern.partition("/")
    if "://" in pattern:
        return Doubt("a reference has no scheme", "leave https:// away")
    if slash and is_literal(path) and any(c.isupper() for c in path.partition(":")[0]):
        return Doubt("the path of a reference is lower case", f"write {host}/{path.lower()}")
    if dialect in {"notation", "containers"} and host == "index.docker.io":
        return Doubt("Docker Hub is docker.io here", f"write {DOCKER_HUB}{slash}{path}")
    return None


def overreach(pattern: str, dialect: Dialect) -> Doubt | None:
    """How an image pattern matches more than it looks like: a run that crosses `/` right after a piece of a name."""
    if dialect in {"notation", "containers"}:  # whole repositories, and prefixes at a slash
        return None
    if dialect == "connaisseur":
        return _anywhere(pattern)
    crossing = "**" if dialect in {"native", "cip"} else "*"
    name = pattern.partition("@")[0]
    head, found, _ = name.partition(crossing)
    if not found or not head:
        return _any_host(name, found)
    if head[-1] in "/:@" or ":" in head.rpartition("/")[2]:
        return None
    return Doubt(f"also matches {head}-other/…, because {crossing} runs across /", f"write {head}/{crossing}")


def _anywhere(pattern: str) -> Doubt | None:
    """Connaisseur puts a star before and after a pattern that lacks one."""
    if pattern.startswith("*"):
        return None
    where = f"evil.invalid/{pattern.rstrip('*')}-other"
    return Doubt(f"also matches {where}: the pattern may stand anywhere in the name", "use the dialect native")


def _any_host(name: str, found: str) -> Doubt | None:
    rest = name[len(found) :]
    if not found or not rest or rest.startswith((":", "*", "?")):
        return None
    return Doubt(f"also matches other.invalid/…{rest}, because {found} runs across /", "begin with the registry")


def _never_image(pattern: str, dialect: Dialect) -> Doubt | None:
    parts = split_image(pattern)
    if parts.digest is not None and is_literal(parts.digest) and _DIGEST.fullmatch(parts.digest) is None:
        return Doubt("the digest is not well-formed", "write sha256: and 64 lower-case hexadecimal digits")
    if dialect == "kyverno" and is_literal(pattern) and parts.tag is None and parts.digest is None:
        return Doubt("Kyverno matches the reference with its tag or digest", f"write {pattern}:* or {pattern}*")
    return _never_repository(parts.name, dialect)


def _never_repository(pattern: str, dialect: Dialect) -> Doubt | None:
    host, slash, path = pattern.partition("/")
    for broken, doubt in (
        ("://" in pattern, Doubt("a reference has no scheme", "leave https:// away")),
        (
            _NAME_CHARACTERS.fullmatch(pattern) is None,
            Doubt("no reference holds such characters; there are no { } or [ ] groups", "write one pattern for each"),
        ),
        (any(c.isupper() for c in path), Doubt("the path of a reference is lower case", f"write {pattern.lower()}")),
        (
            any(c.isupper() for c in host) and ("." in host or ":" in host),
            Doubt("registry names are compared in lower case", f"write {pattern.lower()}"),
        ),
        (host == "index.docker.io", Doubt("Docker Hub is docker.io here", f"write {DOCKER_HUB}/{path}")),
    ):
        if broken:
            return doubt
    return _never_short(pattern, host, path, dialect) if slash or dialect == "native" else _bare(pattern)


def _never_short(pattern: str, host: str, path: str, dialect: Dialect) -> Doubt | None:
    """Patterns that are written as people shorten names; they are matched against whole names only."""
    if not path and "**" not in pattern:
        wanted = '"**" for every image' if _WILD.search(pattern) else f"{DOCKER_HUB}/library/{pattern}"
        return Doubt("a whole name is registry/path, and * does not cross /", f"write {wanted}")
    if path and is_literal(host) and "." not in host and ":" not in host and host != "localhost":
        return Doubt(f"{host} is no registry host", f"write {DOCKER_HUB}/{pattern}, or the registry's name")
    hub_path = host == DOCKER_HUB and path and "/" not in path and "**" not in path
    if dialect == "native" and hub_path:
        return Doubt("official images of Docker Hub stand below library/", f"write {DOCKER_HUB}/library/{path}")
    return None


def _bare(pattern: str) -> Doubt | None:
    if _WILD.search(pattern):
        return None
    return Doubt("a whole name is registry/path", f"write {DOCKER_HUB}/{pattern}")


def _never_registry(pattern: str, _dialect: Dialect) -> Doubt | None:
    if "/" in pattern:
        return Doubt("a registry is a host and a port, without scheme or path", "use repositories or images for paths")
    if any(c.isupper() for c in pattern):
        return Doubt("registry names are compared in lower case", f"write {pattern.lower()}")
    return Doubt("Docker Hub is docker.io here", f"write {DOCKER_HUB}") if pattern == "index.docker.io" else None


def _never_namespace(pattern: str, _dialect: Dialect) -> Doubt | None:
    if _LABEL.fullmatch(pattern):
        return None
    return Doubt("no namespace has such a name", "a namespace is at most 63 of a-z, 0-9 and -")


def _never_account(pattern: str, _dialect: Dialect) -> Doubt | None:
    if _SUBDOMAIN.fullmatch(pattern):
        return None
    name = re.split(r"[/:]", pattern)[-1]
    return Doubt(
        "no service account has such a name", f"write the bare name, {name}; the namespace stands in namespaces"
    )


_NEVER: Final[dict[Over, Callable[[str, Dialect], Doubt | None]]] = {
    "image": _never_image,
    "repository": _never_repository,
    "registry": _never_registry,
    "namespace": _never_namespace,
    "name": _never_account,
}


# -------------------------------------------------------------------------------------------------- requirement trees


def idle_nodes(require: Requirement) -> Iterator[_Odd]:
    """Nodes that never decide, or that make the tree impossible: (path below `require`, severity, what is odd)."""
    for path, node in require.walk():
        if node.all is not None:
            yield from _idle(path, "all", node.all)
            yield from _disjoint(path, node.all)
        if node.any is not None:
            yield from _idle(path, "any", node.any)
            yield from _list_beside_signature(path, node.any)


def _idle(path: NodePath, member: str, children: tuple[Requirement, ...]) -> Iterator[_Odd]:
    for position, child in enumerate(children):
        here = (*path, member, position)
        inner = child.any if member == "all" else child.all
        if child in children[:position]:
            yield here, "warning", Doubt("this stands here twice", "remove one")
        elif inner is not None and any(part in children for part in inner):
            effect = "is always met" if member == "all" else "is never needed"
            yield here, "warning", Doubt(f"this {effect}: a part of it stands beside it alone", "remove one of the two")


def _disjoint(path: NodePath, children: tuple[Requirement, ...]) -> Iterator[_Odd]:
    lists: tuple[list[set[str]], ...] = (
        [set(c.registry_in) for c in children if c.registry_in],
        [set(c.digest_in) for c in children if c.digest_in],
    )
    for found in lists:
        if len(found) > 1 and not set.intersection(*found):
            doubt = Doubt("no image can be on all of these lists", "write one list, or put them under any")
            yield (*path, "all"), "error", doubt


def _list_beside_signature(path: NodePath, children: tuple[Requirement, ...]) -> Iterator[_Odd]:
    if not any(leaf.signed_by for child in children for leaf in child.leaves()):
        return
    for position, child in enumerate(children):
        if child.digest_in or child.registry_in:
            doubt = Doubt("what is on this list needs no signature", "if both are meant, write all instead of any")
            yield (*path, "any", position), "info", doubt
