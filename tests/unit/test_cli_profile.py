"""`--profile`: a settings file names the state; the flag beats the environment; a wrong name says where it looked."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.engine.sqlite import connect
from tests.helpers.command import revet


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder with profile `here`, whose state file exists."""
    state = tmp_path / "of-the-profile.sqlite"
    connect(state, create=True).close()
    folder = tmp_path / "config" / "revet"
    folder.mkdir(parents=True)
    (folder / "here.yaml").write_text(f"state: {state}\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("REVET_STATE", str(tmp_path / "not-there.sqlite"))
    return folder


def test_the_flag_beats_the_environment(profile: Path) -> None:
    """REVET_STATE names a file that is not there; the profile's is."""
    assert profile.is_dir()
    assert revet("trust", "history").code == 2
    assert revet("trust", "history", "--profile", "here").code == 0


def test_the_environment_names_a_profile_too(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """REVET_PROFILE does what the flag does; a path will do."""
    monkeypatch.setenv("REVET_PROFILE", str(profile / "here.yaml"))
    assert revet("trust", "history").code == 0


def test_a_wrong_profile_names_what_there_is(profile: Path) -> None:
    """What was looked for, and which profiles exist."""
    ran = revet("trust", "history", "--profile", "elsewhere")
    assert ran.code == 2
    assert str(profile / "elsewhere.yaml") in ran.err
    assert "profiles in" in ran.err
    assert "here" in ran.err


def test_a_profile_without_a_state_says_what_to_add(profile: Path) -> None:
    """Settings may name no state; then the answer says what line is missing."""
    (profile / "empty.yaml").write_text("cluster: prod\n")
    ran = revet("trust", "history", "--profile", "empty")
    assert ran.code == 2
    assert "add `state:" in ran.err
