"""Whose it is and who is told: namespaces decide, pods do not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from alerting.routing import (
    OTHERS,
    UNOWNED,
    ClusterNames,
    OwnerRule,
    RouteRule,
    Routes,
    beside,
    destinations,
    name_beside,
    team_destination,
    team_of,
    team_of_destination,
)

ROUTES = Routes(
    owners=(
        OwnerRule(cluster="prod-*", namespace="pay-?", team="payments"),
        OwnerRule(namespace="kube-*", team="platform"),
    )
)


@pytest.mark.parametrize(
    ("cluster", "namespace", "labels", "team", "source"),
    [
        ("c", "pay", {"team": "pay", "owner": "x"}, "pay", "label:team"),
        ("c", "pay", {"owner": "x"}, "x", "label:owner"),
        ("c", "pay", {"team": "", "owner": "x"}, "x", "label:owner"),
        ("c", "pay", {"team": "two words", "owner": "x"}, "x", "label:owner"),
        ("c", "pay", {"team": "a\x1b[2Jb"}, UNOWNED, "default"),
        ("c", "pay", {"team": "../security"}, UNOWNED, "default"),
        ("c", "pay", {"team": "x" * 64}, UNOWNED, "default"),
        ("c", "pay", {"team": "a\n"}, UNOWNED, "default"),
        ("prod-eu", "pay-1", {}, "payments", "table:0"),
        ("test-eu", "pay-1", {}, UNOWNED, "default"),
        ("prod-eu", "pay-12", {}, UNOWNED, "default"),
        ("any", "kube-system", {}, "platform", "table:1"),
        ("any", "kube-system", {"team": "t"}, "t", "label:team"),
        ("c", "web", {"app.kubernetes.io/part-of": "shop"}, UNOWNED, "default"),
    ],
)
def test_a_namespace_names_its_team(cluster, namespace, labels, team, source):
    assert team_of(cluster, namespace, labels, ROUTES)[:2] == (team, source)


def test_further_label_keys_are_a_setting():
    assert (
        team_of("c", "n", {"app.kubernetes.io/part-of": "shop"}, Routes(label_keys=("app.kubernetes.io/part-of",))).team
        == "shop"
    )


@pytest.mark.parametrize(
    ("severity", "teams", "told"),
    [
        ("critical", ("a", "b"), ("security", "team/a", "team/b")),
        ("high", ("a",), ("security", "team/a")),
        ("medium", ("a",), ("team/a",)),
        ("low", ("a", UNOWNED), ("security", "team/a")),
        ("low", (), ("security",)),
        ("low", ("a", OTHERS), ("security", "team/a")),
    ],
)
def test_security_hears_of_what_is_bad_and_of_what_nobody_owns(severity, teams, told):
    assert destinations(severity, teams, Routes()) == told


def test_a_team_called_security_is_not_the_security_channel():
    assert team_destination("security") != Routes().security
    assert team_of_destination(team_destination("security")) == "security"
    assert team_of_destination("security") == ""


@pytest.mark.parametrize(
    "rule", [{"namespace": "a", "team": "two words"}, {"namespace": "a", "team": "a", "extra": 1}, {"team": "a"}]
)
def test_a_wrong_row_of_the_table_is_refused(rule):
    with pytest.raises(ValidationError):
        OwnerRule.model_validate(rule)


def test_globs_have_no_other_wildcards():
    routes = Routes(owners=(OwnerRule(namespace="[ab].*", team="t"),))
    assert team_of("c", "a.x", {}, routes).team == UNOWNED
    assert team_of("c", "[ab].x", {}, routes).team == "t"


# ------------------------------------------------------------------------------------------------- by cluster

PROD = ClusterNames("uid-1", "prod-eu", {"env": "prod", "region": "eu"})
TEST = ClusterNames("uid-2", "test-eu", {"env": "test"})
ALSO = Routes(
    also=(
        RouteRule(labels={"env": "prod"}, to="prod-oncall"),
        RouteRule(cluster="*-eu", severity="medium", to="eu"),
        RouteRule(cluster="uid-2", severity="critical", to="eu"),
        RouteRule(labels={"env": "p*", "region": "us"}, severity="info", to="us"),
    )
)


@pytest.mark.parametrize(
    ("severity", "clusters", "told"),
    [
        ("critical", [PROD], ("also/prod-oncall", "also/eu")),
        ("medium", [PROD], ("also/eu",)),
        ("low", [PROD, TEST], ()),
        ("high", [TEST], ("also/eu",)),
        ("critical", [ClusterNames("uid-2", "", {})], ("also/eu",)),
        ("critical", [ClusterNames("uid-3", "", {})], ()),
        ("critical", [], ()),
    ],
)
def test_rules_over_clusters_tell_others_too(severity, clusters, told):
    assert beside(severity, clusters, ALSO) == told


def test_such_a_destination_is_nobodys_slice():
    assert (name_beside("also/eu"), name_beside("team/eu"), name_beside("eu")) == ("eu", "", "")
    assert team_of_destination("also/eu") == ""


@pytest.mark.parametrize("rule", [{"to": ""}, {"to": "<!x>"}, {}, {"to": "a", "severity": "worst"}])
def test_a_wrong_rule_over_clusters_is_refused(rule):
    with pytest.raises(ValidationError):
        RouteRule.model_validate(rule)


@pytest.mark.parametrize(
    ("labels", "team"),
    [
        ({"argocd.argoproj.io/instance": "checkout-eu"}, "shop"),
        ({"helm.toolkit.fluxcd.io/name": "checkout"}, "shop"),
        ({"argocd.argoproj.io/instance": "other"}, UNOWNED),
        ({"argocd.argoproj.io/instance": "checkout", "team": "pay"}, "pay"),
        ({}, UNOWNED),
    ],
)
def test_an_application_of_a_delivery_tool_has_an_owner(labels, team):
    routes = Routes(owners=(OwnerRule(application="checkout*", team="shop"),))
    assert team_of("c", "n", labels, routes).team == team
