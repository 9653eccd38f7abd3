"""What is counted, in one table, and the numbers for Prometheus. The door of `prometheus_client`.

    metrics = Metrics("judge")
    metrics.add(RECORDS, len(batch), "judge", "revet.observations")     once per batch, not per record
    metrics.observe(BATCH_SECONDS, 0.012, "judge")
    metrics.observe_all(ALERT_DELAY, delays)                            a list of seconds, counted in one go
    metrics.watch(LAG, health.lag)                                      asked for when somebody reads
    metrics.exposition(accept)                                          text and content type for /metrics

The table generates `docs/metrics.md`. Numbers are kept in plain dictionaries and made into prometheus_client's families
when they are read, so that a call costs about a microsecond.
"""

from __future__ import annotations

import bisect
import importlib.metadata
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Lock
from typing import Final, Literal, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds, seconds. 2 and 2.5 are what the delays of alerts and of the record are promised to stay below."""
MAX_SERIES: Final = 5_000
"""Series of one metric; label values beyond them count as `other`. None of ours comes near: a guard against a slip."""


class Metric(NamedTuple):
    """One row of the table."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    watch: str = ""
    """When to worry, and what to look at."""


RECORDS: Final = Metric(
    "revet_records_total", "counter", ("component", "topic"),
    "Records read from a topic and handled: outputs acknowledged, state and position stored.",
    "a rate of 0 while `revet_lag` grows",
)  # fmt: skip
OUTPUTS: Final = Metric(
    "revet_outputs_total", "counter", ("component", "topic"), "Records written to a topic and acknowledged."
)
DEADLETTERS: Final = Metric(
    "revet_deadletters_total", "counter", ("component", "code"),
    "Inputs that could not be read, by reason.",
    "any: `revet deadletter list`, `revet explain CODE`",
)  # fmt: skip
LAG: Final = Metric(
    "revet_lag", "gauge", ("component", "shard"),
    "Records that wait on the partitions of this process; without a shard: for the component as a whole.",
    "growing for minutes: add a process, or see `revet_batch_seconds` for what takes long",
)  # fmt: skip
STALLED: Final = Metric(
    "revet_stalled_seconds", "gauge", ("component",),
    "Seconds without progress although something waits; 0 when nothing waits.",
    "> 60: `/healthz` names the shard and the trouble",
)  # fmt: skip
READY: Final = Metric("revet_ready", "gauge", (), "1 once state is restored and broadcast topics are read whole.")
TROUBLE: Final = Metric(
    "revet_trouble_seconds", "gauge", ("dependency",),
    "Seconds for which a dependency (kafka, elasticsearch, registry …) has not worked; absent while it works.",
    "any for more than a minute: `revet doctor`",
)  # fmt: skip
BATCH_SECONDS: Final = Metric(
    "revet_batch_seconds", "histogram", ("component",), "Time of one batch: read, handled, acknowledged, stored."
)
STATE_ROWS: Final = Metric("revet_state_rows", "gauge", ("component",), "Rows of state held by this process.")
RESTORE_SECONDS: Final = Metric(
    "revet_restore_seconds", "histogram", ("component",), "Time to bring back the state of one shard."
)
REBALANCES: Final = Metric(
    "revet_rebalances_total", "counter", ("component",),
    "Times partitions were given to or taken from this process.",
    "more than a few an hour: processes come and go, or miss `kafka.session_timeout_seconds`",
)  # fmt: skip
PAUSED: Final = Metric(
    "revet_paused", "gauge", ("component",), "1 while reading is held back because what comes behind is slower."
)
TRUST_EPOCH: Final = Metric("revet_trust_epoch", "gauge", (), "Trust epoch this process has reached.")
BROADCAST_LAG: Final = Metric(
    "revet_broadcast_lag_seconds", "gauge", ("topic",),
    "Age of this process's view of a topic that every process reads whole.",
    "> `serve.stale_trust_seconds`: the process waits rather than judging on stale trust",
)  # fmt: skip
TRUST_REFUSED: Final = Metric(
    "revet_trust_refused", "gauge", (),
    "Entries of the trust log that do not count: unsigned, forged, or signed by too few.",
    "growing: `revet doctor`, `revet incident list`; somebody writes to the topic who should not",
)  # fmt: skip
FETCHES: Final = Metric(
    "revet_fetches_total", "counter", ("outcome",),
    "Evidence asked for at registries, by outcome.",
    "a rising share of anything but `ok`",
)  # fmt: skip
FETCH_SECONDS: Final = Metric("revet_fetch_seconds", "histogram", (), "Time of one fetch, all its requests together.")
NOTIFICATIONS: Final = Metric(
    "revet_notifications_total", "counter", ("result",),
    "Notifications of registries, by result: taken, refused (token), garbage, limited, failed.",
    "none for a day although something was pushed: the webhook; `refused`: a token that was changed on one side",
)  # fmt: skip
BULK_ITEMS: Final = Metric(
    "revet_bulk_items_total", "counter", ("outcome",),
    "Documents sent to Elasticsearch, by outcome of the item.",
    "`refused` or `failure-store`: a mapping that does not fit; `revet index check`",
)  # fmt: skip
BULK_SECONDS: Final = Metric(
    "revet_bulk_seconds", "histogram", (),
    "Time until Elasticsearch has taken the documents of one batch, repetitions included.",
    "above a second for minutes: Elasticsearch is the slowest part; see its own metrics",
)  # fmt: skip
MESSAGES: Final = Metric(
    "revet_messages_total", "counter", ("channel", "outcome"), "Messages handed to a channel, by outcome."
)
SLACK_CALLS: Final = Metric(
    "revet_slack_calls_total", "counter", ("method", "outcome"),
    "HTTP calls to Slack, by method and outcome: `ok`, or the error's name.",
    "`invalid_auth`, `channel_not_found` and the like: `revet alert test`",
)  # fmt: skip
SLACK_LIMITED: Final = Metric(
    "revet_slack_limited_total", "counter", ("kind",),
    "Times Slack said that it is spoken to too often; by what was to be done.",
    "any: another sender uses the same app, or a limit has changed",
)  # fmt: skip
SLACK_DEGRADED: Final = Metric(
    "revet_slack_degraded_total", "counter", ("step",),
    "Messages that were sent otherwise than wanted: without a block, `plain`, `text`, or in another `channel`.",
    "`channel`: a team's channel takes nothing; `text`: the workspace refuses our blocks",
)  # fmt: skip
SLACK_PRESSES: Final = Metric(
    "revet_slack_presses_total", "counter", ("what", "outcome"),
    "Buttons pressed: `ack`, `ask` (for the form), `propose`, `link`, `unreadable`; `done`, `passed`, `refused` (who"
    " pressed is not in `slack.people`, or the form says too little), `not-durable` (Kafka did not take it in time).",
    "`not-durable`: presses are lost, and those who pressed are told so; `refused` by people who should be allowed",
)  # fmt: skip
SLACK_ENVELOPES: Final = Metric(
    "revet_slack_envelopes_total", "counter", ("outcome",),
    "What came over Socket Mode: `done`, `again` (twice), `not-durable`, `unanswered` (the connection went before the"
    " answer), `ignored` (nothing of ours).",
)  # fmt: skip
SLACK_SOCKET: Final = Metric(
    "revet_slack_socket_total", "counter", ("what",),
    "Connections of Socket Mode: `open`, `refresh` (the service wants another), `lost`, `ghosts` (the service counts"
    " more than there can be), `no-connection`, or an error's name.",
    "`ghosts`: clicks may vanish, until the service forgets them; `invalid_auth`: `slack.app_token`",
)  # fmt: skip
SLACK_CONNECTIONS: Final = Metric(
    "revet_slack_connections", "gauge", (),
    "Connections of our app, as Slack counted them when this process connected last.",
    "more than there are processes of `revet serve alert`, twice over: ghosts, which swallow clicks",
)  # fmt: skip
SLACK_HEARD: Final = Metric(
    "revet_slack_heard_seconds", "gauge", (), "Unix time at which something came over Socket Mode last."
)
CANARY: Final = Metric(
    "revet_canary_total", "counter", ("outcome",),
    "Test messages in the channel `canary`: `ok`; `failed`: Slack did not show one; `unheard`: the watchman of"
    " `alerting.heartbeat_url` did not answer; `standby`: another process is active.",
    "`ok` not growing in any process for two of `alerting.canary_seconds`",
)  # fmt: skip
ALERT_DELAY: Final = Metric(
    "revet_alert_delay_seconds", "histogram", (),
    "From the record's own time to the alerter's decision whether to tell somebody; grouping comes after it.",
    "p99 > 2 s outside catching up",
)  # fmt: skip
SEARCHABLE_DELAY: Final = Metric(
    "revet_searchable_delay_seconds", "histogram", (),
    "From the event's own time to the acknowledgement of its document; searchable within a second after it.",
    "p99 > 2.5 s outside catching up",
)  # fmt: skip
WATCH_EVENTS: Final = Metric(
    "revet_watch_events_total", "counter", ("cluster", "outcome"),
    "Events of pod watches and pods of lists, by what became of them: `changed` (told), `same`, `older`, `gone`,"
    " `vanished` (missing in a new list), `bookmark`, `unreadable`.",
    "`unreadable`: `revet deadletter list`",
)  # fmt: skip
WATCH_REQUESTS: Final = Metric(
    "revet_watch_requests_total", "counter", ("cluster", "ending"),
    "Requests of pod watches, by how they ended: `clean`, `cut`, `silent`, `unreachable`, `too-large`, `HTTP CODE`.",
    "a rising share of anything but `clean`",
)  # fmt: skip
WATCH_PODS: Final = Metric("revet_watch_pods", "gauge", ("cluster",), "Pods known to be there.")
WATCH_AGE: Final = Metric(
    "revet_watch_age_seconds", "gauge", ("cluster",),
    "Seconds since anything was heard of a watched cluster; absent on a watcher that stands by.",
    "> 120: nothing is known of what happens there; the log says why",
)  # fmt: skip
WATCH_LEADS: Final = Metric(
    "revet_watch_leads", "gauge", ("cluster",), "1 on the watcher that reads the cluster, 0 where it stands by."
)
AUDIT_MISSING: Final = Metric(
    "revet_audit_missing", "gauge", ("source",),
    "Events that an API server of `listen.counters` made since it was first looked at and that did not come, beyond"
    " what may be under way.",
    "> 0 for minutes: they are in its audit log, if it writes one; see docs/audit.md",
)  # fmt: skip
AUDIT_GIVEN_UP: Final = Metric(
    "revet_audit_given_up", "gauge", ("source",),
    "Events that such an API server says it gave up, since it was first looked at.",
    "any: these are lost to revet; see docs/audit.md",
)  # fmt: skip
AUDIT_COMPARED: Final = Metric(
    "revet_audit_compared_total", "counter", ("source", "word"),
    "Looks at the counters of such an API server: `whole`, `missing`, `given-up`, `restarted`, or `unknown` (the first"
    " one, or it could not be asked).",
    "nothing but `unknown`: the log says why (`counters-not-read`)",
)  # fmt: skip
REPORT_CLAIMS: Final = Metric(
    "revet_reports_claims_total", "counter", ("cluster", "outcome"),
    "Claims in reports of watched clusters, by what became of them: `told`, `same` (said before), `other` (not of"
    " `reports.results`); and `unreadable` reports.",
    "`unreadable`: `revet deadletter list`",
)  # fmt: skip
REPORTS_KNOWN: Final = Metric(
    "revet_reports", "gauge", ("cluster", "resource"),
    "Reports that are there; absent where the cluster has no such resource, or it is not read yet.",
)  # fmt: skip
REPORT_REQUESTS: Final = Metric(
    "revet_reports_requests_total", "counter", ("cluster", "ending"),
    "Requests of report watches, by how they ended: as in `revet_watch_requests_total`; `HTTP 404` where there is no"
    " such resource, once a minute.",
    "a rising share of anything but `clean` and `HTTP 404`",
)  # fmt: skip
ADMISSION_REVIEWS: Final = Metric(
    "revet_admission_reviews_total", "counter", ("outcome", "answer"),
    "Requests for admission: what was judged (`valid`, `violates`, `unverifiable`, `ungoverned`, `out-of-scope`,"
    " `skipped`, `unreadable`, `failed`) and what was answered (`allowed`, `warned`, `denied`, `error`).",
    "`failed` at all; a rising share of `unverifiable`",
)  # fmt: skip
ADMISSION_SECONDS: Final = Metric(
    "revet_admission_seconds", "histogram", (),
    "From a request for admission to its answer, the write to the spool included.",
    "p99 > 0.05 s with facts at hand; near `admission.budget_seconds`: registries are slow, see `revet_fetches_total`",
)  # fmt: skip
LISTEN_SPOOL: Final = Metric(
    "revet_listen_spool_bytes", "gauge", (),
    "Bytes of batches that wait in `listen.spool` until the brokers have them.",
    "growing for minutes; more than half of `listen.spool_mib`",
)  # fmt: skip
ADMISSION_SPOOL: Final = Metric(
    "revet_admission_spool", "gauge", (),
    "Outputs that wait in the spool for the brokers, or for the state file.",
    "growing for minutes: `revet_trouble_seconds` names what does not take them",
)  # fmt: skip
ADMISSION_UNRECORDED: Final = Metric(
    "revet_admission_unrecorded_total", "counter", ("what",),
    "Decisions that were not on disk when they were answered (`late`; they are written later), and outputs that were"
    " lost because memory held too many (`lost`).",
    "any: is the disk of `admission.spool` full?",
)  # fmt: skip
ADMISSION_LOOKUPS: Final = Metric(
    "revet_admission_lookups", "gauge", (), "Images and tags looked up at registries for admission since the start."
)
ADMISSION_CERTIFICATE: Final = Metric(
    "revet_admission_certificate_seconds", "gauge", (),
    "Seconds until the certificate that is served ends.",
    "< 604800: renew it; it is read again when its files change",
)  # fmt: skip
LOG_SUPPRESSED: Final = Metric(
    "revet_log_suppressed_total", "counter", ("logger",), "Log lines left out because they repeated one another."
)
BUILD: Final = Metric("revet_build_info", "gauge", ("version", "component"), "1; the version that runs.")

