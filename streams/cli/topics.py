"""`revet topics`: the topics of the clustered mode, and the rights to them, on the brokers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from streams.cli.common import (
    EXIT_OK,
    EXIT_VIOLATION,
    output_option,
    print_json,
    print_table,
    say,
    settings_option,
)
from streams.kafka.admin import KafkaAdmin
from streams.kafka.plan import (
    FIXED,
    ROLES,
    Plan,
    compare,
    compare_grants,
    principals_of,
    wanted_grants,
    wanted_topics,
)
from streams.settings import KafkaSettings, Settings

SCHEMA: Final = "revet.topics/v1"
AUTO_CREATES: Final = (
    "the brokers create topics that somebody merely names (auto.create.topics.enable=true): a wrong prefix would make"
    " topics with too few partitions instead of an error; set it to false"
)
F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def command() -> None:
    """Create, check and compare the topics of the clustered mode.

    Topics are created by nothing else: a process that finds one missing says so and ends. With --acls the rights of the
    processes are given and checked too, each what the table says it writes and reads.
    """


def _rights_options(function: F) -> F:
    with_principals = click.option(
        "--principal",
        "principals",
        multiple=True,
        metavar="ROLE=User:NAME",
        help=f"Who a role is on the brokers. Repeatable. Roles: {', '.join(ROLES)}.",
    )(function)
    return click.option("--acls", is_flag=True, help="Rights too, of each --principal.")(with_principals)


@command.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet topics apply\n"
    "  $ revet topics apply --acls --principal judge=User:revet-judge --principal collectors=User:revet-audit\n\n"
    "A number of partitions is fixed once a topic is there: docs/operations.md says how to reshard by replay."
)
@settings_option
@_rights_options
@output_option
def apply(settings: Settings, acls: bool, principals: tuple[str, ...], output: str) -> int:
    """Create missing topics, alter configurations that differ, give missing rights. Removes nothing."""
    with KafkaAdmin(settings.kafka) as admin:
        plan = _plan(admin, settings.kafka, acls, principals)
        admin.apply(plan)
    _print(plan, output, "done", "nothing to do: every topic is as it should be")
    return EXIT_OK


@command.command(epilog="Examples:\n\n\b\n  $ revet topics check\n  $ revet topics check --output json")
@settings_option
@_rights_options
@output_option
def check(settings: Settings, acls: bool, principals: tuple[str, ...], output: str) -> int:
    """Say whether topics (and with --acls rights) are as they should be: 0 yes, 1 no, 4 the brokers do not answer."""
    return _compared(settings, acls, principals, output, EXIT_VIOLATION)


@command.command(epilog="Examples:\n\n\b\n  $ revet topics diff\n  $ REVET_KAFKA_REPLICATION=3 revet topics diff")
@settings_option
@_rights_options
@output_option
def diff(settings: Settings, acls: bool, principals: tuple[str, ...], output: str) -> int:
    """Show what `apply` would do, and what it could not. Changes nothing."""
    return _compared(settings, acls, principals, output, EXIT_OK)


def _compared(settings: Settings, acls: bool, principals: tuple[str, ...], output: str, differs: int) -> int:
    with KafkaAdmin(settings.kafka) as admin:
        plan = _plan(admin, settings.kafka, acls, principals)
    _print(plan, output, "to do", "every topic is as it should be")
    return EXIT_OK if plan.fine else differs


def _plan(admin: KafkaAdmin, settings: KafkaSettings, acls: bool, principals: tuple[str, ...]) -> Plan:
    if acls != bool(principals):
        raise click.UsageError("rights need both: --acls --principal judge=User:revet-judge")
    wanted = wanted_topics(settings)
    plan = compare(wanted, admin.topics([topic.name for topic in wanted]))
    warnings = (AUTO_CREATES,) if admin.creates_by_itself() else ()
    rights = Plan()
    if acls:
        named = principals_of(principals)
        there = admin.grants(sorted({principal for names in named.values() for principal in names}))
        rights = compare_grants(wanted_grants(settings, named), there, settings.prefix)
    return Plan(plan.steps + rights.steps, plan.differences, plan.warnings + rights.warnings + warnings)


def _print(plan: Plan, output: str, done: str, nothing: str) -> None:
    if output == "json":
        steps = [
            {"act": step.act, "what": step.what, "detail": step.detail, "configs": step.configs} for step in plan.steps
        ]
        print_json(
            {"schema": SCHEMA, "steps": steps, "differences": plan.differences, "warnings": plan.warnings, "is": done}
        )
        return
    for warning in plan.warnings:
        say(f"revet: warning: {warning}")
    if plan.fine:
        click.echo(nothing)
        return
    if plan.steps:
        print_table((done, "what", "how"), [(step.act, step.what, step.detail) for step in plan.steps])
    for difference in plan.differences:
        say(f"revet: {difference.what} {difference.message}")
    if any(difference.refuses for difference in plan.differences):
        say(f"revet: {FIXED}")
