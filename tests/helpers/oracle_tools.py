"""Puts cases before the real tools and before revet.

    layout = publish(cases, folder)                    an OCI layout, one repository per case
    judge(layout, case, now).outcome                   revet's verdict, by the way evidence takes from a layout
    Tools(...).answers(case)                           {"cosign3": True, "cosign2": False}

The tools read the same bytes from a registry the layout was pushed to. Which flags make a tool ask the same question is
written here, once; a tool that has no such question is not asked.
"""

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers.notation import MANIFEST
from tests.helpers.oracle_cases import manifest_of
from tests.helpers.oracle_world import ROOT_TYPE, Case, Image, Layer, Part, Question, Referrer, compact
from tests.helpers.pki import pem
from tests.helpers.registry_server import BUNDLE, EMPTY, Layout, tag_of
from tests.helpers.rekor import key_pem
from verifier.adapters.fetch import fetch
from verifier.adapters.memory import MemoryEvidenceStore
from verifier.adapters.ocilayout import OciLayoutPlace
from verifier.evidence.identity import evidence_id
from verifier.evidence.notation import SUBJECT_MEDIA_TYPE, SUBJECT_SIZE
from verifier.facts.derive import derive_facts
from verifier.models import DigestClosure, Evidence, EvidenceFormat, EvidenceSet, Scope, Verdict
from verifier.policy.attestors import Attestor, Certificates, Demand, Keyless, Notary
from verifier.policy.identity import Identity
from verifier.policy.model import MatchRule, Policy, Requirement, with_version
from verifier.policy.selection import compile_policy
from verifier.reference import parse_reference
from verifier.trust.records import PolicyPut, RootPut, TrustRecord
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence, verify

HOST = "registry.example.com"
SIGNATURE_CONFIG = "application/vnd.cncf.notary.signature"
NO_ROOT = {"mediaType": ROOT_TYPE}
ENVELOPES = ("application/jose+json", "application/cose")
NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: cosign 2 looks for news of the public trust root, and nobody here has a network."""
SECONDS = 60
"""Longest a tool may take for one answer."""


# --------------------------------------------------------------------------------------------------------- publishing


def image_of(case: Case) -> Image:
    data = manifest_of(case.repository)
    return Image(f"{HOST}/{case.repository}", "sha256:" + hashlib.sha256(data).hexdigest(), len(data))


def publish(cases: Iterable[Case], folder: Path) -> Layout:
    """A layout with the images of all cases and what hangs on them, as signing tools leave it."""
    layout = Layout(folder)
    for case in cases:
        image = image_of(case)
        layout.blob(case.repository.encode())
        layout.manifest(image.repository, "", manifest_of(case.repository))
        _hang(layout, image, case.parts(image))
    layout.close()
    return layout


def _hang(layout: Layout, image: Image, parts: Sequence[Part]) -> None:
    for attestation, suffix in ((False, ".sig"), (True, ".att")):
        layers = [part for part in parts if isinstance(part, Layer) and part.attestation is attestation]
        if layers:
            kind = "dsse.envelope" if attestation else "dev.cosign.simplesigning"
            media = f"application/vnd.{kind}.v1+json"
            written = [layout.descriptor(media, part.payload, annotations=dict(part.annotations)) for part in layers]
            config = layout.descriptor("application/vnd.oci.image.config.v1+json", b"{}")
            document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": written}
            layout.manifest(image.repository, tag_of(image.digest) + suffix, document)
    listed = [_referrer(layout, image, part) for part in parts if isinstance(part, Referrer)]
    if listed:
        index = "application/vnd.oci.image.index.v1+json"
        document = {"schemaVersion": 2, "mediaType": index, "manifests": listed}
        layout.manifest(image.repository, tag_of(image.digest), document, index)


def _referrer(layout: Layout, image: Image, part: Referrer) -> dict[str, Any]:
    notary = part.media_type in ENVELOPES
    config = layout.descriptor(SIGNATURE_CONFIG if notary else EMPTY, b"{}")
    subject = {"mediaType": MANIFEST, "digest": image.digest, "size": image.size}
    about = {"dev.sigstore.bundle.content": "dsse-envelope"}
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        **({} if notary else {"artifactType": BUNDLE}),
        "config": config,
        "layers": [layout.descriptor(part.media_type, part.payload)],
        "subject": subject,
        "annotations": {"io.cncf.notary.x509chain.thumbprint#S256": json.dumps(["00" * 32])} if notary else about,
    }
    data = compact(document)
    digest = layout.manifest(image.repository, "", data)
    kind = SIGNATURE_CONFIG if notary else BUNDLE
    return {"mediaType": MANIFEST, "digest": digest, "size": len(data), "artifactType": kind}


# ---------------------------------------------------------------------------------------------------------------- revet


def attestors_of(question: Question) -> dict[str, Attestor]:
    """Whom revet's policy names for this question."""
    if question.keys:
        return {f"k{number}": Attestor(keys=(text,)) for number, text in enumerate(question.keys)}
    if question.store:
        return {"notary": Attestor(notary=Notary(stores=("ca:corp",), identities=question.trusted))}
    who = (Identity(issuer=question.issuer, subject=question.identity),)
    log = _demand(question.log)
    if question.issuer:
        return {
            "keyless": Attestor(keyless=Keyless(identities=who, roots=("root",), log=log, sct=_demand(question.sct)))
        }
    stamped = _demand(question.stamps)
    return {"byo": Attestor(certificates=Certificates(roots=("root",), identities=who, log=log, timestamp=stamped))}


