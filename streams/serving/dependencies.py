"""What the clustered mode needs, looked at from where the command runs: for `revet doctor`.

Each check is a function that yields lines and raises `PlaceError` or `InputError` where the thing does not answer; what
it raised is a line too. Nothing is written or created. Each dependency is asked once, with a limit on the time.
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from streams.clock import wall_clock
from streams.elastic import Server, connect
from streams.kafka.admin import KafkaAdmin, Looked
from streams.kafka.connecting import DENIED
from streams.kafka.plan import Plan, compare, wanted_topics
from streams.kafka.reading import KafkaLog
from streams.serving.checks import Check, Status, installed
from streams.serving.logs import Hiding, secrets_of
from streams.serving.signs import Sign, processes_of, signs_of
from streams.settings import AdministratorSettings, KafkaSettings, Settings, host_and_port, leaves
from streams.settings.tls import tls_context
from streams.sinks.setup import Drift
from streams.sinks.setup import check as checked
from streams.topics import CLUSTER_SIGHT, TOPICS, TRUST
from streams.trustlog import Refused, TrustGate, gate_of
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable, RevetError

SECONDS: Final = 3.0
"""Time for a connection that is only tried."""
SKEW_WARN: Final = 2.0
SKEW_FAIL: Final = 30.0
"""Seconds between two clocks from which delays and windows are shown wrongly, and from which they are wrong."""
MODULES: Final = ("aiokafka", "elasticsearch", "kafka", "prometheus_client")
MIB: Final = 1024 * 1024
STORE_FREE: Final = 1024 * MIB
"""Bytes free for evidence, below which there is a warning."""
SHOWN: Final = 6
"""Names that a line lists; of more it says how many."""


def look(settings: Settings) -> Iterator[Check]:
    """Every check of the clustered mode. Raises nothing.

    No secret of the settings is in a line, whatever a server answered.
    """
    try:
        hiding = Hiding(secrets_of(settings))
    except InputError as error:
        hiding = Hiding(())
        yield Check("secrets", "fail", str(error), "put the secret there, or name another file")
    kafka_answers = bool(settings.kafka.brokers)
    for name, function, asks_kafka in _LOOKS:
        if asks_kafka and not kafka_answers:
            continue  # told once, and each attempt takes seconds
        found: list[Check] = []
        try:
            found.extend(function(settings))
        except (RevetError, OSError, ValueError) as error:
            found.append(Check(name, "fail", str(error) or type(error).__name__, _MEND[name]))
        if name == "kafka":
            kafka_answers = any(line.name == "kafka" and line.status == "ok" for line in found)
        for line in found:
            yield Check(line.name, line.status, hiding(line.message), hiding(line.mend))


# --------------------------------------------------------------------------------------------------- the surroundings


def _packages(settings: Settings) -> Iterator[Check]:
    engine = ("faust",) if settings.kafka.engine == "faust" else ()
    yield installed((*MODULES, *engine), "install the clustered mode: pip install 'revet[cluster]'")


def _secrets(settings: Settings) -> Iterator[Check]:
    named = {leaf.name.removesuffix("_file") for leaf in leaves() if leaf.is_secret}
    files = [leaf.of(settings) for leaf in leaves() if leaf.name.removesuffix("_file") in named and not leaf.is_secret]
    files.append(settings.kafka.key_file)
    there = [file for file in files if isinstance(file, Path)]
    loose = [str(file) for file in there if file.stat().st_mode & stat.S_IRWXO]
    if loose:
        yield Check("secrets", "warn", f"everybody on this machine may read {', '.join(loose)}", "chmod 640 them")
    in_clear = [leaf.name for leaf in leaves() if leaf.is_secret and leaf.of(settings) is not None]
    if in_clear:
        message = f"{', '.join(in_clear)}: given directly, so whoever reads the file or the environment has it"
        yield Check("secrets", "warn", message, "put it into a file and name that: " + f"{in_clear[0]}_file")
    if not loose and not in_clear:
        yield Check("secrets", "ok", f"{len(there)} in files for their owner and group" if there else "none needed")


# --------------------------------------------------------------------------------------------------------------- Kafka


def _brokers(settings: Settings) -> Iterator[Check]:
    kafka = settings.kafka
    if not kafka.brokers:
        yield Check("kafka", "fail", "no brokers are named", "kafka.bootstrap, example: kafka-1:9092,kafka-2:9092")
        return
    context = tls_context(kafka) if kafka.uses_tls else None
    silent = {address: why for address in kafka.brokers if (why := _unreachable(address, context))}
    for address, why in silent.items():
        status: Status = "fail" if len(silent) == len(kafka.brokers) else "warn"
        mend = "start it, or mend kafka.bootstrap, name service, firewall" if _TLS not in why else _TLS_MEND
        yield Check("kafka", status, f"{address}: {why}", mend)
    if len(silent) == len(kafka.brokers):
        return
    try:
        opened = KafkaAdmin(kafka)
    except PlaceUnavailable as error:  # the address was reached above: what is behind it is spoken to in a wrong way
        yield Check("kafka", "fail", str(error), _turned_away(kafka))
        return
    with opened as admin:
        seen = admin.looked([topic.name for topic in wanted_topics(kafka)])
        yield from _cluster(seen, kafka)
        yield from _rights(seen, kafka)
        yield from _topics(admin, seen, kafka)
        yield _creating(admin.creates_by_itself())


_TLS: Final = "TLS"
_TLS_MEND: Final = "compare kafka.ca_file with who issued the certificate of that listener, and kafka.security with it"


def _unreachable(address: str, context: ssl.SSLContext | None = None) -> str:
    """Why nobody can be spoken to there, over TLS where a context is given; empty when it works."""
    host, port = host_and_port(address)
    try:
        with socket.create_connection((host, port), SECONDS) as plain:
            if context is not None:
                context.wrap_socket(plain, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        return f"{_TLS}: its certificate does not count: {error.verify_message}"
    except ssl.SSLError as error:
        return f"{_TLS}: {error.reason or 'no handshake'}"
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""


def _turned_away(kafka: KafkaSettings) -> str:
    """The client often loses what a broker says before it hangs up (over TLS, always)."""
    if kafka.uses_sasl:
        return "a broker ends what it does not take: compare kafka.username, its password, kafka.sasl_mechanism"
    return "compare kafka.security with the listener at that address: it may want TLS, or a name and password"


def _cluster(seen: Looked, kafka: KafkaSettings) -> Iterator[Check]:
    signed_in = f" as {kafka.username}" if kafka.uses_sasl else ""
    message = f"{_count(len(seen.brokers), 'broker')}, version {seen.version}, {kafka.security}{signed_in}"
    yield Check("kafka", "ok", message)
    elsewhere = {address: why for address in set(seen.brokers) - set(kafka.brokers) if (why := _unreachable(address))}
    for address, why in elsewhere.items():
        mend = "advertised.listeners of the broker must be an address that reaches it from here"
        yield Check("kafka", "fail", f"the brokers send their clients to {address}: {why}", mend)
    if seen.leaderless:
        message = f"{_count(seen.leaderless, 'partition')} without a leader: neither read nor written"
        yield Check("kafka", "fail", message, "start the broker that is missing")
    elif seen.behind:
        message = f"{_count(seen.behind, 'partition')} with a copy that is missing or behind"
        yield Check("kafka", "warn", message, "start the broker that is missing, or look at its log")
    if len(seen.brokers) > 1 and kafka.replication == 1:
        message = f"{len(seen.brokers)} brokers, and one copy of everything (kafka.replication 1)"
        yield Check("kafka", "warn", message, "kafka.replication: 3, and kafka-reassign-partitions for what is there")


def _topics(admin: KafkaAdmin, seen: Looked, kafka: KafkaSettings) -> Iterator[Check]:
    wanted = [topic for topic in wanted_topics(kafka) if topic.name not in seen.hidden]
    try:
        plan = compare(wanted, admin.topics([topic.name for topic in wanted]))
    except PlaceRefused as error:
        if error.code != DENIED:
            raise
        message = f"{len(seen.rights)} are there; this account may not look at how they are configured"
        yield Check("topics", "warn", message, "revet topics check, as an administrator of the brokers")
        return
    yield from _planned(plan)
    if plan.fine and wanted:
        yield Check("topics", "ok", f"{len(wanted)} as they should be")


def _planned(plan: Plan) -> Iterator[Check]:
    missing = [step.what for step in plan.steps if step.act == "create"]
    altered = [f"{step.what} {step.detail}" for step in plan.steps if step.act != "create"]
    refusing = [f"{difference.what} {difference.message}" for difference in plan.differences if difference.refuses]
    others = [f"{difference.what} {difference.message}" for difference in plan.differences if not difference.refuses]
    if missing:
        yield Check("topics", "fail", f"missing: {_listed(missing)}", "revet topics apply")
    if refusing:
        mend = "kafka.partitions as the topics have them, or reshard by replay: docs/operations.md"
        yield Check("topics", "fail", _listed(refusing), mend)
    if altered:
        yield Check("topics", "warn", f"differ: {_listed(altered)}", "revet topics diff, then revet topics apply")
    if others:
        yield Check("topics", "warn", _listed(others), "revet topics diff says what of the brokers mends it")


def _creating(by_itself: bool | None) -> Check:
    if by_itself is None:
        return Check("auto-create", "warn", "the brokers do not tell us", "see auto.create.topics.enable; want false")
    if by_itself:
        message = "the brokers create a topic that somebody merely names, with their own number of partitions"
        return Check("auto-create", "warn", message, "auto.create.topics.enable=false on the brokers")
    return Check("auto-create", "ok", "off")


def _rights(seen: Looked, kafka: KafkaSettings) -> Iterator[Check]:
    """What this account may do. A process needs only its part, so some rights that lack are told and do not fail."""
    who = kafka.username or "anonymous"
    mend = f"revet topics apply --acls --principal ROLE=User:{who}, as an administrator of the brokers"
    if seen.hidden:
        message = f"{who} may not even see {_listed(list(seen.hidden))}"
        yield Check("rights", "warn" if seen.rights else "fail", message, mend)
    of_name = {kafka.topic(topic): topic for topic in TOPICS}
    lacking = {
        operation: [of_name[name] for name, rights in seen.rights.items() if operation not in rights]
        for operation in ("READ", "WRITE")
    }
    if seen.rights and not any(seen.rights.values()):
        yield Check("rights", "warn", f"the brokers do not tell what {who} may", "revet topics check --acls")
    elif any(lacking.values()):
        words = "; ".join(f"may not {what}: {_listed(names)}" for what, names in lacking.items() if names)
        yield Check("rights", "warn", f"{who} {words}", f"fine for a process with a part; for another: {mend}")
    elif seen.rights:
        yield Check("rights", "ok", f"{who} may read and write {len(seen.rights)} topics")


# --------------------------------------------------------------------------------------------------------------- trust


def _administrators(settings: Settings) -> Iterator[Check]:
    administrators: AdministratorSettings = settings.administrators
    if not administrators.keys:
        mend = "revet trust keygen NAME, and its line into administrators.keys"
        yield Check("administrators", "fail", "nobody is named, so no trust change counts", mend)
        return
    gate = gate_of(administrators)
    names = sorted({administrator.name for administrator in gate.administrators})
    message = f"{_listed(names)}; {_count(administrators.loosening, 'signature')} to loosen; gate {gate.fingerprint}"
    yield Check("administrators", "ok", message)


def _trust(settings: Settings) -> Iterator[Check]:
    if settings.administrators.keys:
        yield _trust_log(settings, gate_of(settings.administrators))


def _trust_log(settings: Settings, gate: TrustGate) -> Check:
    newest: Refused | None = None
    for record in KafkaLog(settings.kafka).read(TRUST):
        said = gate.take(record)
        newest = said if isinstance(said, Refused) else newest
    trust = gate.trust
    message = f"epoch {gate.reached}: policies {len(trust.policies)}, clusters {len(trust.clusters)}"
    if newest is not None:
        why = f"{message}; {gate.counts['refused']} entries do not count, the newest at position {newest.position}"
        mend = "whoever may write to the topic wrote it: look at its ACLs, and at `revet incident list`"
        return Check("trust", "warn", why, mend)
    if not trust.policies:
        return Check("trust", "warn", f"{message}; everything is ungoverned", "revet trust apply FILE")
    return Check("trust", "ok", message)


# ----------------------------------------------------------------------------------------------------------- processes


def _processes(settings: Settings) -> Iterator[Check]:
    """By their signs of life on the heartbeats topic, wherever they run."""
    signs = signs_of(KafkaLog(settings.kafka).read(CLUSTER_SIGHT))
    at = wall_clock()  # now, not when the first check began
    newest = max((sign.time for sign in signs), default=0)
    if newest and newest - at > SKEW_WARN * 1_000_000:
        seconds = (newest - at) / 1_000_000
        yield Check("clock", "warn", f"a process's clock is {seconds:.0f} s ahead of this one", "run a time service")
    fingerprint = gate_of(settings.administrators).fingerprint if settings.administrators.keys else ""
    for found in processes_of(signs, at, settings.serve.stalled_seconds):
        yield Check("process", found.status, found.message, found.mend)
    yield from _agreeing(signs, fingerprint)


def _agreeing(signs: list[Sign], fingerprint: str) -> Iterator[Check]:
    others = sorted({sign.instance for sign in signs if sign.gate and fingerprint and sign.gate != fingerprint})
    if others:
        message = f"{_listed(others)}: other administrators than in these settings, so other trust"
        yield Check("administrators", "fail", message, "give every process the same administrators.*")


# ------------------------------------------------------------------------------------------------------- Elasticsearch


def _elasticsearch(settings: Settings) -> Iterator[Check]:
    if not settings.elasticsearch.url:
        message = "none is named: nothing is indexed, and nothing can be searched"
        yield Check("elasticsearch", "warn", message, "elasticsearch.url, example: https://es-1:9200")
        return
    with connect(settings.elasticsearch) as server:
        found = checked(server, settings.elasticsearch)
        yield Check("elasticsearch", "ok", f"version {found.found.version}, profile {found.shape.profile}")
        for missing in found.found.missing:
            yield Check("elasticsearch", "warn", f"lacks {missing.feature}: {missing.cost}")
        if found.found.unknown:
            names = ", ".join(found.found.unknown)
            yield Check("elasticsearch", "warn", f"this account may not ask about {names}", "revet index setup as one")
        for (why, mend), drifted in _grouped(found.drift).items():
            yield Check("index", "fail", f"{why}: {_listed(drifted)}", mend)
        if not found.drift:
            yield Check("index", "ok", "templates, streams and state indices are as this version wants them")
        yield from _well(server)


def _grouped(drift: Iterable[Drift]) -> dict[tuple[str, str], list[str]]:
    """(why, what mends it) -> what it is so of: a fresh cluster lacks twenty things for one reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in drift:
        found.setdefault((entry.why, entry.mend), []).append(entry.what)
    return found


