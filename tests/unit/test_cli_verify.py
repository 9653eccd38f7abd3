"""`revet verify`: options, exit codes, the JSON document, and text from strangers."""

import json

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest

from streams.cli.verify import exit_code
from tests.helpers.command import DEMO, LAYOUT, Ran, key, recorded_images, revet

DIGESTS = {image["name"]: image["digest"] for image in recorded_images()}
API = "registry.example.com/payments/api:1.4.2"
"""Classic signature of dev."""
UNSIGNED = "registry.example.com/inventory/scraper:0.3"
SBOM_ONLY = "registry.example.com/inventory/search:4.1.0"
GONE = "registry.example.com/payments/gone:1"
BY_DEV = ("--key", key("dev"), "--evidence", LAYOUT)

POLICY = """\
apiVersion: revet/v1
kind: Policy
metadata: {{name: {name}}}
spec:
  mode: {mode}
  match: [{match}]
  attestors: {{dev: {{keys: [dev]}}}}
  require: {{signedBy: dev}}
"""


def policy(match: str = 'images: ["**"]', name: str = "signed", mode: str = "audit") -> str:
    return POLICY.format(name=name, mode=mode, match="{" + match + "}")


def judged(tmp_path, image: str, *texts: str, options: tuple = ()) -> Ran:
    """`verify` of one image under policies given as text, with every recorded key in trust."""
    for number, text in enumerate(texts):
        (tmp_path / f"p{number}.yaml").write_text(text)
    named = [part for number in range(len(texts)) for part in ("--policy", tmp_path / f"p{number}.yaml")]
    return revet("verify", image, *named, "--trust", DEMO / "keys", "--evidence", LAYOUT, "-o", "json", *options)


def only(ran: Ran) -> dict:
    (result,) = ran.json["results"]
    return result


# ---------------------------------------------------------------------------------------------------------- exit codes


@pytest.mark.parametrize(
    ("images", "options", "code"),
    [
        ([API], BY_DEV, 0),
        ([UNSIGNED], BY_DEV, 1),
        ([SBOM_ONLY], BY_DEV, 1),
        ([GONE], BY_DEV, 3),
        (["Not a reference"], BY_DEV, 3),
        ([API, GONE], BY_DEV, 3),
        ([GONE, UNSIGNED], BY_DEV, 1),  # a violation beats could-not-tell
        ([API], ("--evidence", LAYOUT), 3),  # no policy governs
        ([API], ("--evidence", LAYOUT, "--allow-ungoverned"), 0),
        ([GONE], ("--evidence", LAYOUT, "--allow-ungoverned"), 3),  # no digest: a policy might have governed it
        ([], BY_DEV, 2),
        ([API], ("--key", "no-such.pub", "--evidence", LAYOUT), 2),
        ([API], ("--key", key("dev"), "--evidence", "nowhere"), 2),
        ([API], ("--key", key("dev"), "--evidence", "oci-layout:/nonexistent"), 4),
        ([API], (*BY_DEV, "--no-such-option"), 2),
        ([API], ("-a", "env=prod", "--evidence", LAYOUT), 2),  # annotations of whose signature?
        ([API], (*BY_DEV, "-a", "env"), 2),
        ([API], (*BY_DEV, "-a", "env=a", "-a", "env=b"), 2),
        ([API], (*BY_DEV, "--at", "yesterday"), 2),
        ([API], (*BY_DEV, "--plain-http"), 2),
        ([API], (*BY_DEV, "--platform", "amd64"), 2),
        ([API], ("--key", key("dev"), "--mirror", "registry.example.com=nonsense"), 2),
        ([API], ("--key", key("dev"), "--ca-file", "/nonexistent"), 2),
        ([API], ("--key", key("dev"), "--docker-config", "/nonexistent"), 4),
    ],
)
def test_exit_code(images, options, code):
    assert revet("verify", *images, *options).code == code


def test_every_verdict_is_there_in_one_run():
    ran = revet("verify", API, UNSIGNED, GONE, *BY_DEV, "-o", "json")
    assert [r["verdict"] for r in ran.json["results"]] == ["valid", "violates", "unverifiable"]
    assert [r["passes"] for r in ran.json["results"]] == [True, False, False]
    assert [r["image"] for r in ran.json["results"]] == [API, UNSIGNED, GONE]


