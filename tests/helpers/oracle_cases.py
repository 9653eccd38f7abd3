"""Signed cases for the real tools and for revet: formats x key types x defects, more than three hundred.

    for case in cases(World(now)):
        case.name                   "classic/p256/wrong key"
        case.question               what the verifier is asked: keys, or a root and an identity, or a trust policy
        case.good                   what revet has to answer, by the specifications
        case.parts(image)           what hangs on the image

Names, order and content are the same in every run; times are relative to the world's `now`, since the real tools read
the clock, and RSA keys are new in every process. Everything is made with `cryptography`: no server, no tool.
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.helpers.notation import KEY_TYPES as NOTATION_KEYS
from tests.helpers.notation import MANIFEST, SUBJECT, envelope
from tests.helpers.oracle_world import (
    IDENTITY,
    ISSUER,
    KEY_TYPES,
    OTHER_IDENTITY,
    Case,
    Hang,
    Image,
    Made,
    Part,
    Question,
    Recipe,
    Referrer,
    World,
    b64,
    compact,
    flip,
    key,
    make,
    stamped_bytes,
)
from tests.helpers.pki import DAY, MINUTE, other_name, pem
from verifier.testing import BUNDLE_TYPE
from verifier.times import format_instant

SPDX, SPDX_URI = "spdxjson", "https://spdx.dev/Document"
VULN_URI = "https://cosign.sigstore.dev/attestation/vuln/v1"
ELSEWHERE = "sha256:" + "7" * 64
NOTARY_IDENTITY = "x509.subject: C=US, ST=WA, O=wabbit-networks.io"


Change = Callable[[Made, World, Image], None]


def _leave(made: Made, world: World, image: Image) -> None:
    """Nothing is changed."""


@dataclass(frozen=True)
class Defect:
    """What is wrong, or looks so and is not."""

    good: bool = False
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Members of the recipe that are different."""
    change: Change = _leave
    """What an attacker did afterwards."""
    ask: Mapping[str, Any] = field(default_factory=dict)
    """Members of the question that are different."""
    root: Callable[[dict[str, Any]], None] | None = None
    """A change to the trust root."""
    before: tuple[Recipe, ...] = ()
    """Other signatures that hang there first."""
    twice: bool = False


def built(world: World, name: str, recipe: Recipe, question: Question, defect: Defect) -> Case:
    """The case of a recipe, a question and a defect."""
    used = replace(recipe, **dict(defect.recipe))
    asked = replace(question, **dict(defect.ask))
    if defect.root is not None:
        document = world.root()
        defect.root(document)
        asked = replace(asked, root=document)

    def parts(image: Image) -> list[Part]:
        made = make(world, image, used)
        defect.change(made, world, image)
        first = [make(world, image, other).part() for other in defect.before]
        return [*first, *[made.part()] * (2 if defect.twice else 1)]

    return Case(name, parts, asked, defect.good, windowed=defect.root is not None)


# --------------------------------------------------------------------------------------------------------------- keyed


def _set_payload(made: Made, world: World, image: Image) -> None:
    """The same meaning in other bytes."""
    made.payload = made.payload.replace(b":", b": ", 1)


def _set_signature(made: Made, world: World, image: Image) -> None:
    made.signature = flip(made.signature)


def _unknown_member(made: Made, world: World, image: Image) -> None:
    made.extra = {"comment": "of a later version"}


def _truncated(made: Made, world: World, image: Image) -> None:
    made.signature = made.signature[:-1]


def _wrong_hint(made: Made, world: World, image: Image) -> None:
    made.hint = b64(bytes(32))


def _redirected(made: Made, world: World, image: Image) -> None:
    """A payload about another image, signed, in which this image is put afterwards."""
    made.payload = made.payload.replace(
        ELSEWHERE.removeprefix("sha256:").encode(), image.digest.removeprefix("sha256:").encode()
    )


