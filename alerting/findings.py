"""The findings table: every code a person may hear of, what it is about, how bad, why it may be harmless, what to do.

One row per code. Messages, documents, dashboards, `docs/findings/<code>.md` and `revet explain CODE` are generated from
it; a test fails on a code that is used elsewhere and has no row here. Nothing in this module looks anything up:

    code     = finding_code_for(reason.code for reason in verdict.reasons)
    severity = severity_of(code, cluster_labels)
    key      = incident_of(code, cluster=…, namespace=…, …, cause=cause, detail=detail)
    message  = sentence_of(code, {"image": …, "policy": …})
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple, get_args

from alerting.models import Cause, Finding, Severity
from alerting.text import short_digest
from verifier.canonical import stable_id

Feed = Literal["audit", "pods", "evidence"]
SubjectRule = Literal[
    "revoked-thing",
    "policy-version",
    "digest",
    "policy-repository",
    "workload",
    "cluster-webhook",
    "expiring-thing",
    "baseline",
]

SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
"""From `info` to `critical`."""


class FindingRow(NamedTuple):
    """One finding. Texts are plain sentences for people at night; `sentence` holds {placeholders}."""

    title: str
    """What is wrong, as a headline without values."""
    feeds: tuple[Feed, ...]
    """Feeds a cluster must have; without them the finding is never raised there, and coverage says so."""
    subject: SubjectRule
    """What names the incident when no cause does."""
    severity: Severity
    """Default; the cluster's environment moves it by one step (`severity_of`)."""
    sentence: str
    meaning: str
    benign: str
    """Why it may be harmless."""
    todo: str
    closes: tuple[str, ...]
    """Close reasons (`alerting.models.Finding.close_reason`)."""
    closes_when: str
    detail: tuple[str, ...] = ()
    """Keys of `Finding.detail` that the sentence and the subject rule use."""
    digest_in_id: bool = False
    """The digest is what is wrong: another digest is another finding. Elsewhere rollouts keep the finding's id."""
    paging: bool = True
    """May wake somebody when it is critical or high."""
    proof_of_compromise: bool = False
    """Shows that something untrusted runs; never hidden in a baseline or under a policy change."""


class IncidentKey(NamedTuple):
    """Which incident a finding belongs to."""

    id: str
    kind: str
    """Finding code, or `policy-changed` / `baseline` when that is the cause."""
    subject: str
    """What the incident is about, for people; holds untrusted text."""


_ENDS = ("ended", "replaced", "cluster-retired")
_JUDGED = ("valid-again", "exempted", "policy-removed", *_ENDS)

