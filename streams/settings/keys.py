"""The section of key sources: places outside of revet where public keys are kept, watched for changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from streams.settings.section import Section, not_both, not_empty, secret_of
from verifier.policy.fields import check_name


class KeySettings(Section):
    """Places where keys are kept and watched (`revet serve keys`): a change there becomes a change of trust."""

    sources: dict[str, str] = Field(default={}, examples=["corp=kubernetes:secret/cosign-system/release-keys"])
    """NAME -> place: `files:DIR` (`*.pub`, `*.pem`), `kubernetes:secret/NAMESPACE/NAME`,
    `kubernetes:configmap/NAMESPACE/NAME`, `vault:MOUNT/KEY` (transit). Keys are called `NAME.<their name there>`."""
    every_seconds: int = Field(default=60, ge=1, le=86400, examples=[60])
    """Seconds between two looks."""
    kubeconfig: Path | None = Field(default=None, examples=["/etc/revet/kubeconfig"])
    """For Kubernetes; none: the service account of the pod."""
    vault_address: str = Field(default="", examples=["https://vault.corp.example:8200"])
    """https://HOST:PORT of Vault or OpenBao; http:// only for an agent on this machine."""
    vault_namespace: str = Field(default="", examples=["platform"])
    """Namespace of Vault, where it has any."""
    vault_ca_file: Path | None = Field(default=None, examples=["/etc/ssl/vault-ca.pem"])
    """PEM bundle of the CA that the certificate of Vault comes from; none: the system's."""
    vault_token: Annotated[SecretStr | None, AfterValidator(not_empty)] = Field(default=None, examples=["(the token)"])
    """Token that may read the keys (`path "transit/keys/NAME" { capabilities = ["read"] }`). Better in a file."""
    vault_token_file: Path | None = Field(default=None, examples=["/run/secrets/vault-token"])
    """File that holds the token; read anew for each look, as agents renew it."""
    sign_with: Path | None = Field(default=None, examples=["/run/secrets/keys.trust-key.pem"])
    """Of a cluster: the trust administrator's key file that changes are signed with."""
    proposals: Path | None = Field(default=None, examples=["/var/lib/revet/proposals"])
    """Of a cluster: write changes into this folder for administrators to look at, sign and submit, and apply none."""

    @field_validator("sources")
    @classmethod
    def _names_are_names(cls, sources: dict[str, str]) -> dict[str, str]:
        for name in sources:
            check_name(name)
        return sources

    @model_validator(mode="after")
    def _one_token(self) -> KeySettings:
        not_both(self.vault_token, self.vault_token_file, "vault_token")
        return self

    def vault_token_text(self) -> str:
        """The token as it is now. Raises InputError as `secret_of`."""
        return secret_of(self.vault_token, self.vault_token_file, "keys.vault_token") or ""
