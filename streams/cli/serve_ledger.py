"""`revet serve ledger`: sign what is written to the record, and check that it stays so."""

from __future__ import annotations

import click

from streams.cli.common import settings_option
from streams.serving.ledgering import ledger
from streams.serving.process import run_process
from streams.settings import Settings


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet ledger init --key-file /run/secrets/ledger-key.pem\n"
    "  $ revet serve ledger --settings /etc/revet/cluster.yaml",
)
@settings_option
def command(settings: Settings) -> int:
    """Sign what is written to the record, and check that it stays so.

    The private key belongs here and nowhere else: give this process a machine of its own where you can.
    Settings: `ledger`, `kafka`, `elasticsearch`, `serve`.
    It stays until SIGTERM; `/healthz`, `/readyz` and `/metrics` are at `serve.operations`.
    """
    return run_process("ledger", settings, ledger)