def _demand(asked: bool) -> Demand:
    return "required" if asked else "optional"


def _requirement(question: Question, names: Sequence[str]) -> Requirement:
    if question.attestation:
        leaves = [Requirement(attested_by=name, predicate_type=question.attestation) for name in names]
    else:
        leaves = [Requirement(signed_by=name, annotations=dict(question.annotations)) for name in names]
    if len(leaves) == 1:
        return leaves[0]
    return Requirement(all=tuple(leaves)) if question.every else Requirement(any=tuple(leaves))


def trust_of(question: Question, now: int, more: Sequence[TrustRecord] = ()) -> tuple[TrustState, Policy]:
    """Trust, with `more` records behind the roots, and the policy that ask this question."""
    attestors = attestors_of(question)
    policy = Policy(
        id="asked",
        match=(MatchRule(images=("**",)),),
        attestors=attestors,
        require=_requirement(question, list(attestors)),
    )
    policy = with_version(policy)
    head: dict[str, Any] = {"author": "oracle", "at": now}
    records: list[TrustRecord] = []
    if question.root is not None:
        records.append(RootPut(name="root", format="sigstore-trusted-root", content=json.dumps(question.root), **head))
    if question.store:
        records.append(RootPut(name="ca:corp", format="notation-ca", content=question.store, **head))
    records += [*more, PolicyPut(policy=policy, **head)]
    trust = TrustState.empty()
    for epoch, record in enumerate(records, start=1):
        trust, applied = trust.apply(record, epoch)
        assert applied.applied or applied.code == "duplicate", applied.message
    return trust, policy


def judge(layout: OciLayoutPlace, case: Case, now: int) -> Verdict:
    """revet's verdict on a published case."""
    image = image_of(case)
    trust, policy = trust_of(case.question, now)
    reference = parse_reference(f"{image.repository}@{image.digest}")
    keyset = trust.candidate_set()
    fetched = asyncio.run(fetch(layout, MemoryEvidenceStore(), reference, image.digest, keyset, keyset.id, now, None))
    known = ImageEvidence(image.repository, image.digest, fetched.set, fetched.facts)
    return verify(compile_policy(policy), Scope(image=reference), known, trust, now)


