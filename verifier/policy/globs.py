"""Patterns over image references and names, one matcher per dialect; a pattern is never translated between dialects.

    native    `*` a run without `/`; `**` any run; `?` one character that is not `/`; all else literal; whole text.
              An image pattern has up to three parts, name[:tag][@digest], each matched against the same part of the
              reference; a part that the pattern leaves out matches anything, one that it has must be there.
    kyverno   go-wildcard v1: `*` any run, `/` too; `?` exactly one character; all else literal; whole text.

    compile_glob("registry.example.com/**", "native", "image")("registry.example.com/a/b:1")     True
    compile_glob("registry.example.com/*", "native", "image")("registry.example.com/a/b:1")      False
    compile_glob("registry.example.com/*", "kyverno", "image")("registry.example.com/a/b:1")     True

Patterns are written by people, texts by whoever creates a pod. So no pattern may be made slow by a text: runs are
matched leftmost inside atomic groups, which never go back; only what follows the last `**` is tried at every position.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, NamedTuple, assert_never

from verifier.models import ImageReference
from verifier.policy.model import Dialect, check_pattern

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


class ImageParts(NamedTuple):
    """name[:tag][@digest]; None where the part is not written."""

    name: str
    tag: str | None
    digest: str | None


@lru_cache(maxsize=_CACHED)
def compile_glob(pattern: str, dialect: Dialect, over: Over) -> Matcher:
    """The matcher of one pattern: text in, whether the whole of it matches out.

    Raises:
        ValueError: the pattern is empty, too long (`MAX_PATTERN_CHARACTERS`) or holds invisible characters.
    """
    if pattern or over != "value":
        check_pattern(pattern)
    match dialect:
        case "kyverno":
            return _text_matcher(pattern, _kyverno_regex)
        case "native":
            return _native_image(pattern) if over == "image" else _text_matcher(pattern, _native_regex)
        case _ as never:
            assert_never(never)


def is_literal(pattern: str) -> bool:
    """True when the pattern has no wildcard (in either dialect) and so matches one text only."""
    return "*" not in pattern and "?" not in pattern


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
    either matches. Kyverno prints a reference pinned by digest without its tag, and does not add `library/` on Docker
    Hub, which its own patterns are written for.
    """
    repository = image.repository
    running = (f"{repository}@{digest}",) if digest else ()
    if dialect == "native":
        return (str(image), *running)
    texts = (_kyverno_text(repository, image), *running)
    if image.registry == DOCKER_HUB and image.path.startswith(DOCKER_LIBRARY):
        short = f"{DOCKER_HUB}/{image.path.removeprefix(DOCKER_LIBRARY)}"
        texts += (_kyverno_text(short, image), *((f"{short}@{digest}",) if digest else ()))
    return texts


def _kyverno_text(repository: str, image: ImageReference) -> str:
    return f"{repository}@{image.digest}" if image.digest else f"{repository}:{image.tag}"


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
