"""Notary Project envelopes: every algorithm in both forms, every rule of the envelope, and the attacks on each."""

import json
import random
import time
from functools import cache
from typing import Any

import pytest

from tests.helpers.notation import (
    AUTHORITY,
    COSE_NUMBERS,
    DIGEST,
    KEY_TYPES,
    MANIFEST,
    PAYLOAD_TYPE,
    PREFIX,
    SUBJECT,
    X509,
    Raw,
    Tag,
    b64url,
    cbor,
    envelope,
    notation_evidence,
    pairs,
    primitive,
    target,
)
from tests.helpers.pki import DAY, SECOND, T0, Ca, Leaf, make_key
from verifier.errors import EvidenceError
from verifier.evidence.envelope import NOTATION_ENVELOPE_BYTES, PROTECTED_BYTES
from verifier.evidence.material import NO_MATERIAL
from verifier.evidence.notation import (
    NotationContent,
    check_target,
    notation_fact_parts,
    read_notation,
    verify_envelope,
)

FORMS = ("jws", "cose")
LEAF: dict[str, Any] = {"subject": SUBJECT, "not_before": T0, "not_after": T0 + 365 * DAY}


@cache
def root() -> Ca:
    return Ca.root("notary root")


@cache
def leaf(key_type: str = "p256", name: str = "signer") -> Leaf:
    return root().leaf(name, key_type, **LEAF)


def read(data: bytes, form: str) -> NotationContent:
    return read_notation(notation_evidence(data, form))


def refused(data: bytes, form: str) -> tuple[str, str]:
    with pytest.raises(EvidenceError) as caught:
        read(data, form)
    return caught.value.code, str(caught.value)


both = pytest.mark.parametrize("form", FORMS)


# --------------------------------------------------------------------------------------------------- what is said, and


@both
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_every_algorithm_in_both_forms(form, key_type):
    content = read(envelope(leaf(key_type), form), form)
    assert (content.alg, verify_envelope(content)) == KEY_TYPES[key_type]
    assert content.certificates == (leaf(key_type).certificate, root().certificate)


@both
def test_everything_that_is_said(form):
    annotated = json.dumps({"targetArtifact": target(annotations={"b": "2", "a": "1"}, artifactType="x/y")}).encode()
    content = read(envelope(leaf(), form, payload=annotated, expiry=T0 + DAY, at=T0 + SECOND, timestamp=b"token"), form)
    assert (content.scheme, content.claimed_time, content.expiry) == (X509, T0 + SECOND, T0 + DAY)
    assert (content.target.digest, content.target.size, content.target.media_type) == (DIGEST, 528, MANIFEST)
    assert content.annotations == (("a", "1"), ("b", "2"))
    assert (content.timestamp, content.agent) == (b"token", "tests/1")
    assert verify_envelope(content)


@both
def test_a_signing_authority(form):
    content = read(envelope(leaf(), form, scheme=AUTHORITY, at=T0 + SECOND), form)
    assert (content.scheme, content.claimed_time, content.timestamp) == (AUTHORITY, T0 + SECOND, None)
    assert verify_envelope(content) == "ecdsa-p256-sha256"


@both
def test_attributes_that_are_not_critical_may_be_unknown(form):
    content = read(envelope(leaf(), form, attributes={"com.example.note": "x", "deep": {"a": [1, {"b": None}]}}), form)
    assert verify_envelope(content)


@both
def test_a_critical_attribute_may_be_one_that_is_understood_without_having_to_be_critical(form):
    crit = [PREFIX + "signingScheme", PREFIX + "signingTime"]
    assert verify_envelope(read(envelope(leaf(), form, crit=crit), form))


# ------------------------------------------------------------------------------------------------------ bad signatures


def spoil_jws(data: bytes, member: str, change) -> bytes:
    parts = json.loads(data)
    parts[member] = change(parts[member])
    return json.dumps(parts).encode()


