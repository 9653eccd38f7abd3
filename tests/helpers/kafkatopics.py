"""A place of one's own on a broker: a fresh prefix with every topic, and what stands in them afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import SecretStr

from streams.codec import decode
from streams.engine.port import Record
from streams.kafka.admin import KafkaAdmin
from streams.kafka.plan import compare, wanted_topics
from streams.kafka.reading import KafkaLog
from streams.settings import KafkaSettings
from tests.helpers.fresh import fresh_prefix


class Place:
    """Topics below a prefix nobody else has."""

    def __init__(self, bootstrap: str, **settings: object) -> None:
        self.settings = KafkaSettings.model_validate(
            {"bootstrap": bootstrap, "prefix": fresh_prefix(bootstrap), "partitions": 4, **settings}
        )

    def prepare(self) -> Place:
        wanted = wanted_topics(self.settings)
        with KafkaAdmin(self.settings) as admin:
            admin.apply(compare(wanted, admin.topics([topic.name for topic in wanted])))
        return self

    def environment(self, **extra: str) -> dict[str, str]:
        """For a process."""
        secret = self.settings.password
        found = {
            "REVET_KAFKA_BOOTSTRAP": self.settings.bootstrap,
            "REVET_KAFKA_PREFIX": self.settings.prefix,
            "REVET_KAFKA_PARTITIONS": str(self.settings.partitions),
            "REVET_KAFKA_SECURITY": self.settings.security,
            "REVET_SERVE_OPERATIONS": "",
            "REVET_CLUSTER": "c1",
        }
        if secret is not None:
            found |= {
                "REVET_KAFKA_USERNAME": self.settings.username,
                "REVET_KAFKA_PASSWORD": secret.get_secret_value(),
                "REVET_KAFKA_SASL_MECHANISM": self.settings.sasl_mechanism,
            }
        if self.settings.ca_file is not None:
            found["REVET_KAFKA_CA_FILE"] = str(self.settings.ca_file)
        return found | extra

    def read(self, *topics: str) -> list[Record]:
        log = KafkaLog(self.settings)
        return [record for topic in topics for record in log.read(topic)]

    def other(self, **settings: object) -> Place:
        """The same topics, spoken to in another way."""
        dumped = self.settings.model_dump(exclude={"password"}) | settings
        if isinstance(secret := dumped.get("password"), str):
            dumped["password"] = SecretStr(secret)
        made = Place(self.settings.bootstrap)
        made.settings = KafkaSettings.model_validate(dumped)
        return made


def audit_ids(records: Iterable[Record]) -> Counter[str]:
    """auditID of the decisions among records, and how often each stands there."""
    events = (decode(record.value) for record in records)
    return Counter(str(event.audit_id) for event in events if hasattr(event, "audit_id"))
