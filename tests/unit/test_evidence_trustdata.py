"""Docker Content Trust: what holds, what each rule refuses, and metadata made by an enemy."""

import base64
import hashlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.trustdata import LATER, Role, SigningKey, TrustData, meta, signed_file
from tests.helpers.trustdata import canonical as canonical_by_hand
from verifier.canonical import canonical_json
from verifier.errors import EvidenceError, TrustError
from verifier.evidence.identity import evidence_id
from verifier.evidence.material import NO_MATERIAL, Material
from verifier.evidence.olpcjson import canonical
from verifier.evidence.trustdata import (
    FILES,
    TAGS,
    TrustDataParts,
    listed_digests,
    pack_trust_data,
    read_root_keys,
    trustdata_fact_parts,
)
from verifier.evidence.tufkeys import FOREVER, KEYS
from verifier.models import Evidence
from verifier.times import parse_instant

GUN = "registry.example.com/payments/api"
ONE, TWO, THREE = (f"sha256:{n:064x}" for n in (1, 2, 3))


def evidence_of(payload: bytes, repository: str = GUN) -> Evidence:
    name = evidence_id(hashlib.sha256(payload).hexdigest(), {})
    return Evidence(name, "tuf-trust-data", repository, ONE, payload)


def packed(made: TrustData | dict[str, bytes]) -> Evidence:
    return evidence_of(pack_trust_data(GUN, made.files() if isinstance(made, TrustData) else made))


def pinned(*keys: SigningKey) -> Material:
    return Material.of(read_root_keys("".join(key.pem for key in keys)))


def parts_of(repository: TrustData, *keys: SigningKey, tag: str = "") -> TrustDataParts:
    return trustdata_fact_parts(packed(repository), pinned(*(keys or repository.root.keys)), tag)


def refused(made: TrustData | dict[str, bytes], material: Material = NO_MATERIAL) -> EvidenceError:
    with pytest.raises(EvidenceError) as caught:
        trustdata_fact_parts(packed(made), material)
    return caught.value


@pytest.fixture
def repository() -> TrustData:
    made = TrustData(GUN)
    made.tag("1.4.2", ONE)
    return made


# ----------------------------------------------------------------------------------------------------- canonical JSON


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": [True, False, None]}, b'{"a":[true,false,null],"b":1}'),
        ({"a": 'say "no"'}, b'{"a":"say \\"no\\""}'),
        ({"a": "back\\slash"}, b'{"a":"back\\\\slash"}'),
        ({"a": "\x00\n\t\x1f\x7f/<&>"}, b'{"a":"\x00\n\t\x1f\x7f/<&>"}'),
        ({"a": "\\u0041\\n"}, b'{"a":"\\\\u0041\\\\n"}'),
        ({"é": "\u2028", "z": "😀"}, '{"z":"😀","é":"\u2028"}'.encode()),
        ({"a": -(2**53)}, b'{"a":-9007199254740992}'),
        ({}, b"{}"),
    ],
)
def test_canonical_form(value, expected):
    assert canonical(value) == expected


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=12,
)


@given(DOCUMENTS)
@settings(max_examples=150)
def test_the_quick_form_is_the_form_written_by_hand(value):
    assert canonical(value) == canonical_by_hand(value)


@pytest.mark.parametrize("number", [1.5, 1e300, -1e-9, 2**53 + 1, -(2**53) - 1, 2**63, 10**300])
def test_numbers_that_readers_disagree_on_have_no_form(number):
    with pytest.raises(EvidenceError) as caught:
        canonical({"a": [{"b": number}]}, "trust-data-malformed")
    assert caught.value.code == "trust-data-malformed"


@pytest.mark.parametrize("text", ["1.5", "1e5", "9007199254740993", '"1.5', "\\1.5", "é1.5"])
def test_numbers_inside_of_texts_are_texts(text):
    assert canonical({text: text}) == canonical_by_hand({text: text})


# -------------------------------------------------------------------------------------------------------- what holds


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("p256", "ecdsa-p256-sha256"),
        ("p384", "ecdsa-p384-sha256"),
        ("p521", "ecdsa-p521-sha256"),
        ("rsa", "rsa-pss-sha256"),
        ("ed25519", "ed25519"),
    ],
)
def test_every_kind_of_key(kind, algorithm):
    repository = TrustData(GUN, kind)
    repository.tag("1.4.2", ONE)
    repository.tag("2.0.0", TWO)
    parts = parts_of(repository)
    assert parts.algorithm == algorithm
    assert parts.subjects == (ONE, TWO)
    assert parts.tags == (("1.4.2", ONE, "targets"), ("2.0.0", TWO, "targets"))
    assert parts.undecided == ()
    assert parts.kind == "signature"
    (chain,) = parts.chains
    assert chain.key_ids == (repository.root.keys[0].spki_id,)
    assert parts.expires == parts.fresh_as_of == parse_instant(LATER)
    assert parts.signed_repository == ("" if kind == "ed25519" else GUN)


