"""`revet trust root`, `trust crl` and `trust fetch-root`: what certificates, logs and key rings are believed by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click
import msgspec

from alerting.text import count
from streams.cli.changing import (
    SHOWN,
    asked_by,
    breaking_lines,
    carry_out,
    confirm,
    evidence_option,
    foresee,
    note_option,
    nothing_to_do,
    print_breaking,
    reach_text,
    reading,
    tell,
)
from streams.cli.common import (
    EXIT_OK,
    now,
    output_option,
    print_json,
    print_table,
    read_text,
    say,
    show_time,
)
from streams.cli.outcomes import Reading
from streams.cli.render import safe
from streams.cli.trust_files import root_text
from streams.cli.trustplace import Place, place_option, sign_options
from streams.local.preview import Preview
from verifier.adapters.package_data import public_good_tuf_root
from verifier.errors import InputError
from verifier.evidence.material import Authority, Log, RootFormat
from verifier.policy.attestors import PUBLIC_GOOD
from verifier.trust.anchors import Root
from verifier.trust.describe import describe, short
from verifier.trust.records import RootPut, RootRemoved, StatusListPut
from verifier.trust.rootchanges import format_of, put_root, put_status_list, remove_root
from verifier.trust.roots import RootDocument, read_root, window_note
from verifier.trust.state import TrustState

if TYPE_CHECKING:
    from verifier.adapters.tuf_root import FetchedRoot

F = TypeVar("F", bound=Callable[..., Any])  # Any: decorators take every command as it is

Change = RootPut | RootRemoved | StatusListPut

FORMATS: Final = (
    *("sigstore-trusted-root", "certificates", "openpgp", "tuf-root-keys"),
    *("notation-ca", "notation-signing-authority", "notation-tsa"),
)

PUBLIC_MIRROR: Final = "https://tuf-repo-cdn.sigstore.dev"
"""TUF repository of the public Sigstore instance."""

CACHE: Final = Path("~/.cache/revet/tuf")
"""Where metadata that was accepted is kept, so that a mirror cannot go back."""

CRL_BYTES: Final = 8 * 1024 * 1024
"""Bytes of a revocation list that are read."""


class Asked(NamedTuple):
    """How a change was asked for: the options every command here has."""

    dry_run: bool
    yes: bool
    note: str
    evidence: str
    state: Place
    output: str


def _options(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS: Final = (
    click.option("--dry-run", is_flag=True, help="Say what would change, apply nothing."),
    click.option("--yes", is_flag=True, help="Do not ask."),
    note_option,
    evidence_option,
    sign_options,
    place_option,
    output_option,
)


@click.group("root")
def root() -> None:
    """Add, remove and list trust roots: Sigstore roots, CAs, trust stores, key rings."""


@root.command(
    epilog="Example:\n\n\b\n  $ revet trust root add corp-ca ca.pem\n  $ revet trust root add ca:corp store.pem"
)
@click.argument("name")
@click.argument("file")
@click.option(
    "--format", "written", type=click.Choice(FORMATS), help="What FILE is written in; default: by its content."
)
@_options
def add(name: str, file: str, written: RootFormat | None, **options: Any) -> int:  # noqa: ANN401  # what click gives; `Asked` says what it is
    """Put a trust root in force under NAME, or replace the one there. `-` reads standard input.

    Notary Project stores are named with their type: ca:NAME, signingAuthority:NAME, tsa:NAME.
    """
    asked = Asked(**options)
    found, content = reading(asked.state, create=True), root_text(file)
    format_ = written or format_of(name, content)
    old = found.trust.anchors.roots.get(name)
    if old is not None and (old.format, old.content) == (format_, content):
        return nothing_to_do(asked.output, f"nothing to do: trust root {name} already is so")
    record = put_root(found.trust, asked_by(found, asked.note), name, format_, content)
    return _apply(found, record, asked, "revet trust root add")


@root.command(epilog="Example:\n\n\b\n  $ revet trust root remove corp-ca --yes")
@click.argument("name")
@_options
def remove(name: str, **options: Any) -> int:  # noqa: ANN401  # as above
    """Take a trust root away; what rests on it alone no longer counts."""
    asked = Asked(**options)
    found = reading(asked.state)
    record = remove_root(found.trust, asked_by(found, asked.note), name)
    return _apply(found, record, asked, "revet trust root remove")


@root.command("list", epilog="Example:\n\n\b\n  $ revet trust root list -o json")
@place_option
@output_option
def list_(state: Place, output: str) -> int:
    """List the trust roots, what they hold, which policies name them, and which of them have grown old."""
    found = reading(state)
    rows: list[dict[str, Any]] = [  # Any: what JSON holds
        {
            "name": entry.name,
            "format": entry.format,
            "authorities": len(entry.document.authorities),
            "logs": len(entry.document.logs),
            "policies": list(_policies(found.trust, entry.name)),
            "since": show_time(entry.at),
            "note": "; ".join(window_note(entry.document, found.now)),
        }
        for entry in found.trust.anchors.walk()
    ]
    if output == "json":
        print_json({"schema": "revet.trust-roots/v1", "epoch": found.trust.epoch, "roots": rows})
        return EXIT_OK
    columns = ("name", "format", "authorities", "logs", "policies", "since", "note")
    shown = [row | {"policies": ", ".join(row["policies"]) or "-", "note": row["note"] or "-"} for row in rows]
    print_table(columns, [[row[c] for c in columns] for row in shown])
    return EXIT_OK


def _policies(trust: TrustState, root_name: str) -> Iterator[str]:
    """Policies in force that name a root."""
    for name, entry in sorted(trust.policies.items()):
        if any(root_name in attestor.root_texts for attestor in entry.policy.attestors.values()):
            yield name


@click.command("fetch-root", epilog="Example:\n\n\b\n  $ revet trust fetch-root --dry-run")
@click.option("--mirror", default=PUBLIC_MIRROR, show_default=True, metavar="URL", help="The TUF repository.")
@click.option("--root", "start", metavar="FILE", help="TUF root.json to start from; default: the one revet ships.")
@click.option("--name", default=PUBLIC_GOOD, show_default=True, help="The trust root to update.")
@click.option("--cache", default=CACHE, type=click.Path(path_type=Path), show_default=True, help="Accepted metadata.")
@_options
def fetch_root(mirror: str, start: str | None, name: str, cache: Path, **options: Any) -> int:  # noqa: ANN401  # as above
    """Update a Sigstore trust root by TUF, and see first what that changes for what runs."""
    from verifier.adapters.tuf_root import fetch_trusted_root  # noqa: PLC0415 - importing it opens a socket, to see IPv6

    asked = Asked(**options)
    if start is None and mirror != PUBLIC_MIRROR and name != PUBLIC_GOOD:
        raise click.UsageError("a private mirror has a root of its own: give --root FILE")
    found = reading(asked.state, create=True)
    home = Path(os.path.expanduser(cache))  # noqa: PTH111 - pathlib raises where there is no such user
    first = read_text(start).encode() if start is not None else public_good_tuf_root()
    fetched = fetch_trusted_root(mirror, first, home, now())
    _tell_fetched(fetched, mirror)
    old = found.trust.anchors.roots.get(name)
    if old is not None and old.content == fetched.content:
        return nothing_to_do(asked.output, f"nothing to do: trust root {name} is the mirror's newest")
    by = asked_by(found, asked.note, f"tuf:{mirror}")
    record = put_root(found.trust, by, name, "sigstore-trusted-root", fetched.content)
    return _apply(found, record, asked, "revet trust fetch-root")


def _tell_fetched(fetched: FetchedRoot, mirror: str) -> None:
    versions = f"root {fetched.root_version}, timestamp {fetched.timestamp_version}, targets {fetched.targets_version}"
    say(f"fetched from {mirror}: {versions}; metadata good until {show_time(fetched.expires)}")


@click.command("crl", epilog="Example:\n\n\b\n  $ revet trust crl ca.crl")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_options
def crl(file: Path, **options: Any) -> int:  # noqa: ANN401  # as above
    """Deliver a CA's certificate revocation list (DER or PEM) as data; revet fetches none itself."""
    if file.stat().st_size > CRL_BYTES:
        raise InputError(f"{file}: a revocation list of more than {CRL_BYTES} bytes")
    asked = Asked(**options)
    found = reading(asked.state)
    record = put_status_list(found.trust, asked_by(found, asked.note), file.read_bytes())
    return _apply(found, record, asked, "revet trust crl")


