"""An OCI layout whose images are signed in every way there is, really signed, under a private world of authorities.

    shop = SignedShop(tmp_path)
    shop.reference("early")                     registry.example.com/early@sha256:…
    shop.evidence                               oci-layout:…,lookaside:…,trust-data:…
    shop.root_json(), shop.corp_pem, …          what the evidence is believed by

Built on oracle_world.py; images are there since ever, signatures are dated `EARLY` and `LATE`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from streams.events import FeedSeen, NamespaceObserved
from streams.local.node import LocalNode, NodeSettings
from streams.local.sqlite import note_clock, open_reading
from tests.helpers import openpgp
from tests.helpers.notation import MANIFEST, envelope
from tests.helpers.oracle_tools import image_of, publish
from tests.helpers.oracle_world import (
    IDENTITY,
    ISSUER,
    Case,
    Image,
    Made,
    Part,
    Question,
    Recipe,
    Referrer,
    Shown,
    World,
    entry_of,
    key,
    make,
    message_of,
    sign_with,
)
from tests.helpers.pki import MINUTE, make_key, pem, spki
from tests.helpers.trustdata import TrustData
from tests.helpers.world import World as Cluster
from verifier.adapters.ocilayout import OciLayoutPlace
from verifier.testing import statement
from verifier.times import DAY, parse_instant

NOW = parse_instant("2026-11-18T12:00:00Z")
EARLY, LATE = NOW - 10 * DAY, NOW - 2 * DAY
"""Keyless certificates are valid from then for ten minutes; the log has them a minute later."""
BETWEEN = "2026-11-12T00:00:00Z"

OTHER = "release@corp.example"
BUILDER = "https://ci.example/builders/go@v2"
COMMIT = "c0ffee" + "0" * 34
PROVENANCE = "https://slsa.dev/provenance/v1"
SUBJECT = "CN=build,O=wabbit-networks.io,ST=WA,C=US"
NOTARY_IDENTITY = "x509.subject: C=US, ST=WA, O=wabbit-networks.io"

CERTIFIED = {1: ISSUER, 9: BUILDER, 13: COMMIT}
"""Fulcio's extensions of every keyless certificate here."""

_Signs = Callable[["SignedShop", Image], Sequence[Part]]


