"""Trust roots as bare files, in trust stores and in documents, and signers as options: `verify`, `trust apply`."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import click
import pytest

from streams.cli.changing import read_documents
from streams.cli.sources import COMMAND_LINE, TrustFiles, read_trust
from streams.cli.trust_files import CertificateSigner, is_root, root_of, root_text, roots_of, signer_of
from tests.helpers import openpgp
from tests.helpers.command import Ran
from tests.helpers.command import revet as command
from tests.helpers.oracle_world import IDENTITY, ISSUER
from tests.helpers.pki import TIMESTAMPING, Ca, make_key, pem, spki
from tests.helpers.rekor import key_pem
from tests.helpers.signedshop import NOTARY_IDENTITY, NOW, OTHER, SignedShop, outcomes, policy, record, root_document
from tests.helpers.statefile import Result, revet
from verifier.errors import InputError, PolicyError
from verifier.policy.attestors import PUBLIC_GOOD
from verifier.trust.changes import By

BY = By("test", NOW)
SINCE = "2026-11-18T12:00:00Z"
CORP, OTHER_CA = pem(Ca.root("corp").certificate), pem(Ca.root("other").certificate)
RING = openpgp.armored(openpgp.primary(openpgp.Key()))
PUBLIC = key_pem(spki(make_key("somebody")))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    made = SignedShop(tmp_path_factory.mktemp("shop"))
    made.trust_files()
    return made


def write(folder: Path, **texts: str) -> Path:
    """Files of a folder; `__` stands for a slash and `_` for the dot."""
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def read(folder: Path, *more: Path) -> dict[str, tuple[str, int]]:
    """Trust roots that a folder gives: name -> (format, authorities)."""
    trust = read_trust(TrustFiles(tuple(map(str, (folder, *more)))), BY)
    return {root.name: (root.format, len(root.document.authorities)) for root in trust.anchors.walk()}


# ----------------------------------------------------------------------------------------------------------- bare files


def test_what_a_bare_file_is_its_content_tells(shop, tmp_path):
    """A Sigstore root under its usual name is the one policies know; everything else goes by its file's name."""
    write(tmp_path, corp_pem=CORP, second_crt=OTHER_CA, ring_asc=RING, note_txt="not read")
    (tmp_path / "trusted_root.json").write_text(shop.root_json())
    (tmp_path / "Private Instance.json").write_text(shop.root_json())
    assert read(tmp_path) == {
        "corp": ("certificates", 1),
        "second": ("certificates", 1),
        "ring": ("openpgp", 1),
        PUBLIC_GOOD: ("sigstore-trusted-root", 2),
        "private-instance": ("sigstore-trusted-root", 2),
    }


def test_a_trust_store_folder_is_one_root_however_many_files(tmp_path):
    write(tmp_path, x509__ca__corp__a_pem=CORP, x509__ca__corp__b_crt=OTHER_CA, x509__ca__vendor__a_pem=CORP)
    write(tmp_path, x509__signingAuthority__corp__a_pem=OTHER_CA)
    write(tmp_path, x509__tsa__corp__a_cer=pem(Ca.root("times", eku=TIMESTAMPING).certificate))
    assert read(tmp_path) == {
        "ca:corp": ("notation-ca", 2),
        "ca:vendor": ("notation-ca", 1),
        "signingAuthority:corp": ("notation-signing-authority", 1),
        "tsa:corp": ("notation-tsa", 1),
    }


def test_certificates_in_der_are_taken_as_notation_takes_them(tmp_path):
    folder = write(tmp_path, x509__ca__corp__a_pem=CORP) / "x509" / "ca" / "corp"
    other = Ca.root("other").certificate
    (folder / "b.crt").write_bytes(other)
    assert read(tmp_path) == {"ca:corp": ("notation-ca", 2)}
    assert root_text(str(folder / "b.crt")) == pem(other)


def test_a_certificate_named_twice_in_a_store_is_one(tmp_path):
    write(tmp_path, x509__ca__corp__a_pem=CORP, x509__ca__corp__b_pem=CORP)
    assert read(tmp_path, tmp_path / "x509" / "ca") == {"ca:corp": ("notation-ca", 1)}