@both
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_attack_a_changed_bit_anywhere_in_the_signature(form, key_type):
    content = read(envelope(leaf(key_type), form), form)
    for at in (0, len(content.signature) // 2, len(content.signature) - 1):
        raw = bytearray(content.signature)
        raw[at] ^= 1
        assert verify_envelope(_with(content, signature=bytes(raw))) == ""


def _with(content: NotationContent, **changes) -> NotationContent:
    return NotationContent(**{name: getattr(content, name) for name in content.__struct_fields__} | changes)


@both
@pytest.mark.parametrize("key_type", ["rsa2048", "p256", "p521"])
@pytest.mark.parametrize("length", ["empty", "short", "long", "zero", "padded inside"])
def test_attack_signatures_of_another_length(form, key_type, length):
    content = read(envelope(leaf(key_type), form), form)
    raw = content.signature
    half = len(raw) // 2
    wrong = {
        "empty": b"",
        "short": raw[1:],
        "long": raw + b"\0",
        "zero": bytes(len(raw)),
        "padded inside": raw[:half] + b"\0" + raw[half:],  # the same r and s, for a reader that cuts at the field
    }[length]
    assert verify_envelope(_with(content, signature=wrong)) == ""


@both
def test_attack_another_payload_under_the_signature(form):
    """The forger keeps protected header and signature and swaps what is signed."""
    other = json.dumps({"targetArtifact": target(digest="sha256:" + "b2" * 32)}).encode()
    good = envelope(leaf(), form)
    if form == "jws":
        data = spoil_jws(good, "payload", lambda _: b64url(other))
    else:
        body = json.dumps({"targetArtifact": target()}).encode()
        assert good.count(cbor(body)) == 1
        data = good.replace(cbor(body), cbor(other))
    content = read(data, form)
    assert content.target.digest == "sha256:" + "b2" * 32
    assert verify_envelope(content) == ""


@both
def test_attack_a_longer_expiry_under_the_signature(form):
    good, longer = (envelope(leaf(), form, expiry=T0 + days * DAY) for days in (1, 900))
    if form == "jws":
        data = spoil_jws(good, "protected", lambda _: json.loads(longer)["protected"])
    else:
        data = good.replace(cbor(Tag(1, (T0 + DAY) // SECOND)), cbor(Tag(1, (T0 + 900 * DAY) // SECOND)))
    content = read(data, form)
    assert content.expiry == T0 + 900 * DAY
    assert verify_envelope(content) == ""


@both
@pytest.mark.parametrize("key_type", ["rsa2048", "p384"])
def test_attack_somebody_elses_key_with_my_certificate(form, key_type):
    thief = make_key("thief", key_type)
    assert verify_envelope(read(envelope(leaf(key_type), form, key=thief), form)) == ""


@both
@pytest.mark.parametrize("salt", [0, 20, 31, 33, 222])
def test_attack_a_salt_of_another_length_than_the_hash(form, salt):
    assert verify_envelope(read(envelope(leaf("rsa2048"), form, salt=salt), form)) == ""
    assert verify_envelope(read(envelope(leaf("rsa2048"), form, salt=32), form)) == "rsa-pss-sha256"


def test_attack_pkcs1_padding_is_not_pss():
    content = read(envelope(leaf("rsa2048"), "jws"), "jws")
    assert verify_envelope(_with(content, signature=leaf("rsa2048").sign(content.signed))) == ""


@both
def test_attack_der_instead_of_raw_ecdsa(form):
    content = read(envelope(leaf(), form), form)
    assert verify_envelope(_with(content, signature=leaf().sign(content.signed))) == ""


def test_attack_a_jws_signature_does_not_serve_a_cose_envelope():
    jws, cose = (read(envelope(leaf(), form), form) for form in FORMS)
    assert verify_envelope(_with(cose, signature=jws.signature)) == ""


# ----------------------------------------------------------------------------------------------------------- algorithm


@both
@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("alg", COSE_NUMBERS)
def test_attack_an_algorithm_the_leaf_key_does_not_imply(form, key_type, alg):
    data = envelope(leaf(key_type), form, alg=alg)
    if alg == KEY_TYPES[key_type][0]:
        assert verify_envelope(read(data, form))
    else:
        assert refused(data, form)[0] == "algorithm-mismatch"


@pytest.mark.parametrize("alg", ["none", "HS256", "RS256", "EdDSA", "ps256", "ES256K", " PS256"])
def test_attack_algorithms_of_jose_that_the_notary_project_does_not_have(alg):
    assert refused(envelope(leaf("rsa2048"), "jws", alg=alg), "jws")[0] == "algorithm-mismatch"


def test_attack_the_public_key_as_a_mac_key():
    """`HS256` with the certificate as the secret, the oldest trick against JWS."""
    code, says = refused(envelope(leaf("rsa2048"), "jws", alg="HS256"), "jws")
    assert (code, "PS256" in says) == ("algorithm-mismatch", True)


@both
@pytest.mark.parametrize("key_type", ["ed25519", "rsa2056"])
def test_keys_without_an_algorithm_are_not_judged(form, key_type):
    odd = root().leaf("odd", key_type, **LEAF)
    data = envelope(odd, form, key=make_key("any"))
    assert refused(data, form)[0] == "unsupported-evidence"


# ---------------------------------------------------------------------------------------------------------- attributes


@both
def test_attack_an_unknown_critical_attribute_is_named(form):
    data = envelope(
        leaf(), form, attributes={"com.example.must": "x"}, crit=[PREFIX + "signingScheme", "com.example.must"]
    )
    code, says = refused(data, form)
    assert (code, "'com.example.must'" in says) == ("critical-attribute-unknown", True)


def test_attack_an_unknown_critical_label_that_is_a_number():
    data = envelope(leaf(), "cose", attributes={99: "x"}, crit=[PREFIX + "signingScheme", 99])
    assert refused(data, "cose") == ("critical-attribute-unknown", "critical attribute '99' is not known here")


def test_attack_a_text_label_does_not_pass_for_the_number():
    """`"1"` and `"alg"` are other labels than 1."""
    for label in ("1", "alg", "crit", "cty"):
        data = envelope(leaf(), "cose", attributes={label: "x"}, crit=[PREFIX + "signingScheme", label])
        assert refused(data, "cose")[0] == "critical-attribute-unknown"


@both
@pytest.mark.parametrize("name", ["verificationPlugin", "verificationPluginMinVersion"])
@pytest.mark.parametrize("critical", [True, False])
def test_attack_a_plugin_is_never_left_out(form, name, critical):
    crit = [PREFIX + "signingScheme", *([PREFIX + name] if critical else [])]
    code, says = refused(envelope(leaf(), form, attributes={PREFIX + name: "1.0.0"}, crit=crit), form)
    assert (code, PREFIX + name in says) == ("verification-plugin-required", True)


@both
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"crit": []}, "signingScheme is not marked critical"),
        ({"crit": [PREFIX + "expiry"], "expiry": T0 + DAY}, "signingScheme is not marked critical"),
        ({"crit": [PREFIX + "signingScheme"], "expiry": T0 + DAY}, "expiry is not marked critical"),
        ({"crit": [PREFIX + "signingScheme"], "scheme": AUTHORITY}, "authenticSigningTime is not marked critical"),
        ({"crit": [PREFIX + "signingScheme"] * 2}, "twice"),
        ({"crit": [PREFIX + "signingScheme", PREFIX + "expiry"]}, "listed as critical and absent"),
        ({"expiry": T0}, "expires before"),
        ({"expiry": T0 - DAY}, "expires before"),
        ({"drop": [PREFIX + "signingTime"]}, "signing time"),
        ({"drop": [PREFIX + "authenticSigningTime"], "scheme": AUTHORITY}, "authenticSigningTime"),
        ({"attributes": {PREFIX + "authenticSigningTime": T0}}, "authenticSigningTime"),
        ({"attributes": {PREFIX + "signingTime": T0}, "scheme": AUTHORITY}, "signing time"),
        ({"drop": [PREFIX + "signingScheme"]}, "signingScheme"),
        ({"attributes": {PREFIX + "signingTime": "yesterday"}}, "signingTime"),
        ({"attributes": {PREFIX + "signingTime": [1]}}, "signingTime"),
    ],
)
def test_attack_attributes_that_break_a_rule(form, options, says):
    code, found = refused(envelope(leaf(), form, **options), form)
    assert code == "envelope-malformed"
    assert says in found or form == "jws"


