"""A registry to test with: an OCI layout served over the distribution API, in this process, with faults on demand.

    layout = Layout(tmp_path)
    image = layout.image("registry.example.com/payments/api", "1.4.2")
    layout.signatures("registry.example.com/payments/api", image, [b"payload"])
    layout.close()
    async with serving(layout.root, Behaviour(auth="bearer")) as registry:
        ...                                 # registry.origin is http://127.0.0.1:PORT

It reads the layout by itself, so that it does not share a mistake with the code under test.
"""

import asyncio
import hashlib
import json
import re
import socket
import ssl
import subprocess
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
EMPTY = "application/vnd.oci.empty.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tag_of(digest: str) -> str:
    return digest.replace(":", "-")


class Layout:
    """Writes an OCI image layout as recorded ones look: full names in `index.json`, untagged manifests by digest."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._entries: dict[str, dict] = {}
        (root / "blobs" / "sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.close()

    def close(self) -> None:
        """Writes `index.json`; may be called again after more was added."""
        listing = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(self._entries.values())}
        (self.root / "index.json").write_text(json.dumps(listing))

    def blob(self, data: bytes) -> str:
        digest = sha256(data)
        (self.root / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(data)
        return digest

    def descriptor(self, media_type: str, data: bytes, **more: object) -> dict:
        return {"mediaType": media_type, "digest": self.blob(data), "size": len(data), **more}

    def manifest(
        self, repository: str, tag: str, document: Mapping[str, object] | bytes, media_type: str = OCI_MANIFEST
    ) -> str:
        """Adds a manifest under a tag, or under its digest alone."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = self.blob(data)
        name = f"{repository}:{tag}" if tag else f"{repository}@{digest}"
        self._entries[name] = {
            "mediaType": media_type,
            "digest": digest,
            "size": len(data),
            "annotations": {REF_NAME: name},
        }
        return digest

    def untag(self, repository: str, tag: str) -> None:
        del self._entries[f"{repository}:{tag}"]

    def image(self, repository: str, tag: str, seed: str = "") -> str:
        config = self.descriptor("application/vnd.oci.image.config.v1+json", f"{repository}:{tag} {seed}".encode())
        return self.manifest(
            repository, tag, {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
        )

    def index(self, repository: str, tag: str, children: Mapping[str, str]) -> str:
        """An index of platform (`linux/amd64`) -> digest."""
        manifests = []
        for platform, digest in children.items():
            system, architecture, *variant = platform.split("/")
            entry: dict = {"os": system, "architecture": architecture}
            if variant:
                entry["variant"] = variant[0]
            size = (self.root / "blobs" / "sha256" / digest.removeprefix("sha256:")).stat().st_size
            manifests.append({"mediaType": OCI_MANIFEST, "digest": digest, "size": size, "platform": entry})
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        return self.manifest(repository, tag, document, OCI_INDEX)

    def signatures(
        self,
        repository: str,
        subject: str,
        payloads: Iterable[bytes],
        *,
        suffix: str = ".sig",
        kind: str = SIMPLE_SIGNING,
    ) -> str:
        """cosign's classic tag: one layer per payload, each with a signature annotation of its own."""
        layers = [
            self.descriptor(
                kind,
                payload,
                annotations={
                    "dev.cosignproject.cosign/signature": b64encode(f"signature {number}".encode()).decode(),
                    "org.example/decoration": "left aside",
                },
            )
            for number, payload in enumerate(payloads)
        ]
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": self._empty(), "layers": layers}
        return self.manifest(repository, tag_of(subject) + suffix, document)

    def attestations(self, repository: str, subject: str, payloads: Iterable[bytes]) -> str:
        return self.signatures(repository, subject, payloads, suffix=".att", kind=DSSE)

    def referrer(self, repository: str, subject: str, layers: Iterable[dict], *, tag_listed: bool = True) -> str:
        """A manifest about `subject`; listed in the fallback tag as clients do where there is no API."""
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": BUNDLE,
            "config": self._empty(),
            "layers": list(layers),
            "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1},
        }
        digest = self.manifest(repository, "", document)
        if tag_listed:
            self.list_in_tag(repository, subject, digest)
        return digest

    def bundle(self, repository: str, subject: str, body: bytes, *, tag_listed: bool = True) -> str:
        return self.referrer(repository, subject, [self.descriptor(BUNDLE, body)], tag_listed=tag_listed)

    def list_in_tag(self, repository: str, subject: str, digest: str) -> None:
        name = f"{repository}:{tag_of(subject)}"
        listed = []
        if name in self._entries:
            path = self.root / "blobs" / "sha256" / self._entries[name]["digest"].removeprefix("sha256:")
            listed = json.loads(path.read_bytes())["manifests"]
        listed.append(
            {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "artifactType": "application/x-misleading"}
        )
        self.manifest(
            repository,
            tag_of(subject),
            {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed},
            OCI_INDEX,
        )

    def _empty(self) -> dict:
        return self.descriptor(EMPTY, b"{}")


