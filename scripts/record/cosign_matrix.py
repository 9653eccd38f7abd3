"""What does real `cosign verify` say about every recorded image and every public key?

Stands alone (standard library only), because the tests import it: they serve the committed OCI layout from a registry
of their own, run cosign where it is built, and compare with revet.

    with serve_layout(Path("streams/demo_data/oci"), Path("…/registry")) as address:      # "127.0.0.1:40213"
        answers = run_matrix(address, images, keys, Cosigns.find())

    python3 scripts/record/cosign_matrix.py streams/demo_data     # prints {image: {key: {"v3": rc, "v2": rc, …}}}

A reference `registry.example.com/payments/api` of the layout is served as `127.0.0.1:PORT/payments/api`.
"""

import argparse
import hashlib
import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "registry.example.com"
"""The registry host in all recorded references."""
REF_NAME = "org.opencontainers.image.ref.name"
INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFEST_TYPES = (*INDEX_TYPES, "application/vnd.oci.image.manifest.v1+json")
DEFAULT_TOOLS = Path.home() / ".cache" / "revet-oracles"
START_SECONDS = 10
GENERATIONS = ("v3", "v2", "v2_root")
"""v2_root: cosign 2 that is given a trusted root too, without which it answers 1 wherever there is a bundle."""


def sha256_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tools_folder() -> Path:
    return Path(os.environ.get("REVET_ORACLES") or DEFAULT_TOOLS)


# ------------------------------------------------------------------------------------------------- a registry's client


