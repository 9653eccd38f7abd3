"""Patterns over image references and names, one matcher per dialect; a pattern is never translated between dialects.

    native       `*` a run without `/`; `**` any run; `?` one character that is not `/`; all else literal; whole text.
                 An image pattern has up to three parts, name[:tag][@digest], each matched against the same part of the
                 reference; a part that the pattern leaves out matches anything, one that it has must be there.
    kyverno      go-wildcard v1: `*` any run, `/` too; `?` exactly one character; all else literal; whole text.
    cip          policy-controller: `*` a run without `/`; `**` any run; only letters, digits and -_:/*.@; whole text.
    gobwas       ImageValidatingPolicy: `*` any run, `/` too; `?`, [sets] and {groups}: `verifier.policy.gobwas`.
    connaisseur  gobwas with a star put before and after: a pattern matches anywhere in the name.
    notation     a repository, exactly; or `*`, every repository.
    containers   containers-policy.json: a reference, a repository, a path or host above it, or `*.` and a domain.
                 Here alone `*` is its `default`: every image.

    compile_glob("registry.example.com/**", "native", "image")("registry.example.com/a/b:1")     True
    compile_glob("registry.example.com/*", "cip", "image")("registry.example.com/a/b:1")         False
    compile_glob("registry.example.com/*", "kyverno", "image")("registry.example.com/a/b:1")     True

The last five are ways to write image patterns: everything else in such a policy (namespaces, labels …) is native.

Patterns are written by people, texts by whoever creates a pod. So no pattern may be made slow by a text: runs are
matched leftmost inside atomic groups, which never go back; only what follows the last `**` is tried at every position.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, NamedTuple, assert_never

from verifier.models import ImageReference
from verifier.policy.fields import check_pattern
from verifier.policy.gobwas import gobwas_regexes
from verifier.policy.model import Dialect

Over = Literal["image", "repository", "registry", "namespace", "name", "value"]
"""What a pattern is matched against. Only `image` has parts; the rest is one text."""

Matcher = Callable[[str], bool]

_CACHED: Final = 16_384
"""Compiled patterns kept: 40 policies of 1,000 entries would be 40,000, real ones are some hundred."""

_HEX: Final = ("0" * 64, "f" * 64)
_PROBES: Final[dict[Over, tuple[tuple[str, ...], ...]]] = {
    "image": (("q.invalid/a:1", f"q.invalid/a@sha256:{_HEX[0]}"), ("z-9:5/b/c/d:v2", f"z-9:5/b/c/d@sha256:{_HEX[1]}")),
    "repository": (("q.invalid/a",), ("z-9:5/b/c/d",)),
    "registry": (("q.invalid",), ("z-9:5",)),
    "namespace": (("q",), ("z-9",)),
    "name": (("q",), ("z-9",)),
    "value": (("",), ("z-9",)),
}
"""Unrelated things that exist nowhere, each by its names."""

DOCKER_HUB: Final = "docker.io"
DOCKER_LIBRARY: Final = "library/"
GO_DOCKER_HUB: Final = "index.docker.io"
"""How go-containerregistry, and so policy-controller and Connaisseur, write Docker Hub."""

EVERY_IMAGE: Final = "*"
"""The pattern for every image in the dialects notation and containers."""

_CIP: Final = re.compile(r"[a-zA-Z0-9\-_:/*.@]+", re.ASCII)
_SCOPE_NAME: Final = re.compile(r"[a-zA-Z0-9.\-_:/\[\]]+(?:@[a-z0-9+._-]+:[0-9a-fA-F]+)?", re.ASCII)
_SUBDOMAINS: Final = re.compile(r"\*(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)+", re.ASCII)


class ImageParts(NamedTuple):
    """name[:tag][@digest]; None where the part is not written."""

    name: str
    tag: str | None
    digest: str | None


@lru_cache(maxsize=_CACHED)
def compile_glob(pattern: str, dialect: Dialect, over: Over) -> Matcher:
    """The matcher of one pattern: text in, whether the whole of it matches out.

    Raises:
        ValueError: the pattern is empty, too long (`MAX_PATTERN_CHARACTERS`), holds invisible characters, or is not one
            of its dialect.
    """
    if pattern or over != "value":
        check_pattern(pattern)
    if over != "image" and dialect != "kyverno":
        return _text_matcher(pattern, _native_regex)
    match dialect:
        case "kyverno":
            return _text_matcher(pattern, _kyverno_regex)
        case "native":
            return _native_image(pattern)
        case "cip":
            return _text_matcher(_cip_pattern(pattern), _native_regex)
        case "gobwas":
            return _any_of(gobwas_regexes(_ascii(pattern)))
        case "connaisseur":
            return _any_of(gobwas_regexes(_anywhere(_ascii(pattern))))
        case "notation":
            return _notation_scope(pattern)
        case "containers":
            return _containers_scope(pattern)
        case _ as never:
            assert_never(never)


def is_literal(pattern: str) -> bool:
    """True when the pattern has no wildcard (in any dialect) and so matches one text only, or what is below it."""
    return not set(pattern) & set("*?[{\\")


def matches_everything(pattern: str, dialect: Dialect, over: Over) -> bool:
    """True when the pattern matches things that have nothing in common: it leaves out next to nothing.

    Raises:
        ValueError: as `compile_glob`.
    """
    matches = compile_glob(pattern, dialect, over)
    return all(any(map(matches, names)) for names in _PROBES[over])


def split_image(text: str) -> ImageParts:
    """The parts of a reference or an image pattern: digest after the first `@`, tag after a `:` past the last `/`."""
    rest, at, digest = text.partition("@")
    slash = rest.rfind("/")
    colon = rest.find(":", slash + 1)
    name, tag = (rest, None) if colon < 0 else (rest[:colon], rest[colon + 1 :])
    return ImageParts(name, tag, digest if at else None)


def image_texts(image: ImageReference, digest: str, dialect: Dialect) -> tuple[str, ...]:
    """The texts an image pattern is tried on: the reference of the spec, and `repository@digest` of what runs.

    A running container is known by its digest, its policy scope by what the spec asked for; a policy governs when
    either matches. The tools print references in ways of their own, which their patterns are made for: Kyverno leaves
    the tag of a pinned image out and does not add `library/` on Docker Hub; go-containerregistry writes Docker Hub as
    index.docker.io. What was typed is not known any more, so where a tool also looks at that, all that may have been
    typed is given. Where only the most specific pattern counts (connaisseur, containers) it is looked for as the tool
    does, by the reference of the spec alone.
    """
    running = (f"{image.repository}@{digest}",) if digest else ()
    match dialect:
        case "native" | "notation":
            return (str(image), *running)
        case "containers":
            return (_pinned_or_tagged(image.repository, image),)
        case "connaisseur":
            return (_go_text(image),)
        case "cip":
            return _cip_texts(image, digest)
        case "kyverno":
            return (_pinned_or_tagged(image.repository, image), *running, *_without_library(image, digest))
        case "gobwas":
            return (_pinned_or_tagged(image.repository, image), *running, *_typed(image, digest))
        case _ as never:
            assert_never(never)


def _pinned_or_tagged(repository: str, image: ImageReference) -> str:
    return f"{repository}@{image.digest}" if image.digest else f"{repository}:{image.tag}"


def _without_library(image: ImageReference, digest: str) -> tuple[str, ...]:
    if image.registry != DOCKER_HUB or not image.path.startswith(DOCKER_LIBRARY):
        return ()
    short = f"{DOCKER_HUB}/{image.path.removeprefix(DOCKER_LIBRARY)}"
    return (_pinned_or_tagged(short, image), *((f"{short}@{digest}",) if digest else ()))


def _go_repository(image: ImageReference) -> str:
    return f"{GO_DOCKER_HUB if image.registry == DOCKER_HUB else image.registry}/{image.path}"


def _go_text(image: ImageReference) -> str:
    """Name, tag and digest, each if it was written, as Connaisseur puts them together again."""
    tag = f":{image.tag}" if image.tag else ""
    return f"{_go_repository(image)}{tag}" + (f"@{image.digest}" if image.digest else "")


def _cip_texts(image: ImageReference, digest: str) -> tuple[str, ...]:
    """The full name as policy-controller prints it, by digest too (it pins before it looks), and what was typed."""
    repository = _go_repository(image)
    names = (_pinned_or_tagged(repository, image), *((f"{repository}@{digest}",) if digest else ()))
    return (*names, *_typed(image, digest))


def _typed(image: ImageReference, digest: str) -> tuple[str, ...]:
    """What somebody may have typed for this image: Docker Hub left out, `library/` left out, `latest` left out."""
    repositories = [image.repository]
    if image.registry == DOCKER_HUB:
        short = image.path.removeprefix(DOCKER_LIBRARY)
        repositories += [f"{DOCKER_HUB}/{short}", image.path, short]
    ends = [f"@{image.digest}"] if image.digest else [f":{image.tag}", *([""] if image.tag == "latest" else [])]
    if image.digest and image.tag:
        ends.append(f":{image.tag}@{image.digest}")
    ends += [f"@{digest}"] if digest else []
    return tuple(dict.fromkeys(repository + end for repository in repositories for end in ends))


def _native_image(pattern: str) -> Matcher:
    """A matcher per part. `app*` must not reach into the tag, so the parts are never matched as one text."""
    wanted = split_image(pattern)
    name = _text_matcher(wanted.name, _native_regex)
    tag = None if wanted.tag is None else _text_matcher(wanted.tag, _native_regex)
    digest = None if wanted.digest is None else _text_matcher(wanted.digest, _native_regex)

    def matches(text: str) -> bool:
        found = split_image(text)
        return (
            name(found.name)
            and (tag is None or (found.tag is not None and tag(found.tag)))
            and (digest is None or (found.digest is not None and digest(found.digest)))
        )

    return matches


def _text_matcher(pattern: str, translate: Callable[[str], str]) -> Matcher:
    if is_literal(pattern):
        return pattern.__eq__
    if set(pattern) == {"*"} and (translate is _kyverno_regex or len(pattern) > 1):
        return _anything
    matcher = re.compile(translate(pattern), re.DOTALL).fullmatch
    return lambda text: matcher(text) is not None


def _anything(_text: str) -> bool:
    return True


def _kyverno_regex(pattern: str) -> str:
    """Every star but the last takes the leftmost match of what follows: never wrong with one kind of star."""
    return _run(re.split(r"\*+", pattern), star=".*?", one=".", anchored=True)


def _native_regex(pattern: str) -> str:
    """Chunks between `**`. A chunk that another `**` follows may take its leftmost match; only the last one may not."""
    chunks = [chunk.split("*") for chunk in re.split(r"\*{2,}", pattern)]
    if len(chunks) == 1:
        return _run(chunks[0], star="[^/]*?", one="[^/]", anchored=True)
    first = _run(chunks[0], star="[^/]*?", one="[^/]", anchored=False)
    middle = (f"(?>.*?{_run(chunk, star='[^/]*?', one='[^/]', anchored=False)})" for chunk in chunks[1:-1])
    last = _run(chunks[-1], star="[^/]*?", one="[^/]", anchored=True)
    return f"(?>{first}){''.join(middle)}.*?{last}"


def _run(segments: list[str], *, star: str, one: str, anchored: bool) -> str:
    """Literal segments with a star between each two; `anchored`: the text ends after the last one."""
    literals = ["".join(one if c == "?" else re.escape(c) for c in segment) for segment in segments]
    inner = literals[1:-1] if anchored else literals[1:]
    regex = literals[0] + "".join(f"(?>{star}{literal})" for literal in inner)
    return regex + star + literals[-1] if anchored and len(literals) > 1 else regex


# ------------------------------------------------------------------------------------- dialects for image patterns only


def _any_of(regexes: tuple[str, ...]) -> Matcher:
    """One of several must match the whole text. Every star in them takes the leftmost match of what follows."""
    matchers = [re.compile(regex, re.DOTALL).fullmatch for regex in regexes]
    return lambda text: any(matcher(text) is not None for matcher in matchers)


def _ascii(pattern: str) -> str:
    if not pattern.isascii():
        raise ValueError("a pattern over images holds ASCII characters only, as a reference does")
    return pattern


def _cip_pattern(pattern: str) -> str:
    """policy-controller's pkg/apis/glob: two patterns alone are rewritten; else `*` and `**` are as in native ones."""
    if _CIP.fullmatch(pattern) is None:
        raise ValueError("a glob of policy-controller holds letters, digits and - _ : / * . @ only")
    return {"*": f"{GO_DOCKER_HUB}/library/*", "*/*": f"{GO_DOCKER_HUB}/*/*"}.get(pattern, pattern)


