"""Topics and rights on the brokers: looked at, created, altered. Decides nothing; `streams.kafka.plan` does.

with KafkaAdmin(settings.kafka) as admin:
    plan = compare(wanted_topics(settings.kafka), admin.topics(names))
    admin.apply(plan)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple, Self

from kafka import KafkaAdminClient, errors
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from streams.kafka.connecting import connected, connection, in_words, told
from streams.kafka.plan import Actual, Grant, Plan, Step, refusal
from streams.settings import KafkaSettings
from verifier.errors import PlaceError, PlaceRefused

_RESOURCES: Final = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}
_AUTO_CREATE: Final = "auto.create.topics.enable"
LEADERS_MS: Final = 60_000
"""Patience for leaders of new partitions; the client's own 10 s are too short for a busy broker."""


class Looked(NamedTuple):
    """How the brokers are."""

    version: str
    brokers: tuple[str, ...]
    """HOST:PORT as they call themselves to their clients."""
    rights: dict[str, frozenset[str]]
    """Name of a topic on the broker -> what we may do with it (`READ`, `WRITE`, …); empty: the broker does not say."""
    hidden: tuple[str, ...]
    """Topics of which the broker does not even say whether they are there."""
    leaderless: int
    """Partitions that can neither be read nor written now."""
    behind: int
    """Partitions of which a copy is missing or behind."""