@both
def test_an_authority_with_both_times_and_both_critical(form):
    crit = [PREFIX + "signingScheme", PREFIX + "authenticSigningTime"]
    data = envelope(leaf(), form, attributes={PREFIX + "authenticSigningTime": T0}, crit=crit)
    code, says = refused(data, form)
    assert (code, "the one that scheme notary.x509 demands" in says) == ("envelope-malformed", True)


@both
def test_schemes_and_content_types_that_are_not_known(form):
    assert refused(envelope(leaf(), form, scheme="notary.x510"), form)[0] == "unsupported-evidence"
    assert refused(envelope(leaf(), form, cty="application/json"), form)[0] == "unsupported-evidence"
    assert refused(envelope(leaf(), form, cty=PAYLOAD_TYPE.upper()), form)[0] == "unsupported-evidence"


@both
def test_too_many_attributes(form):
    many = {f"a{n}": "x" for n in range(64)}
    assert refused(envelope(leaf(), form, attributes=many), form)[0] == "limit-exceeded"


def test_another_format_is_no_notation():
    with pytest.raises(EvidenceError) as caught:
        read_notation(_formatted(b"{}", "cosign-dsse"))
    assert caught.value.code == "unsupported-evidence"


def _formatted(data, name):
    evidence = notation_evidence(data, "jws")
    return type(evidence)(**{f: getattr(evidence, f) for f in evidence.__struct_fields__} | {"format": name})


