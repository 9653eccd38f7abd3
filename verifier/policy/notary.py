"""Notary Project trust policies as functions: levels, actions, trusted identities, and the judgement of one signature.

    actions = actions_of("strict", {"revocation": "log"})
    identity = parse_trusted_identity("x509.subject: C=US, ST=WA, O=wabbit-networks.io")
    judge(rules, signature, instant)            NotaryJudgement(ok, failures, warnings, valid_until)

Facts say what cryptography proved and trust stores say which authorities a policy names; here they are only compared
(specs/trust-store-trust-policy.md). No clock, no keys, no bytes. Verification plugins and identities other than
`x509.subject` are refused: nothing here could check them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from verifier.errors import PolicyError
from verifier.evidence.content import excerpt
from verifier.evidence.crl import RevocationStatus
from verifier.evidence.envelope import SCHEME_AUTHORITY, SCHEME_X509
from verifier.models import Micros, TimeClaim
from verifier.times import show_instant

Level = Literal["strict", "permissive", "audit", "skip"]
Action = Literal["enforce", "log", "skip"]
Validation = Literal["integrity", "authenticity", "authenticTimestamp", "expiry", "revocation"]
VerifyTimestamp = Literal["always", "afterCertExpiry"]
StoreType = Literal["ca", "signingAuthority"]

_ACTIONS: Final[Mapping[str, Action]] = {"enforce": "enforce", "log": "log", "skip": "skip"}
_STORES: Final[Mapping[str, StoreType]] = {SCHEME_X509: "ca", SCHEME_AUTHORITY: "signingAuthority"}

VALIDATIONS: Final[tuple[Validation, ...]] = get_args(Validation)

IDENTITY_CHARACTERS: Final = 1024
"""Characters of one trusted identity. A distinguished name in a certificate has a hundred."""

IDENTITIES: Final = 256
"""Trusted identities of one policy: each is compared with each other one."""

_PREFIX: Final = "x509.subject"
_MANDATORY: Final = ("C", "ST", "O")
_SPECIAL: Final = frozenset(' "#+,;<=>\\')
_NAMES: Final = {"S": "ST", "2.5.4.5": "SERIALNUMBER", "2.5.4.17": "POSTALCODE"}
"""Other spellings of attribute types: `S` by the specification, numbers as RFC 4514 writes what it has no name for."""


class Actions(NamedTuple):
    """What follows when a validation fails."""

    integrity: Action
    authenticity: Action
    authentic_timestamp: Action
    expiry: Action
    revocation: Action

    def of(self, validation: Validation) -> Action:
        """The action of a validation by its name in the policy."""
        return self[VALIDATIONS.index(validation)]


LEVELS: Final[Mapping[str, Actions]] = {
    "strict": Actions("enforce", "enforce", "enforce", "enforce", "enforce"),
    "permissive": Actions("enforce", "enforce", "log", "log", "log"),
    "audit": Actions("enforce", "log", "log", "log", "log"),
    "skip": Actions("skip", "skip", "skip", "skip", "skip"),
}


def actions_of(level: str, override: Mapping[str, str] | None = None) -> Actions:
    """The actions of a level with its overrides (section Signature Verification Details).

    Raises:
        PolicyError: an unknown level, validation or action; an override of integrity, of level skip, or one that skips
            anything but revocation.
    """
    if level not in LEVELS:
        raise PolicyError(f"expected level strict, permissive, audit or skip, got {excerpt(level)}", field="level")
    actions: dict[str, Action] = dict(zip(VALIDATIONS, LEVELS[level], strict=True))
    if override and level == "skip":
        raise PolicyError("level skip verifies nothing, so nothing can be overridden", field="override")
    for name, action in (override or {}).items():
        if name not in VALIDATIONS:
            raise PolicyError(
                f"expected a validation ({', '.join(VALIDATIONS)}), got {excerpt(name)}", field="override"
            )
        if action not in _ACTIONS:
            raise PolicyError(f"expected enforce, log or skip, got {excerpt(action)}", field=f"override.{name}")
        if name == "integrity":
            raise PolicyError("integrity cannot be overridden", field="override.integrity")
        if action == "skip" and name != "revocation":
            raise PolicyError(f"{name} cannot be skipped; only revocation can", field=f"override.{name}")
        actions[name] = _ACTIONS[action]
    return Actions(*actions.values())


# --------------------------------------------------------------------------------------------------------- identities


class TrustedIdentity(msgspec.Struct, frozen=True):
    """Attributes a signer's subject must have; none at all stands for `*`, every signer of the trust stores."""

    text: str
    """As the policy writes it."""
    attributes: tuple[tuple[str, str], ...] = ()
    """(type, value), sorted; types in capitals, `S` as `ST`."""

    @property
    def any(self) -> bool:
        """Whether this is `*`."""
        return not self.attributes

    def matches(self, subject: Mapping[str, str]) -> bool:
        """Whether every attribute is in the subject with exactly this value; the subject may have more."""
        return all(subject.get(kind) == value for kind, value in self.attributes)


