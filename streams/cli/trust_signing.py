"""`revet trust keygen`, `trust sign` and `trust submit`: administrators of a cluster's trust, and their signatures."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec

from alerting.text import count
from streams.cli.changing import confirm, tell
from streams.cli.common import EXIT_OK, output_option, print_json, say
from streams.cli.outcomes import Line
from streams.cli.render import safe
from streams.cli.trustplace import Cluster, Place, place_option, proposal_lines, sign_options, write_new
from streams.trustwriting import PROPOSAL_BYTES, Proposal, Read, read_proposal, signed_by, write_proposal
from verifier.errors import InputError
from verifier.trust.signing import Administrator, generate, read_administrators

KEY_SUFFIX = ".trust-key.pem"


@click.command("keygen", epilog="Example:\n\n\b\n  $ revet trust keygen alice --passphrase")
@click.argument("name")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help=f"Default: NAME{KEY_SUFFIX}.")
@click.option("--passphrase", is_flag=True, help="Encrypt the key with a passphrase; asks for it.")
@output_option
def keygen(name: str, out: Path | None, passphrase: bool, output: str) -> int:
    """Make a trust administrator's key: a file for NAME alone, and the line for administrators.keys.

    The line is public; the file is not. It is not written anywhere else and cannot be made again.
    """
    secret = _new_passphrase() if passphrase else None
    pem, public = generate(secret)
    administrator = Administrator(name, public)
    try:
        read_administrators([administrator.line()])
    except ValueError:
        raise InputError(f"{name[:128]!r} is no name: letters, digits and . _ @ - in between") from None
    file = out or Path(f"{name}{KEY_SUFFIX}")
    write_new(file, pem, 0o600)
    if output == "json":
        told = {"name": name, "file": str(file), "line": administrator.line(), "key_id": administrator.key_id}
        print_json({"schema": "revet.trust-key/v1", **told})
        return EXIT_OK
    click.echo(administrator.line())
    say(f"revet: the private key is in {file}; put the line above into administrators.keys of every process")
    return EXIT_OK


def _new_passphrase() -> bytes:
    entered: str = click.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return entered.encode()


@click.command("sign", epilog="Example:\n\n\b\n  $ revet trust sign change.json --sign-with bob.trust-key.pem")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Sign without asking.")
@sign_options
@place_option
@output_option
def sign_(file: Path, yes: bool, state: Place, output: str) -> int:
    """Add a signature to FILE, which --propose wrote, after showing what it does. Applies nothing."""
    cluster = _cluster(state)
    found = cluster.door.trust().read()
    proposal = read_proposal(found.gate, _read(file))
    lines = proposal_lines(found, proposal)
    if output == "table" or not yes:
        _show(found, proposal, lines)
    key = cluster.key()
    confirm("sign this change of trust?", yes=yes)
    proposal = signed_by(found.gate, proposal, key)
    _replace(file, write_proposal(found.gate, proposal))
    missing = proposal.missing(found.gate)
    if output == "json":
        told = msgspec.to_builtins(proposal_lines(found, proposal))
        print_json({"schema": "revet.trust-signed/v1", "file": str(file), "missing": missing, "entries": told})
        return EXIT_OK
    rest = f"{count(missing, 'more administrator')} must sign it" if missing else f"apply it: revet trust submit {file}"
    click.echo(safe(f"signed {file}; {rest}"))
    return EXIT_OK


@click.command("submit", epilog="Example:\n\n\b\n  $ revet trust submit change.json")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@place_option
@output_option
def submit(file: Path, state: Place, output: str) -> int:
    """Apply FILE, which --propose wrote and enough administrators signed. Needs no key of its own."""
    cluster = _cluster(state)
    found = cluster.door.trust().read()
    return tell(cluster.submit(read_proposal(found.gate, _read(file))), output, state)


def _cluster(state: Place) -> Cluster:
    """Raises click.UsageError for a state file, where nothing is signed."""
    if isinstance(state, Cluster):
        return state
    raise click.UsageError("changes are signed in a cluster only: name its settings with --profile (kafka.bootstrap)")


def _show(found: Read, proposal: Proposal, lines: list[Line]) -> None:
    """What the bytes that are to be signed do, on standard error where JSON goes to standard output."""
    for prepared, line in zip(proposal.prepared, lines, strict=True):
        signed = ", ".join(line.signed) or "nobody"
        say(f"epoch {line.epoch}: {line.sentence}; signed by {signed}, needs {prepared.needed}")
        if prepared.loosening:
            say(f"  loosens trust: {prepared.loosening}")
        if not line.applied:
            say(f"  would be ignored ({line.code}): {line.why}")
    say(f"trust log {found.gate.log}, at epoch {found.gate.reached}")


def _read(file: Path) -> bytes:
    """Raises InputError."""
    try:
        with file.open("rb") as stream:
            data = stream.read(PROPOSAL_BYTES + 1)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error
    if len(data) > PROPOSAL_BYTES:
        raise InputError(f"{file}: longer than a proposal can be")
    return data


def _replace(file: Path, data: bytes) -> None:
    """The whole file or the old one, never half of it. Raises InputError."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    write_new(beside, data, 0o644)
    try:
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"{file}: {error.strerror or error}") from error
