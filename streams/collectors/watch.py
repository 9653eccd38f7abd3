"""Pods of a cluster, asked of its API server: the door of `aiohttp` for reading Kubernetes.

    async for pod in list_pods(access, folder): ...            every pod of every namespace, page by page

Only GET of `/api/v1/pods` is ever sent, with the credentials of a kubeconfig: token, client certificate, or the command
that fetches one (`exec`). Redirects are not followed, proxies and `.netrc` of the environment are not used, no token is
sent without TLS: a credential goes to the server that the kubeconfig names and nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from streams.collectors import wire
from streams.collectors.deadletters import Problem
from streams.collectors.kubeconfig import Access
from streams.collectors.login import logged_in, tls_of, token_of
from streams.collectors.pods import read_pod
from streams.events import Pod
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable

PAGE: Final = 500
"""Pods of one page, as kubectl asks for them."""
MAX_PAGE_BYTES: Final = 256 * 1024 * 1024
"""Bytes of one page; the API server refuses a pod of more than 1.5 MiB, and one may ignore the limit."""
MAX_PODS: Final = 1_000_000
"""Pods of one list; an API server that never says where it ends is not read for ever."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=120, sock_connect=10, sock_read=60)
_CHUNK: Final = 256 * 1024
_GONE: Final = 410


class _ListMeta(msgspec.Struct, frozen=True):
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    items: list[wire.Pod] | None = None
    metadata: _ListMeta = _ListMeta()


_PAGE_OF: Final = msgspec.json.Decoder(_Page)


async def list_pods(access: Access, folder: Path, cluster: str = "") -> AsyncIterator[Pod | Problem]:
    """Every pod of a cluster; a `Problem` for an item that is no pod.

    Args:
        access: of `read_kubeconfig`.
        folder: of the kubeconfig; files that it names are relative to it.
        cluster: what the pods say they are from; default: the name of the context.

    Raises:
        InputError: a file that the kubeconfig names cannot be used, or its credential command fails.
        PlaceRefused: access was refused, or the answer is no list of pods.
        PlaceUnavailable: the API server does not answer, or the list kept expiring.
    """
    async with _session(access, folder) as session:
        restarted, seen, after = False, 0, ""
        while True:
            status, body = await _get(session, access, after)
            if status == _GONE and after and not restarted:
                # The list took longer than the API server remembers: from the start, what was given counts twice and
                # is told apart by its uid.
                restarted, after = True, ""
                continue
            page = _page(access, status, body)
            for item in page.items or ():
                seen += 1
                observed = read_pod(item, cluster=cluster or access.context, source="list", time=0)
                yield observed if isinstance(observed, Problem) else observed.pod
            after = page.metadata.continue_
            if not after:
                return
            if seen > MAX_PODS:
                raise PlaceRefused("cluster-protocol", f"{access.server}: more than {MAX_PODS} pods in one list")


def _page(access: Access, status: int, body: bytes) -> _Page:
    if status in (401, 403):
        who = "who asks is not known to it" if status == 401 else "who asks may not list pods of all namespaces"
        raise PlaceRefused("cluster-unauthorized", f"{access.server}: HTTP {status}: {who}")
    if status in (_GONE, 429) or status >= 500:
        raise PlaceUnavailable("cluster-unavailable", f"{access.server}: HTTP {status}")
    if status != 200:
        raise PlaceRefused("cluster-protocol", f"{access.server}: HTTP {status}, expected a list of pods")
    try:
        return _PAGE_OF.decode(body)
    except wire.UNREADABLE as error:
        raise PlaceRefused("cluster-protocol", f"{access.server}: the answer is no list of pods") from error


async def _get(session: aiohttp.ClientSession, access: Access, after: str) -> tuple[int, bytes]:
    asked = {"limit": str(PAGE), **({"continue": after} if after else {})}
    return await _fetched(session, access, "/api/v1/pods", asked, MAX_PAGE_BYTES, "a page")


async def _fetched(
    session: aiohttp.ClientSession, access: Access, path: str, params: dict[str, str], limit: int, what: str
) -> tuple[int, bytes]:
    name = access.server_name or None
    try:
        async with session.get(
            f"{access.server}{path}", params=params, allow_redirects=False, server_hostname=name
        ) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_chunked(_CHUNK):
                body += chunk
                if len(body) > limit:
                    raise PlaceRefused("cluster-protocol", f"{access.server}: {what} of more than {limit} bytes")
            return answer.status, bytes(body)
    except aiohttp.ClientConnectorCertificateError as error:
        raise PlaceRefused("cluster-unauthorized", f"{access.server}: its certificate is not trusted") from error
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        # The error's own text may quote headers; the type says enough.
        raise PlaceUnavailable("cluster-unavailable", f"{access.server}: {type(error).__name__}") from error


# ---------------------------------------------------------------------------------------------------------- who asks


@asynccontextmanager
async def _session(access: Access, folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    login = await logged_in(access, folder)
    headers = {"Accept": "application/json"}
    if (token := token_of(login, folder)) is not None:
        if access.server.startswith("http:"):
            raise InputError(f"context {access.context}: a token is not sent to {access.server}, which speaks no TLS")
        headers["Authorization"] = f"Bearer {token.value}"
    plain = access.server.startswith("http:")
    connector = aiohttp.TCPConnector(ssl=True if plain else tls_of(access, login, folder), limit=2)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=TIMEOUT,
        headers={"User-Agent": "revet", **headers},
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,  # would read proxies and passwords (.netrc) that the kubeconfig does not name
    ) as session:
        yield session


async def get_once(access: Access, folder: Path, path: str, limit: int) -> tuple[int, bytes]:
    """One GET of the API server: status and body, whatever the status.

    Args:
        access: of `read_kubeconfig`.
        folder: of the kubeconfig.
        path: behind the server, begins with `/`.
        limit: bytes of the body that are taken.

    Raises:
        InputError, PlaceRefused, PlaceUnavailable: as `list_pods`; PlaceRefused too for a longer body.
    """
    async with _session(access, folder) as session:
        return await _fetched(session, access, path, {}, limit, "an answer")
