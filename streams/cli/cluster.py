"""`revet cluster`: clusters, enrolled under a name with labels and feeds, and retired when they are no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from streams.cli.changing import asked_by, carry_out, confirm, evidence_option, note_option, reading, tell
from streams.cli.common import EXIT_OK, output_option, print_json, print_table, say, show_time
from streams.cli.outcomes import Reading
from streams.cli.render import safe
from streams.cli.trustplace import Place, place_option, sign_options
from streams.collectors.auditpolicy import webhook_kubeconfig
from verifier.trust.changes import put_cluster
from verifier.trust.clusters import find_cluster, retire_cluster
from verifier.trust.describe import describe
from verifier.trust.records import ClusterPut, ClusterRetired
from verifier.trust.state import ClusterEntry

RECEIVER: Final = "https://REVET-RECEIVER:9880/audit"


@click.group()
def command() -> None:
    """Enrol, list and retire clusters."""


def _receiver(function: Callable[..., int]) -> Callable[..., int]:
    return click.option(
        "--receiver", default=RECEIVER, show_default=True, metavar="URL", help="Where `revet serve audit` is reached."
    )(function)


@command.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet cluster enroll prod-eu --id \"$(kubectl get ns kube-system -o jsonpath='{.metadata.uid}')\" \\\n"
    "      --label env=prod --label region=eu\n"
    "  $ revet cluster enroll gke-1 --id 1f3c9f0e-2a6b-4f0e-8a51-0f3d9b3c7a11 --feed pods"
)
@click.argument("name")
@click.option("--id", "cluster_id", required=True, metavar="UID", help="UID of its namespace kube-system.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="What policies may ask for; repeatable.")
@click.option(
    "--feed",
    "feeds",
    multiple=True,
    type=click.Choice(["audit", "pods"]),
    help="Feed it will send; repeatable. A finding that needs another one is never raised for it.  [default: both]",
)
@_receiver
@note_option
@evidence_option
@sign_options
@place_option
@output_option
def enroll(
    name: str,
    cluster_id: str,
    labels: tuple[str, ...],
    feeds: tuple[Any, ...],  # Any: click has checked them
    receiver: str,
    note: str,
    evidence: str,
    state: Place,
    output: str,
) -> int:
    """Enrol a cluster, or change its name, labels or feeds; then say what to set up in it."""
    found = reading(state, create=True)
    by = asked_by(found, note)
    record = put_cluster(
        found.trust,
        by,
        cluster_id,
        name,
        labels=_labels(labels),
        feeds=tuple(dict.fromkeys(feeds)) or ("audit", "pods"),
    )
    outcome = carry_out(
        state, [record], found.now, expects=found.trust.epoch, evidence=evidence, what="revet cluster enroll"
    )
    code = tell(outcome, output, state)
    if output == "table" and code == EXIT_OK:
        for line in next_steps(record.cluster_id, name, record.feeds, receiver):
            click.echo(safe(line))
    return code


def _labels(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"expected KEY=VALUE, got {safe(text[:80])}", param_hint="--label")
        found[key] = value
    return found


def next_steps(cluster_id: str, name: str, feeds: Sequence[str], receiver: str) -> list[str]:
    """What to set up so that the cluster's feeds come, one line each."""
    lines = ["", f"What to set up for cluster {name}:"]
    if "audit" in feeds:
        config = webhook_kubeconfig(
            receiver,
            ca_file="/etc/kubernetes/revet/ca.crt",
            certificate_file="/etc/kubernetes/revet/tls.crt",
            key_file="/etc/kubernetes/revet/tls.key",
        )
        lines += [
            "1. Let the receiver know its API servers: in the settings of `revet serve audit`, for each of them",
            f"     listen.senders: [{{cluster: {cluster_id}, certificate: 'cn:ITS-NAME', server: cp-1}}]",
            "   or token_file in place of certificate.",
            "2. Give the API servers the policy that `revet serve audit --print-policy` prints (--audit-policy-file;",
            "   the other flags stand on top of it) and this file (--audit-webhook-config-file):",
            "",
            *config.splitlines(),
            "",
            "   Managed clusters have no such flags: docs/audit.md says how EKS, GKE and AKS deliver.",
        ]
    if "pods" in feeds:
        lines.append("Pods: let whoever lists or watches its pods name it as " + cluster_id)
    return [*lines, f"Then: revet cluster show {name}"]


