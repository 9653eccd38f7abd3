"""Policies that what runs today satisfies, drafted from a survey: a place to start, in trial mode, with the counts.

    made = draft(found, Ring({key_id: RingKey("dev", pem)}), at=now, owner="platform")
    made.files["policy-payments.yaml"]            text with comments that say what it was drafted from

Only signers that were proven are required: what merely names itself in a certificate, or a key nobody gave, is told in
a comment. What runs unsigned becomes an exemption by digest that ends. What looks like tampering is never exempted, and
what could not be asked is left out: no policy is drafted from silence. It writes nothing and applies nothing: a person
reads the files first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import yaml

from alerting.text import count, safe
from streams.local.survey import Signer, Survey, SurveyedDigest, SurveyedRepository
from verifier.errors import InputError
from verifier.models import Micros
from verifier.policy.attestors import PUBLIC_GOOD
from verifier.policy.documents import API_VERSION
from verifier.policy.fields import MAX_LIST_ENTRIES
from verifier.policy.notary import parse_trusted_identity
from verifier.policy.yamltree import MAX_DOCUMENTS
from verifier.times import DAY, show_instant

EXEMPTION_DAYS: Final = 30
"""Days after which a drafted exemption ends: time to sign what runs, or to decide."""

MAX_ALTERNATIVES: Final = 50
"""Signers that one drafted requirement names at most; longer lists say "anybody" and help nobody."""

MAX_REPOSITORIES: Final = 2_000
"""Repositories of one policy for what nobody signs: 2,000 names are some 160 KB of YAML."""

MAX_FILE_CHARACTERS: Final = 700_000
"""Characters of one file: the reader of documents takes 1 MiB."""

MAX_TOLD: Final = 20
"""Names in one comment."""

_COMMENT: Final = 200
"""Characters of one name in a comment."""

_AT_TAG: Final = "@refs/tags/"
"""In the subject of a GitHub workflow: what follows is the tag it was started for."""

_SLUG: Final = re.compile(r"[^a-z0-9]+")
_T = TypeVar("_T")


class RingKey(NamedTuple):
    """A key as a Key document holds it."""

    name: str
    pem: str
    owner: str = ""
    valid_from: Micros | None = None
    valid_until: Micros | None = None


class Ring(NamedTuple):
    """What the drafted attestors rest on."""

    keys: Mapping[str, RingKey]
    """By key id."""
    roots: Mapping[str, str] = {}
    """Authority id -> name of a trust root that lists it."""
    documents: Mapping[str, tuple[str, str]] = {}
    """Name of a trust root -> (format, content). The public Sigstore root is shipped and needs no document."""


class Draft(NamedTuple):
    """What was drafted."""

    files: dict[str, str]
    """File name -> text, in order."""
    policies: int
    exemptions: int
    left_out: int
    """Digests of which nothing is known, since a place did not answer."""


class _Group(NamedTuple):
    """Repositories with one requirement."""

    name: str
    repositories: tuple[SurveyedRepository, ...]
    images: tuple[str, ...]
    """Patterns."""
    signers: tuple[Signer, ...]
    every: bool
    """All of the signers signed every digest; otherwise any of them did."""
    unmet: tuple[tuple[str, SurveyedDigest], ...]
    """(repository, digest) that the requirement does not hold for."""


def draft(found: Survey, ring: Ring, at: Micros, owner: str) -> Draft:
    """The documents. Raises nothing.

    Args:
        found: the survey.
        ring: keys by id, roots by authority.
        at: microseconds UTC; exemptions end `EXEMPTION_DAYS` later.
        owner: whose the exemptions are.
    """
    groups = _groups(found.repositories, ring)
    signers = sorted({s for group in groups for s in group.signers})
    leftovers = _leftovers(found.repositories, groups, signers)
    files: dict[str, str] = {}
    keys = sorted({ring.keys[s.key_id] for s in signers if s.kind == "key"})
    if keys:
        files["keys.yaml"] = _text(_head(found, at, "The keys the drafted policies name."), map(_key, keys))
    named = sorted({root for s in signers if s.kind != "key" for root in _roots_of(s, ring)} & ring.documents.keys())
    if named:
        roots = (_root(name, ring) for name in named)
        files |= _split("roots", _head(found, at, "The trust roots the drafted policies rest on."), roots)
    for group in (*groups, *leftovers):
        files[f"policy-{group.name}.yaml"] = _text(_policy_head(found, group, at), [_policy(group, ring)])
    names = _Names()
    exemptions = [_exemption(*unmet, names, at, owner) for unmet in _unmet((*groups, *leftovers))]
    if exemptions:
        about = f"What runs and does not meet the drafted policies, until {show_instant(at + EXEMPTION_DAYS * DAY)}."
        files |= _split("exemptions", _head(found, at, about), exemptions)
    left_out = list(_unknown(found.repositories))
    if left_out:
        files["not-known.txt"] = "".join(f"{line}\n" for line in left_out)
    return Draft(files, len(groups) + len(leftovers), len(exemptions), len(left_out))


# -------------------------------------------------------------------------------------------------------------- groups


_Wanted = tuple[tuple[Signer, ...], bool]
"""(signers, all of them?)"""


def _groups(repositories: Sequence[SurveyedRepository], ring: Ring) -> tuple[_Group, ...]:
    """Repositories by what they can be asked for."""
    asked = {r.repository: wanted for r in repositories if (wanted := _requirement(r, ring)) is not None}
    together: dict[_Wanted, list[str]] = {}
    for name, wanted in asked.items():
        together.setdefault(wanted, []).append(name)
    names = _Names()
    groups = []
    for (signers, every), members in sorted(together.items(), key=lambda item: -len(item[1])):
        folders = _uniform(asked, members)
        covered = [r for r in repositories if r.repository in members or _inside(r.repository, folders)]
        alone = [name for name in members if not _inside(name, folders)]
        images = (*(f"{folder}/**" for folder in folders), *alone)
        name = names.take("signed-by-" + "-".join(_called(s, ring) for s in signers))
        groups.append(_group(name, covered, images, signers, every=every))
    return tuple(groups)


def _uniform(asked: Mapping[str, _Wanted], members: Sequence[str]) -> list[str]:
    """Folders of members that can be matched whole, also for what is yet to come: all that is asked for in and below
    them is asked for the same, no folder above one is asked for something else, and each holds two members or more.
    A registry by itself is no folder: everybody may push there.
    """
    folders = sorted({_folder(name) for name in members})
    wanted = asked[members[0]]
    whole = [
        folder
        for folder in folders
        if "/" in folder
        and sum(_folder(name) == folder for name in members) > 1
        and all(asked[name] == wanted for name in asked if _inside(name, [folder]))
    ]
    return [folder for folder in whole if not _inside(folder, whole)]


def _inside(name: str, folders: Iterable[str]) -> bool:
    return any(name.startswith(f"{folder}/") for folder in folders)


def _group(
    name: str,
    covered: Sequence[SurveyedRepository],
    images: tuple[str, ...],
    signers: tuple[Signer, ...],
    *,
    every: bool,
) -> _Group:
    wanted = frozenset(signers)
    unmet = tuple(
        (r.repository, d)
        for r in covered
        for d in r.digests
        if d.state != "unknown" and not (wanted <= _proven(d) if every else wanted & _proven(d))
    )
    return _Group(name, tuple(covered), images, signers, every, unmet)


def _requirement(repository: SurveyedRepository, ring: Ring) -> _Wanted | None:
    """(signers, all of them?) that every signed digest meets: who signed all of them, else a few who cover them."""
    proven = [frozenset(s for s in _proven(d) if _draftable(s, ring)) for d in repository.digests]
    signed = [signers for signers in proven if signers]
    if not signed:
        return None
    common = frozenset.intersection(*signed)
    if common:
        return tuple(sorted(common)), True
    chosen: list[Signer] = []
    open_ = signed
    while open_:
        best = max(sorted({s for signers in open_ for s in signers}), key=lambda s: sum(s in o for o in open_))
        chosen.append(best)
        open_ = [signers for signers in open_ if best not in signers]
    return (tuple(sorted(chosen)), False) if len(chosen) <= MAX_ALTERNATIVES else None


def _proven(digest: SurveyedDigest) -> frozenset[Signer]:
    return frozenset(map(_general, digest.proven))


def _general(signer: Signer) -> Signer:
    """A workflow at a tag as that workflow at any tag: the next release has another, and would not be met."""
    workflow, at_tag, _ = signer.subject.partition(_AT_TAG)
    if signer.kind != "keyless" or not at_tag or "*" in workflow or "?" in workflow:
        return signer
    subject = f"{workflow}{_AT_TAG}*"
    return msgspec.structs.replace(signer, subject=subject, name=f"{subject} by {signer.issuer}")


def _draftable(signer: Signer, ring: Ring) -> bool:
    """Can a policy name this signer?"""
    rooted = any(authority in ring.roots for authority in signer.authorities)
    if signer.kind == "key":
        return signer.key_id in ring.keys
    if signer.kind == "keyless":
        return bool(signer.subject)
    if signer.kind == "certificate":
        return rooted and bool(signer.subject)
    if signer.kind == "notation":
        return rooted and _trusted_identity(signer) is not None
    return rooted and signer.kind in ("openpgp", "trust-data")


def _trusted_identity(signer: Signer) -> str | None:
    """The subject as Notary Project trust policies write it; None when it lacks what they demand (C, ST, O)."""
    text = f"x509.subject: {signer.subject}"
    try:
        parse_trusted_identity(text)
    except InputError:
        return None
    return text


def _leftovers(
    repositories: Sequence[SurveyedRepository], groups: Sequence[_Group], signers: Sequence[Signer]
) -> tuple[_Group, ...]:
    """Repositories that nobody known signs, as one policy: one of your signers, or nobody yet."""
    covered = {r.repository for group in groups for r in group.repositories}
    left = [r for r in repositories if r.repository not in covered and _known(r)]
    if not left:
        return ()
    anybody = tuple(signers) if len(signers) <= MAX_ALTERNATIVES else ()
    names = _Names()
    for group in groups:
        names.take(group.name)
    return tuple(
        _group(names.take("signed-by-nobody"), part, tuple(r.repository for r in part), anybody, every=False)
        for part in _parts(left, MAX_REPOSITORIES)
    )


def _known(repository: SurveyedRepository) -> bool:
    return any(digest.state != "unknown" for digest in repository.digests)


def _unknown(repositories: Iterable[SurveyedRepository]) -> Iterator[str]:
    for repository in repositories:
        for digest in repository.digests:
            if digest.state == "unknown":
                why = digest.problems[0] if digest.problems else None
                told = f"{why.code}: {why.message}" if why is not None else "no answer"
                yield f"{repository.repository}@{digest.digest}: {safe(told, _COMMENT)}"


def _unmet(groups: Iterable[_Group]) -> Iterator[tuple[str, str, list[SurveyedDigest]]]:
    """(policy, repository, digests), one exemption each."""
    found: dict[tuple[str, str], list[SurveyedDigest]] = {}
    for group in groups:
        for repository, digest in group.unmet:
            if not digest.suspect:
                found.setdefault((group.name, repository), []).append(digest)
    for (policy, repository), digests in found.items():
        for part in _parts(digests):
            yield policy, repository, part


def _parts(entries: Sequence[_T], size: int = MAX_LIST_ENTRIES) -> list[list[_T]]:
    """Lists of at most `size`; by default as long as a document may hold."""
    return [list(entries[start : start + size]) for start in range(0, len(entries), size)]


# ----------------------------------------------------------------------------------------------------------- documents


def _key(key: RingKey) -> dict[str, Any]:
    spec: dict[str, Any] = {"pem": key.pem}
    if key.owner:
        spec["owner"] = key.owner
    for member, instant in (("validFrom", key.valid_from), ("validUntil", key.valid_until)):
        if instant is not None:
            spec[member] = show_instant(instant)
    return {"apiVersion": API_VERSION, "kind": "Key", "metadata": {"name": key.name}, "spec": spec}


def _policy(group: _Group, ring: Ring) -> dict[str, Any]:
    names = _Names()
    attestors = {names.take(_called(s, ring)): _attestor(s, ring) for s in group.signers}
    leaves = [{"signedBy": name} for name in attestors]
    require: dict[str, Any] = leaves[0] if len(leaves) == 1 else {"all" if group.every else "any": leaves}
    if not leaves:
        require = {"denied": "no signer of this image is known yet: sign it, and name the signer here"}
    spec = {
        "mode": "trial",
        "match": [{"images": part} for part in _parts(group.images)],
        **({"attestors": attestors} if attestors else {}),
        "require": require,
    }
    return {"apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": group.name}, "spec": spec}


def _called(signer: Signer, ring: Ring) -> str:
    if signer.kind == "key":
        return ring.keys[signer.key_id].name
    if not signer.subject:
        return "-".join(_roots_of(signer, ring)) or signer.kind
    return signer.subject.removeprefix("https://").partition("@")[0].rpartition("/.github/")[0] or signer.subject


def _attestor(signer: Signer, ring: Ring) -> dict[str, Any]:
    if signer.kind == "key":
        return {"keys": [ring.keys[signer.key_id].name]}
    roots = _roots_of(signer, ring)
    if signer.kind == "notation":
        return {"notary": {"stores": roots, "identities": [_trusted_identity(signer)]}}
    if signer.kind == "openpgp":
        return {"openpgp": {"keyrings": roots}}
    if signer.kind == "trust-data":
        return {"trustData": {"roots": roots}}
    subject = "subjectPattern" if signer.subject.endswith(f"{_AT_TAG}*") else "subject"
    identity = {**({"issuer": signer.issuer} if signer.issuer else {}), subject: signer.subject}
    named = {"roots": roots} if roots not in ([], [PUBLIC_GOOD]) else {}
    return {"keyless" if signer.kind == "keyless" else "certificates": {"identities": [identity], **named}}


def _roots_of(signer: Signer, ring: Ring) -> list[str]:
    return sorted({ring.roots[authority] for authority in signer.authorities if authority in ring.roots})


def _root(name: str, ring: Ring) -> dict[str, Any]:
    format_, content = ring.documents[name]
    bare = name.partition(":")[2] or name  # a store is named with its type, which its format says already
    spec = {"format": format_, "content": content}
    return {"apiVersion": API_VERSION, "kind": "TrustRoot", "metadata": {"name": bare}, "spec": spec}


def _exemption(
    policy: str, repository: str, digests: list[SurveyedDigest], names: _Names, at: Micros, owner: str
) -> dict[str, Any]:
    states = sorted({digest.state for digest in digests})
    why = f"ran before the policy was drafted ({', '.join(states)}); sign it, or replace it, before this ends"
    spec = {
        "policy": policy,
        "digests": [digest.digest for digest in digests],
        "why": why,
        "owner": owner,
        "expires": show_instant(at + EXEMPTION_DAYS * DAY),
    }
    name = names.take(f"{policy}-{repository.partition('/')[2]}")
    return {"apiVersion": API_VERSION, "kind": "Exemption", "metadata": {"name": name}, "spec": spec}


class _Names:
    """Names that are not taken yet."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}

    def take(self, text: str) -> str:
        name = base = _slug(text)
        while name in self._taken:
            self._numbers[base] = number = self._numbers.get(base, 1) + 1
            name = f"{base}-{number}"
        self._taken.add(name)
        return name