# ------------------------------------------------------------------------------------------------------------ applying


def _apply(found: Reading, record: Change, asked: Asked, what: str) -> int:
    """Say what it is and how far it reaches, ask where something that is good now would not be, apply."""
    foretold, _ = foresee(asked.state, [record], found.now)
    lost = _losing_proof(foretold)
    if asked.output == "table":
        for line in (*_told(found, record), *breaking_lines(foretold), *_lost_lines(lost)):
            click.echo(safe(line))
        print_breaking(foretold)
    if asked.dry_run:
        return _looked(found, record, foretold, asked)
    harmless = not (foretold.violating.containers or lost)
    if asked.output == "json" and not (asked.yes or harmless):
        say(f"revet: would begin to violate: {reach_text(foretold.violating)}")
    confirm("apply this change of trust?", yes=asked.yes or harmless)
    outcome = carry_out(asked.state, [record], found.now, expects=found.trust.epoch, evidence=asked.evidence, what=what)
    if asked.output == "table":
        click.echo()
    return tell(outcome, asked.output, asked.state)


def _looked(found: Reading, record: Change, foretold: Preview, asked: Asked) -> int:
    if asked.output == "json":
        members = {"record": record.model_dump(mode="json"), "told": list(_told(found, record))}
        print_json({"schema": "revet.trust-preview/v1", **members, "preview": msgspec.to_builtins(foretold)})
    else:
        click.echo("\ndry run: nothing was applied")
    return EXIT_OK


