"""Where the trust log is that a command speaks to: a state file, or the brokers that the settings name; and who signs.

    @place_option                          --state, --profile: the command takes `state: Place`
    @sign_options                          --sign-with, --propose beside it: for commands that change trust

A file named by hand comes first, then a profile, then $REVET_STATE, then the settings at hand (revet.yaml, variables).
Changes of a cluster's trust are signed with an administrator's key; on one machine the local user is believed.
"""

from __future__ import annotations

import importlib
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streams.cli.common import PROFILE, default_state, named_settings, now, say
from streams.cli.outcomes import Entry, Line, Outcome, Proposed, Reading, folded, line_of
from streams.cli.render import safe
from streams.local.preview import Hit, Preview, preview, signatures_hit
from streams.local.sqlite import Came, Told
from streams.settings import Settings
from streams.trustwriting import Proposal, Read, propose, refuse_unsigned, signed_by, signers, write_proposal
from verifier.errors import InputError, TrustError
from verifier.models import Micros, Scope
from verifier.trust.records import RevocationPut, TrustRecord
from verifier.trust.signing import is_encrypted, key_id_of, load_private_key

if TYPE_CHECKING:
    from streams.kafka.trust import TrustDoor

F = TypeVar("F", bound=Callable[..., Any])  # Any: decorators take every command as it is

KEY_VARIABLE: Final = "REVET_TRUST_KEY"
PASSPHRASE_VARIABLE: Final = "REVET_TRUST_PASSPHRASE_FILE"  # noqa: S105  # the name of a variable
MAX_KEY: Final = 64 * 1024
"""Bytes of a key file: a longer one is another file, named by mistake."""
GIVE_UP: Final = 20.0
"""Seconds after which a command no longer waits for the judges."""

_ADDING: Final = frozenset({"key-put", "key-rotated", "root-put"})
"""Kinds of records that may make stored evidence say more."""

_SIGN_WITH: Final = "revet.sign-with"
_PROPOSE: Final = "revet.propose"


