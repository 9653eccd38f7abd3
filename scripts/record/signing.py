"""Push the catalogue's images, sign them with real cosign, and note when each piece of evidence was first seen.

cosign is pointed at the local registry by HTTP_PROXY: it believes that it talks to registry.example.com, so that signed
payloads and attestations name the repository that the clusters' pods name. The registry answers absolute request lines
like any other.
"""

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from catalogue import IMAGES, KEYS, Image, Phase, Pushed, Signing
from cosign_matrix import (
    HOST,
    INDEX_TYPES,
    REF_NAME,
    Registry,
    quiet_environment,
    sha256_of,
    write_trusted_root,
)
from tools import Command, fresh, now, run, say, tool

SIGNATURE = "dev.cosignproject.cosign/signature"
INDEX_TYPE = INDEX_TYPES[0]
SCRATCH = "scratch"
"""Repositories below it hold what is altered before it is published; they are not part of the result."""
SPDX = {
    "spdxVersion": "SPDX-2.3",
    "SPDXID": "SPDXRef-DOCUMENT",
    "dataLicense": "CC0-1.0",
    "name": "recorded",
    "documentNamespace": "https://example.com/spdx/recorded",
    "creationInfo": {"created": "2026-01-01T00:00:00Z", "creators": ["Tool: recorded"]},
    "packages": [],
}


