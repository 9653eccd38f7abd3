"""Every image of the recording: what it is called, when it is pushed, who signs it and how, and why it is there.

The order is the order of pushing. An image's content is its name, so that its digest is the same in every recording;
signatures differ each time, because ECDSA is randomised and bundles carry a date.
"""

from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["eve", "midday", "afternoon", "after"]
Form = Literal["classic", "bundle", "sbom"]
"""classic: a `.sig` tag, by cosign 2. bundle: a referrer, by cosign 3. sbom: an SPDX attestation, by cosign 3."""

KEYS = {
    "dev": "P-256",
    "sec": "P-256",
    "ops": "P-256",
    "rogue": "P-256",  # nobody trusts it
    "release-2025": "P-256",
    "release-2026": "P-256",  # its successor: a rotation, which is not a revocation
    "build-2026": "P-256",  # to be revoked as compromised
    "p384": "P-384",
    "ed25519": "ED25519",
}


@dataclass(frozen=True)
class Signing:
    key: str
    form: Form
    annotations: tuple[str, ...] = ()
    platform: str = ""
    """Sign the child of that platform instead of what the tag names."""
    dated: bool = True
    """False: its first observation is left out on purpose, so that nothing proves when it came to be."""


@dataclass(frozen=True)
class Image:
    name: str
    reference: str
    """Path and tag below the registry host."""
    phase: Phase
    note: str
    signings: tuple[Signing, ...] = ()
    platforms: tuple[str, ...] = ("linux/amd64",)
    content: str = ""
    """What makes its digest; empty: the reference. Two contents under one reference = a tag that moves."""
    trick: Literal["", "tampered-bundle", "copied-signature"] = ""
    of: str = ""
    """For a copied signature: the name of the image that was signed."""

    @property
    def repository(self) -> str:
        return self.reference.partition(":")[0]

    @property
    def tag(self) -> str:
        return self.reference.partition(":")[2]


def classic(*keys: str, annotations: tuple[str, ...] = ()) -> tuple[Signing, ...]:
    return tuple(Signing(key, "classic", annotations) for key in keys)


def bundle(*keys: str, annotations: tuple[str, ...] = ()) -> tuple[Signing, ...]:
    return tuple(Signing(key, "bundle", annotations) for key in keys)


def sbom(key: str) -> tuple[Signing, ...]:
    return (Signing(key, "sbom"),)


BOTH = ("linux/amd64", "linux/arm64")

