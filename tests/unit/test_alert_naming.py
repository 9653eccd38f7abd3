"""Clusters are shown by name and kept by id."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alerting.models import Cause, IncidentPart, Member, ShardReached
from alerting.naming import in_text
from streams.alerter import Alerter
from tests.unit.test_alert_console import DIGEST, T0
from verifier.times import MINUTE
from verifier.trust.state import ClusterEntry, TrustState

UID, OTHER = "7c9e6679-7425-40de-944b-e07fc1f90ae7", "00000000-0000-4000-8000-000000000000"


def entry(uid: str, name: str) -> TrustState:
    """Trust that knows one cluster."""
    return replace(TrustState.empty(), clusters={uid: ClusterEntry(uid, name, (), ("pods",), 1, 1, 1, 1)})


def alerter(cluster: str) -> Alerter:
    made = Alerter()
    member = Member(cluster, "shop", "Deployment/shop", "shop", "reg.example/shop:1", DIGEST, 3, T0)
    subject, text = f"{cluster} shop Deployment shop", f"runs in {cluster} without an admission on record"
    list(made.handle(ShardReached(0, 1, 5, T0), T0))
    part = IncidentPart(
        "v1:i", "unadmitted", subject, Cause(), "", "high", 0, cluster, "shop", 5, 1, T0, 3, 1, T0, text, (member,)
    )
    list(made.handle(part, T0))
    list(made.tick(T0 + MINUTE))
    return made


def shown(made: Alerter) -> str:
    message = made.message("v1:i", "security")
    assert message is not None
    return str(message)


def test_a_cluster_that_has_a_name_is_shown_by_it() -> None:
    made = alerter(UID)
    assert UID in shown(made)
    list(made.trust_changed(entry(UID, "prod-eu"), T0 + MINUTE))
    assert UID not in shown(made)
    message = made.message("v1:i", "security")
    assert message is not None
    assert "prod-eu shop Deployment shop" in message.headline
    assert message.what == "runs in prod-eu without an admission on record"
    assert message.table.rows[0][0] == "prod-eu"


def test_one_that_has_none_keeps_its_id() -> None:
    made = alerter(UID)
    list(made.trust_changed(entry(OTHER, "prod-eu"), T0 + MINUTE))
    assert UID in shown(made)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"in {UID}: x", "in prod-eu: x"),
        (UID, "prod-eu"),
        (f"x{UID}", f"x{UID}"),
        (f"{UID}-a", f"{UID}-a"),
        ("prod runs in prod", "prod runs in prod"),
        ("", ""),
    ],
)
def test_only_a_uid_that_stands_alone_is_replaced(text: str, says: str) -> None:
    names = {UID: "prod-eu", "prod": "WRONG"}
    assert in_text(text, lambda cluster: names.get(cluster, cluster)) == says
