"""The house rules that no other tool checks: what is committed, what make offers, and what tests may do."""

import _socket
import os
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def committed(require) -> list[Path]:
    """Every file that is in git or would be added to it."""
    command = [require("git"), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    names = {os.fsdecode(name) for name in listing.stdout.split(b"\0") if name}
    return sorted(path for name in names if (path := ROOT / name).is_file())


# ------------------------------------------------------------------------------------------------- what is committed

# Written in pieces, so that this file passes its own test.
FORBIDDEN = {
    "a path of one machine": rb"(?<![\w.-])/(?:" + b"|".join([b"wo" + b"rk", b"ro" + b"ot", b"fa" + b"rm"]) + rb")/",
    "the address of a package index": b"|".join(
        [
            rb"pypi\." + rb"org/simple",
            rb"files\." + rb"pythonhosted",
            rb"registry\." + rb"npmjs",
            rb"proxy\." + rb"golang",
            rb"repo1?\." + rb"maven",
            rb"deb\." + rb"debian",
            rb"static\." + rb"crates",
            rb"(?m:^\s*--(?:extra-)?index" + rb"-url)",
        ]
    ),
    "a private key": rb"-----BEGIN (?:EC |RSA |OPENSSH )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}",
}

KEYS_ALLOWED = ("tests/", "scripts/record/")
"""Where throw-away keys made for tests may be."""


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_committed_file_contains(committed, what):
    pattern = re.compile(FORBIDDEN[what])
    found = []
    for path in committed:
        name = path.relative_to(ROOT).as_posix()
        if what == "a private key" and name.startswith(KEYS_ALLOWED):
            continue
        data = path.read_bytes()
        for hit in pattern.finditer(data):
            line = data.count(b"\n", 0, hit.start()) + 1
            found.append(f"{name}:{line}: {hit[0].decode(errors='replace')}")
    assert not found, f"{what} in a file that is or would be committed"


@pytest.mark.parametrize(
    ("what", "sample"),
    [
        ("a path of one machine", b"see /wo" + b"rk/main"),
        ("a path of one machine", b'"/ro' + b'ot/.cache"'),
        ("the address of a package index", b"https://pypi." + b"org/simple"),
        ("the address of a package index", b"x\n--index" + b"-url https://mirror.example\n"),
        ("a private key", b"-----BEGIN PRIVATE" + b" KEY-----\n" + b"A" * 64),
    ],
)
def test_the_search_finds(what, sample):
    assert re.search(FORBIDDEN[what], sample)


@pytest.mark.parametrize("sample", [b"src/wo" + b"rk/x", b"https://host.example/wo" + b"rk/", b"/network/"])
def test_the_search_leaves_alone(sample):
    """Folders of a repository or an address are nobody's machine... except that an address ends like a path."""
    hit = re.search(FORBIDDEN["a path of one machine"], sample)
    assert hit is None


def test_no_file_is_larger_than_a_reviewer_can_load(committed):
    """Recordings are small on purpose; what is large belongs into a cache that a script fills."""
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in committed}
    assert [name for name, size in sizes.items() if size > 2_000_000] == []


@pytest.mark.parametrize(
    "name",
    ["CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md", "docs/dependencies.md", "docs/decisions/README.md"],
)
def test_is_there(name):
    assert (ROOT / name).stat().st_size > 200


def test_every_decision_is_listed():
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    assert [p.name for p in folder.glob("0*.md") if p.name not in index] == []


def test_shell_scripts_are_executable_and_stop_at_errors(committed):
    for path in committed:
        if path.suffix == ".sh" or path == ROOT / ".ci" / "run":
            name = path.relative_to(ROOT)
            assert os.access(path, os.X_OK), f"{name} is not executable"
            assert re.search(r"^set -eu", path.read_text(), re.MULTILINE), f"{name} does not stop at errors"


SILENCED = re.compile(
    r"#\s*(?:ruff: )?(?:noqa|type: " + r"ignore)(?P<codes>\[[^\]]*\]|:(?: ?[A-Z]+\d+,?)*|)(?P<why>[^#]*(?:#.*)?)$"
)


def unexplained(line: str) -> bool:
    """Whether a line silences a check without a code, or without saying why."""
    found = SILENCED.search(line)
    return found is not None and not (re.search(r"\w", found["codes"]) and re.search(r"\w{2}", found["why"]))


def test_what_is_silenced_says_which_check_and_why(committed):
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{number}: {line.strip()}"
        for path in committed
        if path.suffix == ".py" and path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if unexplained(line)
    ]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("x = f()  # noqa: S608  # placeholders only", False),
        ("x = f()  # noqa: S608 - placeholders only", False),
        ("x = f()  # noqa: E402 the checkout must be importable first", False),
        ("x = f()  # type: ignore[arg-type, misc]  # pydantic checks it", False),
        ("# ruff: noqa: E501 - one attack, one row, one line", False),
        ("x = f()  # noqa: S608", True),
        ("x = f()  # noqa: S608, E501", True),
        ("x = f()  # noqa  # because", True),
        ("x = f()  # type: ignore", True),
        ("x = f()  # type: ignore[misc]", True),
        ("x = f()  # type: ignore  # because", True),
        ("x = f()  # as it is", False),
    ],
)
def test_silence_without_a_reason_is_found(line, bad):
    assert unexplained(line) is bad


# -------------------------------------------------------------------------------------------------------------- make


TARGETS = [
    *("help", "install", "demo", "test", "test-fast", "lint", "fix", "bench", "faults", "fuzz"),
    *("oracle-proof", "oracles", "servers", "record", "up", "down"),
]


@pytest.mark.parametrize("target", TARGETS)
def test_make_has_a_target_and_help_names_it(target):
    lines = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(f"{target}:")]
    assert len(lines) == 1
    assert "## " in lines[0]


