"""Four plain names at the top level: ours alone, and whole. Why plain: docs/decisions/0001-flat-package-names.md."""

import importlib
import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("verifier", "alerting", "streams", "dashboards")


def source_files(package: str) -> set[str]:
    files = (path for path in (ROOT / package).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}


@pytest.mark.parametrize("package", PACKAGES)
def test_only_revet_owns_the_name(package):
    """Another distribution with this name would overwrite our files, or we theirs."""
    assert set(importlib.metadata.packages_distributions()[package]) == {"revet"}
    assert package not in sys.stdlib_module_names


@pytest.mark.parametrize("package", PACKAGES)
def test_folder_is_the_import_name(package):
    """What is tested is this checkout, not a copy that was installed beside it."""
    assert importlib.import_module(package).__file__ == str(ROOT / package / "__init__.py")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_code_is_a_package(package):
    """A folder without __init__.py works in a checkout and is missing from what is installed."""
    folders = {path.parent for path in (ROOT / package).rglob("*.py") if "demo_data" not in path.parts}
    assert [str(f.relative_to(ROOT)) for f in sorted(folders) if not (f / "__init__.py").is_file()] == []


def test_no_package_below_tests_shadows_ours():
    """A lone __init__.py in tests/unit/streams would make `import streams` load the tests."""
    packages = {path.parent.name for path in (ROOT / "tests").rglob("__init__.py")}
    assert not packages & set(PACKAGES)
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_it_cannot_be_uploaded_by_mistake():
    assert "Private :: Do Not Upload" in importlib.metadata.metadata("revet").get_all("Classifier", [])


def test_the_command_is_called_revet():
    scripts = importlib.metadata.distribution("revet").entry_points.select(group="console_scripts")
    assert {script.name: script.value for script in scripts} == {"revet": "streams.cli:main"}


def test_the_changelog_knows_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_a_wheel_holds_the_four_packages_and_all_of_them(tmp_path):
    """Built from a copy, since a build leaves files behind, and without any network: the backend is there already."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", tmp_path, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("revet-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    missing = set().union(*map(source_files, PACKAGES)) - names
    assert not missing, "not in the wheel: package-data in pyproject.toml"