# ------------------------------------------------------------------------------------------------------------- payload


@both
@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "envelope-malformed"),
        (b"[]", "envelope-malformed"),
        (b"{}", "envelope-malformed"),
        (b'{"targetArtifact":null}', "envelope-malformed"),
        (json.dumps({"targetArtifact": target(digest=None)}).encode(), "envelope-malformed"),
        (json.dumps({"targetArtifact": target(size=None)}).encode(), "envelope-malformed"),
        (json.dumps({"targetArtifact": target(mediaType=None)}).encode(), "envelope-malformed"),
        (json.dumps({"targetArtifact": target(mediaType="")}).encode(), "envelope-malformed"),
        (json.dumps({"targetArtifact": target(size=-1)}).encode(), "envelope-malformed"),
        (json.dumps({"targetArtifact": target(size="528")}).encode(), "envelope-malformed"),
        (json.dumps({"targetArtifact": target(size=528.5)}).encode(), "envelope-malformed"),
        (json.dumps({"targetArtifact": target(annotations={"a": 1})}).encode(), "envelope-malformed"),
        (json.dumps({"targetArtifact": target(digest="sha512:" + "0" * 128)}).encode(), "unsupported-evidence"),
        (json.dumps({"targetArtifact": target(digest=DIGEST.upper())}).encode(), "unsupported-evidence"),
        (json.dumps({"targetArtifact": target(mediaType="x" * 2000)}).encode(), "limit-exceeded"),
        (
            json.dumps({"targetArtifact": target(annotations={f"{n}": "" for n in range(99)})}).encode(),
            "limit-exceeded",
        ),
        (json.dumps({"targetArtifact": target()}).encode() + b"{}", "envelope-malformed"),
        (b"\xef\xbb\xbf" + json.dumps({"targetArtifact": target()}).encode(), "envelope-malformed"),
        (b"[" * 5000, "limit-exceeded"),
    ],
)
def test_attack_payloads(form, payload, code):
    assert refused(envelope(leaf(), form, payload=payload), form)[0] == code


@both
def test_attack_two_targets_in_one_payload(form):
    """The first is what one parser sees, the second what another does."""
    one, two = (json.dumps(target(digest="sha256:" + c * 64)) for c in "ab")
    payload = f'{{"targetArtifact":{one},"targetArtifact":{two}}}'.encode()
    assert "twice" in refused(envelope(leaf(), form, payload=payload), form)[1]
    inside = json.dumps({"targetArtifact": target()})[:-2] + f',"digest":"sha256:{"c" * 64}"}}}}'
    assert "twice" in refused(envelope(leaf(), form, payload=inside.encode()), form)[1]


