"""Questions 6, 7 and 9: what admission said, who asked for it, and what came in beside the rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from streams.queries.asof import VerdictAt, verdicts_at
from streams.queries.conditions import EVERYTHING, Condition, both, either, full_name, is_, one_of
from streams.queries.port import Hit, Page, RecordReader
from streams.queries.questions.common import (
    VALUES,
    Placed,
    by_then,
    clusters_of,
    containers,
    digests_of,
    held_by,
    judged_so,
    placed,
    trust_entries,
    when,
    without_start,
)
from streams.queries.questions.model import READ, Asked, Cells, Found, Keyed, cursor, is_cursor, paged
from streams.queries.reading import objects_of, text_of, texts_of
from streams.queries.subjects import FIELD_OF
from streams.sinks.document import Body, shown_image
from streams.sinks.fields import HOMES
from streams.sinks.observed import BESIDE_RULES
from verifier.models import Micros

ADMITTED: Final = (
    *("time", "decision", "cluster", "namespace", "workload", "images", "engine", "by", "why", "flags", "user"),
    *("policies", "id"),
)
CREATED: Final = (
    *("time", "operation", "object", "cluster", "namespace", "user", "groups", "user_agent", "source"),
    *("impersonated_by", "workload", "service_account", "id"),
)
LET_IN: Final = (
    *("time", "how", "rule", "who", "approved_by", "ticket", "until", "why", "cluster", "namespace", "workload"),
    *("image", "id"),
)


# ------------------------------------------------------------------------------------------------ which decisions


def _about(reader: RecordReader, asked: Asked, held: Sequence[Hit]) -> Condition:
    """Decisions that admitted containers of the subject, and those that named its digests or its denied images."""
    ids = _values(held, "decision")
    parts: list[Condition] = [one_of("id", ids)]
    subject = asked.subject
    if subject is not None and subject.kind in ("digest", "image", *FIELD_OF, "key"):
        digests = digests_of(reader, asked)
        references = [*_values(held, "spec_image"), *([subject.name] if subject.kind == "image" else [])]
        denied = both(one_of("admission", ("denied", "errored")), one_of("asked", references))
        parts += [one_of("asked", digests), denied]
    elif subject is not None and subject.kind in ("pod", "workload"):
        parts.append(both(one_of("workload_id", _values(held, "workload_id")), is_("admission", "denied")))
        parts += [one_of("workload_id", subject.values)] if subject.kind == "workload" else []
    return both(either(*parts), asked.where, by_then(asked))


def _values(hits: Iterable[Hit], name: str) -> list[str]:
    return sorted({text_of(hit.body, name) for hit in hits} - {""})[:VALUES]


# ------------------------------------------------------------------------------------------------ 6


def admitted(reader: RecordReader, asked: Asked) -> Found:
    """Was it admitted, by what, and what did revet's policies say of it then? Oldest first."""
    held = containers(reader, held_by(reader, asked))
    page = reader.find(HOMES["admission"], _about(reader, asked, held), limit=asked.limit, after=asked.after)
    said = _said_of(reader, asked, page)
    let_in: dict[str, set[str]] = {}
    for hit in held:
        let_in.setdefault(text_of(hit.body, "decision"), set()).add(text_of(hit.body, "digest"))
    rows = [_admitted(hit, _said_about(hit, said, let_in.get(hit.id, set()))) for hit in page.hits]
    limit = "policies: revet's last verdict before the decision, or the first one after it (marked later)"
    return Found(rows, page.after, clusters_of(h.body for h in page.hits), (limit,))


def _said_about(decision: Hit, said: dict[str, list[Hit]], digests: set[str]) -> list[Hit]:
    """Verdicts about what a decision let in; of one that let nothing in, about every digest of the subject."""
    found = said.get(text_of(decision.body, "namespace"), [])
    return [hit for hit in found if not digests or text_of(hit.body, "digest") in digests]


