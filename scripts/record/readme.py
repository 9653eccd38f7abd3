"""Write streams/demo_data/README.md out of what was recorded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalogue import KEYS

HEAD = """# Recorded input

What `revet demo` plays and the tests read: real signatures and two real clusters. Nothing here was written by hand;
`make record` (scripts/record/run.sh) makes all of it anew with the real tools, and this page too. All names are synthetic.

| file | what |
|---|---|
| `oci/` | an OCI image layout with every repository of `registry.example.com`; in `index.json` the annotation `org.opencontainers.image.ref.name` is the full reference: `…/payments/api:1.4.2`, `…:sha256-<hex>.sig` (classic signatures), `…:sha256-<hex>` (referrers fallback index), and `…@sha256:<hex>` for what no tag leads to (platform children, referrers, the old target of a moved tag, `.sig` manifests before the next signer was added) |
| `keys/*.pub` | the public keys; {keys} |
| `images.json` | one image per line: name, reference, digest, signers (key, format, artifact, layer, `good`: whether it really signs that digest, first observation) and the exit codes of real `cosign verify` for every key |
| `first-observations.jsonl` | when each piece of evidence was first seen in the registry, by polling it right after each signing. `artifact` is the manifest at that moment: a `.sig` manifest is replaced when a signer is added, so layer and `annotation_signature_sha256` (SHA-256 of the annotation's text, empty without one) identify the evidence. **Left out on purpose:** the signature of `data/loader:4.0`, so that nothing dates it |
| `timeline.json` | the parts of the day with their wall times, `compromised_since`, `revoked_at`, the clusters' identities (UID of namespace kube-system), and every step with its time, outcome and what the client was told |
| `clusters/<cluster>/audit.jsonl` | audit events as the API server wrote them, policy `scripts/record/manifests/audit-policy.yaml` |
| `clusters/<cluster>/pods.jsonl` | the lines of one open pod watch (`sendInitialEvents`, bookmarks) |
| `clusters/<cluster>/pods.times` | line by line, when the watch line arrived: a watch event has no time of its own |
| `clusters/<cluster>/*-after.*` | the same, for what happened after `revoked_at`: the affected workloads get fixed images |
| `clusters/<cluster>/namespaces.json` | the namespaces at the end, with the label `team` |
| `policies/` | revet's policies for the demo; not recorded |

## How it was made

{versions}.

cosign 2 made the classic signatures, cosign 3 the bundles and the attestations; neither used a log, a timestamp or a
certificate authority. Images are one-file layers with fixed content, so their digests are the same in each recording;
signatures and their digests are not. The private keys stay in the recording's work folder.

The clusters are real API servers on real etcds, without controller manager, scheduler and kubelet. kubectl acts for people
and pipelines; stand-ins with the tokens of the controllers and nodes make ReplicaSets, Jobs and pods and report their
status. A stand-in for the kubelet resolves a tag in the registry when a container starts, as a node does. Images of other
registries (nginx, redis, quay.io) were not there to resolve: their digests are made of their names. Two pods were written
straight into etcd. Otherwise every line is the server's own text.
"""

STORY = """## The day

| time (UTC) | part | what |
|---|---|---|
{parts}

Worth looking for:

| where | what |
|---|---|
| payments | policy denies other registries and `:latest`; the webhook denies what carries no signature, and pins tags to digests; both look away at the label `revet.test/break-glass` (payments-hotfix) |
| payments/payments-import | denied in the morning, admitted at midday while the policy's binding was weakened to Audit |
| payments/payments-fx-rates | denied in the morning, written into etcd in the evening: **it runs although it was denied**, unsigned |
| inventory/inventory-cache | written into etcd in the evening: **runs without admission on record**; its image is signed well |
| payments/payments-drifted | pins the digest of api:1.5.0; its node reports the digest of api:1.4.2 |
| payments/payments-batch | denied with 500 while the webhook was down (fails closed) |
| checkout/checkout-promo (prod-eu) | admitted while the webhook was down: **failed open**; signed by a key nobody trusts |
| checkout/checkout-cart | two replicas of one ReplicaSet with different digests: the tag `stable` moved between them |
| checkout/checkout-worker | patched from web:2026.11.3 to 2026.11.4 while it runs; carries `PLANTED-SECRET` values in env, args and annotation, which must never leave a receiver |
| inventory/inventory-legacy, inventory-logs | a Docker node (`docker-pullable://`); a CRI-O node, which reports the platform's manifest, not the signed index |
| inventory/inventory-typo | waits for an image that is not there: `imageID` is empty |
| inventory | opts out of its checks for a moment (label `provenance` removed), and inventory-redis comes in |
| platform/edge-proxy-worker-4 | a mirror pod with a side-loaded image: `imageID` is the bare config digest. It and node-agent ran before the recording: no admission on record, and none to be missed |
| staging, platform/log-shipper | pins the amd64 child of the index that is signed |
| `build-2026` before the compromise | payments-ledger-writer (prod-eu), data-warehouse (both clusters) |
| `build-2026` after it | checkout-api (both), payments-refunds (both), inventory-sync (prod-eu); checkout-mail (prod-eu), which `dev` signed too |
| `build-2026`, time unknown | data-loader (both) |
| after the revocation | checkout-api, payments-refunds, inventory-sync, data-loader get images signed by `release-2026`. The others stay: they have nothing to be replaced for |
"""

IMAGES_HEAD = """## Images

`cosign verify --key K --insecure-ignore-tlog`, with `--trusted-root` (an empty one) for cosign 3. "accepts" names the keys
for which cosign answered 0; for all other keys it answered the code in the last column. cosign 2 without a trusted root
answers 1 wherever there is a bundle; with one (`v2_root` in images.json) it answers as cosign 3 does{differences}.

| image | digest | signed by | cosign 3 accepts | cosign 2 accepts | else (3 / 2) |
|---|---|---|---|---|---|
"""

TAIL = """
Where cosign errs, and revet must not follow:

* `payments-ledger`: the bundle hides the good classic signature of `sec` from cosign 3.
* `inventory-search`: an SBOM attestation passes for a signature.
* `platform-p384-*`, `platform-ed25519-classic`: rejected by default; P-384 passes with
  `--signature-digest-algorithm sha384` (`cosign_sha384` in images.json), Ed25519 with no flag we found. There is no Ed25519
  bundle: cosign 3 signs with Ed25519ph, fails to verify that itself, and stops.
"""

PARTS = {
    "started": "the eve: images pushed and signed; the servers start",
    "morning": "namespaces, policies, workloads; denials, dry runs, break-glass, impersonation",
    "midday": "a tag moves, two rollouts, images patched into running pods, debug containers, policy weakened and restored",
    "compromise": "`build-2026` is stolen: `compromised_since`",
    "afternoon": "images signed with the stolen key are pushed, admitted and run",
    "evening": "two pods appear behind the API server's back; webhook outage; digest drift; deletions",
    "revocation": "nothing happens: the key may be revoked now (`revoked_at`); end of the day's files",
    "after": "fixed images roll out; the `-after` files",
    "ended": "end",
}


def write(results: Path, images: list[dict[str, Any]], versions: Mapping[str, str]) -> None:
    timeline = json.loads((results / "timeline.json").read_bytes())
    keys = ", ".join(f"`{name}` ({kind})" for name, kind in KEYS.items())
    listed = "Tools: " + ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = "\n".join(f"| {timeline['phases'][part][:19]}Z | {part} | {text} |" for part, text in PARTS.items())
    differing = [image["name"] for image in images if any(a["v3"] != a["v2_root"] for a in image["cosign"].values())]
    differences = f", except for {', '.join(differing)}" if differing else ""
    text = HEAD.format(keys=keys, versions=listed) + "\n" + STORY.format(parts=parts) + "\n"
    text += IMAGES_HEAD.format(differences=differences) + "\n".join(map(_row, images)) + "\n" + TAIL
    (results / "README.md").write_text(text)


def _row(image: dict[str, Any]) -> str:
    signers = ", ".join(
        f"{signer['key']} ({signer['format']}{'' if signer['good'] else ', not good'})" for signer in image["signers"]
    )
    accepts = {which: [key for key, codes in image["cosign"].items() if codes[which] == 0] for which in ("v3", "v2")}
    others = {
        which: sorted({codes[which] for codes in image["cosign"].values() if codes[which]}) for which in ("v3", "v2")
    }
    reference = image["reference"].removeprefix("registry.example.com/")
    cells = [
        f"`{image['name']}`<br>{reference}<br>{image['note']}",
        f"`{image['digest'].removeprefix('sha256:')[:12]}`",
        signers or "-",
        ", ".join(accepts["v3"]) or "-",
        ", ".join(accepts["v2"]) or "-",
        " / ".join(", ".join(map(str, others[which])) for which in ("v3", "v2")),
    ]
    return f"| {' | '.join(cells)} |"
