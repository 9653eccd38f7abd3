"""Who revet is to a registry: challenges, tokens and the credentials of a Docker configuration file.

    book = parse_docker_config(b'{"auths": {"registry.example.com": {"auth": "…"}}}')
    book.find("registry.example.com", "payments/api")       Credential for that host, or None

Secrets are `Secret` objects: they print as `Secret(***)`, cannot be encoded into a record, and are opened only where a
header is written. Credential helpers are programs and are never run.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from verifier.errors import EvidenceError, PlaceRefused
from verifier.evidence.strictjson import loads_strict
from verifier.oci.limits import CHALLENGE_BYTES, DOCKER_CONFIG_BYTES, TOKEN_BYTES


class Secret:
    """A text that does not print itself. Compares by identity, pickles and encodes not at all."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not copied or stored")


class Credential(msgspec.Struct, frozen=True):
    """What was given for one host: a user name and password, or a ready bearer token."""

    basic: Secret | None = None
    """`user:password`, base64 as sent."""
    bearer: Secret | None = None


def basic_credential(user: str, password: str) -> Credential:
    """A credential of user name and password (RFC 7617, UTF-8)."""
    return Credential(basic=Secret(b64encode(f"{user}:{password}".encode()).decode()))


_DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
"""Names Docker Hub goes by; its entry in configuration files is `https://index.docker.io/v1/`."""


class CredentialBook:
    """Credentials by host, and by path below it; the longest path that fits wins."""

    def __init__(self, entries: Mapping[str, Credential] | None = None, helpers: Iterable[str] = ()) -> None:
        self._entries = {_entry_name(name): credential for name, credential in (entries or {}).items()}
        self._helpers = frozenset(map(_entry_name, helpers))

    def find(self, host: str, path: str) -> Credential | None:
        """The credential for a repository on `host[:port]`; never one that was given for another host."""
        names = [_canonical(host), *path.split("/")]
        for length in range(len(names), 0, -1):
            found = self._entries.get("/".join(names[:length]))
            if found is not None:
                return found
        return None

    def wants_helper(self, host: str) -> bool:
        """True when the configuration has for this host only what revet does not use: a credential helper, which is a
        program, or an identity token.
        """
        return not self._helpers.isdisjoint({_canonical(host), "*"})

    def beside(self, other: CredentialBook) -> CredentialBook:
        """The entries of both; where both have one for the same host and path, this one's."""
        made = CredentialBook(helpers=self._helpers)
        made._entries = other._entries | self._entries
        return made

    def says_the_same(self, other: CredentialBook) -> bool:
        """Whether both would show everybody the same credentials."""
        return {name: _shown(one) for name, one in self._entries.items()} == {
            name: _shown(one) for name, one in other._entries.items()
        }

    def __repr__(self) -> str:
        return f"CredentialBook({sorted(self._entries)})"


def _shown(credential: Credential) -> tuple[str | None, ...]:
    """What is sent of it."""
    return tuple(None if one is None else one.reveal() for one in (credential.basic, credential.bearer))


def _canonical(host: str) -> str:
    lowered = host.lower()
    return "docker.io" if lowered in _DOCKER_HUB else lowered


def _entry_name(written: str) -> str:
    """`https://index.docker.io/v1/`, `registry.example.com:5000`, `registry.example.com/team` -> `host[/path]`."""
    address = written.partition("://")[2] or written
    host, _, path = address.rstrip("/").partition("/")
    path = "" if path in {"v1", "v2"} else path
    return "/".join(filter(None, (_canonical(host), path)))


class _AuthEntry(msgspec.Struct, frozen=True):
    auth: str = ""
    username: str = ""
    password: str = ""
    registrytoken: str = ""
    identitytoken: str = ""


class _DockerConfig(msgspec.Struct, frozen=True, rename={"cred_helpers": "credHelpers", "creds_store": "credsStore"}):
    auths: dict[str, _AuthEntry] = {}
    cred_helpers: dict[str, str] = {}
    creds_store: str = ""