METRICS: Final[tuple[Metric, ...]] = (
    RECORDS, OUTPUTS, DEADLETTERS, LAG, STALLED, READY, TROUBLE, BATCH_SECONDS, STATE_ROWS, RESTORE_SECONDS,
    REBALANCES, PAUSED, TRUST_EPOCH, BROADCAST_LAG, TRUST_REFUSED, FETCHES, FETCH_SECONDS, NOTIFICATIONS, BULK_ITEMS,
    BULK_SECONDS, MESSAGES, SLACK_CALLS, SLACK_LIMITED, SLACK_DEGRADED, SLACK_PRESSES, SLACK_ENVELOPES,
    SLACK_SOCKET, SLACK_CONNECTIONS, SLACK_HEARD, CANARY, ALERT_DELAY, SEARCHABLE_DELAY,
    WATCH_EVENTS, WATCH_REQUESTS, WATCH_PODS, WATCH_AGE,
    WATCH_LEADS, REPORT_CLAIMS, REPORTS_KNOWN, REPORT_REQUESTS,
    AUDIT_MISSING, AUDIT_GIVEN_UP, AUDIT_COMPARED,
    LISTEN_SPOOL, ADMISSION_REVIEWS, ADMISSION_SECONDS, ADMISSION_SPOOL, ADMISSION_UNRECORDED,
    ADMISSION_LOOKUPS, ADMISSION_CERTIFICATE, LOG_SUPPRESSED, BUILD,
)  # fmt: skip
"""Everything a process may count, in the order of the page."""

