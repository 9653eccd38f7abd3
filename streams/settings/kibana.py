"""Section of Kibana: where its pages are installed, and who installs them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from streams.settings.clustered import Secret
from streams.settings.section import Section, not_both, secret_of


class KibanaSettings(Section):
    """The Kibana that `revet dashboards install` fills. Nothing else asks it anything."""

    url: str = Field(default="", examples=["https://kibana.example.com:5601"])
    """Where Kibana is served, without a space; empty: no Kibana."""
    space: str = Field(default="revet", pattern=r"^[a-z0-9_-]{1,100}$", examples=["security"])
    """Space that the pages are put into; made where it is not there. `default` is Kibana's own."""
    ca_file: Path | None = Field(default=None, examples=["/etc/ssl/kibana-ca.pem"])
    """PEM bundle of the CAs its certificate comes from; none: the system's."""
    username: str = Field(default="", examples=["revet-installer"])
    """Name for basic authentication."""
    password: Secret = Field(default=None, examples=["(the password)"])
    """Password of that name. Better in a file: `kibana.password_file`."""
    password_file: Path | None = Field(default=None, examples=["/run/secrets/kibana-password"])
    """File that holds the password; read at start."""
    api_key: Secret = Field(default=None, examples=["(the encoded key)"])
    """API key as Elasticsearch gives it out (`encoded`), in the place of name and password."""
    api_key_file: Path | None = Field(default=None, examples=["/run/secrets/kibana-api-key"])
    """File that holds the API key; read at start."""

    @field_validator("url")
    @classmethod
    def _url_is_one(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise ValueError("no name or password in it; they have settings of their own")
        if url and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment):
            raise ValueError("expected http(s)://HOST:PORT")
        if "/s/" in f"{parts.path}/":
            raise ValueError("without a space; kibana.space names it")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> KibanaSettings:
        not_both(self.password, self.password_file, "password")
        not_both(self.api_key, self.api_key_file, "api_key")
        secret = self.password is not None or self.password_file is not None
        if bool(self.username) != secret:
            example = "username: revet-installer, password_file: /run/secrets/kibana-password"
            raise ValueError(f"a username belongs with a password; example: {example}")
        if self.username and (self.api_key is not None or self.api_key_file is not None):
            raise ValueError("give username and password, or api_key, not both")
        if self.ca_file and self.url.startswith("http://"):
            raise ValueError("ca_file is for https; url is http")
        return self

    def password_text(self) -> str | None:
        """The password. Raises InputError as `secret_of`."""
        return secret_of(self.password, self.password_file, "kibana.password")

    def api_key_text(self) -> str | None:
        """The API key. Raises InputError as `secret_of`."""
        return secret_of(self.api_key, self.api_key_file, "kibana.api_key")