def test_the_chain_has_the_window_of_the_certificate_in_the_root(repository):
    (chain,) = parts_of(repository).chains
    assert (chain.valid_from, chain.valid_until) == (
        parse_instant("2026-01-01T00:00:00Z"),
        parse_instant("2035-12-30T00:00:00Z"),
    )
    repository.root = Role([SigningKey()])
    (chain,) = parts_of(repository).chains
    assert (chain.valid_from, chain.valid_until) == (0, FOREVER)


def test_a_root_made_out_for_another_repository_says_so():
    """One root key serves many repositories; only its certificate tells which (cross-repository replay)."""
    repository = TrustData(GUN)
    repository.root = Role([repository.root.keys[0].recertified("registry.example.com/checkout/web")])
    parts = parts_of(repository)
    assert parts.signed_repository == "registry.example.com/checkout/web"
    assert parts.chains


def test_expiries_are_told_apart(repository):
    repository.expires = {
        "root": "2031-01-01T00:00:00Z",
        "targets": "2030-01-01T00:00:00.5+02:00",
        "snapshot": "2029-01-01T00:00:00Z",
        "timestamp": "2028-01-01T00:00:00.123456789Z",
    }
    parts = parts_of(repository)
    assert parts.expires == parse_instant("2029-12-31T22:00:00.5Z")
    assert parts.fresh_as_of == parse_instant("2028-01-01T00:00:00.123456Z")


def test_an_expired_delegation_counts_only_where_it_says_something(repository):
    repository.delegate("targets/old", [SigningKey()])
    repository.delegations["targets/old"].expires = "2020-01-01T00:00:00Z"
    assert parts_of(repository).expires == parse_instant(LATER)
    repository.tag("old", TWO, "targets/old")
    assert parts_of(repository).expires == parse_instant("2020-01-01T00:00:00Z")
    assert parts_of(repository, tag="1.4.2").expires == parse_instant(LATER)


def test_of_a_tag_in_several_roles_docker_takes_releases_first(repository):
    repository.delegate("targets/alice", [SigningKey()])
    repository.delegate("targets/releases", [SigningKey()])
    repository.tag("1.4.2", THREE, "targets/alice")
    repository.tag("only", THREE, "targets/alice")
    repository.tag("1.4.2", TWO, "targets/releases")
    parts = parts_of(repository)
    assert {entry for entry in parts.tags if entry[0] == "1.4.2"} == {
        ("1.4.2", ONE, "targets"),
        ("1.4.2", TWO, "targets/releases"),
        ("1.4.2", THREE, "targets/alice"),
    }
    assert parts.subjects == (ONE, TWO, THREE)
    assert parts_of(repository, tag="1.4.2").subjects == (TWO,)
    assert parts_of(repository, tag="1.4.2").annotations == (("role", "targets/releases"), ("tag", "1.4.2"))
    assert parts_of(repository, tag="only").subjects == (THREE,)
    assert parts_of(repository, tag="absent").subjects == ()


def test_a_delegation_speaks_only_of_its_paths(repository):
    repository.delegate("targets/releases", [SigningKey()], paths=["2."])
    repository.delegate("targets/releases/nightly", [SigningKey()], paths=["2.0-", "1."])
    repository.delegate("targets/none", [SigningKey()], paths=[])
    repository.tag("2.0", TWO, "targets/releases")
    repository.tag("1.5", TWO, "targets/releases")
    repository.tag("2.0-n1", THREE, "targets/releases/nightly")
    repository.tag("1.9", THREE, "targets/releases/nightly")
    repository.tag("2.5", THREE, "targets/releases/nightly")
    repository.tag("2.9", THREE, "targets/none")
    assert parts_of(repository).tags == (
        ("1.4.2", ONE, "targets"),
        ("2.0", TWO, "targets/releases"),
        ("2.0-n1", THREE, "targets/releases/nightly"),
    )


