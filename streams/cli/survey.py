"""`revet survey`: what runs, who signed it, what nobody signed, what could not be asked. No state, no policy.

It changes nothing and decides nothing. With `--draft-policy` it writes policies in trial mode that today's fleet meets;
whoever applies them has read them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import click
import msgspec
import yaml
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from alerting.text import count, short_digest
from streams.cli.common import (
    EXIT_OK,
    EXIT_UNKNOWN,
    by,
    console,
    now,
    output_option,
    print_json,
    print_table,
    read_text,
    say,
)
from streams.cli.sources import (
    AT_ONCE,
    TrustFiles,
    keyset_of,
    look_up,
    read_trust,
    source_options,
    with_public_good,
)
from streams.collectors.intake import Stream, read_stream
from streams.collectors.kubeconfig import read_kubeconfig, refuse_bombs
from streams.collectors.watch import list_pods
from streams.events import DeadLetter, Pod, PodObserved
from streams.local.drafting import Draft, Ring, RingKey, draft
from streams.local.survey import (
    STATES,
    Signature,
    Survey,
    SurveyedDigest,
    SurveyedRepository,
    sightings,
    survey,
)
from streams.places import EvidenceSource, opened
from verifier.errors import InputError
from verifier.models import Micros
from verifier.oci.port import EvidencePlace
from verifier.policy.attestors import PUBLIC_GOOD
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence

MAX_LIST_BYTES: Final = 1024 * 1024 * 1024
"""Bytes of one PodList. 10,000 pods with everything in them have about 100 MB."""
MAX_YAML_CHARACTERS: Final = 64 * 1024 * 1024
"""Characters of a PodList in YAML, which takes fifty times as long to read as JSON."""
SHOWN: Final = 40
"""Unsigned or unreachable images that the table names one by one; JSON has all."""
SIGNERS_SHOWN: Final = 4
"""Signers of one repository that the table names."""

_YAML_SUFFIXES: Final = (".yaml", ".yml")
_LOADER: Final[type[yaml.SafeLoader | yaml.CSafeLoader]] = (
    yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
)
_CLUSTER: Final = "survey"


# ---------------------------------------------------------------------------------------------------------------- pods


class Fleet(NamedTuple):
    """The pods, and how many inputs were none."""

    pods: tuple[Pod, ...]
    unreadable: int


def read_fleet(names: Iterable[str]) -> Fleet:
    """The pods of files and `-`: PodLists, lists, single pods, watch events; JSON, JSON lines, gzip or YAML.

    A pod of which the last event says that it is gone is left out. Every input that is no pod is told.

    Raises:
        InputError: a file cannot be read, is empty, or is YAML that is none.
    """
    newest: dict[tuple[str, str], Pod] = {}
    unreadable = 0
    for name in names:
        stream, empty = Stream(cluster=_CLUSTER, source=name), True
        for raw in read_stream(_chunks(name), kind="pods", max_body=MAX_LIST_BYTES):
            empty = False
            for found in stream.observe(raw):
                if isinstance(found, PodObserved):
                    key = (name, found.pod.uid)
                    newest.pop(key, None)
                    if not found.gone:
                        newest[key] = found.pod
                elif isinstance(found, DeadLetter):
                    unreadable += 1
                    say(f"revet: {found.source}: {found.code}: {found.message}")
        if empty:
            raise InputError(f"{name}: nothing to read; expected pods (kubectl get pods -A -o json)")
    return Fleet(tuple(newest.values()), unreadable)


def _chunks(name: str) -> Iterator[bytes]:
    if name.endswith(_YAML_SUFFIXES):
        yield from _from_yaml(name, read_text(name))
        return
    try:
        if name != "-":
            with Path(name).open("rb") as file:
                yield from iter(lambda: file.read(1 << 20), b"")
            return
        head = sys.stdin.buffer.read(1 << 20)
        if _is_yaml(head):
            yield from _from_yaml("(standard input)", (head + sys.stdin.buffer.read()).decode())
            return
        yield head
        yield from iter(lambda: sys.stdin.buffer.read(1 << 20), b"")
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 text") from error


def _is_yaml(head: bytes) -> bool:
    """Neither JSON nor gzip: `kubectl get pods -o yaml` begins with a member."""
    text = head.lstrip()
    return bool(text) and text[:1] not in (b"{", b"[", b"\x1f")


def _from_yaml(name: str, text: str) -> Iterator[bytes]:
    if len(text) > MAX_YAML_CHARACTERS:
        raise InputError(f"{name}: {len(text)} characters of YAML; give JSON (kubectl get pods -A -o json)")
    try:
        refuse_bombs(text)
        for document in yaml.load_all(text, Loader=_LOADER):
            yield msgspec.json.encode(document, enc_hook=str) + b"\n"
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{name}: not YAML or JSON of pods") from error


def ask_cluster(file: Path, context: str) -> Fleet:
    """Every pod of the cluster that a kubeconfig names.

    Raises:
        InputError: the kubeconfig, or a file or command it names, cannot be used.
        PlaceError: the API server refuses or does not answer.
    """
    access, folder = read_kubeconfig(read_text(str(file)), str(file), context), file.absolute().parent
    if access.insecure:
        say(f"revet: {access.server} is believed without proof (insecure-skip-tls-verify of {file})")

    async def collect() -> Fleet:
        pods: dict[str, Pod] = {}
        unreadable = 0
        async for found in list_pods(access, folder):
            if isinstance(found, Pod):
                pods[found.uid] = found
            else:
                unreadable += 1
        return Fleet(tuple(pods.values()), unreadable)

    return asyncio.run(collect())


# ------------------------------------------------------------------------------------------------------------ evidence


def ask_registries(
    source: EvidenceSource,
    questions: Sequence[str],
    trust: TrustState,
    instant: Micros,
    at_once: int,
    tell: Callable[[], None],
) -> dict[str, ImageEvidence]:
    """What is known of every image, `at_once` at a time; `tell` is called after each answer.

    Raises:
        PlaceRefused, InputError: the evidence source as a whole cannot be used.
    """
    keyset = keyset_of(trust)
    found: dict[str, ImageEvidence] = {}
    waiting = iter(questions)

    async def worker(place: EvidencePlace) -> None:
        for question in waiting:
            found[question] = await look_up(place, question, keyset, instant, source.platform)
            tell()

    async def ask() -> None:
        async with opened(source) as place:
            await asyncio.gather(*(worker(place) for _ in range(min(at_once, len(questions)))))

    asyncio.run(ask())
    return found


def _asked(
    source: EvidenceSource, questions: Sequence[str], trust: TrustState, instant: Micros, at_once: int
) -> dict[str, ImageEvidence]:
    """`ask_registries`, with a bar on a terminal."""
    if not sys.stderr.isatty():
        return ask_registries(source, questions, trust, instant, at_once, lambda: None)
    columns = (TextColumn("asking registries"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(questions))
        return ask_registries(source, questions, trust, instant, at_once, lambda: progress.advance(task))


# ------------------------------------------------------------------------------------------------------------ printing

_COLUMNS: Final = ("REPOSITORY", "DIGESTS", "CONTAINERS", "SIGNED BY", "FORMATS", "ATTESTATIONS", "STATE")


def print_survey(found: Survey) -> None:
    """Tables for people: a row per repository, then what is unsigned and what could not be asked."""
    print_table(_COLUMNS, map(_row, found.repositories))
    suspect = [(r.repository, d) for r in found.repositories for d in r.digests if d.suspect]
    if suspect:
        rows = [(f"{name}@{short_digest(d.digest)}", d.containers, _why(d)) for name, d in suspect]
        print_table(("IMAGE", "CONTAINERS", "WHY"), rows[:SHOWN], title="\nTampering? Look at these first")
        _more(len(rows))
    unsigned = list(_in_state(found, "unsigned", "attested"))
    if unsigned:
        _print_unsigned(unsigned)
    _print_unknown(found)
    number = sum(found.digests.values())
    told = ", ".join(f"{found.digests[state]} {state}" for state in STATES if found.digests[state])
    click.echo(f"\n{count(number, 'digest')} in {count(found.containers, 'container')}: {told or 'none'}")
    if found.waiting:
        say(f"{count(found.waiting, 'container')} not started: nothing runs in them yet")
    if found.unreadable:
        say(f"{count(found.unreadable, 'input')} could not be read")


def _print_unsigned(unsigned: Sequence[tuple[str, SurveyedDigest]]) -> None:
    rows = [(f"{r}@{short_digest(d.digest)}", d.containers, d.state, _spaces(d.namespaces)) for r, d in unsigned]
    print_table(("IMAGE", "CONTAINERS", "STATE", "NAMESPACES"), rows[:SHOWN], title="\nNot signed")
    _more(len(rows))


def _print_unknown(found: Survey) -> None:
    rows: list[tuple[object, ...]] = [
        (f"{r}@{short_digest(d.digest)}", d.containers, _why(d)) for r, d in _in_state(found, "unknown")
    ]
    rows += [(n.image, n.containers, f"{n.problem.code}: {n.problem.message}") for n in found.not_asked]
    if rows:
        print_table(("IMAGE", "CONTAINERS", "WHY"), rows[:SHOWN], title="\nNot known")
        _more(len(rows))


def _in_state(found: Survey, *states: str) -> Iterator[tuple[str, SurveyedDigest]]:
    for repository in found.repositories:
        for digest in repository.digests:
            if digest.state in states:
                yield repository.repository, digest


def _row(repository: SurveyedRepository) -> tuple[object, ...]:
    digests = repository.digests
    signatures = sorted({s for d in digests for s in d.signatures})
    attested = sorted({s.predicate_type for d in digests for s in d.attestations})
    states = [f"{n} {s}" for s in STATES if (n := sum(d.state == s for d in digests))]
    return (
        repository.repository,
        len(digests),
        repository.containers,
        ", ".join(_signers(signatures)) or "-",
        ", ".join(sorted({s.format for s in signatures})) or "-",
        ", ".join(t or "(no type)" for t in attested) or "-",
        ", ".join(states),
    )


def _signers(signatures: Iterable[Signature]) -> list[str]:
    signers = sorted({s.signer for s in signatures}, key=lambda s: (not s.verified, s))
    told = [signer.name + ("" if signer.verified else " (not verified)") for signer in signers]
    return told if len(told) <= SIGNERS_SHOWN else [*told[:SIGNERS_SHOWN], f"and {len(told) - SIGNERS_SHOWN} more"]


def _why(digest: SurveyedDigest) -> str:
    return "; ".join(f"{p.code}: {p.message}" for p in digest.problems[:2]) or "no answer"


def _spaces(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _more(number: int) -> None:
    if number > SHOWN:
        click.echo(f"… and {number - SHOWN} more; -o json shows all")


# ------------------------------------------------------------------------------------------------------------- drafting


def ring_of(trust: TrustState) -> Ring:
    """The keys and trust roots that a drafted policy may name."""
    keys = (key for key in trust.keys.values() if key.removed_at is None and key.superseded_at is None)
    anchors = trust.anchors
    listed = ((authority, anchor.root) for authority, found in anchors.authorities.items() for anchor in found)
    return Ring(
        keys={k.key_id: RingKey(k.name, k.pem, k.owner, k.valid_from, k.valid_until) for k in keys},
        roots={authority: root for authority, root in listed if root in anchors.roots},
        documents={n: (r.format, r.content) for n, r in anchors.roots.items() if n != PUBLIC_GOOD},
    )


def write_draft(made: Draft, directory: Path) -> None:
    """Write the files of a draft into a directory that holds none of them.

    Raises:
        InputError: a file is there already, or cannot be written; says which.
    """
    there = [name for name in made.files if (directory / name).exists()]
    if there:
        raise InputError(f"{directory}: {', '.join(there[:3])} is there already; draft into an empty folder")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in made.files.items():
            with (directory / name).open("x", encoding="ascii") as file:
                file.write(text)
    except OSError as error:
        raise InputError(f"{directory}: {error.strerror or error}") from error


# ------------------------------------------------------------------------------------------------------------- command

_EPILOG: Final = """\b
Exit codes: 0 everything that runs was asked about; 3 something could not be asked, or not read; 2 usage or a wrong
document; 4 the evidence source or the API server cannot be used. Whether images are signed does not change it.

