"""`trust root add|remove|list`, `trust crl`: what a change of roots comes to is said first, and no secret ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from msgspec import structs

from streams.cli import changing, trust_root
from streams.local.preview import Reach
from tests.helpers import openpgp
from tests.helpers.pki import TIMESTAMPING, Ca, make_key, moment, pem, spki
from tests.helpers.rekor import key_pem
from tests.helpers.signedshop import LATE, NOW, SignedShop, outcomes, policy, record
from tests.helpers.statefile import Result, revet
from verifier.adapters.package_data import public_good_root
from verifier.times import DAY

VALID = {"early": "valid", "late": "valid", "other": "valid"}
FAILED = dict.fromkeys(VALID, "violates")
SINCE = "2026-11-18T12:00:00Z"


class Stage:
    """A state file in which three images run, and the files beside it."""

    def __init__(self, shop: SignedShop, state: Path) -> None:
        self.shop, self.state = shop, state

    def run(self, *args: object, input: str | None = None) -> Result:  # noqa: A002 - click's word
        return revet(*args, "--state", self.state, input=input)

    def roots(self) -> dict[str, dict]:
        ran = self.run("trust", "root", "list", "-o", "json")
        assert ran.code == 0, ran.err
        return {row["name"]: row for row in ran.json["roots"]}

    def epoch(self) -> int:
        return int(self.run("trust", "root", "list", "-o", "json").json["epoch"])

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.state.parent / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    shop = SignedShop(folder, ("early", "late", "other"))
    files = (shop.write("given/private.json", shop.root_json()), shop.write("given/policy.json", policy()))
    assert revet("trust", "apply", *files, "--state", folder / "state.sqlite", "--at", SINCE).code == 0
    record(shop, folder / "state.sqlite", shop.images)
    return shop


@pytest.fixture
def stage(prepared, tmp_path):
    for file in prepared.folder.glob("state.sqlite*"):
        shutil.copy(file, tmp_path)
    return Stage(prepared, tmp_path / "state.sqlite")


def narrowed(shop: SignedShop, **lists: list) -> str:
    """The root with other lists."""
    return json.dumps(shop.world.root() | lists)


# ------------------------------------------------------------------------------------------------- looking before doing


def test_the_stage_is_set(stage):
    assert outcomes(stage.state) == VALID
    (row,) = stage.roots().values()
    assert (row["name"], row["authorities"], row["logs"], row["policies"]) == ("private", 2, 3, ["built"])


def test_adding_a_root_is_foretold_and_a_dry_run_writes_nothing(stage):
    before = stage.state.read_bytes()
    ran = stage.run("trust", "root", "add", "corp-ca", stage.write("ca.pem", stage.shop.ca_pem), "--dry-run")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].endswith("put trust root corp-ca (certificates) in force")
    assert lines[1:4] == ["  + CA CN=oracle root,O=test", "would begin to violate: nothing that runs", ""]
    assert lines[-1] == "dry run: nothing was applied"
    assert stage.state.read_bytes() == before


def test_a_dry_run_as_json_holds_the_record_and_the_preview(stage):
    ran = stage.run("trust", "root", "remove", "private", "--dry-run", "-o", "json")
    assert (ran.code, ran.err) == (0, "")
    found = ran.json
    assert (found["schema"], found["record"]["kind"]) == ("revet.trust-preview/v1", "root-removed")
    assert found["preview"]["violating"]["containers"] == 3
    assert any("- transparency log rekor.example" in line for line in found["told"])
    assert stage.epoch() == 2


def test_what_breaks_nothing_is_applied_without_a_question(stage):
    ran = stage.run("trust", "root", "add", "corp-ca", stage.write("ca.pem", stage.shop.ca_pem), "--note", "SEC-12")
    assert ran.code == 0, ran.err
    assert "epoch 3: " in ran.out
    assert ran.out.index("would begin to violate") < ran.out.index("epoch 3: ")
    assert stage.roots()["corp-ca"]["format"] == "certificates"
    assert "SEC-12" in stage.run("trust", "history", "--limit", "1").out
    assert outcomes(stage.state) == VALID


def test_what_breaks_something_needs_a_yes(stage):
    ran = stage.run("trust", "root", "remove", "private")
    assert ran.code == 2
    assert "would begin to violate: 3 containers of 3 workloads in 1 namespace of 1 cluster" in ran.out
    assert "Deployment/early" in ran.out, "which workloads is said before anybody is asked"
    assert "named by: built" in ran.out
    assert "--yes" in ran.err
    assert (stage.epoch(), outcomes(stage.state)) == (2, VALID)


def test_as_json_what_would_break_is_said_beside_the_document(stage):
    ran = stage.run("trust", "root", "remove", "private", "-o", "json")
    assert (ran.code, ran.out) == (2, "")
    assert "would begin to violate: 3 containers" in ran.err


def test_losing_the_proof_is_asked_about_like_a_violation(stage, monkeypatch):
    """A class that is valid now and could no longer be told, under two policies: its containers count once."""

    def foreseen(*args):
        foretold, hit = changing.foresee(*args)
        lost = [structs.replace(c, before="valid", after="unverifiable") for c in foretold.changes]
        twice = (*lost, *(structs.replace(c, policy="other") for c in lost))
        return structs.replace(foretold, changes=twice, violating=Reach()), hit

    monkeypatch.setattr(trust_root, "foresee", foreseen)
    ran = stage.run("trust", "root", "remove", "private")
    assert ran.code == 2
    assert "could no longer be verified: 3 containers" in ran.out
    assert (stage.epoch(), outcomes(stage.state)) == (2, VALID)


@pytest.mark.parametrize(("answer", "code", "epoch", "after"), [("y\n", 0, 3, FAILED), ("n\n", 130, 2, VALID)])
def test_on_a_terminal_it_asks(stage, monkeypatch, answer, code, epoch, after):
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    ran = stage.run("trust", "root", "remove", "private", input=answer)
    assert ran.code == code
    assert "apply this change of trust?" in ran.err
    assert (stage.epoch(), outcomes(stage.state)) == (epoch, after)


def test_a_root_that_went_and_came_back_leaves_no_trace_in_verdicts(stage):
    gone = stage.run("trust", "root", "remove", "private", "--yes", "-o", "json")
    assert gone.code == 0, gone.err
    assert gone.json["came"]["opened"] == {"wrong-signer": 3}
    assert outcomes(stage.state) == FAILED
    assert stage.roots() == {}
    back = stage.run("trust", "root", "add", "private", stage.shop.folder / "given" / "private.json")
    assert back.code == 0, back.err
    assert "findings that would close: 3" in back.out
    assert outcomes(stage.state) == VALID


def test_a_root_that_is_replaced_says_what_goes_and_what_comes(stage):
    """Without the log nothing proves a time, so the certificates of ten minutes are worth nothing."""
    file = stage.write("private.json", narrowed(stage.shop, tlogs=[]))
    ran = stage.run("trust", "root", "add", "private", file)
    assert ran.code == 2, "it would break three images"
    gone = [line for line in ran.out.splitlines() if line.startswith("  - ")]
    assert [line.split(" (")[0] for line in gone] == [
        "  - transparency log rekor.example",
        "  - transparency log tiles.example",
    ]
    assert "  + " not in ran.out
    assert "would begin to violate: 3 containers" in ran.out
    assert outcomes(stage.state) == VALID


def test_a_window_that_is_narrowed_is_a_change(stage):
    root = stage.shop.world.root()
    root["certificateAuthorities"][0]["validFor"]["end"] = "2026-11-12T00:00:00Z"
    ran = stage.run("trust", "root", "add", "private", stage.write("private.json", json.dumps(root)), "--yes")
    assert ran.code == 0, ran.err
    assert "  ~ CA https://ca.example, since " in ran.out
    assert ", until 2026-11-12T00:00:00Z" in ran.out
    assert outcomes(stage.state) == VALID | {"late": "violates", "other": "violates"}, "at the time of signing"


def test_the_same_root_again_is_nothing_to_do(stage):
    ran = stage.run("trust", "root", "add", "private", stage.shop.folder / "given" / "private.json")
    assert (ran.code, ran.out) == (0, "nothing to do: trust root private already is so\n")
    assert stage.epoch() == 2


def test_of_two_names_for_one_root_each_vouches(stage):
    twin = stage.run("trust", "root", "add", "twin", stage.shop.folder / "given" / "private.json")
    assert twin.code == 0, twin.err
    gone = stage.run("trust", "root", "remove", "twin")
    assert gone.code == 0, "no policy names it, so nobody is asked"
    assert "named by" not in gone.out
    assert outcomes(stage.state) == VALID


def test_a_root_that_has_grown_old_says_so_when_it_comes_and_in_the_list(stage):
    root = stage.shop.world.root()
    for listing in ("tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"):
        for entry in root[listing]:
            entry.get("publicKey", entry)["validFor"]["end"] = "2026-10-01T00:00:00Z"
    file = stage.write("old.json", json.dumps(root))
    ran = stage.run("trust", "root", "add", "old-instance", file)
    assert ran.code == 0, ran.err
    assert "note: no certificate authority is current: 1 listed, the last ended 2026-10-01T00:00:00Z" in ran.out
    assert "note: no transparency log is current: 2 listed" in ran.out
    assert "no certificate authority is current" in stage.roots()["old-instance"]["note"]
    assert "no transparency log is current" in stage.run("trust", "root", "list").out
    assert stage.roots()["private"]["note"] == ""


def test_the_public_root_may_be_added_by_hand(stage):
    ran = stage.run("trust", "root", "add", "sigstore-public-good", stage.write("tr.json", public_good_root()))
    assert ran.code == 0, ran.err
    assert stage.roots()["sigstore-public-good"]["logs"] >= 2


def test_the_first_root_makes_the_state_file(prepared, tmp_path):
    (tmp_path / "ca.pem").write_text(prepared.ca_pem)
    ran = revet("trust", "root", "add", "corp", tmp_path / "ca.pem", "--state", tmp_path / "new" / "s.sqlite")
    assert ran.code == 0, ran.err
    assert (tmp_path / "new" / "s.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("args", [("remove", "private"), ("list",)])
def test_a_state_that_is_not_there_is_said_so(tmp_path, args):
    ran = revet("trust", "root", *args, "--state", tmp_path / "none.sqlite")
    assert ran.code == 2
    assert "no state at" in ran.err


# -------------------------------------------------------------------------------------------- formats, names, bad files


CORP = Ca.root("corp")
NAMED = [
    ("corp-ca", pem(CORP.certificate), "certificates"),
    ("ca:corp", pem(CORP.certificate), "notation-ca"),
    ("signingAuthority:corp", pem(CORP.certificate), "notation-signing-authority"),
    ("tsa:corp", pem(Ca.root("times", eku=TIMESTAMPING).certificate), "notation-tsa"),
    ("official", key_pem(spki(make_key("official"))), "tuf-root-keys"),
    ("distro", openpgp.armored(openpgp.primary(openpgp.Key())), "openpgp"),
]


@pytest.mark.parametrize(("name", "content", "format_"), NAMED, ids=[row[0] for row in NAMED])
@pytest.mark.parametrize("by_stdin", [False, True])
def test_what_a_file_is_its_content_or_its_name_tells(stage, name, content, format_, by_stdin):
    if by_stdin:
        ran = stage.run("trust", "root", "add", name, "-", input=content)
    else:
        ran = stage.run("trust", "root", "add", name, stage.write("file", content))
    assert ran.code == 0, ran.err
    row = stage.roots()[name]
    assert (row["format"], row["authorities"], row["logs"]) == (format_, 1, 0)


def test_a_certificate_in_der_is_taken_too(stage):
    ran = stage.run("trust", "root", "add", "corp", stage.write("corp.crt", CORP.certificate))
    assert ran.code == 0, ran.err
    assert stage.roots()["corp"]["format"] == "certificates"


LEAF = CORP.leaf("server", sans=["build@corp.example"])
WRONG = {
    "a store with a name of its own": (["corp", pem(CORP.certificate), "--format", "notation-ca"], "named ca:NAME"),
    "a store of another type": (
        ["tsa:corp", pem(CORP.certificate), "--format", "notation-ca"],
        "ca:, signingAuthority",
    ),
    "a store of no type": (["stores:corp", pem(CORP.certificate)], "name stores of those types"),
    "a store for other files": (["ca:corp", "{}"], "expected PEM blocks"),
    "a Sigstore root as a CA": (["x", "{}", "--format", "certificates"], "expected PEM blocks"),
    "a CA as a Sigstore root": (["x", pem(CORP.certificate), "--format", "sigstore-trusted-root"], "JSON"),
    "an empty file": (["x", ""], "what it is written in cannot be told"),
    "a note": (["x", "see the wiki"], "what it is written in cannot be told"),
    "a certificate of one signer": (["x", LEAF.pem], "CA"),
    "a certificate that is cut off": (["x", pem(CORP.certificate)[:200]], "1 begin and 0 are whole"),
    "a capital letter": (["Corp", pem(CORP.certificate)], "a name is"),
    "a path": (["../corp", pem(CORP.certificate)], "a name is"),
    "a CA cannot stamp": (["tsa:corp", LEAF.pem], "tsa:corp"),
    "duplicate members": (
        ["x", '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": [], "tlogs": []}'],
        "tlogs",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_refused_and_said(stage, wrong):
    (name, content, *options), said = WRONG[wrong]
    ran = stage.run("trust", "root", "add", name, stage.write("file", content), *options, "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert stage.epoch() == 2


def test_files_that_cannot_be_read(stage, tmp_path):
    binary = stage.write("ring.gpg", bytes(range(128, 256)))
    for file, said in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), (binary, "gpg --export")):
        ran = stage.run("trust", "root", "add", "x", file)
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.err


def _private_keys() -> dict[str, bytes]:
    key = make_key("leaked")
    plain, sealed = NoEncryption(), BestAvailableEncryption(b"password")
    return {
        "PKCS#8": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, plain),
        "PKCS#8, sealed": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed),
        "OpenSSL": key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, plain),
        "DER": make_key("leaked", "rsa2048").private_bytes(Encoding.DER, PrivateFormat.PKCS8, plain),
        "OpenPGP": b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nbGVha2VkLXNlY3JldC1ieXRlcw==\n-----END",
        "cosign": b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nbGVha2VkLXNlY3JldC1ieXRlcw==\n-----END",
        "behind a certificate": pem(CORP.certificate).encode()
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, plain),
    }


@pytest.mark.parametrize("kind", _private_keys())
@pytest.mark.parametrize("name", ["corp", "ca:corp"])
def test_a_private_key_is_refused_and_never_repeated(stage, kind, name):
    secret = _private_keys()[kind]
    ran = stage.run("trust", "root", "add", name, stage.write("key", secret), "--yes")
    assert (ran.code, ran.out) == (2, "")
    if kind != "DER":
        assert "this holds a private key; revet never needs one. Treat it as leaked" in ran.err
    lines = [line for line in secret.decode("latin-1").splitlines() if line and not line.startswith("---")]
    assert not any(line[:24] in ran.err for line in lines if len(line) >= 8)
    assert stage.epoch() == 2
    assert not any(line.encode("latin-1") in stage.state.read_bytes() for line in lines if len(line) > 40) or (
        kind == "behind a certificate"
    )


def test_hostile_names_and_labels_never_reach_the_terminal_raw(stage):
    evil = "evil\x1b[2J\u202e"
    ran = stage.run("trust", "root", "remove", evil)
    assert ran.code == 2
    assert not any(raw in ran.err for raw in ("\x1b", "\u202e"))
    root = stage.shop.world.root()
    root["certificateAuthorities"][0]["uri"] = "https://ca.example/\u202e\x1b[31m"
    ran = stage.run("trust", "root", "add", "evil", stage.write("evil.json", json.dumps(root)), "--dry-run")
    assert not any(raw in ran.out + ran.err for raw in ("\x1b", "\u202e"))


def test_an_unknown_root_names_the_known_ones(stage):
    ran = stage.run("trust", "root", "remove", "privat")
    assert ran.code == 2
    assert "no trust root is named privat; known names: private" in ran.err


# ----------------------------------------------------------------------------------------------------- revocation lists


def crl(ca: Ca, *revoked: int, at: int = NOW - DAY, encoding: Encoding = Encoding.DER) -> bytes:
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=x509.load_der_x509_certificate(ca.certificate).subject,
        last_update=moment(at),
        next_update=moment(at + 7 * DAY),
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=moment(at))
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(encoding)


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_a_revocation_list_of_a_known_ca_is_taken(stage, encoding):
    ca = stage.shop.world.issuing
    ran = stage.run("trust", "crl", stage.write("ca.crl", crl(ca, encoding=encoding)), "--note", "weekly")
    assert ran.code == 0, ran.err
    assert f"delivered a revocation list of {ca.key_id[:12]}" in ran.out
    assert stage.epoch() == 3


def serial_of(stage: Stage, name: str) -> int:
    ran = revet("evidence", "show", stage.shop.reference(name), "--evidence", stage.shop.evidence, "-o", "json")
    return int(ran.json["evidence"][0]["certificate"]["serial"], 16)


def test_a_certificate_on_the_list_is_foretold_and_asked_about(stage):
    listed = stage.write("ca.crl", crl(stage.shop.world.issuing, serial_of(stage, "late"), at=LATE - DAY))
    ran = stage.run("trust", "crl", listed)
    assert ran.code == 2
    assert "would begin to violate: 1 container of 1 workload" in ran.out
    assert "Deployment/late" in ran.out
    assert stage.run("trust", "crl", listed, "--dry-run").code == 0
    assert outcomes(stage.state) == VALID
    assert stage.run("trust", "crl", listed, "--yes").code == 0
    assert outcomes(stage.state) == VALID | {"late": "violates"}


def test_without_a_date_of_invalidity_a_revoked_certificate_falls_whenever_it_signed(stage):
    listed = stage.write("ca.crl", crl(stage.shop.world.issuing, serial_of(stage, "early"), at=NOW - DAY))
    assert stage.run("trust", "crl", listed, "--yes").code == 0
    assert outcomes(stage.state) == VALID | {"early": "violates"}


WRONG_LISTS = {
    "a stranger's": (crl(CORP), "no CA in the trust roots issued this revocation list"),
    "a certificate": (CORP.certificate, "revocation list"),
    "nothing": (b"", "revocation list"),
    "bytes": (bytes(range(256)), "revocation list"),
}


@pytest.mark.parametrize("wrong", WRONG_LISTS)
def test_lists_that_are_none_are_refused(stage, wrong):
    content, said = WRONG_LISTS[wrong]
    ran = stage.run("trust", "crl", stage.write("ca.crl", content), "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert stage.epoch() == 2


def test_an_older_list_replaces_nothing(stage):
    ca = stage.shop.world.issuing
    assert stage.run("trust", "crl", stage.write("new.crl", crl(ca))).code == 0
    for at in (NOW - DAY, NOW - 2 * DAY):
        ran = stage.run("trust", "crl", stage.write("old.crl", crl(ca, at=at)))
        assert ran.code == 2
        assert "at least as new is already on record" in ran.err
    assert stage.epoch() == 3


def test_a_list_that_is_too_long_is_not_read(stage, monkeypatch):
    monkeypatch.setattr(trust_root, "CRL_BYTES", 10)
    ran = stage.run("trust", "crl", stage.write("ca.crl", crl(stage.shop.world.issuing)))
    assert ran.code == 2
    assert "more than 10 bytes" in ran.err


def test_a_list_that_is_not_there(stage, tmp_path):
    assert stage.run("trust", "crl", tmp_path / "none.crl").code == 2


# -------------------------------------------------------------------------------------------------- words of the others


def test_show_history_and_diff_tell_of_roots(stage):
    assert stage.run("trust", "root", "add", "corp-ca", stage.write("ca.pem", pem(CORP.certificate))).code == 0
    shown = stage.run("trust", "show", "roots", "-o", "json").json["roots"]
    assert [(row["name"], row["format"]) for row in shown] == [
        ("corp-ca", "certificates"),
        ("private", "sigstore-trusted-root"),
    ]
    (held,) = shown[0]["holds"]
    assert (held["use"], held["label"], held["key_ids"]) == ("signing", "CN=corp,O=test", [CORP.key_id])
    assert {log["origin"] for log in shown[1]["log_ids"]} == {"rekor.example", "tiles.example", "ct.example"}
    assert "put trust root corp-ca (certificates) in force" in stage.run("trust", "history").out
    table = stage.run("trust", "show", "roots").out
    assert all(word in table for word in ("corp-ca", "private", "certificates"))
    changed = stage.run("trust", "root", "add", "corp-ca", stage.write("o.pem", pem(Ca.root("other").certificate)))
    assert changed.code == 0
    diff = stage.run("trust", "diff", "--from", "2", "-o", "json").json["changes"]
    assert [(c["what"], c["id"], c["kind"]) for c in diff if c["what"] == "root"] == [("root", "corp-ca", "added")]
    later = stage.run("trust", "diff", "--from", "3")
    assert "~ root corp-ca: changed: certificates, 1 authorities, 0 logs" in later.out
    assert "- root corp-ca: removed" in (
        stage.run("trust", "root", "remove", "corp-ca").out + stage.run("trust", "diff", "--from", "4").out
    )