def _keyed_defects(style: str, key_type: str) -> dict[str, Defect]:
    eve = Recipe(style, "p256", "eve")
    prod = {"annotations": {"env": "prod"}}
    found = {
        "good": Defect(good=True),
        "wrong key": Defect(recipe={"signer": "eve"}),
        "payload tampered": Defect(change=_set_payload),
        "signature tampered": Defect(change=_set_signature),
        "signature cut": Defect(change=_truncated),
        "another image's": Defect(recipe={"digest": ELSEWHERE}),
        "another image's, digest replaced": Defect(recipe={"digest": ELSEWHERE}, change=_redirected),
        "annotation asked for": Defect(good=True, recipe=prod, ask=prod),
        "annotation of another value": Defect(recipe=prod, ask={"annotations": {"env": "dev"}}),
        "annotation missing": Defect(ask=prod),
        "good behind a stranger's": Defect(good=True, before=(eve,)),
        "doubled": Defect(good=True, twice=True),
    }
    if style == "classic":
        found["another repository named"] = Defect(good=True, recipe={"claims": "registry.example.com/elsewhere"})
    else:
        found["hint of nobody"] = Defect(good=True, change=_wrong_hint)
        if key_type == "p256":
            found["unknown member"] = Defect(good=True, change=_unknown_member)
    return found


def keyed(world: World) -> Iterator[Case]:
    """cosign sign --key, both generations."""
    for style in ("classic", "bundle"):
        for key_type in KEY_TYPES:
            question = Question((key("dev", key_type).pem,))
            for name, defect in _keyed_defects(style, key_type).items():
                yield built(world, f"{style}/{key_type}/{name}", Recipe(style, key_type), question, defect)


def attested(world: World) -> Iterator[Case]:
    """cosign attest --key, both generations, asked for by verify-attestation."""
    for style in ("classic", "bundle"):
        for key_type in ("p256", "p384", "rsa2048", "ed25519"):
            recipe = Recipe(style, key_type, predicate=SPDX_URI)
            question = Question((key("dev", key_type).pem,), attestation=SPDX)
            defects = {
                "good": Defect(good=True),
                "wrong key": Defect(recipe={"signer": "eve"}),
                "payload tampered": Defect(change=_set_payload),
                "signature tampered": Defect(change=_set_signature),
                "another image's": Defect(recipe={"digest": ELSEWHERE}),
                "another type": Defect(recipe={"predicate": VULN_URI}),
                "doubled": Defect(good=True, twice=True),
                "good behind another type": Defect(good=True, before=(replace(recipe, predicate=VULN_URI),)),
            }
            for name, defect in defects.items():
                yield built(world, f"attest-{style}/{key_type}/{name}", recipe, question, defect)


def several(world: World) -> Iterator[Case]:
    """1 of n, n of n, both generations beside each other, and statements that are no signatures."""
    pems = {name: key(name).pem for name in ("dev", "ops", "sec")}

    def case(name: str, good: bool, recipes: Sequence[Recipe], asked: str, **more: Any) -> Case:
        question = Question(tuple(pems[who] for who in asked.split()), **more)
        return Case(f"several/{name}", lambda image: [make(world, image, r).part() for r in recipes], question, good)

    for style in ("classic", "bundle"):
        dev, ops, sec = (Recipe(style, signer=who) for who in pems)
        yield case(f"{style} 1 of 3", True, [ops], "dev ops sec")
        yield case(f"{style} 0 of 2", False, [ops], "dev sec")
        yield case(f"{style} 3 of 3", True, [dev, ops, sec], "dev ops sec", every=True)
        yield case(f"{style} 2 of 3", False, [dev, ops], "dev ops sec", every=True)
        yield case(f"{style} 2 of 2 behind a stranger's", True, [sec, dev, ops], "dev ops", every=True)
        yield case(f"{style} one signer twice", False, [dev, dev], "dev ops", every=True)
        sbom = replace(dev, predicate=SPDX_URI)
        yield case(f"{style} attestation only", False, [sbom], "dev")
        yield case(f"{style} attestation beside", True, [sbom, dev], "dev")
        yield case(f"{style} signature asked as attestation", False, [dev], "dev", attestation=SPDX)
    classic, bundled = Recipe("classic"), Recipe("bundle", signer="ops")
    yield case("a stranger's bundle beside a classic signature", True, [classic, bundled], "dev")
    yield case("a stranger's classic signature beside a bundle", True, [classic, bundled], "ops")
    yield case("both generations, both asked", True, [classic, bundled], "dev ops", every=True)
    yield Case("several/message signature", lambda image: [_message(image)], Question((pems["dev"],)), good=True)


def manifest_of(repository: str) -> bytes:
    """The manifest of a case's image: small, and its own."""
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "", "size": len(repository)}
    config["digest"] = "sha256:" + hashlib.sha256(repository.encode()).hexdigest()
    return compact({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []})


