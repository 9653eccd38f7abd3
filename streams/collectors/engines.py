"""Who refused a request, and whether it judged or could not judge: read from the message, never from the code alone.

A denial has no stable code: Gatekeeper answers 403, Kyverno 400 without a reason, ValidatingAdmissionPolicy 422, a
broken webhook 500, and 403 is mostly plain RBAC. The message is the API server's own frame around the engine's words,
so the frame is what is matched (k8s.io/apiserver pkg/admission/plugin/webhook/errors/statuserror.go and
.../plugin/policy/validating/dispatcher.go).

    classify('admission webhook "validation.gatekeeper.sh" denied the request: [repos] …', 403)
    # Judgement(outcome="denied", engine="gatekeeper", by="validation.gatekeeper.sh")
    classify('pods "x" already exists', 409)      # None: not a decision
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from streams.events import DecisionOutcome
from verifier.reasons import REASONS

Engine = str


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """What a message says. `skipped` is the reason (of `deadletters.IGNORED`) when it is no decision at all."""

    outcome: DecisionOutcome = "denied"
    engine: Engine = ""
    by: str = ""
    skipped: str = ""


NOT_PROVENANCE: Final[frozenset[Engine]] = frozenset(
    {"api-server", "limit-ranger", "pod-security", "pod-security-policy", "quota"}
)
"""Engines that look at no signature: their denials say nothing about an image."""

_BY_WEBHOOK: Final[tuple[tuple[re.Pattern[str], Engine], ...]] = tuple(
    (re.compile(pattern), engine)
    for pattern, engine in (
        (r"(^|\.)kyverno\.svc(-|$)", "kyverno"),  # mutate.kyverno.svc-fail, ivpol.validate.kyverno.svc-fail-finegrained
        (r"(^|\.)sigstore\.dev$", "policy-controller"),  # policy.sigstore.dev
        (r"(^|\.)gatekeeper\.sh$", "gatekeeper"),
        (r"(^|\.)kubewarden\.admission$", "kubewarden"),
        (r"(^|[.-])connaisseur[.-]", "connaisseur"),
        (r"(^|[.-])ratify[.-]", "ratify"),
        (r"notary-admission\.aws\.com$", "notation"),
        (
            r"(^|\.)(imagepolicywebhook\.image-policy\.k8s\.io|binaryauthorization\.googleapis\.com)$",
            "image-policy-webhook",
        ),
        (r"(^|\.)warden-(validating|mutating)\..*gke\.io$", "gke-warden"),
        (r"(^|\.)securityenforcement\.admission\.cloud\.ibm\.com$", "portieris"),
        (r"(^|\.)admission\.revet$", "revet"),
    )
)
"""Name of the webhook -> engine; the names are the engines' own defaults."""


def engine_of(webhook: str) -> Engine:
    """The engine behind a webhook, `webhook` when it is none we know."""
    for pattern, engine in _BY_WEBHOOK:
        if pattern.search(webhook):
            return engine
    return "webhook"


_COULD_NOT: Final = re.compile(
    r"Policy \S+ error: "  # Kyverno's CEL policies say failed: or error:
    r"|System error calling external data provider"  # Gatekeeper with Ratify
    r"|timed out after validating \d+/\d+ images"  # Connaisseur
    r"|unexpected status code (?:401|403|404|408|429|5\d\d)"  # go-containerregistry, any engine
    r"|MANIFEST_UNKNOWN|TOOMANYREQUESTS|UNAUTHORIZED: "
    r"|context deadline exceeded|connection refused|i/o timeout|no such host|TLS handshake timeout|x509: "
)
"""The verifier's own failure inside a webhook's denial: it refused because it could not tell, not because it knew."""

_KNEW: Final = re.compile(
    r"no matching signatures|no signatures found|signature not found|invalid signature|failed to verify signature"
    r"|is not signed|no signature is associated|must be an image digest"
)
"""The verifier looked and found wanting. Beats `_COULD_NOT`: one bad image of several is a violation."""


