"""Keys kept elsewhere, followed into a cluster's signed trust log on a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.cli.serve_keys import bring
from streams.settings import KeySettings, Settings
from tests.helpers.trustadmins import pem
from tests.integration.test_trust_log_kafka import Shop, read, shop
from verifier.errors import TrustError

__all__ = ["shop"]
pytestmark = [pytest.mark.needs("kafka"), pytest.mark.timeout(180)]


def settings_of(made: Shop, signer: Path, **keys: object) -> Settings:
    own = KeySettings(sources={"corp": "files:/x"}, sign_with=signer, **keys)  # type: ignore[arg-type]  # a table
    return made.settings().model_copy(update={"keys": own})


def test_a_change_at_a_source_is_signed_and_counts(shop):
    settings = settings_of(shop, shop.key("alice"))
    assert [record.kind for record in bring(settings, "corp", {"release.pub": pem(1)}).records] == ["key-put"]
    assert bring(settings, "corp", {"release.pub": pem(1)}).records == ()
    bring(settings, "corp", {"release.pub": pem(2), "ci.pub": pem(3)})
    bring(settings, "corp", {"release.pub": pem(2)})
    gate = read(shop)
    assert gate.counts["refused"] == 0
    ring = {name for name, key in gate.trust.names.items() if gate.trust.keys[key].removed_at is None}
    assert ring == {"corp.release"}
    history = shop.run("trust", "history", "-o", "json").json["entries"]
    assert {(tuple(e["signed"]), e["record"]["author"], e["record"]["origin"]) for e in history} == {
        (("alice",), "alice", "keys:corp")
    }


def test_who_is_no_administrator_changes_nothing(shop):
    stranger = shop.folder / "stranger"
    stranger.mkdir()
    shop.run("trust", "keygen", "mallory", "--out", stranger / "key.pem")
    with pytest.raises(TrustError, match="no trust administrator's"):
        bring(settings_of(shop, stranger / "key.pem"), "corp", {"release.pub": pem(1)})
    assert read(shop).reached == 0


def test_with_a_folder_of_proposals_nothing_is_applied_until_it_is_submitted(shop):
    folder = shop.folder / "proposals"
    folder.mkdir()
    settings = settings_of(shop, shop.key("alice"), proposals=folder)
    for _ in range(2):
        bring(settings, "corp", {"release.pub": pem(1)})
    (file,) = folder.iterdir()
    assert read(shop).reached == 0
    assert shop.run("trust", "submit", file).code in {0, 4}
    assert set(read(shop).trust.names) == {"corp.release"}
    assert bring(settings, "corp", {"release.pub": pem(1)}).records == ()
