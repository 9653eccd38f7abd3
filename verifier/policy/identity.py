r"""Who a certificate must have been made for: matchers over issuer, subject alternative names and Fulcio extensions.

    identity = Identity(issuer="https://accounts.example.com", subjectRegExp=r"[a-z]+@example\.com")
    matches(identity, leaf)

Native regular expressions match the whole text. Those of cosign, Kyverno and policy-controller match anywhere in it
(Go `regexp.MatchString`): an importer says `unanchored: true`, and a reader can see it. The engine is RE2, as in Go:
linear time for every pattern and text, and no look-around or back-references to begin with.

It refuses an identity that anybody could have: one without a subject or extension, or (keyless) without an issuer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Final, Self

import re2
from pydantic import AfterValidator, Field, model_validator

from verifier.models import LeafCertificate
from verifier.policy.fields import MAX_LIST_ENTRIES, check_pattern
from verifier.written import Model

MAX_REGEX_CHARACTERS: Final = 512
"""Characters of one regular expression. Real ones have some 100."""

_REGEX_MEMORY: Final = 1 << 20
"""Bytes RE2 may use for one compiled expression; `((a{100}){100}){100}` is refused by it."""

_CACHED: Final = 4_096
"""Compiled expressions kept."""

_OPTIONS: Final = re2.Options()
_OPTIONS.max_mem = _REGEX_MEMORY
_OPTIONS.log_errors = False


def check_regex(text: str) -> str:
    """A regular expression in RE2's syntax, compiled once to see that it is one.

    Raises:
        ValueError: empty, too long, not in the syntax (look-around and back-references are not), or too large.
    """
    if not text or len(text) > MAX_REGEX_CHARACTERS:
        raise ValueError(f"a regular expression has 1 to {MAX_REGEX_CHARACTERS} characters, this one has {len(text)}")
    try:
        re2.compile(text, _OPTIONS)
    except re2.error as error:
        raise ValueError(
            f"not a regular expression of RE2 (https://github.com/google/re2/wiki/Syntax): {_told(error)}"
        ) from error
    return text


def _told(error: re2.error) -> str:
    """RE2 gives its messages as bytes; they name the part of the expression that is wrong."""
    found = error.args[0] if error.args else b""
    return ascii(found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found))


Regex = Annotated[str, AfterValidator(check_regex)]
Wildcard = Annotated[str, AfterValidator(check_pattern)]
"""`*` stands for any run of characters, `?` for one; the whole text must match."""


class Identity(Model):
    """One identity; every member that is given must match. `subject` members look at the alternative names: any one."""

    issuer: str = ""
    """The OIDC issuer, exactly."""
    issuer_pattern: Wildcard | None = Field(default=None, alias="issuerPattern")
    issuer_reg_exp: Regex | None = Field(default=None, alias="issuerRegExp")
    subject: str = ""
    """A subject alternative name (URI, e-mail, DNS, Fulcio user name), exactly."""
    subject_pattern: Wildcard | None = Field(default=None, alias="subjectPattern")
    subject_reg_exp: Regex | None = Field(default=None, alias="subjectRegExp")
    extensions: dict[str, Wildcard] = Field(default={}, max_length=MAX_LIST_ENTRIES)
    """Fulcio extensions by name (`sourceRepositoryURI`, `buildSignerURI`, `tokenSubject` …); values are wildcards."""
    unanchored: bool = False
    """The regular expressions match anywhere in the text, as in Go; for imported policies."""

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if not (self.subject or self.subject_pattern or self.subject_reg_exp or self.extensions):
            raise ValueError("an identity without subject, subjectPattern, subjectRegExp or extensions is anyone")
        for name in self.extensions:
            if name not in EXTENSION_NAMES:
                raise ValueError(f"{name[:60]!a} is no Fulcio extension; one of {', '.join(sorted(EXTENSION_NAMES))}")
        return self

    @property
    def names_issuer(self) -> bool:
        """Is the issuer restricted? Without it a subject is whatever any identity provider says."""
        return bool(self.issuer or self.issuer_pattern or self.issuer_reg_exp)


EXTENSION_NAMES: Final = frozenset(
    {
        *("issuer", "githubWorkflowTrigger", "githubWorkflowSHA", "githubWorkflowName", "githubWorkflowRepository"),
        *("githubWorkflowRef", "issuerV2", "buildSignerURI", "buildSignerDigest", "runnerEnvironment"),
        *("sourceRepositoryURI", "sourceRepositoryDigest", "sourceRepositoryRef", "sourceRepositoryIdentifier"),
        *("sourceRepositoryOwnerURI", "sourceRepositoryOwnerIdentifier", "buildConfigURI", "buildConfigDigest"),
        *("buildTrigger", "runInvocationURI", "sourceRepositoryVisibilityAtSigning", "deploymentEnvironment"),
        "tokenSubject",
    }
)
"""Names of `evidence.x509.FULCIO_EXTENSIONS` (a test keeps the two equal)."""


def matches(identity: Identity, leaf: LeafCertificate) -> bool:
    """Was the certificate made for this identity? Raises nothing."""
    if not _text(identity.issuer, identity.issuer_pattern, identity.issuer_reg_exp, identity)(leaf.issuer):
        return False
    if identity.subject or identity.subject_pattern or identity.subject_reg_exp:
        test = _text(identity.subject, identity.subject_pattern, identity.subject_reg_exp, identity)
        if not any(map(test, leaf.sans)):
            return False
    carried = dict(leaf.extensions)
    return all(name in carried and _wildcard(wanted)(carried[name]) for name, wanted in identity.extensions.items())


def show_identity(identity: Identity) -> str:
    """The identity for people: what it asks for, in one line."""
    parts = []
    for what, exact, pattern, regex in (
        ("subject", identity.subject, identity.subject_pattern, identity.subject_reg_exp),
        ("issuer", identity.issuer, identity.issuer_pattern, identity.issuer_reg_exp),
    ):
        parts += [f"{what} {exact}"] if exact else []
        parts += [f"{what} like {pattern}"] if pattern else []
        parts += [f"{what} matching {regex}"] if regex else []
    parts += [f"{name} {value}" for name, value in sorted(identity.extensions.items())]
    return ", ".join(parts)


def _text(exact: str, pattern: str | None, regex: str | None, identity: Identity) -> Callable[[str], bool]:
    def test(text: str) -> bool:
        if exact and text != exact:
            return False
        if pattern is not None and not _wildcard(pattern)(text):
            return False
        return regex is None or _regex(regex, identity.unanchored)(text)

    return test


@lru_cache(maxsize=_CACHED)
def _regex(regex: str, unanchored: bool) -> Callable[[str], bool]:
    compiled = re2.compile(regex, _OPTIONS)
    find = compiled.search if unanchored else compiled.fullmatch
    return lambda text: find(text) is not None


@lru_cache(maxsize=_CACHED)
def _wildcard(pattern: str) -> Callable[[str], bool]:
    parts = ("[\\s\\S]*" if c == "*" else "[\\s\\S]" if c == "?" else re.escape(c) for c in pattern)
    compiled = re2.compile("".join(parts), _OPTIONS)
    return lambda text: compiled.fullmatch(text) is not None
