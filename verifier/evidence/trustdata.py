"""Docker Content Trust, offline: the stored TUF metadata of one repository (Notary v1, a dialect of TUF 0.x).

    evidence.payload = pack_trust_data("docker.io/library/alpine", {"root.json": ..., "targets.json": ...})
    parts = trustdata_fact_parts(evidence, material)
    parts.tags                ("3.20", "sha256:...", "targets/releases"), ...
    parts.chains              one per pinned root key that signed the root

There is no signature of one image here: the current targets file is the statement, for every tag it lists. Nothing is
downloaded, no update is followed, and no clock is asked: expiries are returned, not judged. Metadata contradicting
itself is refused whole, with the role and the rule it breaks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from verifier.canonical import canonical_json
from verifier.errors import EvidenceError, ImageReferenceError
from verifier.evidence.base64text import decode_base64
from verifier.evidence.content import excerpt
from verifier.evidence.limits import MIB
from verifier.evidence.material import Material
from verifier.evidence.olpcjson import canonical
from verifier.evidence.strictjson import StrictDecoder, loads_strict
from verifier.evidence.tufkeys import INVALID, MALFORMED, ListedKey, TufKey, read_keys, read_root_keys
from verifier.models import ChainClaim, Evidence, FactKind, Micros
from verifier.reference import parse_reference
from verifier.times import parse_instant

__all__ = ["TrustDataParts", "listed_digests", "pack_trust_data", "read_root_keys", "trustdata_fact_parts"]

T = TypeVar("T", bound=msgspec.Struct)

CONTAINER_BYTES: Final = MIB
"""Bytes of the packed metadata of one repository, base64 included. All of it is read for one answer."""

FILE_BYTES: Final = MIB // 2
"""Bytes of one metadata file. A tag takes some 120 bytes, with both hashes 230."""

OBJECTS: Final = 16_384
"""Objects and arrays of one metadata file. A tag takes two: all tags fit, and delegations beside them."""

FILES: Final = 32
"""Metadata files of one repository: the four roles and 28 delegations. Notary itself warns beyond a few."""

TAGS: Final = 2048
"""Tags of one repository over all its roles. Each becomes a subject that is held in memory."""

SIGNATURES: Final = 32
"""Signatures of one file."""

CHECKS: Final = 64
"""Signatures of one repository that are verified, good or bad: two for each of 32 files. Each costs up to 0.5 ms."""

_JSON_DEPTH: Final = 16
"""Nested objects of a metadata file: delegations nest 6 deep, custom data some more."""

_FILE_NAME: Final = re.compile(r"(?:root|timestamp|snapshot|targets(?:/[a-z0-9_-]{1,64}){0,8})\.json")
_ROLE_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


# ------------------------------------------------------------------------------------------------------- the container


class _Container(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`Evidence.payload`: canonical JSON, so that the same files always are the same evidence.

    `gun` is the repository the files were found for (Notary's globally unique name, normalised); `files` maps
    `<role>.json` to the base64 of the file's exact bytes. There are no other members.
    """

    gun: str
    files: dict[str, str]


_CONTAINER: Final = StrictDecoder(_Container, MALFORMED)


def pack_trust_data(gun: str, files: Mapping[str, bytes]) -> bytes:
    """The payload for metadata files: the inverse of what `trustdata_fact_parts` opens.

    Args:
        gun: `registry/path` of the repository.
        files: `root.json`, `targets/releases.json` and so on, with the bytes as they are stored.

    Raises:
        EvidenceError: `limit-exceeded`.
    """
    if sum(map(len, files.values())) > CONTAINER_BYTES * 3 // 4 or len(files) > FILES:
        raise EvidenceError(
            "limit-exceeded", f"trust data of more than {CONTAINER_BYTES * 3 // 4} bytes or {FILES} files"
        )
    encoded = {name: msgspec.to_builtins(content) for name, content in files.items()}
    return canonical_json({"files": encoded, "gun": gun})


