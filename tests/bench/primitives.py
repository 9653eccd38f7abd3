"""How quick the primitives are here and now: verifications per CPU second by `openssl speed`."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.helpers.pki import make_key, sign

SECONDS: Final = 1
"""The least that `openssl speed` takes, for each of signing and verifying."""

SECONDS_HERE: Final = 0.1

_ALGORITHMS: Final[Mapping[str, tuple[str, str]]] = {
    "p256": ("ecdsap256", r"ecdsa \(nistp256\)"),
    "p384": ("ecdsap384", r"ecdsa \(nistp384\)"),
    "ed25519": ("ed25519", r"EdDSA \(Ed25519\)"),
    "rsa2048": ("rsa2048", r"rsa 2048 bits"),
    "rsa4096": ("rsa4096", r"rsa 4096 bits"),
}
"""Name -> (argument, how its line begins); the last column of the line is verifications per second."""


@cache
def openssl() -> str | None:
    return shutil.which("openssl")


def rates(names: Iterable[str]) -> dict[str, float]:
    """Verifications per CPU second of each."""
    found = {}
    for name in names:
        argument, line = _ALGORITHMS[name]
        command = [str(openssl()), "speed", "-seconds", str(SECONDS), argument]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        match = re.search(line + r".*?([0-9.]+)\s*$", output, re.MULTILINE)
        if match is None:
            raise RuntimeError(f"openssl speed printed no rate for {name}:\n{output}")
        found[name] = float(match[1])
    return found


def rates_here(names: Iterable[str]) -> dict[str, float]:
    """Verifications per CPU second of each by the library we verify with, in this process.

    It has an OpenSSL of its own, newer or older than the one on PATH; and what slows this process slows it alike.
    """
    found = {}
    for name in names:
        work = _here(name)
        calls, began = 0, time.process_time()
        while time.process_time() - began < SECONDS_HERE:
            work()
            calls += 1
        found[name] = calls / (time.process_time() - began)
    return found


@cache
def _here(name: str) -> Callable[[], object]:
    key = make_key(f"bench {name}", name)
    signature, public = sign(key, b"message"), key.public_key()
    if isinstance(public, Ed25519PublicKey):
        return partial(public.verify, signature, b"message")
    if isinstance(public, rsa.RSAPublicKey):
        return partial(public.verify, signature, b"message", padding.PKCS1v15(), hashes.SHA256())
    return partial(
        public.verify, signature, b"message", ec.ECDSA(hashes.SHA384() if name == "p384" else hashes.SHA256())
    )


def better(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """The better rate of each: the best round counts, as everywhere here."""
    return {name: max(one.get(name, 0.0), other.get(name, 0.0)) for name in {**one, **other}}


def seconds(counts: Mapping[str, int], known: Mapping[str, float]) -> float:
    """CPU seconds of so many verifications of each."""
    return sum(count / known[name] for name, count in counts.items())