REVET: Final[Engine] = "revet"
_EXPLAIN: Final = re.compile(r"\(revet explain ([a-z0-9-]{1,60})\)")
"""How each line of a denial of ours ends."""
_OUR_DOUBTS: Final = frozenset(code for code, row in REASONS.items() if row.effect == "unverifiable") - {"unpinned"}
"""Reasons by which revet refused because it could not tell. That a tag is no digest, it knows."""


def only_doubts(codes: Iterable[str]) -> bool:
    """Whether revet refused for nothing but what it could not tell."""
    found = set(codes)
    return bool(found) and found <= _OUR_DOUBTS


def _by_webhook(name: str, words: str) -> Judgement:
    engine = engine_of(name)
    if engine == REVET:
        could_not = only_doubts(_EXPLAIN.findall(words))
    else:
        could_not = bool(_COULD_NOT.search(words) and not _KNEW.search(words))
    return Judgement("errored" if could_not else "denied", engine, name)


_DENIED: Final = re.compile(r'admission webhook "([^"]+)" (denied the request|does not support dry run)')
_FAILED: Final = re.compile(
    r'Internal error occurred: (?:failed calling (?:admission )?webhook "([^"]+)"'
    r"|(?:Validating|Mutating)AdmissionWebhook/(\S+) has panicked)"
)
_FORBIDDEN: Final = re.compile(r"[\w.-]+(?: \"(?:[^\"\\]|\\.)*\")? is forbidden: ")
_POLICY: Final = re.compile(
    r"(?:Validating|Mutating)AdmissionPolicy '([^']+)'(?: with binding '[^']+')? denied request: "
    r"(failed to configure (?:policy|binding)|expression '.*' resulted in error)?",
    re.DOTALL,
)

_PLUGINS: Final[tuple[tuple[re.Pattern[str], Judgement], ...]] = tuple(
    (re.compile(pattern), judgement)
    for pattern, judgement in (
        (r"image policy webh?ook backend denied|one or more images rejected by webhook backend",
         Judgement("denied", "image-policy-webhook", "imagepolicywebhook")),
        (r"Post \"?https?://", Judgement("errored", "image-policy-webhook", "imagepolicywebhook")),
        (r"violates PodSecurity ", Judgement("denied", "pod-security", "pod-security")),
        (r"(?:exceeded|failed|insufficient) quota|status unknown for quota", Judgement("denied", "quota", "quota")),
        (r"\[?(?:maximum|minimum) \S+ |\S+ max limit to request ratio", Judgement("denied", "limit-ranger",
        "limit-ranger")), (r"unable to validate against any pod security policy|PodSecurityPolicy: ",
         Judgement("denied", "pod-security-policy", "pod-security-policy")),
        (r"User \"", Judgement(skipped="forbidden")),
    )
)  # fmt: skip
"""Words behind `is forbidden:` -> what it means; anything else is some plugin built into the API server."""


def _forbidden(words: str) -> Judgement:
    if policy := _POLICY.match(words):
        return Judgement("errored" if policy[2] else "denied", "validating-admission-policy", policy[1])
    for pattern, judgement in _PLUGINS:
        if pattern.match(words):
            return judgement
    return Judgement("denied", "api-server", "")


NOT_A_DECISION: Final[dict[int, str]] = {
    400: "bad-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "bad-request",
    406: "bad-request",
    409: "conflict",
    413: "too-large",
    415: "bad-request",
    422: "invalid",
    429: "too-many-requests",
}
"""Code -> reason (of `deadletters.IGNORED`), for messages no admission plugin writes."""


def classify(message: str, code: int) -> Judgement | None:
    """What a rejection's message says, or None when no admission plugin wrote it.

    Args:
        message: `responseStatus.message`.
        code: `responseStatus.code`; only a 403 can be the word of an unknown built-in plugin.
    """
    if denied := _DENIED.match(message):
        if denied[2] == "does not support dry run":
            return Judgement(skipped="dry-run-unsupported")
        return _by_webhook(denied[1], message[denied.end() :])
    if failed := _FAILED.match(message):
        name = failed[1] or failed[2]
        return Judgement("errored", engine_of(name), name)
    if forbidden := _FORBIDDEN.match(message):
        judgement = _forbidden(message[forbidden.end() :])
        return judgement if judgement.engine != "api-server" or code == 403 else None
    return None