def _unpack(payload: bytes) -> tuple[str, dict[str, bytes]]:
    container = _CONTAINER.decode(payload, limit=CONTAINER_BYTES)
    if len(container.files) > FILES:
        raise EvidenceError("limit-exceeded", f"{len(container.files)} metadata files, limit {FILES}")
    files = {}
    for name, text in container.files.items():
        if _FILE_NAME.fullmatch(name) is None:
            raise EvidenceError(MALFORMED, f"a metadata file of name {excerpt(name)}")
        files[name] = decode_base64(text, name, MALFORMED)
    return container.gun, files


# ------------------------------------------------------------------------------------------------------ the documents


class _Role(msgspec.Struct, frozen=True):
    keyids: list[str]
    threshold: int


class _Delegation(_Role, frozen=True, kw_only=True):
    name: str
    paths: list[str] | None = None


class _Delegations(msgspec.Struct, frozen=True):
    keys: dict[str, ListedKey] | None = None
    roles: list[_Delegation] | None = None


class _Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What every role's `signed` has."""

    expires: str
    version: int


class _Root(_Signed, frozen=True, kw_only=True):
    type: Literal["Root"] = msgspec.field(name="_type")
    keys: dict[str, ListedKey]
    roles: dict[str, _Role]


class _Meta(msgspec.Struct, frozen=True):
    hashes: dict[str, str]
    length: int
    version: int | None = None


class _Timestamp(_Signed, frozen=True, kw_only=True):
    type: Literal["Timestamp"] = msgspec.field(name="_type")
    meta: dict[str, _Meta]


class _Snapshot(_Signed, frozen=True, kw_only=True):
    type: Literal["Snapshot"] = msgspec.field(name="_type")
    meta: dict[str, _Meta]


class _Target(msgspec.Struct, frozen=True):
    hashes: dict[str, str]
    length: int


class _Targets(_Signed, frozen=True, kw_only=True):
    type: Literal["Targets"] = msgspec.field(name="_type")
    targets: dict[str, _Target]
    delegations: _Delegations | None = None


class _Signature(msgspec.Struct, frozen=True):
    keyid: str
    method: str
    sig: str


class _File(msgspec.Struct, frozen=True):
    signed: dict[str, object]
    signatures: list[_Signature] | None = None


@dataclass(frozen=True, slots=True)
class _Document:
    """One metadata file: its bytes, what was parsed from them once, and the form that is signed."""

    role: str
    data: bytes
    file: _File
    message: bytes

    def signed(self, model: type[T]) -> T:
        return _convert(self.file.signed, model, f"{self.role}: signed")


def _convert(value: object, model: type[T], what: str) -> T:
    try:
        return msgspec.convert(value, model)
    except msgspec.ValidationError as error:
        raise EvidenceError(MALFORMED, f"{what}: {excerpt(error)}") from error


def _read(role: str, data: bytes) -> _Document:
    count = data.count(b"{") + data.count(b"[")
    if count > OBJECTS:
        raise EvidenceError("limit-exceeded", f"{role}: {count} objects and arrays, limit {OBJECTS}")
    try:
        value = loads_strict(data, limit=FILE_BYTES, max_depth=_JSON_DEPTH)
    except EvidenceError as error:
        code = error.code if error.code == "limit-exceeded" else MALFORMED
        raise EvidenceError(code, f"{role}: {error}") from error
    file = _convert(value, _File, role)
    if len(file.signatures or ()) > SIGNATURES:
        raise EvidenceError("limit-exceeded", f"{role}: {len(file.signatures or ())} signatures, limit {SIGNATURES}")
    return _Document(role, data, file, canonical(file.signed, MALFORMED))


def _expiry(role: str, signed: _Signed) -> Micros:
    try:
        return parse_instant(signed.expires)
    except (ValueError, OverflowError) as error:
        raise EvidenceError(MALFORMED, f"{role}: expires {excerpt(signed.expires)} is no time") from error


# -------------------------------------------------------------------------------------------------------- verification


@dataclass(frozen=True, slots=True)
class _Listing:
    """A targets file that verified, and what it may speak about."""

    role: str
    signed: _Targets
    prefixes: tuple[tuple[str, ...], ...]
    """Path prefixes of each delegation on the way: a name must match one of every step."""

    def tags(self) -> Iterator[tuple[str, str]]:
        """(tag, digest) of what the role was given to say; names that are no tag are of no concern."""
        for name, target in sorted(self.signed.targets.items()):
            allowed = all(any(name.startswith(prefix) for prefix in step) for step in self.prefixes)
            if allowed and _TAG.fullmatch(name) is not None:
                yield name, _digest(self.role, name, target.hashes)