Values = Mapping[tuple[str, ...], float]
"""Label values -> number."""


class _Histogram:
    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0


class Metrics(Collector):
    """The numbers of one process. Safe to call from any thread."""

    def __init__(self, component: str) -> None:
        self._lock = Lock()
        self._numbers: dict[str, dict[tuple[str, ...], float]] = {}
        self._histograms: dict[str, dict[tuple[str, ...], _Histogram]] = {}
        self._watched: dict[str, Callable[[], Values]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self.set(BUILD, 1, importlib.metadata.version("revet"), component)

    # ------------------------------------------------------------------ counting

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """Count `amount` more. Raises ValueError where the table says something else about the metric."""
        with self._lock:
            try:
                self._numbers[metric.name][labels] += amount
            except KeyError:
                series = _series(self._numbers, metric, "counter", labels)
                key = _within(series, labels)
                series[key] = series.get(key, 0.0) + amount

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """A gauge stands at `value`. Raises ValueError as `add`."""
        with self._lock:
            series = _series(self._numbers, metric, "gauge", labels)
            series[_within(series, labels)] = value

    def drop(self, metric: Metric, *labels: str) -> None:
        """A gauge has no value any more: its shard belongs to another process."""
        with self._lock:
            self._numbers.get(metric.name, {}).pop(labels, None)

    def observe(self, metric: Metric, seconds: float, *labels: str) -> None:
        """One measured time. Raises ValueError as `add`."""
        self.observe_all(metric, (seconds,), *labels)

    def observe_all(self, metric: Metric, seconds: Iterable[float], *labels: str) -> None:
        """Many measured times in one go. Raises ValueError as `add`."""
        with self._lock:
            series = _series(self._histograms, metric, "histogram", labels)
            key = _within(series, labels)
            histogram = series.get(key)
            if histogram is None:
                histogram = series[key] = _Histogram()
            counts = histogram.counts
            for value in seconds:
                counts[bisect.bisect_left(BUCKETS, value)] += 1
                histogram.total += value

    def watch(self, metric: Metric, values: Callable[[], Values]) -> None:
        """Ask `values` whenever somebody reads; for gauges that are known elsewhere. It must not block."""
        _check(metric, "gauge", None)
        self._watched[metric.name] = values

    def value(self, metric: Metric, *labels: str) -> float:
        """What stands there now (of a histogram: how many were observed); 0 for what was never counted."""
        with self._lock:
            if metric.kind == "histogram":
                histogram = self._histograms.get(metric.name, {}).get(labels)
                return float(sum(histogram.counts)) if histogram is not None else 0.0
            watched = self._watched.get(metric.name)
            series = watched() if watched is not None else self._numbers.get(metric.name, {})
            return series.get(labels, 0.0)

    # ------------------------------------------------------------------ reading

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Text and content type, in the form the reader asks for with its `Accept` header."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Family]:
        """prometheus_client's families, made now."""
        with self._lock:
            numbers = {name: dict(series) for name, series in self._numbers.items()}
            histograms = {
                name: {labels: (list(h.counts), h.total) for labels, h in series.items()}
                for name, series in self._histograms.items()
            }
        numbers |= {name: dict(values()) for name, values in self._watched.items()}
        for metric in METRICS:
            if metric.kind == "histogram":
                yield _histogram_family(metric, histograms.get(metric.name, {}))
            else:
                yield _number_family(metric, numbers.get(metric.name, {}))


T = TypeVar("T")


def _series(
    table: dict[str, dict[tuple[str, ...], T]], metric: Metric, kind: str, labels: tuple[str, ...]
) -> dict[tuple[str, ...], T]:
    """The series of a metric; checked when it is first counted."""
    series = table.get(metric.name)
    if series is None:
        _check(metric, kind, labels)
        series = table[metric.name] = {}
    return series


def _check(metric: Metric, kind: str, labels: tuple[str, ...] | None) -> None:
    if metric not in METRICS:
        raise ValueError(f"{metric.name} is not in the table METRICS")
    if metric.kind != kind:
        raise ValueError(f"{metric.name} is a {metric.kind}, used as a {kind}")
    if labels is not None and len(labels) != len(metric.labels):
        raise ValueError(f"{metric.name} has the labels {', '.join(metric.labels) or 'none'}; got {len(labels)} values")


def _within(series: dict[tuple[str, ...], T], labels: tuple[str, ...]) -> tuple[str, ...]:
    if labels in series or len(series) < MAX_SERIES:
        return labels
    return ("other",) * len(labels)


def _number_family(metric: Metric, series: Values) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in sorted(series.items()):
        family.add_metric(labels, value)
    return family


def _histogram_family(metric: Metric, series: Mapping[tuple[str, ...], tuple[list[int], float]]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    bounds = (*(str(bound) for bound in BUCKETS), "+Inf")
    for labels, (counts, total) in sorted(series.items()):
        family.add_metric(labels, list(zip(bounds, itertools.accumulate(counts), strict=True)), total)
    return family
