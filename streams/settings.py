"""Settings of the single-machine mode: one tree of typed values, from a file, the environment and the command line.

    settings = load_settings(Path("revet.yaml"), os.environ, {("listen", "address"): "127.0.0.1:9880"})
    settings.listen.address                  the command line wins over REVET_LISTEN_ADDRESS, that over the file

Every value has a place in the file (`listen.address`) and a variable (`REVET_LISTEN_ADDRESS`). A wrong setting is an
error that names the setting, what it got, and an example; an unknown one is an error too. Printing the tree shows no
secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from alerting.routing import OwnerRule, Routes
from verifier.errors import InputError, PolicyError
from verifier.policy.yamltree import Tree, field_text, read_trees

PREFIX: Final = "REVET_"
FILE: Final = "revet.yaml"
"""Read from the working folder when no other file is named."""
SHOWN: Final = 80
"""Characters of a wrong value that an error repeats."""
LAYOUT: Final = "oci-layout:"

Values = Mapping[tuple[str, ...], object]
"""Place in the tree -> value."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ListenSettings(_Section):
    """The receiver of the API server's audit webhook."""

    address: str = Field(default="", examples=["127.0.0.1:9880"])
    """HOST:PORT to listen on; empty: do not listen. `[::1]:9880` for IPv6, port 0 for any free one."""
    token: SecretStr | None = Field(default=None, examples=["(32 random characters)"])
    """Bearer token that senders must show. Better in a file: `token_file`."""
    token_file: Path | None = Field(default=None, examples=["/run/secrets/revet-token"])
    """File that holds the bearer token; read at start."""
    max_body_mib: int = Field(default=32, ge=1, le=512, examples=[32])
    """Longest body that is taken, MiB, also after decompression. A full batch of the API server has 1 to 10."""
    max_requests: int = Field(default=8, ge=1, le=256, examples=[8])
    """Bodies read at a time; further senders wait. With `max_body_mib` it bounds the memory."""
    body_seconds: int = Field(default=60, ge=1, le=3600, examples=[60])
    """Seconds a sender may take for one body."""

    @field_validator("address")
    @classmethod
    def _address_is_host_and_port(cls, address: str) -> str:
        if address:
            host_and_port(address)
        return address

    @model_validator(mode="after")
    def _one_token(self) -> ListenSettings:
        if self.token is not None and self.token_file is not None:
            raise ValueError("give token or token_file, not both")
        return self


class EvidenceSettings(_Section):
    """Where signatures are published."""

    source: str = Field(default="registry", examples=["registry", "oci-layout:./images", "registry,lookaside:/sigs"])
    """`registry`: the registry each image comes from; `oci-layout:DIR`: a folder. Behind a comma what is kept beside:
    `lookaside:DIR` (OpenPGP signatures), `trust-data:DIR` (Docker Content Trust metadata)."""
    plain_http: bool = Field(default=False, examples=["true"])
    """Speak HTTP without TLS to registries."""
    ca_file: Path | None = Field(default=None, examples=["/etc/ssl/private-ca.pem"])
    """PEM bundle of a private CA, beside the system's."""
    docker_config: Path | None = Field(default=None, examples=["/home/revet/.docker/config.json"])
    """Docker config.json with credentials; none: anonymous."""
    mirrors: dict[str, str] = Field(default={}, examples=["registry.example.com=http://127.0.0.1:5000"])
    """Registry -> origin that is asked in its place."""
    platform: str | None = Field(
        default=None, pattern=r"^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?$", examples=["linux/amd64"]
    )
    """Of a multi-platform image, look at this child too."""

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, source: str) -> str:
        main, *beside = source.split(",")
        if main != "registry" and not (main.startswith(LAYOUT) and main != LAYOUT):
            raise ValueError("expected registry or oci-layout:DIR")
        if not all(place.startswith(("lookaside:", "trust-data:")) for place in beside):
            raise ValueError("beside the first place expected lookaside:DIR or trust-data:DIR")
        return source


class OwnerSettings(_Section):
    """Whose a namespace is, and who is told."""

    label_keys: tuple[str, ...] = Field(default=("team", "owner"), examples=["team,owner"])
    """Namespace labels that name the team, in order."""
    table: tuple[OwnerRule, ...] = Field(default=(), examples=["[{namespace: pay-*, team: payments}]"])
    """Globs over cluster and namespace for namespaces without such a label; the first that matches wins. File only."""
    security: str = Field(default="security", min_length=1, examples=["security"])
    """Who gets every critical and high incident, and what nobody owns."""
    team_slices: bool = Field(default=False, examples=["true"])
    """Also tell each team its part. Off here: one terminal needs no second copy."""
    max_teams: int = Field(default=50, ge=1, examples=[50])
    """Team messages per incident."""

    def routes(self) -> Routes:
        """As the alerter takes them."""
        return Routes(
            label_keys=self.label_keys,
            owners=self.table,
            security=self.security,
            team_slices=self.team_slices,
            max_teams=self.max_teams,
        )


class Settings(_Section):
    """The whole tree."""

    state: Path | None = Field(default=None, examples=["/var/lib/revet/revet.sqlite"])
    """State file; none: `revet/revet.sqlite` in the user's state folder."""
    cluster: str = Field(
        default="local", pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$", examples=["prod-eu"]
    )
    """Cluster that recordings and senders belong to when they name none: its stable id, or a name of your choice."""
    first_seen: Path | None = Field(default=None, examples=["first-observations.jsonl"])
    """Dated first observations that came with a recording (JSON lines)."""
    trust: tuple[Path, ...] = Field(default=(), examples=["/etc/revet/trust"])
    """Files and folders of trust documents that are applied at every start; only differences are written."""
    quiet: bool = Field(default=False, examples=["true"])
    """Print no messages; they are recorded all the same."""
    listen: ListenSettings = ListenSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    owners: OwnerSettings = OwnerSettings()