class SignedShop:
    """The layout, what lies beside it, and what has to be in trust for it."""

    def __init__(self, folder: Path, names: Sequence[str] = ()) -> None:
        self.folder = folder
        self.world = World(NOW)
        wanted = names or tuple(IMAGES)
        self.cases = {name: Case(name, self._signing(IMAGES[name]), Question(), good=True) for name in wanted}
        publish(self.cases.values(), folder / "oci")
        self.images = {name: image_of(case) for name, case in self.cases.items()}
        self.pgp = openpgp.Key()
        self.trust_data = TrustData("registry.example.com/docker")
        self._beside()

    def _signing(self, signs: _Signs) -> Callable[[Image], Sequence[Part]]:
        return lambda image: signs(self, image)

    def _beside(self) -> None:
        """An OpenPGP signature in a lookaside, and stored trust data."""
        self.lookaside, self.tuf = self.folder / "lookaside", self.folder / "tuf"
        for place in (self.lookaside, self.tuf):
            place.mkdir(parents=True)
        if "redhat" in self.images:
            image = self.images["redhat"]
            named = self.lookaside / f"{image.repository.partition('/')[2]}@{image.digest.replace(':', '=')}"
            named.mkdir()
            critical = {"identity": {"docker-reference": image.repository}}
            signed = openpgp.message(
                self.pgp, openpgp.document(critical, digest=image.digest), at=EARLY // 1_000_000 + 60
            )
            (named / "signature-1").write_bytes(signed)
        if "docker" in self.images:
            image = self.images["docker"]
            self.trust_data.tag("3.20", image.digest)
            metadata = self.tuf / image.repository / "metadata"
            metadata.mkdir(parents=True)
            for name, data in self.trust_data.files().items():
                (metadata / name).write_bytes(data)

    # ------------------------------------------------------------------ what is asked for

    @property
    def evidence(self) -> str:
        """Every place, as `--evidence` takes it."""
        return f"oci-layout:{self.folder / 'oci'},lookaside:{self.lookaside},trust-data:{self.tuf}"

    @property
    def place(self) -> OciLayoutPlace:
        return OciLayoutPlace(self.folder / "oci")

    def reference(self, name: str) -> str:
        image = self.images[name]
        return f"{image.repository}@{image.digest}"

    def pod_image(self, name: str) -> tuple[str, str]:
        """As `World.pod` takes it."""
        return self.reference(name), self.images[name].digest

    # ------------------------------------------------------------------ what it is believed by

    def root_json(self) -> str:
        return json.dumps(self.world.root())

    @property
    def ca_pem(self) -> str:
        """The CA of the certificates, as PEM: for `byo`, and for `early` and the like without their logs."""
        return pem(*self.world.issuing.chain)

    @property
    def corp_pem(self) -> str:
        """Anchor of the Notary Project signatures."""
        return pem(self.world.corp.certificate)

    @property
    def ring(self) -> str:
        return openpgp.armored(openpgp.primary(self.pgp))

    @property
    def pinned(self) -> str:
        """Root key of the stored trust data."""
        return self.trust_data.root.keys[0].pem

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def trust_files(self) -> list[Path]:
        """Everything as people keep it, in files of its own."""
        pinned = {"format": "tuf-root-keys", "content": self.pinned}
        document = {"apiVersion": "revet/v1", "kind": "TrustRoot", "metadata": {"name": "docker"}, "spec": pinned}
        return [
            self.write("trust/private.json", self.root_json()),
            self.write("trust/x509/ca/corp/anchor.pem", self.corp_pem),
            self.write("trust/distro.asc", self.ring),
            self.write("trust/docker.yaml", json.dumps(document)),
            self.write("trust/dev.pub", key().pem),
        ]

    # ------------------------------------------------------------------ signing

    def keyless(self, image: Image, at: int, *, log: int = 1, stamped: bool = False, **leaf: object) -> Made:
        """A bundle by a certificate for an identity."""
        self.world.signed_at = at
        recipe = Recipe("bundle", certified="keyless", log=log, stamped=stamped, leaf={"extensions": CERTIFIED} | leaf)
        return make(self.world, image, recipe)

    def provenance(self, image: Image, at: int, builder: str = BUILDER, commit: str = COMMIT) -> Part:
        """A SLSA provenance, signed by the same identity."""
        self.world.signed_at = at
        recipe = Recipe("bundle", certified="keyless", log=1, predicate=PROVENANCE, leaf={"extensions": CERTIFIED})
        made = make(self.world, image, recipe)
        subject = {"name": image.repository, "digest": {"sha256": image.digest.removeprefix("sha256:")}}
        source = {"uri": "git+https://git.example/shop@refs/heads/main", "digest": {"gitCommit": commit}}
        predicate = {
            "buildDefinition": {
                "buildType": "https://ci.example/build@v1",
                "externalParameters": {},
                "resolvedDependencies": [source],
            },
            "runDetails": {"builder": {"id": builder}},
        }
        made.payload = statement([subject], PROVENANCE, predicate)
        private = make_key("leaf oracle dev")
        made.signature = sign_with(private, message_of(made), "p256")
        made.entry = entry_of(self.world, made, Shown(True, made.certificates[0], spki(private)))
        return made.part()

    def notary(self, image: Image) -> Part:
        leaf = self.world.corp.leaf("oracle notation", not_before=EARLY, not_after=NOW + 30 * DAY, subject=SUBJECT)
        about = {"mediaType": MANIFEST, "digest": image.digest, "size": image.size}
        payload = json.dumps({"targetArtifact": about}).encode()
        return Referrer("application/jose+json", envelope(leaf, "jws", payload=payload, at=EARLY + MINUTE))

    def byo(self, image: Image) -> Part:
        self.world.signed_at = EARLY
        return make(self.world, image, Recipe("classic", certified="byo", stamped=True)).part()


