"""How people are told: Slack, what stands around a message, and where it goes when Slack does not take it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from alerting.models import Severity
from alerting.quiet import Quiet
from streams.settings.section import Address as HostPort
from streams.settings.section import Section, not_both, not_empty, secret_of

Secret = Annotated[SecretStr | None, AfterValidator(not_empty)]

_CHANNEL: Final = re.compile(r"[CGD][A-Z0-9]{7,20}")
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@/-]{0,70}[A-Za-z0-9])?")
_USER: Final = re.compile(r"[UW][A-Z0-9]{7,20}")
_GROUP: Final = re.compile(r"S[A-Z0-9]{7,20}")
_MENTION: Final = re.compile(r"[SUW][A-Z0-9]{7,20}|here|channel")
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def https(url: str) -> str:
    """An address to send to or to link to: `https`, or `http` on loopback; no name or password in it.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError("expected https://HOST/…")
    if not parts.hostname or "@" in parts.netloc or any(sign in url for sign in "<>|\"' \t\n"):
        raise ValueError("expected https://HOST/… without a name, a password or quotes")
    return url


def https_or_nothing(url: str) -> str:
    """`https`, or empty. Raises ValueError as it does."""
    return https(url) if url else url


def secret_address(value: SecretStr | None) -> SecretStr | None:
    """`https` of an address that is itself a secret. Raises ValueError as it does."""
    if value is not None:
        https(value.get_secret_value())
    return value


Address = Annotated[str, AfterValidator(https_or_nothing)]


class SlackSettings(Section):
    """Telling people in Slack. Without a token messages go to the terminal, or to standard output."""

    token: Secret = Field(default=None, examples=["(xoxb-…)"])
    """Bot token. Better in a file: `slack.token_file`."""
    token_file: Path | None = Field(default=None, examples=["/run/secrets/slack-token"])
    """File that holds the bot token; read at start."""
    app_token: Secret = Field(default=None, examples=["(xapp-…)"])
    """App-level token with the scope `connections:write`: messages then have buttons, and what is pressed is heard over
    a connection that revet opens (Socket Mode). Better in a file: `slack.app_token_file`."""
    app_token_file: Path | None = Field(default=None, examples=["/run/secrets/slack-app-token"])
    """File that holds the app-level token; read at start."""
    signing_secret: Secret = Field(default=None, examples=["(32 hex digits)"])
    """Signing secret of the app: in the place of an app-level token, where Slack can reach `slack.listen`."""
    signing_secret_file: Path | None = Field(default=None, examples=["/run/secrets/slack-signing-secret"])
    """File that holds the signing secret; read at start."""
    listen: HostPort = Field(default="", examples=["0.0.0.0:9883"])
    """HOST:PORT for requests that Slack signs (interactivity request URL: `https://…/slack`); TLS ends in front."""
    people: dict[str, str] = Field(default={}, examples=["U0123ABCD=ann,U0456EFGH=ben"])
    """Who may press buttons: Slack user ID -> name for the record. Nobody else may; needed where there are buttons."""
    channels: dict[str, str] = Field(default={}, examples=["security=C0123ABCD,team/payments=C0456EFGH"])
    """Name -> channel ID (not its name): `security` (or `owners.security`), which must be there, `team/NAME` for a
    team, `canary`, and any other name for namespaces to choose by a label of `owners.channel_keys`."""
    mentions: tuple[str, ...] = Field(default=(), examples=["S0123ABCD"])
    """Who is called when something critical opens, gets worse or comes back: IDs of user groups or people, `here`."""
    groups: dict[str, str] = Field(default={}, examples=["team/payments=S0456EFGH"])
    """Name of a channel -> ID of the user group of whoever owns what is told there, called in the place of
    `slack.mentions`."""
    api: Address = Field(default="https://slack.com/api/", examples=["https://slack.com/api/"])
    """Where the Web API is."""
    proxy: str = Field(default="", examples=["http://proxy.example:3128"])
    """HTTP proxy; empty: that of HTTPS_PROXY. NO_PROXY is not looked at."""

    @field_validator("channels")
    @classmethod
    def _channels_are_ids(cls, channels: dict[str, str]) -> dict[str, str]:
        for name, channel in channels.items():
            if not _NAME.fullmatch(name):
                raise ValueError("expected names such as security, team/payments, shop-alerts")
            if not _CHANNEL.fullmatch(channel):
                raise ValueError(
                    f"{name}: expected a channel ID such as C0123ABCD: a message cannot be edited by a name"
                )
        return channels

    @field_validator("mentions")
    @classmethod
    def _mentions_are_ids(cls, mentions: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_MENTION.fullmatch(name) for name in mentions):
            raise ValueError("expected IDs such as S0123ABCD or U0123ABCD, or here")
        return mentions

    @field_validator("groups")
    @classmethod
    def _groups_are_ids(cls, groups: dict[str, str]) -> dict[str, str]:
        for name, group in groups.items():
            if not _GROUP.fullmatch(group):
                raise ValueError(f"{name}: expected the ID of a user group such as S0456EFGH, not its name")
        return groups

    @field_validator("people")
    @classmethod
    def _people_are_ids(cls, people: dict[str, str]) -> dict[str, str]:
        for user, name in people.items():
            if not _USER.fullmatch(user):
                raise ValueError("expected Slack user IDs such as U0123ABCD, not names, which people can change")
            if not _NAME.fullmatch(name):
                raise ValueError(f"{user}: expected a name such as ann or ann@example.com")
        return people

    @model_validator(mode="after")
    def _one_token(self) -> SlackSettings:
        not_both(self.token, self.token_file, "token")
        not_both(self.app_token, self.app_token_file, "app_token")
        not_both(self.signing_secret, self.signing_secret_file, "signing_secret")
        signs = self.signing_secret is not None or self.signing_secret_file is not None
        if signs != bool(self.listen):
            raise ValueError("listen: goes together with signing_secret; example: listen: 0.0.0.0:9883")
        if self.hears and not self.people:
            raise ValueError(
                "people: where there are buttons somebody has to be named who may press; example: U0123ABCD=ann"
            )
        if unknown := sorted(self.groups.keys() - self.channels.keys()):
            raise ValueError(f"groups: {unknown[0]}: channels names none of that name, so nobody would be called there")
        if self.hears and not self.wanted:
            raise ValueError("token: buttons need messages to stand in; give slack.token_file too")
        return self

    @property
    def hears(self) -> bool:
        """Are there buttons?"""
        return self.app_token is not None or self.app_token_file is not None or bool(self.listen)

    def signing_secret_text(self) -> str | None:
        """The signing secret. Raises InputError as `secret_of`."""
        return secret_of(self.signing_secret, self.signing_secret_file, "slack.signing_secret")

    def app_token_text(self) -> str | None:
        """The app-level token. Raises InputError as `secret_of`."""
        return secret_of(self.app_token, self.app_token_file, "slack.app_token")

    @property
    def wanted(self) -> bool:
        """Is there a token?"""
        return self.token is not None or self.token_file is not None

    def token_text(self) -> str | None:
        """The token. Raises InputError as `secret_of`."""
        return secret_of(self.token, self.token_file, "slack.token")


