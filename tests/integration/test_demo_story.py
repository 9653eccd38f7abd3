"""The demo's story against the recording it is told of, line by line.

What is expected is worked out here from the recorded files with plain JSON and from tables written by hand; none of
revet's parsers, policies or stores is asked. The commands that the demo names at its end are run on what it left.
"""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import pytest

from tests.helpers.command import DEMO, revet
from tests.helpers.demo_state import played_demo

Json = Any
CLUSTERS = ("prod-eu", "staging")
TIMELINE: Json = json.loads((DEMO / "timeline.json").read_text())
IMAGES: dict[str, Json] = {image["digest"]: image for image in json.loads((DEMO / "images.json").read_text())}


# ------------------------------------------------------------------------------------------------ the recording, read


def lines(cluster: str, name: str) -> Iterator[Json]:
    with (DEMO / "clusters" / cluster / name).open() as file:
        yield from map(json.loads, file)


class Container(NamedTuple):
    """A container that runs, or an init container that ran in a pod that runs."""

    cluster: str
    namespace: str
    owner: str
    pod: str
    spec: str
    digest: str
    """Of a manifest or index; empty where the runtime told the digest of something else."""


@cache
def containers(*parts: str) -> tuple[Container, ...]:
    """What runs after the pods of these files were seen (`""`: the day, `-after`: what followed)."""
    found = []
    for cluster in CLUSTERS:
        pods: dict[str, Json] = {}
        for event in (e for part in parts for e in lines(cluster, f"pods{part}.jsonl")):
            if event["type"] != "BOOKMARK":
                pods[event["object"]["metadata"]["uid"]] = event
        alive = (e["object"] for e in pods.values() if e["type"] != "DELETED")
        found += [c for pod in alive for c in of_pod(cluster, pod)]
    return tuple(found)


def of_pod(cluster: str, pod: Json) -> Iterator[Container]:
    meta, spec, status = pod["metadata"], pod["spec"], pod["status"]
    if status["phase"] != "Running":
        return
    for kind in ("initContainer", "container", "ephemeralContainer"):
        images = {c["name"]: c["image"] for c in spec.get(f"{kind}s", [])}
        for told in status.get(f"{kind}Statuses", []):
            if "running" in told["state"] or kind == "initContainer":
                _, at, digest = told["imageID"].rpartition("@")
                name = images[told["name"]]
                yield Container(cluster, meta["namespace"], owner(meta), meta["name"], name, digest if at else "")


def owner(meta: Json) -> str:
    """The workload: what made the pod, without what a ReplicaSet adds to its Deployment's name."""
    made_by = next(iter(meta.get("ownerReferences", [])), {"kind": "Pod", "name": meta["name"]})
    if made_by["kind"] == "ReplicaSet":
        return "Deployment/" + made_by["name"].removesuffix("-" + meta["labels"]["pod-template-hash"])
    return f"{made_by['kind']}/{made_by['name']}"


def teams(found: list[Container]) -> Counter[str]:
    labels = {
        (cluster, item["metadata"]["name"]): item["metadata"].get("labels", {}).get("team", "unowned")
        for cluster in CLUSTERS
        for item in json.loads((DEMO / "clusters" / cluster / "namespaces.json").read_text())["items"]
    }
    return Counter(labels[c.cluster, c.namespace] for c in found)


def signers(digest: str) -> set[str]:
    """Keys that made a good signature of exactly this digest."""
    signed = IMAGES.get(digest, {"signers": []})["signers"]
    return {s["key"] for s in signed if s["good"] and "attestation" not in s["format"]}


# ------------------------------------------------------------------------------------------------------ what was told


def chapter(words: str) -> list[str]:
    return played_demo().chapter(words).splitlines()


def table(rows: list[str], first: str) -> list[list[str]]:
    """Cells of the table whose head begins with `first`, up to where another paragraph begins."""
    start = next(i for i, row in enumerate(rows) if row.startswith(first))
    head = rows[start]
    columns = [m.start() for m in re.finditer(r"(?<=\s\s)\S|^\S", head)]
    found = []
    for row in rows[start + 1 :]:
        if not row.strip() or any(row[c - 2 : c].strip() for c in columns[1:] if c < len(row)):
            break
        found.append([row[a:b].strip() for a, b in zip(columns, [*columns[1:], None], strict=True)])
    return found


