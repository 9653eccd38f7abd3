"""The section of the live page of the single-machine mode."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from pydantic import Field, field_validator, model_validator

from streams.settings.section import Address, Section, host_and_port

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?")


class UiSettings(Section):
    """The live page (`revet run`): it reads the state file, and changes nothing."""

    address: Address = Field(default="", examples=["127.0.0.1:8090"])
    """HOST:PORT to show the record at; empty: nowhere. It asks nobody who they are: anything but a loopback address
    needs `ui.hosts`."""
    hosts: tuple[str, ...] = Field(default=(), examples=["revet.example.com"])
    """Names, HOST or HOST:PORT, under which the page may be asked for beside those of this machine: behind a proxy that
    asks people who they are. Requests for any other name are refused, so that no web page can have a browser read this
    one (DNS rebinding)."""
    names: bool = Field(default=False, examples=["true"])
    """Name people, and show what they wrote. For the security role alone; else people are numbers."""
    days: int = Field(default=7, ge=1, le=400, examples=[7])
    """Days that chapters about what happened look back."""

    @field_validator("hosts")
    @classmethod
    def _hosts_are_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [host for host in hosts if _HOST.fullmatch(host) is None]
        if wrong:
            raise ValueError(f"{wrong[0][:80]!r} is no HOST or HOST:PORT; example: revet.example.com")
        return tuple(host.lower() for host in hosts)

    @model_validator(mode="after")
    def _loopback_or_told(self) -> UiSettings:
        if self.address and not self.hosts and not is_loopback(host_and_port(self.address)[0]):
            raise ValueError(
                f"{self.address} can be reached from elsewhere, and the page asks nobody who they are: listen on"
                " 127.0.0.1 (from elsewhere: ssh -L 8090:127.0.0.1:8090), or put something in front that asks, and name"
                " what the page is then called with --ui-host NAME (ui.hosts)"
            )
        return self


def is_loopback(host: str) -> bool:
    """Is this an address, or the name, of this machine alone?"""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
