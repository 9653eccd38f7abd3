"""The story of `revet demo`: a recorded day on the real code path, step by step. It decides nothing and prints nothing.

    story = Story.open(state, data)
    story.trust(); await story.day(progress); story.revocation(); …

Every number a step returns is read from the node that did the work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from alerting.adapters.console import message_text
from alerting.delivery import Failed, Find, Found, Post, Posted, SendReply, Update
from alerting.models import Finding, Incident
from alerting.render import render_reply
from alerting.routing import Routes
from streams.events import DecisionObserved
from streams.local.dated import read_dates
from streams.local.node import LocalNode, NodeSettings
from streams.local.preview import Hit, Preview, preview, shard_copy, signatures_hit
from streams.local.replay import ReplaySource, instant, read_items, replay
from streams.local.sqlite import note_clock, stored_shard, team_names
from streams.state import Class
from verifier.adapters.ocilayout import OciLayoutPlace
from verifier.models import Outcome
from verifier.policy.documents import ClusterDocument, Document, PolicyDocument, load_documents
from verifier.times import MINUTE
from verifier.trust import changes
from verifier.trust.records import RevocationPut, TrustRecord
from verifier.verify import SEVERITY_OF_OUTCOME, worst

DATA: Final = Path(__file__).parent.parent / "demo_data"
"""The recorded input that is installed with the program."""
KEYS: Final = (("dev", "dev"), ("sec", "sec"), ("ops", "ops"), ("release", "release-2025"), ("build", "build-2026"))
"""(name in the trust ring, file of the public key). `release` is rotated later; `rogue` is trusted by nobody."""


class Timeline(msgspec.Struct, frozen=True):
    """Wall times the recorder wrote down, microseconds UTC."""

    phases: dict[str, int]
    compromised_since: int
    revoked_at: int


class Heard:
    """A place where messages arrive; the demo shows them when the story gets there."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        """(incident headline, whole text)"""

    def post(self, call: Post) -> Posted | Failed:
        """Keep a new message."""
        self.messages.append((call.message.headline, message_text(call.message)))
        return Posted(call.destination, call.delivery)

    def update(self, call: Update) -> Posted | Failed:
        """An edit of a message; the demo shows the state of incidents instead."""
        return Posted(call.destination, call.delivery)

    def reply(self, call: SendReply) -> Posted | Failed:
        """Keep a reply."""
        self.messages.append((call.message.headline, render_reply(call.reply, call.message)))
        return Posted(call.destination, f"{call.delivery}/{call.reply.id}")

    def find(self, call: Find) -> Found | Failed:
        """Nothing is lost in memory."""
        del call
        return Found(())

    def take(self) -> list[tuple[str, str]]:
        """What arrived since the last call."""
        taken, self.messages = self.messages, []
        return taken


class ImageRow(msgspec.Struct, frozen=True):
    """One image that runs, and what it is worth now."""

    image: str
    digest: str
    clusters: str
    containers: int
    outcome: Outcome
    policies: str
    why: str


class Story:
    """A node and the recording it plays."""

    def __init__(self, node: LocalNode, data: Path, heard: Heard) -> None:
        self.node, self.data, self.heard = node, data, heard
        self.timeline = _timeline(data / "timeline.json")
        self.clusters = sorted(p.name for p in (data / "clusters").iterdir() if p.is_dir())

    @classmethod
    def open(cls, state: Path, data: Path = DATA) -> Story:
        """A fresh state file for the demo; an older one of the same name is replaced.

        Raises:
            InputError: the recording is not there or not readable.
            PlaceUnavailable: the state cannot be written.
        """
        for suffix in ("", "-wal", "-shm"):
            Path(f"{state}{suffix}").unlink(missing_ok=True)
        heard = Heard()
        with (data / "first-observations.jsonl").open("rb") as lines:
            dates = read_dates(lines, "first-observations.jsonl")
        settings = NodeSettings(
            place=OciLayoutPlace(data / "oci"),
            replay=True,
            dates=dates,
            platform="linux/amd64",
            notifier=heard,
            routes=Routes(team_slices=False),
        )
        node = LocalNode.open(state, settings)
        note_clock(node.connection, recorded=True)
        return cls(node, data, heard)

    # ------------------------------------------------------------------ trust

    async def trust(self) -> tuple[list[str], list[tuple[str, str, str]]]:
        """Put keys, clusters and policies in force a minute before the recording; returns (keys, policies)."""
        self.node.tick(self.timeline.phases["morning"] - MINUTE)
        for name, file in KEYS:
            await self.apply(changes.add_key(self.node.trust, self.by(), name, self._key(file)))
        for file in ("clusters.yaml", "policies.yaml"):
            documents, errors = load_documents(file, (self.data / "policies" / file).read_text())
            if errors:
                raise errors[0]
            for document in documents:
                await self.apply(self._record(document))
        trust = self.node.trust
        policies = [(p, str(e.policy.mode), e.policy.description) for p, e in trust.policies.items()]
        return [f"{name} ({file}.pub)" for name, file in KEYS], policies

    def _record(self, document: Document) -> TrustRecord:
        body, trust = document.body, self.node.trust
        if isinstance(body, PolicyDocument):
            return changes.put_policy(trust, self.by(), body.to_policy())
        if isinstance(body, ClusterDocument):
            spec = body.spec
            return changes.put_cluster(
                trust, self.by(), spec.id or document.name, document.name, labels=spec.labels, feeds=spec.feeds
            )
        raise TypeError(f"{document.file}: the demo has no {type(body).__name__}")

    def _key(self, file: str) -> str:
        return (self.data / "keys" / f"{file}.pub").read_text()

    def by(self, note: str = "") -> changes.By:
        """Who asks, at the virtual clock."""
        return changes.By("demo", self.node.now, "demo", note)

    async def apply(self, record: TrustRecord) -> None:
        """Append a trust record and work until everything is judged and told."""
        self.node.change_trust([record])
        await self.node.drain()

    # ------------------------------------------------------------------ playing

    def sources(self, part: str = "") -> list[ReplaySource]:
        """Files of the day (`part` empty) or of what came after the revocation (`-after`)."""
        names = (f"audit{part}.jsonl", f"pods{part}.jsonl")
        return [ReplaySource(c, self.data / "clusters" / c / n) for c in self.clusters for n in names]

    async def play(self, part: str, tell: Callable[[int, int, str], None]) -> int:
        """Play a part; `tell(items, clock, phase)` is called as the virtual clock moves on. Returns items."""
        items = 0
        async for progress in replay(self.node, self.sources(part), batch=25):
            items = progress.items
            tell(items, progress.time, self._phase(progress.time))
        return items

    def _phase(self, time: int) -> str:
        past = [(at, name) for name, at in self.timeline.phases.items() if at <= time]
        return max(past, default=(0, "before"))[1]

    def decisions(self) -> list[DecisionObserved]:
        """What admission said during the day."""
        ignored: Counter[str] = Counter()
        items = (item for source in self.sources() for item in read_items(source, ignored))
        return [o for item in items for o in item.observations if isinstance(o, DecisionObserved)]

    async def settle(self, until: int) -> None:
        """Let the virtual clock move on with nothing coming in."""
        await self.node.advance(until)

    # ------------------------------------------------------------------ looking

    def images(self) -> list[ImageRow]:
        """What runs now, by image and digest, the worst first."""
        grouped: dict[tuple[str, str], list[Class]] = {}
        for cls in self.node.processor.state.classes.values():
            if cls.members:
                image = cls.row.scope.image
                name = image.repository.removeprefix("registry.example.com/") + (f":{image.tag}" if image.tag else "")
                grouped.setdefault((name, cls.row.digest), []).append(cls)
        rows = [_image_row(name, digest, found) for (name, digest), found in grouped.items()]
        return sorted(rows, key=lambda row: (-SEVERITY_OF_OUTCOME[row.outcome], row.image))

    def incidents(self) -> list[Incident]:
        """Incidents as they are now, the worst first."""
        rank = {"critical": 0, "high": 1, "medium": 2, "low": 3, "info": 4}
        found = self.node.processor.alerter.book.incidents()
        return sorted(found, key=lambda i: (i.state == "resolved", rank[i.severity], i.kind, i.subject))

    # ------------------------------------------------------------------ the revocation

    def revocation(self) -> RevocationPut:
        """The record that `revet revoke key build --reason keyCompromise --compromised-since …` would write."""
        return changes.revoke(
            self.node.trust,
            self.by("stolen from the build farm"),
            "key",
            "build",
            reason="keyCompromise",
            compromised_since=self.timeline.compromised_since,
        )

    def dry_run(self, record: RevocationPut) -> tuple[Hit, Preview]:
        """What `--dry-run` prints: the split, and what would change; nothing is stored."""
        teams = team_names(self.node.connection)
        state = shard_copy(stored_shard(self.node.connection), self.node.trust)
        hit = signatures_hit(state, record, teams)
        return hit, preview(state, [record], self.node.now, teams=teams)

    async def rotate(self) -> tuple[list[Finding], list[Finding]]:
        """Rotate `release` to its successor; returns findings that (opened, closed)."""
        before = {f.id for f in self.open_findings()}
        await self.apply(changes.rotate_key(self.node.trust, self.by("yearly"), "release", self._key("release-2026")))
        after = {f.id for f in self.open_findings()}
        findings = self.node.processor.state.findings
        return [findings[f] for f in sorted(after - before)], [findings[f] for f in sorted(before - after)]

    def open_findings(self) -> list[Finding]:
        """Findings that are open now."""
        return [f for f in self.node.processor.state.findings.values() if f.state == "open"]

    def live(self, incident: Incident) -> int:
        """Containers of an incident at this instant (what was last told may be some seconds older)."""
        found = self.node.processor.alerter.book.slice_of(incident.id, "security")
        return found.containers if found is not None else 0


def _image_row(name: str, digest: str, found: list[Class]) -> ImageRow:
    judged = [j for cls in found for j in cls.judged.values()]
    return ImageRow(
        image=name,
        digest=digest,
        clusters=", ".join(sorted({cls.row.scope.cluster for cls in found})),
        containers=sum(cls.members for cls in found),
        outcome=worst([j.decided.outcome for j in judged]),
        policies=", ".join(sorted({p for cls in found for p in cls.judged if p})),
        why=", ".join(sorted({code for j in judged for code in j.codes})),
    )


class _RawTimeline(msgspec.Struct):
    phases: dict[str, str]
    compromised_since: str
    revoked_at: str


def _timeline(path: Path) -> Timeline:
    raw = msgspec.json.decode(path.read_bytes(), type=_RawTimeline)
    phases = {name: instant(text) for name, text in raw.phases.items()}
    return Timeline(phases, instant(raw.compromised_since), instant(raw.revoked_at))
