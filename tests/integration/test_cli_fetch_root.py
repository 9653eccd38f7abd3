"""`revet trust fetch-root` against a real TUF repository on this machine: proposals, rollbacks, and nobody there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.cli import trust_root
from tests.helpers.signedshop import SignedShop, outcomes, policy, record
from tests.helpers.statefile import Result, revet
from tests.integration.test_tuf_root import NOW, Mirror, Repository, no_proxy, serving
from verifier.adapters.tuf_root import TARGET

__all__ = ["no_proxy"]
"""A fixture that acts by itself."""

VALID = {"early": "valid", "late": "valid"}


@pytest.fixture
def repository(tmp_path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def mirror(repository) -> Iterator[Mirror]:
    with serving(repository.folder) as mirror:
        yield mirror


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> SignedShop:
    folder = tmp_path_factory.mktemp("prepared")
    shop = SignedShop(folder, tuple(VALID))
    files = (shop.write("given/private.json", shop.root_json()), shop.write("given/policy.json", policy()))
    assert revet("trust", "apply", *files, "--state", folder / "state.sqlite", "--at", "2026-11-18T12:00:00Z").code == 0
    record(shop, folder / "state.sqlite", tuple(VALID))
    return shop


class Desk:
    """Somebody who types `revet trust fetch-root`, at the time the repository's metadata is good."""

    def __init__(self, shop: SignedShop, repository: Repository, mirror: Mirror, folder: Path) -> None:
        self.shop, self.repository, self.mirror = shop, repository, mirror
        self.state, self.cache = folder / "state.sqlite", folder / "cache"
        self.root = folder / "root.json"
        self.root.write_bytes(repository.initial)
        for file in shop.folder.glob("state.sqlite*"):
            shutil.copy(file, folder)

    def publish(self, content: str) -> None:
        self.repository.add_target(TARGET, content.encode())
        self.repository.next()

    def fetch(self, *options: object, name: str = "private") -> Result:
        where = ("--mirror", self.mirror.url, "--root", self.root, "--name", name, "--cache", self.cache)
        return revet("trust", "fetch-root", *where, *options, "--state", self.state)

    def epoch(self) -> int:
        return int(revet("trust", "root", "list", "--state", self.state, "-o", "json").json["epoch"])


@pytest.fixture
def desk(prepared, repository, mirror, tmp_path, monkeypatch) -> Desk:
    monkeypatch.setattr(trust_root, "now", lambda: NOW)
    return Desk(prepared, repository, mirror, tmp_path)


def without_logs(shop: SignedShop) -> str:
    return json.dumps(shop.world.root() | {"tlogs": []})


def test_what_is_fetched_is_a_proposal(desk):
    desk.publish(without_logs(desk.shop))
    ran = desk.fetch("--dry-run")
    assert ran.code == 0, ran.err
    assert f"fetched from {desk.mirror.url}: root 1, timestamp 2, targets 2; metadata good until 2026-01-08" in ran.err
    assert "  - transparency log rekor.example" in ran.out
    assert "would begin to violate: 2 containers" in ran.out
    assert ran.out.endswith("dry run: nothing was applied\n")
    assert (desk.epoch(), outcomes(desk.state)) == (2, VALID)


def test_one_that_would_break_something_asks_and_is_applied_with_a_yes(desk):
    desk.publish(without_logs(desk.shop))
    refused = desk.fetch()
    assert (refused.code, desk.epoch()) == (2, 2)
    assert "--yes" in refused.err
    done = desk.fetch("--yes", "--note", "monthly")
    assert done.code == 0, done.err
    assert outcomes(desk.state) == dict.fromkeys(VALID, "violates")
    (entry,) = revet("trust", "history", "--limit", "1", "--state", desk.state, "-o", "json").json["entries"]
    assert entry["record"]["origin"] == f"tuf:{desk.mirror.url}"
    assert entry["record"]["note"] == "monthly"


