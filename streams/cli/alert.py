"""`revet alert`: who is told where, and whether it gets there."""

from __future__ import annotations

import asyncio
from typing import Final

import click
import msgspec

from alerting.adapters.console import ConsoleNotifier
from alerting.channels import Channels
from alerting.delivery import FALLBACK
from alerting.findings import SEVERITIES
from alerting.routing import ClusterNames, Ownership, Routes, beside, destinations, team_of
from streams.alerttest import BUTTON_ADVICE, Tried, try_out
from streams.cli.common import (
    EXIT_OK,
    EXIT_SERVICE,
    output_option,
    print_json,
    print_table,
    say,
    settings_option,
)
from streams.cli.render import safe
from streams.clock import wall_clock
from streams.settings import Settings
from streams.tellers import aside_of, channels_of, routes_of, trial_of, try_buttons
from streams.telling import Direct
from verifier.errors import InputError

SCHEMA: Final = "revet.alert-routes/v1"
TEST_SCHEMA: Final = "revet.alert-test/v1"
TERMINAL: Final = "terminal"
BUTTONS: Final = "buttons"
"""Not a destination of messages: what is pressed comes from there."""


class Route(msgspec.Struct, frozen=True):
    """One destination."""

    destination: str
    channel: str
    why: str


class Told(msgspec.Struct, frozen=True):
    """Who is told of what happens in a namespace."""

    cluster: str
    namespace: str
    team: str
    why: str
    by_severity: dict[str, tuple[Route, ...]]


@click.group()
def command() -> None:
    """See who is told where, and try it."""


@command.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet alert test --to security\n"
    "  $ revet alert test --to team/payments --settings /etc/revet/cluster.yaml\n"
    "  $ revet alert test --to fallback\n"
    "  $ revet alert test --to buttons",
)
@click.option("--to", "destination", required=True, metavar="DEST", help="security, team/NAME, fallback, or buttons.")
@settings_option
@output_option
def test(destination: str, settings: Settings, output: str) -> int:
    """Send a test message to DEST: post it, look for it, reply below it, edit it. Says what mends each failure.

    `buttons`: ask for a connection on which presses would come. Exit code 4 when a step failed.
    """
    steps = asyncio.run(_try(settings, destination))
    if output == "json":
        print_json({"schema": TEST_SCHEMA, "destination": destination, "steps": [step._asdict() for step in steps]})
    else:
        rows = [(s.step, "ok" if s.ok else "FAILED", safe(s.detail), safe(s.advice)) for s in steps]
        print_table(("step", "", "detail", "what mends it"), rows)
    return EXIT_OK if all(step.ok for step in steps) else EXIT_SERVICE


async def _try(settings: Settings, destination: str) -> list[Tried]:
    channels = channels_of(settings)
    if destination == BUTTONS:
        if not settings.slack.hears:
            raise InputError("slack.app_token: there is none, so there are no buttons; example: app_token_file: /run/x")
        named = [(step, code, "app-level token" if step == "connect" else settings.slack.listen) for step, code in
                 await try_buttons(settings)]  # fmt: skip
        return [Tried(step, not code, code or of, BUTTON_ADVICE.get(code, "")) for step, code, of in named]
    if destination == FALLBACK:
        aside = aside_of(settings, Direct(ConsoleNotifier(click.get_text_stream("stdout"))), wall_clock)
        return [step for step in await try_out(aside, destination, wall_clock()) if step.step != "find"]
    if channels is None:
        raise InputError("slack.token: there is none, messages go to the terminal; example: token_file: /run/secrets/x")
    if not channels.of(destination):
        raise InputError(f"slack.channels names no channel for {destination!r}; it has: {', '.join(channels.names())}")
    async with trial_of(settings, channels, wall_clock) as slack:
        return await try_out(slack, destination, wall_clock())


@command.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet alert routes\n"
    "  $ revet alert routes --explain --namespace payments --label team=pay\n"
    "  $ revet alert routes --explain --cluster prod-eu --cluster-label env=prod --namespace shop -o json",
)
@click.option("--explain", is_flag=True, help="Whom a namespace's incidents are told to, and by which rule.")
@click.option("--cluster", default="local", show_default=True, metavar="NAME", help="Cluster of the namespace.")
@click.option("--namespace", metavar="NAME", help="Namespace to explain.")
@click.option(
    "--cluster-label", "of_cluster", multiple=True, metavar="KEY=VALUE", help="A label of the cluster. Repeatable."
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label it has. Repeatable.")
@settings_option
@output_option
def routes(
    explain: bool,
    cluster: str,
    namespace: str | None,
    of_cluster: tuple[str, ...],
    labels: tuple[str, ...],
    settings: Settings,
    output: str,
) -> int:
    """Destinations and their channels; with --explain, who would be told of a namespace, severity by severity."""
    channels = channels_of(settings)
    listed = _listed(settings, channels)
    told = None
    if explain:
        if namespace is None:
            raise click.UsageError("--explain needs --namespace NAME, and its --label KEY=VALUE where it has some")
        named = ClusterNames(cluster, cluster, _labels(of_cluster))
        told = _explained(named, namespace, _labels(labels), routes_of(settings), channels)
    if output == "json":
        print_json({"schema": SCHEMA, "routes": listed, "explained": told})
    else:
        _print(listed, told)
    return EXIT_OK


def _labels(given: tuple[str, ...]) -> dict[str, str]:
    wrong = next((text for text in given if "=" not in text), None)
    if wrong is not None:
        raise click.UsageError(f"{wrong}: expected KEY=VALUE, such as team=payments")
    return dict(text.partition("=")[::2] for text in given)


def _listed(settings: Settings, channels: Channels | None) -> list[Route]:
    if channels is None:
        return [Route(settings.owners.security, TERMINAL, "slack.token is not set")]
    return [Route(name, channels.of(name), channels.why(name)) for name in channels.names()]


def _explained(
    cluster: ClusterNames, namespace: str, labels: dict[str, str], rules: Routes, channels: Channels | None
) -> Told:
    owner: Ownership = team_of(cluster.id, namespace, labels, rules)
    if channels is not None:
        channels.learn((cluster.id, namespace), owner.team, owner.channel)
    reaches = None if channels is None else channels.reaches
    by_severity: dict[str, tuple[Route, ...]] = {
        severity: tuple(
            _route(name, channels)
            for name in (
                *destinations(severity, (owner.team,), rules, reaches),
                *beside(severity, [cluster], rules),
            )
        )
        for severity in reversed(SEVERITIES)
    }
    return Told(cluster.id, namespace, owner.team, owner.source, by_severity)


def _route(name: str, channels: Channels | None) -> Route:
    return Route(name, TERMINAL, "") if channels is None else Route(name, channels.of(name), channels.why(name))


def _print(listed: list[Route], told: Told | None) -> None:
    print_table(("destination", "channel", "why"), [(safe(r.destination), r.channel, safe(r.why)) for r in listed])
    if told is None:
        return
    say(f"{safe(told.cluster)}/{safe(told.namespace)} belongs to {safe(told.team)} ({safe(told.why)})")
    rows = [
        (severity, safe(route.destination), route.channel, safe(route.why))
        for severity, found in told.by_severity.items()
        for route in found
    ]
    print_table(("severity", "told", "channel", "why"), rows)
