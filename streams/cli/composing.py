"""The policy composer behind the live page: fields become YAML, YAML becomes what it would do. It stores nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from dashboards.live import Written
from streams.cli.changing import foresee, reading
from streams.local.drafting import as_yaml
from streams.local.plan import plan
from streams.local.preview import OUTCOMES, ClassChange, Preview, differences
from streams.queries.report.common import cut, figure
from streams.queries.report.model import Block, Figures, Part, Section, Sentences, Table
from verifier.adapters.package_data import public_good_root
from verifier.errors import InputError, PolicyError
from verifier.policy.check import check_documents
from verifier.policy.documents import API_VERSION, Document, PolicyDocument, load_documents
from verifier.trust.changes import By

FILE: Final = "policy.yaml"
"""Name of the text in messages."""
ROWS: Final = 50
PROBLEMS: Final = 30
"""Problems that are told at once."""
LONGEST: Final = 200_000
"""Characters of a policy."""


def keys_in_force(state: Path) -> list[str]:
    """Names of keys that policies can name. Raises what `reading` raises."""
    return sorted(reading(state, create=True).trust.names)


def written_yaml(written: Written) -> tuple[str, list[str]]:
    """The policy of what was filled in, and what is missing for it."""
    images = [line.strip() for line in written.images.splitlines() if line.strip()]
    keys = _listed(written.keys)
    problems: list[str] = []
    if not written.name:
        problems.append("name: a policy needs one, such as payments-signed")
    if not images:
        problems.append("images: say which, such as registry.example.com/payments/**")
    if not keys and not written.subject:
        problems.append("who signs: name a key, or the issuer and identity of a keyless signature")
    if written.subject and not written.issuer:
        problems.append("issuer: a keyless identity names its issuer; any provider could vouch for it otherwise")
    if problems:
        return "", problems
    rule: dict[str, Any] = {"images": images}
    if namespaces := _listed(written.namespaces):
        rule["namespaces"] = namespaces
    attestors = dict(_attestors(keys, written))
    leaves = [_leaf(name, written.predicate) for name in attestors]
    require = leaves[0] if len(leaves) == 1 else {"any": leaves}
    spec = {"mode": written.mode, "match": [rule], "attestors": attestors, "require": require}
    return as_yaml({"apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": written.name}, "spec": spec}), []


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _attestors(keys: list[str], written: Written) -> Iterable[tuple[str, dict[str, Any]]]:
    if keys:
        yield "keys", {"keys": keys}
    if written.subject:
        member = "subjectPattern" if "*" in written.subject else "subject"
        yield "identity", {"keyless": {"identities": [{"issuer": written.issuer, member: written.subject}]}}


def _leaf(attestor: str, predicate: str) -> dict[str, str]:
    return {"attestedBy": attestor, "predicateType": predicate} if predicate else {"signedBy": attestor}


# ------------------------------------------------------------------------------------------------------------- preview


def foretold(state: Path, text: str) -> tuple[tuple[Section, ...], list[str]]:
    """What the policies of a text would do to what runs now, and what is wrong with them.

    Raises:
        InputError: the state is something else, or of a newer version.
        PlaceError: it cannot be read now.
    """
    if len(text) > LONGEST:
        return (), [f"{len(text):,} characters; a policy has at most {LONGEST:,} here"]
    documents, errors = load_documents(FILE, text)
    problems = [_wrong(error) for error in errors]
    others = sorted({d.body.kind for d in documents if not isinstance(d.body, PolicyDocument)})
    problems += [f"kind: {kind} is no policy; `revet trust apply` takes it" for kind in others]
    if not documents and not problems:
        problems.append("there is no policy in it yet: fill in the fields and render, or paste one")
    if problems:
        return (), problems[:PROBLEMS]
    found = reading(state, create=True)
    trust = found.trust
    checked = check_documents(
        documents, ring=trust.names, roots=trust.anchors.roots, policies=trust.policies, now=found.now
    )
    told = [f"line {p.line}: {p.field}: {p.message}; {p.todo}" for p in checked]
    if any(p.severity == "error" for p in checked):
        return (), told[:PROBLEMS]
    try:
        made = plan(trust, documents, By("the page", found.now, "preview"), shipped=public_good_root())
        seen, _ = foresee(state, made.records, found.now)
    except PolicyError as error:
        return (), [_wrong(error)]
    except InputError as error:
        return (), [str(error)]
    return (_section(seen, documents, [*told[:PROBLEMS], *made.notes]),), []


def _wrong(error: PolicyError) -> str:
    place = f"line {error.line}, column {error.column}: " if error.line else ""
    return f"{place}{error.field}: {error.message}" if error.field else f"{place}{error.message}"


def _section(seen: Preview, documents: Iterable[Document], notes: list[str]) -> Section:
    broken = [change for change in seen.changes if change.breaks]
    names = [d.name for d in documents]
    changed = {row.policy for row in seen.policies}
    notes += [f"no difference for what runs: {name}" for name in names if name not in changed]
    notes += [f"{code}: {why}" for code, why in seen.ignored]
    breaks, begin = sum(c.containers for c in broken), seen.violating
    figures = (
        figure("would break", breaks, "containers valid now that would violate", bad=True),
        figure("would begin to violate", begin.containers, f"containers of {begin.workloads:,} workloads", bad=True),
        figure("judged again", seen.touched, "classes of containers that the change touches"),
        figure("findings would open", len(seen.opened), _numbers(f.code for f in seen.opened)),
        figure("findings would close", len(seen.closed), _numbers(f.close_reason for f in seen.closed)),
    )
    blocks: list[Block] = [
        Figures(figures),
        Sentences(tuple(notes), "unknown", "Nothing to say against the policy itself."),
        Table("Containers by policy, before and after", ("policy", *OUTCOMES),
              tuple((row.policy or "all together", *differences(row)) for row in seen.policies)),
        _namespaces(seen),
        _broken(broken),
    ]  # fmt: skip
    text = "Worked out by the judge itself on a copy that was thrown away. Nothing was stored, and nobody was told."
    return Section("preview", "What it would do to what runs now", text, (Part(tuple(blocks)),))


def _namespaces(seen: Preview) -> Table:
    rows, more = cut([(n.cluster, n.namespace, n.team, *differences(n)) for n in seen.namespaces], ROWS, "namespace")
    return Table("Namespaces that differ", ("cluster", "namespace", "team", *OUTCOMES), rows, more)


def _broken(broken: list[ClassChange]) -> Table:
    listed = [
        (c.cluster, c.namespace, ", ".join(c.workloads), c.image, c.containers, c.policy, ", ".join(c.codes))
        for c in broken
    ]
    rows, more = cut(listed, ROWS, "row", "revet policy preview FILE -o json")
    columns = ("cluster", "namespace", "workload", "image", "containers", "policy", "reasons")
    return Table("Valid now, would violate", columns, rows, more)


def _numbers(values: Iterable[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(Counter(values).items()))
