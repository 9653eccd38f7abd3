"""`revet serve alert`: decide what people are told, and tell them."""

from __future__ import annotations

import click

from streams.cli.common import settings_option
from streams.serving.alerting import alert
from streams.serving.process import run_process
from streams.settings import Settings


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve alert --settings /etc/revet/cluster.yaml\n"
    "  $ REVET_KAFKA_BOOTSTRAP=kafka:9092 REVET_KAFKA_ENGINE=aiokafka revet serve alert",
)
@settings_option
def command(settings: Settings) -> int:
    """Decide what people are told, and tell them.

    One process is active; more stand by. Messages go to Slack where `slack` is set, else to standard output.
    Settings: `kafka`, `administrators`, `owners`, `slack`, `alerting`, `serve`.
    It stays until SIGTERM; `/healthz`, `/readyz` and `/metrics` are at `serve.operations`.
    """
    return run_process("alert", settings, alert)
