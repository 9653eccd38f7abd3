"""Logs: one line per event, no secret in any form, nothing that moves a terminal, no flood."""

from __future__ import annotations

import base64
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.serving.logs import (
    BURST,
    OUR_BURST,
    WINDOW,
    LogOptions,
    Repeats,
    configure,
    logger,
    secrets_of,
    tell_silenced,
)
from streams.settings import leaves, load_settings
from verifier.errors import InputError

SECRET = "s3cr3t/with space&'quote"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("revet")
    before = (list(root.handlers), root.level, ours.level)
    yield
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.captureWarnings(capture=False)


def lines_of(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def configured(form: str = "json", *, level: str = "info", secrets: tuple[str, ...] = ()) -> io.StringIO:
    stream = io.StringIO()
    configure(LogOptions(form, level, secrets, stream))  # type: ignore[arg-type]  # words, for parametrize
    return stream


def test_an_event_has_a_name_and_fields():
    stream = configured()
    logger("judge").info("state-restored", shard=3, rows=300_000, ok=True, parts=["a", "b"])
    (line,) = map(json.loads, lines_of(stream))
    assert line.pop("@timestamp").endswith("Z")
    assert line == {
        "log.level": "info",
        "log.logger": "revet.judge",
        "event.action": "state-restored",
        "shard": 3,
        "rows": 300_000,
        "ok": True,
        "parts": ["a", "b"],
    }


def test_text_is_one_line_that_can_be_taken_apart():
    stream = configured("text")
    logger("judge").warning("x", name='a "b" c', plain="repo/image:1", none=None)
    assert lines_of(stream)[0].partition("Z ")[2] == 'warning judge x name="a \\"b\\" c" plain=repo/image:1 none=None'


@pytest.mark.parametrize("form", ["json", "text"])
def test_untrusted_text_neither_breaks_the_line_nor_moves_the_terminal(form):
    stream = configured(form)
    logger("judge").info("x", name="pay\x1b[2Jments\nFAKE error\u202e\x7f\ud800\u2028")
    logger("judge").info("x", other="b\n")
    assert len(lines_of(stream)) == 2
    assert all(character.isprintable() or character == "\n" for character in stream.getvalue())


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_error_of_ours_is_told_by_its_words_and_any_other_with_its_place(form):
    stream = configured(form)
    logger("judge").failed("x", InputError("kafka.prefix: wrong"))
    try:
        int("x")
    except ValueError as error:
        logger("judge").failed("x", error)
    assert stream.getvalue().count("Traceback") == 1
    assert "kafka.prefix: wrong" in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_secret_appears_in_no_form(form):
    file = {"REVET_KAFKA_SECURITY": "sasl_ssl", "REVET_KAFKA_USERNAME": "revet", "REVET_KAFKA_PASSWORD": SECRET}
    secrets = secrets_of(load_settings(None, file, {}))
    stream = configured(form, secrets=secrets)
    basic = base64.b64encode(f"revet:{SECRET}".encode()).decode()
    try:
        raise ValueError(f"login failed with {SECRET}")
    except ValueError as error:
        logger("judge").failed("x", error, config={"password": SECRET}, header=f"Basic {basic}")
    logger("judge").info("x", url="https://revet:other-one@es:9200/", long="x" * 1990 + SECRET)
    logging.getLogger("aiokafka").error("sasl_plain_password=%r", SECRET)
    logging.getLogger("elasticsearch").warning("Authorization: ApiKey aGVsbG8=")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)  # after catch_warnings, which puts the original function back
        warnings.warn(f"deprecated {SECRET}", stacklevel=1)
    assert len(lines_of(stream)) >= 5
    for hidden in (SECRET, SECRET[:8], basic, "other-one", "aGVsbG8", "cr3t"):
        assert hidden not in stream.getvalue()


def test_the_secrets_in_files_are_known_too(tmp_path: Path):
    (tmp_path / "token").write_text("a-long-token\n")
    assert "a-long-token" in secrets_of(load_settings(None, {"REVET_LISTEN_TOKEN_FILE": str(tmp_path / "token")}, {}))
    assert all(any(f"{leaf.name}_file" == other.name for other in leaves()) for leaf in leaves() if leaf.is_secret)


def test_a_secret_that_is_mounted_for_another_process_is_no_reason_not_to_start(tmp_path: Path):
    """One file of settings is for all; only who needs a secret has it, and says so when it is missing."""
    (tmp_path / "token").write_text("a-long-token\n")
    given = {
        "REVET_LISTEN_TOKEN_FILE": str(tmp_path / "token"),
        "REVET_ELASTICSEARCH_API_KEY_FILE": str(tmp_path / "missing"),
    }
    assert "a-long-token" in secrets_of(load_settings(None, given, {}))


def test_the_options_do_not_show_secrets():
    assert SECRET not in repr(LogOptions(secrets=(SECRET,)))


def test_other_libraries_are_heard_from_warning_on_and_our_level_is_ours():
    stream = configured(level="debug")
    logging.getLogger("aiokafka").debug("d")
    logging.getLogger("aiokafka").info("i")
    logger("judge").debug("ours")
    assert [json.loads(line)["log.logger"] for line in lines_of(stream)] == ["aiokafka", "revet.judge"]
    stream = configured(level="warning")
    logger("judge").info("not-said")
    logging.getLogger("aiokafka").info("i")
    assert stream.getvalue() == ""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_flood_is_a_few_lines_and_a_number():
    counted: list[str] = []
    clock, kept = Clock(), []
    repeats = Repeats(counted.append, clock)
    for number in range(8_031):
        clock.now = number / 67
        record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, "Unable to connect to node %s", (number,), None)
        if repeats.filter(record):
            kept.append(record)
    windows = 8_031 / 67 / WINDOW
    assert len(kept) <= BURST * (windows + 1)
    told = sum(getattr(record, "revet_repeated", 0) for record in kept)
    clock.now += WINDOW
    told += sum(number for _, _, number in repeats.silenced())
    assert told == len(counted) == 8_031 - len(kept)
    assert list(repeats.silenced()) == []


def test_words_with_their_numbers_filled_in_are_one_kind():
    repeats = Repeats(clock=Clock())
    kept = [
        repeats.filter(logging.LogRecord("mode", logging.ERROR, "", 0, f"heartbeat {n} failed at 0x{n:x}", (), None))
        for n in range(100)
    ]
    assert sum(kept) == BURST


def test_one_event_for_each_shard_is_no_flood_and_one_for_each_record_is():
    stream = configured()
    for shard in range(24):
        logger("judge").info("shard-restored", shard=shard)
    assert len(lines_of(stream)) == 24
    for record in range(1_000):
        logger("judge").warning("deadletter", record=record)
    assert len(lines_of(stream)) == 24 + OUR_BURST


def test_what_was_left_out_is_told_when_the_flood_is_over():
    clock = Clock()
    repeats = Repeats(clock=clock)
    for _ in range(100):
        repeats.filter(logging.LogRecord("aiokafka", logging.ERROR, "", 0, "down", (), None))
    clock.now += WINDOW + 1
    stream = configured()
    tell_silenced(repeats, logger("judge"))
    line = json.loads(stream.getvalue())
    assert (line["event.action"], line["logger"], line["repeated"]) == ("lines-left-out", "aiokafka", 100 - BURST)


def test_a_stream_that_is_gone_costs_lines_and_not_the_process():
    stream = configured()
    stream.close()
    logger("judge").info("x")
