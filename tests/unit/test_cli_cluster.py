"""`revet cluster`: enrolled, listed, shown, retired; what ran in a retired cluster has ended with that reason."""

from __future__ import annotations

import pytest
import yaml

from tests.helpers.statefile import Shop, document

UID = "1f3c9f0e-2a6b-4f0e-8a51-0f3d9b3c7a11"


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def enroll(shop, *options, name="prod-eu"):
    return shop.run("cluster", "enroll", name, "--id", UID, *options)


def test_enrolled_listed_shown(shop):
    result = enroll(shop, "--label", "env=prod", "--label", "region=eu", "--note", "new")
    assert result.code == 0, result.err
    assert "enrolled cluster prod-eu" in result.out
    (row,) = [r for r in shop.ask("cluster", "list")["clusters"] if r["id"] == UID]
    assert (row["name"], row["labels"], row["feeds"]) == ("prod-eu", {"env": "prod", "region": "eu"}, ["audit", "pods"])
    assert row["status"] == "enrolled"
    for name in ("prod-eu", UID):
        shown = shop.ask("cluster", "show", name)
        assert shown["history"][0]["what"].endswith("feeds audit, pods: new")
    assert "prod-eu" in shop.run("cluster", "list").out


def test_what_is_printed_for_the_api_server_is_a_kubeconfig(shop):
    out = enroll(shop, "--receiver", "https://revet.example.com:9880/audit").out
    text = out[out.index("apiVersion: v1\n") :]
    config = yaml.safe_load(text[: text.index("\n\n")])
    assert config["clusters"][0]["cluster"]["server"] == "https://revet.example.com:9880/audit"
    assert config["contexts"][0]["context"] == {"cluster": "revet", "user": "apiserver"}
    assert set(config["users"][0]["user"]) == {"client-certificate", "client-key"}
    assert f"cluster: {UID}" in out
    again = shop.run("cluster", "show", "prod-eu", "--kubeconfig").out
    assert "client-certificate" in again


def test_a_cluster_without_audit_is_told_of_no_webhook(shop):
    out = enroll(shop, "--feed", "pods").out
    assert "audit-webhook" not in out
    assert shop.ask("cluster", "show", "prod-eu")["feeds"] == ["pods"]


WRONG = {
    "a label without a value": (("--label", "prod"), "expected KEY=VALUE"),
    "an unknown feed": (("--feed", "events"), "is not one of"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused(shop, name):
    options, words = WRONG[name]
    result = enroll(shop, *options)
    assert (result.code, words in result.err) == (2, True)


def test_a_name_is_taken_once_and_free_again_after_retirement(shop):
    enroll(shop)
    other = ("cluster", "enroll", "prod-eu", "--id", "another-uid")
    refused = shop.run(*other)
    assert (refused.code, "is taken by" in refused.err) == (2, True)
    assert shop.run("cluster", "retire", "prod-eu", "--yes").code == 0
    assert shop.run(*other).code == 0
    rows = shop.ask("cluster", "list", "--all")["clusters"]
    assert sorted(row["status"].split()[0] for row in rows if row["name"] == "prod-eu") == ["enrolled", "retired"]
    assert shop.ask("cluster", "show", "prod-eu")["id"] == "another-uid"


def test_retired_twice_or_unknown_is_refused(shop):
    enroll(shop)
    assert shop.run("cluster", "retire", "prod-eu", "--yes").code == 0
    twice = shop.run("cluster", "retire", "prod-eu", "--yes")
    assert (twice.code, "already is retired" in twice.err) == (2, True)
    unknown = shop.run("cluster", "retire", "elsewhere", "--yes")
    assert (unknown.code, "there is no cluster 'elsewhere'" in unknown.err) == (2, True)


def test_nobody_is_asked_where_nobody_can_answer(shop):
    enroll(shop)
    result = shop.run("cluster", "retire", "prod-eu")
    assert (result.code, "give --yes" in result.err) == (2, True)


def test_a_file_that_nobody_took_away_does_not_bring_it_back(shop):
    file = shop.write("c.yaml", document("Cluster", "prod-eu", id=UID))
    assert shop.run("trust", "apply", file).code == 0
    shop.run("cluster", "retire", "prod-eu", "--yes")
    again = shop.run("trust", "apply", file)
    assert again.code == 0
    assert "is retired; to bring it back" in again.out + again.err
    assert shop.ask("cluster", "show", "prod-eu")["status"].startswith("retired")
    assert enroll(shop).code == 0
    assert shop.ask("cluster", "show", "prod-eu")["status"] == "enrolled"
