"""Keyless bundles and timestamp tokens: bytes to fact, beside the sum of their primitives and beside sigstore-python.

    python -m tests.bench.bench_keyless

1  Made bundles of every kind, all with certificates of their own, so that only roots are cached: CPU time of
`derive_fact`
   against the CPU time `openssl speed` gives for the signatures that have to be verified.
2  Timestamp tokens of a pinned authority, likewise.
3  The good bundles of the public conformance suite, against sigstore-python in a process that times itself. Before each
   round everything that was kept of evidence is forgotten, the roots apart.

Rounds alternate and the best of each counts.
"""

import json
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Final

from tests.bench.primitives import better, openssl, rates, rates_here, seconds
from tests.conftest import SHARED
from tests.fuzz import world
from tests.helpers.conformance import case_of, digest_of
from tests.helpers.rekor import MemoryLog
from verifier.evidence.certificates import load_certificate
from verifier.evidence.identity import evidence_id
from verifier.evidence.material import Material
from verifier.evidence.timestamps import verify_timestamp
from verifier.facts.candidates import KeySet, key_set
from verifier.facts.derive import derive_fact
from verifier.models import Evidence
from verifier.trust.roots import read_root

GOAL_PRIMITIVES: Final = 0.7
GOAL_SIGSTORE: Final = 2.0
ROUNDS: Final = 5
DISTINCT: Final = 60
"""Bundles of each kind."""
TOKENS: Final = 200

VERSION: Final = "4.5.1"
"""Of sigstore-python."""
ENVIRONMENT: Final = Path.home() / ".cache" / "revet-bench" / f"sigstore-{VERSION}"
CASES: Final = SHARED / "vectors" / "sigstore-conformance" / "assets" / "bundle-verify"
PUBLIC_GOOD: Final = SHARED / "vectors" / "sigstore-public-good" / "trusted_root.json"

Row = dict[str, object]

ALGORITHMS: Final = ("p256", "p384", "ed25519")
_V1: Final = {"p256": 4, "p384": 1}
"""Signature, SCT, SET and checkpoint; the certificate."""
KINDS: Final[dict[str, tuple[bool, str, bool, Mapping[str, int]]]] = {
    "bundle v0.3, Rekor v1, message signature": (False, "v1", False, _V1),
    "bundle v0.3, Rekor v1, DSSE": (True, "v1", False, _V1),
    "bundle v0.3, Rekor v1, DSSE, timestamp": (True, "v1", True, {"p256": 5, "p384": 1}),
    "bundle v0.3, Rekor v2, timestamp, message signature": (False, "v2", True, {"p256": 3, "p384": 1, "ed25519": 1}),
    "bundle v0.3, Rekor v2, timestamp, DSSE": (True, "v2", True, {"p256": 3, "p384": 1, "ed25519": 1}),
}
"""Kind -> (DSSE, log, timestamp, signatures to verify: of the roots' own certificates none, they are the same for
all)."""


def run(distinct: int = DISTINCT) -> list[Row]:
    """Every row."""
    if openssl() is None:
        return [{"name": "keyless bundles / openssl speed", "skipped": "no openssl on PATH"}]
    return [*against_primitives(distinct), *against_sigstore_python()]


# ---------------------------------------------------------------------------------------------------------- primitives


def against_primitives(distinct: int) -> list[Row]:
    keys = candidates(world.trusted_root())
    made = {kind: bundles(kind, distinct) for kind in KINDS}
    ways: dict[str, tuple[Callable[[], None], Mapping[str, int], int]] = {
        kind: (partial(derive_all, pieces, keys), KINDS[kind][3], distinct) for kind, pieces in made.items()
    }
    ways["timestamp tokens, pinned authority"] = (stamps(keys), {"p256": 1}, TOKENS)
    known: dict[str, float] = {}
    here: dict[str, float] = {}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        known = better(known, rates(ALGORITHMS))
        here = better(here, rates_here(ALGORITHMS))
        for name, (work, _, count) in ways.items():
            forget(keys)
            best[name] = min(best[name], cpu(work) / count)
    return [primitive_row(name, best[name], counts, known, here) for name, (_, counts, _) in ways.items()]