def _message(image: Image) -> Part:
    """A bundle over the manifest itself."""
    signer, manifest = key("dev"), manifest_of(image.repository.partition("/")[2])
    digest = {"algorithm": "SHA2_256", "digest": b64(bytes.fromhex(image.digest.removeprefix("sha256:")))}
    message = {"messageDigest": digest, "signature": b64(signer.sign(manifest))}
    material = {"publicKey": {"hint": ""}}
    document = {"mediaType": BUNDLE_TYPE, "verificationMaterial": material, "messageSignature": message}
    return Referrer(BUNDLE_TYPE, compact(document))


# -------------------------------------------------------------------------------------------------------- certificates


def _window(listing: str, start: int | None, end: int | None) -> Callable[[dict[str, Any]], None]:
    def change(root: dict[str, Any]) -> None:
        for entry in root[listing]:
            holder = entry.get("publicKey", entry)
            times = {"start": start, "end": end}
            holder["validFor"] = {name: format_instant(at) for name, at in times.items() if at is not None}

    return change


def _rootless(root: dict[str, Any]) -> None:
    """The document has the anchor alone: intermediates have to come along."""
    chain = root["certificateAuthorities"][0]["certChain"]
    chain["certificates"] = chain["certificates"][-1:]


def _unstamped(made: Made, world: World, image: Image) -> None:
    made.stamps = []


def _stamp_of_another(made: Made, world: World, image: Image) -> None:
    made.stamps = [world.tsa.response(b"another signature", world.signed_at + MINUTE)]


def _rogue_stamp(made: Made, world: World, image: Image) -> None:
    made.stamps = [world.rogue_tsa.response(stamped_bytes(made), world.signed_at + MINUTE)]


def _damaged_stamp(made: Made, world: World, image: Image) -> None:
    """The token brings a CA certificate whose dates are damaged; a token does not sign the certificates it brings."""
    leaf, issuing, root = world.tsa.chain
    broken = issuing.replace(b"\x17\x0d2", b"\x17\x0dx", 1)
    assert broken != issuing
    token = world.tsa.response(stamped_bytes(made), world.signed_at + MINUTE, certificates=(leaf, broken, root))
    made.stamps = [token]


def _leaf_again(made: Made, world: World, image: Image) -> None:
    made.certificates.append(made.certificates[0])


def _chain_root(made: Made, world: World, image: Image) -> None:
    """The self-signed root comes along as well."""
    made.certificates.append(world.anchor.certificate)


def byo_defects(world: World) -> dict[str, Defect]:
    """Of certificates of one's own CA, valid from thirty days ago to thirty days ahead unless said otherwise."""
    ended = {"not_before": world.signed_at - DAY, "not_after": world.signed_at + DAY}
    stamped = {"stamped": True, "leaf": ended}
    coming = {"not_before": world.now + 5 * DAY, "not_after": world.now + 9 * DAY}
    return {
        "good": Defect(good=True),
        "another CA of that name": Defect(recipe={"leaf": {"rogue": True}}),
        "wrong identity": Defect(ask={"identity": OTHER_IDENTITY}),
        "expired": Defect(recipe={"leaf": ended}),
        "expired, stamped in time": Defect(good=True, recipe=stamped, ask={"stamps": True}),
        "expired, stamped in time, not asked for": Defect(good=True, recipe=stamped),
        "expired, stamp of another signature": Defect(recipe=stamped, change=_stamp_of_another, ask={"stamps": True}),
        "expired, stamp by a stranger": Defect(recipe=stamped, change=_rogue_stamp, ask={"stamps": True}),
        "expired, stamp stripped": Defect(recipe=stamped, change=_unstamped, ask={"stamps": True}),
        "expired, stamped too late": Defect(recipe=stamped | {"later": 3 * DAY}, ask={"stamps": True}),
        "still to come": Defect(recipe={"leaf": coming}),
        "leaf for servers": Defect(recipe={"leaf": {"eku": "1.3.6.1.5.5.7.3.1"}}),
        "chain missing": Defect(recipe={"chained": False}, root=_rootless),
        "intermediate comes along": Defect(good=True, root=_rootless),
        "root comes along": Defect(good=True, change=_chain_root),
        "leaf comes along twice": Defect(good=True, change=_leaf_again),
        "payload tampered": Defect(change=_set_payload),
        "another image's": Defect(recipe={"digest": ELSEWHERE}),
    }


