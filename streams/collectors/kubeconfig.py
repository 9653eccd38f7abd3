"""A kubeconfig, read: which API server, whom it trusts, and how to show who asks. Text in, values out; nothing is run.

    access = read_kubeconfig(text, "~/.kube/config", context="")
    access.server                          https://203.0.113.7:6443
    access.user.exec                       the command that fetches a credential, or None

Members that are not used for asking are left alone; ways to log in that Kubernetes took out (`auth-provider`, user name
and password) are refused by name, because leaving them out would ask as nobody. Secrets stay inside `Secret`, which
shows nothing when it is printed.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
import yaml

from streams.collectors.wire import micros
from verifier.errors import InputError

MAX_CHARACTERS: Final = 4 * 1024 * 1024
"""Characters of a kubeconfig. One with a hundred clusters and their certificates has some 500,000."""

MAX_DEPTH: Final = 100
"""Levels of nesting. Pods with everything in them have some twenty, a kubeconfig six."""

MAX_EXEC_BYTES: Final = 1024 * 1024
"""Bytes a credential command may print."""

EXEC_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
"""Versions of ExecCredential that are spoken (client-go credential plugins)."""

_LOADER: Final[type[yaml.SafeLoader | yaml.CSafeLoader]] = (
    yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
)


class Secret(NamedTuple):
    """A token or a private key; what prints it prints nothing of it."""

    value: str

    def __repr__(self) -> str:
        return "Secret(…)"

    def __str__(self) -> str:
        return "…"


class ExecCommand(NamedTuple):
    """`users[].user.exec`: a program that prints an ExecCredential."""

    version: str
    command: str
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cluster_info: bool
    """`provideClusterInfo`: it is told which cluster it is for."""


class Login(NamedTuple):
    """`users[].user`. Files are named as written, relative to the kubeconfig."""

    token: Secret | None = None
    token_file: str = ""
    certificate: str = ""
    """PEM text."""
    certificate_file: str = ""
    key: Secret | None = None
    key_file: str = ""
    exec: ExecCommand | None = None


class Access(NamedTuple):
    """One context of a kubeconfig."""

    context: str
    server: str
    """`https://host:port[/path]`, without a slash at its end."""
    user: Login
    authority: str = ""
    """PEM text of the CA; empty: that of `authority_file`, or the system's."""
    authority_file: str = ""
    insecure: bool = False
    """`insecure-skip-tls-verify`: the server is believed whoever it is. Told to the person."""
    server_name: str = ""
    """Name in the server's certificate, where it is not the host of `server`."""


class Credential(NamedTuple):
    """What a credential command answered."""

    token: Secret | None
    certificate: str
    key: Secret | None
    expires: int | None = None
    """Microseconds at which it ends; None: it did not say, and holds until it is refused."""


# ------------------------------------------------------------------------------------------------------------- reading


