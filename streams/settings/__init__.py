"""Settings: one tree of typed values, from a file, the environment and the command line.

    settings = load_settings(Path("revet.yaml"), os.environ, {("listen", "address"): "127.0.0.1:9880"})
    settings.listen.address                  the command line wins over REVET_LISTEN_ADDRESS, that over the file

Every value has a place in the file (`listen.address`) and a variable (`REVET_LISTEN_ADDRESS`). A wrong setting is an
error that names the setting, what it got, and an example; an unknown one is an error too, and so are two that
contradict each other. Printing the tree shows no secret. `docs/settings.md` lists them all.
"""

from streams.settings.admission import AdmissionSettings
from streams.settings.clustered import AdministratorSettings, ElasticsearchSettings, KafkaSettings, ServeSettings
from streams.settings.keys import KeySettings
from streams.settings.kibana import KibanaSettings
from streams.settings.ledger import LedgerSettings
from streams.settings.loading import FILE, Loaded, Values, load, load_settings
from streams.settings.page import UiSettings, is_loopback
from streams.settings.section import Section, host_and_port, secret_of, shown_address
from streams.settings.single import EvidenceSettings, ListenSettings, NotificationSettings, OwnerSettings
from streams.settings.telling import AlertingSettings, SlackSettings
from streams.settings.tree import PREFIX, Leaf, Settings, documented, leaves, sections
from streams.settings.watched import PodsSettings, ReportsSettings, WatchedCluster

__all__ = [
    "FILE",
    "PREFIX",
    "AdministratorSettings",
    "AdmissionSettings",
    "AlertingSettings",
    "ElasticsearchSettings",
    "EvidenceSettings",
    "KafkaSettings",
    "KeySettings",
    "KibanaSettings",
    "Leaf",
    "LedgerSettings",
    "ListenSettings",
    "Loaded",
    "NotificationSettings",
    "OwnerSettings",
    "PodsSettings",
    "ReportsSettings",
    "Section",
    "ServeSettings",
    "Settings",
    "SlackSettings",
    "UiSettings",
    "Values",
    "WatchedCluster",
    "documented",
    "host_and_port",
    "is_loopback",
    "leaves",
    "load",
    "load_settings",
    "secret_of",
    "sections",
    "shown_address",
]
