"""`revet evidence show`: what there is of every family, who made it, by what time, and what could not be decided."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from unittest import mock

import msgspec
import pytest

from streams.cli.evidence import show_evidence
from streams.cli.sources import TrustFiles, evidence_source, read_trust, with_public_good
from streams.local.shown import shown
from streams.settings import load_settings
from tests.helpers import signedshop
from tests.helpers.command import Ran, revet
from tests.helpers.oracle_cases import ELSEWHERE
from tests.helpers.oracle_tools import evidence_of, image_of, publish
from tests.helpers.oracle_world import Case, Question, Recipe, flip, make
from tests.helpers.pki import other_name
from tests.helpers.signedshop import BUILDER, COMMIT, EARLY, IDENTITY, ISSUER, LATE, NOW, OTHER, SUBJECT, SignedShop
from verifier.errors import InputError
from verifier.facts.derive import derive_facts
from verifier.models import DigestClosure
from verifier.policy.attestors import PUBLIC_GOOD
from verifier.testing import statement
from verifier.times import DAY, format_instant
from verifier.trust.changes import By

BY = By("test", NOW)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    made = SignedShop(tmp_path_factory.mktemp("shop"))
    made.trust_files()
    return made


def run(shop: SignedShop, name: str, *options: object) -> Ran:
    with mock.patch("streams.cli.evidence.now", return_value=NOW):
        return revet("evidence", "show", shop.reference(name), "--evidence", shop.evidence, *options)


def pieces(shop: SignedShop, name: str, *options: object) -> list[dict]:
    ran = run(shop, name, "-o", "json", *(options or ("--trust", shop.folder / "trust")))
    assert ran.code == 0, ran.err
    return ran.json["evidence"]


def only(shop: SignedShop, name: str, *options: object) -> dict:
    (piece,) = pieces(shop, name, *options)
    return piece


def parts(piece: dict) -> dict[str, list[str]]:
    """part -> what was found of it."""
    found: dict[str, list[str]] = {}
    for part in piece["parts"]:
        found.setdefault(part["part"], []).append(part["found"])
    return found


def text_of(piece: dict, name: str) -> str:
    return "\n".join(part["text"] for part in piece["parts"] if part["part"] == name)


YES = ["yes"]
KEYLESS = {"signature": YES, "chain": YES, "sct": YES, "log": YES, "subject": YES, "origin": YES}
FAMILIES = {
    "early": ("sigstore-bundle", "keyless", IDENTITY, "private", "set", KEYLESS),
    "other": ("sigstore-bundle", "keyless", OTHER, "private", "set", KEYLESS),
    "tiles": ("sigstore-bundle", "keyless", IDENTITY, "private", "tsa", KEYLESS | {"timestamp": YES}),
    "byo": (
        *("cosign-simplesigning", "certificate", IDENTITY, "private", "tsa"),
        {"signature": YES, "chain": YES, "timestamp": YES, "subject": YES},
    ),
    "notary": ("notation-jws", "notation", SUBJECT, "ca:corp", "", {"signature": YES, "chain": YES, "subject": YES}),
    "redhat": (
        *("openpgp-simplesigning", "openpgp", "Build <build@example.com>", "distro", ""),
        {"signature": YES, "chain": YES, "subject": YES},
    ),
    "docker": (
        *("tuf-trust-data", "trust-data", "role targets", "docker", ""),
        {"signature": YES, "chain": YES, "roles": YES, "subject": YES},
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_says_who_under_which_root_and_which_parts_hold(shop, name):
    format_, kind, who, root, source, wanted = FAMILIES[name]
    piece = only(shop, name)
    (signer,) = piece["signers"]
    assert (piece["format"], signer["kind"], signer["roots"], signer["state"]) == (format_, kind, [root], "trusted")
    assert signer["name"].startswith(who)
    assert signer["verified"]
    assert parts(piece) == wanted
    assert (signer["proven"] or {"source": ""})["source"] == source
    assert piece["proven"] == signer["proven"]
    assert (piece["undecided"], piece["problem"]) == ([], "")


def test_a_key_is_named_and_proves_no_time(shop):
    piece = only(shop, "keyed")
    (signer,) = piece["signers"]
    assert (signer["kind"], signer["name"], signer["key_id"]) == ("key", "dev", piece["verified_by"][0]["key_id"])
    assert (piece["proven"], piece["certificate"]) == (None, None)
    assert parts(piece) == {"signature": YES, "subject": YES}


def test_a_keyless_signature_is_told_in_full(shop):
    piece = only(shop, "early")
    (signer,) = piece["signers"]
    assert (signer["issuer"], signer["names"], signer["subject"]) == (ISSUER, [IDENTITY], "")
    assert signer["authority_name"] == "https://ca.example"
    assert signer["proven"]["time"] == "2026-11-08T12:01:00Z"
    assert signer["proven"]["who"].startswith("rekor.example (")
    (entry,) = piece["logs"]
    assert f"entry {entry['index']} of rekor.example" in text_of(piece, "log")
    assert "included and promised" in text_of(piece, "log")
    assert "ct.example (" in text_of(piece, "sct")
    assert "in root private, valid 2026-11-08T12:00:00Z to 2026-11-08T12:10:00Z" in text_of(piece, "chain")
    assert f"built by {BUILDER}; at commit {COMMIT}" in text_of(piece, "origin")
    assert dict(piece["certificate"]["extensions"])["sourceRepositoryDigest"] == COMMIT


def test_of_a_log_without_times_the_timestamp_says_when(shop):
    """Rekor v2: the entry has no time of its own; the token's time is an upper bound."""
    piece = only(shop, "tiles")
    assert text_of(piece, "log").endswith("hashedrekord/0.0.2: included")
    assert piece["proven"] == {"time": "2026-11-08T12:01:01Z", "source": "tsa", "who": "https://tsa.example"}
    assert "2026-11-08T12:01:01Z (to within 1 s) by https://tsa.example" in text_of(piece, "timestamp")


