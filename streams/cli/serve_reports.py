"""`revet serve reports`: what other engines say, into Kafka."""

from __future__ import annotations

import click

from streams.cli.common import account_of, settings_option
from streams.collectors.rbac import reports_manifest
from streams.serving.process import run_process
from streams.serving.reporting import reports
from streams.settings import Settings


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve reports --settings /etc/revet/cluster.yaml\n"
    "  $ revet serve reports --print-rbac --account revet/revet-reports\n"
    "  $ REVET_KAFKA_BOOTSTRAP=kafka:9092 REVET_REPORTS_CLUSTERS=prod-eu=in-cluster revet serve reports",
)
@click.option("--print-rbac", is_flag=True, help="Print the RBAC it needs in a cluster, with reasons, and end.")
@click.option(
    "--account",
    default="revet/revet-reports",
    show_default=True,
    metavar="NAMESPACE/NAME",
    help="With --print-rbac: service account that is bound.",
)
@settings_option
def command(print_rbac: bool, account: str, settings: Settings) -> int:
    """Keep what other engines say of images and workloads, beside what revet says.

    Watches PolicyReports and ClusterPolicyReports (wgpolicyk8s.io) and their successors (openreports.io); a cluster
    that has none is asked again every minute. With `reports.address`, and at the receiver of `revet serve audit`, POST
    /reports takes bodies of Ratify, Gatekeeper, Connaisseur and OPA. All of it can be searched (`revet search --in
    claim`), and none of it changes a verdict, a finding or an incident.
    Settings: `reports`, `pods`, `listen`, `kafka`, `serve`.
    It stays until SIGTERM; `/healthz`, `/readyz` and `/metrics` are at `serve.operations`.
    """
    if print_rbac:
        click.echo(reports_manifest(account_of(account, "revet/revet-reports")), nl=False)
        return 0
    return run_process("reports", settings, reports)
