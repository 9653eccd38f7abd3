"""Keyed verification beside `openssl speed`: evidence bytes to fact, P-256 simple signing, one core.

Both are measured in CPU time and in turns, so that other work on the machine and its clock rate fall on both alike.
"""

import re
import shutil
import subprocess
import time

from verifier.evidence.facts import derive_fact
from verifier.evidence.keys import KeySet, key_set
from verifier.models import Evidence
from verifier.testing import Signer

GOAL = 0.8
ROUNDS = 5
SECONDS = 1
DISTINCT = 500
"""Pieces of evidence, all different, so that nothing but the key is cached."""


def openssl_rate(openssl: str) -> float:
    """P-256 verifications per CPU second by `openssl speed`."""
    command = [openssl, "speed", "-seconds", str(SECONDS), "ecdsap256"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"ecdsa \(nistp256\).*?([0-9.]+)\s*$", output, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"openssl speed printed no rate:\n{output}")
    return float(found[1])


def fact_rate(evidence: list[Evidence], keys: KeySet) -> float:
    """Facts per CPU second."""
    done, start = 0, time.process_time()
    while time.process_time() - start < SECONDS:
        for piece in evidence:
            derive_fact(piece, keys)
        done += len(evidence)
    return done / (time.process_time() - start)


def signed_images(signer: Signer) -> list[Evidence]:
    return [
        signer.sign_simple(f"registry.example.com/payments/api{n % 20}", f"sha256:{n:064x}", {"env": "prod"})
        for n in range(DISTINCT)
    ]


def run() -> list[dict[str, object]]:
    """One row: the rates and their ratio; the best of the rounds on both sides."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return [{"name": "keyed verification / openssl speed", "skipped": "no openssl on PATH"}]
    signer = Signer("bench")
    keys = key_set([("bench", signer.public_key)])
    evidence = signed_images(signer)
    assert all(derive_fact(piece, keys).verified_by for piece in evidence)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(openssl_rate(openssl))
        ours.append(fact_rate(evidence, keys))
    ratio = max(ours) / max(theirs)
    row = {
        "name": "keyed verification / openssl speed",
        "ours_per_s": round(max(ours)),
        "reference_per_s": round(max(theirs)),
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "met": ratio >= GOAL,
        "unit": "P-256 simple-signing facts per CPU second, one core",
    }
    print(row)
    return [row]


if __name__ == "__main__":
    run()
