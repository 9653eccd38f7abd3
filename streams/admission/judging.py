"""What admission says about a request: verdicts of its images in, an answer and a decision out. Pure.

    judge = Judge(trust)
    verdicts = judge.verdicts(scope, evidence, instant)         the same as of everything that runs (`verifier.verify`)
    answer = answered(asked, images, conduct, epoch)

Two modes meet, and the weaker acts:

    policy      webhook observe   webhook warn   webhook enforce
    trial       recorded          recorded       recorded
    audit       recorded          warned         warned
    enforce     recorded          warned         denied

Could-not-tell and ungoverned are admitted and recorded, unless the settings say otherwise; then the webhook's mode
acts, for could-not-tell together with its policy's. A tag is judged by what it means now and marked `unpinned`.

Everything of a request may be hostile: what is shown of it goes through `safe`, and every text is bounded. It refuses
to fetch, to read a clock, and to look at anything but images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from alerting.text import cut, safe
from streams.collectors.admission import FORBIDDEN, MAX_IMAGES, Asked
from streams.collectors.decisions import MAX_AUDITED
from streams.collectors.engines import REVET, only_doubts
from streams.collectors.reduce import MAX_MESSAGE
from streams.events import DecisionObserved, DecisionOutcome, ImageAsked
from verifier.canonical import stable_id
from verifier.errors import ImageReferenceError
from verifier.models import ImageReference, Micros, Outcome, Reason, Scope, Verdict
from verifier.policy.selection import PolicyIndex, compile_policy
from verifier.reasons import REASONS, reason
from verifier.reference import parse_reference
from verifier.trust.standing import KeyTimeline
from verifier.trust.state import TrustState
from verifier.verify import SEVERITY_OF_OUTCOME, ImageEvidence, ungoverned, verify, worst

Mode = Literal["observe", "warn", "enforce"]
Doubt = Literal["admit", "deny"]

SOURCE: Final = "admission"
MIRROR_PODS: Final = "mirror-pods"
"""How mirror pods are named into scope."""
SYSTEM: Final = "kube-system"

MAX_TOLD: Final = 5
"""Images that a denial or warnings tell of; the rest is counted."""
MAX_WARNING: Final = 256
"""Characters of one warning; the API server may cut longer ones (KEP-1693)."""
IMAGE_IN_WARNING: Final = 80
"""Of these, for the image: its name and the ends of its digest."""
TAIL: Final = 60
"""Characters kept of the end of one: the last words say where to read on."""
MAX_ANNOTATION: Final = 512
MAX_LINE: Final = 600
"""Characters about one image in a denial."""


class Conduct(msgspec.Struct, frozen=True):
    """How requests are answered."""

    mode: Mode = "observe"
    unverifiable: Doubt = "admit"
    ungoverned: Doubt = "admit"
    refuse_unpinned: bool = False
    """A tag counts as an offence of its own; the webhook's mode acts."""
    namespace: str = "revet"
    """Revet's own."""
    named: tuple[str, ...] = ()
    """Namespaces that are in scope although they are revet's own or the system's, and `mirror-pods`."""
    webhook: str = "images.admission.revet"
    """Its name in the configuration; decisions carry it."""


class JudgedImage(NamedTuple):
    """One image of a request, and what policies say of it."""

    asked: ImageAsked
    verdicts: tuple[Verdict, ...]
    digest: str
    """Pinned, or what the tag means now; empty: not known."""
    pinned: bool


class Answer(NamedTuple):
    """What the API server is told, and what is recorded."""

    allowed: bool
    message: str
    warnings: tuple[str, ...]
    annotations: dict[str, str]
    decision: DecisionObserved | None
    """None where nothing was judged."""
    outcome: Outcome | Literal["out-of-scope", "skipped"]


# ------------------------------------------------------------------------------------------------------------- verdicts


class Judge:
    """Verdicts under one state of trust; what is compiled is kept as long as trust stays."""

    def __init__(self, trust: TrustState) -> None:
        self.trust = trust
        self._index = PolicyIndex([compile_policy(entry.policy) for entry in trust.policies.values()])
        self._timelines: dict[str, KeyTimeline] = {}

    def verdicts(self, scope: Scope, image: ImageEvidence, instant: Micros) -> tuple[Verdict, ...]:
        """One verdict per governing policy, or the single `ungoverned` one: as `verifier.verify.verify_all`."""
        governing = self._index.governing(scope, image.digest)
        found = tuple(verify(p, scope, image, self.trust, instant, self._timelines) for p in governing)
        return found or (ungoverned(scope, image, self.trust, instant),)


def reference_of(image: str) -> tuple[ImageReference, Reason | None]:
    """The reference of an image, and why it is none; as the judge of what runs takes it."""
    try:
        return parse_reference(image), None
    except ImageReferenceError:
        return ImageReference(registry="", path=image[:255]), reason("reference-unparsable", found=image[:255])