def parse_trusted_identity(text: str) -> TrustedIdentity:
    """`*`, or `x509.subject:` and a distinguished name with C, ST (or S) and O (section Trusted Identities).

    Raises:
        PolicyError: another kind of identity, a name that is not RFC 4514, has a type twice, several attributes in one
            relative name, a `#` value, or lacks C, ST or O.
    """
    if text == "*":
        return TrustedIdentity(text)
    if len(text) > IDENTITY_CHARACTERS:
        raise PolicyError(f"a trusted identity of {len(text)} characters, limit {IDENTITY_CHARACTERS}")
    prefix, colon, name = text.partition(":")
    if not colon or prefix != _PREFIX:
        raise PolicyError(f"expected `*` or `{_PREFIX}: <distinguished name>`, got {excerpt(text)}")
    try:
        attributes = parse_subject(name)
    except ValueError as error:
        raise PolicyError(f"trusted identity {excerpt(text)}: {error}") from error
    if missing := [kind for kind in _MANDATORY if not attributes.get(kind)]:
        raise PolicyError(f"trusted identity {excerpt(text)} lacks {', '.join(missing)}; C, ST and O are mandatory")
    return TrustedIdentity(text, tuple(sorted(attributes.items())))


def check_overlap(identities: Iterable[TrustedIdentity]) -> None:
    """Identities of one policy must not cover each other, and `*` stands alone.

    Raises:
        PolicyError: names the two.
    """
    given = tuple(identities)
    if len(given) > IDENTITIES:
        raise PolicyError(f"{len(given)} trusted identities, limit {IDENTITIES}", field="trustedIdentities")
    maps = [dict(identity.attributes) for identity in given]
    for index, identity in enumerate(given):
        for other, subject in zip(given[index + 1 :], maps[index + 1 :], strict=True):
            if identity.matches(subject) or other.matches(maps[index]):
                raise PolicyError(
                    f"trusted identities {excerpt(identity.text)} and {excerpt(other.text)} overlap",
                    field="trustedIdentities",
                )


def parse_subject(name: str) -> dict[str, str]:
    """Attribute type -> value of a distinguished name (RFC 4514), of a policy or of a certificate.

    Raises:
        ValueError: not RFC 4514, or not what the Notary Project can compare: several attributes in one relative name,
            a type twice, a value in `#` form.
    """
    attributes: dict[str, str] = {}
    if not name.strip(" "):
        return attributes
    for part, mark in _parts(name):
        kind, equals, value = part.partition("=")
        kind = kind.strip(" ")
        if not equals or not kind or "\\" in kind:
            raise ValueError(f"expected TYPE=value, got {excerpt(part)}")
        if mark == "+":
            raise ValueError("several attributes in one relative name cannot be compared")
        if value.lstrip(" ").startswith("#"):
            raise ValueError("values in `#` form are not supported")
        kind = _NAMES.get(kind, kind)
        if kind in attributes:
            raise ValueError(f"{excerpt(kind)} twice in one name")
        attributes[kind] = _unescape(_strip(value))
    return attributes


