"""What a command that needs no state works on: a place to ask for evidence, and trust read from documents.

    @source_options                    # --evidence --plain-http --ca-file --docker-config --mirror --platform
    def command(source: EvidenceSource, …): …

    trust = read_trust(TrustFiles(documents=("trust/",), keys=("dev.pub",)), by(now))
    evidence = asyncio.run(look_up_all(source, ["registry.example.com/app:1"], trust, now))

Nothing is kept: facts are computed now, and what has no attested time has no time at all.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from streams.cli.common import PAIR, read_text, say
from streams.cli.manifests import manifest_files
from streams.cli.trust_files import (
    ROOT_SUFFIXES,
    SIGNER,
    CertificateSigner,
    RootFile,
    attestor_of,
    is_named,
    is_root,
    named_files,
    root_of,
    roots_of,
    with_file,
)
from streams.local.plan import BARE_KEY, needs_public_good
from streams.places import LAYOUT, LOOKASIDE, REGISTRY, TRUST_DATA, EvidenceSource, opened
from verifier.adapters.fetch import fetch
from verifier.adapters.memory import MemoryEvidenceStore
from verifier.adapters.package_data import public_good_root
from verifier.adapters.registry import RegistryOptions
from verifier.errors import ImageReferenceError, InputError, PlaceError, PolicyError, TrustError
from verifier.evidence.keys import load_public_key
from verifier.facts.candidates import KeySet
from verifier.models import ImageReference, Micros, Reason
from verifier.oci.addresses import Reach, check_listed
from verifier.oci.port import EvidencePlace, EvidenceStore
from verifier.policy.attestors import PUBLIC_GOOD, Attestor
from verifier.policy.check import Problem, check_documents
from verifier.policy.documents import (
    ClusterDocument,
    Document,
    ExemptionDocument,
    KeyDocument,
    PolicyDocument,
    TrustRootDocument,
    load_documents,
)
from verifier.policy.fields import check_name
from verifier.policy.model import MatchRule, Policy, Requirement
from verifier.policy.selection import CompiledPolicy, compile_policy
from verifier.reasons import REASONS, reason
from verifier.reference import parse_reference
from verifier.trust.changes import By, ExemptionScope, add_key, exempt, put_cluster, put_policy
from verifier.trust.records import TrustRecord
from verifier.trust.rootchanges import put_root
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence

F = TypeVar("F", bound=Callable[..., Any])

AT_ONCE: Final = 8
"""Images asked about at a time."""

TRUST_SUFFIXES: Final = (".yaml", ".yml", ".json", ".pub", *ROOT_SUFFIXES)
COMMAND_LINE: Final = "command-line"
"""Id of the policy that `--key` stands for."""

_PLATFORM: Final = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?")


# ------------------------------------------------------------------------------------------------------------- places


def source_options(function: F) -> F:
    """The options of an evidence source; the command gets them as one argument, `source`."""

    @functools.wraps(function)
    def wrapped(*args: Any, **values: Any) -> Any:  # noqa: ANN401  # a decorator of commands passes on what click gives
        given = {name: values.pop(name) for name in _PLACE_OPTIONS}
        return function(*args, source=evidence_source(**given, platform=values.pop("platform")), **values)

    for option in reversed(_SOURCE_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]  # click keeps the function's type in the same way


_PLACE_OPTIONS: Final = ("evidence", "plain_http", "ca_file", "docker_config", "mirror", "allow_host")
_FILE: Final = click.Path(path_type=Path)
_SOURCE_OPTIONS: Final = (
    click.option(
        "--evidence",
        default=REGISTRY,
        show_default=True,
        metavar="PLACE[,PLACE...]",
        help="Where signatures are: registry or oci-layout:DIR; beside it lookaside:DIR, trust-data:DIR.",
    ),
    click.option("--plain-http", is_flag=True, help="Speak HTTP without TLS to registries."),
    click.option("--ca-file", type=_FILE, metavar="FILE", help="PEM bundle of a private CA, beside the system's."),
    click.option(
        "--docker-config",
        type=_FILE,
        metavar="FILE",
        help="Docker config.json with credentials; else anonymous.",
    ),
    click.option(
        "--mirror",
        multiple=True,
        type=PAIR,
        metavar="HOST=URL",
        help="Ask http(s)://host[:port] in the place of registry HOST. Repeatable.",
    ),
    click.option(
        "--allow-host",
        multiple=True,
        metavar="HOST[:PORT]",
        help="A host of yours that may be asked at a private address; images you name have theirs. Repeatable.",
    ),
    click.option("--platform", metavar="OS/ARCH", help="Of a multi-platform image, look at this child too."),
)


def evidence_source(
    evidence: str,
    *,
    plain_http: bool = False,
    ca_file: Path | None = None,
    docker_config: Path | None = None,
    mirror: Iterable[tuple[str, str]] = (),
    allow_host: Sequence[str] = (),
    platform: str | None = None,
) -> EvidenceSource:
    """The source that the options name; nothing is opened yet.

    Raises:
        click.UsageError: an unknown kind of source, or options that do not go together.
    """
    if platform is not None and not _PLATFORM.fullmatch(platform):
        raise click.UsageError(f"--platform {platform!r}: expected os/arch[/variant], such as linux/amd64")
    main, *others = (part.strip() for part in evidence.split(","))
    lookaside, trust_data = _beside(evidence, others)
    mirrors = dict(mirror)
    if main.startswith(LAYOUT):
        if plain_http or ca_file or docker_config or mirrors or allow_host:
            raise click.UsageError(
                "--plain-http, --ca-file, --docker-config, --mirror and --allow-host are for registries only"
            )
        return EvidenceSource(Path(main.removeprefix(LAYOUT) or "."), lookaside, trust_data, platform=platform)
    if main != REGISTRY:
        expected = "expected registry or oci-layout:DIR first; lookaside:DIR and trust-data:DIR stand beside it"
        raise click.UsageError(f"--evidence {evidence!r}: {expected}")
    if docker_config is not None and docker_config.is_dir():
        docker_config = docker_config / "config.json"
    plain = frozenset({"*"} if plain_http else ())
    options = RegistryOptions(
        docker_config=docker_config, ca_file=ca_file, plain_http=plain, mirrors=mirrors, reach=_reach(allow_host)
    )
    return EvidenceSource(None, lookaside, trust_data, options, platform)


def _reach(hosts: Sequence[str]) -> Reach:
    try:
        return Reach(tuple(map(check_listed, hosts)))
    except ValueError as error:
        raise click.UsageError(f"--allow-host: {error}") from error


def _beside(evidence: str, places: Sequence[str]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The folders beside the first place: lookasides, trust data."""
    if not all(place.startswith((LOOKASIDE, TRUST_DATA)) for place in places):
        raise click.UsageError(f"--evidence {evidence!r}: beside the first place only lookaside:DIR and trust-data:DIR")
    lookaside = tuple(_folder(place, LOOKASIDE) for place in places if place.startswith(LOOKASIDE))
    return lookaside, tuple(_folder(place, TRUST_DATA) for place in places if place.startswith(TRUST_DATA))