class Cluster:
    """The trust log on brokers, and who signs for it."""

    def __init__(self, settings: Settings, key_file: Path | None = None, proposal: Path | None = None) -> None:
        self.settings = settings
        self._key_file, self._proposal = key_file, proposal
        self._key: Ed25519PrivateKey | None = None
        self._read: Read | None = None

    def __str__(self) -> str:
        kafka = self.settings.kafka
        return f"Kafka {kafka.bootstrap}, topic {kafka.topic('revet.trust')}"

    # ------------------------------------------------------------------ reading

    @property
    def door(self) -> TrustDoor:
        """What speaks to the brokers; imported now, for the single-machine mode runs without the libraries it needs.

        Raises:
            InputError: they are not installed.
        """
        try:
            found: TrustDoor = importlib.import_module("streams.kafka.trust").TrustDoor(self.settings)
        except ModuleNotFoundError as error:
            raise InputError(
                f"the clustered mode needs {error.name}: install revet with its extra `cluster`"
            ) from error
        return found

    def reading(self) -> Reading:
        """Trust as the whole log says, and who asks: the owner of the key where there is one.

        Raises:
            InputError: the settings or the key cannot be used. NewerSchemaError: a newer revet wrote into the log.
            PlaceError: the broker does not answer.
        """
        found = self._read = self.door.trust().read()
        names = {entry.epoch: signers(found.gate, entry) for entry in found.entries}
        entries = tuple(
            entry._replace(signed=names[entry.epoch]) for entry in folded((e.epoch, e.record) for e in found.entries)
        )
        author = self._owner(found) if self._key_file is not None else ""
        newest = max((entry.time for entry in found.entries), default=0)
        uncounted = (len(found.ignored), len(found.refused))
        return Reading(found.gate.trust, max(now(), newest), entries, author, uncounted)

    def _owner(self, found: Read) -> str:
        own = key_id_of(self.key().public_key())
        known = {administrator.key_id: administrator.name for administrator in found.gate.administrators}
        if own not in known:
            raise TrustError(
                f"{self._key_file}: this key ({own[:12]}) is no trust administrator's; administrators in these"
                f" settings: {', '.join(sorted(set(known.values())))}"
            )
        return known[own]

    def key(self) -> Ed25519PrivateKey:
        """The key to sign with. Asks for its passphrase once.

        Raises:
            TrustError: none was given, or it cannot be used.
        """
        if self._key is None:
            if self._key_file is None:
                raise TrustError(
                    "a change of the cluster's trust is signed by a trust administrator: give --sign-with FILE, or"
                    f" {KEY_VARIABLE}=FILE; `revet trust keygen NAME` makes a key"
                )
            self._key = read_key(self._key_file)
        return self._key

    # ------------------------------------------------------------------ foreseeing

    def foresee(self, records: Sequence[TrustRecord], at: Micros) -> tuple[Preview, Hit | None]:
        """What records would come to, on a copy of what all judges hold. Raises as `reading`."""
        door = self.door
        state, teams = door.standing(self._read or door.trust().read()), door.teams()
        first = records[0] if records else None
        hit = signatures_hit(state, first, teams) if isinstance(first, RevocationPut) else None
        with door.answers() as answer:
            if answer is None and any(record.kind in _ADDING for record in records):
                say("note: evidence.store cannot be read from here: what a new key or root would make good is not seen")
            return preview(state, records, at, answer, teams), hit

    def scopes(self) -> list[tuple[Scope, str]]:
        """(scope, running digest) of every class that runs. Raises as `reading`."""
        state = self.door.standing(self._read or self.door.trust().read())
        return [(cls.row.scope, cls.row.digest) for cls in state.classes.values() if cls.members]

    # ------------------------------------------------------------------ applying

    def carry_out(self, records: Sequence[TrustRecord], *, expects: int | None) -> Outcome:
        """Sign, append, read again who won, and wait for the judges; with `--propose` write a file instead.

        Raises:
            TrustError: the log has moved on, or too few signed; nothing of the change counts then. PlaceError: the
                broker did not take it.
        """
        key = self.key()
        found = self.door.trust().read()
        if expects is not None and found.gate.reached != expects:
            at = found.gate.reached
            raise TrustError(
                f"trust is at epoch {at}, this change was prepared at {expects}: look again, then repeat it"
            )
        proposal = signed_by(found.gate, propose(found.gate, records, now()), key)
        if self._proposal is not None:
            return self._write(found, proposal, self._proposal)
        refuse_unsigned(found.gate, proposal)
        return self.submit(proposal)

    def _write(self, found: Read, proposal: Proposal, file: Path) -> Outcome:
        write_new(file, write_proposal(found.gate, proposal), 0o644)
        missing = proposal.missing(found.gate)
        return Outcome(tuple(proposal_lines(found, proposal)), "nobody", True, Came(), 0, Proposed(str(file), missing))

    def submit(self, proposal: Proposal) -> Outcome:
        """Append what is signed, and wait until every shard has judged under it. Raises as `carry_out`."""
        door = self.door
        mark = door.mark()
        confirmed = door.trust().submit(proposal)
        epochs = {event.epoch: signers(confirmed.read.gate, event) for event in confirmed.entries}
        entries = folded((e.epoch, e.record) for e in confirmed.read.entries)
        lines = tuple(line_of(e._replace(signed=epochs[e.epoch])) for e in entries if e.epoch in epochs)
        if len(lines) < len(proposal.prepared):
            left = len(proposal.prepared) - len(lines)
            say(f"revet: another change came in between: {left} of {len(proposal.prepared)} entries do not count")
        done = door.judged(mark, max(epochs), time.monotonic() + GIVE_UP)
        told = tuple(
            Told(one.short_id, one.kind, one.subject, "open" if one.workloads else "closing", one.containers, 0, 0)
            for one in done.incidents
        )
        return Outcome(lines, "cluster", done.all_shards, Came(incidents=told))


Place = Path | Cluster
"""The state file of the single-machine mode, or a cluster."""


def proposal_lines(found: Read, proposal: Proposal) -> list[Line]:
    """The entries of a proposal as they are told."""
    lines = []
    for number, prepared in enumerate(proposal.prepared):
        signed = proposal.names(found.gate, number)
        lines.append(line_of(Entry(prepared.entry.epoch, prepared.change, prepared.applied, prepared.after, signed)))
    return lines


# ---------------------------------------------------------------------------------------------------------------- files


