"""`revet survey` through the front door, on the recorded clusters; and a draft that the fleet it came from meets."""

import gzip
import json

import pytest
import yaml

from tests.helpers.command import DEMO, LAYOUT, key, revet

PODS = DEMO / "clusters" / "prod-eu" / "pods.jsonl"
STAGING = DEMO / "clusters" / "staging" / "pods.jsonl"
KNOWN = ("--trust", DEMO / "keys", "--evidence", LAYOUT)
API = "registry.example.com/payments/api"


def a_pod(image: str, image_id: str, name: str = "a", phase: str = "Running") -> dict:
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}"},
        "spec": {"containers": [{"name": "app", "image": image, "env": [{"name": "PASSWORD", "value": "hunter2"}]}]},
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": "app", "imageID": image_id, "state": {"running": {}}}],
        },
    }


def a_list(*pods: dict) -> str:
    return json.dumps(
        {"kind": "List", "apiVersion": "v1", "items": [{"kind": "Pod", "apiVersion": "v1", **p} for p in pods]}
    )


SIGNED = a_pod(f"{API}:1.4.2", f"{API}@sha256:df5aa0f8edba1670736b443b968cbf29911b4ac7e10de5a5fb8704a458f4418f")
EMPTY = json.dumps({"kind": "PodList", "apiVersion": "v1", "items": []})


def by_repository(ran) -> dict[str, dict]:
    return {r["repository"].removeprefix("registry.example.com/"): r for r in ran.json["repositories"]}


def signers(repository: dict) -> set[tuple[str, str, bool]]:
    found = [s["signer"] for d in repository["digests"] for s in d["signatures"]]
    return {(s["kind"], s["name"], s["verified"]) for s in found}


def test_the_recorded_cluster():
    ran = revet("survey", "-f", PODS, *KNOWN, "-o", "json")
    assert ran.code == 3, "the recording runs images that its layout does not have"
    assert ran.err == ""
    assert ran.json["schema"] == "revet.survey/v1"
    found = by_repository(ran)
    assert signers(found["checkout/pay-gateway"]) == {("key", n, True) for n in ("dev", "ops", "sec")}
    assert {s["format"] for s in found["payments/ledger"]["digests"][0]["signatures"]} == {
        "cosign-simplesigning",
        "sigstore-bundle",
    }
    assert [d["state"] for d in found["inventory/search"]["digests"]] == ["attested"]
    assert [d["state"] for d in found["inventory/scraper"]["digests"]] == ["unsigned"]
    (tracker,) = found["checkout/tracker"]["digests"]
    assert (tracker["state"], tracker["signatures"][0]["signer"]["kind"]) == ("not-verified", "unknown")
    assert {(n["image"], n["problem"]["code"]) for n in ran.json["not_asked"]} == {
        ("registry.example.com/platform/edge-proxy:1.8", "digest-not-addressable")
    }
    unknown = [d for r in ran.json["repositories"] for d in r["digests"] if d["state"] == "unknown"]
    assert {d["problems"][0]["code"] for d in unknown} == {"registry-not-found"}
    assert (
        sum(ran.json["by_containers"].values()) + sum(n["containers"] for n in ran.json["not_asked"])
        == (ran.json["containers"])
    )


def test_without_keys_nothing_is_signed_by_anybody_known():
    ran = revet("survey", "-f", STAGING, "--evidence", LAYOUT, "-o", "json")
    assert ran.json["digests"]["signed"] == 0
    assert ran.json["digests"]["not-verified"] > 0


def test_one_key_is_enough_to_know_its_signatures():
    ran = revet("survey", "-f", "-", "--key", key("dev"), "--evidence", LAYOUT, "-o", "json", stdin=a_list(SIGNED))
    assert ran.code == 0
    assert signers(by_repository(ran)["payments/api"]) == {("key", "dev", True)}


