"""`revet verify`: would these images pass, here and now? For CI and GitOps gates; needs no state.

Facts are computed now and forgotten. A tag means the digest it has now, and that digest is printed. There is no first
sight without a state, so only times that the evidence itself proves exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

import click
import msgspec
from rich.text import Text

from alerting.text import short_digest
from streams.cli.common import (
    EXIT_OK,
    EXIT_UNKNOWN,
    EXIT_VIOLATION,
    INSTANT,
    PAIR,
    by,
    encodable,
    now,
    print_json,
    print_table,
    say,
    show_time,
)
from streams.cli.manifests import ManifestContainer, ManifestDefaults, read_manifests
from streams.cli.render import safe
from streams.cli.sources import (
    TrustFiles,
    compiled_policies,
    look_up_all,
    read_reference,
    read_trust,
    source_options,
)
from streams.cli.trust_files import CertificateSigner, signer_of, signer_options
from streams.local.explained import Explained, Step, explain
from streams.local.reports import Checked, Silenced, cases_of, junit, sarif
from streams.places import EvidenceSource
from verifier.errors import InputError
from verifier.models import Micros, Mode, Outcome, Reason, Scope, SignatureView, Verdict
from verifier.policy.selection import CompiledPolicy
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence, verify_all, worst

SCHEMA: Final = "revet.verify/v1"

EXIT_OF: Final[Mapping[Outcome, int]] = {
    "valid": EXIT_OK,
    "ungoverned": EXIT_UNKNOWN,
    "unverifiable": EXIT_UNKNOWN,
    "violates": EXIT_VIOLATION,
}
_STYLE: Final[Mapping[Outcome, str]] = {
    "valid": "green",
    "ungoverned": "cyan",
    "unverifiable": "yellow",
    "violates": "bold red",
}
_SHOWN_WITHOUT: Final = 5
"""Objects without containers that are named."""


class Target(NamedTuple):
    """One thing to judge: an image as written, in its scope."""

    image: str
    scope: Scope
    container: ManifestContainer | None = None


class ResultPolicy(msgspec.Struct, frozen=True):
    """The verdict of one governing policy."""

    id: str
    version: str
    mode: Mode
    verdict: Outcome
    exempted_by: str


class ResultSignature(msgspec.Struct, frozen=True):
    """One piece of evidence under one key."""

    format: str
    signer: str
    time: str | None
    """Earliest proven time, RFC 3339; null when nothing proves one."""
    status: str
    kind: str
    counts: bool
    """For at least one of the governing policies, as far as trust in the key goes."""
    via: str | None
    time_kind: str
    key_id: str
    evidence: str


class Result(msgspec.Struct, frozen=True):
    """What `revet verify` says of one image in one scope: an entry of `results`."""

    image: str
    digest: str | None
    """The digest that was judged; null when it could not be found out."""
    verdict: Outcome
    """The worst of the governing policies."""
    passes: bool
    """False when this image alone would make the exit code something else than 0."""
    reasons: tuple[Reason, ...]
    policies: tuple[ResultPolicy, ...]
    signatures: tuple[ResultSignature, ...]
    container: str | None = None
    """`namespace/Kind/name: container`, for images of manifests."""
    source: str | None = None
    """`file:line`, for images of manifests."""
    explained: tuple[Explained, ...] = ()
    """With `--explain`: the steps to the verdict of each governing policy."""


class Verification(msgspec.Struct, frozen=True):
    """The document `revet verify -o json` prints."""

    schema: str
    results: tuple[Result, ...]
    without_containers: tuple[str, ...] = ()
    """Objects of the manifests in which no container was found."""


# ------------------------------------------------------------------------------------------------------------- judging


def verify_targets(
    targets: Sequence[Target],
    source: EvidenceSource,
    trust: TrustState,
    instant: Micros,
    *,
    allow_ungoverned: bool,
    explained: bool = False,
) -> tuple[Result, ...]:
    """One result per target, in their order; `explained` ones tell every step.

    Raises:
        PlaceRefused, InputError: the evidence source as a whole cannot be used.
    """
    source = source.asking(target.image for target in targets if target.container is None)
    evidence = asyncio.run(look_up_all(source, (target.image for target in targets), trust, instant))
    policies = compiled_policies(trust)
    how = {"allow_ungoverned": allow_ungoverned, "explained": explained}
    return tuple(judge_target(t, evidence[t.image], policies, trust, instant, **how) for t in targets)


def judge_target(
    target: Target,
    evidence: ImageEvidence,
    policies: Mapping[str, CompiledPolicy],
    trust: TrustState,
    instant: Micros,
    *,
    allow_ungoverned: bool,
    explained: bool = False,
) -> Result:
    """The result of one target. Raises nothing."""
    verdicts = verify_all(policies, target.scope, evidence, trust, instant)
    verdict, reasons = worst([v.outcome for v in verdicts]), tuple(r for v in verdicts for r in v.reasons)
    acting = worst([acting_outcome(v) for v in verdicts])
    if evidence.problem is not None and verdict == "ungoverned":
        # A policy may select by digest: while there is none, nobody can tell that no policy governs.
        verdict = acting = "unverifiable"
        reasons = (evidence.problem, *reasons)
    container = target.container
    return Result(
        image=target.image,
        digest=evidence.digest or None,
        verdict=verdict,
        passes=EXIT_OF[acting] == EXIT_OK or (acting == "ungoverned" and allow_ungoverned),
        reasons=tuple(dict.fromkeys(reasons)),
        policies=tuple(
            ResultPolicy(v.policy, v.policy_version, v.mode, v.outcome, v.exempted_by) for v in verdicts if v.policy
        ),
        signatures=_signatures(verdicts),
        container=container.where if container else None,
        source=container.source if container else None,
        explained=tuple(explain(v, evidence) for v in verdicts) if explained else (),
    )


def acting_outcome(verdict: Verdict) -> Outcome:
    """What a verdict means for a gate: a policy in trial is silent, and an exempted violation is accepted."""
    if verdict.mode == "trial" or (verdict.outcome == "violates" and verdict.exempted_by):
        return "valid"
    return verdict.outcome


def exit_code(results: Iterable[Result]) -> int:
    """0 when every result passes; 1 when one violates and does not; else 3."""
    failed = [result for result in results if not result.passes]
    if not failed:
        return EXIT_OK
    violated = any(_blocks(policy) for result in failed for policy in result.policies)
    return EXIT_VIOLATION if violated else EXIT_UNKNOWN


def _blocks(policy: ResultPolicy) -> bool:
    return policy.verdict == "violates" and policy.mode != "trial" and not policy.exempted_by


def _signatures(verdicts: Sequence[Verdict]) -> tuple[ResultSignature, ...]:
    """Every policy sees the same signatures; whether one counts may differ by policy."""
    counting = {(s.evidence, s.key_id) for v in verdicts for s in v.signatures if s.counts}
    return tuple(_signature(s, (s.evidence, s.key_id) in counting) for s in verdicts[0].signatures)


def _signature(view: SignatureView, counts: bool) -> ResultSignature:
    return ResultSignature(
        format=view.format,
        signer=view.signer,
        time=show_time(view.time) if view.time is not None else None,
        status=view.status,
        kind=view.kind,
        counts=counts,
        via=view.via,
        time_kind=view.time_kind,
        key_id=view.key_id,
        evidence=view.evidence,
    )


# ------------------------------------------------------------------------------------------------------------- targets


class Surroundings(NamedTuple):
    """What the options say of where the images are to run."""

    cluster: str = ""
    cluster_labels: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    service_account: str = ""


def image_target(image: str, around: Surroundings, trust: TrustState) -> Target:
    """An image of the command line, in the scope of the options."""
    return Target(encodable(image), _scope(encodable(image), around, trust))


def container_target(container: ManifestContainer, around: Surroundings, trust: TrustState) -> Target:
    """A container of a manifest, in its own scope; the cluster is that of the options."""
    own = around._replace(
        namespace=container.namespace, labels=container.labels, service_account=container.service_account
    )
    return Target(container.image, _scope(container.image, own, trust), container)


def _scope(image: str, around: Surroundings, trust: TrustState) -> Scope:
    known = (entry for entry in trust.clusters.values() if around.cluster in (entry.name, entry.cluster_id))
    entry = next(known, None)
    cluster_labels = dict(entry.labels if entry else ()) | dict(around.cluster_labels)
    return Scope(
        image=read_reference(image)[0],
        cluster=entry.cluster_id if entry else around.cluster,
        cluster_name=entry.name if entry else around.cluster,
        cluster_labels=tuple(sorted(cluster_labels.items())),
        namespace=around.namespace,
        service_account=around.service_account,
        labels=tuple(sorted(dict(around.labels).items())),
    )


# ------------------------------------------------------------------------------------------------------------- reports


def checked(result: Result) -> Checked:
    """A result as reports for other tools take it."""
    file, _, line = (result.source or "").rpartition(":")
    written = bool(file) and not file.startswith("(")  # standard input is no file that anybody could open
    return Checked(
        image=result.image,
        digest=result.digest or "",
        verdict=result.verdict,
        passes=result.passes,
        reasons=result.reasons,
        silenced={p.id: Silenced(p.mode == "trial", p.exempted_by) for p in result.policies},
        container=result.container or "",
        file=file if written else "",
        line=int(line) if written and line.isdecimal() else 0,
    )


def _print_sarif(verification: Verification) -> None:
    try:
        number = version("revet")
    except PackageNotFoundError:  # run from a folder that is not installed
        number = "unknown"
    print_json(sarif([checked(result) for result in verification.results], number))


def _print_junit(verification: Verification) -> None:
    click.echo(junit("revet verify", cases_of(map(checked, verification.results))), nl=False)


# ------------------------------------------------------------------------------------------------------------ printing


def print_results(verification: Verification) -> None:
    """Tables for people: images with their verdicts, then the signatures that were found."""
    results = verification.results
    located = any(result.container for result in results)
    print_table(
        [*(["CONTAINER"] if located else []), "IMAGE", "DIGEST", "VERDICT", "WHY"],
        [[*([result.container or ""] if located else []), *_row(result)] for result in results],
    )
    rows = {
        (result.digest, s.evidence, s.key_id): _signature_row(result, s)
        for result in results
        for s in result.signatures
    }
    if rows:
        print_table(["DIGEST", "SIGNATURE", "SIGNER", "STATUS", "COUNTS", "TIME"], rows.values(), title="\nSignatures")
    for result in results:
        for told in result.explained:
            _print_explained(result, told)
    _print_summary(verification)


_MARKS: Final = {"passed": "yes", "failed": "NO", "unknown": "?", "nothing": "-"}


def _print_explained(result: Result, told: Explained) -> None:
    under = f"policy {told.policy}" if told.policy else "no policy"
    title = safe(f"{result.container or result.image}, {under}: {told.outcome} (step {told.decided_by} decides)")
    print_table(["STEP", "", "", "FOUND"], map(_step_row, told.steps), title=f"\n{title}")
    for number, signature in enumerate(told.signatures, start=1):
        kind = "" if signature.kind == "signature" else f" ({signature.kind})"
        about = safe(f"{number}. {signature.format}{kind} by {signature.signer}, {signature.evidence}")
        print_table(["SIGNATURE", "", "", "FOUND"], map(_step_row, signature.steps), title=f"\n{about}")


def _step_row(step: Step) -> list[object]:
    return [step.name, step.about, _MARKS[step.found], step.text]


def _row(result: Result) -> list[object]:
    marks = {p.verdict: " (trial)" for p in result.policies if p.mode == "trial"}
    marks |= {p.verdict: " (exempted)" for p in result.policies if p.exempted_by}
    verdict = Text(result.verdict + (marks.get(result.verdict, "") if result.passes else ""), _STYLE[result.verdict])
    why = Text("\n").join(Text(safe(_why(reason))) for reason in result.reasons)
    return [result.image, short_digest(result.digest) if result.digest else "-", verdict, why]


def _why(reason: Reason) -> str:
    policy = f" [{reason.policy}]" if reason.policy else ""
    return f"{reason.code}: {reason.message}{policy}"


def _signature_row(result: Result, signature: ResultSignature) -> list[object]:
    kind = "" if signature.kind == "signature" else f" ({signature.kind})"
    via = f" ({signature.via})" if signature.via not in ("exact", None) else ""
    return [
        short_digest(result.digest or ""),
        signature.format + kind,
        signature.signer,
        signature.status + via,
        "yes" if signature.counts else "no",
        signature.time or "-",
    ]


def _print_summary(verification: Verification) -> None:
    counted: dict[str, int] = {}
    for result in verification.results:
        counted[result.verdict] = counted.get(result.verdict, 0) + 1
    say(", ".join(f"{count} {verdict}" for verdict, count in counted.items()))
    without = verification.without_containers
    if without:
        more = f" and {len(without) - _SHOWN_WITHOUT} more" if len(without) > _SHOWN_WITHOUT else ""
        say(f"no containers in {', '.join(without[:_SHOWN_WITHOUT])}{more}")


_PRINT: Final[Mapping[str, Callable[[Verification], None]]] = {
    "table": print_results,
    "json": print_json,
    "sarif": _print_sarif,
    "junit": _print_junit,
}


# ------------------------------------------------------------------------------------------------------------- command

_EPILOG: Final = """\b
Exit codes: 0 every image passes; 1 a violation; 3 could not tell, or no policy governs; 2 usage or a wrong
document; 4 the evidence source cannot be used. A violation under a policy in trial, or an exempted one, is
shown and does not fail.

