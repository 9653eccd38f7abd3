"""The `revet` command: one file per command. Each parses, calls one function of the house, prints.

Exit codes: 0 fine; 1 a violation (beats 3); 3 could not tell, or ungoverned; 2 usage or configuration; 4 a needed
service failed; 70 internal error.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

from streams.serving import probe
from verifier.errors import RevetError

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": (
        "streams.cli.demo",
        "Play a recorded day: verdicts, a revocation, and the one message that tells what it means.",
    ),
    "run": ("streams.cli.run", "The single-machine mode: nothing beside Python and one file."),
    "serve": ("streams.cli.serve", "Run a process of the clustered mode, beside Kafka and Elasticsearch."),
    "survey": ("streams.cli.survey", "What runs, signed by whom, unsigned, unreachable. No state, no policy."),
    "verify": ("streams.cli.verify", "Would these images pass, here and now? No state needed."),
    "explain": ("streams.cli.explain", "What a reason, finding or dead letter CODE means and what to do."),
    "config": ("streams.cli.config", "Show every setting, its value, and where it came from."),
    "doctor": ("streams.cli.doctor", "Check what revet needs, and say what mends it."),
    "trace": ("streams.cli.trace", "Where an image came from and where it ran."),
    "blast-radius": (
        "streams.cli.blast_radius",
        (
            "What a key, identity, CA, builder, commit, log, base, digest, policy or incident touches:"
            " what runs, what ran in a window, whose it is."
        ),
    ),
    "ask": ("streams.cli.ask", "Ask one of fifteen questions of the record."),
    "report": (
        "streams.cli.report",
        "Write the record as one HTML file: what was not seen, what runs, incidents, trust, signers, provenance.",
    ),
    "search": ("streams.cli.search", "Search the record with a subset of KQL."),
    "alert": ("streams.cli.alert", "See who is told where, and try it."),
    "incident": ("streams.cli.incident", "Look at incidents, acknowledge, note, close."),
    "silence": ("streams.cli.silence", "Tell nobody about something for a time."),
    "deadletter": ("streams.cli.deadletter", "Inputs that could not be read."),
    "trust": ("streams.cli.trust", "Apply and look at trust: policies, keys, trust roots, clusters, exemptions."),
    "policy": ("streams.cli.policy", "Check, import, export, test and preview policies."),
    "key": ("streams.cli.key", "Add, rotate, remove and list public keys."),
    "revoke": ("streams.cli.revoke", "Revoke a key, digest, piece of evidence, identity, CA, builder, commit or log."),
    "revocation": ("streams.cli.revocation", "List and withdraw revocations."),
    "cluster": ("streams.cli.cluster", "Enrol, list and retire clusters."),
    "exempt": ("streams.cli.exempt", "Accept a finding for a time."),
    "verdict": ("streams.cli.verdict", "Replay a recorded verdict."),
    "evidence": ("streams.cli.evidence", "What evidence exists for an image."),
    "index": (
        "streams.cli.index",
        "The record in Elasticsearch: set it up, check it, move it to a changed mapping.",
    ),
    "dashboards": (
        "streams.cli.dashboards",
        "What Kibana shows: pages, saved searches, data views, a rule, a role. Write them out, install, compare.",
    ),
    "topics": ("streams.cli.topics", "Create, check and compare the topics of the clustered mode."),
    "ledger": (
        "streams.cli.ledger",
        "Prove that the record holds what was written, or name what it does not.",
    ),
    "version": ("streams.cli.version", "Print the version."),
}
"""Command -> (module with a click command named `command`, what its help says first). Loaded when asked for."""


class LazyGroup(click.Group):
    """Commands are imported when they are used, so that `revet --help` and short commands start quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]}.command is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `revet demo`. Every command takes --help and shows an example.",
)
def cli() -> None:
    """revet re-vets every running container image the moment trust changes."""


def main(args: list[str] | None = None) -> None:
    """Entry point of the console script: run, translate errors into one line and an exit code."""
    _probe(sys.argv[1:] if args is None else args)
    try:
        code = cli.main(args=args, prog_name="revet", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except RevetError as error:
        sys.exit(_told(error))
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away; nothing is wrong
        sys.exit(0)
    except Exception as error:  # noqa: BLE001  # the boundary: an internal error is named, never a bare traceback
        sys.exit(_told(error))
    sys.exit(code if isinstance(code, int) else 0)


def _probe(args: list[str]) -> None:
    """`revet doctor --probe URL` alone: a container runs it every few seconds, so nothing slow is imported for it."""
    if args[:2] == ["doctor", "--probe"] and len(args) == 3:
        code, line = probe.probe(args[2])
        click.echo(line)
        sys.exit(code)


def _told(error: BaseException) -> int:
    """Print an error; gives the exit code. What prints is imported when it is needed."""
    code: int = importlib.import_module("streams.cli.common").report_error(error)
    return code