def _parts(name: str) -> Iterator[tuple[str, str]]:
    """The attributes with the mark that ends each: `,` `;` (RFC 2253), `+`, or nothing at the end."""
    start, escaped = 0, False
    for at, char in enumerate(name):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in ",;+":
            yield name[start:at], char
            start = at + 1
    yield name[start:], ""


def _strip(value: str) -> str:
    """Without the spaces around it; a space that is escaped belongs to the value."""
    bare = value.strip(" ")
    backslashes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if backslashes % 2 and value.endswith(" ") else bare


def _unescape(value: str) -> str:
    """RFC 4514 section 3: a backslash before a special character, or before two hex digits of a byte of UTF-8."""
    raw = bytearray()
    at = 0
    while at < len(value):
        char = value[at]
        if char != "\\":
            raw += char.encode()
            at += 1
        elif value[at + 1 : at + 2] in _SPECIAL:
            raw += value[at + 1].encode()
            at += 2
        else:
            raw.append(_hex_byte(value[at + 1 : at + 3]))
            at += 3
    return raw.decode()


def _hex_byte(digits: str) -> int:
    if len(digits) != 2 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
        raise ValueError(f"a backslash before {excerpt(digits)}, which is neither a special character nor a byte")
    return int(digits, 16)


# --------------------------------------------------------------------------------------------------------- judgement


def store_type(scheme: str) -> StoreType | None:
    """The type of trust store that may vouch for a signing scheme: never one for the other."""
    return _STORES.get(scheme)


class NotaryRules(msgspec.Struct, frozen=True):
    """What a policy statement asks."""

    actions: Actions
    identities: tuple[TrustedIdentity, ...]
    timestamped: bool = False
    """The policy names a trust store of type `tsa`; without one tokens are not looked at."""
    verify_timestamp: VerifyTimestamp = "always"


class NotarySignature(msgspec.Struct, frozen=True):
    """What is known of one signature under the trust stores the policy names."""

    good: bool
    """The leaf key made it, over this image."""
    scheme: str
    subject: str
    """Of the leaf certificate, RFC 4514."""
    windows: tuple[tuple[Micros, Micros], ...]
    """Closed interval in which all certificates of a chain are valid, for each chain that leads to a certificate of a
    trust store of the scheme's type (`store_type`)."""
    untrusted_window: tuple[Micros, Micros]
    """The same of the certificates in the envelope; judged where no chain is trusted and that is only logged."""
    times: tuple[TimeClaim, ...] = ()
    """The signing authority's; of timestamps only those of a trust store of type `tsa` that the policy names."""
    timestamp_problem: str = ""
    """Why a token there is gave no time; for the message."""
    expires: Micros | None = None
    revocation: RevocationStatus = RevocationStatus("unknown", "revocation was not looked at")


class Failure(NamedTuple):
    """A validation that failed, what the policy does about it, and why."""

    validation: Validation
    action: Action
    sentence: str


class NotaryJudgement(msgspec.Struct, frozen=True):
    """Whether a signature satisfies a policy at an instant."""

    ok: bool
    failures: tuple[Failure, ...] = ()
    """Of enforced validations."""
    warnings: tuple[Failure, ...] = ()
    """Of logged ones; and that nothing was verified, at level skip."""
    valid_until: Micros | None = None
    """First instant at which this may come out differently by itself; None when it does not."""


class _Answer(NamedTuple):
    problem: str
    """Empty when the validation holds."""
    due: Micros | None = None