\b
Examples:
  $ revet verify registry.example.com/payments/api:1.4.2 --key streams/demo_data/keys/dev.pub \
--evidence oci-layout:streams/demo_data/oci
  $ revet verify -f deploy.yaml --policy policies/ --trust trust/ --cluster-label env=prod
  $ helm template chart/ | revet verify -f - --policy policies/ --trust trust/ -o json
  $ revet verify -f deploy/ --policy policies/ --trust trust/ -o sarif > revet.sarif
  $ revet verify registry.example.com/payments/api:1.4.2 --trust trust/ --explain
"""


@click.command(epilog=_EPILOG)
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option(
    "-f",
    "--filename",
    "manifests",
    multiple=True,
    metavar="MANIFEST|DIR|-",
    help="Every container of these manifests, each with its own scope; - is standard input. Repeatable.",
)
@click.option("--policy", multiple=True, metavar="FILE|DIR", help="Policies (and other documents). Repeatable.")
@click.option(
    "--trust",
    multiple=True,
    metavar="FILE|DIR",
    help="Documents, .pub keys, trust roots (trusted_root.json, CA .pem, key ring .asc), trust stores. Repeatable.",
)
@click.option(
    "--key", multiple=True, metavar="FILE", help="Public key; any of the keys given signs every image. Repeatable."
)
@click.option(
    "-a",
    "--annotations",
    multiple=True,
    type=PAIR,
    metavar="KEY=VALUE",
    help="With --key: signed annotations to ask for.",
)
@signer_options
@source_options
@click.option("--cluster", default="", metavar="NAME|ID", help="Cluster the images are to run in.")
@click.option(
    "--cluster-label", multiple=True, type=PAIR, metavar="KEY=VALUE", help="Label of that cluster. Repeatable."
)
@click.option("-n", "--namespace", default="", help="Namespace, where a manifest names none.")
@click.option("--label", multiple=True, type=PAIR, metavar="KEY=VALUE", help="Label of the pod. Repeatable.")
@click.option("--service-account", default="", help="Service account, where a manifest names none.")
@click.option("--at", type=INSTANT, metavar="TIME", help="Judge as of this time; the evidence is what exists now.")
@click.option("--allow-ungoverned", is_flag=True, help="An image that no policy governs passes.")
@click.option("--explain", "explained", is_flag=True, help="Tell what every step found, signature by signature.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "sarif", "junit"]),
    default="table",
    show_default=True,
    help="How to print; sarif for code scanning, junit for the test report of a CI system.",
)
@click.pass_context
def command(
    context: click.Context,
    images: tuple[str, ...],
    manifests: tuple[str, ...],
    policy: tuple[str, ...],
    trust: tuple[str, ...],
    key: tuple[str, ...],
    annotations: tuple[tuple[str, str], ...],
    source: EvidenceSource,
    cluster: str,
    cluster_label: tuple[tuple[str, str], ...],
    namespace: str,
    label: tuple[tuple[str, str], ...],
    service_account: str,
    at: int | None,
    allow_ungoverned: bool,
    explained: bool,
    output: str,
    certificate_identity: str,
    certificate_identity_regexp: str,
    certificate_oidc_issuer: str,
    certificate_oidc_issuer_regexp: str,
    trusted_root: str,
) -> None:
    """Would these images pass, here and now? No state needed."""
    if not images and not manifests:
        raise click.UsageError("nothing to verify: give an IMAGE, or manifests with -f")
    if explained and output not in ("table", "json"):
        raise click.UsageError(f"--explain tells people; it goes with -o table or json, not {output}")
    instant = now() if at is None else at
    namespace, service_account = encodable(namespace), encodable(service_account)
    around = Surroundings(encodable(cluster), cluster_label, namespace, label, service_account)
    signer = signer_of(
        CertificateSigner(
            certificate_identity,
            certificate_identity_regexp,
            certificate_oidc_issuer,
            certificate_oidc_issuer_regexp,
            trusted_root,
        )
    )
    state = read_trust(TrustFiles((*policy, *trust), key, annotations, signer), by(instant))
    found = read_manifests(manifests, ManifestDefaults(namespace, service_account, label))
    if not images and not found.containers:
        raise InputError(f"no container in {', '.join(manifests)}: nothing was verified")
    targets = [
        *(image_target(image, around, state) for image in images),
        *(container_target(container, around, state) for container in found.containers),
    ]
    how = {"allow_ungoverned": allow_ungoverned, "explained": explained}
    results = verify_targets(targets, source, state, instant, **how)
    _PRINT[output](Verification(SCHEMA, results, found.without))
    context.exit(exit_code(results))