def _folder(text: str, prefix: str) -> Path:
    """The folder behind a prefix; `~` is written out, which no shell does in the middle of a word."""
    name = text.removeprefix(prefix)
    if not name:
        raise click.UsageError(f"--evidence {text}: which folder? {prefix}DIR")
    return Path(os.path.expanduser(name))  # noqa: PTH111 - pathlib raises where there is no such user


# ----------------------------------------------------------------------------------------------------------- evidence


def keyset_of(trust: TrustState) -> KeySet:
    """Everything evidence is checked against; its id is `trust.keyset_id`."""
    return trust.candidate_set()


def read_reference(image: str) -> tuple[ImageReference, Reason | None]:
    """The reference as policies see it, and why there is none (then the text itself stands in the path)."""
    try:
        return parse_reference(image), None
    except ImageReferenceError:
        return ImageReference(registry="", path=image[:255]), reason("reference-unparsable", found=image[:255] or "''")


async def look_up(
    place: EvidencePlace,
    image: str,
    keyset: KeySet,
    instant: Micros,
    platform: str | None = None,
    store: EvidenceStore | None = None,
) -> ImageEvidence:
    """All that can be known now about one image: a tag means the digest it has now. Raises nothing.

    What cannot be asked is a `problem`; what does not answer leaves the set incomplete. Without a `store` to keep the
    bytes in, every image has one of its own, so that the answer does not depend on what else was asked.
    """
    store = MemoryEvidenceStore() if store is None else store
    reference, problem = read_reference(image)
    if problem is not None:
        return ImageEvidence(reference.repository, "", problem=problem)
    digest = ""
    try:
        digest = await place.resolve(reference)
        found = await fetch(place, store, reference, digest, keyset, keyset.id, instant, None, platform)
    except PlaceError as error:
        code = error.code if error.code in REASONS else "registry-unavailable"
        return ImageEvidence(reference.repository, digest, problem=Reason(code, str(error)))
    except ImageReferenceError as error:
        return ImageEvidence(reference.repository, digest, problem=Reason("reference-unparsable", str(error)))
    return ImageEvidence(reference.repository, digest, found.set, found.facts, dict(found.first_seen))