CLASHES = {
    "two files of one stem": ({"a__corp_pem": CORP, "b__corp_pem": OTHER_CA}, "is a trust root of the name corp too"),
    "two suffixes": ({"corp_pem": CORP, "corp_crt": OTHER_CA}, "is a trust root of the name corp too"),
    "one store in two trees": (
        {"a__x509__ca__corp__a_pem": CORP, "b__x509__ca__corp__b_pem": OTHER_CA},
        "is a trust root of the name ca:corp too",
    ),
    "a file and a document": (
        {"corp_pem": CORP, "corp_yaml": root_document("corp", "certificates", content=OTHER_CA)},
        "is a trust root of the name corp too",
    ),
    "two documents": (
        {
            "a_yaml": root_document("corp", "certificates", content=CORP),
            "b_yaml": root_document("corp", "certificates", content=OTHER_CA),
        },
        "corp",
    ),
}


@pytest.mark.parametrize("clash", CLASHES)
def test_two_roots_of_one_name_never_stand_in_for_each_other(tmp_path, clash):
    files, said = CLASHES[clash]
    with pytest.raises(InputError, match=said):
        read(write(tmp_path, **files))


WRONG = {
    "a private key": ({"a_pem": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END"}, "this holds a private key"),
    "a key without a word": ({"dev_pem": PUBLIC}, "a public key, and no word of what it is for"),
    "a note": ({"readme_pem": "hello"}, "what it is written in cannot be told"),
    "a leaf": ({"leaf_pem": Ca.root("corp").leaf("x").pem}, "leaf"),
    "a store without certificates": ({"x509__ca__corp__a_pem": "hello"}, "expected PEM blocks"),
    "a broken root": (
        {"r_json": '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"'},
        "r.json",
    ),
    "an armored message": ({"m_asc": "-----BEGIN PGP MESSAGE-----\n"}, "cannot be told"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_files_are_refused_with_their_name_in_both_commands(tmp_path, wrong):
    files, said = WRONG[wrong]
    write(tmp_path, **files)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    for ran in (
        command("verify", "registry.example.com/a:1", "--trust", tmp_path),
        revet("trust", "apply", tmp_path, "--state", tmp_path / "s.sqlite"),
    ):
        assert (ran.code, ran.out) == (2, "")
        assert file.name in ran.err
        assert "c2VjcmV0" not in ran.err
        if wrong != "a broken root":
            assert said in ran.err
    assert not (tmp_path / "s.sqlite").exists()


# ------------------------------------------------------------------------------------------------- files of documents


@pytest.mark.parametrize("suffix", ["pem", "crt", "json"])
def test_a_file_that_a_document_names_is_nothing_by_itself(shop, tmp_path, suffix):
    """Otherwise every root beside its document would stand there twice, under two names."""
    content, format_ = (shop.root_json(), "sigstore-trusted-root") if suffix == "json" else (CORP, "certificates")
    write(tmp_path, roots__document_yaml=root_document("named", format_, file=f"material.{suffix}"))
    (tmp_path / "roots" / f"material.{suffix}").write_text(content)
    assert set(read(tmp_path)) == {"named"}
    documents, errors = read_documents([str(tmp_path)])
    assert (errors, [d.name for d in documents]) == ((), ["named"])


@pytest.mark.parametrize("suffix", ["pem", "pub"])
def test_the_file_of_a_key_document_is_no_trust_root(tmp_path, suffix):
    document = {"apiVersion": "revet/v1", "kind": "Key", "metadata": {"name": "dev"}, "spec": {"file": f"k.{suffix}"}}
    write(tmp_path, a_json=json.dumps(document))
    (tmp_path / f"k.{suffix}").write_text(PUBLIC)
    trust = read_trust(TrustFiles((str(tmp_path),)), BY)
    assert (set(trust.names), set(trust.anchors.roots)) == ({"dev"}, set())
    documents, errors = read_documents([str(tmp_path)])
    assert (errors, [(d.body.kind, d.name) for d in documents]) == ((), [("Key", "dev")])


def test_a_document_that_holds_a_sigstore_root_is_a_document(shop, tmp_path):
    """Its text names the media type too; who takes that for a bare root gives it the wrong name."""
    write(tmp_path, a_json=root_document("mine", "sigstore-trusted-root", content=shop.root_json()))
    assert not is_root(str(tmp_path / "a.json"))
    assert set(read(tmp_path)) == {"mine"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"tlogs": [], "mediaType": "application/vnd.dev.sigstore.trustedroot.v0.2+json"}', True),
        ('{"pad": "' + "x" * 10_000 + '", "mediaType": "application/vnd.dev.sigstore.trustedroot+json"}', True),
        ('{"kind": "Policy", "spec": {"mediaType": "vnd.dev.sigstore.trustedroot"}}', False),
        ('["application/vnd.dev.sigstore.trustedroot+json"]', False),
        ("[" * 100_000 + '"vnd.dev.sigstore.trustedroot"', False),
        ('{"mediaType": {"vnd.dev.sigstore.bundle": 1}}', False),
    ],
)
def test_json_is_a_root_by_its_own_member_wherever_it_stands(tmp_path, text, found):
    (tmp_path / "x.json").write_text(text)
    assert is_root(str(tmp_path / "x.json")) is found


def test_a_document_whose_file_is_missing_private_or_outside(tmp_path):
    for name, spec, said in (
        ("missing", {"file": "none.pem"}, "none.pem"),
        ("private", {"file": "key.pem"}, "this holds a private key"),
        ("outside", {"file": "../key.pem"}, "within the folder"),
        ("both", {"file": "key.pem", "content": CORP}, "either content"),
    ):
        write(tmp_path, **{f"{name}_yaml": root_document(name, "certificates", **spec)})
        write(tmp_path, key_pem="-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END")
        file = str(tmp_path / f"{name}.yaml")
        with pytest.raises(PolicyError, match=said) as caught:
            read_trust(TrustFiles((file,)), BY)
        assert f"{name}.yaml:1" in str(caught.value)
        (error,) = read_documents([file])[1]
        assert said in str(error)
        assert "c2VjcmV0" not in f"{error}{caught.value}"


# ------------------------------------------------------------------------------------------------- signers as options


def verify(shop: SignedShop, name: str, *options: object) -> Ran:
    with mock.patch("streams.cli.verify.now", return_value=NOW):
        return command("verify", shop.reference(name), "--evidence", shop.evidence, *options)


@pytest.fixture(scope="module")
def given(shop):
    """Options for the two kinds of roots."""
    return {
        "sigstore": ("--trusted-root", shop.folder / "trust" / "private.json"),
        "ca": ("--trusted-root", shop.write("ca/corp.pem", shop.ca_pem)),
    }


WHO, WHOM = "--certificate-identity", "--certificate-oidc-issuer"
SIGNERS = [
    ("sigstore", "early", [WHO, IDENTITY, WHOM, ISSUER], 0),
    ("sigstore", "tiles", [WHO, IDENTITY, WHOM, ISSUER], 0),
    ("sigstore", "early", [WHO, OTHER, WHOM, ISSUER], 1),
    ("sigstore", "early", [WHO, IDENTITY, WHOM, "https://idp.evil.example"], 1),
    ("sigstore", "other", [WHO, OTHER, WHOM, ISSUER], 0),
    ("sigstore", "early", [WHO + "-regexp", "corp", WHOM, ISSUER], 0),  # a search, as cosign does it
    ("sigstore", "early", [WHO + "-regexp", "^corp", WHOM, ISSUER], 1),
    ("sigstore", "early", [WHO + "-regexp", "^dev@", WHOM + "-regexp", "idp"], 0),
    ("sigstore", "early", [WHO, IDENTITY, WHOM + "-regexp", "^example"], 1),
    ("sigstore", "early", [WHO, IDENTITY, WHO + "-regexp", "^dev", WHOM, ISSUER], 0),  # both are asked
    ("sigstore", "early", [WHO, IDENTITY, WHO + "-regexp", "^release", WHOM, ISSUER], 1),
    ("sigstore", "unlogged", [WHO, IDENTITY, WHOM, ISSUER], 1),
    ("sigstore", "bare", [WHO, IDENTITY, WHOM, ISSUER], 1),
    ("sigstore", "byo", [WHO, IDENTITY, WHOM, ISSUER], 1),  # nobody vouched for that identity
    ("ca", "byo", [WHO, IDENTITY], 0),
    ("ca", "byo", [WHO, OTHER], 1),
    ("ca", "byo", [WHO + "-regexp", "@corp"], 0),
    ("ca", "early", [WHO, IDENTITY], 1),  # ten minutes that nothing known dates
    ("ca", "keyed", [WHO, IDENTITY], 1),
]


@pytest.mark.parametrize(("root", "name", "options", "code"), SIGNERS)
def test_a_signer_of_the_command_line(shop, given, root, name, options, code):
    ran = verify(shop, name, *options, *given[root])
    assert ran.code == code, ran.out + ran.err


def test_a_key_or_a_certificate_will_do(shop, given):
    options = ("--key", shop.folder / "trust" / "dev.pub", WHO, IDENTITY, WHOM, ISSUER, *given["sigstore"])
    assert verify(shop, "keyed", *options).code == 0
    assert verify(shop, "early", *options).code == 0
    assert verify(shop, "other", *options).code == 1


def test_without_a_root_the_public_instance_is_meant(shop):
    ran = verify(shop, "early", WHO, IDENTITY, WHOM, ISSUER, "-o", "json")
    assert ran.code == 1, "a private instance is nobody there"
    trust = read_trust(TrustFiles(signer=CertificateSigner(IDENTITY, issuer=ISSUER)), BY)
    assert set(trust.anchors.roots) == {PUBLIC_GOOD}
    (attestor,) = trust.policies[COMMAND_LINE].policy.attestors.values()
    assert attestor.keyless is not None
    assert attestor.keyless.roots == (PUBLIC_GOOD,)


WRONG_OPTIONS = [
    ([WHOM, ISSUER], "whose certificate?"),
    ([WHO + "-regexp", "("], "--certificate-identity and its options"),
    ([WHO, IDENTITY], "names its issuer"),
    ([WHO, IDENTITY, WHOM, ISSUER, "--trusted-root", "none.json"], "none.json: No such file"),
]


@pytest.mark.parametrize(("options", "said"), WRONG_OPTIONS, ids=[row[1] for row in WRONG_OPTIONS])
def test_options_that_leave_a_question_open_are_refused(shop, options, said):
    ran = verify(shop, "early", *options)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (RING, "expected a Sigstore trusted root, or the PEM certificates of a CA"),
        (PUBLIC, "expected a Sigstore trusted root, or the PEM certificates of a CA"),
        ("hello", "cannot be told"),
        ("-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n", "holds a private key"),
        ("", "cannot be told"),
        ('{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}', "root.json"),
    ],
)
def test_a_trusted_root_that_is_none(shop, tmp_path, content, said):
    (tmp_path / "root.json").write_text(content)
    ran = verify(shop, "early", WHO, IDENTITY, WHOM, ISSUER, "--trusted-root", tmp_path / "root.json")
    if '"mediaType"' in content:  # a root without authorities is one: it vouches for nobody
        assert ran.code in (1, 2)
        return
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "c2VjcmV0" not in ran.err