@both
def test_attack_a_target_in_other_capitals(form):
    one, two = (json.dumps(target(digest="sha256:" + c * 64)) for c in "ab")
    payload = f'{{"targetArtifact":{one},"TargetArtifact":{two}}}'.encode()
    assert "capitals" in refused(envelope(leaf(), form, payload=payload), form)[1]


@both
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"revet__subject__size": "528", "revet__subject__mediaType": MANIFEST}, ""),
        ({"subject": "sha256:" + "b2" * 32}, "the signed digest is"),
        ({"revet__subject__size": "529"}, "the signed size is"),
        ({"revet__subject__size": "0528"}, "expected a decimal"),
        ({"revet__subject__size": " 528"}, "expected a decimal"),
        ({"revet__subject__size": ""}, "expected a decimal"),
        ({"revet__subject__size": "५२८"}, "expected a decimal"),
        ({"revet__subject__mediaType": "application/vnd.oci.image.index.v1+json"}, "the signed media type is"),
        ({"revet__subject__mediaType": ""}, "the signed media type is"),
    ],
)
def test_the_target_is_the_manifest(form, changes, says):
    evidence = notation_evidence(envelope(leaf(), form), form, **changes)
    content = read_notation(evidence)
    if not says:
        check_target(content, evidence)
        return
    with pytest.raises(EvidenceError, match=says) as caught:
        check_target(content, evidence)
    assert caught.value.code == "payload-digest-mismatch"
    with pytest.raises(EvidenceError):
        notation_fact_parts(evidence, NO_MATERIAL)


# ----------------------------------------------------------------------------------------------------- shape, JWS first


def jws_with(**changes) -> bytes:
    parts = json.loads(envelope(leaf(), "jws"))
    for name, value in changes.items():
        if value is None:
            del parts[name]
        else:
            parts[name] = value(parts[name]) if callable(value) else value
    return json.dumps(parts).encode()


def header_with(**changes):
    return lambda header: {k: v for k, v in (header | changes).items() if v is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": None},
        {"protected": None},
        {"header": None},
        {"signature": None},
        {"signature": ""},
        {"payload": ""},
        {"protected": ""},
        {"payload": lambda text: text + "="},
        {"payload": lambda text: text + "\n"},
        {"payload": lambda text: " " + text},
        {"payload": "é"},
        {"signature": lambda text: text[:-1] + "é"},
        {"signature": 5},
        {"protected": b64url(b"not json")},
        {"protected": b64url(b"[]")},
        {"protected": b64url(b'{"alg":"ES256"}')},
        {"header": header_with(x5c=None)},
        {"header": header_with(x5c=[])},
        {"header": header_with(x5c="")},
        {"header": header_with(x5c=["****"])},
        {"header": header_with(**{PREFIX + "timestampSignature": "***"})},
        {"header": header_with(**{PREFIX + "signingAgent": 7})},
    ],
)
def test_attack_jws_shapes(changes):
    assert refused(jws_with(**changes), "jws")[0] == "envelope-malformed"


def test_attack_the_general_serialisation_beside_the_flattened_one():
    parts = json.loads(envelope(leaf(), "jws")) | {"signatures": [{"protected": "", "signature": ""}]}
    assert "signatures" in refused(json.dumps(parts).encode(), "jws")[1]


@pytest.mark.parametrize("member", ["payload", "protected", "signature", "header"])
def test_attack_a_member_twice(member):
    data = envelope(leaf(), "jws").decode()
    value = json.dumps(json.loads(data)[member])
    assert "twice" in refused(f'{data[:-1]}, "{member}": {value}}}'.encode(), "jws")[1]


