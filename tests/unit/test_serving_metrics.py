"""Metrics: the table is what may be counted, and what Prometheus reads is what was counted."""

from __future__ import annotations

import re
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.serving import metrics as module
from streams.serving.health import Health
from streams.serving.metrics import (
    ALERT_DELAY,
    BATCH_SECONDS,
    LAG,
    MAX_SERIES,
    METRICS,
    RECORDS,
    STATE_ROWS,
    TRUST_EPOCH,
    Metric,
    Metrics,
)


def read(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.exposition()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_was_counted_is_read():
    metrics = Metrics("judge")
    metrics.add(RECORDS, 3, "judge", 'a "topic"\nwith \\ all')
    metrics.add(RECORDS, 4, "judge", 'a "topic"\nwith \\ all')
    metrics.set(TRUST_EPOCH, 9)
    metrics.observe_all(ALERT_DELAY, [0.0005, 0.3, 2.0, 99.0])
    found = read(metrics)
    labels = (("component", "judge"), ("topic", 'a "topic"\nwith \\ all'))
    assert found["revet_records_total", labels] == 7
    assert found["revet_trust_epoch", ()] == 9
    buckets = {
        dict(labels)["le"]: n for (name, labels), n in found.items() if name == "revet_alert_delay_seconds_bucket"
    }
    assert (buckets["0.001"], buckets["0.25"], buckets["0.5"], buckets["2.0"], buckets["60.0"], buckets["+Inf"]) == (
        *(1, 1, 2, 3, 3),
        4,
    )
    assert found["revet_alert_delay_seconds_sum", ()] == pytest.approx(101.3005)
    assert any(name == "process_resident_memory_bytes" for name, _ in found)


def test_what_is_known_elsewhere_is_asked_for_when_it_is_read():
    metrics, health = Metrics("judge"), Health("judge")
    metrics.watch(LAG, health.lag)
    health.waiting(12, "judge", 3)
    assert metrics.value(LAG, "judge", "3") == 12
    health.gone("judge", 3)
    assert ("revet_lag", (("component", "judge"), ("shard", "3"))) not in read(metrics)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda m: m.add(RECORDS, 1, "judge"),
        lambda m: m.set(RECORDS, 1, "judge", "t"),
        lambda m: m.observe(STATE_ROWS, 1, "judge"),
        lambda m: m.add(Metric("revet_other_total", "counter", (), "x"), 1),
    ],
)
def test_what_the_table_does_not_say_is_refused(wrong):
    with pytest.raises(ValueError, match="revet_"):
        wrong(Metrics("judge"))


def test_label_values_without_end_do_not_take_all_memory():
    metrics = Metrics("judge")
    for number in range(MAX_SERIES + 50):
        metrics.add(RECORDS, 1, "judge", f"t{number}")
    assert metrics.value(RECORDS, "other", "other") == 50


def test_threads_lose_no_count():
    metrics = Metrics("judge")

    def work() -> None:
        for _ in range(2_000):
            metrics.add(RECORDS, 1, "judge", "t")
            metrics.observe(BATCH_SECONDS, 0.1, "judge")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.value(RECORDS, "judge", "t") == metrics.value(BATCH_SECONDS, "judge") == 8_000


def test_every_constant_is_in_the_table_and_named_as_prometheus_names():
    constants = [value for value in vars(module).values() if isinstance(value, Metric)]
    assert sorted(constants) == sorted(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"revet_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        if metric.kind == "histogram":
            assert metric.name.endswith("_seconds")
