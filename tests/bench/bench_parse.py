"""Audit events: from bytes to a decision with all rules, beside bare `orjson.loads` of the same lines in the same run.

    python -m tests.bench.bench_parse

Rounds of both alternate and the best of each counts, so that a busy machine slows neither side more than the other.
Lines: the recorded clusters beside the checkout; without them, events of the same shape and size made here.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from streams.collectors import Stream, read_stream

GOAL = 0.3
"""Of the speed of `orjson.loads`, which makes objects of everything and judges nothing."""

ROUNDS = 40
SHARED = Path(os.environ.get("REVET_SHARED") or Path(__file__).resolve().parents[2].parent / "shared")
RECORDED = SHARED / "samples" / "kubernetes" / "recorded"
FILES = ("audit-requestresponse.jsonl", "audit-kyverno.jsonl", "audit-gatekeeper.jsonl")


def recorded_lines(*names: str) -> list[bytes]:
    return [
        line for name in names if (RECORDED / name).exists() for line in (RECORDED / name).read_bytes().splitlines()
    ]


def made_line(number: int) -> bytes:
    """A pod's creation at level RequestResponse, as large as the recorded ones."""
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "timeoutSeconds": 1}
    container = {"name": "app", "image": "registry.example.com/payments/api:1.4.2", "readinessProbe": probe,
                 "env": [{"name": f"SETTING_{n}", "value": "x" * 40} for n in range(12)]}  # fmt: skip
    meta = {"name": f"api-{number}", "namespace": "payments", "labels": {"app": "api", "team": "payments"}}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": {"containers": [container]}}
    return json.dumps(
        {"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": str(number),
         "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/payments/pods?fieldManager=kubectl", "verb":
         "create", "user": {"username": "system:serviceaccount:ci:deployer", "groups": ["system:authenticated"]},
         "objectRef": {"resource": "pods", "namespace": "payments", "name": meta["name"], "apiVersion": "v1"},
         "responseStatus": {"metadata": {}, "code": 201}, "requestObject": pod, "responseObject": pod,
         "requestReceivedTimestamp": "2026-11-20T18:51:42.521739Z",
         "annotations": {"authorization.k8s.io/decision": "allow"}},
        separators=(",", ":"),
    ).encode()  # fmt: skip


def best_of(*work: Callable[[], object]) -> list[float]:
    """CPU seconds of the best round of each, rounds alternating."""
    best = [float("inf")] * len(work)
    for _ in range(ROUNDS):
        for place, run in enumerate(work):
            start = time.process_time()
            run()
            best[place] = min(best[place], time.process_time() - start)
    return best


def compare(name: str, lines: list[bytes], goal: float | None) -> dict[str, object]:
    body = b"\n".join(lines)

    def bare() -> None:
        for line in lines:
            orjson.loads(line)

    def judged() -> None:
        stream = Stream(cluster="bench", source="bench")
        for raw in read_stream([body]):
            stream.observe(raw)

    bare_s, judged_s = best_of(bare, judged)
    return {
        "name": name,
        "ours_per_s": round(len(lines) / judged_s),
        "reference_per_s": round(len(lines) / bare_s),
        "ratio": round(bare_s / judged_s, 3),
        "goal": goal,
        "met": None if goal is None else bare_s / judged_s >= goal,
        "unit": f"items of {round(len(body) / len(lines))} bytes per CPU second, one core; reference: orjson.loads",
    }


def run() -> list[dict[str, object]]:
    """One row per kind of input."""
    audit = recorded_lines(*FILES) or [made_line(number) for number in range(200)]
    rows = [compare("audit events, level RequestResponse", audit, GOAL)]
    decisions = [line for line in audit if b'"resource":"pods"' in line and b'"subresource":"status"' not in line]
    rows.append(compare("... of these, changes of pods", decisions, None))
    if metadata := recorded_lines("audit-metadata.jsonl"):
        rows.append(compare("audit events, level Metadata", metadata, None))
    if watch := recorded_lines("watch-pods.jsonl"):
        rows.append(compare("pod watch", watch, None))
    return rows


if __name__ == "__main__":
    for row in run():
        print(json.dumps(row))
