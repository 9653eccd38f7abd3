"""`revet serve audit`: the API servers' audit webhook, into Kafka."""

from __future__ import annotations

import click

from streams.cli.common import settings_option
from streams.collectors.auditpolicy import audit_policy
from streams.serving.auditing import audit
from streams.serving.process import run_process
from streams.settings import Settings


def _print_policy(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(audit_policy(), nl=False)
        context.exit()


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve audit --settings /etc/revet/cluster.yaml\n"
    "  $ revet serve audit --print-policy > audit-policy.yaml\n"
    "  $ REVET_KAFKA_BOOTSTRAP=kafka:9092 REVET_LISTEN_ADDRESS=127.0.0.1:9880 revet serve audit",
)
@click.option(
    "--print-policy",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_policy,
    help="Print the audit policy an API server needs, with the reason of each rule, and end.",
)
@settings_option
def command(settings: Settings) -> int:
    """Take events of the API servers' audit webhook, and answer once the brokers have them.

    POST /audit takes what an API server sends, /firehose and /pubsub what EKS and GKE deliver. Who sends for which
    cluster is said by `listen.senders` (certificates, tokens); without it POST /audit/CLUSTER names the cluster. 200
    means durable; while the brokers cannot be reached senders wait, then get 503 and try again. Several can run behind
    one address.
    Settings: `listen`, `cluster`, `kafka`, `serve`.
    It stays until SIGTERM; `/healthz`, `/readyz` and `/metrics` of the process are at `serve.operations`.
    """
    return run_process("audit", settings, audit)
