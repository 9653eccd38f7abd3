"""`revet serve`: the processes of the clustered mode. One file per process; each stays until it is told to stop."""

from __future__ import annotations

import importlib
from typing import Final

import click

PROCESSES: Final[dict[str, str]] = {
    "files": "Recordings of audit events and pods, into Kafka.",
    "audit": "The API servers' audit webhook, into Kafka.",
    "hub": "Audit events that a cloud delivers into a topic, into Kafka.",
    "pods": "The pods of watched clusters, into Kafka.",
    "reports": "What other engines say of images and workloads, into Kafka.",
    "admission": "The validating webhook: asked by the API server before an image runs.",
    "judge": "Judge what runs: the shards that are given to this process.",
    "fetch": "Ask registries for evidence, once for everybody.",
    "index": "Write what was decided and seen to Elasticsearch.",
    "keys": "Watch keys that are kept elsewhere, and write what changes into the trust log.",
    "alert": "Decide what people are told, and tell them.",
    "ledger": "Sign what is written to the record, and check that it stays so.",
}
"""Process -> what its help says first; its command is `streams.cli.serve_<process>.command`."""


class _Processes(click.Group):
    """Processes are imported when they are started."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        del ctx
        return list(PROCESSES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        del ctx
        if cmd_name not in PROCESSES:
            return None
        found = importlib.import_module(f"streams.cli.serve_{cmd_name}").command
        if not isinstance(found, click.Command):
            raise TypeError(f"streams.cli.serve_{cmd_name}.command is not a click command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of processes, without importing any."""
        del ctx
        with formatter.section("Processes"):
            formatter.write_dl(list(PROCESSES.items()))


@click.group(
    cls=_Processes,
    epilog="Example: `revet serve judge --settings /etc/revet/cluster.yaml`. How they belong together:"
    " docs/operations.md.",
)
def command() -> None:
    """Run a process of the clustered mode, beside Kafka and Elasticsearch.

    `revet run` needs none of this: one process, one file. Every process can be started more than once.
    """