def test_the_tables_name_repositories_what_is_unsigned_and_what_is_not_known():
    ran = revet("survey", "-f", PODS, *KNOWN)
    head, unsigned, unknown = (part.splitlines() for part in ran.out.split("\nNot "))
    (start,) = (n for n, line in enumerate(head) if line.startswith("Tampering?"))
    suspect = [line.split()[0] for line in head[start + 2 :] if line.startswith("registry.")]
    assert suspect == [
        "registry.example.com/checkout/tracker@sha256:d7a87e4f16b0",
        "registry.example.com/data/report@sha256:07b142a9ed9b",
    ]
    assert head[0].split() == [
        "REPOSITORY",
        "DIGESTS",
        "CONTAINERS",
        "SIGNED",
        "BY",
        "FORMATS",
        "ATTESTATIONS",
        "STATE",
    ]
    assert any("payments/ledger " in line and "dev, sec" in line for line in head)
    assert any("inventory/scraper@sha256:e75f6041105f" in line for line in unsigned)
    assert any("digest-not-addressable" in line for line in unknown)
    assert "35 digests in 47 containers: 25 signed, 1 not-verified, 1 attested, 6 unsigned, 2 unknown" in ran.out


# --------------------------------------------------------------------------------------------------------------- input


@pytest.mark.parametrize(
    "text",
    [
        a_list(SIGNED),
        json.dumps({"kind": "PodList", "apiVersion": "v1", "items": [SIGNED]}),
        json.dumps(json.loads(a_list(SIGNED)), indent=2),
        yaml.safe_dump(json.loads(a_list(SIGNED))),
        "---\n" + yaml.safe_dump({"kind": "Pod", "apiVersion": "v1", **SIGNED}),
        gzip.compress(a_list(SIGNED).encode()),
    ],
    ids=["List", "PodList", "pretty", "yaml", "yaml-pod", "gzip"],
)
def test_pods_as_kubectl_prints_them(text):
    ran = revet("survey", *KNOWN, "-o", "json", stdin=text)
    assert (ran.code, ran.json["pods"], ran.json["digests"]["signed"]) == (0, 1, 1)


def test_a_yaml_file_and_a_json_file_together(tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(json.loads(a_list(SIGNED))))
    (tmp_path / "b.json").write_text(a_list(SIGNED))
    ran = revet("survey", "-f", tmp_path / "a.yaml", "-f", tmp_path / "b.json", *KNOWN, "-o", "json")
    assert (ran.code, ran.json["containers"]) == (0, 1), "one pod by its uid, seen twice"


def test_a_pod_that_is_gone_runs_nothing():
    line = {"type": "ADDED", "object": {"kind": "Pod", "apiVersion": "v1", **SIGNED}}
    ran = revet(
        "survey", *KNOWN, "-o", "json", stdin="\n".join(json.dumps(line | {"type": t}) for t in ("ADDED", "DELETED"))
    )
    assert (ran.code, ran.json["pods"]) == (0, 0)


def test_an_empty_cluster_is_an_answer():
    ran = revet("survey", *KNOWN, stdin=EMPTY)
    assert (ran.code, "no pods" in ran.err) == (0, True)


@pytest.mark.parametrize("text", ["", "   \n"])
def test_no_input_is_no_empty_cluster(text):
    """`kubectl` that failed leaves an empty pipe: that must not pass as a fleet without images."""
    ran = revet("survey", *KNOWN, stdin=text)
    assert ran.code == 2
    assert "nothing to read" in ran.err


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{not json", 3),
        ('{"kind":"Service","apiVersion":"v1"}', 3),
        ("a: [1, 2\nb", 2),
        ("\x80", 2),
        ("&a [*a]", 2),
        ("a: &a [x]\nb: [*a, *a]", 2),
        ("x: " + "[" * 50_000, 2),
        (a_list(SIGNED, {"metadata": {"name": "no-uid"}}), 3),
    ],
    ids=[
        "broken-json",
        "another-kind",
        "broken-yaml",
        "not-utf8",
        "a-cycle",
        "an-alias",
        "a-bomb-of-nesting",
        "pod-without-uid",
    ],
)
def test_what_is_no_pod_is_told_and_never_left_out_silently(text, code):
    ran = revet("survey", *KNOWN, stdin=text.encode("latin-1"))
    assert ran.code == code
    assert ran.err != ""


def test_secrets_of_the_pods_are_never_shown():
    ran = revet("survey", *KNOWN, "-o", "json", stdin=a_list(SIGNED))
    assert "hunter2" not in ran.out + ran.err


