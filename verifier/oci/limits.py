"""Guard rails of the registry protocol: every limit has a name, a unit and the reason for its size.

A registry is read by people who may push to it, and answered by whoever sits in between. Sizes are checked before bytes
are read, counts before loops. What is over a limit is named (`limit-exceeded`), never cut in silence: the place that
was asked then counts as "could not tell", never as "nothing there".
"""

from __future__ import annotations

from typing import Final

import msgspec

from verifier.evidence.limits import ENVELOPE_BYTES, LAYERS, MIB, SIMPLE_SIGNING_BYTES

MANIFEST_BYTES: Final = 4 * MIB
"""Bytes of a manifest, index or referrers page. The distribution specification asks registries to take at least 4 MiB;
nothing larger can be relied upon to exist."""

MANIFEST_DEPTH: Final = 16
"""Nested arrays and objects of a manifest. Descriptors with platform and annotations nest 5 deep."""

INDEX_CHILDREN: Final = 1024
"""Children of one index. The largest official multi-platform images have some 30, with attestations 60."""

REFERRERS: Final = 256
"""Referrers of one digest that are opened. Each is a fetch; a nightly scan attestation makes 365 a year, which is then
said rather than followed."""

REFERRER_PAGES: Final = 16
"""Pages of one referrers listing. Registries answer 100 to 1000 a page."""

KNOWN_INDEXES: Final = 16
"""Indexes asked about for one platform manifest: those its tags named in the past and the one now."""

KNOWN_NAMES: Final = 16
"""Tags and pinned indexes asked about for one digest. A release has three or four tags (1, 1.2, 1.2.3, latest); of more
the newest are asked."""

TOTAL_BYTES: Final = 64 * MIB
"""Bytes read for one digest in all. It is held in memory until it is stored; 64 attested SBOMs of a megabyte fit."""

REDIRECTS: Final = 5
"""Redirects followed for one request. Blob stores use one, some clouds two."""

TAGS_BYTES: Final = 16 * MIB
"""Bytes of one answer with tags. A page of a thousand has 130 KiB; a registry that does not know pages may answer with
all it has, and 16 MiB are a hundred thousand tags."""

CHALLENGE_BYTES: Final = 8192
"""Bytes of one WWW-Authenticate value: a realm, a service and a scope are some 200."""

TOKEN_BYTES: Final = 64 * 1024
"""Bytes of a token answer and of a token. Tokens with many access rights reach 10 KiB."""

ERROR_BYTES: Final = 64 * 1024
"""Bytes of an error answer that are read. Only its error code is used."""

DOCKER_CONFIG_BYTES: Final = MIB
"""Bytes of a Docker configuration file."""

RETRY_AFTER_SECONDS: Final = 6 * 3600
"""Longest wait a registry can ask for. Docker Hub's window is six hours; more would be a way to silence an audit."""


class Limits(msgspec.Struct, frozen=True):
    """The limits a deployment may change; the others are properties of the protocol."""

    manifest: int = MANIFEST_BYTES
    simple_signing: int = SIMPLE_SIGNING_BYTES
    """Bytes of one simple-signing payload."""
    envelope: int = ENVELOPE_BYTES
    """Bytes of one DSSE envelope or bundle."""
    layers: int = LAYERS
    """Layers of one manifest that are read as evidence."""
    referrers: int = REFERRERS
    total: int = TOTAL_BYTES
