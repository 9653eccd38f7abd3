"""The findings table: every code a person may hear of, what it is about, how bad, why it may be harmless, what to do.

One row per code. Messages, documents, dashboards, `docs/findings/<code>.md` and `revet explain CODE` are generated from
it; a test fails on a code that is used elsewhere and has no row here.

    row = FINDINGS["identity-revoked"]
    row.severity, row.subject        "critical", "revoked-thing"
    REASON_FINDINGS["time-unproven"] "wrong-signer"
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from alerting.models import Severity

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
    "repository-identity",
    "component",
    "audit-feed",
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
    "identity-revoked": FindingRow(
        title="what a signature rests on was revoked",
        feeds=("pods", "evidence"),
        subject="revoked-thing",
        severity="critical",
        sentence="{image} in {workload} counts only by a signature that rests on what was revoked ({revoked}): "
        "{reason}",
        meaning="The signature itself is good. What made it count was revoked because of a compromise: the identity it "
        "was made for, its certificate, a CA, a builder, a source commit, or a log or timestamp authority that vouched "
        "for it. Nothing proves that the signature is older.",
        benign="The image may well be your own, built before the compromise: without a trusted time nothing can show "
        "it. A revoked log or timestamp authority says nothing bad about the image, only that its word is missing now.",
        todo="See who runs it with `revet blast-radius --identity` (or `--ca`, `--builder`, `--commit`, `--log`); find "
        "out what was built meanwhile; rebuild and sign where nothing was compromised, and roll out.",
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
    "trust-refused": FindingRow(
        title="somebody wrote into the trust log who may not",
        feeds=(),
        subject="component",
        severity="critical",
        sentence="{component} refused {count}; the last, at {place}: {reason}",
        meaning="What changes trust counts only when a trust administrator signed it, and some of what loosens trust "
        "only when two did. Something in the log was not signed so. It changed nothing: verdicts are as if it were "
        "not there. But only administrators and their tools have a reason, and should have the right, to write into "
        "this log.",
        benign="An administrator with a new key that the settings of this process do not name yet, one who had to ask "
        "a second person first, or a tool that was pointed at the log of another installation (`administrators.log`).",
        todo="See each with `revet deadletter list`, and who can write to the topic with `revet topics check`. Ask "
        "the administrators whether it was one of them. If not: somebody holds credentials of the broker; change "
        "them, and look for what else they wrote. `revet doctor` compares who is believed where.",
        closes=("quiet",),
        closes_when="Nothing was refused for 24 hours. Until then an incident that was looked into is acknowledged or "
        "closed by hand; the next refused entry opens it again.",
        detail=("component", "count", "place", "reason"),
    ),
    "ledger-broken": FindingRow(
        title="the record is not what was sealed",
        feeds=(),
        subject="component",
        severity="critical",
        sentence="{component} differs from its ledger in {count}; the first: {reason}",
        meaning="Every document of history has an entry in the ledger, and batches of entries are signed. A check "
        "found a document that was changed, removed or put in, or a ledger that was itself rewritten. Somebody with "
        "access to the store did this, or the store was restored from an older copy; revet never changes history.",
        benign="A restore from a backup, or an administrator of the store who deleted documents by hand, looks the "
        "same. It was done past revet all the same, and what is missing stays missing.",
        todo="Run `revet ledger verify`: it names every document and batch. Keep store, ledger and checkpoints as they "
        "are for whoever looks into it, and compare with checkpoints kept elsewhere. Find out who had access to the "
        "store at the time. With Kafka, what is missing can be made again: `revet index reconcile`.",
        closes=("valid-again",),
        closes_when="A later check of at least the same window finds everything as it was sealed.",
        detail=("component", "count", "reason"),
    ),
    "attestation-violates": FindingRow(
        title="attestation says what the policy does not accept",
        feeds=("pods", "evidence"),
        subject="digest",
        severity="high",
        sentence="{image} in {workload} has an attestation that breaks {policy}: {reason}",
        meaning="A signer whom the policy trusts made a statement about this very image (how it was built, what is in "
        "it, what a scan found), and the statement breaks the policy's rule.",
        benign="A rule that is stricter than the build can meet, or a scan that reports what does not apply to this "
        "image. The image may have been so since it was built: the statement is proof of what is said, not of an "
        "attack.",
        todo="Read what was found and what was expected. A foreign builder or source: treat as tampering until "
        "explained. A vulnerability or licence: rebuild with the fix, or record an exception in the rule.",
        closes=_JUDGED,
        closes_when="The digest stops running, gets a statement that holds, the rule accepts it, or it is exempted.",
        detail=("reason",),
        digest_in_id=True,
    ),
    "wrong-signer": FindingRow(
        title="image signed by somebody else than the policy expects",
        feeds=("pods", "evidence"),
        subject="policy-repository",
        severity="high",
        sentence="{image} in {workload} is signed, but not as {policy} asks: {reason}",
        meaning="Good signatures exist, and none of them counts: another signer, a key out of its window, on hold or "
        "retired, other annotations, another repository, or one without the log entry, timestamp, certificate log or "
        "delegation that the policy asks of its signer.",
        benign="A new team key or workflow that nobody added to the policy, a rotation half done, a trust root that "
        "nobody delivered, a log that was not reachable when it was signed, or an image promoted from another "
        "repository.",
        todo="Find out who signed it and how; then add the signer or the trust root to the policy, or sign again as "
        "the policy asks.",
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
    "attestation-missing": FindingRow(
        title="image runs without an attestation the policy asks for",
        feeds=("pods", "evidence"),
        subject="policy-repository",
        severity="high",
        sentence="{image} runs in {workload} without the attestation that {policy} asks for: {reason}",
        meaning="Every place was asked, and no statement of the wanted kind by the wanted signer counts for this image "
        "or for an index that lists it. A signature of the image is no attestation.",
        benign="A build step that attests later than the deployment or failed without failing the build; attestations "
        "kept where revet was not told to look; an image from before the build began to attest.",
        todo="Attest the image in the build that made it (a statement made later by somebody else proves little), or "
        "exempt it for a time with a reason.",
        closes=_JUDGED,
        closes_when="The attestation appears, the image is replaced by an attested one, or it is exempted.",
        detail=("reason",),
    ),
    "untrusted-registry": FindingRow(
        title="image is not one that the policy allows at all",
        feeds=("pods", "evidence"),
        subject="policy-repository",
        severity="high",
        sentence="{image} in {workload} is nothing that {policy} allows: {reason}",
        meaning="The policy allows registries or digests by list, or denies whatever it matches, and this image is "
        "outside the lists or denied. This says nothing about signatures.",
        benign="A registry that was renamed or mirrored, a digest list that lags behind a release, or a denial whose "
        "patterns reach further than was meant.",
        todo="Move the image to a listed registry, or, after a look at it, add it to the list or narrow the denial.",
        closes=_JUDGED,
        closes_when="The image comes from a listed place, the policy allows it, or it is exempted.",
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
    "pipeline-stalled": FindingRow(
        title="a part of revet stands still",
        feeds=(),
        subject="component",
        severity="high",
        sentence="{component} {reason}, since {since}",
        meaning="A part of revet that worked does not any more: nothing was heard of it, or records wait and it does "
        "not move on, or it works under older trust than the rest. Until it goes on, findings of its share come "
        "late, and nothing there is known to be fine: no incident is resolved meanwhile.",
        benign="An upgrade that takes longer than `serve.stalled_seconds`, a process that was taken away for good, or "
        "a backlog whose single records take long. Nothing is lost: what waits is in the log.",
        todo="Look at the process named (its log, `/readyz`, `revet doctor`): does it run, does it reach Kafka, does "
        "it wait at a record of a newer revet? Then docs/operations.md, when revet is down. Of one that was taken "
        "away, close the incident by hand.",
        closes=("converged", "replaced", "ended"),
        closes_when="It moves on again, another process has taken its place, or it has been gone for a day while "
        "others of its kind work.",
        detail=("component", "reason", "since"),
    ),
    "visibility-lost": FindingRow(
        title="audit events were lost",
        feeds=("audit",),
        subject="audit-feed",
        severity="high",
        sentence="{count} of {component} {reason}, since {since}",
        meaning="An API server gave audit events up, or made events that never came. Who was admitted in that time, "
        "and past which answer, is not on record: a denial, a break-glass or a failed webhook may be among it. "
        "What runs is still seen by the pod watcher, and `unadmitted` may be raised for pods whose admission was lost.",
        benign="The receiver was away for longer than 75 to 100 seconds, or events came faster than the API server may "
        "send them. Nothing has to have happened in that time.",
        todo="Start the receiver, or give the API server a larger buffer (docs/audit.md). Then play its audit log file "
        "of that time with `revet serve files`: what came is on record once.",
        closes=("quiet",),
        closes_when="No further event was lost for an hour. What was lost stays lost until it is played from the file.",
        detail=("component", "count", "reason", "since"),
    ),
    "policy-changed": FindingRow(
        title="a changed policy or trust root refuses what runs",
        feeds=("pods", "evidence"),
        subject="policy-version",
        severity="medium",
        sentence="{image} in {workload} passed {policy} before its version {policy_version} and fails now: {reason}",
        meaning="Nothing about the image changed. The policy did, or a trust root it rests on was narrowed or taken "
        "away, and the image satisfied what was in force before. One incident per change; findings that a trust root "
        "turned keep their own code (expired, wrong-signer) and are its members.",
        benign="This is the expected effect of a tightened policy or root; `revet policy preview` shows a policy's "
        "before it happens.",
        todo="If it is meant: let the owners sign, attest or replace. If not: put the former version back.",
        closes=_JUDGED,
        closes_when="The images satisfy the new version, or the policy is changed back.",
        detail=("reason",),
    ),
    "expired": FindingRow(
        title="signature or attestation no longer counts by its dates",
        feeds=("pods", "evidence"),
        subject="policy-repository",
        severity="medium",
        sentence="{image} in {workload} satisfies {policy} no longer by its dates: {reason}",
        meaning="The evidence is genuine and by the right signer, and its time is over or was never within bounds: a "
        "certificate or trust root was not valid at the proven signing time, the signature's own expiry has passed, or "
        "an attestation is older than the policy allows.",
        benign="Time alone does this. Nothing about the image changed, and nobody attacked anything.",
        todo="Sign or attest again. If certificates end before images do, sign with a timestamp, so that the signature "
        "outlives its certificate; a scan wants to be repeated on a schedule.",
        closes=("withdrawn", *_JUDGED),
        closes_when="There is newer evidence, the policy or trust root allows the old one, the image is replaced or "
        "exempted.",
        detail=("reason",),
    ),
    "signer-changed": FindingRow(
        title="another signer than before satisfies the policy",
        feeds=("pods", "evidence"),
        subject="repository-identity",
        severity="medium",
        sentence="{image} in {workload} satisfies {policy} by {signer}; images of {repository} that ran here before "
        "were signed by {before}",
        meaning="The policy accepts both signers, so nothing is violated. But images of this repository used to be "
        "signed by one, and what runs now is not signed by it at all. Who can sign under a wide rule (an organisation, "
        "a pattern, one of several keys) can do this without a change of policy.",
        benign="A build that moved to another workflow, CI system or team key looks exactly like this, once. A rotated "
        "key of the trust ring, another tag of the same workflow, or a second signature beside the first do not.",
        todo="Ask the repository's owner whether the move was theirs. If so, acknowledge it, and narrow the policy to "
        "the new signer. If not, treat the image as tampered with: compare its commit and builder in `revet trace`.",
        closes=("converged", "quiet", "policy-removed", *_ENDS),
        closes_when="An image by the former signer runs again, the container ends, or seven days pass since the new "
        "signer was first seen.",
        detail=("signer", "before"),
        paging=False,
    ),
    "evidence-vanished": FindingRow(
        title="evidence that was published is gone",
        feeds=("pods", "evidence"),
        subject="digest",
        severity="medium",
        sentence="evidence of {image} in {workload} was published and is no longer: {lost}",
        meaning="A signature or an attestation was seen where it is published, and is not there any more, or the image "
        "itself is gone from its registry. What was seen is kept from first sight and still counts here: verdicts do "
        "not change. But nobody else can verify this image now, and a node that pulls it again may find nothing.",
        benign="Clean-up of a registry (retention of tags, `.sig` and `.att` tags among them), a move to another "
        "repository, a signature that was made again in a newer format.",
        todo="Ask who cleans up this repository. Publish the evidence again, with the image where that is gone too: "
        "`revet evidence show` tells what is kept. If nobody did it: somebody may hide what was signed, and when.",
        closes=("converged", *_ENDS),
        closes_when="It is published again, or no container runs the digest any more.",
        detail=("lost",),
        digest_in_id=True,
    ),
    "stale": FindingRow(
        title="what is known about an image is old",
        feeds=("pods", "evidence"),
        subject="policy-repository",
        severity="medium",
        sentence="{image} in {workload} satisfies {policy} by what was known at {asked}; nobody could ask since: "
        "{reason}",
        meaning="Evidence that was seen is kept, so the verdict stands. But where it is published could not be asked "
        "completely for twice `evidence.max_age_hours`: what was published, replaced or taken away since is not known.",
        benign="A registry that is down, moved or cleaned up, or a credential that has ended. Nothing says that the "
        "image is bad.",
        todo="Mend what the reason names (access, network, limits); `revet doctor` lists the places that do not "
        "answer. An image that is gone from its registry wants to be replaced by one that can be verified.",
        closes=_JUDGED,
        closes_when="Every place has answered again, or the image stops running or is judged otherwise.",
        detail=("asked", "reason"),
        paging=False,
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
        sentence="{image} in {workload} meant {before} and means {now} now",
        meaning="The same tag was pulled with different content at different times, or names other content in the "
        "registry than what runs here.",
        benign="Moving tags (`latest`, `1.4`) are made to move; only tags that are never to move make this "
        "interesting.",
        todo="Pin by digest what must not change by itself.",
        closes=("converged", "quiet", *_ENDS),
        closes_when="The workload runs one digest for a while, the one that the tag names, or ends.",
        detail=("before", "now"),
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
    "identity-revoked": "identity-revoked",
    "source-revoked": "identity-revoked",
    "certificate-revoked": "identity-revoked",  # a CA took back whom it vouched for; the key may be sound elsewhere
    "signature-invalid": "signature-invalid",
    "subject-mismatch": "signature-invalid",
    "wrong-signer": "wrong-signer",
    "annotation-mismatch": "wrong-signer",
    "repository-mismatch": "wrong-signer",
    "key-removed": "wrong-signer",
    "key-suspended": "wrong-signer",
    "outside-key-window": "wrong-signer",
    "retired-key": "wrong-signer",
    "log-entry-missing": "wrong-signer",
    "sct-missing": "wrong-signer",
    "time-unproven": "wrong-signer",
    "delegation-missing": "wrong-signer",  # signed well, by somebody who does not meet what is asked of the signer
    "outside-certificate-window": "expired",
    "signature-expired": "expired",
    "attestation-stale": "expired",
    "attestation-violates": "attestation-violates",
    "attestation-missing": "attestation-missing",
    "untrusted-registry": "untrusted-registry",
    "digest-not-listed": "untrusted-registry",
    "denied-by-policy": "untrusted-registry",  # all three are rules about which images may run, not about signatures
    "unsigned": "unsigned",
    "attestation-only": "unsigned",
}
"""Verifier reason (effect `violates`) -> finding code; a test fails when the verifier grows one that is not here."""