def primitive_row(
    name: str, ours: float, counts: Mapping[str, int], known: Mapping[str, float], here: Mapping[str, float]
) -> Row:
    reference = seconds(counts, known)
    return {
        "name": f"{name} / openssl speed",
        "ours_per_s": round(1 / ours),
        "reference_per_s": round(1 / reference),
        "ratio": round(reference / ours, 3),
        "goal": GOAL_PRIMITIVES,
        "met": reference / ours >= GOAL_PRIMITIVES,
        "ratio_to_the_library_in_this_process": round(seconds(counts, here) / ours, 3),
        "primitives": " + ".join(f"{count} {algorithm}" for algorithm, count in counts.items()),
        "unit": "per CPU second, one core",
    }


def bundles(kind: str, count: int) -> list[Evidence]:
    """Bundles of one kind, each by a leaf of its own."""
    dsse, version, stamped, _ = KINDS[kind]
    found = []
    for number in range(count):
        leaf = world.ISSUING.leaf(
            f"{kind} {number}", sans=[world.WORKFLOW], issuer=world.ISSUER, extensions={11: "https://ci.example"},
            scts_by=[world.CT],
        )  # fmt: skip
        log = MemoryLog(world.REKOR.host) if version == "v1" else MemoryLog(world.TILES.host, version=2)
        make = world.keyless_bundle if dsse else world.manifest_bundle
        found.append(world.bundle(make(leaf=leaf, log=log, stamped=stamped)))
    return found


def derive_all(pieces: list[Evidence], keys: KeySet) -> None:
    for piece in pieces:
        fact = derive_fact(piece, keys)
        if not (fact.chains and fact.logs and fact.times and not fact.problem):
            raise AssertionError(f"not verified: {fact.problem} {fact.problem_detail}")


def stamps(keys: KeySet) -> Callable[[], None]:
    authorities = keys.material.used_for("timestamping")
    made = [
        (f"signature {n}".encode(), world.TSA.response(f"signature {n}".encode(), world.SIGNED_AT))
        for n in range(TOKENS)
    ]

    def work() -> None:
        for message, token in made:
            if not verify_timestamp(token, message, authorities, response=True).claims:
                raise AssertionError("not verified")

    return work


