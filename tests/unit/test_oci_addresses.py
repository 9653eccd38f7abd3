"""Which hosts a registry client may ask: whoever names an image, redirects or names servers leads nobody inside."""

import pytest

from verifier.oci.addresses import FORBIDDEN, NOT_LISTED, ODD, PRIVATE, Reach, check_listed

ANYBODY = Reach()
OWN = Reach(("registry.corp.example", "10.0.0.7:5000", "*.blobs.example", "[fd12::7]:5000", "docker.io"))
ONLY = Reach(OWN.listed, others=False)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("93.184.216.34", ""),
        ("2606:2800:220:1:248:1893:25c8:1946", ""),
        ("::ffff:93.184.216.34", ""),
        ("64:ff9b::5db8:d822", ""),  # a public address behind a translator
        ("127.0.0.1", PRIVATE),
        ("127.9.9.9", PRIVATE),
        ("0.0.0.0", PRIVATE),
        ("10.1.2.3", PRIVATE),
        ("172.16.0.1", PRIVATE),
        ("192.168.0.1", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("198.18.0.1", PRIVATE),
        ("224.0.0.1", PRIVATE),
        ("255.255.255.255", PRIVATE),
        ("::1", PRIVATE),
        ("::", PRIVATE),
        ("fd00::1", PRIVATE),
        ("fec0::1", PRIVATE),
        ("ff02::1", PRIVATE),
        ("2001:db8::1", PRIVATE),
        ("64:ff9b:1::a00:1", PRIVATE),
        ("::ffff:127.0.0.1", PRIVATE),
        ("::ffff:10.0.0.1", PRIVATE),
        ("::7f00:1", PRIVATE),  # IPv4-compatible
        ("2002:7f00:1::", PRIVATE),  # 6to4
        ("2002:a00:1::", PRIVATE),
        ("64:ff9b::7f00:1", PRIVATE),  # NAT64
        ("2001:0:7f00:1::", PRIVATE),  # Teredo
        ("169.254.169.254", FORBIDDEN),
        ("169.254.170.2", FORBIDDEN),
        ("::ffff:169.254.169.254", FORBIDDEN),
        ("::ffff:a9fe:a9fe", FORBIDDEN),
        ("::a9fe:a9fe", FORBIDDEN),
        ("2002:a9fe:a9fe::", FORBIDDEN),
        ("64:ff9b::a9fe:a9fe", FORBIDDEN),
        ("fe80::1", FORBIDDEN),
        ("fe80::1%eth0", FORBIDDEN),
        ("fd00:ec2::254", FORBIDDEN),
        ("100.100.100.200", FORBIDDEN),
        ("192.0.0.192", FORBIDDEN),
        ("2852039166", ODD),
        ("127.1", ODD),
        ("0177.0.0.1", ODD),
        ("169.254.169.254.", ODD),
        ("", ODD),
    ],
)
def test_a_name_that_is_not_listed_is_asked_at_public_addresses_only(address, why):
    assert ANYBODY.refuses_address("evil.example", 443, address) == why


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "2852039166", "127.1", "[::ffff:7f00:1]", "10.0.0.7"])
def test_an_address_in_place_of_a_name_is_looked_at_before_anything_is_sent(host):
    assert ANYBODY.refuses_host(host, 80)


@pytest.mark.parametrize(
    ("host", "port", "address", "why"),
    [
        ("registry.corp.example", 443, "10.0.0.9", ""),
        ("REGISTRY.corp.example.", 8443, "127.0.0.1", ""),
        ("registry.corp.example", 443, "169.254.169.254", FORBIDDEN),
        ("registry.corp.example.evil.example", 443, "10.0.0.9", PRIVATE),
        ("evil-registry.corp.example", 443, "10.0.0.9", PRIVATE),
        ("10.0.0.7", 5000, "10.0.0.7", ""),
        ("10.0.0.7", 22, "10.0.0.7", PRIVATE),
        ("a.blobs.example", 443, "10.0.0.9", ""),
        ("a.b.blobs.example", 443, "10.0.0.9", ""),
        ("blobs.example", 443, "10.0.0.9", PRIVATE),
        ("evilblobs.example", 443, "10.0.0.9", PRIVATE),
        ("[fd12::7]", 5000, "fd12::7", ""),
        ("[fd12::8]", 5000, "fd12::8", PRIVATE),
    ],
)
def test_a_listed_host_is_asked_at_private_addresses_too_but_for_metadata(host, port, address, why):
    assert OWN.refuses_address(host, port, address) == why


def test_only_listed_hosts_where_others_are_not_wanted():
    assert ONLY.refuses_host("quay.example", 443) == NOT_LISTED
    assert ONLY.refuses_host("93.184.216.34", 443) == NOT_LISTED
    assert ONLY.refuses_address("quay.example", 443, "93.184.216.34") == NOT_LISTED
    assert ONLY.refuses_host("registry-1.docker.io", 443) == ""
    assert ONLY.refuses_host("auth.docker.io", 443) == NOT_LISTED
    assert ONLY.refuses_host("registry.corp.example", 443) == ""


@pytest.mark.parametrize(
    "row", ["", "https://a.example", "a.example/team", "a b", "*", "a.*.example", "u@a.example", "a:b"]
)
def test_a_row_that_is_no_host_is_refused(row):
    with pytest.raises(ValueError, match="expected host"):
        check_listed(row)


def test_a_row_is_kept_in_lower_case():
    assert check_listed(" Registry.Example:5000 ") == "registry.example:5000"