def test_a_delegation_that_was_never_published_says_nothing(repository):
    repository.delegate("targets/releases", [SigningKey()])
    repository.delegations["targets/releases"].published = False
    assert parts_of(repository).tags == (("1.4.2", ONE, "targets"),)


def test_names_that_are_no_tags_are_of_no_concern(repository):
    repository.tag("a/path", TWO)
    repository.tag("", TWO)
    repository.tag("x" * 129, TWO)
    assert parts_of(repository).subjects == (ONE,)


# ------------------------------------------------------------------------------------------------- pins and rotations


def test_without_the_pinned_key_the_metadata_is_nobodys(repository):
    parts = parts_of(repository, SigningKey())
    assert parts.chains == ()
    assert parts.undecided == ("authority",)
    assert parts.algorithm == parts.signed_repository == ""
    assert trustdata_fact_parts(packed(repository), NO_MATERIAL).undecided == ("authority",)


def test_a_root_key_that_was_rotated_out_stands_behind_nothing(repository):
    old = repository.root.keys[0]
    new = SigningKey("p256", GUN)
    repository.root = Role([new], signers=[new, old])  # the old one signs the change, as rotation demands
    assert parts_of(repository, old).chains == ()
    assert [chain.key_ids for chain in parts_of(repository, new).chains] == [(new.spki_id,)]


def test_a_pinned_key_that_is_listed_and_did_not_sign_stands_behind_nothing(repository):
    """An attacker may list the victim's key beside his own, with a threshold of one."""
    victim, attacker = repository.root.keys[0], SigningKey("p256", GUN)
    repository.root = Role([attacker, victim], signers=[attacker])
    parts = parts_of(repository, victim)
    assert parts.chains == ()
    assert parts.undecided == ("authority",)


def test_every_pinned_key_that_signed_is_told(repository):
    keys = [SigningKey("p256", GUN), SigningKey("ed25519"), SigningKey("p384")]
    repository.root = Role(keys, threshold=2)
    parts = parts_of(repository, *keys)
    assert {chain.key_ids[0] for chain in parts.chains} == {key.spki_id for key in keys}
    assert len({chain.authority for chain in parts.chains}) == 3


def test_a_key_and_its_certificate_are_one_authority(repository):
    key = repository.root.keys[0]
    (from_key,) = read_root_keys(key.pem)
    (from_certificate,) = read_root_keys(key.certificate.decode())
    assert from_key.id == from_certificate.id
    assert from_certificate.valid_until == parse_instant("2035-12-30T00:00:00Z")
    assert from_certificate.label == f"CN={GUN}"
    assert len(read_root_keys(key.pem + key.certificate.decode())) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "whole PEM blocks, got 0"),
        ("no key here", "whole PEM blocks, got 0"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n", "whole PEM blocks, got 0"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "block 1"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "block 1"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "block 1"),
        ("-----BEGIN EC PRIVATE" + " KEY-----\nc2VjcmV0\n-----END EC PRIVATE" + " KEY-----", "private key"),
        ("x" * 1_000_000, "limit"),
    ],
)
def test_what_is_no_root_key_is_refused(content, says):
    with pytest.raises(TrustError, match=says) as caught:
        read_root_keys(content)
    assert "c2VjcmV0" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------- what is refused


def change(files: dict[str, bytes], name: str, by) -> dict[str, bytes]:
    document = json.loads(files[name])
    by(document)
    return files | {name: json.dumps(document).encode()}


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "targets/releases"])
def test_a_tampered_file_of_any_role_is_refused_and_named(repository, role):
    repository.delegate("targets/releases", [SigningKey()])
    files = repository.files()
    error = refused(change(files, f"{role}.json", lambda document: document["signed"].update(version=99)))
    assert error.code == "trust-data-invalid"
    assert role in str(error)


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_signature_by_a_stranger_is_none(repository, role):
    setattr(repository, role, Role(getattr(repository, role).keys, signers=[SigningKey()]))
    error = refused(repository)
    assert error.code == "trust-data-invalid"
    assert str(error).startswith(f"{role}: signed by 0 of its keys, threshold 1")


def test_the_delegations_own_keys_count_and_no_others(repository):
    repository.delegate("targets/releases", [SigningKey()])
    repository.delegations["targets/releases"].role.signers = repository.targets.keys
    assert str(refused(repository)).startswith("targets/releases: signed by 0 of its keys")