def _well(server: Server) -> Iterator[Check]:
    answer = server.call("GET", "/_cluster/health", params={"filter_path": "status,unassigned_shards"}, accept=(403,))
    state = str(answer.body.get("status", "")) if answer.status == 200 else ""
    if state == "red":
        yield Check("elasticsearch", "fail", "red: some indices cannot be written", "start the missing node")
    elif state == "yellow":
        mend = "start another node; on a single one elasticsearch.replicas: 0, then revet index setup"
        yield Check(
            "elasticsearch", "warn", f"yellow: {answer.body.get('unassigned_shards')} copies have no node", mend
        )
    blocked = server.call(
        "GET",
        "/logs-revet.*,revet-state-*/_settings/index.blocks.*",
        params={"flat_settings": "true", "expand_wildcards": "all", "ignore_unavailable": "true"},
        accept=(403, 404),
    )
    full = [name for name, entry in blocked.body.items() if _is_blocked(entry)] if blocked.status == 200 else []
    if full:
        mend = "free disk space there; the block goes away by itself, and what waits is written"
        yield Check("elasticsearch", "fail", f"takes no writes (disk flood stage): {_listed(sorted(full))}", mend)
    yield from _clock(server)


def _is_blocked(entry: object) -> bool:
    settings = entry.get("settings", {}) if isinstance(entry, dict) else {}
    return str(settings.get("index.blocks.read_only_allow_delete")) == "true"