def test_an_attestation_says_builder_and_commits(shop):
    found = {piece["kind"]: piece for piece in pieces(shop, "attested")}
    signature, attestation = found["signature"], found["attestation"]
    assert (attestation["builder"], attestation["commits"]) == (BUILDER, [COMMIT])
    assert text_of(attestation, "content") == f"{signedshop.PROVENANCE}; builder {BUILDER}; commit {COMMIT[:12]}"
    assert "content" not in parts(signature)


RULED = """\
apiVersion: revet/v1
kind: Policy
metadata: {name: built}
spec:
  match: [{images: ["**"]}]
  attestors:
    ci: {keyless: {identities: [{issuer: "https://idp.example", subject: dev@corp.example}], roots: [private]}}
  require: {attestedBy: ci, predicateType: "https://slsa.dev/provenance/v1", rule: {slsa: {builders: [%s]}}}
"""


@pytest.mark.parametrize(("builder", "found"), [(BUILDER, "yes"), ("https://elsewhere.example/b", "no")])
def test_content_rules_of_policies_given_are_evaluated(shop, tmp_path, builder, found):
    (tmp_path / "p.yaml").write_text(RULED % builder)
    given = ("--trust", shop.folder / "trust", "--trust", tmp_path / "p.yaml")
    (attestation,) = (piece for piece in pieces(shop, "attested", *given) if piece["kind"] == "attestation")
    assert parts(attestation)["content"] == [found]
    assert f"meets {int(found == 'yes')} of 1 content rules" in text_of(attestation, "content")


def test_an_image_without_anything(shop):
    assert pieces(shop, "bare") == []
    assert "att-tag" in run(shop, "bare").out


# -------------------------------------------------------------------------------------------- what nothing vouches for


@pytest.mark.parametrize(
    ("name", "undecided"),
    [("early", "authority"), ("byo", "authority"), ("notary", "authority"), ("redhat", "authority"), ("docker", "")],
)
def test_without_its_root_a_name_is_marked_as_unproven(shop, name, undecided):
    """A certificate of anybody may say `dev@corp.example`."""
    piece = only(shop, name, "--key", shop.folder / "trust" / "dev.pub")
    assert [s for s in piece["signers"] if s["verified"]] == []
    assert undecided in (*piece["undecided"], "")
    assert piece["proven"] is None
    if piece["certificate"]:
        assert parts(piece)["chain"] == ["unknown"]
        assert "(not verified)" in run(shop, name).out
    else:
        assert "no key given" in run(shop, name).out