def _losing_proof(foretold: Preview) -> int:
    """Containers of classes that are valid under a policy now and could no longer be verified."""
    lost = {c.class_id: c.containers for c in foretold.changes if (c.before, c.after) == ("valid", "unverifiable")}
    return sum(lost.values())


def _lost_lines(lost: int) -> Iterator[str]:
    if lost:
        yield f"could no longer be verified: {count(lost, 'container')}"


def _told(found: Reading, record: Change) -> Iterator[str]:
    """The change in words: what it is, what the root holds or what is gained and lost by it, and whether it is old."""
    yield f"would write: {describe(record)}"
    name = getattr(record, "name", "")
    old = found.trust.anchors.roots.get(name)
    new = read_root(record.format, record.content) if isinstance(record, RootPut) else None
    if isinstance(record, RootRemoved | RootPut) and old is not None:
        yield from _differences(old, new)
    elif new is not None:
        yield from _held("  + ", _things(new))
    used = list(_policies(found.trust, name))
    if used:
        yield f"named by: {', '.join(used)}"
    if new is not None:
        yield from (f"note: {sentence}" for sentence in window_note(new, found.now))


def _differences(old: Root, new: RootDocument | None) -> Iterator[str]:
    before, after = _things(old.document), _things(new) if new is not None else {}
    yield from _held("  - ", {key: text for key, text in before.items() if key not in after})
    yield from _held("  + ", {key: text for key, text in after.items() if key not in before})
    for key, text in after.items():
        if key in before and before[key] != text:
            yield f"  ~ {text}"


def _held(sign: str, things: dict[str, str]) -> Iterator[str]:
    shown = list(things.values())[:SHOWN]
    yield from (f"{sign}{text}" for text in shown)
    if len(things) > SHOWN:
        yield f"{sign}… and {len(things) - SHOWN} more"


def _things(document: RootDocument) -> dict[str, str]:
    """What a root holds, by id, each in words."""
    found = {a.id: f"{_USES[a.use]} {a.label or short(a.id)}{_window(a)}" for a in document.authorities}
    logs = {f"{o.use}:{o.id}": f"{_USES[o.use]} {o.origin} ({short(o.id)}){_window(o)}" for o in document.logs}
    return found | logs


_USES: Final = {
    "signing": "CA",
    "timestamping": "timestamp authority",
    "notation": "trust anchor",
    "openpgp": "OpenPGP key",
    "tuf": "pinned",
    "transparency": "transparency log",
    "ct": "certificate log",
}


def _window(thing: Authority | Log) -> str:
    since = f", since {show_time(thing.valid_from)}" if thing.valid_from is not None else ""
    until = f", until {show_time(thing.valid_until)}" if thing.valid_until is not None else ""
    return since + until
