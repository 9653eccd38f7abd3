"""Write tests/assets/ecs.json: what ECS says of the names revet uses. `--check`: only say whether it is stale.

Asks the published field list once (an npm package; needs npm and node) and keeps facts only: type, whether it is
indexed, allowed values. A test compares the field table and the documents with them, without network.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from streams.sinks.fields import ECS_VERSION, FIELDS  # noqa: E402 the checkout must be importable first

FACTS = ROOT / "tests" / "assets" / "ecs.json"
PACKAGE = f"@elastic/ecs@{ECS_VERSION}"
OURS = ("provenance.", "kubernetes.")
DUMP = """
const { EcsFlat, EcsVersion } = require(process.argv[1]);
process.stdout.write(JSON.stringify({ version: EcsVersion, fields: EcsFlat }));
"""


def facts() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        subprocess.run(["tar", "xzf", archive.name], cwd=folder, check=True)
        built = f"{folder}/package/build/commonjs/index.js"
        told = json.loads(subprocess.run(["node", "-e", DUMP, built], check=True, capture_output=True).stdout)
    listed = told["fields"]
    names = {name: _fact(listed[name]) for name in FIELDS if not name.startswith(OURS) and name in listed}
    return {"version": told["version"], "fields": names}


def _fact(field: dict) -> dict[str, object]:
    fact: dict[str, object] = {"type": field["type"]}
    if field.get("index") is False:
        fact["index"] = False
    if allowed := field.get("allowed_values"):
        fact["allowed"] = {value["name"]: value.get("expected_event_types", []) for value in allowed}
    return fact


def main(arguments: list[str]) -> int:
    text = json.dumps(facts(), indent=1, sort_keys=True) + "\n"
    if FACTS.exists() and FACTS.read_text(encoding="utf-8") == text:
        return 0
    print(f"{'stale' if '--check' in arguments else 'wrote'}: {FACTS.relative_to(ROOT)}")
    if "--check" in arguments:
        return 1
    FACTS.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