def test_the_readme_names_only_targets_that_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / "README.md").read_text()))
    assert [target for target in sorted(named) if f"\n{target}:" not in makefile] == []


# ------------------------------------------------------------------------------------------------------ requirements


def lockfile(name: str) -> dict[str, str]:
    """name -> version of each entry; fails on an entry without version or without hash."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    locked = {}
    for entry in re.split(r"\n(?=[A-Za-z])", text.strip()):
        head = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", entry)
        assert head, f"not pinned: {entry.splitlines()[0]}"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), f"no hash: {head[0]}"
        locked[head[1]] = head[2]
    return locked


def bare(requirement: str) -> str:
    """`click>=8.1,<8.4` -> `click`."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def test_requirements_are_pinned_hashed_and_agree():
    everything = lockfile("dev")
    for subset in ("run", "cluster", "build"):
        assert lockfile(subset).items() <= everything.items(), f"{subset}.txt is no subset of dev.txt: scripts/lock.sh"


def test_what_pyproject_asks_for_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = {
        "run": project["project"]["dependencies"],
        "cluster": [*project["project"]["dependencies"], *extras["cluster"]],
        "build": project["dependency-groups"]["build"],
        "dev": [spec for specs in extras.values() for spec in specs],
    }
    for name, specs in wanted.items():
        assert {bare(spec).lower() for spec in specs} <= lockfile(name).keys(), f"run scripts/lock.sh: {name}.txt"


def test_the_documentation_gives_a_reason_for_each_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    specs = [*project["project"]["dependencies"], *project["dependency-groups"]["build"]]
    specs += [spec for extra in project["project"]["optional-dependencies"].values() for spec in extra]
    text = (ROOT / "docs" / "dependencies.md").read_text()
    assert [name for name in sorted(map(bare, specs)) if f"| {name} |" not in text] == []


# --------------------------------------------------------------------------------------------------------- container


def test_compose_listens_on_loopback_only():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert compose["services"]
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "network_mode" not in service


def test_the_image_runs_as_nobody_in_particular_and_installs_by_hash():
    text = (ROOT / "Dockerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE)
    assert 'RUN ["scripts/image.sh", "wheels", "/wheels"]' in text
    fetching = re.findall(r"-m pip (?:download|wheel|install)(?! --quiet --no-index).*", image_steps())
    assert len(fetching) == 2
    assert all("--require-hashes" in step for step in fetching)


def image_steps() -> str:
    return (ROOT / "scripts" / "image.sh").read_text()


# ----------------------------------------------------------------------------------------------------------- network


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_unit_tests_cannot_create_a_socket(network_guard, family):
    with pytest.raises(RuntimeError, match="no network"):
        socket.socket(family)
    with pytest.raises(RuntimeError, match="no network"):  # nor behind the module that others patch
        _socket.socket(family)
    assert len(network_guard.attempts) == 2
    network_guard.attempts.clear()


def test_unit_tests_cannot_look_a_name_up(network_guard):
    with pytest.raises(RuntimeError, match=r"registry\.example"):
        socket.getaddrinfo("registry.example", 443)
    network_guard.attempts.clear()


def test_other_tests_can_reach_loopback_and_nothing_else(network_guard):
    network_guard.sockets_allowed = True
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
    with socket.socket() as client, pytest.raises(RuntimeError, match=r"192\.0\.2\.1"):
        client.connect(("192.0.2.1", 443))
    assert len(network_guard.attempts) == 1
    network_guard.attempts.clear()


def test_event_loops_still_work():
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x")
        assert right.recv(1) == b"x"


# ----------------------------------------------------------------------------------------------- skipping, out loud


def run_pytest(tmp_path: Path, body: str, *, require: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(body)
    options = ["-p", "no:cacheprovider", "-p", "no:randomly", "-o", "markers=needs"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "REVET_ORACLES": str(tmp_path / "none"), "REVET_REQUIRE": require, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_test_skips_by_itself():
    """Only what goes through `require` or `needs` is counted by REVET_REQUIRE; another skip stays green in CI."""
    silent = re.compile(r"pytest\.skip" + r"\(|importor" + r"skip|mark\.ski" + "p")
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if silent.search(path.read_text())]
    assert [path.relative_to(ROOT).as_posix() for path in files] == []


ASKS = """
import pytest
def test_one(require): require("cosign")
@pytest.mark.needs("notation")
def test_two(): pass
"""


def test_an_absent_tool_skips_and_the_end_of_the_run_says_so(tmp_path):
    done = run_pytest(tmp_path, ASKS, require="")
    assert done.returncode == 0, done.stdout
    title, *reasons, counts = done.stdout.splitlines()[-4:]
    assert "not tested here" in title
    assert reasons == [
        "   1 skipped: cosign: cosign is not built (make oracles)",
        "   1 skipped: notation: notation is not built (make oracles)",
    ]
    assert "2 skipped" in counts


@pytest.mark.parametrize(
    ("require", "outcome"),
    [("cosign", "1 failed, 1 skipped"), ("notation, ", "1 skipped, 1 error")],
)
def test_an_absent_tool_that_is_required_fails(tmp_path, require, outcome):
    done = run_pytest(tmp_path, ASKS, require=require)
    assert done.returncode == 1, done.stdout
    assert "is required (REVET_REQUIRE) but absent" in done.stdout
    assert outcome in done.stdout.splitlines()[-1]


def test_a_typing_mistake_in_what_is_required_is_an_error(tmp_path):
    done = run_pytest(tmp_path, ASKS, require="cosgin")
    assert done.returncode == 4
    assert "REVET_REQUIRE names cosgin" in done.stderr
