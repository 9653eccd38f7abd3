"""`revet serve admission`: the validating webhook of a cluster."""

from __future__ import annotations

import os
from pathlib import Path

import click

from streams.admission.configuration import webhook_configuration
from streams.cli.common import default_state, settings_option
from streams.serving.admitting import admission
from streams.serving.process import run_process
from streams.settings import Settings
from verifier.errors import InputError


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve admission --settings /etc/revet/cluster.yaml\n"
    "  $ REVET_ADMISSION_SERVICE=revet/admission revet serve admission --print-webhook",
)
@click.option(
    "--print-webhook",
    is_flag=True,
    help="Print the ValidatingWebhookConfiguration to install, with its reasons, and end.",
)
@settings_option
def command(settings: Settings, *, print_webhook: bool) -> int:
    """Answer the API server about images that are to run, within a budget.

    It gives the verdict that is given of everything else, and records what it said. In mode `observe`, the default,
    nothing is refused. With Kafka, trust and facts come from its topics and decisions go there; without, they are those
    of the state file (`state`), beside `revet run`.
    Settings: `admission`, `cluster`, `evidence`, `kafka`, `administrators`, `serve`, `state`.
    It stays until SIGTERM; `/healthz`, `/readyz` and `/metrics` of the process are at `serve.operations`.
    """
    if print_webhook:
        click.echo(webhook_configuration(settings.admission, _bundle(settings)), nl=False)
        return 0
    return run_process("admission", _placed(settings), admission)


def _placed(settings: Settings) -> Settings:
    """With the files nobody named: the spool, and the state of one machine, in the user's state folder."""
    spool = settings.admission.spool or _folder() / "admission.sqlite"
    state = settings.state if settings.clustered else settings.state or default_state()
    own = settings.admission.model_copy(update={"spool": spool})
    return settings.model_copy(update={"admission": own, "state": state})


def _folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "revet"


def _bundle(settings: Settings) -> bytes | None:
    file = settings.admission.ca_file
    if file is None:
        return None
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"admission.ca_file: {file}: {error.strerror or error}") from error
    if b"-----BEGIN CERTIFICATE-----" not in data or b"PRIVATE KEY-----" in data:
        raise InputError(f"admission.ca_file: {file}: expected PEM certificates and nothing else")
    return data
