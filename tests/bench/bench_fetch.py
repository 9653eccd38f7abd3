"""Cold: 1,000 signed images in a local registry, fetched and verified, beside `cosign verify` run in parallel.

    python -m tests.bench.bench_fetch [IMAGES]

The registry is the Go program that cosign's own tests use; images and signatures are in the form cosign writes.
`revet verify` gets all images on one command line, with nothing known beforehand, start of the interpreter included.
cosign verifies a sample, one process per image as it is made, as many at a time as there are cores. Both are wall
time on the same cores; CPU time stands beside.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.conftest import ORACLES
from tests.helpers.process import command, environment
from tests.helpers.registry_server import OCI_MANIFEST, SIMPLE_SIGNING, Layout, push, running, tag_of
from verifier.testing import Signer, simple_signing_payload

GOAL: Final = 10.0
IMAGES: Final = 1_000
SAMPLE: Final = 60
"""Images that cosign verifies; each is a process, and all take the same."""
TURNS: Final = 2

Row = dict[str, object]


def run(images: int = IMAGES) -> list[Row]:
    """One row."""
    name = f"fetch and verify {images:,} images / cosign verify"
    missing = [tool for tool in ("registry", "cosign") if not os.access(ORACLES / tool, os.X_OK)]
    if missing:
        return [{"name": name, "skipped": f"{', '.join(missing)} not built (make oracles)"}]
    with tempfile.TemporaryDirectory() as folder:
        return [asyncio.run(measured(name, Path(folder), images))]


async def measured(name: str, folder: Path, images: int) -> Row:
    signer = Signer("bench fetch")
    key = folder / "key.pub"
    key.write_text(signer.pem)
    async with running(ORACLES / "registry") as origin:
        host = origin.removeprefix("http://")
        references = signed(folder / "layout", host, images, signer)
        await push(folder / "layout", origin)
        ours = theirs = (float("inf"), float("inf"))
        for _ in range(TURNS):  # in turns, and not from this loop, which keeps the registry's pipes
            ours = min(ours, await asyncio.to_thread(timed, lambda: revet(references, key), images))
            theirs = min(theirs, await asyncio.to_thread(timed, lambda: cosign(references[:SAMPLE], key), SAMPLE))
    return row(name, ours, theirs)


def row(name: str, ours: tuple[float, float], theirs: tuple[float, float]) -> Row:
    """From (wall, CPU) seconds per image of both."""
    ratio = theirs[0] / ours[0]
    return {
        "name": name,
        "ours_per_s": round(1 / ours[0], 1),
        "reference_per_s": round(1 / theirs[0], 1),
        "ratio": round(ratio, 1),
        "goal": GOAL,
        "met": ratio >= GOAL,
        "cpu_ms_per_image": round(ours[1] * 1000, 2),
        "cosign_cpu_ms_per_image": round(theirs[1] * 1000, 1),
        "at_a_time": cores(),
        "unit": "images per second of wall time, all cores",
    }


def signed(root: Path, host: str, count: int, signer: Signer) -> list[str]:
    """A layout of images, each with a classic signature; the pinned references."""
    layout, references = Layout(root), []
    for number in range(count):
        repository = f"{host}/team{number % 20}/app{number}"
        digest = layout.image(repository, "1.0", str(number))
        payload = simple_signing_payload(repository, digest)
        carried = {"dev.cosignproject.cosign/signature": b64encode(signer.sign(payload)).decode()}
        layer = layout.descriptor(SIMPLE_SIGNING, payload, annotations=carried)
        config = layout.descriptor("application/vnd.oci.image.config.v1+json", config_of(layer["digest"]))
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
        layout.manifest(repository, tag_of(digest) + ".sig", document)
        references.append(f"{repository}@{digest}")
    layout.close()
    return references


def config_of(layer: str) -> bytes:
    """The configuration cosign gives to the manifest of signatures."""
    system = {"architecture": "", "os": "", "created": "0001-01-01T00:00:00Z", "config": {}}
    return json.dumps(system | {"rootfs": {"type": "layers", "diff_ids": [layer]}}).encode()


def revet(references: list[str], key: Path) -> None:
    arguments = ["verify", *references, "--key", str(key), "--plain-http", "-o", "json"]
    done = subprocess.run(command(*arguments), capture_output=True, text=True, env=environment(), check=False)
    if done.returncode != 0:
        raise RuntimeError(f"revet verify: {done.returncode}: {done.stderr[-500:]}")
    verdicts = {result["verdict"] for result in json.loads(done.stdout)["results"]}
    if verdicts != {"valid"}:
        raise RuntimeError(f"revet verify: {verdicts}")


def cosign(references: list[str], key: Path) -> None:
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(lambda reference: cosign_one(reference, key), references))


def cosign_one(reference: str, key: Path) -> None:
    options = ["--key", str(key), "--insecure-ignore-tlog=true", "--allow-http-registry", "--output", "json"]
    with tempfile.TemporaryDirectory() as home:
        own = {"PATH": os.environ.get("PATH", ""), "HOME": home, "TUF_ROOT": home}
        done = subprocess.run(
            [str(ORACLES / "cosign"), "verify", *options, reference],
            capture_output=True,
            text=True,
            env=own,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"cosign verify: {done.stderr[-500:]}")


def timed(work: Callable[[], None], count: int) -> tuple[float, float]:
    """(wall, CPU) seconds per image, of this and all ended children."""
    began, used = time.monotonic(), children()
    work()
    return (time.monotonic() - began) / count, (children() - used) / count


def children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    for line in run(int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES):
        print(line)
