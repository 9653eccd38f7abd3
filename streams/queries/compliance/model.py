"""What a control asks, and which records are evidence for it. A record never satisfies a control by itself. Pure."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from streams.queries.asof import running_at
from streams.queries.conditions import EVERYTHING, Condition, Not, both, either, exists, is_, one_of

Letter = Literal["A", "P", "V", "C", "L", "H"]
"""Admission decision, pod or run interval, verification result, policy or trust change, alert lifecycle, health."""

LETTERS: Final[dict[Letter, str]] = {
    "A": "admission decision",
    "P": "run of a container",
    "V": "verification result",
    "C": "change of policy or trust",
    "L": "finding, incident and what people did",
    "H": "health of the pipeline",
}


class Evidence(NamedTuple):
    """One kind of record."""

    letter: Letter
    home: str
    where: Condition
    text: str
    now: bool = False
    """It is what is so now, and has no window."""
    adverse: bool = False
    """Something to look at: that there is none is no gap."""


EVIDENCE: Final[dict[str, Evidence]] = {
    "decisions": Evidence("A", "admission", EVERYTHING, "admission decisions: who asked for what, and the outcome"),
    "denied": Evidence("A", "admission", one_of("admission", ("denied", "errored")), "requests that were refused",
                       adverse=True),
    "beside": Evidence("A", "admission", exists("beside_rules"), "let in beside the rules (break-glass, exceptions)",
                       adverse=True),
    "inventory": Evidence("P", "containers", running_at(None), "containers that run now, by digest", now=True),
    "runs": Evidence("P", "lifecycle", EVERYTHING, "starts and ends of containers"),
    "unadmitted": Evidence("P", "containers", both(running_at(None), Not(exists("decision"))),
                           "containers that run without an admission decision on record", now=True, adverse=True),
    "verdicts": Evidence("V", "verification", EVERYTHING, "verdicts that differ from the one before, with inputs"),
    "rechecked": Evidence("V", "verification", one_of("trigger", ("trust", "due", "evidence", "restore")),
                          "verdicts reached after admission, by what caused them"),
    "violations": Evidence("V", "verification", is_("verdict", "violates"), "verdicts that a policy is violated",
                           adverse=True),
    "untold": Evidence("V", "verification", is_("verdict", "unverifiable"), "verdicts that could not be reached",
                       adverse=True),
    "signatures": Evidence("V", "images", is_("signed", value=True), "images with a signature and its evidence ids",
                           now=True),
    "provenance": Evidence("V", "images", either(exists("builder"), exists("commit")),
                           "images whose builder or source commit is stated and signed for", now=True),
    "attestations": Evidence("V", "images", exists("predicate_type"), "images with attestations", now=True),
    "trust": Evidence("C", "trust", EVERYTHING, "entries of the trust log, each with author and reason"),
    "policies": Evidence("C", "trust", one_of("record", ("policy-put", "policy-removed")), "changes of policies"),
    "keys": Evidence("C", "trust", one_of("record", ("key-put", "key-rotated", "key-removed", "root-put",
                     "root-removed")), "keys and trust roots added, rotated, removed"),
    "revocations": Evidence("C", "trust", one_of("record", ("revocation-put", "revocation-withdrawn")),
                            "revocations and withdrawals", adverse=True),
    "exemptions": Evidence("C", "trust", one_of("record", ("exemption-put", "exemption-ended")),
                           "exemptions with author, approver and expiry", adverse=True),
    "configuration": Evidence("C", "configuration", EVERYTHING, "changes of admission configuration", adverse=True),
    "findings": Evidence("L", "finding", EVERYTHING, "findings that opened, changed, closed"),
    "incidents": Evidence("L", "incident", EVERYTHING, "transitions of incidents"),
    "handled": Evidence("L", "incident", one_of("transition", ("acknowledged", "resolved", "noted")),
                        "incidents acknowledged, noted or resolved"),
    "feeds": Evidence("H", "feeds", EVERYTHING, "stretches of unbroken sight of each feed", now=True),
    "unread": Evidence("H", "deadletter", EVERYTHING, "inputs that could not be read", adverse=True),
    "stalled": Evidence("H", "finding", one_of("code", ("visibility-lost", "pipeline-stalled")),
                        "findings that a feed or the pipeline stood still", adverse=True),
}  # fmt: skip
"""Name -> what is counted and sampled."""


class Control(NamedTuple):
    """One control of a framework."""

    id: str
    asks: str
    """In our words; the framework's text binds."""
    evidence: tuple[str, ...]
    beyond: str = ""
    """What it asks that no record here can show."""


class Framework(NamedTuple):
    """A catalogue of controls."""

    name: str
    note: str
    controls: tuple[Control, ...]
