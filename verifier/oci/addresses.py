"""Which hosts may be asked at all, and at which addresses: the name of an image must not send revet inside.

    reach = Reach(listed=("registry.corp.example", "10.0.0.7:5000", "*.blobs.example"))
    reach.refuses_host("registry.corp.example", 443)          "" (may be asked)
    reach.refuses_address("evil.example", 443, "10.0.0.7")    why not

Whoever may create a pod chooses the host that is asked about its image, and whoever answers there chooses redirects,
token services and name servers. So every request is looked at twice: by its host before it is made, and by the address
that is connected to. Names that are not listed are asked at public addresses only; listed ones also at private ones.
Link-local addresses and the metadata services of clouds are asked by nobody, listed or not.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NEVER: Final = tuple(
    map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "192.0.0.192/32"))
)
"""Link-local networks and the metadata services of clouds that lie elsewhere: they hand out the credentials of the
machine that revet runs on."""

_INSIDE: Final = tuple(map(ipaddress.ip_network, ("64:ff9b:1::/48", "fec0::/10", "5f00::/16", "3fff::/20")))
"""Not of the public internet, beside what `ipaddress` knows: local translation, site-local, segments, examples."""
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE: Final = ipaddress.ip_network("::/96")

FORBIDDEN: Final = "a link-local or metadata address, not asked"
PRIVATE: Final = "not a public address, and the host is not listed (evidence.hosts), not asked"
NOT_LISTED: Final = "not among the hosts that may be asked (evidence.hosts)"
ODD: Final = "an address in an unusual spelling, not asked"

_NUMERIC: Final = re.compile(r"[0-9.]+|.*:.*")
"""What an HTTP client takes for an address, and hands to the system without a look-up."""
_DOCKER_API: Final = {"registry-1.docker.io": "docker.io", "index.docker.io": "docker.io"}
_LISTED: Final = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?|\[[0-9a-f:]+\](:[0-9]{1,5})?")


class Reach(msgspec.Struct, frozen=True):
    """Hosts that may be asked."""

    listed: tuple[str, ...] = ()
    """`host`, `host:port`, `*.domain` (every name below it); asked at private addresses too."""
    others: bool = True
    """Hosts that are not listed may be asked too, at public addresses."""

    def with_hosts(self, hosts: tuple[str, ...]) -> Reach:
        """The same, with more hosts listed."""
        return Reach(tuple(dict.fromkeys((*self.listed, *hosts))), self.others)

    def lists(self, host: str, port: int) -> bool:
        """Whether the host is listed; a row without a port means every port."""
        return any(_fits(row, _bare(host), port) for row in self.listed)

    def refuses_host(self, host: str, port: int) -> str:
        """Why a host is not asked, before its name is looked up; empty: nothing speaks against it."""
        bare = _bare(host)
        if _NUMERIC.fullmatch(bare):
            return self.refuses_address(host, port, bare)
        return "" if self.others or self.lists(host, port) else NOT_LISTED

    def refuses_address(self, host: str, port: int, address: str) -> str:
        """Why `host` is not asked at an address it resolves to; empty: nothing speaks against it."""
        found = _address(address)
        if found is None:
            return ODD
        listed = self.lists(host, port)
        faces = tuple(_faces(found))
        if any(_among(face, NEVER) for face in faces):
            return FORBIDDEN
        if not listed and not all(map(_is_public, faces)):
            return PRIVATE
        return "" if listed or self.others else NOT_LISTED


def check_listed(row: str) -> str:
    """A row of the list, in lower case.

    Raises:
        ValueError: it is none.
    """
    lowered = row.strip().lower()
    if not _LISTED.fullmatch(lowered):
        raise ValueError("expected host, host:port, [IPv6]:port or *.domain")
    return lowered


def _fits(row: str, host: str, port: int) -> bool:
    name, colon, wanted = row.rpartition(":")
    if not colon or not wanted.isdigit() or (":" in name and not name.startswith("[")):
        name, wanted = row, ""
    if wanted and int(wanted) != port:
        return False
    if name.startswith("*."):
        return host.endswith(name[1:]) and len(host) > len(name) - 1
    return _bare(name) == host


def _bare(host: str) -> str:
    """Lower case, without brackets, zone and final dot; Docker Hub's API under the name of references."""
    lowered = host.lower().strip("[]").partition("%")[0]
    if not _NUMERIC.fullmatch(lowered):
        lowered = lowered.removesuffix(".")
    return _DOCKER_API.get(lowered, lowered)


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    """The address, or None for what only a lenient reader takes for one (`127.1`, `2130706433`, `0177.0.0.1`)."""
    try:
        return ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _faces(address: Address) -> Iterator[Address]:
    """The address, and every IPv4 address that is reached through it: mapped, compatible, 6to4, Teredo, NAT64."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        yield address.ipv4_mapped  # the same address, not another one
        return
    yield address
    if not isinstance(address, ipaddress.IPv6Address):
        return
    if address.sixtofour:
        yield address.sixtofour
    yield from address.teredo or ()
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _among(address: Address, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not _among(address, _INSIDE)
