"""Write docs/settings.md and docs/metrics.md from the tables in the code. `--check`: only say if they are stale."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from streams.collectors.server import _COUNTERS, _GAUGES  # noqa: E402  # the checkout must be importable first
from streams.serving.metrics import BUCKETS, METRICS  # noqa: E402  # as above
from streams.settings import Leaf, Settings, leaves  # noqa: E402  # as above
from streams.settings.described import descriptions, section_descriptions  # noqa: E402  # as above

HOW: Final = "`python scripts/generate_operations_docs.py`"

SETTINGS_HEAD: Final = f"""# Settings

<!-- generated from streams/settings and scripts/generate_operations_docs.py: {HOW} -->

One tree for every command and process. A value comes from the command line, else from its variable, else from the
settings file: `--settings FILE`, else the one of `--profile NAME` or `REVET_PROFILE`, else `revet.yaml` in the working
folder. In a variable, a list is written `a,b` and a mapping `a=b,c=d`.

```sh
revet config show --changed
revet doctor
```

`revet config show` tells each value and where it came from. A wrong or unknown setting ends the start with its name,
what it got and an example; so do two that contradict each other, such as a password where the connection shows none. A
secret appears in no output, and best stands in a file of its own (`…_file`), as orchestrators mount them.

One machine:

```yaml
state: /var/lib/revet/revet.sqlite
cluster: prod-eu
trust: [/etc/revet/trust]
listen:
  address: 127.0.0.1:9880
  token_file: /run/secrets/revet-token
evidence:
  ca_file: /etc/ssl/private-ca.pem
owners:
  table:
    - {{namespace: "pay-*", team: payments}}
```

The clustered mode; the same file for all processes, the secrets mounted where each needs them:

```yaml
kafka:
  bootstrap: kafka-1:9092,kafka-2:9092,kafka-3:9092
  replication: 3
  security: sasl_ssl
  username: revet-judge
  password_file: /run/secrets/kafka-password
  ca_file: /etc/ssl/kafka-ca.pem
elasticsearch:
  url: https://es-1:9200,https://es-2:9200
  api_key_file: /run/secrets/es-api-key
  ca_file: /etc/ssl/es-ca.pem
evidence:
  store: oci:registry.example.com/revet/evidence
administrators:
  keys: ["alice=Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="]
serve:
  operations: 0.0.0.0:9890
  log: json
```
"""

METRICS_HEAD: Final = f"""# Metrics

<!-- generated from streams/serving/metrics.py and streams/collectors/server.py: {HOW} -->

Every process of the clustered mode answers `GET /metrics` at `serve.operations`, and `revet run --listen` at the
address it listens on; both for Prometheus. Times are seconds, sizes bytes. A metric is there once it has been counted.
Memory, CPU time, start and open files of a process are there too, under the usual names `process_…`.

Buckets of histograms: {", ".join(f"{bound:g}" for bound in BUCKETS)}.
"""


def settings_page() -> str:
    """docs/settings.md."""
    words, sections = descriptions(), section_descriptions()
    parts = [SETTINGS_HEAD, "## Of the whole\n", _settings_table([*_of("")], words)]
    for name, text in sections.items():
        parts += [f"## {name}\n", f"{text}\n", _settings_table([*_of(name)], words)]
    return "\n".join(parts)


def _of(section: str) -> Iterator[Leaf]:
    return (leaf for leaf in leaves() if ".".join(leaf.place[:-1]) == section)


def _settings_table(rows: list[Leaf], words: dict[str, str]) -> str:
    lines = ["| setting | variable | default | example | |", "|---|---|---|---|---|"]
    for leaf in rows:
        examples = ", ".join(_code(str(example)) for example in leaf.field.examples or ())
        cells = (_code(leaf.name), _code(leaf.variable), _default(leaf), examples, words[leaf.name])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _default(leaf: Leaf) -> str:
    value = leaf.of(Settings())
    if value is None or value in ("", (), {}):
        return ""
    if isinstance(value, tuple):
        return _code(",".join(map(str, value)))
    return _code(str(value).lower() if isinstance(value, bool) else str(value))


def _code(text: str) -> str:
    return text if text.startswith("(") else f"`{text}`"


def metrics_page() -> str:
    """docs/metrics.md."""
    lines = [
        "## Of every process\n",
        "| metric | kind | labels | what it tells | worry when |",
        "|---|---|---|---|---|",
    ]
    for metric in METRICS:
        labels = ", ".join(_code(label) for label in metric.labels)
        lines.append(f"| {_code(metric.name)} | {metric.kind} | {labels} | {metric.meaning} | {metric.watch} |")
    lines += ["", "## Of the receiver\n", "| metric | kind | labels | what it tells |", "|---|---|---|---|"]
    lines += [f"| {_code(name)} | counter | {_code(label)} | {text} |" for name, label, text in _COUNTERS.values()]
    lines += [f"| {_code(name)} | gauge | | {text} |" for name, text in _GAUGES]
    return "\n".join([METRICS_HEAD, *lines, ""])


PAGES: Final[dict[Path, Callable[[], str]]] = {
    ROOT / "docs" / "settings.md": settings_page,
    ROOT / "docs" / "metrics.md": metrics_page,
}


def main(arguments: list[str]) -> int:
    made = {page: make() for page, make in PAGES.items()}
    stale = [page for page, text in made.items() if not page.exists() or page.read_text(encoding="utf-8") != text]
    for page in stale:
        print(f"{'stale' if '--check' in arguments else 'wrote'}: {page.relative_to(ROOT)}")
        if "--check" not in arguments:
            page.write_text(made[page], encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
