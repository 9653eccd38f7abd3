"""Trust administrators for tests: keys, gates, and signed entries as they lie in the trust topic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from streams.codec import encode
from streams.engine.port import Record
from streams.events import TrustChanged
from streams.topics import TRUST
from streams.trustlog import TrustGate, event_of
from verifier.evidence.keys import load_public_key
from verifier.policy.attestors import Attestor
from verifier.policy.model import MatchRule, Policy, Requirement
from verifier.trust.records import KeyPut, PolicyPut, TrustRecord
from verifier.trust.signing import Administrator, TrustEntry, sign

T = 1_767_225_600_000_000


class Person(NamedTuple):
    """Somebody with a key."""

    key: Ed25519PrivateKey
    administrator: Administrator


def person(name: str, number: int = 0, since: int = 1, until: int | None = None) -> Person:
    """The same key for the same name and number, in every run."""
    seed = f"{name}/{number}".encode().ljust(32, b".")[:32]
    key = Ed25519PrivateKey.from_private_bytes(seed)
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Person(key, Administrator(name, raw, since, until))


ALICE, BOB, MALLORY = person("alice"), person("bob"), person("mallory")


def gate(*people: Person, loosening: int = 1, log: str = "revet", loosening_from: int = 1) -> TrustGate:
    """A gate for these people; without any for Alice and Bob."""
    known = [one.administrator for one in people or (ALICE, BOB)]
    return TrustGate(known, loosening, log=log, loosening_from=loosening_from)


def pem(number: int) -> str:
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def key_put(number: int, at: int = T) -> KeyPut:
    """A key under a name of its own."""
    text = pem(number)
    return KeyPut(author="alice", at=at, name=f"key-{number}", key_id=load_public_key(text).key_id, pem=text)


def policy_put(name: str = "signed", mode: Literal["trial", "audit", "enforce"] = "audit", at: int = T) -> PolicyPut:
    """A policy that asks for key-1."""
    policy = Policy(
        id=name,
        mode=mode,
        match=(MatchRule(images=("**",)),),
        attestors={"dev": Attestor(keys=("key-1",))},
        require=Requirement(signed_by="dev"),
    )
    return PolicyPut(author="alice", at=at, policy=policy)


def signed(entry: TrustEntry, *people: Person) -> TrustChanged:
    """The entry, signed by these people."""
    return event_of(entry, [sign(entry, one.key) for one in people])


def next_of(at: TrustGate, *changes: TrustRecord, by: Sequence[Person] = (ALICE,), time: int = T) -> list[TrustChanged]:
    """The next entries of a log, as honest administrators make them."""
    return [signed(prepared.entry, *by) for prepared in at.prepare(changes, time)]


class Log:
    """The trust topic: what was written, in order."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def put(self, *values: TrustChanged | bytes) -> list[Record]:
        """Append; returns the records."""
        new = [
            Record(at, TRUST, 0, "", f"{TRUST}/0/{at}", value if isinstance(value, bytes) else encode(value), T + at)
            for at, value in enumerate(values, start=len(self.records))
        ]
        self.records += new
        return new

    def read(self, through: TrustGate) -> list[object]:
        """What a gate says of everything."""
        return [through.take(record) for record in self.records]


def outcomes(said: Iterable[object]) -> list[str]:
    """`TrustChanged`, `Refused`, `Ignored` …"""
    return [type(one).__name__ for one in said]


def tampered(event: TrustChanged, **members: object) -> TrustChanged:
    """The event with other members under its old signatures."""
    return msgspec.structs.replace(event, **members)