def make_keys(folder: Path) -> None:
    """Key pairs without a password; those that are there already stay, so that recordings share their public keys."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name, kind in KEYS.items():
        if (folder / f"{name}.key").exists() and (folder / f"{name}.pub").exists():
            continue
        pem = folder / f"{name}.pem"
        algorithm = ["ED25519"] if kind == "ED25519" else ["EC", "-pkeyopt", f"ec_paramgen_curve:{kind}"]
        run(["openssl", "genpkey", "-algorithm", *algorithm, "-out", pem])
        command: Command = [
            tool("cosign"),
            "import-key-pair",
            "--yes",
            "--key",
            pem,
            "--output-key-prefix",
            folder / name,
        ]
        run(command, env=quiet_environment(folder))
        pem.unlink()


def children(data: bytes) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(data).get("manifests", [])
    return listed


class Studio:
    """Pushes and signs against one registry; remembers what it made."""

    def __init__(self, registry: Registry, work: Path) -> None:
        self.registry = registry
        self.keys = work / "keys"
        self.pushed: dict[str, Pushed] = {}
        self.observations: list[dict[str, str]] = []
        self._seen: set[tuple[str, str, str, str]] = set()
        self._scratch = fresh(work / "signing")
        self._root = write_trusted_root(self._scratch / "trusted-root.json")
        self._no_services = self._scratch / "signing-config.json"
        proxy = f"http://{registry.address}"
        self._env = quiet_environment(self._scratch) | {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}
        none = [f"--no-default-{service}" for service in ("fulcio", "oidc", "rekor", "tsa")]
        run([tool("cosign"), "signing-config", "create", *none, "--out", self._no_services], env=self._env)
        (self._scratch / "sbom.json").write_text(json.dumps(SPDX))

    def phase(self, phase: Phase) -> None:
        """Everything the catalogue has for that part of the day, in its order."""
        for image in IMAGES:
            if image.phase == phase:
                self.publish(image)
        say(f"{phase}: {len(self.pushed)} images, {len(self._seen)} pieces of evidence in the registry")

    def publish(self, image: Image) -> None:
        digest = self._push(image)
        target = Pushed(image.name, image.repository, f"{HOST}/{image.reference}", digest, image.note)
        self.pushed[image.name] = target
        by_platform = {}
        if len(image.platforms) > 1:
            found = self.registry.manifest(image.repository, digest)
            for child in children(found[0] if found else b"{}"):
                architecture = child["platform"]["architecture"]
                platform = Pushed(
                    f"{image.name}-{architecture}",
                    image.repository,
                    f"{HOST}/{image.reference}-{architecture}",
                    child["digest"],
                    f"the {architecture} child of {image.name}",
                )
                self.pushed[platform.name] = by_platform[f"linux/{architecture}"] = platform
        if image.trick == "copied-signature":
            self._copy_signature(image, self.pushed[image.of].digest, target)
        for signing in image.signings:
            subject = by_platform[signing.platform] if signing.platform else target
            if image.trick == "tampered-bundle":
                self._publish_tampered(image, signing, subject)
            else:
                self._sign(image.repository, subject.digest, signing)
            self._attribute(image.repository, subject, signing, good=not image.trick)

    # ------------------------------------------------------------------------------------------------------- images

    def _push(self, image: Image) -> str:
        crane, local = tool("crane"), f"{self.registry.address}/{image.repository}"
        tags = {p: f"{local}:{image.tag}-{p.partition('/')[2]}" for p in image.platforms}
        if len(tags) == 1:
            tags = {image.platforms[0]: f"{local}:{image.tag}"}
        for platform, reference in tags.items():
            layer = self._layer(f"{image.content or image.reference} {platform}\n")
            run([crane, "append", "--oci-empty-base", "-f", layer, "-t", reference], env=self._env)
            run([crane, "mutate", "--set-platform", platform, "-t", reference, reference], env=self._env)
        if len(tags) > 1:
            parts = [part for reference in tags.values() for part in ("-m", reference)]
            run([crane, "index", "append", *parts, "-t", f"{local}:{image.tag}"], env=self._env)
        return self.digest(image.repository, image.tag)

    def _layer(self, text: str) -> Path:
        """A tar of one file, the same bytes each time."""
        path, data = self._scratch / "layer.tar", text.encode()
        with tarfile.open(path, "w") as archive:
            entry = tarfile.TarInfo("app")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        return path

    def digest(self, repository: str, reference: str) -> str:
        found = self.registry.digest(repository, reference)
        if found is None:
            raise RuntimeError(f"{repository}:{reference} is not in the registry")
        return found

    # --------------------------------------------------------------------------------------------------- signatures

    def _sign(self, repository: str, digest: str, signing: Signing) -> None:
        key = self.keys / f"{signing.key}.key"
        common: Command = ["--key", key, "--yes", "--allow-http-registry"]
        annotations = [part for text in signing.annotations for part in ("-a", text)]
        v3: Command = ["--signing-config", self._no_services, "--trusted-root", self._root]
        commands: dict[str, Command] = {
            "classic": [tool("cosign2"), "sign", "--tlog-upload=false", *annotations],
            "bundle": [tool("cosign"), "sign", *v3, *annotations],
            "sbom": [tool("cosign"), "attest", *v3, "--type", "spdxjson", "--predicate", self._scratch / "sbom.json"],
        }
        run([*commands[signing.form], *common, f"{HOST}/{repository}@{digest}"], env=self._env)

    def _copy_signature(self, image: Image, signed: str, target: Pushed) -> None:
        """`.sig` of the signed manifest under the name of another one: its payload names the wrong digest."""
        found = self.registry.manifest(image.repository, tag_of(signed, ".sig"))
        if found is None:
            raise RuntimeError(f"{image.of} has no classic signature to copy")
        self.registry.put_manifest(image.repository, tag_of(target.digest, ".sig"), *found)
        self._attribute(image.repository, target, Signing("dev", "classic"), good=False)

    def _publish_tampered(self, image: Image, signing: Signing, subject: Pushed) -> None:
        """Sign a twin in a scratch repository, change the last byte of the signature, publish that as referrer."""
        twin = f"{SCRATCH}/{image.repository}"
        run(
            [
                tool("crane"),
                "copy",
                f"{self.registry.address}/{image.reference}",
                f"{self.registry.address}/{twin}:{image.tag}",
            ],
            env=self._env,
        )
        self._sign(twin, subject.digest, signing)
        fallback = self.registry.manifest(twin, tag_of(subject.digest))
        if fallback is None:
            raise RuntimeError(f"{image.name}: cosign left no referrer")
        index = json.loads(fallback[0])
        (listed,) = index["manifests"]
        referrer = json.loads(self.registry.manifest(twin, listed["digest"])[0])  # type: ignore[index]  # the index lists it
        bundle = json.loads(self.registry.blob(twin, referrer["layers"][0]["digest"]))
        (envelope_signature,) = bundle["dsseEnvelope"]["signatures"]
        signature = bytearray(base64.b64decode(envelope_signature["sig"]))
        signature[-1] ^= 1  # inside the integer s: still well-formed DER, and wrong
        envelope_signature["sig"] = base64.b64encode(signature).decode()
        data = json.dumps(bundle).encode()
        referrer["layers"][0] |= {"digest": self.registry.put_blob(image.repository, data), "size": len(data)}
        self.registry.put_blob(image.repository, b"{}")
        altered = json.dumps(referrer, separators=(",", ":")).encode()
        digest = self.registry.put_manifest(image.repository, sha256_of(altered), altered, listed["mediaType"])
        listed |= {"digest": digest, "size": len(altered)}
        renewed = json.dumps(index, separators=(",", ":")).encode()
        self.registry.put_manifest(image.repository, tag_of(subject.digest), renewed, INDEX_TYPE)

    # ------------------------------------------------------------------------------------------------- observations

    def _attribute(self, repository: str, subject: Pushed, signing: Signing, *, good: bool) -> None:
        """Ask the registry what is new for the subject: exactly what was just signed."""
        (seen,) = self._look(repository, subject.digest)
        if signing.dated:
            self.observations.append(seen)
        form = {"classic": "classic", "bundle": "bundle", "sbom": "bundle-attestation"}[signing.form]
        subject.signers.append(
            {
                "key": signing.key,
                "format": form,
                "artifact": seen["artifact"],
                "layer": seen["layer"],
                "annotation_signature_sha256": seen["annotation_signature_sha256"],
                "good": good,
                "first_observed": seen["time"] if signing.dated else None,
            }
        )

    def _look(self, repository: str, subject: str) -> list[dict[str, str]]:
        fresh_evidence = []
        for artifact, manifest in self._evidence_manifests(repository, subject):
            for layer in manifest["layers"]:
                text = layer.get("annotations", {}).get(SIGNATURE, "")
                annotation = hashlib.sha256(text.encode()).hexdigest() if text else ""
                key = (repository, subject, layer["digest"], annotation)
                if key in self._seen:
                    continue
                self._seen.add(key)
                fresh_evidence.append(
                    {
                        "time": now(),
                        "repository": f"{HOST}/{repository}",
                        "subject": subject,
                        "artifact": artifact,
                        "layer": layer["digest"],
                        "annotation_signature_sha256": annotation,
                    }
                )
        return fresh_evidence

    def _evidence_manifests(self, repository: str, subject: str) -> list[tuple[str, dict[str, Any]]]:
        tags = (tag_of(subject, suffix) for suffix in (".sig", ".att"))
        digests = [digest for tag in tags if (digest := self.registry.digest(repository, tag))]
        if found := self.registry.manifest(repository, tag_of(subject)):
            digests += [listed["digest"] for listed in children(found[0])]
        manifests = []
        for digest in digests:
            found = self.registry.manifest(repository, digest)
            if found is None:
                raise RuntimeError(f"{repository}@{digest} is listed and not there")
            manifests.append((digest, json.loads(found[0])))
        return manifests

    def images(self) -> list[dict[str, Any]]:
        """As images.json has it. A `.sig` manifest grows with each signer: the one that is there now is named."""
        for pushed in self.pushed.values():
            if current := self.registry.digest(pushed.repository, tag_of(pushed.digest, ".sig")):
                for signer in pushed.signers:
                    if signer["format"] == "classic":
                        signer["artifact"] = current
        return [
            {
                "name": pushed.name,
                "reference": pushed.reference,
                "digest": pushed.digest,
                "note": pushed.note,
                "signers": pushed.signers,
            }
            for pushed in self.pushed.values()
        ]


def tag_of(digest: str, suffix: str = "") -> str:
    """`sha256:ab…` -> `sha256-ab…`, the referrers fallback tag; with a suffix, cosign's own tags."""
    return digest.replace(":", "-") + suffix