@pytest.mark.parametrize("member", ["Payload", "PROTECTED", "Signature"])
def test_attack_a_member_in_other_capitals_which_go_would_read(member):
    data = json.loads(envelope(leaf(), "jws")) | {member: "AAAA"}
    assert "capitals" in refused(json.dumps(data).encode(), "jws")[1]


def protected_with(text: str) -> bytes:
    """The protected header of a good envelope with more members written behind it, signed again."""
    parts = json.loads(envelope(leaf(), "jws"))
    raw = json.dumps(
        {"alg": "ES256", "cty": PAYLOAD_TYPE, "crit": [PREFIX + "signingScheme"], PREFIX + "signingScheme": X509}
        | {PREFIX + "signingTime": "2026-01-01T00:00:00Z"}
    )
    protected = b64url((raw[:-1] + text + "}").encode())
    signature = primitive(leaf().key, "ES256", f"{protected}.{parts['payload']}".encode())
    return json.dumps(parts | {"protected": protected, "signature": b64url(signature)}).encode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f', "{PREFIX}signingScheme": "{AUTHORITY}"', "twice"),
        (', "alg": "none"', "twice"),
        (f', "{PREFIX}Expiry": "2027-01-01T00:00:00Z"', "capitals"),
        (', "ALG": "none"', "capitals"),
        (f', "{PREFIX}EXPIRY": null', "capitals"),
        (f', "{PREFIX}expiry": "2027-01-01"', "RFC 3339"),
        (f', "{PREFIX}expiry": "2027-01-01T00:00:00"', "RFC 3339"),
        (f', "{PREFIX}expiry": 1798761600', ""),
        (', "x": NaN', ""),
        (', "x": 1e999', ""),
    ],
)
def test_attack_protected_headers_with_two_meanings(text, says):
    code, found = refused(protected_with(text), "jws")
    assert (code, says in found) == ("envelope-malformed", True)


def test_a_header_member_that_is_null_is_absent():
    content = read(protected_with(f', "{PREFIX}expiry": null'), "jws")
    assert (content.expiry, verify_envelope(content)) == (None, "ecdsa-p256-sha256")


@pytest.mark.parametrize("name", ["alg", "cty", "crit"])
def test_attack_critical_names_that_rfc_7515_forbids(name):
    assert "forbids" in refused(envelope(leaf(), "jws", crit=[PREFIX + "signingScheme", name]), "jws")[1]


def test_attack_an_unencoded_payload():
    """RFC 7797: `b64: false` has to be critical, and nobody here knows it."""
    data = envelope(leaf(), "jws", attributes={"b64": False}, crit=[PREFIX + "signingScheme", "b64"])
    assert refused(data, "jws")[0] == "critical-attribute-unknown"


@pytest.mark.parametrize("member", ["payload", "signature"])
def test_attack_padding_that_is_right_is_still_another_spelling(member):
    data = envelope(leaf(), "jws", payload=json.dumps({"targetArtifact": target(size=5280)}).encode())
    text = json.loads(data)[member]
    padding = "=" * (-len(text) % 4)
    assert padding
    assert "without padding" in refused(spoil_jws(data, member, lambda _: text + padding), "jws")[1]


def test_payload_bits_that_decoders_ignore_are_refused():
    parts = json.loads(envelope(leaf(), "jws", payload=json.dumps({"targetArtifact": target(size=5280)}).encode()))
    assert len(parts["payload"]) % 4
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    parts["payload"] = parts["payload"][:-1] + last[last.index(parts["payload"][-1]) + 1]
    assert refused(json.dumps(parts).encode(), "jws")[0] == "envelope-malformed"


# ---------------------------------------------------------------------------------------------------------------- COSE