def _digest(role: str, name: str, found: Mapping[str, str]) -> str:
    raw = decode_base64(found.get("sha256"), f"{role}: sha256 of a target", MALFORMED)
    if len(raw) != 32:
        raise EvidenceError(MALFORMED, f"{role}: sha256 of {excerpt(name)} has {len(raw)} bytes, expected 32")
    return f"sha256:{raw.hex()}"


@dataclass
class _Repository:
    """The metadata of one repository while it is verified."""

    files: Mapping[str, bytes]
    checks: int = 0
    documents: dict[str, _Document] = field(default_factory=dict)

    def open(self, role: str) -> _Document:
        """A role's file, read once."""
        if role not in self.documents:
            data = self.files.get(f"{role}.json")
            if data is None:
                raise EvidenceError(INVALID, f"{role}: the metadata file is missing")
            self.documents[role] = _read(role, data)
        return self.documents[role]

    def signers(
        self, document: _Document, role: _Role, keys: Mapping[str, TufKey], *, everyone: bool = False
    ) -> dict[str, str]:
        """SPKI id -> algorithm of the role's keys that signed.

        Distinct keys count, not distinct ids: one key in two certificates is one signer. `everyone` goes on behind the
        threshold.

        Raises:
            EvidenceError: `trust-data-invalid`, fewer than the threshold; `limit-exceeded`.
        """
        if role.threshold < 1:
            raise EvidenceError(INVALID, f"{document.role}: a threshold of {role.threshold}, expected 1 or more")
        wanted = {name: keys[name] for name in role.keyids if name in keys}
        good: dict[str, str] = {}
        for signature in document.file.signatures or ():
            key = wanted.get(signature.keyid)
            if key is not None and key.key.key_id not in good:
                algorithm = self._check(document, key, signature)
                if algorithm:
                    good[key.key.key_id] = algorithm
            if len(good) >= role.threshold and not everyone:
                break
        if len(good) < role.threshold:
            raise EvidenceError(
                INVALID, f"{document.role}: signed by {len(good)} of its keys, threshold {role.threshold}"
            )
        return good

    def _check(self, document: _Document, key: TufKey, signature: _Signature) -> str:
        self.checks += 1
        if self.checks > CHECKS:
            raise EvidenceError("limit-exceeded", f"more than {CHECKS} signatures to verify in one repository")
        raw = decode_base64(signature.sig, f"{document.role}: sig", MALFORMED)
        return key.verifies(signature.method, raw, document.message)

    def vouched(self, by: str, meta: Mapping[str, _Meta], role: str) -> _Document:
        """The file of a role, with the length and the hashes that another file states."""
        stated = meta.get(role)
        if stated is None:
            raise EvidenceError(INVALID, f"{by}: says nothing of {role}")
        document = self.open(role)
        if len(document.data) != stated.length:
            raise EvidenceError(INVALID, f"{role}: {len(document.data)} bytes, {by} states {stated.length}")
        if "sha256" not in stated.hashes:
            raise EvidenceError(INVALID, f"{by}: states no sha256 of {role}")
        for name, start in (("sha256", hashlib.sha256), ("sha512", hashlib.sha512)):
            text = stated.hashes.get(name)
            expected = None if text is None else decode_base64(text, f"{by}: {name} of {role}", MALFORMED)
            if expected is not None and start(document.data).digest() != expected:
                raise EvidenceError(INVALID, f"{role}: its {name} is not the one {by} states")
        if stated.version is not None and document.file.signed.get("version") != stated.version:
            raise EvidenceError(INVALID, f"{role}: another version than {by} states ({stated.version})")
        return document

    def delegated(self, targets: _Targets, snapshot: _Snapshot) -> Iterator[_Listing]:
        """The delegations that are published, parents before children; none ends the search (no terminating roles)."""
        waiting = [_Listing("targets", targets, ())]
        while waiting:
            parent = waiting.pop(0)
            listed = parent.signed.delegations or _Delegations()
            roles = listed.roles or []
            keys = read_keys(parent.role, listed.keys or {})
            if len(roles) > FILES or len({role.name for role in roles}) < len(roles):
                raise EvidenceError(MALFORMED, f"{parent.role}: more than {FILES} delegations, or one of them twice")
            for role in roles:
                _check_name(parent.role, role.name)
                if role.name not in snapshot.meta:
                    continue  # named, never published
                document = self.vouched("snapshot", snapshot.meta, role.name)
                self.signers(document, role, keys)
                found = _Listing(role.name, document.signed(_Targets), (*parent.prefixes, tuple(role.paths or ())))
                waiting.append(found)
                yield found


