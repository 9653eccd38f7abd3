"""The section of the ledger: the key that signs, where checkpoints go, whose checkpoints are believed."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from streams.settings.section import UNTOLD, Section


class LedgerSettings(Section):
    """Tamper evidence of the record (`revet ledger`, `revet serve ledger`)."""

    enabled: bool = Field(default=False, examples=[True])
    """Clustered mode: the indexer writes an entry for every document of history. Everything that is written while it is
    off stands outside of the ledger; turn it on before `revet ledger init`. On one machine `init` alone does it."""
    key_file: Path | None = Field(default=None, examples=["/run/secrets/ledger-key.pem"])
    """Private key (Ed25519, PEM) that signs checkpoints; made by `revet ledger init`. None: on one machine the one
    beside the state file."""
    directory: Path | None = Field(default=None, examples=["/mnt/worm/revet-checkpoints"])
    """Folder that checkpoints are added to, and never changed in: best on storage of somebody else than the record's.
    None: on one machine the one beside the state file; in the clustered mode none."""
    state: Path | None = Field(default=None, examples=["/var/lib/revet/ledger.state"])
    """File in which `revet serve ledger` keeps how far it is, as private as the key: a start folds what came since, and
    a topic that was cut or rewritten meanwhile is not signed. None: every start folds the topic whole."""
    keys: tuple[str, ...] = Field(
        default=(),
        examples=["ledger-3f2a9c01=Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="],
        json_schema_extra=UNTOLD,  # a private key pasted by mistake must not be repeated
    )
    """Whose checkpoints are believed when the ledger is checked: NAME=KEY as `revet ledger init` printed it, or a file
    with one such line each. None: the key of `ledger.key_file`."""
    slack: str = Field(default="", examples=["ledger"])
    """Name of a channel of `slack.channels` that is told the newest checkpoint once a day: root, size and how its
    signature begins. One more place where it stands. Empty: none."""
    seconds: int = Field(default=10, ge=1, le=86400, examples=[10])
    """A batch is closed and signed after so long: what is changed before is not noticed."""
    entries: int = Field(default=10_000, ge=1, le=100_000, examples=[10_000])
    """A batch is closed after so many entries."""
    verify_minutes: int = Field(default=60, ge=0, le=10_080, examples=[60])
    """How often the last day is compared with the ledger, and once a day a day of the past chosen by chance; 0: never
    by itself."""

    @field_validator("keys")
    @classmethod
    def _keys_are_there(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if not all(entry.strip() for entry in keys):
            raise ValueError("expected NAME=KEY or a file, got an empty text")
        return keys
