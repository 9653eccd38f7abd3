"""The private key of a ledger, and the acts that begin it, change its key, and erase. Files are read and written here.

The key signs checkpoints and nothing else. Its name is made of itself, so that a name cannot be taken by another key.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final

from streams.events import LedgerEntry
from streams.ledger.entries import act
from streams.ledger.notes import LedgerKey, Signing, read_keys, signed_statement, signing
from verifier.errors import InputError, PlaceUnavailable, TrustError
from verifier.models import Micros
from verifier.trust.signing import generate, load_private_key

ROTATION: Final = "revet ledger rotation v1"
"""First line of what an old key signs over a new one."""
KEY_SUFFIX: Final = ".ledger-key.pem"
FOLDER_SUFFIX: Final = ".checkpoints"


def default_key_file(state: Path) -> Path:
    """Beside the state file, where the settings name none."""
    return state.with_name(state.name + KEY_SUFFIX)


def default_folder(state: Path) -> Path:
    """Beside the state file, where the settings name none."""
    return state.with_name(state.name + FOLDER_SUFFIX)


def new_name() -> str:
    """A name for a ledger."""
    return f"revet-ledger/{secrets.token_hex(4)}"


def key_name(public: bytes) -> str:
    """`ledger-3f2a9c01`: of the key itself."""
    return f"ledger-{sha256(public).hexdigest()[:8]}"


def new_key(file: Path) -> Signing:
    """Make a key and write it, for its owner alone.

    Raises:
        InputError: the file is there already. PlaceUnavailable: it cannot be written.
    """
    pem, public = generate()
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(pem)
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError as error:
        raise InputError(f"{file} is there already; a key is never overwritten: name another --key-file") from error
    except OSError as error:
        raise PlaceUnavailable("ledger-key-unavailable", f"{file}: {error.strerror or error}") from error
    return signing(key_name(public), load_private_key(pem))


def load_key(file: Path) -> Signing:
    """The key in a file.

    Raises:
        InputError: it cannot be read, or is no Ed25519 key. The message holds nothing of it.
    """
    try:
        secret = load_private_key(file.read_bytes())
    except OSError as error:
        raise InputError(f"ledger.key_file {file}: {error.strerror or error}") from error
    except TrustError as error:
        raise InputError(f"ledger.key_file {file}: no Ed25519 key without a passphrase in PEM (PKCS #8)") from error
    public = secret.public_key().public_bytes_raw()
    return signing(key_name(public), secret)


def pinned_keys(entries: Iterable[str]) -> tuple[LedgerKey, ...]:
    """Keys of the settings or of a command line: `NAME=KEY`, or a file with one such line each.

    Raises:
        InputError: an entry is neither.
    """
    lines: list[str] = []
    for entry in entries:
        if "=" in entry and not Path(entry).is_file():
            lines.append(entry)
            continue
        try:
            text = Path(entry).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"ledger.keys: {entry[:200]}: {getattr(error, 'strerror', '') or error}") from error
        lines += [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return read_keys(dict.fromkeys(lines))


# ------------------------------------------------------------------------------------------------------------- acts


def begun(ledger: str, key: LedgerKey, by: str, now: Micros) -> LedgerEntry:
    """The act that begins a ledger."""
    return act("key", {"act": "begun", "by": by, "key": key.line(), "ledger": ledger, "reason": ""}, now)


def rotated(ledger: str, key: LedgerKey, old: Signing, by: str, reason: str, now: Micros) -> LedgerEntry:
    """The act that puts a key in the place of another. It is the other one's own word, since whoever may write entries
    has them sealed; and it counts once the other has signed a checkpoint over it.
    """
    said = {"by": by, "key": key.line(), "ledger": ledger, "reason": reason, "retires": old.key.name}
    return act("key", {"act": "rotated", "statement": signed_statement(ROTATION, said, old)}, now)


def lost(ledger: str, key: LedgerKey, gone: str, by: str, reason: str, now: Micros) -> LedgerEntry:
    """The act that says a key is lost and names the next. Nobody vouches for it but who names the new key by hand."""
    note = {"act": "lost", "by": by, "key": key.line(), "ledger": ledger, "lost": gone, "reason": reason}
    return act("key", note, now)