def cose_with(*, protected=None, unprotected=None, tag=18, parts=None, wrap=None) -> bytes:
    header: dict[Any, Any] = {1: -7, 2: [PREFIX + "signingScheme"], 3: PAYLOAD_TYPE, PREFIX + "signingScheme": X509}
    header[PREFIX + "signingTime"] = Tag(1, T0 // SECOND)
    raw = cbor(header) if protected is None else protected
    body = json.dumps({"targetArtifact": target()}).encode()
    signature = primitive(leaf().key, "ES256", cbor(["Signature1", raw, b"", body]))
    chain = [leaf().certificate, root().certificate]
    items = [raw, {33: chain} if unprotected is None else unprotected, body, signature]
    message = cbor(items if parts is None else parts(items))
    return wrap(message) if wrap else cbor(Tag(tag, Raw(message)))


def header_cbor(**changes) -> bytes:
    base: dict[Any, Any] = {1: -7, 2: [PREFIX + "signingScheme"], 3: PAYLOAD_TYPE, PREFIX + "signingScheme": X509}
    base[PREFIX + "signingTime"] = Tag(1, T0 // SECOND)
    named = {"alg": 1, "crit": 2, "cty": 3}
    return cbor(
        {k: v for k, v in (base | {named.get(n, PREFIX + n): v for n, v in changes.items()}).items() if v != ()}
    )


def test_the_cose_maker_of_this_test_makes_good_ones():
    assert verify_envelope(read(cose_with(), "cose")) == "ecdsa-p256-sha256"
    assert verify_envelope(read(cose_with(protected=header_cbor()), "cose")) == "ecdsa-p256-sha256"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xf6",
        cose_with(wrap=lambda message: message),
        cose_with(tag=1),
        cose_with(parts=lambda items: items[:3]),
        cose_with(parts=lambda items: [*items, b""]),
        cose_with(parts=lambda items: [items[0], items[1], None, items[3]]),
        cose_with(parts=lambda items: [items[0], [], items[2], items[3]]),
        cose_with(parts=lambda items: [items[0], items[1], "text", items[3]]),
        cose_with(parts=lambda items: [items[0], items[1], items[2], b""]),
        cose_with() + b"\x00",
        cose_with(protected=b""),
        cose_with(protected=b"\x80"),
        cose_with(protected=header_cbor() + b"\x00"),
        cose_with(protected=header_cbor(alg=())),
        cose_with(protected=header_cbor(alg="ES256")),
        cose_with(protected=header_cbor(crit=())),
        cose_with(protected=header_cbor(crit="x")),
        cose_with(protected=header_cbor(crit=[[]])),
        cose_with(protected=header_cbor(crit=[True])),
        cose_with(protected=header_cbor(cty=())),
        cose_with(protected=header_cbor(cty=50)),
        cose_with(protected=header_cbor(signingScheme=b"notary.x509")),
        cose_with(protected=header_cbor(signingTime=T0 // SECOND)),
        cose_with(protected=header_cbor(signingTime=Tag(1, 1 << 60))),
        cose_with(protected=header_cbor(signingTime=Tag(1, -(1 << 60)))),
        cose_with(protected=header_cbor(signingTime=None)),
        cose_with(protected=header_cbor(note=Raw(b"\xfb" + bytes(8)))),
        cose_with(unprotected={}),
        cose_with(unprotected={33: leaf().certificate}),
        cose_with(unprotected={33: []}),
        cose_with(unprotected={33: ["text"]}),
        cose_with(unprotected={"33": [leaf().certificate]}),
        cose_with(unprotected={33: [leaf().certificate], 1: -7}),
        cose_with(unprotected={33: [leaf().certificate], PREFIX + "expiry": Tag(1, 5), 3: "x"}),
        cose_with(unprotected={33: [leaf().certificate], PREFIX + "timestampSignature": "text"}),
        cose_with(unprotected={33: [leaf().certificate], PREFIX + "signingAgent": b"bytes"}),
        cose_with(unprotected=Raw(pairs([(33, [leaf().certificate]), (33, [root().certificate])]))),
        cose_with(protected=pairs([(1, -7), (1, -37)])),
    ],
)
def test_attack_cose_shapes(data):
    assert refused(data, "cose")[0] == "envelope-malformed"


def test_attack_the_chain_in_the_signed_header_only():
    header = header_cbor()
    moved = bytes([header[0] + 1]) + header[1:] + cbor(33) + cbor([leaf().certificate])
    assert refused(cose_with(protected=moved, unprotected={}), "cose")[0] == "envelope-malformed"


def test_attack_external_data_is_not_guessed():
    """A signature over other external data, or by another context, is bad."""
    content = read(cose_with(), "cose")
    body = json.dumps({"targetArtifact": target()}).encode()
    for structure in (
        ["Signature1", header_cbor(), b"x", body],
        ["Signature", header_cbor(), b"", body],
        ["Signature1", header_cbor(), b"", b"", body],
    ):
        forged = primitive(leaf().key, "ES256", cbor(structure))
        assert verify_envelope(_with(content, signature=forged)) == ""


# --------------------------------------------------------------------------------------------------------------- limits


@both
def test_limits(form):
    eleven = [leaf().certificate] * 11
    assert refused(envelope(leaf(), form, certificates=eleven), form)[0] == "limit-exceeded"
    assert refused(b"\x5b" * (NOTATION_ENVELOPE_BYTES + 1), form)[0] == "limit-exceeded"
    with_token = envelope(leaf(), form, timestamp=bytes(NOTATION_ENVELOPE_BYTES))
    assert refused(with_token, form)[0] == "limit-exceeded"


@both
def test_attack_signed_headers_that_are_too_large(form):
    many = [PREFIX + "signingScheme", *(f"a{n}" for n in range(64))]
    assert refused(envelope(leaf(), form, crit=many), form)[0] == "limit-exceeded"
    assert refused(envelope(leaf(), form, attributes={"a": "x" * PROTECTED_BYTES}), form)[0] == "limit-exceeded"
    huge = envelope(leaf(), form, crit=[f"{n}" for n in range(9_000)])
    started = time.thread_time()
    assert refused(huge, form)[0] == "limit-exceeded"
    assert time.thread_time() - started < 0.05
    noted = {"targetArtifact": target(annotations={f"{n}": "" for n in range(7_000)})}
    payload = envelope(leaf(), form, payload=json.dumps(noted).encode())
    started = time.thread_time()
    assert refused(payload, form)[0] == "limit-exceeded"
    assert time.thread_time() - started < 0.05


@both
def test_attack_certificates_that_are_none(form):
    assert refused(envelope(leaf(), form, certificates=[b"\x30\x00"]), form)[0] == "certificate-malformed"
    assert refused(envelope(leaf(), form, certificates=[]), form) == ("envelope-malformed", "no certificate")


@both
def test_attack_random_damage_raises_evidence_errors_only_and_never_verifies(form):
    chance = random.Random(5)
    good = envelope(leaf(), form, expiry=T0 + DAY, timestamp=b"t" * 20)
    signed = read(good, form)
    slowest = 0.0
    for _ in range(400):
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        cut = bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        started = time.thread_time()
        try:
            content = read(cut, form)
        except EvidenceError:
            continue
        finally:
            slowest = max(slowest, time.thread_time() - started)
        if (content.signed, content.signature) != (signed.signed, signed.signature):
            assert verify_envelope(content) == "" or content.certificates[0] != leaf().certificate
    assert slowest < 0.05


@pytest.mark.parametrize(("count", "ok"), [(200, True), (9_000, False)])
def test_attack_members_that_nobody_knows_cost_little(count, ok):
    many = ",".join(f'"a{n}":1' for n in range(count))
    data = f"{envelope(leaf(), 'jws').decode()[:-1]},{many}}}".encode()
    started = time.thread_time()
    if ok:
        assert verify_envelope(read(data, "jws"))
    else:
        assert refused(data, "jws")[0] == "limit-exceeded"
    assert time.thread_time() - started < 0.05


def test_attack_json_that_is_slow_to_look_at():
    many = b"{" + b",".join(b'"a%d":1' % n for n in range(11_000)) + b"}"
    big = b'{"payload":"' + b"\\u0041" * 20_000 + b'"}'
    for data in (many, big, b'{"a":' * 25_000, b'{"a":[' + b"1," * 60_000, b'"' * 120_000):
        started = time.thread_time()
        assert refused(data, "jws")[0] in {"envelope-malformed", "limit-exceeded"}
        assert time.thread_time() - started < 0.05
