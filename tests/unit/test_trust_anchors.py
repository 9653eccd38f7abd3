"""Roots in force: names, windows, inline roots, revocation lists; and that order and detours leave no trace."""

import itertools

import pytest

from tests.helpers.pki import DAY, T0, Ca, pem
from tests.helpers.scene import FROM, SIGNED, UNTIL, Instance, crl, own_root, root, serial_of, trust_of, unroot
from verifier.errors import TrustError
from verifier.evidence.crl import read_crl
from verifier.evidence.material import RootFormat
from verifier.evidence.x509 import ca_keys, load_certificate
from verifier.trust.anchors import Anchors, inline_name, list_name, root_name_problem

ALPHA, BETA = Instance("alpha"), Instance("beta")
CORP = Ca.root("corp")


def anchors(*names: str) -> Anchors:
    made = Anchors.empty()
    for number, name in enumerate(names):
        made = made.put(name, "sigstore-trusted-root", {"a": ALPHA, "b": BETA}[name[0]].document(), number, 0)
    return made


def test_an_authority_in_two_roots_is_in_force_while_one_of_them_is():
    made = anchors("a1", "a2")
    (name,) = made.resolve("a1", "signing")
    assert [a.root for a in made.authority_windows(name, None)] == ["a1", "a2"]
    assert [a.root for a in made.authority_windows(name, frozenset({"a2"}))] == ["a2"]
    assert [a.root for a in made.without("a1").authority_windows(name, None)] == ["a2"]
    assert made.without("a1").without("a2").authority_windows(name, None) == ()


def test_what_was_once_known_stays_known_as_material():
    made = anchors("a", "b")
    gone = made.without("a").without("b")
    assert gone.material is made.material
    assert (gone.authorities, gone.logs, gone.roots) == ({}, {}, {})
    assert gone.log_windows("transparency", ALPHA.rekor.id, None) == ()


@pytest.mark.parametrize("order", list(itertools.permutations(["a1", "a2", "b"])))
def test_order_leaves_no_trace_in_what_is_in_force(order):
    made = anchors(*order)
    reference = anchors("a1", "a2", "b")
    assert made.material == reference.material
    assert made.authorities.keys() == reference.authorities.keys()
    for name, found in made.authorities.items():
        assert {(a.root, a.authority) for a in found} == {(a.root, a.authority) for a in reference.authorities[name]}


def test_a_root_removed_and_put_back_is_the_same_root():
    before = trust_of(ALPHA.root(), BETA.root())
    after = trust_of(unroot("alpha"), ALPHA.root(), start=before)
    assert after.anchors.material == before.anchors.material
    assert after.keyset_id == before.keyset_id
    assert {n: set(a) for n, a in after.anchors.authorities.items()} == {
        n: set(a) for n, a in before.anchors.authorities.items()
    }


def test_a_new_window_is_no_new_candidate():
    before = trust_of(ALPHA.root())
    after = trust_of(ALPHA.root(ca=(FROM, SIGNED)), start=before)
    assert after.keyset_id == before.keyset_id
    (anchor,) = after.anchors.authorities[after.anchors.resolve("alpha", "signing")[0]]
    assert (anchor.authority.valid_from, anchor.authority.valid_until) == (FROM, SIGNED)
    assert anchor.closed


@pytest.mark.parametrize("use", ["signing", "timestamping", "notation", "openpgp", "tuf"])
def test_a_name_stands_for_authorities_of_one_use(use):
    found = anchors("a").resolve("a", use)
    assert len(found) == (1 if use in {"signing", "timestamping"} else 0)
    assert anchors("a").resolve("unknown", use) == ()


# --------------------------------------------------------------------------------------------------------------- inline


def test_an_inline_root_goes_by_its_use_and_its_whole_text():
    text = pem(CORP.certificate)
    assert inline_name("signing", text) == inline_name("signing", f"\n{text} ")
    assert inline_name("signing", text) != inline_name("tuf", text)
    assert inline_name("signing", text) != inline_name("signing", text + pem(Ca.root("b").certificate))
    assert len(inline_name("signing", text).rpartition(":")[2]) == 64, "a cut hash could be met on purpose"


