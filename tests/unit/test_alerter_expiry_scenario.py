"""What ends soon is told before it ends, from trust alone: no cluster needs to say anything."""

from __future__ import annotations

import pytest

from alerting.models import Finding, Incident
from streams.alerter import Alerter
from tests.helpers.world import START, World
from verifier.times import DAY
from verifier.trust.records import KeyPut


@pytest.mark.scenario("expires-soon")
def test_a_key_that_ends_in_five_days_is_told_and_closed_when_its_window_moves() -> None:
    """High within seven days; moving the end closes it; a restart repeats nothing."""
    world = World(keys=())
    signer = world.signer("release")
    key = KeyPut(
        author="t", at=START, name="release", key_id=signer.key_id, pem=signer.pem, valid_until=START + 5 * DAY
    )
    world.record(key)
    alerter = Alerter()
    said = [*alerter.trust_changed(world.state.trust, START), *alerter.tick(START + DAY)]
    (finding,) = [f for f in said if isinstance(f, Finding)]
    assert (finding.code, finding.severity, finding.state) == ("expires-soon", "high", "open")
    assert [i.kind for i in said if isinstance(i, Incident)][-1] == "expires-soon"
    stored = [(kind, name, value) for kind, name, value in alerter.take_dirty() if value is not None]
    restored = Alerter()
    restored.restore(stored, world.state.trust)
    assert [o for o in restored.trust_changed(world.state.trust, START + DAY) if isinstance(o, Finding)] == []
    world.record(key.model_copy(update={"valid_until": START + 400 * DAY}))
    (closed,) = [f for f in restored.trust_changed(world.state.trust, START + DAY) if isinstance(f, Finding)]
    assert (closed.state, closed.close_reason) == ("closed", "valid-again")
