"""`revet serve index`: write what was decided and seen to Elasticsearch."""

from __future__ import annotations

import click

from streams.cli.common import settings_option
from streams.serving.indexing import index
from streams.serving.process import run_process
from streams.settings import Settings


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve index --settings /etc/revet/cluster.yaml\n"
    "  $ REVET_KAFKA_BOOTSTRAP=kafka:9092 REVET_KAFKA_ENGINE=aiokafka revet serve index",
)
@settings_option
def command(settings: Settings) -> int:
    """Write what was decided and seen to Elasticsearch.

    Positions move only once Elasticsearch has acknowledged.
    Settings: `kafka`, `elasticsearch`, `administrators`, `serve`.
    It stays until SIGTERM; `/healthz`, `/readyz` and `/metrics` are at `serve.operations`.
    """
    return run_process("index", settings, index)