def test_a_root_alone_is_no_signer():
    with pytest.raises(click.UsageError, match="whose certificate"):
        signer_of(CertificateSigner(trusted_root="root.json"))
    assert signer_of(CertificateSigner()) == CertificateSigner()
    assert root_of(CertificateSigner(IDENTITY)) is None


def test_roots_are_read_in_the_order_given_and_keep_their_file(tmp_path):
    write(tmp_path, b_pem=CORP, a_pem=OTHER_CA)
    files = [str(tmp_path / name) for name in ("b.pem", "a.pem")]
    assert [(root.name, root.file) for root in roots_of(files)] == [("b", files[0]), ("a", files[1])]


# ------------------------------------------------------------------------------------------- policies over the families

ATTESTORS: dict[str, dict[str, object]] = {
    "early": {"keyless": {"identities": [{"issuer": ISSUER, "subject": IDENTITY}], "roots": ["private"]}},
    "byo": {"certificates": {"roots": ["private"], "identities": [{"subject": IDENTITY}], "timestamp": "required"}},
    "notary": {"notary": {"stores": ["ca:corp"], "identities": [NOTARY_IDENTITY]}},
    "redhat": {"openpgp": {"keyrings": ["distro"]}},
    "docker": {"trustData": {"roots": ["docker"]}},
}