@pytest.mark.parametrize(("threshold", "signers", "good"), [(2, 2, True), (2, 1, False), (3, 2, False), (1, 1, True)])
def test_thresholds(repository, threshold, signers, good):
    keys = [SigningKey() for _ in range(3)]
    repository.targets = Role(keys, threshold, keys[:signers])
    if good:
        assert parts_of(repository).chains
    else:
        assert f"signed by {signers} of its keys, threshold {threshold}" in str(refused(repository))


def test_one_key_signing_twice_is_one_signer(repository):
    key = SigningKey()
    repository.targets = Role([key, SigningKey()], 2, [key, key, key])
    assert "signed by 1 of its keys, threshold 2" in str(refused(repository))


def test_one_key_in_two_certificates_is_one_signer(repository):
    key = SigningKey("p256", "one")
    again = key.recertified("two")
    assert key.id != again.id
    repository.targets = Role([key, again], 2, [key, again])
    assert "signed by 1 of its keys, threshold 2" in str(refused(repository))


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_that_nobody_needs_to_reach_is_refused(repository, threshold):
    repository.snapshot.threshold = threshold
    repository.snapshot.signers = []
    assert f"a threshold of {threshold}" in str(refused(repository))


def test_a_key_under_the_id_of_another_is_refused(repository):
    key, other = SigningKey(), SigningKey()

    class Impostor(SigningKey):
        id = other.id

    key.__class__ = Impostor
    repository.targets = Role([key])
    assert "under the id of another key" in str(refused(repository))


def test_the_method_a_signature_names_is_the_only_one_tried(repository):
    key = SigningKey("rsa")
    repository.targets = Role([key])

    def lie(document):
        for signature in document["signatures"]:
            signature["method"] = "ecdsa"

    files = change(repository.files(), "targets.json", lie)
    files["snapshot.json"] = signed_file(
        {
            "_type": "Snapshot",
            "expires": LATER,
            "version": 1,
            "meta": meta({"root": files["root.json"], "targets": files["targets.json"]}),
        },
        repository.snapshot.keys,
    )
    files["timestamp.json"] = signed_file(
        {"_type": "Timestamp", "expires": LATER, "version": 1, "meta": meta({"snapshot": files["snapshot.json"]})},
        repository.timestamp.keys,
    )
    assert str(refused(files)).startswith("targets: signed by 0 of its keys")


def test_mix_and_match_of_two_versions_is_refused(repository):
    """Every file is well signed; together they never were the repository."""
    old = repository.files()
    repository.tag("1.4.2", TWO)
    repository.versions = {"targets": 2, "snapshot": 2, "timestamp": 2}
    new = repository.files()
    for name in ("targets.json", "snapshot.json"):
        error = refused(new | {name: old[name]})
        assert error.code == "trust-data-invalid"
        assert name.removesuffix(".json") in str(error)


def test_a_role_cannot_stand_in_for_another(repository):
    files = repository.files()
    error = refused(files | {"timestamp.json": files["snapshot.json"]})
    assert error.code == "trust-data-invalid"
    repository.timestamp = Role(repository.snapshot.keys)
    files = repository.files()
    error = refused(files | {"timestamp.json": files["snapshot.json"]})
    assert error.code == "trust-data-malformed"


@pytest.mark.parametrize("name", ["root", "targets", "snapshot", "timestamp", "targets/releases"])
def test_a_missing_file_is_named(repository, name):
    repository.delegate("targets/releases", [SigningKey()])
    files = repository.files()
    del files[f"{name}.json"]
    error = refused(files)
    assert error.code == "trust-data-invalid"
    assert str(error) == f"{name}: the metadata file is missing"


@pytest.mark.parametrize("name", ["targets/a/b/c", "elsewhere/a", "targets", "targets/../x", "targets/A", "targets/"])
def test_a_role_delegates_only_directly_below_itself(repository, name):
    repository.delegate("targets/x", [SigningKey()])
    files = repository.files()
    document = json.loads(files["targets.json"])["signed"]
    document["delegations"]["roles"][0]["name"] = name
    files["targets.json"] = signed_file(document, repository.targets.keys)
    files["snapshot.json"] = signed_file(
        {
            "_type": "Snapshot",
            "expires": LATER,
            "version": 1,
            "meta": meta({"root": files["root.json"], "targets": files["targets.json"]}),
        },
        repository.snapshot.keys,
    )
    files["timestamp.json"] = signed_file(
        {"_type": "Timestamp", "expires": LATER, "version": 1, "meta": meta({"snapshot": files["snapshot.json"]})},
        repository.timestamp.keys,
    )
    assert "not directly below it" in str(refused(files))