def _slug(text: str) -> str:
    """Lower-case letters, digits and hyphens: a name of every kind of document."""
    return _SLUG.sub("-", text.lower()).strip("-")[:100].strip("-") or "unnamed"


def _folder(repository: str) -> str:
    return repository.rpartition("/")[0]


# ---------------------------------------------------------------------------------------------------------------- text


def _text(head: Iterable[str], documents: Iterable[dict[str, Any]]) -> str:
    """Comments, then the documents. Everything that came from a stranger is one escaped line of ASCII."""
    return _joined(head, map(as_yaml, documents))


def _joined(head: Iterable[str], texts: Iterable[str]) -> str:
    return "".join(f"# {line}\n" for line in head) + "---\n".join(texts)


def _split(name: str, head: Sequence[str], documents: Iterable[dict[str, Any]]) -> dict[str, str]:
    """`_text` of many documents, in as many files as the reader of documents needs."""
    parts: list[list[str]] = [[]]
    size = 0
    for text in map(as_yaml, documents):
        if len(parts[-1]) >= MAX_DOCUMENTS or size + len(text) > MAX_FILE_CHARACTERS:
            parts.append([])
            size = 0
        parts[-1].append(text)
        size += len(text)
    if len(parts) == 1:
        return {f"{name}.yaml": _joined(head, parts[0])}
    return {f"{name}-{number}.yaml": _joined(head, part) for number, part in enumerate(parts, start=1)}


