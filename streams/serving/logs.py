r"""Structured logs of a process: one line per event, for people or for a collector.

    configure(LogOptions(form="json", level="info", secrets=secrets_of(settings)))
    log = logger("judge")
    log.info("state-restored", shard=3, rows=300_000, seconds=2.1)
    log.failed("fetch-failed", error, repository=name)

    2026-11-21T13:00:00.123456Z info    judge state-restored shard=3 rows=300000 seconds=2.1
    {"@timestamp":"…","log.level":"info","log.logger":"revet.judge","event.action":"state-restored","shard":3,…}

An event has a fixed name; what varies is a field. Values are spelt out where they would move a terminal or break a
line. Every secret of the settings is replaced by `(secret)` wherever it would appear, also inside what libraries log.
What repeats is said a few times and then counted: an unreachable broker makes one client write 67 lines a second.
Other libraries' lines come through the same door, at level warning and above.
"""

from __future__ import annotations

import base64
import logging
import re
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TextIO
from urllib.parse import quote

import msgspec
import orjson
from pydantic import BaseModel, SecretStr

from alerting import text
from streams.collectors.senders import read_token
from streams.settings import Settings, leaves, secret_of
from verifier.errors import InputError, RevetError
from verifier.times import format_instant

ROOT: Final = "revet"
HIDDEN: Final = "(secret)"
SHORTEST: Final = 4
"""Characters a secret must have to be looked for: a shorter one would be found in every second word."""
VALUE: Final = 2000
"""Characters of one value that are logged; the middle of a longer one is cut out."""
BURST: Final = 5
"""Lines of one kind that another library may write in a window; its words say little that is new."""
OUR_BURST: Final = 50
"""The same for events of our own, whose fields differ: one for each of 24 shards is not a flood."""
WINDOW: Final = 30.0
"""Seconds of a window; what is left out of it is counted and told with the next line of the kind."""
KINDS: Final = 512
"""Kinds of lines that are told apart; the least recently seen is forgotten."""

_ADDRESS: Final = re.compile(r"(?<=//)[^/\s@]{1,500}@")
"""Name and password inside an address, whoever wrote it."""
_HEADER: Final = re.compile(
    r"(?i)\b(authorization|x-elastic-api-key|x-amz-firehose-access-key|cookie)"
    r"(['\"]?\s*[:=]\s*)['\"]?(?:\w+ )?[^\s'\",;}]+"
)
_NUMBERS: Final = re.compile(r"0x[0-9a-f]+|\d+")
_SIMPLE: Final = re.compile(r"[^\s\"'=\\]+")


class LogOptions(msgspec.Struct, frozen=True):
    """How a process logs. Its repr shows no secret."""

    form: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    secrets: tuple[str, ...] = ()
    stream: TextIO | None = None
    """None: standard error."""

    def __repr__(self) -> str:
        return f"LogOptions(form={self.form!r}, level={self.level!r}, secrets={len(self.secrets)})"


class EventLog:
    """What a part of the program says: named events with fields."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, **fields: object) -> None:
        """For whoever looks for a fault."""
        self._say(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """What happens anyway."""
        self._say(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Something is not as it should be, and work goes on."""
        self._say(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Something failed, and no error tells more."""
        self._say(logging.ERROR, event, fields)

    def failed(self, event: str, error: BaseException | None, /, **fields: object) -> None:
        """Something failed with an error. One of revet's own is told by its words, any other with where it happened."""
        self._say(logging.ERROR, event, fields, error)

    def _say(self, level: int, event: str, fields: Mapping[str, object], error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"revet_fields": fields}, exc_info=error)


def logger(part: str) -> EventLog:
    """The log of a part of the program, such as `judge`."""
    return EventLog(logging.getLogger(f"{ROOT}.{part}"))


