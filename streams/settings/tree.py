"""The whole tree of settings, and its values one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from pydantic import BaseModel, Field, model_validator
from pydantic.fields import FieldInfo

from streams.settings.admission import AdmissionSettings
from streams.settings.clustered import AdministratorSettings, ElasticsearchSettings, KafkaSettings, ServeSettings
from streams.settings.hub import HubSettings
from streams.settings.keys import KeySettings
from streams.settings.kibana import KibanaSettings
from streams.settings.ledger import LedgerSettings
from streams.settings.page import UiSettings
from streams.settings.section import Section
from streams.settings.single import EvidenceSettings, ListenSettings, NotificationSettings, OwnerSettings
from streams.settings.telling import AlertingSettings, SlackSettings
from streams.settings.watched import PodsSettings, ReportsSettings

PREFIX: Final = "REVET_"


class Settings(Section):
    """The whole tree."""

    state: Path | None = Field(default=None, examples=["/var/lib/revet/revet.sqlite"])
    """State file of the single-machine mode; none: `revet/revet.sqlite` in the user's state folder."""
    cluster: str = Field(
        default="local", pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$", examples=["prod-eu"]
    )
    """Cluster that recordings and senders belong to when they name none: its stable id, or a name of your choice."""
    first_seen: Path | None = Field(default=None, examples=["first-observations.jsonl"])
    """Dated first observations that came with a recording (JSON lines)."""
    trust: tuple[Path, ...] = Field(default=(), examples=["/etc/revet/trust"])
    """Files and folders of trust documents that are applied at every start; only differences are written."""
    quiet: bool = Field(default=False, examples=["true"])
    """Print no messages; they are recorded all the same."""
    listen: ListenSettings = ListenSettings()
    pods: PodsSettings = PodsSettings()
    reports: ReportsSettings = ReportsSettings()
    ui: UiSettings = UiSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    notifications: NotificationSettings = NotificationSettings()
    owners: OwnerSettings = OwnerSettings()
    keys: KeySettings = KeySettings()
    alerting: AlertingSettings = AlertingSettings()
    slack: SlackSettings = SlackSettings()
    kafka: KafkaSettings = KafkaSettings()
    elasticsearch: ElasticsearchSettings = ElasticsearchSettings()
    kibana: KibanaSettings = KibanaSettings()
    serve: ServeSettings = ServeSettings()
    admission: AdmissionSettings = AdmissionSettings()
    administrators: AdministratorSettings = AdministratorSettings()
    hub: HubSettings = HubSettings()
    ledger: LedgerSettings = LedgerSettings()

    @model_validator(mode="after")
    def _slack_knows_whom_to_tell(self) -> Settings:
        if self.slack.wanted and self.owners.security not in self.slack.channels:
            name = self.owners.security
            raise ValueError(f"slack.channels names no channel for {name!r}; example: {name}=C0123ABCD")
        missing = [rule.to for rule in self.owners.also if self.slack.wanted and rule.to not in self.slack.channels]
        if missing:
            raise ValueError(f"owners.also: slack.channels names no channel {missing[0]!r}")
        if self.slack.wanted and self.ledger.slack and self.ledger.slack not in self.slack.channels:
            raise ValueError(f"ledger.slack: slack.channels names no channel {self.ledger.slack!r}")
        return self

    @property
    def clustered(self) -> bool:
        """The settings are of the clustered mode: they name brokers or Elasticsearch."""
        return bool(self.kafka.bootstrap or self.elasticsearch.url)


class Leaf(NamedTuple):
    """One value of the tree."""

    place: tuple[str, ...]
    field: FieldInfo

    @property
    def name(self) -> str:
        """`listen.token_file`."""
        return ".".join(self.place)

    @property
    def variable(self) -> str:
        """`REVET_LISTEN_TOKEN_FILE` of `listen.token_file`."""
        return PREFIX + "_".join(self.place).upper()

    @property
    def example(self) -> str:
        """A value that would do."""
        return str((self.field.examples or ["?"])[0])

    @property
    def is_secret(self) -> bool:
        """Its value is shown nowhere."""
        return "SecretStr" in str(self.field.annotation)

    @property
    def is_told(self) -> bool:
        """A wrong value may be repeated in an error."""
        return not self.is_secret and self.field.json_schema_extra is None

    def of(self, settings: BaseModel) -> object:
        """Its value in a tree."""
        value: object = settings
        for part in self.place:
            value = getattr(value, part)
        return value


def leaves(model: type[BaseModel] = Settings, above: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every value of the tree, sections in the order of the class."""
    for name, inner, field in _fields(model):
        if inner is not None:
            yield from leaves(inner, (*above, name))
        else:
            yield Leaf((*above, name), field)


def sections(model: type[BaseModel] = Settings) -> dict[str, type[Section]]:
    """Name -> class of the sections of the tree."""
    return {name: inner for name, inner, _ in _fields(model) if inner is not None}


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, type[Section] | None, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        yield name, inner if isinstance(inner, type) and issubclass(inner, Section) else None, field


Documented = Annotated[list[tuple[str, str, str]], "(setting, variable, example)"]


def documented() -> Documented:
    """Every setting with its variable and an example, as `docs/settings.md` has them."""
    return [(leaf.name, leaf.variable, leaf.example) for leaf in leaves()]