def judge(rules: NotaryRules, signature: NotarySignature, instant: Micros) -> NotaryJudgement:
    """The five validations, in the order of the specification; all are made, so that a message can say everything.

    A signature that is bad fails integrity and nothing else is said about it: its contents are anybody's word.
    """
    if rules.actions.integrity == "skip":
        return NotaryJudgement(ok=True, warnings=(Failure("integrity", "skip", "level skip: nothing was verified"),))
    if not signature.good:
        broken = Failure("integrity", rules.actions.integrity, "the signature is not good for this image")
        return NotaryJudgement(ok=False, failures=(broken,))
    answers: dict[Validation, _Answer] = {
        "authenticity": _Answer(_authenticity(rules, signature)),
        "authenticTimestamp": _authentic_timestamp(rules, signature, instant),
        "expiry": _expiry(signature.expires, instant),
        "revocation": _revocation(rules, signature),
    }
    failed = [
        Failure(name, rules.actions.of(name), answer.problem) for name, answer in answers.items() if answer.problem
    ]
    failures = tuple(failure for failure in failed if failure.action == "enforce")
    return NotaryJudgement(
        ok=not failures,
        failures=failures,
        warnings=tuple(failure for failure in failed if failure.action == "log"),
        valid_until=min((a.due for a in answers.values() if a.due is not None and a.due > instant), default=None),
    )


def _authenticity(rules: NotaryRules, signature: NotarySignature) -> str:
    store = store_type(signature.scheme)
    if store is None:
        return f"signing scheme {excerpt(signature.scheme)} is not known"
    if not signature.windows:
        return f"no certificate of the chain is in a trust store of type {store} that the policy names"
    if any(identity.any for identity in rules.identities):
        return ""
    try:
        subject = parse_subject(signature.subject)
    except ValueError as error:
        return f"the signer's subject {excerpt(signature.subject)} cannot be compared: {error}"
    if any(identity.matches(subject) for identity in rules.identities):
        return ""
    return f"the signer's subject {excerpt(signature.subject)} matches no trusted identity"


def _authentic_timestamp(rules: NotaryRules, signature: NotarySignature, instant: Micros) -> _Answer:
    """Section Authentic Timestamp. Any one trusted chain that was in time is enough."""
    windows = signature.windows or (signature.untrusted_window,)
    if signature.scheme == SCHEME_AUTHORITY:
        return _Answer(_signed_within(signature, windows, "signing-authority"))
    expired = all(instant > until for _, until in windows)
    if rules.timestamped and (rules.verify_timestamp == "always" or expired):
        return _Answer(_signed_within(signature, windows, "tsa"))
    due = min((edge for since, until in windows for edge in (since, until + 1) if edge > instant), default=None)
    if any(since <= instant <= until for since, until in windows):
        return _Answer("", due)
    since, until = windows[0]
    shown = f"{show_instant(since)} to {show_instant(until)}"
    return _Answer(f"without a trusted timestamp the chain must be valid now, but is only from {shown}", due)


def _signed_within(signature: NotarySignature, windows: tuple[tuple[Micros, Micros], ...], source: str) -> str:
    """The whole interval [time - 2 * accuracy, time] of some claim lies in a window: both ends, closed."""
    claims = [claim for claim in signature.times if claim.source == source]
    for claim in claims:
        earliest = claim.time - 2 * claim.accuracy
        if any(since <= earliest and claim.time <= until for since, until in windows):
            return ""
    if claims:
        return f"the chain was not valid at {show_instant(claims[0].time)}, when the signature was made"
    what = "timestamp of a trusted authority" if source == "tsa" else "time of a signing authority"
    return f"no {what}" + (f": {signature.timestamp_problem}" if signature.timestamp_problem else "")


def _expiry(expires: Micros | None, instant: Micros) -> _Answer:
    """Valid before the expiry, no longer at it."""
    if expires is None or instant < expires:
        return _Answer("", expires)
    return _Answer(f"the signature expired at {show_instant(expires)}")


def _revocation(rules: NotaryRules, signature: NotarySignature) -> _Answer:
    if rules.actions.revocation == "skip":
        return _Answer("")
    status = signature.revocation
    if status.state == "good":
        return _Answer("", status.valid_until)
    return _Answer(status.detail or f"revocation status {status.state}", status.valid_until)
