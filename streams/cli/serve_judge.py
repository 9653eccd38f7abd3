"""`revet serve judge`: judge what runs: the shards that are given to this process."""

from __future__ import annotations

import click

from streams.cli.common import settings_option
from streams.serving.judging import judge
from streams.serving.process import run_process
from streams.settings import Settings


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve judge --settings /etc/revet/cluster.yaml\n"
    "  $ REVET_KAFKA_BOOTSTRAP=kafka:9092 REVET_KAFKA_ENGINE=aiokafka revet serve judge",
)
@settings_option
def command(settings: Settings) -> int:
    """Judge what runs: the shards that are given to this process.

    It reads observations and trust, asks for evidence, and says what changed: verdicts, findings, counts of incidents.
    Start as many as there is work; each takes some of the shards (`kafka.partitions`).
    Settings: `kafka`, `administrators`, `serve`.
    It stays until SIGTERM; `/healthz`, `/readyz` and `/metrics` are at `serve.operations`.
    """
    return run_process("judge", settings, judge)