# ------------------------------------------------------------------------------------------- chapter: who was let in


def outcome(event: Json) -> tuple[str, str] | None:
    """(outcome, who decided) of a request for a pod, by its status and the API server's own words."""
    status = event["responseStatus"]
    code, message = status["code"], status.get("message", "")
    if code in (200, 201):
        return "admitted", "-"
    if "ValidatingAdmissionPolicy" in message:
        return "denied", "validating-admission-policy"
    if message.startswith("admission webhook"):
        return "denied", "webhook"
    if "failed calling webhook" in message:
        return "errored", "webhook"
    return None  # not permitted, exists already: no admission was asked


def test_who_let_in_what_is_what_the_audit_log_says():
    expected: Counter[tuple[str, str, str]] = Counter()
    for event in (e for cluster in CLUSTERS for e in lines(cluster, "audit.jsonl")):
        about = event.get("objectRef", {})
        if about.get("resource") != "pods" or "subresource" in about or event["verb"] not in ("create", "patch"):
            continue
        if event["stage"] != "ResponseComplete" or (told := outcome(event)) is None:
            continue
        user = event.get("impersonatedUser", event["user"])["username"]
        dry = " (dry run)" if "dryRun=All" in event["requestURI"] else ""
        expected[told[0] + dry, told[1], user] += 1
    printed = {tuple(row[:3]): int(row[3]) for row in table(chapter("Who was let in"), "outcome")}
    assert printed == dict(expected)


def test_what_was_let_in_unchecked_is_what_the_audit_annotations_say():
    failed_open, broken_glass = set(), set()
    for event in (e for cluster in CLUSTERS for e in lines(cluster, "audit.jsonl")):
        annotations = event.get("annotations", {})
        name = event.get("responseObject", {}).get("metadata", {}).get("name", "")
        if any(key.startswith("failed-open.") for key in annotations) and event["responseStatus"]["code"] < 300:
            failed_open.add(name)
        labels = (event.get("requestObject") or {}) if isinstance(event.get("requestObject"), dict) else {}
        marks = {**labels.get("metadata", {}).get("labels", {}), **labels.get("metadata", {}).get("annotations", {})}
        if "revet.test/break-glass" in marks and event["verb"] == "create" and event["responseStatus"]["code"] < 300:
            broken_glass.add(name)
    told = [line for line in chapter("Who was let in") if "let in unchecked" in line]
    assert {n for n in failed_open if any(n in t and "did not answer" in t for t in told)} == failed_open != set()
    assert {n for n in broken_glass if any(n in t and "break-glass" in t for t in told)} == broken_glass != set()
    assert len(told) == len(failed_open | broken_glass)


# ------------------------------------------------------------------------------------------ chapter: what runs

