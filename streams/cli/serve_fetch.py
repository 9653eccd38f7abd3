"""`revet serve fetch`: ask registries for evidence, once for every shard."""

from __future__ import annotations

import click

from streams.cli.common import settings_option
from streams.serving.fetching import fetch
from streams.serving.process import run_process
from streams.settings import Settings


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve fetch --settings /etc/revet/cluster.yaml\n"
    "  $ REVET_KAFKA_BOOTSTRAP=kafka:9092 REVET_KAFKA_ENGINE=aiokafka revet serve fetch",
)
@settings_option
def command(settings: Settings) -> int:
    """Ask registries for evidence, once for every shard.

    What was found is kept in `evidence.store`; several fetchers share one that several machines can reach (a directory
    on all of them, or an OCI repository). Settings: `evidence`, `kafka`, `administrators`, `serve`.
    It stays until SIGTERM; `/healthz`, `/readyz` and `/metrics` are at `serve.operations`.
    """
    return run_process("fetch", settings, fetch)
