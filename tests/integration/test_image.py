"""What is in the image: built by the Dockerfile's steps, run as it is run: read-only, by a user who owns nothing."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER = 65532
pytestmark = [pytest.mark.needs("wheels"), pytest.mark.slow, pytest.mark.timeout(600)]


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """What `docker build` sends: what .dockerignore lets through, at the places the Dockerfile copies it to."""
    folder = tmp_path_factory.mktemp("image") / "src"
    for source, target in re.findall(r"^COPY ((?!--)\S+) (\S+)$", dockerfile(), re.MULTILINE):
        _copy(source, folder / target)
    for source in ("pyproject.toml", "LICENSE"):
        _copy(source, folder)
    return folder


def _copy(source: str, target: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert f"!{source.rstrip('/')}" in ignored, f"{source} is not sent: .dockerignore"
    target.mkdir(parents=True, exist_ok=True)
    if (ROOT / source).is_dir():
        shutil.copytree(ROOT / source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(ROOT / source, target)


def build(context: Path, wheels: Path, target: Path) -> Path:
    """The step of the Dockerfile that makes the tree; the one before it has made `wheels`."""
    assert 'RUN ["scripts/image.sh", "wheels", "/wheels"]' in dockerfile()
    assert 'RUN ["scripts/image.sh", "tree", "/wheels", "/opt/revet"]' in dockerfile()
    offline = {"PIP_NO_INDEX": "1", "http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    done = subprocess.run(
        [context / "scripts" / "image.sh", "tree", wheels, target],
        env={"PATH": os.environ["PATH"], "PYTHON": str(python(target.parent)), **offline},
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


def python(folder: Path) -> Path:
    """An interpreter that everybody may run, as in the base image; a copy where this one is in somebody's home."""
    base = Path(sys.base_prefix)
    if not all(parent.stat().st_mode & 0o001 for parent in (base, *base.parents)):
        copy = folder / "python"
        if not copy.exists():
            left_out = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a", "share")
            shutil.copytree(base, copy, symlinks=True, ignore=left_out)
        base = copy
    return base / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="module")
def tree(context, require):
    with tempfile.TemporaryDirectory(prefix="revet-image-") as folder:  # not pytest's, which nobody else may enter
        Path(folder).chmod(0o755)
        yield build(context, require("wheels"), Path(folder) / "revet")


def contents(tree: Path) -> dict[str, str]:
    files = (path for path in sorted(tree.rglob("*")) if path.is_file())
    return {path.relative_to(tree).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(tree: Path, home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A program of the image as its user, who may write to `home` only."""
    user = USER if os.geteuid() == 0 else None
    environment = {"PATH": f"{tree / 'bin'}:/usr/bin:/bin", "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["LD_LIBRARY_PATH"] = str(tree.parent / "python" / "lib")  # of a copied interpreter, if it has one
    return subprocess.run(
        command, env=environment, cwd=home, user=user, group=user, extra_groups=() if user else None,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_revet_runs_from_a_tree_it_cannot_write(tree):
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    before = contents(tree)
    home = tree.parent / "home"
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, USER, USER)
    for command in (
        ("revet", "version"),
        ("revet", "serve", "judge", "--help"),
        ("revet", "topics", "apply", "--help"),
        ("python", "-c", "import faust, aiokafka, kafka, elasticsearch, prometheus_client, streams.engine.faust"),
        ("revet", "demo", "--brief", "--state", str(home / "demo.sqlite")),
    ):
        done = run(tree, home, *command)
        assert done.returncode == 0, (command, done.stderr)
    probed = run(tree, home, "python", "-m", "streams.serving.probe", "http://127.0.0.1:1/healthz")
    assert probed.returncode == 4, probed.stderr
    assert contents(tree) == before
    refused = run(tree, home, "python", "-c", "import streams, pathlib; pathlib.Path(streams.__file__).write_text('')")
    assert "Permission denied" in refused.stderr or os.geteuid() != 0


def test_nothing_that_only_a_build_needs_is_in_it(tree):
    names = {path.name for path in tree.glob("lib/python*/site-packages/*")}
    assert not names & {"pip", "setuptools", "wheel", "pytest", "mypy"}
    assert {"verifier", "alerting", "streams", "dashboards"} <= names
    assert "tests" not in names
    assert "kafka" in names


def test_the_same_pins_give_the_same_tree(context, require, tree):
    """Built once more at the same place."""
    first = contents(tree)
    aside = tree.rename(tree.with_name("first"))
    try:
        build(context, require("wheels"), tree)
        assert contents(tree) == first
    finally:
        shutil.rmtree(tree)
        aside.rename(tree)
