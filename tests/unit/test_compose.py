"""docker-compose.yml and Dockerfile as Docker would read them, and what they promise. Run: tests/integration."""

import re
import subprocess

import pytest

from scripts.servers import elasticsearch, kafka
from streams.settings import load_settings
from tests.helpers.compose import IMAGE, ROOT, load, seconds

pytestmark = pytest.mark.needs("compose-check")

SERVERS = {"kafka", "elasticsearch", "kibana", "registry"}
JOBS = {"administrator", "topics", "index-setup", "ledger-begin"}
PROCESSES = {"audit", "judge", "fetch", "index", "alert", "ledger", "reports"}


@pytest.fixture(scope="module")
def whole(require):
    """Every service of every profile."""
    return load(require("compose-check"), profiles="demo,tools,single")["services"]


@pytest.mark.parametrize(
    ("profile", "more"),
    [
        ("", set()),
        ("demo", {"demo", "demo-trust"}),
        ("tools", {"cli"}),
        ("single", {"revet"}),
    ],
)
def test_a_profile_adds_to_the_clustered_mode(require, profile, more):
    project = load(require("compose-check"), profiles=profile)
    assert project["services"].keys() == SERVERS | JOBS | PROCESSES | more


def test_the_demo_file_switches_the_demo_on(require):
    project = load(require("compose-check"), env_file=ROOT / "demo.env")
    assert {"demo", "demo-trust"} <= project["services"].keys()
    assert project["services"]["judge"]["environment"]["REVET_SERVE_CLOCK"] == "recorded"
    assert load(require("compose-check"))["services"]["judge"]["environment"]["REVET_SERVE_CLOCK"] is None


def test_every_variable_of_the_demo_file_reaches_the_services(whole):
    names = re.findall(r"^(REVET_\w+)=", (ROOT / "demo.env").read_text(), re.MULTILINE)
    assert names
    assert set(names) <= whole["fetch"]["environment"].keys()


@pytest.mark.parametrize(
    "broken",
    [
        "services: {a: {image: x, depends_on: [b]}}",
        "services: {a: {image: x, volumes: ['nowhere:/x']}}",
        "services: {a: {image: x, healthcheck: {test: [CMD, x], interval: 5}}}",
        "services: {a: {image: x, depends_on: {b: {condition: service_well}}}, b: {image: y}}",
    ],
)
def test_the_parser_refuses_what_docker_would_refuse(require, tmp_path, broken):
    (tmp_path / "docker-compose.yml").write_text(broken)
    command = [require("compose-check"), str(tmp_path / "docker-compose.yml")]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_the_servers_are_the_versions_that_tests_run_on(whole):
    images = {name: whole[name]["image"].rpartition(":")[2] for name in SERVERS}
    assert images["kafka"] == kafka.VERSION
    assert images["elasticsearch"] == images["kibana"] == elasticsearch.VERSION


def test_nothing_can_write_where_it_should_not_and_nothing_is_privileged(whole):
    for name, service in whole.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service.get("ports", ()):
            assert port["host_ip"] == "127.0.0.1", f"{name} publishes {port}"
        for volume in service.get("volumes", ()):
            assert volume["type"] == "volume" or volume["read_only"], f"{name} writes into the checkout: {volume}"


def test_only_what_changes_trust_sees_the_private_key(whole):
    holders = {
        name
        for name, service in whole.items()
        if any(volume["source"] == "administrator-key" for volume in service.get("volumes", ()))
    }
    assert holders == {"administrator", "cli", "demo-trust"}


def test_only_the_ledger_sees_its_private_key(whole):
    holders = {
        name
        for name, service in whole.items()
        if any(volume["source"] == "ledger" for volume in service.get("volumes", ()))
    }
    assert holders == {"ledger-begin", "ledger"}
    settings = load_settings(None, {k: str(v) for k, v in whole["ledger"]["environment"].items() if v is not None}, {})
    private = (settings.ledger.key_file, settings.ledger.state, settings.ledger.directory)
    assert {str(file).split("/")[1] for file in private} == {"data"}


def test_every_setting_is_one(whole):
    for name, service in whole.items():
        if service["image"] == IMAGE:
            environment = service.get("environment") or {}
            assert all(key.startswith("REVET_") for key in environment), name
            given = {key: str(value) for key, value in environment.items() if value is not None}
            given.pop("REVET_TRUST_KEY", None)  # of the command line, not of the settings
            load_settings(None, given, {})


def test_processes_have_a_health_check_and_time_to_end(whole):
    for name in PROCESSES:
        service = whole[name]
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["restart"] == "unless-stopped"
        assert seconds(service["stop_grace_period"]) > load_settings(None, {}, {}).serve.stop_seconds
    for name in JOBS:
        assert whole[name]["restart"] == "no"
    for name in SERVERS:
        assert whole[name]["healthcheck"]["test"][0] == "CMD", name


def test_nothing_of_ours_starts_before_what_it_needs(whole):
    for name in PROCESSES:
        conditions = {on: how["condition"] for on, how in whole[name]["depends_on"].items()}
        assert conditions["topics"] == conditions["administrator"] == "service_completed_successfully"
    assert whole["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    assert whole["index"]["depends_on"]["index-setup"]["condition"] == "service_completed_successfully"
    assert whole["index-setup"]["depends_on"]["elasticsearch"]["condition"] == "service_healthy"


def test_folders_of_volumes_are_in_the_image_and_belong_to_its_user(whole):
    """A volume takes over whom the folder in the image belongs to; where there is none, it belongs to root."""
    owned = set(
        re.findall(
            r"^COPY --from=build --chown=65532:65532 \S+ (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
        )
    )
    for name, service in whole.items():
        if service["image"] == IMAGE:
            named = {volume["target"] for volume in service.get("volumes", ()) if volume["type"] == "volume"}
            assert named <= owned, name
