"""What the brokers should have, what they have, and the steps between: pure, so that `diff` and `apply` agree.

    plan = compare(wanted_topics(settings), actual)        create, alter; what cannot be changed is a problem
    grants = wanted_grants(settings, {"judge": "User:revet-judge"})

The table of topics (`streams.topics`) is the only source: names, partitions, what is kept, who writes and who reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal

import msgspec

from streams.settings import KafkaSettings
from streams.topics import TOPICS, Topic
from verifier.errors import InputError

DAY_MS: Final = 24 * 60 * 60 * 1000
MAX_BATCH: Final = 1024 * 1024
"""Bytes of a batch of records that a topic takes (`max.message.bytes`). One record has 64 KiB at most, as a rule."""
COMPACTED_SEGMENT: Final = 100 * 1024 * 1024
"""Only closed segments are compacted: smaller ones keep what a restart has to read small."""

ROLES: Final[dict[str, str]] = {
    "collectors": "collectors",
    "admission": "admission",
    "judge": "judge",
    "fetch": "fetcher",
    "index": "indexer",
    "alert": "alerter",
    "ledger": "ledger",
    "cli": "cli",
}
"""Name of a role on the command line -> its name in the table. `cli` is who changes trust and acts on incidents."""
GROUPS: Final = ("judge", "fetch", "index", "alert")
"""Roles that read as a consumer group."""


class Wanted(msgspec.Struct, frozen=True):
    """A topic as it should be."""

    topic: str
    name: str
    """Its name on the broker."""
    partitions: int
    replication: int
    configs: dict[str, str]


class Actual(msgspec.Struct, frozen=True):
    """A topic as the brokers have it."""

    partitions: int
    replication: int
    configs: dict[str, str]


class Grant(msgspec.Struct, frozen=True, order=True):
    """One right of one principal."""

    principal: str
    """As the broker writes it: `User:revet-judge`."""
    resource: Literal["topic", "group"]
    name: str
    operation: Literal["READ", "WRITE", "DESCRIBE"]

    def __str__(self) -> str:
        """`User:revet-judge may READ topic revet.trust`."""
        return f"{self.principal} may {self.operation} {self.resource} {self.name}"


class Step(msgspec.Struct, frozen=True):
    """One thing to do."""

    act: Literal["create", "alter", "grant"]
    what: str
    detail: str
    topic: Wanted | None = None
    configs: dict[str, str] = {}
    grant: Grant | None = None


class Difference(msgspec.Struct, frozen=True):
    """What differs and cannot be changed from here, or should be known."""

    what: str
    message: str
    refuses: bool = False
    """Nothing is applied while it stands."""


class Plan(msgspec.Struct, frozen=True):
    """What is between the table and the brokers."""

    steps: tuple[Step, ...] = ()
    differences: tuple[Difference, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def fine(self) -> bool:
        """Nothing to do and nothing that differs; warnings aside."""
        return not self.steps and not self.differences


def wanted_topics(settings: KafkaSettings) -> tuple[Wanted, ...]:
    """Every topic of the table, as these settings want it."""
    return tuple(
        Wanted(
            topic=topic.name,
            name=settings.topic(topic.name),
            partitions=topic.partitions(settings.partitions),
            replication=settings.replication,
            configs=_configs(topic, settings.replication),
        )
        for topic in TOPICS.values()
    )


def _configs(topic: Topic, replication: int) -> dict[str, str]:
    kept: dict[str, str] = {"cleanup.policy": "delete", "retention.ms": str(topic.days * DAY_MS)}
    if topic.keep == "forever":
        kept["retention.ms"] = "-1"
    elif topic.keep == "newest":
        kept = {
            "cleanup.policy": "compact",
            "delete.retention.ms": str(7 * DAY_MS),  # a reader that was away for less still sees what was removed
            "max.compaction.lag.ms": str(DAY_MS),
            "min.cleanable.dirty.ratio": "0.2",
            "segment.bytes": str(COMPACTED_SEGMENT),
        }
    return {
        **kept,
        "compression.type": "producer",
        "max.message.bytes": str(MAX_BATCH),
        "message.timestamp.type": "CreateTime",  # set once, by who wrote the record first
        "min.insync.replicas": "2" if replication >= 3 else "1",
        "retention.bytes": "-1",
        "unclean.leader.election.enable": "false",  # would drop what was acknowledged
    }


def compare(wanted: Collection[Wanted], actual: Mapping[str, Actual]) -> Plan:
    """The steps from what is to what should be. `actual` is by name on the broker."""
    steps: list[Step] = []
    differences: list[Difference] = []
    for topic in wanted:
        there = actual.get(topic.name)
        if there is None:
            kept = _KEPT[TOPICS[topic.topic].keep].format(days=TOPICS[topic.topic].days)
            detail = f"{_many(topic.partitions, 'partition')}, {_many(topic.replication, 'copy')}, {kept}"
            steps.append(Step("create", topic.name, detail, topic, topic.configs))
            continue
        differences += _unchangeable(topic, there)
        changed = {key: value for key, value in topic.configs.items() if not _same(value, there.configs.get(key))}
        if there.replication < topic.replication:
            changed.pop("min.insync.replicas", None)  # more than there are copies would stop every writer
        if changed:
            shown = ", ".join(f"{key} {there.configs.get(key, '?')} -> {value}" for key, value in changed.items())
            steps.append(Step("alter", topic.name, shown, topic, changed))
    return Plan(tuple(steps), tuple(differences))


def _unchangeable(topic: Wanted, there: Actual) -> Iterator[Difference]:
    if there.partitions != topic.partitions:
        message = f"has {_many(there.partitions, 'partition')}, and should have {topic.partitions}"
        yield Difference(topic.name, message, refuses=True)
    if there.replication < topic.replication:
        message = f"has {_many(there.replication, 'copy')}, kafka.replication asks for {topic.replication}"
        yield Difference(topic.name, f"{message}; kafka-reassign-partitions of the brokers adds copies")


FIXED: Final = (
    "the number of partitions is fixed once a topic is there, since another one would tear workloads from their shard."
    " Set kafka.partitions to what the topics have, or reshard by replay: docs/operations.md"
)
_KEPT: Final = {"days": "kept {days} days", "newest": "the newest of each key is kept", "forever": "kept for ever"}


def refusal(plan: Plan) -> str:
    """Why a plan cannot be applied, in one sentence; empty when it can."""
    refused = [f"{difference.what} {difference.message}" for difference in plan.differences if difference.refuses]
    return f"{'; '.join(refused)}: {FIXED}" if refused else ""


def _many(number: int, what: str) -> str:
    several = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{number} {what if number == 1 else several}"


def _same(wanted: str, there: str | None) -> bool:
    if there is None:
        return False
    try:
        return float(wanted) == float(there)
    except ValueError:
        return wanted == there


# ------------------------------------------------------------------------------------------------------------- rights


def principals_of(texts: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Role -> principals, of texts ROLE=User:NAME; a role may come several times.

    Raises:
        InputError: a role is unknown, or a principal is not in the broker's form.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        role, _, principal = text.partition("=")
        kind, colon, name = principal.partition(":")
        if role not in ROLES:
            raise InputError(f"--principal {text}: there is no role {role!r}; roles: {', '.join(ROLES)}")
        if not colon or kind != "User" or not name or name == "*":
            raise InputError(f"--principal {text}: expected ROLE=User:NAME; example: judge=User:revet-judge")
        found[role] = (*found.get(role, ()), principal)
    return found


def wanted_grants(settings: KafkaSettings, principals: Mapping[str, Collection[str]]) -> tuple[Grant, ...]:
    """The rights of these principals: of each role what the table says it writes and reads, and nothing else."""
    found: set[Grant] = set()
    for role, names in principals.items():
        for principal in names:
            found.update(_grants(settings, role, principal))
    return tuple(sorted(found))


def _grants(settings: KafkaSettings, role: str, principal: str) -> Iterator[Grant]:
    part = ROLES[role]
    for topic in TOPICS.values():
        name = settings.topic(topic.name)
        if part in topic.writers:
            yield Grant(principal, "topic", name, "WRITE")
        if part in topic.readers:
            yield Grant(principal, "topic", name, "READ")
        if part in topic.writers or part in topic.readers:
            yield Grant(principal, "topic", name, "DESCRIBE")
    if role in GROUPS:
        yield Grant(principal, "group", settings.group(role), "READ")


def compare_grants(wanted: Collection[Grant], actual: Collection[Grant], ours: str) -> Plan:
    """The rights that are missing; those beyond the table are warnings (`ours`: how names of ours begin)."""
    steps = tuple(Step("grant", grant.name, str(grant), grant=grant) for grant in wanted if grant not in actual)
    beyond = sorted(set(actual) - set(wanted))
    warnings = tuple(f"{grant}, which the table does not ask for" for grant in beyond if grant.name.startswith(ours))
    return Plan(steps, (), warnings)