FINDINGS: Final[dict[str, FindingRow]] = {
    "key-revoked": FindingRow(
        title="image signed with a revoked key",
        feeds=("pods", "evidence"),
        subject="revoked-thing",
        severity="critical",
        sentence="{image} in {workload} counts only by a signature that was revoked ({revoked}): {reason}",
        meaning="The signature that made this image trusted was revoked because of a compromise, and nothing proves "
        "that it is older.",
        benign="The image may well be your own, signed before the compromise: a signature without a trusted time "
        "cannot show it. "
        "`--compromised-since` together with dated evidence keeps what is proven to be older.",
        todo="See who runs it with `revet blast-radius --key`, rebuild from source, sign with a sound key, and roll "
        "out; deny the key at admission.",
        closes=("withdrawn", *_JUDGED),
        closes_when="The image is replaced by one with a sound signature, is signed again, is exempted, or the "
        "revocation is withdrawn.",
        detail=("revoked", "reason"),
        proof_of_compromise=True,
    ),
    "digest-denied": FindingRow(
        title="denied image digest is running",
        feeds=("pods", "evidence"),
        subject="revoked-thing",
        severity="critical",
        sentence="{digest} ({image}) runs in {workload} although it is denied: {reason}",
        meaning="Somebody revoked this very image. Signatures do not help: the content itself is what is distrusted.",
        benign="The denial may be a precaution (a recalled release) rather than a compromise; its reason says so.",
        todo="Replace the image now; `revet trace` shows how it came in and where else it ran.",
        closes=("withdrawn", *_JUDGED),
        closes_when="No container runs the digest any more, it is exempted, or the denial is withdrawn.",
        detail=("revoked", "reason"),
        digest_in_id=True,
        proof_of_compromise=True,
    ),
    "signature-invalid": FindingRow(
        title="signature does not match the image",
        feeds=("pods", "evidence"),
        subject="digest",
        severity="critical",
        sentence="{image} in {workload} carries evidence that does not hold: {reason}",
        meaning="The evidence names a known key or another image and fails: the manifest was replaced, or the "
        "signature was moved or forged.",
        benign="A registry copy that rewrote the manifest, or a build that signed the wrong digest, looks the same. "
        "Both need mending.",
        todo="Treat as tampering until explained: compare the digest with the build's output, find out who pushed it, "
        "keep the evidence.",
        closes=_JUDGED,
        closes_when="The digest stops running, gets a good signature, or is exempted.",
        detail=("reason",),
        digest_in_id=True,
        proof_of_compromise=True,
    ),
    "denied-but-running": FindingRow(
        title="workload runs although admission denied it",
        feeds=("audit", "pods"),
        subject="workload",
        severity="critical",
        sentence="{image} runs in {workload}, but admission denied it ({denied_by})",
        meaning="Admission said no to this workload and its image, and still a container of it runs.",
        benign="The denial and the pod may belong to two tries: a later, changed request can have been allowed. The "
        "decision list tells.",
        todo="Look at the decisions with `revet trace`; check who may bypass the webhook (excluded namespaces, static "
        "pods, direct node access).",
        closes=("admission-found", *_ENDS),
        closes_when="A later admission of the same image is found, or the container ends.",
        detail=("denied_by",),
    ),
    "wrong-signer": FindingRow(
        title="image signed by somebody else than the policy expects",
        feeds=("pods", "evidence"),
        subject="policy-repository",
        severity="high",
        sentence="{image} in {workload} is signed, but not as {policy} asks: {reason}",
        meaning="Good signatures exist, and none of them counts: another key, a key out of its window, on hold or "
        "retired, "
        "other annotations, or another repository.",
        benign="A new team key that nobody added to the policy, a rotation half done, or an image promoted from "
        "another repository.",
        todo="Find out who signed it; then add the key to the policy, or sign again with an expected key.",
        closes=("withdrawn", *_JUDGED),
        closes_when="The policy accepts the image, or it is replaced or exempted.",
        detail=("reason",),
    ),
    "unsigned": FindingRow(
        title="image runs without a signature",
        feeds=("pods", "evidence"),
        subject="policy-repository",
        severity="high",
        sentence="{image} runs in {workload} without the signature that {policy} asks for: {reason}",
        meaning="Every place was asked, and there is no signature of this image or of an index that lists it. An "
        "attestation is not a signature.",
        benign="A signing step that failed or runs later than the deployment; signatures kept in a repository revet "
        "was not told of.",
        todo="Sign the image in its pipeline with an expected key, or exempt it for a time with a reason.",
        closes=_JUDGED,
        closes_when="A good signature appears, the image is replaced by a signed one, or it is exempted.",
        detail=("reason",),
    ),
    "untrusted-registry": FindingRow(
        title="image is not on the policy's list",
        feeds=("pods", "evidence"),
        subject="policy-repository",
        severity="high",
        sentence="{image} in {workload} is outside what {policy} lists: {reason}",
        meaning="The policy lists registries or digests, and this image is in none of the lists. This says nothing "
        "about signatures.",
        benign="A registry that was renamed or mirrored, or a digest list that lags behind a release.",
        todo="Move the image to a listed registry, or add the registry or digest to the policy after a look at it.",
        closes=_JUDGED,
        closes_when="The image comes from a listed place, the list is extended, or it is exempted.",
        detail=("reason",),
    ),
    "unadmitted": FindingRow(
        title="pod runs without an admission on record",
        feeds=("audit", "pods"),
        subject="workload",
        severity="high",
        sentence="{image} runs in {workload}, and no admission of it is on record",
        meaning="Both feeds were alive when the pod appeared, and no admission request for it was seen within the "
        "grace time of 3 minutes.",
        benign="A static pod made by a node, or audit events that were lost on the way (a full queue of the API "
        "server, a policy that leaves pods out).",
        todo="Check how the pod came to be: its mirror annotation, node manifests, direct access to the store; check "
        "the audit feed with `revet doctor`.",
        closes=("admission-found", *_ENDS),
        closes_when="The admission is found after all, or the pod ends.",
    ),
    "digest-drift": FindingRow(
        title="running digest is not the one that was asked for",
        feeds=("pods",),
        subject="workload",
        severity="high",
        sentence="{workload} was to run {expected} and runs {digest} ({image})",
        meaning="The digest the runtime reports is neither the one that was pinned or admitted nor a platform manifest"
        " of it.",
        benign="A registry mirror that serves another build of the tag, or an index revet has not seen yet, so that "
        "its manifests look foreign.",
        todo="Compare both digests with `revet trace`; look at the node's registry mirrors; pull the image again by "
        "digest.",
        closes=("converged", *_ENDS),
        closes_when="The workload runs what was asked for, or ends.",
        detail=("expected",),
        digest_in_id=True,
    ),
    "break-glass": FindingRow(
        title="break-glass admission was used",
        feeds=("audit",),
        subject="workload",
        severity="high",
        sentence="{user} admitted {image} to {workload} by break-glass ({mark})",
        meaning="The request carried the mark that lets it pass the image policy. Somebody decided to go round the "
        "control.",
        benign="An announced emergency: that is what the mark is for. It still wants a name and an end.",
        todo="Ask the user for the reason and the ticket; then sign the image or exempt it, and take the mark away.",
        closes=("exempted", "quiet", *_ENDS),
        closes_when="What was admitted that way has ended, was replaced by a regular admission, or is exempted.",
        detail=("user", "mark"),
    ),
    "policy-changed": FindingRow(
        title="a changed policy no longer accepts what runs",
        feeds=("pods", "evidence"),
        subject="policy-version",
        severity="medium",
        sentence="{image} in {workload} passed {policy} before its version {policy_version} and fails now: {reason}",
        meaning="Nothing about the image changed. The policy did, and the image satisfied the version before.",
        benign="This is the expected effect of a tightened policy; `revet policy preview` shows it before it happens.",
        todo="If it is meant: let the owners sign or replace. If not: put the former version back.",
        closes=_JUDGED,
        closes_when="The images satisfy the new version, or the policy is changed back.",
        detail=("reason",),
    ),
    "mixed-digests": FindingRow(
        title="one workload runs different digests of one image",
        feeds=("pods",),
        subject="workload",
        severity="medium",
        sentence="{workload} runs {image} with {count} different digests: {digests}",
        meaning="Containers of one workload with the same image reference run different content: a tag moved between "
        "two pulls.",
        benign="A rollout in progress looks like this for some minutes; so does a multi-architecture image whose index"
        " is unknown.",
        todo="Pin the image by digest, or restart the workload so that all pods pull the same; check which digest is "
        "meant.",
        closes=("converged", *_ENDS),
        closes_when="All its containers run the same digest.",
        detail=("count", "digests"),
    ),
    "ephemeral-added": FindingRow(
        title="ephemeral container was added to a running pod",
        feeds=("pods",),
        subject="workload",
        severity="medium",
        sentence="an ephemeral container {container} ({image}) was added to {workload}",
        meaning="Somebody attached a container to a running pod, past the workload's own definition.",
        benign="`kubectl debug` in daily work does exactly this.",
        todo="Ask who did it and why; ephemeral containers stay until the pod ends, so replace the pod afterwards.",
        closes=_ENDS,
        closes_when="The pod ends.",
    ),
    "failed-open": FindingRow(
        title="admission webhook could not be asked and was passed over",
        feeds=("audit",),
        subject="cluster-webhook",
        severity="medium",
        sentence="webhook {webhook} of {cluster} did not answer and was ignored; {image} of {workload} came in "
        "unchecked",
        meaning="The webhook's failure policy is Ignore: while it is down, everything is admitted without it.",
        benign="A rolling restart of the webhook. revet judges the images afterwards all the same.",
        todo="Check the webhook's pods, service and certificate; consider failurePolicy Fail for the namespaces that "
        "matter.",
        closes=("quiet", "cluster-retired"),
        closes_when="The webhook answers again and nothing passed it for a while.",
        detail=("webhook",),
    ),
    "unverifiable-too-long": FindingRow(
        title="image could not be verified for too long",
        feeds=("pods", "evidence"),
        subject="policy-repository",
        severity="medium",
        sentence="{image} in {workload} could not be judged under {policy} since {since}: {reason}",
        meaning="Could-not-tell is not pass and not fail. Past its deadline it is something a person has to know of.",
        benign="An outage of the registry, a missing pull credential, or an image that was deleted after it was "
        "pulled.",
        todo="Mend what the reason names (access, network, limits); `revet doctor` lists the places that do not "
        "answer.",
        closes=_JUDGED,
        closes_when="A verdict is reached, whichever it is, or the image stops running.",
        detail=("since", "reason"),
    ),
    "tag-moved": FindingRow(
        title="tag points to another digest than before",
        feeds=("pods",),
        subject="workload",
        severity="low",
        sentence="{image} in {workload} meant {before} and means {digest} now",
        meaning="The same tag was pulled with different content at different times.",
        benign="Moving tags (`latest`, `1.4`) are made to move; only tags that are never to move make this "
        "interesting.",
        todo="Pin by digest what must not change by itself.",
        closes=("converged", "quiet", *_ENDS),
        closes_when="The workload runs one digest for a while, or ends.",
        detail=("before",),
        paging=False,
    ),
    "expires-soon": FindingRow(
        title="something trusted expires soon",
        feeds=(),
        subject="expiring-thing",
        severity="low",
        sentence="{name} ends at {expires}",
        meaning="After this time signatures of the key no longer count, or exempted findings open again. Low within 30"
        " days, high within 7.",
        benign="It may be meant to end.",
        todo="Rotate the key (`revet key rotate`), extend its window, or settle what the exemption covers before it "
        "ends.",
        closes=("valid-again", "ended"),
        closes_when="The time is moved, the thing is taken away, or the time has come.",
        detail=("expiring", "name", "expires"),
        paging=False,
    ),
    "baseline": FindingRow(
        title="what already ran when a policy or a cluster was added",
        feeds=("pods", "evidence"),
        subject="baseline",
        severity="low",
        sentence="{image} in {workload} ran before {policy} first took effect and does not satisfy it: {reason}",
        meaning="These workloads are older than the rule they break. One list per policy or cluster to work off, not "
        "an alarm each.",
        benign="Nobody did anything wrong: the rule is new. Proof of compromise is never in here.",
        todo="Let each team sign, replace or exempt its own; the count falls as they do. New violations are reported "
        "on their own.",
        closes=_JUDGED,
        closes_when="Everything in it is signed, replaced, exempted or gone.",
        detail=("reason",),
        paging=False,
    ),
}
"""Every code, worst first: the order is also the precedence when one incident holds several kinds."""

