"""Log entries of our log in memory, put before cosign: what it verifies we accept, and the other way round.

It shows two things at once: that our log writes what a real one does, and that our checks refuse what cosign refuses.
Where the two differ, the case says who refuses more, and why.
"""

import copy
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers.rekor import (
    ALICE,
    CONTENT,
    MALLORY,
    SIGNED_AT,
    MemoryLog,
    b64,
    hashedrekord1,
    hashedrekord2,
    key_pem,
    put,
    read,
    witness_line,
)
from verifier.errors import EvidenceError
from verifier.evidence.material import Material
from verifier.evidence.rekor import annotation_entry, check_entry

SIGNATURE = ALICE.sign(CONTENT)
SIGNED = ALICE.signed(CONTENT, SIGNATURE)
ENVELOPE = "inclusionProof.checkpoint.envelope"


def flip(text: str) -> str:
    return ("B" if text[0] == "A" else "A") + text[1:]


def cosigned(note: str, *, first: bool) -> str:
    head, _, own = note.rpartition("\n\n")
    line = witness_line(f"{head}\n")
    return f"{head}\n\n{line}{own}" if first else f"{head}\n\n{own}{line}"


BOTH, NEITHER = (True, True), (False, False)
WE_REFUSE_MORE, COSIGN_REFUSES_MORE = (False, True), (True, False)

CASES = {
    "untouched": (lambda entry: None, BOTH, BOTH),
    "a witness behind": (put(ENVELOPE, lambda note: cosigned(note, first=False)), COSIGN_REFUSES_MORE, BOTH),
    "a witness before": (put(ENVELOPE, lambda note: cosigned(note, first=True)), COSIGN_REFUSES_MORE, BOTH),
    "path shortened": (put("inclusionProof.hashes", lambda hashes: hashes[:-1]), NEITHER, NEITHER),
    "path lengthened": (put("inclusionProof.hashes", lambda hashes: [*hashes, b64(bytes(32))]), NEITHER, NEITHER),
    "path changed": (put("inclusionProof.hashes", lambda hashes: [flip(hashes[0]), *hashes[1:]]), NEITHER, NEITHER),
    "index of another leaf": (put("inclusionProof.logIndex", "3"), NEITHER, WE_REFUSE_MORE),
    "index is the size": (put("inclusionProof.logIndex", "6"), NEITHER, WE_REFUSE_MORE),
    "another global index": (put("logIndex", "4711"), NEITHER, NEITHER),
    "root hash changed": (put("inclusionProof.rootHash", flip), NEITHER, WE_REFUSE_MORE),
    "checkpoint without its signature": (put(ENVELOPE, lambda note: note[: note.rindex("\u2014")]), NEITHER, NEITHER),
    "checkpoint under another name": (put(ENVELOPE, lambda note: note.replace("rekor.", "evil.")), NEITHER, NEITHER),
    "checkpoint changed": (put(ENVELOPE, lambda note: note[:-6] + flip(note[-6:])), NEITHER, NEITHER),
    "no proof": (put("inclusionProof", None), NEITHER, NEITHER),
}
"""Damage -> (we accept, cosign accepts) for Rekor v1, and for v2.

cosign wants every line of a v1 checkpoint to be the log's, where notes may have others (C2SP signed-note.md). Of a v2
proof it takes neither index nor root hash: the entry's index and the checkpoint's root stand for them. We want all of
them to agree.
"""


def entry_of(version: int) -> tuple[MemoryLog, dict]:
    log = MemoryLog("rekor.example", version=version)
    return log, log.entry((hashedrekord1 if version == 1 else hashedrekord2)(CONTENT, SIGNATURE, ALICE))


def ours(log: MemoryLog, entry: dict) -> bool:
    try:
        check_entry(read(entry), SIGNED, Material.of((), [log.log]), need_proof=True)
    except EvidenceError:
        return False
    return True


def bundle_of(entry: dict) -> dict:
    digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(CONTENT).digest())}
    material = {"publicKey": {"hint": b64(bytes.fromhex(ALICE.key_id))}, "tlogEntries": [entry]}
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material,
        "messageSignature": {"messageDigest": digest, "signature": b64(SIGNATURE)},
    }


def root_of(log: MemoryLog) -> dict:
    key = {
        "rawBytes": b64(log.spki),
        "keyDetails": "PKIX_ECDSA_P256_SHA_256" if log.version == 1 else "PKIX_ED25519",
        "validFor": {"start": "2025-01-01T00:00:00Z"},
    }
    written = {
        "baseUrl": f"https://{log.host}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": key,
        "logId": {"keyId": b64(bytes.fromhex(log.id))},
    }
    return {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": [written]}


class Cosign:
    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder
        (folder / "blob").write_bytes(CONTENT)
        (folder / "alice.pub").write_text(ALICE.pem)

    def verifies(self, bundle: dict, *arguments: str, **environment: str) -> bool:
        (self.folder / "bundle.json").write_text(json.dumps(bundle))
        command: list[str | Path] = [
            self.program,
            "verify-blob",
            "--key",
            "alice.pub",
            "--bundle",
            "bundle.json",
            *arguments,
            "blob",
        ]
        found = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"HOME": str(self.folder)} | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert found.returncode == 0 or "Error" in found.stderr, found.stderr
        return found.returncode == 0


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("damage", CASES)
def test_bundles(require, tmp_path, version, damage):
    change, *expected = CASES[damage]
    log, entry = entry_of(version)
    change(entry)
    we = ours(log, copy.deepcopy(entry))
    (tmp_path / "root.json").write_text(json.dumps(root_of(log)))
    bundle = bundle_of({"integratedTime": "0"} | entry)
    cosign = Cosign(require("cosign"), tmp_path).verifies(bundle, "--trusted-root", "root.json")
    assert (we, cosign) == expected[version - 1]


ANNOTATIONS = {
    "untouched": (lambda written: None, True),
    "another time": (put("Payload.integratedTime", SIGNED_AT + 1), False),
    "another index": (put("Payload.logIndex", lambda index: index + 1), False),
    "another signature": (
        put("Payload.body", b64(json.dumps(hashedrekord1(CONTENT, MALLORY.sign(CONTENT), ALICE)).encode())),
        False,
    ),
    "another SET": (put("SignedEntryTimestamp", lambda text: text[:20] + flip(text[20:])), False),
}


@pytest.mark.parametrize("damage", ANNOTATIONS)
def test_promises_of_the_classic_annotation(require, tmp_path, damage):
    change, holds = ANNOTATIONS[damage]
    log = MemoryLog("rekor.example")
    written = json.loads(log.annotation(hashedrekord1(CONTENT, SIGNATURE, ALICE)))
    change(written)
    try:
        entry = annotation_entry(json.dumps(written))
        check_entry(entry, SIGNED, Material.of((), [log.log]), need_proof=False)
        found = True
    except EvidenceError:
        found = False
    assert found is holds
    (tmp_path / "rekor.pub").write_text(key_pem(log.spki))
    bundle = {"base64Signature": b64(SIGNATURE), "rekorBundle": written}
    cosign = Cosign(require("cosign2"), tmp_path)
    assert cosign.verifies(bundle, "--offline", SIGSTORE_REKOR_PUBLIC_KEY="rekor.pub") is holds