def certified(world: World) -> Iterator[Case]:
    """cosign sign --key --certificate --certificate-chain."""
    for style in ("classic", "bundle"):
        question = Question(root=world.root(), identity=IDENTITY)
        for key_type in ("p256", "p384", "p521", "rsa2048", "rsa4096", "ed25519"):
            wanted = byo_defects(world)
            kept = wanted if key_type == "p256" else {n: wanted[n] for n in ("good", "another CA of that name")}
            recipe = Recipe(style, key_type, certified="byo")
            for name, defect in kept.items():
                yield built(world, f"byo-{style}/{key_type}/{name}", recipe, question, defect)


# -------------------------------------------------------------------------------------------------------------- keyless


def _entry_of(mutate: Callable[[dict[str, Any]], None]) -> Change:
    def change(made: Made, world: World, image: Image) -> None:
        assert made.entry is not None
        mutate(made.entry)

    return change


def _strip_entry(made: Made, world: World, image: Image) -> None:
    made.entry = None


def _swapped(**changes: Any) -> Change:
    """The entry of another signature."""

    def change(made: Made, world: World, image: Image) -> None:
        made.entry = make(world, image, replace(made.recipe, **changes)).entry

    return change


def _both_times_another(made: Made, world: World, image: Image) -> None:
    other = make(world, image, replace(made.recipe, digest=ELSEWHERE))
    made.entry, made.stamps = other.entry, other.stamps


def _flip_b64(text: str) -> str:
    return b64(flip(b64decode(text)))


def _promise(written: dict[str, Any]) -> None:
    holder, name = (written, "SignedEntryTimestamp")
    if "inclusionPromise" in written:
        holder, name = written["inclusionPromise"], "signedEntryTimestamp"
    holder[name] = _flip_b64(holder[name])


def _earlier(written: dict[str, Any]) -> None:
    """An hour earlier than the log promised."""
    if "Payload" in written:
        written["Payload"]["integratedTime"] -= 3600
    else:
        written["integratedTime"] = str(int(written["integratedTime"]) - 3600)