def _clock(server: Server) -> Iterator[Check]:
    before = time.time()
    answer = server.call("GET", "/_cat/health", params={"h": "epoch", "format": "json"}, accept=(403,))
    after = time.time()
    if answer.status != 200:
        return
    told = int(answer.body[0]["epoch"])  # whole seconds, at some instant in between
    apart = max(before - 1 - told, told - after, 0.0)
    if apart > SKEW_WARN:
        status: Status = "fail" if apart > SKEW_FAIL else "warn"
        message = f"this clock and Elasticsearch's are {apart:.0f} s apart: delays and windows are wrong by that"
        yield Check("clock", status, message, "run a time service on both")
    else:
        yield Check("clock", "ok", "as Elasticsearch's")


# ------------------------------------------------------------------------------------------------------------ evidence


def _evidence(settings: Settings) -> Iterator[Check]:
    kind, _, place = settings.evidence.store.partition(":")
    if not kind:
        message = "no store for the bytes of evidence that several processes share"
        yield Check("evidence", "fail", message, "evidence.store, example: directory:/var/lib/revet/evidence")
    elif kind == "oci":
        host = place.partition("/")[0]
        address = host if ":" in host else f"{host}:{80 if settings.evidence.plain_http else 443}"
        why = _unreachable(address)
        status: Status = "fail" if why else "ok"
        yield Check(
            "evidence", status, f"{place}: {why or 'its registry can be reached'}", why and "see evidence.store"
        )
    else:
        yield _folder(kind, Path(place))