# ------------------------------------------------------------------------------------------------------------ layout


def export_layout(registry: Registry, layout: Path, digests: dict[str, set[str]]) -> None:
    """One OCI image layout with every tag of every repository, and what only a digest reaches.

    `digests`: by repository, manifests to keep although no tag leads to them, such as the old target of a moved tag.
    """
    blobs = fresh(layout) / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    descriptors: list[dict[str, Any]] = []

    def keep(data: bytes) -> None:
        (blobs / sha256_of(data).removeprefix("sha256:")).write_bytes(data)

    for repository in registry.repositories():
        if repository.startswith(f"{SCRATCH}/"):
            continue
        tagged = {registry.digest(repository, tag): tag for tag in registry.tags(repository)}
        names = [(tag, ":") for tag in registry.tags(repository)]
        names += [(digest, "@") for digest in sorted(digests.get(repository, set()) - set(tagged))]
        listed = set(tagged) | digests.get(repository, set())
        while names:
            reference, separator = names.pop(0)
            found = registry.manifest(repository, reference)
            if found is None:
                raise RuntimeError(f"{repository} {reference} is not there")
            data, media_type = found
            manifest = json.loads(data)
            keep(data)
            for part in [manifest["config"], *manifest["layers"]] if "layers" in manifest else []:
                keep(registry.blob(repository, part["digest"]))
            for child in manifest.get("manifests", []):
                if child["digest"] not in listed:
                    listed.add(child["digest"])
                    names.append((child["digest"], "@"))
            descriptors.append(
                {
                    "mediaType": media_type,
                    "digest": sha256_of(data),
                    "size": len(data),
                    "annotations": {REF_NAME: f"{HOST}/{repository}{separator}{reference}"},
                }
            )
    descriptors.sort(key=lambda descriptor: descriptor["annotations"][REF_NAME])
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}\n')
    lines = ",\n".join(json.dumps(descriptor, separators=(",", ":")) for descriptor in descriptors)
    (layout / "index.json").write_text(f'{{"schemaVersion":2,"mediaType":"{INDEX_TYPE}","manifests":[\n{lines}\n]}}\n')
