"""Fetching a trust root by TUF: a real repository, served on this machine, and what happens to one on the way."""

import http.server
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # as below
from tuf.api.metadata import (  # type: ignore[attr-defined]  # its documentation names these here, no list exports them
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from tests.helpers.pki import make_key
from verifier.adapters import tuf_root
from verifier.adapters.package_data import public_good_tuf_root
from verifier.adapters.tuf_root import TARGET, FetchedRoot, fetch_trusted_root
from verifier.errors import PlaceRefused, PlaceUnavailable
from verifier.trust.sigstoreroot import TRUSTED_ROOT_BYTES

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = int(START.timestamp()) * 1_000_000
ROLES = ("root", "timestamp", "snapshot", "targets")
CONTENT = b'{"mediaType": "the first"}'


def signer(name: str) -> CryptoSigner:
    return CryptoSigner(make_key(f"tuf {name}", "ed25519"))


class Repository:
    """Metadata that is signed anew at every change, written as a mirror serves it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "targets").mkdir(parents=True)
        self.signers = {role: [signer(role)] for role in ROLES}
        self.root = Root(expires=START + 365 * DAY, consistent_snapshot=True)
        for role in ROLES:
            self.root.add_key(self.signers[role][0].public_key, role)
        self.targets = Targets(expires=START + 90 * DAY)
        self.snapshot = Snapshot(expires=START + 21 * DAY)
        self.timestamp = Timestamp(expires=START + 7 * DAY)
        self.add_target(TARGET, CONTENT)
        self.initial = self.write_root()
        self.publish()

    def add_target(self, name: str, content: bytes) -> None:
        info = TargetFile.from_data(name, content, ["sha256"])
        self.targets.targets[name] = info
        (self.folder / "targets" / f"{info.hashes['sha256']}.{name}").write_bytes(content)

    def write_root(self) -> bytes:
        return self._write(self.root, f"{self.root.version}.root.json", "root")

    def rotate_root(self, name: str) -> None:
        """The next version, with another root key, signed by both."""
        old, new = self.signers["root"], signer(name)
        self.root.revoke_key(old[0].public_key.keyid, "root")
        self.root.add_key(new.public_key, "root")
        self.root.version += 1
        self.signers["root"] = [*old, new]
        self.write_root()
        self.signers["root"] = [new]

    def publish(self) -> None:
        """Targets, snapshot and timestamp of the present versions."""
        self._write(self.targets, f"{self.targets.version}.targets.json", "targets")
        self.snapshot.meta["targets.json"] = MetaFile(self.targets.version)
        self._write(self.snapshot, f"{self.snapshot.version}.snapshot.json", "snapshot")
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version)
        self._write(self.timestamp, "timestamp.json", "timestamp")

    def next(self) -> None:
        for part in (self.targets, self.snapshot, self.timestamp):
            part.version += 1
        self.publish()

    def _write(self, signed, name: str, role: str) -> bytes:
        metadata = Metadata(signed)
        for number, one in enumerate(self.signers[role]):
            metadata.sign(one, append=number > 0)
        data = metadata.to_bytes()
        (self.folder / name).write_bytes(data)
        return data


class Mirror(http.server.ThreadingHTTPServer):
    """Serves a folder; `statuses` answers paths with a status, `answers` with other bytes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.statuses: dict[str, int] = {}
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut: set[str] = set()
        """Paths of which half is sent."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror, path = self.server, self.path.lstrip("/")
        mirror.asked.append(path)
        found = mirror.folder / path
        body = mirror.answers.get(path) or (found.read_bytes() if found.is_file() else None)
        status = mirror.statuses.get(path, 200 if body is not None else 404)
        content = body if body is not None and status == 200 else b"no"
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if path in mirror.cut else content)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Mirror]:
    with Mirror(folder) as mirror:
        thread = threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield mirror
        finally:
            mirror.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """A proxy of the machine is not asked for this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def repository(tmp_path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def mirror(repository) -> Iterator[Mirror]:
    with serving(repository.folder) as mirror:
        yield mirror


@pytest.fixture
def fetch(repository, mirror, tmp_path):
    def ask(now: int = NOW, **changes) -> FetchedRoot:
        given = {"mirror": mirror.url, "root": repository.initial, "cache_dir": tmp_path / "cache", "now": now}
        return fetch_trusted_root(**(given | changes))

    return ask


def days(count: float) -> int:
    return NOW + int(count * 86_400_000_000)


def refused(fetch, **changes) -> str:
    with pytest.raises(PlaceRefused) as caught:
        fetch(**changes)
    assert caught.value.code == "root-refused"
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------------- it works


def test_the_target_and_what_vouches_for_it(fetch):
    found = fetch()
    assert found.content == CONTENT.decode()
    assert (found.root_version, found.timestamp_version, found.snapshot_version, found.targets_version) == (1, 1, 1, 1)
    assert found.expires == days(7)
    assert len(found.sha256) == 64


def test_a_second_fetch_brings_what_is_new(fetch, repository):
    fetch()
    repository.add_target(TARGET, b'{"mediaType": "the second"}')
    repository.next()
    found = fetch()
    assert found.content == '{"mediaType": "the second"}'
    assert (found.timestamp_version, found.snapshot_version, found.targets_version) == (2, 2, 2)


def test_a_fetch_of_nothing_new_asks_little(fetch, mirror):
    fetch()
    mirror.asked.clear()
    fetch()
    assert "1.snapshot.json" not in mirror.asked
    assert "1.targets.json" not in mirror.asked


def test_another_target(fetch, repository):
    repository.add_target("other.json", b"{}")
    repository.next()
    assert fetch(target="other.json").content == "{}"


def test_root_keys_that_were_rotated_are_walked_along(fetch, repository):
    for number in range(5):
        repository.rotate_root(f"root {number}")
    repository.next()
    assert fetch().root_version == 6
    repository.rotate_root("the last")
    assert fetch().root_version == 7


def test_the_time_given_is_the_time_that_counts(fetch):
    """Not the machine's: a replay asks as of its own instant."""
    assert fetch(now=days(6.9)).timestamp_version == 1
    assert "expired" in refused(fetch, now=days(7.1))
    assert fetch(now=days(-3000)).timestamp_version == 1


def test_two_mirrors_do_not_share_a_cache(fetch, repository, tmp_path):
    other = Repository(tmp_path / "other")
    repository.next()
    repository.next()
    assert fetch().timestamp_version == 3
    with serving(other.folder) as second:
        assert fetch(mirror=second.url).timestamp_version == 1
    assert len(list((tmp_path / "cache").iterdir())) == 2


# ------------------------------------------------------------------------------------------------------ what is refused


def test_an_older_timestamp_than_was_seen(fetch, repository, mirror):
    old = {name: (repository.folder / name).read_bytes() for name in ("timestamp.json", "1.snapshot.json")}
    repository.next()
    fetch()
    mirror.answers.update(old)
    assert "refused" in refused(fetch)


@pytest.mark.parametrize("part", ["root", "timestamp", "snapshot", "targets"])
def test_metadata_that_expired(fetch, repository, part):
    getattr(repository, part).expires = START - DAY
    if part == "root":
        repository.rotate_root("late")
    repository.next()
    assert "expired" in refused(fetch)


@pytest.mark.parametrize("part", ["timestamp", "snapshot", "targets"])
def test_metadata_signed_by_nobody_the_root_names(fetch, repository, part):
    repository.signers[part] = [signer("mallory")]
    repository.next()
    assert "refused" in refused(fetch)


def test_a_root_that_its_predecessor_did_not_sign(fetch, repository):
    mallory = signer("mallory")
    repository.root.revoke_key(repository.signers["root"][0].public_key.keyid, "root")
    repository.root.add_key(mallory.public_key, "root")
    repository.root.version = 2
    repository.signers["root"] = [mallory]
    repository.write_root()
    assert "refused" in refused(fetch)


def test_a_root_that_skips_a_version(fetch, repository):
    repository.root.version = 3
    data = repository.write_root()
    (repository.folder / "2.root.json").write_bytes(data)
    assert "refused" in refused(fetch)


def test_another_repository_under_the_same_address(fetch, repository, mirror, tmp_path):
    fetch()
    other = Repository(tmp_path / "other")
    for role in ROLES:
        other.signers[role] = [signer(f"other {role}")]
    other.next()
    mirror.folder = other.folder
    assert "refused" in refused(fetch)


def test_a_target_that_is_missing(fetch):
    assert "no target" in refused(fetch, target="signing_config.json")


def test_a_target_whose_file_is_missing(fetch, repository):
    for path in (repository.folder / "targets").iterdir():
        path.unlink()
    assert "answered 404" in refused(fetch)


@pytest.mark.parametrize("content", [CONTENT[:-1] + b" ", b"", CONTENT + b"more"], ids=["changed", "emptied", "longer"])
def test_a_target_that_is_not_what_was_signed(fetch, repository, content):
    for path in (repository.folder / "targets").iterdir():
        path.write_bytes(content)
    refused(fetch)


def test_a_target_that_is_too_long_to_be_a_trust_root(fetch, repository, mirror):
    repository.add_target(TARGET, b" " * (TRUSTED_ROOT_BYTES + 1))
    repository.next()
    assert "limit" in refused(fetch)
    assert not [path for path in mirror.asked if path.startswith("targets/")]


def test_a_target_that_is_no_text(fetch, repository):
    repository.add_target(TARGET, b"\xff\xfe")
    repository.next()
    assert "UTF-8" in refused(fetch)


GARBAGE = {
    "empty": b"\n",
    "HTML": b"<html>sign in</html>",
    "JSON": b"{}",
    "null": b"null",
    "a list": b"[]",
    "deep": b"[" * 10_000,
    "another type": b'{"signatures": [], "signed": {"_type": "root"}}',
    "signatures of a wrong type": b'{"signatures": {"a": 1}, "signed": 7}',
    "binary": bytes(range(256)),
    "long": b" " * 20_000,
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("path", ["timestamp.json", "1.snapshot.json", "1.targets.json", "2.root.json"])
def test_garbage(fetch, mirror, path, name):
    mirror.answers[path] = GARBAGE[name]
    refused(fetch)


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_as_the_root_to_start_from(fetch, mirror, name):
    refused(fetch, root=GARBAGE[name])
    assert mirror.asked == []


def test_the_shipped_root_leads_nowhere_else(fetch):
    """It is a root that is read; this repository is not the one it names."""
    assert "refused" in refused(fetch, root=public_good_tuf_root())


@pytest.mark.parametrize(
    "address", ["", "tuf.example", "file:///srv/tuf", "https://", "https://[", "https://h/?x=1", "http://h/#f"]
)
def test_an_address_that_is_none(fetch, mirror, address):
    assert "expected an http or https URL" in refused(fetch, mirror=address)
    assert mirror.asked == []


def test_a_cache_that_cannot_be_written(fetch, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert "cannot keep" in refused(fetch)


def test_a_cache_that_was_spoiled_is_not_believed(fetch, repository, tmp_path):
    fetch()
    repository.next()
    for path in (tmp_path / "cache").rglob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"garbage")
    assert fetch().timestamp_version == 2


# ------------------------------------------------------------------------------------------------ what may go by itself


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_mirror_that_says_no(fetch, mirror, status):
    mirror.statuses["timestamp.json"] = status
    assert f"answered {status}" in refused(fetch)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
@pytest.mark.parametrize("path", ["timestamp.json", "2.root.json"])
def test_a_mirror_in_trouble(fetch, mirror, path, status):
    mirror.statuses[path] = status
    with pytest.raises(PlaceUnavailable, match=f"answered {status}") as caught:
        fetch()
    assert caught.value.code == "root-unavailable"
    mirror.statuses.clear()
    assert fetch().timestamp_version == 1


def test_a_mirror_that_is_down(repository, tmp_path):
    with serving(repository.folder) as gone:
        url = gone.url
    with pytest.raises(PlaceUnavailable, match="did not answer") as caught:
        fetch_trusted_root(url, repository.initial, tmp_path / "cache", NOW)
    assert caught.value.code == "root-unavailable"
    assert caught.value.retryable


def test_a_transfer_that_breaks_off(fetch, mirror):
    mirror.cut.add("timestamp.json")
    with pytest.raises(PlaceUnavailable) as caught:
        fetch()
    assert caught.value.code == "root-unavailable"


def test_a_mirror_that_drips(fetch, monkeypatch):
    monkeypatch.setattr(tuf_root, "FETCH_SECONDS", -1.0)
    with pytest.raises(PlaceUnavailable, match="took longer"):
        fetch()


def test_a_mirror_that_does_not_speak_tls(fetch, mirror):
    """Somebody in between, or a plain server on the port."""
    assert "TLS" in refused(fetch, mirror=mirror.url.replace("http:", "https:"))


def test_what_the_mirror_says_is_quoted_escaped(fetch, mirror):
    name = "\u202e\x1b[31m" * 40
    spoilt = {"signatures": [], "signed": {"_type": name, "x": b64encode(b"x").decode()}}
    mirror.answers["timestamp.json"] = json.dumps(spoilt).encode()
    told = refused(fetch)
    assert told.isprintable()
    assert told.isascii()
    assert len(told) < 300
