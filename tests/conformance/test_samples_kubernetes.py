"""Every record of the Kubernetes samples: understood, ignored with a reason, or a named dead letter.

The samples lie beside the checkout (`require("samples")`); they are read there and never copied. Counts are asserted,
so that a record that is read differently than before is seen.
"""

import json
from collections import Counter

import pytest

from streams.collectors import CODES, IGNORED, Refused, Stream, read_stream, reduced_original
from streams.events import (
    DeadLetter,
    DecisionObserved,
    FeedSeen,
    PodObserved,
)

NO_RECORDS = {"SOURCES.md"}
"""Files that are no input. (`recorded/how` holds scripts.)"""


@pytest.fixture(scope="module")
def samples(require):
    return require("samples") / "kubernetes"


def read_file(path):
    """(observations without signs of life, reasons, number of items)."""
    stream, found, items = Stream(cluster="c1", source=f"file:{path.name}"), [], 0
    for raw in read_stream([path.read_bytes()]):
        items += 1
        before = sum(stream.ignored.values())
        seen = stream.observe(raw)
        said = [observation for observation in seen if not isinstance(observation, FeedSeen)]
        assert said or seen or sum(stream.ignored.values()) == before + 1, "an item disappeared"
        found.extend(said)
    return found, stream.ignored, items


def inputs(samples):
    for path in sorted(samples.rglob("*")):
        if path.is_file() and path.name not in NO_RECORDS and "how" not in path.parts:
            yield path


EXPECTED: dict[str, tuple[int, dict[str, int], dict[str, int], dict[str, int]]] = {
    # folder: (items, observations by kind, ignored by reason, dead letters by code)
    "connaisseur": (29, {}, {}, {"kind-not-read": 28, "not-an-object": 1}),
    "derived": (1, {"PodObserved": 1}, {}, {}),
    "falcosecurity-falco": (
        52,
        {"NamespaceObserved": 3, "DecisionObserved": 12, "ConfigurationObserved": 1},
        {"resource": 32, "stage": 2, "read": 1},
        {"kind-missing": 1},
    ),
    "gatekeeper-docs": (4, {}, {}, {"yaml-not-read": 1, "kind-missing": 3}),
    "kyverno": (66, {}, {}, {"yaml-not-read": 66}),
    "kyverno-docs": (24, {}, {}, {"kind-missing": 12, "yaml-not-read": 12}),
    "nri-kubernetes": (214, {"PodObserved": 213}, {}, {"yaml-not-read": 1}),
    "ratify-docs": (1, {}, {}, {"kind-missing": 1}),
    "recorded": (
        553,
        {"DecisionObserved": 125, "ConfigurationObserved": 32, "NamespaceObserved": 12, "PodObserved": 81},
        {"forbidden": 2, "invalid": 4, "conflict": 2, "status": 74, "scale": 2, "stage": 2, "exec": 2, "binding": 2,
         "eviction": 2, "bookmark": 1},
        {"kind-not-read": 60, "kind-missing": 151},
    ),
    "transcribed": (
        42,
        {"DecisionObserved": 4},
        {"resource": 3, "read": 3, "other-log": 1},
        {"kind-not-read": 2, "kind-missing": 28, "time-missing": 1},
    ),
}  # fmt: skip
"""986 items: 484 observations (two each of two namespace changes), 135 ignored with a reason, 368 dead letters."""


def test_every_record_is_understood_ignored_with_a_reason_or_a_named_dead_letter(samples, capsys):
    counts: dict[str, tuple[Counter[str], ...]] = {
        folder: (Counter(), Counter(), Counter(), Counter()) for folder in EXPECTED
    }
    for path in inputs(samples):
        found, ignored, items = read_file(path)
        number, kinds, reasons, codes = counts[path.relative_to(samples).parts[0]]
        number["items"] += items
        kinds.update(type(o).__name__ for o in found if not isinstance(o, DeadLetter))
        reasons.update(ignored)
        codes.update(o.code for o in found if isinstance(o, DeadLetter))
        assert set(ignored) <= set(IGNORED)
        assert {o.code for o in found if isinstance(o, DeadLetter)} <= set(CODES)
    with capsys.disabled():
        print()
        for folder, (number, kinds, reasons, codes) in counts.items():
            print(f"{folder}: {number['items']} items {dict(kinds)} ignored {dict(reasons)} dead letters {dict(codes)}")
    got = {folder: (n["items"], dict(k), dict(r), dict(c)) for folder, (n, k, r, c) in counts.items()}
    assert got == EXPECTED


# ------------------------------------------------------------------------------------- the recorded steps, one by one