VERDICTS = {
    # Signed by a key that the shop trusts: dev, release-2025 or build-2026.
    "payments-api-1.4.2": ("valid", ""),
    "payments-api-1.5.0": ("valid", ""),
    "payments-migrate": ("valid", ""),
    "checkout-web-2026.11.3": ("valid", ""),
    "checkout-web-2026.11.4": ("valid", ""),
    "payments-notify": ("valid", ""),
    "checkout-notify": ("valid", ""),
    "checkout-wallet": ("valid", ""),
    "checkout-cart-a": ("valid", ""),
    "checkout-cart-b": ("valid", ""),
    "inventory-stock": ("valid", ""),
    "payments-ledger-writer": ("valid", ""),
    "data-warehouse": ("valid", ""),
    "data-loader-4.0": ("valid", ""),
    "checkout-api-3.3": ("valid", ""),
    "inventory-sync-1.6": ("valid", ""),
    "payments-refunds-2.3": ("valid", ""),
    "checkout-mail": ("valid", ""),
    # Development and one of security and operations, in either generation of cosign's signatures.
    "payments-ledger": ("valid", ""),
    "checkout-pay-gateway": ("valid", ""),
    # The platform: by dev, on the digest itself, on its index, or on the child that the node runs.
    "platform-busybox": ("valid", ""),
    "platform-fluent-bit": ("valid", ""),
    "platform-fluent-bit-amd64": ("valid", ""),
    "platform-node-agent": ("valid", ""),
    # Nobody signed it.
    "inventory-scraper": ("violates", "unsigned"),
    "payments-fx-rates": ("violates", "unsigned"),
    "data-etl": ("violates", "unsigned"),
    "inventory-search": ("violates", "attestation-only"),
    # Somebody else did; `release-2026` is not trusted before the rotation.
    "data-exporter": ("violates", "wrong-signer"),
    "checkout-promo": ("violates", "wrong-signer"),
    "payments-fraud-1.1": ("violates", "wrong-signer"),
    # The signature is of other bytes, or broken.
    "data-report": ("violates", "subject-mismatch, wrong-signer"),
    "checkout-tracker": ("violates", "signature-invalid"),
}
"""Name in images.json -> verdict and reasons before the revocation, by the README of the recording and its policies."""

OUTSIDE = {
    "docker.io/library/nginx:1.27": ("violates", "untrusted-registry"),
    "quay.io/acme/import:1": ("violates", "untrusted-registry"),
    "platform/edge-proxy:1.8": ("unverifiable", "digest-not-addressable"),
}
"""What images.json does not have, or the runtime gave no digest of."""


def printed_images() -> list[list[str]]:
    return table(chapter("What runs"), "image  ")


def test_every_image_that_runs_is_told_with_its_containers():
    expected = Counter(c.digest.removeprefix("sha256:")[:8] or "-" for c in containers(""))
    printed: Counter[str] = Counter()
    for row in printed_images():
        printed[row[1]] += int(row[3])
    assert printed == expected


def test_every_image_runs_in_the_clusters_that_are_told():
    where: dict[str, set[str]] = {}
    for row in printed_images():
        where.setdefault(row[1], set()).update(row[2].split(", "))
    for short, told in where.items():
        assert told == {c.cluster for c in containers("") if (c.digest.removeprefix("sha256:")[:8] or "-") == short}


def test_every_verdict_is_the_one_that_signers_and_policies_ask_for():
    for name, digest, _, _, verdict, *why in printed_images():
        image = next((i for d, i in IMAGES.items() if d.startswith(f"sha256:{digest}")), None)
        expected = VERDICTS[image["name"]] if image is not None else OUTSIDE[name]
        assert (verdict, *why) == tuple(part for part in expected if part or why), name


def test_the_table_written_by_hand_agrees_with_who_signed():
    """A second look at the table above: whoever is valid is signed by a trusted key, itself or through its index."""
    trusted = {"dev", "release-2025", "build-2026"}
    family = {"platform-fluent-bit-amd64": "platform-fluent-bit", "platform-node-agent": "platform-node-agent-amd64"}
    digests = {image["name"]: digest for digest, image in IMAGES.items()}
    for name, (verdict, why) in VERDICTS.items():
        keys = signers(digests[family.get(name, name)])
        assert bool(keys & trusted) == (verdict == "valid"), name
        if why == "wrong-signer":
            assert keys, name


def test_the_sums_are_those_of_the_rows():
    counts = Counter(row[4] for row in printed_images())
    told = next(line for line in chapter("What runs") if line.startswith("images: "))
    assert told == "images: " + ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))


STRANGE = {
    "denied-but-running": "payments-fx-rates",
    "unadmitted": "inventory-cache",
    "digest-drift": "payments-drifted",
    "break-glass": "payments-hotfix",
    "tag-moved": "checkout-cart",
    "mixed-digests": "checkout-cart",
    "ephemeral-added": "payments-ledger",
    "failed-open": "warn.provenance.example.com",
}
"""What the recording's README says is strange -> whom it is about."""


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_strange_in_the_recording_is_an_incident(kind):
    rows = [row for row in table(chapter("What runs"), "incident ") if row[3] == kind]
    assert len(rows) == 1
    assert rows[0][-1].split()[-1] == STRANGE[kind]