def as_yaml(document: dict[str, Any]) -> str:
    """A document as people write it: members in their order, keys of several lines as a block."""
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110))


_BASE: Final[type[yaml.SafeDumper | yaml.CSafeDumper]] = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


class _Dumper(_BASE):  # type: ignore[misc, valid-type]  # one of two classes with the same methods
    """Keys of several lines as a block; no aliases, which would tie documents together."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _block(dumper: Any, text: str) -> yaml.ScalarNode:  # noqa: ANN401  # either of the two
    found: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
    return found


_Dumper.add_representer(str, _block)


def _head(found: Survey, at: Micros, about: str) -> list[str]:
    number = sum(found.digests.values())
    size = f"{count(found.containers, 'container')} running {count(number, 'digest')}"
    drafted = f"Drafted by `revet survey` at {show_instant(at, 'seconds')} from {size}. Read it before you apply it."
    return [about, drafted]


def _policy_head(found: Survey, group: _Group, at: Micros) -> list[str]:
    digests = [d for r in group.repositories for d in r.digests]
    sizes = (
        count(len(group.repositories), "repository", "repositories"),
        count(len(digests), "digest"),
        count(sum(r.containers for r in group.repositories), "container"),
    )
    unmet = {digest.digest for _, digest in group.unmet if not digest.suspect}
    suspect = [f"{repository}@{digest.digest}" for repository, digest in group.unmet if digest.suspect]
    about = "In trial: judged and recorded, silent. Change the mode to audit when the preview says what you expect."
    lines = [
        *_head(found, at, about),
        f"For {', '.join(sizes)}:",
        *_listed(r.repository for r in group.repositories),
        *(f"  {_who(s)}: {sum(s in _proven(d) for d in digests)} of {len(digests)}" for s in group.signers),
    ]
    if unmet:
        lines.append(f"Not met by {count(len(unmet), 'digest')}, exempted in exemptions.yaml until signed.")
    if suspect:
        lines += ["Not exempted, for their evidence looks like tampering. Look at these first:", *_listed(suspect)]
    others = sorted({s.signer for d in digests for s in d.signatures if _general(s.signer) not in group.signers})
    if others:
        lines += ["Signatures that this policy does not ask for:", *_listed(map(_who, others))]
    return lines


def _who(signer: Signer) -> str:
    proof = "" if signer.verified else ", not verified: give its key or root to the survey"
    kind = "" if signer.kind == "unknown" else f"{signer.kind} "
    return f"{kind}{safe(signer.name, _COMMENT, ascii_only=True)}{proof}"


def _listed(names: Iterable[str]) -> list[str]:
    told = list(names)
    more = [f"  and {len(told) - MAX_TOLD} more"] if len(told) > MAX_TOLD else []
    return [*(f"  {safe(name, _COMMENT, ascii_only=True)}" for name in told[:MAX_TOLD]), *more]