@dataclass(frozen=True)
class Registry:
    """As much of the distribution protocol as recording needs: plain HTTP, no authentication, one request at a time."""

    address: str

    def request(
        self, method: str, path: str, body: bytes | None = None, content_type: str = ""
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept": ", ".join(MANIFEST_TYPES)} | ({"Content-Type": content_type} if content_type else {})
        with closing(http.client.HTTPConnection(self.address, timeout=30)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def _expect(self, status: int, method: str, path: str, body: bytes | None = None, content_type: str = "") -> bytes:
        got, _, data = self.request(method, path, body, content_type)
        if got != status:
            raise RuntimeError(f"{method} {path}: expected {status}, got {got}: {data[:300]!r}")
        return data

    def repositories(self) -> list[str]:
        found = json.loads(self._expect(200, "GET", "/v2/_catalog?n=1000"))["repositories"]
        return sorted(found)

    def tags(self, repository: str) -> list[str]:
        status, _, data = self.request("GET", f"/v2/{repository}/tags/list?n=1000")
        return sorted(json.loads(data)["tags"] or []) if status == 200 else []

    def manifest(self, repository: str, reference: str) -> tuple[bytes, str] | None:
        """Bytes and media type, or None when there is none."""
        status, headers, data = self.request("GET", f"/v2/{repository}/manifests/{reference}")
        if status == 404:
            return None
        if status != 200:
            raise RuntimeError(f"manifest {repository} {reference}: got {status}: {data[:300]!r}")
        return data, headers["content-type"]

    def digest(self, repository: str, reference: str) -> str | None:
        found = self.manifest(repository, reference)
        return sha256_of(found[0]) if found else None

    def blob(self, repository: str, digest: str) -> bytes:
        data = self._expect(200, "GET", f"/v2/{repository}/blobs/{digest}")
        if sha256_of(data) != digest:
            raise RuntimeError(f"blob {repository} {digest}: other bytes came")
        return data

    def put_blob(self, repository: str, data: bytes) -> str:
        digest = sha256_of(data)
        path = f"/v2/{repository}/blobs/uploads/?digest={digest}"
        self._expect(201, "POST", path, data, "application/octet-stream")
        return digest

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> str:
        self._expect(201, "PUT", f"/v2/{repository}/manifests/{reference}", data, media_type)
        return sha256_of(data)


# ----------------------------------------------------------------------------------------------- an OCI layout, served


def read_layout(layout: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """(repository without host, tag or digest, descriptor) of every manifest the layout names."""
    found = []
    for descriptor in json.loads((layout / "index.json").read_bytes())["manifests"]:
        name: str = descriptor["annotations"][REF_NAME].removeprefix(f"{HOST}/")
        separator = "@" if "@" in name else ":"
        repository, _, reference = name.partition(separator)
        found.append((repository, reference, descriptor))
    return found


def push_layout(layout: Path, registry: Registry) -> None:
    """Put everything the layout names under the same paths; children before the index that lists them."""

    def blob(digest: str) -> bytes:
        return (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()

    entries = read_layout(layout)
    for indexes in (False, True):
        for repository, reference, descriptor in entries:
            if (descriptor["mediaType"] in INDEX_TYPES) is not indexes:
                continue
            data = blob(descriptor["digest"])
            if not indexes:
                manifest = json.loads(data)
                for digest in {part["digest"] for part in (manifest["config"], *manifest["layers"])}:
                    registry.put_blob(repository, blob(digest))
            for name in {descriptor["digest"], reference}:
                registry.put_manifest(repository, name, data, descriptor["mediaType"])


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def run_registry(binary: Path, port: int, log: Path | None = None) -> Iterator[Registry]:
    """A fresh registry that keeps everything in memory, and ends with the block."""
    registry = Registry(f"127.0.0.1:{port}")
    with closing(socket.socket()) as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise RuntimeError(f"port {port} is taken: is another recording at work?")
    with (log or Path(os.devnull)).open("ab") as output:
        process = subprocess.Popen([binary, "-port", str(port)], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{binary} ended with {process.returncode} at start; is port {port} taken?")
            try:
                if registry.request("GET", "/v2/")[0] == 200:
                    break
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)
        yield registry
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def serve_layout(layout_dir: Path, registry_binary: Path) -> Iterator[str]:
    """The layout in a fresh registry; gives its address, "127.0.0.1:PORT"."""
    with run_registry(Path(registry_binary), free_port()) as registry:
        push_layout(Path(layout_dir), registry)
        yield registry.address


# ------------------------------------------------------------------------------------------------------ cosign's answer


@dataclass(frozen=True)
class Cosigns:
    """Both generations of cosign, as the recording names them."""

    v3: Path
    v2: Path

    @classmethod
    def find(cls, folder: Path | None = None) -> "Cosigns":
        folder = folder or tools_folder()
        return cls(folder / "cosign", folder / "cosign2")

    def present(self) -> bool:
        return os.access(self.v3, os.X_OK) and os.access(self.v2, os.X_OK)

    def command(self, which: str, key: Path, trusted_root: Path, reference: str, *more: str) -> list[str]:
        """`cosign verify` without a transparency log; cosign 3 cannot go without a trusted root."""
        binary = self.v3 if which == "v3" else self.v2
        root = [] if which == "v2" else ["--trusted-root", str(trusted_root)]
        return [str(binary), "verify", "--key", str(key), *root, "--insecure-ignore-tlog", *more, reference]


def write_trusted_root(path: Path) -> Path:
    """A trust root that trusts nothing: without one, cosign v3 asks the public update framework mirror."""
    path.write_text('{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}\n')
    return path


def quiet_environment(home: Path) -> dict[str, str]:
    """No registry credentials, no update cache and no proxy of the caller may decide what cosign answers."""
    return {"HOME": str(home), "PATH": os.environ.get("PATH", ""), "DOCKER_CONFIG": str(home), "COSIGN_PASSWORD": ""}


def run_matrix(
    address: str,
    images: Sequence[Mapping[str, Any]],
    keys: Mapping[str, Path],
    cosigns: Cosigns,
    *,
    more: Sequence[str] = (),
    jobs: int = 2,
) -> dict[str, dict[str, dict[str, int]]]:
    """Exit codes by image name, key name and generation. Images are asked for by digest, not by tag. `more`: flags."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        root = write_trusted_root(home / "trusted-root.json")

        def ask(question: tuple[str, str, str, str]) -> int:
            _, reference, key, which = question
            command = cosigns.command(which, keys[key], root, reference, *more)
            return subprocess.run(
                command, env=quiet_environment(home), capture_output=True, check=False, timeout=60
            ).returncode

        questions = [
            (image["name"], f"{address}/{repository_of(image['reference'])}@{image['digest']}", key, which)
            for image in images
            for key in keys
            for which in GENERATIONS
        ]
        with ThreadPoolExecutor(jobs) as pool:
            codes = list(pool.map(ask, questions))
    answers: dict[str, dict[str, dict[str, int]]] = {}
    for (name, _, key, which), code in zip(questions, codes, strict=True):
        answers.setdefault(name, {}).setdefault(key, {})[which] = code
    return answers


def repository_of(reference: str) -> str:
    """`registry.example.com/payments/api:1.4.2` -> `payments/api`."""
    return reference.removeprefix(f"{HOST}/").partition("@")[0].rpartition(":")[0]


def read_keys(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.pub"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with oci/, keys/ and images.json")
    parser.add_argument("--tools", type=Path, default=tools_folder(), help="folder with cosign, cosign2, registry")
    arguments = parser.parse_args()
    images = json.loads((arguments.data / "images.json").read_bytes())
    with serve_layout(arguments.data / "oci", arguments.tools / "registry") as address:
        answers = run_matrix(
            address, images, read_keys(arguments.data / "keys"), Cosigns.find(arguments.tools), jobs=os.cpu_count() or 1
        )
    print(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
