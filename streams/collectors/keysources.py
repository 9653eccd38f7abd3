"""Keys that are kept elsewhere, read whole: folders, Kubernetes Secrets and ConfigMaps, Vault's transit engine.

    source = source_of("corp", "kubernetes:secret/cosign-system/release-keys", access)
    await source.read()                  {"cosign.pub": "-----BEGIN PUBLIC KEY-----…"}, complete, or an error

Only public keys are taken. An answer is complete or it is an error: a folder that is not there, a server that does not
answer and a token that is refused say nothing of keys, and take none away. A Secret, a ConfigMap or a key of Vault that
its server says is not there has none. A door of `aiohttp`.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from streams.collectors.kubeconfig import Access, Login, read_kubeconfig
from streams.collectors.watch import get_once
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable

KEYS: Final = 500
"""Keys of one source. A ring with more is not kept by hand, and each costs work for every signature."""
ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Bytes of one answer: a Secret has at most one MiB, in base64."""
KEY_BYTES: Final = 64 * 1024
SUFFIXES: Final = (".pub", ".pem")
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_OBJECT: Final = re.compile(r"(secret|configmap)/([a-z0-9][a-z0-9-]{0,62})/([a-z0-9][a-z0-9.-]{0,252})")
_TRANSIT: Final = re.compile(r"([A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*)/([A-Za-z0-9_.-]+)")
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=10)


class KeySource(Protocol):
    """Somewhere keys are kept."""

    async def read(self) -> Mapping[str, str]:
        """Name -> public key in PEM; all there are.

        Raises:
            PlaceUnavailable, PlaceRefused: it cannot be read now; nothing is known of its keys then.
            InputError: it is set up wrongly.
        """


