"""`revet doctor` about the webhook: where its decisions wait, and the certificate that API servers are shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from streams.clock import wall_clock
from streams.serving import around
from streams.serving.around import look
from streams.serving.checks import Check
from streams.settings import AdmissionSettings, Settings
from tests.helpers.command import revet
from tests.helpers.servingpki import ServingCa
from verifier.times import DAY, HOUR

SERVICE = x509.DNSName("revet-admission.revet.svc")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    pair = ServingCa("webhooks").pair(tmp_path, "webhook", SERVICE)
    return {
        "address": "127.0.0.1:9443", "certificate_file": pair.certificate, "key_file": pair.key,
        "spool": tmp_path / "spool.sqlite", "spool_mib": 1, "service": "revet/revet-admission",
    }  # fmt: skip


def checks(files: dict[str, Any], **more: Any) -> dict[str, str]:
    """What is said -> how it is."""
    found: list[Check] = list(look(Settings(admission=AdmissionSettings(**(files | more)))))
    assert {check.name for check in found} <= {"admission"}
    assert all(check.mend for check in found if check.status != "ok")
    return {check.message: check.status for check in found}


def status_of(found: dict[str, str], word: str) -> str:
    (status,) = [status for message, status in found.items() if word in message]
    return status


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A certificate of these tests lives for an hour; the clock is moved instead of it."""

    def pass_(micros: int) -> None:
        monkeypatch.setattr(around, "wall_clock", lambda: wall_clock() + micros)

    pass_(-80 * DAY)
    return pass_


def test_everything_in_order(files, later):
    found = checks(files)
    assert set(found.values()) == {"ok"}
    assert not (files["spool"]).exists(), "looking makes nothing"
    assert status_of(found, "ends in 80 days") == "ok"


def test_a_certificate_that_ends_soon_and_one_that_has_ended(files, later):
    later(-13 * DAY)
    assert status_of(checks(files), "ends in 13 days") == "warn"
    later(2 * HOUR)
    assert status_of(checks(files), "ended") == "fail"


def test_a_certificate_for_another_name(files, later):
    assert status_of(checks(files, service="revet/other"), "the API server calls other.revet.svc") == "fail"
    assert set(checks(files, service="").values()) == {"ok"}, "an address is checked by whoever calls it"


def test_a_key_of_another_certificate(files, tmp_path):
    other = ServingCa("others").pair(tmp_path, "other").key
    assert status_of(checks(files, key_file=other), "do not belong together") == "fail"


@pytest.mark.parametrize("what", ["certificate_file", "key_file"])
@pytest.mark.parametrize("content", [None, b"", b"\0" * 100, b"x" * (2 << 20)])
def test_a_file_that_is_no_certificate_is_a_line(files, what, content):
    if content is None:
        files[what].unlink()
    else:
        files[what].write_bytes(content)
    assert "fail" in checks(files).values()


def test_no_certificate_is_named(files):
    assert status_of(checks(files, certificate_file=None, key_file=None), "no certificate") == "fail"


def test_a_spool_without_a_folder_and_without_a_name(files, tmp_path):
    assert status_of(checks(files, spool=tmp_path / "none" / "x.sqlite"), "no folder") == "fail"
    assert status_of(checks(files, spool=None), "no place where decisions wait") == "fail"


def test_a_disk_that_is_too_small(files):
    assert status_of(checks(files, spool_mib=65_536 if _free_mib(files) < 65_536 else 1), "MiB free") == (
        "warn" if _free_mib(files) < 65_536 else "ok"
    )


def _free_mib(files: dict[str, Any]) -> int:
    disk = os.statvfs(files["spool"].parent)
    return disk.f_bavail * disk.f_frsize // around.MIB


def test_a_folder_that_cannot_be_written(files, monkeypatch):
    """Whoever runs the tests may be allowed everything: so the answer of the system is given here."""
    monkeypatch.setattr(os, "access", lambda place, mode: place != files["spool"].parent)
    assert status_of(checks(files), "cannot be read and written") == "fail"


def test_the_command_says_it_in_the_single_machine_mode_too(files, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("REVET_")]:
        monkeypatch.delenv(name)
    key = files["key_file"].read_text()
    settings = tmp_path / "revet.yaml"
    lines = [f"  {name}: {value}" for name, value in files.items() if name != "certificate_file"]
    settings.write_text("\n".join(["admission:", *lines, f"  certificate_file: {tmp_path / 'gone.crt'}"]))
    ran = revet("doctor", "--settings", settings, "--state", tmp_path / "revet.sqlite", "-o", "json")
    found = [check for check in ran.json["checks"] if check["name"] == "admission"]
    assert [check["status"] for check in found] == ["ok", "fail"]
    assert "gone.crt" in found[1]["message"]
    assert ran.code == 4
    assert key.splitlines()[1] not in ran.out + ran.err