async def look_up_all(
    source: EvidenceSource, images: Iterable[str], trust: TrustState, instant: Micros
) -> dict[str, ImageEvidence]:
    """`look_up` for every distinct image, some at a time; by the text that was given.

    Raises:
        PlaceRefused, InputError: the source as a whole cannot be used (`opened`).
    """
    keyset, gate = keyset_of(trust), asyncio.Semaphore(AT_ONCE)
    wanted = list(dict.fromkeys(images))

    async def one(place: EvidencePlace, image: str) -> ImageEvidence:
        async with gate:
            return await look_up(place, image, keyset, instant, source.platform)

    async with opened(source) as place:
        found = await asyncio.gather(*(one(place, image) for image in wanted))
    return dict(zip(wanted, found, strict=True))


# -------------------------------------------------------------------------------------------------------------- trust


class TrustFiles(NamedTuple):
    """What trust is read from."""

    documents: tuple[str, ...] = ()
    """Files and directories: documents (.yaml, .yml, .json), public keys (.pub, by the name of the file) and bare trust
    roots (`trust_files`)."""
    keys: tuple[str, ...] = ()
    """Public keys any of which signs every image: the policy `command-line`."""
    annotations: tuple[tuple[str, str], ...] = ()
    """Signed annotations that policy asks for."""
    signer: CertificateSigner = CertificateSigner()
    """Whose certificate will do in the place of a key."""


class _PublicKey(NamedTuple):
    name: str
    pem: str
    file: str


def read_trust(files: TrustFiles, by: By) -> TrustState:
    """Trust as the files say, applied at `by.at` in the order keys, clusters, policies, exemptions.

    Every error of every file is told on standard error; an exemption of a policy that was not given is told and left
    out.

    Raises:
        InputError: a file cannot be read, or a document is wrong or contradicts another (file, line).
    """
    names = _all_files(files.documents)
    bare = [name for name in names if name.endswith(BARE_KEY) or is_root(name)]
    documents, named = _read_documents([name for name in names if name not in bare])
    bare = [name for name in bare if not is_named(name, named)]
    pems = [_PublicKey(Path(n).name.removesuffix(BARE_KEY), read_text(n), n) for n in bare if n.endswith(BARE_KEY)]
    given = roots_of(name for name in bare if not name.endswith(BARE_KEY))
    _refuse_doubles(given, documents)
    problems = check_documents(documents, ring=[key.name for key in pems], roots=[root.name for root in given])
    _refuse_errors([_as_error(problem) for problem in problems if problem.severity == "error"])
    log = _Log(by)
    for key in pems:
        with _placed(key.file):
            log.add(add_key(log.trust, by, key.name, key.pem))
    for root in given:
        with _placed(root.file):
            log.add(put_root(log.trust, by, root.name, root.format, root.content))
    for kind in (KeyDocument, ClusterDocument, TrustRootDocument, PolicyDocument, ExemptionDocument):
        for document in (d for d in documents if isinstance(d.body, kind)):
            log.apply(document)
    if files.keys or files.signer.given:
        _add_command_line(log, files)
    elif files.annotations:
        raise InputError("-a asks for annotations of a signature: say whose with --key, or write a policy")
    return log.trust