def is_pinned(reference: ImageReference) -> bool:
    """Whether the reference itself says which bytes will run."""
    return bool(reference.digest)


def scope_of(asked: Asked, reference: ImageReference, trust: TrustState) -> Scope:
    """What policies can see of an image of a request; of a template, of its pods."""
    entry = trust.clusters.get(asked.cluster)
    return Scope(
        image=reference,
        cluster=asked.cluster,
        cluster_name=entry.name if entry is not None else asked.cluster,
        cluster_labels=entry.labels if entry is not None else (),
        namespace=asked.namespace,
        service_account=asked.service_account,
        labels=asked.labels,
    )


def out_of_scope(asked: Asked, conduct: Conduct) -> str:
    """Why a request is not judged, in words; empty: it is."""
    if asked.mirror and MIRROR_PODS not in conduct.named:
        return "a mirror pod"
    if asked.namespace in (SYSTEM, conduct.namespace) and asked.namespace not in conduct.named:
        return f"namespace {asked.namespace}"
    return ""


# --------------------------------------------------------------------------------------------------------------- acting

_ACTS: Final = ("record", "warn", "deny")
_OF_POLICY: Final = {"trial": 0, "audit": 1, "enforce": 2}
_OF_WEBHOOK: Final = {"observe": 0, "warn": 1, "enforce": 2}


class _Offence(NamedTuple):
    """Something that may be told of one image."""

    image: JudgedImage
    policy: str
    outcome: Outcome
    reason: Reason
    act: int
    """Index into `_ACTS`."""


def _offences(image: JudgedImage, conduct: Conduct) -> Iterator[_Offence]:
    webhook = _OF_WEBHOOK[conduct.mode]
    for verdict in image.verdicts:
        if verdict.outcome == "valid" or verdict.exempted_by:
            continue
        allowed = _OF_POLICY[verdict.mode] if verdict.outcome != "ungoverned" else 2
        act = min(webhook, allowed, _of_outcome(verdict.outcome, conduct))
        yield _Offence(image, verdict.policy, verdict.outcome, verdict.reasons[0], act)
    if not image.pinned:
        found = safe(image.asked.submitted, ascii_only=True)
        said = reason("unpinned", found=found, digest=image.digest or "nothing that could be found")
        governed = any(verdict.policy for verdict in image.verdicts)
        act = webhook if conduct.refuse_unpinned else min(webhook, 1) if governed else 0
        yield _Offence(image, "", "unverifiable", said, act)


def _each(images: Iterable[JudgedImage], conduct: Conduct) -> Iterator[_Offence]:
    for image in images:
        yield from _offences(image, conduct)


def _too_many(asked: Asked, images: Sequence[JudgedImage], conduct: Conduct) -> Iterator[_Offence]:
    """Images that nobody looks at are no way in: the webhook's mode alone acts."""
    if asked.left_out and images:
        found, what = len(asked.images) + asked.left_out, "the number of containers"
        said = reason("evidence-too-large", what=what, found=found, limit=f"{MAX_IMAGES} different images")
        yield _Offence(images[-1], "", "unverifiable", said, _OF_WEBHOOK[conduct.mode])


def _of_outcome(outcome: Outcome, conduct: Conduct) -> int:
    """The strongest act an outcome may lead to. Nobody is warned of what no policy asks for."""
    if outcome == "violates":
        return 2
    if outcome == "ungoverned":
        return 2 if conduct.ungoverned == "deny" else 0
    return 2 if conduct.unverifiable == "deny" else 1


def answered(asked: Asked, images: Sequence[JudgedImage], conduct: Conduct, epoch: int) -> Answer:
    """The answer to a request whose images were judged. Raises nothing.

    Args:
        asked: the request.
        images: its images, in order; empty where nothing was judged (skipped, out of scope).
        conduct: what the settings say.
        epoch: trust epoch of the verdicts.
    """
    if asked.skipped:
        return Answer(True, "", (), {"skipped": asked.skipped}, None, "skipped")
    if why := out_of_scope(asked, conduct):
        decision = _decision(asked, (), (), conduct, exempt=f"out of scope: {why}")
        return Answer(True, "", (), {"out-of-scope": cut(safe(why), MAX_ANNOTATION)}, decision, "out-of-scope")
    offences = sorted((*_too_many(asked, images, conduct), *_each(images, conduct)), key=lambda o: -o.act)
    denials = [o for o in offences if _ACTS[o.act] == "deny"]
    warned = [o for o in offences if _ACTS[o.act] == "warn"]
    outcomes: list[Outcome] = [v.outcome for i in images for v in i.verdicts]
    outcome = worst([*outcomes, "unverifiable"] if asked.left_out else outcomes)
    decision = _decision(asked, denials, offences, conduct, exempt=_exempted(images))
    return Answer(
        allowed=not denials,
        message=_denial(denials),
        warnings=() if denials else _warnings(warned),
        annotations=_annotations(images, offences, conduct, outcome, epoch, decision.id),
        decision=decision,
        outcome=outcome,
    )