def test_no_result_is_a_pass_for_the_function_but_not_for_the_command():
    assert exit_code([]) == 0
    assert revet("verify").code == 2


# --------------------------------------------------------------------------------------------------- the JSON document

_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"]}
_VERDICT = {"enum": ["valid", "violates", "unverifiable", "ungoverned"]}


def _object(**members: object) -> dict:
    return {"type": "object", "required": list(members), "properties": members}


SCHEMA = _object(
    schema={"const": "revet.verify/v1"},
    results={
        "type": "array",
        "items": _object(
            image=_TEXT,
            digest={"type": ["string", "null"], "pattern": "^sha256:[0-9a-f]{64}$"},
            verdict=_VERDICT,
            reasons={"type": "array", "minItems": 1, "items": _object(code=_TEXT, message=_TEXT, policy=_TEXT)},
            policies={
                "type": "array",
                "items": _object(
                    id=_TEXT,
                    version={"type": "string", "pattern": "^v1:"},
                    mode={"enum": ["trial", "audit", "enforce"]},
                    verdict=_VERDICT,
                    exempted_by=_TEXT,
                ),
            },
            signatures={
                "type": "array",
                "items": _object(format=_TEXT, signer=_TEXT, time=_MAYBE, status=_TEXT, counts={"type": "boolean"}),
            },
            passes={"type": "boolean"},
            container=_MAYBE,
            source=_MAYBE,
        ),
    },
)


def test_the_document_has_its_schema():
    images = [f"{image['reference']}@{image['digest']}" for image in recorded_images()]
    ran = revet("verify", *images, GONE, "BAD", *BY_DEV, "-o", "json")
    jsonschema.validate(ran.json, SCHEMA)
    assert ran.err == ""
    assert len(ran.json["results"]) == len(images) + 2


def test_a_signature_says_who_when_and_how():
    result = only(revet("verify", API, *BY_DEV, "-o", "json"))
    (signature,) = result["signatures"]
    assert (result["digest"], signature["signer"]) == (DIGESTS["payments-api-1.4.2"], "dev")
    assert (signature["format"], signature["status"], signature["counts"]) == ("cosign-simplesigning", "trusted", True)
    assert (signature["time"], signature["time_kind"], signature["via"]) == (
        None,
        "none",
        "exact",
    )  # no state, no first sight
    assert result["reasons"][0]["policy"] == result["policies"][0]["id"] == "command-line"


def test_both_generations_are_shown_and_the_reason_says_which_one_counted():
    result = only(
        revet(
            "verify",
            "registry.example.com/payments/ledger:3.0",
            "--key",
            key("sec"),
            "--evidence",
            LAYOUT,
            "-o",
            "json",
        )
    )
    assert {s["format"] for s in result["signatures"]} == {"cosign-simplesigning", "sigstore-bundle"}
    assert result["reasons"][0]["message"] == "every requirement is met: sec (cosign-simplesigning)"


def test_without_any_policy_it_says_who_signed_what():
    ran = revet("verify", API, "--trust", DEMO / "keys", "--evidence", LAYOUT, "-o", "json")
    result = only(ran)
    assert (ran.code, result["verdict"], result["policies"]) == (3, "ungoverned", [])
    assert [s["signer"] for s in result["signatures"]] == ["dev"]


# ------------------------------------------------------------------------------------------------------------- options


def test_a_tag_means_the_digest_it_has_now_and_a_pinned_image_that_one():
    tag = "registry.example.com/data/etl:2.4"  # the manifest under it was replaced after signing
    moved, signed = only(revet("verify", tag, *BY_DEV, "-o", "json")), f"{tag}@{DIGESTS['data-etl-signed']}"
    assert (moved["digest"], moved["verdict"]) == (DIGESTS["data-etl"], "violates")
    assert only(revet("verify", signed, *BY_DEV, "-o", "json"))["verdict"] == "valid"


@pytest.mark.parametrize(
    ("keys", "code"), [(["dev"], 0), (["sec"], 1), (["sec", "dev"], 0), (["dev", "dev"], 0), (["ops", "rogue"], 1)]
)
def test_any_of_the_keys_will_do(keys, code):
    assert revet("verify", API, *(o for k in keys for o in ("--key", key(k))), "--evidence", LAYOUT).code == code