def test_trust_data_of_another_repository_is_refused(repository):
    evidence = evidence_of(pack_trust_data("registry.example.com/other", repository.files()))
    with pytest.raises(EvidenceError, match="filed under") as caught:
        trustdata_fact_parts(evidence, NO_MATERIAL)
    assert caught.value.code == "trust-data-invalid"


# ---------------------------------------------------------------------------------------------------------- hostile


def file_of(text: str) -> dict[str, bytes]:
    return {"root.json": text.encode()}


HOSTILE_FILES = {
    "no JSON": "{",
    "a list": "[]",
    "a member twice": '{"signed": {}, "signed": {}, "signatures": []}',
    "nothing signed": '{"signatures": []}',
    "deep": '{"signed": ' + '{"a":' * 20 + "1" + "}" * 20 + "}",
    "very deep": "[" * 100_000,
    "a fraction": '{"signed": {"a": 1.5}}',
    "keys are a list": '{"signed": {"_type": "Root", "expires": "x", "version": 1, "keys": [], "roles": {}}}',
    "roles are missing": '{"signed": {"_type": "Root", "expires": "x", "version": 1, "keys": {}}}',
    "another type": '{"signed": {"_type": "root", "expires": "x", "version": 1, "keys": {}, "roles": {}}}',
    "an object as private half": '{"signed": {"_type": "Root", "expires": "x", "version": 1, "keys": {"a": {"keytype":'
    ' "ecdsa", "keyval": {"public": "", "private": {"d": [1]}}}}, "roles": {}}}',
    "a lone surrogate": '{"signed": {"a": "\\ud800"}}',
    "many objects": '{"signed": {"a": [' + "{}," * 20_000 + "{}]}}",
    "many numbers": '{"signed": {"a": [' + "0," * 250_000 + "0]}}",
    "many escapes": '{"signed": {"a": "' + "\\u0000" * 80_000 + '"}}',
    "many signatures": '{"signed": {}, "signatures": ['
    + ",".join(['{"keyid": "a", "method": "b", "sig": "c"}'] * 33)
    + "]}",
}


@pytest.mark.parametrize("text", HOSTILE_FILES.values(), ids=HOSTILE_FILES.keys())
def test_hostile_files_are_refused(text):
    evidence = packed(file_of(text))
    start = time.process_time()
    with pytest.raises(EvidenceError) as caught:
        trustdata_fact_parts(evidence, NO_MATERIAL)
    assert time.process_time() - start < 0.5  # at most some 40 ms on a quiet machine
    error = caught.value
    assert error.code in {"trust-data-malformed", "limit-exceeded"}
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b'{"gun": "a"}',
        canonical_json({"gun": GUN, "files": {}, "more": 1}),
        canonical_json({"gun": GUN, "files": {"../root.json": ""}}),
        canonical_json({"gun": GUN, "files": {"targets/../../x.json": ""}}),
        canonical_json({"gun": GUN, "files": {"root.json": "not base64!"}}),
        canonical_json({"gun": GUN, "files": {f"targets/d{n}.json": "" for n in range(FILES + 1)}}),
        b'{"gun":"a","gun":"b","files":{}}',
    ],
)
def test_hostile_containers_are_refused(payload):
    with pytest.raises(EvidenceError) as caught:
        trustdata_fact_parts(evidence_of(payload), NO_MATERIAL)
    assert caught.value.code in {"trust-data-malformed", "limit-exceeded"}


@pytest.mark.parametrize("expires", ["", "never", "2030-01-01", "2030-13-01T00:00:00Z", "2030-01-01T00:00:00"])
def test_an_expiry_that_is_no_time_is_refused(repository, expires):
    repository.expires = {"targets": expires}
    error = refused(repository)
    assert error.code == "trust-data-malformed"
    assert "targets: expires" in str(error)


@pytest.mark.parametrize("raw", ["", "AAAA", base64.b64encode(bytes(33)).decode(), "*", None])
def test_a_digest_that_is_none_is_refused(repository, raw):
    repository.entries["bad"] = {"hashes": {"sha512": "AAAA"} if raw is None else {"sha256": raw}, "length": 1}
    assert refused(repository).code == "trust-data-malformed"