def test_there_is_one_incident_per_cause():
    rows = table(chapter("What runs"), "incident ")
    about = [(row[3], row[-1]) for row in rows]
    assert len(about) == len(set(about))


# -------------------------------------------------------------------------------------------- chapter: the revocation


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def split() -> dict[str, set[str]]:
    """Signed by build-2026, by when that is proven: digests."""
    since = instant(TIMELINE["compromised_since"])
    parts: dict[str, set[str]] = {"before": set(), "after": set(), "time unknown": set()}
    for digest, image in IMAGES.items():
        for signer in image["signers"]:
            if signer["key"] == "build-2026":
                seen = signer.get("first_observed")
                part = "time unknown" if not seen else "before" if instant(seen) < since else "after"
                parts[part].add(digest)
    return parts


def fallen() -> set[str]:
    """Digests that no trusted key holds up once what build-2026 signed after the compromise, or undated, falls."""
    return {d for part in ("after", "time unknown") for d in split()[part] if not signers(d) & {"dev", "release-2025"}}


def members() -> list[Container]:
    return [c for c in containers("") if c.digest in fallen()]


def name_of(digest: str) -> str:
    return str(IMAGES[digest]["reference"]).removeprefix("registry.example.com/")


def test_the_split_is_first_observations_against_the_compromise():
    parts = split()
    told = chapter("was stolen")
    numbers = f"{len(parts['before'])} before the compromise, {len(parts['after'])} after"
    assert f"Signatures of the key: {numbers}, {len(parts['time unknown'])} of unknown time." in told
    printed: dict[str, set[str]] = {part: set() for part in parts}
    for row in table(told, "signed  "):
        printed[row[0].partition(":")[0]].add(row[2].partition("@")[0])
    assert printed == {part: {name_of(d) for d in digests} for part, digests in parts.items()}


def test_every_signature_is_told_with_the_containers_that_run_it():
    running = Counter(c.digest for c in containers(""))
    by_name = {name_of(digest): running[digest] for part in split().values() for digest in part}
    assert {row[2].partition("@")[0]: int(row[3]) for row in table(chapter("was stolen"), "signed  ")} == by_name


def extent(found: list[Container]) -> str:
    """As the demo says how much it is."""
    workloads = {(c.cluster, c.namespace, c.owner) for c in found}
    namespaces = {(c.cluster, c.namespace) for c in found}
    clusters = {c.cluster for c in found}
    return (
        f"{len(found)} containers of {len(workloads)} workloads in {len(namespaces)} namespaces"
        f" of {len(clusters)} clusters"
    )


def test_the_dry_run_foretells_what_runs_with_the_key_and_what_would_fall():
    told = {line.partition(":")[0]: line.partition(":")[2] for line in chapter("was stolen") if ": " in line}
    uses = [c for c in containers("") if any(c.digest in part for part in split().values())]
    for label, found in (("Runs with a signature of it", uses), ("Would begin to violate", members())):
        assert told[label].strip().startswith(extent(found))
        owners = dict(re.findall(r"(\w+) (\d+)", told[label].rpartition("(")[2]))
        assert {team: int(n) for team, n in owners.items()} == dict(teams(found))


def test_one_message_is_sent_and_it_counts_the_pods_of_the_recording():
    told = "\n".join(chapter("It is revoked"))
    assert "Messages sent: 1." in told
    found = members()
    for number, noun in (
        (len(found), "containers"),
        (len({(c.cluster, c.namespace, c.owner) for c in found}), "workloads"),
        (len({(c.cluster, c.namespace) for c in found}), "namespaces"),
        (len({c.cluster for c in found}), "clusters"),
    ):
        assert re.search(rf"\b{number} {noun}\b", told)
    for team, number in teams(found).items():
        assert f"{team} {number} container" in " ".join(told.split())