# ------------------------------------------------------------------------------------------------------------ secrets


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Every secret of the settings, those in files too, in all forms in which a client may write them.

    Raises:
        InputError: a file with a secret cannot be read.
    """
    values = {leaf.name: leaf.of(settings) for leaf in leaves()}
    found: set[str] = set()
    for leaf in leaves():
        if not leaf.is_secret:
            continue
        value, file = values[leaf.name], values.get(f"{leaf.name}_file")
        if isinstance(file, Path) and not file.exists():
            continue  # mounted for another process of the same settings; whoever cannot read it cannot log it
        secret = secret_of(
            value if isinstance(value, SecretStr) else None, file if isinstance(file, Path) else None, leaf.name
        )
        if secret is not None:
            user = str(values.get(f"{leaf.place[0]}.username") or "")
            found |= {form for form in _forms(secret, user) if len(form) >= SHORTEST}
    for rule in settings.listen.senders:
        if rule.token_file is not None:
            with suppress(InputError):  # mounted for the receiver alone; whoever cannot read it cannot log it
                found |= set(_forms(read_token(rule.token_file).decode("utf-8", "surrogateescape"), ""))
    return tuple(sorted(found, key=len, reverse=True))


def _forms(secret: str, user: str) -> Iterable[str]:
    yield secret
    yield quote(secret, safe="")
    yield repr(secret)[1:-1]
    for pair in (secret, f"{user}:{secret}", f"\0{user}\0{secret}"):  # bearer, basic, SASL PLAIN
        yield base64.b64encode(pair.encode("utf-8", "surrogateescape")).decode()


class Hiding:
    """Replaces secrets in text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        wanted = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, wanted))) if wanted else None

    def __call__(self, line: str) -> str:
        """`line` without secrets, names and passwords in addresses, and headers that carry either."""
        if self._secrets is not None:
            line = self._secrets.sub(HIDDEN, line)
        if "//" in line:
            line = _ADDRESS.sub(f"{HIDDEN}@", line)
        return _HEADER.sub(rf"\1\2{HIDDEN}", line)


# -------------------------------------------------------------------------------------------------------------- lines


class _Lines(logging.Formatter):
    """What both forms share: fields of a record, each value hidden and cut."""

    def __init__(self, hiding: Hiding) -> None:
        super().__init__()
        self._hiding = hiding

    def fields_of(self, record: logging.LogRecord) -> dict[str, object]:
        fields = {name: self.shown(value) for name, value in getattr(record, "revet_fields", {}).items()}
        repeated = getattr(record, "revet_repeated", 0)
        if repeated:
            fields["repeated"] = repeated
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            fields["error.type"] = type(error).__name__
            fields["error.message"] = self.shown(str(error))
            if not isinstance(error, RevetError):
                fields["error.stack_trace"] = self.shown("".join(traceback.format_exception(error)).rstrip())
        return fields

    def shown(self, value: object) -> object:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, list | tuple | set | frozenset):
            return [self.shown(item) for item in value][:100]
        if isinstance(value, Mapping):
            return {str(name): self.shown(item) for name, item in value.items()}
        if isinstance(value, BaseModel | msgspec.Struct):
            return self._fit(repr(value))
        return self._fit(str(value))

    def event_of(self, record: logging.LogRecord) -> str:
        return self._fit(record.getMessage())

    def _fit(self, value: str) -> str:
        """Hidden first: a cut may leave half a secret that nobody would recognise."""
        return text.cut(self._hiding(value.encode("utf-8", "backslashreplace").decode()), VALUE)