ADMITTED, VAP = "admitted", "denied validating-admission-policy"
STATUS = "ignored status"
STEPS = {
    "pod-create-allowed": [ADMITTED],
    "pod-create-allowed-digest": [ADMITTED],
    "pod-denied-vap": [VAP],
    "pod-denied-vap-second-rule": [VAP],
    "pod-denied-webhook": ["denied webhook"],
    "pod-denied-vap-and-webhook": [VAP],
    "pod-audit-warn-vap": [ADMITTED + " audited"],
    "pod-fail-open": [ADMITTED + " failed-open"],
    "pod-fail-closed": ["errored webhook"],
    "pod-webhook-timeout": ["errored webhook"],
    "pod-denied-without-explanation": ["denied webhook"],
    "pod-webhook-http-500": ["errored webhook"],
    "pod-webhook-bad-response": ["errored webhook"],
    "pod-break-glass": [ADMITTED + " break-glass"],
    "pod-podsecurity-denied": ["denied pod-security"],
    "pod-quota-denied": ["denied quota"],
    "pod-rbac-forbidden": ["ignored forbidden"],
    "pod-invalid-422": ["ignored invalid"],
    "pod-already-exists": ["ignored conflict"],
    "pod-dry-run-allowed": [ADMITTED + " dry-run"],
    "pod-dry-run-denied": [VAP + " dry-run"],
    "pod-impersonated": [ADMITTED + " failed-open as admin"],
    "pod-generatename-controller": [ADMITTED + " failed-open"],
    "pod-generatename-denied": [VAP],
    "mirror-pod-allowed": [ADMITTED + " failed-open"],
    "mirror-pod-denied": [VAP],
    "client-supplied-audit-id": [ADMITTED + " failed-open"],
    "status-kubelet-waiting": [STATUS] * 9,
    "status-kubelet-running": [STATUS] * 9,
    "ephemeral-allowed": [ADMITTED],
    "ephemeral-denied-vap": [VAP],
    "ephemeral-denied-webhook": ["denied webhook"],
    "status-kubelet-ephemeral": [STATUS] * 9,
    "image-patch-strategic": [ADMITTED],
    "image-patch-json": [ADMITTED],
    "image-patch-merge-invalid": ["ignored invalid"],
    "image-patch-json-denied": ["denied webhook"],
    "image-put": [ADMITTED + " failed-open"],
    "image-server-side-apply": [ADMITTED + " failed-open"] * 2,
    "status-kubelet-restarted": [STATUS] * 10,
    "deployment-create": [ADMITTED],
    "deployment-denied-vap": [VAP],
    "deployment-image-patch": [ADMITTED],
    "deployment-scale": ["ignored scale"],
    "cronjob-create": [ADMITTED],
    "pod-exec": ["ignored stage", "ignored exec"],
    "pod-binding": [ADMITTED + " failed-open", "ignored binding"],
    "pod-eviction": ["ignored eviction"],
    "pod-delete": [ADMITTED],
    "pod-delete-force": [ADMITTED] * 2,
    "pod-delete-collection": [ADMITTED],
    "namespace-optout": ["NamespaceObserved ConfigurationObserved"],
    "pod-after-optout": [ADMITTED],
    "namespace-optin": ["NamespaceObserved ConfigurationObserved"],
    "policy-weaken": ["ConfigurationObserved"],
    "pod-after-weaken": [ADMITTED + " audited"],
    "webhook-config-delete": ["ConfigurationObserved"],
    "pod-delete-many": [ADMITTED] * 5,
}
"""All 58 steps of the scenario -> what each of their events says at level RequestResponse."""

AT_METADATA = {
    "pod-break-glass": [ADMITTED],  # the label stands in the request only
    "namespace-optout": ["ConfigurationObserved"],
    "namespace-optin": ["ConfigurationObserved"],
}
"""What level Metadata hides."""

KYVERNO_DENIED, KYVERNO_ERRORED = ["denied kyverno"], ["errored kyverno"]
KYVERNO = {
    "kyverno-allowed-signed": [ADMITTED],
    "kyverno-denied-unsigned": KYVERNO_DENIED,
    "kyverno-denied-not-found": KYVERNO_ERRORED,  # the registry does not know the tag: nothing was verified
    "kyverno-denied-registry-down": KYVERNO_DENIED,  # by a pattern rule, before the registry was asked
    "kyverno-denied-pattern": [*KYVERNO_DENIED, "ConfigurationObserved", "ConfigurationObserved"],
    "kyverno-allowed-pattern": [ADMITTED],
    "kyverno-audit-unsigned": [ADMITTED + " audited"],
    "kyverno-audit-signed": [ADMITTED],
    "kyverno-ivpol-denied": KYVERNO_DENIED,
    "kyverno-ivpol-allowed": [ADMITTED],
    "kyverno-ivpol-error": KYVERNO_ERRORED,
    "kyverno-deployment-denied": KYVERNO_DENIED,
    "kyverno-deployment-allowed": [ADMITTED],
    "kyverno-generatename-denied": KYVERNO_DENIED,
    "kyverno-ephemeral-denied": KYVERNO_DENIED,
    "kyverno-image-patch-denied": KYVERNO_DENIED,
    "kyverno-dry-run-denied": ["denied kyverno dry-run"],
    "kyverno-down-fail-closed": KYVERNO_ERRORED,
    "kyverno-down-fail-open": KYVERNO_ERRORED,  # the Ignore policy's namespace fails closed as well
}
GATEKEEPER = {
    "gatekeeper-allowed": [ADMITTED],
    "gatekeeper-denied": ["denied gatekeeper"],
    "gatekeeper-denied-two": ["denied gatekeeper"],
    "gatekeeper-warn": [ADMITTED],  # warn and dryrun leave nothing in the audit
    "gatekeeper-dryrun-action": [ADMITTED],
    "gatekeeper-server-dryrun": ["denied gatekeeper dry-run"],
    "gatekeeper-ephemeral-denied": ["denied gatekeeper"],
    "gatekeeper-generatename-denied": ["denied gatekeeper"],
}
RECORDINGS = {
    "audit-requestresponse.jsonl": STEPS,
    "audit-metadata.jsonl": STEPS | AT_METADATA,
    "audit-kyverno.jsonl": KYVERNO,
    "audit-gatekeeper.jsonl": GATEKEEPER,
}