def with_public_good(trust: TrustState, by: By) -> TrustState:
    """Trust with the shipped root of the public Sigstore instance, for commands that only tell what evidence says."""
    if PUBLIC_GOOD in trust.anchors.roots:
        return trust
    record = put_root(trust, by, PUBLIC_GOOD, "sigstore-trusted-root", public_good_root())
    return trust.apply(record, trust.epoch + 1)[0]


def compiled_policies(trust: TrustState) -> dict[str, CompiledPolicy]:
    """Every policy in force, ready to be asked."""
    return {name: compile_policy(entry.policy) for name, entry in trust.policies.items()}


def _all_files(names: Iterable[str]) -> list[str]:
    """Every file once, also when it was named twice."""
    files = (file for name in names for file in manifest_files(name, TRUST_SUFFIXES))
    return list({Path(file).absolute() if file != "-" else Path(file): file for file in files}.values())


def _read_documents(names: Iterable[str]) -> tuple[list[Document], frozenset[str]]:
    """The documents with the text of the files they name, and the paths of these."""
    documents: list[Document] = []
    wrong: list[PolicyError] = []
    for name in names:
        found, errors = load_documents(name, read_text(name))
        wrong += errors
        documents += found
    named, filled = named_files(documents), []
    for document in documents:
        try:
            filled.append(with_file(document))
        except PolicyError as error:
            wrong.append(error)
    _refuse_errors(wrong)
    return filled, named


def _refuse_doubles(given: Iterable[RootFile], documents: Iterable[Document]) -> None:
    """A bare root and a document of one name: which of them is meant?"""
    files = {d.body.root_name: d for d in documents if isinstance(d.body, TrustRootDocument)}
    for root in given:
        other = files.get(root.name)
        if other is not None:
            line = other.place("metadata", "name").line
            raise PolicyError(f"{root.file} is a trust root of the name {root.name} too", file=other.file, line=line)


def _refuse_errors(errors: Sequence[PolicyError]) -> None:
    """Tells every error; the last one is raised."""
    for error in errors[:-1]:
        say(f"revet: {error}")
    if errors:
        raise errors[-1]


def _as_error(problem: Problem) -> PolicyError:
    message = f"{problem.message}; {problem.todo}"
    return PolicyError(message, file=problem.file, line=problem.line, column=problem.column, field=problem.field)


class _Log:
    """A trust log that nobody keeps."""

    def __init__(self, by: By) -> None:
        self.trust = TrustState.empty()
        self._by = by

    def add(self, record: TrustRecord) -> None:
        self.trust, applied = self.trust.apply(record, self.trust.epoch + 1)
        if not applied.applied and applied.code != "duplicate":
            raise TrustError(applied.message)

    def apply(self, document: Document) -> None:
        """The record of a document. Raises PolicyError with the place."""
        with _placed(document.file, document.place("metadata", "name").line):
            record = self._record(document)
            if record is not None:
                self.add(record)

    def _record(self, document: Document) -> TrustRecord | None:
        trust, by, name, body = self.trust, self._by, document.name, document.body
        match body:
            case KeyDocument(spec=key):
                window = {"valid_from": key.valid_from, "valid_until": key.valid_until}
                return add_key(trust, by, name, key.pem, owner=key.owner, **window)
            case ClusterDocument(spec=cluster):
                return put_cluster(trust, by, cluster.id, name, labels=cluster.labels, feeds=cluster.feeds)
            case TrustRootDocument():
                return put_root(trust, by, body.root_name, body.spec.format, body.spec.content)
            case PolicyDocument():
                if needs_public_good(body.spec.attestors.values()):
                    self.need_public_good()
                return put_policy(self.trust, by, body.to_policy())
            case ExemptionDocument():
                return self._exemption(document, body)

    def need_public_good(self) -> None:
        """The public Sigstore root this version ships, unless a file brought one."""
        if PUBLIC_GOOD not in self.trust.anchors.roots:
            self.add(put_root(self.trust, self._by, PUBLIC_GOOD, "sigstore-trusted-root", public_good_root()))

    def _exemption(self, document: Document, body: ExemptionDocument) -> TrustRecord | None:
        spec = body.spec
        if spec.policy and spec.policy not in self.trust.policies:
            say(f"revet: {document.file}: exemption {document.name} is for policy {spec.policy}, not given: left out")
            return None
        scope = ExemptionScope(spec.policy, spec.reasons, spec.namespaces, spec.images, spec.clusters, spec.digests)
        starts, expires = spec.window(self._by.at)
        people = {"owner": spec.owner, "approver": spec.approver, "ticket": spec.ticket}
        noted = self._by._replace(note=spec.why)
        return exempt(self.trust, noted, scope, **people, starts=starts, expires=expires)


