"""`revet config show`: every setting, its value, where it came from. No secret, in any output of any command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streams.cli import COMMANDS
from streams.settings import documented, leaves, load_settings
from tests.helpers.command import revet

SECRET = "s3cr3t-Of-{}-xyzzy"


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("REVET_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_every_setting_is_shown_with_its_origin(tmp_path, monkeypatch):
    (tmp_path / "revet.yaml").write_text("kafka:\n  bootstrap: a:1,b:2\nowners: {label_keys: [squad]}\n")
    monkeypatch.setenv("REVET_SERVE_LOG", "json")
    rows = {row["setting"]: row for row in revet("config", "show", "-o", "json").json["settings"]}
    assert list(rows) == [name for name, _, _ in documented()]
    assert (rows["kafka.bootstrap"]["value"], rows["kafka.bootstrap"]["from"]) == ("a:1,b:2", "revet.yaml:2")
    assert (rows["serve.log"]["value"], rows["serve.log"]["from"]) == ("json", "REVET_SERVE_LOG")
    assert rows["owners.label_keys"]["value"] == ["squad"]
    assert (rows["kafka.partitions"]["value"], rows["kafka.partitions"]["from"]) == (24, "default")
    assert all(row["meaning"] for row in rows.values())
    table = revet("config", "show", "--changed").out
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["owners.label_keys", "kafka.bootstrap", "serve.log"]


def test_a_profile_and_a_file_are_taken_as_everywhere(tmp_path, monkeypatch):
    folder = tmp_path / ".config" / "revet"
    folder.mkdir(parents=True)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (folder / "far.yaml").write_text("cluster: far\n")
    (tmp_path / "near.yaml").write_text("cluster: near\n")
    assert "far" in revet("config", "show", "--changed", "--profile", "far").out
    assert "near" in revet("config", "show", "--changed", "--profile", "far", "--settings", "near.yaml").out
    assert revet("config", "show", "--profile", "none").code == 2
    assert revet("config", "show", "--settings", "none.yaml").code == 2


def test_a_wrong_setting_is_an_error_and_not_a_table(tmp_path):
    (tmp_path / "revet.yaml").write_text("kafka: {partitions: many}\n")
    ran = revet("config", "show")
    assert (ran.code, ran.out) == (2, "")
    assert "revet.yaml:1: kafka.partitions: input should be a valid integer" in ran.err


# ------------------------------------------------------------------------------------------------------------- secrets


def secret_of(name: str) -> str:
    return SECRET.format(name.replace(".", "-"))


SECRETS = [secret_of(leaf.name) for leaf in leaves() if leaf.is_secret]

WAYS = [
    ("listen", "token", ""),
    ("kafka", "password", "security: sasl_ssl, username: u, "),
    ("elasticsearch", "password", "username: u, "),
    ("elasticsearch", "api_key", ""),
]


def outputs_of(*args: object) -> str:
    ran = revet(*args)
    return ran.out + ran.err


@pytest.mark.parametrize(("section", "name", "beside"), WAYS, ids=lambda text: str(text).partition(":")[0])
@pytest.mark.parametrize("way", ["file", "variable", "of its own"])
def test_a_secret_is_in_no_output(section, name, beside, way, tmp_path, monkeypatch):
    """Given in each way, asked for in each way, and with something else wrong beside it."""
    secret = secret_of(f"{section}.{name}")
    given = ""
    if way == "file":
        given = f"{name}: {secret}"
    elif way == "variable":
        monkeypatch.setenv(f"REVET_{section}_{name}".upper(), secret)
    else:
        (tmp_path / "secret").write_text(secret)
        given = f"{name}_file: {tmp_path}/secret"
    file = tmp_path / "revet.yaml"
    file.write_text(f"{section}: {{{beside}{given}}}\n")
    shown = outputs_of("config", "show") + outputs_of("config", "show", "-o", "json")
    assert "(set)" in shown or way == "of its own"
    settings = load_settings(file, os.environ, {})
    shown += f"{settings}{settings!r}{settings.model_dump()}{settings.model_dump_json()}{getattr(settings, section)}"
    for wrong in ("unknown: 1", "address: 7, url: 8, partitions: x", f"{name}: [{secret}]", f"{name}_file: [1]"):
        file.write_text(f"{section}: {{{beside}{given}, {wrong}}}\n".replace("{, ", "{"))
        assert revet("config", "show").code == 2 or way == "variable", wrong  # which wins over the file's
        shown += outputs_of("config", "show") + outputs_of("doctor")
    file.write_text(f"{section}: {{{beside}{given}\n  {name}: '{secret}\n")  # no YAML at all
    shown += outputs_of("config", "show")
    assert secret not in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_no_help_shows_the_environment(command, monkeypatch):
    for leaf in leaves():
        if leaf.is_secret:
            monkeypatch.setenv(leaf.variable, secret_of(leaf.name))
    shown = outputs_of(command, "--help")
    assert not [secret for secret in SECRETS if secret in shown]