REASON_FINDINGS: Final[dict[str, str]] = {
    "digest-denied": "digest-denied",
    "key-revoked": "key-revoked",
    "key-revoked-time-unknown": "key-revoked",
    "evidence-revoked": "key-revoked",
    "signature-invalid": "signature-invalid",
    "subject-mismatch": "signature-invalid",
    "wrong-signer": "wrong-signer",
    "annotation-mismatch": "wrong-signer",
    "repository-mismatch": "wrong-signer",
    "key-removed": "wrong-signer",
    "key-suspended": "wrong-signer",
    "outside-key-window": "wrong-signer",
    "retired-key": "wrong-signer",
    "untrusted-registry": "untrusted-registry",
    "digest-not-listed": "untrusted-registry",  # both are rules by list, not by signature
    "unsigned": "unsigned",
    "attestation-only": "unsigned",
}
"""Verifier reason (effect `violates`) -> finding code; a test fails when the verifier grows one that is not here."""

_CODE_PRECEDENCE: Final = (
    "digest-denied", "key-revoked", "signature-invalid", "wrong-signer", "untrusted-registry", "unsigned"
)  # fmt: skip
"""Proof of compromise first; then what is wrong before what is missing."""

_KIND_RANK: Final = {code: rank for rank, code in enumerate(FINDINGS)}