def changed_root(shop: SignedShop, change) -> str:
    root = copy.deepcopy(shop.world.root())
    change(root)
    return json.dumps(root)


def test_logs_that_are_not_known_are_undecided_and_named(shop):
    root = changed_root(shop, lambda root: root.update(tlogs=[], ctlogs=[]))
    piece = only(shop, "early", "--trust", shop.write("loglessroot.json", root))
    log, ct = shop.world.logs[1].id, shop.world.ct.id
    assert set(piece["undecided"]) == {f"log:{log}", f"ct:{ct}"}
    assert (parts(piece)["log"], parts(piece)["sct"], parts(piece)["chain"]) == (["unknown"], ["unknown"], YES)
    assert log[:12] in text_of(piece, "log")
    assert piece["signers"][0]["state"] == "outside-window"
    assert piece["proven"] is None


def test_the_ca_alone_vouches_for_the_name_and_for_no_time(shop):
    piece = only(shop, "early", "--trust", shop.write("Private CA.pem", shop.ca_pem))
    (signer,) = piece["signers"]
    assert (signer["roots"], signer["verified"], signer["state"]) == (["private-ca"], True, "outside-window")
    assert (
        "nothing that is accepted proves when it was made"
        in run(shop, "early", "--trust", shop.folder / "Private CA.pem").out
    )


ENDED = {"start": "2025-11-01T00:00:00Z", "end": format_instant(EARLY - DAY)}


@pytest.mark.parametrize(
    ("listing", "part", "state"),
    [
        ("tlogs", "log", "outside-window"),
        ("ctlogs", "sct", "trusted"),
        ("certificateAuthorities", "chain", "outside-window"),
    ],
)
def test_windows_of_the_root_are_told(shop, listing, part, state):
    """A log, CT log or CA whose window ended before the signature: seen, and not accepted."""

    def end(root):
        for entry in root[listing]:
            entry.get("publicKey", entry)["validFor"] = ENDED

    piece = only(shop, "early", "--trust", shop.write(f"ended-{listing}.json", changed_root(shop, end)))
    assert piece["signers"][0]["state"] == state
    if part != "chain":
        assert parts(piece)[part] == ["no"]
        assert "not accepted now" in text_of(piece, part)


def test_a_timestamp_by_an_unknown_authority_is_undecided(shop):
    root = changed_root(shop, lambda root: root.update(timestampAuthorities=[]))
    piece = only(shop, "tiles", "--trust", shop.write("stampless.json", root))
    assert piece["undecided"] == ["timestamp"]
    assert parts(piece)["timestamp"] == ["unknown"]


def test_a_timestamp_authority_whose_window_ended_proves_nothing(shop):
    def end(root):
        root["timestampAuthorities"][0]["validFor"] = ENDED

    piece = only(shop, "tiles", "--trust", shop.write("ended-tsa.json", changed_root(shop, end)))
    assert parts(piece)["timestamp"] == ["no"]
    assert "not accepted now" in text_of(piece, "timestamp")
    assert (piece["proven"], piece["signers"][0]["state"]) == (None, "outside-window")


def test_the_public_root_is_known_without_being_given():
    trust = with_public_good(read_trust(TrustFiles(), BY), BY)
    assert set(trust.anchors.roots) == {PUBLIC_GOOD}
    assert with_public_good(trust, BY) is trust


# -------------------------------------------------------------------------------------------------------------- attacks


def attacked(shop: SignedShop, tmp_path, recipe: Recipe, change=lambda _made, _image: None):
    """One image with one signature that was changed afterwards."""

    def sign(image):
        shop.world.signed_at = EARLY
        made = make(shop.world, image, recipe)
        change(made, image)
        return [made.part()]

    case = Case("attacked", sign, Question(), good=False)
    publish([case], tmp_path / "oci")
    reference = f"registry.example.com/attacked@{image_of(case).digest}"
    return reference, ("evidence", "show", reference, "--evidence", f"oci-layout:{tmp_path / 'oci'}")