class Leaf(NamedTuple):
    """One value of the tree."""

    place: tuple[str, ...]
    field: FieldInfo

    @property
    def variable(self) -> str:
        """`REVET_LISTEN_TOKEN_FILE` of `listen.token_file`."""
        return PREFIX + "_".join(self.place).upper()

    @property
    def example(self) -> str:
        """A value that would do."""
        return str((self.field.examples or ["?"])[0])


def leaves(model: type[BaseModel] = Settings, above: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every value of the tree, sections in the order of the class."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, _Section):
            yield from leaves(inner, (*above, name))
        else:
            yield Leaf((*above, name), field)


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


def load_settings(file: Path | None, environ: Mapping[str, str], given: Values) -> Settings:
    """Settings of a file (None: `revet.yaml` where it exists), the environment, and what was given by hand.

    Raises:
        InputError: the file cannot be read, or a setting is unknown or wrong; all that is wrong is in the message.
    """
    named = file if file is not None else Path(FILE)
    tree = _read(named) if file is not None or named.exists() else None
    found: dict[tuple[str, ...], object] = dict(_of_environment(environ))
    found.update(given)
    data = _merged(tree.data if tree is not None and isinstance(tree.data, dict) else {}, found)
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        problems = [_explained(detail, data, tree, set(found)) for detail in error.errors(include_url=False)]
        raise InputError("; ".join(problems)) from None  # the error below holds values, which may be secrets


def _read(file: Path) -> Tree | None:
    try:
        trees, errors = read_trees(str(file), file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {getattr(error, 'strerror', '') or 'not UTF-8 text'}") from error
    if errors:
        raise errors[0]
    if len(trees) > 1 or (trees and not isinstance(trees[0].data, dict)):
        raise PolicyError(
            "expected one document with settings, such as `listen: {address: 127.0.0.1:9880}`", file=str(file)
        )
    return trees[0] if trees else None


# ------------------------------------------------------------------------------------------------------- environment


def _of_environment(environ: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], object]]:
    known = {leaf.variable: leaf for leaf in leaves()}
    sections = tuple(f"{PREFIX}{name.upper()}_" for name in ("listen", "evidence", "owners"))
    for name, text in sorted(environ.items()):
        leaf = known.get(name)
        if leaf is not None:
            yield leaf.place, _typed(leaf, text)
        elif name.startswith(sections):
            near = get_close_matches(name, known, n=1)
            raise InputError(f"{name}: no such setting{f'; did you mean {near[0]}?' if near else ''}")


def _typed(leaf: Leaf, text: str) -> object:
    """Lists are written a,b and mappings a=b,c=d; the model reads the rest out of text."""
    kind = str(leaf.field.annotation)
    if leaf.place == ("owners", "table"):
        raise InputError(f"{leaf.variable}: the owner table is read from a settings file only; example: {leaf.example}")
    if kind.startswith("tuple"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind.startswith("dict"):
        return dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
    return text


def _merged(data: Mapping[str, Any], found: Values) -> dict[str, Any]:  # Any: settings before they are checked
    merged: dict[str, Any] = {name: dict(value) if isinstance(value, dict) else value for name, value in data.items()}
    for place, value in found.items():
        inner = merged
        for name in place[:-1]:
            below = inner.setdefault(name, {})
            if not isinstance(below, dict):
                below = inner[name] = {}
            inner = below
        inner[place[-1]] = value
    return merged


# -------------------------------------------------------------------------------------------------- errors in words


def _explained(
    detail: Any,  # noqa: ANN401  # pydantic's description of an error, a TypedDict it does not export
    data: Mapping[str, Any],
    tree: Tree | None,
    by_hand: set[tuple[str, ...]],
) -> str:
    place = tuple(detail["loc"])
    name = field_text(place) or "settings"
    where = ""
    if tree is not None and place not in by_hand:
        where = f"{tree.file}:{tree.place(place).line}: "
    if detail["type"] == "extra_forbidden":
        near = get_close_matches(str(place[-1]), _names(), n=1)
        return f"{where}{name}: no such setting{f'; did you mean {near[0]}?' if near else ''}"
    leaf = next((leaf for leaf in leaves() if leaf.place == place[: len(leaf.place)]), None)
    got = "" if _is_secret(leaf) else f", got {_value_at(data, place)!r:.{SHOWN}}"
    message = str(detail.get("ctx", {}).get("error") or detail["msg"])
    example = f"; example: {leaf.example}" if leaf is not None else ""
    return f"{where}{name}: {message[:1].lower()}{message[1:]}{got}{example}"


def _is_secret(leaf: Leaf | None) -> bool:
    return leaf is None or "SecretStr" in str(leaf.field.annotation)


def _value_at(data: Any, place: tuple[str | int, ...]) -> object:  # noqa: ANN401  # settings before they are checked
    for part in place:
        try:
            data = data[part]
        except (LookupError, TypeError):
            return None
    return data


def _names() -> list[str]:
    return sorted({part for leaf in leaves() for part in leaf.place})


Documented = Annotated[list[tuple[str, str, str]], "(setting, variable, example)"]


def documented() -> Documented:
    """Every setting with its variable and an example, for `docs/operations.md`."""
    return [(".".join(leaf.place), leaf.variable, leaf.example) for leaf in leaves()]