def _admitted(hit: Hit, said: list[Hit]) -> Cells:
    body = hit.body
    policies = "; ".join(_policies(hit.time, said))
    return (
        hit.time,
        text_of(body, "admission"),
        *(text_of(body, name) for name in ("cluster", "namespace", "workload_id")),
        _images(body),
        text_of(body, "engine"),
        text_of(body, "webhook"),
        text_of(body, "why"),
        ", ".join((*texts_of(body, "beside_rules"), *(["dry run"] if body.get(full_name("dry_run")) is True else []))),
        text_of(body, "user"),
        policies,
        hit.id,
    )


def _images(body: Body) -> str:
    """The images of a request as the API server stored them, else as they were submitted."""
    shown = (entry.get("stored") or entry.get("submitted") for entry in objects_of(body, "provenance.images"))
    return ", ".join(dict.fromkeys(str(text) for text in shown if text))


def _said_of(reader: RecordReader, asked: Asked, page: Page) -> dict[str, list[Hit]]:
    """Namespace -> verdicts about the subject's digests there, oldest first."""
    digests, namespaces = digests_of(reader, asked), _values(page.hits, "namespace")
    if not page.hits or not digests:
        return {}
    by_then_ = by_then(Asked(at=asked.until))
    where = both(one_of("digest", digests), one_of("namespace", namespaces), by_then_)
    said: dict[str, list[Hit]] = {}
    for hit in reader.find(HOMES["verification"], where, limit=READ).hits:
        said.setdefault(text_of(hit.body, "namespace"), []).append(hit)
    return said


def _policies(time: Micros, said: list[Hit]) -> Iterator[str]:
    """What each policy said before, or else first said afterwards with the evidence at hand."""
    before: dict[str, Hit] = {}
    after: dict[str, Hit] = {}
    for hit in said:
        policy = text_of(hit.body, "policy")
        if hit.time < time:
            before[policy] = hit
        elif policy not in after or _PENDING in texts_of(after[policy].body, "reason"):
            after[policy] = hit
    for policy in sorted({*before, *after} - {""}):
        hit = before.get(policy) or after[policy]
        version, mode, verdict = (text_of(hit.body, name) for name in ("policy_version", "mode", "verdict"))
        yield f"{policy} {version} ({mode}): {verdict}" + ("" if policy in before else " (later)")


_PENDING: Final = "evidence-pending"
"""Said of an image nobody had asked for: the next verdict is the first that tells something."""


# ------------------------------------------------------------------------------------------------ 7


def created(reader: RecordReader, asked: Asked) -> Found:
    """Who or what asked for it? The pods' own requests, and those for what owns them; oldest first."""
    held = containers(reader, held_by(reader, asked))
    accounts = {text_of(hit.body, "workload_id"): text_of(hit.body, "service_account") for hit in held}
    subject = asked.subject
    owners = sorted({*accounts, *(subject.values if subject is not None and subject.kind == "workload" else ())} - {""})
    of_owner = both(one_of("workload_id", owners[:VALUES]), _NOT_PODS)
    where = both(either(one_of("id", _values(held, "decision")), of_owner), is_("admission", "admitted"))
    test = both(where, by_then(asked), asked.where)
    page = reader.find(HOMES["admission"], test, limit=asked.limit, after=asked.after)
    rows = [_created(hit, accounts) for hit in page.hits]
    return Found(rows, page.after, clusters_of(h.body for h in page.hits))