def test_a_key_file_of_any_name_gets_a_name(tmp_path):
    for name in ("Release KEY.pub", "cosign.pem"):
        (tmp_path / name).write_text(key("dev").read_text())
    other = tmp_path / "cosign.pub"
    other.write_text(key("sec").read_text())
    ran = revet(
        "verify", API, "--key", tmp_path / "Release KEY.pub", "--key", other, "--evidence", LAYOUT, "-o", "json"
    )
    assert only(ran)["signatures"][0]["signer"] == "release-key"
    clash = revet("verify", API, "--key", other, "--key", tmp_path / "cosign.pem", "--evidence", LAYOUT, "-o", "json")
    assert only(clash)["signatures"][0]["signer"] == "cosign-2"


def test_a_private_key_is_refused_and_not_repeated(tmp_path):
    secret = tmp_path / "dev.key"
    secret.write_text("-----BEGIN PRIVATE" + " KEY-----\nc2VjcmV0\n-----END PRIVATE" + " KEY-----\n")
    ran = revet("verify", API, "--key", secret, "--evidence", LAYOUT)
    assert ran.code == 2
    assert "private key" in ran.err
    assert "c2VjcmV0" not in ran.err + ran.out


@pytest.mark.parametrize(
    ("match", "options", "governed"),
    [
        ("namespaces: [shop]", ("--namespace", "shop"), True),
        ("namespaces: [shop]", ("-n", "other"), False),
        ("labels: {tier: web}", ("--label", "tier=web", "--label", "a=b"), True),
        ("labels: {tier: web}", ("--label", "tier=db"), False),
        ("serviceAccounts: [deployer]", ("--service-account", "deployer"), True),
        ("serviceAccounts: [deployer]", (), False),
        ("clusters: [prod-1]", ("--cluster", "prod-1"), True),
        ("clusters: [prod-1]", (), False),
        ("clusterLabels: {env: prod}", ("--cluster-label", "env=prod"), True),
        ("clusterLabels: {env: prod}", ("--cluster-label", "env=dev"), False),
    ],
)
def test_the_scope_comes_from_the_options(tmp_path, match, options, governed):
    result = only(judged(tmp_path, API, policy(match), options=options))
    assert result["verdict"] == ("valid" if governed else "ungoverned")


CLUSTER = """\
apiVersion: revet/v1
kind: Cluster
metadata: {name: prod-eu-1}
spec: {id: 5f0c8a1e-6a37-4c3e-9a57-0f1f0f2b7c11, labels: {env: prod, region: eu}}
"""


@pytest.mark.parametrize("name", ["prod-eu-1", "5f0c8a1e-6a37-4c3e-9a57-0f1f0f2b7c11"])
def test_a_cluster_document_gives_id_name_and_labels(tmp_path, name):
    both = policy("clusters: [prod-eu-1], clusterLabels: {env: prod, region: eu}")
    assert only(judged(tmp_path, API, both, CLUSTER, options=("--cluster", name)))["verdict"] == "valid"
    overridden = judged(tmp_path, API, both, CLUSTER, options=("--cluster", name, "--cluster-label", "env=dev"))
    assert only(overridden)["verdict"] == "ungoverned"


def test_every_governing_policy_must_hold(tmp_path):
    sec = policy(name="sec").replace("dev", "sec")
    ran = judged(tmp_path, API, policy(), sec)
    assert (ran.code, [(p["id"], p["verdict"]) for p in only(ran)["policies"]]) == (
        1,
        [("signed", "valid"), ("sec", "violates")],
    )


def test_a_policy_in_trial_is_shown_and_does_not_fail(tmp_path):
    ran = judged(tmp_path, UNSIGNED, policy(mode="trial"))
    assert (ran.code, only(ran)["verdict"], only(ran)["passes"]) == (0, "violates", True)
    beside = judged(tmp_path, UNSIGNED, policy(mode="trial"), policy(name="real"))
    assert beside.code == 1


EXEMPTION = """\
apiVersion: revet/v1
kind: Exemption
metadata: {name: scraper}
spec:
  policy: signed
  images: ["registry.example.com/inventory/**"]
  why: it is going away
  owner: inventory
  starts: 2026-01-01T00:00:00Z
  expires: 2026-02-01T00:00:00Z
"""


