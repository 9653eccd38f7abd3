"""What stands around the processes, for `revet doctor`: files of the webhook, and the workspace of Slack.

Only what the settings name is looked at. Nothing is written; each token of Slack is asked about by one question that
tells nobody anything (`auth.test`; `apps.connections.open`, whose address is not gone to). No line holds a token or
anything of a key.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography import x509

from streams.alerttest import BUTTON_ADVICE
from streams.clock import wall_clock
from streams.collectors.certificates import Certificates
from streams.serving.checks import Check
from streams.serving.logs import Hiding, secrets_of
from streams.settings import AdmissionSettings, Settings
from streams.settings.admission import service_parts
from streams.tellers import access_of, channels_of, try_buttons
from verifier.errors import InputError
from verifier.times import DAY

MIB: Final = 1024 * 1024
RENEW: Final = 14 * DAY
"""A certificate that ends sooner should have been renewed: issuers that renew by themselves do so a third before its
end, and the usual life is 90 days."""
NEEDED: Final = ("chat:write", "channels:history")
"""Scopes of the bot without which nothing is told, or nothing is told exactly once (docs/slack.md)."""
PRIVATE: Final = "groups:history"
"""The same for private channels."""


# ------------------------------------------------------------------------------------------------------------ admission


def admission(settings: Settings) -> Iterator[Check]:
    """Where decisions wait, and what the API server is shown. Of settings without a webhook nothing.

    Raises:
        InputError: a file cannot be read, or certificate and key do not belong together.
    """
    section = settings.admission
    if not section.address:
        return
    yield _spool(section)
    if section.certificate_file is None or section.key_file is None:
        message = "no certificate is named, and an API server asks over TLS only"
        yield Check("admission", "fail", message, "admission.certificate_file and admission.key_file")
        return
    yield from _certificate(section, section.certificate_file, section.key_file)


def _spool(section: AdmissionSettings) -> Check:
    """As a process that is started now would find it."""
    spool = section.spool
    if spool is None:
        return Check(
            "admission", "fail", "no place where decisions wait", "admission.spool, on a disk that survives it"
        )
    if not spool.parent.is_dir():
        mend = f"mkdir -p {spool.parent}, owned by who runs revet"
        return Check("admission", "fail", f"no folder {spool.parent} for the spool", mend)
    for place in (spool, spool.parent):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            return Check("admission", "fail", f"{place} cannot be read and written", f"chown or chmod {place}")
    disk = os.statvfs(spool.parent)
    free = disk.f_bavail * disk.f_frsize // MIB
    used = spool.stat().st_size // MIB if spool.exists() else 0
    if free + used < section.spool_mib:
        message = f"{free:,} MiB free at {spool.parent}, and the spool may reach {section.spool_mib:,}"
        return Check("admission", "warn", message, "free space, or a smaller admission.spool_mib")
    return Check("admission", "ok", f"spool {spool}, {free:,} MiB free")


def _certificate(section: AdmissionSettings, certificate: Path, key: Path) -> Iterator[Check]:
    expires = Certificates(certificate, key, section.client_ca_file).expires
    left = expires - wall_clock()
    days = f"{abs(left) // DAY} days"
    if left <= 0:
        mend = "issue it anew; until then the API server goes by failurePolicy"
        yield Check("admission", "fail", f"{certificate} ended {days} ago", mend)
    elif left < RENEW:
        yield Check("admission", "warn", f"{certificate} ends in {days}", "issue it anew; it is read again by itself")
    else:
        yield Check("admission", "ok", f"{certificate}, ends in {days}")
    wanted = _called(section)
    names = _names(certificate)
    if wanted and wanted not in names:
        message = f"{certificate} is for {', '.join(names[:6]) or 'no name'}, and the API server calls {wanted}"
        yield Check("admission", "fail", message, f"issue it for {wanted}")


def _called(section: AdmissionSettings) -> str:
    """The name under which an API server calls the Service; empty where it calls another address."""
    if not section.service:
        return ""
    namespace, name, _ = service_parts(section.service)
    return f"{name}.{namespace}.svc"


def _names(certificate: Path) -> list[str]:
    leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return found.get_values_for_type(x509.DNSName)


# --------------------------------------------------------------------------------------------------------------- Slack


def slack(settings: Settings) -> Iterator[Check]:
    """Whether the token counts, and what it may. Of settings without a token nothing.

    Raises:
        InputError: the token cannot be read, a channel that is needed is not named, or the client is not installed.
    """
    channels = channels_of(settings)
    if channels is None:
        return
    found = asyncio.run(access_of(settings, channels, wall_clock))
    if found.error:
        refused = "slack.token_file: the bot token (xoxb-...) of an app that is installed"
        away = "is slack.api right, and may this machine reach it (slack.proxy)?"
        yield Check("slack", "fail", f"auth.test: {found.error}", refused if found.error in _REFUSED else away)
        return
    yield Check("slack", "ok", f"{found.bot} in {found.team}; channels {len(settings.slack.channels)}")
    yield _scopes(found.scopes)
    yield from _buttons(settings)


def _buttons(settings: Settings) -> Iterator[Check]:
    """Whether an app-level token would let what is pressed be heard. Raises InputError: it cannot be read."""
    for step, error in asyncio.run(try_buttons(settings)):
        if error:
            mend = BUTTON_ADVICE.get(error, "is Socket Mode switched on in the app? see docs/slack.md, Buttons")
            yield Check("slack", "fail", f"buttons: apps.connections.open: {error}", mend)
        elif step == "connect":
            yield Check("slack", "ok", "buttons: the app-level token may open connections")


def _scopes(scopes: frozenset[str] | None) -> Check:
    if scopes is None:
        return Check("slack", "warn", "it does not say what the token may", "see the app's page, OAuth & Permissions")
    missing = [scope for scope in NEEDED if scope not in scopes]
    if missing:
        mend = "add them on the app's page, OAuth & Permissions, and install it again"
        return Check("slack", "fail", f"the token lacks {', '.join(missing)}", mend)
    if PRIVATE not in scopes:
        mend = "fine without private channels; else add it and install the app again"
        return Check("slack", "warn", f"the token lacks {PRIVATE}", mend)
    return Check("slack", "ok", f"may {', '.join((*NEEDED, PRIVATE))}")


_REFUSED: Final = frozenset({"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive"})

LOOKS: Final = (("admission", admission), ("slack", slack))
"""What is looked at in either mode."""


def look(settings: Settings) -> Iterator[Check]:
    """Every check. Raises nothing."""
    for name, function in LOOKS:
        found: list[Check] = []
        try:
            found.extend(function(settings))
        except (InputError, OSError, ValueError) as error:
            found.append(Check(name, "fail", str(error) or type(error).__name__, f"see the line; settings {name}.*"))
        hiding = Hiding(_secrets(settings))
        for line in found:
            yield Check(line.name, line.status, hiding(line.message), hiding(line.mend))


def _secrets(settings: Settings) -> tuple[str, ...]:
    """What may be in no line; a file that cannot be read is a line itself, and has shown nothing."""
    try:
        return tuple(secrets_of(settings))
    except InputError:
        return ()
