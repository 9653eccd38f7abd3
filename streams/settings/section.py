"""What every section of the settings shares: its base, addresses, and how a secret is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue, SecretStr

from verifier.errors import InputError

MAX_SECRET: Final = 64 * 1024
"""Bytes of a file with a secret: a longer one is another file, named by mistake."""


UNTOLD: Final[dict[str, JsonValue]] = {"untold": True}
"""Marks a field whose wrong value is not repeated in an error, though it should hold no secret."""


class Section(BaseModel):
    """A part of the tree. What is printed of it hides secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def host_and_port(address: str) -> tuple[str, int]:
    """`127.0.0.1:9880` or `[::1]:9880` in two parts.

    Raises:
        ValueError: it is none.
    """
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare and bare == host) or not port.isascii() or not port.isdigit():
        raise ValueError("expected HOST:PORT")
    if int(port) > 65535:
        raise ValueError("expected a port up to 65535")
    return bare, int(port)


def shown_address(host: str, port: int) -> str:
    """The opposite of `host_and_port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(text: str) -> str:
    if text:
        host_and_port(text)
    return text


Address = Annotated[str, AfterValidator(_address)]
"""HOST:PORT to listen on, or nothing."""


def not_both(value: object, file: object, name: str) -> None:
    """Two places for one secret contradict each other: which one counts would be a guess.

    Raises:
        ValueError: both are given.
    """
    if value is not None and file is not None:
        raise ValueError(f"give {name} or {name}_file, not both")


def not_empty(value: SecretStr | None) -> SecretStr | None:
    """A secret without a character is a variable that was not filled in.

    Raises:
        ValueError: it is empty, or nothing but white space.
    """
    if value is not None and not value.get_secret_value().strip():
        raise ValueError("is empty; leave it out, or give the secret")
    return value


def secret_of(value: SecretStr | None, file: Path | None, name: str) -> str | None:
    """The secret of a pair of settings such as `kafka.password` and `kafka.password_file`; None: neither is given.

    Of a file, white space around the secret is not part of it: editors end files with a line break.

    Raises:
        InputError: the file cannot be read, is empty, too long or no UTF-8. The message holds nothing of its content.
    """
    if value is not None:
        return value.get_secret_value()
    if file is None:
        return None
    where = f"{name}_file: {file}"
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_SECRET + 1)
        text = data.decode().strip()
    except OSError as error:
        raise InputError(f"{where}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8 text") from None  # the error would carry the bytes
    if len(data) > MAX_SECRET:
        raise InputError(f"{where}: longer than {MAX_SECRET // 1024} KiB; expected a file with nothing but the secret")
    if not text:
        raise InputError(f"{where}: is empty; put the secret into it")
    return text
