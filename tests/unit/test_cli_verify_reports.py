"""`revet verify -o sarif|junit`: the same verdicts and exit codes as the table, in the words of other tools."""

import json
from xml.etree import ElementTree as ET

import pytest

from tests.helpers.command import LAYOUT, key, revet

API = "registry.example.com/payments/api:1.4.2"
UNSIGNED = "registry.example.com/inventory/scraper:0.3"
GONE = "registry.example.com/payments/gone:1"
BY_DEV = ("--key", key("dev"), "--evidence", LAYOUT)

DEPLOYMENT = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  template:
    spec:
      containers:
        - name: api
          image: {API}
        - name: scraper
          image: {UNSIGNED}
"""


@pytest.mark.parametrize(
    ("images", "code"), [([API], 0), ([API, UNSIGNED], 1), ([API, GONE], 3), ([GONE, UNSIGNED], 1)]
)
@pytest.mark.parametrize("output", ["sarif", "junit", "json", "table"])
def test_the_exit_code_does_not_depend_on_how_it_is_printed(images, code, output):
    ran = revet("verify", *images, *BY_DEV, "-o", output)
    assert ran.code == code
    assert output == "table" or ran.err == ""


def test_sarif_points_at_the_line_of_the_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy.yaml").write_text(DEPLOYMENT)
    (run,) = revet("verify", "-f", "deploy.yaml", *BY_DEV, "-o", "sarif").json["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("unsigned", "error")
    (location,) = result["locations"]
    assert location["physicalLocation"] == {"artifactLocation": {"uri": "deploy.yaml"}, "region": {"startLine": 11}}
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "shop/Deployment/web: scraper"
    assert run["tool"]["driver"]["version"]


def test_sarif_of_standard_input_names_no_file():
    ran = revet("verify", "-f", "-", *BY_DEV, "-o", "sarif", stdin=DEPLOYMENT)
    (result,) = ran.json["runs"][0]["results"]
    assert "physicalLocation" not in result["locations"][0]


def test_junit_has_a_case_per_container(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy.yaml").write_text(DEPLOYMENT)
    (suite,) = ET.fromstring(revet("verify", "-f", "deploy.yaml", *BY_DEV, "-o", "junit").out)
    assert [(c.get("name"), c.get("line"), [e.tag for e in c]) for c in suite] == [
        ("shop/Deployment/web: api", "9", ["system-out"]),
        ("shop/Deployment/web: scraper", "11", ["failure"]),
    ]


def test_a_policy_in_trial_is_a_note_and_no_failure(tmp_path):
    text = """\
apiVersion: revet/v1
kind: Policy
metadata: {name: signed}
spec:
  mode: trial
  match: [{images: ["**"]}]
  attestors: {dev: {keys: [dev]}}
  require: {signedBy: dev}
"""
    (tmp_path / "p.yaml").write_text(text)
    options = ("--policy", tmp_path / "p.yaml", "--trust", key("dev").parent, "--evidence", LAYOUT)
    ran = revet("verify", UNSIGNED, *options, "-o", "sarif")
    assert (ran.code, [r["level"] for r in ran.json["runs"][0]["results"]]) == (0, ["note"])
    (suite,) = ET.fromstring(revet("verify", UNSIGNED, *options, "-o", "junit").out)
    assert suite.get("failures") == "0"


HOSTILE = ["registry.example.com/app:1\x1b[31mred", "registry.example.com/\u202egnp", "\udcff\udcfe", "a]]><b/>"]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("output", ["sarif", "junit"])
def test_hostile_names_stay_text(name, output):
    ran = revet("verify", name, *BY_DEV, "-o", output)
    assert ran.code == 3
    assert not any(c in ran.out + ran.err for c in ("\x1b", "\u202e", "\udcff"))
    if output == "sarif":
        assert len(json.loads(ran.out)["runs"][0]["results"]) == 1
    else:
        assert len(ET.fromstring(ran.out)[0]) == 1