\b
Examples:
  $ kubectl get pods -A -o json | revet survey --key cosign.pub
  $ revet survey --kubeconfig ~/.kube/config --docker-config ~/.docker --trust keys/ --draft-policy drafted/
  $ revet survey -f streams/demo_data/clusters/staging/pods.jsonl --trust streams/demo_data/keys \
--evidence oci-layout:streams/demo_data/oci
"""


@click.command(epilog=_EPILOG)
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    metavar="FILE|-",
    help="PodList as kubectl prints it, JSON or YAML; - is standard input (the default). Repeatable.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Ask the API server that this kubeconfig names for the pods of all namespaces.",
)
@click.option("--context", "kube_context", default="", metavar="NAME", help="Context of the kubeconfig.")
@click.option(
    "--trust", multiple=True, metavar="FILE|DIR", help="Keys (documents, .pub files) and trust roots. Repeatable."
)
@click.option("--key", multiple=True, metavar="FILE", help="Public key to know signatures by. Repeatable.")
@click.option(
    "--at-once",
    type=click.IntRange(1, 64),
    default=AT_ONCE,
    show_default=True,
    help="Images asked about at a time.",
)
@click.option(
    "--draft-policy",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write policies in trial that today's fleet meets, and exemptions for what it does not.",
)
@click.option("--owner", default="survey", show_default=True, help="Owner written into drafted exemptions.")
@source_options
@output_option
def command(
    files: tuple[str, ...],
    kubeconfig: Path | None,
    kube_context: str,
    trust: tuple[str, ...],
    key: tuple[str, ...],
    at_once: int,
    draft_policy: Path | None,
    owner: str,
    source: EvidenceSource,
    output: str,
) -> int:
    """What runs, signed by whom, unsigned, unreachable. No state, no policy."""
    if kubeconfig is not None and files:
        raise click.UsageError("give either pods with -f, or a --kubeconfig")
    if kube_context and kubeconfig is None:
        raise click.UsageError("--context chooses from a --kubeconfig")
    if not files and kubeconfig is None and sys.stdin.isatty():
        raise click.UsageError("no pods: pipe `kubectl get pods -A -o json` in, or give -f FILE or --kubeconfig FILE")
    instant = now()
    state = with_public_good(read_trust(TrustFiles(trust, key), by(instant)), by(instant))
    fleet = ask_cluster(kubeconfig, kube_context) if kubeconfig is not None else read_fleet(files or ("-",))
    seen = sightings(fleet.pods)
    if not seen.pods and not fleet.unreadable:
        say("revet: no pods")
    found = survey(seen, _asked(source, seen.questions, state, instant, at_once), state.name_of, fleet.unreadable)
    if draft_policy is not None:
        made = draft(found, ring_of(state), instant, owner)
        write_draft(made, draft_policy)
        told = f"{count(made.policies, 'policy', 'policies')} and {count(made.exemptions, 'exemption')}"
        say(f"revet: wrote {told} into {os.fspath(draft_policy)}; read them, then `revet policy check`")
    if output == "json":
        print_json(found)
    else:
        print_survey(found)
    return EXIT_OK if found.complete else EXIT_UNKNOWN