def evidence_of(part: Part, image: Image) -> Evidence:
    """A part as collecting finds it."""
    name = hashlib.sha256(part.payload).hexdigest()
    if isinstance(part, Layer):
        format_: EvidenceFormat = "cosign-dsse" if part.attestation else "cosign-simplesigning"
        carried = dict(part.annotations)
        return Evidence(evidence_id(name, carried), format_, image.repository, image.digest, part.payload, carried)
    about = {SUBJECT_SIZE: str(image.size), SUBJECT_MEDIA_TYPE: MANIFEST} if part.media_type in ENVELOPES else {}
    kinds: dict[str, EvidenceFormat] = {"application/jose+json": "notation-jws", "application/cose": "notation-cose"}
    kind = kinds.get(part.media_type, "sigstore-bundle")
    return Evidence(evidence_id(name, about), kind, image.repository, image.digest, part.payload, about)


def judge_evidence(
    evidence: Sequence[Evidence], question: Question, now: int, more: Sequence[TrustRecord] = ()
) -> Verdict:
    """revet's verdict on evidence that was found already, all beside one image; `more` as for `trust_of`."""
    repository, digest = evidence[0].repository, evidence[0].subject
    trust, policy = trust_of(question, now, more)
    facts = tuple(derive_facts(evidence, trust.candidate_set()))
    found = EvidenceSet(
        repository,
        digest,
        tuple(piece.id for piece in evidence),
        DigestClosure(digest),
        (),
        complete=True,
        fetched_at=now,
        keyset=trust.keyset_id,
        version="1",
    )
    scope = Scope(image=parse_reference(f"{repository}@{digest}"))
    return verify(compile_policy(policy), scope, ImageEvidence(repository, digest, found, facts), trust, now)


# ---------------------------------------------------------------------------------------------------------------- tools


