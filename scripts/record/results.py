"""Write what registry and studio hold into the results folder: layout, keys, first observations, images.json."""

import json
import shutil
from pathlib import Path
from typing import Any

from catalogue import KEYS
from cosign_matrix import HOST, Cosigns, read_keys, run_matrix, serve_layout, tools_folder
from signing import Studio, export_layout
from tools import fresh, say, tool


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records))


def write_registry(studio: Studio, results: Path) -> None:
    """The layout keeps every digest that images.json or an observation names, also where no tag leads to it."""
    digests: dict[str, set[str]] = {}
    for pushed in studio.pushed.values():
        digests.setdefault(pushed.repository, set()).add(pushed.digest)
    for seen in studio.observations:
        repository = seen["repository"].removeprefix(f"{HOST}/")
        digests.setdefault(repository, set()).update((seen["subject"], seen["artifact"]))
    export_layout(studio.registry, results / "oci", digests)
    write_lines(results / "first-observations.jsonl", studio.observations)
    keys = fresh(results / "keys")
    for name in KEYS:
        shutil.copyfile(studio.keys / f"{name}.pub", keys / f"{name}.pub")
    _write_images(results / "images.json", studio.images())


def ask_cosign(results: Path) -> list[dict[str, Any]]:
    """Add to images.json what both cosigns answer about the exported layout, for every image and key."""
    path = results / "images.json"
    images: list[dict[str, Any]] = json.loads(path.read_bytes())
    keys, cosigns = read_keys(results / "keys"), Cosigns.find(tools_folder())
    p384 = [image for image in images if any(signer["key"] == "p384" for signer in image["signers"])]
    with serve_layout(results / "oci", tool("registry")) as address:
        answers = run_matrix(address, images, keys, cosigns)
        # By default cosign assumes SHA-256 and rejects its own P-384 signatures.
        flags = ("--signature-digest-algorithm", "sha384")
        sha384 = run_matrix(address, p384, {"p384": keys["p384"]}, cosigns, more=flags)
    for image in images:
        image["cosign"] = answers[image["name"]]
        if image["name"] in sha384:
            image["cosign_sha384"] = sha384[image["name"]]
    _write_images(path, images)
    say(f"cosign asked about {len(images)} images and {len(KEYS)} keys")
    return images


def _write_images(path: Path, images: list[dict[str, Any]]) -> None:
    """One image per line: readable in a diff."""
    path.write_text("[\n" + ",\n".join(json.dumps(image, separators=(",", ":")) for image in images) + "\n]\n")
