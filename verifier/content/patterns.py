"""Patterns over URIs and names in predicates, and over package URLs.

    any_of(("https://github.com/acme/**",)).matches("https://github.com/acme/app/x")     True
    components(("pkg:*/log4j-core@2.1*",)).matches(package_url("pkg:maven/org.apache/log4j-core@2.14.1"))     True

`*` is a run without `/`, `**` any run, `?` one character that is not `/`; everything else is literal and the whole text
must match. In patterns over components there are no folders, so `*` is any run there. A pattern is written by a person,
a text by whoever made the predicate: no text can make a pattern slow, because runs are taken leftmost inside atomic
groups; only the end behind the last `**` is tried at every position, and texts have a limit.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec

from verifier.content.outcome import Mismatch

MAX_PATTERN_CHARACTERS: Final = 512
"""Characters of one pattern. Bounds the cost of matching."""

MAX_TEXT_CHARACTERS: Final = 1024
"""Characters of a text that patterns are tried on: a URI or package URL. Cost may grow with the square."""

MATCH_BUDGET: Final = 2_000_000
"""Texts times patterns that are tried one by one, for one rule and predicate: about 0.3 µs each."""

_CACHED: Final = 4096
"""Compiled lists kept; a rule has some three."""

_QUALIFIED: Final = re.compile(r"(.*?)\?[^?@/]*=", re.DOTALL)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f]")


class Component(msgspec.Struct, frozen=True, gc=False):
    """What a component is called, for matching: lower case, without escapes, qualifiers and subpath."""

    name: str
    version: str
    is_purl: bool


class Patterns(NamedTuple):
    """A list of patterns, compiled: literals are looked up, the others tried one by one inside one expression."""

    written: tuple[str, ...]
    literals: frozenset[str]
    wild: re.Pattern[str] | None
    wild_count: int

    def matches(self, text: str) -> bool:
        """Whether one pattern matches the whole of `text`.

        Raises:
            Mismatch: `text` is longer than `MAX_TEXT_CHARACTERS`.
        """
        if len(text) > MAX_TEXT_CHARACTERS:
            raise Mismatch(f"a text of {len(text)} characters where patterns apply, limit {MAX_TEXT_CHARACTERS}")
        return text in self.literals or (self.wild is not None and self.wild.fullmatch(text) is not None)


class ComponentPatterns(NamedTuple):
    """Patterns over components, each split into name and version."""

    written: tuple[str, ...]
    literals: frozenset[tuple[bool, str]]
    """(is a package URL, name) of patterns without wildcard and without version."""
    exact: frozenset[tuple[bool, str, str]]
    wild: tuple[tuple[bool, re.Pattern[str], re.Pattern[str] | None], ...]

    def matches(self, component: Component) -> bool:
        """Whether one pattern names this component.

        Raises:
            Mismatch: its name is longer than `MAX_TEXT_CHARACTERS`.
        """
        name, version, is_purl = component.name, component.version, component.is_purl
        if len(name) + len(version) > MAX_TEXT_CHARACTERS:
            raise Mismatch(f"a component name of {len(name) + len(version)} characters, limit {MAX_TEXT_CHARACTERS}")
        if (is_purl, name) in self.literals or (is_purl, name, version) in self.exact:
            return True
        return any(
            of_purl is is_purl and of_name.fullmatch(name) and (of_version is None or of_version.fullmatch(version))
            for of_purl, of_name, of_version in self.wild
        )


def check_pattern(pattern: str) -> str:
    """A pattern that can match something, of bounded length, with nothing invisible in it.

    Raises:
        ValueError: it is not.
    """
    if not pattern or len(pattern) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"a pattern has 1 to {MAX_PATTERN_CHARACTERS} characters, this one has {len(pattern)}")
    if _UNPRINTABLE.search(pattern):
        raise ValueError("a pattern holds no spaces and no control characters")
    return pattern


def check_text_pattern(pattern: str) -> str:
    """As `check_pattern` for names that people give things: spaces are fine inside.

    Raises:
        ValueError: empty, too long, or a control character.
    """
    check_pattern(pattern.replace(" ", "_"))
    return pattern


@lru_cache(maxsize=_CACHED)
def any_of(patterns: tuple[str, ...]) -> Patterns:
    """The patterns, compiled; the same list gives the same object."""
    literals = frozenset(pattern for pattern in patterns if not _is_wild(pattern))
    wild = [pattern for pattern in patterns if _is_wild(pattern)]
    joined = re.compile("|".join(f"(?:{_translate(p)})" for p in wild), re.DOTALL) if wild else None
    return Patterns(patterns, literals, joined, len(wild))


@lru_cache(maxsize=_CACHED)
def components(patterns: tuple[str, ...]) -> ComponentPatterns:
    """Patterns over components, compiled."""
    literals, exact, wild = set(), set(), []
    for pattern in patterns:
        name, at, version = _split_purl(pattern.casefold()) if _is_purl(pattern) else _split_name(pattern.casefold())
        is_purl = _is_purl(pattern)
        if not _is_wild(name) and not _is_wild(version):
            if at:
                exact.add((is_purl, name, version))
            else:
                literals.add((is_purl, name))
        else:
            wild.append((is_purl, _any_run(name), _any_run(version) if at else None))
    return ComponentPatterns(patterns, frozenset(literals), frozenset(exact), tuple(wild))


def package_url(text: str) -> Component:
    """The parts of a package URL that identify (purl specification: type, namespace, name and version)."""
    name, _, version = _split_purl(text.casefold())
    return Component(name, version, is_purl=True)


def named_component(name: str, version: str) -> Component:
    """A component by the name and version its document gives."""
    return Component(name.casefold(), version.casefold(), is_purl=False)


def check_budget(texts: int, patterns: int) -> None:
    """Refuses what would take long before it starts.

    Args:
        texts: names or components of a predicate.
        patterns: patterns that are tried on each, one by one.

    Raises:
        Mismatch: the product is over `MATCH_BUDGET`.
    """
    if texts * patterns > MATCH_BUDGET:
        raise Mismatch(f"{texts} names for {patterns} patterns are too many to compare")


def _is_purl(text: str) -> bool:
    return text[:4].lower() == "pkg:"


def _is_wild(text: str) -> bool:
    return "*" in text or "?" in text


def _split_purl(text: str) -> tuple[str, str, str]:
    """Name, `@` or nothing, version. Qualifiers and subpath identify no other package and are left out.

    In a pattern `?` is a wildcard, except where qualifiers begin: a `?` with a `=` behind it.
    """
    text = text.partition("#")[0]
    qualified = _QUALIFIED.match(text) if "?" in text else None
    text = (qualified[1] if qualified else text).rstrip("/")
    at = text.rfind("@")
    if text[at - 1 : at] == "/" and "/" in text[at:]:  # `pkg:npm/@scope/x`: the @ of a scope, no version
        at = -1
    name, version = (text, "") if at < 0 else (text[:at], text[at + 1 :])
    name = unquote(name).rstrip("/")  # quick where there is nothing to unquote, as in most
    if name.startswith("pkg:/"):
        name = "pkg:" + name[4:].lstrip("/")
    if name.startswith("pkg:pypi/"):
        name = name.replace("_", "-")
    return name, "" if at < 0 else "@", unquote(version)


def _split_name(text: str) -> tuple[str, str, str]:
    name, at, version = text.rpartition("@")
    return (name, at, version) if name else (text, "", "")


def _any_run(pattern: str) -> re.Pattern[str]:
    """`*` is any run: every star but the last may take its leftmost match."""
    literals = [re.escape(part).replace(r"\?", ".") for part in re.split(r"\*+", pattern)]
    inner = "".join(f"(?>.*?{part})" for part in literals[1:-1])
    return re.compile(literals[0] + inner + (f".*{literals[-1]}" if len(literals) > 1 else ""), re.DOTALL)


def _translate(pattern: str) -> str:
    """Chunks between `**`; a chunk that another `**` follows may take its leftmost match, only the last one may not."""
    chunks = [chunk.split("*") for chunk in re.split(r"\*{2,}", pattern)]
    if len(chunks) == 1:
        return _chunk(chunks[0], anchored=True)
    inner = "".join(f"(?>.*?{_chunk(chunk, anchored=False)})" for chunk in chunks[1:-1])
    return f"(?>{_chunk(chunks[0], anchored=False)}){inner}.*?{_chunk(chunks[-1], anchored=True)}"


def _chunk(parts: list[str], *, anchored: bool) -> str:
    literals = [re.escape(part).replace(r"\?", "[^/]") for part in parts]
    if len(literals) == 1:
        return literals[0]
    until = len(literals) - 1 if anchored else len(literals)
    inner = "".join(f"(?>[^/]*?{literal})" for literal in literals[1:until])
    return literals[0] + inner + (f"[^/]*?{literals[-1]}" if anchored else "")