def test_inline_roots_are_exactly_those_given():
    one, two = pem(CORP.certificate), pem(Ca.root("two").certificate)
    made = Anchors.empty().with_inline([("signing", one), ("signing", two)])
    assert len(made.resolve(one, "signing")) == 1
    assert made.resolve(one, "signing") != made.resolve(two, "signing")
    assert made.resolve(one, "tuf") == ()
    fewer = made.with_inline([("signing", two)])
    assert fewer.resolve(one, "signing") == ()
    assert made.with_inline([("signing", two), ("signing", one)]) is made
    with pytest.raises(TrustError):
        made.with_inline([("signing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")])


# ---------------------------------------------------------------------------------------------------------------- names

NAMES: list[tuple[str, RootFormat, bool]] = [
    ("corp-ca", "certificates", True),
    ("sigstore", "sigstore-trusted-root", True),
    ("ca:corp", "notation-ca", True),
    ("signingAuthority:aws", "notation-signing-authority", True),
    ("tsa:corp", "notation-tsa", True),
    ("ca:corp", "notation-signing-authority", False),
    ("signingAuthority:corp", "notation-ca", False),
    ("tsa:corp", "notation-ca", False),
    ("ca:corp", "certificates", False),
    ("corp", "notation-ca", False),
    (":corp", "certificates", False),
    (":corp", "notation-ca", False),
    ("ca:", "notation-ca", False),
    ("ca:a/b", "notation-ca", False),
    ("ca:a:b", "notation-ca", False),
    ("inline:signing:00", "certificates", False),
    ("", "certificates", False),
    ("a b", "certificates", False),
    ("ca:" + "x" * 201, "notation-ca", False),
]


@pytest.mark.parametrize(("name", "format_", "fits"), NAMES)
def test_names(name, format_, fits):
    assert (root_name_problem(name, format_) == "") is fits


# ---------------------------------------------------------------------------------------------------- revocation lists


def a_list(at: int, only: str = ""):
    return read_crl(crl(CORP, (7, "keyCompromise", None), at=at, only=only), load_certificate(CORP.certificate))


def test_lists_replace_what_they_cover():
    old, users, cas, new = a_list(T0), a_list(T0 + DAY, "users"), a_list(T0 + DAY, "authorities"), a_list(T0 + 2 * DAY)
    made = Anchors.empty().with_list(old).with_list(users).with_list(cas)
    assert set(made.lists) == {CORP.key_id, f"{CORP.key_id}:users", f"{CORP.key_id}:authorities"}
    assert list_name(users) == f"{CORP.key_id}:users"
    assert set(made.with_list(new).lists) == {CORP.key_id}
    later = a_list(T0 + 3 * DAY, "users")
    assert set(made.with_list(later).with_list(new).lists) == {CORP.key_id, f"{CORP.key_id}:users"}


@pytest.mark.parametrize(
    ("have", "scope", "at", "stale"),
    [
        ("", "", 0, True),
        ("", "", 1, False),
        ("", "users", 0, True),
        ("users", "", 0, False),
        ("users", "authorities", 0, False),
        ("users", "users", 0, True),
    ],
)
def test_a_list_that_says_nothing_new(have, scope, at, stale):
    made = Anchors.empty().with_list(a_list(T0, have))
    assert (made.newer_list(a_list(T0 + at * DAY, scope)) is not None) is stale


def test_ca_keys_and_root_records():
    trust = trust_of(own_root(ALPHA.ca), root("ca:corp", pem(CORP.certificate), "notation-ca"))
    (name,) = trust.anchors.resolve("corp", "signing")
    assert ca_keys(trust.anchors.material.authorities[name]) == (ALPHA.ca.key_id, ALPHA.anchor.key_id)
    assert [r.name for r in trust.anchors.walk()] == ["ca:corp", "corp"]
    assert serial_of(CORP.certificate) > 0
    assert UNTIL > FROM
