"""Write streams/demo_data/README.md out of what was recorded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalogue import KEYS

TEMPLATE = Path(__file__).parent / "readme.template.md"
PARTS = {
    "started": "the eve: images pushed and signed; the servers start",
    "morning": "namespaces, policies, workloads; denials, dry runs, break-glass, impersonation",
    "midday": "a tag moves, rollouts, images patched into running pods, debug containers, a weakened policy",
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
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = "\n".join(f"| {timeline['phases'][part][:19]}Z | {part} | {text} |" for part, text in PARTS.items())
    differing = [image["name"] for image in images if any(a["v3"] != a["v2_root"] for a in image["cosign"].values())]
    differences = f", except for {', '.join(differing)}" if differing else ""
    filled = {"KEYS": keys, "VERSIONS": listed, "PARTS": parts, "DIFFERENCES": differences}
    filled["IMAGES"] = "\n".join(map(_row, images))
    text = TEMPLATE.read_text()
    for name, value in filled.items():
        text = text.replace(f"@{name}@", value)
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