def _anywhere(pattern: str) -> str:
    """Connaisseur's own addition to gobwas: the host in lower case, and a star on either side that lacks one."""
    host, slash, rest = pattern.partition("/")
    if slash and ("." in host or ":" in host or host.lower() == "localhost"):
        pattern = host.lower() + slash + rest
    return ("" if pattern.startswith("*") else "*") + pattern + ("" if pattern.endswith("*") else "*")


def _notation_scope(pattern: str) -> Matcher:
    """A repository without tag; the host in lower case, as everywhere here."""
    if pattern == EVERY_IMAGE:
        return _anything
    host, slash, path = pattern.partition("/")
    wanted = f"{host.lower()}/{path}"
    if not slash or not path or split_image(pattern) != ImageParts(pattern, None, None) or not is_literal(pattern):
        raise ValueError("a scope of notation is a whole repository such as registry.example.com/app, or * alone")
    return lambda text: split_image(text).name == wanted


def _containers_scope(pattern: str) -> Matcher:
    """The scope itself, or a prefix of the name at a `/`; `*.domain`: every host below the domain, at any port."""
    if pattern == EVERY_IMAGE:
        return _anything
    if _SUBDOMAINS.fullmatch(pattern) is not None:
        domain = pattern[1:].lower()
        return lambda text: text.partition("/")[0].partition(":")[0].endswith(domain)
    if _SCOPE_NAME.fullmatch(pattern) is None or "//" in pattern or pattern.startswith("/") or pattern.endswith("/"):
        raise ValueError("a scope is a reference, a repository, a path or host above it, or *. and a domain")
    host, slash, path = pattern.partition("/")
    scope = f"{host.lower()}{slash}{path}"

    def matches(text: str) -> bool:
        name = split_image(text).name
        return scope in (text, name) or name.startswith(f"{scope}/")

    return matches
