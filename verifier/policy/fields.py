"""Fields that the models of policies share, with the rules of their grammar.

    class Rule(Model):
        images: Patterns = ()

A check raises `ValueError` with the rule that was broken and never with what was typed, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field

MAX_NAME_CHARACTERS: Final = 253
"""Characters of a policy id, as for a Kubernetes object name (RFC 1123 subdomain)."""

MAX_PATTERN_CHARACTERS: Final = 512
"""Characters of one pattern: a name (255), a tag (128) and a digest (71) fit. Bounds the cost of matching."""

MAX_LIST_ENTRIES: Final = 1_000
"""Entries of one list in a policy. Every entry of a match rule is tried against every image."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.ASCII)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_REGISTRY: Final = re.compile(r"[a-z0-9.\-\[\]:]*[a-z0-9\]]", re.ASCII)
UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f]")


class PlacedErrors(ValueError):
    """What a check over a whole model found, each at its path below that model."""

    def __init__(self, messages: Mapping[tuple[str | int, ...], str]) -> None:
        super().__init__("; ".join(dict.fromkeys(messages.values())))
        self.messages = messages


def check_name(name: str) -> str:
    """A name that is safe in file names, topics, URLs and terminals.

    Raises:
        ValueError: the name breaks the grammar; the message gives it.
    """
    if len(name) > MAX_NAME_CHARACTERS or _NAME.fullmatch(name) is None:
        raise ValueError(
            f"a name is 1 to {MAX_NAME_CHARACTERS} of a-z, 0-9, '.', '_', '-'; first and last a letter or digit"
        )
    return name


def check_pattern(pattern: str) -> str:
    """A pattern of any dialect: not empty, not too long, nothing invisible in it.

    Raises:
        ValueError: it is not.
    """
    if not pattern or len(pattern) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"a pattern has 1 to {MAX_PATTERN_CHARACTERS} characters, this one has {len(pattern)}")
    if UNPRINTABLE.search(pattern):
        raise ValueError("a pattern holds no spaces and no control characters")
    return pattern


def check_digest(digest: str) -> str:
    """A manifest digest.

    Raises:
        ValueError: it is not `sha256:` and 64 lower-case hexadecimal digits.
    """
    if _DIGEST.fullmatch(digest) is None:
        raise ValueError("expected a digest: sha256: and 64 lower-case hexadecimal digits")
    return digest


def check_registry(registry: str) -> str:
    """A literal registry host (a list of trusted registries must not be widened by a wildcard).

    Raises:
        ValueError: a wildcard, a path, a scheme, or capitals.
    """
    if _REGISTRY.fullmatch(registry) is None:
        raise ValueError(
            "expected a registry host such as docker.io or registry.example.com:5000: lower case, no path, no pattern"
        )
    return registry


def check_value_pattern(pattern: str) -> str:
    """A pattern over a label's value, which may be empty.

    Raises:
        ValueError: too long, or something invisible in it.
    """
    return check_pattern(pattern) if pattern else pattern


Name = Annotated[str, AfterValidator(check_name)]
ValuePattern = Annotated[str, AfterValidator(check_value_pattern)]
Pattern = Annotated[str, AfterValidator(check_pattern)]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=MAX_LIST_ENTRIES)]
Digest = Annotated[str, AfterValidator(check_digest), Field(json_schema_extra={"pattern": "^sha256:[0-9a-f]{64}$"})]
Registry = Annotated[str, AfterValidator(check_registry)]


def check_window(start: int | None, end: int | None) -> None:
    """A closed window [start, end] that holds at least one instant.

    Raises:
        ValueError: it ends before it starts.
    """
    if start is not None and end is not None and end < start:
        raise ValueError("the window ends before it starts")