def _proof(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def mutate(written: dict[str, Any]) -> None:
        written["inclusionProof"][name] = change(written["inclusionProof"][name])

    return mutate


def _other_body(written: dict[str, Any]) -> None:
    """The body is about another hash than the one that was logged."""
    holder, name = (written["Payload"], "body") if "Payload" in written else (written, "canonicalizedBody")
    body = json.loads(b64decode(holder[name]))
    spec = body["spec"]
    if "hashedRekordV002" in spec:
        spec["hashedRekordV002"]["data"]["digest"] = b64(bytes(32))
    else:
        (spec.get("payloadHash") or spec["data"]["hash"])["value"] = "00" * 32
    holder[name] = b64(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _unsigned_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    head, _, line = checkpoint["envelope"].rpartition(" ")
    return {"envelope": f"{head} {_flip_b64(line.strip())}\n"}


def keyless_defects(world: World, style: str, log: int) -> dict[str, Defect]:
    """Of certificates that lasted ten minutes."""
    at = world.signed_at
    past = (at - 100 * DAY, at - DAY)
    found = {
        "good": Defect(good=True),
        "wrong identity": Defect(ask={"identity": OTHER_IDENTITY}),
        "wrong issuer": Defect(ask={"issuer": "https://idp.evil.example"}),
        "payload tampered": Defect(change=_set_payload),
        "signature tampered": Defect(change=_set_signature),
        "another image's": Defect(recipe={"digest": ELSEWHERE}),
        "another CA of that name": Defect(recipe={"leaf": {"rogue": True}}),
        "without SCT": Defect(recipe={"leaf": {"scts_by": ()}}),
        "SCT of a stranger": Defect(recipe={"leaf": {"scts_by": (world.unknown_ct,)}}),
        "SCT spoiled": Defect(recipe={"leaf": {"spoil_scts": True}}),
        "signed after the certificate": Defect(recipe={"later": 2 * 60 * MINUTE}),
        "signed before the certificate": Defect(recipe={"later": -60 * MINUTE}),
        "issuer in .1 alone": Defect(good=True, recipe={"leaf": {"issuer": ""}}),
        "issuer in .8 alone": Defect(good=True, recipe={"leaf": {"extensions": {}}}),
        "issuers in .1 and .8 differ": Defect(recipe={"leaf": {"extensions": {1: "https://idp.evil.example"}}}),
        "user name as identity": Defect(
            good=True, recipe={"leaf": {"sans": [other_name("build-bot!corp.example")]}},
            ask={"identity": "build-bot!corp.example"},
        ),
        "CA window ended": Defect(root=_window("certificateAuthorities", *past)),
        "CA window to come": Defect(root=_window("certificateAuthorities", at + DAY, None)),
        "CT window ended": Defect(root=_window("ctlogs", *past)),
        "log window ended": Defect(root=_window("tlogs", *past)),
        "log window to come": Defect(root=_window("tlogs", at + DAY, None)),
        "log unknown": Defect(root=lambda root: root.update(tlogs=[])),
        "entry stripped": Defect(change=_strip_entry),
        "entry of another image": Defect(change=_swapped(digest=ELSEWHERE)),
        "entry of another signer": Defect(change=_swapped(signer="eve")),
        "entry and stamp of another image": Defect(change=_both_times_another),
        "entry about another hash": Defect(change=_entry_of(_other_body)),
    }  # fmt: skip
    if log == 1:
        found |= {
            "promise spoiled": Defect(change=_entry_of(_promise)),
            "time changed": Defect(change=_entry_of(_earlier)),
        }
    if style == "bundle":
        found |= _proof_defects(log)
    if log == 2:
        found |= {
            "stamp stripped": Defect(change=_unstamped),
            "stamp of another signature": Defect(change=_stamp_of_another),
            "stamp by a stranger": Defect(change=_rogue_stamp),
            "TSA window ended": Defect(root=_window("timestampAuthorities", *past)),
            "TSA window to come": Defect(root=_window("timestampAuthorities", at + DAY, None)),
        }
    return found


def _proof_defects(log: int) -> dict[str, Defect]:
    other = {"kind": "hashedrekord", "version": "0.0.1"} if log == 2 else {"kind": "intoto", "version": "0.0.2"}
    mutations: dict[str, Callable[[dict[str, Any]], None]] = {
        "proof index changed": _proof("logIndex", lambda index: str(int(index) - 1)),
        "proof root changed": _proof("rootHash", _flip_b64),
        "proof size changed": _proof("treeSize", lambda size: str(int(size) + 1)),
        "proof path changed": _proof("hashes", lambda path: [_flip_b64(path[0]), *path[1:]]),
        "checkpoint spoiled": _proof("checkpoint", _unsigned_checkpoint),
        "proof missing": lambda written: written.update(inclusionProof=None),
        "kind changed": lambda written: written.update(kindVersion=other),
        "log index changed": lambda written: written.update(logIndex=str(int(written["logIndex"]) + 1)),
    }
    return {name: Defect(change=_entry_of(mutate)) for name, mutate in mutations.items()}


def keyless(world: World) -> Iterator[Case]:
    """cosign sign with an identity token; by Rekor v1 as annotation and in bundles, and by Rekor v2."""
    for name, style, log in (
        ("keyless-classic", "classic", 1),
        ("keyless-v1", "bundle", 1),
        ("keyless-v2", "bundle", 2),
    ):
        recipe = Recipe(style, certified="keyless", log=log, stamped=log == 2)
        question = Question(root=world.root(), identity=IDENTITY, issuer=ISSUER, log=True, sct=True, stamps=log == 2)
        for defect_name, defect in keyless_defects(world, style, log).items():
            yield built(world, f"{name}/{defect_name}", recipe, question, defect)
        for key_type in ("p384", "p521", "rsa2048", "rsa4096"):
            for defect_name in ("good", "payload tampered", "entry of another signer"):
                defect = keyless_defects(world, style, log)[defect_name]
                typed = replace(recipe, key_type=key_type)
                yield built(world, f"{name}/{key_type} {defect_name}", typed, question, defect)
        statement = replace(recipe, predicate=SPDX_URI)
        asked = replace(question, attestation=SPDX)
        for defect_name in ("good", "payload tampered", "wrong identity", "entry of another image"):
            defect = keyless_defects(world, style, log)[defect_name]
            yield built(world, f"{name}/attestation {defect_name}", statement, asked, defect)


def stamped(world: World) -> Iterator[Case]:
    """An identity token and a timestamp authority, without any log; both generations."""
    question = Question(root=world.root(), identity=IDENTITY, issuer=ISSUER, sct=True, stamps=True)
    past = (world.signed_at - 100 * DAY, world.signed_at - DAY)
    defects = {
        "good": Defect(good=True),
        "wrong identity": Defect(ask={"identity": OTHER_IDENTITY}),
        "payload tampered": Defect(change=_set_payload),
        "another image's": Defect(recipe={"digest": ELSEWHERE}),
        "stamp stripped": Defect(change=_unstamped),
        "stamp of another signature": Defect(change=_stamp_of_another),
        "stamp by a stranger": Defect(change=_rogue_stamp),
        "stamp with a damaged CA certificate": Defect(good=True, change=_damaged_stamp),
        "stamped after the certificate": Defect(recipe={"later": 2 * 60 * MINUTE}),
        "stamped before the certificate": Defect(recipe={"later": -60 * MINUTE}),
        "TSA window ended": Defect(root=_window("timestampAuthorities", *past)),
        "TSA window to come": Defect(root=_window("timestampAuthorities", world.signed_at + DAY, None)),
        "TSA unknown": Defect(root=lambda root: root.update(timestampAuthorities=[])),
    }
    for style in ("classic", "bundle"):
        recipe = Recipe(style, certified="keyless", stamped=True)
        for name, defect in defects.items():
            yield built(world, f"stamped-{style}/{name}", recipe, question, defect)


# ------------------------------------------------------------------------------------------------------------- notation


def _rewritten(form: str, data: bytes) -> bytes:
    """The last bytes of the signature changed; in COSE they are the last of all."""
    if form == "cose":
        return flip(data)
    parts = json.loads(data)
    text = parts["signature"]
    parts["signature"] = text[:5] + ("B" if text[5] != "B" else "C") + text[6:]
    return compact(parts)


def notation(world: World) -> Iterator[Case]:
    """notation sign, JWS and COSE, every algorithm."""
    now, corp = world.now, world.corp
    times = {"not_before": now - 30 * DAY, "not_after": now + 30 * DAY, "subject": SUBJECT}
    media = {"jws": "application/jose+json", "cose": "application/cose"}

    def hang(form: str, key_type: str, options: Mapping[str, Any]) -> Hang:
        more = dict(options)
        leaf_options, spoil = times | more.pop("leaf", {}), more.pop("spoil", False)
        target, alone = more.pop("target", {}), more.pop("alone", False)

        def parts(image: Image) -> list[Part]:
            leaf = corp.leaf("oracle notation", key_type, **leaf_options)
            about = {"mediaType": MANIFEST, "digest": image.digest, "size": image.size} | target
            rest = {"at": now - 20 * DAY} | more | ({"certificates": [leaf.certificate]} if alone else {})
            data = envelope(leaf, form, payload=compact({"targetArtifact": about}), **rest)
            return [Referrer(media[form], _rewritten(form, data) if spoil else data)]

        return parts

    store, other = pem(corp.certificate), pem(world.anchor.certificate)
    cases: dict[str, tuple[bool, dict[str, Any], dict[str, Any]]] = {
        "good": (True, {}, {}),
        "another store": (False, {}, {"store": other}),
        "identity": (True, {}, {"trusted": (NOTARY_IDENTITY,)}),
        "another identity": (False, {}, {"trusted": ("x509.subject: C=US, ST=WA, O=evil",)}),
        "another image's": (False, {"target": {"digest": ELSEWHERE}}, {}),
        "signature tampered": (False, {"spoil": True}, {}),
        "expired": (False, {"expiry": now - DAY}, {}),
        "certificate expired": (False, {"leaf": {"not_after": now - 5 * DAY}}, {}),
        "certificate to come": (False, {"leaf": {"not_before": now + DAY}}, {}),
        "chain missing": (False, {"alone": True}, {}),
    }
    for form in media:
        for key_type in NOTATION_KEYS:
            for name, (good, options, ask) in cases.items():
                question = replace(Question(store=store), **ask)
                yield Case(f"notation-{form}/{key_type}/{name}", hang(form, key_type, options), question, good)


FAMILIES = (keyed, attested, several, certified, keyless, stamped, notation)


def cases(world: World) -> list[Case]:
    """All of them, in the same order in every run."""
    return [case for family in FAMILIES for case in family(world)]
