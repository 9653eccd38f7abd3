"""What every test runs under: no network, and no silent skipping.

Network. An audit hook sees every socket operation of this process, also those made behind the `socket` module. Tests
may speak to loopback only; tests below `tests/unit` may not even create a socket (AF_UNIX aside, which event loops
need). An attempt raises, and fails the test a second time at its end, in case the code under test swallowed the error.

Things beside Python. A test that compares with a real tool asks for it by name, and gets its path::

    def test_agrees_with_cosign(require):
        cosign = require("cosign")

    @pytest.mark.needs("registry")
    def test_pull(): ...

When the thing is absent the test is skipped and the end of the session lists it with the reason. `REVET_REQUIRE=cosign`
says that it must be there: then the same test fails. So a green run where it was promised means that it was used.
"""

import contextlib
import importlib
import ipaddress
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest

with suppress(ImportError):
    import urllib3  # noqa: F401  # its import tries a socket, to see whether there is IPv6: before the guard looks

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("REVET_SHARED") or ROOT.parent / "shared")
"""Optional folder with other projects' test vectors and recorded samples, beside the checkout."""
ORACLES = Path(os.environ.get("REVET_ORACLES") or Path.home() / ".cache" / "revet-oracles")
"""Where scripts/oracles.sh puts the tools it builds."""

hypothesis.settings.register_profile("revet", deadline=None, print_blob=True)
hypothesis.settings.load_profile("revet")


# ------------------------------------------------------------------------------------------------------------ network


class NetworkForbiddenError(RuntimeError):
    """A test tried to reach the network. Not an OSError, which code that handles lost connections would handle."""


class NetworkGuard:
    """The audit hook and what it saw."""

    def __init__(self) -> None:
        self.sockets_allowed = True
        """False inside tests/unit: not even loopback."""
        self.attempts: list[str] = []
        """What was refused during the current test."""

    def __call__(self, event: str, args: tuple) -> None:
        if not event.startswith("socket."):  # most events are not; this runs for each `open` and each import
            return
        if event == "socket.__new__":
            if not self.sockets_allowed and args[1] != socket.AF_UNIX:
                self._refuse(f"a socket of family {args[1]}")
        elif event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
            address = args[1]
            if isinstance(address, tuple) and not _is_loopback(address[0]):
                self._refuse(f"{event} to {address}")
        elif event in {"socket.getaddrinfo", "socket.gethostbyname"} and not _is_loopback(args[0]):
            self._refuse(f"{event} of {args[0]!r}")

    def _refuse(self, what: str) -> None:
        self.attempts.append(what)
        msg = f"tests have no network; refused: {what}"
        raise NetworkForbiddenError(msg)


