"""Image ids as another project reads them (quay/container-security-operator, see the samples' SOURCES.md)."""

import json

from verifier.reference import parse_image_id


def test_agrees_on_every_transcribed_image_id(require):
    cases = require("samples") / "kubernetes" / "transcribed" / "imageid-parse-cases.jsonl"
    rows = [json.loads(line) for line in cases.read_text().splitlines() if line]
    assert rows
    for row in rows:
        running = parse_image_id(row["imageID"])
        if row["error"]:
            assert running.kind == "config-digest", row
            continue
        assert running.kind == "repo-digest", row
        assert running.repository == f"{row['host']}/{row['namespace']}/{row['repository']}"
        assert running.digest == row["digest"]
