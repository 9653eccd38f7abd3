"""Where a document says that something is: the environment of its cluster."""

import pytest

from streams.events import FeedSeen
from streams.sinks.documents import documents
from streams.sinks.known import KnownNothing


@pytest.mark.parametrize(
    ("labels", "environment"),
    [
        ((("env", "prod"), ("environment", "other")), "prod"),
        ((("environment", "staging"),), "staging"),
        ((("region", "eu"),), None),
        ((), None),
    ],
)
def test_the_environment_of_a_cluster_is_a_field_of_its_own(labels, environment):
    """Beside the map of labels, whose members cannot be offered to choose from; missing where no label names it."""

    class Known(KnownNothing):
        def cluster(self, cluster: str) -> tuple[str, tuple[tuple[str, str], ...]]:
            return cluster, labels

    (made,) = documents(FeedSeen("f", 2, "c1", "pods", 1), Known())
    assert made.body.get("provenance.cluster.environment") == environment