HOSTILE = ["registry.example.com/a\x1b[2J:1", "registry.example.com/\u202egnp", "x\nfake row"]


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize("image", HOSTILE, ids=ascii)
def test_hostile_images_never_reach_the_terminal_raw(image, output):
    ran = revet(
        "survey",
        *KNOWN,
        "-o",
        output,
        stdin=a_list(a_pod(image, "")),
    )
    assert not any(c in ran.out + ran.err for c in ("\x1b", "\u202e", "\nfake row"))
    running = a_pod(image, "docker.io/x@sha256:" + "0" * 64)
    ran = revet("survey", *KNOWN, "-o", output, stdin=a_list(running))
    assert not any(c in ran.out + ran.err for c in ("\x1b", "\u202e", "\nfake row"))
    assert ran.code == 3


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("-f", PODS, "--kubeconfig", "k"), 2),
        (("-f", PODS, "--context", "c"), 2),
        (("--kubeconfig", "/nonexistent/config"), 2),
        (("-f", "/nonexistent"), 2),
        (("-f", PODS, "--at-once", "0"), 2),
        (("-f", PODS, "--evidence", "oci-layout:/nonexistent"), 4),
        (("-f", PODS, "--docker-config", "/nonexistent"), 4),
    ],
)
def test_exit_codes_of_wrong_use(options, code):
    assert revet("survey", *options).code == code


# --------------------------------------------------------------------------------------------------------------- draft


@pytest.fixture(scope="module")
def drafted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("draft") / "policies"
    ran = revet("survey", "-f", PODS, *KNOWN, "--draft-policy", folder, "--owner", "platform", "-o", "json")
    assert ran.code == 3
    return folder, ran.json


def test_the_draft_is_sound(drafted):
    folder, _ = drafted
    ran = revet("policy", "check", folder)
    assert (ran.code, ran.out) == (0, "22 sound documents: nothing to say against\n")
    for file in folder.glob("policy-*.yaml"):
        assert yaml.safe_load(file.read_text())["spec"]["mode"] == "trial"


SUSPECT = {"checkout/tracker": "signature-invalid", "data/report": "subject-mismatch"}
"""Recorded images whose evidence was tampered with: no draft may make them pass for good."""


def judged_under(drafted, tmp_path, mode):
    folder, found = drafted
    for file in folder.iterdir():
        (tmp_path / file.name).write_text(file.read_text().replace("mode: trial", f"mode: {mode}"))
    known = [(r["repository"], d) for r in found["repositories"] for d in r["digests"] if d["state"] != "unknown"]
    images = [f"{repository}@{digest['digest']}" for repository, digest in known]
    ran = revet("verify", *images, "--policy", tmp_path, "--evidence", LAYOUT, "-o", "json")
    assert len(ran.json["results"]) == len(images) == 33
    return ran


def test_what_runs_today_passes_under_the_draft(drafted, tmp_path):
    ran = judged_under(drafted, tmp_path, "trial")
    assert ran.code == 0, ran.err
    assert all(result["passes"] and len(result["policies"]) == 1 for result in ran.json["results"])


def test_what_runs_today_passes_as_if_the_draft_were_meant(drafted, tmp_path):
    """What is signed is valid, what is not is exempted; what was tampered with is neither."""
    ran = judged_under(drafted, tmp_path, "audit")
    assert ran.code == 1
    for result in ran.json["results"]:
        name = result["image"].partition("@")[0].removeprefix("registry.example.com/")
        if name in SUSPECT:
            assert SUSPECT[name] in {r["code"] for r in result["reasons"]}
            assert not result["passes"]
        else:
            assert result["passes"], result["image"]
            assert result["policies"][0]["exempted_by"] or result["verdict"] == "valid"


def test_an_unsigned_newcomer_does_not_pass(drafted, tmp_path):
    folder, _ = drafted
    for file in folder.iterdir():
        (tmp_path / file.name).write_text(file.read_text().replace("mode: trial", "mode: audit"))
    moved = "registry.example.com/platform/node-agent:2.0-arm64"
    assert revet("verify", moved, "--policy", tmp_path, "--evidence", LAYOUT).code == 1


def test_exemptions_end_in_thirty_days_and_belong_to_somebody(drafted):
    folder, _ = drafted
    documents = list(yaml.safe_load_all((folder / "exemptions.yaml").read_text()))
    assert len(documents) == 6
    for document in documents:
        assert document["spec"]["owner"] == "platform"
        assert document["spec"]["digests"]
        assert document["spec"]["expires"].endswith("Z")


def test_a_draft_never_replaces_a_file(drafted):
    folder, _ = drafted
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    ran = revet("survey", "-f", PODS, *KNOWN, "--draft-policy", folder)
    assert (ran.code, "is there already" in ran.err) == (2, True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