def _is_loopback(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in {None, "", "localhost", "0.0.0.0", "::"}:  # the last two: addresses to listen on
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


_guard = NetworkGuard()
sys.addaudithook(_guard)


@pytest.fixture(autouse=True)
def network_guard(request: pytest.FixtureRequest) -> Iterator[NetworkGuard]:
    _guard.sockets_allowed = not request.path.is_relative_to(ROOT / "tests" / "unit")
    _guard.attempts.clear()
    yield _guard
    _guard.sockets_allowed = True
    if _guard.attempts:
        pytest.fail(f"reached for the network: {'; '.join(_guard.attempts)}")


# --------------------------------------------------------------------------------------------------------- scenarios


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test that says which findings it raises and closes is watched while it does (`tests/helpers/scenarios.py`)."""
    marks = list(pyfuncitem.iter_markers("scenario"))
    if not marks:
        return (yield)
    scenarios = importlib.import_module("tests.helpers.scenarios")  # only here: it imports the handlers
    with scenarios.watched() as told:
        result = yield
    for mark in marks:
        raises, closes = scenarios.said(mark.args, **mark.kwargs)
        missed = [*sorted(raises - told.raised), *sorted(closes - told.closed)]
        assert not missed, f"the scenario says that it raises and closes findings that it does not: {missed}"
    return result


# ---------------------------------------------------------------------------------------------- things beside Python


def _oracle(name: str) -> Callable[[], Path | str]:
    def find() -> Path | str:
        path = ORACLES / name
        return path if os.access(path, os.X_OK) else f"{name} is not built (make oracles)"

    return find


def _kube() -> Path | str:
    missing = [n for n in ("etcd", "kube-apiserver", "kubectl") if not os.access(ORACLES / n, os.X_OK)]
    return f"{', '.join(missing)} not built (scripts/oracles.sh kube)" if missing else ORACLES


def _git() -> Path | str:
    if not (ROOT / ".git").exists():
        return "not a checkout, so nothing tells which files belong to the project"
    return _program("git")()


def _folder(name: str) -> Callable[[], Path | str]:
    def find() -> Path | str:
        path = SHARED / name
        return path if path.is_dir() else f"no folder {name}/ in {SHARED.name}/ beside the checkout (REVET_SHARED)"

    return find


def _program(*names: str) -> Callable[[], Path | str]:
    def find() -> Path | str:
        found = next(filter(None, map(shutil.which, names)), None)
        return Path(found) if found else f"none of {', '.join(names)} on PATH"

    return find


def _server(name: str, **options: bool) -> Callable[[], Path | str]:
    def find() -> Path | str:
        server = importlib.import_module(f"scripts.servers.{name}")  # here, since a copy of this file alone has to work
        reason: str | None = server.absent(**options)
        found: Path | str = reason or server.home(**options)
        return found

    return find


def _kibana() -> Path | str:
    url = os.environ.get("REVET_KIBANA_URL", "")
    return Path(url) if url else "no Kibana is named (REVET_KIBANA_URL, forwarded to loopback)"


def _wheels() -> Path | str:
    script = ROOT / "scripts" / "image.sh"
    done = subprocess.run(
        [script, "where"], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=True
    )
    folder = Path(done.stdout.strip())
    return folder if folder.is_dir() else f"what the image is made of is not in {folder} (make servers)"


FINDERS: dict[str, Callable[[], Path | str]] = {
    "axe": _oracle("axe"),
    "chromium": _program("chromium", "chromium-browser", "google-chrome"),
    "compose-check": _oracle("compose-check"),
    "cosign": _oracle("cosign"),
    "cosign2": _oracle("cosign2"),
    "crane": _oracle("crane"),
    "elasticsearch": _server("elasticsearch"),
    "elasticsearch-full": _server("elasticsearch", full=True),
    "git": _git,
    "gpg": _program("gpg"),
    "kafka": _server("kafka"),
    "kibana": _kibana,
    "kube": _kube,
    "notation": _oracle("notation"),
    "openssl": _program("openssl"),
    "registry": _oracle("registry"),
    "samples": _folder("samples"),
    "vectors": _folder("vectors"),
    "wheels": _wheels,
}
"""Name -> the path of the thing, or a sentence why it is absent."""

TOGETHER = {"cosign": ("cosign2",), "registry": ("crane",), "vectors": ("samples",)}
"""Who requires the first, requires the others: they are built or delivered together."""


def required_names(setting: str) -> set[str]:
    """REVET_REQUIRE as a set; an unknown name is an error, since a typing mistake would require nothing."""
    names = {name.strip() for name in setting.split(",") if name.strip()}
    if unknown := names - FINDERS.keys():
        msg = f"REVET_REQUIRE names {', '.join(sorted(unknown))}; known: {', '.join(sorted(FINDERS))}"
        raise pytest.UsageError(msg)
    return names.union(*(TOGETHER.get(name, ()) for name in names))


def find_required(name: str, required: set[str]) -> Path:
    found = FINDERS[name]()
    if isinstance(found, Path):
        return found
    if name in required:
        pytest.fail(f"{name} is required (REVET_REQUIRE) but absent: {found}", pytrace=False)
    pytest.skip(f"{name}: {found}")


@pytest.fixture(scope="session")
def require(pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """`require("cosign")` gives the path, skips when it is absent, fails when REVET_REQUIRE names it."""
    required = pytestconfig.stash[_REQUIRED]
    return lambda name: find_required(name, required)


# ------------------------------------------------------------------------------------------------------- real servers
# What they give is told in tests/helpers/servers.py. Imported where it is used: a copy of this file alone has to work.


@pytest.fixture(scope="session")
def kafka_server(require: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> object:
    """A real broker, `.bootstrap`, shared by the whole test run: use topic prefixes of your own."""
    require("kafka")
    return _servers().shared_broker(_folder_of_the_run(tmp_path_factory))


@pytest.fixture(scope="session")
def elastic_server(require: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> object:
    """A real Elasticsearch node, `.url`, shared by the whole test run: use namespaces of your own."""
    require("elasticsearch")
    return _servers().shared_node(_folder_of_the_run(tmp_path_factory))


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    """What a file made on the servers of the run goes away with its last test; servers stay quick to the end."""
    yield
    if fresh := sys.modules.get("tests.helpers.fresh"):
        fresh.leave_nothing()


@pytest.fixture
def kafka_broker(require: Callable[[str], Path]) -> Iterator[Callable[..., object]]:
    """`kafka_broker(properties={...})` starts one that the test may kill and start again."""
    require("kafka")
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(_servers().private_broker(**options))


@pytest.fixture
def elastic_node(require: Callable[[str], Path]) -> Iterator[Callable[..., object]]:
    """`elastic_node(settings={...})` starts one that the test may kill and start again."""
    require("elasticsearch")
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(_servers().private_node(**options))


def _servers() -> Any:
    return importlib.import_module("tests.helpers.servers")


def _folder_of_the_run(factory: pytest.TempPathFactory) -> Path:
    """What pytest-xdist's workers have in common: the folder that holds a folder for each."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


_REQUIRED = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REQUIRED] = required_names(os.environ.get("REVET_REQUIRE", ""))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that asks for a server waits for its start, which takes minutes where all cores are busy."""
    for item in items:
        needed = {name for marker in item.iter_markers("needs") for name in marker.args}
        if needed & {"kafka", "elasticsearch", "elasticsearch-full"} and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            find_required(name, item.config.stash[_REQUIRED])


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost, so that it comes after the list of failures
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Says what was not tested, and why, as the last thing before the counts."""
    yield
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if reasons:
        terminalreporter.write_sep("=", "not tested here")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count:4d} skipped: {reason}")


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
