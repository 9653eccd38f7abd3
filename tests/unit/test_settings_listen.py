"""Settings of the receiver: TLS, senders, limits, pushes; what contradicts itself is refused, and no secret is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.serving.logs import Hiding, secrets_of
from streams.serving.receiving import receiver_options, senders_text
from streams.settings import load_settings
from tests.helpers.servingpki import ServingCa
from verifier.errors import InputError

TOKEN = "hunter2-" + "t" * 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ca = ServingCa("senders")
    (tmp_path / "ca.crt").write_bytes(ca.pem)
    ca.pair(tmp_path, "tls")
    (tmp_path / "token").write_text(TOKEN + "\n")
    return tmp_path


def settings(folder: Path, listen: str):
    file = folder / "revet.yaml"
    lines = "\n".join(f"  {line}" for line in listen.format(f=folder).strip().splitlines())
    file.write_text(f"listen:\n{lines}\n")
    return load_settings(file, {}, {})


WHOLE = """
address: 127.0.0.1:0
certificate_file: {f}/tls.crt
key_file: {f}/tls.key
client_ca_file: {f}/ca.crt
requests_per_second: 5
senders:
  - {{cluster: prod-eu, certificate: "cn:cp-1", server: cp-1}}
  - {{cluster: prod-us, token_file: "{f}/token"}}
"""


def test_a_whole_receiver(folder):
    found = settings(folder, WHOLE)
    options = receiver_options(found)
    assert options.tls is not None
    assert options.senders
    assert (options.requests_per_second, options.max_connections, options.push_keys) == (5.0, 1000, None)
    assert senders_text(options) == "named"


def test_tokens_of_senders_are_hidden_in_every_log_line(folder):
    hide = Hiding(secrets_of(settings(folder, WHOLE)))
    assert TOKEN not in hide(f"somebody wrote {TOKEN} here")
    assert TOKEN not in hide(f"X-Amz-Firehose-Access-Key: {TOKEN}")


REFUSED = {
    "half of TLS": ("key_file: {f}/tls.key", "belong together"),
    "a CA without TLS": ("client_ca_file: {f}/ca.crt", "needs TLS"),
    "a CA and nobody named": (
        "certificate_file: /x\nkey_file: /y\nclient_ca_file: /z",
        "says nothing about clusters",
    ),
    "a certificate nobody looks at": ("senders: [{{cluster: a, certificate: 'cn:b'}}]", "needs client_ca_file"),
    "one token for all and senders": (
        "token_file: /x\nsenders: [{{cluster: a, token_file: /y}}]",
        "senders or one token for everybody, not both",
    ),
    "a sender known by nothing": ("senders: [{{cluster: a}}]", "give one of certificate"),
    "a sender known by two things": (
        "senders: [{{cluster: a, token_file: /y, push_account: 'a@b.c'}}]",
        "give one of certificate",
    ),
    "a certificate of no form": ("senders: [{{cluster: a, certificate: 'CN=b'}}]", "expected cn:NAME"),
    "a cluster that is no name": ("senders: [{{cluster: '../x', token_file: /y}}]", "listen.senders"),
    "pushes without keys": ("senders: [{{cluster: a, push_account: 'a@b.c'}}]", "needs push_keys_file"),
    "half of the pushes": ("push_audience: https://x", "belong together"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_itself_is_refused(folder, name):
    text, words = REFUSED[name]
    with pytest.raises(InputError) as caught:
        settings(folder, text)
    assert words in str(caught.value)


UNREADABLE = {
    "a token that is not there": ("senders: [{{cluster: a, token_file: '{f}/none'}}]", "No such file"),
    "a token that can be guessed": ("senders: [{{cluster: a, token_file: '{f}/short'}}]", "at least 16 characters"),
    "a certificate that is none": ("certificate_file: {f}/token\nkey_file: {f}/tls.key", "listen.certificate_file"),
    "keys of pushes that are none": ("push_keys_file: {f}/token\npush_audience: a", "no RSA key"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_named_without_its_content(folder, name):
    text, words = UNREADABLE[name]
    (folder / "short").write_text("hunter2")
    with pytest.raises(InputError) as caught:
        receiver_options(settings(folder, text))
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_table_is_for_files_alone():
    with pytest.raises(
        InputError, match="REVET_LISTEN_SENDERS: the table of senders is read from a settings file only"
    ):
        load_settings(None, {"REVET_LISTEN_SENDERS": "a"}, {})