def parse_docker_config(data: bytes) -> CredentialBook:
    """The `auths` of a Docker `config.json` or a `.dockerconfigjson` secret.

    Raises:
        PlaceRefused: `registry-unauthorized`, the file is no such configuration. The message holds nothing of it.
    """
    try:
        config = msgspec.convert(loads_strict(data, limit=DOCKER_CONFIG_BYTES), _DockerConfig)
        entries = {name: _credential(entry) for name, entry in config.auths.items()}
    except (EvidenceError, msgspec.ValidationError, ValueError):
        # `from None`: the chained error could quote the file, which holds passwords.
        raise PlaceRefused("registry-unauthorized", "the Docker configuration is no JSON with `auths`") from None
    # An identity token is traded for others by an exchange of its own (OAuth 2), which revet does not make.
    traded = [name for name, entry in config.auths.items() if entry.identitytoken and not entry.registrytoken]
    helpers = [*config.cred_helpers, *traded, *(["*"] if config.creds_store else [])]
    entries = {name: entry for name, entry in entries.items() if name not in traded}
    return CredentialBook({name: entry for name, entry in entries.items() if entry is not None}, helpers)


def _credential(entry: _AuthEntry) -> Credential | None:
    if entry.registrytoken:
        return Credential(bearer=Secret(entry.registrytoken))
    if entry.auth:
        user, colon, password = b64decode(entry.auth, validate=True).decode().partition(":")
        # Docker writes NUL bytes after some passwords.
        return basic_credential(user, password.strip("\0")) if colon else None
    return basic_credential(entry.username, entry.password) if entry.username else None


# ------------------------------------------------------------------------------------------------------- challenges


class Challenge(msgspec.Struct, frozen=True):
    """One challenge of a `WWW-Authenticate` header; the scheme in lower case."""

    scheme: str
    parameters: dict[str, str]


_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = r'"(?:[^"\\]|\\.)*+"'
_PART: Final = re.compile(
    rf"[\s,]*+(?:(?P<name>{_WORD})\s*=\s*(?P<value>{_QUOTED}|{_WORD})|(?P<scheme>{_WORD})(?=\s|,|\Z))"
)


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges of all `WWW-Authenticate` values (RFC 9110, 11.6.1), in order."""
    challenges: list[Challenge] = []
    for value in values:
        text, position = value[:CHALLENGE_BYTES], 0
        current: dict[str, str] | None = None
        while part := _PART.match(text, position):
            position = part.end()
            if part["scheme"]:
                current = {}
                challenges.append(Challenge(part["scheme"].lower(), current))
            elif current is not None:
                current.setdefault(part["name"].lower(), _unquoted(part["value"]))
    return tuple(challenges)


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def token_url(challenge: Challenge, path: str, *, plain_http: bool) -> str | None:
    """Where to ask for a token (distribution token authentication), or None when the challenge cannot be followed.

    A realm over plain HTTP is followed only when the registry itself is spoken to in plain HTTP: else whoever answers
    for the registry could have the password sent in the clear.
    """
    realm, service = (challenge.parameters.get(name, "") for name in ("realm", "service"))
    scope = challenge.parameters.get("scope") or f"repository:{path}:pull"
    if not (realm + service + scope).isascii():  # bytes that are no text reach us as lone surrogates
        return None
    try:
        parts = urlsplit(realm)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in ({"http", "https"} if plain_http else {"https"}) or not host or "@" in parts.netloc:
        return None
    query = {"service": service, "scope": scope} if service else {"scope": scope}
    return parts._replace(query="&".join(filter(None, (parts.query, urlencode(query)))), fragment="").geturl()


class _TokenAnswer(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")


def parse_token(body: bytes) -> Secret | None:
    """The token of a token service's answer, or None when it holds none that can stand in a header."""
    try:
        answer = msgspec.convert(loads_strict(body, limit=TOKEN_BYTES), _TokenAnswer)
    except (EvidenceError, msgspec.ValidationError):
        return None
    token = answer.token or answer.access_token
    return Secret(token) if _PRINTABLE.fullmatch(token) else None