def test_more_tags_keys_or_checks_than_anybody_needs_are_refused(repository):
    repository.entries = {f"t{n}": repository.entries["1.4.2"] for n in range(TAGS + 1)}
    assert refused(repository).code == "limit-exceeded"
    repository.entries = {}
    repository.extra_keys = [SigningKey(seed=n + 1) for n in range(KEYS)]
    assert refused(repository).code == "limit-exceeded"


def test_signatures_that_cost_and_do_not_count_are_limited(repository):
    """Thirty-two signatures under one key id in each file: all are tried, until enough is enough."""
    key = SigningKey("p521")
    files = repository.files()
    signed = json.loads(files["root.json"])["signed"]
    signed["keys"] |= {key.id: key.listed}
    for role in signed["roles"].values():
        role["keyids"] = [key.id]
    wrong = key.sign(b"something else")
    good = key.sign(canonical_by_hand(signed))
    files["root.json"] = json.dumps({"signed": signed, "signatures": [wrong] * 31 + [good]}).encode()
    timestamp = json.loads(files["timestamp.json"])["signed"]
    files["timestamp.json"] = json.dumps({"signed": timestamp, "signatures": [wrong] * 32}).encode()
    assert "signed by 0 of its keys" in str(refused(files))


def test_keys_that_are_not_accepted_count_for_no_threshold(repository):
    files = repository.files()
    signed = json.loads(files["root.json"])["signed"]
    for public in (b"", b"junk", bytes(31), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"):
        for keytype in ("ecdsa", "rsa", "ed25519", "ecdsa-x509", "rsa-x509", "x25519", ""):
            listed = {"keytype": keytype, "keyval": {"private": None, "public": base64.b64encode(public).decode()}}
            name = hashlib.sha256(canonical_by_hand(listed)).hexdigest()
            signed["keys"][name] = listed
            signed["roles"]["root"]["keyids"].append(name)
    signed["roles"]["root"]["threshold"] = 2
    files["root.json"] = signed_file(signed, repository.root.keys)
    assert "root: signed by 1 of its keys, threshold 2" in str(refused(files))


@given(st.binary(max_size=60), st.integers(0, 4000))
@settings(max_examples=150)
def test_flipped_bytes_are_an_error_or_the_same_answer(junk, at):
    files = dict(GOOD_FILES)
    name = sorted(files)[at % len(files)]
    data = bytearray(files[name])
    place = at % len(data)
    data[place : place + len(junk)] = junk
    files[name] = bytes(data)
    answer = answer_of(files)
    if isinstance(answer, EvidenceError):
        assert answer.code in {"trust-data-malformed", "trust-data-invalid", "limit-exceeded"}
    else:
        assert answer.subjects == (ONE, TWO)


def answer_of(files: dict[str, bytes]) -> TrustDataParts | EvidenceError:
    try:
        return trustdata_fact_parts(packed(files), GOOD_MATERIAL)
    except EvidenceError as error:
        return error


GOOD = TrustData(GUN)
GOOD.delegate("targets/releases", [SigningKey()])
GOOD.tag("1.4.2", ONE)
GOOD.tag("2.0", TWO, "targets/releases")
GOOD_FILES = GOOD.files()
GOOD_MATERIAL = pinned(*GOOD.root.keys)


def test_a_large_repository_is_read_quickly():
    made = TrustData(GUN)
    for n in range(TAGS):
        made.tag(f"tag-{n}", f"sha256:{n:064x}")
    evidence, material = packed(made), pinned(*made.root.keys)
    best = min(_seconds(lambda: trustdata_fact_parts(evidence, material)) for _ in range(3))
    assert len(trustdata_fact_parts(evidence, material).subjects) == TAGS
    assert best < 0.25  # some 30 ms on a quiet machine


def _seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


# ------------------------------------------------------------------------------------------------------------ places


def test_an_image_is_concerned_when_its_digest_is_listed(repository):
    payload = pack_trust_data(GUN, repository.files())
    assert listed_digests(payload) == frozenset({ONE})
    repository.delegate("targets/releases", [SigningKey()])
    repository.tag("2.0", TWO, "targets/releases")
    assert listed_digests(pack_trust_data(GUN, repository.files())) == frozenset({ONE, TWO})
    assert listed_digests(b"broken") is None  # a fact shall say what is wrong


def test_the_same_files_are_the_same_evidence(repository):
    files = repository.files()
    shuffled = dict(reversed(files.items()))
    assert pack_trust_data(GUN, files) == pack_trust_data(GUN, shuffled)
    with pytest.raises(EvidenceError):
        pack_trust_data(GUN, {"root.json": bytes(1024 * 1024)})
