"""How to show an API server who asks: what a kubeconfig says, read from where it says it, now.

    login = await logged_in(access, folder)      with what a credential command fetches
    token_of(login, folder), tls_of(access, login, folder)

Nothing is kept here. Whoever connects anew reads anew, so a token or a certificate that was renewed in its file counts
from the next connection on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from streams.collectors.kubeconfig import (
    MAX_EXEC_BYTES,
    Access,
    Credential,
    ExecCommand,
    Login,
    Secret,
    read_credential,
)
from verifier.errors import InputError

EXEC_SECONDS: Final = 60.0
"""Seconds a credential command may take; it may ask a cloud, not a person."""


def tls_of(access: Access, login: Login, folder: Path) -> ssl.SSLContext:
    """TLS to an API server: whom it believes, and the certificate it shows.

    Raises:
        InputError: a file cannot be read, or a certificate or key is not usable.
    """
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


def token_of(login: Login, folder: Path) -> Secret | None:
    """The bearer token, read from its file where it stands in one; None: another way, or nobody.

    Raises:
        InputError: the file cannot be read, or it is no token.
    """
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


async def logged_in(access: Access, folder: Path) -> Login:
    """The login, with what its command fetches. A token or certificate that stands there already wins (client-go).

    Raises:
        InputError: the command cannot be run, takes too long, or gives no credential.
    """
    if not asks_command(access):
        return access.user
    found = await fetched(access, folder)
    return with_credential(access.user, found)


def asks_command(access: Access) -> bool:
    """Whether a command has to be asked for the credential."""
    login = access.user
    stands = login.token or login.token_file or login.certificate or login.certificate_file
    return login.exec is not None and not stands


def with_credential(login: Login, found: Credential) -> Login:
    """The login with what its command gave."""
    return login._replace(token=found.token, certificate=found.certificate, key=found.key)


async def fetched(access: Access, folder: Path) -> Credential:
    """What the credential command gives.

    Raises:
        InputError: as `logged_in`.
    """
    command = access.user.exec
    if command is None:
        raise InputError(f"context {access.context}: no command that fetches its credential")
    return await _fetched(command, access, folder)


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