class JsonLines(_Lines):
    """One JSON object per line, with ECS names for the frame and the fields as they are."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        ours = record.name.startswith(f"{ROOT}.")
        row: dict[str, object] = {
            "@timestamp": _utc(record.created),
            "log.level": record.levelname.lower(),
            "log.logger": record.name,
            "event.action" if ours else "message": self.event_of(record),
        }
        row.update(self.fields_of(record))
        data = orjson.dumps(row, option=orjson.OPT_NON_STR_KEYS, default=str).decode("utf-8", "replace")
        return data if data.isascii() and data.isprintable() else "".join(map(_json_spelt, data))


class TextLines(_Lines):
    """Time, level, part, event, name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it where an internal error happened."""
        fields = self.fields_of(record)
        trace = fields.pop("error.stack_trace", "")
        name = record.name.removeprefix(f"{ROOT}.")
        head = f"{_utc(record.created)} {record.levelname.lower():<7} {name} {text.safe(self.event_of(record), VALUE)}"
        line = " ".join([head, *(f"{name}={_word(value)}" for name, value in fields.items())])
        below = (text.safe(part, VALUE) for part in str(trace).splitlines())
        return "\n    ".join([line, *below]) if trace else line


def _utc(seconds: float) -> str:
    return format_instant(int(seconds * 1_000_000), "microseconds")


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        value = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str).decode("utf-8", "replace")
        return text.safe(value, VALUE)
    shown = text.safe(str(value), VALUE)
    return shown if _SIMPLE.fullmatch(shown) else '"' + shown.replace('"', '\\"') + '"'


def _json_spelt(character: str) -> str:
    if not text.is_hidden(character):
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[i : i + 2], 'big'):04x}" for i in range(0, len(units), 2))


# ---------------------------------------------------------------------------------------------------------- repetition


class _Kind:
    __slots__ = ("begun", "left_out", "said")

    def __init__(self, begun: float) -> None:
        self.begun, self.said, self.left_out = begun, 0, 0


class Repeats(logging.Filter):
    """Lets a few lines of a kind through per window and counts the rest.

    A kind is a logger, a level, and words without their numbers.
    """

    def __init__(
        self, counted: Callable[[str], None] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._kinds: OrderedDict[tuple[str, int, str], _Kind] = OrderedDict()
        self._counted = counted
        self._clock = clock

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; it then tells how many before it were not."""
        if record.levelno >= logging.CRITICAL:
            return True
        now = self._clock()
        template = record.msg if record.args and isinstance(record.msg, str) else str(record.msg)
        key = (record.name, record.levelno, _NUMBERS.sub("#", template[:200]))
        kind = self._kinds.pop(key, None)
        if kind is None or now - kind.begun >= WINDOW:
            record.revet_repeated = kind.left_out if kind is not None else 0
            kind = _Kind(now)
        self._kinds[key] = kind
        while len(self._kinds) > KINDS:
            self._kinds.popitem(last=False)
        if kind.said < (OUR_BURST if record.name.startswith(f"{ROOT}.") else BURST):
            kind.said += 1
            return True
        kind.left_out += 1
        if self._counted is not None:
            self._counted(record.name)
        return False

    def silenced(self) -> list[tuple[str, str, int]]:
        """(logger, words, how many) of kinds whose window is over and that nobody has told since; each is told once."""
        now = self._clock()
        over = [key for key, kind in self._kinds.items() if now - kind.begun >= WINDOW]
        return [(key[0], key[2], left) for key in over if (left := self._kinds.pop(key).left_out)]


# --------------------------------------------------------------------------------------------------------------- setup


class _Stream(logging.StreamHandler[TextIO]):
    """Writes lines; a stream that cannot be written to costs lines, never the process."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """logging would print the record, unhidden, to the same stream."""


def configure(options: LogOptions, counted: Callable[[str], None] | None = None) -> Repeats:
    """Send every line of this process through one handler, whoever logs. Gives the filter that counts repetition.

    `counted` is told the logger of each line that was left out.
    """
    hiding = Hiding(options.secrets)
    handler = _Stream(options.stream if options.stream is not None else sys.stderr)
    handler.setFormatter(JsonLines(hiding) if options.form == "json" else TextLines(hiding))
    repeats = Repeats(counted)
    handler.addFilter(repeats)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    level = options.level.upper()
    root.setLevel(max(logging.WARNING, logging.getLevelName(level)) if level != "DEBUG" else logging.INFO)
    logging.getLogger(ROOT).setLevel(level)
    logging.captureWarnings(capture=True)
    return repeats


def tell_silenced(repeats: Repeats, log: EventLog) -> None:
    """Say what was left out and is over. Called now and then."""
    for name, words, number in repeats.silenced():
        log.info("lines-left-out", logger=name, words=words, repeated=number)
