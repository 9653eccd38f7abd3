"""What is made of what a cluster can."""

from __future__ import annotations

import pytest

from streams.settings import ElasticsearchSettings
from streams.sinks.probe import Missing, Probe, shape_of
from verifier.errors import InputError

FULL = Probe("9.5.3", "full")
BARE = Probe("9.5.3", "reduced", (Missing("wildcard", "x"), Missing("failure-store", "y")))
DENIED = Probe("9.5.3", "reduced", (), ("wildcard", "failure-store"))


def settings(**more) -> ElasticsearchSettings:
    return ElasticsearchSettings(url="http://127.0.0.1:9", **more)


def test_auto_takes_what_there_is():
    """Types and failure store."""
    assert (shape_of(FULL, settings()).profile, shape_of(FULL, settings()).failure_store) == ("full", True)
    assert (shape_of(BARE, settings()).profile, shape_of(BARE, settings()).failure_store) == ("reduced", False)


def test_what_an_account_may_not_ask_about_is_not_assumed():
    """Neither there nor missing."""
    assert not DENIED.has("failure-store")
    assert shape_of(DENIED, settings()).failure_store is False


def test_a_profile_that_is_asked_for_counts():
    """The smaller one always, the larger one where it can be had; else a named error."""
    assert shape_of(FULL, settings(profile="reduced")).profile == "reduced"
    assert shape_of(FULL, settings(profile="full")).profile == "full"
    with pytest.raises(
        InputError, match=r"elasticsearch\.profile: full, but this cluster lacks wildcard; example: auto"
    ):
        shape_of(BARE, settings(profile="full"))


def test_settings_reach_the_shape():
    """Replicas and retention."""
    shape = shape_of(FULL, settings(replicas=2, retention_days=30, repeated_days=7))
    assert (shape.replicas, shape.retention_days, shape.repeated_days) == (2, 30, 7)