class KafkaAdmin:
    """An administrator's connection; close it, or use it in a `with`."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connect.

        Raises:
            InputError: a setting is wrong.
            PlaceUnavailable: no broker answers; PlaceRefused: none lets us in.
        """
        self._settings = settings
        options = connection(settings, "topics")
        self._client = connected(settings, KafkaAdminClient, options)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def cluster_id(self) -> str:
        """What tells these brokers from others. Raises PlaceError when they do not answer."""
        with told(self._settings, "the brokers cannot be asked who they are"):
            return str(self._client.describe_cluster()["cluster_id"])

    # ------------------------------------------------------------------ topics

    def topics(self, names: Collection[str]) -> dict[str, Actual]:
        """Those of `names` (on the broker) that are there.

        Raises:
            PlaceError: the broker does not answer, or we may not ask.
        """
        with told(self._settings, "topics cannot be looked at"):
            described = self._client.describe_topics(list(names))
        there: dict[str, dict[str, Any]] = {}
        for topic in described:
            kind = errors.for_code(topic["error_code"])
            if kind is errors.UnknownTopicOrPartitionError:
                continue
            if topic["error_code"]:
                raise in_words(self._settings, kind(topic["name"]), "topics cannot be looked at", topic["name"])
            there[topic["name"]] = topic
        configs = self._configs(there)
        return {
            name: Actual(
                partitions=len(topic["partitions"]),
                replication=min((len(p["replica_nodes"]) for p in topic["partitions"]), default=0),
                configs=configs.get(name, {}),
            )
            for name, topic in there.items()
        }

    def _configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        if not resources:
            return {}
        with told(self._settings, "configurations of topics cannot be looked at"):
            found: Mapping[str, Any] = self._client.describe_configs(resources, config_filter="all")
        return {
            name: {key: str(entry["value"]) for key, entry in configs.items()}
            for name, configs in found.get("topic", {}).items()
        }

    def creates_by_itself(self) -> bool | None:
        """Whether a broker creates topics that somebody merely names; None: it does not tell us."""
        try:
            nodes = [broker["broker_id"] for broker in self._client.describe_cluster()["brokers"]]
            resources = [ConfigResource(ConfigResourceType.BROKER, str(node), [_AUTO_CREATE]) for node in nodes]
            found: Mapping[str, Any] = self._client.describe_configs(resources, config_filter="all")
        except (errors.KafkaError, KeyError):
            return None
        values = [entry[_AUTO_CREATE]["value"] for entry in found.get("broker", {}).values() if _AUTO_CREATE in entry]
        return any(value == "true" for value in values) if values else None

    def looked(self, names: Collection[str]) -> Looked:
        """How the brokers are, and what we may do with those of `names` that are there. For `revet doctor`.

        Raises:
            PlaceError: the broker does not answer, or we may not ask.
        """
        with told(self._settings, "the brokers cannot be looked at"):
            brokers = self._client.describe_cluster()["brokers"]
            version = self._client.get_broker_version_data(brokers[0]["broker_id"]).broker_version
            answers = self._client.describe_topics(list(names))
        described = [topic for topic in answers if not topic["error_code"]]
        denied = errors.TopicAuthorizationFailedError.errno
        rights = {topic["name"]: frozenset(topic.get("authorized_operations") or ()) for topic in described}
        partitions = [partition for topic in described for partition in topic["partitions"]]
        return Looked(
            version=".".join(map(str, version)),
            brokers=tuple(sorted(f"{broker['host']}:{broker['port']}" for broker in brokers)),
            rights=rights,
            leaderless=sum(partition["leader_id"] < 0 for partition in partitions),
            hidden=tuple(sorted(topic["name"] for topic in answers if topic["error_code"] == denied)),
            behind=sum(len(p["isr_nodes"]) < len(p["replica_nodes"]) for p in partitions),
        )

    # ------------------------------------------------------------------ rights

    def grants(self, principals: Collection[str]) -> frozenset[Grant]:
        """Rights to topics and groups that these principals have by name.

        Raises:
            PlaceError: the broker has no authorizer, does not answer, or we may not ask.
        """
        found: set[Grant] = set()
        for principal in principals:
            everything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.LITERAL)
            asked = ACLFilter(principal, None, ACLOperation.ANY, ACLPermissionType.ALLOW, everything)
            with told(self._settings, "rights cannot be looked at"):
                acls, _ = self._client.describe_acls(asked)
            for acl in acls:
                resource = acl.resource_pattern.resource_type.name.lower()
                if resource in _RESOURCES:
                    name = acl.resource_pattern.resource_name
                    found.add(Grant(principal, resource, name, acl.operation.name))
        return frozenset(found)

    # ------------------------------------------------------------------ changes

    def apply(self, plan: Plan) -> None:
        """Do every step; a plan with a difference that refuses is not touched at all.

        Raises:
            PlaceRefused: a difference refuses, or the broker does a step not; what was done before stays.
            PlaceUnavailable: the broker does not answer.
        """
        if refused := refusal(plan):
            raise PlaceRefused("partitions-differ", f"nothing was applied: {refused}")
        self._create([step for step in plan.steps if step.act == "create"])
        self._alter([step for step in plan.steps if step.act == "alter"])
        self._grant([step.grant for step in plan.steps if step.grant is not None])

    def _create(self, steps: list[Step]) -> None:
        if not steps:
            return
        topics = {
            step.topic.name: {
                "num_partitions": step.topic.partitions,
                "replication_factor": step.topic.replication,
                "configs": step.topic.configs,
            }
            for step in steps
            if step.topic is not None
        }
        with told(self._settings, "topics cannot be created"):
            answer = self._client.create_topics(topics, raise_errors=False)
        for topic in answer["topics"]:
            kind = errors.for_code(topic["error_code"])
            if topic["error_code"] and kind is not errors.TopicAlreadyExistsError:  # somebody else was quicker
                raise self._refused(kind, topic["error_message"], f"topic {topic['name']} cannot be created")
        with told(self._settings, "topics were created, but are not ready"):
            self._client.wait_for_topics(list(topics), timeout_ms=LEADERS_MS)

    def _alter(self, steps: list[Step]) -> None:
        if not steps:
            return
        resources = [ConfigResource(ConfigResourceType.TOPIC, step.what, step.configs) for step in steps]
        with told(self._settings, "configurations of topics cannot be altered"):
            self._client.alter_configs(resources)

    def _grant(self, grants: list[Grant]) -> None:
        if not grants:
            return
        acls = [
            ACL(
                grant.principal,
                "*",
                ACLOperation[grant.operation],
                ACLPermissionType.ALLOW,
                ResourcePattern(_RESOURCES[grant.resource], grant.name),
            )
            for grant in grants
        ]
        with told(self._settings, "rights cannot be given"):
            answer = self._client.create_acls(acls)
        if answer["failed"]:
            raise self._refused(answer["failed"][0], None, "rights cannot be given")

    def _refused(self, kind: type[BaseException], message: str | None, what: str) -> PlaceError:
        return in_words(self._settings, kind(message or ""), what + (f" ({message})" if message else ""))