_ENVIRONMENT_LABELS: Final = ("env", "environment")
_ENVIRONMENT_STEP: Final = {"prod": 1, "production": 1, "sandbox": -1}

CAUSE_KINDS: Final = {"policy-change": "policy-changed", "baseline-policy": "baseline", "baseline-cluster": "baseline"}
"""Incident kind where the cause, not the finding, says what the incident is. A revocation keeps the finding's code."""


def finding_code_for(reason_codes: Iterable[str]) -> str | None:
    """The finding a `violates` verdict with these reasons becomes; None when none of them argues for a violation."""
    found = {REASON_FINDINGS[code] for code in reason_codes if code in REASON_FINDINGS}
    return next((code for code in _CODE_PRECEDENCE if code in found), None)


def severity_of(
    code: str, cluster_labels: Mapping[str, str] | Iterable[tuple[str, str]] = (), cause: Cause | None = None
) -> Severity:
    """Severity of a finding: the default of its row (of its cause's row for policy changes and baselines), moved by the
    cluster's label `env` or `environment`: `prod`, `production` one up, `sandbox` one down, within info … critical.

    Raises:
        KeyError: the code has no row.
    """
    row = FINDINGS[_kind_of(code, cause or Cause())]
    labels = dict(cluster_labels)
    environment = next((labels[name] for name in _ENVIRONMENT_LABELS if name in labels), "")
    rank = SEVERITIES.index(row.severity) + _ENVIRONMENT_STEP.get(environment.lower(), 0)
    return SEVERITIES[max(0, min(rank, len(SEVERITIES) - 1))]


