"""Content rules on what cosign really writes: it wraps some predicates, re-encodes others, and fills in zero dates."""

import json
import subprocess
from functools import partial

import pytest

from tests.unit.test_content_sbom import cyclonedx, spdx2
from tests.unit.test_content_slsa import v02, v1
from tests.unit.test_content_summaries import statement, vex
from tests.unit.test_content_vulnerabilities import cosign as vuln
from tests.unit.test_content_vulnerabilities import trivy
from verifier.content.builder import builder_of, commits_of
from verifier.content.document import Predicate
from verifier.content.evaluate import evaluate
from verifier.content.model import ContentRule
from verifier.content.predicates import predicate_uri, same_type

GOOD_SOURCE = {"slsa": {"sources": ["git+https://github.com/acme/*"], "maxAge": "9d"}}
NO_BAD = {"sbom": {"forbidComponents": ["pkg:*/log4j-core@2.14.*"]}}

CASES = [
    ("slsaprovenance", v02(), GOOD_SOURCE, ""),
    ("slsaprovenance02", v02(), {"slsa": {"sourceRefs": ["refs/heads/*"]}}, "source reference is 'refs/tags/v1.2.3'"),
    ("slsaprovenance1", v1(), GOOD_SOURCE, ""),
    ("slsaprovenance1", v1(), {"slsa": {"parameters": {"workflow.ref": "x"}}}, "'refs/heads/main'"),
    ("spdxjson", spdx2(), NO_BAD, "log4j-core"),
    ("spdx", spdx2(), NO_BAD, "log4j-core"),
    ("cyclonedx", cyclonedx(), NO_BAD, "log4j-core"),
    ("cyclonedx", cyclonedx(components=[]), NO_BAD, ""),
    ("vuln", vuln(trivy()), {"vulnerabilities": {"maxSeverity": "high"}}, "2 findings worse than high"),
    ("vuln", vuln(trivy([])), {"vulnerabilities": {"maxSeverity": "none", "maxAge": "9d"}}, ""),
    ("openvex", vex(statement("CVE-1", "affected")), {"vex": {"forbidStatuses": ["affected"]}}, "is stated of"),
    ("custom", {"ok": True}, {"cel": [{"expression": "predicate.ok"}]}, ""),
    ("custom", {"ok": True}, {"jsonPath": [{"path": "$.ok", "oneOf": [False]}]}, "is 'True'"),
    ("custom", trivy(), {"vulnerabilities": {"maxSeverity": "high"}}, "2 findings worse than high"),
    ("https://example.com/review", {"ok": True}, {"cel": [{"expression": "predicate.ok"}]}, ""),
]


@pytest.fixture(scope="module")
def attested(require, tmp_path_factory):
    """Writes a predicate, has cosign make a statement of it, and reads that: (type, predicate)."""
    folder = tmp_path_factory.mktemp("cosign")
    environment = {"COSIGN_PASSWORD": "", "HOME": str(folder), "PATH": ""}
    run = partial(subprocess.run, cwd=folder, env=environment, check=True, capture_output=True)
    cosign = str(require("cosign"))
    run([cosign, "generate-key-pair", "--output-key-prefix", "k"])
    (folder / "blob").write_bytes(b"blob")
    offline = ["--tlog-upload=false", "--new-bundle-format=false", "--use-signing-config=false", "--yes"]

    def attest(name, predicate):
        (folder / "p.json").write_text(json.dumps(predicate))
        given = ["--key", "k.key", "--type", name, "--predicate", "p.json", "--output-attestation", "out.json", "blob"]
        run([cosign, "attest-blob", *offline, *given])
        statement = json.loads((folder / "out.json").read_bytes())
        return statement["predicateType"], statement["predicate"]

    return attest


@pytest.mark.parametrize(("name", "predicate", "rule", "says"), CASES)
def test_what_cosign_makes_of_a_predicate_is_judged(attested, name, predicate, rule, says):
    predicate_type, written = attested(name, predicate)
    assert same_type(predicate_uri(name), predicate_type)
    result = evaluate(ContentRule.model_validate(rule), predicate_type, Predicate(predicate_type, written))
    assert result.holds is (says == ""), result.detail
    assert says in result.detail


@pytest.mark.parametrize(("name", "predicate"), [("slsaprovenance", v02()), ("slsaprovenance1", v1())])
def test_builder_and_commits_survive(attested, name, predicate):
    predicate_type, written = attested(name, predicate)
    direct = json.dumps(predicate).encode()
    again = json.dumps(written).encode()
    assert builder_of(predicate_type, again) == builder_of(predicate_type, direct) != ""
    assert commits_of(predicate_type, again) == commits_of(predicate_type, direct) != ()