class AlertingSettings(Section):
    """What stands around a message: links, quiet hours, and where it goes when it cannot be told where it belongs."""

    docs_url: Address = Field(default="", examples=["https://docs.example.com/revet"])
    """Where this documentation is served: messages link to the page of their finding below it. Empty: no link."""
    kibana_url: Address = Field(default="", examples=["https://kibana.example.com/s/security"])
    """Kibana with its space: messages link to their members and their timeline. Empty: no links."""
    kibana_version: str = Field(default="9.4.0", pattern=r"^\d{1,3}\.\d{1,3}\.\d{1,3}$", examples=["9.4.0"])
    """Version of that Kibana; a part of the links."""
    quiet_hours: str = Field(default="", examples=["22:00-07:00 Europe/Berlin"])
    """Hours of every day in which new messages and replies wait, unless they are `alerting.quiet_below` or worse. Edits
    make no noise and go on. Empty: none."""
    quiet_below: Severity = Field(default="high", examples=["critical"])
    """From this severity on nobody is let sleep. `critical` never waits."""
    digest_after: int = Field(default=5, ge=0, le=1000, examples=[5])
    """New messages of one minute and channel, beyond which what is not critical comes as a digest, one a minute. 0: a
    message each, always."""
    webhook_url: Annotated[SecretStr | None, AfterValidator(secret_address)] = Field(
        default=None, examples=["https://hooks.example.com/revet"]
    )
    """Fallback: JSON is posted here. An address may be a secret, so it is shown nowhere."""
    webhook_url_file: Path | None = Field(default=None, examples=["/run/secrets/webhook"])
    """File that holds that address."""
    pagerduty_key: Secret = Field(default=None, examples=["(32 characters)"])
    """Fallback: integration key (Events API v2) of a PagerDuty service; incidents trigger and resolve there."""
    pagerduty_key_file: Path | None = Field(default=None, examples=["/run/secrets/pagerduty-key"])
    """File that holds that key."""
    pagerduty_url: Address = Field(
        default="https://events.pagerduty.com/v2/enqueue", examples=["https://events.eu.pagerduty.com/v2/enqueue"]
    )
    """Where PagerDuty takes events."""
    alertmanager_url: Address = Field(default="", examples=["https://alertmanager.example.com"])
    """Fallback: alerts are posted to this Alertmanager's API v2."""
    heartbeat_url: Annotated[SecretStr | None, AfterValidator(secret_address)] = Field(
        default=None, examples=["https://watchman.example.com/ping/revet"]
    )
    """Dead man's switch: called by `revet serve alert` after each canary that arrived; when the calls stop, whoever is
    there wakes somebody. Needs a channel `canary` in `slack.channels`."""
    heartbeat_url_file: Path | None = Field(default=None, examples=["/run/secrets/watchman"])
    """File that holds that address."""
    canary_seconds: int = Field(default=900, ge=60, le=86400, examples=[900])
    """How often the canary is sent to the channel `canary`, where `slack.channels` names one."""

    @field_validator("quiet_hours")
    @classmethod
    def _quiet_hours_are_hours(cls, text: str) -> str:
        if text:
            Quiet.read(text)
        return text

    @model_validator(mode="after")
    def _one_place_each(self) -> AlertingSettings:
        not_both(self.webhook_url, self.webhook_url_file, "webhook_url")
        not_both(self.pagerduty_key, self.pagerduty_key_file, "pagerduty_key")
        not_both(self.heartbeat_url, self.heartbeat_url_file, "heartbeat_url")
        return self

    def quiet(self) -> Quiet | None:
        """The quiet hours; None: there are none."""
        return Quiet.read(self.quiet_hours, self.quiet_below) if self.quiet_hours else None

    def webhook_text(self) -> str | None:
        """Address of the webhook. Raises InputError as `secret_of`."""
        return secret_of(self.webhook_url, self.webhook_url_file, "alerting.webhook_url")

    def heartbeat_text(self) -> str | None:
        """Address of the watchman. Raises InputError as `secret_of`."""
        return secret_of(self.heartbeat_url, self.heartbeat_url_file, "alerting.heartbeat_url")

    def pagerduty_text(self) -> str | None:
        """Key of PagerDuty. Raises InputError as `secret_of`."""
        return secret_of(self.pagerduty_key, self.pagerduty_key_file, "alerting.pagerduty_key")