@contextmanager
def registry(program: Path) -> Iterator[str]:
    """A fresh registry in memory, ended with the block; gives its address."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    port = address.rpartition(":")[2]
    process = subprocess.Popen([program, "-port", port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(10)


class Answer(NamedTuple):
    """What a tool said."""

    accepts: bool
    said: str


@dataclass
class Tools:
    """The real tools, with files for what a question names."""

    programs: Mapping[str, Path]
    """`cosign3`, `cosign2`, `notation`."""
    address: str
    folder: Path

    def answers(self, case: Case) -> dict[str, Answer]:
        """One answer per tool that has the question."""
        return {tool: self.ask(tool, case) for tool in tools_for(case)}

    def ask(self, tool: str, case: Case) -> Answer:
        """What one tool says; several keys are several questions."""
        if tool == "notation":
            return self._notation(case)
        asked = [self._run(tool, self._cosign(tool, case, key), case) for key in case.question.keys or ("",)]
        combine = all if case.question.every else any
        return Answer(combine(one.accepts for one in asked), "".join(one.said for one in asked))

    def reference(self, case: Case) -> str:
        return f"{self.address}/{case.repository}@{image_of(case).digest}"

    def _run(self, tool: str, arguments: Sequence[str], case: Case, **environment: str) -> Answer:
        home = {"HOME": str(self.folder), "PATH": os.environ["PATH"], "DOCKER_CONFIG": str(self.folder)}
        home["HTTPS_PROXY"] = NOWHERE
        done = subprocess.run(
            [str(self.programs[tool]), *arguments],
            env=home | self._environment(tool, case.question) | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        usage = "unknown flag" in done.stderr or "required flag" in done.stderr or "Usage:" in done.stderr
        assert not usage, f"{tool} {case.name}: {done.stderr[:500]}"
        return Answer(done.returncode == 0, done.stderr)

    def _file(self, content: str, suffix: str) -> str:
        path = self.folder / f"{hashlib.sha256(content.encode()).hexdigest()[:20]}.{suffix}"
        if not path.exists():
            path.write_text(content)
        return str(path)

    def _environment(self, tool: str, question: Question) -> dict[str, str]:
        """cosign 2 is told of logs by variables."""
        if tool != "cosign2" or question.root is None:
            return {}
        found = {}
        logs = [log for log in question.root["tlogs"] if log["publicKey"]["keyDetails"] != "PKIX_ED25519"]
        for name, entries in (
            ("SIGSTORE_REKOR_PUBLIC_KEY", logs),
            ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", question.root["ctlogs"]),
        ):
            for entry in entries:
                found[name] = self._file(key_pem(b64decode(entry["publicKey"]["rawBytes"])), "pub")
        return found

    def _cosign(self, tool: str, case: Case, key: str) -> list[str]:
        question = case.question
        command = ["verify-attestation", "--type", question.attestation] if question.attestation else ["verify"]
        command += [part for name, value in question.annotations.items() for part in ("-a", f"{name}={value}")]
        command += ["--key", self._file(key, "pub")] if key else self._who(question)
        command += [] if question.log else ["--insecure-ignore-tlog"]
        command += [] if question.sct or key else ["--insecure-ignore-sct"]
        command += ["--use-signed-timestamps"] if question.stamps else []
        command += self._root(tool, case)
        return [*command, self.reference(case)]

    def _who(self, question: Question) -> list[str]:
        issuer = ["--certificate-oidc-issuer", question.issuer]
        anybody = ["--certificate-oidc-issuer-regexp", ".*"]
        return ["--certificate-identity", question.identity, *(issuer if question.issuer else anybody)]

    def _root(self, tool: str, case: Case) -> list[str]:
        question = case.question
        root = self._file(json.dumps(question.root or NO_ROOT), "json")
        if tool == "cosign3":
            chained = ["--allow-certificate-chain"] if case.family == "byo-bundle" else []
            return ["--trusted-root", root, *chained]
        if uses_bundles(case):
            return ["--trusted-root", root, "--new-bundle-format"]
        return [*(["--offline"] if question.log else []), *(self._chains(question.root) if question.root else ())]

    def _chains(self, root: Mapping[str, Any]) -> Iterator[str]:
        *below, anchor = _certificates(root["certificateAuthorities"][0])
        yield from ("--ca-roots", self._file(pem(anchor), "pem"))
        if below:
            yield from ("--ca-intermediates", self._file(pem(*below), "pem"))
        stamps = _certificates(root["timestampAuthorities"][0])
        yield from ("--timestamp-certificate-chain", self._file(pem(*stamps), "pem"))

    def _notation(self, case: Case) -> Answer:
        question = case.question
        statement = {
            "name": "only",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:corp"],
            "trustedIdentities": list(question.trusted),
        }
        document = json.dumps({"version": "1.0", "trustPolicies": [statement]})
        config = self.folder / hashlib.sha256((document + question.store).encode()).hexdigest()[:20]
        store = config / "notation" / "truststore" / "x509" / "ca" / "corp"
        if not store.exists():
            store.mkdir(parents=True)
            (store / "root.pem").write_text(question.store)
            (config / "notation" / "trustpolicy.json").write_text(document)
            (config / "notation" / "trustpolicy.json").chmod(0o600)
        folders = {"XDG_CONFIG_HOME": str(config), "XDG_CACHE_HOME": str(config / "cache")}
        command = ["verify", "--insecure-registry", self.reference(case)]
        return self._run("notation", command, case, **folders)


def _certificates(authority: Mapping[str, Any]) -> list[bytes]:
    return [b64decode(entry["rawBytes"]) for entry in authority["certChain"]["certificates"]]


def uses_bundles(case: Case) -> bool:
    """Does the question need cosign 2's bundle mode?"""
    if case.family == "several":
        return not case.name.startswith("several/classic")
    return case.family in {"bundle", "attest-bundle", "byo-bundle", "keyless-v1", "keyless-v2", "stamped-bundle"}


def tools_for(case: Case) -> tuple[str, ...]:
    """The tools that can be asked this question."""
    if case.question.store:
        return ("notation",)
    if case.family == "byo-bundle":
        return ("cosign3",)  # cosign 2 has no way to allow a chain inside a bundle
    if case.windowed and not uses_bundles(case):
        return ("cosign3",)
    return ("cosign3", "cosign2")