def read_kubeconfig(text: str, file: str, context: str = "") -> Access:
    """The access that a context (default: `current-context`) stands for.

    Args:
        text: of the file.
        file: its name, for messages.
        context: name of a context.

    Raises:
        InputError: no YAML, no such context, cluster or user, or a way to log in that is not supported.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{file}: {len(text)} characters; the limit is {MAX_CHARACTERS}")
    try:
        refuse_bombs(text)
        whole = yaml.load(text, Loader=_LOADER)  # noqa: S506  # a safe loader, in C where there is one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: not a kubeconfig: it is no YAML") from error
    if not isinstance(whole, dict) or whole.get("kind", "Config") != "Config":
        raise InputError(f"{file}: not a kubeconfig: expected kind: Config")
    name = context or _text(whole, "current-context", file)
    if not name:
        raise InputError(f"{file}: no current-context; name one with --context ({_known(whole, 'contexts')})")
    chosen = _named(whole, "contexts", "context", name, file)
    cluster = _named(whole, "clusters", "cluster", _text(chosen, "cluster", file), file)
    user_name = _text(chosen, "user", file)
    user = _named(whole, "users", "user", user_name, file) if user_name else {}
    return _access(name, cluster, user, file)


def refuse_bombs(text: str) -> None:
    """Look at the events of YAML before values are made of them: the parser in C recurses until the process dies, and
    aliases of aliases grow without bound once they are written out.

    Raises:
        ValueError: nested too deep, or an alias anywhere; kubectl writes none, into pods or into a kubeconfig.
        yaml.YAMLError: it is no YAML.
    """
    depth = 0
    for event in yaml.parse(text, _LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases are not read")  # noqa: TRY004  # about the text, not about a Python type


def _access(name: str, cluster: Mapping[str, Any], user: Mapping[str, Any], file: str) -> Access:
    server = _text(cluster, "server", file).rstrip("/")
    parts = urlsplit(server)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None:
        raise InputError(f"{file}: the cluster of context {name} has no server https://HOST[:PORT]")
    if _text(cluster, "proxy-url", file):
        raise InputError(f"{file}: proxy-url is not supported; give a PodList instead (kubectl get pods -A -o json)")
    authority = _data(cluster, "certificate-authority-data", file)
    return Access(
        context=name,
        server=server,
        user=_login(user, file),
        authority=authority,
        authority_file="" if authority else _text(cluster, "certificate-authority", file),
        insecure=cluster.get("insecure-skip-tls-verify") is True,
        server_name=_text(cluster, "tls-server-name", file),
    )


def _login(user: Mapping[str, Any], file: str) -> Login:
    for member in ("auth-provider", "username", "password"):
        if user.get(member):
            raise InputError(f"{file}: {member} was removed from Kubernetes; use a token, a certificate or exec")
    token, key = _text(user, "token", file), _data(user, "client-key-data", file)
    certificate = _data(user, "client-certificate-data", file)
    return Login(
        token=Secret(token) if token else None,
        token_file=_text(user, "tokenFile", file) if not token else "",
        certificate=certificate,
        certificate_file="" if certificate else _text(user, "client-certificate", file),
        key=Secret(key) if key else None,
        key_file="" if key else _text(user, "client-key", file),
        exec=_exec(user.get("exec"), file),
    )


def _exec(value: object, file: str) -> ExecCommand | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InputError(f"{file}: exec: expected members with values")
    version, command = _text(value, "apiVersion", file), _text(value, "command", file)
    if version not in EXEC_VERSIONS:
        raise InputError(f"{file}: exec: expected apiVersion {' or '.join(EXEC_VERSIONS)}")
    if not command:
        raise InputError(f"{file}: exec: names no command")
    env = [entry for entry in _entries(value, "env", file) if isinstance(entry, dict)]
    return ExecCommand(
        version,
        command,
        tuple(str(arg) for arg in _entries(value, "args", file)),
        tuple((_text(entry, "name", file), _text(entry, "value", file)) for entry in env),
        value.get("provideClusterInfo") is True,
    )


def read_credential(data: bytes, command: str) -> Credential:
    """The `status` of an ExecCredential.

    Raises:
        InputError: it is none, or holds neither a token nor a certificate with its key. Never repeats what was printed.
    """
    try:
        status = msgspec.json.decode(data, type=_ExecCredential).status
    except (ValueError, RecursionError) as error:
        raise InputError(f"{command} printed no ExecCredential") from error
    pair = bool(status.client_certificate_data and status.client_key_data)
    if not status.token and not pair:
        raise InputError(f"{command} gave neither a token nor a client certificate with its key")
    return Credential(
        Secret(status.token) if status.token else None,
        status.client_certificate_data if pair else "",
        Secret(status.client_key_data) if pair else None,
        micros(status.expiration_timestamp),
    )


class _Status(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: str | None = None


class _ExecCredential(msgspec.Struct):
    status: _Status


# ------------------------------------------------------------------------------------------------------------- members


def _named(whole: Mapping[str, Any], group: str, member: str, name: str, file: str) -> Mapping[str, Any]:
    for entry in _entries(whole, group, file):
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(member)
            if isinstance(found, dict):
                return found
    raise InputError(f"{file}: there is no {member} named {name!a}; it has {_known(whole, group)}")


def _known(whole: Mapping[str, Any], group: str) -> str:
    entries = whole.get(group)
    names = [entry.get("name") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return ", ".join(ascii(name) for name in names[:10]) or "none"


def _entries(holder: Mapping[str, Any], member: str, file: str) -> list[Any]:
    value = holder.get(member)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{file}: {member}: expected a list")
    return value


def _text(holder: Mapping[str, Any], member: str, file: str) -> str:
    value = holder.get(member)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{file}: {member}: expected text")
    return value


def _data(holder: Mapping[str, Any], member: str, file: str) -> str:
    """PEM text out of base64."""
    try:
        return b64decode(_text(holder, member, file), validate=True).decode("ascii")
    except ValueError as error:
        raise InputError(f"{file}: {member}: expected PEM in base64") from error