# --------------------------------------------------------------------------------------------------------------- words


def _denial(denials: Sequence[_Offence]) -> str:
    if not denials:
        return ""
    lines = [cut(_line(offence), MAX_LINE) for offence in denials[:MAX_TOLD]]
    more = len(denials) - len(lines)
    lines += [f"and {more} more like these"] if more else []
    return cut("; ".join(lines), MAX_MESSAGE)


def _warnings(warned: Sequence[_Offence]) -> tuple[str, ...]:
    lines = [_plain(f"revet: {_line(offence, IMAGE_IN_WARNING)}") for offence in warned[:MAX_TOLD]]
    more = len(warned) - len(lines)
    return (*lines, *([f"revet: and {more} more like these"] if more else []))


def _plain(text: str) -> str:
    """ASCII within `MAX_WARNING`: warnings travel in a header, whose length is counted in bytes."""
    whole = safe(text.replace("…", ".."), MAX_LINE, ascii_only=True).replace("\\u2026", "..").replace("…", "..")
    return whole if len(whole) <= MAX_WARNING else f"{whole[: MAX_WARNING - TAIL - 2]}..{whole[-TAIL:]}"


def _line(offence: _Offence, longest: int = 160) -> str:
    """Image, policy, reason, what to do: in one line of plain characters."""
    asked, said = offence.image.asked, offence.reason
    image = safe(asked.submitted, longest, ascii_only=True)
    policy = f"policy {safe(offence.policy, 80)}: " if offence.policy else ""
    container = f"container {safe(asked.container, 63, ascii_only=True)}"
    todo = REASONS[said.code].todo if said.code in REASONS else ""
    return f"image {image} ({container}): {policy}{said.code}: {safe(said.message)}. {todo} (revet explain {said.code})"


def _annotations(
    images: Sequence[JudgedImage],
    offences: Sequence[_Offence],
    conduct: Conduct,
    outcome: Outcome,
    epoch: int,
    decision: str,
) -> dict[str, str]:
    """What the API server writes into its audit event, under `WEBHOOK/`."""
    codes = dict.fromkeys(offence.reason.code for offence in offences)
    policies = dict.fromkeys(v.policy for i in images for v in i.verdicts if v.policy)
    unpinned = [image.asked.submitted for image in images if not image.pinned]
    said = {
        "outcome": outcome,
        "mode": conduct.mode,
        "epoch": str(epoch),
        "decision": decision,
        "reasons": " ".join(codes),
        "policies": " ".join(safe(policy, 80) for policy in policies),
        "digests": " ".join(dict.fromkeys(image.digest for image in images if image.digest)),
        "unpinned": " ".join(safe(image, 160, ascii_only=True) for image in unpinned),
    }
    return {key: cut(value, MAX_ANNOTATION) for key, value in said.items() if value}


# ------------------------------------------------------------------------------------------------------------- decision


def _exempted(images: Iterable[JudgedImage]) -> str:
    names = (f"exemption {v.exempted_by}" for i in images for v in i.verdicts if v.exempted_by)
    return next(names, "")


def _decision(
    asked: Asked, denials: Sequence[_Offence], offences: Sequence[_Offence], conduct: Conduct, *, exempt: str
) -> DecisionObserved:
    """What is recorded. `admitted` is this webhook's word: a later one, or a quota, may still refuse the request."""
    denied = bool(denials)
    ranked = sorted(offences, key=lambda o: -SEVERITY_OF_OUTCOME[o.outcome])
    stored = () if denied else ranked
    return DecisionObserved(
        id=stable_id("admission", asked.cluster, asked.uid),
        time=asked.time,
        cluster=asked.cluster,
        namespace=asked.namespace,
        owner=asked.owner,
        outcome=_outcome(denials),
        operation=asked.operation,
        resource=asked.resource,
        name=asked.name,
        uid="" if denied or asked.dry_run else asked.object_uid,
        user=asked.user,
        groups=asked.groups,
        code=FORBIDDEN if denied else 0,
        reason="Forbidden" if denied else "",
        engine=REVET,
        by=conduct.webhook,
        message=_denial(denials),
        break_glass=asked.break_glass,
        exempt=exempt,
        dry_run=asked.dry_run,
        audited=tuple(cut(f"{o.outcome}: {_line(o)}", MAX_MESSAGE) for o in stored[:MAX_AUDITED]),
        images=tuple(_image(image, denied=denied) for image in asked.images),
        source=SOURCE,
    )


def _outcome(denials: Sequence[_Offence]) -> DecisionOutcome:
    """`errored`: refused because it could not be told, as of any other engine."""
    if not denials:
        return "admitted"
    return "errored" if only_doubts(offence.reason.code for offence in denials) else "denied"


def _image(image: ImageAsked, *, denied: bool) -> ImageAsked:
    """What a refused request would have stored is nobody's business."""
    return ImageAsked(image.container, image.kind, image.submitted) if denied else image