def test_the_newest_root_again_is_nothing_to_do(desk):
    desk.publish(desk.shop.root_json())
    ran = desk.fetch()
    assert (ran.code, ran.out) == (0, "nothing to do: trust root private is the mirror's newest\n")
    assert desk.fetch("-o", "json").json["entries"] == []
    assert desk.epoch() == 2


def test_a_new_instance_gets_a_name_of_its_own(desk):
    desk.publish(desk.shop.root_json())
    ran = desk.fetch(name="other-instance")
    assert ran.code == 0, ran.err
    assert "  + CA https://ca.example" in ran.out
    assert outcomes(desk.state) == VALID


def test_a_private_mirror_without_its_root_is_a_usage_error(desk):
    ran = revet("trust", "fetch-root", "--mirror", desk.mirror.url, "--name", "private", "--state", desk.state)
    assert ran.code == 2
    assert "give --root FILE" in ran.err
    assert desk.mirror.asked == []


def test_a_repository_of_others_under_the_shipped_root_is_refused(desk):
    """The name of the public instance, and a mirror whose metadata its root never signed."""
    where = ("--mirror", desk.mirror.url, "--cache", desk.cache, "--state", desk.state)
    ran = revet("trust", "fetch-root", *where)
    assert ran.code == 4
    assert "TUF metadata refused" in ran.err
    assert desk.epoch() == 2


def test_an_older_state_of_the_repository_is_refused(desk, tmp_path):
    desk.publish(desk.shop.root_json())
    shutil.copytree(desk.repository.folder, tmp_path / "before")
    desk.publish(without_logs(desk.shop))
    assert desk.fetch("--dry-run").code == 0
    desk.mirror.folder = tmp_path / "before"
    ran = desk.fetch("--yes")
    assert (ran.code, ran.out) == (4, "")
    assert "TUF metadata refused" in ran.err
    assert (desk.epoch(), outcomes(desk.state)) == (2, VALID)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_mirror_that_is_down_is_a_service_that_failed(desk, status):
    desk.mirror.statuses["timestamp.json"] = status
    ran = desk.fetch("--yes")
    assert (ran.code, ran.out) == (4, "")
    assert f"answered {status}; what is trusted now stays as it is" in ran.err
    assert desk.epoch() == 2


def test_nobody_there(desk):
    where = ("--mirror", "http://127.0.0.1:9", "--root", desk.root, "--name", "x", "--cache", desk.cache)
    ran = revet("trust", "fetch-root", *where, "--state", desk.state)
    assert (ran.code, ran.out) == (4, "")
    assert "did not answer" in ran.err


def test_metadata_that_is_over_is_refused(desk, monkeypatch):
    desk.publish(desk.shop.root_json())
    monkeypatch.setattr(trust_root, "now", lambda: NOW + 10 * 86_400_000_000)
    ran = desk.fetch("--yes")
    assert ran.code == 4
    assert "TUF metadata refused" in ran.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("hello", "not the expected JSON"),
        ("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n", "private key"),
        ('{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": 1}', "tlogs"),
    ],
)
def test_a_target_that_is_no_root_is_refused_though_it_was_signed(desk, content, said):
    desk.publish(content)
    ran = desk.fetch("--yes")
    assert ran.code == 2
    assert said in ran.err
    assert "c2VjcmV0" not in ran.err
    assert desk.epoch() == 2


@pytest.mark.parametrize("root", ["none.json", "ring.gpg"])
def test_a_root_to_start_from_that_cannot_be_read(desk, tmp_path, root):
    (tmp_path / "ring.gpg").write_bytes(b"\xff\xfe")
    where = ("--mirror", desk.mirror.url, "--root", tmp_path / root, "--name", "x", "--cache", desk.cache)
    ran = revet("trust", "fetch-root", *where, "--state", desk.state)
    assert ran.code == 2
    assert root in ran.err


def test_the_mirror_is_never_asked_for_anything_about_images(desk):
    desk.publish(desk.shop.root_json())
    desk.fetch("--dry-run")
    assert all(not path or path.endswith(".json") for path in desk.mirror.asked)
