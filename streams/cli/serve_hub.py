"""`revet serve hub`: audit events that a cloud delivers into a topic, into Kafka."""

from __future__ import annotations

import click

from streams.cli.common import settings_option
from streams.serving.hub import hub
from streams.serving.process import run_process
from streams.settings import Settings


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve hub --settings /etc/revet/aks.yaml\n"
    "  $ REVET_HUB_BOOTSTRAP=ns.servicebus.windows.net:9093 REVET_HUB_TOPIC=aks-audit revet serve hub",
)
@settings_option
def command(settings: Settings) -> int:
    """Take audit events out of a topic that a cloud writes (Azure Event Hubs for AKS), for one cluster.

    What was read counts once the brokers have what came of it; a restart goes on there. More than one share the
    topic's partitions. Settings: `hub`, `kafka`, `serve`. It stays until SIGTERM.
    """
    return run_process("hub", settings, hub)
