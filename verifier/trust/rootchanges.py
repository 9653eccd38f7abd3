"""Trust roots and revocation lists on their way in: checked, and made into records.

    record = put_root(trust, by, "corp-ca", "certificates", pem)
    record = put_status_list(trust, by, der)

As in `verifier.trust.changes`, a builder changes nothing: what it returns is accepted at the epoch it was made for.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Final

from verifier.errors import InputError, TrustError
from verifier.evidence.material import STORE_PREFIXES, RootFormat
from verifier.evidence.x509 import ca_keys
from verifier.policy.attestors import MAX_ROOT_CHARACTERS
from verifier.trust.anchors import Anchors, document_of, root_name_problem
from verifier.trust.changes import By, record_head
from verifier.trust.records import RootPut, RootRemoved, StatusListPut
from verifier.trust.state import TrustState, read_status_list


def put_root(trust: TrustState, by: By, name: str, format_: RootFormat, content: str) -> RootPut:
    """A trust root under a name, new or replacing the one there. Notary Project stores are named `ca:NAME` and so on.

    Raises:
        TrustError: the name breaks the grammar, or does not fit the format; the content is too long, holds a private
            key, or is not what the format demands; it is there already.
    """
    problem = root_name_problem(name, format_)
    if problem:
        raise TrustError(f"trust root name {name[:80]}: {problem}")
    if "PRIVATE KEY" in content:
        raise TrustError(f"trust root {name}: this holds a private key; revet never needs one. Treat it as leaked")
    if len(content) > MAX_ROOT_CHARACTERS:
        raise TrustError(f"trust root {name}: {len(content)} characters, limit {MAX_ROOT_CHARACTERS}")
    try:
        document_of(format_, content)
    except InputError as error:
        raise TrustError(f"trust root {name}: {error}") from error
    old = trust.anchors.roots.get(name)
    if old is not None and (old.format, old.content) == (format_, content):
        raise TrustError(f"trust root {name} already is so; nothing to do")
    return RootPut(name=name, format=format_, content=content, **record_head(trust, by))


def remove_root(trust: TrustState, by: By, name: str) -> RootRemoved:
    """Take a trust root away; what rests on it alone is no longer authorised.

    Raises:
        TrustError: no such root.
    """
    if name not in trust.anchors.roots:
        known = ", ".join(sorted(trust.anchors.roots)) or "none"
        raise TrustError(f"no trust root is named {name}; known names: {known}")
    return RootRemoved(name=name, **record_head(trust, by))


def put_status_list(trust: TrustState, by: By, data: bytes) -> StatusListPut:
    """A certificate revocation list (DER) of a CA in the trust roots; whose it is, its signature tells.

    Raises:
        TrustError: no CA in trust signed it, it is malformed, or no newer than the one on record.
    """
    content = b64encode(data).decode()
    first: InputError | None = None
    for issuer in dict.fromkeys(_issuers(trust.anchors)):
        record = StatusListPut(issuer=issuer, content=content, **record_head(trust, by))
        try:
            found = read_status_list(record, trust.anchors)
        except InputError as error:
            first = first or error
            continue
        if trust.anchors.newer_list(found) is not None:
            raise TrustError("a revocation list at least as new is already on record; nothing to do")
        return record
    raise TrustError(f"no CA in the trust roots issued this revocation list ({first or 'there are no roots'})")


def _issuers(anchors: Anchors) -> list[str]:
    return [key for authority in anchors.material.authorities.values() for key in ca_keys(authority)]


def format_of(name: str, content: str) -> RootFormat:
    """What a root is written in: by the type of store in its name, else by its content.

    Raises:
        TrustError: neither tells.
    """
    store = next((written for written, prefix in STORE_PREFIXES.items() if name.startswith(f"{prefix}:")), None)
    if store is not None:
        return store
    for marker, written in _MARKERS:
        if marker in content:
            return written
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and "trustedroot" in str(document.get("mediaType", "")):
        return "sigstore-trusted-root"
    raise TrustError(f"trust root {name[:300]}: what it is written in cannot be told; give its format")


_MARKERS: Final[tuple[tuple[str, RootFormat], ...]] = (
    ("-----BEGIN PGP PUBLIC KEY BLOCK", "openpgp"),
    ("-----BEGIN CERTIFICATE", "certificates"),
    ("-----BEGIN PUBLIC KEY", "tuf-root-keys"),
)
