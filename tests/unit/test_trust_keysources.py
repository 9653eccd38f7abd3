"""What a key source has, against what it put into the ring: added, rotated, removed, and what is left alone."""

import pytest

from tests.helpers.trustadmins import pem
from verifier.testing import Signer
from verifier.trust.changes import By, add_key
from verifier.trust.keysources import follow, ring_name
from verifier.trust.state import TrustState

NOW = 1_800_000_000_000_000
ONE, TWO, THREE = (Signer(name) for name in ("one", "two", "three"))


def by(step: int = 0) -> By:
    return By("revet", NOW + step, "keys:corp")


def after(trust: TrustState, found: dict[str, str], step: int = 0) -> tuple[TrustState, list[str], tuple[str, ...]]:
    """The ring after the records are applied as a log does, their kinds, and what was not taken."""
    made = follow(trust, by(step), "corp", found)
    for record in made.records:
        trust, applied = trust.apply(record, trust.epoch + 1)
        assert applied.applied, applied.message
    return trust, [record.kind for record in made.records], made.problems


def test_what_is_new_is_added_what_changed_is_rotated_what_is_gone_is_removed():
    trust, kinds, _ = after(TrustState.empty(), {"release.pub": ONE.pem, "ci.pem": TWO.pem})
    assert kinds == ["key-put", "key-put"]
    assert trust.names == {"corp.release": ONE.key_id, "corp.ci": TWO.key_id}
    assert after(trust, {"release.pub": ONE.pem, "ci.pem": TWO.pem})[1] == [], "nothing changed"
    trust, kinds, _ = after(trust, {"release.pub": THREE.pem}, 1)
    assert kinds == ["key-rotated", "key-removed"]
    assert trust.names["corp.release"] == THREE.key_id
    assert trust.keys[ONE.key_id].superseded_at is not None, "what it signed stays good"
    assert trust.keys[TWO.key_id].removed_at is not None
    assert after(trust, {"release.pub": THREE.pem}, 2)[1] == []


def test_keys_of_others_are_left_alone():
    trust, _ = TrustState.empty().apply(add_key(TrustState.empty(), by(), "corp.release", ONE.pem), 1)
    trust, kinds, problems = after(trust, {"release.pub": TWO.pem, "ci.pub": THREE.pem})
    assert kinds == ["key-put"]
    assert "corp.release is taken" in problems[0]
    trust, kinds, _ = after(trust, {}, 1)
    assert kinds == ["key-removed"]
    assert trust.names["corp.release"] == ONE.key_id
    other = follow(trust, by(), "another", {})
    assert (other.records, other.problems) == ((), ())


@pytest.mark.parametrize(
    "text", ["", "planted", "-----BEGIN PRIVATE KEY-----\nplanted\n-----END PRIVATE KEY-----", "\x00"]
)
def test_what_is_no_public_key_is_told_and_takes_nothing_away(text):
    trust, _, _ = after(TrustState.empty(), {"release.pub": ONE.pem, "ci.pub": TWO.pem})
    trust, kinds, problems = after(trust, {"release.pub": text, "ci.pub": THREE.pem}, 1)
    assert kinds == ["key-rotated"]
    assert trust.names["corp.release"] == ONE.key_id
    assert problems[0].startswith("corp.release: ")
    assert "planted" not in problems[0]


def test_two_keys_that_would_have_one_name_are_told():
    trust, kinds, problems = after(TrustState.empty(), {"release.pem": ONE.pem, "release.pub": TWO.pem})
    assert (kinds, trust.names["corp.release"]) == (["key-put"], ONE.key_id)
    assert problems == ("release.pub: another key of this source has the name corp.release as well",)


def test_one_key_under_two_names_is_told():
    _, kinds, problems = after(TrustState.empty(), {"a.pub": ONE.pem, "b.pub": ONE.pem})
    assert kinds == ["key-put"]
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("name", "ring"),
    [
        ("cosign.pub", "corp.cosign"),
        ("Release Key.PEM", "corp.release-key"),
        ("a_b-c", "corp.a_b-c"),
        ("..x.pub", "corp.x"),
    ],
)
def test_names_in_the_ring(name, ring):
    assert ring_name("corp", name) == ring


def test_a_name_of_which_nothing_is_left_is_told():
    _, kinds, problems = after(TrustState.empty(), {"…": pem(1)})
    assert (kinds, len(problems)) == ([], 1)
