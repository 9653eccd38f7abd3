"""Errors of the client in our words, and no secret in any of them; progress of files."""

import importlib
import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from streams.kafka.connecting import connection, in_words, told
from streams.serving.filesprogress import FilesProgress
from streams.settings import KafkaSettings
from streams.settings.tls import tls_context
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable

errors = importlib.import_module("kafka.errors")
"""Not by `import`, which would come before streams.kafka and show the client's own warning."""
SECRET = "hunter2-kafka"
SECURED = KafkaSettings(bootstrap="b:9092", security="sasl_plaintext", username="revet", password=SecretStr(SECRET))


def test_no_brokers_is_a_setting_to_name():
    with pytest.raises(InputError, match=r"kafka\.bootstrap"):
        connection(KafkaSettings(), "x")


def test_the_password_is_nowhere_but_where_it_is_needed(caplog):
    caplog.set_level(logging.DEBUG)
    options = connection(SECURED, "x")
    assert options.pop("sasl_plain_password") == SECRET
    logging.getLogger("kafka.admin.client").debug("Starting with configuration: %s", SECRET)
    assert SECRET not in f"{options} {SECURED!r} {SECURED} {caplog.text}"


@pytest.mark.parametrize(
    ("error", "kind", "code", "says"),
    [
        (errors.TopicAuthorizationFailedError("t"), PlaceRefused, "kafka-denied", "revet topics apply --acls"),
        (errors.GroupAuthorizationFailedError("g"), PlaceRefused, "kafka-denied", "rights"),
        (errors.SaslAuthenticationFailedError("no"), PlaceRefused, "kafka-login", "kafka.username"),
        (errors.UnknownTopicOrPartitionError(), PlaceRefused, "topic-missing", "revet topics apply"),
        (errors.MessageSizeTooLargeError(), PlaceRefused, "record-too-large", "revet topics check"),
        (errors.InvalidTimestampError(), PlaceRefused, "clock-wrong", "clock"),
        (errors.SecurityDisabledError(), PlaceRefused, "acls-disabled", "authorizer"),
        (
            errors.KafkaConnectionError("Handshake failed: CERTIFICATE_VERIFY_FAILED"),
            PlaceRefused,
            "kafka-tls",
            "ca_file",
        ),
        (errors.NotEnoughReplicasError(), PlaceUnavailable, "kafka-unavailable", "min.insync.replicas"),
        (errors.KafkaTimeoutError("x"), PlaceUnavailable, "kafka-unavailable", "kafka.bootstrap"),
        (ConnectionRefusedError(111, "refused"), PlaceUnavailable, "kafka-unavailable", "revet doctor"),
    ],
)
def test_errors_say_what_to_do(error, kind, code, says):
    made = in_words(SECURED, error, "topic t cannot be written", "t")
    assert isinstance(made, kind)
    assert made.code == code
    assert says in str(made)
    assert "topic t cannot be written" in str(made)
    assert SECRET not in str(made)


def test_ours_are_not_translated():
    with pytest.raises(InputError), told(SECURED, "x"):
        raise InputError("as it is")


@pytest.mark.parametrize("setting", ["ca_file", "certificate_file"])
def test_a_wrong_file_names_its_setting(tmp_path, setting):
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no PEM")
    files = {"ca_file": wrong} if setting == "ca_file" else {"certificate_file": wrong, "key_file": wrong}
    for file in (wrong, tmp_path / "absent.pem"):
        named = dict.fromkeys(files, file)
        with pytest.raises(InputError, match=rf"kafka\.{setting}"):
            tls_context(KafkaSettings(bootstrap="b:9092", security="ssl", **named))


# ---------------------------------------------------------------------------------------------------------- progress


def test_progress_is_kept_for_one_destination(tmp_path):
    path = tmp_path / "deep" / "p.json"
    kept = FilesProgress.open(path, "cluster/a.")
    kept.advance({"c1=f": "12 mark"})
    kept.save()
    assert FilesProgress.open(path, "cluster/a.").of("c1=f") == "12 mark"
    assert FilesProgress.open(path, "cluster/b.").of("c1=f") == ""
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema":"other","destination":"","sources":{}}', "\xff"])
def test_a_file_that_is_something_else_is_not_overwritten(tmp_path, text):
    path = tmp_path / "p.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="--progress"):
        FilesProgress.open(path, "x")
    assert path.read_text(encoding="latin-1") == text


def test_progress_that_cannot_be_written_is_told(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="--progress"):
        FilesProgress.open(blocked / "p.json", "x")
    kept = FilesProgress(blocked / "p.json", "x", {})
    kept.advance({"a": "1 m"})
    with pytest.raises(PlaceUnavailable, match="--progress"):
        kept.save()


def test_nothing_is_written_when_nothing_was_sent(tmp_path: Path):
    FilesProgress.open(tmp_path / "p.json", "x").save()
    assert list(tmp_path.iterdir()) == []