IMAGES: dict[str, _Signs] = {
    "early": lambda shop, image: [shop.keyless(image, EARLY).part()],
    "late": lambda shop, image: [shop.keyless(image, LATE).part()],
    "tiles": lambda shop, image: [shop.keyless(image, EARLY, log=2, stamped=True).part()],
    "other": lambda shop, image: [shop.keyless(image, LATE, sans=[OTHER]).part()],
    "unlogged": lambda shop, image: [shop.keyless(image, LATE, log=0).part()],
    "attested": lambda shop, image: [shop.keyless(image, EARLY).part(), shop.provenance(image, EARLY)],
    "byo": lambda shop, image: [shop.byo(image)],
    "notary": lambda shop, image: [shop.notary(image)],
    "keyed": lambda shop, image: [make(shop.world, image, Recipe("classic")).part()],
    "redhat": lambda _shop, _image: [],
    "docker": lambda _shop, _image: [],
    "bare": lambda _shop, _image: [],
}
"""Image -> what hangs on it."""


# ---------------------------------------------------------------------------------------------------------- recorded


def policy(
    name: str = "built",
    images: Sequence[str] = ("**",),
    *,
    attestor: Mapping[str, object] | None = None,
    builder: str = "",
    mode: str = "audit",
) -> str:
    """A policy document: signed (and, with `builder`, also attested) by one of two keyless identities."""
    who = attestor or {
        "keyless": {"identities": [{"issuer": ISSUER, "subject": s} for s in (IDENTITY, OTHER)], "roots": ["private"]}
    }
    require: dict[str, object] = {"signedBy": "ci"}
    if builder:
        stated = {"attestedBy": "ci", "predicateType": PROVENANCE, "rule": {"slsa": {"builders": [builder]}}}
        require = {"all": [require, stated]}
    spec = {"mode": mode, "match": [{"images": list(images)}], "attestors": {"ci": who}, "require": require}
    return json.dumps({"apiVersion": "revet/v1", "kind": "Policy", "metadata": {"name": name}, "spec": spec})


def root_document(name: str, format_: str, **spec: str) -> str:
    """A document of the kind TrustRoot."""
    head = {"apiVersion": "revet/v1", "kind": "TrustRoot", "metadata": {"name": name}}
    return json.dumps({**head, "spec": {"format": format_, **spec}})


def pods(shop: SignedShop, names: Iterable[str], world: Cluster, namespace: str = "pay") -> list[object]:
    """One workload per image."""
    seen = NamespaceObserved(f"ns {namespace}", world.now, world.cluster, namespace, (("team", namespace),))
    return [seen, *(world.pod(namespace, f"{name}-1", {"app": shop.pod_image(name)}) for name in names)]


def record(shop: SignedShop, state: Path, names: Iterable[str]) -> None:
    """Let these images run in a state file, and judge them under the trust that is there."""
    world = Cluster(keys=())
    world.now = NOW + MINUTE
    node = LocalNode.open(state, NodeSettings(place=shop.place, replay=True))
    note_clock(node.connection, recorded=True)
    node.ingest(pods(shop, names, world))
    asyncio.run(node.drain())
    node.ingest([FeedSeen("feed", world.now + MINUTE, world.cluster, "pods", world.now)])
    asyncio.run(node.drain())
    node.close()


def outcomes(state: Path) -> dict[str, str]:
    """image -> verdict, as the record of a state file says it now."""
    with open_reading(state) as connection:
        rows = connection.execute("SELECT body FROM record WHERE home = 'revet-state-containers'").fetchall()
    found = (json.loads(body) for (body,) in rows)
    names = ((b["container.image.name"].rpartition("@")[0] or b["container.image.name"], b) for b in found)
    return {name.rsplit("/", 1)[-1].partition(":")[0]: b["provenance.verdict"] for name, b in names}


__all__ = ["BUILDER", "COMMIT", "EARLY", "IDENTITY", "ISSUER", "LATE", "NOW", "OTHER", "SignedShop"]