def _check_name(parent: str, name: str) -> None:
    prefix, _, last = name.rpartition("/")
    if prefix != parent or _ROLE_NAME.fullmatch(last) is None:
        raise EvidenceError(INVALID, f"{parent}: delegates to {excerpt(name)}, which is not directly below it")


# --------------------------------------------------------------------------------------------------------------- facts


@dataclass(frozen=True, slots=True)
class TrustDataParts:
    """What the metadata of one repository says, once all of it is verified."""

    kind: FactKind
    subjects: tuple[str, ...]
    """Digests of the tags (of the one asked for, or of all), sorted."""
    tags: tuple[tuple[str, str, str], ...]
    """(tag, digest, role), in the order of the roles; a tag that two roles list is there twice."""
    signed_repository: str
    """The repository a pinned key's certificate in the root is made out for; empty when the root has bare keys."""
    algorithm: str
    """Of the first chain's signature over the root; empty when no pinned key signed."""
    chains: tuple[ChainClaim, ...]
    """One per pinned key that is a root key now and signed the root; the window is its certificate's there, if any."""
    expires: Micros
    """First expiry among root, targets and the delegations that list a subject; judged now."""
    fresh_as_of: Micros
    """First expiry of timestamp and snapshot: until then the metadata is the newest; later, nobody knows."""
    undecided: tuple[str, ...]
    """`authority` when no pinned key signed the root."""
    annotations: tuple[tuple[str, str], ...]
    """`role` and `tag` when one tag was asked for."""
    versions: tuple[tuple[str, int], ...]
    """Version of each role's file."""


def trustdata_fact_parts(evidence: Evidence, material: Material, tag: str = "") -> TrustDataParts:
    """Verifies the metadata as a whole, then says which pinned keys stand behind it.

    1. root, by the threshold of its own root role;
    2. timestamp, by the root's keys; snapshot, by the root's keys and the timestamp's hash;
    3. root and targets have the hashes the snapshot states; targets by the root's keys;
    4. delegations, by the keys of the role that delegates and the snapshot's hash, within their paths;
    5. pinned root keys that are in the root role and signed it.

    Args:
        evidence: payload as `pack_trust_data` makes it, found for `evidence.repository`.
        material: authorities of use `tuf`.
        tag: restricts the answer to what Docker takes for this tag: `targets/releases` if it lists it, then `targets`,
            then the first other role that does. Empty: all tags of all roles.

    Raises:
        EvidenceError: `trust-data-malformed`, `trust-data-invalid` (role and rule are named) or `limit-exceeded`.
    """
    gun, files = _unpack(evidence.payload)
    if gun != evidence.repository:
        raise EvidenceError(INVALID, f"trust data of {excerpt(gun)}, filed under {excerpt(evidence.repository)}")
    verified = _verify(_Repository(files))
    tags = _tags(verified.listings, tag)
    chains = _chains(material, verified)  # 5
    using = {role for _, _, role in tags} | {"targets"}
    expiries = [_expiry(listing.role, listing.signed) for listing in verified.listings if listing.role in using]
    return TrustDataParts(
        kind="signature",
        subjects=tuple(sorted({digest for _, digest, _ in tags})),
        tags=tags,
        signed_repository=_made_out_for(chains),
        algorithm=verified.good[chains[0][0].key_ids[0]] if chains else "",
        chains=tuple(chain for chain, _ in chains),
        expires=min(_expiry("root", verified.root), *expiries),
        fresh_as_of=min(_expiry("timestamp", verified.timestamp), _expiry("snapshot", verified.snapshot)),
        undecided=() if chains else ("authority",),
        annotations=(("role", tags[0][2]), ("tag", tag)) if tag and tags else (),
        versions=verified.versions,
    )