IMAGES = (
    # Signed as most images are.
    Image("payments-api-1.4.2", "payments/api:1.4.2", "eve", "one classic signature", classic("dev")),
    Image("payments-migrate", "payments/migrate:7", "eve", "an init container's image", classic("dev")),
    Image("checkout-web-2026.11.3", "checkout/web:2026.11.3", "eve", "one bundle", bundle("dev")),
    Image("platform-busybox", "platform/busybox:1.36", "eve", "a debug container's image", classic("dev")),
    Image("platform-edge-proxy", "platform/edge-proxy:1.8", "eve", "side-loaded on its node", classic("dev")),
    # Several keys.
    Image(
        "payments-ledger",
        "payments/ledger:3.0",
        "eve",
        "one bundle hides the classic signature from cosign 3",
        signings=classic("sec") + bundle("dev"),
    ),
    Image(
        "payments-settle",
        "payments/settle:7.1",
        "eve",
        "three classic signatures: three layers of one digest",
        signings=classic("dev", "sec", "ops"),
    ),
    Image("checkout-pay-gateway", "checkout/pay-gateway:5.0", "eve", "three bundles", bundle("dev", "sec", "ops")),
    # Annotations.
    Image(
        "payments-notify",
        "payments/notify:2.0",
        "eve",
        "classic, annotated env=prod",
        signings=classic("dev", annotations=("env=prod",)),
    ),
    Image(
        "checkout-notify",
        "checkout/notify:2.0",
        "eve",
        "bundle, annotated env=prod",
        signings=bundle("dev", annotations=("env=prod",)),
    ),
    # Not signed, or not by anyone who counts.
    Image("inventory-scraper", "inventory/scraper:0.3", "eve", "unsigned"),
    Image("payments-fx-rates", "payments/fx-rates:1.0", "eve", "unsigned; denied at admission, and yet it runs"),
    Image("data-exporter", "data/exporter:0.9", "eve", "classic, by a key nobody trusts", classic("rogue")),
    Image("checkout-promo", "checkout/promo:1.0", "eve", "bundle, by a key nobody trusts", bundle("rogue")),
    Image(
        "inventory-search", "inventory/search:4.1.0", "eve", "only an SBOM attestation: not a signature", sbom("dev")
    ),
    Image(
        "checkout-wallet",
        "checkout/wallet:1.2",
        "eve",
        "a bundle signature and an SBOM attestation",
        signings=bundle("dev") + sbom("dev"),
    ),
    # Altered after signing.
    Image(
        "checkout-tracker",
        "checkout/tracker:1.0",
        "eve",
        "a real bundle with one byte of its signature changed",
        signings=bundle("dev"),
        trick="tampered-bundle",
    ),
    Image(
        "data-etl-signed", "data/etl:2.4", "eve", "the manifest that was signed", classic("dev"), content="data/etl:2.4"
    ),
    Image("data-etl", "data/etl:2.4", "eve", "another manifest under the signed tag", content="data/etl:2.4 replaced"),
    Image(
        "data-report-signed",
        "data/report:1.1",
        "eve",
        "the manifest that was signed",
        signings=classic("dev"),
        content="data/report:1.1",
    ),
    Image(
        "data-report",
        "data/report:1.1",
        "eve",
        "another manifest, and the signature of the first copied beside it",
        content="data/report:1.1 replaced",
        trick="copied-signature",
        of="data-report-signed",
    ),
    # Several platforms.
    Image(
        "platform-fluent-bit",
        "platform/fluent-bit:3.1",
        "eve",
        "only the index is signed, which covers its children",
        signings=bundle("dev"),
        platforms=BOTH,
    ),
    Image(
        "platform-node-agent",
        "platform/node-agent:2.0",
        "eve",
        "only the amd64 child is signed, which covers no other",
        signings=(Signing("dev", "classic", platform="linux/amd64"),),
        platforms=BOTH,
    ),
    # A tag that moves, in the middle of the day.
    Image("checkout-cart-a", "checkout/cart:stable", "eve", "the first under a tag that moves", bundle("dev")),
    # Rotation.
    Image("payments-fraud-1.0", "payments/fraud:1.0", "eve", "the old release key", classic("release-2025")),
    Image("inventory-stock", "inventory/stock:2.2", "eve", "the old release key", bundle("release-2025")),
    # The key that will be revoked: signatures first seen before the compromise, and one that nothing dates.
    Image(
        "payments-ledger-writer", "payments/ledger-writer:2.0", "eve", "before the compromise", classic("build-2026")
    ),
    Image("data-warehouse", "data/warehouse:5.2", "eve", "before the compromise", bundle("build-2026")),
    Image(
        "data-loader-4.0",
        "data/loader:4.0",
        "eve",
        "time unknown: no first observation on record",
        signings=(Signing("build-2026", "classic", dated=False),),
    ),
    # Keys other than P-256. There is no Ed25519 bundle: cosign 3 fails to verify the one it has just made, and stops.
    Image("platform-p384-classic", "platform/p384:classic", "eve", "P-384, classic", classic("p384")),
    Image("platform-p384-bundle", "platform/p384:bundle", "eve", "P-384, bundle", bundle("p384")),
    Image("platform-ed25519-classic", "platform/ed25519:classic", "eve", "Ed25519, classic", classic("ed25519")),
    # Midday.
    Image("payments-api-1.5.0", "payments/api:1.5.0", "midday", "rolled out over 1.4.2", classic("dev")),
    Image("payments-fraud-1.1", "payments/fraud:1.1", "midday", "the new release key", bundle("release-2026")),
    Image("checkout-web-2026.11.4", "checkout/web:2026.11.4", "midday", "patched into a running pod", bundle("dev")),
    Image(
        "checkout-cart-b",
        "checkout/cart:stable",
        "midday",
        "the second under a tag that moves",
        signings=bundle("dev"),
        content="checkout/cart:stable moved",
    ),
    # Afternoon: the key is in other hands.
    Image("checkout-api-3.3", "checkout/api:3.3", "afternoon", "after the compromise", bundle("build-2026")),
    Image("inventory-sync-1.6", "inventory/sync:1.6", "afternoon", "after the compromise", classic("build-2026")),
    Image("payments-refunds-2.3", "payments/refunds:2.3", "afternoon", "after the compromise", classic("build-2026")),
    Image(
        "checkout-mail",
        "checkout/mail:2.1",
        "afternoon",
        "after the compromise, but another key signed it too",
        signings=bundle("build-2026", "dev"),
    ),
    # After the revocation: what replaces them.
    Image("checkout-api-3.4", "checkout/api:3.4", "after", "replaces 3.3", bundle("release-2026")),
    Image("inventory-sync-1.7", "inventory/sync:1.7", "after", "replaces 1.6", classic("release-2026")),
    Image("payments-refunds-2.4", "payments/refunds:2.4", "after", "replaces 2.3", bundle("release-2026")),
    Image("data-loader-4.1", "data/loader:4.1", "after", "replaces 4.0", classic("release-2026")),
)


@dataclass
class Pushed:
    """An image, or a platform's child of one, as it is in the registry."""

    name: str
    repository: str
    """Path below the registry host."""
    reference: str
    digest: str
    note: str
    signers: list[dict[str, object]] = field(default_factory=list)