def severity_rank(severity: Severity) -> int:
    """0 for `info` … 4 for `critical`."""
    return SEVERITIES.index(severity)


def worse_kind(one: str, other: str) -> str:
    """Of two incident kinds the one that stands first in the table; unknown kinds last."""
    last = len(_KIND_RANK)
    return min((one, other), key=lambda kind: (_KIND_RANK.get(kind, last), kind))


def incident_of(
    code: str,
    *,
    cluster: str,
    namespace: str,
    owner_kind: str,
    owner_name: str,
    policy: str,
    policy_version: str,
    repository: str,
    digest: str,
    cause: Cause,
    detail: tuple[tuple[str, str], ...] = (),
) -> IncidentKey:
    """The incident a finding belongs to: its cause when there is one, else the subject rule of its row.

    A revocation always wins. A policy change and a baseline win unless the finding is proof of compromise: that is told
    on its own. A finding of a revoked thing without a cause (a pod that starts after the revocation) names the thing in
    its detail `revoked` (`key:<id>`, `digest:<digest>`, `evidence:<id>`) and so meets the revocation's incident.

    Raises:
        KeyError: the code has no row.
    """
    row = FINDINGS[code]
    kind = _kind_of(code, cause)
    if cause.kind == "revocation" or (cause.kind in CAUSE_KINDS and not row.proof_of_compromise):
        return IncidentKey(stable_id("incident", cause.kind, [cause.id]), kind, cause.id)
    facts = {
        "code": code, "cluster": cluster, "namespace": namespace, "owner_kind": owner_kind, "owner_name": owner_name,
        "policy": policy, "policy_version": policy_version, "repository": repository, "digest": digest, **dict(detail),
    }  # fmt: skip
    family, subject = _SUBJECTS[row.subject](facts)
    return IncidentKey(stable_id("incident", family, list(subject)), kind, " ".join(subject))


def sentence_of(code: str, values: Mapping[str, str]) -> str:
    """The sentence of a finding; a value nobody gave reads `unknown`. The result holds untrusted text.

    Raises:
        KeyError: the code has no row.
    """
    return FINDINGS[code].sentence.format_map(_Known(values))


def message_of(finding: Finding) -> str:
    """The sentence of a finding, from its own fields and details."""
    values = {
        "workload": f"{finding.namespace}/{finding.owner_kind}/{finding.owner_name}", "cluster": finding.cluster,
        "namespace": finding.namespace, "container": finding.container, "image": finding.image,

        "repository": finding.repository,
        "digest": short_digest(finding.digest), "policy": finding.policy, "policy_version": finding.policy_version[:12],
    }  # fmt: skip
    return sentence_of(finding.code, {**values, **dict(finding.detail)})


class _Known(dict[str, str]):
    """Values by name; one that is missing or empty reads `unknown`."""

    def __getitem__(self, key: str) -> str:
        return self.get(key) or "unknown"

    def __missing__(self, key: str) -> str:
        return "unknown"


def _kind_of(code: str, cause: Cause) -> str:
    if FINDINGS[code].proof_of_compromise:
        return code
    return CAUSE_KINDS.get(cause.kind, code)


_Subject = Callable[[Mapping[str, str]], tuple[str, tuple[str, ...]]]


def _named(*names: str) -> _Subject:
    return lambda facts: (facts["code"], tuple(facts.get(name, "") for name in names))


def _revoked_thing(facts: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The revoked thing as the detail names it; a denied digest is its own name; else the policy and repository."""
    if not facts.get("revoked") and facts["code"] != "digest-denied":
        return facts["code"], (facts["policy"], facts["repository"])
    return "revocation", (facts.get("revoked") or f"digest:{facts['digest']}",)


_SUBJECTS: Final[dict[SubjectRule, _Subject]] = {
    "revoked-thing": _revoked_thing,
    "policy-version": lambda facts: ("policy-change", (f"{facts['policy']}@{facts['policy_version']}",)),
    "digest": _named("digest"),
    "policy-repository": _named("policy", "repository"),
    "workload": _named("cluster", "namespace", "owner_kind", "owner_name"),
    "cluster-webhook": _named("cluster", "webhook"),
    "expiring-thing": _named("expiring"),
    "baseline": lambda facts: ("baseline-policy", (facts["policy"],)),
}
"""Subject rule -> (family of the id, parts of the subject). The parts stay apart in the id: no name can imitate two."""