def cpu(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


FORGOTTEN: Final = ("certificates", "keys", "schemes", "notation", "simplesigning")
"""Modules of `verifier.evidence` that keep what they read of evidence. Chains between CAs stay known: there are few."""


def forget(*known: KeySet) -> None:
    """Everything kept of evidence; certificates and keys of the roots are read again, on nobody's time."""
    for name in FORGOTTEN:
        for value in vars(sys.modules[f"verifier.evidence.{name}"]).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    for keys in known:
        warm(keys)


# ----------------------------------------------------------------------------------------------------- sigstore-python


def against_sigstore_python() -> list[Row]:
    name = f"conformance bundles / sigstore-python {VERSION}"
    if not CASES.is_dir():
        return [{"name": name, "skipped": "no conformance vectors beside the checkout"}]
    try:
        python = environment()
    except (OSError, subprocess.CalledProcessError) as error:
        return [{"name": name, "skipped": f"sigstore-python cannot be installed: {error}"}]
    cases = list(sound_cases())
    command = [str(python), str(Path(__file__).with_name("sigstore_child.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        ask(child.stdin, json.dumps([case for case, _, _ in cases]))
        ours, theirs = alternate(cases, child.stdin, child.stdout)
    return rows_beside(name, ours, theirs)


def alternate(cases: list[tuple[dict, Evidence, KeySet]], stdin: IO[str], stdout: IO[str]) -> tuple[dict, dict]:
    """Best CPU seconds of each bundle, ours and theirs; theirs may be a refusal instead."""
    ours: dict[str, float] = {}
    theirs: dict[str, float | str] = {}
    for _ in range(ROUNDS):
        forget(*{id(keys): keys for _, _, keys in cases}.values())
        for case, piece, keys in cases:
            took = cpu(partial(derived, piece, keys))
            ours[case["name"]] = min(ours.get(case["name"], took), took)
        ask(stdin, "round")
        for found, took in json.loads(stdout.readline()).items():
            before = theirs.get(found, took)
            theirs[found] = took if isinstance(took, str) or isinstance(before, str) else min(before, took)
    return ours, theirs


def warm(keys: KeySet) -> None:
    """Reads the roots' certificates and keys, as sigstore-python has done before it is timed."""
    for authority in keys.material.authorities.values():
        for der in authority.certificates:
            load_certificate(der)


def derived(piece: Evidence, keys: KeySet) -> None:
    fact = derive_fact(piece, keys)
    if fact.problem or not (fact.verified_by or fact.chains):
        raise AssertionError(f"{piece.id}: {fact.problem} {fact.problem_detail}")


def rows_beside(name: str, ours: Mapping[str, float], theirs: Mapping[str, float | str]) -> list[Row]:
    both = {case: (ours[case], took) for case, took in theirs.items() if not isinstance(took, str)}
    refused = {case: why for case, why in theirs.items() if isinstance(why, str)}
    if not both:
        return [{"name": name, "skipped": f"sigstore-python accepts none: {next(iter(refused.values()), '')}"}]
    mine, other = (sum(pair[side] for pair in both.values()) for side in (0, 1))
    worst = min(both, key=lambda case: both[case][1] / both[case][0])
    return [
        {
            "name": name,
            "ours_per_s": round(len(both) / mine),
            "reference_per_s": round(len(both) / other),
            "ratio": round(other / mine, 2),
            "goal": GOAL_SIGSTORE,
            "met": other / mine >= GOAL_SIGSTORE,
            "bundles": len(both),
            "least": f"{both[worst][1] / both[worst][0]:.1f} x on {worst}",
            "not_compared": len(refused),
            "unit": "bundles per CPU second, one process each",
        }
    ]


def ask(stream: IO[str], line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


def environment() -> Path:
    """The interpreter that has sigstore-python; installed by name when it is missing."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    there = subprocess.run([python, "-c", "import sigstore"], capture_output=True, check=False)
    if there.returncode:
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", f"sigstore=={VERSION}"], capture_output=True, check=True
        )
    return python


def sound_cases() -> Iterator[tuple[dict, Evidence, KeySet]]:
    """Cases of the suite that must pass and have a certificate: what the child needs, evidence, and candidates."""
    known: dict[str, KeySet] = {}
    default = PUBLIC_GOOD.read_text()
    for folder in sorted(CASES.iterdir()):
        if not folder.is_dir() or folder.name.endswith("_fail"):
            continue
        case = case_of(folder, default)
        if case["key"]:
            continue
        own = folder / "trusted_root.json"
        dsse = b"dsseEnvelope" in case["bundle"]
        told = {
            "name": folder.name,
            "bundle": str(folder / "bundle.sigstore.json"),
            "artifact": "" if dsse else case["artifact"],
            "identity": case["identity"],
            "issuer": case["issuer"],
            "root": str(own if own.exists() else PUBLIC_GOOD),
        }
        digest = digest_of(case["artifact"])
        name = evidence_id(digest, {})
        keys = known.setdefault(case["root"], candidates(case["root"]))
        yield told, Evidence(name, "sigstore-bundle", "conformance.invalid/a", digest, case["bundle"]), keys


def candidates(root: str) -> KeySet:
    document = read_root("sigstore-trusted-root", root)
    return key_set((), Material.of(document.authorities, document.logs))


if __name__ == "__main__":
    for line in run():
        print(line)