def _flipped(made, _image):
    made.signature = flip(made.signature)


def _other_payload(made, image):
    made.payload = statement([{"digest": {"sha256": "7" * 64}}], "https://sigstore.dev/cosign/sign/v1", {})


KEYLESS_RECIPE = Recipe("bundle", certified="keyless", log=1)
ATTACKS = {
    "a flipped signature": (KEYLESS_RECIPE, _flipped, "signature-mismatch"),
    "another payload": (KEYLESS_RECIPE, _other_payload, "signature-mismatch"),
    "spoiled SCTs": (replace(KEYLESS_RECIPE, leaf={"spoil_scts": True}), lambda _m, _i: None, "sct-"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_broken_says_how_and_proves_nothing(shop, tmp_path, attack):
    recipe, change, problem = ATTACKS[attack]
    _, words = attacked(shop, tmp_path, recipe, change)
    ran = revet(*words, "--trust", shop.folder / "trust", "-o", "json")
    (piece,) = ran.json["evidence"]
    assert piece["problem"].startswith(problem)
    assert piece["detail"]
    assert parts(piece)["signature"] == ["no"]
    assert not any(s["verified"] and s["state"] == "trusted" for s in piece["signers"])
    assert piece["proven"] is None


def test_a_signature_that_was_copied_names_another_image(shop, tmp_path):
    _, words = attacked(shop, tmp_path, replace(KEYLESS_RECIPE, digest=ELSEWHERE))
    (piece,) = revet(*words, "--trust", shop.folder / "trust", "-o", "json").json["evidence"]
    assert (piece["reaches"], parts(piece)["subject"]) == (None, ["no"])
    assert piece["signers"][0]["state"] == "subject-mismatch"
    assert "(another image)" in revet(*words, "--trust", shop.folder / "trust").out


def test_another_ca_of_the_same_name_proves_nobody(shop, tmp_path):
    _, words = attacked(shop, tmp_path, replace(KEYLESS_RECIPE, leaf={"rogue": True}))
    (piece,) = revet(*words, "--trust", shop.folder / "trust", "-o", "json").json["evidence"]
    assert [signer["verified"] for signer in piece["signers"]] == [False]
    assert "(not verified)" in revet(*words, "--trust", shop.folder / "trust").out


HOSTILE = "x\x1b[2J\u202e\n1. keyless root@corp.example: trusted"


def test_a_name_in_a_certificate_never_reaches_the_terminal_raw(shop, tmp_path):
    _, words = attacked(shop, tmp_path, replace(KEYLESS_RECIPE, leaf={"sans": [other_name(HOSTILE)]}))
    for options in ((), ("--trust", shop.folder / "trust"), ("-o", "json")):
        ran = revet(*words, *options)
        assert ran.code == 0, ran.err
        assert not any(raw in ran.out + ran.err for raw in ("\x1b", "\u202e", "\n1. keyless root"))


# -------------------------------------------------------------------------------------------------- places and options


def test_the_table_says_what_the_document_says(shop):
    ran = run(shop, "early", "--trust", shop.folder / "trust")
    assert ran.code == 0
    assert f"keyless {IDENTITY}, vouched for by {ISSUER}, root private: trusted" in ran.out
    assert "existed by 2026-11-08T12:01:00Z, says rekor.example" in ran.out
    assert "\n1. sigstore-bundle, sha256:" in ran.out


def test_a_place_that_does_not_answer_leaves_it_open(shop, tmp_path):
    """A signature file that is a link is not followed: whether something is there cannot be told."""
    image = shop.images["bare"]
    folder = tmp_path / f"bare@{image.digest.replace(':', '=')}"
    folder.mkdir()
    (folder / "signature-1").symlink_to("/etc/hostname")
    evidence = f"oci-layout:{shop.folder / 'oci'},lookaside:{tmp_path}"
    ran = revet("evidence", "show", shop.reference("bare"), "--evidence", evidence)
    assert ran.code == 3
    assert "some place did not answer" in ran.err


@pytest.mark.parametrize(
    ("evidence", "code", "said"),
    [
        ("oci-layout:{oci},lookaside:{oci}/none", 4, "none"),
        ("oci-layout:{oci},trust-data:{oci}/none", 4, "none"),
        ("oci-layout:{oci},registry", 2, "beside the first place only"),
        ("lookaside:{oci}", 2, "stand beside it"),
        ("oci-layout:{oci},lookaside:", 2, "which folder?"),
        ("oci-layout:{oci},", 2, "beside the first place only"),
    ],
)
def test_places_that_cannot_be_asked(shop, evidence, code, said):
    ran = revet("evidence", "show", shop.reference("bare"), "--evidence", evidence.format(oci=shop.folder / "oci"))
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_places_as_people_write_them(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    source = evidence_source("registry, lookaside:~/sigs ,trust-data:~/tuf,lookaside:/var/lib/x")
    assert source.layout is None
    assert [str(p) for p in source.lookaside] == [str(tmp_path / "sigs"), "/var/lib/x"]
    assert [str(p) for p in source.trust_data] == [str(tmp_path / "tuf")]


def test_the_home_of_nobody_is_a_folder_that_is_not_there():
    source = evidence_source("registry,lookaside:~nobody-of-that-name/sigs")
    assert [str(p) for p in source.lookaside] == ["~nobody-of-that-name/sigs"]


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("registry", (0, 0)),
        ("registry,lookaside:/sigs", (1, 0)),
        ("oci-layout:./images,lookaside:/sigs,trust-data:/tuf,lookaside:/more", (2, 1)),
    ],
)
def test_settings_name_the_places_as_the_option_does(source, kept):
    written = load_settings(None, {"REVET_EVIDENCE_SOURCE": source}, {}).evidence.source
    found = evidence_source(written)
    assert (written, (len(found.lookaside), len(found.trust_data))) == (source, kept)


@pytest.mark.parametrize("source", ["lookaside:/sigs", "registry,oci-layout:x", "oci-layout:", "registry,", "ftp"])
def test_settings_refuse_what_the_option_refuses(source):
    with pytest.raises(InputError, match=r"evidence\.source"):
        load_settings(None, {"REVET_EVIDENCE_SOURCE": source}, {})


def test_a_private_key_among_the_roots_is_refused_and_not_repeated(shop, tmp_path):
    secret = "c2VjcmV0LWtleS1ieXRlcw=="
    begin, end = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
    (tmp_path / "ca.pem").write_text(f"{begin}\n{secret}\n{end}\n")
    ran = run(shop, "bare", "--trust", tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert "ca.pem: this holds a private key" in ran.err
    assert secret not in ran.err


def test_facts_are_told_as_of_the_instant(shop):
    """The same evidence after the notary's certificate ended: outside of its window for everybody but the policy."""
    trust = read_trust(TrustFiles((str(shop.folder / "trust"),)), BY)
    source = evidence_source(shop.evidence)
    (then,) = show_evidence(shop.reference("redhat"), source, trust, NOW).evidence
    assert then.signers[0].state == "trusted"
    (docker,) = show_evidence(shop.reference("docker"), source, trust, NOW + 20 * 365 * DAY).evidence
    assert docker.signers[0].state in {"expired", "outside-window"}
    assert docker.expires is not None


def test_every_piece_can_be_shown_under_any_trust(shop):
    """Nothing escapes, whatever was given to believe it by."""
    image = shop.images["tiles"]
    part = signedshop.IMAGES["tiles"](shop, image)[0]
    evidence = evidence_of(part, image)
    for given in ((), ("trust/private.json",), ("trust/distro.asc", "trust/dev.pub")):
        trust = read_trust(TrustFiles(tuple(str(shop.folder / name) for name in given)), BY)
        (fact,) = derive_facts([evidence], trust.candidate_set())
        for closure in (DigestClosure(image.digest), DigestClosure(ELSEWHERE, indexes=(image.digest,))):
            told = shown(fact, evidence, closure, trust, LATE)
            assert msgspec.json.decode(msgspec.json.encode(told))["id"] == evidence.id