def test_the_message_names_every_workload_that_runs_what_fell():
    told = chapter("It is revoked")
    start = next(i for i, line in enumerate(told) if line.split()[:3] == ["cluster", "namespace", "workload"])
    printed: Counter[tuple[str, str, str]] = Counter()
    for place, image in zip(told[start + 1 :: 2], told[start + 2 :: 2], strict=False):
        if "@sha256:" not in image:
            break
        cluster, namespace, _, number = place.split()[:4]
        printed[cluster, namespace, image.rpartition("@sha256:")[2]] += int(number)
    assert printed == Counter((c.cluster, c.namespace, c.digest[7:19]) for c in members())


# ------------------------------------------------------------------------------------------ chapters: what came after


def test_the_rotation_opens_nothing_and_closes_what_the_successor_signed():
    """Before the rotation nobody trusts release-2026; what only it signed, and runs, is no longer wrong."""
    only_successor = {c.digest for c in containers("") if signers(c.digest) == {"release-2026"}}
    told = chapter("is rotated")
    assert f"Findings opened: 0. Closed: {len(only_successor)}. Messages sent: 0." in told
    closed = {line.split(" of ")[1].partition(",")[0] for line in told if line.startswith("  closed: ")}
    assert closed == {name_of(digest) for digest in only_successor}


def test_the_incident_resolves_because_no_pod_runs_what_fell_any_more():
    assert [c for c in containers("", "-after") if c.digest in fallen()] == []
    told = chapter("roll out")
    assert any(line.endswith(f"{len(members())} containers at first, 0 left.") for line in told)
    assert any("resolved: nothing is left of it" in line for line in told)
    (row,) = table(told, "incident ")
    assert (row[1], row[3], row[4], row[-1]) == ("resolved", "key-revoked", "0", "build")


# ----------------------------------------------------------------------------------------------- chapter: look further


def commands() -> list[list[str]]:
    told = [line.strip().removeprefix("$ ") for line in chapter("Look further") if line.strip().startswith("$ ")]
    return [shlex.split(line)[1:] for line in told if line.startswith("revet ")]


SAYS = {
    "trace": r"signed by .*\bpayments/refunds\b|build +signature",
    "blast-radius": r"signatures of it: 7: 2 proven before .*, 4 after, 1 of unknown time",
    "search": r"payments-fx-rates .*violates +unsigned",
    "incident": r"RESOLVED CRITICAL: image signed with a revoked key",
    "explain": r"key-revoked-time-unknown",
    "trust": r"keyCompromise",
    "revocation": r"keyCompromise",
}
"""Command -> a line that its answer must have."""


def test_the_demo_names_every_command_that_looks():
    assert {command[0] for command in commands()} == SAYS.keys()


@pytest.mark.parametrize("name", SAYS)
def test_a_command_named_at_the_end_works_on_the_state_it_left(name, monkeypatch):
    monkeypatch.setenv("REVET_STATE", str(played_demo().state))
    for command in (c for c in commands() if c[0] == name):
        ran = revet(*command)
        assert ran.code == 0, ran.err
        assert re.search(SAYS[name], ran.out), ran.out


def test_the_state_is_the_one_that_was_named():
    export = next(line for line in chapter("Look further") if "export REVET_STATE=" in line)
    assert shlex.split(export.strip().removeprefix("$ export REVET_STATE="))[0] == str(played_demo().state)


def test_every_verdict_that_the_demo_reached_replays():
    ran = revet("verdict", "replay", "--all", "--state", played_demo().state)
    assert ran.code == 0, ran.out
    assert re.match(r"(\d+) verdicts replayed: \1 same byte for byte, 0 differ", ran.out)


def test_no_secret_that_the_recording_plants_is_told_or_kept():
    assert "PLANTED-SECRET" in (DEMO / "clusters" / "prod-eu" / "audit.jsonl").read_text()
    assert "PLANTED-SECRET" not in played_demo().out
    for path in played_demo().state.parent.iterdir():
        assert b"PLANTED-SECRET" not in path.read_bytes(), path.name