def _folder(kind: str, place: Path) -> Check:
    folder = place if kind == "directory" else place.parent
    if not folder.is_dir():
        return Check("evidence", "fail", f"no folder {folder}", f"mkdir -p {folder}, owned by who runs revet")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Check("evidence", "fail", f"{folder} cannot be read and written", f"chown or chmod {folder}")
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    if free < STORE_FREE:
        return Check("evidence", "warn", f"{free // MIB:,} MiB free at {folder}", "free space")
    if kind == "sqlite":
        message = f"{place}: one process only; several need directory: or oci:"
        return Check("evidence", "warn", message, "evidence.store, example: directory:/var/lib/revet/evidence")
    return Check("evidence", "ok", f"{folder}, {free // MIB:,} MiB free")


# --------------------------------------------------------------------------------------------------------------- words


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


_LOOKS: Final[tuple[tuple[str, Callable[[Settings], Iterator[Check]], bool], ...]] = (
    ("packages", _packages, False),
    ("secrets", _secrets, False),
    ("kafka", _brokers, False),
    ("administrators", _administrators, False),
    ("trust", _trust, True),
    ("process", _processes, True),
    ("elasticsearch", _elasticsearch, False),
    ("evidence", _evidence, False),
)
"""What is looked at, and whether it needs brokers that answer. A new dependency is a function and a row here."""

_MEND: Final = {
    "packages": "install the clustered mode: pip install 'revet[cluster]'",
    "secrets": "put the secret there, or name another file",
    "kafka": "see the line; settings kafka.*",
    "administrators": "see the line; settings administrators.*",
    "trust": "see what is wrong with kafka or the topics above",
    "process": "see what is wrong with kafka or the topics above",
    "elasticsearch": "see the line; settings elasticsearch.*",
    "evidence": "see the line; setting evidence.store",
}
"""What to do when the look itself failed; the error says what and where."""
