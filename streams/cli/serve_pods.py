"""`revet serve pods`: the pods of watched clusters, into Kafka."""

from __future__ import annotations

from functools import partial

import click

from streams.cli.common import account_of, settings_option
from streams.collectors.rbac import manifest
from streams.serving.process import run_process
from streams.serving.watching import pods
from streams.serving.watching import retire as end_cluster
from streams.settings import Settings
from verifier.errors import InputError


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve pods --settings /etc/revet/cluster.yaml\n"
    "  $ revet serve pods --print-rbac --account revet/revet-pods\n"
    "  $ REVET_KAFKA_BOOTSTRAP=kafka:9092 REVET_PODS_CLUSTERS=prod-eu=in-cluster revet serve pods",
)
@click.option("--print-rbac", is_flag=True, help="Print the RBAC a watcher needs in a cluster, with reasons, and end.")
@click.option(
    "--account",
    default="revet/revet-pods",
    show_default=True,
    metavar="NAMESPACE/NAME",
    help="With --print-rbac: service account that is bound.",
)
@click.option(
    "--tell-again",
    is_flag=True,
    help="Begin with a snapshot that is told whole: for judges that lost their state (docs/operations.md).",
)
@click.option(
    "--retire",
    metavar="NAME",
    help="End what is known of a cluster that is watched no more, with that reason, and end. Take it out of"
    " `pods.clusters` first.",
)
@settings_option
def command(print_rbac: bool, account: str, tell_again: bool, retire: str | None, settings: Settings) -> int:
    """Watch the pods of clusters, and tell of every change of what runs.

    It goes on where it was, also on another machine: what was told last stands in Kafka, and pods that ended meanwhile
    are found. Several watchers of one cluster are harmless; with `pods.lease` one reads and the others stand by.
    Settings: `pods`, `kafka`, `serve`.
    It stays until SIGTERM; `/healthz`, `/readyz` and `/metrics` are at `serve.operations`.
    """
    if print_rbac:
        bound = account_of(account, "revet/revet-pods")
        namespace, _, name = settings.pods.lease.partition("/")
        click.echo(manifest(bound, (namespace, name) if name else None), nl=False)
        return 0
    if retire is not None:
        if retire in {place.name for place in settings.pods.places()}:
            raise InputError(f"--retire {retire}: it is still in pods.clusters, and would be listed again")
        return run_process("pods", settings, partial(end_cluster, cluster=retire))
    return run_process("pods", settings, partial(pods, tell_again=tell_again))