@contextmanager
def _placed(file: str, line: int = 0) -> Iterator[None]:
    """What trust refuses is told with the place it was written at."""
    try:
        yield
    except (InputError, ValueError) as error:
        if isinstance(error, PolicyError) and error.file:
            raise
        raise PolicyError(str(error), file=file, line=line) from error


def _add_command_line(log: _Log, files: TrustFiles) -> None:
    """The keys of `--key`, and the policy that any of them signs every image."""
    if COMMAND_LINE in log.trust.policies:
        raise InputError(f"a policy is named {COMMAND_LINE}, which --key makes too; rename it, or leave --key out")
    wanted = _wanted(files.annotations)
    names: dict[str, None] = {}
    for file in files.keys:
        with _placed(file):
            names[_in_ring(log, file, read_text(file))] = None
    attestors = {name: Attestor(keys=(name,)) for name in names}
    if files.signer.given:
        attestors[SIGNER] = _certificate_attestor(log, files.signer)
    leaves = tuple(Requirement(signed_by=name, annotations=wanted) for name in attestors)
    policy = Policy(
        id=COMMAND_LINE,
        mode="enforce",
        match=(MatchRule(images=("**",)),),
        attestors=attestors,
        require=leaves[0] if len(leaves) == 1 else Requirement(any=leaves),
    )
    log.add(put_policy(log.trust, By("command-line", 0), policy))


def _certificate_attestor(log: _Log, signer: CertificateSigner) -> Attestor:
    """The attestor of the certificate options, with its root in trust."""
    root = root_of(signer)
    if root is None:
        log.need_public_good()
        return attestor_of(signer, PUBLIC_GOOD, "sigstore-trusted-root")
    with _placed(root.file):
        log.add(put_root(log.trust, By("command-line", 0), root.name, root.format, root.content))
    return attestor_of(signer, root.name, root.format)


def _wanted(annotations: Iterable[tuple[str, str]]) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for name, value in annotations:
        if wanted.setdefault(name, value) != value:
            raise InputError(f"-a {name} is asked for with two values; a signature carries one")
    return wanted


def _in_ring(log: _Log, file: str, pem: str) -> str:
    """The name of a key in the ring, put there under the name of its file unless it has one."""
    key = log.trust.keys.get(load_public_key(pem).key_id)
    if key is not None:
        return key.name
    name = _free_name(log.trust, Path(file).name)
    log.add(add_key(log.trust, By("command-line", 0), name, pem))
    return name


def _free_name(trust: TrustState, file: str) -> str:
    """`Release Key.pub` -> `release-key`; with a number when another key has that name."""
    stem = re.sub(r"[^a-z0-9._-]+", "-", file.removesuffix(".pub").removesuffix(".pem").lower()).strip("._-") or "key"
    numbered = (f"{stem}-{number}" for number in count(2))
    return check_name(next(name for name in chain((stem,), numbered) if name not in trust.names)[:253])