class KeyFolder:
    """Files `*.pub` and `*.pem` of a folder, as they are mounted or checked out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def read(self) -> Mapping[str, str]:
        """See `KeySource.read`. A folder without any such file says nothing: its mount may not be there yet."""
        try:
            files = [entry for entry in sorted(self._folder.iterdir()) if entry.suffix in SUFFIXES]
            found = {file.name: _text(file) for file in files[: KEYS + 1]}
        except OSError as error:
            raise PlaceUnavailable("keys-unavailable", f"{self._folder}: {error.strerror or error}") from error
        if not found:
            raise PlaceUnavailable("keys-unavailable", f"{self._folder}: no *.pub or *.pem in it")
        return _checked(found, str(self._folder))


def _text(file: Path) -> str:
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""  # told as no key, by its name
        return stream.read(KEY_BYTES).decode("utf-8", "replace")


class KubernetesKeys:
    """The `*.pub` and `*.pem` members of a Secret (`cosign generate-key-pair k8s://…`, which Kyverno and
    policy-controller refer to) or of a ConfigMap. Private keys beside them are left where they are.
    """

    def __init__(self, kind: str, namespace: str, name: str, access: Callable[[], tuple[Access, Path]]) -> None:
        self._kind = kind
        self._path = f"/api/v1/namespaces/{namespace}/{kind}s/{name}"
        self._access = access

    async def read(self) -> Mapping[str, str]:
        """See `KeySource.read`."""
        access, folder = self._access()
        status, body = await get_once(access, folder, self._path, ANSWER_BYTES)
        where = f"{access.server}{self._path}"
        if status == 404:
            return {}
        _refuse_status(status, where, "cluster-unauthorized")
        data = _document(body, where).get("data") or {}
        if not isinstance(data, dict):
            raise PlaceRefused("cluster-protocol", f"{where}: an answer without data")
        found = {name: _member(self._kind, value) for name, value in data.items() if str(name).endswith(SUFFIXES)}
        return _checked(found, where)


def _member(kind: str, value: object) -> str:
    if kind == "configmap":
        return str(value)
    try:
        return b64decode(str(value), validate=True).decode("utf-8", "replace")
    except ValueError:
        return ""


class VaultKeys:
    """A key of the transit engine of HashiCorp Vault or OpenBao: its newest version, under the key's own name."""

    def __init__(self, address: str, mount: str, name: str, access: KeyAccess) -> None:
        self._url = f"{address}/v1/{mount}/keys/{name}"
        self._name, self._access = name, access

    def __repr__(self) -> str:
        return f"VaultKeys({self._url!r})"

    async def read(self) -> Mapping[str, str]:
        """See `KeySource.read`."""
        headers = {"X-Vault-Token": self._access.token(), "X-Vault-Request": "true"}
        if self._access.vault_namespace:
            headers["X-Vault-Namespace"] = self._access.vault_namespace
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=_trusted(self._access.ca_file)),
                    timeout=_TIMEOUT,
                    trust_env=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                ) as session,
                session.get(self._url, headers=headers, allow_redirects=False) as answer,
            ):
                status, body = answer.status, await answer.content.read(ANSWER_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The error's own text may quote headers; the type says enough.
            raise PlaceUnavailable("keys-unavailable", f"{self._url}: {type(error).__name__}") from error
        if status == 404:
            return {}
        _refuse_status(status, self._url, "keys-unauthorized")
        return {self._name: _newest(_document(body, self._url), self._url)}


def _newest(document: Mapping[str, Any], where: str) -> str:
    """The public key of `latest_version` (transit, "read key")."""
    try:
        data = msgspec.convert(document.get("data"), _TransitKey)
        version = data.keys[str(data.latest_version)]
        public = version["public_key"] if isinstance(version, dict) else ""
        if not public:  # of a symmetric key only the time of each version is told
            raise PlaceRefused("keys-protocol", f"{where}: a {data.type[:40]} key has no public half")
        if data.type != "ed25519":
            return str(public)
        raw = Ed25519PublicKey.from_public_bytes(b64decode(str(public), validate=True))
        return raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    except (msgspec.ValidationError, KeyError, ValueError) as error:
        raise PlaceRefused("keys-protocol", f"{where}: not a key of transit with a public half") from error


class _TransitKey(msgspec.Struct):
    type: str
    latest_version: int
    keys: dict[str, Any]


def _refuse_status(status: int, where: str, unauthorized: str) -> None:
    if status in (401, 403):
        raise PlaceRefused(unauthorized, f"{where}: HTTP {status}: who asks may not read it")
    if status != 200:
        raise PlaceUnavailable("keys-unavailable", f"{where}: HTTP {status}")


def _document(body: bytes, where: str) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise PlaceRefused("keys-protocol", f"{where}: an answer that is no JSON object") from None


def _checked(found: Mapping[str, str], where: str) -> Mapping[str, str]:
    if len(found) > KEYS:
        raise PlaceRefused("keys-protocol", f"{where}: more than {KEYS} keys")
    return found


# ------------------------------------------------------------------------------------------------------------- places


class KeyAccess(msgspec.Struct, frozen=True):
    """How places are reached. `token` gives the token of Vault each time it is needed: it may be renewed."""

    kubeconfig: Path | None = None
    """None: the service account of the pod that this runs in."""
    vault: str = ""
    vault_namespace: str = ""
    ca_file: Path | None = None
    token: Callable[[], str] = str


def source_of(written: str, access: KeyAccess) -> KeySource:
    """The source that a setting names.

    Args:
        written: `files:DIR`, `kubernetes:secret/NAMESPACE/NAME`, `kubernetes:configmap/NAMESPACE/NAME` or
            `vault:MOUNT/KEY`.
        access: how it is reached.

    Raises:
        InputError: it names no place, or Vault has no address.
    """
    kind, _, place = written.partition(":")
    if kind == "files" and place:
        return KeyFolder(Path(place).expanduser())
    if kind == "kubernetes" and (named := _OBJECT.fullmatch(place)):
        return KubernetesKeys(named[1], named[2], named[3], lambda: _cluster_access(access.kubeconfig))
    if kind == "vault" and (named := _TRANSIT.fullmatch(place)):
        return VaultKeys(_vault_address(access.vault), named[1], named[2], access)
    raise InputError(
        f"keys.sources: expected files:DIR, kubernetes:secret/NAMESPACE/NAME, kubernetes:configmap/NAMESPACE/NAME or"
        f" vault:MOUNT/KEY, got {written[:200]!a}"
    )


def _vault_address(written: str) -> str:
    """The address without a slash at its end; a token is sent without TLS only to an agent on this machine."""
    parts = urlsplit(written)
    here = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if not parts.hostname or "@" in parts.netloc or not (parts.scheme == "https" or (parts.scheme == "http" and here)):
        raise InputError("keys.vault_address: expected https://HOST:PORT, or http:// for an agent on this machine")
    return written.rstrip("/")


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # also ssl.SSLError
        raise InputError(f"keys.vault_ca_file: {ca_file}: expected certificates in PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _cluster_access(kubeconfig: Path | None) -> tuple[Access, Path]:
    if kubeconfig is not None:
        try:
            text = kubeconfig.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"keys.kubeconfig: {kubeconfig}: cannot be read") from error
        return read_kubeconfig(text, str(kubeconfig)), kubeconfig.parent
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise InputError("keys.kubeconfig: none is named, and this does not run in a pod of a cluster")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access("in-cluster", server, Login(token_file="token"), authority_file="ca.crt"), _ACCOUNT  # noqa: S106  # a file's name