class _Verified(NamedTuple):
    """What every rule was kept by."""

    root: _Root
    timestamp: _Timestamp
    snapshot: _Snapshot
    listings: list[_Listing]
    root_keys: list[TufKey]
    good: dict[str, str]
    """SPKI id -> algorithm of the root keys that signed the root."""

    @property
    def versions(self) -> tuple[tuple[str, int], ...]:
        first = (("root", self.root), ("timestamp", self.timestamp), ("snapshot", self.snapshot))
        listed = ((listing.role, listing.signed) for listing in self.listings)
        return tuple((role, signed.version) for role, signed in (*first, *listed))


def _verify(repository: _Repository) -> _Verified:
    """Steps 1 to 4 of `trustdata_fact_parts`. Only the root is used before its signatures are good: it has the keys."""
    root_file = repository.open("root")
    root = root_file.signed(_Root)
    keys = read_keys("root", root.keys)
    good = repository.signers(root_file, _role(root, "root"), keys, everyone=True)  # 1
    timestamp_file = repository.open("timestamp")
    repository.signers(timestamp_file, _role(root, "timestamp"), keys)  # 2
    timestamp = timestamp_file.signed(_Timestamp)
    snapshot_file = repository.vouched("timestamp", timestamp.meta, "snapshot")
    repository.signers(snapshot_file, _role(root, "snapshot"), keys)
    snapshot = snapshot_file.signed(_Snapshot)
    repository.vouched("snapshot", snapshot.meta, "root")  # 3
    targets_file = repository.vouched("snapshot", snapshot.meta, "targets")
    repository.signers(targets_file, _role(root, "targets"), keys)
    targets = targets_file.signed(_Targets)
    listings = [_Listing("targets", targets, ()), *repository.delegated(targets, snapshot)]  # 4
    root_keys = [keys[name] for name in _role(root, "root").keyids if name in keys]
    return _Verified(root, timestamp, snapshot, listings, root_keys, good)


def listed_digests(payload: bytes) -> frozenset[str] | None:
    """The digests that any role's file lists, verified or not; None for what cannot be read, which is worth a fact.

    For places: trust data is about the whole repository, and concerns an image only when it names it.
    """
    try:
        _, files = _unpack(payload)
        return frozenset(
            _digest(name, tag, target.hashes)
            for name, data in files.items()
            if name.startswith("targets")
            for tag, target in _read(name, data).signed(_Targets).targets.items()
        )
    except EvidenceError:
        return None


def _role(root: _Root, name: str) -> _Role:
    role = root.roles.get(name)
    if role is None:
        raise EvidenceError(INVALID, f"root: has no role {name}")
    return role


def _tags(listings: list[_Listing], tag: str) -> tuple[tuple[str, str, str], ...]:
    if sum(len(listing.signed.targets) for listing in listings) > TAGS:
        raise EvidenceError("limit-exceeded", f"more than {TAGS} tags in one repository")
    found = [(name, digest, listing.role) for listing in listings for name, digest in listing.tags()]
    if not tag:
        return tuple(found)
    order = ["targets/releases", "targets", *(listing.role for listing in listings)]
    about = [entry for entry in found if entry[0] == tag]
    return tuple(sorted(about, key=lambda entry: order.index(entry[2])))[:1]


def _chains(material: Material, verified: _Verified) -> list[tuple[ChainClaim, str]]:
    """(chain, name its certificate is made out for) of each pinned key that signed."""
    by_key = {key.key.key_id: key for key in reversed(verified.root_keys) if key.key.key_id in verified.good}
    found = []
    for authority in material.used_for("tuf"):
        key = by_key.get(authority.key.key_id) if authority.key is not None else None
        if key is not None:
            first, last = key.window
            found.append((ChainClaim(authority.id, first, last, (key.key.key_id,)), key.made_out_for))
    return found


def _made_out_for(chains: Iterable[tuple[ChainClaim, str]]) -> str:
    """The repository of the first certificate, normalised; as written when it is no reference, to equal none."""
    name = next((name for _, name in chains if name), "")
    try:
        return parse_reference(name).repository if name else ""
    except ImageReferenceError:
        return name