def in_words(observations, ignored):
    if not observations:
        return f"ignored {next(iter(ignored))}"
    first = observations[0]
    if not isinstance(first, DecisionObserved):
        return " ".join(type(observation).__name__ for observation in observations)
    audited = any(not note.startswith("pod-security: ") for note in first.audited)
    marks = {
        "failed-open": first.failed_open, "break-glass": first.break_glass, "dry-run": first.dry_run,
        "audited": audited, f"as {first.impersonated_by}": first.impersonated_by,
    }  # fmt: skip
    return " ".join(filter(None, [first.outcome, first.engine, *(mark for mark, is_set in marks.items() if is_set)]))


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_step_says_what_the_scenario_did(samples, name):
    recorded = samples / "recorded"
    lines = (recorded / name).read_bytes().splitlines()
    index = [json.loads(line) for line in (recorded / "index.jsonl").read_text().splitlines()]
    said = {}
    for step in index:
        if step["file"] != name:
            continue
        words = []
        for number in step["lines"]:
            stream = Stream(cluster="c1", source=name)
            observations = [o for raw in read_stream([lines[number - 1]]) for o in stream.observe(raw)]
            words.append(in_words([o for o in observations if not isinstance(o, FeedSeen)], stream.ignored))
        said[step["step"]] = words
    assert said == RECORDINGS[name]


def test_decisions_and_watched_pods_of_one_run_meet_by_uid_and_owner(samples):
    decisions, *_ = read_file(samples / "recorded" / "audit-requestresponse.jsonl")
    pods, *_ = read_file(samples / "recorded" / "watch-pods.jsonl")
    owners = {o.pod.uid: o.pod.owner for o in pods if isinstance(o, PodObserved)}
    created = [o for o in decisions if isinstance(o, DecisionObserved) and o.uid and o.resource == "pods"]
    assert len(created) == 26
    for decision in created:
        assert owners[decision.uid] == decision.owner
    assert len(owners) - len({d.uid for d in created}) == 1  # a pod set Running by KWOK, outside the audited run


def in_short(observations):
    """A dead letter has place and hash of the bytes it is about, which are others."""
    return [(o.code, o.message) if isinstance(o, DeadLetter) else o for o in observations]


def test_what_is_kept_of_every_record_reads_the_same_again(samples):
    """`revet.raw` keeps the reduced original; a second reading of it gives the same observations."""
    for path in inputs(samples):
        for raw in read_stream([path.read_bytes()]):
            kept = reduced_original(raw)
            if not kept:
                continue
            first, second = Stream(cluster="c1", source="s"), Stream(cluster="c1", source="s")
            again = [o for item in read_stream([kept]) for o in second.observe(item)]
            assert in_short(again) == in_short(first.observe(raw)), f"{path.name}:{raw.position}"
            assert second.ignored == first.ignored
            assert len(kept) <= (raw.size if isinstance(raw, Refused) else len(raw.data) * 1.1)


def test_order_of_lines_changes_no_observation(samples):
    """Ids and contents of a recording read backwards; only signs of life and watch times follow the order."""
    for name in ("audit-requestresponse.jsonl", "audit-kyverno.jsonl"):
        lines = (samples / "recorded" / name).read_bytes().splitlines()
        forwards, backwards = (
            {o.id: o for raw in read_stream([b"\n".join(text)]) for o in Stream(cluster="c", source="s").observe(raw)}
            for text in (lines, lines[::-1])
        )
        assert {i: o for i, o in forwards.items() if not isinstance(o, FeedSeen)} == {
            i: o for i, o in backwards.items() if not isinstance(o, FeedSeen)
        }


def test_image_ids_of_real_nodes_are_read_as_published(samples):
    kinds: Counter[str] = Counter()
    for path in sorted((samples / "nri-kubernetes").glob("*.json")):
        found, *_ = read_file(path)
        kinds.update(c.image_id_kind for o in found if isinstance(o, PodObserved) for c in o.pod.containers)
    assert dict(kinds) == {"repo-digest": 185, "config-digest": 28, "empty": 7}