@pytest.mark.parametrize("name", ATTESTORS)
def test_every_family_can_be_asked_for_with_files_alone(shop, tmp_path, name):
    """The folder as people keep it, a policy, and the places beside the registry.

    `byo` and `early` have one CA in this world: whoever names it, and that identity, means both.
    """
    (tmp_path / "p.json").write_text(policy(attestor=ATTESTORS[name]))
    asked = ("--policy", tmp_path / "p.json", "--trust", shop.folder / "trust")
    ran = verify(shop, name, *asked)
    assert ran.code == 0, ran.out + ran.err
    assert verify(shop, "bare", *asked).code == 1
    others = [other for other in ATTESTORS if other != name and (name, other) != ("byo", "early")]
    assert {verify(shop, other, *asked).code for other in others} == {1}


def test_a_policy_that_names_a_root_nobody_gave_is_refused(shop, tmp_path):
    (tmp_path / "p.json").write_text(policy(attestor=ATTESTORS["notary"]))
    ran = verify(shop, "notary", "--policy", tmp_path / "p.json")
    assert ran.code == 2
    assert "ca:corp" in ran.err


# ---------------------------------------------------------------------------------------------------------- trust apply


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state.sqlite"

    def run(self, *args: object) -> Result:
        return revet(*args, "--state", self.state)

    def apply(self, *files: object) -> Result:
        return self.run("trust", "apply", *files)

    def roots(self) -> dict[str, str]:
        ran = self.run("trust", "root", "list", "-o", "json")
        return {row["name"]: row["format"] for row in ran.json["roots"]}


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def test_a_folder_of_trust_is_applied_whole_and_again_changes_nothing(shop, stage):
    first = stage.apply(shop.folder / "trust", "--at", SINCE)
    assert first.code == 0, first.err
    assert stage.roots() == {
        "ca:corp": "notation-ca",
        "distro": "openpgp",
        "docker": "tuf-root-keys",
        "private": "sigstore-trusted-root",
    }
    again = stage.apply(shop.folder / "trust")
    assert (again.code, again.out) == (0, "nothing to do: 5 documents say what is already so\n")


