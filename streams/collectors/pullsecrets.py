"""Pull secrets of Kubernetes, of namespaces that were named for it and no others: credentials to read registries with.

    reader = NamespaceSecrets("payments", finder(kubeconfig, context, "evidence.pull_secrets"))
    found = await reader.read()              CredentialBook, and what could not be used, without a word of what is in it

Read are the Secrets that service accounts and pods of the namespace name in `imagePullSecrets`, each by its name: no
list of Secrets is ever asked for. Of a Secret only its type and its Docker configuration are decoded. Each credential
counts for the host and below the path that its entry names, as one of a Docker configuration file does; entries with a
`*` in them are not used. Nothing here is stored, and nothing of it is written anywhere.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec

from streams.collectors.apiserver import ApiServer, Find
from verifier.errors import PlaceRefused, PlaceUnavailable
from verifier.oci.auth import CredentialBook, parse_docker_config
from verifier.oci.limits import DOCKER_CONFIG_BYTES

SECRETS: Final = 50
"""Secrets of one namespace that are read."""
PAGE: Final = "500"
"""Pods of one page."""
PAGES: Final = 100
CONNECT_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 30.0
KINDS: Final = {
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
    "kubernetes.io/dockercfg": ".dockercfg",
}
"""Type of a Secret -> where in it the configuration stands. Secrets of other types are left alone."""

T = TypeVar("T")


class _Reference(msgspec.Struct, frozen=True):
    name: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    image_pull_secrets: tuple[_Reference, ...] = ()


class _Item(msgspec.Struct, frozen=True, rename="camel"):
    """A service account, which names its secrets at the top, or a pod, which does so in its spec."""

    image_pull_secrets: tuple[_Reference, ...] = ()
    spec: _Spec = _Spec()


class _Meta(msgspec.Struct, frozen=True, rename={"continues": "continue"}):
    continues: str = ""


class _List(msgspec.Struct, frozen=True):
    items: tuple[_Item, ...] = ()
    metadata: _Meta = _Meta()


class _Secret(msgspec.Struct, frozen=True):
    type: str = ""
    data: dict[str, str] | None = None


class Read(NamedTuple):
    """What a look at a namespace came to."""

    book: CredentialBook
    problems: tuple[str, ...] = ()
    """Of Secrets that could not be used: their names and why, in words without anything that stood in them."""


class NamespaceSecrets:
    """Pull secrets of one namespace. `close` it."""

    def __init__(self, namespace: str, find: Find) -> None:
        self.namespace = namespace
        self._server = ApiServer(find, CONNECT_SECONDS)

    async def close(self) -> None:
        """Disconnect."""
        await self._server.close()

    async def read(self) -> Read:
        """All credentials that the namespace has now; of two for the same host and path the first, by Secret's name.

        Raises:
            PlaceRefused: the account may not read here, or the namespace does not answer as one.
            PlaceUnavailable: the API server did not answer; nothing is known of its Secrets then.
            InputError: the kubeconfig cannot be read.
        """
        names = {*await self._named("serviceaccounts"), *await self._named("pods")} - {""}
        books: list[CredentialBook] = []
        problems = [f"more than {SECRETS} pull secrets; the rest is not read"] if len(names) > SECRETS else []
        for name in sorted(names)[:SECRETS]:
            try:
                books.append(await self._secret(name))
            except PlaceRefused as error:
                problems.append(f"{name}: {error}")
        return Read(joined(books), tuple(problems))

    async def _named(self, plural: str) -> set[str]:
        """Names of Secrets that objects of a kind refer to."""
        found: set[str] = set()
        query = {"limit": PAGE}
        for _ in range(PAGES):
            page = await self._get(plural, query, _List)
            for item in page.items:
                found.update(one.name for one in (*item.image_pull_secrets, *item.spec.image_pull_secrets))
            if not page.metadata.continues:
                break
            query = {"limit": PAGE, "continue": page.metadata.continues}
        return found

    async def _secret(self, name: str) -> CredentialBook:
        secret = await self._get(f"secrets/{name}", {}, _Secret)
        member = KINDS.get(secret.type)
        if member is None:
            raise PlaceRefused("cluster-protocol", f"not of a type that holds pull secrets ({', '.join(KINDS)})")
        return _book((secret.data or {}).get(member, ""), member)

    async def _get(self, what: str, query: Mapping[str, str], kind: type[T]) -> T:
        ending, body = await self._server.body(f"/api/v1/namespaces/{self.namespace}/{what}", query, SILENCE_SECONDS)
        if ending.how == "status" and 400 <= ending.status < 500 and ending.status not in (408, 429):
            code = "cluster-unauthorized" if ending.status in (401, 403) else "cluster-protocol"
            raise PlaceRefused(code, f"HTTP {ending.status}")
        if ending.how != "clean":
            raise PlaceUnavailable("cluster-unavailable", self._server.detail or ending.how)
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, RecursionError):
            # `from None`: the chained error could quote what stands there.
            raise PlaceRefused("cluster-protocol", "an answer that is not what was asked for") from None


def _book(encoded: str, member: str) -> CredentialBook:
    if len(encoded) > 2 * DOCKER_CONFIG_BYTES:
        raise PlaceRefused("limit-exceeded", "a Docker configuration that is too long")
    try:
        data = b64decode(encoded, validate=True)
    except ValueError:
        raise PlaceRefused("registry-unauthorized", "the Docker configuration is no base64") from None
    # The older form is the inside of `auths`.
    return parse_docker_config(data if member == ".dockerconfigjson" else b'{"auths":' + data + b"}")


def joined(books: Iterable[CredentialBook]) -> CredentialBook:
    """One book of several; where two have an entry for the same host and path the first one's counts."""
    whole = CredentialBook()
    for book in books:
        whole = whole.beside(book)
    return whole