def read_key(file: Path) -> Ed25519PrivateKey:
    """A private key, asking for its passphrase where it has one. Nothing of it is ever shown.

    Raises:
        TrustError: the file or the passphrase cannot be used.
    """
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(MAX_KEY + 1)
    except OSError as error:
        raise TrustError(f"{file}: {error.strerror or error}") from error
    if len(data) > MAX_KEY:
        raise TrustError(f"{file}: longer than a key")
    if mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH):
        say(f"revet: warning: others can read {file}: chmod 600 {file}")
    try:
        return load_private_key(data, _passphrase(file) if is_encrypted(data) else None)
    except TrustError as error:
        raise TrustError(f"{file}: {error}") from None


def _passphrase(file: Path) -> bytes:
    named = os.environ.get(PASSPHRASE_VARIABLE)
    if named:
        try:
            return Path(named).read_bytes().strip()
        except OSError as error:
            raise TrustError(f"{PASSPHRASE_VARIABLE}: {named}: {error.strerror or error}") from error
    if not sys.stdin.isatty():
        raise TrustError(f"{file} has a passphrase, and nobody can be asked here: give {PASSPHRASE_VARIABLE}=FILE")
    entered: str = click.prompt(f"passphrase of {safe(str(file))}", hide_input=True, err=True)
    return entered.encode()


def write_new(file: Path, data: bytes, mode: int) -> None:
    """A file that is not there yet, with these rights from the first moment on.

    Raises:
        InputError: it is there, or cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        raise InputError(f"{file} is there already; choose another name, nothing is overwritten") from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error


# -------------------------------------------------------------------------------------------------------------- options


def place_option(function: F) -> F:
    """`--state FILE` and `--profile NAME`; on a terminal the command says which trust log it speaks to."""
    with_place = click.option(
        "--state",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_place,
        help="State file of the single-machine mode.  [default: of the profile, $REVET_STATE, the Kafka of revet.yaml"
        " or $REVET_KAFKA_BOOTSTRAP, or ~/.local/state/revet/revet.sqlite]",
    )(function)
    return click.option(
        "--profile",
        metavar="NAME",
        envvar="REVET_PROFILE",
        expose_value=False,
        is_eager=True,
        callback=_keeper(PROFILE),
        help="Settings that name the trust log: a file, or NAME.yaml in ~/.config/revet.  [env: REVET_PROFILE]",
    )(with_place)


def sign_options(function: F) -> F:
    """`--sign-with FILE` and `--propose FILE`, for commands that change trust; `place_option` stands below them."""
    with_key = click.option(
        "--sign-with",
        metavar="FILE",
        envvar=KEY_VARIABLE,
        type=click.Path(dir_okay=False, path_type=Path),
        expose_value=False,
        is_eager=True,
        callback=_keeper(_SIGN_WITH),
        help=f"In a cluster: the trust administrator's private key.  [env: {KEY_VARIABLE}]",
    )(function)
    return click.option(
        "--propose",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        expose_value=False,
        is_eager=True,
        callback=_keeper(_PROPOSE),
        help="In a cluster: write the signed change to FILE for another administrator to sign; apply nothing.",
    )(with_key)


def _keeper(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, _parameter: click.Parameter, value: Any) -> None:  # noqa: ANN401  # path or text
        if value:
            context.meta[name] = value

    return keep


def _place(context: click.Context, _parameter: click.Parameter, value: Path | None) -> Place:
    profile = context.meta.get(PROFILE)
    place = value if value is not None else _default(context, profile)
    if isinstance(place, Path) and _PROPOSE in context.meta:
        raise click.UsageError("--propose is for a cluster, whose changes are signed; here the local user is believed")
    if sys.stderr.isatty():
        named = f" (profile {profile})" if profile and value is None else ""
        say(f"revet: {f'state {place}' if isinstance(place, Path) else place}{named}")
    return place


def _default(context: click.Context, profile: str | None) -> Place:
    """The trust log nobody named with --state.

    Raises:
        InputError: the settings are wrong, or the profile names none.
    """
    if profile or not os.environ.get("REVET_STATE"):
        settings = named_settings(None, profile).settings
        if settings.kafka.bootstrap:
            return Cluster(settings, context.meta.get(_SIGN_WITH), context.meta.get(_PROPOSE))
    return default_state()