@dataclass
class Fault:
    """What goes wrong for paths that match, for the first `times` requests (None: always)."""

    match: str
    kind: str
    """`status`, `slow`, `cut`, `bytes`, `huge`, `redirect` or `body`."""
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 5.0
    times: int | None = None


@dataclass
class Behaviour:
    """How the registry behaves where registries differ."""

    referrers_api: bool = False
    referrers_type: str = OCI_INDEX
    """Content-Type of the referrers API's answer."""
    page_size: int = 0
    auth: str = "none"
    """`none`, `basic` or `bearer` (with a token service on the same port)."""
    user: str = "reader"
    password: str = "planted-password-b1946ac9"
    token: str = "planted-token-591785b7"
    anonymous_token: bool = False
    realm: str = ""
    """Another realm than the registry's own."""
    faults: list[Fault] = field(default_factory=list)
    digest_header: bool = False
    """Tell the digest of a manifest, as most registries do; else a lie."""
    budget: int | None = None
    """GETs of manifests it grants, told and enforced as Docker Hub does; a HEAD costs nothing."""


@dataclass
class Asked:
    """One request as it arrived."""

    path: str
    query: str
    authorization: str


class FakeRegistry:
    """The server's state: its address, what it was asked, and how it behaves from now on."""

    def __init__(self, root: Path, behaviour: Behaviour) -> None:
        self.root = root
        self.behaviour = behaviour
        self.asked: list[Asked] = []
        self.origin = ""
        self.pulls = 0

    @property
    def host(self) -> str:
        return self.origin.removeprefix("http://")

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    # ------------------------------------------------------------------------------------------------- the layout

    def _entries(self) -> list[dict]:
        return json.loads((self.root / "index.json").read_text())["manifests"]

    def _named(self, path: str) -> dict[str, dict]:
        """Tag or digest -> entry, for a repository whose full name ends with the path."""
        found: dict[str, dict] = {}
        for entry in self._entries():
            name = entry["annotations"][REF_NAME]
            repository, separator, tag = name.partition("@") if "@" in name else name.rpartition(":")
            if separator and repository.partition("/")[2] == path:
                found[tag] = found[entry["digest"]] = entry
        return found

    def blob(self, digest: str) -> bytes | None:
        file = self.root / "blobs" / "sha256" / digest.removeprefix("sha256:")
        return file.read_bytes() if re.fullmatch("sha256:[0-9a-f]{64}", digest) and file.exists() else None

    # -------------------------------------------------------------------------------------------------- answering

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(Asked(request.path, request.query_string, request.headers.get("Authorization", "")))
        for fault in self.behaviour.faults:
            if re.search(fault.match, request.path) and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                return await self._go_wrong(fault, request)
        if request.path == "/token":
            return self._token(request)
        refused = self._authorize(request)
        return refused or self._counted(request)

    def _counted(self, request: web.Request) -> web.Response:
        """Docker Hub: GETs of manifests count, what is left is told, and above it there is 429."""
        budget = self.behaviour.budget
        if budget is None or "/manifests/" not in request.path:
            return self._answer(request)
        counts = request.method == "GET"
        over = counts and self.pulls >= budget
        answer = web.Response(status=429) if over else self._answer(request)
        self.pulls += counts and not over
        answer.headers["ratelimit-limit"] = f"{budget};w=21600"
        answer.headers["ratelimit-remaining"] = f"{budget - self.pulls};w=21600"
        return answer

    def _answer(self, request: web.Request) -> web.Response:
        parts = re.fullmatch(r"/v2/(?P<path>.+)/(?P<kind>manifests|blobs|referrers)/(?P<name>[^/]+)", request.path)
        if parts is None:
            return web.Response(status=404)
        named = self._named(parts["path"])
        if not named:
            return _error(404, "NAME_UNKNOWN")
        if parts["kind"] == "blobs":
            data = self.blob(parts["name"])
            return _error(404, "BLOB_UNKNOWN") if data is None else web.Response(body=data)
        if parts["kind"] == "referrers":
            return self._referrers(request, named, parts["name"])
        entry = named.get(parts["name"])
        data = self.blob(entry["digest"] if entry else parts["name"])
        if entry is None and data is not None and not self._is_child(named, parts["name"]):
            data = None
        if data is None:
            return _error(404, "MANIFEST_UNKNOWN")
        media_type = entry["mediaType"] if entry else json.loads(data).get("mediaType", OCI_MANIFEST)
        told = sha256(data) if self.behaviour.digest_header else "sha256:a-lie"
        return web.Response(body=data, headers={"Content-Type": media_type, "Docker-Content-Digest": told})

    def _is_child(self, named: Mapping[str, dict], digest: str) -> bool:
        return any(digest.encode() in (self.blob(entry["digest"]) or b"") for entry in named.values())

    def _referrers(self, request: web.Request, named: Mapping[str, dict], subject: str) -> web.Response:
        if not self.behaviour.referrers_api:
            return web.Response(status=404, text="404 page not found")
        found = []
        for digest in sorted({entry["digest"] for entry in named.values()}):
            document = json.loads(self.blob(digest) or b"{}")
            if document.get("subject", {}).get("digest") == subject:
                found.append({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "artifactType": EMPTY})
        start = int(parse_qs(request.query_string).get("from", ["0"])[0])
        size = self.behaviour.page_size or len(found) or 1
        headers = {"Content-Type": self.behaviour.referrers_type}
        if start + size < len(found):
            headers["Link"] = f'<{request.path}?from={start + size}>; rel="next"'
        page = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found[start : start + size]}
        return web.Response(body=json.dumps(page).encode(), headers=headers)

    def _authorize(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization", "")
        if self.behaviour.auth == "basic" and given != self._basic():
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="registry"'})
        if self.behaviour.auth == "bearer" and given != f"Bearer {self.behaviour.token}":
            realm = self.behaviour.realm or f"{self.origin}/token"
            challenge = f'Bearer realm="{realm}",service="registry.test",scope="repository:x:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        return None

    def _token(self, request: web.Request) -> web.Response:
        if not self.behaviour.anonymous_token and request.headers.get("Authorization", "") != self._basic():
            return web.Response(status=401)
        return web.json_response({"token": self.behaviour.token, "expires_in": 60})

    def _basic(self) -> str:
        return "Basic " + b64encode(f"{self.behaviour.user}:{self.behaviour.password}".encode()).decode()

    async def _go_wrong(self, fault: Fault, request: web.Request) -> web.StreamResponse:
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            return web.Response(status=200)
        if fault.kind == "cut":
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"{")
            assert request.transport is not None
            request.transport.abort()
            return response
        if fault.kind == "huge":
            response = web.StreamResponse()
            await response.prepare(request)
            try:
                for _ in range(2000):
                    await response.write(b" " * 65536)
            except ConnectionError:
                pass  # the client has had enough, which is the point
            return response
        if fault.kind == "bytes":
            good = self._answer(request)
            assert isinstance(good.body, bytes)
            return web.Response(body=good.body + b" ", headers={"Content-Type": good.headers.get("Content-Type", "")})
        if fault.kind == "redirect":
            return web.Response(status=307, headers=fault.headers)
        return web.Response(status=fault.status, headers=fault.headers, body=fault.body)


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": "\x1b[31mnot for terminals"}]}, status=status)


@asynccontextmanager
async def serving(
    root: Path, behaviour: Behaviour | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FakeRegistry]:
    """A running registry; closed with the block, also when requests still hang in it."""
    registry = FakeRegistry(root, behaviour or Behaviour())
    app = web.Application()
    app.router.add_get("/{path:.*}", registry.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    registry.origin = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield registry
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(program: Path) -> AsyncIterator[str]:
    """The origin of a go-containerregistry `registry` process, ended with the block."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(str(program), "-port", str(port), stdout=quiet, stderr=quiet)
    try:
        origin = f"http://127.0.0.1:{port}"
        await _answering(origin)
        yield origin
    finally:
        process.terminate()
        await process.wait()


@contextmanager
def registry_process(program: Path) -> Iterator[str]:
    """The same for tests without an event loop, and for stores whose calls wait: `host:port`, ended with the block."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([str(program), "-port", str(port)], stdout=quiet, stderr=quiet)
    try:
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def _answering(origin: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(250):
            try:
                async with session.get(f"{origin}/v2/") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.02)
    raise TimeoutError(f"no registry answers at {origin}")


def push_whole(root: Path, origin: str) -> None:
    """`push` for tests without an event loop."""
    asyncio.run(push(root, origin))


async def push(root: Path, origin: str) -> None:
    """Uploads a layout to a real registry: blobs, then manifests with children before indexes."""
    registry = FakeRegistry(root, Behaviour())
    entries = sorted(registry._entries(), key=lambda entry: entry["mediaType"] == OCI_INDEX)
    async with aiohttp.ClientSession(origin) as session:
        for entry in entries:
            name = entry["annotations"][REF_NAME]
            repository, _, tag = name.partition("@") if "@" in name else name.rpartition(":")
            path = repository.partition("/")[2]
            await _push_manifest(session, registry, path, tag, entry)


async def _push_manifest(
    session: aiohttp.ClientSession, registry: FakeRegistry, path: str, tag: str, entry: Mapping[str, str]
) -> None:
    data = registry.blob(entry["digest"])
    assert data is not None
    document = json.loads(data)
    for descriptor in [*document.get("layers", []), *filter(None, [document.get("config")])]:
        await _push_blob(session, path, registry.blob(descriptor["digest"]) or b"")
    for child in document.get("manifests", []):
        await _put_manifest(session, path, child["digest"], child["mediaType"], registry.blob(child["digest"]) or b"")
    await _put_manifest(session, path, tag, entry["mediaType"], data)


async def _push_blob(session: aiohttp.ClientSession, path: str, data: bytes) -> None:
    async with session.post(f"/v2/{path}/blobs/uploads/", params={"digest": sha256(data)}, data=data) as answer:
        assert answer.status in {201, 202}, answer.status
        location = answer.headers.get("Location", "")
        done = answer.status == 201
    if not done:
        async with session.put(location, params={"digest": sha256(data)}, data=data) as answer:
            assert answer.status == 201, answer.status


async def _put_manifest(session: aiohttp.ClientSession, path: str, name: str, media_type: str, data: bytes) -> None:
    url = f"/v2/{path}/manifests/{name}"
    async with session.put(url, data=data, headers={"Content-Type": media_type}) as answer:
        assert answer.status in {201, 202}, (answer.status, await answer.text())
