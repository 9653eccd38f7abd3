"""Keyed verification beside `openssl speed`: evidence bytes to fact, P-256 simple signing, one core.

Two rows: a backlog (`derive_facts`: a key was added, a cluster was enrolled) and one piece at a time (`derive_fact`).
All is measured in CPU time and in turns, so that other work on the machine and its clock rate fall on all alike; the
best round of each counts.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Callable

from verifier.facts.candidates import key_set
from verifier.facts.derive import derive_fact, derive_facts
from verifier.models import Evidence, Fact
from verifier.testing import Signer

GOAL = 0.8
ROUNDS = 8
OPENSSL_SECONDS = 1
"""The least that `openssl speed` takes."""
SECONDS = 0.25
"""CPU seconds of ours in each round, for each way."""
DISTINCT = 500
"""Pieces of evidence, all different, so that nothing but the key is cached."""


def openssl_rate(openssl: str) -> float:
    """P-256 verifications per CPU second by `openssl speed`."""
    command = [openssl, "speed", "-seconds", str(OPENSSL_SECONDS), "ecdsap256"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"ecdsa \(nistp256\).*?([0-9.]+)\s*$", output, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"openssl speed printed no rate:\n{output}")
    return float(found[1])


def fact_rate(derive: Callable[[], list[Fact]]) -> float:
    """Facts per CPU second."""
    done, start = 0, time.process_time()
    while time.process_time() - start < SECONDS:
        done += len(derive())
    return done / (time.process_time() - start)


def signed_images(signer: Signer) -> list[Evidence]:
    return [
        signer.sign_simple(f"registry.example.com/payments/api{n % 20}", f"sha256:{n:064x}", {"env": "prod"})
        for n in range(DISTINCT)
    ]


def run() -> list[dict[str, object]]:
    """One row for each way: the rates and their ratio."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return [{"name": "keyed verification / openssl speed", "skipped": "no openssl on PATH"}]
    signer = Signer("bench")
    keys = key_set([("bench", signer.public_key)])
    evidence = signed_images(signer)
    ways = {
        "keyed verification, backlog / openssl speed": lambda: derive_facts(evidence, keys),
        "keyed verification, one at a time / openssl speed": lambda: [derive_fact(piece, keys) for piece in evidence],
    }
    assert all(fact.verified_by for derive in ways.values() for fact in derive())
    reference, rates = 0.0, dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        reference = max(reference, openssl_rate(openssl))
        for name, derive in ways.items():
            rates[name] = max(rates[name], fact_rate(derive))
    rows = [row(name, rate, reference) for name, rate in rates.items()]
    for line in rows:
        print(line)
    return rows


def row(name: str, ours: float, reference: float) -> dict[str, object]:
    ratio = ours / reference
    return {
        "name": name,
        "ours_per_s": round(ours),
        "reference_per_s": round(reference),
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "met": ratio >= GOAL,
        "unit": "P-256 simple-signing facts per CPU second, one core",
    }


if __name__ == "__main__":
    run()