_NOT_PODS: Final = one_of("resource", ["deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "cronjobs"])
"""A pod's own request is found by the decision that admitted it; those of its owners by the workload."""


def _created(hit: Hit, accounts: dict[str, str]) -> Cells:
    body = hit.body
    workload = text_of(body, "workload_id")
    return (
        hit.time,
        text_of(body, "operation"),
        f"{text_of(body, 'resource')}/{text_of(body, 'name')}",
        *(text_of(body, name) for name in ("cluster", "namespace", "user")),
        ", ".join(texts_of(body, "user.roles")),
        *(text_of(body, name) for name in ("agent", "ip", "provenance.admission.impersonated_by")),
        workload,
        accounts.get(workload, ""),
        hit.id,
    )


# ------------------------------------------------------------------------------------------------ 9


def let_in(reader: RecordReader, asked: Asked) -> Found:
    """What came in beside the rules, and who approved that? Decisions first, then what runs although it violates."""
    where = both(asked.where, by_then(asked), one_of("beside_rules", BESIDE_RULES))
    if asked.subject is not None:
        where = both(where, _about(reader, asked, containers(reader, held_by(reader, asked))))
    rows: list[Cells] = []
    if not is_cursor(asked.after):  # the store's own, or none: decisions are not at their end
        page = reader.find(HOMES["admission"], where, newest_first=True, limit=asked.limit, after=asked.after)
        rows = [_let_in(hit, how) for hit in page.hits for how in _how(hit)]
        if page.after or len(page.hits) == asked.limit:
            clusters = clusters_of(hit.body for hit in page.hits)
            return Found(rows, page.after or cursor(asked, ("",)), clusters, without_start(asked))
        asked = msgspec.structs.replace(asked, after="", limit=asked.limit - len(page.hits))
    places, after = paged((Keyed(place, place) for place in _violating(reader, asked)), asked)
    judged = _Judged(reader, asked, (place.by for place in places))
    rows += [row for place in places for row in judged.rows(place)]
    return Found(rows, after, frozenset(str(row[8]) for row in rows), without_start(asked))


def _how(hit: Hit) -> Iterable[str]:
    return texts_of(hit.body, "beside_rules")


_RULE: Final = {
    "break-glass": "provenance.admission.mark",
    "failed-open": "failed_open",
    "engine-exemption": "provenance.admission.exempt",
    "engine-audit": "audited",
}


def _let_in(hit: Hit, how: str) -> Cells:
    body = hit.body
    rule = ", ".join(texts_of(body, _RULE[how]))
    where = (text_of(body, name) for name in ("cluster", "namespace", "workload_id"))
    images = _images(body)
    return (hit.time, how, rule, text_of(body, "user"), "", "", None, text_of(body, "why"), *where, images, hit.id)


def _violating(reader: RecordReader, asked: Asked) -> list[Placed]:
    """Where containers run that violate a policy now, or at the instant; by class."""
    now = is_("verdict", "violates") if asked.at is None else EVERYTHING
    found = placed(reader, asked, held_by(reader, asked), extra=now, by="class")
    if asked.instant is None:
        return list(found)
    then = judged_so(reader, {place.by for place in found}, "violates", asked.until)
    return [place for place in found if place.by in then]


class _Judged:
    """What policies said of the classes of a page, and who wrote or exempted that."""

    def __init__(self, reader: RecordReader, asked: Asked, classes: Iterable[str]) -> None:
        until = asked.until if asked.until is not None else asked.now
        self._said = verdicts_at(reader, classes, until)
        where = both(by_then(asked), one_of("record", ("exemption-put", "policy-put")))
        self._entries: dict[str, Hit] = {}
        for hit in trust_entries(reader, where):
            names = (text_of(hit.body, "exemption"), _versioned(hit.body))
            self._entries.update({name: hit for name in names if name})

    def rows(self, place: Placed) -> Iterator[Cells]:
        """One per policy that is violated and let it run all the same."""
        for said in sorted(self._said.get(place.by, {}).values(), key=lambda v: v.policy):
            if said.outcome != "violates" or not (said.exempted_by or said.mode != "enforce"):
                continue
            how, entry = self._why(said)
            by, body = ("", Body()) if entry is None else (text_of(entry.body, "user"), entry.body)
            told = (text_of(body, "approver"), text_of(body, "ticket"))
            until, why = when(body, "provenance.exemption.expires"), text_of(body, "why")
            rule = said.exempted_by or f"{said.policy} {said.version}"
            where = (place.cluster, place.namespace, place.workload, shown_image(place.repository, place.digest))
            yield (said.time, how, rule, by, *told, until, why, *where, said.id)

    def _why(self, said: VerdictAt) -> tuple[str, Hit | None]:
        if said.exempted_by:
            return "exemption", self._entries.get(said.exempted_by)
        return f"{said.mode}-mode", self._entries.get(f"{said.policy} {said.version}")


def _versioned(body: Body) -> str:
    version = text_of(body, "policy_version")
    return f"{text_of(body, 'policy')} {version}" if version else ""
