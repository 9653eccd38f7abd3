"""Which record a command speaks to, and in which zone it shows times."""

import importlib
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streams.cli import looking as choosing
from streams.cli.common import show_time, zoned
from streams.cli.looking import Cluster, Record, StateFile, record_option
from tests.helpers.command import revet
from tests.helpers.demo_state import played_demo
from verifier.errors import InputError

URL = "http://es.example:9200"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, and profiles: a state, a cluster, both, neither."""
    for name in ("REVET_STATE", "REVET_PROFILE", "REVET_ELASTICSEARCH_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    profiles = tmp_path / "config" / "revet"
    profiles.mkdir(parents=True)
    state, cluster = "state: of-profile.sqlite\n", f"elasticsearch: {{url: '{URL}', namespace: prod}}\n"
    for name, text in {"file": state, "cluster": cluster, "both": state + cluster, "neither": "cluster: x\n"}.items():
        (profiles / f"{name}.yaml").write_text(text)
    return tmp_path


def chosen(*args: str) -> Record:
    """The record a command would get."""
    found: list[Record] = []

    @click.command()
    @record_option
    def command(record: Record) -> None:
        found.append(record)

    command.main(list(args), standalone_mode=False)
    return found[0]


def place(record: Record) -> str:
    return record.path.name if isinstance(record, StateFile) else record.settings.elasticsearch.namespace


@pytest.mark.parametrize(
    ("args", "environment", "expected"),
    [
        ((), {}, "revet.sqlite"),
        ((), {"REVET_STATE": "named.sqlite"}, "named.sqlite"),
        ((), {"REVET_ELASTICSEARCH_URL": URL}, "default"),
        ((), {"REVET_ELASTICSEARCH_URL": URL, "REVET_STATE": "named.sqlite"}, "named.sqlite"),
        (("--profile", "cluster"), {}, "prod"),
        (("--profile", "both"), {}, "prod"),
        (("--profile", "file"), {}, "of-profile.sqlite"),
        (("--profile", "file"), {"REVET_STATE": "named.sqlite"}, "of-profile.sqlite"),
        ((), {"REVET_PROFILE": "cluster", "REVET_STATE": "named.sqlite"}, "prod"),
        (("--profile", "cluster"), {"REVET_ELASTICSEARCH_NAMESPACE": "staging"}, "staging"),
        (("--profile", "cluster", "--state", "by-hand.sqlite"), {}, "by-hand.sqlite"),
        (("--state", "by-hand.sqlite"), {"REVET_ELASTICSEARCH_URL": URL}, "by-hand.sqlite"),
    ],
)
def test_which_record_is_chosen(folder, monkeypatch, args, environment, expected):
    """By hand, by profile, by $REVET_STATE, by the settings at hand, by default."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert place(chosen(*args)) == expected


def test_the_settings_of_the_working_folder_name_a_cluster(folder):
    """As for every `revet serve` process there."""
    (folder / "revet.yaml").write_text(f"elasticsearch: {{url: '{URL}', namespace: here}}\n")
    assert place(chosen()) == "here"


def test_a_profile_that_names_nothing_says_what_to_add(folder):
    """Neither a file nor a cluster."""
    ran = revet("search", "", "--profile", "neither")
    assert (ran.code, "names no state" in ran.err) == (2, True)


def test_a_terminal_is_told_which_record_it_is(folder, monkeypatch):
    """With the nodes and the namespace, and without any secret."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    told: list[str] = []
    monkeypatch.setattr(choosing, "say", told.append)
    monkeypatch.setenv("REVET_ELASTICSEARCH_USERNAME", "revet")
    monkeypatch.setenv("REVET_ELASTICSEARCH_PASSWORD", "elastic-secret")
    record = chosen("--profile", "cluster")
    assert told == [f"revet: Elasticsearch {URL}, namespace prod (profile cluster)"]
    assert isinstance(record, Cluster)
    assert "elastic-secret" not in f"{record} {record!r}"


def test_what_only_a_state_file_can_do_says_so(folder):
    """Reading again needs the originals, which a cluster keeps in Kafka."""
    ran = revet("deadletter", "retry", "--profile", "cluster")
    assert (ran.code, "revet serve files" in ran.err) == (2, True)


def test_without_its_libraries_the_clustered_mode_is_named(folder, monkeypatch):
    """The single-machine mode is installed without them."""

    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name}", name="elasticsearch")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(InputError, match="needs elasticsearch: install revet with its extra `cluster`"):
        choosing.clustered("looking")


# ------------------------------------------------------------------------------------------------------------- zones


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "2026-11-21T13:00:00+00:00"),
        ("utc", "2026-11-21T13:00:00+00:00"),
        ("Europe/Berlin", "2026-11-21T14:00:00+01:00"),
        ("Asia/Kathmandu", "2026-11-21T18:45:00+05:45"),
    ],
)
def test_times_are_shown_in_the_zone_asked_for(zone, expected):
    """With the offset, so that nobody has to know the zone."""

    @click.command()
    @record_option
    def command(record: Record) -> None:
        click.echo(show_time(1_795_266_000_000_000))
        click.echo(zoned("2026-11-21T13:00:00.000001Z"))
        click.echo(zoned("no time"))
        click.echo(show_time(None))

    lines = CliRunner().invoke(command, ["--tz", zone, "--state", "x"]).output.splitlines()
    assert lines == [expected, f"{expected[:19]}.000001{expected[19:]}", "no time", "-"]


@pytest.mark.parametrize(
    "zone", ["Europe", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "", " ", "Europe/Berlin\0", "\ud800"]
)
def test_a_zone_that_is_none_is_a_wrong_question(zone):
    """A folder of zones, a path out of them, nothing at all."""
    ran = revet("search", "", "--state", played_demo().state, "--tz", zone)
    if zone == "":
        assert ran.code == 0, "nothing asked for: UTC"
    else:
        assert (ran.code, "is no time zone" in ran.err) == (2, True), ran.err


def test_json_stays_utc():
    """Programs compare it."""
    state = played_demo().state
    plain = revet("search", "ended:*", "--state", state, "-o", "json").out
    assert revet("search", "ended:*", "--state", state, "-o", "json", "--tz", "Asia/Kathmandu").out == plain
    shown = revet("search", "ended:*", "--fields", "time,ended", "--state", state, "--tz", "Asia/Kathmandu").out
    assert "+05:45" in shown
    assert "Z" not in "".join(shown.splitlines()[1:])
