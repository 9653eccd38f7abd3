"""Pods of a cluster, asked of its API server: the door of `aiohttp` for reading Kubernetes.

    async for pod in list_pods(access, folder): ...            every pod of every namespace, page by page

Only GET of `/api/v1/pods` is ever sent, with the credentials of a kubeconfig: token, client certificate, or the command
that fetches one (`exec`). Redirects are not followed, proxies and `.netrc` of the environment are not used, no token is
sent without TLS: a credential goes to the server that the kubeconfig names and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from streams.collectors import wire
from streams.collectors.deadletters import Problem
from streams.collectors.kubeconfig import (
    MAX_EXEC_BYTES,
    Access,
    Credential,
    ExecCommand,
    Login,
    Secret,
    read_credential,
)
from streams.collectors.pods import read_pod
from streams.events import Pod
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable

PAGE: Final = 500
"""Pods of one page, as kubectl asks for them."""
MAX_PAGE_BYTES: Final = 256 * 1024 * 1024
"""Bytes of one page; the API server refuses a pod of more than 1.5 MiB, and one may ignore the limit."""
MAX_PODS: Final = 1_000_000
"""Pods of one list; an API server that never says where it ends is not read for ever."""
EXEC_SECONDS: Final = 60.0
"""Seconds a credential command may take; it may ask a cloud, not a person."""
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
    login = await _logged_in(access, folder)
    headers = {"Accept": "application/json"}
    if (token := _token(login, folder)) is not None:
        if access.server.startswith("http:"):
            raise InputError(f"context {access.context}: a token is not sent to {access.server}, which speaks no TLS")
        headers["Authorization"] = f"Bearer {token.value}"
    async with _session(access, login, folder, headers) as session:
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
    name = access.server_name or None
    try:
        async with session.get(
            f"{access.server}/api/v1/pods", params=asked, allow_redirects=False, server_hostname=name
        ) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_chunked(_CHUNK):
                body += chunk
                if len(body) > MAX_PAGE_BYTES:
                    raise PlaceRefused(
                        "cluster-protocol", f"{access.server}: a page of more than {MAX_PAGE_BYTES} bytes"
                    )
            return answer.status, bytes(body)
    except aiohttp.ClientConnectorCertificateError as error:
        raise PlaceRefused("cluster-unauthorized", f"{access.server}: its certificate is not trusted") from error
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        # The error's own text may quote headers; the type says enough.
        raise PlaceUnavailable("cluster-unavailable", f"{access.server}: {type(error).__name__}") from error


# ---------------------------------------------------------------------------------------------------------- who asks


@asynccontextmanager
async def _session(
    access: Access, login: Login, folder: Path, headers: dict[str, str]
) -> AsyncIterator[aiohttp.ClientSession]:
    plain = access.server.startswith("http:")
    connector = aiohttp.TCPConnector(ssl=True if plain else _tls(access, login, folder), limit=2)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=TIMEOUT,
        headers={"User-Agent": "revet", **headers},
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,  # would read proxies and passwords (.netrc) that the kubeconfig does not name
    ) as session:
        yield session


def _tls(access: Access, login: Login, folder: Path) -> ssl.SSLContext:
    authority = access.authority or (_read(folder, access.authority_file) if access.authority_file else "")
    try:
        context = ssl.create_default_context(cadata=authority or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if access.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        certificate = login.certificate or _read(folder, login.certificate_file)
        key = login.key.value if login.key is not None else _read(folder, login.key_file)
        if certificate and key:
            _load_pair(context, certificate, key)
    except (ssl.SSLError, ValueError) as error:
        raise InputError(
            f"context {access.context}: a certificate or key of the kubeconfig is not usable PEM"
        ) from error
    return context


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """OpenSSL reads a client certificate from a file only: one that nobody else can read, and only for the moment."""
    folder = tempfile.mkdtemp(prefix="revet-")  # mode 0700
    try:
        pair = Path(folder) / "client.pem"
        pair.touch(mode=0o600)
        pair.write_text(f"{certificate}\n{key}\n", encoding="ascii")
        context.load_cert_chain(pair, password=lambda: "")  # an encrypted key fails; nobody is asked for its password
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _token(login: Login, folder: Path) -> Secret | None:
    token = login.token or (Secret(_read(folder, login.token_file).strip()) if login.token_file else None)
    if token is not None and (not token.value.isascii() or not token.value.isprintable()):
        raise InputError("the token of the kubeconfig is not one line of ASCII")  # a line break would forge a header
    return token


def _read(folder: Path, name: str) -> str:
    if not name:
        return ""
    try:
        return (folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / name}: cannot be read, and the kubeconfig names it") from error


async def _logged_in(access: Access, folder: Path) -> Login:
    """The login, with what its command fetches. A token or certificate that stands there already wins (client-go)."""
    login = access.user
    if login.exec is None or login.token or login.token_file or login.certificate or login.certificate_file:
        return login
    found = await _fetched(login.exec, access, folder)
    return login._replace(token=found.token, certificate=found.certificate, key=found.key)


async def _fetched(command: ExecCommand, access: Access, folder: Path) -> Credential:
    program = str(folder / command.command) if "/" in command.command else command.command
    spec: dict[str, object] = {"interactive": False}
    if command.cluster_info:
        spec["cluster"] = {"server": access.server, "insecure-skip-tls-verify": access.insecure}
    info = {"apiVersion": command.version, "kind": "ExecCredential", "spec": spec}
    env = {**os.environ, **dict(command.env), "KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode()}
    name = Path(command.command).name
    try:
        process = await asyncio.create_subprocess_exec(
            program, *command.args, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except (OSError, ValueError) as error:
        raise InputError(f"context {access.context}: cannot run {name}, which fetches its credential") from error
    try:
        async with asyncio.timeout(EXEC_SECONDS):
            data = await _limited(process, name)
            code = await process.wait()
    except TimeoutError as error:
        raise InputError(f"{name} gave no credential within {EXEC_SECONDS:.0f} seconds") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code:
        raise InputError(f"{name}, which fetches the credential of context {access.context}, ended with {code}")
    return read_credential(data, name)


async def _limited(process: asyncio.subprocess.Process, name: str) -> bytes:
    data = bytearray()
    stream = process.stdout
    while stream is not None and (chunk := await stream.read(64 * 1024)):
        data += chunk
        if len(data) > MAX_EXEC_BYTES:
            raise InputError(f"{name} printed more than {MAX_EXEC_BYTES} bytes")
    return bytes(data)


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
    login = await _logged_in(access, folder)
    headers = {"Accept": "application/json"}
    if (token := _token(login, folder)) is not None:
        if access.server.startswith("http:"):
            raise InputError(f"context {access.context}: a token is not sent to {access.server}, which speaks no TLS")
        headers["Authorization"] = f"Bearer {token.value}"
    async with _session(access, login, folder, headers) as session:
        name = access.server_name or None
        try:
            async with session.get(f"{access.server}{path}", allow_redirects=False, server_hostname=name) as answer:
                body = bytearray()
                async for chunk in answer.content.iter_chunked(_CHUNK):
                    body += chunk
                    if len(body) > limit:
                        raise PlaceRefused("cluster-protocol", f"{access.server}: an answer of more than {limit} bytes")
                return answer.status, bytes(body)
        except aiohttp.ClientConnectorCertificateError as error:
            raise PlaceRefused("cluster-unauthorized", f"{access.server}: its certificate is not trusted") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The error's own text may quote headers; the type says enough.
            raise PlaceUnavailable("cluster-unavailable", f"{access.server}: {type(error).__name__}") from error