@command.command("list", epilog="Example:\n\n\b\n  $ revet cluster list --all")
@click.option("--all", "everything", is_flag=True, help="Also retired ones.")
@place_option
@output_option
def list_(everything: bool, state: Place, output: str) -> int:
    """List clusters by name."""
    found = reading(state)
    entries = sorted(found.trust.clusters.values(), key=lambda entry: (entry.name, entry.cluster_id))
    rows = [_row(entry) for entry in entries if everything or entry.enrolled]
    if output == "json":
        print_json({"schema": "revet.clusters/v1", "epoch": found.trust.epoch, "clusters": rows})
        return EXIT_OK
    shown = ("name", "id", "labels", "feeds", "since", "status")
    cells = [{**row, "labels": _text(row["labels"]), "feeds": ", ".join(row["feeds"]) or "none"} for row in rows]
    print_table(shown, [[cell[c] for c in shown] for cell in cells])
    return EXIT_OK


@command.command(epilog="Example:\n\n\b\n  $ revet cluster show prod-eu --kubeconfig")
@click.argument("cluster", metavar="NAME")
@click.option("--kubeconfig", is_flag=True, help="Print what to set up in it again.")
@_receiver
@place_option
@output_option
def show(cluster: str, kubeconfig: bool, receiver: str, state: Place, output: str) -> int:
    """Show a cluster (name or id): what it is, and what was said about it."""
    found = reading(state)
    entry = find_cluster(found.trust, cluster)
    row, said = _row(entry), _said(found, entry.cluster_id)
    if output == "json":
        print_json({"schema": "revet.cluster/v1", "epoch": found.trust.epoch, **row, "history": said})
        return EXIT_OK
    cells = {**row, "labels": _text(row["labels"]), "feeds": ", ".join(row["feeds"]) or "none"}
    print_table(("", "cluster"), list(cells.items()))
    print_table(("epoch", "time", "what"), [(one["epoch"], one["time"], one["what"]) for one in said])
    if kubeconfig:
        for line in next_steps(entry.cluster_id, entry.name, entry.feeds, receiver):
            click.echo(safe(line))
    return EXIT_OK


@command.command(epilog="Example:\n\n\b\n  $ revet cluster retire staging --note 'shut down, CHG-77' --yes")
@click.argument("cluster", metavar="NAME")
@click.option("--yes", is_flag=True, help="Retire without asking.")
@note_option
@evidence_option
@sign_options
@place_option
@output_option
def retire(cluster: str, yes: bool, note: str, evidence: str, state: Place, output: str) -> int:
    """Say that a cluster (name or id) is no more: what runs there has ended, and its findings close with that reason.

    History stays. One that still sends is judged as before; enrol it again to bring it back.
    """
    found = reading(state)
    record = retire_cluster(found.trust, asked_by(found, note), cluster)
    entry = found.trust.clusters[record.cluster_id]
    say(f"revet: cluster {entry.name} ({entry.cluster_id}): what runs there will count as ended now")
    confirm(f"retire cluster {entry.name}?", yes=yes)
    outcome = carry_out(
        state, [record], found.now, expects=found.trust.epoch, evidence=evidence, what="revet cluster retire"
    )
    return tell(outcome, output, state)


def _row(entry: ClusterEntry) -> dict[str, Any]:  # Any: what JSON holds
    return {
        "name": entry.name,
        "id": entry.cluster_id,
        "labels": dict(entry.labels),
        "feeds": list(entry.feeds),
        "since": show_time(entry.first_at),
        "status": "enrolled" if entry.enrolled else f"retired {show_time(entry.retired_at)}",
        "epoch": entry.epoch,
    }


def _text(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items()) or "-"


def _said(found: Reading, cluster_id: str) -> list[dict[str, Any]]:  # Any: what JSON holds
    """Entries of the log about it, oldest first."""
    return [
        {"epoch": entry.epoch, "time": show_time(entry.record.at), "what": describe(entry.record)}
        for entry in found.entries
        if isinstance(entry.record, ClusterPut | ClusterRetired) and entry.record.cluster_id == cluster_id
    ]