def test_a_root_may_be_a_document_with_a_file_or_with_text(stage):
    write(stage.folder, t__a_yaml=root_document("by-file", "certificates", file="a.pem"), t__a_pem=CORP)
    write(stage.folder, t__b_yaml=root_document("by-text", "certificates", content=OTHER_CA))
    write(stage.folder, t__c_yaml=root_document("corp", "notation-ca", content=OTHER_CA))
    assert stage.apply(stage.folder / "t").code == 0
    assert stage.roots() == {"by-file": "certificates", "by-text": "certificates", "ca:corp": "notation-ca"}


def test_the_file_that_changed_is_a_new_root_under_the_same_name(stage):
    write(stage.folder, t__corp_pem=CORP)
    assert stage.apply(stage.folder / "t").code == 0
    write(stage.folder, t__corp_pem=OTHER_CA)
    assert (
        "root corp: changed: certificates, 1 authorities, 0 logs" in stage.run("trust", "diff", stage.folder / "t").out
    )
    planned = stage.apply(stage.folder / "t", "--dry-run")
    assert "1 to write, 0 unchanged" in planned.out
    assert stage.apply(stage.folder / "t").code == 0
    assert len(stage.run("trust", "history", "-o", "json").json["entries"]) == 2


def test_pruning_takes_roots_that_no_file_names(stage):
    write(stage.folder, t__anchor_pem=CORP, t__x509__ca__corp__a_pem=CORP, t__old_pem=OTHER_CA)
    assert stage.apply(stage.folder / "t").code == 0
    (stage.folder / "t" / "old.pem").unlink()
    assert stage.apply(stage.folder / "t", "--prune").code == 0
    assert set(stage.roots()) == {"anchor", "ca:corp"}
    (stage.folder / "t" / "x509" / "ca" / "corp" / "a.pem").unlink()
    assert stage.apply(stage.folder / "t", "--prune").code == 0
    assert set(stage.roots()) == {"anchor"}


PUBLIC_POLICY = policy(attestor={"keyless": {"identities": [{"issuer": ISSUER, "subject": IDENTITY}]}})


def test_the_shipped_root_comes_with_the_first_policy_that_needs_it_and_stays_while_used(stage):
    write(stage.folder, p__policy_json=PUBLIC_POLICY, p__corp_pem=CORP)
    first = stage.apply(stage.folder / "p")
    assert first.code == 0, first.err
    assert (
        "note: trust root sigstore-public-good is put in force, as this version ships it, for policy built" in first.err
    )
    assert set(stage.roots()) == {PUBLIC_GOOD, "corp"}
    assert stage.apply(stage.folder / "p", "--prune").out.startswith("nothing to do")
    (stage.folder / "p" / "policy.json").write_text(
        policy(attestor={"certificates": {"roots": ["corp"], "anyone": True}})
    )
    assert stage.apply(stage.folder / "p", "--prune").code == 0
    assert set(stage.roots()) == {"corp"}, "nobody names it any more"


def test_a_policy_and_its_roots_in_one_folder_judge_what_runs(shop, stage):
    """All the way: files, state, verdicts; the root goes, everything falls; it comes back, everything is as before."""
    write(stage.folder, p__policy_json=policy())
    private = shop.folder / "trust" / "private.json"
    assert stage.apply(stage.folder / "p", private, "--at", SINCE).code == 0
    record(shop, stage.state, ("early", "other", "keyed"))
    verdicts = {"early": "valid", "other": "valid", "keyed": "violates"}
    assert outcomes(stage.state) == verdicts
    write(stage.folder, other__corp_pem=CORP)
    assert stage.apply(stage.folder / "other", "--prune").code == 0
    assert set(stage.roots()) == {"corp"}
    assert outcomes(stage.state) == dict.fromkeys(verdicts, "violates")
    assert stage.apply(private).code == 0
    assert outcomes(stage.state) == verdicts
