"""The section of the validating webhook."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from streams.settings.section import Address, Section

_DNS: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"
LEAST: Final = 0.5
"""Seconds between the budget and what the API server waits: the way there and back."""


class AdmissionSettings(Section):
    """The validating webhook of one cluster (`revet serve admission`)."""

    address: Address = Field(default="", examples=["0.0.0.0:9443"])
    """HOST:PORT to listen on with TLS; port 0 for any free one."""
    certificate_file: Path | None = Field(default=None, examples=["/run/secrets/admission/tls.crt"])
    """PEM certificate that is shown to the API server, chain behind it; read again when it changes."""
    key_file: Path | None = Field(default=None, examples=["/run/secrets/admission/tls.key"])
    """PEM private key of that certificate, without a pass phrase."""
    client_ca_file: Path | None = Field(default=None, examples=["/etc/revet/apiserver-ca.pem"])
    """PEM bundle of the CA of the API server's client certificate; none: whoever reaches the address may ask."""
    mode: Literal["observe", "warn", "enforce"] = Field(default="observe", examples=["warn"])
    """What is done about images: `observe` records, `warn` also warns who asked, `enforce` also denies. The weaker of
    it and the policy's mode acts."""
    unverifiable: Literal["admit", "deny"] = Field(default="admit", examples=["deny"])
    """What is done when it cannot be told: `admit` (recorded, warned), or `deny`, as far as the modes go."""
    ungoverned: Literal["admit", "deny"] = Field(default="admit", examples=["deny"])
    """What is done with an image that no policy matches: `admit` (recorded), or `deny`, as far as the mode goes."""
    refuse_unpinned: bool = Field(default=False, examples=["true"])
    """Deny images without a digest, as far as the mode goes. They are marked `unpinned` in any case."""
    unrecorded: Literal["admit", "deny"] = Field(default="admit", examples=["deny"])
    """When a decision cannot be written to the spool in time: `admit` answers as judged, `deny` refuses in mode
    `enforce`. The decision is held in memory and tried again in either case."""
    budget_seconds: float = Field(default=3.0, gt=0, le=29, examples=[3.0])
    """From a request to its answer, whatever registries do. Less than `admission.timeout_seconds`."""
    timeout_seconds: int = Field(default=5, ge=1, le=30, examples=[5])
    """How long the API server waits, in the configuration that is printed."""
    failure_policy: Literal["Ignore", "Fail"] = Field(default="Ignore", examples=["Fail"])
    """What the API server does without an answer, in the configuration that is printed."""
    at_once: int = Field(default=64, ge=1, le=4096, examples=[64])
    """Requests judged at a time."""
    queue: int = Field(default=512, ge=0, le=65536, examples=[512])
    """Requests that wait for their turn; one more is answered at once, as `unverifiable: budget`."""
    tag_seconds: float = Field(default=60.0, ge=0, le=86400, examples=[60.0])
    """How long it is believed what a tag means."""
    again_seconds: float = Field(default=10.0, ge=0, le=3600, examples=[10.0])
    """A registry is not asked again about an image it was asked about so lately. So long a fresh signature may wait."""
    namespace: str = Field(default="revet", pattern=_DNS, examples=["revet"])
    """Revet's own namespace; it is out of scope, as `kube-system` and mirror pods are."""
    in_scope: tuple[str, ...] = Field(default=(), examples=["kube-system,mirror-pods"])
    """Of those, what is judged all the same: `kube-system`, revet's own namespace, `mirror-pods`."""
    webhook: str = Field(default="images.admission.revet", pattern=_DNS, examples=["images.admission.revet"])
    """Name of the webhook, three parts at least; decisions carry it."""
    service: str = Field(default="", examples=["revet/admission", "revet/admission:9443"])
    """NAMESPACE/NAME[:PORT] of the Service in front, in the configuration that is printed; empty: see `url`."""
    url: str = Field(default="", examples=["https://revet.example.com:9443/admit"])
    """Where the API server reaches the webhook without a Service, in the configuration that is printed."""
    ca_file: Path | None = Field(default=None, examples=["/etc/revet/admission-ca.pem"])
    """PEM bundle the API server checks the certificate with (`caBundle`), in the configuration that is printed."""
    spool: Path | None = Field(default=None, examples=["/var/lib/revet/admission.sqlite"])
    """File in which decisions wait until the brokers, or the state file, have them; none: `revet/admission.sqlite` in
    the user's state folder. One per process, on a disk that survives it."""
    spool_mib: int = Field(default=256, ge=1, le=65536, examples=[256])
    """Size the spool may reach. A decision takes about 2 KiB: the default holds a good 100,000."""

    @field_validator("service")
    @classmethod
    def _service_is_named(cls, service: str) -> str:
        if service:
            service_parts(service)
        return service

    @field_validator("url")
    @classmethod
    def _url_is_https(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme != "https" or not parts.hostname or parts.username is not None or parts.query):
            raise ValueError("expected https://HOST[:PORT]/admit")
        return url

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> AdmissionSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        if self.budget_seconds + LEAST > self.timeout_seconds:
            raise ValueError(f"budget_seconds must be {LEAST} s less than timeout_seconds, or no answer comes in time")
        if self.service and self.url:
            raise ValueError("give service or url, not both")
        if self.webhook.count(".") < 2:
            raise ValueError("webhook: expected a name of three parts; example: images.admission.revet")
        return self


def service_parts(service: str) -> tuple[str, str, int]:
    """(namespace, name, port) of `revet/admission:9443`; port 443 where none is given.

    Raises:
        ValueError: it is none.
    """
    namespace, slash, rest = service.partition("/")
    name, colon, port = rest.partition(":")
    if not slash or not namespace or not name or "/" in rest or (colon and not (port.isascii() and port.isdigit())):
        raise ValueError("expected NAMESPACE/NAME or NAMESPACE/NAME:PORT")
    number = int(port) if colon else 443
    if not 0 < number <= 65535:
        raise ValueError("expected a port up to 65535")
    return namespace, name, number