@pytest.mark.parametrize(("at", "code"), [("2026-01-15T00:00:00Z", 0), ("2026-03-01T00:00:00Z", 1)])
def test_an_exempted_violation_stays_one_and_does_not_fail(tmp_path, at, code):
    ran = judged(tmp_path, UNSIGNED, policy(), EXEMPTION, options=("--at", at))
    result = only(ran)
    assert (ran.code, result["verdict"]) == (code, "violates")
    assert bool(result["policies"][0]["exempted_by"]) is (code == 0)


@pytest.mark.parametrize(("at", "code"), [("2026-01-15T00:00:00Z", 0), ("2026-03-01T00:00:00Z", 1), ("2025-12-31", 1)])
def test_windows_are_judged_at_the_time_given(tmp_path, at, code):
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "dev.pem").write_text(key("dev").read_text())
    (tmp_path / "trust.yaml").write_text(
        "apiVersion: revet/v1\nkind: Key\nmetadata: {name: dev}\n"
        "spec: {file: keys/dev.pem, validFrom: 2026-01-01T00:00:00Z, validUntil: 2026-02-01T00:00:00Z}\n---\n"
        + policy()
    )
    assert revet("verify", API, "--trust", tmp_path / "trust.yaml", "--evidence", LAYOUT, "--at", at).code == code


def test_of_an_index_the_child_of_the_platform_is_looked_at_too():
    index = "registry.example.com/platform/node-agent:2.0"  # only its amd64 child is signed
    assert revet("verify", index, *BY_DEV).code == 1
    ran = revet("verify", index, *BY_DEV, "--platform", "linux/amd64", "-o", "json")
    assert (ran.code, only(ran)["signatures"][0]["via"]) == (0, "child_of")
    assert revet("verify", index, *BY_DEV, "--platform", "linux/arm64").code == 1


def test_what_else_is_asked_changes_no_answer():
    child = next(i for i in recorded_images() if i["name"] == "platform-fluent-bit-amd64")
    alone = only(revet("verify", child["reference"], *BY_DEV, "-o", "json"))
    beside = revet("verify", "registry.example.com/platform/fluent-bit:3.1", child["reference"], *BY_DEV, "-o", "json")
    assert beside.json["results"][1] == alone


# ---------------------------------------------------------------------------------------------------------- for people


def test_the_table_says_image_digest_verdict_and_why_then_the_signatures():
    ran = revet("verify", API, SBOM_ONLY, GONE, *BY_DEV)
    lines = ran.out.splitlines()
    assert lines[0].split() == ["IMAGE", "DIGEST", "VERDICT", "WHY"]
    assert API in lines[1]
    assert DIGESTS["payments-api-1.4.2"][:19] in lines[1]
    assert "valid" in lines[1]
    assert "attestation-only" in lines[2]
    assert "registry-not-found" in lines[3]
    assert "DIGEST" in lines[6]
    assert "(attestation)" in lines[8]
    assert ran.err == "1 valid, 1 violates, 1 unverifiable\n"


HOSTILE = [
    "registry.example.com/app:1\x1b[31mred",
    "registry.example.com/app\n0 valid",
    "registry.example.com/\u202egnp.exe",
    "registry.example.com/a\u200bpp",
    "registry.example.com/app\x9b2J",
    "\udcff\udcfe",
]
RAW = ("\x1b", "\u202e", "\u200b", "\x9b", "\udcff", "\n0 valid")


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_never_reach_the_terminal_raw(name, output):
    ran = revet("verify", name, *BY_DEV, "-o", output)
    assert ran.code == 3
    assert not any(text in ran.out + ran.err for text in RAW)
    if output == "json":
        assert json.loads(ran.out)["results"][0]["verdict"] == "unverifiable"


@pytest.mark.parametrize("option", ["--key", "--policy", "--trust", "-f", "--evidence", "--at", "--platform", "-a"])
def test_hostile_values_of_options_neither(option):
    ran = revet("verify", API, "--evidence", LAYOUT, option, "x\x1b[2J\u202e\n0 valid")
    assert ran.code == 2
    assert not any(text in ran.out + ran.err for text in RAW)
